//! Crashes, losses, quarantine, kills.
use crate::world::{CodeAgent, PROGRAM, WITHIN};
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

#[test]
fn a_program_that_crashes_is_started_again_and_one_that_crashes_too_often_puts_its_agent_away() {
    let agent =
        CodeAgent::deployed(&json!({"supervision": {"maxCrashes": 2, "window": "10m", "backoff": "100ms"}}), PROGRAM);
    agent.start();
    for crash in 1..=2 {
        let failed = agent.told("die").unwrap_err();
        assert!(failed["detail"].as_str().unwrap().contains('3'), "its exit code is told: {failed:#}");
        let instance = agent.is("ready");
        assert_eq!((&instance["crashes"], &instance["starts"]), (&json!(crash), &json!(crash + 1)));
    }
    assert_eq!(agent.told("hello").unwrap(), "heard hello", "the control: it works on between crashes");
    agent.told("die").unwrap_err();
    let stopped = agent.is("stopped");
    assert_eq!((&stopped["why"], &stopped["status"]), (&json!("quarantined"), &json!("quarantined")));
    let record = &agent.records("agent.quarantined")[0];
    assert_eq!((&record["data"]["cause"], &record["data"]["severity"]), (&json!("crash"), &json!("medium")));
    assert!(!agent.daemon().run(&["agent", "start", "coded"]).status.success(), "nothing of it begins");
    agent.daemon().ok(&["agent", "recover", "coded"]);
    agent.start();
    assert_eq!(agent.told("hello").unwrap(), "heard hello");
    agent.daemon().ok(&["audit", "verify"]);
}

#[test]
fn a_hook_that_fails_at_the_start_is_a_crash_and_without_restarts_it_is_the_last() {
    let agent = CodeAgent::deployed(&json!({"supervision": {"autoRestart": false}}), PROGRAM);
    agent.put("no_start", "");
    agent.daemon().ok(&["agent", "start", "coded"]);
    let stopped = agent.is("stopped");
    assert_eq!((&stopped["why"], &stopped["status"]), (&json!("crashed"), &json!("terminated")));
    assert_eq!(agent.asked("message"), 0);
}

#[test]
fn a_message_that_is_lost_with_the_daemon_is_told_again_and_does_nothing_twice() {
    let mut agent = CodeAgent::deployed(&json!({}), PROGRAM);
    agent.start();
    let started = agent.daemon().json(&["execute", "coded", "append once"]);
    let until = Instant::now() + WITHIN;
    while agent.read("log.txt").is_none() {
        assert!(Instant::now() < until, "{}", agent.daemon().log());
        sleep(Duration::from_millis(20));
    }
    agent.house.daemon.kill();
    agent.house.daemon.start_again();
    let ended = agent.daemon().ended(started["id"].as_str().unwrap(), WITHIN);
    assert_eq!(ended["output"], "appended once", "{ended:#}");
    assert_eq!(agent.asked("message"), 2, "it was told twice, under one id");
    assert_eq!(agent.read("log.txt").as_deref(), Some("once\n"), "and asked for it once");
    let instance = agent.instance();
    assert_eq!((&instance["starts"], &instance["crashes"]), (&json!(2), &json!(0)), "a loss is no crash");
    agent.daemon().ok(&["audit", "verify"]);
}

#[test]
fn a_killed_agent_s_program_ends_at_once_and_may_be_started_again() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    agent.start();
    let started = agent.daemon().json(&["execute", "coded", "append forever"]);
    let until = Instant::now() + WITHIN;
    while agent.read("log.txt").is_none() {
        assert!(Instant::now() < until, "{}", agent.daemon().log());
        sleep(Duration::from_millis(20));
    }
    agent.daemon().ok(&["kill", "coded"]);
    assert_eq!(agent.daemon().ended(started["id"].as_str().unwrap(), WITHIN)["status"], "cancelled");
    assert_eq!(agent.is("stopped")["why"], "killed");
    agent.start();
    assert_eq!(agent.told("hello").unwrap(), "heard hello");
}
