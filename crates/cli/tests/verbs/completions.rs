use std::process::Command;
use std::time::{Duration, Instant};

use super::house::{AGENT, House, cassette};

#[test]
fn each_shell_gets_a_script_that_asks_this_program() {
    let house = House::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = house.tenure(&["completions", shell]).ok().raw;
        assert!(script.contains("TENURE_COMPLETE") && script.contains("tenure"), "{shell}");
    }
}

/// What a bash with our script offers after `line`, of which the last word is being typed.
fn offered(house: &House, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(tenure completions bash)\nCOMP_WORDS=({})\nCOMP_CWORD={}\nCOMP_TYPE=9\n\
         _clap_complete_tenure tenure '{}' ''\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
        words.last().unwrap()
    );
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tenure")).parent().unwrap().display().to_string();
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &script]).env_clear().env("HOME", house.path("")).current_dir(house.path(""));
    bash.env("PATH", format!("{program}:/usr/bin:/bin")).env("TENURE_DATA_DIR", house.path("data"));
    let answer = house.run(bash);
    assert_eq!(answer.stderr, "", "a shell shows the line that is being typed, and nothing of ours between");
    let offered = answer.raw.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    // Flags may stand beside what is asked for.
    let flags = words.last().unwrap().starts_with('-');
    offered.filter(|line| line.starts_with('-') == flags).collect()
}

#[test]
fn bash_offers_verbs_flags_and_the_names_and_ids_of_the_running_daemon() {
    let house = House::up(&cassette(2));
    for name in ["coder", "clerk"] {
        let file = house.write("agent.yaml", &AGENT.replace("name: coder", &format!("name: {name}")));
        house.tenure(&["agent", "deploy", &file]).ok();
    }
    let started = house.tenure(&["execute", "coder", "x", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap().to_string();
    house.wait(&id);
    house.tenure(&["key", "create", "--name", "ci"]).ok();
    let (verbs, flags) = (offered(&house, "tenure exec"), offered(&house, "tenure agent list --no"));
    assert!(verbs.contains(&"execute".to_string()) && verbs.contains(&"execution".to_string()), "{verbs:?}");
    assert_eq!(flags, ["--no-headers"]);
    assert_eq!(offered(&house, "tenure agent get c"), ["clerk", "coder"]);
    assert_eq!(offered(&house, "tenure pause cl"), ["clerk"]);
    assert_eq!(offered(&house, "tenure execute co"), ["coder"]);
    assert_eq!(offered(&house, "tenure agent files ls cl"), ["clerk"]);
    let short = format!("exe_{}", &id[id.len() - 8..]);
    assert_eq!(offered(&house, "tenure logs exe_"), [short]);
    assert_eq!(offered(&house, "tenure key revoke "), ["ci"]);
}

#[test]
fn without_a_daemon_no_name_is_offered_and_nobody_waits() {
    let house = House::new();
    let began = Instant::now();
    assert_eq!(offered(&house, "tenure agent get c"), Vec::<String>::new());
    assert!(began.elapsed() < Duration::from_secs(30), "it hangs");
    // Where something listens that never answers, the deadline holds.
    std::fs::create_dir(house.path("data")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(house.path("data/tenure.sock")).unwrap();
    let began = Instant::now();
    assert_eq!(offered(&house, "tenure agent get c"), Vec::<String>::new());
    assert!(began.elapsed() < Duration::from_secs(30), "it hangs");
}
