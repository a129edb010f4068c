//! The transition tables, states by commands, as a person reviews them. A change here is a change of behaviour.
use crate::office::{OWNER, Office, money, plan};
use crate::programs;
use std::fmt::Write;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::call::Outcome;
use tenure_core::execution::Execution;
use tenure_core::fleet::{self, Worker};
use tenure_core::ledger::export::{Rotation, Seal};
use tenure_core::manifest::{Missed, Overlap};
use tenure_core::retention::{AGE_MS_MIN, Retention};
use tenure_core::{agent, execution, network, project};

pub type Setup = fn() -> Office;
type Act = fn(&mut Office) -> execution::Command;

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
    office.must(execution::Command::Expire {});
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
        office.connect(2);
        office
    }),
    ("acting, a read and a read", || answered(0, &["filesystem.read", "filesystem.read"])),
    ("acting, a write then a run", || answered(0, &["filesystem.write", "process.run"])),
    ("acting, unbound", || {
        let mut office = answered(0, &["filesystem.write", "process.run"]);
        office.lapse();
        office.connect(2);
        office
    }),
    ("acting, a stored value then a run", || answered(0, &["state.persistent.set", "process.run"])),
    ("acting, two own rows to read", || answered(0, &["agent.whoami", "state.persistent.get"])),
    ("program, due", || programs::due(1)),
    ("program, ended", || programs::ended(1)),
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
    ("closing (time-out), with a sandbox", closing),
    ("closing (cancel), with a sandbox", || {
        let mut office = answered(0, &["process.run"]);
        office.must(execution::Command::Cancel { why: "enough".into() });
        office
    }),
    ("closing the last iteration, with a sandbox", || {
        let mut office = closing();
        let release = office.release();
        office.must(release);
        let call = office.call_model();
        office.must(call);
        let answer = office.answer(&["process.run"]);
        office.must(answer);
        office.world.pass(300_000);
        office.must(execution::Command::Expire {});
        office
    }),
    ("ended", || answered(0, &[])),
];

const COMMANDS: &[(&str, Act)] = &[
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
    ("answer that is not finished", Office::answer_half),
    ("answer with a run", |office| office.answer(&["process.run"])),
    ("answer with an unknown call", |office| office.answer(&["email.send"])),
    ("answer with a misfit", |office| office.answer(&["!filesystem.read"])),
    ("fail model, again", |office| office.fail_model(true)),
    ("fail model, for good", |office| office.fail_model(false)),
    ("fail model, runs away", |office| office.run_away()),
    ("lose model", |office| execution::Command::LoseModel { turn: office.turn() }),
    ("call a model for a program", |office| crate::proxy::begin(office, 1, 100, Some(10))),
    ("answer a program", |office| crate::proxy::answer(office, 1)),
    ("lose a program's call", |_| execution::Command::LoseProxy { call: crate::proxy::id(1) }),
    ("perform", Office::perform),
    ("perform with other arguments", |office| match office.perform() {
        execution::Command::Perform { call, .. } => {
            let arguments = office.world.payload("{}");
            execution::Command::Perform { call, arguments, value: None }
        }
        other => other,
    }),
    ("end call", |office| office.end_call(Outcome::Done { exit_code: Some(0) })),
    ("end call, it met a link", |office| office.end_call(Outcome::Redirected { path: "/workspace/behind".into() })),
    ("ask program", programs::ask),
    ("end program", programs::answer),
    ("end program, failed", programs::fail),
    ("check", Office::check),
    ("validate, pass", |office| office.validate(true)),
    ("validate, fail", |office| office.validate(false)),
    ("expire, not due", |_| execution::Command::Expire {}),
    ("expire, iteration", |office| {
        office.world.pass(300_001);
        execution::Command::Expire {}
    }),
    ("expire, wall clock", |office| {
        office.world.pass(1_800_001);
        execution::Command::Expire {}
    }),
    ("erase", |_| execution::Command::Erase { reason: "it is private".into() }),
    ("erase one payload", |office| {
        let (payload, n) = office.payload_of_its_own();
        execution::Command::ErasePayload { payload, n, reason: "it is private".into() }
    }),
    ("erase one payload that it did not bring", |_| execution::Command::ErasePayload {
        payload: Hash::of(b"another's"),
        n: 1,
        reason: "it is private".into(),
    }),
    ("erase, without a reason", |_| execution::Command::Erase { reason: String::new() }),
    ("erase the rest", |_| execution::Command::EraseRest {}),
];

fn shown(result: &Result<Vec<Event>, Refusal>) -> String {
    match result {
        Ok(events) => events.iter().map(Event::kind).collect::<Vec<_>>().join(" + "),
        Err(refusal) => format!("— {}", refusal.code()),
    }
}

fn owes(office: &Office, stream: Stream) -> String {
    let kinds: Vec<&str> = office.world.owed(stream).iter().map(|owed| owed.obligation.kind().as_str()).collect();
    if kinds.is_empty() { String::new() } else { format!("   owes {}", kinds.join(", ")) }
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
            let owes = if result.is_ok() { owes(&office, Stream::Execution(office.execution)) } else { String::new() };
            let _ = writeln!(table, "  {name:<28} {}{owes}", shown(&result));
        }
    }
    insta::assert_snapshot!("execution", table);
}

fn paused_and_over() -> Office {
    let mut office = fresh(0);
    office.pause_for(1_000).expect("it is deployed");
    office.world.pass(1_000);
    office
}

fn deleting() -> Office {
    let mut office = thinking(0);
    office.delete().expect("it is deployed");
    office
}

fn archived() -> Office {
    let mut office = deleting();
    office.must(execution::Command::Cancel { why: "deleted".into() });
    office
}

const HOUR: u64 = 3_600_000;

fn scheduled(passed: u64) -> Office {
    let mut office = fresh(0);
    office.schedule("@hourly", Overlap::Skip, Missed::RunOnce).expect("another manifest");
    office.world.pass(passed);
    office
}

pub type Command1 = fn(&mut Office) -> Result<Vec<Event>, Refusal>;

pub fn table_of(states: &[(&str, Setup)], commands: &[(&str, Command1)], stream: fn(&Office) -> Stream) -> String {
    let mut table = String::new();
    for (state, setup) in states {
        let _ = writeln!(table, "\n{state}");
        for (name, command) in commands {
            let mut office = setup();
            let result = command(&mut office);
            let owes = if result.is_ok() { owes(&office, stream(&office)) } else { String::new() };
            let _ = writeln!(table, "  {name:<28} {}{owes}", shown(&result));
        }
    }
    table
}

#[test]
#[expect(clippy::too_many_lines, reason = "a line a command")]
fn the_agent_answers_every_command_in_every_state_as_the_table_says() {
    let states: [(&str, Setup); 15] = [
        ("deployed", || fresh(0)),
        ("scheduled, not due", || scheduled(0)),
        ("scheduled, due", || scheduled(HOUR)),
        ("scheduled, paused and due", || {
            let mut office = scheduled(0);
            office.pause().expect("it is deployed");
            office.world.pass(HOUR);
            office
        }),
        ("deployed, an execution open", || queued(0)),
        ("paused", || {
            let mut office = fresh(0);
            office.pause().expect("it is deployed");
            office
        }),
        ("paused, its time over", paused_and_over),
        ("quarantined", || {
            let mut office = queued(0);
            office.must(execution::Command::Cancel { why: "enough".into() });
            office.quarantine(agent::Severity::High).expect("it is deployed");
            office
        }),
        ("quarantined as critical, an execution open", || {
            let mut office = thinking(0);
            office.quarantine(agent::Severity::Critical).expect("it is deployed");
            office
        }),
        ("killed, an execution open", || {
            let mut office = thinking(0);
            office.kill().expect("it is deployed");
            office
        }),
        ("revoked, an execution open", || {
            let mut office = thinking(0);
            office.revoke().expect("it is deployed");
            office
        }),
        ("revoked", || {
            let mut office = fresh(0);
            office.revoke().expect("it is deployed");
            office
        }),
        ("deleting", deleting),
        ("archived, its home to be removed", archived),
        ("archived, without a home", || {
            let mut office = archived();
            office.remove_home().expect("it is due");
            office
        }),
    ];
    fn start(office: &mut Office, revision: Option<u32>) -> Result<Vec<Event>, Refusal> {
        office.execution = office.world.execution_id();
        let execution::Command::Start(start) = office.start() else { unreachable!("it is a start") };
        office.apply(execution::Command::Start(execution::Start { revision, ..start }))
    }
    fn revise(office: &mut Office, known: u32) -> Result<Vec<Event>, Refusal> {
        office.deploy_expecting("clerk", &plan(1), "2", agent::Expectation::Revision(known))
    }
    let commands: [(&str, Command1); 35] = [
        ("wake", Office::wake),
        ("end a wake that it did not plan", |office| {
            office.supervise(agent::Command::DeleteSchedule { name: "none".into() })
        }),
        ("acknowledge an alert that it did not send", |office| {
            let alert = tenure_core::id::AlertId::mint(&mut office.world.mint());
            office.supervise(agent::Command::AcknowledgeAlert { alert, note: None })
        }),
        ("start", |office| start(office, None)),
        ("start of revision 1", |office| start(office, Some(1))),
        ("start of a revision that is not there", |office| start(office, Some(9))),
        ("pause", Office::pause),
        ("pause until later", |office| office.pause_for(60_000)),
        ("pause until what is past", |office| {
            let until = Some(tenure_core::time::Time::from_millis(1));
            office.supervise(agent::Command::Pause { note: None, until })
        }),
        ("resume", |office| office.supervise(agent::Command::Resume { note: None })),
        ("end pause", Office::end_pause),
        ("kill", Office::kill),
        ("quarantine", |office| office.quarantine(agent::Severity::Low)),
        ("recover", Office::recover),
        ("revoke", Office::revoke),
        ("deploy, the same", |office| office.deploy("clerk", 0, "1")),
        ("deploy, changed", |office| office.deploy("clerk", 1, "2")),
        ("deploy, to be new", |office| office.deploy_expecting("clerk", &plan(0), "1", agent::Expectation::New)),
        ("deploy, on the newest revision", |office| revise(office, 1)),
        ("deploy, on another revision", |office| revise(office, 2)),
        ("deploy, back to revision 1", |office| office.roll_back(1)),
        ("deploy, another name", |office| office.deploy("other", 1, "2")),
        ("deploy of the name, fresh id", |office| {
            let mine = std::mem::replace(&mut office.agent, office.world.agent_id());
            let result = office.deploy("CLERK", 0, "3");
            office.agent = mine;
            result
        }),
        ("delete", Office::delete),
        ("put a file", Office::put_file),
        ("record put", |office| office.record_put(None)),
        ("set a value", |office| {
            let write = office.write("a", "1");
            office.supervise(agent::Command::SetState(write))
        }),
        ("delete a value", |office| office.supervise(agent::Command::DeleteState { key: "a".into(), expected: None })),
        ("set the quota", |office| office.supervise(agent::Command::SetStateQuota { quota: 9 })),
        ("set a budget", |office| office.limit(&[Some(9)])),
        ("set a budget of nothing", |office| office.limit(&[Some(0)])),
        ("restore values", |office| {
            let values = vec![office.write("a", "1")];
            office.supervise(agent::Command::RestoreState { values })
        }),
        ("sweep values", |office| {
            let write = tenure_core::state::Write { ttl_ms: Some(1), ..office.write("a", "1") };
            let _ = office.supervise(agent::Command::SetState(write));
            office.world.pass(1);
            office.supervise(agent::Command::SweepState {})
        }),
        ("record home removed", Office::remove_home),
        ("retain", |office| office.supervise(agent::Command::Retain {})),
    ];
    insta::assert_snapshot!("agent", table_of(&states, &commands, |office| Stream::Agent(office.agent)));
}

#[test]
fn the_worker_answers_every_command_in_every_state_as_the_table_says() {
    fn on_worker(office: &mut Office, command: fleet::Command) -> Result<Vec<Event>, Refusal> {
        office.world.commit(Actor::Worker(office.worker), Command::Worker(office.worker, command))
    }
    fn connection(office: &Office) -> tenure_core::id::ConnectionId {
        let worker = office.world.fold::<Worker>(office.worker);
        let lapsed = worker.and_then(|worker| worker.lapsed.first().map(|lapsed| lapsed.connection));
        let connection = office.connection().or(lapsed);
        connection.unwrap_or_else(|| tenure_core::id::ConnectionId::mint(&mut Office::new(0).world.mint()))
    }
    let states: [(&str, Setup); 3] = [
        ("unregistered", || {
            let mut office = fresh(0);
            office.worker = office.world.worker_id();
            office
        }),
        ("connected", || fresh(0)),
        ("lapsed", || {
            let mut office = fresh(0);
            let (connection, since) = (connection(&office), office.world.now.run);
            let lapse = fleet::Command::Lapse { connection, since, proof: "reaped".into() };
            on_worker(&mut office, lapse).expect("it is open");
            office
        }),
    ];
    let commands: [(&str, Command1); 5] = [
        ("register", |office| on_worker(office, fleet::Command::Register { name: "w".into() })),
        ("connect", |office| {
            let host = office.world.payload("{}");
            on_worker(office, fleet::Command::Connect { slots: 1, level: "full".into(), host })
        }),
        ("survey", |office| {
            let (connection, host) = (connection(office), office.world.payload("{}"));
            on_worker(office, fleet::Command::Survey { connection, host })
        }),
        ("lapse", |office| {
            let (connection, since) = (connection(office), office.world.now.run);
            on_worker(office, fleet::Command::Lapse { connection, since, proof: "reaped".into() })
        }),
        ("finish sweep", |office| {
            let connection = connection(office);
            on_worker(office, fleet::Command::FinishSweep { connection })
        }),
    ];
    insta::assert_snapshot!("worker", table_of(&states, &commands, |office| Stream::Worker(office.worker)));
}

fn keep_for(office: &mut Office, age_ms: u64) -> Result<Vec<Event>, Refusal> {
    let retention = Retention { age_ms: Some(age_ms), bytes: None };
    office.command_project(OWNER, project::Command::SetRetention { retention })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list, of one command for each line of the table")]
fn the_project_answers_every_command_in_every_state_as_the_table_says() {
    use project::Command as Of;
    fn key(office: &mut Office) -> tenure_core::id::KeyId {
        let made = office.command_project(OWNER, create("ci")).ok();
        match made.as_deref() {
            Some([Event::Project(project::Event::KeyCreated { key, .. })]) => *key,
            _ => tenure_core::id::KeyId::mint(&mut office.world.mint()),
        }
    }
    fn create(name: &str) -> Of {
        let role = tenure_core::access::Role::Operator;
        Of::CreateKey { name: name.into(), role, hash: Hash::of(b"key") }
    }
    fn rule() -> tenure_core::state::Acl {
        let everyone = || tenure_core::state::Access::Everyone;
        tenure_core::state::Acl { prefix: "a".into(), read: everyone(), write: everyone() }
    }
    let states: [(&str, Setup); 3] = [
        ("unfounded", || {
            let mut office = fresh(0);
            office.project = office.world.project_id();
            office
        }),
        ("founded", || fresh(0)),
        ("founded, a key of that name", || {
            let mut office = fresh(0);
            office.command_project(OWNER, create("ops")).expect("a new name");
            office
        }),
    ];
    let commands: [(&str, Command1); 24] = [
        ("found", |office| office.command_project(OWNER, Of::Found { name: "p".into() })),
        ("record start", |office| office.command_project(Actor::Daemon, Of::RecordStart { version: "1".into() })),
        ("set what is kept", |office| keep_for(office, AGE_MS_MIN)),
        ("set that what is new is not kept", |office| keep_for(office, 1)),
        ("retain", |office| office.command_project(Actor::Daemon, Of::Retain {})),
        ("record step", |office| office.command_project(Actor::Daemon, Of::RecordStep { by_ms: -5 })),
        ("accept restore", |office| {
            office.command_project(OWNER, Of::AcceptRestore { checkpoint_size: 9, why: "a backup".into() })
        }),
        ("rotate the ledger's key", |office| {
            let rotation = office.rotation();
            office.command_project(OWNER, Of::RotateKey { rotation })
        }),
        ("rotate the ledger's key without its word", |office| {
            let rotation = Rotation { signed_by_old: String::new(), ..office.rotation() };
            office.command_project(OWNER, Of::RotateKey { rotation })
        }),
        ("seal old records", |office| {
            let seal = office.seal();
            office.command_project(OWNER, Of::SealRecords { seal })
        }),
        ("seal no records", |office| {
            let seal = Seal { records: 0, ..office.seal() };
            office.command_project(OWNER, Of::SealRecords { seal })
        }),
        ("create key", |office| office.command_project(OWNER, create("ops"))),
        ("create key without a name", |office| office.command_project(OWNER, create(""))),
        ("revoke key", |office| {
            let key = key(office);
            office.command_project(OWNER, Of::RevokeKey { key })
        }),
        ("set a shared value", |office| {
            let write = office.write("a", "1");
            office.command_project(OWNER, Of::SetShared(write))
        }),
        ("delete a shared value", |office| {
            office.command_project(OWNER, Of::DeleteShared { key: "a".into(), expected: Some(1) })
        }),
        ("set the quota of what is shared", |office| office.command_project(OWNER, Of::SetSharedQuota { quota: 9 })),
        ("set a rule", |office| office.command_project(OWNER, Of::SetAcl(rule()))),
        ("remove a rule", |office| {
            let _ = office.command_project(OWNER, Of::SetAcl(rule()));
            office.command_project(OWNER, Of::RemoveAcl { prefix: "a".into() })
        }),
        ("remove a rule that is not there", |office| {
            office.command_project(OWNER, Of::RemoveAcl { prefix: "a".into() })
        }),
        ("sweep shared values", |office| office.command_project(Actor::Daemon, Of::SweepShared {})),
        ("set a budget", |office| office.command_project(OWNER, Of::SetBudget { lines: money(&[Some(9)]) })),
        ("set a budget of nothing", |office| office.command_project(OWNER, Of::SetBudget { lines: money(&[Some(0)]) })),
        ("tell refusals", |office| office.command_project(Actor::Daemon, Of::TellRefusals {})),
    ];
    insta::assert_snapshot!("project", table_of(&states, &commands, |office| Stream::Project(office.project)));
}

#[test]
fn what_is_queued_waits_while_its_agent_is_paused_and_what_runs_goes_on() {
    let mut office = queued(0);
    office.pause().expect("it is deployed");
    let bind = office.bind();
    assert_eq!(office.apply(bind.clone()), Err(Refusal::Agent(agent::Refusal::IsPaused { until: None })));
    office.supervise(agent::Command::Resume { note: None }).expect("it is paused");
    office.must(bind);
    office.pause().expect("it is deployed");
    let call = office.call_model();
    office.must(call);
}

#[test]
fn a_pause_that_was_made_longer_is_not_ended_by_the_end_of_the_shorter_one() {
    let mut office = paused_and_over();
    // What is owed was read; before it is done somebody pauses for longer.
    office.pause_for(60_000).expect("it is paused");
    assert_eq!(office.end_pause(), Err(Refusal::Agent(agent::Refusal::NotPaused {})));
    office.world.pass(60_000);
    office.end_pause().expect("now it is over");
}

#[test]
fn what_has_begun_and_waits_for_its_next_iteration_goes_on_though_its_agent_is_paused() {
    let mut office = closing();
    // Its worker is lost while the iteration closes, so that the next one waits unbound.
    office.lapse();
    office.connect(1);
    office.pause().expect("it is deployed");
    let bind = office.bind();
    office.must(bind);
}

#[test]
fn a_killed_agent_begins_again_once_the_last_that_ran_has_ended() {
    let mut office = thinking(0);
    office.kill().expect("it is deployed");
    assert_eq!(owes(&office, Stream::Agent(office.agent)), "   owes cancel_executions");
    let running = std::mem::replace(&mut office.execution, office.world.execution_id());
    let start = office.start();
    assert_eq!(office.apply(start.clone()), Err(Refusal::Agent(agent::Refusal::StillEnding {})));
    let fresh = std::mem::replace(&mut office.execution, running);
    office.must(execution::Command::Cancel { why: "killed".into() });
    assert_eq!(owes(&office, Stream::Agent(office.agent)), "");
    office.execution = fresh;
    office.must(start);
}

#[test]
fn a_start_of_an_agent_that_is_deleted_is_refused() {
    let mut office = deleting();
    office.execution = office.world.execution_id();
    let start = office.start();
    assert_eq!(office.apply(start), Err(Refusal::Agent(agent::Refusal::Archived {})));
    assert!(office.world.fold::<Execution>(office.execution).is_none());
}
