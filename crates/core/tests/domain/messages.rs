//! Messages between agents: sent and queued in one commit, taken in order, answered by whom they were for alone, and held to
//! limits that no two agents can talk past. What waits is never lost, doubled or out of order, whatever is done.
use crate::office::{OWNER, Office};
use crate::talk::Talk;
use crate::transitions::{Command1, Setup, table_of};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Event as Happened, Post, Waking};
use tenure_core::aggregate::{Command, Event, Fold, Refusal, Stream};
use tenure_core::call::{Holder, Outcome};
use tenure_core::comms::{Cause, Priority, State, WAITING_MAX};
use tenure_core::execution;
use tenure_core::id::{AgentId, ExecutionId, MessageId};
use tenure_core::owed::Obligation;

fn said(result: &Value) -> Vec<&str> {
    result["messages"].as_array().expect("messages").iter().filter_map(|message| message["message"].as_str()).collect()
}

fn id_of(result: &Value) -> MessageId {
    result["id"].as_str().expect("an id").parse().expect("an id of a message")
}

#[test]
fn a_message_is_on_both_streams_in_one_commit_and_is_taken_once_the_urgent_ones_first_then_the_oldest() {
    let mut talk = Talk::new();
    let (one, other) = (talk.one, talk.other);
    let sender = talk.begin(one);
    let (_, _, events) = talk.call(sender, "comms.send", &json!({"to": "Bookkeeper", "message": "first"}));
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["call.called", "message.sent", "message.queued", "call.ended"]);
    for (text, priority) in [("idle", "low"), ("second", "normal"), ("fire", "high")] {
        talk.done(sender, "comms.send", &json!({"to": other.to_string(), "message": text, "priority": priority}));
    }
    assert_eq!(talk.waiting(other), 4);
    let receiver = talk.begin(other);
    let some = talk.done(receiver, "comms.receive", &json!({"limit": 3}));
    assert_eq!((said(&some), &some["waiting"]), (vec!["fire", "first", "second"], &json!(1)));
    assert_eq!(some["messages"][0]["from"], "front");
    let rest = talk.done(receiver, "comms.receive", &json!({}));
    assert_eq!((said(&rest), talk.waiting(other)), (vec!["idle"], 0));
    let none = talk.done(receiver, "comms.receive", &json!({}));
    assert!(said(&none).is_empty(), "what was taken is not there a second time");
}

#[test]
fn what_a_message_says_comes_out_as_it_went_in_to_the_last_digit() {
    let mut talk = Talk::new();
    let (one, other) = (talk.one, talk.other);
    let sender = talk.begin(one);
    let message = json!({"total": 9_007_199_254_740_993_u64, "lines": ["ä", null, 0.1]});
    talk.done(sender, "comms.send", &json!({"to": "bookkeeper", "message": message}));
    let receiver = talk.begin(other);
    let taken = talk.done(receiver, "comms.receive", &json!({}));
    assert_eq!(taken["messages"][0]["message"], message);
    assert_eq!(
        talk.fails(sender, "comms.send", &json!({"to": "bookkeeper", "message": "x".repeat(300_000)})),
        "too_large"
    );
}

#[test]
fn only_whoever_received_a_message_answers_it_once_and_in_time() {
    let mut talk = Talk::new();
    let (one, other) = (talk.one, talk.other);
    let asker = talk.begin(one);
    let ask = json!({"to": "bookkeeper", "message": "how much?", "deadline_seconds": 60, "correlation": "order-7"});
    let asked = id_of(&talk.done(asker, "comms.send", &ask));
    let late = id_of(&talk.done(asker, "comms.send", &ask));
    let answer = json!({"id": asked, "message": "12"});
    assert_eq!(talk.fails(asker, "comms.reply", &answer), "not_found", "the asker was not asked");
    let receiver = talk.begin(other);
    assert_eq!(talk.fails(receiver, "comms.reply", &answer), "not_found", "it is not taken yet");
    talk.done(receiver, "comms.receive", &json!({}));
    let reply = id_of(&talk.done(receiver, "comms.reply", &answer));
    let row = talk.row(one, reply);
    assert_eq!((row.reply_to, row.correlation.as_deref(), row.hop), (Some(asked), Some("order-7"), 2));
    assert_eq!(talk.row(other, asked).answer, Some(reply));
    assert_eq!(talk.fails(receiver, "comms.reply", &answer), "already_answered");
    talk.office.world.pass(60_001);
    assert_eq!(talk.fails(receiver, "comms.reply", &json!({"id": late, "message": "12"})), "deadline_passed");
    let expire = talk.tell(Actor::Daemon, other, agent::Command::ExpireMessages {}).expect("a deadline is over");
    assert!(
        matches!(&expire[..], [
        Event::Agent(Happened::MessagesExpired { dead, unanswered, next: None }),
        Event::Agent(Happened::MessageUnanswered { message, cause: Cause::Deadline, .. }),
    ] if dead.is_empty() && *unanswered == [late] && *message == late),
        "{expire:?}"
    );
    assert_eq!(talk.owes(other, |owed| *owed == Obligation::ExpireMessages), 0);
}

#[test]
fn a_person_is_answered_where_the_question_was_asked() {
    let mut talk = Talk::new();
    let other = talk.other;
    let asked = talk.post(other, "how much?", Priority::High).expect("it is there");
    let receiver = talk.begin(other);
    talk.done(receiver, "comms.receive", &json!({}));
    let reply = id_of(&talk.done(receiver, "comms.reply", &json!({"id": asked, "message": {"sum": 12}})));
    let row = talk.office.world.memory.messages[&(OWNER.to_string(), reply)].clone();
    assert_eq!((row.reply_to, row.state, row.sender), (Some(asked), State::Received, Actor::Agent(other)));
}

#[test]
fn two_agents_that_answer_each_other_for_ever_are_stopped_by_the_hops_of_their_chain_and_both_are_told() {
    let mut talk = Talk::new();
    let (one, other) = (talk.one, talk.other);
    talk.post(one, "begin", Priority::Normal).expect("it is there");
    let (mut me, mut you, mut sent) = ((one, "front"), (other, "bookkeeper"), 0);
    let stopped = loop {
        let execution = talk.begin(me.0);
        talk.done(execution, "comms.receive", &json!({}));
        let (outcome, ..) = talk.call(execution, "comms.send", &json!({"to": you.1, "message": "and you?"}));
        talk.end(execution);
        match outcome {
            Outcome::Done { .. } => sent += 1,
            Outcome::Failed { code } => break code,
            other => panic!("{other:?}"),
        }
        (me, you) = (you, me);
        assert!(sent < 50, "nothing stops them");
    };
    // A person's message has no hop, and the plan's limit is 4.
    assert_eq!((stopped.as_str(), sent), ("hop_limit", 4));
    let refused = |event: &Happened| matches!(event, Happened::MessageRefused { code, .. } if code == "hop_limit");
    assert_eq!((talk.events(you.0, refused), talk.waiting(you.0)), (1, 0));
    let control = talk.begin(one);
    talk.done(control, "comms.send", &json!({"to": "bookkeeper", "message": "a fresh chain"}));
}

#[test]
fn whoever_sends_too_many_messages_in_a_minute_is_refused_and_the_other_is_told_once() {
    let mut talk = Talk::new();
    let (one, other) = (talk.one, talk.other);
    let sender = talk.begin(one);
    let say = json!({"to": "bookkeeper", "message": "x"});
    for _ in 0..20 {
        talk.done(sender, "comms.send", &say);
    }
    for _ in 0..3 {
        assert_eq!(talk.fails(sender, "comms.send", &say), "rate_limited");
    }
    assert_eq!(talk.waiting(other), 20);
    let told = |event: &Happened| matches!(event, Happened::MessageRefused { code, .. } if code == "rate_limited");
    assert_eq!(talk.events(other, told), 1);
    talk.office.world.pass(60_000);
    talk.done(sender, "comms.send", &say);
}

#[test]
fn what_cannot_be_delivered_is_a_dead_letter_that_is_sent_again_or_dropped() {
    let mut talk = Talk::new();
    let other = talk.other;
    let fill = |talk: &mut Talk, waiting| match talk.office.world.memory.folds.get_mut(&Stream::Agent(other)) {
        Some(Fold::Agent(agent)) => agent.mailbox.waiting = waiting,
        _ => panic!("it is deployed"),
    };
    fill(&mut talk, WAITING_MAX);
    let dead = talk.post(other, "too much", Priority::Normal).expect("it is recorded");
    assert_eq!((talk.row(other, dead).state, talk.row(other, dead).cause), (State::Dead, Some(Cause::MailboxFull)));
    let resend = agent::Command::ResendMessage { message: dead };
    let full = talk.tell(OWNER, other, resend.clone());
    assert_eq!(full, Err(Refusal::Agent(agent::Refusal::MailboxFull {})));
    fill(&mut talk, 0);
    talk.tell(OWNER, other, resend.clone()).expect("there is room again");
    assert_eq!((talk.row(other, dead).state, talk.waiting(other)), (State::Waiting, 1));
    assert_eq!(talk.tell(OWNER, other, resend), Err(Refusal::Agent(agent::Refusal::MessageNotDead {})));
    let drop = agent::Command::DropMessage { message: dead };
    assert_eq!(talk.tell(OWNER, other, drop.clone()), Err(Refusal::Agent(agent::Refusal::MessageNotDead {})));
    fill(&mut talk, WAITING_MAX);
    let second = talk.post(other, "too much", Priority::Normal).expect("it is recorded");
    talk.tell(OWNER, other, agent::Command::DropMessage { message: second }).expect("it is dead");
    assert_eq!(talk.row(other, second).state, State::Dropped);
}

#[test]
fn what_waits_for_an_agent_that_is_revoked_is_dead_and_its_asker_hears_it() {
    let mut talk = Talk::new();
    let (one, other) = (talk.one, talk.other);
    let asker = talk.begin(one);
    let ask = json!({"to": "bookkeeper", "message": "how much?", "deadline_seconds": 60});
    let asked = id_of(&talk.done(asker, "comms.send", &ask));
    assert_eq!(talk.owes(other, |owed| matches!(owed, Obligation::DeadLetterMessages { .. })), 0);
    talk.tell(OWNER, other, agent::Command::Revoke { note: None }).expect("it is deployed");
    assert_eq!(talk.owes(other, |owed| matches!(owed, Obligation::DeadLetterMessages { .. })), 1);
    talk.tell(Actor::Daemon, other, agent::Command::DeadLetterMessages {}).expect("something waits");
    assert_eq!(talk.row(other, asked).cause, Some(Cause::RecipientGone));
    assert_eq!(talk.events(one, |event| matches!(event, Happened::MessageUnanswered { .. })), 1);
    assert_eq!(talk.fails(asker, "comms.send", &ask), "recipient_gone");
    assert_eq!(talk.fails(asker, "comms.send", &json!({"to": "nobody", "message": "x"})), "not_found");
    let resent = talk.tell(OWNER, other, agent::Command::ResendMessage { message: asked });
    assert_eq!(resent, Err(Refusal::Agent(agent::Refusal::AlreadyRevoked {})));
}

#[test]
fn what_is_sent_to_many_reaches_each_once_in_pages_and_a_stale_page_reaches_nobody() {
    let mut talk = Talk::new();
    let (one, other) = (talk.one, talk.other);
    let third = talk.agent("auditor", &[("team", "books")]);
    for agent in [other, third] {
        let execution = talk.begin(agent);
        talk.done(execution, "comms.subscribe", &json!({"channel": "alerts"}));
        talk.end(execution);
    }
    let sender = talk.begin(one);
    let result =
        talk.done(sender, "comms.publish", &json!({"channel": "alerts", "message": "10,001 $", "priority": "high"}));
    assert_eq!(result["subscribers"], 2);
    let message = id_of(&result);
    let mut both = [other, third];
    both.sort();
    let page = |after, recipients: &[AgentId], scanned| agent::Command::FanOut {
        message,
        after,
        recipients: recipients.to_vec(),
        scanned,
    };
    talk.tell(Actor::Daemon, one, page(None, &both[..1], Some(both[0]))).expect("the first page");
    let stale = talk.tell(Actor::Daemon, one, page(None, &both[..1], Some(both[0])));
    assert_eq!(stale, Err(Refusal::Agent(agent::Refusal::MessageUnknown {})));
    talk.tell(Actor::Daemon, one, page(Some(both[0]), &both[1..], None)).expect("the last page");
    assert_eq!((talk.waiting(other), talk.waiting(third), talk.waiting(one)), (1, 1, 0));
    assert_eq!(talk.owes(one, |owed| matches!(owed, Obligation::FanOut { .. })), 0);
    assert_eq!(talk.row(third, message).channel.as_deref(), Some("alerts"));
    let execution = talk.begin(other);
    assert_eq!(talk.done(execution, "comms.unsubscribe", &json!({"channel": "alerts"}))["changed"], true);
    assert_eq!(talk.done(execution, "comms.unsubscribe", &json!({"channel": "alerts"}))["changed"], false);
    assert_eq!(talk.fails(execution, "comms.subscribe", &json!({"channel": "Not one"})), "invalid_arguments");
}

/// A history with every kind of event of messages.
pub fn every_kind(office: Office) -> Office {
    let (agent, execution) = (office.agent, office.execution);
    let mut talk = Talk::of(office);
    let (one, other) = (talk.one, talk.other);
    let receiver = talk.begin(other);
    talk.done(receiver, "comms.subscribe", &json!({"channel": "alerts"}));
    let sender = talk.begin(one);
    let message = id_of(&talk.done(sender, "comms.publish", &json!({"channel": "alerts", "message": "x"})));
    let page = agent::Command::FanOut { message, after: None, recipients: vec![other], scanned: None };
    talk.tell(Actor::Daemon, one, page).expect("it is under way");
    let ask = json!({"to": "bookkeeper", "message": {"sum": 1}, "deadline_seconds": 30, "correlation": "c"});
    talk.done(sender, "comms.send", &ask);
    let asked = id_of(&talk.done(sender, "comms.send", &ask));
    talk.done(receiver, "comms.receive", &json!({"limit": 2}));
    talk.office.world.pass(30_000);
    talk.tell(Actor::Daemon, other, agent::Command::ExpireMessages {}).expect("deadlines are over");
    talk.tell(OWNER, other, agent::Command::ResendMessage { message: asked }).expect("it is dead");
    talk.done(receiver, "comms.unsubscribe", &json!({"channel": "alerts"}));
    for _ in 0..21 {
        talk.call(sender, "comms.send", &json!({"to": "bookkeeper", "message": "again"}));
    }
    talk.tell(OWNER, other, agent::Command::Revoke { note: None }).expect("it is deployed");
    talk.tell(Actor::Daemon, other, agent::Command::DeadLetterMessages {}).expect("some wait");
    talk.tell(OWNER, other, agent::Command::DropMessage { message: asked }).expect("it is dead");
    (talk.office.agent, talk.office.execution) = (agent, execution);
    talk.office
}

/// An office with a letter to its agent, which messages wake.
fn with_letter(deadline_ms: Option<u64>) -> Office {
    let mut talk = Talk::new();
    talk.wakes = true;
    let agent = talk.agent("night-clerk", &[]);
    let body = talk.office.world.payload("\"x\"");
    let deadline = deadline_ms.map(|ms| talk.office.world.now.at.plus_ms(ms));
    let post = Post { body, priority: Priority::Normal, correlation: None, deadline, idempotency: None };
    talk.tell(OWNER, agent, agent::Command::Post(post)).expect("it is deployed");
    talk.office.agent = agent;
    talk.office
}

fn overdue() -> Office {
    let mut office = with_letter(Some(1_000));
    office.world.pass(1_000);
    office
}

fn dead() -> Office {
    let mut office = overdue();
    on_mailbox(&mut office, agent::Command::ExpireMessages {}).expect("its deadline is over");
    office
}

fn on_mailbox(office: &mut Office, command: agent::Command) -> Result<Vec<Event>, Refusal> {
    let by_daemon = matches!(
        command,
        agent::Command::ExpireMessages {} | agent::Command::DeadLetterMessages {} | agent::Command::Wake { .. }
    );
    let actor = if by_daemon { Actor::Daemon } else { OWNER };
    office.world.commit(actor, Command::Agent(office.agent, command))
}

/// The only message of the office's agent; one that never was where there is none.
fn letter(office: &mut Office) -> MessageId {
    let of = Actor::Agent(office.agent);
    let found = office.world.memory.messages.values().find(|row| row.recipient == of).map(|row| row.id);
    found.unwrap_or_else(|| MessageId::mint(&mut office.world.mint()))
}

#[test]
fn a_mailbox_answers_every_command_in_every_state_as_the_table_says() {
    let states: [(&str, Setup); 7] = [
        ("empty", || Office::new(0)),
        ("one waits", || with_letter(None)),
        ("one waits, its deadline over", overdue),
        ("one waits, its agent paused", || {
            let mut office = with_letter(None);
            office.pause().expect("it is deployed");
            office
        }),
        ("one waits, its agent revoked", || {
            let mut office = with_letter(None);
            office.revoke().expect("it is deployed");
            office
        }),
        ("one is received", || {
            let mut office = with_letter(None);
            let input = office.world.payload("null");
            on_mailbox(&mut office, agent::Command::Wake { waking: Waking::Messages, input }).expect("one waits");
            office
        }),
        ("one is dead", dead),
    ];
    let commands: [(&str, Command1); 6] = [
        ("post", |office| {
            let body = office.world.payload("\"y\"");
            let post = Post { body, priority: Priority::Low, correlation: None, deadline: None, idempotency: None };
            on_mailbox(office, agent::Command::Post(post))
        }),
        ("wake", |office| {
            let input = office.world.payload("null");
            on_mailbox(office, agent::Command::Wake { waking: Waking::Messages, input })
        }),
        ("expire", |office| on_mailbox(office, agent::Command::ExpireMessages {})),
        ("dead_letter", |office| on_mailbox(office, agent::Command::DeadLetterMessages {})),
        ("resend", |office| {
            let message = letter(office);
            on_mailbox(office, agent::Command::ResendMessage { message })
        }),
        ("drop", |office| {
            let message = letter(office);
            on_mailbox(office, agent::Command::DropMessage { message })
        }),
    ];
    insta::assert_snapshot!("mailbox", table_of(&states, &commands, |office| Stream::Agent(office.agent)));
}

fn wake(talk: &mut Talk, agent: AgentId) -> Result<ExecutionId, Refusal> {
    let input = talk.office.world.payload("null");
    let command = agent::Command::Wake { waking: Waking::Messages, input };
    let events = talk.tell(Actor::Daemon, agent, command)?;
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["agent.woken", "execution.started", "agent.execution_started", "message.received"]);
    let woken = events.iter().find_map(|event| match event {
        Event::Agent(Happened::Woken { execution, .. }) => Some(*execution),
        _ => None,
    });
    Ok(woken.expect("it is woken"))
}

#[test]
fn messages_wake_their_agent_once_with_all_of_them_and_those_that_come_meanwhile_wait_for_the_next_time() {
    let mut talk = Talk::new();
    talk.wakes = true;
    let agent = talk.agent("night-clerk", &[]);
    let is_wake = |owed: &Obligation| *owed == Obligation::Wake { waking: Waking::Messages };
    assert_eq!(talk.owes(agent, is_wake), 0);
    for text in ["one", "two"] {
        talk.post(agent, text, Priority::Normal).expect("it is there");
    }
    let control = talk.other;
    talk.post(control, "one", Priority::Normal).expect("it is there");
    assert_eq!((talk.owes(agent, is_wake), talk.owes(control, is_wake)), (1, 0), "the other is not woken by messages");
    talk.tell(OWNER, agent, agent::Command::Pause { note: None, until: None }).expect("it is deployed");
    assert_eq!(talk.owes(agent, is_wake), 0, "a paused one's messages wait");
    talk.tell(OWNER, agent, agent::Command::Resume { note: None }).expect("it is paused");
    let execution = wake(&mut talk, agent).expect("two wait");
    let hash = talk.office.world.fold::<execution::Execution>(execution).expect("it is started").input;
    let input: Value = serde_json::from_slice(talk.office.world.memory.payloads[&hash].bytes()).expect("JSON");
    let texts: Vec<&Value> = input.as_array().expect("a list").iter().map(|message| &message["message"]).collect();
    assert_eq!((texts, talk.waiting(agent)), (vec![&json!("one"), &json!("two")], 0));
    let late = talk.post(agent, "three", Priority::High).expect("it is there");
    assert_eq!((talk.owes(agent, is_wake), talk.waiting(agent)), (0, 1), "one is at work");
    assert_eq!(wake(&mut talk, agent), Err(Refusal::Agent(agent::Refusal::WakeStale {})));
    talk.end(execution);
    assert_eq!(talk.owes(agent, is_wake), 1);
    let next = wake(&mut talk, agent).expect("one waits");
    assert_eq!(talk.row(agent, late).holder, Some(Holder::Execution(next)));
}

#[test]
fn a_briefing_tells_what_was_missed_within_its_bounds_and_the_same_ledger_gives_the_same_bytes() {
    let mut talk = Talk::new();
    let agent = talk.agent("reader", &[]);
    talk.office.world.pass(1);
    let first = talk.begin(agent);
    talk.end(first);
    talk.office.world.pass(60_000);
    for _ in 0..25 {
        talk.post(agent, "x", Priority::Normal).expect("it is there");
    }
    talk.tell(OWNER, agent, agent::Command::Pause { note: Some("lunch".into()), until: None }).expect("it is deployed");
    talk.tell(OWNER, agent, agent::Command::Resume { note: None }).expect("it is paused");
    let execution = talk.begin(agent);
    talk.deploy("reader", &[]);
    let told = talk.done(execution, "agent.briefing", &json!({}));
    assert_eq!((&told["messages"]["waiting"], &told["messages"]["next"]["left_out"]), (&json!(25), &json!(5)));
    let system: Vec<&str> =
        told["system"]["items"].as_array().unwrap().iter().filter_map(|item| item["what"].as_str()).collect();
    assert_eq!(system, ["paused by owner:1000: lunch", "resumed by owner:1000", "revision 2 was deployed"]);
    assert_eq!(told["failures"]["items"][0]["reason"], "cancelled");
    assert_eq!(told["failures"]["items"][0]["execution"], first.to_string());
    let again = talk.done(execution, "agent.briefing", &json!({}));
    assert_eq!(told, again);
}

#[derive(Debug, Clone)]
enum Move {
    Post(usize, u8),
    Send(usize, u8),
    Receive(usize, u32),
    Expire(usize),
    Resend,
    Drop,
    Revoke,
    Bury,
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0usize..2, 0u8..3).prop_map(|(to, priority)| Move::Post(to, priority)),
        6 => (0usize..2, 0u8..3).prop_map(|(from, priority)| Move::Send(from, priority)),
        6 => (0usize..2, 1u32..4).prop_map(|(of, limit)| Move::Receive(of, limit)),
        3 => (0usize..2).prop_map(Move::Expire),
        2 => Just(Move::Resend),
        1 => Just(Move::Drop),
        1 => Just(Move::Revoke),
        2 => Just(Move::Bury),
        3 => (1u64..40_000).prop_map(Move::Pass),
    ]
}

/// What was sent and what became of it, as the callers saw it.
#[derive(Default)]
struct Seen {
    sent: BTreeSet<(AgentId, MessageId)>,
    taken: BTreeMap<(AgentId, MessageId), u32>,
}

fn play(talk: &mut Talk, executions: [ExecutionId; 2], seen: &mut Seen, step: &Move) {
    let agents = [talk.one, talk.other];
    let names = ["front", "bookkeeper"];
    let priority = |which: u8| [Priority::High, Priority::Normal, Priority::Low][usize::from(which)];
    let dead = |talk: &Talk| {
        let mut rows = talk.office.world.memory.messages.values();
        rows.find(|row| row.state == State::Dead).map(|row| row.id)
    };
    match step {
        Move::Post(to, which) => {
            if let Ok(id) = talk.post(agents[*to], "x", priority(*which)) {
                seen.sent.insert((agents[*to], id));
            }
        }
        Move::Send(from, which) if talk.runs(executions[*from]) => {
            let to = 1 - from;
            let letter = json!({"to": names[to], "message": "x", "priority": priority(*which), "deadline_seconds": 30});
            if let (Outcome::Done { .. }, result, _) = talk.call(executions[*from], "comms.send", &letter) {
                seen.sent.insert((agents[to], id_of(&result)));
            }
        }
        Move::Receive(of, limit) if talk.runs(executions[*of]) => {
            let mut rows = talk.office.world.memory.messages.values().cloned().collect::<Vec<_>>();
            rows.retain(|row| row.recipient == Actor::Agent(agents[*of]) && row.state == State::Waiting);
            rows.sort_by_key(|row| (row.priority, row.seq));
            let first: Vec<MessageId> = rows.iter().take(*limit as usize).map(|row| row.id).collect();
            let result = talk.done(executions[*of], "comms.receive", &json!({"limit": limit}));
            let taken: Vec<MessageId> = result["messages"].as_array().expect("a list").iter().map(id_of).collect();
            assert_eq!(taken, first, "they come out of order");
            taken.into_iter().for_each(|id| *seen.taken.entry((agents[*of], id)).or_default() += 1);
        }
        Move::Expire(of) => drop(talk.tell(Actor::Daemon, agents[*of], agent::Command::ExpireMessages {})),
        Move::Bury => drop(talk.tell(Actor::Daemon, talk.other, agent::Command::DeadLetterMessages {})),
        Move::Revoke => drop(talk.tell(OWNER, talk.other, agent::Command::Revoke { note: None })),
        Move::Resend | Move::Drop => {
            let Some(message) = dead(talk) else { return };
            for agent in agents {
                let command = match step {
                    Move::Drop => agent::Command::DropMessage { message },
                    _ => agent::Command::ResendMessage { message },
                };
                let _ = talk.tell(OWNER, agent, command);
            }
        }
        Move::Pass(ms) => talk.office.world.pass(*ms),
        Move::Send(..) | Move::Receive(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_no_message_is_lost_doubled_or_out_of_order_and_all_follows_from_the_records(
        steps in proptest::collection::vec(moves(), 1..60),
    ) {
        let mut talk = Talk::new();
        let executions = [talk.begin(talk.one), talk.begin(talk.other)];
        let mut seen = Seen::default();
        for step in &steps {
            play(&mut talk, executions, &mut seen, step);
            let memory = &talk.office.world.memory;
            for (agent, id) in &seen.sent {
                prop_assert!(memory.messages.contains_key(&(agent.to_string(), *id)), "{id} is lost");
            }
            prop_assert_eq!(memory.messages.len(), seen.sent.len(), "a message came from nowhere");
            prop_assert!(seen.taken.values().all(|taken| *taken == 1), "a message was taken twice");
            for agent in [talk.one, talk.other] {
                let recipient = Actor::Agent(agent);
                let waiting = memory.messages.values().filter(|row| row.recipient == recipient && row.state == State::Waiting);
                prop_assert_eq!(waiting.count(), talk.waiting(agent) as usize, "the fold counts what is not there");
            }
            prop_assert_eq!(talk.office.world.replayed(), memory.folds.clone());
        }
    }
}
