//! The ledger's key changes: what was believed is believed on, whoever knows an older key is led to the newest, and a kill at any
//! moment leaves the one or the other.
use crate::export::{checked, found as found_in, key, written};
use crate::verify::{check, copy, found, make};
use crate::world::World;
use std::fs;
use std::path::Path;
use tenure_core::actor::Actor;
use tenure_core::ledger::Signer;
use tenure_core::time::Time;
use tenure_store::export::Wanted;
use tenure_store::verify::{Depth, verify_with};
use tenure_store::{Checkpoint, Error, Options, Rotated, Store, rotate_key};

fn rotate(dir: &Path) -> Rotated {
    rotate_key(dir, Actor::Owner { uid: 1 }, Time::from_millis(1_800_000_000_000), "yearly").unwrap()
}

fn holds(dir: &Path) {
    let report = check(dir);
    assert!(report.holds() && report.replay.is_some_and(|replay| replay.macs), "{}", found(&report));
}

#[test]
fn the_key_changes_and_all_holds_by_any_key_that_the_ledger_had() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let first = key(dir.path());
    let before = fs::read(dir.path().join("head.json")).unwrap();
    let rotated = rotate(dir.path());
    assert_eq!((rotated.old, rotated.new.clone()), (first.to_hex(), key(dir.path()).to_hex()));
    holds(dir.path());
    rotate(dir.path());
    holds(dir.path());
    let newest = key(dir.path());
    for known in [first, newest] {
        let report = verify_with(dir.path(), Depth::Chain, Some(&known), &mut |_| Ok(())).unwrap();
        assert!(report.holds(), "{}", found(&report));
    }
    let another = Signer::new(&[7; 32]).verifier();
    let report = verify_with(dir.path(), Depth::Chain, Some(&another), &mut |_| Ok(())).unwrap();
    assert!(!report.holds(), "the control");

    let (_, file) = written(dir.path(), &Wanted::default());
    for known in [first, newest] {
        assert!(checked(&file, Some(known)).holds(), "{}", found_in(&checked(&file, Some(known))));
    }
    assert!(!checked(&file, Some(another)).holds());
    // Without the record that hands over, the newest key is anybody's.
    let mut lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let place = lines.iter().position(|line| line.windows(18).any(|part| part == b"ledger.key_rotated")).unwrap();
    lines.remove(place);
    let less = checked(&lines.concat(), Some(first));
    assert!(found_in(&less).contains("does not hand over"), "{}", found_in(&less));

    // A head that the first key signed is on this chain, and the daemon goes on.
    fs::write(dir.path().join("head.json"), before).unwrap();
    holds(dir.path());
    let store = Store::open(Options::new(dir.path())).unwrap();
    assert!(matches!(store.checkpoint(), Checkpoint::OnChain { newer: 2 }), "{:?}", store.checkpoint());
    assert!(matches!(rotate_key(dir.path(), Actor::Daemon, Time::from_millis(1), "x"), Err(Error::Held { .. })));
    World::new(77).deploy(&store, "after");
    drop(store);
    holds(dir.path());
}

#[test]
fn a_change_of_keys_that_is_killed_is_undone_or_completed() {
    let (dir, begun) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    copy(dir.path(), begun.path());
    // Killed before the record was committed: the next key signed nothing.
    fs::write(begun.path().join("ledger.key.next"), [9; 32]).unwrap();
    holds(begun.path());
    drop(Store::open(Options::new(begun.path())).unwrap());
    assert!(!begun.path().join("ledger.key.next").exists());
    holds(begun.path());
    // Killed after it: all files are as they were before, and the database has the new key's head.
    let kept = ["ledger.key", "ledger.pub", "head.json"].map(|name| (name, fs::read(dir.path().join(name)).unwrap()));
    let rotated = rotate(dir.path());
    fs::rename(dir.path().join("ledger.key"), dir.path().join("ledger.key.next")).unwrap();
    kept.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    holds(dir.path());
    assert!(checked(&written(dir.path(), &Wanted::default()).1, Some(key(dir.path()))).holds());
    let store = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(store.verifier().to_hex(), rotated.new);
    World::new(78).deploy(&store, "after");
    drop(store);
    assert!(!dir.path().join("ledger.key.next").exists() && key(dir.path()).to_hex() == rotated.new);
    holds(dir.path());
}
