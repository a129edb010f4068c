//! Old records leave the database into a sealed file: all is read and proved as before, a file that was taken away is said to be
//! that, a kill at any moment leaves each record in one place, and each way to tamper with it is found.
use crate::export::{checked, key, written};
use crate::verify::{check, copy, found, make};
use crate::world::{OWNER, World, get};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution::{self, Execution};
use tenure_core::id::ExecutionId;
use tenure_core::time::Time;
use tenure_store::audit::{self, Order};
use tenure_store::export::Wanted;
use tenure_store::{Error, Options, Sealed, Selection, Step, Store, events_from, events_of, seal};

/// After all that the world does.
const LATER: i64 = 1_800_000_000_000;

fn seal_all(dir: &Path) -> Option<Sealed> {
    seal(dir, Time::from_millis(LATER), (OWNER, Time::from_millis(LATER)), &mut |_| Ok(())).unwrap()
}

fn holds(dir: &Path) -> tenure_store::verify::Report {
    let report = check(dir);
    assert!(report.holds() && report.replay.is_some_and(|replay| replay.macs), "{}", found(&report));
    report
}

fn database(dir: &Path) -> Connection {
    Connection::open(dir.join("tenure.db")).unwrap()
}

/// All records as a reader gives them, and those that are in no row any more.
fn bodies(dir: &Path) -> (Vec<Vec<u8>>, usize) {
    let store = Store::open(Options::new(dir)).unwrap();
    let read = store.reader().read_blocking(|sql| events_from(sql, 0, 100_000)).unwrap();
    let all = read.into_iter().map(|record| record.bytes).collect();
    drop(store);
    let stubs = "SELECT COUNT(*) FROM ledger WHERE substr(body, 1, 1) = X'00'";
    let stubs: i64 = database(dir).query_row(stubs, [], |row| row.get(0)).unwrap();
    (all, usize::try_from(stubs).unwrap())
}

/// The stream of the first sealed record.
fn sealed_stream(dir: &Path) -> Stream {
    let text = "SELECT stream FROM ledger WHERE substr(body, 1, 1) = X'00' ORDER BY idx LIMIT 1";
    database(dir).query_row(text, [], |row| row.get::<_, String>(0)).unwrap().parse().unwrap()
}

fn file_in(dir: &Path) -> PathBuf {
    let mut files = fs::read_dir(dir.join("sealed")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert!(files.next().is_none());
    file
}

#[test]
fn sealed_records_are_read_from_their_file_and_all_that_follows_from_them_is_proved() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let (before, _) = bodies(dir.path());
    let sealed = seal_all(dir.path()).unwrap();
    let report = holds(dir.path());
    assert_eq!(
        report.sealed.iter().map(|file| (file.records, file.is_here)).collect::<Vec<_>>(),
        [(sealed.seal.records, true)]
    );
    let (after, stubs) = bodies(dir.path());
    assert!(sealed.seal.records > 60 && stubs as u64 == sealed.seal.records, "{sealed:?}");
    assert_eq!(after[..before.len()], before, "each record is what it was");
    assert_eq!(sealed.index, before.len() as u64, "and the next says that some are in a file");
    // The file is an export that anybody checks.
    let bytes = fs::read(&sealed.file).unwrap();
    let alone = checked(&bytes, Some(key(dir.path())));
    assert!(alone.holds() && alone.records == sealed.seal.records, "{alone:?}");
    assert_eq!(tenure_core::bound::Hash::of(&bytes), sealed.seal.file);
    // An export of all is the same as one of a ledger that has all its records.
    let exported =
        checked(&written(dir.path(), &Wanted { payloads: true, ..Wanted::default() }).1, Some(key(dir.path())));
    assert!(exported.holds() && exported.records == after.len() as u64, "{}", crate::export::found(&exported));
    assert!(exported.erased > 0 && exported.erased_elsewhere == 0);
    // Once more there is nothing left.
    assert_eq!(seal_all(dir.path()), None);
    assert_eq!(file_in(dir.path()), sealed.file);
}

#[test]
fn a_selection_finds_sealed_records_by_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let select = |selection: Selection| {
        let store = Store::open(Options::new(dir.path())).unwrap();
        let read = move |sql: &mut dyn tenure_store::sql::Sql| {
            audit::records(sql, &selection, Order::OldestFirst, None, 100_000)
        };
        store.reader().read_blocking(read).unwrap().records
    };
    let text = "SELECT id, agent FROM executions WHERE ended_at IS NOT NULL LIMIT 1";
    let ids: (String, String) = database(dir.path()).query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let wanted = [
        Selection { actor: Some(OWNER), ..Selection::default() },
        Selection { about: Some(ids.0), ..Selection::default() },
        Selection { about: Some(ids.1), actor: Some(OWNER), ..Selection::default() },
        Selection { about: Some("exe_of_nobody".into()), ..Selection::default() },
    ];
    let before: Vec<_> = wanted.iter().cloned().map(select).collect();
    assert!(before[..3].iter().all(|found| found.len() > 10) && before[3].is_empty());
    let sealed = seal_all(dir.path()).unwrap();
    let after = wanted.into_iter().map(select).map(|mut found| {
        found.retain(|record| record.meta.index < sealed.index);
        found
    });
    assert_eq!(after.collect::<Vec<_>>(), before);
}

#[test]
fn a_seal_that_is_killed_after_any_step_leaves_each_record_in_one_place() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let (all, _) = bodies(made.path());
    for (killed, done) in [
        (Step::Written, false),
        (Step::Offered, false),
        (Step::Replaced, false),
        (Step::Committed, true),
        (Step::Placed, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        let mut kill = |step| if step == killed { Err(Error::Interrupted) } else { Ok(()) };
        let outcome = seal(dir.path(), Time::from_millis(LATER), (OWNER, Time::from_millis(LATER)), &mut kill);
        assert_eq!(outcome, Err(Error::Interrupted));
        // Proved as it lies there, then by a daemon that starts over it.
        holds(dir.path());
        let (after, stubs) = bodies(dir.path());
        assert_eq!(after[..all.len()], all, "{killed:?}");
        assert_eq!(stubs > 0, done, "{killed:?}");
        let names: Vec<String> = fs::read_dir(dir.path().join("sealed"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(
            names.iter().filter(|name| name.ends_with(".jsonl")).count(),
            usize::from(done),
            "{killed:?} {names:?}"
        );
        assert_eq!(names.len(), usize::from(done), "{killed:?} {names:?}");
        holds(dir.path());
        assert_eq!(seal_all(dir.path()).is_none(), done, "{killed:?}");
        holds(dir.path());
    }
}

#[test]
fn of_a_file_that_was_taken_away_is_said_what_is_in_it_and_what_lives_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let sealed = seal_all(dir.path()).unwrap();
    let stream = sealed_stream(dir.path());
    let Stream::Execution(execution) = stream else { panic!("{stream} is sealed") };
    let away = tempfile::tempdir().unwrap();
    let aside = away.path().join("aside.jsonl");
    fs::copy(&sealed.file, &aside).unwrap();
    fs::remove_file(&sealed.file).unwrap();

    let report = check(dir.path());
    assert!(report.holds() && report.replay.is_none(), "{}", found(&report));
    assert_eq!(report.sealed.iter().map(|file| file.is_here).collect::<Vec<_>>(), [false]);
    let store = Store::open(Options::new(dir.path())).unwrap();
    let gone = Error::Sealed { file: sealed.file.file_name().unwrap().to_str().unwrap().to_string() };
    assert_eq!(store.reader().read_blocking(move |sql| events_of(sql, stream, 0, 9)), Err(gone));
    // What is known of it by its snapshot is known on; to erase what it bound its records are wanted, and nothing changes.
    assert!(get::<Execution>(&store, execution).iteration().is_none());
    let erase = execution::Command::Erase { reason: "asked".into() };
    let (now, seed) = World::new(90).tick();
    let command = Command::Execution(execution, erase.clone());
    let job = move |txn: &mut tenure_store::Txn<'_>| crate::world::commit(txn, OWNER, command, now, seed);
    let refused = store.writer().write_blocking(tenure_store::Class::Interactive, job);
    assert!(matches!(refused, Err(Error::Sealed { .. })), "{refused:?}");
    let mut world = World::new(91);
    let agent = world.deploy(&store, "after");
    let worker = world.worker(&store, 2);
    world.whole(&store, agent, worker, 1);
    drop(store);
    let wanted = Wanted::default();
    let export = tenure_store::export::export(dir.path(), &wanted, &mut Vec::new(), &mut |_| Ok(()));
    assert!(matches!(export, Err(Error::Sealed { .. })), "{export:?}");

    fs::copy(&aside, &sealed.file).unwrap();
    holds(dir.path());
    let store = Store::open(Options::new(dir.path())).unwrap();
    World::new(92).run(&store, Command::Execution(execution, erase)).unwrap();
    drop(store);
    holds(dir.path());
}

#[test]
fn what_lives_and_what_is_younger_is_not_sealed() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    assert_eq!(seal(dir.path(), Time::from_millis(1), (OWNER, Time::from_millis(LATER)), &mut |_| Ok(())), Ok(None));
    let sealed = seal_all(dir.path()).unwrap();
    let text = "SELECT DISTINCT substr(stream, 1, 4) FROM ledger WHERE substr(body, 1, 1) = X'00'";
    let db = database(dir.path());
    let kinds: Vec<String> =
        db.prepare(text).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(kinds.iter().all(|kind| kind == "exe_" || kind == "ses_"), "{kinds:?}");
    let open = "SELECT COUNT(*) FROM ledger JOIN executions ON id = stream WHERE ended_at IS NULL AND substr(body, 1, 1) = X'00'";
    assert_eq!(db.query_row(open, [], |row| row.get::<_, i64>(0)), Ok(0));
    drop(db);
    // With a daemon nothing is sealed.
    let store = Store::open(Options::new(dir.path())).unwrap();
    let held = seal(dir.path(), Time::from_millis(LATER), (OWNER, Time::from_millis(LATER)), &mut |_| Ok(()));
    assert!(matches!(held, Err(Error::Held { .. })), "{held:?}");
    // What ends later goes into a second file.
    let mut world = World::new(93);
    let agent = world.deploy(&store, "after");
    let worker = world.worker(&store, 2);
    let id: ExecutionId = world.whole(&store, agent, worker, 1);
    drop(store);
    let much_later = Time::from_millis(LATER + 3_600_000);
    let second = seal(dir.path(), much_later, (OWNER, much_later), &mut |_| Ok(())).unwrap().unwrap();
    assert!(second.seal.first > sealed.seal.through, "{second:?}");
    assert_eq!(holds(dir.path()).sealed.len(), 2);
    let store = Store::open(Options::new(dir.path())).unwrap();
    assert!(get::<Execution>(&store, id).iteration().is_none());
}

#[test]
fn each_way_to_tamper_with_what_is_sealed_is_found_and_located() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let first = {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        seal_all(dir.path()).unwrap().seal.first
    };
    seal_all(made.path()).unwrap();
    let tampered = |what: &str, tamper: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        tamper(dir.path());
        let report = check(dir.path());
        let told = found(&report);
        assert!(!report.holds(), "{what} is not found");
        told
    };
    let changed = tampered("a letter of a sealed record", &|dir| {
        let file = file_in(dir);
        let mut bytes = fs::read(&file).unwrap();
        let place = bytes.windows(17).position(|part| part == b"execution.started").unwrap();
        bytes[place] = b'E';
        fs::write(file, bytes).unwrap();
    });
    assert!(changed.contains(&format!("record {first}")) && changed.contains("was changed"), "{changed}");
    let cut = tampered("a cut file", &|dir| {
        let file = file_in(dir);
        let bytes = fs::read(&file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.contains("too short"), "{cut}");
    let sql = |text: &'static str| move |dir: &Path| database(dir).execute_batch(text).unwrap();
    let leaf = "UPDATE ledger SET body = CAST(substr(body, 1, 1) || zeroblob(32) || substr(body, 34) AS BLOB) \
        WHERE idx = (SELECT MIN(idx) FROM ledger WHERE substr(body, 1, 1) = X'00')";
    let other = tampered("another leaf", &sql(leaf));
    assert!(other.contains(&format!("record {first}")), "{other}");
    // A record that nobody sealed is made to look so.
    let newest = "UPDATE ledger SET body = (SELECT body FROM ledger WHERE substr(body, 1, 1) = X'00' LIMIT 1) \
        WHERE kind = 'agent.created'";
    let hidden = tampered("a stub of another record", &sql(newest));
    assert!(hidden.contains("were sealed into it"), "{hidden}");
    let (of_a_stub, gone) = ("substr(body, 1, 1) = X'00'", "substr(body, 1, 33) || zeroblob(32) || substr(body, 66)");
    let nowhere = format!("UPDATE ledger SET body = CAST({gone} AS BLOB) WHERE {of_a_stub}");
    let unnamed = tampered("a file that no record names", &move |dir| database(dir).execute_batch(&nowhere).unwrap());
    assert!(unnamed.contains("no record says so"), "{unnamed}");
    tampered("a stub that is cut", &sql("UPDATE ledger SET body = X'00' WHERE kind = 'execution.started'"));
}
