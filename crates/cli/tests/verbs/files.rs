use std::process::{Command, Stdio};

use super::house::{AGENT, House, cassette};

fn house() -> House {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

#[test]
fn what_an_agent_made_is_listed_printed_and_fetched_and_what_is_put_is_in_the_ledger() {
    let house = house();
    let early = house.tenure(&["agent", "files", "ls", "coder"]);
    assert!(early.code == 5 && early.stderr.contains("has never run"), "{}", early.stderr);
    let started = house.tenure(&["execute", "coder", "x", "-o", "json"]).ok().json();
    house.wait(started["id"].as_str().unwrap());
    let mut told = String::new();
    let mut tell = |words: &[&str]| {
        let answer = house.tenure(words);
        let line = house.steady(&words.join(" "));
        told.push_str(&format!("$ tenure {line}\n{}{}[{}]\n", answer.stdout, answer.stderr, answer.code));
    };
    let input = house.write("input.csv", "a,b\n1,2\n");
    tell(&["agent", "files", "ls", "coder"]);
    tell(&["agent", "files", "cat", "coder", "solution.py"]);
    tell(&["agent", "files", "put", "coder", &input, "in/"]);
    tell(&["agent", "files", "put", "coder", &input, "in/input.csv"]);
    tell(&["agent", "files", "ls", "coder", "in", "--no-headers"]);
    tell(&["agent", "files", "ls", "coder", "-q"]);
    tell(&["agent", "files", "get", "coder", "solution.py", "fetched.py"]);
    tell(&["agent", "files", "get", "coder", "solution.py", "fetched.py"]);
    tell(&["agent", "files", "get", "coder", "in"]);
    tell(&["agent", "files", "get", "coder", "in/none"]);
    tell(&["agent", "files", "cat", "coder", "in"]);
    tell(&["agent", "files", "cat", "coder", "/etc/passwd"]);
    insta::assert_snapshot!(told);
    let puts =
        house.tenure(&["audit", "tail", "--kind", "agent.file_put,agent.file_put_ended", "-o", "json"]).ok().json();
    let kinds: Vec<&str> = puts.as_array().unwrap().iter().map(|record| record["kind"].as_str().unwrap()).collect();
    let each = ["agent.file_put", "agent.file_put_ended"];
    assert_eq!(kinds, [each, each].concat());
    assert!(puts[0]["actor"].as_str().unwrap().starts_with("owner:") && puts[0]["data"]["size"] == 8, "{puts}");
    assert_eq!(std::fs::read_to_string(house.path("fetched.py")).unwrap(), "print(6 * 7)\n");
    let tar = Command::new("tar").args(["-xOf"]).arg(house.path("in.tar")).arg("in/input.csv").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tar.stdout), "a,b\n1,2\n");
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn large_and_binary_files_come_whole_through_a_pipe_and_in_json() {
    let house = house();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(house.path("large.bin"), &bytes).unwrap();
    house.tenure(&["agent", "files", "put", "coder", &house.path("large.bin").display().to_string()]).ok();
    let mut cat = house.command(&["agent", "files", "cat", "coder", "large.bin"]);
    let printed = cat.stdin(Stdio::null()).output().unwrap();
    assert!(printed.status.success() && printed.stdout == bytes);
    let mut archive = house.command(&["agent", "files", "get", "coder", "/workspace", "-"]);
    let archive = archive.stdin(Stdio::null()).output().unwrap();
    std::fs::write(house.path("all.tar"), &archive.stdout).unwrap();
    let tar = Command::new("tar").arg("-xOf").arg(house.path("all.tar")).arg("workspace/large.bin").output().unwrap();
    assert!(tar.stdout == bytes, "{} bytes", tar.stdout.len());
    let shown = house.tenure(&["agent", "files", "cat", "coder", "large.bin", "-o", "json"]).ok().json();
    assert_eq!((&shown["encoding"], &shown["size"]), (&"base64".into(), &bytes.len().into()));
    std::fs::write(house.path("huge"), vec![0; 5 << 20]).unwrap();
    let huge = house.tenure(&["agent", "files", "put", "coder", &house.path("huge").display().to_string()]);
    assert!(huge.code == 3 && huge.stderr.contains("4194304"), "{}", huge.stderr);
}

#[test]
fn a_deleted_agents_files_are_there_for_the_grace_and_nothing_is_put_there_any_more() {
    let house = house();
    let file = house.write("kept.txt", "kept");
    house.tenure(&["agent", "files", "put", "coder", &file]).ok();
    let id = house.tenure(&["agent", "list", "-q"]).ok().raw.trim().to_string();
    house.tenure(&["agent", "delete", "coder", "--yes"]).ok();
    assert_eq!(house.tenure(&["agent", "files", "cat", &id, "kept.txt"]).ok().stdout, "kept");
    let refused = house.tenure(&["agent", "files", "put", &id, &file]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
}

#[test]
fn a_viewer_reads_and_cannot_put() {
    let house = house();
    let file = house.write("kept.txt", "kept");
    house.tenure(&["agent", "files", "put", "coder", &file]).ok();
    let made = house.tenure(&["key", "create", "--name", "v", "--role", "viewer", "-o", "json"]).ok().json();
    let key = made["secret"].as_str().unwrap();
    let as_viewer = |words: &[&str]| {
        let mut all = vec!["--base-url", &house.url, "--api-key", key, "agent", "files"];
        all.extend(words);
        house.tenure(&all)
    };
    assert_eq!(as_viewer(&["cat", "coder", "kept.txt"]).ok().stdout, "kept", "the control");
    assert_eq!(as_viewer(&["put", "coder", &file]).code, 7);
}
