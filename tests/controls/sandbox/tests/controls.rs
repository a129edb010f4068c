//! What each layer of a jail is worth, natively and in a container, with the same houses as the sandbox's own tests. The suite runs as
//! the user that starts it and, when that is root, once more as an ordinary user.

extern crate tenure_sandbox_controls as tenure_sandbox;

#[expect(dead_code, reason = "the sandbox's own tests ask for more")]
#[path = "../../../../crates/sandbox/tests/jail/house.rs"]
mod house;
#[path = "../../../../crates/sandbox/tests/jail/ordinary.rs"]
mod ordinary;
#[path = "../../../../crates/sandbox/tests/jail/orphans.rs"]
mod orphans;
mod layers;

const JAIL_PROGRAM: &str = env!("CARGO_BIN_EXE_tenure-jail-of-tests");
