//! A conversation: said line by line, kept by the daemon, taken up again.
use std::io::Write;
use std::process::Stdio;

use super::house::{Answer, House};

const USAGE: &str = r#""usage":{"input":10,"output":3,"cached":null},"model":"local/qwen","cost_micro_usd":null"#;

const TALKER: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: talker}
spec:
  task: {instruction: Talk.}
  tools: [agent.whoami]
";

fn house(answers: &[&str]) -> House {
    let said = answers.iter().enumerate().map(|(place, text)| {
        let number = place + 1;
        format!(
            "{{\"execution\":{number},\"iteration\":1,\"turn\":1,\"attempt\":1,\"answer\":{{\"text\":\"{text}\",\"calls\":[],\"stop\":\"end\",{USAGE}}}}}\n"
        )
    });
    let house = House::up(&format!("{{\"cassette\":1}}\n{}", said.collect::<String>()));
    let file = house.write("talker.yaml", TALKER);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

fn chat(house: &House, words: &[&str], typed: &str) -> Answer {
    let mut command = house.command(&[&["chat", "talker"], words].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let raw = String::from_utf8(output.stdout).unwrap();
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: house.steady(&raw),
        stderr: house.steady(&String::from_utf8(output.stderr).unwrap()),
        raw,
    }
}

#[test]
fn a_conversation_is_answered_line_by_line_left_and_taken_up_again() {
    let house = house(&["Hello Ada.", "You are Ada."]);
    let begun = chat(&house, &[], "My name is Ada.\n\nWho am I?\n").ok();
    insta::assert_snapshot!(begun.stdout);
    assert!(begun.stderr.contains("--resume exe_ID"), "{}", begun.stderr);
    let list = house.tenure(&["chat", "talker", "--list", "-o", "json"]).ok().json();
    assert_eq!((list[0]["turns"].clone(), list[0]["last_message"].clone()), (2.into(), "Who am I?".into()));
}

#[test]
fn one_goes_on_with_the_last_begins_another_or_takes_up_an_older_one() {
    let house = house(&["One.", "Two.", "Three.", "Four."]);
    let turns = || {
        let list = house.tenure(&["chat", "talker", "--list", "-o", "json"]).ok().json();
        list.as_array().unwrap().iter().map(|one| one["turns"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    chat(&house, &[], "a\n").ok();
    chat(&house, &[], "b\n").ok();
    assert_eq!(turns(), [2], "without a word the last goes on");
    chat(&house, &["--new"], "c\n").ok();
    assert_eq!(turns(), [1, 2]);
    let list = house.tenure(&["chat", "talker", "--list", "--quiet"]).ok().raw;
    let oldest = list.lines().last().unwrap().to_string();
    chat(&house, &["--resume", &oldest], "d\n").ok();
    assert_eq!(turns(), [1, 3]);
    let unknown = chat(&house, &["--resume", "exe_01234567"], "e\n");
    assert!(unknown.code == 4 && unknown.stderr.contains("chat NAME --list"), "{} {}", unknown.code, unknown.stderr);
}
