//! An agent's mailbox: how many wait, what it is sending to many, which channels it takes from. The messages themselves are
//! rows. Nothing here may hold what grows with them.
use super::{Agent, Event, Refusal, State, Waking};
use crate::actor::Actor;
use crate::bound::{Hash, Payload};
use crate::budget;
use crate::call::Holder;
use crate::comms::{self, Audience, Cause, Envelope, MessageChange, MessageRow, PAGE, Priority, WAITING_MAX};
use crate::draft::{Draft, Stop, minute, refuse};
use crate::execution::{self, Start};
use crate::facts::{Counter, Namespace};
use crate::id::{AgentId, ExecutionId, MessageId};
use crate::manifest::Trigger;
use crate::owed::{Obligation, Owed};
use crate::row::Row;
use crate::time::{Due, Stamp, Time};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mailbox {
    /// Messages that ever came; each has the number that it came with.
    pub queued: u64,
    pub waiting: u32,
    /// When the next deadline of an answer may be over; it may have been answered since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// What it sends to many; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fan_outs: Vec<FanOut>,
    /// Channels that it takes from; bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
}

/// A message to many on its way. Agents up to `after` have been looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    pub to: Audience,
    pub envelope: Envelope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AgentId>,
}

/// A message of a person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub body: Payload,
    pub priority: Priority,
    pub correlation: Option<String>,
    pub deadline: Option<Time>,
    /// Hash of the sender's key within the agent: the same one sends once.
    pub idempotency: Option<Hash>,
}

impl Mailbox {
    pub(super) fn is_new(&self) -> bool {
        *self == Mailbox::default()
    }

    pub(super) fn apply(&mut self, event: &Event) {
        let fewer = |waiting: u32, by: usize| waiting.saturating_sub(u32::try_from(by).unwrap_or(u32::MAX));
        match event {
            Event::MessageSent { to: to @ (Audience::Label { .. } | Audience::Channel { .. }), envelope, .. } => {
                self.fan_outs.push(FanOut { to: to.clone(), envelope: envelope.clone(), after: None });
            }
            Event::MessageFannedOut { message, after: None, .. } => {
                self.fan_outs.retain(|fan_out| fan_out.envelope.message != *message);
            }
            Event::MessageFannedOut { message, after, .. } => {
                let found = self.fan_outs.iter_mut().find(|fan_out| fan_out.envelope.message == *message);
                if let Some(fan_out) = found {
                    fan_out.after = *after;
                }
            }
            Event::MessageQueued { seq, envelope, .. } => {
                (self.queued, self.waiting) = (*seq, self.waiting.saturating_add(1));
                self.deadline = self.deadline.into_iter().chain(envelope.deadline).min();
            }
            Event::MessagesReceived { messages, .. } | Event::MessagesDead { messages, .. } => {
                self.waiting = fewer(self.waiting, messages.len());
            }
            Event::MessagesExpired { dead, next, .. } => {
                (self.waiting, self.deadline) = (fewer(self.waiting, dead.len()), *next);
            }
            Event::MessageResent { seq, .. } => {
                (self.queued, self.waiting) = (*seq, self.waiting.saturating_add(1));
            }
            Event::Subscribed { channel } => self.channels.push(channel.clone()),
            Event::Unsubscribed { channel } => self.channels.retain(|known| known != channel),
            Event::Archived { .. } => self.channels.clear(),
            Event::MessageSent { .. }
            | Event::MessageDropped { .. }
            | Event::MessageRefused { .. }
            | Event::MessageUnanswered { .. }
            | life_events!()
            | item_events!()
            | state_events!() => {}
        }
    }

    pub(super) fn owed(&self, agent: &Agent, owed: &mut Vec<Owed>) {
        let mut owe = |obligation, due| owed.push(Owed { obligation, due });
        for fan_out in &self.fan_outs {
            let (message, to, after) = (fan_out.envelope.message, fan_out.to.clone(), fan_out.after);
            owe(Obligation::FanOut { message, to, after }, Due::AT_ONCE);
        }
        if let Some(deadline) = self.deadline {
            owe(Obligation::ExpireMessages, Due::Wall(deadline));
        }
        // While one is at work what comes waits, and wakes it after that has ended.
        if self.wakes(agent) {
            let due = agent.held_until.map_or(Due::AT_ONCE, Due::Wall);
            owe(Obligation::Wake { waking: Waking::Messages }, due);
        }
        if self.waiting > 0 && agent.not_revoked().is_err() {
            owe(Obligation::DeadLetterMessages { waiting: self.waiting }, Due::AT_ONCE);
        }
    }

    fn wakes(&self, agent: &Agent) -> bool {
        let ready = agent.open == 0 && agent.state == State::Deployed && !agent.killed;
        self.waiting > 0 && ready && agent.triggers.contains(&Trigger::Comms)
    }

    /// Where it is archived it takes from no channel any more.
    pub(super) fn left(&self, id: AgentId) -> impl Iterator<Item = Row> {
        self.channels.iter().flat_map(move |channel| subscribed(id, channel, false))
    }
}

fn subscribed(id: AgentId, channel: &str, is: bool) -> [Row; 2] {
    let (key, holder) = (format!("{channel}/{id}"), is.then(|| id.to_string()));
    let by = if is { 1 } else { -1 };
    [
        Row::Held { namespace: Namespace::Subscriber, key, holder },
        Row::Counted { counter: Counter::Subscribers, key: channel.to_string(), bucket: 0, by },
    ]
}

/// The rows of what happened to messages.
pub(super) fn rows(id: AgentId, event: &Event, stamp: Stamp) -> Vec<Row> {
    let changed =
        |message: &MessageId, change| Row::MessageChanged { recipient: id, message: *message, change, at: stamp.at };
    let counted = |counter, key, by| Row::Counted { counter, key, bucket: minute(stamp), by };
    match event {
        Event::MessageSent { to, envelope, .. } => {
            let mut rows = vec![counted(Counter::MessagesSent, id.to_string(), 1)];
            rows.extend(
                envelope.reply_to.map(|asked| changed(&asked, MessageChange::Answered { by: envelope.message })),
            );
            if let Audience::Person { person } = to {
                rows.push(Row::Message(Box::new(MessageRow::to_person(*person, envelope))));
            }
            rows
        }
        Event::MessageQueued { seq, envelope, idempotency } => {
            let row = MessageRow::of(Actor::Agent(id), *seq, comms::State::Waiting, envelope, stamp.at);
            let held = idempotency.map(|key| Row::Held {
                namespace: Namespace::MessageKey,
                key: format!("{id}:{key}"),
                holder: Some(envelope.message.to_string()),
            });
            std::iter::once(Row::Message(Box::new(row))).chain(held).collect()
        }
        Event::MessagesReceived { messages, holder, deeper_by } => {
            let change = |message| changed(message, MessageChange::Received { holder: *holder });
            let mut rows: Vec<Row> = messages.iter().map(change).collect();
            if *deeper_by > 0 {
                let (key, by) = (holder.to_string(), i64::from(*deeper_by));
                rows.push(Row::Counted { counter: Counter::Hops, key, bucket: 0, by });
            }
            rows
        }
        Event::MessagesDead { messages, cause } => {
            messages.iter().map(|message| changed(message, MessageChange::Dead { cause: *cause })).collect()
        }
        Event::MessagesExpired { dead, unanswered, .. } => {
            let died = dead.iter().map(|message| changed(message, MessageChange::Dead { cause: Cause::Deadline }));
            died.chain(unanswered.iter().map(|message| changed(message, MessageChange::Unanswered))).collect()
        }
        Event::MessageResent { message, seq } => vec![changed(message, MessageChange::Resent { seq: *seq })],
        Event::MessageDropped { message } => vec![changed(message, MessageChange::Dropped)],
        Event::MessageRefused { from, .. } => vec![counted(Counter::MessagesRefused, format!("{id}/{from}"), 1)],
        Event::Subscribed { channel } => subscribed(id, channel, true).into(),
        Event::Unsubscribed { channel } => subscribed(id, channel, false).into(),
        Event::MessageFannedOut { .. }
        | Event::MessageUnanswered { .. }
        | Event::Archived { .. }
        | life_events!()
        | item_events!()
        | state_events!() => Vec::new(),
    }
}

/// What waits wakes the agent: its execution starts with the messages as its input, and has received them, in one decision.
pub(super) fn wake(id: AgentId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let now = draft.wall;
    let agent = super::known(id, draft)?;
    agent.may_begin()?;
    if !agent.mailbox.wakes(agent) {
        return Err(refuse::<Agent>(Refusal::WakeStale {}));
    }
    if agent.held_until.is_some_and(|until| until > now) {
        return Err(refuse::<Agent>(Refusal::WakeNotDue {}));
    }
    if let Some(shut) = budget::shut(draft, id)? {
        return Ok(draft.emit::<Agent>(id, Event::WakeHeld { until: Some(shut.opens) })?);
    }
    let page = comms::pick(draft, id, PAGE)?;
    if page.is_empty() {
        return Err(refuse::<Agent>(Refusal::WakeStale {}));
    }
    let input = Payload::new(draft.mint.salt(), page.text().into_bytes());
    let execution = ExecutionId::mint(&mut draft.mint);
    let trigger = execution::Trigger::Comms;
    let woken =
        Event::Woken { trigger, execution, scheduled: None, missed_since: None, replaced: Vec::new(), next: None };
    draft.emit::<Agent>(id, woken)?;
    execution::start(
        execution,
        draft,
        Start { agent: id, revision: None, input, max_iterations: None, idempotency: None, trigger },
    )?;
    Ok(comms::take(draft, id, Holder::Execution(execution), &page)?)
}

/// A person writes to the agent.
pub(super) fn post(id: AgentId, draft: &mut Draft<'_>, post: Post) -> Result<(), Stop> {
    super::known(id, draft)?.not_revoked()?;
    if let Some(key) = post.idempotency
        && let Some(held) = draft.holder(Namespace::MessageKey, &format!("{id}:{key}"))?
        && let Ok(message) = held.parse()
    {
        return Err(refuse::<Agent>(Refusal::MessageRepeated { message }));
    }
    if post.body.bytes().len() > comms::BODY_BYTES_MAX {
        return Err(refuse::<Agent>(Refusal::MessageTooLarge {}));
    }
    if post.deadline.is_some_and(|deadline| deadline <= draft.wall) {
        return Err(refuse::<Agent>(Refusal::DeadlinePast {}));
    }
    if post.correlation.as_ref().is_some_and(|text| text.len() > comms::CORRELATION_BYTES_MAX) {
        return Err(refuse::<Agent>(Refusal::MessageTooLarge {}));
    }
    let envelope = Envelope {
        message: MessageId::mint(&mut draft.mint),
        from: draft.actor,
        from_name: None,
        channel: None,
        priority: post.priority,
        body: draft.bind(post.body),
        correlation: post.correlation,
        reply_to: None,
        deadline: post.deadline,
        hop: 0,
        sent_at: draft.stamp.at,
    };
    comms::deliver_once(draft, id, envelope, post.idempotency)?;
    Ok(())
}

/// Deadlines are over: what waits is dead, of what was taken no answer came.
pub(super) fn expire(id: AgentId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let now = draft.wall;
    let agent = super::known(id, draft)?;
    if agent.mailbox.deadline.is_none_or(|deadline| deadline > now) {
        return Err(refuse::<Agent>(Refusal::DeadlineAhead {}));
    }
    let rows = draft.unanswered(id, PAGE)?;
    let (over, ahead): (Vec<MessageRow>, Vec<MessageRow>) =
        rows.into_iter().partition(|row| row.deadline.is_some_and(|deadline| deadline <= now));
    let next = if over.len() < PAGE as usize { ahead.first().and_then(|row| row.deadline) } else { Some(now) };
    let (dead, unanswered): (Vec<&MessageRow>, Vec<&MessageRow>) =
        over.iter().partition(|row| row.state == comms::State::Waiting);
    let ids = |rows: &[&MessageRow]| rows.iter().map(|row| row.id).collect();
    draft.emit::<Agent>(id, Event::MessagesExpired { dead: ids(&dead), unanswered: ids(&unanswered), next })?;
    tell_askers(id, draft, &over, Cause::Deadline)
}

/// Who waits for an answer hears that none will come.
fn tell_askers(id: AgentId, draft: &mut Draft<'_>, rows: &[MessageRow], cause: Cause) -> Result<(), Stop> {
    for row in rows {
        let Some(asker) = row.asker().filter(|_| row.deadline.is_some()) else { continue };
        if draft.get::<Agent>(asker)?.is_some() {
            draft.emit::<Agent>(asker, Event::MessageUnanswered { message: row.id, by: id, cause })?;
        }
    }
    Ok(())
}

/// Of an agent that is gone: a page of what waits for it is dead.
pub(super) fn dead_letter(id: AgentId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let agent = super::known(id, draft)?;
    if agent.mailbox.waiting == 0 || agent.not_revoked().is_ok() {
        return Err(refuse::<Agent>(Refusal::MessageUnknown {}));
    }
    let rows = draft.waiting(id, PAGE)?;
    if rows.is_empty() {
        return Err(refuse::<Agent>(Refusal::MessageUnknown {}));
    }
    let messages = rows.iter().map(|row| row.id).collect();
    draft.emit::<Agent>(id, Event::MessagesDead { messages, cause: Cause::RecipientGone })?;
    tell_askers(id, draft, &rows, Cause::RecipientGone)
}

fn dead(id: AgentId, draft: &mut Draft<'_>, message: MessageId) -> Result<(), Stop> {
    match draft.message(id, message)?.map(|row| row.state) {
        Some(comms::State::Dead) => Ok(()),
        Some(comms::State::Waiting | comms::State::Received | comms::State::Dropped) => {
            Err(refuse::<Agent>(Refusal::MessageNotDead {}))
        }
        None => Err(refuse::<Agent>(Refusal::MessageUnknown {})),
    }
}

/// A dead letter waits anew, behind what came since.
pub(super) fn resend(id: AgentId, draft: &mut Draft<'_>, message: MessageId) -> Result<(), Stop> {
    let agent = super::known(id, draft)?;
    agent.not_revoked()?;
    let (seq, full) = (agent.mailbox.queued + 1, agent.mailbox.waiting >= WAITING_MAX);
    dead(id, draft, message)?;
    if full {
        return Err(refuse::<Agent>(Refusal::MailboxFull {}));
    }
    Ok(draft.emit::<Agent>(id, Event::MessageResent { message, seq })?)
}

pub(super) fn drop(id: AgentId, draft: &mut Draft<'_>, message: MessageId) -> Result<(), Stop> {
    dead(id, draft, message)?;
    Ok(draft.emit::<Agent>(id, Event::MessageDropped { message })?)
}
