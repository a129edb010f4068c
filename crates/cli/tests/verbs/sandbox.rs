use std::io::{BufRead, BufReader, Read, Write};
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

#[test]
fn a_killed_command_leaves_nothing_either() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let scratch = house.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let mark = format!("86{:06}", std::process::id() % 1_000_000);
    let script = format!("mkdir -p hidden/deep; chmod 0 hidden; touch started; exec sleep {mark}");
    let mut command = house.command(&["sandbox", "run", "--profile", "coder", "--", "sh", "-c", &script]);
    command.env("TMPDIR", &scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut trial = command.spawn().unwrap();
    let sleeps = || sleeping(&mark);
    eventually("the program", sleeps);
    trial.kill().unwrap();
    trial.wait().unwrap();
    eventually("no program", || !sleeps());
    eventually("no folder", || std::fs::read_dir(&scratch).unwrap().count() == 0);
}

/// Whether a program sleeps for so many seconds.
fn sleeping(seconds: &str) -> bool {
    let wanted = format!("sleep\0{seconds}\0");
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .into_iter()
        .any(|process| std::fs::read(process.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
}

#[test]
fn what_is_piped_in_is_read_as_it_comes_and_what_is_printed_comes_out_whole() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let mut command = house.command(&["sandbox", "run", "--profile", "coder", "--", "sh"]);
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap()));
    for number in [1, 2] {
        // The second line is typed when the first one's answer is there: nothing waits for an end.
        writeln!(input, "echo $((41 + {number}))").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{}\n", 41 + number));
    }
    writeln!(input, "head -c 3000000 /dev/zero; printf '\\377'; exit 9").unwrap();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    assert_eq!((rest.len(), rest.last()), (3_000_001, Some(&255)));
    assert_eq!(shell.wait().unwrap().code(), Some(9));
}

/// A folder that only root can make, where agents may be shown one.
fn shown_folder() -> Option<tempfile::TempDir> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes a folder in /srv");
        return None;
    }
    let shown = tempfile::Builder::new().prefix("tenure-test-").tempdir_in("/srv").unwrap();
    std::fs::set_permissions(shown.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::write(shown.path().join("here"), "x").unwrap();
    Some(shown)
}

#[test]
fn folders_that_the_daemon_of_the_data_directory_allows_are_there() {
    let Some(shown) = shown_folder() else { return };
    let path = shown.path().to_str().unwrap();
    let spec = format!("spec:\n  security: {{filesystem: {{read: [/workspace, {path}], write: [/workspace]}}}}\n");
    let house = House::up_with(&cassette(1), &["--allow-mount", path]);
    let file = house.write("agent.yaml", &AGENT.replace("spec:\n", &spec));
    house.tenure(&["agent", "deploy", &file]).ok();
    let words = ["sandbox", "run", "--profile", "coder", "--", "ls", path];
    assert_eq!(house.tenure(&words).ok().stdout, "here\n");
}

#[test]
fn folders_for_an_agent_of_another_daemon_are_those_of_the_flag_else_of_the_variable_else_of_the_file() {
    let Some(shown) = shown_folder() else { return };
    let path = shown.path().to_str().unwrap();
    let spec =
        format!("spec:\n  security: {{filesystem: {{read: [/workspace, {path}], write: [/workspace, {path}]}}}}\n");
    let house = House::up_with(&cassette(1), &["--allow-mount", &format!("{path}:rw")]);
    let file = house.write("agent.yaml", &AGENT.replace("spec:\n", &spec));
    house.tenure(&["agent", "deploy", &file]).ok();
    let key = house.tenure(&["key", "create", "--name", "eye", "-o", "json"]).ok().json();
    // That daemon's word does not count for this host, as another's never does: each of the three says of the same folder that
    // it may be written to, or that it may not, which the agent's manifest asks for.
    let run = |flag: Option<&str>, variable: Option<&str>, settings: Option<&str>| {
        let word = |rights: &str| format!("{path}{rights}");
        let flag: Vec<String> = flag.iter().flat_map(|rights| ["--allow-mount".to_string(), word(rights)]).collect();
        let flag = flag.iter().map(String::as_str);
        let words: Vec<&str> = ["sandbox", "run", "--profile", "coder"].into_iter().chain(flag).collect();
        let made = format!("{path}/made");
        let words = [&words[..], &["--", "touch", &made]].concat();
        let mut command = house.command(&words);
        command.env("TENURE_BASE_URL", &house.url).env("TENURE_API_KEY", key["secret"].as_str().unwrap());
        if let Some(rights) = variable {
            command.env("TENURE_ALLOW_MOUNTS", word(rights));
        }
        if let Some(rights) = settings {
            let text = format!("[sandbox]\nallow_mounts = [\"{}\"]\n", word(rights));
            command.env("TENURE_CONFIG", house.write("own.toml", &text));
        }
        let answer = house.run(command);
        let was_made = std::fs::remove_file(shown.path().join("made")).is_ok();
        assert_eq!(was_made, answer.code == 0, "{}", answer.stderr);
        (was_made, answer.stderr)
    };
    let (writable, readable) = (Some(":rw"), Some(""));
    let (_, nobody) = run(None, None, None);
    assert!(nobody.contains("the operator has not allowed it"), "the control: {nobody}");
    for (flag, variable, settings, counts) in [
        (None, None, writable, true),
        (None, None, readable, false),
        (None, writable, readable, true),
        (None, readable, writable, false),
        (writable, readable, readable, true),
        (readable, writable, writable, false),
    ] {
        let (was_made, said) = run(flag, variable, settings);
        assert_eq!(was_made, counts, "{flag:?} {variable:?} {settings:?}: {said}");
        assert!(was_made || said.contains("for reading alone"), "{flag:?} {variable:?} {settings:?}: {said}");
    }
}

#[test]
fn what_tenure_says_beside_a_command_holds_nothing_that_a_terminal_acts_on() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let answer = house.tenure(&["sandbox", "run", "--profile", "coder", "--", "no\u{1b}[2J\u{202e}such"]);
    assert!(answer.code == 1 && answer.stderr.contains("no\\u{1b}[2J\\u{202e}such"), "{:?}", answer.stderr);
}
