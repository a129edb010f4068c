//! Calls of sessions that need a sandbox: the table of what a session answers in each state of its jail, and what holds of every
//! history of calls, jails, connections and workers.
use crate::office::{OWNER, plan};
use crate::sessions::{Desk, Done, no, shown};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Event, FOLD_BYTES_MAX, Fold, Stream};
use tenure_core::bound::Hash;
use tenure_core::call::{EndCall, Fence, Lease, Outcome};
use tenure_core::execution::Execution;
use tenure_core::facts::Counter;
use tenure_core::fleet;
use tenure_core::id::{CallId, ConnectionId, LeaseId, SessionId};
use tenure_core::network::{self, Traffic};
use tenure_core::owed::Obligation;
use tenure_core::row::Row;
use tenure_core::session::{self, CALLS_MAX, InFlight, JAIL_IDLE_MS, Jail, LATE_MS, Refusal, Session};

const TIMEOUT_MS: u64 = 300_000;

impl Desk {
    fn present(&self) -> Option<&Session> {
        self.fold(self.session)
    }

    fn jail(&self) -> Option<Jail> {
        self.present()?.jail
    }

    fn calls(&self) -> Vec<InFlight> {
        self.present().map(|session| session.calls.clone()).unwrap_or_default()
    }

    fn connection(&mut self) -> ConnectionId {
        let other = ConnectionId::mint(&mut self.office.world.mint());
        self.office.connection().unwrap_or(other)
    }

    fn number(&self) -> u32 {
        self.jail().map_or(1, |jail| jail.number)
    }

    pub fn bind(&mut self) -> Done {
        let (worker, connection) = (self.office.worker, self.connection());
        self.command(Actor::Daemon, session::Command::Bind { worker, connection })
    }

    fn unbind(&mut self) -> Done {
        let (connection, since) = (self.connection(), self.office.world.now.run);
        self.command(Actor::Daemon, session::Command::Unbind { connection, since, why: "lapsed".into() })
    }

    /// The worker dies and its successor has reaped; what it held is given back.
    fn lapse(&mut self, known: &[SessionId]) {
        let (connection, since) = (self.connection(), self.office.world.now.run);
        let worker = self.office.worker;
        let lapse = fleet::Command::Lapse { connection, since, proof: "reaped".into() };
        self.office.world.commit(Actor::Daemon, Command::Worker(worker, lapse)).expect("it is open");
        for id in known {
            let unbind = session::Command::Unbind { connection, since, why: "lapsed".into() };
            let _ = self.office.world.commit(Actor::Daemon, Command::Session(*id, unbind));
        }
        self.office.connect(2);
    }

    /// The end of the first call under a lease; of one that never was where there is none.
    fn end_call(&mut self, outcome: Outcome) -> Done {
        let held = self.calls().into_iter().find_map(|held| held.call.lease().map(|lease| (held.call.id, lease)));
        let mut mint = self.office.world.mint();
        let other = (CallId::mint(&mut mint), Lease { lease: LeaseId::mint(&mut mint), fence: Fence(1) });
        let (call, lease) = held.unwrap_or(other);
        let attributes = matches!(outcome, Outcome::Redirected { .. })
            .then(|| self.office.world.payload("{\"path\":\"/workspace/behind\"}"));
        let result = Some(self.office.world.payload("{}"));
        let end = EndCall { call, lease, outcome, result, attributes, took_ms: 1, level: None };
        self.command(Actor::Worker(self.office.worker), session::Command::EndCall(end))
    }

    fn done(&mut self) -> Done {
        self.end_call(Outcome::Done { exit_code: Some(0) })
    }

    fn link(&mut self) -> Done {
        self.end_call(Outcome::Redirected { path: "/workspace/behind".into() })
    }

    pub fn release(&mut self) -> Done {
        let traffic = Some(Traffic { connections: 2, requests: 1, sent_bytes: 300, received_bytes: 4000, refused: 1 });
        let (connection, jail) = (self.connection(), self.number());
        self.command(Actor::Worker(self.office.worker), session::Command::Release { connection, jail, traffic })
    }

    fn lose_jail(&mut self, with_calls: bool) -> Done {
        let leases = self.calls().into_iter().filter_map(|held| Some(held.call.lease()?.lease));
        let leases = leases.filter(|_| with_calls).collect();
        let (connection, jail, why) = (self.connection(), self.number(), "oom".to_string());
        let lose = session::Command::LoseJail { connection, jail, leases, why, traffic: None };
        self.command(Actor::Worker(self.office.worker), lose)
    }

    fn refuse_network(&mut self, count: usize) -> Done {
        let (host, rule) = ("evil.example.com".to_string(), "blocklist: *.example.com".to_string());
        let refusals = vec![network::Refusal { host, port: 443, rule, count: 3 }; count];
        let (connection, jail) = (self.connection(), self.number());
        self.command(Actor::Worker(self.office.worker), session::Command::RefuseNetwork { connection, jail, refusals })
    }

    fn give_way(&mut self) -> Done {
        let jail = self.number();
        self.command(Actor::Daemon, session::Command::Yield { jail })
    }

    fn cancel_call(&mut self, actor: Actor) -> Done {
        let other = CallId::mint(&mut self.office.world.mint());
        let call = self.calls().first().map_or(other, |held| held.call.id);
        self.command(actor, session::Command::CancelCall { call })
    }

    fn expire_calls(&mut self) -> Done {
        self.command(Actor::Daemon, session::Command::ExpireCalls {})
    }

    fn expire_calls_after(&mut self, ms: u64) -> Done {
        self.office.world.pass(ms);
        self.expire_calls()
    }

    fn owes(&self) -> String {
        let owed = self.office.world.owed(Stream::Session(self.session));
        owed.iter().map(|owed| owed.obligation.kind().as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Every kind of event that a session's jail makes, on a session that is open.
    pub fn sandbox_history(&mut self) {
        let steps: [fn(&mut Desk) -> Done; 18] = [
            |desk| desk.invoke("filesystem.read"),
            Desk::bind,
            Desk::link,
            |desk| desk.refuse_network(1),
            Desk::done,
            |desk| desk.invoke("process.run"),
            |desk| desk.lose_jail(true),
            |desk| desk.invoke("filesystem.read"),
            Desk::bind,
            Desk::give_way,
            |desk| desk.cancel_call(OWNER),
            |desk| desk.end_call(Outcome::Killed),
            Desk::release,
            |desk| desk.invoke("process.run"),
            Desk::bind,
            Desk::unbind,
            |desk| desk.invoke("process.run"),
            Desk::bind,
        ];
        for (place, step) in steps.iter().enumerate() {
            step(self).unwrap_or_else(|refusal| panic!("step {place} is refused: {refusal:?}"));
        }
    }
}

fn waiting(capability: &str) -> Desk {
    let mut desk = Desk::opened();
    desk.invoke(capability).expect("it is allowed");
    desk
}

fn in_use() -> Desk {
    let mut desk = waiting("process.run");
    desk.bind().expect("a slot is free");
    desk
}

fn idle() -> Desk {
    let mut desk = in_use();
    desk.done().expect("it was called");
    desk
}

#[test]
#[expect(clippy::type_complexity, clippy::too_many_lines, reason = "two tables of words and what they do")]
fn the_session_answers_every_command_in_every_state_of_its_jail_as_the_table_says() {
    let states: [(&str, fn() -> Desk); 11] = [
        ("a call waits for a worker", || waiting("process.run")),
        ("a call that is idempotent waits", || waiting("filesystem.read")),
        ("a call waits, its agent paused", || {
            let mut desk = waiting("process.run");
            desk.office.pause().expect("it is deployed");
            desk
        }),
        ("a jail in use", in_use),
        ("a jail in use by two, one idempotent", || {
            let mut desk = waiting("filesystem.read");
            desk.invoke("process.run").expect("it is allowed");
            desk.bind().expect("a slot is free");
            desk
        }),
        ("a jail in use, and a call of another revision", || {
            let mut desk = in_use();
            desk.office.deploy("clerk", 0, "another").expect("another manifest");
            desk.invoke("process.run").expect("it is allowed");
            desk
        }),
        ("a jail in use, its call taken back", || {
            let mut desk = in_use();
            desk.cancel_call(OWNER).expect("it runs");
            desk
        }),
        ("a jail in use that yields", || {
            let mut desk = in_use();
            desk.give_way().expect("it has a jail");
            desk
        }),
        ("a jail that is idle", idle),
        ("a jail that is being released", || {
            let mut desk = idle();
            desk.expire_calls_after(JAIL_IDLE_MS).expect("it was idle for long");
            desk
        }),
        ("ended, its jail in use", || {
            let mut desk = in_use();
            desk.close().expect("it is open");
            desk
        }),
    ];
    let commands: [(&str, fn(&mut Desk) -> Done); 22] = [
        ("erase", Desk::erase),
        ("invoke a run", |desk| desk.invoke("process.run")),
        ("invoke, own rows", |desk| desk.invoke("agent.whoami")),
        ("invoke, not allowed", |desk| desk.invoke("email.send")),
        ("bind", Desk::bind),
        ("unbind", Desk::unbind),
        ("lose its jail, calls in flight", |desk| desk.lose_jail(true)),
        ("lose its jail, none in flight", |desk| desk.lose_jail(false)),
        ("release", Desk::release),
        ("refuse network", |desk| desk.refuse_network(2)),
        ("refuse network, too often", |desk| desk.refuse_network(network::REFUSALS_MAX + 1)),
        ("yield", Desk::give_way),
        ("end call", Desk::done),
        ("end call, it met a link", Desk::link),
        ("cancel call", |desk| desk.cancel_call(OWNER)),
        ("expire calls, not due", Desk::expire_calls),
        ("expire calls, idle", |desk| desk.expire_calls_after(JAIL_IDLE_MS)),
        ("expire calls, over time", |desk| desk.expire_calls_after(TIMEOUT_MS)),
        ("expire calls, late", |desk| desk.expire_calls_after(TIMEOUT_MS + LATE_MS)),
        ("close", Desk::close),
        ("kill its agent", |desk| desk.office.kill()),
        ("rotate its key", |desk| desk.rotate(0)),
    ];
    let mut table = String::new();
    for (state, setup) in states {
        let _ = writeln!(table, "\n{state}: owes {}", setup().owes());
        for (name, command) in commands {
            let mut desk = setup();
            let done = command(&mut desk);
            let owes = if done.is_ok() { format!("   owes {}", desk.owes()) } else { String::new() };
            let _ = writeln!(table, "  {name:<30} {}{owes}", shown(&done));
        }
    }
    insta::assert_snapshot!("session_jail", table);
}

fn word(desk: &Desk, call: CallId) -> String {
    let streams = desk.office.world.memory.streams.get(&Stream::Session(desk.session)).expect("it was opened");
    let ends = streams.iter().filter_map(|(_, event)| match event {
        Event::Session(session::Event::CallEnded(ended)) if ended.call == call => Some(ended.outcome.to_word()),
        Event::Session(session::Event::CallBlocked { call: of, blocked, .. }) if *of == call => {
            Some(blocked.as_str().to_string())
        }
        _ => None,
    });
    ends.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_call_that_is_not_allowed_never_waits_for_a_worker() {
    let mut desk = Desk::opened();
    desk.office.deploy_plan("clerk", &tenure_core::plan::Plan { tools: Vec::new(), ..plan(0) }, "less").expect("less");
    let done = desk.invoke("process.run").expect("it is recorded");
    assert_eq!(shown(&Ok(done)), "session.invoked + call.blocked");
    assert_eq!((desk.calls().len(), desk.jail()), (0, None));
    waiting("process.run").jail().ok_or(()).expect_err("the control: one that is allowed waits, and has no jail yet");
}

#[test]
fn what_is_allowed_no_more_when_its_lease_is_due_is_judged_by_what_it_was_asked_under() {
    let mut desk = waiting("process.run");
    let less = tenure_core::plan::Plan { tools: Vec::new(), ..plan(0) };
    desk.office.deploy_plan("clerk", &less, "less").expect("less");
    desk.bind().expect("a slot is free");
    assert!(desk.calls()[0].is_leased(), "its revision allows it");
    assert_eq!(desk.jail().expect("it is bound").revision, 1);
}

#[test]
fn a_jail_is_of_one_revision_and_calls_of_another_wait_for_the_next() {
    let mut desk = in_use();
    desk.office.deploy("clerk", 0, "another").expect("another manifest");
    desk.invoke("process.run").expect("it is allowed");
    assert_eq!(desk.calls().iter().map(InFlight::is_leased).collect::<Vec<_>>(), [true, false]);
    desk.done().expect("the first is over");
    assert_eq!(desk.owes(), "release, expire_calls, expire");
    desk.release().expect("its jail is gone");
    desk.bind().expect("the second waits");
    let jail = desk.jail().expect("it is bound");
    assert_eq!((jail.number, jail.revision, desk.calls()[0].is_leased()), (2, 2, true));
}

#[test]
fn more_calls_than_may_be_in_flight_are_refused_until_one_has_ended() {
    let mut desk = Desk::opened();
    for _ in 0..CALLS_MAX {
        desk.invoke("filesystem.read").expect("it may have more");
    }
    assert_eq!(desk.invoke("filesystem.read"), no(Refusal::CallsInFlight {}));
    desk.invoke("agent.whoami").expect("what needs no sandbox is done at once");
    desk.bind().expect("a slot is free");
    desk.done().expect("one ends");
    desk.invoke("filesystem.read").expect("and another is taken");
}

#[test]
fn whatever_ends_a_session_ends_what_runs_in_it_once_its_jail_is_gone() {
    let endings: [fn(&mut Desk) -> Done; 5] = [
        Desk::close,
        |desk| desk.office.kill(),
        |desk| desk.office.revoke(),
        |desk| desk.office.delete(),
        |desk| desk.rotate(0),
    ];
    for end in endings {
        let mut desk = in_use();
        desk.give_way().expect("so that the next one waits");
        desk.invoke("process.run").expect("it is allowed");
        let calls: Vec<CallId> = desk.calls().iter().map(|held| held.call.id).collect();
        end(&mut desk).expect("it is open");
        assert_eq!((word(&desk, calls[0]).as_str(), word(&desk, calls[1]).as_str()), ("", "withdrawn"));
        assert_eq!(desk.owes(), "release");
        desk.release().expect("its jail is gone");
        assert_eq!((word(&desk, calls[0]).as_str(), desk.owes().as_str()), ("killed", ""));
    }
}

#[test]
fn a_lost_call_comes_again_if_it_may_and_else_its_outcome_is_unknown() {
    let mut desk = waiting("filesystem.read");
    desk.invoke("process.run").expect("it is allowed");
    desk.bind().expect("a slot is free");
    let calls: Vec<CallId> = desk.calls().iter().map(|held| held.call.id).collect();
    desk.lapse(&[desk.session]);
    assert_eq!(word(&desk, calls[1]), "lost");
    assert_eq!(desk.owes(), "place, expire_calls, expire");
    desk.bind().expect("the new connection has slots");
    desk.done().expect("it was called again");
    assert_eq!(word(&desk, calls[0]), "lost, done");
}

#[test]
fn a_call_that_was_taken_back_does_not_come_again() {
    let mut desk = waiting("filesystem.read");
    desk.bind().expect("a slot is free");
    let call = desk.calls()[0].call.id;
    desk.cancel_call(Actor::Agent(desk.office.agent)).expect("its own agent may");
    assert_eq!(desk.owes(), "dispatch, cancel, expire_calls, expire");
    desk.lose_jail(true).expect("it had one");
    assert_eq!((word(&desk, call).as_str(), desk.calls().len()), ("lost", 0));
    let mut desk = waiting("process.run");
    let call = desk.calls()[0].call.id;
    let other = Actor::Agent(desk.office.world.agent_id());
    assert_eq!(desk.cancel_call(other), no(Refusal::Unknown {}), "the control: another agent may not");
    desk.cancel_call(OWNER).expect("a person may");
    assert_eq!(word(&desk, call), "cancelled");
}

#[test]
fn a_call_that_was_taken_back_and_met_a_link_is_not_begun_again() {
    let desk = || {
        let mut desk = waiting("filesystem.write");
        desk.bind().expect("there is room");
        desk
    };
    let mut control = desk();
    control.link().expect("it is leased");
    assert!(control.calls()[0].call.lease().is_some(), "the control: it is judged again, and called");
    let mut desk = desk();
    desk.cancel_call(OWNER).expect("it runs");
    desk.link().expect("it is leased");
    assert!(desk.calls().is_empty(), "{:?}", desk.calls());
}

#[test]
fn a_session_and_an_execution_share_what_their_agent_may_run_at_a_time() {
    let mut desk = in_use();
    let start = desk.office.start();
    desk.office.must(start);
    let bind = desk.office.bind();
    let busy = desk.office.apply(bind.clone()).expect_err("one at a time is allowed");
    assert_eq!(busy.code(), "execution.agent_busy");
    desk.done().expect("it was called");
    desk.give_way().expect("it has a jail");
    desk.release().expect("its jail is gone");
    desk.office.must(bind);
    desk.invoke("process.run").expect("it is taken");
    assert_eq!(desk.bind().expect_err("the other way round").code(), "session.unplaced");
}

#[test]
fn a_call_whose_worker_does_not_end_it_in_time_is_ended_with_its_jail() {
    let mut desk = in_use();
    desk.invoke("filesystem.read").expect("it is allowed");
    let first = desk.calls()[0].call.id;
    assert_eq!(desk.expire_calls_after(TIMEOUT_MS), no(Refusal::NotDue {}), "its worker has some time more");
    desk.invoke("filesystem.read").expect("its time is not over");
    let last = desk.calls()[2].call.id;
    desk.expire_calls_after(LATE_MS).expect("now it is late");
    desk.release().expect("its jail is gone");
    assert_eq!((word(&desk, first).as_str(), word(&desk, last).as_str()), ("timed_out", "lost"));
    assert_eq!(desk.calls().len(), 1, "the last one comes again");
}

#[derive(Debug, Clone)]
enum Move {
    Invoke(&'static str),
    Again(u8),
    Open,
    Bind,
    Lapse,
    LoseJail(bool),
    Release,
    RefuseNetwork,
    Yield,
    EndCall(Outcome),
    CancelCall,
    ExpireCalls,
    Expire,
    Close,
    Kill,
    Rotate,
    Pause,
    Resume,
    Deploy(u8),
    Start,
    BindExecution,
    CancelExecution,
    Pass(u64),
    Switch(usize),
}

const CAPABILITIES: [&str; 6] =
    ["filesystem.read", "filesystem.list", "filesystem.write", "process.run", "agent.whoami", "email.send"];

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        10 => proptest::sample::select(&CAPABILITIES[..]).prop_map(Move::Invoke),
        2 => (0u8..4).prop_map(Move::Again),
        2 => Just(Move::Open),
        8 => Just(Move::Bind),
        2 => Just(Move::Lapse),
        2 => any::<bool>().prop_map(Move::LoseJail),
        4 => Just(Move::Release),
        1 => Just(Move::RefuseNetwork),
        1 => Just(Move::Yield),
        8 => outcomes().prop_map(Move::EndCall),
        2 => Just(Move::CancelCall),
        3 => Just(Move::ExpireCalls),
        1 => Just(Move::Expire),
        1 => prop_oneof![3 => Just(Move::Close), 1 => Just(Move::Kill), 1 => Just(Move::Rotate)],
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        1 => (0u8..4).prop_map(Move::Deploy),
        1 => prop_oneof![Just(Move::Start), Just(Move::BindExecution), Just(Move::CancelExecution)],
        3 => (1u64..200_000).prop_map(Move::Pass),
        2 => (0usize..8).prop_map(Move::Switch),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done { exit_code: Some(0) }),
        Just(Outcome::Failed { code: "not_found".into() }),
        Just(Outcome::Killed),
        Just(Outcome::Redirected { path: "/workspace/behind".into() }),
    ]
}

fn play(desk: &mut Desk, known: &mut Vec<SessionId>, step: &Move) {
    // A refusal is an answer too: what it may be is the table's.
    let _ = match step {
        Move::Invoke(capability) => desk.invoke(capability),
        Move::Again(key) => desk.invoke_once("filesystem.read", Hash::of(&[*key])),
        Move::Open => {
            let done = desk.open_another();
            known.push(desk.session);
            done
        }
        Move::Bind => desk.bind(),
        Move::Lapse => {
            desk.lapse(known);
            return;
        }
        Move::LoseJail(with_calls) => desk.lose_jail(*with_calls),
        Move::Release => desk.release(),
        Move::RefuseNetwork => desk.refuse_network(1),
        Move::Yield => desk.give_way(),
        Move::EndCall(outcome) => desk.end_call(outcome.clone()),
        Move::CancelCall => desk.cancel_call(OWNER),
        Move::ExpireCalls => desk.expire_calls(),
        Move::Expire => desk.expire(),
        Move::Close => desk.close(),
        Move::Kill => desk.office.kill(),
        Move::Rotate => desk.rotate(0),
        Move::Pause => desk.office.pause(),
        Move::Resume => desk.office.supervise(agent::Command::Resume { note: None }),
        Move::Deploy(which) => desk.office.deploy("clerk", 0, &format!("revision {which}")),
        Move::Start => {
            desk.office.execution = desk.office.world.execution_id();
            let start = desk.office.start();
            desk.office.apply(start)
        }
        Move::BindExecution => {
            let bind = desk.office.bind();
            desk.office.apply(bind)
        }
        Move::CancelExecution => desk.office.apply(tenure_core::execution::Command::Cancel { why: "enough".into() }),
        Move::Pass(ms) => {
            desk.office.world.pass(*ms);
            return;
        }
        Move::Switch(place) => {
            desk.session = known.get(place % known.len().max(1)).copied().unwrap_or(desk.session);
            return;
        }
    };
}

/// Each lease has one call and one end, each call one terminal event; those without are what the folds hold.
fn each_ends_once(desk: &Desk) {
    let (mut leases, mut calls): (BTreeMap<LeaseId, i32>, BTreeMap<CallId, i32>) = Default::default();
    for events in desk.office.world.memory.streams.values() {
        for (_, event) in events {
            let Event::Session(event) = event else { continue };
            match event {
                session::Event::Invoked { call, .. } => {
                    assert!(calls.insert(call.call, 1).is_none(), "a call was asked for twice");
                }
                session::Event::CallCalled(called) => {
                    let Some(held) = called.lease else { continue };
                    assert!(leases.insert(held.lease, 1).is_none(), "a lease was given twice");
                }
                session::Event::CallBlocked { call, .. } => *calls.entry(*call).or_default() -= 1,
                session::Event::CallEnded(ended) => {
                    ended.lease.into_iter().for_each(|lease| *leases.entry(lease).or_default() -= 1);
                    *calls.entry(ended.call).or_default() -= i32::from(!ended.outcome.is_again());
                }
                _ => {}
            }
        }
    }
    assert!(leases.values().chain(calls.values()).all(|open| (0..=1).contains(open)), "something ended twice");
    let sessions: Vec<&Session> = desk.office.world.memory.folds.values().filter_map(Fold::as_a).collect();
    let held: BTreeSet<CallId> = sessions.iter().flat_map(|session| &session.calls).map(|held| held.call.id).collect();
    let open = calls.into_iter().filter_map(|(call, open)| (open == 1).then_some(call)).collect();
    assert_eq!(held, open, "the folds hold other calls than are open");
    let held = sessions.iter().flat_map(|session| &session.calls).filter_map(|held| held.call.lease());
    let held: BTreeSet<LeaseId> = held.map(|held| held.lease).collect();
    let open = leases.into_iter().filter_map(|(lease, open)| (open == 1).then_some(lease)).collect();
    assert_eq!(held, open, "the folds hold other leases than are open");
}

/// Sums and rows say what the folds say; whoever has something open owes something.
fn is_kept_whole(desk: &Desk) {
    let memory = &desk.office.world.memory;
    let (mut bound, mut running): (BTreeMap<String, i64>, i64) = Default::default();
    for (stream, fold) in &memory.folds {
        let (binding, runs) = match (fold.as_a::<Session>(), fold.as_a::<Execution>()) {
            (Some(session), _) => (session.jail.map(|jail| jail.binding), session.jail.is_some()),
            (_, Some(execution)) => (execution.binding(), execution.has_begun()),
            (None, None) => continue,
        };
        running += i64::from(runs);
        binding.into_iter().for_each(|binding| *bound.entry(binding.connection.to_string()).or_default() += 1);
        let (Stream::Session(id), Some(session)) = (*stream, fold.as_a::<Session>()) else { continue };
        let shown = memory.rows.iter().rev().find_map(|row| match row {
            Row::Session(row) if row.id == id => Some(row.clone()),
            _ => None,
        });
        assert_eq!(shown, Some(session.row(id)), "the list shows what is no more");
        let owed = desk.office.world.owed(*stream);
        let over = session.ended.is_some() && session.calls.is_empty() && session.jail.is_none();
        assert_eq!(owed.is_empty(), over, "{session:?} owes {owed:?}");
        assert!(session.calls.len() <= CALLS_MAX && owed.len() <= 2 * CALLS_MAX + 3);
        for owed in &owed {
            assert_eq!(Obligation::from_key(&owed.obligation.to_key()).as_ref(), Ok(&owed.obligation));
        }
        assert!(serde_json::to_vec(session).expect("a fold is JSON").len() <= FOLD_BYTES_MAX);
    }
    for ((counter, key, _), count) in &memory.counters {
        match counter {
            Counter::Bound => assert_eq!(bound.get(key).copied().unwrap_or(0), *count, "slots are counted wrong"),
            Counter::Running => assert_eq!(running, *count, "what runs is counted wrong"),
            _ => {}
        }
    }
    assert!(running <= 1, "more of an agent runs than its plan lets run");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_its_jails_each_call_of_a_session_ends_once(
        steps in proptest::collection::vec(moves(), 1..120)
    ) {
        let mut desk = Desk::opened();
        let mut known = vec![desk.session];
        for step in &steps {
            play(&mut desk, &mut known, step);
            each_ends_once(&desk);
            is_kept_whole(&desk);
        }
        prop_assert_eq!(&desk.office.world.replayed(), &desk.office.world.memory.folds);
        for id in known {
            desk.session = id;
            let _ = desk.command(OWNER, session::Command::Close {});
            let _ = desk.release();
            prop_assert_eq!(desk.owes(), "", "an ended session owes nothing once its jail is gone");
            prop_assert!(desk.calls().is_empty());
        }
        each_ends_once(&desk);
    }
}
