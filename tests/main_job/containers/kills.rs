//! SIGKILL of the worker and of the daemon while a call runs in a container: the execution goes on, no container is adopted, and
//! what was in flight is known to be unknown, or is done again where that changes nothing.
use super::house::{self, House, IMAGE, shell, shown_file};
use super::{NONE, outcomes};
use crate::engines::{Kind, processes_with};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::sync::Arc;
use tests::processes::Process;
use tests::scripted::{Say, Script};

#[test]
fn a_killed_worker_and_a_killed_daemon_lose_docker_containers_but_no_execution() {
    survives(Kind::Docker);
}

#[test]
fn a_killed_worker_and_a_killed_daemon_lose_podman_containers_but_no_execution() {
    survives(Kind::Podman);
}

fn script(mark: String) -> Script {
    let stays =
        move |step: usize| shell(&format!("echo x >> log; : > here-{step}; while :; do usleep 50000; done; : {mark}"));
    Arc::new(move |_, answered| match answered {
        0 => Say::Calls(vec![("filesystem.write", json!({"path": "begun", "content": "once\n"}))]),
        1 | 2 => Say::Calls(vec![stays(answered)]),
        3 => Say::Calls(vec![shell("echo x >> log; cat begun log; cat /mark")]),
        _ => Say::Text("It is done.".to_string()),
    })
}

fn worker(house: &House) -> Process {
    let own = |process: &Process| process.parent == house.daemon.pid();
    house.daemon.tree().into_iter().find(own).expect("the daemon has a worker")
}

fn survives(kind: Kind) {
    let mark = format!("tenure-kills-{kind:?}-{}", std::process::id());
    let Some(mut house) = House::open(kind, script(mark.clone())) else { return };
    let agent = house.daemon.deploy(&house::manifest(IMAGE));
    let work = house.daemon.work_folder(agent["id"].as_str().expect("an id"));

    // Its engine hangs: the first call is in flight until the worker is killed.
    kill_process(house.engine.pid(), Signal::STOP).expect("the engine stops");
    let id = house.start("x");
    house::eventually("the first call is called", || !house.events("call.called").is_empty());
    worker(&house).kill();
    kill_process(house.engine.pid(), Signal::CONT).expect("the engine goes on");

    shown_file(&work.join("here-1"), &house.daemon);
    let first = house.engine.containers();
    let groups = house::groups_of(&mark);
    assert!(first.len() == 1 && !groups.is_empty(), "{first:?} {groups:?}");
    worker(&house).kill();
    shown_file(&work.join("here-2"), &house.daemon);
    house::eventually("the killed worker's container is forgotten", || !house.engine.containers().contains(&first[0]));
    let second = house.engine.containers();
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");

    house.daemon.kill();
    house.daemon.start_again();
    let calls = house.completes(&id);
    let expected =
        [("filesystem.write", "done"), ("process.run", "lost"), ("process.run", "lost"), ("process.run", "done")];
    let expected = expected.map(|(capability, outcome)| (capability.to_string(), outcome.to_string()));
    assert_eq!(outcomes(&house, &id), expected, "{calls:#?}");
    assert_eq!(house::stdout(&calls[3]), "once\nx\nx\nx\nof the image\n", "each ran once");
    assert_eq!(each_ended_once(&house), [2, 1, 1, 1], "the first could be done again, and nothing else was");
    house::eventually("nothing of them is left", || {
        let gone = groups.iter().all(|group| !group.exists());
        house.engine.containers() == NONE && processes_with(&mark).is_empty() && gone
    });
    house.daemon.ok(&["audit", "verify"]);
    house.daemon.stop();
    assert_eq!(house.engine.containers(), NONE);
}

/// Every lease has exactly one terminal event, and a call that comes again has another lease. How often each call was called.
pub fn each_ended_once(house: &House) -> Vec<usize> {
    let field = |record: &Value, name: &str| record["data"][name].as_str().map(str::to_owned);
    let leases =
        |kind: &str| -> Vec<String> { house.events(kind).iter().filter_map(|it| field(it, "lease")).collect() };
    let (called, ended) = (leases("call.called"), leases("call.ended"));
    assert!(!called.is_empty());
    for lease in &called {
        assert_eq!(called.iter().filter(|other| *other == lease).count(), 1, "{lease} was given twice");
        assert_eq!(ended.iter().filter(|other| *other == lease).count(), 1, "{lease} ended otherwise than once");
    }
    let calls: Vec<String> = house.events("call.called").iter().filter_map(|it| field(it, "call")).collect();
    let mut order = calls.clone();
    order.dedup();
    order.iter().map(|call| calls.iter().filter(|other| *other == call).count()).collect()
}
