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
    assert!(tail.stdout.contains("agt_ID  agent.created  owner:"), "{}", tail.stdout);
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

#[test]
fn the_tail_is_filtered_by_agent_execution_kind_and_time_and_says_its_columns() {
    let house = House::up(&cassette(2));
    for name in ["coder", "clerk"] {
        let file = house.write("agent.yaml", &AGENT.replace("name: coder", &format!("name: {name}")));
        house.tenure(&["agent", "deploy", &file]).ok();
    }
    let started = house.tenure(&["execute", "coder", "x", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap().to_string();
    house.wait(&id);
    let tail = |words: &[&str]| {
        let mut all = vec!["audit", "tail", "--limit", "500"];
        all.extend(words);
        house.tenure(&all).ok()
    };
    let of = |words: &[&str], key: &str| -> Vec<String> {
        let json = tail(&[words, &["-o", "json"]].concat()).json();
        json.as_array().unwrap().iter().map(|record| record[key].as_str().unwrap().to_string()).collect()
    };
    let (all, agent) = (of(&[], "stream"), of(&["--agent", "coder"], "stream"));
    let coder = house.tenure(&["agent", "get", "coder", "-o", "json"]).ok().json()["id"].as_str().unwrap().to_string();
    assert!(agent.contains(&coder) && agent.contains(&id) && all.len() > agent.len());
    assert!(agent.iter().all(|stream| *stream == coder || *stream == id), "{agent:?}");
    let execution = of(&["--execution", &id], "stream");
    assert!(execution.len() > 5 && execution.iter().all(|stream| *stream == id));
    assert_eq!(of(&["--kind", "agent.created"], "kind"), ["agent.created", "agent.created"]);
    let calls = of(&["--kind", "call.,agent.created", "--agent", "coder"], "kind");
    assert!(calls.contains(&"call.called".to_string()) && calls.contains(&"call.ended".to_string()), "{calls:?}");
    assert_eq!(calls.iter().filter(|kind| *kind == "agent.created").count(), 1);
    assert_eq!(of(&["--since", "2999-01-01T00:00:00Z"], "kind"), Vec::<String>::new());
    assert_eq!(of(&["--since", "1h"], "kind").len(), all.len());
    assert!(tail(&["--kind", "agent.created"]).stdout.starts_with("INDEX  AT  STREAM  KIND  ACTOR\n"));
    let bare = tail(&["--kind", "agent.created", "--no-headers"]);
    assert_eq!(bare.stdout.lines().count(), 2, "{}", bare.stdout);
    let quiet = tail(&["--kind", "agent.created", "-q"]);
    assert!(quiet.raw.lines().all(|line| line.parse::<u64>().is_ok()), "{}", quiet.raw);
    let refused = house.tenure(&["audit", "tail", "--agent", "nobody"]);
    assert_eq!(refused.code, 4);
}
