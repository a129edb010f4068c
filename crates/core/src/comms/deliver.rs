//! How a message comes to whom it is for, and what keeps two agents from answering each other for ever: a limit on the
//! messages of a minute and one on the hops of a chain. What is refused is said to the sender by its call, and to an agent
//! that it was for by an event, once a minute.
use super::{
    Audience, CHANNELS_MAX, Cause, Envelope, FAN_OUTS_MAX, Limits, MessageRow, PAGE, Priority, State, WAITING_MAX,
};
use crate::actor::Actor;
use crate::agent::{self, Agent, Event};
use crate::bound::{Hash, Payload};
use crate::call::Caller;
use crate::draft::{Draft, Stop, refuse};
use crate::facts::{Counter, Namespace, Unread};
use crate::id::{AgentId, MessageId};
use crate::time::Time;

/// Why nothing was sent: a stable code, and a sentence.
#[derive(Debug)]
pub(crate) struct Unsent(pub &'static str, pub String);

/// What is to be sent, as the sender gave it.
pub(crate) struct Letter {
    pub body: Payload,
    pub priority: Priority,
    pub correlation: Option<String>,
    pub reply_to: Option<MessageId>,
    pub deadline: Option<Time>,
}

/// A message that was sent; `dead`: why its one recipient cannot take it.
pub(crate) struct Addressed {
    pub message: MessageId,
    pub dead: Option<Cause>,
}

type Sent = Result<Result<Addressed, Unsent>, Unread>;

/// Sends what an agent's execution says to one, to a label or to a channel.
pub(crate) fn send(draft: &mut Draft<'_>, caller: Caller, to: Audience, letter: Letter) -> Sent {
    let told = match &to {
        Audience::Agent { agent } => Some(*agent),
        Audience::Person { .. } | Audience::Label { .. } | Audience::Channel { .. } => None,
    };
    let many = matches!(to, Audience::Label { .. } | Audience::Channel { .. });
    let sender = draft.get::<Agent>(caller.agent)?;
    let under_way = sender.map_or(0, |sender| sender.mailbox.fan_outs.len());
    let from_name = sender.map(|sender| sender.name.clone());
    if many && under_way >= FAN_OUTS_MAX {
        let sentence = format!("{under_way} messages to many are still being delivered; send it a little later");
        return Ok(Err(Unsent("busy", sentence)));
    }
    let hop = match admit(draft, caller, told)? {
        Ok(hop) => hop,
        Err(unsent) => return Ok(Err(unsent)),
    };
    let channel = if let Audience::Channel { channel } = &to { Some(channel.clone()) } else { None };
    let message = MessageId::mint(&mut draft.mint);
    let envelope = Envelope {
        message,
        from: Actor::Agent(caller.agent),
        from_name,
        channel,
        priority: letter.priority,
        body: draft.bind(letter.body),
        correlation: letter.correlation,
        reply_to: letter.reply_to,
        deadline: letter.deadline,
        hop,
        sent_at: draft.stamp.at,
    };
    let sent = Event::MessageSent { to, holder: caller.holder, envelope: envelope.clone() };
    draft.emit::<Agent>(caller.agent, sent)?;
    let dead = told.map(|agent| deliver(draft, agent, envelope)).transpose()?.flatten();
    Ok(Ok(Addressed { message, dead }))
}

/// Into one mailbox; a full one makes it a dead letter.
pub(crate) fn deliver(draft: &mut Draft<'_>, to: AgentId, envelope: Envelope) -> Result<Option<Cause>, Unread> {
    deliver_once(draft, to, envelope, None)
}

/// The same, under a key of the sender's.
pub(crate) fn deliver_once(
    draft: &mut Draft<'_>,
    to: AgentId,
    envelope: Envelope,
    idempotency: Option<Hash>,
) -> Result<Option<Cause>, Unread> {
    let Some(agent) = draft.get::<Agent>(to)? else { return Ok(Some(Cause::RecipientGone)) };
    let (seq, full) = (agent.mailbox.queued + 1, agent.mailbox.waiting >= WAITING_MAX);
    let gone = agent.not_revoked().is_err();
    let message = envelope.message;
    draft.emit::<Agent>(to, Event::MessageQueued { seq, idempotency, envelope })?;
    let cause = match (gone, full) {
        (true, _) => Some(Cause::RecipientGone),
        (false, true) => Some(Cause::MailboxFull),
        (false, false) => None,
    };
    if let Some(cause) = cause {
        draft.emit::<Agent>(to, Event::MessagesDead { messages: vec![message], cause })?;
    }
    Ok(cause)
}

/// May this execution send one more now? Gives the hops of its message.
fn admit(draft: &mut Draft<'_>, caller: Caller, told: Option<AgentId>) -> Result<Result<u32, Unsent>, Unread> {
    let plan = draft.plan(caller.agent, caller.revision)?;
    let Limits { messages_per_minute, hop_limit } = plan.map(|plan| plan.comms).unwrap_or_default();
    let hops = draft.count(Counter::Hops, &caller.holder.to_string())?;
    let hop = u32::try_from(hops).unwrap_or(u32::MAX).saturating_add(1);
    let sent = draft.count_this_minute(Counter::MessagesSent, &caller.agent.to_string())?;
    let unsent = if hop > hop_limit {
        let sentence = format!("the chain of messages that led here has {hops} hops, the limit is {hop_limit}");
        Unsent("hop_limit", format!("{sentence}: finish here, or tell a person"))
    } else if sent >= i64::from(messages_per_minute) {
        let sentence = format!("{sent} messages were sent in this minute, the limit is {messages_per_minute}");
        Unsent("rate_limited", format!("{sentence}: say more in one message, or wait"))
    } else {
        return Ok(Ok(hop));
    };
    if let Some(recipient) = told {
        let key = format!("{recipient}/{}", caller.agent);
        if draft.count_this_minute(Counter::MessagesRefused, &key)? == 0 {
            let refused = Event::MessageRefused { from: caller.agent, code: unsent.0.to_string() };
            draft.emit::<Agent>(recipient, refused)?;
        }
    }
    Ok(Err(unsent))
}

/// Answers a message that this agent received, and no other.
pub(crate) fn reply(draft: &mut Draft<'_>, caller: Caller, to: MessageId, body: Payload) -> Sent {
    let unsent = |code, sentence: String| Ok(Err(Unsent(code, sentence)));
    let asked = draft.message(caller.agent, to)?.filter(|row| row.state == State::Received);
    let Some(asked) = asked else {
        return unsent("not_found", format!("you received no message {to}: only such a one can be answered"));
    };
    if let Some(answer) = asked.answer {
        return unsent("already_answered", format!("{answer} is the answer to it; comms.send says more"));
    }
    if let Some(deadline) = asked.deadline.filter(|deadline| *deadline < draft.wall) {
        return unsent(
            "deadline_passed",
            format!("an answer was taken until {deadline}; nobody waits for it any more"),
        );
    }
    let audience = match asked.sender {
        Actor::Agent(agent) => Audience::Agent { agent },
        person @ (Actor::Owner { .. }
        | Actor::Key(_)
        | Actor::Link(_)
        | Actor::Worker(_)
        | Actor::Daemon
        | Actor::Validator) => Audience::Person { person },
    };
    if let Audience::Agent { agent } = audience
        && draft.get::<Agent>(agent)?.is_none_or(|agent| agent.not_revoked().is_err())
    {
        return unsent("recipient_gone", "its sender was deleted or revoked".to_string());
    }
    let letter = Letter {
        body,
        priority: asked.priority,
        correlation: Some(asked.correlation()),
        reply_to: Some(to),
        deadline: None,
    };
    send(draft, caller, audience, letter)
}

/// A page of a message to many. `scanned`: the last agent that was looked at; none after the last.
pub(crate) fn fan_out(
    id: AgentId,
    draft: &mut Draft<'_>,
    message: MessageId,
    recipients: &[AgentId],
    (after, scanned): (Option<AgentId>, Option<AgentId>),
) -> Result<(), Stop> {
    let stale = || refuse::<Agent>(agent::Refusal::MessageUnknown {});
    let sender = draft.get::<Agent>(id)?.ok_or_else(stale)?;
    let found = sender.mailbox.fan_outs.iter().find(|fan_out| fan_out.envelope.message == message);
    let fan_out = found.filter(|fan_out| fan_out.after == after).cloned().ok_or_else(stale)?;
    if recipients.len() > PAGE as usize {
        return Err(stale());
    }
    let mut reached = 0;
    let mut last = after;
    for recipient in recipients {
        if last.is_some_and(|last| *recipient <= last) {
            return Err(stale());
        }
        last = Some(*recipient);
        let live = draft.get::<Agent>(*recipient)?.is_some_and(|agent| agent.not_revoked().is_ok());
        if live && *recipient != id {
            deliver(draft, *recipient, fan_out.envelope.clone())?;
            reached += 1;
        }
    }
    Ok(draft.emit::<Agent>(id, Event::MessageFannedOut { message, after: scanned, reached })?)
}

pub(crate) fn subscribe(draft: &mut Draft<'_>, caller: Caller, channel: &str) -> Result<Result<bool, Unsent>, Unread> {
    let channels = draft.get::<Agent>(caller.agent)?.map(|agent| agent.mailbox.channels.clone()).unwrap_or_default();
    if channels.iter().any(|known| known == channel) {
        return Ok(Ok(false));
    }
    if channels.len() >= CHANNELS_MAX {
        let sentence = format!("you take from {} channels, the most there are: comms.unsubscribe", channels.len());
        return Ok(Err(Unsent("too_many_channels", sentence)));
    }
    draft.emit::<Agent>(caller.agent, Event::Subscribed { channel: channel.to_string() })?;
    Ok(Ok(true))
}

pub(crate) fn unsubscribe(draft: &mut Draft<'_>, caller: Caller, channel: &str) -> Result<bool, Unread> {
    let key = format!("{channel}/{}", caller.agent);
    if draft.holder(Namespace::Subscriber, &key)?.is_none() {
        return Ok(false);
    }
    draft.emit::<Agent>(caller.agent, Event::Unsubscribed { channel: channel.to_string() })?;
    Ok(true)
}

impl MessageRow {
    /// An answer to a person, who reads it where the question was asked.
    pub(crate) fn to_person(person: Actor, envelope: &Envelope) -> MessageRow {
        MessageRow::of(person, 0, State::Received, envelope, envelope.sent_at)
    }
}
