//! A part of a data directory that was lost: the start is refused and writes nothing, and with the part put back all holds.
//! What follows from the rest is made anew, with a word.
use crate::world::World;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tenure_core::bound::Hash;
use tenure_store::verify::{Depth, verify};
use tenure_store::{Checkpoint, Error, Options, Store};

const DATABASE: [&str; 3] = ["tenure.db", "tenure.db-wal", "tenure.db-shm"];

fn open(dir: &Path) -> Result<Store, Error> {
    Store::open(Options::new(dir))
}

/// As a person makes one with care, so that nothing of it is to be closed.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn made() -> tempfile::TempDir {
    let dir = folder();
    let store = open(dir.path()).unwrap();
    assert!(store.mended().is_empty(), "of a new one there is nothing to say: {:?}", store.mended());
    let mut world = World::new(3);
    world.found(&store);
    world.deploy(&store, "a");
    dir
}

/// Every file of the directory with what is in it. The log's index is the engine's own, which makes an empty log beside it
/// to read; the lock holds a process id.
fn content(dir: &Path) -> BTreeMap<String, Hash> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    let kept = named.filter(|(name, bytes)| {
        name != "lock" && name != "tenure.db-shm" && !(name == "tenure.db-wal" && bytes.is_empty())
    });
    kept.map(|(name, bytes)| (name, Hash::of(&bytes))).collect()
}

/// Takes the files away, and gives them back.
fn without(dir: &Path, names: &[&str], then: impl FnOnce()) {
    let aside = folder();
    let there: Vec<&&str> = names.iter().filter(|name| dir.join(name).exists()).collect();
    for name in &there {
        fs::copy(dir.join(name), aside.path().join(name)).unwrap();
        fs::remove_file(dir.join(name)).unwrap();
    }
    then();
    names.iter().filter(|name| dir.join(name).exists()).for_each(|name| fs::remove_file(dir.join(name)).unwrap());
    for name in there {
        fs::copy(aside.path().join(name), dir.join(name)).unwrap();
    }
}

fn holds(dir: &Path) {
    let report = verify(dir, Depth::Whole).unwrap();
    assert!(report.holds() && report.records > 1, "{:?}", report.findings.kept());
}

#[test]
fn without_its_key_a_ledger_is_refused_and_no_other_key_is_made() {
    let dir = made();
    without(dir.path(), &["ledger.key"], || {
        let before = content(dir.path());
        assert_eq!(open(dir.path()).unwrap_err(), Error::KeyLost);
        assert_eq!(content(dir.path()), before);
        holds(dir.path());
    });
    drop(open(dir.path()).unwrap());
    holds(dir.path());
}

#[test]
fn a_lost_database_is_refused_and_no_project_is_founded_in_its_place() {
    let dir = made();
    without(dir.path(), &DATABASE, || {
        for empty in [false, true] {
            if empty {
                fs::write(dir.path().join("tenure.db"), "").unwrap();
            }
            let before = content(dir.path());
            assert!(matches!(open(dir.path()), Err(Error::Lost { beside: "ledger.key", .. })));
            assert_eq!(content(dir.path()), before);
        }
    });
    drop(open(dir.path()).unwrap());
    holds(dir.path());
    // Whichever part of the rest is still there.
    without(dir.path(), &["tenure.db", "tenure.db-wal", "tenure.db-shm", "ledger.key"], || {
        let before = content(dir.path());
        assert!(matches!(open(dir.path()), Err(Error::Lost { beside: "head.json", .. })));
        assert_eq!(content(dir.path()), before);
    });
    holds(dir.path());
    let fresh = folder();
    assert_eq!(open(fresh.path()).unwrap().size_at_open(), 0, "the control: an empty directory begins a ledger");
}

#[test]
fn a_database_of_another_directory_that_holds_no_ledger_is_not_founded_beside_a_head() {
    let (dir, fresh) = (made(), folder());
    drop(open(fresh.path()).unwrap());
    without(dir.path(), &DATABASE, || {
        for name in DATABASE {
            // Not each is there once the last connection has closed.
            let _ = fs::copy(fresh.path().join(name), dir.path().join(name));
        }
        assert!(matches!(open(dir.path()), Err(Error::Lost { beside: "head.json", .. })));
    });
    holds(dir.path());
}

#[test]
fn a_start_that_was_cut_before_its_first_record_goes_on() {
    let dir = folder();
    fs::write(dir.path().join("tenure.db"), "").unwrap();
    drop(open(dir.path()).unwrap());
    fs::remove_file(dir.path().join("ledger.key")).unwrap();
    assert_eq!(open(dir.path()).unwrap().size_at_open(), 0, "the tables were there, and the key was not yet");
    assert_eq!(open(dir.path()).unwrap().size_at_open(), 0, "nothing was founded yet");
}

#[test]
fn the_public_key_follows_from_the_key_and_a_missing_head_is_said() {
    let dir = made();
    let public = fs::read(dir.path().join("ledger.pub")).unwrap();
    for wrong in [None, Some("00".repeat(32))] {
        match wrong {
            None => fs::remove_file(dir.path().join("ledger.pub")).unwrap(),
            Some(text) => fs::write(dir.path().join("ledger.pub"), text).unwrap(),
        }
        let store = open(dir.path()).unwrap();
        assert!(store.mended().iter().any(|word| word.contains("ledger.pub")), "{:?}", store.mended());
        drop(store);
        assert_eq!(fs::read(dir.path().join("ledger.pub")).unwrap(), public);
        holds(dir.path());
    }
    fs::remove_file(dir.path().join("head.json")).unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(*store.checkpoint(), Checkpoint::Missing);
    assert!(store.mended().iter().any(|word| word.contains("head.json is missing")), "{:?}", store.mended());
    drop(store);
    assert!(made().path().exists(), "the control: a whole one says nothing, as `made` asserts");
}

#[test]
fn every_file_is_the_owners_alone() {
    let dir = made();
    let store = open(dir.path()).unwrap();
    let mut world = World::new(4);
    let large = world.payload(vec![7; 70_000]);
    store.blobs().keep(&large).unwrap();
    store.ballast().make().unwrap();
    let mut folders = vec![dir.path().to_path_buf()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, mode) = (entry.path(), entry.metadata().unwrap().permissions().mode() & 0o777);
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "{}", path.display());
            looked += 1;
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(looked >= 9, "database, log, index, key, public key, head, lock, ballast and a payload: {looked}");
}
