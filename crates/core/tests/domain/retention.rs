//! What ended executions were told and said: kept as long and as much as an agent's plan and its project say, and erased by
//! events that name each payload.
use crate::office::{self, OWNER, Office};
use crate::sessions::{Desk, no};
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Agent};
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::budget::Whose;
use tenure_core::execution::{self, Payloads, Phase};
use tenure_core::facts::{Counter, Facts};
use tenure_core::id::ExecutionId;
use tenure_core::owed::Obligation;
use tenure_core::plan::Plan;
use tenure_core::project;
use tenure_core::retention::{AGE_MS_MIN, Retention, Why};
use tenure_core::session::{self, Refusal as No, Session};
use tenure_core::time::Due;

const HOUR: u64 = 3_600_000;

fn keep(office: &mut Office, age_ms: Option<u64>, bytes: Option<u64>) {
    let plan = Plan { retention: Retention { age_ms, bytes }, ..office::plan(0) };
    office.deploy_plan("clerk", &plan, &format!("{age_ms:?} {bytes:?}")).expect("another manifest");
}

fn begin(office: &mut Office) {
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
}

/// A turn that asks for calls on our own rows, and they are done.
fn turn(office: &mut Office, capabilities: &[&str]) {
    let call = office.call_model();
    office.must(call);
    let answer = office.answer(capabilities);
    office.must(answer);
    for _ in capabilities {
        let perform = office.perform();
        office.must(perform);
    }
}

fn finish(office: &mut Office) -> ExecutionId {
    turn(office, &[]);
    if !office.ended() {
        let release = office.release();
        office.must(release);
    }
    assert!(office.ended());
    office.execution
}

fn work(office: &mut Office) -> ExecutionId {
    begin(office);
    turn(office, &["agent.whoami"]);
    finish(office)
}

fn payloads_of(office: &Office, id: ExecutionId) -> Payloads {
    match office.world.fold::<execution::Execution>(id).expect("it is there").phase {
        Phase::Ended { payloads, .. } => payloads,
        Phase::Queued { .. } | Phase::Running(_) => panic!("it has ended"),
    }
}

fn kept_bytes(office: &mut Office, whose: Whose) -> i64 {
    office.world.memory.count(Counter::KeptBytes, &whose.key(), 0).expect("whole")
}

/// Does what is owed until the clock must go on; the events of it.
pub fn settle(office: &mut Office) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let now = office.world.now.at;
        let due = office.world.memory.owed.iter().find_map(|(stream, owed)| {
            let is_due = match owed.due {
                Due::Wall(due) => due <= now,
                Due::Run(_) => true,
            };
            let command = match (stream, &owed.obligation) {
                (Stream::Agent(id), Obligation::Retain { .. }) => Command::Agent(*id, agent::Command::Retain {}),
                (Stream::Project(id), Obligation::Retain { .. }) => Command::Project(*id, project::Command::Retain {}),
                (Stream::Execution(id), Obligation::Erase { .. }) => {
                    Command::Execution(*id, execution::Command::EraseRest {})
                }
                (Stream::Session(id), Obligation::Erase { .. }) => {
                    Command::Session(*id, session::Command::EraseRest {})
                }
                _ => return None,
            };
            is_due.then_some(command)
        });
        let Some(command) = due else { return events };
        events.extend(office.world.commit(Actor::Daemon, command).expect("what is owed is due"));
    }
}

fn reasons(events: &[Event]) -> Vec<Why> {
    let why = |event: &Event| match event {
        Event::Execution(execution::Event::Erased { why, .. }) | Event::Session(session::Event::Erased { why, .. }) => {
            why.clone()
        }
        _ => None,
    };
    events.iter().filter_map(why).collect()
}

/// Every kind of event that keeping and erasing leave.
pub fn every_kind(office: &mut Office) {
    keep(office, Some(HOUR), None);
    let retention = Retention { age_ms: Some(2 * HOUR), bytes: Some(1 << 20) };
    office.command_project(OWNER, project::Command::SetRetention { retention }).expect("two hours");
    erase_one_of_each(office);
    office.world.pass(HOUR);
    settle(office);
}

/// The first payload that a stream's records bind and that is there, with the place of its record.
pub fn first_bound(office: &Office, stream: Stream) -> Option<(Hash, u64)> {
    let events = office.world.memory.streams.get(&stream)?;
    let mut found = None;
    for (n, (_, event)) in (1..).zip(events) {
        event.binds(&mut |hash| {
            if found.is_none() && office.world.memory.payloads.contains_key(hash) {
                found = Some((*hash, n));
            }
        });
    }
    found
}

/// One payload of each kind of what has ended.
fn erase_one_of_each(office: &mut Office) {
    let reason = || "it is private".to_string();
    let streams: Vec<Stream> = office.world.memory.streams.keys().copied().collect();
    for stream in streams {
        let Some((payload, n)) = first_bound(office, stream) else { continue };
        let command = match stream {
            Stream::Execution(id) => match office.world.fold::<execution::Execution>(id).map(|fold| fold.phase.clone())
            {
                Some(Phase::Ended { payloads: Payloads::Present { .. }, .. }) => {
                    Command::Execution(id, execution::Command::ErasePayload { payload, n, reason: reason() })
                }
                _ => continue,
            },
            Stream::Session(id) => match office.world.fold::<Session>(id).and_then(|session| session.ended.clone()) {
                Some(ended) if ended.settled_at.is_some() && matches!(ended.payloads, Payloads::Present { .. }) => {
                    Command::Session(id, session::Command::ErasePayload { payload, n, reason: reason() })
                }
                _ => continue,
            },
            _ => continue,
        };
        office.world.commit(OWNER, command).expect("it is its own");
    }
}

/// What the records of an execution bind, and whether it is there.
fn payloads(office: &Office, id: ExecutionId) -> Vec<(Hash, bool)> {
    payloads_in(office, Stream::Execution(id))
}

fn payloads_in(office: &Office, stream: Stream) -> Vec<(Hash, bool)> {
    let mut found = Vec::new();
    for (_, event) in &office.world.memory.streams[&stream] {
        event.binds(&mut |hash| found.push((*hash, office.world.memory.payloads.contains_key(hash))));
    }
    found
}

#[test]
fn without_a_rule_all_is_kept_and_nothing_is_owed() {
    let mut office = Office::new(0);
    let id = work(&mut office);
    office.world.pass(100 * 365 * 24 * HOUR);
    assert_eq!(settle(&mut office), []);
    assert!(payloads(&office, id).iter().all(|(_, there)| *there));
    let Payloads::Present { bytes: Some(bytes) } = payloads_of(&office, id) else { panic!("it was counted") };
    assert_eq!(kept_bytes(&mut office, Whose::Project), i64::try_from(bytes).expect("few"));
}

#[test]
fn what_is_older_than_its_rule_is_erased_to_the_millisecond_and_its_records_say_so() {
    let mut office = Office::new(0);
    keep(&mut office, Some(HOUR), None);
    settle(&mut office);
    let old = work(&mut office);
    office.world.pass(HOUR / 2);
    let young = work(&mut office);
    office.world.pass(HOUR / 2 - 1);
    assert_eq!(reasons(&settle(&mut office)), [], "a millisecond before");
    office.world.pass(1);
    let events = settle(&mut office);
    assert_eq!(reasons(&events), [Why::Age]);
    let bound = payloads(&office, old);
    assert!(bound.len() >= 6 && bound.iter().all(|(_, there)| !there), "{bound:?}");
    assert!(bound.iter().all(|(hash, _)| office.world.memory.erased.contains(hash)), "each is said to be gone");
    assert!(payloads(&office, young).iter().all(|(_, there)| *there), "the control");
    assert!(matches!(payloads_of(&office, old), Payloads::Erased { .. }));
    office.world.pass(HOUR / 2);
    assert_eq!(
        reasons(&settle(&mut office)),
        [Why::Age],
        "the young one's time has come, and nothing was looked at between"
    );
    let whose = Whose::Agent(office.agent);
    assert_eq!((kept_bytes(&mut office, whose), kept_bytes(&mut office, Whose::Project)), (0, 0));
    let fold = office.world.fold::<Agent>(office.agent).expect("it is there");
    assert_eq!(fold.keeping.due, None, "nothing is kept, and nothing is waited for");
}

#[test]
fn beyond_its_size_the_oldest_go_and_only_as_many_as_must() {
    let mut office = Office::new(0);
    let first = work(&mut office);
    let one = u64::try_from(kept_bytes(&mut office, Whose::Project)).expect("some");
    keep(&mut office, None, Some(one * 2 + one / 2));
    let second = work(&mut office);
    assert_eq!(reasons(&settle(&mut office)), [], "two fit");
    let third = work(&mut office);
    office.world.pass(AGE_MS_MIN - 1);
    assert_eq!(reasons(&settle(&mut office)), [], "what has just ended is kept for a minute");
    office.world.pass(1);
    assert_eq!(reasons(&settle(&mut office)), [Why::Size]);
    assert!(matches!(payloads_of(&office, first), Payloads::Erased { .. }));
    for kept in [second, third] {
        assert!(matches!(payloads_of(&office, kept), Payloads::Present { .. }));
    }
}

#[test]
fn a_project_s_rule_holds_for_every_agent_beside_its_own() {
    let mut office = Office::new(0);
    let id = work(&mut office);
    let wrong = Retention { age_ms: Some(AGE_MS_MIN - 1), bytes: None };
    let refusal = office.command_project(OWNER, project::Command::SetRetention { retention: wrong });
    assert_eq!(refusal, Err(Refusal::Project(project::Refusal::RetentionWrong {})));
    let retention = Retention { age_ms: Some(HOUR), bytes: None };
    office.command_project(OWNER, project::Command::SetRetention { retention }).expect("an hour");
    settle(&mut office);
    assert!(matches!(payloads_of(&office, id), Payloads::Present { .. }));
    office.world.pass(HOUR);
    assert_eq!(reasons(&settle(&mut office)), [Why::Age]);
    office.command_project(OWNER, project::Command::SetRetention { retention: Retention::default() }).expect("off");
    let kept = work(&mut office);
    office.world.pass(10 * HOUR);
    assert_eq!(settle(&mut office), []);
    assert!(matches!(payloads_of(&office, kept), Payloads::Present { .. }));
}

#[test]
fn a_person_erases_one_that_has_ended_once_and_with_a_reason_and_never_one_that_runs() {
    let mut office = Office::new(0);
    let erase = |reason: &str| execution::Command::Erase { reason: reason.into() };
    let refused = |refusal| Err(Refusal::Execution(refusal));
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    assert_eq!(office.apply(erase("it is private")), refused(execution::Refusal::NotEnded {}));
    office.execution = work(&mut office);
    assert_eq!(office.apply(erase(" ")), refused(execution::Refusal::ReasonWrong {}));
    let events = office.apply(erase("it is private")).expect("it has ended");
    assert_eq!(reasons(&events), [Why::Asked { reason: "it is private".into() }]);
    assert_eq!(office.apply(erase("again")), refused(execution::Refusal::Erased {}));
}

#[test]
fn one_payload_goes_alone_once_and_never_of_what_runs_or_was_brought_by_another() {
    let mut office = Office::new(0);
    let erase = |(payload, n): (Hash, u64), reason: &str| execution::Command::ErasePayload {
        payload,
        n,
        reason: reason.into(),
    };
    let refused = |refusal| Err(Refusal::Execution(refusal));
    begin(&mut office);
    let running = office.payload_of_its_own();
    assert_eq!(office.apply(erase(running, "asked")), refused(execution::Refusal::NotEnded {}));
    turn(&mut office, &["agent.whoami"]);
    let id = finish(&mut office);
    let (payload, n) = office.payload_of_its_own();
    assert_eq!(office.apply(erase((payload, n), " ")), refused(execution::Refusal::ReasonWrong {}));
    assert_eq!(office.apply(erase((payload, n + 1), "asked")), refused(execution::Refusal::PayloadUnknown {}));
    let other = Hash::of(b"another's");
    assert_eq!(office.apply(erase((other, n), "asked")), refused(execution::Refusal::PayloadUnknown {}));
    let there = |office: &Office| payloads(office, id).iter().filter(|(_, there)| *there).count();
    let before = there(&office);
    let events = office.apply(erase((payload, n), "asked")).expect("it has ended");
    let gone = execution::Event::PayloadErased { payload, reason: "asked".into() };
    assert_eq!(events, [Event::Execution(gone)]);
    assert_eq!(there(&office), before - 1);
    assert_eq!(office.apply(erase((payload, n), "again")), refused(execution::Refusal::Erased {}));
    office.must(execution::Command::Erase { reason: "all of it".into() });
    assert_eq!(there(&office), 0);
    assert_eq!(kept_bytes(&mut office, Whose::Project), 0);
}

#[test]
fn a_long_execution_goes_page_by_page_and_is_counted_once() {
    let mut office = Office::new(0);
    let plan = office::plan(0);
    let limits = tenure_core::plan::Limits { max_turns: 60, tool_calls: 1_000, tokens: 1_000_000, ..plan.limits };
    office.deploy_plan("clerk", &Plan { limits, ..plan }, "long").expect("another manifest");
    begin(&mut office);
    for _ in 0..40 {
        turn(&mut office, &["agent.whoami"; 8]);
    }
    let id = finish(&mut office);
    office.must(execution::Command::Erase { reason: "it is private".into() });
    assert!(matches!(payloads_of(&office, id), Payloads::Erasing { .. }));
    assert_eq!(kept_bytes(&mut office, Whose::Project), 0, "the first page takes it off the sum");
    let pages = settle(&mut office);
    assert!(pages.len() > 2, "{} pages", pages.len());
    assert!(payloads(&office, id).iter().all(|(_, there)| !there));
    assert_eq!(kept_bytes(&mut office, Whose::Project), 0);
}

#[test]
fn a_stored_value_that_an_execution_read_stays_when_it_is_erased() {
    let mut office = Office::new(0);
    let write = office.write("a", "\"calm\"");
    let value = write.value.bound().hash;
    office.supervise(agent::Command::SetState(write)).expect("it fits");
    begin(&mut office);
    turn(&mut office, &["state.persistent.get"]);
    finish(&mut office);
    assert!(payloads(&office, office.execution).iter().any(|(hash, _)| *hash == value), "the control: it was read");
    office.must(execution::Command::Erase { reason: "it is private".into() });
    assert!(office.world.memory.payloads.contains_key(&value));
}

/// A session that called, and has ended but for what runs in its jail.
fn closed(office: Office) -> Desk {
    let mut desk = Desk::at(office);
    desk.rotate(0).expect("a key");
    desk.open().expect("its key lives");
    desk.invoke("agent.whoami").expect("it is allowed");
    desk.invoke("process.run").expect("it is allowed");
    desk.bind().expect("a slot is free");
    desk.close().expect("it is open");
    desk
}

#[test]
fn what_a_session_called_is_kept_from_the_end_of_its_last_call_and_goes_by_the_same_rules() {
    let mut office = Office::new(0);
    keep(&mut office, Some(HOUR), None);
    let mut desk = closed(office);
    assert_eq!(kept_bytes(&mut desk.office, Whose::Project), 0, "a call of it runs on");
    assert_eq!(desk.erase(), no(No::NotEnded {}));
    desk.office.world.pass(1_000);
    desk.release().expect("its jail is gone");
    let stream = Stream::Session(desk.session);
    let bound = payloads_in(&desk.office, stream);
    assert!(bound.len() >= 4 && bound.iter().all(|(_, there)| *there), "the control: {bound:?}");
    let sizes: usize = desk
        .office
        .world
        .memory
        .payloads
        .iter()
        .filter(|(hash, _)| bound.contains(&(**hash, true)))
        .map(|(_, payload)| payload.bytes().len())
        .sum();
    for whose in [Whose::Agent(desk.office.agent), Whose::Project] {
        assert_eq!(kept_bytes(&mut desk.office, whose), i64::try_from(sizes).unwrap());
    }
    let young = {
        desk.office.world.pass(HOUR / 2);
        desk.open_another().expect("its key lives");
        desk.invoke("agent.whoami").expect("it is allowed");
        desk.close().expect("it is open");
        Stream::Session(desk.session)
    };
    desk.office.world.pass(HOUR / 2 - 1_000 - 1);
    assert_eq!(reasons(&settle(&mut desk.office)), [], "a millisecond before");
    desk.office.world.pass(1_001);
    assert_eq!(reasons(&settle(&mut desk.office)), [Why::Age]);
    assert!(
        payloads_in(&desk.office, stream)
            .iter()
            .all(|(hash, there)| !there && desk.office.world.memory.erased.contains(hash))
    );
    assert!(payloads_in(&desk.office, young).iter().all(|(_, there)| *there), "the control");
    desk.office.world.pass(HOUR);
    assert_eq!(reasons(&settle(&mut desk.office)), [Why::Age]);
    assert_eq!(kept_bytes(&mut desk.office, Whose::Project), 0);
}

#[test]
fn beyond_its_size_sessions_and_executions_go_in_the_order_in_which_they_ended() {
    let mut desk = closed(Office::new(0));
    desk.release().expect("its jail is gone");
    let session = desk.session;
    desk.office.world.pass(1);
    let execution = work(&mut desk.office);
    let all = u64::try_from(kept_bytes(&mut desk.office, Whose::Project)).expect("some");
    keep(&mut desk.office, None, Some(all - 1));
    desk.office.world.pass(AGE_MS_MIN);
    assert_eq!(reasons(&settle(&mut desk.office)), [Why::Size]);
    let erased = desk.office.world.fold::<Session>(session).and_then(|fold| fold.ended.clone()).expect("it ended");
    assert!(matches!(erased.payloads, Payloads::Erased { .. }), "the first that ended went");
    assert!(matches!(payloads_of(&desk.office, execution), Payloads::Present { .. }));
}

#[test]
fn a_long_session_goes_page_by_page_and_a_value_that_it_read_stays() {
    let mut office = Office::new(0);
    let write = office.write("a", "\"calm\"");
    let value = write.value.bound().hash;
    office.supervise(agent::Command::SetState(write)).expect("it fits");
    let mut desk = Desk::at(office);
    desk.rotate(0).expect("a key");
    desk.open().expect("its key lives");
    desk.invoke("state.persistent.get").expect("it is allowed");
    for _ in 0..300 {
        desk.invoke("agent.whoami").expect("it is allowed");
    }
    desk.close().expect("it is open");
    let stream = Stream::Session(desk.session);
    assert!(payloads_in(&desk.office, stream).iter().any(|(hash, _)| *hash == value), "the control: it was read");
    desk.erase().expect("it has ended");
    assert_eq!(desk.erase(), no(No::Erased {}));
    assert_eq!(kept_bytes(&mut desk.office, Whose::Project), 0, "the first page takes it off the sum");
    let pages = settle(&mut desk.office);
    assert!(pages.len() > 2, "{} pages", pages.len());
    let left: Vec<Hash> =
        payloads_in(&desk.office, stream).iter().filter(|(_, there)| *there).map(|(hash, _)| *hash).collect();
    assert!(left.iter().all(|hash| *hash == value) && !left.is_empty(), "{left:?}");
}
