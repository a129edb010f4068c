//! An agent that is a program: each attempt runs it once, by the same gate as any call, and what it prints is the output.
use crate::office::{Office, plan};
use tenure_core::aggregate::Refusal;
use tenure_core::call::Outcome;
use tenure_core::execution::{self, Ending, Phase, ProgramOutcome, Reason, Step};
use tenure_core::manifest::Manifest;
use tenure_core::plan::Plan;

fn program(validators: u32) -> Plan {
    let text = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: clerk}\n\
                spec: {task: {instruction: x}, runtime: {kind: command, command: [clerk]}}\n";
    let compiled = Plan::compile(&Manifest::parse(text).expect("a manifest"));
    Plan { sandbox: compiled.sandbox, tools: compiled.tools, ..plan(validators) }
}

/// An attempt whose program is to be run.
pub fn due(validators: u32) -> Office {
    let mut office = Office::new(0);
    office.deploy_plan("clerk", &program(validators), "a program").expect("a new revision");
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    office
}

/// Its program has ended, and is to be heard.
pub fn ended(validators: u32) -> Office {
    let mut office = due(validators);
    let ask = ask(&mut office);
    office.must(ask);
    let end = office.end_call(Outcome::Done { exit_code: Some(0) });
    office.must(end);
    office
}

pub fn ask(office: &mut Office) -> execution::Command {
    execution::Command::AskProgram { iteration: office.number(), proposal: office.proposal("process.run") }
}

pub fn answer(office: &mut Office) -> execution::Command {
    let outcome = ProgramOutcome::Answered { output: office.world.payload("printed") };
    execution::Command::EndProgram { iteration: office.number(), outcome }
}

pub fn fail(office: &mut Office) -> execution::Command {
    let outcome = ProgramOutcome::Failed { failure: "the program ended with exit code 1".into() };
    execution::Command::EndProgram { iteration: office.number(), outcome }
}

pub fn every_kind(office: &mut Office) {
    office.deploy_plan("clerk", &program(0), "a program").expect("a changed manifest");
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
    for attempt in [fail, answer] {
        let ask = ask(office);
        office.must(ask);
        let end = office.end_call(Outcome::Done { exit_code: Some(0) });
        office.must(end);
        let outcome = attempt(office);
        office.must(outcome);
        let release = office.release();
        office.must(release);
    }
    office.deploy_plan("clerk", &plan(1), "no program").expect("a changed manifest");
}

fn ending(office: &Office) -> Ending {
    match &office.state().expect("it was started").phase {
        Phase::Ended { ending, .. } => ending.clone(),
        other => panic!("not ended: {other:?}"),
    }
}

#[test]
fn what_the_program_printed_is_the_output_and_no_model_is_asked() {
    let mut office = ended(0);
    let call = office.call_model();
    assert!(matches!(office.apply(call), Err(Refusal::Execution(execution::Refusal::Stale {}))));
    let answer = answer(&mut office);
    office.must(answer);
    let release = office.release();
    office.must(release);
    assert!(matches!(ending(&office), Ending::Completed { .. }));
    assert_eq!(office.state().expect("it ended").spent.tool_calls, 1);
}

#[test]
fn a_program_whose_end_is_unknown_is_not_run_again_in_its_attempt() {
    let mut office = due(0);
    let ask = ask(&mut office);
    office.must(ask);
    assert!(office.open_calls().iter().all(|call| call.lease().is_some() && !call.idempotent));
    let lost = office.end_call(Outcome::Lost { again: false });
    office.must(lost);
    let step = &office.state().expect("it runs").iteration().expect("an attempt").step;
    assert!(matches!(step, Step::Program { call: Some(_) }), "it is heard, not run: {step:?}");
}

#[test]
fn attempts_that_fail_are_used_up_and_the_last_says_why() {
    let mut office = ended(0);
    for attempt in 0..2 {
        if attempt > 0 {
            let ask = ask(&mut office);
            office.must(ask);
            let end = office.end_call(Outcome::Done { exit_code: Some(1) });
            office.must(end);
        }
        let fail = fail(&mut office);
        office.must(fail);
        let release = office.release();
        office.must(release);
    }
    let Ending::Failed { reason: Reason::MaxIterations, detail } = ending(&office) else { panic!("not failed") };
    assert!(detail.contains("exit code 1"), "{detail}");
}
