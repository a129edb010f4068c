//! The golden ledger: what this release wrote must be read, and fold to the same bytes, by every later one. A new
//! release adds a file; none is ever changed.
use crate::office::{OWNER, Office};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use tenure_core::bound::Hash;
use tenure_core::call::Outcome;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::fold::{EVENT_VERSION, Event, Fold, Stream, apply};
use tenure_core::time::Time;
use tenure_core::{access, agent, project};

/// A history with every kind of event that this release writes.
fn history() -> Office {
    let mut office = Office::new(1);
    for command in [
        project::Command::Found { name: "default".into() },
        project::Command::RecordStart { version: env!("CARGO_PKG_VERSION").into() },
        project::Command::CreateKey { name: "ci".into(), role: access::Role::Operator, hash: Hash::of(b"key") },
        project::Command::AcceptRestore { outside_index: 9, why: "a backup".into() },
    ] {
        office.world.commit(OWNER, Command::Project(command)).expect("it stands");
    }
    let key = office.world.folds[&Stream::Project].project().expect("founded").keys[0].id;
    let revoke = Command::Project(project::Command::RevokeKey { key });
    office.world.commit(OWNER, revoke).expect("the key is live");
    office.deploy("clerk", 1, "another").expect("a changed manifest");
    let steps: [fn(&mut Office) -> execution::Command; 20] = [
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
    office.open_session(2);
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
    office.must(start).must(execution::Command::Cancel { why: "enough".into() });
    office.execution = first;
    office.world.commit(OWNER, Command::Agent(office.agent, agent::Command::Delete)).expect("nothing runs");
    office
}

fn written(office: &Office) -> String {
    let mut text = String::new();
    for (stream, events) in &office.world.streams {
        for (at, event) in events {
            let event = serde_json::to_value(event).expect("an event is JSON");
            let line = serde_json::json!({"stream": stream, "at": at, "v": EVENT_VERSION, "event": event});
            let line = serde_json_canonicalizer::to_string(&line).expect("canonical");
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn folds_of(ledger: &str) -> BTreeMap<Stream, Option<Fold>> {
    let mut folds: BTreeMap<Stream, Option<Fold>> = BTreeMap::new();
    for line in ledger.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a line is a record");
        let stream: Stream = serde_json::from_value(record["stream"].clone()).expect("a stream");
        let at: Time = serde_json::from_value(record["at"].clone()).expect("a moment");
        let kind = record["event"]["kind"].as_str().expect("a kind");
        let version = u32::try_from(record["v"].as_u64().expect("a version")).expect("a small number");
        let event =
            Event::read(stream, kind, version, record["event"]["data"].clone()).expect("it must be read for ever");
        apply(folds.entry(stream).or_default(), &event, at);
    }
    folds
}

fn shown(folds: &BTreeMap<Stream, Option<Fold>>) -> String {
    let mut text = String::new();
    for (stream, fold) in folds {
        let fold = serde_json_canonicalizer::to_string(fold).expect("canonical");
        let _ = writeln!(text, "{stream} {fold}");
    }
    text
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/domain/golden")
}

#[test]
fn every_release_s_ledger_still_reads_and_folds_to_the_same_bytes() {
    let mut found = 0;
    for entry in std::fs::read_dir(folder()).expect("the golden folder").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let ledger = std::fs::read_to_string(&path).expect("a golden ledger");
            let expected = std::fs::read_to_string(path.with_extension("folds")).expect("its folds");
            assert_eq!(shown(&folds_of(&ledger)), expected, "{}", path.display());
            found += 1;
        }
    }
    assert!(found > 0, "there is no golden ledger");
}

#[test]
fn this_release_writes_what_its_golden_ledger_holds() {
    let (ledger, path) = (written(&history()), folder().join(concat!(env!("CARGO_PKG_VERSION"), ".jsonl")));
    if std::env::var_os("TENURE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &ledger).expect("written");
        std::fs::write(path.with_extension("folds"), shown(&folds_of(&ledger))).expect("written");
    }
    assert_eq!(ledger, std::fs::read_to_string(&path).expect("the golden ledger of this release"));
}
