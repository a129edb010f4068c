use crate::house::{House, await_jail, await_none, is_root, processes, shell};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use tenure_core::call::Outcome;
use tenure_wire::frame::{FromWorker, LeasedCall, ToWorker};

/// A program that runs until it is killed, told apart from all others by `mark`.
async fn sleeper(house: &mut House, mark: &str) -> LeasedCall {
    let script = format!("echo up; sleep 1000 & exec sh -c 'wait; sleep 1000; : {mark}'");
    let call = house.call("process.run", shell(&script));
    house.begin(&call).await;
    house.printed(call.lease, "up").await;
    call
}

fn mark(name: &str) -> String {
    format!("tenure-test-{name}-{}", std::process::id())
}

fn speaks_of(frame: &FromWorker, call: &LeasedCall) -> bool {
    matches!(frame, FromWorker::Outcome(outcome) if outcome.lease == call.lease)
}

#[tokio::test]
async fn a_release_kills_what_runs_and_nothing_is_answered_for_it() {
    let (mut house, mark) = (House::new().await, mark("release"));
    let call = sleeper(&mut house, &mark).await;
    await_jail(&mark);
    house.release().await;
    assert_eq!(processes(&mark), [0; 0]);
    // The same lease again is neither performed nor answered; the work folder is still there.
    house.begin(&call).await;
    house.does("filesystem.list", json!({})).await;
    assert!(!house.aside.iter().any(|frame| speaks_of(frame, &call)));
    assert_eq!(processes(&mark), [0; 0]);
    // Where there is no jail it is said as well.
    house.release().await;
    house.release().await;
}

#[tokio::test]
async fn a_jail_that_is_killed_from_outside_is_reported_lost_and_another_opens() {
    let (mut house, mark) = (House::new().await, mark("lost"));
    house.does("filesystem.write", json!({"path": "kept", "content": "still here"})).await;
    let call = sleeper(&mut house, &mark).await;
    let (pid, _) = await_jail(&mark);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let run = house.run;
    house
        .until(|frame| match frame {
            FromWorker::JailLost { holder, iteration, .. } => {
                assert_eq!((*holder, *iteration), (run.holder, run.iteration));
                Some(())
            }
            _ => None,
        })
        .await;
    assert_eq!(processes(&mark), [0; 0], "it was proven dead before it was said");
    assert_eq!(house.does("filesystem.read", json!({"path": "kept"})).await["content"], "still here");
    assert!(!house.aside.iter().any(|frame| speaks_of(frame, &call)));
}

#[tokio::test]
async fn calls_that_come_as_a_jail_dies_are_done_by_the_next_one_or_told_as_lost() {
    let (mut house, mark) = (House::new().await, mark("dying"));
    house.does("filesystem.write", json!({"path": "kept", "content": "still here"})).await;
    sleeper(&mut house, &mark).await;
    let (pid, _) = await_jail(&mark);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let mut open = BTreeSet::new();
    for _ in 0..40 {
        let call = house.call("filesystem.read", json!({"path": "kept"}));
        house.begin(&call).await;
        open.insert(call.lease);
    }
    let (mut done, mut lost) = (0, 0);
    while !open.is_empty() {
        let told = house.until(|frame| match frame {
            FromWorker::JailLost { leases, .. } => Some((leases.clone(), None)),
            FromWorker::Outcome(outcome) if open.contains(&outcome.lease) => {
                Some((vec![outcome.lease], Some(outcome.outcome.clone())))
            }
            _ => None,
        });
        let (leases, outcome) = told.await;
        let told = leases.iter().filter(|lease| open.remove(lease)).count();
        match outcome {
            None => lost += told,
            Some(Outcome::Done { .. }) => done += told,
            Some(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(done + lost, 40);
    assert_eq!(processes(&mark), [0; 0]);
}

#[tokio::test]
async fn a_call_of_a_later_iteration_ends_the_earlier_jail() {
    let (mut house, mark) = (House::new().await, mark("later"));
    let left = sleeper(&mut house, &mark).await;
    house.does("process.run", shell("echo > kept; echo > /tmp/gone")).await;
    house.run.iteration = 2;
    let found = house.does("process.run", shell("ls kept /tmp")).await;
    assert_eq!(found["stdout"], "kept\n\n/tmp:\n");
    assert_eq!(processes(&mark), [0; 0]);
    assert_eq!(house.outcome(left.lease).await.outcome, Outcome::Killed);
    house.run.iteration = 1;
    let late = house.call("filesystem.list", json!({}));
    assert_eq!(house.perform(&late).await.outcome, Outcome::Killed);
}

#[tokio::test]
async fn a_release_while_the_jail_is_still_opening_leaves_none() {
    let mut house = House::new().await;
    let call = house.call("filesystem.write", json!({"path": "never", "content": ""}));
    house.begin(&call).await;
    house.release().await;
    assert!(!house.aside.iter().any(|frame| speaks_of(frame, &call)));
}

#[tokio::test]
async fn the_end_of_the_link_ends_everything() {
    let (mut house, mark) = (House::new().await, mark("end"));
    sleeper(&mut house, &mark).await;
    let (_, zygote) = await_jail(&mark);
    let folder = house.hang_up().await;
    assert_eq!(processes(&mark), [0; 0]);
    assert!(!std::path::Path::new(&format!("/proc/{zygote}")).exists());
    drop(folder);
}

#[tokio::test]
async fn what_a_killed_worker_left_is_gone_before_the_next_one_greets() {
    let mark = mark("killed");
    let mut house = House::with_process(tempfile::tempdir().unwrap()).await;
    assert_eq!(house.hello.reaped, 0);
    sleeper(&mut house, &mark).await;
    house.does("filesystem.write", json!({"path": "kept", "content": ""})).await;
    let run = house.run;
    let folder = house.kill();
    let mut next = House::with_process(folder).await;
    assert_eq!(processes(&mark), [0; 0]);
    let stranger = std::mem::replace(&mut next.run, run);
    next.does("filesystem.stat", json!({"path": "kept"})).await;
    let owner = std::fs::metadata(next.work_folder()).unwrap().uid();
    next.run = stranger;
    next.does("filesystem.list", json!({})).await;
    let other = std::fs::metadata(next.work_folder()).unwrap().uid();
    assert!(!is_root() || owner != other, "a new agent has an id that none had before");
    // A worker that ends in order leaves nothing to its successor.
    let folder = next.hang_up().await;
    let third = House::with_process(folder).await;
    assert_eq!(third.hello.reaped, 0);
    third.hang_up().await;
}

#[tokio::test]
async fn a_worker_whose_zygote_is_gone_ends_with_its_jails() {
    let (mut house, mark) = (House::with_process(tempfile::tempdir().unwrap()).await, mark("zygote"));
    sleeper(&mut house, &mark).await;
    let (_, pid) = await_jail(&mark);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    house.run = house.another_run();
    let call = house.call("filesystem.list", json!({}));
    house.send(&ToWorker::Call(Box::new(call))).await;
    while house.next().await.is_some() {}
    await_none(&mark);
    let next = House::with_process(house.kill()).await;
    assert!(next.hello.reaped > 0);
}
