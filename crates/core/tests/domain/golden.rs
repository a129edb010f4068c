//! Golden ledgers: what a release wrote must be read by every later one, its chain must hold, and it must fold to what
//! today's code folds, from any snapshot on. A tagged release adds a file; none is ever changed. Folds have no golden bytes:
//! they are disposable.
use crate::office::{OWNER, Office, money};
use crate::reports::failed;
use crate::sessions::Desk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Fold, Kinds, Stream, apply};
use tenure_core::bound::Hash;
use tenure_core::call::Outcome;
use tenure_core::id::KeyId;
use tenure_core::judge::Digest;
use tenure_core::ledger::{NOTHING_BEFORE, leaf, read};
use tenure_core::manifest::{Missed, Overlap, Trigger};
use tenure_core::{access, agent, execution, fleet, instance, package, project, secret, session};

/// A history with every kind of event that this release writes.
#[expect(clippy::too_many_lines, reason = "one list, of one command for each kind of event")]
fn history() -> Office {
    let mut office = Office::new(1);
    let key = KeyId::mint(&mut office.world.mint());
    let refused = project::Command::RevokeKey { key };
    for _ in 0..3 {
        office.command_project(OWNER, refused.clone()).expect_err("there is no such key");
    }
    let created = office
        .command_project(
            OWNER,
            project::Command::CreateKey { name: "ci".into(), role: access::Role::Operator, hash: Hash::of(b"key") },
        )
        .expect("a new name");
    let [tenure_core::aggregate::Event::Project(project::Event::KeyCreated { key, .. })] = created[..] else {
        panic!("no key was made")
    };
    for command in [
        project::Command::RecordStart { version: "0".into() },
        project::Command::RecordStep { by_ms: -3_600_000 },
        project::Command::AcceptRestore { checkpoint_size: 9, why: "a backup".into() },
        project::Command::RotateKey { rotation: office.rotation() },
        project::Command::SealRecords { seal: office.seal() },
        project::Command::RevokeKey { key },
        project::Command::TellRefusals {},
    ] {
        office.command_project(Actor::Daemon, command).expect("it stands");
    }
    let bundle = office.world.payload("{}");
    let (digest, note) = (Digest(Hash::of(b"{}")), Some("a first one".to_string()));
    let apply = project::policy::Apply { digest, bundle, expected: Some(0), repeats: None, note };
    office.command_project(OWNER, project::Command::ApplyPolicy(apply)).expect("another than the built-in one");
    let finish = project::Command::FinishRejudging { number: 1 };
    office.command_project(Actor::Daemon, finish).expect("nothing waited");
    office.deploy("clerk", 1, "another").expect("a changed manifest");
    let steps: [fn(&mut Office) -> execution::Command; 27] = [
        Office::start,
        |office| office.bind(),
        |office| office.call_model(),
        |office| office.fail_model(true),
        |office| office.call_model(),
        |office| execution::Command::LoseModel { turn: office.turn() },
        |office| office.call_model(),
        |office| office.answer(&["filesystem.write", "email.send", "!filesystem.read"]),
        |office| office.refuse_network(1),
        |office| office.lose_jail(),
        |office| office.end_call(Outcome::Done { exit_code: None }),
        |office| office.call_model(),
        |office| {
            office.answer(&["state.persistent.set", "state.session.set", "state.persistent.get", "filesystem.read"])
        },
        Office::perform,
        Office::perform,
        Office::perform,
        |office| office.end_call(Outcome::Redirected { path: "/workspace/behind".into() }),
        |office| office.end_call(Outcome::Failed { code: "not_found".into() }),
        |office| office.call_model(),
        |office| office.answer(&["process.run"]),
        |office| office.end_call(Outcome::ResourceExhausted { resource: "pids".into(), limit: Some(100) }),
        |office| office.call_model(),
        |office| office.answer(&[]),
        Office::check,
        |office| office.end_call(Outcome::Done { exit_code: Some(1) }),
        |office| office.validate(false),
        |office| office.release(),
    ];
    for step in steps {
        let command = step(&mut office);
        office.must(command);
    }
    office.lapse();
    office.connect(2);
    for step in [Office::bind as fn(&Office) -> execution::Command, Office::call_model] {
        let command = step(&office);
        office.must(command);
    }
    let answer = office.answer(&[]);
    office.must(answer);
    let pass = office.validate(true);
    office.must(pass);
    let first = office.execution;
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    for step in [Office::bind as fn(&Office) -> execution::Command, Office::call_model] {
        let command = step(&office);
        office.must(command);
    }
    let costly = failed(&office, execution::Remedy::Again { after_ms: None }, 9_000);
    office.must(costly).must(execution::Command::Cancel { why: "enough".into() });
    office.schedule("@hourly", Overlap::Skip, Missed::RunOnce).expect("another manifest");
    for _ in 0..2 {
        office.world.pass(3_600_000);
        office.wake().expect("it is due");
    }
    let woken = office.world.fold::<agent::Agent>(office.agent).map(|agent| agent.scheduled[0]);
    office.execution = woken.expect("the first of the two");
    office.must(execution::Command::Cancel { why: "enough".into() });
    office.execution = office.world.execution_id();
    let say = office.say(None);
    office.must(say).must(execution::Command::Cancel { why: "enough".into() });
    let mut office = history_of_budgets(history_of_sessions(office));
    crate::retention::every_kind(&mut office);
    crate::approvals::every_kind(&mut office);
    crate::secrets::every_kind(&mut office);
    crate::packages::every_kind(&mut office);
    crate::mcp::every_kind(&mut office);
    crate::programs::every_kind(&mut office);
    crate::proxy::every_kind(&mut office);
    let mut office = crate::instances::every_kind(office);
    office.pause().expect("it is deployed");
    let until = Some(office.world.now.at.plus_ms(60_000));
    office.supervise(agent::Command::Pause { note: None, until }).expect("until then");
    office.supervise(agent::Command::Resume { note: None }).expect("it is paused");
    office.kill().expect("it is deployed");
    office.quarantine(agent::Severity::Medium).expect("it is deployed");
    office.recover().expect("nothing of it runs");
    office.put_file().expect("it is deployed");
    office.record_put(Some("the disk is full".into())).expect("it was put");
    office.keep_values();
    office.revoke().expect("it is deployed");
    office.execution = first;
    office.delete().expect("it is deployed");
    office.remove_home().expect("it has a home");
    let (connection, host) = (office.connection().expect("connected"), office.world.payload("{\"more\":1}"));
    let survey = Command::Worker(office.worker, fleet::Command::Survey { connection, host });
    office.world.commit(Actor::Worker(office.worker), survey).expect("connected");
    crate::messages::every_kind(crate::staff::every_kind(office))
}

/// The same office with budgets that are used up.
fn history_of_budgets(mut office: Office) -> Office {
    let plan = tenure_core::plan::Plan { triggers: vec![Trigger::Comms], ..crate::office::plan(1) };
    office.deploy_plan("clerk", &plan, "woken by messages").expect("a changed manifest");
    office.limit(&[Some(100)]).expect("it may be");
    office.command_project(OWNER, project::Command::SetBudget { lines: money(&[Some(100)]) }).expect("it may be");
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    for step in [Office::bind as fn(&Office) -> execution::Command, Office::call_model] {
        let command = step(&office);
        office.must(command);
    }
    let execution::Command::AnswerModel { turn, mut answer } = office.answer(&[]) else { unreachable!("an answer") };
    answer.usage.micro_usd = Some(100);
    office.must(execution::Command::AnswerModel { turn, answer });
    let pass = office.validate(true);
    office.must(pass);
    office.post().expect("it is deployed");
    office.wake_by_messages().expect("a message waits, and nothing is left");
    office.limit(&[None]).expect("it may be");
    office.command_project(OWNER, project::Command::SetBudget { lines: money(&[None]) }).expect("it may be");
    office
}

/// The same office with an agent that connects from outside.
fn history_of_sessions(office: Office) -> Office {
    let mut desk = Desk::at(office);
    desk.rotate(0).expect("a first key");
    desk.open().expect("its key lives");
    for capability in ["agent.whoami", "email.send", "!agent.whoami", "state.persistent.set"] {
        desk.invoke(capability).expect("it is recorded");
    }
    desk.sandbox_history();
    desk.office.world.pass(1_000);
    desk.touch().expect("it was silent");
    desk.close().expect("it is open");
    desk.release().expect("it ended with a jail");
    desk.erase().expect("it has ended");
    desk.open_another().expect("its key lives");
    desk.invoke("agent.whoami").expect("it is recorded");
    desk.close().expect("it is open");
    desk.rotate(1_000).expect("it is deployed");
    desk.office.world.pass(1_000);
    desk.end_key().expect("it is due");
    desk.office
}

fn written(office: &Office) -> String {
    let lines = office.world.memory.chain.iter().map(|record| String::from_utf8_lossy(record).into_owned() + "\n");
    lines.collect()
}

/// Folds of a ledger; `restart_every` so many records, as if from snapshots.
fn folds_of(ledger: &str, restart_every: usize) -> BTreeMap<Stream, Fold> {
    let mut folds: BTreeMap<Stream, Fold> = BTreeMap::new();
    let mut prev = NOTHING_BEFORE;
    for (place, line) in ledger.lines().enumerate() {
        let (meta, event) = read(line.as_bytes()).expect("it must be read for ever");
        assert_eq!((meta.prev, meta.index), (prev, place as u64), "the chain is broken");
        prev = leaf(line.as_bytes());
        if place % restart_every == 0 {
            let snapshots = serde_json::to_string(&folds.values().collect::<Vec<_>>()).expect("folds are JSON");
            let again: Vec<Fold> = serde_json::from_str(&snapshots).expect("a snapshot is read");
            folds = folds.into_keys().zip(again).collect();
        }
        let mut fold = folds.remove(&meta.stream);
        apply(&mut fold, &event, meta.stamp);
        folds.extend(fold.map(|fold| (meta.stream, fold)));
    }
    folds
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/domain/golden")
}

#[test]
fn every_golden_ledger_still_reads_and_folds_to_what_today_s_code_folds() {
    let mut found = 0;
    for entry in std::fs::read_dir(folder()).expect("the golden folder").flatten() {
        let ledger = std::fs::read_to_string(entry.path()).expect("a golden ledger");
        let whole = folds_of(&ledger, usize::MAX);
        assert!(whole.len() >= 5, "{} has too few streams", entry.path().display());
        assert_eq!(folds_of(&ledger, 3), whole, "{}", entry.path().display());
        found += 1;
    }
    assert!(found > 0, "there is no golden ledger");
}

/// Until a release is tagged its kinds may still change: then this file is written anew.
#[test]
fn the_unreleased_ledger_holds_every_kind_of_event_as_this_program_writes_it() {
    let office = history();
    let (ledger, path) = (written(&office), folder().join("unreleased.jsonl"));
    if std::env::var_os("TENURE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &ledger).expect("written");
    }
    assert_eq!(ledger, std::fs::read_to_string(&path).expect("the golden ledger"));
    assert_eq!(folds_of(&ledger, usize::MAX), office.world.memory.folds);
    let kinds: BTreeSet<String> = ledger.lines().map(|line| read(line.as_bytes()).expect("a record").0.kind).collect();
    let known = project::Event::KINDS
        .iter()
        .chain(agent::Event::KINDS)
        .chain(execution::Event::KINDS)
        .chain(fleet::Event::KINDS)
        .chain(session::Event::KINDS)
        .chain(secret::Event::KINDS)
        .chain(package::Event::KINDS)
        .chain(instance::Event::KINDS)
        .map(|kind| (*kind).to_string());
    assert_eq!(known.collect::<BTreeSet<_>>(), kinds, "a kind is not in the golden ledger");
}
