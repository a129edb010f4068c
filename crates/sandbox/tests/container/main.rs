//! What a container lets through and what it keeps out, on engines that each test starts for itself: Docker and Podman, as root.
//! What any jail must do is tried on a native jail too, as the control. A machine without root or engines says what it skipped.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[expect(dead_code, reason = "the tests of the worker and of the product, which include it, ask for more")]
mod engines;
mod house;
mod behaviour;
mod confinement;
mod images;
mod life;
mod trouble;

/// What the test build of this crate, which shares `house`, has another one of.
const JAIL_PROGRAM: &str = env!("CARGO_BIN_EXE_tenure-jail");
