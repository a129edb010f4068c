//! Looking at the store beside its writer: verify holds back no log, and the look after each start finds what it says.
use crate::verify::{check, copy, found, make};
use crate::world::World;
use rusqlite::Connection;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tenure_store::verify::{Depth, verify_with};
use tenure_store::{Options, ScrubState, Store};

/// Nothing here takes as long; a test that hangs must end all the same.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn scrub_state(store: &Store) -> ScrubState {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match store.reader().scrub_state() {
            ScrubState::Running { records } => assert!(Instant::now() < deadline, "still at {records} records"),
            outcome => return outcome,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Moves the log into the database and cuts it to nothing: (held by a reader, pages in the log, pages moved).
fn checkpoint(db: &Connection) -> (i64, i64, i64) {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

#[test]
fn verify_beside_a_writing_daemon_holds_and_holds_the_log_back_at_no_page() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, store) = (World::new(31), Store::open(Options::new(dir.path())).unwrap());
    world.found(&store);
    let agent = world.deploy(&store, "a");
    let worker = world.worker(&store, 10);
    while crate::world::size(&store) < 1200 {
        world.whole(&store, agent, worker, 4);
    }
    scrub_state(&store);
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    for depth in [Depth::Chain, Depth::Whole] {
        let (mut looks, before) = (0, crate::world::size(&store));
        let report = verify_with(dir.path(), depth, None, &mut |_| {
            looks += 1;
            world.start(&store, agent, None);
            assert_eq!(checkpoint(&db), (0, 0, 0), "at look {looks} something holds the log");
            Ok(())
        });
        let report = report.unwrap();
        assert!(report.holds(), "{}", found(&report));
        assert!(looks >= 3 && report.records >= before && report.records < crate::world::size(&store), "{report:?}");
    }
    // The same figures do show a reader that stays.
    let reader = Connection::open(dir.path().join("tenure.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM ledger").unwrap();
    world.start(&store, agent, None);
    let (held, pages, _) = checkpoint(&db);
    assert!(held == 1 && pages > 0, "{held} {pages}");
}

#[test]
fn a_damaged_page_of_the_database_s_file_is_found_by_verify_and_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    damage(dir.path(), "validations");
    assert!(found(&check(dir.path())).contains("the database's file"), "{}", found(&check(dir.path())));
    let store = Store::open(Options::new(dir.path())).unwrap();
    let outcome = scrub_state(&store);
    let ScrubState::Damaged { findings, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(findings.iter().any(|finding| finding.contains("the table `validations`")), "{findings:?}");
}

/// Overwrites the beginning of a table's root page.
fn damage(dir: &Path, table: &str) {
    let db = Connection::open(dir.join("tenure.db")).unwrap();
    let root = "SELECT rootpage FROM sqlite_master WHERE name = ?1";
    let (page, size): (u64, u64) = (
        db.query_row(root, [table], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap(),
        db.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap(),
    );
    checkpoint(&db);
    drop(db);
    let mut file = fs::OpenOptions::new().write(true).open(dir.join("tenure.db")).unwrap();
    file.seek(SeekFrom::Start((page - 1) * size)).unwrap();
    file.write_all(&[0xff; 64]).unwrap();
}

#[test]
fn a_changed_record_is_found_after_the_start_and_an_untouched_ledger_is_clean() {
    let (made, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(made.path());
    copy(made.path(), dir.path());
    let records = check(made.path()).records;
    let store = Store::open(Options::new(made.path())).unwrap();
    assert_eq!(scrub_state(&store), ScrubState::Clean { records, unfinished: Vec::new() });
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    let sql = "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), 'local', 'loyal') AS BLOB) WHERE idx = 8";
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    let (mut world, store) = (World::new(32), Store::open(Options::new(dir.path())).unwrap());
    let outcome = scrub_state(&store);
    let ScrubState::Damaged { findings, count, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(findings.iter().any(|finding| finding.starts_with("record 8 of exe_")) && *count > 0, "{findings:?}");
    world.deploy(&store, "goes on");
}
