//! Each way to tamper with a store is found and located, and an untouched one holds.

use crate::world::{self, World};
use rusqlite::Connection;
use serde_json::json;
use std::fs;
use std::path::Path;
use tenure_core::access::Role;
use tenure_core::aggregate::{Command, Event};
use tenure_core::bound::{Hash, Payload};
use tenure_core::call::EndCall;
use tenure_core::comms::Priority;
use tenure_core::execution;
use tenure_core::id::{AgentId, ExecutionId, InstanceId, PackageId, ProjectId, SecretId, SessionId};
use tenure_core::instance;
use tenure_core::judge::Digest;
use tenure_core::manifest::Manifest;
use tenure_core::package::{self, archive};
use tenure_core::plan::Plan;
use tenure_core::row::Row;
use tenure_core::secret::{self, Binding};
use tenure_core::{agent, ledger, project, session, state};
use tenure_store::verify::{Depth, Report, Witness, verify};
use tenure_store::{Checkpoint, Error, Options, Restored, Store};

/// One execution is erased in more pages than one, among others that are kept.
fn erases(world: &mut World, store: &Store, agent: AgentId, bound: world::Connected) {
    let gone = world.start(store, agent, None);
    world.bind(store, gone, bound);
    for _ in 0..20 {
        world.turn(store, gone, 1);
        world.end_call(store, gone);
    }
    world.turn(store, gone, 0);
    world.release(store, gone, bound.1);
    world.run_execution(store, gone, execution::Command::Erase { reason: "a customer asked".into() });
    let mut pages = 1;
    while world.run(store, Command::Execution(gone, execution::Command::EraseRest {})).is_ok() {
        pages += 1;
    }
    assert!(pages > 1, "it is short");
}

/// A ledger with ended and open executions, calls in flight, snapshots, a large payload, a stored value, a lost jail, a
/// validation, a revoked key and counted refusals: no table of it is empty.
pub(crate) fn make(dir: &Path) {
    let store = Store::open(Options::new(dir)).unwrap();
    let mut world = World::new(11);
    let project = world.found(&store);
    let agent = world.deploy(&store, "a");
    let worker = world.worker(&store, 10);
    world.whole(&store, agent, worker, 2);
    erases(&mut world, &store, agent, worker);
    let long = world.start(&store, agent, None);
    world.bind(&store, long, worker);
    for _ in 0..20 {
        world.turn(&store, long, 1);
        world.end_call(&store, long);
    }
    world.turn(&store, long, 2);
    let large = world.payload(vec![5; 70_000]);
    let turned = world::get(&store, long);
    let end = EndCall { result: Some(large), ..world.end_of(&world::acting(&turned)[0]) };
    world.run_execution(&store, long, execution::Command::EndCall(end));
    world.start(&store, agent, Some(Hash::of(b"idempotency")));
    let keeps = world.start(&store, agent, None);
    world.bind(&store, keeps, worker);
    let set = world.proposal_of("state.persistent.set", &json!({ "key": "mood", "value": "good" }));
    world.turn_asking(&store, keeps, vec![set]);
    world.perform(&store, keeps);
    for (capability, arguments) in [
        ("alerts.send", json!({ "severity": "info", "message": "the disk is nearly full" })),
        ("scheduler.cron_create", json!({ "name": "tick", "cron": "@daily", "input": "look" })),
    ] {
        let asked = world.proposal_of(capability, &arguments);
        world.turn_asking(&store, keeps, vec![asked]);
        world.perform(&store, keeps);
    }
    keep_values(&mut world, &store, agent, project);
    let (digest, bundle) = (Digest(Hash::of(b"{}")), world.payload("{}"));
    let apply = project::policy::Apply { digest, bundle, expected: None, repeats: None, note: Some("first".into()) };
    world.run(&store, Command::Project(project, project::Command::ApplyPolicy(apply))).unwrap();
    connects(&mut world, &store, agent);
    pushes(&mut world, &store, project);
    let validated = world.deploy_under(&store, "validated", &world::validated_plan(2));
    let checked = world.start(&store, validated, None);
    world.bind(&store, checked, worker);
    world.turn(&store, checked, 1);
    let leases =
        world::acting(&world::get(&store, checked)).iter().filter_map(|call| Some(call.lease()?.lease)).collect();
    let lose = execution::Command::LoseJail {
        connection: worker.1,
        iteration: 1,
        leases,
        why: "killed".into(),
        traffic: None,
    };
    world.run_execution(&store, checked, lose);
    world.end_call(&store, checked);
    world.turn(&store, checked, 0);
    let reasons = world.payload("it ended with 0");
    let finding = execution::Finding { validator: "exit_code".into(), pass: true, score_milli: 1000, reasons };
    world.run_execution(&store, checked, execution::Command::Validate { iteration: 1, index: 0, finding });
    let name = |name: &str| project::Command::CreateKey {
        name: name.into(),
        role: Role::Operator,
        hash: Hash::of(name.as_bytes()),
    };
    world.run(&store, Command::Project(project, name("live"))).unwrap();
    let created = world.run(&store, Command::Project(project, name("revoked"))).unwrap();
    let Event::Project(project::Event::KeyCreated { key, .. }) = created.decision.events[0].1 else {
        panic!("no key was made: {created:?}")
    };
    for _ in 0..3 {
        // The first revokes it, the others are refused; the last of them is only counted.
        let _ = world.run(&store, Command::Project(project, project::Command::RevokeKey { key }));
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
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

pub(crate) fn check(dir: &Path) -> Report {
    verify(dir, Depth::Whole).unwrap()
}

pub(crate) fn found(report: &Report) -> String {
    report.findings.kept().iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn an_untouched_store_holds_and_says_what_it_was_held_against() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let report = check(dir.path());
    assert!(report.holds(), "{}", found(&report));
    let replay = report.replay.unwrap();
    assert!(report.records > 100 && replay.streams == 17, "{report:?}");
    assert!(replay.payloads > 60 && replay.rows > 60 && replay.macs, "{report:?}");
    assert!(matches!(report.witness, Witness::Head { size, .. } if size == report.records));
    fs::remove_file(dir.path().join("head.json")).unwrap();
    let report = check(dir.path());
    assert!(report.holds() && report.witness == Witness::None);
    let chain = verify(dir.path(), Depth::Chain).unwrap();
    assert!(chain.holds() && chain.root == report.root && chain.replay.is_none(), "{chain:?}");
}

#[test]
fn what_is_no_data_directory_is_said_and_the_key_stands_in_for_its_public_half() {
    let dir = tempfile::tempdir().unwrap();
    let sentence = |path: &Path| verify(path, Depth::Whole).unwrap_err().to_string();
    let none = dir.path().join("none");
    assert_eq!(sentence(&none), format!("{} does not exist", none.display()));
    let empty = tempfile::tempdir().unwrap();
    let expected = format!("{} holds no ledger: there is no tenure.db in it", empty.path().display());
    assert_eq!(sentence(empty.path()), expected);
    make(dir.path());
    let database = dir.path().join("tenure.db");
    assert_eq!(sentence(&database), format!("{} is no directory", database.display()));
    fs::remove_file(dir.path().join("ledger.pub")).unwrap();
    assert!(check(dir.path()).holds());
    fs::remove_file(dir.path().join("ledger.key")).unwrap();
    assert!(sentence(dir.path()).contains("has no key to verify by"));
}

type Tampering = fn(&Connection, &Path);

fn blob(dir: &Path) -> std::path::PathBuf {
    let folder = fs::read_dir(dir.join("blobs")).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

/// A second version of a stored value, a quota, a shared one that expired, and a rule.
/// From outside and with people: a key, a session, a conversation and a letter.
fn connects(world: &mut World, store: &Store, agent: AgentId) {
    let rotate = agent::Command::RotateKey { hash: Hash::of(b"an agent's key"), overlap_ms: 0 };
    let rotated = world.run(store, Command::Agent(agent, rotate)).unwrap();
    let key =
        rotated.decision.rows.iter().find_map(|row| if let Row::AgentKey(row) = row { Some(row.id) } else { None });
    let open = session::Command::Open { agent, key: key.unwrap() };
    let session = SessionId::mint(&mut world.mint());
    world.run(store, Command::Session(session, open)).unwrap();
    let start = execution::Start {
        agent,
        revision: None,
        input: world.payload("\"hello\""),
        max_iterations: None,
        idempotency: None,
        trigger: execution::Trigger::Manual,
    };
    let said = execution::Command::Converse { start, conversation: None };
    let execution = ExecutionId::mint(&mut world.mint());
    world.run_execution(store, execution, said);
    let kept = SecretId::mint(&mut world.mint());
    let sealed = world.payload("sealed bytes");
    let binding = Binding { agent, capability: secret::USED_BY[0].into(), host: "api.example.com".into() };
    for command in [secret::Command::Set { name: "token".into(), sealed }, secret::Command::Bind { binding }] {
        world.run(store, Command::Secret(kept, command)).unwrap();
    }
    let body = world.payload("\"read this\"");
    let post = agent::Post { body, priority: Priority::Normal, correlation: None, deadline: None, idempotency: None };
    world.run(store, Command::Agent(agent, agent::Command::Post(post))).unwrap();
}

/// A code agent whose program waits for a worker.
fn starts_program(world: &mut World, store: &Store) {
    let text = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: coded}\n\
                spec: {runtime: {kind: hooks, command: [clerk]}}\n";
    let plan = Plan::compile(&Manifest::parse(text).unwrap());
    let agent = world.deploy_under(store, "coded", &plan);
    let id = InstanceId::mint(&mut world.mint());
    world.run(store, Command::Instance(id, instance::Command::Start { agent })).unwrap();
}

/// A package of a trusted publisher.
fn pushes(world: &mut World, store: &Store, project: ProjectId) {
    starts_program(world, store);
    let key = archive::Key::from_bytes(&[7; 32]);
    let text = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: packed, version: 1.0.0}\n\
                spec: {runtime: {kind: command, command: [sh, main.sh]}}\n";
    let file = |path: &str, text: &str| archive::File {
        path: path.into(),
        executable: false,
        bytes: text.as_bytes().to_vec(),
    };
    let built = archive::build(vec![file("agent.yaml", text), file("main.sh", "echo 1")], Some(&key)).unwrap();
    let trust = project::Command::TrustPublisher { name: "us".into(), key: archive::publisher_of(&key) };
    world.run(store, Command::Project(project, trust)).unwrap();
    let contents = archive::open(&built).unwrap().contents;
    let (id, archive) = (PackageId::mint(&mut world.mint()), Payload::new([3; 16], built));
    world.run(store, Command::Package(id, package::Command::Push { contents, archive })).unwrap();
}

fn keep_values(world: &mut World, store: &Store, agent: AgentId, project: ProjectId) {
    let write = |world: &mut World, key: &str, text: &str, ttl_ms| state::Write {
        key: key.into(),
        value: world.payload(text),
        expected: None,
        ttl_ms,
    };
    let mood = write(world, "mood", "\"better\"", None);
    let shared = write(world, "secret:a", "1", Some(1));
    let nobody = || state::Access::Agents(std::collections::BTreeSet::new());
    let acl = state::Acl { prefix: "secret:".into(), read: nobody(), write: nobody() };
    for command in [
        Command::Agent(agent, agent::Command::SetState(mood)),
        Command::Agent(agent, agent::Command::SetStateQuota { quota: 1000 }),
        Command::Project(project, project::Command::SetShared(shared)),
        Command::Project(project, project::Command::SetAcl(acl)),
        Command::Project(project, project::Command::SetSharedQuota { quota: 1 }),
        // The first ends it, the second drops what there is no room for.
        Command::Project(project, project::Command::SweepShared {}),
        Command::Project(project, project::Command::SweepShared {}),
    ] {
        world.run(store, command).unwrap();
    }
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
                "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), 'local', 'loyal') AS BLOB) WHERE idx = 8",
            )
        },
        &["record 8 of exe_", "is not the one that record 9 follows"],
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
    (
        "a payload of another size",
        |db, _| run(db, "UPDATE payloads SET size = size + 1 WHERE hash = (SELECT min(hash) FROM payloads)"),
        &["binds payload", "bytes, and its row says"],
    ),
    (
        "a payload that no record binds",
        |db, _| {
            run(db, "INSERT INTO payloads (hash, salt, size, bytes) VALUES (randomblob(32), randomblob(16), 1, x'00')")
        },
        &["of `payloads` is there, and no record binds it"],
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
                "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), 'call.called', 'call.coined') AS BLOB) WHERE idx = 10",
            );
        },
        &["record 10", "`call.coined`"],
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
    ("a forged chain", |db, _| forge(db, 12), &["is not the record that the head in the database was signed over"]),
    (
        "a head with another size",
        |db, _| run(db, "UPDATE heads SET signed = replace(signed, '\"size\":', '\"size\":1')"),
        &["the head in the database is not signed"],
    ),
    (
        "a head of another project",
        |db, _| run(db, "UPDATE heads SET project = 'prj_00000000000000000000000000'"),
        &["another project than the records'"],
    ),
    ("a head of another size", |db, _| run(db, "UPDATE heads SET size = size - 1"), &["is put down for"]),
    (
        "a second head",
        |db, _| run(db, "INSERT INTO heads SELECT 'prj_00000000000000000000000000', size, frontier, signed FROM heads"),
        &["has 2 heads"],
    ),
    (
        "a migration that is not put down",
        |db, _| run(db, "DELETE FROM migrations WHERE name = (SELECT max(name) FROM migrations)"),
        &["migration `0021 ", "is not put down"],
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
        "an obligation dropped",
        |db, _| run(db, "DELETE FROM owed WHERE kind = 'dispatch'"),
        &["owes {\"dispatch\":", "no row says so"],
    ),
    (
        "an obligation made up",
        |db, _| run(db, "INSERT INTO owed SELECT 'expire', 'run', 5, stream, '\"expire\"' FROM ledger WHERE idx = 9"),
        &["a row says that \"expire\" is owed, and it is not"],
    ),
    (
        "an obligation under another kind, where no reconciler looks for it",
        |db, _| run(db, "UPDATE owed SET kind = 'sweep' WHERE kind = 'dispatch'"),
        &["exe_", "owes {\"dispatch\":", "in a row that is not its own, under `sweep`"],
    ),
    (
        "an obligation by a clock that there is not",
        |db, _| run(db, "UPDATE owed SET axis = 'sun' WHERE kind = 'dispatch'"),
        &["something is owed by a clock `sun`", "owes {\"dispatch\":", "no row says so"],
    ),
    (
        "a snapshot of no stream",
        |db, _| run(db, "UPDATE snapshots SET stream = 'none' WHERE rowid = (SELECT min(rowid) FROM snapshots)"),
        &["a snapshot cannot be read: `none`"],
    ),
    (
        "a number that no record can hold",
        |db, _| {
            run(
                db,
                "UPDATE ledger SET body = CAST(replace(CAST(body AS TEXT), '\"took_ms\":12', '\"took_ms\":18446744073709551615') \
                 AS BLOB) WHERE idx = 9",
            );
        },
        &["record 9 of exe_", "a number in it is no integer within"],
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
        "a changed row of an agent",
        |db, _| run(db, "UPDATE agents SET state = 'archived'"),
        &["agt_", "of `agents` differs: state is `archived`, by the records `deployed`"],
    ),
    (
        "a dropped holder",
        |db, _| run(db, "DELETE FROM holders WHERE namespace = 'idempotency_key'"),
        &["exe_", "the row `idempotency_key` `agt_", "of `holders` is missing"],
    ),
    (
        "a holder that is another",
        |db, _| run(db, "UPDATE holders SET holder = 'agt_00000000000000000000000000' WHERE namespace = 'agent_name'"),
        &[
            "the row `agent_name` `a` of `holders` differs: holder is `agt_00000000000000000000000000`, by the records `agt_",
        ],
    ),
    (
        "a made-up row of an execution",
        |db, _| {
            db.execute_batch("CREATE TEMP TABLE one AS SELECT * FROM executions LIMIT 1").unwrap();
            run(db, "UPDATE one SET id = 'exe_00000000000000000000000000'");
            run(db, "INSERT INTO executions SELECT * FROM one");
        },
        &["exe_00000000000000000000000000: the row", "of `executions` is there, and no record implies it"],
    ),
    (
        "a changed row of an ended execution",
        |db, _| run(db, "UPDATE executions SET tool_calls = 0 WHERE status = 'completed'"),
        &["of `executions` differs: tool_calls is 0, by the records 2"],
    ),
    (
        "a changed counter",
        |db, _| run(db, "UPDATE counters SET value = value - 1 WHERE counter = 'bound'"),
        &["the row `bound` `con_", "of `counters` differs: value is 2, by the records 3"],
    ),
    (
        "a dropped counter",
        |db, _| run(db, "DELETE FROM counters WHERE counter = 'state_bytes'"),
        &["the row `state_bytes` `persistent:agt_", "of `counters` is missing"],
    ),
    (
        "a changed stored value",
        |db, _| run(db, "UPDATE entries SET expires = 5 WHERE key = 'mood' AND superseded = 0"),
        &["agt_", "`mood` 2 of `entries` differs: expires is 5, by the records empty"],
    ),
    (
        "a dropped version",
        |db, _| run(db, "DELETE FROM entries WHERE key = 'mood' AND superseded = 1"),
        &["agt_", "`mood` 1 of `entries` is missing"],
    ),
    (
        "a quota that is another",
        |db, _| run(db, "UPDATE counters SET value = 5 WHERE counter = 'state_quota'"),
        &["the row `state_quota` `persistent:agt_", "of `counters` differs: value is 5, by the records 1000"],
    ),
    (
        "a rule on shared keys that lets others write",
        |db, _| run(db, "UPDATE acls SET writers = '\"everyone\"'"),
        &["the row `secret:` of `acls` differs: writers is "],
    ),
    (
        "an erased payload is put back",
        |db, _| {
            run(db, "INSERT INTO payloads (hash, salt, size, bytes) SELECT hash, zeroblob(16), 1, x'41' FROM erased")
        },
        &["exe_", "whose bytes were changed", "of `payloads` is there, and no record binds it"],
    ),
    (
        "what was erased is not told of",
        |db, _| run(db, "DELETE FROM erased"),
        &["exe_", "which is missing", "of `erased` is missing"],
    ),
    (
        "an erased execution is shown as whole",
        |db, _| run(db, "UPDATE executions SET erased_at = NULL, kept_bytes = 7 WHERE erased_at IS NOT NULL"),
        &["exe_", "of `executions` differs", "kept_bytes is 7, by the records empty"],
    ),
    (
        "a value that is erased, and no event says so",
        |db, _| {
            run(db, "INSERT INTO erased SELECT value FROM entries WHERE key = 'mood' AND superseded = 0");
            run(db, "DELETE FROM payloads WHERE hash IN (SELECT hash FROM erased)");
        },
        &["of `erased` is there, and no record implies it"],
    ),
    (
        "a revoked key that lives again",
        |db, _| run(db, "UPDATE keys SET revoked_at = NULL WHERE revoked_at IS NOT NULL"),
        &["the row `key_", "of `keys` differs: revoked_at is empty, by the records 1700"],
    ),
    (
        "a call that another rule let pass",
        |db, _| run(db, "UPDATE calls SET rules = 'person' WHERE ordinal = 0 AND turn = 0"),
        &["exe_", "of `calls` differs: rules is `person`, by the records `manifest:tools[0] filesystem.*`"],
    ),
    (
        "a column of another type",
        |db, _| run(db, "UPDATE turns SET took_ms = 0.5 WHERE turn = 3"),
        &["the table `turns` cannot be read: a fraction"],
    ),
    (
        "an outside head by another key",
        |_, dir| {
            let text = fs::read_to_string(dir.join("head.json")).unwrap();
            fs::write(dir.join("head.json"), text.replace("\"size\":", "\"size\":1")).unwrap();
        },
        &["head.json is not by this ledger's key"],
    ),
    (
        "an outside head that is a pipe, which nobody waits for",
        |_, dir| {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            fs::remove_file(dir.join("head.json")).unwrap();
            mknodat(CWD, dir.join("head.json"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        },
        &["cannot be read", "it is no file"],
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
    for file in ["tenure.db", "tenure.db-wal", "tenure.db-shm"] {
        let _ = fs::remove_file(dir.path().join(file));
        let _ = fs::copy(older.path().join(file), dir.path().join(file));
    }
    let report = check(dir.path());
    assert!(found(&report).contains("an older copy put back"), "{}", found(&report));

    let store = Store::open(Options::new(dir.path())).unwrap();
    let restored = Restored { checkpoint_size: before + 1, database_size: before };
    assert_eq!(*store.checkpoint(), Checkpoint::Restored(restored));
    world.deploy(&store, "other");
    world.deploy(&store, "another");
    store.close();
    assert!(found(&check(dir.path())).contains("is not on this chain"));
    let store = Store::open(Options::new(dir.path())).unwrap();
    let accept = project::Command::AcceptRestore { checkpoint_size: before + 1, why: "the disk was lost".into() };
    world.run(&store, Command::Project(store.end_at_open().0.unwrap(), accept)).unwrap();
    store.close();
    let report = check(dir.path());
    assert!(report.holds(), "{}", found(&report));
    let store = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(*store.checkpoint(), Checkpoint::OnChain { newer: 0 });
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
