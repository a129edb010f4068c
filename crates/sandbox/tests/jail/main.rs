//! What a jail lets through and what it keeps out, on a real kernel. The suite runs as the user that starts it and, when that
//! is root, once more as an ordinary user (`everything_holds_for_an_ordinary_user_too`).

mod house;
mod orphans;
mod view;
mod confinement;
mod egress;
mod limits;
mod files;
mod programs;
mod toolchains;
mod life;
mod pool;
mod freeze;
mod ordinary;

/// What the test build of this crate, which shares `house`, has another one of.
const JAIL_PROGRAM: &str = env!("CARGO_BIN_EXE_tenure-jail");
