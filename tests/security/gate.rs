//! The gate matrix: every entry by which a call comes, by every verdict, with a call that leaves its mark. One daemon, an agent for each
//! cell; what the rules say of it is told by its label alone. Where the rules let it pass the mark is there, which is the control of
//! the cells beside it; where a person must allow it there is none until one has; where it is blocked there is never one.
//! `TENURE_CODEGEN=1` writes docs/security/gate.md from what was found.
use crate::office::{Office, WITHIN};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::scripted::{Say, Script, heard, said};

const PAGE: &str = "docs/security/gate.md";
/// The clock wakes on a whole minute.
const CLOCK: Duration = Duration::from_secs(120);

/// By the label of the agent alone, for every capability that leaves the mark.
const RULES: &str = "\
@id(\"gate_notify\")
@verdict(\"notify\")
permit(principal in Label::\"gate=notify\", action == Action::\"process.run\", resource);

@id(\"gate_approval_required\")
@verdict(\"approval_required\")
permit(principal in Label::\"gate=approval_required\", action == Action::\"process.run\", resource);

@id(\"gate_blocked\")
forbid(principal in Label::\"gate=blocked\", action == Action::\"process.run\", resource);
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Autonomous,
    Notify,
    ApprovalRequired,
    Blocked,
}

impl Verdict {
    const ALL: [Verdict; 4] = [Verdict::Autonomous, Verdict::Notify, Verdict::ApprovalRequired, Verdict::Blocked];

    fn word(self) -> &'static str {
        match self {
            Verdict::Autonomous => "autonomous",
            Verdict::Notify => "notify",
            Verdict::ApprovalRequired => "approval_required",
            Verdict::Blocked => "blocked",
        }
    }
}

/// A way by which a call comes to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Cron,
    Loop,
    Manual,
    Message,
    Agent,
    Validator,
    Rest,
    McpHttp,
    McpStdio,
}

impl Entry {
    /// The clock's first: it takes its time.
    const ALL: [Entry; 9] = [
        Entry::Cron,
        Entry::Loop,
        Entry::Manual,
        Entry::Message,
        Entry::Agent,
        Entry::Validator,
        Entry::Rest,
        Entry::McpHttp,
        Entry::McpStdio,
    ];

    fn name(self) -> &'static str {
        match self {
            Entry::Cron => "cron",
            Entry::Loop => "loop",
            Entry::Manual => "manual",
            Entry::Message => "message",
            Entry::Agent => "agent",
            Entry::Validator => "validator",
            Entry::Rest => "rest",
            Entry::McpHttp => "mcp-http",
            Entry::McpStdio => "mcp-stdio",
        }
    }

    fn told(self) -> &'static str {
        match self {
            Entry::Cron => "the built-in loop, woken by the clock",
            Entry::Loop => "the built-in loop, started over the API",
            Entry::Manual => "the built-in loop, by `tenure agent run`",
            Entry::Message => "the built-in loop, woken by a message",
            Entry::Agent => "the built-in loop, started by `agent.execute` of another agent",
            Entry::Validator => "a `command` validator of the manifest",
            Entry::Rest => "a session over REST",
            Entry::McpHttp => "a session over MCP, Streamable HTTP",
            Entry::McpStdio => "a session over MCP, stdio",
        }
    }
}

struct Cell {
    entry: Entry,
    verdict: Verdict,
    /// The agent's work folder, on the host.
    work: PathBuf,
}

impl Cell {
    fn name(&self) -> String {
        format!("{}-{}", self.entry.name(), self.verdict.word().replace('_', "-"))
    }

    fn mark(&self) -> bool {
        self.work.join("mark").exists()
    }
}

fn mark() -> Value {
    json!({"command": "sh", "args": ["-c", "echo done > mark"]})
}

fn script() -> Script {
    Arc::new(|request, answered| {
        let text = said(request);
        match answered {
            0 if text.contains("Do nothing") => Say::Text("Nothing.".to_string()),
            0 if text.contains("Start another") => {
                let target = text.rsplit("target:").next().unwrap_or_default();
                let target: String = target.chars().take_while(|one| one.is_alphanumeric() || *one == '-').collect();
                Say::Calls(vec![("agent.execute", json!({"agent": target, "input": "go"}))])
            }
            0 => Say::Calls(vec![("process.run", mark())]),
            _ => Say::Text(format!("It was said: {}", heard(request))),
        }
    })
}

fn manifest(name: &str, entry: Entry, verdict: Verdict) -> String {
    let (instruction, more) = match entry {
        Entry::Cron => ("Leave a mark.", "  schedule: {cron: \"* * * * *\"}\n"),
        Entry::Message => ("Leave a mark.", "  triggers: [comms]\n"),
        Entry::Validator => {
            let check = "  execution: {max_iterations: 1, validation: [{type: command, command: [sh, -c, \"echo done > mark\"]}]}\n";
            ("Do nothing.", check)
        }
        Entry::Loop | Entry::Manual | Entry::Agent | Entry::Rest | Entry::McpHttp | Entry::McpStdio => {
            ("Leave a mark.", "")
        }
    };
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: {name}, labels: {{gate: {}}}}}\nspec:\n  \
         task: {{instruction: {instruction}}}\n{more}  tools: [process.run, comms.receive]\n",
        verdict.word()
    )
}

const BOSS: &str = "apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: boss}
spec:
  task: {instruction: Start another.}
  execution: {concurrency: 4, workspace: per-execution}
  tools: [agent.execute]
";

fn key(office: &Office, name: &str) -> String {
    office.daemon.json(&["agent", "rotate", name])["secret"].as_str().expect("shown once").to_string()
}

fn initialize() -> Value {
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
}

fn tool_call() -> Value {
    let params = json!({"name": "process.run", "arguments": mark(), "_meta": {"tenure.dev/wait_ms": 0}});
    json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
}

/// What must stay open until the cell was looked at.
fn enter(office: &Office, address: &str, cell: &Cell) -> Option<Bridge> {
    let (name, daemon) = (cell.name(), &office.daemon);
    match cell.entry {
        Entry::Cron => {}
        Entry::Loop | Entry::Validator => drop(daemon.ok(&["execute", "--agent", &name, "--input", "go"])),
        Entry::Manual => drop(daemon.ok(&["agent", "run", &name, "go"])),
        Entry::Message => drop(daemon.ok(&["comms", "send", &name, "go"])),
        Entry::Agent => drop(daemon.ok(&["execute", "--agent", "boss", "--input", &format!("target:{name}")])),
        Entry::Rest => {
            let bearer = format!("Bearer {}", key(office, &name));
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            assert_eq!(crate::doors::ask(address, "POST", "/v1/agent/session", &headers, "").0, 201);
            let body = json!({"capability": "process.run", "arguments": mark(), "wait_ms": 0}).to_string();
            crate::doors::ask(address, "POST", "/v1/agent/invoke", &headers, &body);
        }
        Entry::McpHttp => {
            let bearer = format!("Bearer {}", key(office, &name));
            let accept = ("accept", "application/json, text/event-stream");
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), accept];
            for message in [initialize(), tool_call()] {
                let (status, body) = crate::doors::ask(address, "POST", "/mcp", &headers, &message.to_string());
                assert_eq!(status, 200, "{body}");
            }
        }
        Entry::McpStdio => return Some(stdio(office, &key(office, &name))),
    }
    None
}

/// A client's program; its session ends with its input.
struct Bridge(Child, Option<ChildStdin>);

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.1.take());
        let _ = self.0.wait();
    }
}

fn stdio(office: &Office, key: &str) -> Bridge {
    let mut command = Command::new(tests::daemon::program("tenure"));
    command.arg("--data-dir").arg(&office.daemon.data).arg("mcp").env("TENURE_API_KEY", key);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the bridge starts");
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    for message in [initialize(), tool_call()] {
        writeln!(input, "{message}").expect("it reads");
        let mut line = String::new();
        output.read_line(&mut line).expect("it answers");
    }
    Bridge(child, Some(input))
}

/// The records of the calls of this cell's agent.
fn calls(office: &Office, name: &str) -> Vec<Value> {
    let mut streams = Vec::new();
    for list in [["execution", "list"], ["session", "list"]] {
        let listed = office.daemon.json(&[&list[..], &["--agent", name]].concat());
        streams.extend(listed.as_array().into_iter().flatten().map(|one| one["id"].clone()));
    }
    let records = office.daemon.json(&["audit", "tail", "--kind", "call.", "--limit", "500"]);
    let records = records.as_array().expect("records").clone();
    assert!(records.len() < 500, "there may be more");
    records.into_iter().filter(|record| streams.contains(&record["stream"])).collect()
}

fn has(records: &[Value], kind: &str) -> bool {
    records.iter().any(|record| record["kind"] == kind)
}

fn until(what: &str, office: &Office, within: Duration, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < within, "{what}: not within {within:?}\n{}", office.daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What became of it, in the words of the page.
fn found(office: &Office, cell: &Cell) -> &'static str {
    let (name, within) = (cell.name(), if cell.entry == Entry::Cron { CLOCK } else { WITHIN });
    let reached = |kind: &str| {
        until(&format!("{name}: {kind}"), office, within, || has(&calls(office, &name), kind));
    };
    let by_rule = |records: &[Value]| records.iter().any(|record| record["data"].to_string().contains("gate.cedar"));
    if cell.entry == Entry::Validator && [Verdict::Notify, Verdict::ApprovalRequired].contains(&cell.verdict) {
        // What a manifest checks its own work by is no wish of a model's: the manifest allows it, and a forbid alone holds it.
        reached("call.ended");
        assert!(cell.mark() && !by_rule(&calls(office, &name)), "{name}: {:#?}", calls(office, &name));
        return "done: the manifest allows its own checks, and a forbid alone holds them";
    }
    match cell.verdict {
        Verdict::Autonomous | Verdict::Notify => {
            reached("call.ended");
            assert!(cell.mark(), "{name}: the control: what may pass leaves its mark: {:#?}", calls(office, &name));
            let told = by_rule(&calls(office, &name));
            assert_eq!(told, cell.verdict == Verdict::Notify, "{name}: {:#?}", calls(office, &name));
            if told { "done, and marked for the supervisor" } else { "done" }
        }
        Verdict::ApprovalRequired => {
            reached("call.held");
            assert!(
                !cell.mark() && !has(&calls(office, &name), "call.called"),
                "{name}: it was done before anybody allowed it"
            );
            let pending = office.daemon.json(&["approval", "list", "--agent", &name]);
            let id = pending[0]["id"].as_str().unwrap_or_else(|| panic!("{name}: nobody is asked: {pending}"));
            office.daemon.ok(&["approval", "approve", id]);
            reached("call.ended");
            assert!(cell.mark(), "{name}: the control: the call that waited is the one that leaves the mark");
            "not done until a person allowed it"
        }
        Verdict::Blocked => {
            reached("call.blocked");
            let records = calls(office, &name);
            assert!(by_rule(&records) && !has(&records, "call.called"), "{name}: {records:#?}");
            assert!(!cell.mark(), "{name}: it was done");
            "not done"
        }
    }
}

fn page(rows: &[(Entry, Vec<&'static str>)]) -> String {
    let mut page = "\
# The gate
Generated from `tests/security/gate.rs`. Each cell is one call (`process.run` of a program that leaves a mark in the agent's folder) that
comes by one entry and is judged with one verdict; the agent's label is all that differs. The suite looks for the mark on the host and for
the records in the ledger. The cells of `autonomous` are the controls of those beside them: the same call by the same entry leaves its mark.
A call that waited leaves it once a person has allowed it.

```sh
cargo build -p tenure
cargo nextest run -p tests -E 'test(gate::)'
```

| entry | autonomous | notify | approval_required | blocked |
|---|---|---|---|---|
"
    .to_string();
    for (entry, cells) in rows {
        page.push_str(&format!("| {} | {} |\n", entry.told(), cells.join(" | ")));
    }
    page.push_str("\nAgents that are programs of their own come with a later release, and get their row with it.\n");
    page
}

#[test]
fn by_every_entry_each_verdict_holds_a_call_that_would_do_harm() {
    let office = Office::open(script());
    let rules = office.folder.path().join("gate.cedar");
    std::fs::write(&rules, RULES).expect("it can be written");
    office.daemon.ok(&["policy", "apply", rules.to_str().expect("UTF-8")]);
    let address = crate::doors::address(&office);
    let mut cells = Vec::new();
    office.daemon.deploy(BOSS);
    for entry in Entry::ALL {
        for verdict in Verdict::ALL {
            let mut cell = Cell { entry, verdict, work: PathBuf::new() };
            let agent = office.daemon.deploy(&manifest(&cell.name(), entry, verdict));
            cell.work = office.daemon.work_folder(agent["id"].as_str().expect("an id"));
            cells.push(cell);
        }
    }
    let bridges: Vec<Bridge> = cells.iter().filter_map(|cell| enter(&office, &address, cell)).collect();
    // The clock's last: all else is looked at meanwhile.
    let mut rows: Vec<(Entry, Vec<&'static str>)> = Vec::new();
    for entry in Entry::ALL.into_iter().filter(|entry| *entry != Entry::Cron).chain([Entry::Cron]) {
        let of_entry = cells.iter().filter(|cell| cell.entry == entry);
        rows.push((entry, of_entry.map(|cell| found(&office, cell)).collect()));
    }
    drop(bridges);
    office.holds();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    if std::env::var_os("TENURE_CODEGEN").is_some() {
        std::fs::write(&file, page(&rows)).expect("it can be written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == page(&rows), "{PAGE} is old: run it with TENURE_CODEGEN=1\n{}", page(&rows));
}
