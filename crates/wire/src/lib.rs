//! What crosses a process border: HTTP bodies and errors, worker frames, the local model's frames, the typed client.
//! It knows shapes, never deeds: no IO but the client's.
#![forbid(unsafe_code)]

pub mod api;
pub mod scrub;
pub mod problem;
pub mod confinement;
pub mod fingerprint;
pub mod files;
pub mod stream;
pub mod frame;
pub mod local;
#[cfg(feature = "client")]
pub mod client;
