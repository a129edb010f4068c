//! The transition tables, states by commands, as a person reviews them. A change here is a change of behaviour.
use crate::office::{OWNER, Office};
use std::fmt::Write;
use tenure_core::actor::Actor;
use tenure_core::call::Outcome;
use tenure_core::command::{Command, Refusal};
use tenure_core::fold::{Event, Fold, Stream};
use tenure_core::{agent, execution, network};

type Setup = fn() -> Office;
type Deed = fn(&mut Office) -> execution::Command;

fn fresh(validators: u32) -> Office {
    Office::new(validators)
}

fn queued(validators: u32) -> Office {
    let mut office = fresh(validators);
    let start = office.start();
    office.must(start);
    office
}

fn thinking(validators: u32) -> Office {
    let mut office = queued(validators);
    let bind = office.bind();
    office.must(bind);
    office
}

fn asked(validators: u32) -> Office {
    let mut office = thinking(validators);
    let call = office.call_model();
    office.must(call);
    office
}

fn answered(validators: u32, calls: &[&str]) -> Office {
    let mut office = asked(validators);
    let answer = office.answer(calls);
    office.must(answer);
    office
}

fn closing() -> Office {
    let mut office = answered(0, &["process.run"]);
    office.world.pass(300_000);
    office.must(execution::Command::Expire);
    office
}

const STATES: &[(&str, Setup)] = &[
    ("none", || fresh(0)),
    ("queued", || queued(0)),
    ("thinking, due", || thinking(0)),
    ("thinking, open", || asked(0)),
    ("thinking, unbound", || {
        let mut office = asked(0);
        office.lapse();
        office.open_session(2);
        office
    }),
    ("acting, a read and a read", || answered(0, &["filesystem.read", "filesystem.read"])),
    ("acting, a write then a run", || answered(0, &["filesystem.write", "process.run"])),
    ("acting, unbound", || {
        let mut office = answered(0, &["filesystem.write", "process.run"]);
        office.lapse();
        office.open_session(2);
        office
    }),
    ("validating", || answered(1, &[])),
    ("validating, check open", || {
        let mut office = answered(1, &[]);
        let check = office.check();
        office.must(check);
        office
    }),
    ("validating, check ended", || {
        let mut office = answered(1, &[]);
        let check = office.check();
        office.must(check);
        let end = office.end_call(Outcome::Done { exit_code: Some(0) });
        office.must(end);
        office
    }),
    ("closing (time-out), jailed", closing),
    ("closing (cancel), jailed", || {
        let mut office = answered(0, &["process.run"]);
        office.must(execution::Command::Cancel { why: "enough".into() });
        office
    }),
    ("closing the last iteration, jailed", || {
        let mut office = closing();
        let release = office.release();
        office.must(release);
        let call = office.call_model();
        office.must(call);
        let answer = office.answer(&["process.run"]);
        office.must(answer);
        office.world.pass(300_000);
        office.must(execution::Command::Expire);
        office
    }),
    ("ended", || answered(0, &[])),
];

const COMMANDS: &[(&str, Deed)] = &[
    ("start", Office::start),
    ("cancel", |_| execution::Command::Cancel { why: "enough".into() }),
    ("bind", |office| office.bind()),
    ("unbind", |office| office.unbind()),
    ("lose jail", |office| office.lose_jail()),
    ("release", |office| office.release()),
    ("refuse network", |office| office.refuse_network(2)),
    ("refuse network, too often", |office| office.refuse_network(network::REFUSALS_MAX + 1)),
    ("call model", |office| office.call_model()),
    ("answer with a text", |office| office.answer(&[])),
    ("answer with a run", |office| office.answer(&["process.run"])),
    ("answer with an unknown call", |office| office.answer(&["email.send"])),
    ("answer with a misfit", |office| office.answer(&["!filesystem.read"])),
    ("fail model, again", |office| office.fail_model(true)),
    ("fail model, for good", |office| office.fail_model(false)),
    ("fail model, runs away", |office| office.run_away()),
    ("lose model", |office| execution::Command::LoseModel { turn: office.turn() }),
    ("end call", |office| office.end_call(Outcome::Done { exit_code: Some(0) })),
    ("check", Office::check),
    ("validate, pass", |office| office.validate(true)),
    ("validate, fail", |office| office.validate(false)),
    ("expire, not due", |_| execution::Command::Expire),
    ("expire, iteration", |office| {
        office.world.pass(300_001);
        execution::Command::Expire
    }),
    ("expire, wall clock", |office| {
        office.world.pass(1_800_001);
        execution::Command::Expire
    }),
];

fn shown(result: &Result<Vec<Event>, Refusal>) -> String {
    match result {
        Ok(events) => events.iter().map(Event::kind).collect::<Vec<_>>().join(" + "),
        Err(Refusal::Execution(misstep)) => format!("— {}", word(&format!("{misstep:?}"))),
        Err(Refusal::Agent(misstep)) => format!("— {}", word(&format!("{misstep:?}"))),
        Err(other) => format!("— {other:?}"),
    }
}

fn word(misstep: &str) -> &str {
    misstep.split('(').next().unwrap_or(misstep)
}

#[test]
fn the_execution_answers_every_command_in_every_state_as_the_table_says() {
    let mut table = String::new();
    for (state, setup) in STATES {
        let _ = writeln!(table, "\n{state}");
        for (name, deed) in COMMANDS {
            let mut office = setup();
            let command = deed(&mut office);
            let result = office.apply(command);
            let owed: Vec<String> = office
                .world
                .owed(Stream::Execution(office.execution))
                .iter()
                .map(|owed| owed.deed.kind().word().to_string())
                .collect();
            let owes = if result.is_ok() { format!("   owes {}", owed.join(", ")) } else { String::new() };
            let _ = writeln!(table, "  {name:<28} {}{owes}", shown(&result));
        }
    }
    insta::assert_snapshot!("execution", table);
}

fn leaving() -> Office {
    let mut office = queued(0);
    office.world.commit(OWNER, Command::Agent(office.agent, agent::Command::Delete)).expect("it is deployed");
    office
}

#[test]
fn the_agent_answers_every_command_in_every_state_as_the_table_says() {
    let states: [(&str, Setup); 4] = [
        ("deployed", || fresh(0)),
        ("deployed, an execution open", || queued(0)),
        ("leaving", leaving),
        ("archived", || {
            let mut office = leaving();
            office.must(execution::Command::Cancel { why: "deleted".into() });
            let finish = Command::Agent(office.agent, agent::Command::FinishDelete);
            office.world.commit(Actor::Daemon, finish).expect("nothing runs");
            office
        }),
    ];
    type AgentDeed = fn(&mut Office) -> Result<Vec<Event>, Refusal>;
    let commands: [(&str, AgentDeed); 6] = [
        ("deploy, the same", |office| office.deploy("clerk", 0, "1")),
        ("deploy, changed", |office| office.deploy("clerk", 1, "2")),
        ("deploy, another name", |office| office.deploy("other", 1, "2")),
        ("deploy, name of another", |office| {
            let mine = std::mem::replace(&mut office.agent, office.world.agent_id());
            let result = office.deploy("CLERK", 0, "3");
            office.agent = mine;
            result
        }),
        ("delete", |office| office.world.commit(OWNER, Command::Agent(office.agent, agent::Command::Delete))),
        ("finish delete", |office| {
            office.world.commit(Actor::Daemon, Command::Agent(office.agent, agent::Command::FinishDelete))
        }),
    ];
    let mut table = String::new();
    for (state, setup) in states {
        let _ = writeln!(table, "\n{state}");
        for (name, deed) in commands {
            let mut office = setup();
            let result = deed(&mut office);
            let _ = writeln!(table, "  {name:<28} {}", shown(&result));
        }
    }
    insta::assert_snapshot!("agent", table);
}

#[test]
fn a_start_of_an_agent_that_left_is_refused() {
    let mut office = leaving();
    office.execution = office.world.execution_id();
    let start = office.start();
    assert_eq!(office.apply(start), Err(Refusal::Execution(execution::Misstep::AgentArchived)));
    assert!(office.world.folds.get(&Stream::Execution(office.execution)).and_then(Fold::execution).is_none());
}
