//! What agents plan for themselves and tell their supervisor: bounded, listed, each time over with once, and at rest while the
//! agent is paused.
use crate::office::{OWNER, Office};
use crate::talk::Talk;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tenure_core::actor::Actor;
use tenure_core::agent::alert::{OPEN_MAX, PER_MINUTE_MAX};
use tenure_core::agent::{self, Agent, DELAY_SECONDS, Event as Happened, PLANNED_MAX, Refusal, Waking};
use tenure_core::aggregate::{Event, FOLD_BYTES_MAX, Stream};
use tenure_core::execution;
use tenure_core::facts::Counter;
use tenure_core::id::{AgentId, AlertId, ExecutionId};
use tenure_core::item::ItemKind;
use tenure_core::owed::Obligation;
use tenure_core::time::{Due, Time};

/// An agent at work that may plan and tell.
struct Desk {
    talk: Talk,
    agent: AgentId,
    execution: ExecutionId,
}

impl Desk {
    fn new() -> Desk {
        let mut talk = Talk::new();
        talk.office.lapse();
        talk.office.connect(64);
        let agent = talk.one;
        let execution = talk.begin(agent);
        Desk { talk, agent, execution }
    }

    fn done(&mut self, name: &str, arguments: &Value) -> Value {
        self.talk.done(self.execution, name, arguments)
    }

    fn fails(&mut self, name: &str, arguments: &Value) -> String {
        self.talk.fails(self.execution, name, arguments)
    }

    fn tell(&mut self, actor: Actor, command: agent::Command) -> Result<Vec<Event>, tenure_core::aggregate::Refusal> {
        self.talk.tell(actor, self.agent, command)
    }

    fn state(&self) -> &Agent {
        self.talk.office.world.fold::<Agent>(self.agent).expect("it is deployed")
    }

    /// When its own next time is owed.
    fn owed(&self) -> Option<Time> {
        let owed = self.talk.office.world.owed(Stream::Agent(self.agent));
        owed.iter().find_map(|owed| match (&owed.obligation, owed.due) {
            (Obligation::Wake { waking: Waking::Planned { due } }, Due::Wall(at)) => {
                assert_eq!(*due, at);
                Some(at)
            }
            _ => None,
        })
    }

    fn wake(&mut self, due: Time) -> Result<Vec<Event>, tenure_core::aggregate::Refusal> {
        let input = self.talk.office.world.payload("null");
        self.tell(Actor::Daemon, agent::Command::Wake { waking: Waking::Planned { due }, input })
    }

    /// Time goes on to the next of its own times, and it is woken.
    fn come(&mut self) -> Vec<Event> {
        let due = self.owed().expect("one is owed");
        let now = self.talk.office.world.now.at;
        self.talk.office.world.pass(due.since_ms(now));
        self.wake(due).expect("it is due")
    }

    fn input_of(&self, events: &[Event]) -> Value {
        let bound = events.iter().find_map(|event| match event {
            Event::Execution(execution::Event::Started { input, .. }) => Some(input.hash),
            _ => None,
        });
        let payload = &self.talk.office.world.memory.payloads[&bound.expect("it started one")];
        serde_json::from_slice(payload.bytes()).expect("JSON")
    }

    /// Ends what its own times started.
    fn end_woken(&mut self) {
        let woken: Vec<ExecutionId> = self.state().planned.iter().filter_map(|planned| planned.execution).collect();
        woken.into_iter().for_each(|execution| self.talk.end(execution));
    }

    fn count(&self, counter: Counter, key: &str) -> i64 {
        self.talk.office.world.memory.counters.get(&(counter, key.to_string(), 0)).copied().unwrap_or(0)
    }
}

fn started(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Execution(execution::Event::Started { .. }))).count()
}

fn skipped(events: &[Event]) -> Vec<&'static str> {
    let why = events.iter().filter_map(|event| match event {
        Event::Agent(Happened::ScheduleSkipped { why, .. }) => Some(why.as_str()),
        _ => None,
    });
    why.collect()
}

#[test]
fn a_delay_wakes_its_agent_once_with_what_it_was_to_be_given() {
    let mut desk = Desk::new();
    let made = desk.done("scheduler.delay", &json!({"seconds": 60, "input": {"look at": "the build"}}));
    assert_eq!((made["name"].as_str(), made["replaced"].as_bool()), (Some("delay-1"), Some(false)));
    let due = desk.owed().expect("it is owed");
    let early = desk.wake(due);
    assert_eq!(early, Err(tenure_core::aggregate::Refusal::Agent(Refusal::WakeNotDue {})), "the control: too early");
    let events = desk.come();
    assert_eq!((started(&events), desk.input_of(&events)), (1, json!({"look at": "the build"})));
    assert!(desk.state().planned.is_empty() && desk.owed().is_none());
    let again = desk.wake(due);
    assert_eq!(again, Err(tenure_core::aggregate::Refusal::Agent(Refusal::WakeStale {})));
    assert!(desk.talk.office.world.memory.items.is_empty(), "its row is gone with it");
}

#[test]
fn an_expression_wakes_it_again_and_again_and_skips_while_its_last_run_is_not_over() {
    let mut desk = Desk::new();
    desk.done("scheduler.cron_create", &json!({"name": "tick", "cron": "*/5 * * * *", "input": "tick"}));
    let listed = desk.done("scheduler.cron_list", &json!({}));
    assert_eq!(listed["schedules"][0]["cron"], "*/5 * * * *");
    assert_eq!(listed["schedules"][0]["input"], "tick");
    assert_eq!(started(&desk.come()), 1);
    let second = desk.come();
    assert_eq!((started(&second), skipped(&second)), (0, vec!["running"]));
    desk.end_woken();
    assert_eq!(started(&desk.come()), 1);
    // The daemon was down for an hour: the last of the times stands for all.
    desk.end_woken();
    desk.talk.office.world.pass(3_600_000);
    let due = desk.owed().expect("it is owed");
    let events = desk.wake(due).expect("it is overdue");
    assert_eq!(started(&events), 1);
    let next = desk.owed().expect("and on it goes");
    assert!(next > desk.talk.office.world.now.at, "none of those that were missed comes after it");
}

#[test]
fn what_it_plans_is_bounded_named_and_can_be_read_and_ended_by_itself_and_by_people() {
    let mut desk = Desk::new();
    for number in 0..PLANNED_MAX {
        desk.done("scheduler.delay", &json!({"seconds": 3600, "name": format!("n{number}")}));
    }
    assert_eq!(desk.fails("scheduler.delay", &json!({"seconds": 60})), "too_many_schedules");
    let replaced =
        desk.done("scheduler.cron_create", &json!({"name": "n3", "cron": "@daily", "timezone": "Asia/Tokyo"}));
    assert_eq!(replaced["replaced"], true, "one of the same name takes its place");
    assert_eq!(desk.done("scheduler.cron_delete", &json!({"name": "n4"}))["deleted"], true);
    assert_eq!(desk.done("scheduler.cron_delete", &json!({"name": "n4"}))["deleted"], false);
    desk.tell(OWNER, agent::Command::DeleteSchedule { name: "n5".into() }).expect("it is planned");
    let gone = desk.tell(OWNER, agent::Command::DeleteSchedule { name: "n5".into() });
    assert_eq!(gone, Err(tenure_core::aggregate::Refusal::Agent(Refusal::ScheduleUnknown {})));
    assert_eq!(desk.state().planned.len(), PLANNED_MAX - 2);
    let fold = serde_json::to_string(desk.state()).expect("JSON");
    assert!(fold.len() < FOLD_BYTES_MAX, "a fold of {} bytes", fold.len());
    desk.tell(OWNER, agent::Command::Delete { home_grace_ms: 0 }).expect("it is deployed");
    assert_eq!(desk.owed(), None);
    let execution = desk.execution;
    desk.talk.end(execution);
    assert!(desk.talk.office.world.memory.items.is_empty(), "a deleted one plans nothing");
}

#[test]
fn a_plan_that_none_may_be_is_refused_with_what_is_wrong() {
    let mut desk = Desk::new();
    for (arguments, code) in [
        (json!({"name": "a", "cron": "* * * *"}), "invalid_schedule"),
        (json!({"name": "a", "cron": "61 * * * *"}), "invalid_schedule"),
        (json!({"name": "a", "cron": "0 0 30 2 *"}), "invalid_schedule"),
        (json!({"name": "a", "cron": "@daily", "timezone": "Mars/Olympus"}), "invalid_schedule"),
        (json!({"name": "A b", "cron": "@daily"}), "invalid_arguments"),
        (json!({"name": "", "cron": "@daily"}), "invalid_arguments"),
        (json!({"name": "a", "cron": "@daily", "input": "x".repeat(20_000)}), "too_large"),
    ] {
        assert_eq!(desk.fails("scheduler.cron_create", &arguments), code, "{arguments}");
    }
    for seconds in [json!(0), json!(4), json!(DELAY_SECONDS.end() + 1), json!(6.5), json!(-1), json!("60")] {
        assert_eq!(desk.fails("scheduler.delay", &json!({"seconds": seconds})), "invalid_arguments", "{seconds}");
    }
    assert!(desk.state().planned.is_empty());
}

#[test]
fn while_it_is_paused_nothing_of_it_comes_then_an_expression_goes_on_and_a_delay_comes_at_once() {
    let mut desk = Desk::new();
    desk.done("scheduler.cron_create", &json!({"name": "tick", "cron": "*/5 * * * *"}));
    desk.done("scheduler.delay", &json!({"seconds": 600, "name": "once"}));
    desk.tell(OWNER, agent::Command::Pause { note: None, until: None }).expect("it is deployed");
    assert_eq!(desk.owed(), None);
    desk.talk.office.world.pass(3_600_000);
    let events = desk.tell(OWNER, agent::Command::Resume { note: None }).expect("it is paused");
    assert_eq!(skipped(&events), ["paused"]);
    let now = desk.talk.office.world.now.at;
    let due = desk.owed().expect("the delay");
    assert!(due < now);
    assert_eq!(started(&desk.wake(due).expect("it is due")), 1);
    assert!(desk.owed().is_some_and(|next| next > now), "the expression goes on from its next time");
    desk.tell(OWNER, agent::Command::Revoke { note: None }).expect("it is deployed");
    assert_eq!(desk.owed(), None, "nothing of a revoked one comes");
}

#[test]
fn an_alert_is_open_until_somebody_has_seen_to_it_and_few_are() {
    let mut desk = Desk::new();
    let sent = desk.done("alerts.send", &json!({"severity": "critical", "message": "the disk is nearly full"}));
    let id: AlertId = sent["id"].as_str().expect("an id").parse().expect("an id of an alert");
    let listed = desk.done("alerts.list", &json!({}));
    assert_eq!(listed["alerts"][0]["message"], "the disk is nearly full");
    assert_eq!((desk.count(Counter::AlertsOpen, "critical"), desk.count(Counter::AlertsOpen, "info")), (1, 0));
    let other = desk.talk.other;
    let stranger = desk.talk.begin(other);
    assert_eq!(desk.talk.fails(stranger, "alerts.acknowledge", &json!({"id": id.to_string()})), "not_found");
    let acknowledge = agent::Command::AcknowledgeAlert { alert: id, note: Some("seen".into()) };
    desk.tell(OWNER, acknowledge.clone()).expect("it is open");
    let twice = desk.tell(OWNER, acknowledge);
    assert_eq!(twice, Err(tenure_core::aggregate::Refusal::Agent(Refusal::AlertAcknowledged {})));
    let item = &desk.talk.office.world.memory.items[&(ItemKind::Alert, desk.agent, id.to_string())];
    assert_eq!(item.detail.as_deref(), Some(format!("by {OWNER}: seen").as_str()));
    assert_eq!(desk.done("alerts.acknowledge", &json!({"id": id.to_string()}))["changed"], false);
    assert_eq!(desk.count(Counter::AlertsOpen, "critical"), 0);
    for place in 1..OPEN_MAX + 1 {
        if place % PER_MINUTE_MAX == 0 {
            desk.talk.office.world.pass(60_000);
        }
        desk.done("alerts.send", &json!({"severity": "info", "message": "x"}));
    }
    desk.talk.office.world.pass(60_000);
    assert_eq!(desk.fails("alerts.send", &json!({"severity": "info", "message": "x"})), "too_many_alerts");
}

#[test]
fn no_more_alerts_come_in_a_minute_than_its_limit_and_what_none_may_be_is_refused() {
    let mut desk = Desk::new();
    for _ in 0..PER_MINUTE_MAX {
        desk.done("alerts.send", &json!({"severity": "info", "message": "again"}));
    }
    assert_eq!(desk.fails("alerts.send", &json!({"severity": "info", "message": "again"})), "rate_limited");
    desk.talk.office.world.pass(60_000);
    desk.done("alerts.send", &json!({"severity": "info", "message": "again"}));
    assert_eq!(desk.fails("alerts.send", &json!({"severity": "loud", "message": "x"})), "invalid_arguments");
    assert_eq!(desk.fails("alerts.send", &json!({"severity": "info", "message": ""})), "invalid_arguments");
    let long = json!({"severity": "info", "message": "x".repeat(5_000)});
    assert_eq!(desk.fails("alerts.send", &long), "invalid_arguments");
    assert_eq!(desk.fails("alerts.acknowledge", &json!({"id": "alr_nonsense"})), "not_found");
}

#[test]
fn the_house_tells_its_time_its_health_and_the_agent_s_own_figures() {
    let mut desk = Desk::new();
    desk.done("scheduler.delay", &json!({"seconds": 60}));
    desk.done("alerts.send", &json!({"severity": "info", "message": "x"}));
    let at = desk.talk.office.world.now.at;
    assert_eq!(desk.done("system.time", &json!({}))["unix_ms"], json!(at.millis()));
    assert_eq!(desk.done("system.health", &json!({}))["worker"], "connected");
    let metrics = desk.done("system.metrics", &json!({}));
    assert_eq!((&metrics["executions_open"], &metrics["schedules"]), (&json!(1), &json!(1)), "{metrics}");
    assert_eq!(metrics["alerts_open"], 1, "{metrics}");
    assert_eq!(desk.done("system.info", &json!({}))["product"], "tenure");
}

#[test]
fn a_message_comes_once_under_one_key_and_under_another_again() {
    let mut desk = Desk::new();
    let mut send = |key: &[u8]| {
        let body = desk.talk.office.world.payload("\"hello\"");
        let idempotency = Some(tenure_core::bound::Hash::of(key));
        let priority = tenure_core::comms::Priority::Normal;
        let post = agent::Post { body, priority, correlation: None, deadline: None, idempotency };
        desk.tell(OWNER, agent::Command::Post(post)).map(|events| events.len())
    };
    assert_eq!(send(b"a"), Ok(1));
    let again = send(b"a");
    assert!(matches!(again, Err(tenure_core::aggregate::Refusal::Agent(Refusal::MessageRepeated { .. }))), "{again:?}");
    assert_eq!(send(b"b"), Ok(1));
    assert_eq!(desk.state().mailbox.waiting, 2);
}

#[test]
fn of_a_deleted_agent_no_value_and_no_older_version_is_kept() {
    let mut desk = Desk::new();
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "3")] {
        let write = desk.talk.office.write(key, value);
        desk.tell(OWNER, agent::Command::SetState(write)).expect("it fits");
    }
    let other = desk.talk.office.write("kept", "4");
    let neighbour = desk.talk.other;
    desk.talk.tell(OWNER, neighbour, agent::Command::SetState(other)).expect("it fits");
    desk.tell(OWNER, agent::Command::Delete { home_grace_ms: 0 }).expect("it is deployed");
    assert_eq!(desk.talk.office.world.memory.entries.len(), 3, "while an execution ends they are there");
    let execution = desk.execution;
    desk.talk.end(execution);
    for _ in 0..10 {
        let owed = desk.talk.office.world.owed(Stream::Agent(desk.agent));
        if !owed.iter().any(|owed| owed.obligation == Obligation::SweepState) {
            break;
        }
        desk.tell(Actor::Daemon, agent::Command::SweepState {}).expect("it is owed");
    }
    let left: Vec<&String> = desk.talk.office.world.memory.entries.keys().map(|(_, key)| key).collect();
    assert_eq!(left, ["kept"], "the control: another agent's stay");
    assert_eq!(desk.talk.office.world.memory.erased.len(), 3);
}

#[test]
fn a_briefing_tells_of_shared_values_that_others_changed_and_that_the_agent_may_read() {
    let mut desk = Desk::new();
    let share = |desk: &mut Desk, key: &str, version: u64| {
        let write = tenure_core::state::Write { expected: Some(version), ..desk.talk.office.write(key, "1") };
        desk.talk.office.command_project(OWNER, tenure_core::project::Command::SetShared(write)).expect("it fits");
    };
    let nobody = tenure_core::state::Access::Agents(BTreeSet::new());
    let acl = tenure_core::state::Acl { prefix: "secret".into(), read: nobody.clone(), write: nobody };
    desk.talk.office.command_project(OWNER, tenure_core::project::Command::SetAcl(acl)).expect("a rule");
    share(&mut desk, "rate", 0);
    share(&mut desk, "rate", 1);
    share(&mut desk, "secret/key", 0);
    for number in 0..25 {
        share(&mut desk, &format!("n{number:02}"), 0);
    }
    let told = desk.done("agent.briefing", &json!({}))["shared_state"].clone();
    assert_eq!((told["items"].as_array().expect("a list").len(), &told["left_out"]), (20, &json!(6)), "{told}");
    let again = desk.done("agent.briefing", &json!({}))["shared_state"].clone();
    assert_eq!(again, told, "the same ledger gives the same words");
    let text = told.to_string();
    assert!(!text.contains("secret"), "what a rule keeps from it is not named: {text}");
    assert_eq!(told["items"][19]["what"], format!("n24 was set, version 1, by {OWNER}"));
    let mut desk = Desk::new();
    share(&mut desk, "rate", 0);
    share(&mut desk, "rate", 1);
    let told = desk.done("agent.briefing", &json!({}))["shared_state"].clone();
    let said = format!("rate was set, version 2, by {OWNER}, 1 more changes before it");
    assert_eq!((told["items"][0]["what"].as_str(), &told["left_out"]), (Some(said.as_str()), &json!(0)));
}

/// What happens to an agent that plans; numbers choose names and times.
#[derive(Debug, Clone)]
enum Move {
    Cron(u8),
    Delay(u8, u64),
    Delete(u8),
    Come,
    Pass(u64),
    Pause,
    Resume,
    EndWoken,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => (0u8..4).prop_map(Move::Cron),
        2 => (0u8..4, 5u64..900).prop_map(|(name, seconds)| Move::Delay(name, seconds)),
        1 => (0u8..4).prop_map(Move::Delete),
        6 => Just(Move::Come),
        2 => (1u64..2_000_000).prop_map(Move::Pass),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        3 => Just(Move::EndWoken),
    ]
}

impl Desk {
    fn play(&mut self, step: &Move) {
        let paused = matches!(self.state().state, agent::State::Paused { .. });
        match step {
            Move::Cron(name) => {
                self.done("scheduler.cron_create", &json!({"name": format!("n{name}"), "cron": "*/7 * * * *"}));
            }
            Move::Delay(name, seconds) => {
                self.done("scheduler.delay", &json!({"name": format!("n{name}"), "seconds": seconds}));
            }
            Move::Delete(name) => {
                self.done("scheduler.cron_delete", &json!({"name": format!("n{name}")}));
            }
            Move::Come if self.owed().is_some() => {
                self.come();
            }
            Move::Pass(milliseconds) => self.talk.office.world.pass(*milliseconds),
            Move::Pause if !paused => {
                self.tell(OWNER, agent::Command::Pause { note: None, until: None }).expect("it is deployed");
            }
            Move::Resume if paused => {
                self.tell(OWNER, agent::Command::Resume { note: None }).expect("it is paused");
            }
            Move::EndWoken => self.end_woken(),
            Move::Come | Move::Pause | Move::Resume => {}
        }
    }

    /// No time of one plan comes twice, and what is listed is what the fold waits for.
    fn check(&self) {
        let events = self.talk.office.world.memory.streams.get(&Stream::Agent(self.agent)).into_iter().flatten();
        let mut over: BTreeSet<(String, Time)> = BTreeSet::new();
        for (_, event) in events {
            match event {
                Event::Agent(Happened::ScheduleCreated { name, .. }) => over.retain(|(known, _)| known != name),
                Event::Agent(
                    Happened::ScheduleWoken { name, scheduled, .. } | Happened::ScheduleSkipped { name, scheduled, .. },
                ) => assert!(over.insert((name.clone(), *scheduled)), "{name} came twice at {scheduled}"),
                _ => {}
            }
        }
        let rows = self.talk.office.world.memory.items.values();
        let rows: BTreeSet<_> = rows.map(|item| (item.key.clone(), item.due)).collect();
        let folds = self.state().planned.iter();
        let folds: BTreeSet<_> = folds.map(|planned| (planned.name.clone(), Some(planned.next))).collect();
        assert_eq!(rows, folds, "what is listed differs from what is waited for");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_time_of_a_plan_comes_twice_whatever_is_planned_paused_and_missed(
        steps in proptest::collection::vec(moves(), 1..60),
    ) {
        let mut desk = Desk::new();
        for step in &steps {
            desk.play(step);
            desk.check();
        }
        let folds = |folds: &std::collections::BTreeMap<Stream, tenure_core::aggregate::Fold>| {
            serde_json::to_string(&folds.values().collect::<Vec<_>>()).expect("JSON")
        };
        prop_assert_eq!(folds(&desk.talk.office.world.replayed()), folds(&desk.talk.office.world.memory.folds));
    }
}

/// Each kind of event of plans, alerts and children, in an office.
pub fn every_kind(office: Office) -> Office {
    let (agent, execution) = (office.agent, office.execution);
    let mut talk = Talk::named(office, ["lead", "hand"]);
    let (one, other) = (talk.one, talk.other);
    let lead = talk.begin(one);
    let child = talk.done(lead, "agent.execute", &json!({"agent": other.to_string(), "input": "go", "report": true}));
    talk.end(child["execution"].as_str().expect("an id").parse().expect("an id"));
    talk.done(lead, "scheduler.cron_create", &json!({"name": "tick", "cron": "@hourly", "input": 1}));
    let sent = talk.done(lead, "alerts.send", &json!({"severity": "warning", "message": "look"}));
    talk.done(lead, "alerts.acknowledge", &json!({"id": sent["id"], "note": "over"}));
    for _ in 0..2 {
        let planned = talk.office.world.fold::<Agent>(one).expect("it is deployed").planned[0].clone();
        let now = talk.office.world.now.at;
        talk.office.world.pass(planned.next.since_ms(now));
        let input = talk.office.world.payload("null");
        let wake = agent::Command::Wake { waking: Waking::Planned { due: planned.next }, input };
        talk.tell(Actor::Daemon, one, wake).expect("it is due");
    }
    talk.done(lead, "scheduler.cron_delete", &json!({"name": "tick"}));
    talk.end(lead);
    talk.tell(OWNER, one, agent::Command::Delete { home_grace_ms: 0 }).expect("it is deployed");
    talk.tell(OWNER, other, agent::Command::Delete { home_grace_ms: 0 }).expect("it is deployed");
    (talk.office.agent, talk.office.execution) = (agent, execution);
    talk.office
}
