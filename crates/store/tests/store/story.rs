//! One story through the store's whole API: a project, an agent, an execution to its end, read back every way.
use crate::world::{self, World};
use rusqlite::Connection;
use serde_json::json;
use std::sync::{Arc, Mutex};
use strum::IntoEnumIterator;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::draft::{Decision, Ledger};
use tenure_core::execution::{self, Execution, Reason, Start, Status, Trigger};
use tenure_core::facts::{Counter, Facts};
use tenure_core::id::ExecutionId;
use tenure_core::owed::{Kind, Obligation};
use tenure_core::plan::Plan;
use tenure_core::state;
use tenure_core::time::{Run, Stamp, Time};
use tenure_store::rows::{Match, agents, calls, executions, iterations, turns, workers};
use tenure_store::sql::Sql;
use tenure_store::verify::{Depth, verify};
use tenure_store::{
    Checkpoint, Class, Error, Options, Store, Txn, events_from, events_of, next_owed_ms, owed_now, payload,
};

fn payload_of(store: &Store, hash: Hash) -> Result<Option<Vec<u8>>, Error> {
    read(store, |sql| payload(sql, store.blobs(), &hash))
}

fn read<T>(store: &Store, job: impl FnOnce(&mut dyn Sql) -> Result<T, Error>) -> Result<T, Error> {
    store.reader().read_blocking(job)
}

fn owed(store: &Store, kind: Kind, now: Stamp) -> Vec<Stream> {
    let owed = read(store, |sql| owed_now(sql, kind, now, 0, 10)).unwrap();
    owed.into_iter().map(|(stream, _)| stream).collect()
}

const FAR: Stamp = Stamp { at: Time::from_millis(i64::MAX / 2), run: Run::from_millis(1 << 52) };

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn an_execution_runs_to_its_end_and_reads_back_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&seen);
    let mut options = Options::new(dir.path());
    options.hook = Some(Box::new(move |commit| {
        let events = commit.appended.iter().flat_map(|appended| &appended.decision.events);
        watched.lock().unwrap().extend(events.map(|(_, event)| event.kind().to_string()));
    }));
    let store = Store::open(options).unwrap();
    let mut world = World::new(1);
    world.found(&store);
    let agent = world.deploy(&store, "Tidy");
    let worker = world.worker(&store, 2);
    let key = Hash::of(b"idempotency");
    let id = world.start(&store, agent, Some(key));
    assert_eq!(owed(&store, Kind::Place, world.now), [Stream::Execution(id)]);
    world.bind(&store, id, worker);
    let again = Start {
        agent,
        revision: None,
        input: world.payload("again"),
        max_iterations: None,
        idempotency: Some(key),
        trigger: Trigger::Manual,
    };
    let other = ExecutionId::mint(&mut world.mint());
    let refused = world.run(&store, Command::Execution(other, execution::Command::Start(again))).unwrap_err();
    assert_eq!(refused, Refusal::Execution(execution::Refusal::Repeated { execution: id }));
    world.turn(&store, id, 2);
    world.end_call(&store, id);
    world.end_call(&store, id);
    world.turn(&store, id, 0);
    assert_eq!(owed(&store, Kind::Release, world.now), [Stream::Execution(id)]);
    assert_eq!(read(&store, |sql| workers::bound_to(sql, worker.1)), Ok(1));
    world.release(&store, id, worker.1);

    read(&store, |sql| {
        let found = executions::get(sql, id)?.unwrap();
        assert_eq!((found.status, found.iterations, found.tool_calls), (Status::Completed, 1, 2));
        assert_eq!((found.agent_name.as_str(), found.input_tokens), ("Tidy", 200));
        let short = id.short();
        assert_eq!(executions::find(sql, &short)?, Match::One(found.clone()));
        assert_eq!(executions::find(sql, &short[4..])?, Match::One(found.clone()));
        assert_eq!(workers::bound_to(sql, worker.1), Ok(0));
        let completed = executions::Filter { status: Some(Status::Completed), ..Default::default() };
        let filter = executions::Filter { agent: Some(agent), ..completed };
        assert_eq!(executions::list(sql, &filter, 5)?.rows, std::slice::from_ref(&found));
        let failed = executions::Filter { reason: Some(Reason::Timeout), ..Default::default() };
        assert!(executions::list(sql, &failed, 5)?.rows.is_empty());
        let Match::One(entry) = agents::find(sql, "tidy")? else { panic!("the agent is not found") };
        let standing = &entry.standing;
        assert_eq!((entry.id, standing.open, standing.last_ended_at), (agent, 0, found.ended_at));
        assert_eq!(standing.home, Some(worker.0));
        assert_eq!(agents::list(sql, &agents::Filter::default(), 5)?.rows, [entry]);
        let ended = calls::of_iteration(sql, id, 1, 10)?;
        assert!(ended.len() == 2 && ended.iter().all(|call| call.state == "ended"), "{ended:?}");
        assert_eq!(turns::of(sql, id, 1, 10)?.len(), 2);
        assert_eq!(iterations::of(sql, id, 1, 10)?[0].status, "completed");
        assert_eq!(workers::list(sql, 5)?[0].connection, Some(worker.1));
        for kind in Kind::iter() {
            assert_eq!(owed_now(sql, kind, FAR, 0, 10)?, []);
            assert_eq!(next_owed_ms(sql, kind, Stamp::default())?, None);
        }
        let all = events_from(sql, 0, 1000)?;
        assert_eq!(all.iter().map(|record| record.meta.kind.clone()).collect::<Vec<_>>(), *seen.lock().unwrap());
        assert_eq!(
            all.iter().map(|record| record.meta.index).collect::<Vec<_>>(),
            (0..all.len() as u64).collect::<Vec<_>>()
        );
        let own = events_of(sql, Stream::Execution(id), 0, 1000)?;
        assert_eq!(own.last().unwrap().meta.kind, "execution.ended");
        assert_eq!(events_of(sql, Stream::Execution(id), own[3].meta.index, 1000)?, own[3..]);
        Ok(())
    })
    .unwrap();
    let input = read(&store, |sql| Ok(executions::get(sql, id)?.unwrap().input)).unwrap();
    assert_eq!(payload_of(&store, input).unwrap().unwrap(), b"do the thing");
    assert_eq!(payload_of(&store, Hash::of(b"none")).unwrap(), None);
}

#[test]
fn a_revision_s_plan_is_what_was_compiled_and_a_value_that_a_call_kept_is_read_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(4);
    world.found(&store);
    let agent = world.deploy(&store, "a");
    let revision = read(&store, |sql| agents::revision(sql, agent, 1)).unwrap().unwrap();
    let revision = revision.verified(store.reader().macs()).unwrap();
    let stored = payload_of(&store, revision.plan).unwrap().unwrap();
    assert_eq!(Plan::read(&stored), Ok(world::plan()));
    assert!(payload_of(&store, revision.manifest).unwrap().unwrap().starts_with(b"manifest of a"));

    let worker = world.worker(&store, 2);
    let id = world.start(&store, agent, None);
    world.bind(&store, id, worker);
    let set = world.proposal_of("state.persistent.set", &json!({ "key": "mood", "value": { "is": "good" } }));
    let get = world.proposal_of("state.persistent.get", &json!({ "key": "mood" }));
    world.turn_asking(&store, id, vec![set, get]);
    assert_eq!(owed(&store, Kind::Perform, world.now), [Stream::Execution(id)]);
    let kept_at = world.perform(&store, id).stamp.at;
    world.perform(&store, id);
    assert_eq!(owed(&store, Kind::Perform, world.now), []);

    let namespace = state::Space::persistent(agent).namespace;
    let job = move |txn: &mut Txn<'_>| {
        assert_eq!(txn.plan(agent, 1).unwrap().as_deref(), Some(&world::plan()));
        assert_eq!(txn.entry(&namespace, "other"), Ok(None));
        let bytes = txn.count(Counter::StateBytes, &namespace, 0).unwrap();
        Ok((txn.entry(&namespace, "mood").unwrap().unwrap(), bytes))
    };
    let (entry, bytes) = store.writer().write_blocking(Class::Interactive, job).unwrap();
    assert_eq!((entry.version, entry.by, entry.at), (1, tenure_core::actor::Actor::Agent(agent), kept_at));
    let bound = entry.value.unwrap();
    let value = br#"{"is":"good"}"#;
    assert_eq!(payload_of(&store, bound.hash).unwrap().unwrap(), value);
    assert_eq!((bound.size, bytes), (value.len() as u64, ("mood".len() + value.len()) as i64));
    let ended = read(&store, |sql| calls::of_iteration(sql, id, 1, 10)).unwrap();
    let [set, get] = ended.as_slice() else { panic!("two calls were asked for: {ended:?}") };
    assert_eq!((set.state.as_str(), set.outcome.as_deref()), ("ended", Some("done")));
    assert_eq!((get.state.as_str(), get.result), ("ended", Some(bound.hash)), "the value itself is the result");
    assert!(get.detail.as_deref().unwrap().contains(r#""version":1"#), "{get:?}");
}

#[test]
fn what_is_owed_by_the_wall_clock_waits_when_it_steps_back_and_what_is_owed_by_the_daemon_s_life_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(5);
    world.found(&store);
    let worker = world.worker(&store, 2);
    let (archived, busy) = (world.deploy(&store, "archived"), world.deploy(&store, "busy"));
    world.whole(&store, archived, worker, 1);
    let running = world.start(&store, busy, None);
    world.bind(&store, running, worker);
    let (grace, bound_at) = (3_600_000, world.now.run);
    let delete = agent::Command::Delete { home_grace_ms: grace };
    let deleted = world.run(&store, Command::Agent(archived, delete)).unwrap().stamp;

    let (remove, expire) = (Kind::RemoveHome, Kind::Expire);
    let due = deleted.at.plus_ms(grace);
    let expires = bound_at.plus_ms(world::plan().limits.iteration_timeout_ms);
    let until = |kind, now| read(&store, |sql| next_owed_ms(sql, kind, now)).unwrap();
    let early = Stamp { at: Time::from_millis(due.millis() - 1), run: Run::from_millis(expires.millis() - 1) };
    assert_eq!((owed(&store, remove, early), until(remove, early)), (Vec::new(), Some(1)));
    assert_eq!((owed(&store, expire, early), until(expire, early)), (Vec::new(), Some(1)));
    let both = Stamp { at: due, run: expires };
    assert_eq!((owed(&store, remove, both), until(remove, both)), (vec![Stream::Agent(archived)], None));
    assert_eq!((owed(&store, expire, both), until(expire, both)), (vec![Stream::Execution(running)], None));
    let stepped_back = Stamp { at: deleted.at, ..both };
    assert_eq!((owed(&store, remove, stepped_back), until(remove, stepped_back)), (Vec::new(), Some(grace)));
    assert_eq!(owed(&store, expire, stepped_back), [Stream::Execution(running)]);
    // The wall clock being far ahead makes nothing due that is owed by the daemon's life.
    assert_eq!(owed(&store, expire, Stamp { at: FAR.at, ..early }), []);

    let owes = read(&store, |sql| owed_now(sql, remove, both, 0, 10)).unwrap();
    assert_eq!(owes[0].1.obligation, Obligation::RemoveHome { worker: worker.0 });
    let removed = agent::Command::RecordHomeRemoved { worker: worker.0 };
    world.run(&store, Command::Agent(archived, removed)).unwrap();
    assert_eq!((owed(&store, remove, FAR), until(remove, Stamp::default())), (Vec::new(), None));
}

#[test]
fn a_database_of_the_old_layout_is_refused_and_not_changed() {
    // The second as a killed daemon leaves it, with records in the log alone.
    for mode in ["DELETE", "WAL"] {
        let (made, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let db = Connection::open(made.path().join("tenure.db")).unwrap();
        db.execute_batch(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE migrations (name TEXT PRIMARY KEY, hash TEXT NOT NULL); \
             INSERT INTO migrations VALUES ('0001 first light', 'a hash'); \
             CREATE TABLE ledger (project TEXT, idx BIGINT, body BYTEA); INSERT INTO ledger VALUES ('p', 0, X'7B7D')"
        ))
        .unwrap();
        for file in ["tenure.db", "tenure.db-wal"] {
            let _ = std::fs::copy(made.path().join(file), dir.path().join(file));
        }
        let bytes = |file: &str| std::fs::read(dir.path().join(file)).ok();
        let before = (bytes("tenure.db"), bytes("tenure.db-wal"));
        assert_eq!((before.0.is_some(), before.1.is_some()), (true, mode == "WAL"));
        assert_eq!(Store::open(Options::new(dir.path())).err(), Some(Error::Older));
        assert!((bytes("tenure.db"), bytes("tenure.db-wal")) == before, "{mode}: the old database was changed");
        assert!(!dir.path().join("ledger.key").exists(), "a key was made for a ledger that is not read");
        std::fs::write(dir.path().join("ledger.pub"), "0".repeat(64)).unwrap();
        assert_eq!(verify(dir.path(), Depth::Whole).err(), Some(Error::Older));
    }
}

#[test]
fn a_reopened_store_goes_on_where_it_was_and_a_second_daemon_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(2);
    world.found(&store);
    let agent = world.deploy(&store, "a");
    let worker = world.worker(&store, 2);
    let id = world.start(&store, agent, None);
    world.bind(&store, id, worker);
    for _ in 0..40 {
        world.turn(&store, id, 1);
        world.end_call(&store, id);
    }
    let live = world::get::<Execution>(&store, id);
    let second = Store::open(Options::new(dir.path()));
    let held = Error::Held { dir: dir.path().to_path_buf(), pid: Some(std::process::id()) };
    assert_eq!(second.err(), Some(held));
    store.close();

    let store = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(*store.checkpoint(), Checkpoint::OnChain { newer: 0 });
    assert!(store.size_at_open() > 160);
    assert_eq!(world::get::<Execution>(&store, id), live);
    world.turn(&store, id, 0);
    world.release(&store, id, worker.1);
    assert!(world::get::<Execution>(&store, id).iteration().is_none());
}

#[test]
fn a_large_payload_is_a_file_and_one_that_no_commit_named_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(3);
    world.found(&store);
    let (large, lost) = (world.payload(vec![7; 100_000]), world.payload(vec![8; 100_000]));
    let (hash, orphan) = (large.bound().hash, lost.bound().hash);
    store.blobs().keep(&lost).unwrap();
    let bytes = large.bytes().to_vec();
    let job = move |txn: &mut Txn<'_>| {
        let decision = Decision { payloads: vec![large], ..Decision::default() };
        txn.append(world::OWNER, Stamp::default(), &Arc::new(decision))
    };
    store.writer().write_blocking(Class::Interactive, job).unwrap();
    assert_eq!(payload_of(&store, hash).unwrap(), Some(bytes));
    let file = |hash: Hash| dir.path().join("blobs").join(&hash.to_string()[..2]).join(hash.to_string());
    assert!(file(hash).exists() && file(orphan).exists());
    store.close();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let swept = (0..6_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !file(orphan).exists()
    });
    assert!(swept && file(hash).exists());
    std::fs::write(file(hash), vec![9; 100_000]).unwrap();
    assert!(matches!(payload_of(&store, hash), Err(Error::Corrupt { .. })));
}

#[test]
fn an_execution_that_has_begun_is_queued_before_older_ones_that_have_not_and_each_is_told_how_many_are_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(9);
    world.found(&store);
    let agent = world.deploy_under(&store, "Tidy", &world::validated_plan(1));
    let worker = world.worker(&store, 2);
    let [oldest, begun, newest] = [(); 3].map(|()| world.start(&store, agent, None));
    let queue = || {
        let rows = read(&store, |sql| executions::queued_of(sql, agent, 10)).unwrap();
        let before = |id| read(&store, |sql| executions::queued_before(sql, agent, id)).unwrap();
        let mut queue: Vec<(ExecutionId, u64)> = rows.iter().map(|row| (row.id, before(row.id))).collect();
        queue.sort_by_key(|(_, before)| *before);
        assert_eq!(
            queue.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            rows.iter().map(|row| row.id).collect::<Vec<_>>()
        );
        queue
    };
    assert_eq!(queue(), [(oldest, 0), (begun, 1), (newest, 2)]);
    world.bind(&store, begun, worker);
    world.turn(&store, begun, 0);
    let reasons = world.payload("it ended with 1");
    let finding = execution::Finding { validator: "exit_code".into(), pass: false, score_milli: 0, reasons };
    let (connection, since) = (worker.1, world.now.run);
    let unbind = execution::Command::Unbind { connection, since, why: "its worker is gone".into() };
    world.run_execution(&store, begun, unbind);
    world.run_execution(&store, begun, execution::Command::Validate { iteration: 1, index: 0, finding });
    assert_eq!(world::get::<Execution>(&store, begun).status().0, Status::Queued);
    assert_eq!(queue(), [(begun, 0), (oldest, 1), (newest, 2)]);
}
