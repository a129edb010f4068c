//! An agent that is connected from outside, over the socket of a whole daemon.
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tenure_core::access::Role;
use tenure_core::id::{CallId, Mint};
use tenure_core::time::Time;
use tenure_wire::api::agent::{Act, AgentStatus, Pause, Supervise};
use tenure_wire::api::key::NewKey;
use tenure_wire::api::session::{Answered, CallState, Invoke, RotateKey, SessionCall, SessionStatus};
use tenure_wire::api::watch::WatchEvent;
use tenure_wire::client::{Client, Endpoint, Error, EventStream, StreamItem};
use tenure_wire::problem::Code;
use tokio::time::timeout;

use crate::clock::SystemClock;
use crate::fleet::fake::FakeWorker;
use crate::testing::{Running, TEST_TIMEOUT, register};

fn manifest(name: &str) -> Vec<u8> {
    let tools = "[state.*, agent.*, filesystem.read]";
    format!("apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  task: {{instruction: x}}\n  tools: {tools}\n").into_bytes()
}

/// With a worker that has said what its host can do, without which nothing is deployed.
async fn daemon(folder: &Path) -> (Running, FakeWorker) {
    let daemon = Running::start(folder, Arc::new(SystemClock), &[]).await;
    let id = register(&daemon.app, "fake").await;
    let worker = FakeWorker::connect(&daemon.app, id, "fake");
    timeout(TEST_TIMEOUT, daemon.app.fleet.any_of(Some(id))).await.unwrap();
    daemon.client.deploy(manifest("outside"), false).await.unwrap();
    (daemon, worker)
}

fn holding(daemon: &Running, secret: &str) -> Client {
    let Endpoint::Unix(socket) = daemon.client.endpoint().clone() else { panic!("a daemon of the tests has a socket") };
    Client::new(Endpoint::Unix(socket), Some(secret.to_string()))
}

/// The agent's holder, with a fresh key.
async fn agent(daemon: &Running, name: &str, overlap_ms: u64) -> Client {
    let key = daemon.client.rotate_agent(name, &RotateKey { overlap_ms }).await.unwrap();
    holding(daemon, &key.secret)
}

fn set(key: &str, value: Value, idempotency: Option<&str>) -> Invoke {
    let arguments = json!({"key": key, "value": value});
    let idempotency_key = idempotency.map(str::to_string);
    Invoke { capability: "state.persistent.set".to_string(), arguments, idempotency_key, wait_ms: None }
}

fn call(capability: &str, arguments: Value) -> Invoke {
    Invoke { capability: capability.to_string(), arguments, idempotency_key: None, wait_ms: None }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> Code {
    match answer {
        Err(Error::Problem(problem)) => problem.code,
        other => panic!("{other:?}"),
    }
}

async fn until(events: &mut EventStream<WatchEvent>, kind: &str) -> WatchEvent {
    let looking = async {
        loop {
            match events.next().await.unwrap() {
                Some(StreamItem::Event(event)) if event.kind == kind => return *event,
                Some(_) => {}
                None => panic!("the stream ended before {kind}"),
            }
        }
    };
    timeout(TEST_TIMEOUT, looking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_key_opens_its_own_door_alone_and_nobody_elses_key_opens_that() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let agent = agent(&daemon, "outside", 0).await;
    assert_eq!(agent.whoami().await.unwrap().name, "outside", "the control: its own door");
    assert_eq!(agent.own_briefing().await.unwrap().name, "outside");
    assert_eq!(refused(agent.briefing("outside", None).await), Code::Forbidden);
    assert_eq!(refused(agent.agents(&[], 10).await), Code::Forbidden);
    assert_eq!(refused(agent.status().await), Code::Forbidden);
    assert_eq!(refused(agent.keys().await), Code::Forbidden);
    assert_eq!(refused(agent.rotate_agent("outside", &RotateKey::default()).await), Code::Forbidden);
    assert_eq!(refused(agent.sessions(&[], 10).await), Code::Forbidden);
    assert_eq!(refused(agent.watch_all(None, None, None).next().await), Code::Forbidden);
    let viewer = daemon.client.create_key(&NewKey { name: "v".into(), role: Role::Viewer }).await.unwrap();
    let viewer = holding(&daemon, &viewer.secret);
    viewer.agents(&[], 10).await.expect("the control: a viewer reads");
    for person in [&viewer, &daemon.client] {
        assert_eq!(refused(person.open_session().await), Code::Forbidden);
        assert_eq!(refused(person.whoami().await), Code::Forbidden);
        assert_eq!(refused(person.invoke(&set("a", json!(1), None)).await), Code::Forbidden);
    }
    let stranger = holding(&daemon, crate::http::sessions::fresh_key().reveal());
    assert_eq!(refused(stranger.open_session().await), Code::Unauthenticated);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reaches_no_session_of_another_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    daemon.client.deploy(manifest("other"), false).await.unwrap();
    let (agent, other) = (agent(&daemon, "outside", 0).await, agent(&daemon, "other", 0).await);
    let session = agent.open_session().await.unwrap().session;
    let own = other.open_session().await.unwrap().session;
    let intruder = other.in_session(session.id);
    assert_eq!(refused(intruder.whoami().await), Code::SessionUnknown);
    assert_eq!(refused(intruder.invoke(&set("a", json!(1), None)).await), Code::SessionUnknown);
    assert_eq!(refused(intruder.end_session().await), Code::SessionUnknown);
    let own = intruder.in_session(own.id);
    own.invoke(&set("a", json!(1), None)).await.expect("the control: its own");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_done_once_for_an_idempotency_key_and_what_fails_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let agent = agent(&daemon, "outside", 0).await;
    assert_eq!(refused(agent.invoke(&set("a", json!(1), None)).await), Code::SessionNone);
    agent.open_session().await.unwrap();
    let first = agent.invoke(&set("total", json!({"n": 1}), Some("one"))).await.unwrap().done().unwrap();
    let again = agent.invoke(&set("total", json!({"n": 1}), Some("one"))).await.unwrap().done().unwrap();
    assert_eq!((first.call, first.repeated, &first.result), (again.call, false, &again.result));
    assert!(again.repeated && first.result == json!({"version": 1}), "{again:?}");
    assert_eq!(refused(agent.invoke(&set("total", json!(2), Some("one"))).await), Code::IdempotencyKeyReused);
    let read = agent.invoke(&call("state.persistent.get", json!({"key": "total"}))).await.unwrap().done().unwrap();
    assert_eq!((read.result, read.detail.unwrap()["version"].clone()), (json!({"n": 1}), json!(1)));
    let Err(Error::Problem(missing)) = agent.invoke(&call("state.persistent.get", json!({"key": "none"}))).await else {
        panic!("there is nothing under it")
    };
    assert_eq!((missing.code, missing.errors[0].code.as_str()), (Code::CallFailed, "not_found"));
    assert!(missing.hint.contains("look at what there is"), "{missing:?}");
    let stale = json!({"key": "total", "value": 3, "expected_version": 7});
    let Err(Error::Problem(stale)) = agent.invoke(&call("state.persistent.set", stale)).await else {
        panic!("it has another version")
    };
    assert!(stale.detail.contains("VersionConflict") && stale.hint.contains("read the value again"), "{stale:?}");
    assert_eq!(stale.errors[0].hint.as_ref(), Some(&stale.hint), "each failure has a next step of its own");
    for (asked, code) in [
        (call("filesystem.write", json!({"path": "a.txt", "content": "x"})), Code::CallBlocked),
        (call("state.persistent.get", json!({"kye": "total"})), Code::CallArgumentsWrong),
        (call("email.send", json!({})), Code::CallArgumentsWrong),
    ] {
        assert_eq!(refused(agent.invoke(&asked).await), code, "{asked:?}");
    }
    let offered = agent.offered().await.unwrap().items;
    let names: Vec<&str> = offered.iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.contains(&"filesystem.read") && !names.contains(&"filesystem.write"), "{names:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_closes_what_is_connected_and_its_stream_and_the_agent_may_connect_again() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let agent = agent(&daemon, "outside", 0).await;
    let session = agent.open_session().await.unwrap().session;
    let mut events = agent.own_events(Some(0));
    until(&mut events, "session.opened").await;
    agent.invoke(&set("a", json!(1), None)).await.unwrap();
    let shown = daemon.client.agent("outside").await.unwrap().agent;
    assert_eq!(shown.status, AgentStatus::Active, "the control: it is present");
    daemon.client.supervise_agent("outside", Act::Kill, &Supervise::default()).await.unwrap();
    // The answer came after the commit in which the session ended.
    assert_eq!(refused(agent.clone().in_session(session.id).whoami().await), Code::SessionEnded);
    assert_eq!(until(&mut events, "session.ended").await.outcome.as_deref(), Some("killed"));
    let broken = timeout(TEST_TIMEOUT, events.next()).await.unwrap();
    assert!(matches!(broken, Ok(Some(StreamItem::Broken))), "{broken:?}");
    let after = timeout(TEST_TIMEOUT, events.next()).await.unwrap();
    assert_eq!(refused(after), Code::SessionNone, "the stream was closed, and there is none to join again");
    let shown = daemon.client.agent("outside").await.unwrap().agent;
    let last = shown.session.unwrap();
    assert_eq!(
        (shown.status, last.status, last.ending.as_deref()),
        (AgentStatus::Idle, SessionStatus::Ended, Some("killed"))
    );
    assert_eq!(last.invocations, 1);
    agent.open_session().await.expect("it may connect again");
    agent.invoke(&set("a", json!(2), None)).await.unwrap();
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_session_brings_its_calls_goes_on_where_it_was_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let agent = agent(&daemon, "outside", 0).await;
    let mut everything = daemon.client.watch_all(Some("outside"), Some("state.*"), Some(0));
    agent.open_session().await.unwrap();
    let made = agent.invoke(&set("a", json!(1), None)).await.unwrap().done().unwrap();
    agent.invoke(&call("agent.whoami", json!({}))).await.unwrap();
    let mut own = agent.own_events(Some(0));
    let called = until(&mut own, "call.called").await;
    assert_eq!((called.call, called.capability.as_deref()), (Some(made.call), Some("state.persistent.set")));
    let mut resumed = agent.own_events(Some(called.index));
    let next = until(&mut resumed, "call.ended").await;
    assert_eq!((next.call, next.outcome.as_deref()), (Some(made.call), Some("done")));
    let watched = until(&mut everything, "call.ended").await;
    assert_eq!((watched.call, watched.agent_name.as_deref()), (Some(made.call), Some("outside")));
    let second = agent.invoke(&set("a", json!(2), None)).await.unwrap().done().unwrap();
    let watched = until(&mut everything, "call.ended").await;
    assert_eq!(watched.call, Some(second.call), "the call of another capability was not shown");
    agent.end_session().await.unwrap();
    assert_eq!(until(&mut resumed, "session.ended").await.outcome.as_deref(), Some("closed"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_agent_stays_connected_and_each_call_is_refused_until_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let agent = agent(&daemon, "outside", 0).await;
    agent.open_session().await.unwrap();
    daemon.client.pause_agent("outside", &Pause::default()).await.unwrap();
    let Err(Error::Problem(paused)) = agent.invoke(&set("a", json!(1), None)).await else { panic!("it is paused") };
    assert_eq!(paused.code, Code::SessionPaused);
    assert!(paused.detail.starts_with("SessionPaused"), "{}", paused.detail);
    assert!(agent.whoami().await.unwrap().session.is_some(), "it stays connected");
    daemon.client.supervise_agent("outside", Act::Resume, &Supervise::default()).await.unwrap();
    agent.invoke(&set("a", json!(1), None)).await.expect("the control: resumed");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_key_is_refused_everywhere_from_the_answer_on() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let first = agent(&daemon, "outside", 0).await;
    first.open_session().await.unwrap();
    let second = agent(&daemon, "outside", 600_000).await;
    first.whoami().await.expect("the control: within the overlap");
    let third = agent(&daemon, "outside", 0).await;
    for dead in [&first, &second] {
        assert_eq!(refused(dead.whoami().await), Code::Unauthenticated);
        assert_eq!(refused(dead.open_session().await), Code::Unauthenticated);
        assert_eq!(refused(dead.invoke(&set("a", json!(1), None)).await), Code::Unauthenticated);
    }
    third.open_session().await.unwrap();
    let mut events = third.own_events(Some(0));
    until(&mut events, "session.opened").await;
    daemon.client.supervise_agent("outside", Act::Revoke, &Supervise::default()).await.unwrap();
    assert_eq!(refused(third.open_session().await), Code::Unauthenticated);
    assert_eq!(refused(third.invoke(&set("a", json!(1), None)).await), Code::Unauthenticated);
    assert_eq!(refused(daemon.client.rotate_agent("outside", &RotateKey::default()).await), Code::AgentRevoked);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_the_daemon_that_it_was_opened_at() {
    let folder = tempfile::tempdir().unwrap();
    let (first, worker) = daemon(folder.path()).await;
    let key = first.client.rotate_agent("outside", &RotateKey::default()).await.unwrap().secret;
    let session = holding(&first, &key).open_session().await.unwrap().session;
    let made = holding(&first, &key).invoke(&set("a", json!(1), Some("k"))).await.unwrap().done().unwrap();
    drop(worker);
    first.stop().await;
    let second = Running::start(folder.path(), Arc::new(SystemClock), &[]).await;
    let agent = holding(&second, &key);
    assert_eq!(agent.whoami().await.unwrap().session.map(|live| live.id), Some(session.id));
    let again = agent.invoke(&set("a", json!(1), Some("k"))).await.unwrap().done().unwrap();
    assert_eq!((again.call, again.repeated), (made.call, true));
    second.stop().await;
}

/// The answer of a call that is still open.
async fn open_call(agent: &Client, capability: &str, arguments: Value) -> SessionCall {
    let asked = Invoke { wait_ms: Some(0), ..call(capability, arguments) };
    match agent.invoke(&asked).await.unwrap() {
        Answered::Open(open) => open,
        Answered::Done(done) => panic!("nobody answers it yet: {done:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_a_sandbox_is_waited_for_and_goes_on_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, worker) = daemon(folder.path()).await;
    let agent = agent(&daemon, "outside", 0).await;
    agent.open_session().await.unwrap();
    let read = || call("filesystem.read", json!({"path": "a.txt"}));
    let done = agent.invoke(&Invoke { idempotency_key: Some("one".into()), ..read() }).await.unwrap().done().unwrap();
    assert_eq!(done.result["content"], "what is there");
    let again = agent.invoke(&Invoke { idempotency_key: Some("one".into()), ..read() }).await.unwrap().done().unwrap();
    assert_eq!((again.call, again.repeated), (done.call, true));
    worker.answers.send_replace(false);
    let open = open_call(&agent, "filesystem.read", json!({"path": "b.txt"})).await;
    assert_ne!(open.state, CallState::Ended);
    let listed = daemon.client.sessions(&[], 10).await.unwrap();
    assert_eq!((listed[0].calls, listed[0].has_sandbox, listed[0].invocations), (1, true, 2));
    worker.answers.send_replace(true);
    let ended = timeout(TEST_TIMEOUT, agent.session_call(open.call, 60_000)).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.outcome.as_deref()), (CallState::Ended, Some("done")));
    assert_eq!(ended.result.unwrap()["content"], "what is there");
    assert_eq!(refused(agent.cancel_call(open.call).await), Code::CallEnded);
    let other = CallId::mint(&mut Mint::new(Time::from_millis(1), 1));
    assert_eq!(refused(agent.session_call(other, 0).await), Code::CallUnknown);
    daemon.client.deploy(manifest("other"), false).await.unwrap();
    let stranger = self::agent(&daemon, "other", 0).await;
    assert_eq!(refused(stranger.session_call(open.call, 0).await), Code::CallUnknown, "another's is none of its");
    daemon.stop().await;
}
