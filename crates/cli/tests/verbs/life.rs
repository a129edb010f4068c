//! An agent's life by words alone: made, changed, set to work, looked at, taken back.
use super::agents::at_terminal;
use super::house::{AGENT, Answer, House, cassette};

/// What each line prints, one after the other.
struct Told<'h> {
    house: &'h House,
    text: String,
}

impl Told<'_> {
    fn of(house: &House) -> Told<'_> {
        Told { house, text: String::new() }
    }

    fn line(&mut self, words: &[&str]) -> Answer {
        let answer = self.house.tenure(words);
        let shown: Vec<String> =
            words.iter().map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).into() }).collect();
        let line = self.house.steady(&shown.join(" "));
        self.text.push_str(&format!("$ tenure {line}\n{}{}[{}]\n", answer.stdout, answer.stderr, answer.code));
        answer
    }
}

#[test]
fn an_agent_is_made_by_words_and_its_name_is_nobody_elses() {
    let house = House::up(&cassette(1));
    let mut told = Told::of(&house);
    let make = ["agent", "create", "--name", "my-agent", "--purpose", "General assistant", "--label", "team=a"];
    told.line(&[&make[..], &["--dry-run"]].concat()).ok();
    told.line(&["agent", "list"]).ok();
    told.line(&make).ok();
    assert_eq!(told.line(&make).code, 5, "a taken name is a conflict, though the manifest is the same");
    told.line(&["agent", "create", "MY-AGENT", "--purpose", "x"]);
    assert_eq!(told.line(&["agent", "create", "other"]).code, 2);
    assert_eq!(told.line(&["agent", "create", "other", "--purpose", "x", "--schedule", "@daily"]).code, 2);
    told.line(&["agent", "create", "other", "--purpose", "x", "--tools", "filesystem.reed"]);
    told.line(&["agent", "create", "other", "--purpose", "x", "--model", "anthropik"]);
    told.line(&["agent", "show", "my-agent"]).ok();
    insta::assert_snapshot!(told.text);
    let shown = house.tenure(&["agent", "get", "my-agent", "-o", "json"]).ok().json();
    assert_eq!((&shown["revision"], &shown["purpose"]), (&1.into(), &"General assistant".into()));
}

#[test]
fn a_coding_agent_of_others_is_made_by_its_name_and_where_its_program_is_missing_what_to_install_is_said() {
    let house = House::up(&cassette(1));
    let mut told = Told::of(&house);
    assert_eq!(told.line(&["agent", "create", "coder", "--harness", "claude-code"]).code, 4, "it is not on the PATH");
    let homely = house.write("codex", "no program of a sandbox's");
    assert_eq!(told.line(&["agent", "create", "coder", "--harness", "codex", "--program", &homely]).code, 3);
    assert_eq!(told.line(&["agent", "create", "coder", "--program", "/usr/bin/env", "--purpose", "x"]).code, 2);
    for harness in ["claude-code", "codex", "opencode", "qwen"] {
        let make =
            ["agent", "create", "coder", "--harness", harness, "--program", "/usr/bin/env", "--model", "thrifty"];
        told.line(&[&make[..], &["--dry-run"]].concat()).ok();
    }
    told.line(&["agent", "create", "coder", "--harness", "codex", "--program", "/usr/bin/env"]).ok();
    insta::assert_snapshot!(told.text);
    let shown = house.tenure(&["agent", "get", "coder", "-o", "json"]).ok().json();
    assert_eq!(shown["manifest"]["spec"]["runtime"]["kind"], "command");
}

#[test]
fn an_agent_is_edited_by_words_what_changed_is_told_and_nobody_elses_change_is_lost() {
    let house = House::up(&cassette(1));
    let orders = house.write("orders.txt", "Check for new invoices.\nNever delete emails.\n");
    let orders = format!("@{orders}");
    let mut told = Told::of(&house);
    told.line(&["agent", "create", "bookkeeper", "--purpose", "Process invoices", "--autonomous"]).ok();
    told.line(&["agent", "edit", "bookkeeper", "--instructions", &orders, "--max-iterations", "30"]).ok();
    told.line(&["agent", "edit", "bookkeeper", "--max-iterations", "30"]).ok();
    told.line(&["agent", "edit", "bookkeeper", "--label", "team=money", "--dry-run"]).ok();
    told.line(&["agent", "edit", "bookkeeper", "--label", "team=money", "--purpose", "Invoices"]).ok();
    told.line(&["agent", "edit", "bookkeeper", "--unset-label", "team"]).ok();
    assert_eq!(told.line(&["agent", "edit", "bookkeeper"]).code, 2, "there is no terminal for an editor");
    told.line(&["agent", "set-model", "bookkeeper", "openai-gpt4o-mini"]).ok();
    assert_eq!(told.line(&["agent", "set-model", "bookkeeper", "antropic"]).code, 4);
    for model in ["anthropic", "local-default"] {
        house.tenure(&["agent", "set-model", "bookkeeper", model]).ok();
    }
    told.line(&["agent", "revisions", "bookkeeper"]).ok();
    insta::assert_snapshot!(told.text);
    // Two people read the same revision, and both write.
    let shown = house.tenure(&["agent", "get", "bookkeeper", "-o", "json"]).ok().json();
    let (id, read) = (shown["id"].as_str().unwrap(), shown["revision"].as_u64().unwrap());
    house.tenure(&["agent", "edit", "bookkeeper", "--label", "a=b"]).ok();
    let late = put(&house, id, read, &shown["manifest"].to_string());
    assert!(late.starts_with("HTTP/1.1 409") && late.contains("agent_revised"), "{late}");
    let control = put(&house, id, read + 1, &shown["manifest"].to_string());
    assert!(control.starts_with("HTTP/1.1 200"), "{control}");
}

/// As a program would that has read revision `revision`, over the Unix socket.
fn put(house: &House, agent: &str, revision: u64, body: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(house.path("data/tenure.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "PUT /v1/agents/{agent}?revision={revision} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/yaml\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_older_revision_is_shown_held_against_another_run_and_gone_back_to() {
    let house = House::up(&cassette(4));
    house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", "agent.yaml"]).ok();
    house.tenure(&["agent", "edit", "coder", "--instructions", "Do it well.", "--max-iterations", "7"]).ok();
    let mut told = Told::of(&house);
    told.line(&["agent", "revisions", "coder", "--diff", "1..2"]).ok();
    told.line(&["agent", "revisions", "coder", "--diff", "1..1"]).ok();
    told.line(&["agent", "revisions", "coder", "--show", "1"]).ok();
    assert_eq!(told.line(&["agent", "revisions", "coder", "--show", "9"]).code, 4);
    assert_eq!(told.line(&["agent", "revisions", "coder", "--diff", "1-2"]).code, 2);
    let limits = |started: &Answer| {
        let id = started.json()["id"].as_str().unwrap().to_string();
        let ended = house.wait(&id);
        (ended["revision"].as_u64().unwrap(), ended["max_iterations"].as_u64().unwrap())
    };
    assert_eq!(limits(&house.tenure(&["execute", "coder@1", "go", "-o", "json"]).ok()), (1, 3));
    assert_eq!(limits(&house.tenure(&["agent", "run", "coder@1", "go", "-o", "json"]).ok()), (1, 3));
    assert_eq!(limits(&house.tenure(&["execute", "--agent", "coder", "--input", "go", "-o", "json"]).ok()), (2, 7));
    assert_eq!(told.line(&["execute", "coder@3", "go"]).code, 4);
    assert_eq!(told.line(&["execute", "coder@x", "go"]).code, 2);
    told.line(&["agent", "rollback", "coder"]).ok();
    told.line(&["agent", "rollback", "coder", "--to", "3"]).ok();
    told.line(&["agent", "revisions", "coder"]).ok();
    assert_eq!(limits(&house.tenure(&["agent", "run", "coder", "go", "-o", "json"]).ok()), (3, 3));
    assert_eq!(told.line(&["agent", "rollback", "coder", "--to", "9"]).code, 4);
    insta::assert_snapshot!(told.text);
    let chain = house.tenure(&["audit", "verify"]).ok();
    assert_eq!(chain.code, 0);
}

#[test]
fn agents_are_found_by_label_and_status_and_lists_go_on_where_they_ended() {
    let house = House::up(&cassette(1));
    for (name, labels) in [("one", &["team=a", "night=yes"][..]), ("two", &["team=a"]), ("three", &["team=b"])] {
        let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
        house.tenure(&[&["agent", "create", name, "--purpose", "Wait"][..], &labels].concat()).ok();
    }
    house.tenure(&["pause", "two"]).ok();
    let names = |words: &[&str]| {
        let listed = house.tenure(&[&["agent", "list", "-o", "json"][..], words].concat()).ok().json();
        let names = listed.as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap().to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&["--labels", "team=a"]), "one two");
    assert_eq!(names(&["--labels", "team"]), "one three two");
    assert_eq!(names(&["--labels", "team=a,night"]), "one");
    assert_eq!(names(&["--labels", "team=a", "--status", "paused"]), "two");
    assert_eq!(names(&["--labels", "team=c"]), "");
    assert_eq!(names(&["--status", "registered"]), "one three");
    assert_eq!(
        (names(&["--status", "deployed"]), names(&["--status", "quarantined"])),
        ("one three".into(), "".into())
    );
    house.tenure(&["agent", "edit", "one", "--unset-label", "team"]).ok();
    assert_eq!(names(&["--labels", "team=a"]), "two", "a revision takes its labels along");
    let first = house.tenure(&["agent", "list", "--limit", "2", "-q"]).ok();
    let cursor = first.stderr.split_whitespace().nth(2).unwrap();
    assert!(cursor.starts_with("three/"), "{}", first.stderr);
    let raw = house.tenure(&["agent", "list", "--limit", "2", "-o", "json"]).ok().json();
    let cursor = format!("three/{}", raw[1]["id"].as_str().unwrap());
    assert_eq!(names(&["--after", &cursor]), "two");
    let wrong = house.tenure(&["agent", "list", "--labels", "=a"]);
    assert_eq!(wrong.code, 3, "{}", wrong.stderr);
}

#[test]
fn an_agent_works_when_it_is_told_to_but_not_while_it_is_paused_and_its_log_says_how_it_went() {
    let house = House::up(&cassette(1));
    house.write("agent.yaml", &AGENT.replace("max_iterations: 3", "max_iterations: 1"));
    house.tenure(&["agent", "deploy", "agent.yaml"]).ok();
    house.tenure(&["pause", "coder"]).ok();
    let mut told = Told::of(&house);
    assert_eq!(told.line(&["agent", "run", "coder", "Write solution.py"]).code, 5);
    house.tenure(&["resume", "coder"]).ok();
    told.line(&["agent", "logs", "coder"]).ok();
    house.tenure(&["agent", "run", "coder", "Write solution.py", "--watch"]).ok();
    // The cassette has one execution, so that the next one's model fails.
    let failed = house.tenure(&["agent", "run", "coder", "again", "--watch"]);
    assert_eq!(failed.code, 8, "{}{}", failed.stdout, failed.stderr);
    let shown = told.line(&["agent", "logs", "coder", "--limit", "5"]).ok();
    assert!(shown.stdout.contains("model_error: check the API key"), "{}", shown.stdout);
    told.line(&["agent", "logs", "coder", "--limit", "1"]).ok();
    let page = house.tenure(&["agent", "show", "coder"]).ok().stdout;
    told.text.push_str(&page[page.find("LAST TASKS").unwrap()..]);
    insta::assert_snapshot!(told.text);
    let input = house.tenure(&["execution", "list", "-o", "json"]).ok().json();
    let first = input.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_string();
    assert_eq!(house.tenure(&["execution", "get", &first, "-o", "json"]).ok().json()["input"], "Write solution.py");
}

#[test]
fn a_log_that_is_followed_tells_each_task_as_it_starts_and_ends() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let house = House::up(&cassette(2));
    house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", "agent.yaml"]).ok();
    house.tenure(&["agent", "run", "coder", "first", "--watch"]).ok();
    let mut command = house.command(&["agent", "logs", "coder", "--follow", "-o", "json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["status"], "completed");
    let started = house.tenure(&["agent", "run", "coder", "second", "-o", "json"]).ok().json();
    let mut told = next();
    assert_eq!(told["id"], started["id"]);
    while told["status"] != "completed" {
        told = next();
        assert_eq!(told["id"], started["id"]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_flags_the_manifest_is_edited_by_hand_and_what_was_written_is_kept_where_it_is_refused() {
    let house = House::up(&cassette(1));
    house.tenure(&["agent", "create", "helper", "--purpose", "Help"]).ok();
    let editor =
        |script: &str| [("EDITOR", format!("sed -i {script}")), ("TMPDIR", house.path("").display().to_string())];
    let edit = |script: &str| {
        let more = editor(script);
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        at_terminal(&house, &[], &["agent", "edit", "helper"], &more)
    };
    let edited = edit("'s/instruction: Help/instruction: Help well/'");
    assert!(edited.code == 0 && edited.raw.contains("+ Help well"), "{}", edited.raw);
    let drafts = || {
        let names = std::fs::read_dir(house.path("")).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("tenure-agt")).count()
    };
    assert_eq!(drafts(), 0);
    let wrong = edit("'s/instruction:/instructoin:/'");
    assert!(wrong.code == 3 && wrong.raw.contains("instruction"), "{}", wrong.raw);
    assert_eq!(drafts(), 1, "what was written is not lost");
    assert_eq!(house.tenure(&["agent", "get", "helper", "-o", "json"]).ok().json()["revision"], 2);
}
