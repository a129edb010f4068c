//! What each does, and what holds it.
use crate::harness::{CLAUDE_CODE, CODEX, DENIED, House, KEYS, MADE, OPENCODE, PRICE, QWEN, records};
use serde_json::json;
use std::path::Path;

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
    house.create_for(CODEX, "gpt-5.4");
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
