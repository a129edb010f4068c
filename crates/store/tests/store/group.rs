//! Jobs that share a transaction: a failed one takes only itself back, a failed transaction takes back everything.

use crate::world::{self, OWNER, World};
use std::sync::{Arc, Mutex, mpsc};
use tenure_core::aggregate::{Command, Event, Stream, apply};
use tenure_core::bound::Payload;
use tenure_core::draft::{Decision, Ledger};
use tenure_core::facts::{Facts, Namespace};
use tenure_core::id::ProjectId;
use tenure_core::project::{self, Project};
use tenure_core::time::{Run, Stamp, Time};
use tenure_store::verify::{Depth, verify};
use tenure_store::{Class, Error, Options, Store, Txn, events_from};

const NOW: Stamp = Stamp { at: Time::from_millis(9_000_000_000_000), run: Run::from_millis(9_000) };

/// A command on the project's own stream; gives the index of its last record.
fn command(txn: &mut Txn<'_>, command: project::Command, stamp: Stamp) -> Result<u64, Error> {
    let project = txn.project().unwrap();
    Ok(world::commit(txn, OWNER, Command::Project(project, command), stamp, 1)?.unwrap().index)
}

fn append(txn: &mut Txn<'_>, version: &str) -> Result<u64, Error> {
    command(txn, project::Command::RecordStart { version: version.into() }, NOW)
}

/// A start whose decision brings a payload too.
fn append_with(txn: &mut Txn<'_>, version: &str, payload: Payload) -> Result<u64, Error> {
    let stream = Stream::Project(txn.project().unwrap());
    let event = Event::Project(project::Event::DaemonStarted { version: version.into() });
    let mut fold = txn.fold(stream).unwrap().as_deref().cloned();
    apply(&mut fold, &event, NOW);
    let (events, folds) = (vec![(stream, event)], vec![(stream, fold.map(Arc::new))]);
    let decision = Decision { events, folds, payloads: vec![payload], ..Decision::default() };
    txn.append(OWNER, NOW, &Arc::new(decision))
}

/// What fills the disk is bound by nothing, and is all that is found.
fn check_but_for_what_fills(dir: &std::path::Path) {
    let report = verify(dir, Depth::Whole).unwrap();
    let found: Vec<String> = report.findings.kept().iter().map(ToString::to_string).collect();
    assert!(found.iter().all(|what| what.contains("`payloads` is there, and no record binds it")), "{found:?}");
}

fn starts(store: &Store, project: ProjectId) -> u64 {
    world::get::<Project>(store, project).starts
}

fn versions(store: &Store) -> Vec<String> {
    let records = store.reader().read_blocking(|sql| events_from(sql, 0, 10_000)).unwrap();
    let version = |event: Event| match event {
        Event::Project(project::Event::DaemonStarted { version }) => Some(version),
        _ => None,
    };
    records.into_iter().filter_map(|record| version(record.event)).collect()
}

fn invariant<T>() -> Result<T, Error> {
    Err(Error::Invariant { what: "meant".into() })
}

type Work = Box<dyn FnOnce(&mut Txn<'_>) -> Result<u64, Error> + Send>;

#[test]
fn jobs_that_wait_share_one_transaction_and_a_failed_one_takes_back_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let mut options = Options::new(dir.path());
    options.hook = Some(Box::new(move |commit| {
        let events = commit.appended.iter().map(|appended| appended.decision.events.len());
        seen.lock().unwrap().push(events.sum::<usize>());
    }));
    let store = Store::open(options).unwrap();
    let mut world = World::new(21);
    let project = world.found(&store);
    let (go, wait) = mpsc::channel::<()>();
    let (running, runs) = mpsc::channel::<()>();
    let first = store.writer().clone();
    let blocked = std::thread::spawn(move || {
        first.write_blocking(Class::Interactive, move |txn| {
            running.send(()).unwrap();
            let index = append(txn, "first");
            wait.recv().unwrap();
            index
        })
    });
    runs.recv().unwrap();
    // Polled in this order, each queues for the writer before the first is let go.
    let run = |job: Work| store.writer().write(Class::Interactive, job);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let later = runtime.block_on(async {
        let jobs = tokio::join!(
            run(Box::new(|txn| append(txn, "second"))),
            run(Box::new(|txn| append(txn, "failed").and_then(|_| invariant()))),
            run(Box::new(|txn| {
                append(txn, "failed after its rows were written")?;
                assert_eq!(txn.holder(Namespace::AgentName, "nobody"), Ok(None));
                append(txn, "and more")?;
                invariant()
            })),
            run(Box::new(|txn| append(txn, "panics").map(|_| panic!("meant, too")))),
            run(Box::new(|txn| append(txn, "last"))),
            async { go.send(()).unwrap() },
        );
        [jobs.0, jobs.1, jobs.2, jobs.3, jobs.4]
    });
    let answers: Vec<Result<u64, Error>> = std::iter::once(blocked.join().unwrap()).chain(later).collect();
    assert_eq!(answers[..3], [Ok(1), Ok(2), invariant()]);
    assert_eq!(answers[3], invariant());
    assert!(matches!(&answers[4], Err(Error::Invariant { what }) if what.contains("meant, too")));
    assert_eq!(answers[5], Ok(3));
    assert_eq!(versions(&store), ["first", "second", "last"]);
    assert_eq!(*sizes.lock().unwrap(), [1, 3], "the founding, then one transaction");
    assert_eq!(starts(&store, project), 3);
    store.close();
    assert!(verify(dir.path(), Depth::Whole).unwrap().holds());
}

#[test]
fn a_full_disk_refuses_everyone_loses_nothing_and_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.pages_max = Some(90);
    let store = Store::open(options).unwrap();
    let mut world = World::new(22);
    let project = world.found(&store);
    let mut acked = 0u64;
    let full = loop {
        let payload = world.payload(vec![1; 9_000]);
        let version = acked.to_string();
        let job = move |txn: &mut Txn<'_>| append_with(txn, &version, payload);
        match store.writer().write_blocking(Class::Interactive, job) {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
        assert!(acked < 1000, "the limit is never met");
    };
    assert!(matches!(full, Error::Full { .. }), "{full:?}");
    let expected: Vec<String> = (0..acked).map(|number| number.to_string()).collect();
    assert_eq!(versions(&store), expected);
    assert_eq!(starts(&store, project), acked, "the cache holds what was never committed");
    let refused = store.writer().write_blocking(Class::Interactive, |txn| append(txn, "small"));
    store.close();
    check_but_for_what_fills(dir.path());
    let store = Store::open(Options::new(dir.path())).unwrap();
    store.writer().write_blocking(Class::Interactive, |txn| append(txn, "room")).unwrap();
    assert_eq!(versions(&store).len() as u64, acked + u64::from(refused.is_ok()) + 1);
    store.close();
    check_but_for_what_fills(dir.path());
}

/// A file system of its own, so small that it fills; none where this user may not mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        let mounted = rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, Some(c"size=16m"));
        mounted.ok().map(|()| SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn on_a_full_disk_the_ballast_gives_room_to_write_that_things_were_stopped() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this user may not mount a small file system");
        return;
    };
    let dir = disk.0.path().join("data");
    let mut options = Options::new(&dir);
    options.ballast_bytes = 4 << 20;
    let store = Store::open(options).unwrap();
    store.ballast().make().unwrap();
    let mut world = World::new(25);
    world.found(&store);
    let mut acked = 0u64;
    let mut refused = 0;
    while refused < 3 {
        let payload = world.payload(vec![1; if refused == 0 { 60_000 } else { 2_000 }]);
        let version = format!("before {acked}");
        let job = move |txn: &mut Txn<'_>| append_with(txn, &version, payload);
        match store.writer().write_blocking(Class::Interactive, job) {
            Ok(_) => acked += 1,
            Err(error) => {
                assert!(matches!(error, Error::Full { .. }), "{error:?}");
                refused += 1;
            }
        }
        assert!(acked < 10_000, "the disk is never full");
    }
    store.ballast().release().unwrap();
    store.writer().write_blocking(Class::Interactive, |txn| append(txn, "stopped")).unwrap();
    let expected: Vec<String> = (0..acked).map(|number| format!("before {number}")).chain(["stopped".into()]).collect();
    assert_eq!(versions(&store), expected);
    store.close();
    check_but_for_what_fills(&dir);
    let store = Store::open(Options::new(&dir)).unwrap();
    store.writer().write_blocking(Class::Interactive, |txn| append(txn, "started again")).unwrap();
}

#[test]
fn neither_clock_of_the_ledger_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(23);
    world.found(&store);
    let stamp = |at, run| Stamp { at: Time::from_millis(at), run: Run::from_millis(run) };
    let job =
        |stamp| move |txn: &mut Txn<'_>| command(txn, project::Command::RecordStart { version: "x".into() }, stamp);
    store.writer().write_blocking(Class::Interactive, job(stamp(8_000_000_000_000, 70_000))).unwrap();
    store.close();
    let store = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(store.end_at_open().1, stamp(8_000_000_000_000, 70_000));
    store.writer().write_blocking(Class::Wake, job(stamp(5, 3))).unwrap();
    store.writer().write_blocking(Class::Wake, job(stamp(5, 80_000))).unwrap();
    let records = store.reader().read_blocking(|sql| events_from(sql, 1, 10)).unwrap();
    let stamps: Vec<Stamp> = records.iter().map(|record| record.meta.stamp).collect();
    assert_eq!(stamps, [70_000, 70_000, 80_000].map(|run| stamp(8_000_000_000_000, run)));
}

#[test]
fn an_event_with_a_number_that_json_would_round_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(24);
    world.found(&store);
    let accept = project::Command::AcceptRestore { checkpoint_size: 1 << 53, why: String::new() };
    let job = move |txn: &mut Txn<'_>| command(txn, accept, NOW);
    assert!(matches!(store.writer().write_blocking(Class::Interactive, job), Err(Error::Invariant { .. })));
    store.writer().write_blocking(Class::Interactive, |txn| append(txn, "next")).unwrap();
    assert_eq!(versions(&store), ["next"]);
    store.close();
    check_but_for_what_fills(dir.path());
}
