//! How late agents are woken and how soon they act, seen from outside a running `tenure`: lateness of a schedule's times, all of
//! them due in one minute, and a message to an agent that sleeps until it is woken and until its first sandboxed call is done.
//!
//! `cargo run --release -p tenure-wire --features client --example staff_latency -- --program PATH [--json] [--only PART]
//! [--agents N,N] [--due N] [--rounds N] [--dir DIR]`
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tenure_wire::api::message::SendMessage;
use tenure_wire::api::moment::Moment;
use tenure_wire::client::{Client, Endpoint, StreamItem};
use tokio::sync::mpsc;

/// Requests under way at a time while agents are made.
const AT_ONCE: usize = 32;
/// Records of one page of the ledger.
const PAGE: u32 = 500;
const MINUTE_MS: i64 = 60_000;
/// Between two questions of whoever asks meanwhile.
const ASKING: Duration = Duration::from_millis(10);
/// Nothing that is waited for takes as long, but for what is due in a minute.
const DEADLINE: Duration = Duration::from_secs(600);

struct Wanted {
    json: bool,
    only: Option<String>,
    program: PathBuf,
    agents: Vec<usize>,
    due: usize,
    rounds: usize,
    dir: PathBuf,
}

fn wanted() -> Wanted {
    let mut wanted = Wanted {
        json: false,
        only: None,
        program: "tenure".into(),
        agents: vec![1_000, 10_000, 100_000],
        due: 100_000,
        rounds: 200,
        dir: std::env::temp_dir(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value must follow");
        match word.as_str() {
            "--json" => wanted.json = true,
            "--only" => wanted.only = Some(next()),
            "--program" => wanted.program = next().into(),
            "--agents" => {
                wanted.agents = next().split(',').map(|count| count.parse().expect("--agents wants numbers")).collect();
            }
            "--due" => wanted.due = next().parse().expect("--due wants a number"),
            "--rounds" => wanted.rounds = next().parse().expect("--rounds wants a number"),
            "--dir" => wanted.dir = next().into(),
            other => panic!("unknown option {other}"),
        }
    }
    wanted
}

/// A daemon of the program on fresh data, whose model is a cassette; it ends with this value.
struct Daemon {
    child: Child,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Daemon {
    /// `runs` executions call one program each and end; any more of them fail at once.
    async fn up(wanted: &Wanted, runs: usize) -> Daemon {
        let folder = tempfile::tempdir_in(&wanted.dir).expect("a folder for the data");
        let (data, tape) = (folder.path().join("data"), folder.path().join("cassette.jsonl"));
        std::fs::write(&tape, cassette(runs)).expect("it can be written");
        let mut up = Command::new(&wanted.program);
        up.arg("--data-dir").arg(&data).args(["up", "--listen", "none"]);
        up.env("TENURE_CASSETTE", format!("replay:{}", tape.display())).env("HOME", folder.path());
        up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = up.spawn().expect("the program starts");
        let client = Client::new(Endpoint::Unix(data.join("tenure.sock")), None);
        let begin = Instant::now();
        while client.ready().await.is_err() {
            assert!(begin.elapsed() < DEADLINE, "the daemon is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Daemon { child, client, _folder: folder }
    }

    /// Makes so many agents of one schedule.
    async fn deploy(&self, prefix: &str, count: usize, schedule: &str) {
        let makers: Vec<_> = (0..AT_ONCE)
            .map(|place| {
                let (client, prefix, schedule) = (self.client.clone(), prefix.to_string(), schedule.to_string());
                tokio::spawn(async move {
                    for number in (place..count).step_by(AT_ONCE) {
                        let text = manifest(&format!("{prefix}-{number}"), &schedule, "system.time");
                        client.deploy(text.into_bytes(), false).await.expect("it is deployed");
                    }
                })
            })
            .collect();
        for maker in makers {
            maker.await.expect("the task ends");
        }
    }

    /// All records of the ledger from an index on.
    async fn records(&self, mut from: u64) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let page = self.client.records(Some(from), None, PAGE).await.expect("a page").items;
            let Some(last) = page.last().and_then(|record| record["index"].as_u64()) else { return all };
            from = last + 1;
            all.extend(page);
        }
    }

    async fn count(&self) -> u64 {
        let newest = self.client.records(None, Some(1), 1).await.expect("a page").items;
        newest.last().and_then(|record| record["index"].as_u64()).map_or(0, |index| index + 1)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn manifest(name: &str, more: &str, tool: &str) -> String {
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  task: {{instruction: Work.}}\n{more}  tools: [{tool}]\n"
    )
}

fn cassette(runs: usize) -> String {
    let mut lines = String::from("{\"cassette\":1}\n");
    let usage = json!({"input": 10, "output": 3, "cached": null});
    for execution in 1..=runs {
        let call = json!({"id": "c1", "name": "process.run", "arguments": {"command": "true"}});
        for (turn, calls, stop) in [(1, json!([call]), "calls"), (2, json!([]), "end")] {
            let answer = json!({"text": "", "calls": calls, "stop": stop, "usage": usage, "model": "local/qwen", "cost_micro_usd": null});
            let entry = json!({"execution": execution, "iteration": 1, "turn": turn, "attempt": 1, "answer": answer});
            lines.push_str(&format!("{entry}\n"));
        }
    }
    lines
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(now.as_millis()).expect("it fits")
}

fn at_ms(record: &Value) -> i64 {
    let at: Moment = record["at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    at.0.millis()
}

/// The value that so many of a thousand are not above.
fn quantile(values: &mut [f64], of_1000: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * of_1000 / 1000).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Milliseconds by which each time that was due from `from` on was late, by agent and time.
fn lateness(records: &[Value], from: i64) -> Vec<f64> {
    let (mut due, mut late): (HashMap<&str, i64>, Vec<f64>) = (HashMap::new(), Vec::new());
    for record in records {
        let stream = record["stream"].as_str().unwrap_or_default();
        let is_over = matches!(record["kind"].as_str(), Some("agent.woken" | "agent.wake_skipped"));
        if let Some(due) = due.get(stream).filter(|due| is_over && **due >= from) {
            late.push((at_ms(record) - due) as f64);
        }
        if let Some(next) = record["data"]["next"]["due"].as_i64() {
            due.insert(stream, next);
        }
    }
    late
}

/// Each agent once a minute at a moment of its own; measured over the first whole minute after all were made.
async fn late(wanted: &Wanted, agents: usize) -> Value {
    let daemon = Daemon::up(wanted, 0).await;
    daemon.deploy("paced", agents, "  schedule: {cron: \"* * * * *\", jitter: 59s}\n").await;
    let from = (now_ms() / MINUTE_MS + 1) * MINUTE_MS;
    let wait = u64::try_from(from + 2 * MINUTE_MS - now_ms()).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let mut late = lateness(&daemon.records(0).await, from);
    json!({
        "agents": agents, "times": late.len(), "times_per_s": late.len() as f64 / 120.0,
        "p50_ms": quantile(&mut late, 500), "p99_ms": quantile(&mut late, 990), "worst_ms": quantile(&mut late, 1000),
    })
}

/// All due in the same minute: from its begin until the last is queued, and what a list takes meanwhile.
async fn due(wanted: &Wanted, agents: usize) -> Value {
    let daemon = Daemon::up(wanted, 0).await;
    // A minute of the day that comes once all are made.
    let made_in_min = 2 + i64::try_from(agents).unwrap_or(i64::MAX) / 10_000;
    let minute = (now_ms() / MINUTE_MS + made_in_min) * MINUTE_MS;
    let of_day = minute / MINUTE_MS % (24 * 60);
    let schedule = format!("  schedule: {{cron: \"{} {} * * *\"}}\n", of_day % 60, of_day / 60);
    daemon.deploy("due", agents, &schedule).await;
    assert!(now_ms() < minute, "making them took too long");
    let first = daemon.count().await;
    tokio::time::sleep(Duration::from_millis(u64::try_from(minute - now_ms()).unwrap_or(0))).await;
    let (mut lists, begin) = (Vec::new(), Instant::now());
    let (mut seen, mut last, mut from) = (0, minute, first);
    while seen < agents {
        assert!(begin.elapsed() < DEADLINE, "{seen} of {agents} were queued");
        let asked = Instant::now();
        daemon.client.agents(&[], 50).await.expect("a page");
        lists.push(asked.elapsed().as_secs_f64() * 1e3);
        let page = daemon.client.records(Some(from), None, PAGE).await.expect("a page").items;
        for record in page.iter().filter(|record| record["kind"] == "agent.woken") {
            (seen, last) = (seen + 1, last.max(at_ms(record)));
        }
        match page.last().and_then(|record| record["index"].as_u64()) {
            Some(index) => from = index + 1,
            None => tokio::time::sleep(ASKING).await,
        }
    }
    json!({
        "due": agents, "all_queued_s": (last - minute) as f64 / 1e3,
        "list_p50_ms": quantile(&mut lists, 500), "list_p99_ms": quantile(&mut lists, 990), "lists": lists.len(),
    })
}

/// From the sending of a message until the sleeping agent is woken by it, and until its first call in a sandbox is done.
async fn message(wanted: &Wanted) -> Value {
    let daemon = Daemon::up(wanted, wanted.rounds + 2).await;
    let text = manifest("sleeper", "  triggers: [comms]\n", "process.run");
    daemon.client.deploy(text.into_bytes(), false).await.expect("it is deployed");
    let (said, mut told) = mpsc::unbounded_channel();
    let mut stream = daemon.client.watch_all(Some("sleeper"), None, Some(0));
    let watching = tokio::spawn(async move {
        while let Ok(Some(item)) = stream.next().await {
            if let StreamItem::Event(event) = item
                && said.send((event.kind, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    let (mut woken, mut acted) = (Vec::new(), Vec::new());
    // The first has the folder and the jail to be made.
    for round in 0..=wanted.rounds {
        let body = SendMessage { message: json!("go"), priority: None, correlation: None, deadline_seconds: None };
        let sent = Instant::now();
        daemon.client.send_message("sleeper", &body, None).await.expect("it is taken");
        let (mut wake, mut act) = (None, None);
        loop {
            let event = tokio::time::timeout(DEADLINE, told.recv()).await.expect("in time");
            let (kind, when) = event.expect("the daemon tells");
            match kind.as_str() {
                "agent.woken" => wake = Some(when),
                "call.ended" => act = Some(when),
                "execution.ended" => break,
                _ => {}
            }
        }
        if let (Some(wake), Some(act), true) = (wake, act, round > 0) {
            woken.push(wake.duration_since(sent).as_secs_f64() * 1e3);
            acted.push(act.duration_since(sent).as_secs_f64() * 1e3);
        }
    }
    watching.abort();
    json!({
        "rounds": woken.len(),
        "woken_p50_ms": quantile(&mut woken, 500), "woken_p99_ms": quantile(&mut woken, 990),
        "first_action_p50_ms": quantile(&mut acted, 500), "first_action_p99_ms": quantile(&mut acted, 990),
    })
}

fn main() {
    let wanted = wanted();
    assert!(Path::new(&wanted.program).is_file(), "--program names no file: {}", wanted.program.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let is_wanted = |part: &str| wanted.only.as_deref().is_none_or(|only| only == part);
    let mut all = serde_json::Map::new();
    if is_wanted("late") {
        let figures: Vec<Value> = wanted.agents.iter().map(|&agents| runtime.block_on(late(&wanted, agents))).collect();
        all.insert("late".into(), figures.into());
    }
    if is_wanted("due") {
        all.insert("due".into(), runtime.block_on(due(&wanted, wanted.due)));
    }
    if is_wanted("message") {
        all.insert("message".into(), runtime.block_on(message(&wanted)));
    }
    let all = Value::from(all);
    if wanted.json {
        println!("{all}");
    } else {
        println!("{all:#}");
    }
}
