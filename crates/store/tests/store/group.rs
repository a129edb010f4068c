//! Jobs that share a transaction: a failed one takes only itself back, a failed transaction takes back everything.

use crate::door::{self, OWNER, World};
use std::sync::{Arc, Mutex, mpsc};
use tenure_core::fold::{Event, Stream};
use tenure_core::project;
use tenure_core::time::Time;
use tenure_store::verify::{Depth, verify};
use tenure_store::{Class, Error, Options, Store, Txn, events_from};

fn start_event(version: &str) -> Event {
    Event::Project(project::Event::DaemonStarted { version: version.into() })
}

fn append(txn: &mut Txn<'_>, version: &str) -> Result<u64, Error> {
    txn.append(Stream::Project, OWNER, start_event(version), Time::from_millis(9_000_000_000_000))
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

type Deed = Box<dyn FnOnce(&mut Txn<'_>) -> Result<u64, Error> + Send>;

#[test]
fn jobs_that_wait_share_one_transaction_and_a_failed_one_takes_back_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let mut options = Options::new(dir.path());
    options.hook = Some(Box::new(move |commit| seen.lock().unwrap().push(commit.records.len())));
    let store = Store::open(options).unwrap();
    let mut world = World::new(21);
    world.found(&store);
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
    let run = |job: Deed| store.writer().write(Class::Interactive, job);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let later = runtime.block_on(async {
        let jobs = tokio::join!(
            run(Box::new(|txn| append(txn, "second"))),
            run(Box::new(|txn| append(txn, "failed").and_then(|_| invariant()))),
            run(Box::new(|txn| {
                append(txn, "failed after its rows were written")?;
                assert_eq!(txn.agent_named("nobody")?, None);
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
    let project = door::fold(&store, Stream::Project).unwrap();
    assert_eq!(project.project().unwrap().starts, 3);
    store.close();
    assert!(verify(dir.path(), Depth::Payloads).unwrap().holds());
}

#[test]
fn a_full_disk_refuses_everyone_loses_nothing_and_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.pages_max = Some(90);
    let store = Store::open(options).unwrap();
    let mut world = World::new(22);
    world.found(&store);
    let mut acked = 0u64;
    let full = loop {
        let payload = world.payload(vec![1; 9_000]);
        let version = acked.to_string();
        let job = move |txn: &mut Txn<'_>| {
            txn.payload(payload)?;
            append(txn, &version)
        };
        match store.writer().write_blocking(Class::Interactive, job) {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
        assert!(acked < 1000, "the limit is never met");
    };
    assert!(matches!(full, Error::Full { .. }), "{full:?}");
    let expected: Vec<String> = (0..acked).map(|number| number.to_string()).collect();
    assert_eq!(versions(&store), expected);
    let starts = door::fold(&store, Stream::Project).unwrap().project().unwrap().starts;
    assert_eq!(starts, acked, "the cache holds what was never committed");
    let refused = store.writer().write_blocking(Class::Interactive, |txn| append(txn, "small"));
    store.close();
    assert!(verify(dir.path(), Depth::Payloads).unwrap().holds());
    let store = Store::open(Options::new(dir.path())).unwrap();
    store.writer().write_blocking(Class::Interactive, |txn| append(txn, "room")).unwrap();
    assert_eq!(versions(&store).len() as u64, acked + u64::from(refused.is_ok()) + 1);
    store.close();
    assert!(verify(dir.path(), Depth::Payloads).unwrap().holds());
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
        let job = move |txn: &mut Txn<'_>| {
            txn.payload(payload)?;
            append(txn, &version)
        };
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
    let report = verify(&dir, Depth::Payloads).unwrap();
    assert!(report.holds(), "{:?}", report.findings.kept());
    let store = Store::open(Options::new(&dir)).unwrap();
    store.writer().write_blocking(Class::Interactive, |txn| append(txn, "started again")).unwrap();
}

#[test]
fn the_clock_of_the_ledger_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(23);
    world.found(&store);
    let job = |at| move |txn: &mut Txn<'_>| txn.append(Stream::Project, OWNER, start_event("x"), Time::from_millis(at));
    store.writer().write_blocking(Class::Interactive, job(8_000_000_000_000)).unwrap();
    store.close();
    let store = Store::open(Options::new(dir.path())).unwrap();
    store.writer().write_blocking(Class::Wake, job(5)).unwrap();
    let records = store.reader().read_blocking(|sql| events_from(sql, 1, 10)).unwrap();
    assert!(records.iter().all(|record| record.meta.at == Time::from_millis(8_000_000_000_000)), "{records:?}");
}

#[test]
fn an_event_with_a_number_that_json_would_round_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(24);
    world.found(&store);
    let event = Event::Project(project::Event::RestoreAccepted { outside_index: 1 << 53, why: String::new() });
    let job = move |txn: &mut Txn<'_>| txn.append(Stream::Project, OWNER, event, Time::from_millis(5));
    assert!(matches!(store.writer().write_blocking(Class::Interactive, job), Err(Error::Invariant { .. })));
    store.writer().write_blocking(Class::Interactive, |txn| append(txn, "next")).unwrap();
    assert_eq!(versions(&store), ["next"]);
    store.close();
    assert!(verify(dir.path(), Depth::Payloads).unwrap().holds());
}
