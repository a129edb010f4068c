//! Sessions and the keys that open them: the table of what each answers in each state, and what holds of every history.
use crate::office::{OWNER, Office};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Agent};
use tenure_core::aggregate::{Codes, Command, Event, FOLD_BYTES_MAX, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::id::{KeyId, SessionId};
use tenure_core::session::{self, CALLS_PER_MINUTE_MAX, Ending, IDLE_MS, Invoke, LIVE_MAX, Opener, Session};
use tenure_sim::store::World;

/// An office whose agent has a key and, once it is opened, a session.
pub struct Desk {
    pub office: Office,
    pub key: KeyId,
    pub session: SessionId,
    asked: u64,
}

pub type Done = Result<Vec<Event>, Refusal>;

impl Desk {
    pub fn new() -> Desk {
        let mut desk = Desk::at(Office::new(0));
        desk.rotate(0).expect("a first key");
        desk
    }

    /// Without a key.
    pub fn at(mut office: Office) -> Desk {
        let (session, key) = (session_id(&mut office.world), KeyId::mint(&mut office.world.mint()));
        Desk { office, key, session, asked: 0 }
    }

    pub fn opened() -> Desk {
        let mut desk = Desk::new();
        desk.open().expect("its key lives");
        desk
    }

    pub fn agent(&self) -> &Agent {
        self.office.world.fold::<Agent>(self.office.agent).expect("it is deployed")
    }

    pub fn fold(&self, session: SessionId) -> Option<&Session> {
        self.office.world.fold::<Session>(session)
    }

    pub fn command(&mut self, actor: Actor, command: session::Command) -> Done {
        self.office.world.commit(actor, Command::Session(self.session, command))
    }

    /// The newest key is the one that is used from now on.
    pub fn rotate(&mut self, overlap_ms: u64) -> Done {
        self.asked += 1;
        let hash = Hash::of(&self.asked.to_be_bytes());
        let done = self.office.supervise(agent::Command::RotateKey { hash, overlap_ms });
        if done.is_ok() {
            self.key = self.agent().keys.last().expect("it has one now").id;
        }
        done
    }

    pub fn open(&mut self) -> Done {
        let (agent, key) = (self.office.agent, self.key);
        self.command(Actor::Agent(agent), session::Command::Open { agent, key })
    }

    /// Opens another, which is the present one from now on.
    pub fn open_another(&mut self) -> Done {
        self.session = session_id(&mut self.office.world);
        self.open()
    }

    pub fn invoke(&mut self, capability: &str) -> Done {
        self.asked += 1;
        let idempotency = Hash::of(&self.asked.to_le_bytes());
        self.invoke_once(capability, idempotency)
    }

    pub fn invoke_once(&mut self, capability: &str, idempotency: Hash) -> Done {
        let proposal = self.office.proposal(capability);
        let invoke = Invoke { opener: Opener::Key(self.key), proposal, value: None, idempotency };
        self.command(Actor::Agent(self.office.agent), session::Command::Invoke(invoke))
    }

    pub fn end_key(&mut self) -> Done {
        self.office.world.commit(Actor::Daemon, Command::Agent(self.office.agent, agent::Command::EndKey {}))
    }

    pub fn expire(&mut self) -> Done {
        self.command(Actor::Daemon, session::Command::Expire {})
    }

    pub fn touch(&mut self) -> Done {
        let heard = self.office.world.now.run;
        self.command(Actor::Daemon, session::Command::Touch { heard })
    }

    pub fn close(&mut self) -> Done {
        self.command(Actor::Agent(self.office.agent), session::Command::Close {})
    }

    pub fn erase(&mut self) -> Done {
        self.erase_for("it is private")
    }

    pub fn erase_for(&mut self, reason: &str) -> Done {
        self.command(OWNER, session::Command::Erase { reason: reason.into() })
    }

    pub fn erase_rest(&mut self) -> Done {
        self.command(Actor::Daemon, session::Command::EraseRest {})
    }

    pub fn ending(&self, session: SessionId) -> Option<&Ending> {
        self.fold(session)?.ended.as_ref().map(|ended| &ended.ending)
    }
}

fn session_id(world: &mut World) -> SessionId {
    SessionId::mint(&mut world.mint())
}

pub fn shown(done: &Done) -> String {
    match done {
        Ok(events) => events.iter().map(Event::kind).collect::<Vec<_>>().join(" + "),
        Err(refusal) => format!("— {}", refusal.code()),
    }
}

pub fn no(refusal: session::Refusal) -> Done {
    Err(Refusal::Session(refusal))
}

#[test]
#[expect(clippy::type_complexity, reason = "two tables of words and what they do")]
fn the_session_answers_every_command_in_every_state_as_the_table_says() {
    let states: [(&str, fn() -> Desk); 6] = [
        ("none", Desk::new),
        ("open", Desk::opened),
        ("open, its agent paused", || {
            let mut desk = Desk::opened();
            desk.office.pause().expect("it is deployed");
            desk
        }),
        ("open, silent for long", || {
            let mut desk = Desk::opened();
            desk.office.world.pass(IDLE_MS);
            desk
        }),
        ("ended (killed)", || {
            let mut desk = Desk::opened();
            desk.office.kill().expect("it is deployed");
            desk
        }),
        ("ended, its agent revoked", || {
            let mut desk = Desk::opened();
            desk.office.revoke().expect("it is deployed");
            desk
        }),
    ];
    let commands: [(&str, fn(&mut Desk) -> Done); 18] = [
        ("erase", Desk::erase),
        ("erase, without a reason", |desk| desk.erase_for(" ")),
        ("erase the rest", Desk::erase_rest),
        ("open", Desk::open),
        ("open another", Desk::open_another),
        ("open by a dead key", |desk| {
            desk.key = KeyId::mint(&mut desk.office.world.mint());
            desk.open_another()
        }),
        ("invoke, own rows", |desk| desk.invoke("state.persistent.set")),
        ("invoke, in a sandbox", |desk| desk.invoke("filesystem.read")),
        ("invoke, not allowed", |desk| desk.invoke("email.send")),
        ("invoke, a misfit", |desk| desk.invoke("!agent.whoami")),
        ("invoke by a dead key", |desk| {
            desk.key = KeyId::mint(&mut desk.office.world.mint());
            desk.invoke("agent.whoami")
        }),
        ("touch", Desk::touch),
        ("close", Desk::close),
        ("close, by a person", |desk| desk.command(OWNER, session::Command::Close {})),
        ("expire", Desk::expire),
        ("rotate its key", |desk| desk.rotate(0)),
        ("rotate its key, with overlap", |desk| desk.rotate(1_000)),
        ("kill its agent", |desk| desk.office.kill()),
    ];
    let mut table = String::new();
    for (state, setup) in states {
        let _ = writeln!(table, "\n{state}");
        for (name, command) in commands {
            let mut desk = setup();
            let done = command(&mut desk);
            let _ = writeln!(table, "  {name:<28} {}", shown(&done));
        }
    }
    insta::assert_snapshot!("session", table);
}

#[test]
fn a_kill_ends_the_sessions_in_its_own_commit_and_the_agent_may_connect_again() {
    let mut desk = Desk::opened();
    desk.invoke("agent.whoami").expect("the control: it may call");
    desk.office.kill().expect("it is deployed");
    assert_eq!(desk.ending(desk.session), Some(&Ending::Killed));
    assert_eq!(desk.invoke("agent.whoami"), no(session::Refusal::Ended { ending: Ending::Killed }));
    desk.open_another().expect("it may connect again");
    desk.invoke("agent.whoami").expect("and call");
}

#[test]
fn a_revoked_agent_is_shut_out_for_good() {
    let mut desk = Desk::opened();
    desk.office.revoke().expect("it is deployed");
    assert_eq!(desk.ending(desk.session), Some(&Ending::AgentRevoked));
    assert_eq!((desk.agent().keys.len(), desk.agent().sessions.len()), (0, 0));
    let refused = Err(Refusal::Agent(agent::Refusal::AlreadyRevoked {}));
    assert_eq!(desk.open_another(), refused);
    assert_eq!(desk.rotate(0), refused, "and gets no other key");
}

#[test]
fn an_old_key_dies_at_once_with_its_sessions_or_when_its_overlap_is_over() {
    let mut desk = Desk::opened();
    let (first, by_first) = (desk.key, desk.session);
    desk.rotate(60_000).expect("it is deployed");
    let second = desk.key;
    desk.open_another().expect("the new key opens");
    desk.key = first;
    desk.open_another().expect("the control: so does the old one, meanwhile");
    assert_eq!(desk.end_key(), Err(Refusal::Agent(agent::Refusal::NoKeyDue {})));
    desk.office.world.pass(60_000);
    let dead = Err(Refusal::Agent(agent::Refusal::KeyDead {}));
    assert_eq!(desk.invoke("agent.whoami"), dead, "by the clock, whether or not the daemon came to it");
    desk.end_key().expect("it is due");
    assert_eq!(desk.ending(by_first), Some(&Ending::KeyRevoked));
    assert_eq!(desk.open_another(), dead);
    desk.key = second;
    desk.open_another().expect("the new key lives on");
    let by_second = desk.session;
    desk.rotate(0).expect("it is deployed");
    assert_eq!(desk.ending(by_second), Some(&Ending::KeyRevoked), "without an overlap at once");
}

#[test]
fn an_agent_reaches_no_session_of_another() {
    let mut desk = Desk::opened();
    let other = Actor::Agent(desk.office.world.agent_id());
    let proposal = desk.office.proposal("agent.whoami");
    let invoke = Invoke { opener: Opener::Key(desk.key), proposal, value: None, idempotency: Hash::of(b"x") };
    for command in [session::Command::Close {}, session::Command::Invoke(invoke)] {
        assert_eq!(desk.command(other, command), no(session::Refusal::Unknown {}));
    }
    desk.close().expect("the control: its own agent does");
}

#[test]
fn one_idempotency_key_is_one_call_over_whichever_session() {
    let mut desk = Desk::opened();
    let once = Hash::of(b"once");
    let done = desk.invoke_once("state.persistent.set", once).expect("it is allowed");
    let Some(Event::Session(session::Event::Invoked { call, .. })) = done.first() else { panic!("{done:?}") };
    let repeated = no(session::Refusal::Repeated { call: call.call });
    assert_eq!(desk.invoke_once("state.persistent.set", once), repeated);
    desk.open_another().expect("it may have more");
    assert_eq!(desk.invoke_once("state.persistent.set", once), repeated);
    desk.invoke_once("state.persistent.set", Hash::of(b"again")).expect("the control: another key is another call");
}

#[test]
fn more_calls_than_a_minute_takes_are_refused_until_the_next() {
    let mut desk = Desk::opened();
    for _ in 1..CALLS_PER_MINUTE_MAX {
        desk.invoke("agent.whoami").expect("within the minute's");
    }
    assert_eq!(desk.invoke("agent.whoami"), no(session::Refusal::TooManyCalls {}));
    assert_eq!(desk.open_another(), no(session::Refusal::TooManyCalls {}), "nor does another session help");
    desk.office.world.pass(60_000);
    desk.open_another().expect("a minute later");
    desk.invoke("agent.whoami").expect("and calls");
}

#[test]
fn one_session_too_many_ends_the_one_that_was_silent_for_longest() {
    let mut desk = Desk::opened();
    let mut sessions = vec![desk.session];
    for _ in 1..LIVE_MAX {
        desk.office.world.pass(1_000);
        desk.open_another().expect("it may have more");
        sessions.push(desk.session);
    }
    desk.office.world.pass(1_000);
    desk.session = sessions[0];
    desk.invoke("agent.whoami").expect("the first says something again");
    desk.open_another().expect("one makes room");
    assert_eq!(desk.ending(sessions[1]), Some(&Ending::Replaced));
    assert_eq!((desk.ending(sessions[0]), desk.agent().sessions.len()), (None, LIVE_MAX));
}

#[derive(Debug, Clone)]
enum Move {
    Open,
    Invoke(&'static str),
    Again(u8),
    Rotate(u64),
    EndKey,
    Pause,
    Resume,
    Kill,
    Revoke,
    Delete,
    Deploy,
    Touch,
    Expire,
    Close,
    Pass(u64),
    Switch(usize),
}

const CAPABILITIES: [&str; 6] =
    ["agent.whoami", "state.persistent.set", "state.persistent.get", "!process.run", "email.send", "!agent.whoami"];

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Open),
        8 => proptest::sample::select(&CAPABILITIES[..]).prop_map(Move::Invoke),
        6 => (0u8..4).prop_map(Move::Again),
        2 => prop_oneof![Just(0), 1u64..100_000].prop_map(Move::Rotate),
        2 => Just(Move::EndKey),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        1 => Just(Move::Kill),
        1 => prop_oneof![9 => Just(Move::Close), 1 => Just(Move::Revoke), 1 => Just(Move::Delete)],
        1 => Just(Move::Deploy),
        1 => Just(Move::Touch),
        2 => Just(Move::Expire),
        3 => (1u64..2 * IDLE_MS).prop_map(Move::Pass),
        3 => (0usize..32).prop_map(Move::Switch),
    ]
}

fn play(desk: &mut Desk, known: &mut Vec<SessionId>, step: &Move) {
    let done = match step {
        Move::Open => {
            let done = desk.open_another();
            known.push(desk.session);
            done
        }
        Move::Invoke(capability) => desk.invoke(capability),
        Move::Again(key) => desk.invoke_once("state.persistent.set", Hash::of(&[*key])),
        Move::Rotate(overlap_ms) => desk.rotate(*overlap_ms),
        Move::EndKey => desk.end_key(),
        Move::Pause => desk.office.pause(),
        Move::Resume => desk.office.supervise(agent::Command::Resume { note: None }),
        Move::Kill => desk.office.kill(),
        Move::Revoke => desk.office.revoke(),
        Move::Delete => desk.office.delete(),
        Move::Deploy => desk.office.deploy("clerk", 0, "another"),
        Move::Touch => desk.touch(),
        Move::Expire => desk.expire(),
        Move::Close => desk.close(),
        Move::Pass(ms) => {
            desk.office.world.pass(*ms);
            return;
        }
        Move::Switch(place) => {
            desk.session = known.get(place % known.len().max(1)).copied().unwrap_or(desk.session);
            return;
        }
    };
    if matches!(step, Move::Kill) && done.is_ok() {
        assert!(desk.agent().sessions.is_empty(), "a session outlived a kill");
    }
    // A refusal is an answer too: what it may be is the table's.
    drop(done);
}

fn calls_are_ended_once(desk: &Desk) {
    let (mut begun, mut ended, mut keys) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for events in desk.office.world.memory.streams.values() {
        for (_, event) in events {
            let Event::Session(event) = event else { continue };
            match event {
                session::Event::Invoked { idempotency, call, .. } => {
                    assert!(begun.insert(call.call), "a call was asked for twice");
                    assert!(keys.insert(*idempotency), "an idempotency key made two calls");
                }
                session::Event::CallBlocked { call, .. } => *ended.entry(*call).or_insert(0) += 1,
                session::Event::CallEnded(end) => *ended.entry(end.call).or_insert(0) += 1,
                _ => {}
            }
        }
    }
    assert!(ended.values().all(|ends| *ends == 1), "a call ended twice");
    assert_eq!(begun, ended.into_keys().collect(), "a call has no end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_call_ends_once_no_key_makes_two_and_replay_is_the_live_state(
        steps in proptest::collection::vec(moves(), 1..80)
    ) {
        let (mut desk, mut known) = (Desk::new(), Vec::new());
        for step in &steps {
            play(&mut desk, &mut known, step);
        }
        calls_are_ended_once(&desk);
        let world = &desk.office.world;
        prop_assert_eq!(&world.replayed(), &world.memory.folds);
        let live: BTreeSet<SessionId> = desk.agent().sessions.iter().map(|live| live.id).collect();
        prop_assert!(live.len() <= LIVE_MAX && desk.agent().keys.len() <= 2);
        for id in known {
            let Some(session) = desk.fold(id) else { continue };
            prop_assert_eq!(session.ended.is_none(), live.contains(&id), "the agent knows which live");
            prop_assert!(session.calls.is_empty());
            let owed = world.owed(Stream::Session(id));
            prop_assert_eq!(owed.len(), usize::from(session.ended.is_none()), "who lives owes its end");
            let bytes = serde_json::to_vec(session).expect("a fold is JSON");
            prop_assert!(bytes.len() <= FOLD_BYTES_MAX);
        }
    }
}

#[test]
fn refusals_have_codes_of_their_own() {
    assert_eq!(session::Refusal::CallsInFlight {}.code(), "session.calls_in_flight");
    assert_eq!(session::Refusal::Paused { until: None }.code(), "session.paused");
}
