//! Models against a loopback server that answers as providers do on good and bad days.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "model/loopback.rs"]
mod loopback;
#[path = "model/local.rs"]
mod local;
#[path = "model/pull.rs"]
mod pull;
#[path = "model/remote.rs"]
mod remote;
#[path = "model/wires.rs"]
mod wires;
