//! Rows that grant authority, and snapshots, are believed only with a MAC of this ledger.
use crate::verify::{check, copy, found, make};
use crate::world::World;
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use tenure_core::access::Role;
use tenure_core::aggregate::{Command, Event, Stream};
use tenure_core::bound::Hash;
use tenure_core::execution::Execution;
use tenure_core::facts::Facts;
use tenure_core::id::KeyId;
use tenure_core::time::Time;
use tenure_core::{agent, project};
use tenure_store::rows::{agent_keys, agents, keys};
use tenure_store::{Class, Options, ScrubState, Store};

/// What the store says of the key with this hash: its role if it may be acted on and is not revoked.
fn believed(store: &Store, text: &[u8]) -> Option<Role> {
    let hash = Hash::of(text);
    let row = store.reader().read_blocking(|sql| keys::by_hash(sql, &hash)).unwrap()?;
    let row = row.verified(store.reader().macs()).ok()?;
    row.revoked_at.is_none().then_some(row.role)
}

fn create(world: &mut World, store: &Store, name: &str, role: Role) -> KeyId {
    let project = store.end_at_open().0.unwrap();
    let create = project::Command::CreateKey { name: name.into(), role, hash: Hash::of(name.as_bytes()) };
    let created = world.run(store, Command::Project(project, create)).unwrap();
    let Event::Project(project::Event::KeyCreated { key, .. }) = created.decision.events[0].1 else {
        panic!("no key was made: {created:?}")
    };
    key
}

/// A founded store with a viewer's key `low`, an owner's key `high`, and `gone`, which was revoked.
fn with_keys(dir: &Path) -> World {
    let mut world = World::new(21);
    let store = Store::open(Options::new(dir)).unwrap();
    world.found(&store);
    store.close();
    let store = Store::open(Options::new(dir)).unwrap();
    create(&mut world, &store, "low", Role::Viewer);
    create(&mut world, &store, "high", Role::Owner);
    let gone = create(&mut world, &store, "gone", Role::Owner);
    let project = store.end_at_open().0.unwrap();
    world.run(&store, Command::Project(project, project::Command::RevokeKey { key: gone })).unwrap();
    assert_eq!(believed(&store, b"low"), Some(Role::Viewer));
    assert_eq!(believed(&store, b"high"), Some(Role::Owner));
    assert_eq!(believed(&store, b"gone"), None);
    store.close();
    world
}

/// Whether the store lets the holder of this text be an agent now.
fn is_agents(store: &Store, text: &[u8]) -> bool {
    let hash = Hash::of(text);
    let row = store.reader().read_blocking(|sql| agent_keys::by_hash(sql, &hash)).unwrap();
    let row = row.and_then(|row| row.verified(store.reader().macs()).ok());
    row.is_some_and(|row| row.is_live(Time::from_millis(i64::MAX / 2)))
}

#[test]
fn an_agents_key_that_another_hand_put_in_changed_or_made_live_is_refused() {
    let made = tempfile::tempdir().unwrap();
    let mut world = World::new(22);
    let store = Store::open(Options::new(made.path())).unwrap();
    world.found(&store);
    store.close();
    let store = Store::open(Options::new(made.path())).unwrap();
    let (first, second) = (world.deploy(&store, "first"), world.deploy(&store, "second"));
    for (agent, text) in [(first, "old"), (first, "live"), (second, "other")] {
        let rotate = agent::Command::RotateKey { hash: Hash::of(text.as_bytes()), overlap_ms: 0 };
        world.run(&store, Command::Agent(agent, rotate)).unwrap();
    }
    assert!(is_agents(&store, b"live") && is_agents(&store, b"other"), "the control: as it was written");
    assert!(!is_agents(&store, b"old"), "it was rotated");
    store.close();
    let put_in = format!(
        "INSERT INTO agent_keys VALUES ('key_00000000000000000000000000', '{first}', X'{}', 1, NULL, NULL)",
        Hash::of(b"evil")
    );
    for (tampering, refused) in [
        (put_in, "evil"),
        (format!("UPDATE agent_keys SET agent = '{second}' WHERE agent = '{first}'"), "live"),
        ("UPDATE agent_keys SET revoked_at = NULL".to_string(), "old"),
        ("DELETE FROM macs WHERE of_table = 'agent_keys'".to_string(), "live"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        Connection::open(dir.path().join("tenure.db")).unwrap().execute_batch(&tampering).unwrap();
        let store = Store::open(Options::new(dir.path())).unwrap();
        assert!(!is_agents(&store, refused.as_bytes()), "{tampering}");
        store.close();
    }
}

#[test]
fn a_key_that_was_put_in_changed_or_made_live_by_another_hand_is_refused_and_the_others_are_not() {
    let made = tempfile::tempdir().unwrap();
    with_keys(made.path());
    let put_in = format!(
        "INSERT INTO keys VALUES ('key_00000000000000000000000000', 'evil', 'owner', X'{}', 1, NULL)",
        Hash::of(b"evil")
    );
    let with_mac = format!("{put_in}; INSERT INTO macs SELECT 'keys', 'key_00000000000000000000000000', mac FROM macs");
    for (tampering, refused) in [
        (put_in.as_str(), "evil"),
        (&with_mac.replace("FROM macs", "FROM macs WHERE of_table = 'keys' LIMIT 1"), "evil"),
        ("UPDATE keys SET role = 'owner' WHERE name = 'low'", "low"),
        ("UPDATE keys SET revoked_at = NULL WHERE name = 'gone'", "gone"),
        ("UPDATE keys SET hash = hash || X'' , name = 'lower' WHERE name = 'low'", "low"),
        ("DELETE FROM macs WHERE key = (SELECT id FROM keys WHERE name = 'low')", "low"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        Connection::open(dir.path().join("tenure.db")).unwrap().execute_batch(tampering).unwrap();
        let store = Store::open(Options::new(dir.path())).unwrap();
        assert_eq!(believed(&store, refused.as_bytes()), None, "{tampering}");
        assert_eq!(believed(&store, b"high"), Some(Role::Owner), "{tampering}");
        store.close();
        let report = check(dir.path());
        assert!(
            !report.holds() && found(&report).contains("`keys`") | found(&report).contains("`macs`"),
            "{tampering}"
        );
    }
}

#[test]
fn a_changed_key_can_be_revoked_and_stays_refused_when_it_is_made_live_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = with_keys(dir.path());
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    db.execute("UPDATE keys SET role = 'owner' WHERE name = 'low'", []).unwrap();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let project = store.end_at_open().0.unwrap();
    let id: String = db.query_row("SELECT id FROM keys WHERE name = 'low'", [], |row| row.get(0)).unwrap();
    let revoke = project::Command::RevokeKey { key: id.parse().unwrap() };
    world.run(&store, Command::Project(project, revoke)).unwrap();
    db.execute("UPDATE keys SET revoked_at = NULL WHERE name = 'low'", []).unwrap();
    assert_eq!(believed(&store, b"low"), None);
    db.execute("UPDATE keys SET role = 'viewer' WHERE name = 'low'", []).unwrap();
    assert_eq!(believed(&store, b"low"), Some(Role::Viewer), "a whole row put back as it once was bears its MAC");
    store.close();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let ScrubState::Damaged { findings, .. } = crate::beside::scrub_state(&store) else { panic!("it was not found") };
    assert_eq!(findings, [format!("the row {id} of `keys` is not what the records say")]);
    store.close();
    assert!(found(&check(dir.path())).contains("`keys` differs: revoked_at is empty"));
}

#[test]
fn a_revision_that_names_another_plan_is_run_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, store) = (World::new(22), Store::open(Options::new(dir.path())).unwrap());
    world.found(&store);
    let (agent, other) = (world.deploy(&store, "a"), world.deploy(&store, "b"));
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    let wider = "UPDATE revisions SET plan = (SELECT plan FROM revisions WHERE agent = ?1) WHERE agent = ?2";
    assert_eq!(db.execute(wider, [other.to_string(), agent.to_string()]).unwrap(), 1);
    store.close();
    let store = Store::open(Options::new(dir.path())).unwrap();
    let plan = |id| store.writer().write_blocking(Class::Interactive, move |txn| Ok(txn.plan(id, 1).is_ok())).unwrap();
    assert!(!plan(agent) && plan(other));
    let row = |id| store.reader().read_blocking(|sql| agents::revision(sql, id, 1)).unwrap().unwrap();
    let forged = row(agent).verified(store.reader().macs()).unwrap_err().to_string();
    assert!(forged.contains(&format!("the row {agent} 1 of `revisions` was not written by this ledger")), "{forged}");
    assert!(row(other).verified(store.reader().macs()).is_ok());
}

#[test]
fn a_snapshot_by_another_hand_is_dropped_and_its_stream_is_read_from_the_first_record() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    let db = Connection::open(made.path().join("tenure.db")).unwrap();
    let stream = "SELECT stream FROM snapshots WHERE stream LIKE 'exe_%' ORDER BY n DESC LIMIT 1";
    let id: String = db.query_row(stream, [], |row| row.get(0)).unwrap();
    drop(db);
    let fold = |dir: &Path| -> Result<Execution, ()> {
        let store = Store::open(Options::new(dir)).unwrap();
        let wanted = Stream::Execution(id.parse().unwrap());
        let fold = store
            .writer()
            .write_blocking(Class::Interactive, move |txn| txn.fold(wanted).map_err(|_| tenure_store::Error::Stopped));
        fold.map(|fold| fold.unwrap().as_a::<Execution>().unwrap().clone()).map_err(|_| ())
    };
    let whole = fold(made.path()).unwrap();
    let tampered = |tampering: &str| {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        let db = Connection::open(dir.path().join("tenure.db")).unwrap();
        assert!(db.execute(&tampering.replace("ID", &id), []).unwrap() > 0, "{tampering}");
        drop(db);
        dir
    };
    let body = "UPDATE snapshots SET body = CAST(replace(CAST(body AS TEXT), '\"turns\":', '\"turns\":1') AS BLOB) WHERE stream = 'ID'";
    for tampering in [
        body,
        "UPDATE snapshots SET n = n + 1 WHERE stream = 'ID'",
        "UPDATE snapshots SET mac = X'' WHERE stream = 'ID'",
    ] {
        assert_eq!(fold(tampered(tampering).path()), Ok(whole.clone()), "{tampering}");
    }
    // A snapshot of our own stands for the records before it.
    let cut = "DELETE FROM ledger WHERE stream = 'ID' AND n = 2";
    assert_eq!(fold(tampered(cut).path()), Ok(whole));
    let both = tampered(cut);
    let db = Connection::open(both.path().join("tenure.db")).unwrap();
    db.execute(&body.replace("ID", &id), []).unwrap();
    drop(db);
    assert_eq!(fold(both.path()), Err(()));
}

#[test]
fn without_the_ledgers_key_rows_are_compared_all_the_same_and_only_macs_are_not() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    fs::remove_file(dir.path().join("ledger.key")).unwrap();
    let report = check(dir.path());
    assert!(report.holds() && !report.replay.unwrap().macs, "{}", found(&report));
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    db.execute("UPDATE keys SET role = 'owner'", []).unwrap();
    assert!(found(&check(dir.path())).contains("`keys` differs: role is `owner`"));
}
