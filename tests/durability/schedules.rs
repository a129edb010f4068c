//! SIGKILL of the daemon at random moments while the clock wakes agents more than once a second, by their manifests and by times
//! that they planned themselves: each time is over with once, in order, by one execution or by a record of why there was none.
//! `TENURE_KILLS` says how many, `TENURE_SEED` when.
use super::{Dice, number};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, ScriptedDaemon, said};

/// Each wakes once a minute, at a moment of its own.
const PACED: usize = 12;
/// Each plans its next wake whenever it is woken, as soon as may be.
const CHAINED: usize = 6;
const DELAY_SECONDS: u64 = 5;
const WITHIN: Duration = Duration::from_secs(240);

fn names() -> Vec<String> {
    let paced = (0..PACED).map(|place| format!("paced-{place}"));
    paced.chain((0..CHAINED).map(|place| format!("chained-{place}"))).collect()
}

fn manifest(name: &str) -> String {
    let schedule = if name.starts_with("paced") { "  schedule: {cron: \"* * * * *\", jitter: 59s}\n" } else { "" };
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  task: {{instruction: \"It is {name}\"}}\n\
         {schedule}  tools: [\"scheduler.*\"]\n"
    )
}

fn script() -> Script {
    Arc::new(|request, answered| match answered {
        0 if said(request).contains("It is chained") => {
            let again = json!({"seconds": DELAY_SECONDS, "name": "next", "input": "again"});
            Say::Calls(vec![("scheduler.delay", again)])
        }
        _ => Say::Text("Done.".to_string()),
    })
}

/// What the ledger says of an agent's times, oldest first: kind and data.
fn told(daemon: &Daemon, agent: &str) -> Vec<(String, Value)> {
    const KINDS: &str = "agent.created,agent.woken,agent.wake_skipped,schedule.";
    let records = daemon.json(&["audit", "tail", "--agent", agent, "--kind", KINDS, "--limit", "500"]);
    let mut records = records.as_array().expect("records").clone();
    records.sort_by_key(|record| record["index"].as_u64());
    assert!(records.len() < 500, "there may be more");
    let kind = |record: &Value| record["kind"].as_str().unwrap_or_default().to_string();
    records.iter().map(|record| (kind(record), record["data"].clone())).collect()
}

fn executions(daemon: &Daemon, agent: &str) -> Vec<Value> {
    let listed = daemon.json(&["execution", "list", "--agent", agent, "--limit", "10000"]);
    listed.as_array().expect("a list").clone()
}

/// Executions that the clock started, all of which must have completed.
fn scheduled(daemon: &Daemon, agent: &str) -> BTreeSet<String> {
    let all = executions(daemon, agent);
    for one in &all {
        assert_eq!(one["status"], "completed", "{one:#}\n{}", daemon.log());
    }
    let of_the_clock = all.iter().filter(|one| one["trigger"] == "schedule");
    of_the_clock.map(|one| one["id"].as_str().expect("an id").to_string()).collect()
}

/// Each time is over with once, and the one after it is the one that was said to be next.
fn check_paced(daemon: &Daemon, agent: &str) -> (usize, usize) {
    let (mut next, mut started, mut skipped) = (Value::Null, BTreeSet::new(), 0);
    for (kind, data) in told(daemon, agent) {
        if kind != "agent.created" {
            let from = if data["missed_since"].is_null() { &data["scheduled"] } else { &data["missed_since"] };
            assert_eq!(*from, next["scheduled"], "{agent}: a time was lost or came twice: {kind} {data:#}");
        }
        match kind.as_str() {
            "agent.woken" => {
                let execution = data["execution"].as_str().expect("an id").to_string();
                assert!(started.insert(execution), "{agent}: one execution for two times");
            }
            "agent.wake_skipped" => {
                let why = data["why"].as_str().unwrap_or_default();
                assert!(["running", "missed"].contains(&why), "{agent}: {data:#}");
                skipped += 1;
            }
            "agent.created" => {}
            other => panic!("{agent}: {other} {data:#}"),
        }
        next = data["next"].clone();
    }
    assert_eq!(scheduled(daemon, agent), started, "{agent}: an execution of no time, or a time without one");
    (started.len(), skipped)
}

/// Each execution planned one wake, and each wake came once.
fn check_chained(daemon: &Daemon, agent: &str) -> usize {
    let (mut planned, mut made, mut started) = (Value::Null, 0, BTreeSet::new());
    for (kind, data) in told(daemon, agent) {
        match kind.as_str() {
            "schedule.created" => {
                assert!(planned.is_null(), "{agent}: a wake was planned over one that had not come: {data:#}");
                made += 1;
                planned = data["next"].clone();
            }
            "schedule.woken" => {
                assert_eq!(data["scheduled"], planned, "{agent}: a wake was lost or came twice: {data:#}");
                let execution = data["execution"].as_str().expect("an id").to_string();
                assert!(started.insert(execution), "{agent}: one execution for two wakes");
                planned = Value::Null;
            }
            "agent.created" => {}
            other => panic!("{agent}: {other} {data:#}"),
        }
    }
    assert_eq!(scheduled(daemon, agent), started, "{agent}: an execution of no time, or a time without one");
    assert_eq!(made, started.len() + 1, "{agent}: the first run plans one, and so does each that was woken");
    let waiting = daemon.json(&["agent", "schedules", agent]);
    assert_eq!(waiting.as_array().map(Vec::len), Some(usize::from(!planned.is_null())), "{waiting:#}");
    started.len()
}

fn until(what: &str, daemon: &Daemon, holds: impl Fn(&Daemon) -> bool) {
    let begin = Instant::now();
    while !holds(daemon) {
        assert!(begin.elapsed() < WITHIN, "{what}: not within {WITHIN:?}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn whatever_is_killed_each_time_of_a_schedule_starts_one_execution_or_says_why_not() {
    let seed = number("TENURE_SEED", u64::from(std::process::id()) * 6_271 + 1);
    let kills = number("TENURE_KILLS", 10);
    println!("TENURE_SEED={seed} TENURE_KILLS={kills}");
    let mut house = ScriptedDaemon::start(script());
    let (daemon, mut dice) = (&mut house.daemon, Dice(seed));
    for name in names() {
        daemon.deploy(&manifest(&name));
        if name.starts_with("chained") {
            daemon.json(&["agent", "run", &name, "Begin"]);
        }
    }
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(200 + dice.roll(3_000)));
        daemon.kill();
        daemon.start_again();
    }
    let woken = |daemon: &Daemon, name: &str| {
        executions(daemon, name).iter().filter(|one| one["trigger"] == "schedule").count()
    };
    let before: Vec<usize> = names().iter().map(|name| woken(daemon, name)).collect();
    for (name, before) in names().iter().zip(before) {
        until("each is woken after the last kill", daemon, |daemon| woken(daemon, name) > before);
    }
    for name in names() {
        daemon.ok(&["pause", &name]);
    }
    let at_rest = |daemon: &Daemon| {
        let open = |name: &String| executions(daemon, name).iter().any(|one| one["ended_at"].is_null());
        !names().iter().any(open)
    };
    until("all is at rest", daemon, at_rest);
    let (mut paced, mut chained, mut skipped) = (0, 0, 0);
    for name in names() {
        if name.starts_with("paced") {
            let (started, without) = check_paced(daemon, &name);
            (paced, skipped) = (paced + started, skipped + without);
        } else {
            chained += check_chained(daemon, &name);
        }
    }
    daemon.stop();
    daemon.ok(&["audit", "verify"]);
    println!(
        "figure: {paced} times of schedules and {chained} planned wakes over {kills} kills, each once; {skipped} told as skipped"
    );
}
