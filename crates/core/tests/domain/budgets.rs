//! What an execution may use up: its agent is told once when most of it is gone, and the execution ends with the reason.
use crate::office::{self, Office};
use crate::reports::failed;
use tenure_core::aggregate::Event;
use tenure_core::execution::{self, Budget, CallModel, Ending, Event as Happened, Phase, Reason, Remedy};
use tenure_core::plan::Plan;

/// An execution that may cost so much, bound, with its model due.
fn spending(micro_usd: Option<u64>) -> Office {
    let mut office = Office::new(0);
    let mut plan: Plan = office::plan(0);
    plan.limits.micro_usd = micro_usd;
    office.deploy_plan("clerk", &plan, "with a limit").expect("a changed manifest");
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    office
}

fn costs(office: &Office, reserved_micro_usd: Option<u64>) -> execution::Command {
    let execution::Command::CallModel(call) = office.call_model() else { panic!("a call") };
    execution::Command::CallModel(CallModel { reserved_micro_usd, ..call })
}

fn warned(events: &[Event]) -> Vec<Budget> {
    let budgets = events.iter().filter_map(|event| match event {
        Event::Execution(Happened::BudgetWarned { budget, .. }) => Some(*budget),
        _ => None,
    });
    budgets.collect()
}

fn reason(office: &Office) -> Option<(Reason, String)> {
    match &office.state()?.phase {
        Phase::Ended { ending: Ending::Failed { reason, detail }, .. } => Some((*reason, detail.clone())),
        Phase::Ended { .. } | Phase::Queued { .. } | Phase::Running(_) => None,
    }
}

#[test]
fn an_agent_is_told_once_that_most_of_its_tokens_are_used() {
    let mut office = spending(None);
    let mut told = Vec::new();
    for _ in 0..3 {
        office.world.pass(60_000);
        let call = office.call_model();
        office.must(call);
        let fail = failed(&office, Remedy::Again { after_ms: None }, 2_900);
        told.extend(warned(&office.apply(fail).expect("it is open")));
    }
    assert_eq!(told, [Budget::Tokens], "at 8,703 of 10,000, and not again");
    assert!(!office.ended());
}

#[test]
fn money_is_held_before_it_is_spent_and_what_has_no_known_price_is_not_asked() {
    for (reserved, told) in [(Some(1_001), "may cost 0.001001 USD"), (None, "the price of local/x is not known")] {
        let mut office = spending(Some(1_000));
        let call = costs(&office, reserved);
        office.must(call);
        let (reason, detail) = reason(&office).expect("it ended");
        assert_eq!(reason, Reason::CostBudget);
        assert!(detail.contains(told), "{detail}");
    }
    let mut control = spending(Some(1_000));
    let call = costs(&control, Some(1_000));
    control.must(call);
    assert!(!control.ended(), "the control: what surely fits is asked");
    let mut free = spending(None);
    let call = costs(&free, None);
    free.must(call);
    assert!(!free.ended(), "the control: without a limit an unknown price stops nothing");
}

#[test]
fn a_lost_model_call_counts_as_what_was_held_for_it() {
    let mut office = spending(Some(1_000));
    let call = costs(&office, Some(900));
    office.must(call);
    let lose = execution::Command::LoseModel { turn: office.turn() };
    let events = office.apply(lose).expect("it is open");
    assert_eq!(warned(&events), [Budget::Money]);
    let call = costs(&office, Some(200));
    office.must(call);
    assert_eq!(reason(&office).map(|(reason, _)| reason), Some(Reason::CostBudget));
}
