//! What workers and models report is held to what the ledger can bear, and never trusted to repeat what has effects.
use crate::office::Office;
use tenure_core::agent;
use tenure_core::aggregate::{Event, Verbs};
use tenure_core::call::{self, Outcome, Proposal};
use tenure_core::execution::{self, Check, Event as Happened, ModelFailure, Remedy, Step, Usage, Used};
use tenure_core::network::Traffic;

fn acting(capability: &str) -> Office {
    let mut office = Office::new(1);
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    let model = office.call_model();
    office.must(model);
    let answer = office.answer(&[capability]);
    office.must(answer);
    office
}

fn ends(events: &[Event]) -> Vec<&Outcome> {
    let ended = events.iter().filter_map(|event| match event {
        Event::Execution(Happened::CallEnded(ended)) => Some(&ended.outcome),
        _ => None,
    });
    ended.collect()
}

#[test]
fn a_worker_that_says_again_does_not_have_a_program_run_twice() {
    for (capability, again) in [("process.run", false), ("filesystem.read", true)] {
        let mut office = acting(capability);
        let end = office.end_call(Outcome::Lost { again: true });
        let events = office.apply(end).expect("the call is open");
        assert_eq!(ends(&events), [&Outcome::Lost { again }], "{capability}");
    }
}

#[test]
fn a_report_beyond_what_a_record_holds_is_recorded_as_the_most_that_it_holds() {
    let mut office = acting("process.run");
    let limit = Some(u64::MAX);
    let end = office.end_call(Outcome::ResourceExhausted { resource: "x".repeat(10_000), limit });
    let events = office.apply(end).expect("it ends");
    let [Outcome::ResourceExhausted { resource, limit: Some(limit) }] = ends(&events)[..] else { panic!("{events:?}") };
    assert!(resource.len() <= 256 && *limit == 1 << 52);
    office.must(execution::Command::Cancel { why: "enough".into() });
    let execution::Command::Release { connection, iteration, .. } = office.release() else { panic!("a release") };
    let most = u64::MAX;
    let traffic = Traffic { connections: most, requests: most, sent_bytes: most, received_bytes: most, refused: most };
    office.must(execution::Command::Release { connection, iteration, traffic: Some(traffic) });
    assert!(office.ended());
}

#[test]
fn a_version_that_is_no_whole_number_writes_nothing() {
    for (expected, written) in [("0", true), ("0.0", false), ("1e3", false), ("18446744073709551616", false)] {
        let mut office = acting("filesystem.read");
        let end = office.end_call(Outcome::Done { exit_code: None });
        office.must(end);
        let model = office.call_model();
        office.must(model);
        let text = format!(r#"{{"key":"k","value":1,"expected_version":{expected}}}"#);
        let attributes = call::attributes_json(&Default::default()).expect("small");
        let proposal = Proposal {
            capability: "state.persistent.set".into(),
            arguments: office.world.payload(&text),
            attributes: office.world.payload(&String::from_utf8(attributes).expect("JSON")),
            misfit: None,
        };
        let execution::Command::AnswerModel { turn, mut answer } = office.answer(&["filesystem.read"]) else {
            panic!("an answer")
        };
        answer.calls = vec![proposal];
        office.must(execution::Command::AnswerModel { turn, answer });
        let perform = office.perform();
        let events = office.apply(perform).expect("it is performed");
        let done = Outcome::Done { exit_code: None };
        let failed = Outcome::Failed { code: "invalid_arguments".into() };
        assert_eq!(ends(&events), [if written { &done } else { &failed }], "{expected}");
    }
}

#[test]
fn a_check_that_policy_blocks_has_ended_and_is_not_asked_for_again() {
    let mut office = acting("filesystem.read");
    let end = office.end_call(Outcome::Done { exit_code: None });
    office.must(end);
    let model = office.call_model();
    office.must(model);
    let answer = office.answer(&[]);
    office.must(answer);
    let check = execution::Command::Check { iteration: 1, index: 0, proposal: office.proposal("email.send") };
    let events = office.apply(check).expect("it is blocked, which is recorded");
    assert!(matches!(events[..], [Event::Execution(Happened::CallBlocked { check: Some(_), .. })]), "{events:?}");
    let step = &office.state().and_then(execution::Execution::iteration).expect("it is open").step;
    assert!(matches!(step, Step::Validating { check: Check::Ended { .. }, .. }), "{step:?}");
    let again = execution::Command::Check { iteration: 1, index: 0, proposal: office.proposal("email.send") };
    office.apply(again).expect_err("its answer is there");
}

#[test]
fn the_value_brought_with_a_call_is_the_one_that_is_bound_and_other_bytes_are_not() {
    for (brought, taken) in [("1", true), ("2", false)] {
        let mut office = acting("state.persistent.set");
        let execution::Command::Perform { call, arguments, .. } = office.perform() else { panic!("a call to perform") };
        let value = office.world.payload(brought);
        let perform = execution::Command::Perform { call, arguments, value: Some(value.clone()) };
        // What commits a command writes its payloads first: that is where a large value is written.
        assert_eq!(perform.payloads(), [&value]);
        let events = office.apply(perform).expect("it is performed");
        let bound = events.iter().find_map(|event| match event {
            Event::Agent(agent::Event::StateSet(set)) => Some(set.value.hash),
            _ => None,
        });
        let bound = bound.expect("the value is set");
        assert_eq!(bound == value.bound().hash, taken, "brought {brought}");
        assert_eq!(office.world.memory.payloads[&bound].bytes(), b"1");
    }
}

#[test]
fn an_answer_that_is_not_finished_is_gone_on_with_in_the_next_turn_and_never_an_output() {
    let mut office = Office::new(0);
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    for turn in 0..2 {
        assert_eq!(office.turn().turn, turn);
        let call = office.call_model();
        office.must(call);
        let half = office.answer_half();
        office.must(half);
        assert!(!office.ended());
    }
    let call = office.call_model();
    office.must(call);
    let answer = office.answer(&[]);
    office.must(answer);
    assert!(office.ended());
}

#[test]
fn while_a_model_is_asked_again_its_execution_says_why_and_afterwards_no_more() {
    let mut office = Office::new(0);
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    let detail = |office: &Office| office.state().and_then(|state| state.row(office.execution).detail);
    let call = office.call_model();
    office.must(call);
    assert_eq!(detail(&office), None);
    let fail = office.fail_model(true);
    office.must(fail);
    assert_eq!(detail(&office).as_deref(), Some("overloaded: the provider says no"));
    office.world.pass(60_000);
    let call = office.call_model();
    office.must(call);
    assert!(detail(&office).is_some(), "also while it is under way");
    let answer = office.answer(&["filesystem.read"]);
    office.must(answer);
    assert_eq!(detail(&office), None);
}

/// A failed answer, with what the provider counted of it.
pub(crate) fn failed(office: &Office, remedy: Remedy, tokens: u64) -> execution::Command {
    let counted = Usage { input: tokens, output: 1, estimated: true, ..Usage::default() };
    let used = if tokens > 0 { Used::Counted(counted) } else { Used::Nothing };
    let (kind, sentence) = ("overloaded".into(), "the provider says no".into());
    execution::Command::FailModel { turn: office.turn(), failure: ModelFailure { kind, sentence, remedy, used } }
}

fn asked() -> Office {
    let mut office = Office::new(0);
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    let call = office.call_model();
    office.must(call);
    office
}

#[test]
fn tokens_of_a_failed_answer_count_where_the_provider_told_them_and_end_an_execution_that_has_no_more() {
    let mut office = asked();
    let fail = failed(&office, Remedy::Again { after_ms: None }, 9_000);
    office.must(fail);
    let row = office.state().unwrap().row(office.execution);
    assert_eq!((row.input_tokens, row.output_tokens, row.tokens_estimated, row.unpriced), (9_000, 1, true, 1));
    assert!(!office.ended(), "there are some left");
    office.world.pass(60_000);
    let call = office.call_model();
    office.must(call);
    let fail = failed(&office, Remedy::Again { after_ms: None }, 9_000);
    office.must(fail);
    assert!(office.ended(), "none are left, so that nothing is asked again");
    let mut control = asked();
    for _ in 0..2 {
        let fail = failed(&control, Remedy::Again { after_ms: None }, 0);
        control.must(fail);
        control.world.pass(60_000);
        let call = control.call_model();
        control.must(call);
    }
    assert!(!control.ended(), "the control: what was not counted does not count");
}

#[test]
fn another_model_is_asked_at_once_and_as_often_as_any_is_asked_again() {
    let mut office = asked();
    for _ in 0..execution::MODEL_RETRIES_MAX {
        let fail = failed(&office, Remedy::Elsewhere, 0);
        office.must(fail);
        assert!(!office.ended());
        let call = office.call_model();
        office.must(call);
    }
    let fail = failed(&office, Remedy::Elsewhere, 0);
    office.must(fail);
    assert!(office.ended(), "the chain of models has an end");
}
