//! Each way to tamper with a store is found and located, and an untouched one holds.

use crate::door::{self, World};
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::ledger;
use tenure_core::project;
use tenure_store::verify::{Depth, Report, Witness, verify};
use tenure_store::{Error, Options, Outside, Restored, Store};

/// A ledger with ended and open executions, calls in flight, snapshots and a large payload.
fn make(dir: &Path) {
    let store = Store::open(Options::new(dir)).unwrap();
    let mut world = World::new(11);
    world.found(&store);
    let agent = world.deploy(&store, "a");
    let worker = world.worker(&store, 10);
    world.whole(&store, agent, worker, 2);
    let long = world.start(&store, agent, None);
    world.bind(&store, long, worker);
    for _ in 0..20 {
        world.turn(&store, long, 1);
        world.end_call(&store, long);
    }
    world.turn(&store, long, 2);
    let large = world.payload(vec![5; 70_000]);
    let turned = door::execution(&store, long);
    let end = match world.end_command(&turned) {
        execution::Command::EndCall(end) => {
            execution::Command::EndCall(execution::EndCall { result: Some(large), ..end })
        }
        other => other,
    };
    world.run(&store, Command::Execution(long, end)).unwrap();
    world.start(&store, agent, None);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn check(dir: &Path) -> Report {
    verify(dir, Depth::Payloads).unwrap()
}

fn found(report: &Report) -> String {
    report.findings.kept().iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn an_untouched_store_holds_and_says_what_it_was_held_against() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let report = check(dir.path());
    assert!(report.holds(), "{}", found(&report));
    assert!(report.records > 100 && report.streams == 6 && report.payloads > 60, "{report:?}");
    assert!(matches!(report.witness, Witness::Head { size, .. } if size == report.records));
    fs::remove_file(dir.path().join("head.json")).unwrap();
    let report = check(dir.path());
    assert!(report.holds() && report.witness == Witness::None);
}

type Tampering = fn(&Connection, &Path);

fn blob(dir: &Path) -> std::path::PathBuf {
    let folder = fs::read_dir(dir.join("blobs")).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

fn run(db: &Connection, sql: &str) {
    assert!(db.execute(sql, []).unwrap() > 0, "nothing was tampered with by: {sql}");
}

/// Changes a record and chains everything after it anew, as one who holds the database and not the key could.
fn forge(db: &Connection, from: i64) {
    let mut rows: Vec<(i64, Vec<u8>)> = {
        let mut select = db.prepare("SELECT idx, body FROM ledger WHERE idx >= ?1 ORDER BY idx").unwrap();
        select.query_map([from], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let text = String::from_utf8(rows[0].1.clone()).unwrap();
    rows[0].1 = text.replace("\"took_ms\":3", "\"took_ms\":4").into_bytes();
    assert_ne!(rows[0].1, text.as_bytes());
    for place in 1..rows.len() {
        let leaf = ledger::leaf(&rows[place - 1].1).to_string();
        let text = String::from_utf8(rows[place].1.clone()).unwrap();
        let start = text.find("\"prev\":\"").unwrap() + 8;
        rows[place].1 = format!("{}{leaf}{}", &text[..start], &text[start + 64..]).into_bytes();
    }
    for (index, body) in rows {
        db.execute("UPDATE ledger SET body = ?1 WHERE idx = ?2", (body, index)).unwrap();
    }
}

const TAMPERINGS: &[(&str, Tampering, &[&str])] = &[
    (
        "a changed record",
        |db, _| {
            run(
                db,
                "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), 'local', 'loyal') AS BLOB) WHERE idx = 7",
            )
        },
        &["record 7 of exe_", "is not the one that record 8 follows"],
    ),
    (
        "the last record changed",
        |db, _| {
            let sql = "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), '1700', '1701') AS BLOB), at = at + 1000000000 \
                WHERE idx = (SELECT max(idx) FROM ledger)";
            run(db, sql);
        },
        &["is not the record that the head in the database was signed over"],
    ),
    ("a dropped record", |db, _| run(db, "DELETE FROM ledger WHERE idx = 12"), &["record 12: is missing"]),
    (
        "a dropped run of records",
        |db, _| run(db, "DELETE FROM ledger WHERE idx BETWEEN 12 AND 14"),
        &["record 12: and the 2 after it are missing"],
    ),
    (
        "a cut tail",
        |db, _| run(db, "DELETE FROM ledger WHERE idx > 40"),
        &["record 41: and all after it are missing: the head in the database", "the head outside the database is over"],
    ),
    (
        "two records swapped",
        |db, _| {
            run(db, "UPDATE ledger SET idx = -1 WHERE idx = 20");
            run(db, "UPDATE ledger SET idx = 20 WHERE idx = 21");
            run(db, "UPDATE ledger SET idx = 21 WHERE idx = -1");
        },
        &["record 20", "its bytes say record 21", "record 21", "its bytes say record 20"],
    ),
    (
        "the bytes of two records swapped",
        |db, _| {
            let body = |idx: i64| -> Vec<u8> {
                db.query_row("SELECT body FROM ledger WHERE idx = ?1", [idx], |row| row.get(0)).unwrap()
            };
            let (first, second) = (body(20), body(21));
            db.execute("UPDATE ledger SET body = ?1 WHERE idx = 20", [second]).unwrap();
            db.execute("UPDATE ledger SET body = ?1 WHERE idx = 21", [first]).unwrap();
        },
        &["its bytes say record 21", "its bytes say record 20"],
    ),
    (
        "a column that is not the body's",
        |db, _| run(db, "UPDATE ledger SET kind = 'call.ended' WHERE idx = 8"),
        &["record 8", "columns that are not its own"],
    ),
    (
        "bytes that are no record",
        |db, _| run(db, "UPDATE ledger SET body = X'7B7D' WHERE idx = 8"),
        &["record 8", "this is no record"],
    ),
    (
        "a record of an unknown kind",
        |db, _| {
            run(
                db,
                "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), 'call.called', 'call.coined') AS BLOB) WHERE idx = 9",
            );
        },
        &["record 9", "`call.coined`"],
    ),
    (
        "a record put in at the end",
        |db, _| {
            run(
                db,
                "INSERT INTO ledger SELECT project, idx + 1, stream, n + 1000, kind, at, body FROM ledger ORDER BY idx DESC LIMIT 1",
            )
        },
        &["is not under the head in the database"],
    ),
    ("a forged chain", |db, _| forge(db, 10), &["is not the record that the head in the database was signed over"]),
    (
        "a head with another size",
        |db, _| run(db, "UPDATE heads SET signed = replace(signed, '\"size\":', '\"size\":1')"),
        &["the head in the database is not signed"],
    ),
    ("a changed frontier", |db, _| run(db, "UPDATE heads SET frontier = zeroblob(length(frontier))"), &["frontier"]),
    (
        "a changed snapshot",
        |db, _| run(db, "UPDATE snapshots SET body = CAST(replace(CAST(body AS TEXT), 'wall', 'well') AS BLOB)"),
        &["the snapshot made after it is not what its replay gives"],
    ),
    (
        "a snapshot of an event that is not there",
        |db, _| run(db, "UPDATE snapshots SET n = n + 5000"),
        &["has a snapshot after event"],
    ),
    (
        "an owed deed dropped",
        |db, _| run(db, "DELETE FROM owed WHERE kind = 'dispatch'"),
        &["owes dispatch:", "no row says so"],
    ),
    (
        "an owed deed made up",
        |db, _| run(db, "INSERT INTO owed SELECT 'expire', 5, stream, 'expire' FROM ledger WHERE idx = 9"),
        &["a row says that expire is owed, and it is not"],
    ),
    (
        "a payload changed",
        |db, _| run(db, "UPDATE payloads SET bytes = X'00' WHERE rowid = 3"),
        &["whose bytes were changed"],
    ),
    ("a payload dropped", |db, _| run(db, "DELETE FROM payloads WHERE rowid = 3"), &["which is missing"]),
    ("a large payload changed", |_, dir| fs::write(blob(dir), b"other").unwrap(), &["whose bytes were changed"]),
    ("a large payload's file dropped", |_, dir| fs::remove_file(blob(dir)).unwrap(), &["whose file is gone"]),
    (
        "an outside head by another key",
        |_, dir| {
            let text = fs::read_to_string(dir.join("head.json")).unwrap();
            fs::write(dir.join("head.json"), text.replace("\"size\":", "\"size\":1")).unwrap();
        },
        &["head.json is not by this ledger's key"],
    ),
];

#[test]
fn every_tampering_is_found_and_located() {
    let whole = tempfile::tempdir().unwrap();
    make(whole.path());
    for (name, tamper, expected) in TAMPERINGS {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        let db = Connection::open(dir.path().join("tenure.db")).unwrap();
        tamper(&db, dir.path());
        drop(db);
        let report = check(dir.path());
        let text = found(&report);
        for words in *expected {
            assert!(text.contains(words), "{name}: `{words}` is not in\n{text}");
        }
    }
}

#[test]
fn an_older_copy_put_back_shows_until_a_recorded_command_accepts_it() {
    let (dir, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    copy(dir.path(), older.path());
    let before = check(dir.path()).records;
    let store = Store::open(Options::new(dir.path())).unwrap();
    let mut world = World::new(12);
    world.deploy(&store, "later");
    store.close();
    fs::copy(older.path().join("tenure.db"), dir.path().join("tenure.db")).unwrap();
    let report = check(dir.path());
    assert!(found(&report).contains("an older copy put back"), "{}", found(&report));

    let store = Store::open(Options::new(dir.path())).unwrap();
    let restored = Restored { outside_size: before + 1, database_size: before };
    assert_eq!(*store.outside(), Outside::Restored(restored));
    world.deploy(&store, "other");
    world.deploy(&store, "another");
    store.close();
    assert!(found(&check(dir.path())).contains("is not on this chain"));
    let store = Store::open(Options::new(dir.path())).unwrap();
    let accept = project::Command::AcceptRestore { outside_index: before + 1, why: "the disk was lost".into() };
    world.run(&store, Command::Project(accept)).unwrap();
    store.close();
    let report = check(dir.path());
    assert!(report.holds(), "{}", found(&report));
    let store = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(*store.outside(), Outside::Held { newer: 0 });
}

#[test]
fn a_ledger_whose_end_was_changed_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    run(&db, "DELETE FROM ledger WHERE idx = (SELECT max(idx) FROM ledger)");
    drop(db);
    assert!(matches!(Store::open(Options::new(dir.path())), Err(Error::Corrupt { .. })));
}
