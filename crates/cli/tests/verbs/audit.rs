use std::path::Path;

use super::house::{AGENT, House, cassette};

#[test]
fn the_ledger_is_verified_beside_the_daemon_and_without_it_and_a_changed_byte_is_found() {
    let mut house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let beside = house.tenure(&["audit", "verify", "-o", "json"]).ok().json();
    assert_eq!((&beside["holds"], &beside["finding_count"]), (&true.into(), &0.into()));
    let tail = house.tenure(&["audit", "tail", "--limit", "1"]).ok();
    assert!(tail.stdout.contains("agt_ID agent.created owner:"), "{}", tail.stdout);
    let newest = house.tenure(&["audit", "tail", "--limit", "1", "-o", "json"]).ok().json();
    assert_eq!(newest[0]["kind"], "agent.created");
    house.down();
    let without = house.tenure(&["audit", "verify"]).ok();
    assert!(without.stdout.starts_with("The ledger holds: "), "{}", without.stdout);
    let touched = ["tenure.db", "tenure.db-wal"].map(|name| touch(&house.path("data").join(name)));
    assert!(touched.contains(&true), "the record lies in neither file");
    let changed = house.tenure(&["audit", "verify"]);
    assert_eq!(changed.code, 1, "{}{}", changed.stdout, changed.stderr);
}

/// Changes one letter of a record's kind, if it is there.
fn touch(file: &Path) -> bool {
    let Ok(mut bytes) = std::fs::read(file) else { return false };
    let Some(place) = bytes.windows(22).position(|window| window == br#""kind":"agent.created""#) else { return false };
    bytes[place + 14] = b'C';
    std::fs::write(file, bytes).unwrap();
    true
}

#[test]
fn a_folder_without_a_ledger_is_said_to_be_that() {
    let house = House::new();
    let answer = house.tenure(&["audit", "verify"]);
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("cannot be verified") && answer.stderr.contains("--data-dir"), "{}", answer.stderr);
}
