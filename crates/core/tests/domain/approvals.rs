//! Calls that people must allow: the table of what is answered in each state, and what holds of every history.
mod random;

use crate::office::{OWNER, Office};
use crate::sessions::Desk;
use crate::transitions::{Command1, Setup, table_of};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Agent, Approve};
use tenure_core::aggregate::{Command, Event, FOLD_BYTES_MAX, Fold, Refusal, Stream};
use tenure_core::approval::{GRANTS_MAX, Pattern, Scope, WAITS_MS};
use tenure_core::call::{Open, Outcome, State};
use tenure_core::capability::Attributes;
use tenure_core::execution;
use tenure_core::id::{ApprovalId, CallId, GrantId, Mint};
use tenure_core::item::ItemKind;
use tenure_core::judge::{Ask, Digest, FloorAndTools, Judge, Judgement, Verdict, Wants};
use tenure_core::row::{CallChange, Row};
use tenure_core::session;
use tenure_core::time::Time;

/// Nobody is asked any more.
const LAX: u32 = 9;
/// Two people are.
const SEVERAL: u32 = 8;

/// Wants people asked about programs and stored values, by rules of a version; version 0 blocks them.
#[derive(Clone)]
struct Rules(Arc<AtomicU32>);

impl Judge for Rules {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        let judgement = FloorAndTools.judge(ask);
        let asked = matches!(ask.capability, "process.run" | "state.persistent.set");
        if ask.actor == Actor::Validator || judgement.verdict != Verdict::Autonomous || !asked {
            return judgement;
        }
        let version = self.0.load(Ordering::Relaxed);
        let verdict = match version {
            0 => Verdict::Blocked,
            LAX => Verdict::Autonomous,
            _ => Verdict::ApprovalRequired,
        };
        let judgement = Judgement::new(verdict, format!("system:rules.cedar:{version}"));
        Judgement { approvers: (version == SEVERAL).then_some(2), ..judgement }
    }

    fn wants(&self, _: Option<Digest>, _: &str, _: &str) -> Wants {
        Wants::default()
    }
}

fn office() -> (Office, Arc<AtomicU32>) {
    let version = Arc::new(AtomicU32::new(1));
    let mut office = Office::judged(0, Rules(Arc::clone(&version)));
    let start = office.start();
    office.must(start);
    (office, version)
}

/// At work, with an answer that asks for these.
fn answered(calls: &[&str]) -> Office {
    let mut office = office().0;
    go_on(&mut office, calls);
    office
}

fn go_on(office: &mut Office, calls: &[&str]) {
    let bind = office.bind();
    office.must(bind);
    let call = office.call_model();
    office.must(call);
    let answer = office.answer(calls);
    office.must(answer);
}

fn other() -> ApprovalId {
    ApprovalId::mint(&mut Mint::new(Time::from_millis(1), 9))
}

/// What the first call that waits asks for; of one that never was where there is none.
fn asked(office: &Office) -> ApprovalId {
    office.open_calls().iter().find_map(Open::approval).map_or_else(other, |approval| approval.id)
}

fn by(office: &mut Office, actor: Actor, command: agent::Command) -> Result<Vec<Event>, Refusal> {
    let agent = office.agent;
    office.world.commit(actor, Command::Agent(agent, command))
}

fn approve_with(office: &mut Office, grant: Option<Scope>) -> Result<Vec<Event>, Refusal> {
    let approval = asked(office);
    by(office, OWNER, agent::Command::Approve(Approve { approval, note: None, edited: None, grant }))
}

fn approve(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    approve_with(office, None)
}

fn edit(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    let (approval, edited) = (asked(office), Some(office.proposal("process.run")));
    by(office, OWNER, agent::Command::Approve(Approve { approval, note: None, edited, grant: None }))
}

fn reject(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    let approval = asked(office);
    by(office, OWNER, agent::Command::Reject { approval, reason: Some("too risky".into()) })
}

fn expire(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    office.apply(execution::Command::ExpireApprovals {})
}

fn done(office: &mut Office) {
    let end = office.end_call(Outcome::Done { exit_code: Some(0) });
    office.must(end);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a line a state and a command")]
fn an_approval_is_answered_in_every_state_as_the_table_says() {
    let states: [(&str, Setup); 9] = [
        ("a program waits", || answered(&["process.run"])),
        ("a program waits, its jail is being destroyed", || {
            let mut office = answered(&["filesystem.write", "process.run"]);
            done(&mut office);
            office
        }),
        ("a stored value waits", || {
            let mut office = answered(&["state.persistent.set"]);
            let perform = office.perform();
            office.must(perform);
            office
        }),
        ("a program waits, and its time is over", || {
            let mut office = answered(&["process.run"]);
            office.world.pass(WAITS_MS);
            office
        }),
        ("a program is allowed", || {
            let mut office = answered(&["process.run"]);
            approve(&mut office).expect("it waits");
            office
        }),
        ("a program that was allowed runs", || {
            let mut office = answered(&["process.run"]);
            approve(&mut office).expect("it waits");
            let bind = office.bind();
            office.must(bind);
            office
        }),
        ("it was not allowed", || {
            let mut office = answered(&["process.run"]);
            reject(&mut office).expect("it waits");
            office
        }),
        ("its execution was cancelled", || {
            let mut office = answered(&["process.run"]);
            office.must(execution::Command::Cancel { why: "enough".into() });
            office
        }),
        ("the agent has a grant", || {
            let mut office = answered(&["process.run"]);
            approve_with(&mut office, Some(Scope::Calls { left: 2 })).expect("it waits");
            office
        }),
    ];
    let commands: [(&str, Command1); 14] = [
        ("approve", approve),
        ("approve, and others like it", |office| approve_with(office, Some(Scope::Calls { left: 2 }))),
        ("approve, for no call", |office| approve_with(office, Some(Scope::Calls { left: 0 }))),
        ("approve with other arguments", edit),
        ("approve by an agent", |office| {
            let (approval, agent) = (asked(office), office.agent);
            let approve = Approve { approval, note: None, edited: None, grant: None };
            by(office, Actor::Agent(agent), agent::Command::Approve(approve))
        }),
        ("reject", reject),
        ("expire", expire),
        ("cancel", |office| office.apply(execution::Command::Cancel { why: "enough".into() })),
        ("bind", |office| office.apply(office.bind())),
        ("release", |office| office.apply(office.release())),
        ("perform", |office| {
            let perform = office.perform();
            office.apply(perform)
        }),
        ("unbind", |office| office.apply(office.unbind())),
        ("lose jail", |office| office.apply(office.lose_jail())),
        ("revoke grant", |office| {
            let held = office.world.fold::<Agent>(office.agent).and_then(|agent| Some(agent.grants.first()?.id));
            let grant = held.unwrap_or_else(|| GrantId::mint(&mut Mint::new(Time::from_millis(1), 9)));
            by(office, OWNER, agent::Command::RevokeGrant { grant })
        }),
    ];
    insta::assert_snapshot!(table_of(&states, &commands, |office| Stream::Execution(office.execution)));
}

fn only_call(office: &Office) -> Open {
    office.open_calls().first().cloned().expect("one is open")
}

#[test]
fn a_call_that_was_allowed_is_never_repeated_and_a_loss_is_told_as_unknown() {
    let mut office = answered(&["process.run"]);
    approve(&mut office).expect("it waits");
    let bind = office.bind();
    office.must(bind);
    assert!(only_call(&office).lease().is_some() && only_call(&office).allowed);
    let lost = office.lose_jail();
    let events = office.apply(lost).expect("it is in flight");
    let ended = events.iter().find_map(|event| match event {
        Event::Execution(execution::Event::CallEnded(ended)) => Some(ended.outcome.clone()),
        _ => None,
    });
    assert_eq!(ended, Some(Outcome::Lost { again: false }));
    assert!(office.open_calls().is_empty());
}

#[test]
fn rules_that_changed_since_ask_anew_or_forbid_and_an_answer_to_the_old_question_is_over() {
    for (version, kinds) in
        [(2, "iteration.bound call.held iteration.parked iteration.unbound"), (0, "iteration.bound call.blocked")]
    {
        let (mut office, rules) = office();
        go_on(&mut office, &["process.run"]);
        let first = asked(&office);
        approve(&mut office).expect("it waits");
        rules.store(version, Ordering::Relaxed);
        let bind = office.bind();
        let events = office.apply(bind).expect("it is placed");
        assert_eq!(events.iter().map(Event::kind).collect::<Vec<_>>().join(" "), kinds);
        let item = |id: ApprovalId| {
            let found = office.world.memory.items.values().find(|item| item.key == id.to_string());
            found.map(|item| (item.kind, item.state.clone()))
        };
        assert_eq!(
            item(first),
            Some((ItemKind::Approval, "approved".to_string())),
            "what was answered stays: {version}"
        );
        if version == 2 {
            assert_ne!(asked(&office), first);
        }
    }
}

fn rejudge(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    let open = office.open_calls();
    let waits = open.iter().find(|call| call.waits_for().is_some());
    let due = waits.or_else(|| open.iter().find(|call| call.lease().is_some())).map(|call| call.id);
    let call = due.unwrap_or_else(|| CallId::mint(&mut Mint::new(Time::from_millis(1), 9)));
    office.apply(execution::Command::Rejudge { call })
}

#[test]
fn what_waits_when_other_rules_are_applied_is_released_held_anew_or_blocked() {
    for (version, kinds) in [(1, "execution.not_due"), (2, "call.held"), (0, "call.blocked"), (LAX, "call.released")] {
        let (mut office, rules) = office();
        go_on(&mut office, &["process.run"]);
        rules.store(version, Ordering::Relaxed);
        let told = match rejudge(&mut office) {
            Ok(events) => events.iter().map(Event::kind).collect::<Vec<_>>().join(" "),
            Err(refusal) => refusal.code().to_string(),
        };
        assert_eq!(told, kinds, "{version}");
        if version == LAX {
            // What nobody allowed is asked about again once the rules want it.
            rules.store(1, Ordering::Relaxed);
            let bind = office.bind();
            let events = office.apply(bind).expect("it waits for nobody");
            assert!(events.iter().any(|event| event.kind() == "call.held"), "{events:?}");
        }
    }
}

#[test]
fn a_grant_covers_what_it_was_given_for_and_no_more() {
    let pattern = |argv: &[&str]| Pattern::of("process.run", &attributes(argv));
    assert!(pattern(&["git", "push", "origin"]).fits("process.run", &attributes(&["git", "push", "--force"])));
    assert!(!pattern(&["git", "push"]).fits("process.run", &attributes(&["git", "reset"])));
    assert!(!pattern(&["git", "push"]).fits("process.kill", &attributes(&["git", "push"])));
    assert!(
        !pattern(&["rm", "-rf", "x"]).fits("process.run", &attributes(&["rm", "-rf", "y"])),
        "a flag is followed by anything"
    );
    let write = |path: &str| Attributes { path: Some(path.into()), bytes: Some(3), ..Attributes::default() };
    let folder = Pattern::of("filesystem.write", &write("/workspace/out/a.txt"));
    assert!(folder.fits("filesystem.write", &write("/workspace/out/b/c.txt")));
    for path in ["/workspace/outer/a.txt", "/workspace/a.txt", "/etc/passwd"] {
        assert!(!folder.fits("filesystem.write", &write(path)), "{path}");
    }
    assert!(!folder.fits("filesystem.write", &Attributes::default()));
    for path in ["/workspace/out", "/workspace/out/"] {
        assert!(!folder.fits("filesystem.write", &write(path)), "the folder itself is not below it: {path}");
    }
    let delete =
        Pattern::of("filesystem.list", &Attributes { path: Some("/workspace/a".into()), ..Attributes::default() });
    assert!(!delete.fits("filesystem.list", &write("/workspace/b")), "what is no file is meant alone");
    let shell = pattern(&["sh", "-c", "ls"]);
    assert!(shell.fits("process.run", &attributes(&["sh", "-c", "ls"])));
    assert!(!shell.fits("process.run", &attributes(&["sh", "-c", "rm -rf /"])));
    insta::assert_snapshot!(folder.to_exception("clerk") + &pattern(&["git", "push"]).to_exception("a\"b"));
}

#[test]
fn a_link_answers_its_own_approval_alone_and_is_nobody_where_several_must_allow_it() {
    let allow = |approval, grant| agent::Command::Approve(Approve { approval, note: None, edited: None, grant });
    let mut clerk = answered(&["process.run"]);
    let approval = asked(&clerk);
    for (link, grant) in [(other(), None), (approval, Some(Scope::Calls { left: 1 }))] {
        let refused = by(&mut clerk, Actor::Link(link), allow(approval, grant)).expect_err("it may not");
        assert_eq!(refused.code(), "approval.not_a_person");
    }
    by(&mut clerk, Actor::Link(approval), allow(approval, None)).expect("the control: its own, and once");
    let late = by(&mut clerk, Actor::Link(approval), allow(approval, None)).expect_err("a double click");
    assert_eq!(late.code(), "approval.over");

    let (mut clerk, rules) = office();
    rules.store(SEVERAL, Ordering::Relaxed);
    go_on(&mut clerk, &["process.run"]);
    let approval = asked(&clerk);
    let refused = by(&mut clerk, Actor::Link(approval), allow(approval, None)).expect_err("it may be the same person");
    assert_eq!(refused.code(), "approval.not_a_person");
    by(&mut clerk, OWNER, allow(approval, None)).expect("one person with a name");
    let reject = agent::Command::Reject { approval, reason: None };
    by(&mut clerk, Actor::Link(approval), reject).expect("whoever it is may say no");
}

fn attributes(argv: &[&str]) -> Attributes {
    Attributes { argv: Some(argv.iter().map(ToString::to_string).collect()), ..Attributes::default() }
}

#[test]
fn granted_calls_pass_unasked_until_the_grant_is_used_up_and_each_use_is_recorded() {
    let mut office = answered(&["process.run"]);
    approve_with(&mut office, Some(Scope::Calls { left: 1 })).expect("it waits");
    let bind = office.bind();
    office.must(bind);
    done(&mut office);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let call = office.call_model();
        office.must(call);
        let answer = office.answer(&["process.run"]);
        let events = office.apply(answer).expect("an answer");
        seen.push(
            events.iter().map(Event::kind).filter(|kind| *kind != "model.answered").collect::<Vec<_>>().join(" "),
        );
        if office.open_calls().iter().any(|call| call.lease().is_some()) {
            done(&mut office);
        }
    }
    assert_eq!(seen, ["grant.used call.called", "call.held iteration.parked"]);
}

#[test]
fn a_session_waits_for_its_answer_without_a_jail_and_its_call_is_then_done() {
    let version = Arc::new(AtomicU32::new(1));
    let mut desk = Desk::at(Office::judged(0, Rules(version)));
    desk.rotate(0).expect("a key");
    desk.open().expect("its key lives");
    for capability in ["state.persistent.set", "process.run"] {
        let events = desk.invoke(capability).expect("it is taken");
        assert!(events.iter().any(|event| event.kind() == "call.held"), "{events:?}");
        let present = desk.fold(desk.session).expect("it is open").clone();
        let waits = present.calls.last().and_then(|held| held.call.waits_for()).expect("it waits").id;
        assert!(present.waits().is_none(), "it wants no worker");
        let approve = Approve { approval: waits, note: None, edited: None, grant: None };
        let agent = desk.office.agent;
        let events = desk.office.world.commit(OWNER, Command::Agent(agent, agent::Command::Approve(approve)));
        assert_eq!(events.expect("it waits").iter().map(Event::kind).collect::<Vec<_>>(), ["call.allowed"]);
    }
    let present = desk.fold(desk.session).expect("it is open").clone();
    assert!(present.waits().is_some(), "the program wants a worker now");
    let value = present.calls.iter().find(|held| held.is_due_on_rows()).expect("the value is due").call.clone();
    let arguments = desk.office.world.memory.payloads[&value.arguments.hash].clone();
    let perform = session::Command::Perform { call: value.id, arguments, value: None };
    let events = desk.command(Actor::Daemon, perform).expect("it was allowed");
    assert!(events.iter().any(|event| event.kind() == "state.set"), "{events:?}");
}

#[test]
fn a_session_takes_no_more_calls_than_it_can_end_whatever_they_wait_for_and_an_answer_is_no_silence() {
    let mut desk = Desk::at(Office::judged(0, Rules(Arc::new(AtomicU32::new(1)))));
    desk.rotate(0).expect("a key");
    desk.open().expect("its key lives");
    for _ in 0..session::CALLS_MAX {
        desk.invoke("state.persistent.set").expect("it is taken");
    }
    let refused = desk.invoke("state.persistent.set").expect_err("as many wait as may be");
    assert_eq!(refused.code(), "session.calls_in_flight");
    desk.office.world.pass(session::IDLE_MS * 3);
    let present = desk.fold(desk.session).expect("it is open").clone();
    let waits = present.calls[0].call.waits_for().expect("it waits").id;
    let (agent, approve) = (desk.office.agent, Approve { approval: waits, note: None, edited: None, grant: None });
    desk.office.world.commit(OWNER, Command::Agent(agent, agent::Command::Approve(approve))).expect("it waits");
    let present = desk.fold(desk.session).expect("it is open").clone();
    assert_eq!(present.heard, desk.office.world.now.run, "people took their time, and the agent may take its own");
    desk.close().expect("it is open");
    let present = desk.fold(desk.session).expect("it is known").clone();
    assert!(present.ended.is_some() && present.calls.is_empty(), "{present:?}");
}

#[test]
fn a_parked_execution_gives_its_place_back_also_when_its_last_call_is_answered_before_its_jail_is_lost() {
    let mut office = answered(&["filesystem.write", "process.run"]);
    done(&mut office);
    reject(&mut office).expect("it waits");
    let lost = office.lose_jail();
    office.must(lost);
    let iteration = office.state().and_then(|execution| execution.iteration()).expect("it goes on").clone();
    assert!(iteration.binding.is_none() && !iteration.parked, "{iteration:?}");
    let owed = office.world.owed(Stream::Execution(office.execution));
    assert!(owed.iter().any(|owed| owed.obligation.kind().as_str() == "place"), "{owed:?}");
}

/// Under a lease, by rules that asked nobody.
fn in_flight(calls: &[&str]) -> (Office, Arc<AtomicU32>, CallId) {
    let (mut office, rules) = office();
    rules.store(LAX, Ordering::Relaxed);
    go_on(&mut office, calls);
    let call = office.open_calls().iter().find(|call| call.lease().is_some()).expect("it is in flight").id;
    (office, rules, call)
}

fn owes_cancel(office: &Office) -> bool {
    let owed = office.world.owed(Stream::Execution(office.execution));
    owed.iter().any(|owed| owed.obligation.kind().as_str() == "cancel")
}

#[test]
fn a_call_in_flight_is_taken_back_by_rules_that_block_it_and_left_by_those_that_ask_or_allow() {
    for version in [1, LAX] {
        let (mut office, rules, call) = in_flight(&["process.run"]);
        rules.store(version, Ordering::Relaxed);
        let again = office.apply(execution::Command::Rejudge { call });
        assert!(again.is_err() && !owes_cancel(&office), "rules {version} leave it: {again:?}");
    }
    let (mut office, rules, call) = in_flight(&["process.run"]);
    rules.store(0, Ordering::Relaxed);
    let events = office.apply(execution::Command::Rejudge { call }).expect("it is blocked");
    let [Event::Execution(execution::Event::CallRecalled(recalled))] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(recalled.judgement.rules, ["system:rules.cedar:0"]);
    assert!(owes_cancel(&office), "its worker is told");
    assert!(office.apply(execution::Command::Rejudge { call }).is_err(), "once");
    let told = office.world.memory.rows.iter().any(|row| match row {
        Row::CallChanged { id, change: CallChange::Recalled { rules, .. }, .. } => {
            *id == call && rules == "system:rules.cedar:0"
        }
        _ => false,
    });
    assert!(told, "its row names the rules");
    let end = office.end_call(Outcome::Killed);
    office.must(end);
    assert!(office.open_calls().is_empty() && !owes_cancel(&office), "it has its one end");
}

#[test]
fn a_call_that_was_taken_back_is_not_repeated_though_it_is_idempotent_and_its_sandbox_is_lost() {
    for (takes_back, comes_again) in [(true, false), (false, true)] {
        let (mut office, rules, call) = in_flight(&["filesystem.read"]);
        office.world.judge = Box::new(Denying(takes_back));
        assert_eq!(office.apply(execution::Command::Rejudge { call }).is_ok(), takes_back);
        office.world.judge = Box::new(Rules(rules));
        let lost = office.lose_jail();
        office.must(lost);
        let open = office.open_calls();
        assert_eq!(open.iter().any(|open| open.id == call), comes_again, "{open:?}");
    }
}

/// Keeps the levels that it is told.
struct Levels(Arc<Mutex<Vec<Option<String>>>>);

impl Judge for Levels {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        self.0.lock().expect("nobody panics with it").push(ask.context.level.clone());
        FloorAndTools.judge(ask)
    }

    fn wants(&self, _: Option<Digest>, _: &str, _: &str) -> Wants {
        Wants::default()
    }
}

#[test]
fn a_judge_sees_the_confinement_of_the_worker_that_a_call_is_bound_to() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut office = Office::judged(0, Levels(Arc::clone(&told)));
    let start = office.start();
    office.must(start);
    go_on(&mut office, &["process.run"]);
    assert_eq!(*told.lock().expect("nobody panics with it"), [Some("full".to_string())]);
}

/// Blocks all, or what the manifest does not list.
struct Denying(bool);

impl Judge for Denying {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        if self.0 { Judgement::blocked("system:none") } else { FloorAndTools.judge(ask) }
    }

    fn wants(&self, _: Option<Digest>, _: &str, _: &str) -> Wants {
        Wants::default()
    }
}

/// Every kind of event of approvals and grants.
pub fn every_kind(office: &mut Office) {
    let rules = Arc::new(AtomicU32::new(1));
    let judge = std::mem::replace(&mut office.world.judge, Box::new(Rules(Arc::clone(&rules))));
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    go_on(office, &["filesystem.write", "process.run"]);
    done(office);
    let release = office.release();
    office.must(release);
    approve_with(office, Some(Scope::Calls { left: 2 })).expect("it waits");
    let bind = office.bind();
    office.must(bind);
    done(office);
    let call = office.call_model();
    office.must(call);
    let answer = office.answer(&["process.run"]);
    office.must(answer);
    done(office);
    let grant = office.world.fold::<Agent>(office.agent).expect("it is deployed").grants[0].id;
    by(office, OWNER, agent::Command::RevokeGrant { grant }).expect("one call is left");
    let call = office.call_model();
    office.must(call);
    let answer = office.answer(&["process.run"]);
    office.must(answer);
    let release = office.release();
    office.must(release);
    rules.store(LAX, Ordering::Relaxed);
    rejudge(office).expect("it waits");
    let bind = office.bind();
    office.must(bind);
    rules.store(0, Ordering::Relaxed);
    rejudge(office).expect("it is in flight");
    let end = office.end_call(Outcome::Killed);
    office.must(end);
    rules.store(1, Ordering::Relaxed);
    office.must(execution::Command::Cancel { why: "enough".into() });
    let release = office.release();
    office.must(release);
    office.world.judge = judge;
}
