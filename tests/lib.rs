//! The whole product under test: the built program, its processes, and a scripted model on loopback. It starts only
//! what it ends again, and signals only processes that it found below a daemon of its own.
#![forbid(unsafe_code)]

pub mod daemon;
pub mod page;
pub mod processes;
pub mod scripted;
pub mod weights;

#[expect(clippy::unwrap_used, reason = "its patterns are constants")]
#[path = "../crates/cli/tests/verbs/steady.rs"]
mod steady;
