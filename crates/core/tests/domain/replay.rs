//! Random histories: whatever is commanded in whatever order, replay equals the live state to the byte, every call and
//! model call has exactly one terminal event, folds stay small, and what is owed can always be done.
use crate::office::Office;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tenure_core::aggregate::{Event, FOLD_BYTES_MAX, Fold, Stream};
use tenure_core::call::Outcome;
use tenure_core::execution::{Command, Event as Happened, Execution, Phase, Step};
use tenure_core::facts::Counter;
use tenure_core::owed::Obligation;
use tenure_core::row::Row;

#[derive(Debug, Clone)]
enum Move {
    Start,
    Cancel,
    Bind,
    Lapse,
    /// With all that was in flight in it, or with nothing: then its successor holds the open calls.
    LoseJail(bool),
    Release,
    RefuseNetwork(usize),
    CallModel,
    Answer(Vec<&'static str>),
    FailModel(bool),
    LoseModel,
    EndCall(Outcome),
    Perform,
    Check,
    Validate(bool),
    Expire,
    Pass(u64),
}

const CAPABILITIES: [&str; 9] = [
    "filesystem.read",
    "filesystem.list",
    "filesystem.write",
    "process.run",
    "email.send",
    "!filesystem.read",
    "state.persistent.get",
    "state.persistent.set",
    "agent.whoami",
];

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => Just(Move::Start),
        1 => Just(Move::Cancel),
        6 => Just(Move::Bind),
        2 => Just(Move::Lapse),
        2 => any::<bool>().prop_map(Move::LoseJail),
        4 => Just(Move::Release),
        1 => (0usize..70).prop_map(Move::RefuseNetwork),
        8 => Just(Move::CallModel),
        8 => proptest::collection::vec(proptest::sample::select(&CAPABILITIES[..]), 0..5).prop_map(Move::Answer),
        1 => any::<bool>().prop_map(Move::FailModel),
        1 => Just(Move::LoseModel),
        8 => outcomes().prop_map(Move::EndCall),
        6 => Just(Move::Perform),
        2 => Just(Move::Check),
        3 => any::<bool>().prop_map(Move::Validate),
        2 => Just(Move::Expire),
        3 => (1u64..200_000).prop_map(Move::Pass),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done { exit_code: Some(0) }),
        Just(Outcome::Failed { code: "not_found".into() }),
        Just(Outcome::TimedOut),
        Just(Outcome::Redirected { path: "/workspace/behind".into() }),
        Just(Outcome::ResourceExhausted { resource: "memory".into(), limit: Some(512 << 20) }),
    ]
}

fn play(office: &mut Office, step: &Move) {
    let command = match step {
        Move::Start => office.start(),
        Move::Cancel => Command::Cancel { why: "enough".into() },
        Move::Bind => office.bind(),
        Move::Lapse => {
            office.lapse();
            office.connect(2);
            return;
        }
        Move::LoseJail(true) => office.lose_jail(),
        Move::LoseJail(false) => office.lose_jail_of(Vec::new()),
        Move::Release => office.release(),
        Move::RefuseNetwork(count) => office.refuse_network(*count),
        Move::CallModel => office.call_model(),
        Move::Answer(calls) => office.answer(calls),
        Move::FailModel(again) => office.fail_model(*again),
        Move::LoseModel => Command::LoseModel { turn: office.turn() },
        Move::EndCall(outcome) => office.end_call(outcome.clone()),
        Move::Check => office.check(),
        Move::Validate(pass) => office.validate(*pass),
        Move::Perform => office.perform(),
        Move::Expire => Command::Expire {},
        Move::Pass(milliseconds) => {
            office.world.pass(*milliseconds);
            return;
        }
    };
    let before = office.state().cloned();
    if office.apply(command).is_err() {
        assert_eq!(office.state(), before.as_ref(), "a refused command changed the state");
    }
}

/// What names one try of a call: its lease, or the call itself where it needs none.
fn attempt(call: tenure_core::id::CallId, lease: Option<tenure_core::id::LeaseId>) -> String {
    lease.map_or_else(|| call.to_string(), |lease| lease.to_string())
}

/// Counts openings and endings by id.
fn ledger_of(office: &Office) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
    let (mut calls, mut models) = (BTreeMap::new(), BTreeMap::new());
    let stream = office.world.memory.streams.get(&Stream::Execution(office.execution));
    for (_, event) in stream.into_iter().flatten() {
        let Event::Execution(event) = event else { continue };
        match event {
            Happened::CallCalled(called) => {
                *calls.entry(attempt(called.call, called.lease.map(|held| held.lease))).or_default() += 1
            }
            Happened::CallEnded(ended) => *calls.entry(attempt(ended.call, ended.lease)).or_default() -= 1,
            Happened::ModelCalled { turn, .. } => *models.entry(format!("{turn:?}")).or_default() += 1,
            Happened::ModelAnswered { turn, .. }
            | Happened::ModelFailed { turn, .. }
            | Happened::ModelLost { turn, .. } => *models.entry(format!("{turn:?}")).or_default() -= 1,
            _ => {}
        }
    }
    (calls, models)
}

fn check(office: &Office) {
    let bytes = |folds: &BTreeMap<Stream, Fold>| {
        folds.values().map(|fold| serde_json::to_string(fold).expect("a fold is JSON")).collect::<Vec<_>>()
    };
    assert_eq!(
        bytes(&office.world.replayed()),
        bytes(&office.world.memory.folds),
        "replay differs from the live state"
    );
    for fold in bytes(&office.world.memory.folds) {
        assert!(fold.len() < FOLD_BYTES_MAX, "a fold of {} bytes", fold.len());
    }
    let (calls, models) = ledger_of(office);
    let open = office.open_calls().iter().filter(|call| call.lease().is_some()).count();
    assert!(
        calls.values().all(|open| (0..=1).contains(open)),
        "a lease ended twice or without being called: {calls:?}"
    );
    assert_eq!(calls.values().filter(|open| **open == 1).count(), open, "the fold forgot an open call");
    assert!(models.values().all(|open| (0..=1).contains(open)), "a model call ended twice: {models:?}");
    if office.ended() {
        assert!(calls.values().chain(models.values()).all(|open| *open == 0), "something is open after the end");
        assert!(office.world.owed(Stream::Execution(office.execution)).is_empty(), "an ended execution owes something");
    }
    for owed in office.world.owed(Stream::Execution(office.execution)) {
        let key = owed.obligation.to_key();
        assert_eq!(Obligation::from_key(&key), Ok(owed.obligation.clone()), "an obligation's key does not read back");
    }
    shows_what_is(office);
    if let Some(state) = office.state() {
        comes_to_rest(state, office);
    }
}

/// Rows and sums say what the folds say: the list row but for figures that a call alone moves, slots, open executions, and
/// the index of what is owed.
fn shows_what_is(office: &Office) {
    let memory = &office.world.memory;
    let last = memory.rows.iter().rev().find_map(|row| match row {
        Row::Execution(row) if row.id == office.execution => Some(row.as_ref().clone()),
        _ => None,
    });
    if let (Some(state), Some(mut last)) = (office.state(), last) {
        let row = state.row(office.execution);
        last.tool_calls = row.tool_calls;
        assert_eq!(last, row, "the list shows what is no more");
    }
    let executions: Vec<&Execution> = memory.folds.values().filter_map(Fold::as_a).collect();
    for ((counter, connection, _), count) in &memory.counters {
        if *counter == Counter::Bound {
            let bound = executions.iter().filter_map(|execution| execution.binding());
            let bound = bound.filter(|binding| binding.connection.to_string() == *connection).count();
            assert_eq!(bound as i64, *count, "slots are counted wrong");
        }
    }
    let open = executions.iter().filter(|execution| !matches!(execution.phase, Phase::Ended { .. })).count();
    let agent = office.world.fold::<tenure_core::agent::Agent>(office.agent).expect("it is deployed");
    assert_eq!(agent.open as usize, open, "open executions are counted wrong");
    let mut owed: Vec<String> = memory.owed.iter().map(|(stream, owed)| format!("{stream} {owed:?}")).collect();
    let due = memory.folds.iter().flat_map(|(stream, fold)| fold.owed().into_iter().map(move |owed| (stream, owed)));
    let mut due: Vec<String> = due.map(|(stream, owed)| format!("{stream} {owed:?}")).collect();
    owed.sort();
    due.sort();
    assert_eq!(owed, due, "the index of what is owed differs from the folds");
}

/// Whoever is not ended owes something, so that no execution is ever forgotten.
fn comes_to_rest(state: &Execution, office: &Office) {
    match &state.phase {
        Phase::Ended { .. } => {}
        Phase::Queued { .. } | Phase::Running(_) => {
            assert!(!office.world.owed(Stream::Execution(office.execution)).is_empty(), "nothing is owed in {state:?}");
        }
    }
    if let Some(Step::Acting { calls }) = state.iteration().map(|iteration| &iteration.step) {
        assert!(!calls.is_empty(), "acting without calls");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_history_replays_to_the_same_bytes_and_keeps_the_invariants(
        validators in 0u32..3,
        steps in proptest::collection::vec(moves(), 1..120),
    ) {
        let mut office = Office::new(validators);
        play(&mut office, &Move::Start);
        for step in &steps {
            play(&mut office, step);
            check(&office);
        }
    }

    #[test]
    fn an_event_reads_back_from_its_stored_form(steps in proptest::collection::vec(moves(), 1..60)) {
        let mut office = Office::new(1);
        play(&mut office, &Move::Start);
        steps.iter().for_each(|step| play(&mut office, step));
        for (stream, events) in &office.world.memory.streams {
            for (_, event) in events {
                let stored = serde_json::to_value(event).unwrap();
                let kind = stored["kind"].as_str().unwrap().to_string();
                prop_assert_eq!(kind.as_str(), event.kind());
                let read = Event::read(*stream, &kind, event.version(), &stored["data"].to_string());
                prop_assert_eq!(read.as_ref(), Ok(event));
            }
        }
    }
}
