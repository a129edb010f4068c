//! SIGKILL at random points over a mix of executions: none lost, no finished call repeated, the chain valid, and no
//! process, mount or cgroup left. `TENURE_KILLS` says how many, `TENURE_SEED` which.
use super::{Dice, number};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::processes::{self, Process};
use tests::scripted::{Say, Script, Scripted, said};

const AT_ONCE: usize = 4;
const VERIFY_EVERY: u64 = 5;
const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: NAME, version: "1.0.0"}
spec:
  task:
    instruction: Do the job.
    # A lost last run leaves no exit code, so that an honest second attempt follows: its marks are its own.
    prompt_template: "{{instruction}} {{input}}-{{iteration_number}} {% if previous_error %}{{previous_error}}{% endif %}"
  tools: ["filesystem.*", "process.run"]
  execution:
    # Kills may strike the last run of several attempts in a row.
    max_iterations: 5
    concurrency: 4
    workspace: shared
    validation:
      - type: exit_code
      - type: command
        command: [python3, -c, "import sys; sys.exit(0)"]
"#;

fn job_of(request: &Value) -> String {
    let text = said(request);
    let place = text.find("job-").expect("the input names its job");
    text[place..].chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

/// Each step of an attempt leaves its mark once; a mark that stands twice was made twice.
fn script() -> Script {
    Arc::new(|request, answered| {
        let job = job_of(request);
        let append =
            |step: usize| ("filesystem.append", json!({"path": format!("{job}.{step}.log"), "content": "x\n"}));
        let run = |step: usize| {
            let line = format!("import time; open('{job}.{step}.log','a').write('x\\n'); time.sleep(0.15)");
            ("process.run", json!({"command": "python3", "args": ["-c", line]}))
        };
        let write = || ("filesystem.write", json!({"path": format!("{job}.txt"), "content": "x"}));
        let read = || ("filesystem.read", json!({"path": format!("{job}.txt")}));
        match answered {
            0 => Say::Calls(vec![write(), append(1)]),
            1 => Say::After(Duration::from_millis(60), Box::new(Say::Calls(vec![run(2)]))),
            2 => Say::Calls(vec![read(), read(), ("filesystem.list", json!({}))]),
            3 => Say::Calls(vec![append(3), run(4), append(5)]),
            4 => Say::Calls(vec![("process.run", json!({"command": "true"}))]),
            _ => Say::After(Duration::from_millis(40), Box::new(Say::Text(format!("{job} is done")))),
        }
    })
}

struct Trial {
    daemon: Daemon,
    dice: Dice,
    /// Executions by their job's name.
    started: BTreeMap<String, String>,
    seen: Vec<Process>,
    kills: BTreeMap<&'static str, u64>,
}

impl Trial {
    fn keep_busy(&mut self) {
        let list = self.daemon.json(&["execution", "list", "--limit", "20"]);
        let ended =
            |entry: &Value| ["completed", "failed", "cancelled"].contains(&entry["status"].as_str().unwrap_or(""));
        let open = list.as_array().map_or(0, |list| list.iter().filter(|entry| !ended(entry)).count());
        for _ in open..AT_ONCE {
            let job = format!("job-{}", self.started.len());
            let agent = if self.started.len().is_multiple_of(2) { "even" } else { "odd" };
            let record = self.daemon.json(&["execute", "--agent", agent, "--input", &job, "--idempotency-key", &job]);
            self.started.insert(job, record["id"].as_str().expect("an id").to_string());
        }
    }

    fn kill_something(&mut self) {
        let tree = self.daemon.tree();
        self.seen.extend(tree.iter().cloned());
        let jail = |process: &&Process| process.command.starts_with("tenure-jail");
        let roll = self.dice.roll(10);
        let (what, target) = match roll {
            0..4 => ("daemon", None),
            4..6 => ("worker", tree.iter().find(|process| process.parent == self.daemon.pid())),
            6..7 => ("zygote", tree.iter().find(jail)),
            _ => ("jail or its program", tree.iter().filter(jail).nth(1).or(tree.last())),
        };
        *self.kills.entry(what).or_default() += 1;
        match target {
            Some(process) => process.kill(),
            None => {
                self.daemon.kill();
                self.daemon.start_again();
            }
        }
    }

    /// How often each mark stands in the agents' work folders.
    fn marks(&self, agents: &[String]) -> BTreeMap<String, u64> {
        let mut marks = BTreeMap::new();
        for agent in agents {
            for entry in std::fs::read_dir(self.daemon.work_folder(agent)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Some(mark) = name.strip_suffix(".log") else { continue };
                let lines = std::fs::read_to_string(entry.path()).expect("a log is text").lines().count();
                marks.insert(mark.to_string(), lines as u64);
            }
        }
        marks
    }
}

#[test]
fn whatever_is_killed_every_execution_ends_as_it_would_have() {
    let seed = number("TENURE_SEED", u64::from(std::process::id()) * 7919 + 1);
    let kills = number("TENURE_KILLS", 30);
    println!("TENURE_SEED={seed} TENURE_KILLS={kills}");
    let (mounts, cgroups) = (processes::mounts(), processes::cgroups());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let model = runtime.block_on(Scripted::serve(script()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = model.base_url();
    let environment = [
        ("OPENAI_BASE_URL", url.as_str()),
        ("OPENAI_API_KEY", "sk-test-0"),
        ("TENURE_DEFAULT_MODEL", "openai/scripted"),
    ];
    let daemon = Daemon::start(&folder.path().join("data"), &environment);
    let agents: Vec<String> = ["even", "odd"]
        .map(|name| daemon.deploy(&MANIFEST.replace("NAME", name))["id"].as_str().expect("an id").to_string())
        .to_vec();
    let (started, seen, kills_of) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let mut trial = Trial { daemon, dice: Dice(seed), started, seen, kills: kills_of };
    for kill in 0..kills {
        trial.keep_busy();
        std::thread::sleep(Duration::from_millis(20 + trial.dice.roll(500)));
        trial.kill_something();
        if kill % VERIFY_EVERY == 0 {
            trial.daemon.ok(&["audit", "verify"]);
        }
    }
    let began = Instant::now();
    let mut lost = 0;
    let marks_of_calls = trial.started.clone().into_iter().map(|(job, id)| {
        let record = trial.daemon.ended(&id, Duration::from_secs(180));
        assert_eq!(record["status"], "completed", "{job} ({id}) ended otherwise:\n{record:#}");
        let logs = trial.daemon.json(&["execution", "logs", &id]);
        (job, outcomes(&logs))
    });
    let outcomes: BTreeMap<String, Vec<(String, String)>> = marks_of_calls.collect();
    let settled = began.elapsed().as_millis();
    let marks = trial.marks(&agents);
    for (job, calls) in &outcomes {
        for (mark, outcome) in calls {
            let made = marks.get(mark).copied().unwrap_or(0);
            match outcome.as_str() {
                "done" => assert_eq!(made, 1, "{job}: mark {mark} is done and stands {made} times"),
                "lost" => {
                    lost += 1;
                    assert!(made <= 1, "{job}: mark {mark} was lost and stands {made} times");
                }
                other => panic!("{job}: mark {mark} ended as {other}"),
            }
        }
        assert!(!calls.is_empty() && calls.len().is_multiple_of(5), "{job}: {calls:?}");
    }
    trial.seen.extend(trial.daemon.tree());
    trial.daemon.ok(&["audit", "verify"]);
    trial.daemon.stop();
    trial.daemon.ok(&["audit", "verify"]);
    let left: Vec<&Process> = trial.seen.iter().filter(|process| process.alive()).collect();
    assert!(left.is_empty(), "processes are left: {left:?}");
    assert_eq!(processes::mounts().difference(&mounts).count(), 0, "a mount is left");
    assert_eq!(processes::cgroups().difference(&cgroups).count(), 0, "a cgroup is left: {:?}", processes::cgroups());
    println!("figure: kills: {kills}, of them {:?}", trial.kills);
    let again = outcomes.values().filter(|calls| calls.len() > 5).count();
    println!(
        "figure: executions: {}, all completed, {again} of them by a second attempt; {lost} calls told apart as unknown, 0 made twice",
        outcomes.len()
    );
    println!("figure: after the last kill all had ended in: {settled} ms");
}

/// The marks that an execution's non-idempotent calls should have left, with how each call ended.
fn outcomes(logs: &Value) -> Vec<(String, String)> {
    let calls = logs.as_array().into_iter().flatten().flat_map(calls_of);
    calls
        .filter_map(|call| {
            let capability = call["capability"].as_str()?;
            let told = match capability {
                "filesystem.append" => call["path"].as_str()?,
                "process.run" => call["command"].as_str()?,
                _ => return None,
            };
            let end = told.find(".log")?;
            let start = told[..end].rfind("job-")?;
            let mark = &told[start..end];
            Some((mark.to_string(), call["outcome"].as_str().unwrap_or("open").to_string()))
        })
        .collect()
}

fn calls_of(iteration: &Value) -> Vec<Value> {
    let turns = iteration["log"].as_array().into_iter().flatten();
    turns.flat_map(|turn| turn["calls"].as_array().cloned().unwrap_or_default()).collect()
}
