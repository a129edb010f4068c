//! Model calls of programs in an execution's jail: bounded as a turn's, counted where a turn's are, each with one end.
use crate::office::{self, Office};
use tenure_core::aggregate::{Event, Refusal};
use tenure_core::bound::Hash;
use tenure_core::execution::{self, Event as Happened, Reason, Usage, Used};
use tenure_core::id::{CallId, ConnectionId, Mint};
use tenure_core::model_call::{self, Begin, OPEN_MAX};
use tenure_core::owed::Obligation;
use tenure_core::time::Time;

/// An execution at work in its jail, that may use up so much.
fn at_work(tokens: u64, micro_usd: Option<u64>) -> Office {
    let mut office = Office::new(0);
    let mut plan = office::plan(0);
    (plan.limits.tokens, plan.limits.micro_usd) = (tokens, micro_usd);
    office.deploy_plan("clerk", &plan, "with a limit").expect("a changed manifest");
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    let call = office.call_model();
    office.must(call);
    let answer = office.answer(&["process.run"]);
    office.must(answer);
    office
}

pub fn id(number: u128) -> CallId {
    CallId::mint(&mut Mint::new(Time::from_millis(1), number * 1000))
}

pub fn begin(office: &mut Office, number: u128, tokens: u64, micro_usd: Option<u64>) -> execution::Command {
    let begin = Begin {
        call: id(number),
        attempt: 1,
        wire: "chat".into(),
        asked: "default".into(),
        model: "local/x".into(),
        request: office.world.payload("{}"),
        hash: Hash::of(b"request"),
        deadline: office.world.now.run.plus_ms(60_000),
        reserved_micro_usd: micro_usd,
        reserved_tokens: tokens,
    };
    let none = || ConnectionId::mint(&mut Mint::new(Time::from_millis(1), 1));
    let connection = office.connection().unwrap_or_else(none);
    execution::Command::CallProxy { connection, iteration: office.number(), begin }
}

pub fn answer(office: &mut Office, number: u128) -> execution::Command {
    let usage = Usage { input: 50, output: 5, cached: 0, micro_usd: Some(7), took_ms: 1, estimated: false };
    let answer = office.world.payload("{}");
    execution::Command::AnswerProxy(model_call::Answer {
        call: id(number),
        model: "local/x".into(),
        answer,
        usage,
        cassette: false,
    })
}

/// An execution whose program asks a model four times, each with another end.
pub fn every_kind(office: &mut Office) {
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    let call = office.call_model();
    office.must(call);
    let run = office.answer(&["process.run"]);
    office.must(run);
    for number in 1..=3 {
        let call = begin(office, number, 100, Some(10));
        office.must(call);
    }
    let answered = answer(office, 1);
    office.must(answered);
    office.must(execution::Command::LoseProxy { call: id(2) });
    office.must(execution::Command::Cancel { why: "enough".into() });
    let release = office.release();
    office.must(release);
}

fn refused(result: Result<Vec<Event>, Refusal>) -> (Reason, String) {
    match result {
        Err(Refusal::Execution(execution::Refusal::ModelCallRefused { reason, detail })) => (reason, detail),
        other => panic!("it is not refused by a limit: {other:?}"),
    }
}

#[test]
fn an_answer_counts_in_the_executions_tokens_and_money_and_comes_once() {
    let mut office = at_work(10_000, Some(1_000_000));
    let spent = office.state().expect("it is there").spent;
    let call = begin(&mut office, 1, 100, Some(50));
    office.must(call);
    assert_eq!(office.state().expect("it is there").model_calls.held(), (100, 50));
    let answered = answer(&mut office, 1);
    office.must(answered.clone());
    let after = office.state().expect("it is there");
    assert_eq!(after.spent.input_tokens, spent.input_tokens + 50);
    assert_eq!(after.spent.output_tokens, spent.output_tokens + 5);
    assert_eq!(after.spent.micro_usd, spent.micro_usd + 7);
    assert!(after.model_calls.open.is_empty());
    assert!(office.apply(answered).is_err(), "it has ended");
}

#[test]
fn what_open_calls_hold_is_not_there_for_the_next() {
    let mut office = at_work(1_000, None);
    for number in 1..=2 {
        let call = begin(&mut office, number, 450, Some(0));
        office.must(call);
    }
    let third = begin(&mut office, 3, 1, Some(0));
    assert_eq!(refused(office.apply(third)).0, Reason::TokenBudget);
    assert!(!office.ended(), "the execution goes on");
    let answered = answer(&mut office, 1);
    office.must(answered);
    let control = begin(&mut office, 4, 1, Some(0));
    office.must(control);

    let mut dear = at_work(10_000, Some(100));
    let first = begin(&mut dear, 1, 1, Some(60));
    dear.must(first);
    let second = begin(&mut dear, 2, 1, Some(60));
    assert_eq!(refused(dear.apply(second)).0, Reason::CostBudget);
    let unknown = begin(&mut dear, 3, 1, None);
    assert!(refused(dear.apply(unknown)).1.contains("price of local/x is not known"));
}

#[test]
fn so_many_are_open_at_a_time_and_only_by_the_jail_that_is_there_now() {
    let mut office = at_work(1_000_000, None);
    for number in 0..OPEN_MAX {
        let call = begin(&mut office, number as u128 + 1, 1, Some(0));
        office.must(call);
    }
    let more = begin(&mut office, 99, 1, Some(0));
    let refusal = office.apply(more).expect_err("as many are open as may be");
    assert_eq!(refusal.code(), "execution.too_many_model_calls");
    let answered = answer(&mut office, 1);
    office.must(answered);
    let other = ConnectionId::mint(&mut Mint::new(Time::from_millis(1), 5));
    for (connection, iteration) in [(Some(other), None), (None, Some(2))] {
        let call = begin(&mut office, 98, 1, Some(0));
        let execution::Command::CallProxy { connection: own, iteration: number, begin } = call else {
            panic!("a call")
        };
        let (connection, iteration) = (connection.unwrap_or(own), iteration.unwrap_or(number));
        let call = execution::Command::CallProxy { connection, iteration, begin };
        assert_eq!(office.apply(call).expect_err("it is of no jail that is there").code(), "execution.stale");
    }
    let control = begin(&mut office, 98, 1, Some(0));
    office.must(control);
}

#[test]
fn a_call_that_nobody_has_in_hand_is_lost_and_charged_to_money_alone() {
    let mut office = at_work(1_000, Some(1_000_000));
    let before = office.state().expect("it is there").spent;
    let call = begin(&mut office, 1, 400, Some(70));
    office.must(call);
    let owed = tenure_core::aggregate::Aggregate::owed(office.state().expect("it is there"));
    assert!(owed.iter().any(|owed| owed.obligation == Obligation::EndModelCall { call: id(1) }));
    office.must(execution::Command::LoseProxy { call: id(1) });
    let after = office.state().expect("it is there").spent;
    assert_eq!(after.micro_usd, before.micro_usd + 70);
    assert_eq!(after.input_tokens + after.output_tokens, before.input_tokens + before.output_tokens);
    assert_eq!(after.model_losses, before.model_losses, "no few kills end an execution");
}

#[test]
fn with_its_jail_all_that_its_programs_asked_ends_in_the_same_decision() {
    type End = fn(&Office) -> execution::Command;
    let ends: [End; 3] = [
        |office| office.unbind(),
        |office| office.lose_jail(),
        |_| execution::Command::Cancel { why: "enough".into() },
    ];
    for end in ends {
        let mut office = at_work(10_000, Some(1_000_000));
        for number in 1..=2 {
            let call = begin(&mut office, number, 100, Some(50));
            office.must(call);
        }
        let command = end(&office);
        let events = office.apply(command).expect("it can end");
        let withdrawn = events.iter().filter(|event| match event {
            Event::Execution(Happened::ProxyFailed(failed)) => failed.failure == "withdrawn",
            _ => false,
        });
        assert_eq!(withdrawn.count(), 2, "{events:?}");
        assert!(office.state().expect("it is there").model_calls.open.is_empty());
        let late = execution::Command::FailProxy(model_call::Failure {
            call: id(1),
            kind: "cancelled".into(),
            sentence: "late".into(),
            used: Used::Nothing,
        });
        assert!(office.apply(late).is_err(), "it has ended once");
    }
}
