use crate::house::{FENCE, House};
use serde_json::json;
use tenure_core::call::{Fence, Outcome};
use tenure_wire::frame::{FromWorker, ToWorker, VERSION};

#[tokio::test]
async fn a_lease_that_is_sent_again_is_performed_once_and_answered_again() {
    let mut house = House::new().await;
    let append = house.call("filesystem.append", json!({"path": "log", "content": "once\n"}));
    house.begin(&append).await;
    house.begin(&append).await;
    let first = house.outcome(append.lease).await;
    let again = house.perform(&append).await;
    assert_eq!(again, first);
    assert_eq!(house.does("filesystem.read", json!({"path": "log"})).await["content"], "once\n");
    // The control: the same deed under another lease is done.
    house.does("filesystem.append", append.arguments.clone()).await;
    assert_eq!(house.does("filesystem.read", json!({"path": "log"})).await["content"], "once\nonce\n");
}

#[tokio::test]
async fn a_call_of_another_fence_is_not_performed() {
    let mut house = House::new().await;
    for fence in [Fence(FENCE.0 - 1), Fence(FENCE.0 + 1)] {
        let mut stale = house.call("filesystem.write", json!({"path": "stale", "content": "x"}));
        stale.fence = fence;
        house.begin(&stale).await;
    }
    assert_eq!(house.fails("filesystem.stat", json!({"path": "stale"})).await.0, "not_found");
    assert!(house.aside.is_empty(), "nothing is said about them");
    house.does("filesystem.write", json!({"path": "stale", "content": "x"})).await;
    house.does("filesystem.stat", json!({"path": "stale"})).await;
}

#[tokio::test]
async fn a_beat_is_answered_at_once_while_calls_run() {
    let mut house = House::new().await;
    let busy =
        house.call("process.run", json!({"command": "sh", "args": ["-c", "while [ ! -e stop ]; do sleep 0.02; done"]}));
    house.begin(&busy).await;
    house.send(&ToWorker::Beat { count: 42 }).await;
    house.until(|frame| matches!(frame, FromWorker::Beat { count: 42 }).then_some(())).await;
    house.does("filesystem.write", json!({"path": "stop", "content": ""})).await;
    assert_eq!(house.outcome(busy.lease).await.outcome, Outcome::Done { exit_code: Some(0) });
}

#[tokio::test]
async fn no_more_jails_are_open_than_there_are_slots() {
    let mut house = House::new().await;
    let slots = house.hello.slots;
    let first = house.run;
    for _ in 0..slots {
        house.does("filesystem.list", json!({})).await;
        house.run = house.another_run();
    }
    let one_too_many = house.call("filesystem.list", json!({}));
    let outcome = house.perform(&one_too_many).await;
    assert_eq!(outcome.outcome, Outcome::ResourceExhausted { resource: "slots".to_owned(), limit: None });
    let waiting = std::mem::replace(&mut house.run, first);
    house.release().await;
    house.run = waiting;
    house.does("filesystem.list", json!({})).await;
}

#[tokio::test]
async fn a_daemon_that_does_not_keep_the_order_ends_the_connection() {
    let mut house = House::new().await;
    let connection = tenure_core::id::ConnectionId::mint(&mut tenure_core::id::Mint::new(
        tenure_core::time::Time::from_millis(5),
        5,
    ));
    house.send(&ToWorker::Welcome { version: VERSION, connection, fence: FENCE }).await;
    assert!(house.next().await.is_none());
}
