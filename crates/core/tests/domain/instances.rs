//! Instances: the program of a code agent, from its start to its end; and what holds of every history of hooks that end, workers
//! that are lost and people who hold the agent.
use crate::office::{OWNER, Office, plan};
use proptest::prelude::*;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Agent, State};
use tenure_core::aggregate::{Command, Event, FOLD_BYTES_MAX, Refusal};
use tenure_core::call::{EndCall, Outcome};
use tenure_core::capability::hook::Hook;
use tenure_core::execution::{self, Ending, Execution, Phase as ExecutionPhase, ProgramOutcome, Step};
use tenure_core::fleet;
use tenure_core::id::{InstanceId, SessionId};
use tenure_core::instance::{self, Check, Condition, Health, Instance, Phase, Rules, Why};
use tenure_core::manifest::Manifest;
use tenure_core::plan::Plan;
use tenure_core::session::{self, InFlight, Session};

fn program(rules: Rules) -> Plan {
    let text = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: clerk}\n\
                spec: {task: {instruction: x}, provides: [filing], runtime: {kind: hooks, command: [clerk]}}\n";
    let compiled = Plan::compile(&Manifest::parse(text).expect("a manifest"));
    let (sandbox, tools, provides) = (compiled.sandbox, compiled.tools, compiled.provides);
    Plan { sandbox, tools, provides, supervision: rules, ..plan(0) }
}

/// An office whose agent is a program, and the instance that keeps it running once it is started.
pub struct Workshop {
    pub office: Office,
    id: InstanceId,
}

type Done = Result<Vec<Event>, Refusal>;

impl Workshop {
    fn new(rules: Rules) -> Workshop {
        Workshop::at(Office::new(0), rules)
    }

    fn at(mut office: Office, rules: Rules) -> Workshop {
        office.deploy_plan("clerk", &program(rules), "a program that lives on").expect("a new revision");
        let id = InstanceId::mint(&mut office.world.mint());
        Workshop { office, id }
    }

    fn command(&mut self, actor: Actor, command: instance::Command) -> Done {
        self.office.world.commit(actor, Command::Instance(self.id, command))
    }

    fn agent(&self) -> &Agent {
        self.office.world.fold::<Agent>(self.office.agent).expect("it is deployed")
    }

    fn instance(&self) -> Option<&Instance> {
        self.office.world.fold::<Instance>(self.id)
    }

    fn phase(&self) -> Phase {
        self.instance().expect("it was started").phase.clone()
    }

    /// A fresh one, where the agent has none.
    fn start(&mut self) -> Done {
        self.id = InstanceId::mint(&mut self.office.world.mint());
        let agent = self.office.agent;
        self.command(OWNER, instance::Command::Start { agent })
    }

    fn session(&self) -> Option<(SessionId, &Session)> {
        let id = self.instance()?.program()?.session;
        Some((id, self.office.world.fold::<Session>(id)?))
    }

    fn tell(&mut self, actor: Actor, command: session::Command) -> Option<Done> {
        let id = self.session()?.0;
        Some(self.office.world.commit(actor, Command::Session(id, command)))
    }

    fn bind(&mut self) -> Option<Done> {
        let (worker, connection) = (self.office.worker, self.office.connection()?);
        self.tell(Actor::Daemon, session::Command::Bind { worker, connection })
    }

    fn held(&self, hook: Hook) -> Option<InFlight> {
        let calls = &self.session()?.1.calls;
        calls.iter().find(|held| Hook::of(&held.call.capability) == Some(hook) && held.is_leased()).cloned()
    }

    /// The worker reports the end of a hook; nothing where none is in flight.
    fn end(&mut self, hook: Hook, outcome: Outcome) -> Option<Done> {
        let held = self.held(hook)?;
        let lease = held.call.lease()?;
        let result = Some(self.office.world.payload("{\"answer\":\"filed\"}"));
        let end = EndCall { call: held.call.id, lease, outcome, result, attributes: None, took_ms: 1, level: None };
        let worker = Actor::Worker(self.office.worker);
        self.tell(worker, session::Command::EndCall(end))
    }

    fn done(&mut self, hook: Hook) {
        self.end(hook, Outcome::Done { exit_code: None }).expect("it is in flight").expect("it may end");
    }

    fn ready(rules: Rules) -> Workshop {
        let mut shop = Workshop::new(rules);
        shop.start().expect("it has none");
        shop.come_up();
        shop
    }

    fn come_up(&mut self) {
        self.release_all();
        self.bind().expect("its session waits").expect("a slot is free");
        self.done(Hook::Init);
        self.done(Hook::Start);
        assert!(self.instance().expect("it was started").is_ready());
    }

    /// An execution that waits for the program's answer.
    fn told(&mut self) {
        self.office.execution = self.office.world.execution_id();
        let start = self.office.start();
        self.office.must(start);
        let bind = self.office.bind();
        self.office.must(bind);
        let message = self.office.world.payload("{\"input\":1}");
        self.office.must(execution::Command::TellProgram { iteration: 1, message });
    }

    fn step(&self) -> Option<Step> {
        self.office.state()?.iteration().map(|iteration| iteration.step.clone())
    }

    /// The worker and all of its jails are lost, and its successor is there.
    fn lapse(&mut self) {
        let Some(connection) = self.office.connection() else { return };
        let (since, worker) = (self.office.world.now.run, self.office.worker);
        let sessions: Vec<SessionId> = self.agent().sessions.iter().map(|live| live.id).collect();
        let lapse = fleet::Command::Lapse { connection, since, proof: "reaped".into() };
        self.office.world.commit(Actor::Daemon, Command::Worker(worker, lapse)).expect("it is open");
        for id in sessions {
            let unbind = session::Command::Unbind { connection, since, why: "lapsed".into() };
            let _ = self.office.world.commit(Actor::Daemon, Command::Session(id, unbind));
        }
        let unbind = execution::Command::Unbind { connection, since, why: "lapsed".into() };
        let _ = self.office.apply(unbind);
        self.office.connect(2);
    }

    fn exit(&mut self, code: i32) {
        self.end(Hook::Run, Outcome::Done { exit_code: Some(code) }).expect("it runs").expect("it may end");
    }

    /// The program of the newest revision takes its place.
    fn renew(&mut self) {
        self.command(Actor::Daemon, instance::Command::Renew {}).expect("it is idle, and of an earlier revision");
        self.done(Hook::Shutdown);
        self.begin().expect("it is due at once");
        self.come_up();
    }

    /// Once its last jail is gone.
    fn begin(&mut self) -> Done {
        self.release_all();
        self.command(Actor::Daemon, instance::Command::Begin {})
    }
}

pub fn every_kind(office: Office) -> Office {
    let mut shop = Workshop::at(office, Rules::default());
    shop.start().expect("it has none");
    shop.come_up();
    shop.told();
    shop.done(Hook::Message);
    shop.command(Actor::Daemon, instance::Command::Check {}).expect("it is ready");
    shop.done(Hook::Health);
    let Phase::Ready { check: Check::Answered { call }, .. } = shop.phase() else { panic!("it answered") };
    let health = Health {
        condition: Condition::Healthy,
        memory_bytes: 1,
        cpu_ms: 1,
        processes: 1,
        uptime_ms: 1,
        errors: String::new(),
        call,
    };
    shop.command(Actor::Daemon, instance::Command::ReportHealth { health }).expect("it is to be read");
    let output = shop.office.world.payload("filed");
    let outcome = ProgramOutcome::Answered { output };
    shop.office.must(execution::Command::EndProgram { iteration: 1, outcome });
    shop.lapse();
    shop.begin().expect("it is due at once");
    shop.come_up();
    shop.exit(1);
    shop.office.world.pass(2_000);
    shop.begin().expect("it is due");
    shop.come_up();
    shop.office.deploy_plan("clerk", &program(Rules::default()), "the same in other words").expect("a new revision");
    shop.renew();
    shop.command(OWNER, instance::Command::Stop {}).expect("it is ready");
    shop.done(Hook::Shutdown);
    shop.release_all();
    shop.command(OWNER, instance::Command::Stop {}).expect_err("it is stopped");
    shop.command(OWNER, instance::Command::Check {}).expect_err("it is stopped");
    shop.office.deploy_plan("clerk", &plan(1), "no program that lives on").expect("a changed manifest");
    shop.office
}

#[test]
fn a_program_is_ready_once_its_hooks_were_answered_in_order_and_no_message_comes_before() {
    let mut shop = Workshop::new(Rules::default());
    shop.start().unwrap();
    assert!(shop.start_keeping().is_err(), "an agent has one");
    shop.office.execution = shop.office.world.execution_id();
    let start = shop.office.start();
    shop.office.must(start);
    let bind = shop.office.bind();
    assert!(shop.office.apply(bind).is_err(), "its program is not ready");
    shop.bind().unwrap().unwrap();
    assert!(shop.held(Hook::Start).is_none(), "`start` waits for `init`");
    shop.done(Hook::Init);
    shop.done(Hook::Start);
    let bind = shop.office.bind();
    shop.office.must(bind);
    let message = shop.office.world.payload("{}");
    shop.office.must(execution::Command::TellProgram { iteration: 1, message });
    shop.done(Hook::Message);
    assert!(matches!(shop.step(), Some(Step::Program { call: Some(_) })));
}

#[test]
fn a_message_that_is_lost_with_its_worker_is_told_again_and_that_is_no_crash() {
    let mut shop = Workshop::ready(Rules::default());
    shop.told();
    shop.lapse();
    assert!(matches!(shop.phase(), Phase::Due { .. }), "{:?}", shop.phase());
    assert_eq!(shop.instance().unwrap().crashes.len(), 0);
    assert!(matches!(shop.step(), Some(Step::Program { call: None })), "it is to be told again");
    shop.begin().unwrap();
    shop.come_up();
    let bind = shop.office.bind();
    shop.office.must(bind);
    let message = shop.office.world.payload("{\"input\":1}");
    shop.office.must(execution::Command::TellProgram { iteration: 1, message });
    assert!(matches!(shop.step(), Some(Step::Told { .. })));
}

#[test]
fn more_crashes_than_are_borne_put_the_agent_away_and_those_of_another_window_do_not_count() {
    let rules = Rules { max_crashes: 2, window_ms: 60_000, auto_restart: true, backoff_ms: 100 };
    let mut shop = Workshop::ready(rules);
    let crash = |shop: &mut Workshop| {
        shop.exit(3);
        shop.office.world.pass(1_000);
    };
    for _ in 0..2 {
        crash(&mut shop);
        shop.begin().expect("its wait is over");
        shop.come_up();
    }
    shop.office.world.pass(60_000);
    crash(&mut shop);
    shop.begin().expect("the control: the first two are of another window");
    shop.come_up();
    crash(&mut shop);
    shop.begin().expect("its wait is over");
    shop.come_up();
    crash(&mut shop);
    assert!(matches!(shop.phase(), Phase::Stopped { why: Why::Quarantined, .. }), "{:?}", shop.phase());
    assert!(matches!(shop.agent().state, State::Quarantined(_)));
    assert_eq!((shop.agent().instance, shop.agent().sessions.len()), (None, 0));
}

#[test]
fn what_is_cancelled_takes_its_message_back_and_the_program_lives_on() {
    let mut shop = Workshop::ready(Rules::default());
    shop.told();
    shop.office.must(execution::Command::Cancel { why: "enough".into() });
    let ending =
        |phase: &ExecutionPhase| matches!(phase, ExecutionPhase::Ended { ending: Ending::Cancelled { .. }, .. });
    assert!(ending(&shop.office.state().unwrap().phase));
    assert!(shop.held(Hook::Message).unwrap().cancelled);
    shop.end(Hook::Message, Outcome::Killed).unwrap().unwrap();
    assert!(shop.instance().unwrap().messages.is_empty());
    shop.told();
    shop.done(Hook::Message);
    assert!(matches!(shop.step(), Some(Step::Program { call: Some(_) })));
}

#[test]
fn a_later_revision_takes_the_place_of_an_idle_program_and_an_execution_of_it_waits_for_that() {
    let mut shop = Workshop::ready(Rules::default());
    assert!(shop.command(Actor::Daemon, instance::Command::Renew {}).is_err(), "the control: it is of the newest");
    shop.office.deploy_plan("clerk", &program(Rules::default()), "in other words").unwrap();
    shop.office.execution = shop.office.world.execution_id();
    let start = shop.office.start();
    shop.office.must(start);
    let bind = shop.office.bind();
    assert!(shop.office.apply(bind).is_err(), "the program is of an earlier revision");
    shop.renew();
    assert_eq!(shop.instance().unwrap().crashes.len(), 0);
    let bind = shop.office.bind();
    shop.office.must(bind);
}

#[test]
fn no_program_begins_while_the_jail_of_the_last_one_is_still_there() {
    let mut shop = Workshop::ready(Rules { backoff_ms: 1, ..Rules::default() });
    shop.exit(1);
    shop.office.world.pass(10);
    assert!(shop.command(Actor::Daemon, instance::Command::Begin {}).is_err(), "two would share one work folder");
    shop.begin().expect("the control: its jail is gone");
}

#[test]
fn what_a_person_stopped_only_a_person_starts() {
    let mut shop = Workshop::ready(Rules::default());
    shop.command(OWNER, instance::Command::Stop {}).unwrap();
    shop.done(Hook::Shutdown);
    assert!(shop.agent().program_held);
    shop.release_all();
    shop.start().unwrap();
    assert!(!shop.agent().program_held);
    shop.office.kill().unwrap();
    assert!(!shop.agent().program_held, "the control: a kill holds nothing back");
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Start,
    Begin,
    Bind,
    Answer(u8),
    Fail(u8),
    Exit,
    Tell,
    Cancel,
    Check,
    Renew,
    Stop,
    Lapse,
    Kill,
    Quarantine,
    Recover,
    Deploy(u8),
    Release,
    Pass(u16),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        2 => Just(Move::Start),
        4 => Just(Move::Begin),
        6 => Just(Move::Bind),
        12 => any::<u8>().prop_map(Move::Answer),
        2 => any::<u8>().prop_map(Move::Fail),
        2 => Just(Move::Exit),
        4 => Just(Move::Tell),
        1 => Just(Move::Cancel),
        2 => Just(Move::Check),
        2 => Just(Move::Renew),
        1 => Just(Move::Stop),
        2 => Just(Move::Lapse),
        1 => Just(Move::Kill),
        1 => Just(Move::Quarantine),
        2 => Just(Move::Recover),
        1 => any::<u8>().prop_map(Move::Deploy),
        3 => Just(Move::Release),
        2 => any::<u16>().prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..80)
}

const HOOKS: [Hook; 6] = [Hook::Run, Hook::Init, Hook::Start, Hook::Message, Hook::Health, Hook::Shutdown];

/// What is refused changes nothing, so that any move may be tried at any time.
fn make(shop: &mut Workshop, one: Move) {
    let hook = |number: u8| HOOKS[1 + usize::from(number) % (HOOKS.len() - 1)];
    match one {
        Move::Start => drop(shop.start_keeping()),
        Move::Begin => drop(shop.begin()),
        Move::Bind => drop(shop.bind()),
        Move::Answer(number) => drop(shop.end(hook(number), Outcome::Done { exit_code: None })),
        Move::Fail(number) => drop(shop.end(hook(number), Outcome::Failed { code: "hook_failed".into() })),
        Move::Exit => drop(shop.end(Hook::Run, Outcome::Done { exit_code: Some(1) })),
        Move::Tell => {
            if shop.office.ended() || shop.office.state().is_none() {
                shop.office.execution = shop.office.world.execution_id();
                let start = shop.office.start();
                let _ = shop.office.apply(start);
            }
            let bind = shop.office.bind();
            let _ = shop.office.apply(bind);
            let (iteration, message) = (shop.office.number(), shop.office.world.payload("{}"));
            let _ = shop.office.apply(execution::Command::TellProgram { iteration, message });
        }
        Move::Cancel => drop(shop.office.apply(execution::Command::Cancel { why: "enough".into() })),
        Move::Check => drop(shop.command(Actor::Daemon, instance::Command::Check {})),
        Move::Renew => drop(shop.command(Actor::Daemon, instance::Command::Renew {})),
        Move::Stop => drop(shop.command(OWNER, instance::Command::Stop {})),
        Move::Lapse => shop.lapse(),
        Move::Kill => drop(shop.office.kill()),
        Move::Quarantine => drop(shop.office.quarantine(agent::Severity::Low)),
        Move::Recover => drop(shop.office.recover()),
        Move::Deploy(number) => {
            let text = format!("text {number}");
            let _ = shop.office.deploy_plan("clerk", &program(Rules::default()), &text);
        }
        Move::Release => shop.release_all(),
        Move::Pass(ms) => shop.office.world.pass(u64::from(ms)),
    }
}

impl Workshop {
    /// Another takes its place only where the agent has none.
    fn start_keeping(&mut self) -> Done {
        let (known, fresh) = (self.id, InstanceId::mint(&mut self.office.world.mint()));
        self.id = fresh;
        let agent = self.office.agent;
        let done = self.command(OWNER, instance::Command::Start { agent });
        if done.is_err() {
            self.id = known;
        }
        done
    }

    /// Jails that are to be destroyed are.
    fn release_all(&mut self) {
        let sessions = self.office.world.memory.folds.iter();
        let releasing: Vec<(SessionId, u32)> = sessions
            .filter_map(|(stream, fold)| {
                let tenure_core::aggregate::Stream::Session(id) = stream else { return None };
                let jail = fold.as_a::<Session>()?.jail?;
                (jail.releasing && jail.has_sandbox).then_some((*id, jail.number))
            })
            .collect();
        let Some(connection) = self.office.connection() else { return };
        for (id, jail) in releasing {
            let release = session::Command::Release { connection, jail, traffic: None };
            let _ = self.office.world.commit(Actor::Worker(self.office.worker), Command::Session(id, release));
        }
    }

    /// What holds between any two decisions.
    fn hold(&self) {
        let live = self.instance().is_some_and(|instance| !instance.is_over());
        assert_eq!(self.agent().instance.is_some(), live, "an agent has an instance as long as that lives");
        let Some(instance) = self.instance() else { return };
        let owned = self.agent().sessions.iter().filter(|session| session.opener.instance().is_some()).count();
        assert_eq!(owned, usize::from(instance.program().is_some()), "a session as long as there is a program");
        if let Some((_, session)) = self.session() {
            assert!(session.ended.is_none(), "no program lives in a session that has ended");
        }
        // Those of a program that is gone end with its jail.
        let sessions = || self.office.world.memory.folds.values().filter_map(|fold| fold.as_a::<Session>());
        for message in &instance.messages {
            assert!(sessions().any(|session| session.call(message.call).is_some()), "a message without a call");
        }
        let told = self.office.state().and_then(Execution::iteration).map(|iteration| iteration.step.clone());
        if let Some(Step::Told { call, .. }) = told {
            assert!(instance.messages.iter().any(|message| message.call == call), "an answer that never comes");
        }
        for fold in self.office.world.memory.folds.values() {
            let bytes = serde_json::to_vec(fold).expect("a fold is JSON");
            assert!(bytes.len() <= FOLD_BYTES_MAX);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_an_instance_its_session_and_its_executions_agree(moves in moves()) {
        let mut shop = Workshop::new(Rules { max_crashes: 3, window_ms: 60_000, auto_restart: true, backoff_ms: 100 });
        for one in moves {
            make(&mut shop, one);
            shop.hold();
        }
    }
}
