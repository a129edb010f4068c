//! What reaches a terminal, and what happens where nothing can be written.
use std::fs::OpenOptions;
use std::process::Stdio;

use super::house::{AGENT, House, cassette};

/// Clears the screen, sets the title, turns text around, by either set of controls.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}b\u{2066}\u{85}\u{2028}c";

fn acts(letter: char) -> bool {
    letter.is_control() && letter != '\n' && letter != '\t' || "\u{202e}\u{2066}\u{2028}\u{200f}".contains(letter)
}

/// Runs it with standard output on a full disk.
fn on_full(house: &House, words: &[&str]) -> (Option<i32>, String) {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = house.command(words).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_command_whose_answer_cannot_be_written_fails_and_leaves_no_key_that_nobody_saw() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    for words in [
        &["key", "create", "--name", "lost"][..],
        &["key", "list"],
        &["agent", "deploy", &file],
        &["agent", "list"],
        &["agent", "list", "-o", "json"],
        &["agent", "get", "coder", "-o", "yaml"],
        &["audit", "tail", "-o", "json"],
        &["audit", "tail", "--follow"],
        &["audit", "verify"],
        &["execute", "--agent", "coder", "--input", "x", "--watch"],
        &["manifest", "schema"],
        &["model", "list"],
        &["sandbox", "explain", "coder"],
        &["status"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let (code, said) = on_full(&house, words);
        assert!(code == Some(1) && said.contains("error"), "{words:?} ended with {code:?}: {said}");
        house.tenure(&["agent", "list"]).ok();
    }
    let keys = house.tenure(&["key", "list", "-o", "json"]).ok().json();
    let lost = &keys.as_array().unwrap()[0];
    assert_eq!((&lost["name"], &lost["status"]), (&"lost".into(), &"revoked".into()));
    house.tenure(&["key", "create", "--name", "lost"]).ok();
}

#[test]
fn nothing_that_a_terminal_acts_on_comes_through_raw_from_anywhere() {
    let mut house = House::up(&spoken(HOSTILE));
    let unchecked = AGENT.replace("    validation:\n      - type: exit_code\n        expected: 0\n", "");
    let labelled = unchecked
        .replace("type: developer", "type: \"a\\u202eb\"")
        .replace("  version", "  description: \"x\\e[2J\\u202ey\"\n  version");
    let manifest = house.write("agent.yaml", &labelled);
    let broken = house.write("broken.yaml", &AGENT.replace("name: coder", &format!("n{}: \"x\\e[31m\"", '\u{202e}')));
    house.tenure(&["agent", "deploy", &manifest]).ok();
    let started = house.tenure(&["execute", "--agent", "coder", "--input", HOSTILE, "-o", "json"]).ok();
    let id = started.json()["id"].as_str().unwrap().to_string();
    let ended = house.wait(&id);
    assert_eq!((&ended["output"], &ended["input"]), (&HOSTILE.into(), &HOSTILE.into()), "the values are whole");
    for format in ["table", "json", "yaml"] {
        for words in [
            &["agent", "list"][..],
            &["agent", "get", "coder"],
            &["agent", "get", HOSTILE],
            &["agent", HOSTILE],
            &["agent", "deploy", &broken],
            &["manifest", "validate", &broken],
            &["manifest", "validate", HOSTILE],
            &["execution", "get", &id],
            &["execution", "logs", &id],
            &["execution", "logs", &id, "--follow"],
            &["execution", "list", "--status", HOSTILE],
        ] {
            let answer = house.tenure(&[words, &["-o", format]].concat());
            let said = format!("{}{}", answer.raw, answer.stderr);
            assert!(!said.chars().any(acts), "{words:?} -o {format}: {said:?}");
            assert!(!said.is_empty(), "{words:?}");
        }
    }
    assert!(house.tenure(&["execution", "logs", &id]).ok().raw.contains(r"a\u{1b}[2J"), "it is shown, not dropped");
    let log = house.down();
    assert!(!log.contains('\u{202e}'), "{log}");
}

/// The cassette of one execution whose only turn says this.
pub(crate) fn spoken(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(
        "{{\"cassette\":1}}\n{{\"execution\":1,\"iteration\":1,\"turn\":1,\"attempt\":1,\"answer\":{{\"text\":{text},\"calls\":[],\
         \"stop\":\"end\",\"usage\":{{\"input\":1,\"output\":1,\"cached\":null}},\"model\":\"local/qwen\",\"cost_micro_usd\":null}}}}\n"
    )
}
