//! Messages by the events alone: each comes once, under the next number of its mailbox and in the commit that sent it; it is
//! taken once, in order, or is dead; and nobody is answered who did not ask.
use super::{Checked, Rule, broken};
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::actor::Actor;
use tenure_core::agent::Event;
use tenure_core::comms::{Audience, Envelope, Priority};
use tenure_core::id::{AgentId, MessageId};

#[derive(Debug, Default)]
struct Mailbox {
    queued: u64,
    waiting: BTreeMap<MessageId, (Priority, u64)>,
    dead: BTreeSet<MessageId>,
    /// All that ever came, with who sent each.
    senders: BTreeMap<MessageId, Actor>,
    priorities: BTreeMap<MessageId, Priority>,
    received: BTreeSet<MessageId>,
}

#[derive(Debug, Default)]
pub(super) struct Messages {
    mailboxes: BTreeMap<AgentId, Mailbox>,
    /// Sent to one agent, and not in its mailbox yet.
    sent: BTreeMap<MessageId, AgentId>,
}

impl Messages {
    pub(super) fn record(&mut self, id: AgentId, event: &Event) -> Checked {
        if let Event::MessageSent { to, envelope, .. } = event {
            return self.sent(id, to, envelope);
        }
        if let Event::MessageQueued { envelope, .. } = event {
            self.sent.remove(&envelope.message);
        }
        self.mailboxes.entry(id).or_default().record(id, event)
    }

    fn sent(&mut self, id: AgentId, to: &Audience, envelope: &Envelope) -> Checked {
        if let Some(asked) = envelope.reply_to {
            let own = self.mailboxes.entry(id).or_default();
            let asker = own.senders.get(&asked).filter(|_| own.received.contains(&asked)).copied();
            let answers = match to {
                Audience::Agent { agent } => Some(Actor::Agent(*agent)),
                Audience::Person { person } => Some(*person),
                Audience::Label { .. } | Audience::Channel { .. } => None,
            };
            if asker.is_none() || asker != answers {
                return broken(Rule::NoEventNoAction, format!("{id} answers {answers:?}, and {asker:?} asked"));
            }
        }
        if let Audience::Agent { agent } = to {
            self.sent.insert(envelope.message, *agent);
        }
        Ok(())
    }

    /// Between commits.
    pub(super) fn check(&self) -> Checked {
        match self.sent.first_key_value() {
            Some((message, agent)) => broken(Rule::Atomic, format!("{message} was sent to {agent} and never came")),
            None => Ok(()),
        }
    }
}

impl Mailbox {
    fn record(&mut self, id: AgentId, event: &Event) -> Checked {
        match event {
            Event::MessageQueued { seq, envelope, .. } => {
                let message = envelope.message;
                if self.senders.insert(message, envelope.from).is_some() {
                    return broken(Rule::AtMostOnce, format!("{message} came to {id} twice"));
                }
                self.priorities.insert(message, envelope.priority);
                self.wait(id, message, *seq)
            }
            Event::MessageResent { message, seq } => {
                if !self.dead.remove(message) {
                    return broken(Rule::NoEventNoAction, format!("{message} waits for {id} again, and was not dead"));
                }
                self.wait(id, *message, *seq)
            }
            Event::MessagesReceived { messages, .. } => {
                let mut order: Vec<(Priority, u64, MessageId)> =
                    self.waiting.iter().map(|(message, (priority, seq))| (*priority, *seq, *message)).collect();
                order.sort();
                let next = order.iter().map(|(_, _, message)| *message).take(messages.len());
                if !next.eq(messages.iter().copied()) {
                    return broken(Rule::AtMostOnce, format!("{id} took {messages:?}, which are not the next ones"));
                }
                self.received.extend(messages);
                self.waiting.retain(|message, _| !messages.contains(message));
                Ok(())
            }
            Event::MessagesDead { messages, .. } => self.die(id, messages),
            Event::MessagesExpired { dead, .. } => self.die(id, dead),
            Event::MessageDropped { message } if !self.dead.remove(message) => {
                broken(Rule::NoEventNoAction, format!("{message} of {id} was dropped, and was not dead"))
            }
            _ => Ok(()),
        }
    }

    fn wait(&mut self, id: AgentId, message: MessageId, seq: u64) -> Checked {
        if seq != self.queued + 1 {
            return broken(Rule::Chain, format!("{message} is number {seq} of {id} after {}", self.queued));
        }
        self.queued = seq;
        let priority = self.priorities.get(&message).copied().unwrap_or_default();
        self.waiting.insert(message, (priority, seq));
        Ok(())
    }

    fn die(&mut self, id: AgentId, messages: &[MessageId]) -> Checked {
        for message in messages {
            if self.waiting.remove(message).is_none() {
                return broken(Rule::AtMostOnce, format!("{message} of {id} is dead and did not wait"));
            }
            self.dead.insert(*message);
        }
        Ok(())
    }
}
