use std::path::Path;

use super::house::{AGENT, House, cassette};

#[test]
fn the_ledger_is_verified_beside_the_daemon_and_without_it_and_a_changed_byte_is_found() {
    let mut house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let beside = house.tenure(&["audit", "verify", "-o", "json"]).ok().json();
    assert_eq!((&beside["holds"], &beside["finding_count"], &beside["macs"]), (&true.into(), &0.into(), &true.into()));
    assert!(beside["rows"].as_u64() > Some(3) && beside["payloads"].as_u64() > Some(1), "{beside}");
    let chain = house.tenure(&["audit", "verify", "--chain", "-o", "json"]).ok().json();
    assert_eq!((&chain["root"], &chain["rows"]), (&beside["root"], &serde_json::Value::Null));
    let tail = house.tenure(&["audit", "tail", "--limit", "1"]).ok();
    assert!(tail.stdout.contains("agt_ID agent.created owner:"), "{}", tail.stdout);
    let newest = house.tenure(&["audit", "tail", "--limit", "1", "-o", "json"]).ok().json();
    assert_eq!(newest[0]["kind"], "agent.created");
    house.down();
    let without = house.tenure(&["audit", "verify"]).ok();
    assert!(
        without.stdout.starts_with("The ledger holds: ") && without.stdout.contains(" rows, "),
        "{}",
        without.stdout
    );
    let chain = house.tenure(&["audit", "verify", "--chain"]).ok();
    assert!(
        chain.stdout.starts_with("The chain holds: ") && chain.stdout.contains("not looked at"),
        "{}",
        chain.stdout
    );
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
    let told = |words: &[&str]| {
        let answer = house.tenure(&["audit", "verify"]);
        assert_eq!(answer.code, 4);
        for word in words.iter().chain(&["there is no ledger to verify", "--data-dir"]) {
            assert!(answer.stderr.contains(word), "`{word}` is not in {}", answer.stderr);
        }
    };
    told(&["DIR/data does not exist"]);
    std::fs::create_dir(house.path("data")).unwrap();
    told(&["DIR/data holds no ledger: there is no tenure.db in it"]);
}
