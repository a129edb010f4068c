//! What each does, and what holds it.
use crate::harness::{CLAUDE_CODE, CODEX, DENIED, House, KEYS, MADE, OPENCODE, PRICE, QWEN, WITHIN, records};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes by its own shell, is refused a host, is paid for to the token, and sees no key.
fn is_held(harness: (&str, &str)) {
    let Some(house) = House::start(harness) else { return };
    let daemon = house.daemon();
    house.create(harness);
    let (record, folder) = house.run(harness.0);
    let logs = || daemon.ok(&["execution", "logs", record["id"].as_str().unwrap_or_default()]);
    assert_eq!(record["status"], "completed", "{record:#}\n{}", logs());
    let made = std::fs::read_to_string(folder.join("made.txt")).unwrap_or_default();
    assert_eq!(made.trim_end(), MADE, "{}", logs());
    assert_eq!(record["output"].as_str().map(str::trim), Some("I am done."), "{record:#}");

    let refused = records(daemon, "network.refused");
    let is_recorded = refused.iter().any(|refusal| refusal["data"]["host"] == DENIED && refusal["data"]["port"] == 443);
    assert!(is_recorded, "{refused:#?}");
    let released = records(daemon, "iteration.released");
    let looked = std::fs::read_to_string(folder.join("looked.txt")).unwrap_or_default();
    assert!(looked.contains("403"), "its shell was told: {looked}");
    let traffic = &released[0]["data"]["traffic"];
    assert_eq!((released.len(), &traffic["connections"]), (1, &json!(0)), "nothing got out: {released:#?}");

    let (tokens_in, tokens_out) = house.sums();
    let cost = tokens_in * PRICE.0 + tokens_out * PRICE.1;
    assert!(tokens_in > 3 * 1000, "it asked three times at least");
    assert_eq!((&record["tokens_in"], &record["tokens_out"]), (&json!(tokens_in), &json!(tokens_out)), "{record:#}");
    assert_eq!(record["cost_micro_usd"], json!(cost), "{record:#}");
    let answered = records(daemon, "proxy.answered");
    let calls = house.counted.lock().map_or(0, |counted| counted.len());
    assert_eq!((answered.len(), records(daemon, "proxy.failed").len()), (calls, 0), "the wire and the ledger agree");
    daemon.ok(&["audit", "verify"]);

    // It kept its conversation, its logs and its shell's environment there, which is where a key would lie.
    assert!(holds(&folder, "tenure-jail"), "the control: the search finds what is there");
    for key in KEYS {
        assert!(!holds(&folder, key), "{key} is in the work folder of {}", harness.0);
    }
}

/// Whether a file in or below it has these bytes.
fn holds(folder: &Path, word: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds(&entry.path(), word),
        Ok(kind) if kind.is_file() => std::fs::read(entry.path())
            .is_ok_and(|bytes| bytes.windows(word.len()).any(|found| found == word.as_bytes())),
        Ok(_) | Err(_) => false,
    })
}

#[test]
fn claude_code_is_held_and_paid_for() {
    is_held(CLAUDE_CODE);
}

#[test]
fn codex_is_held_and_paid_for() {
    is_held(CODEX);
}

#[test]
fn opencode_is_held_and_paid_for() {
    is_held(OPENCODE);
}

#[test]
fn qwen_code_is_held_and_paid_for() {
    is_held(QWEN);
}

#[test]
fn a_vendors_name_for_a_model_is_refused_with_the_words_there_are_until_an_alias_has_it() {
    let Some(house) = House::start(CODEX) else { return };
    house.create_with(CODEX, |manifest| {
        let words = manifest["spec"]["runtime"]["command"].as_array_mut().expect("a list");
        words.iter_mut().filter(|word| **word == "default").for_each(|word| *word = json!("gpt-5.4"));
    });
    let (record, _) = house.run(CODEX.0);
    assert_eq!(record["status"], "failed", "{record:#}");
    let told = record["detail"].as_str().unwrap_or_default();
    assert!(told.contains("tenure model alias"), "what it was told of the name is what is told of it: {told}");
    assert_eq!(records(house.daemon(), "proxy.called").len(), 0, "nobody was asked");
    house.daemon().ok(&["model", "alias", "gpt-5.4", "openai/scripted"]);
    let (record, folder) = house.run(CODEX.0);
    assert_eq!(record["status"], "completed", "{record:#}");
    assert!(folder.join("made.txt").is_file());
}

/// The control of what is refused: the same shell, the same look, and a host that the manifest names.
#[test]
fn a_host_that_the_manifest_names_is_reached_by_the_same_shell() {
    // Not 127.0.0.1: with that on its list Codex asks for its models by the egress too, for it heeds no port in `no_proxy`.
    let outside = TcpListener::bind("127.0.0.2:0").expect("a free loopback port");
    let address = outside.local_addr().expect("it is bound").to_string();
    let Some(house) = House::start_with(CODEX, &format!("http://{address}/"), 1000) else { return };
    std::thread::spawn(move || {
        for mut caller in outside.incoming().flatten() {
            let _ = caller.read(&mut [0; 4096]);
            let _ = caller.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nreached");
        }
    });
    house.create_with(CODEX, |manifest| manifest["spec"]["security"]["network"]["allowlist"] = json!([address]));
    let (record, folder) = house.run(CODEX.0);
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(std::fs::read_to_string(folder.join("looked.txt")).unwrap_or_default(), "reached");
}

#[test]
fn each_ends_by_its_limit_of_tokens_with_the_reason_and_asks_nobody_beyond_it() {
    for harness in [CLAUDE_CODE, CODEX, OPENCODE, QWEN] {
        // There is room for what is held for an answer, and one answer uses up more.
        let Some(house) = House::start_with(harness, "http://unasked.example.org/", 160_000) else { return };
        house.create_with(harness, |manifest| manifest["spec"]["limits"]["tokens"] = json!(150_000));
        let (record, _) = house.run(harness.0);
        assert_eq!(record["status"], "failed", "{record:#}");
        let detail = record["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("tokens are used up"), "{}: {detail}", harness.0);
        // Some ask for a title at the same time, before either has used anything.
        assert!((1..=2).contains(&records(house.daemon(), "proxy.called").len()), "{}", harness.0);
    }
}

#[test]
fn its_run_waits_for_a_person_where_a_policy_wants_that_and_asks_no_model_before() {
    let Some(house) = House::start(CODEX) else { return };
    let daemon = house.daemon();
    house.create(CODEX);
    let rules = daemon.data.with_extension("cedar");
    let text = "@verdict(\"approval_required\")\npermit(principal, action == Action::\"process.run\", resource);\n";
    std::fs::write(&rules, text).expect("a file of ours can be written");
    daemon.ok(&["policy", "apply", rules.to_str().expect("a path of ours is UTF-8")]);
    let started = daemon.json(&["execute", "--agent", CODEX.0, "--input", "Make made.txt.", "--text"]);
    let begun = Instant::now();
    let approval = loop {
        let pending = daemon.json(&["approval", "list", "--agent", CODEX.0]);
        if let Some(id) = pending[0]["id"].as_str() {
            break id.to_string();
        }
        assert!(begun.elapsed() < WITHIN, "nobody is asked\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(records(daemon, "proxy.called").len(), 0, "it runs before anybody allowed it");
    daemon.ok(&["approval", "approve", &approval]);
    let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}");
    let folder = daemon.work_folder(record["agent"].as_str().expect("an id"));
    assert!(folder.join("made.txt").is_file());
}
