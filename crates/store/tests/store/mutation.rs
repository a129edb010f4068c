//! A ledger of which one byte is changed does not hold, and the record is named; a head signed by another key is none.
use crate::verify::{check, copy, found};
use crate::world::World;
use rusqlite::Connection;
use std::path::Path;
use tenure_core::ledger::{Signed, Signer};
use tenure_store::verify::{Depth, verify};
use tenure_store::{Options, Store};

/// Few records of several kinds.
fn small(dir: &Path) {
    let store = Store::open(Options::new(dir)).unwrap();
    let mut world = World::new(5);
    world.found(&store);
    let agent = world.deploy(&store, "a");
    let worker = world.worker(&store, 10);
    let id = world.start(&store, agent, None);
    world.bind(&store, id, worker);
    world.turn(&store, id, 1);
}

fn records(db: &Connection) -> Vec<(i64, Vec<u8>)> {
    let mut select = db.prepare("SELECT idx, body FROM ledger ORDER BY idx").unwrap();
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn each_byte_of_a_record_that_is_changed_is_found_at_that_record() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let put = |index: i64, body: &[u8]| {
        assert_eq!(db.execute("UPDATE ledger SET body = ?1 WHERE idx = ?2", (body, index)).unwrap(), 1);
    };
    for (index, body) in records(&db) {
        for place in 0..body.len() {
            let mut changed = body.clone();
            changed[place] ^= [0x01, 0x20, 0x80][place % 3];
            put(index, &changed);
            let report = verify(dir.path(), Depth::Chain).unwrap();
            let located = report.findings.kept().iter().any(|finding| finding.index == u64::try_from(index).ok());
            assert!(
                located,
                "byte {place} of record {index}: {}\n{}",
                String::from_utf8_lossy(&changed),
                found(&report)
            );
        }
        put(index, &body);
    }
    assert!(verify(dir.path(), Depth::Chain).unwrap().holds(), "the control");
}

#[test]
fn each_byte_of_the_head_that_is_changed_is_found_and_so_is_another_key() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path());
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    let head: String = db.query_row("SELECT signed FROM heads", [], |row| row.get(0)).unwrap();
    let put = |text: &str| assert_eq!(db.execute("UPDATE heads SET signed = ?1", [text]).unwrap(), 1);
    for place in 0..head.len() {
        for flip in [0x01, 0x20] {
            let mut changed = head.clone().into_bytes();
            changed[place] ^= flip;
            put(&String::from_utf8(changed).unwrap());
            let report = verify(dir.path(), Depth::Chain).unwrap();
            assert!(!report.holds(), "byte {place} of {head}");
        }
    }
    // Whoever holds the database and another key.
    let signed: Signed = serde_json::from_str(&head).unwrap();
    let stranger = Signer::new(&[9; 32]);
    put(&serde_json::to_string(&stranger.sign(signed.head).unwrap()).unwrap());
    let report = verify(dir.path(), Depth::Chain).unwrap();
    assert!(found(&report).contains("the head in the database is not signed"), "{}", found(&report));
    put(&head);
    assert!(check(dir.path()).holds(), "the control");
    let exchanged = tempfile::tempdir().unwrap();
    copy(dir.path(), exchanged.path());
    std::fs::write(exchanged.path().join("ledger.pub"), stranger.verifier().to_hex()).unwrap();
    let report = verify(exchanged.path(), Depth::Chain);
    assert!(report.as_ref().map_or(true, |report| !report.holds()), "a key that is not this ledger's: {report:?}");
}
