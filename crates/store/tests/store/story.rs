//! One story through the store's whole API: a project, an agent, an execution to its end, read back every way.

use crate::door::{self, World};
use std::sync::{Arc, Mutex};
use tenure_core::bound::Hash;
use tenure_core::command::{Command, Refusal};
use tenure_core::execution::{self, Misstep, Start};
use tenure_core::fold::Stream;
use tenure_core::owed::Kind;
use tenure_core::time::Time;
use tenure_store::rows::{Match, agents, calls, executions, iterations, turns, workers};
use tenure_store::{Class, Error, Options, Outside, Store, events_from, events_of, next_owed, owed_now, payload};

fn payload_of(store: &Store, hash: Hash) -> Result<Option<Vec<u8>>, Error> {
    store.reader().read_blocking(|sql| payload(sql, store.blobs(), &hash))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in one go")]
fn an_execution_runs_to_its_end_and_reads_back_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&seen);
    let mut options = Options::new(dir.path());
    options.hook = Some(Box::new(move |commit| {
        watched.lock().unwrap().extend(commit.records.iter().map(|record| record.record.kind().to_string()));
    }));
    let store = Store::open(options).unwrap();
    let mut world = World::new(1);
    world.found(&store);
    let agent = world.deploy(&store, "Tidy");
    let worker = world.worker(&store, 2);
    let key = Hash::of(b"idempotency");
    let id = world.start(&store, agent, Some(key));
    let read = |job: &mut dyn FnMut(&mut dyn tenure_store::sql::Sql)| {
        store.reader().read_blocking(|sql| {
            job(sql);
            Ok(())
        })
    };
    read(&mut |sql| {
        let owed = owed_now(sql, Kind::Bind, Time::from_millis(world.now), 10).unwrap();
        assert_eq!(owed.iter().map(|row| row.stream).collect::<Vec<_>>(), [Stream::Execution(id)]);
    })
    .unwrap();
    world.bind(&store, id, worker);
    let again = Start { agent, input: world.payload("again"), max_iterations: None, idempotency: Some(key) };
    let other = tenure_core::id::ExecutionId::mint(&mut world.mint());
    let refused = world.run(&store, Command::Execution(other, execution::Command::Start(again)));
    assert_eq!(refused, Err(Refusal::Execution(Misstep::Twin(id))));
    world.turn(&store, id, 2);
    world.end_call(&store, id);
    world.end_call(&store, id);
    world.turn(&store, id, 0);
    read(&mut |sql| {
        assert_eq!(owed_now(sql, Kind::Release, Time::from_millis(world.now), 10).unwrap().len(), 1);
        assert_eq!(executions::bound_to(sql, worker.1), Ok(1));
    })
    .unwrap();
    world.release(&store, id, worker.1);

    read(&mut |sql| {
        let found = executions::get(sql, id).unwrap().unwrap();
        assert_eq!((found.status.as_str(), found.iterations, found.tool_calls), ("completed", 1, 2));
        assert_eq!((found.agent_name.as_str(), found.input_tokens), ("Tidy", 200));
        let short = id.short();
        assert_eq!(executions::find(sql, &short).unwrap(), Match::One(found.clone()));
        assert_eq!(executions::find(sql, &short[4..]).unwrap(), Match::One(found.clone()));
        assert_eq!(executions::bound_to(sql, worker.1), Ok(0));
        let filter = executions::Filter { agent: Some(agent), status: Some("completed".into()), ..Default::default() };
        assert_eq!(executions::list(sql, &filter, 5).unwrap().rows, std::slice::from_ref(&found));
        let failed = executions::Filter { status: Some("timeout".into()), ..Default::default() };
        assert!(executions::list(sql, &failed, 5).unwrap().rows.is_empty());
        let Match::One(entry) = agents::find(sql, "tidy").unwrap() else { panic!("the agent is not found") };
        assert_eq!((entry.id, entry.open_executions, entry.last_ended_at), (agent, 0, found.ended_at));
        assert_eq!(agents::list(sql, None, None, 5).unwrap().rows, [entry]);
        let ended = calls::of_iteration(sql, id, 1, 10).unwrap();
        assert!(ended.len() == 2 && ended.iter().all(|call| call.state == "ended"), "{ended:?}");
        assert_eq!(turns::of(sql, id, 1, 10).unwrap().len(), 2);
        assert_eq!(iterations::of(sql, id, 1, 10).unwrap()[0].status, "completed");
        assert_eq!(workers::list(sql, 5).unwrap()[0].session, Some(worker.1));
        for kind in Kind::ALL {
            let far = Time::from_millis(i64::MAX / 2);
            assert_eq!(owed_now(sql, kind, far, 10).unwrap(), []);
            assert_eq!(next_owed(sql, kind, Time::from_millis(0)).unwrap(), None);
        }
        let all = events_from(sql, 0, 1000).unwrap();
        assert_eq!(all.iter().map(|record| record.meta.kind.clone()).collect::<Vec<_>>(), *seen.lock().unwrap());
        assert_eq!(
            all.iter().map(|record| record.meta.index).collect::<Vec<_>>(),
            (0..all.len() as u64).collect::<Vec<_>>()
        );
        let own = events_of(sql, Stream::Execution(id), 0, 1000).unwrap();
        assert_eq!(own.last().unwrap().meta.kind, "execution.ended");
        assert_eq!(events_of(sql, Stream::Execution(id), own[3].meta.index, 1000).unwrap(), own[3..]);
    })
    .unwrap();
    let input = store.reader().read_blocking(|sql| Ok(executions::get(sql, id)?.unwrap().input)).unwrap();
    assert_eq!(payload_of(&store, input).unwrap().unwrap(), b"do the thing");
    assert_eq!(payload_of(&store, Hash::of(b"none")).unwrap(), None);
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
    let live = door::fold(&store, Stream::Execution(id));
    let second = Store::open(Options::new(dir.path()));
    let held = Error::Held { dir: dir.path().to_path_buf(), pid: Some(std::process::id()) };
    assert_eq!(second.err(), Some(held));
    store.close();

    let store = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(*store.outside(), Outside::Held { newer: 0 });
    assert!(store.size_at_open() > 160);
    assert_eq!(door::fold(&store, Stream::Execution(id)), live);
    world.turn(&store, id, 0);
    world.release(&store, id, worker.1);
    assert!(door::execution(&store, id).iteration().is_none());
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
    let bytes = large.bytes.clone();
    let job = move |txn: &mut tenure_store::Txn<'_>| txn.payload(large);
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
