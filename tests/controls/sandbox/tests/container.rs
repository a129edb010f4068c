//! What Landlock is worth in a container, on the engines that the sandbox's own tests start.

extern crate tenure_sandbox_controls as tenure_sandbox;

#[expect(dead_code, reason = "the tests of others, which include it, ask for more")]
#[path = "../../../../crates/sandbox/tests/container/engines.rs"]
mod engines;
#[expect(dead_code, reason = "the sandbox's own tests ask for more")]
#[path = "../../../../crates/sandbox/tests/container/house.rs"]
mod house;

use house::{engines, inside};
use tenure_sandbox::Layer;

const JAIL_PROGRAM: &str = env!("CARGO_BIN_EXE_tenure-jail-of-tests");

#[test]
fn landlock_is_on_in_a_container_and_off_where_the_control_leaves_it_out_and_a_program_serves_under_both() {
    for house in engines() {
        let name = house.engine.name();
        let serve = "timeout 1 busybox nc -l -p 8080 127.0.0.1 </dev/null 2>&1";
        let mut spec = house.spec("work", 1);
        let (whole, mut client) = house.open(&spec);
        assert!(!inside(&mut client, serve).contains("ermission"), "{name}: the loopback is its own");
        spec.bypass.layers = vec![Layer::Landlock];
        let (weak, mut control) = house.open(&spec);
        assert_eq!(weak.level().landlock, 0, "{name}");
        assert!(!inside(&mut control, serve).contains("ermission"), "{name}");
        let kernel = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        assert!(!kernel.contains("landlock") || whole.level().landlock > 0, "{name}: {kernel}");
        house.kill(&whole);
        house.kill(&weak);
    }
}
