//! Seeds 000 and 001 on the built program: agents as employees. Each command line that they print, with `tenure` in the place of
//! their own word, as it is written there, and what it prints (the snapshots); their tables; and the stories that seed 001 tells.
//!
//! Their places are here for what comes later: what a policy lets through or holds up and the approvals that follow (`seeds.rs` has
//! the word `blocked` of the table, by the `tools` of a manifest alone), approval decisions and policy updates in a briefing (their
//! lines are there and say 0), and the dashboard's pages.
mod seeds;
mod table;
mod developer;
mod business_owner;
mod pipeline;
mod privacy;

use serde_json::Value;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Say, Script};

const WITHIN: Duration = Duration::from_secs(90);

/// A model that has nothing to do.
fn answers() -> Script {
    std::sync::Arc::new(|_, _| Say::Text("Done.".to_string()))
}

/// The executions of an agent once so many have ended.
fn ended(daemon: &Daemon, agent: &str, count: usize) -> Vec<Value> {
    let begin = Instant::now();
    loop {
        let found = daemon.json(&["execution", "list", "--agent", agent]);
        let found = found.as_array().expect("a list").clone();
        let over = found.iter().filter(|execution| !execution["ended_at"].is_null()).count();
        if over >= count {
            return found;
        }
        assert!(begin.elapsed() < WITHIN, "{agent}: {found:#?}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}
