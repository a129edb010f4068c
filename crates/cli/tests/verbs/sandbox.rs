use std::process::{Command, Stdio};

use super::house::{AGENT, House, cassette, eventually};

#[test]
fn the_check_tells_each_layer_and_ends_by_whether_agents_can_run() {
    let house = House::new();
    let checked = house.tenure(&["sandbox", "check"]);
    for layer in ["namespaces", "landlock", "seccomp", "memory", "pids", "cpu", "disk"] {
        assert!(checked.stdout.contains(layer), "{}{}", checked.stdout, checked.stderr);
    }
    let report = house.tenure(&["sandbox", "check", "--json"]).json();
    assert_eq!(checked.code == 0, report["level"].is_object());
    assert_eq!(report["findings"].as_array().unwrap().len(), 7);
}

#[test]
fn an_agent_s_sandbox_is_explained_in_words_and_in_json() {
    let house = House::up(&cassette(1));
    let security = "  security:\n    network: {mode: allow, allowlist: [\"*.example.com\"], blocklist: [evil.example.com]}\n    filesystem: {read: [/workspace], write: [/workspace/out], temp: false}\n    resources: {memory: 300Mi, pids: 7}\n";
    let file = house.write("agent.yaml", &AGENT.replace("spec:\n", &format!("spec:\n{security}")));
    house.tenure(&["agent", "deploy", &file]).ok();
    let told = house.tenure(&["sandbox", "explain", "coder"]).ok().stdout;
    // What the host gives differs from host to host.
    let differs = |line: &&str| !line.contains("this host gives") && !line.contains("files in all, kept");
    let told: String = told.lines().filter(differs).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(told);
    let json = house.tenure(&["sandbox", "explain", "coder", "-o", "json"]).ok().json();
    assert_eq!(json["confinement"]["memory_bytes"], 300 << 20);
    assert_eq!(json["confinement"]["network"]["block"][0], "evil.example.com");
    assert_eq!(house.tenure(&["sandbox", "explain", "nobody"]).code, 4);
}

#[test]
fn a_command_runs_in_an_agent_s_confinement_with_its_own_streams_and_exit_code_and_leaves_nothing() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let script = "echo out; echo err >&2; id -u; ls -A /workspace; touch left; cat /etc/shadow; exit 7";
    let tried = house.tenure(&["sandbox", "run", "--profile", "coder", "--", "sh", "-c", script]);
    assert_eq!(tried.code, 7, "{}", tried.stderr);
    assert_eq!(tried.stdout, "out\n1000\n");
    assert!(tried.stderr.starts_with("err\n") && tried.stderr.contains("/etc/shadow"), "{}", tried.stderr);
    let killed = house.tenure(&["sandbox", "run", "--profile", "coder", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, 137);
    let late = house.tenure(&["sandbox", "run", "--profile", "coder", "--timeout", "1", "--", "sleep", "60"]);
    assert_eq!((late.code, late.stderr.contains("its time was over")), (1, true), "{}", late.stderr);
    assert_eq!(house.tenure(&["sandbox", "run", "--profile", "nobody", "--", "true"]).code, 4);
    assert_eq!(house.tenure(&["sandbox", "run", "--profile", "coder"]).code, 2);
    let agents = house.tenure(&["agent", "list", "-o", "json"]).ok().json();
    assert_eq!(agents[0]["status"], "registered", "a trial is no execution");
}

#[test]
fn an_interrupted_command_leaves_nothing() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let scratch = house.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let mut command = house.command(&["sandbox", "run", "--profile", "coder", "--", "sleep", "600"]);
    command.env("TMPDIR", &scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut trial = command.spawn().unwrap();
    let agents = scratch.join(format!("tenure-trial-{}/agents", trial.id()));
    eventually("the sandbox", || std::fs::read_dir(&agents).is_ok_and(|mut agents| agents.next().is_some()));
    Command::new("kill").args(["-INT", &trial.id().to_string()]).status().unwrap();
    assert_eq!(trial.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}
