//! Messages: what one is, who may send it, how it is delivered, taken and answered. A message is `message.sent` on its
//! sender's stream and `message.queued` on each recipient's, in one commit; what is sent to many is one event, delivered in
//! pages. What a message says is bound data: it is read only where it is handed over, and nothing is decided by it.
//!
//! ```text
//! send ──> waiting ──taken──> received ──reply──> answered
//!             │  └──its deadline is over, its recipient is gone, the mailbox is full──> dead ──send again──> waiting
//!             └──────────────────────────────────────────────────────────────────────────┴──dropped
//! ```
mod deliver;
mod received;

pub(crate) use deliver::{
    Addressed, Letter, Unsent, deliver, deliver_once, fan_out, reply, send, subscribe, unsubscribe,
};
pub use received::{Spoken, list_of};
pub(crate) use received::{pick, take};

use crate::actor::Actor;
use crate::bound::{Bound, Hash};
use crate::call::Holder;
use crate::id::{AgentId, MessageId};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Of what one message says, as JSON.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Messages that may wait for one agent; the next one is a dead letter.
pub const WAITING_MAX: u32 = 10_000;
/// Channels that one agent may take from.
pub const CHANNELS_MAX: usize = 32;
/// Messages to many of one agent that are being delivered at a time.
pub const FAN_OUTS_MAX: usize = 8;
/// Recipients that one commit delivers to, and messages that one takes.
pub const PAGE: u32 = 256;
/// Of what the messages say that are taken together; the first one is taken whatever it has.
pub const TAKEN_BYTES_MAX: u64 = 512 * 1024;
pub const CHANNEL_BYTES_MAX: usize = 63;
pub const CORRELATION_BYTES_MAX: usize = 128;
pub const DEADLINE_SECONDS_MAX: u64 = 30 * 24 * 3600;

/// In the order in which they are taken.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What holds of messages by an agent's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub messages_per_minute: u32,
    /// A message has one hop more than the last one that its sender's execution took.
    pub hop_limit: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { messages_per_minute: 60, hop_limit: 16 }
    }
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Audience {
    Agent {
        agent: AgentId,
    },
    /// Whoever asked; it waits for nobody.
    Person {
        person: Actor,
    },
    /// Every agent with this label.
    Label {
        key: String,
        value: String,
    },
    Channel {
        channel: String,
    },
}

/// A message without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub message: MessageId,
    pub from: Actor,
    /// Of an agent, as it was called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub priority: Priority,
    pub body: Bound,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// Until when an answer is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    pub hop: u32,
    pub sent_at: Time,
}

/// Why a message is dead.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// Its recipient was deleted or revoked before it took the message.
    RecipientGone,
    MailboxFull,
    /// Its deadline passed before it was taken.
    Deadline,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum State {
    Waiting,
    Received,
    Dead,
    Dropped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A message as lists show it: one row a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    pub recipient: Actor,
    pub id: MessageId,
    /// Counts what came to this recipient; sent again, it has a new one.
    pub seq: u64,
    pub priority: Priority,
    pub sender: Actor,
    pub sender_name: Option<String>,
    pub channel: Option<String>,
    pub body: Hash,
    pub size: u64,
    pub correlation: Option<String>,
    pub reply_to: Option<MessageId>,
    pub deadline: Option<Time>,
    pub hop: u32,
    pub state: State,
    pub cause: Option<Cause>,
    /// The execution or session that took it.
    pub holder: Option<Holder>,
    /// The first answer to it.
    pub answer: Option<MessageId>,
    /// Its deadline passed, and no answer had come.
    pub expired: bool,
    pub sent_at: Time,
    pub changed_at: Time,
}

impl MessageRow {
    pub(crate) fn of(recipient: Actor, seq: u64, state: State, envelope: &Envelope, at: Time) -> MessageRow {
        let Envelope {
            message,
            from,
            from_name,
            channel,
            priority,
            body,
            correlation,
            reply_to,
            deadline,
            hop,
            sent_at,
        } = envelope.clone();
        MessageRow {
            recipient,
            id: message,
            seq,
            priority,
            sender: from,
            sender_name: from_name,
            channel,
            body: body.hash,
            size: body.size,
            correlation,
            reply_to,
            deadline,
            hop,
            state,
            cause: None,
            holder: None,
            answer: None,
            expired: false,
            sent_at,
            changed_at: at,
        }
    }

    /// The sender, where it is an agent.
    pub fn asker(&self) -> Option<AgentId> {
        self.sender.agent()
    }

    /// As a text that both parties know it by: the given one, or its own id.
    pub fn correlation(&self) -> String {
        self.correlation.clone().unwrap_or_else(|| self.id.to_string())
    }

    /// An answer is awaited until its deadline.
    pub fn awaits_answer(&self) -> bool {
        let live = matches!(self.state, State::Waiting | State::Received);
        live && self.deadline.is_some() && self.answer.is_none() && !self.expired
    }

    /// What becomes of the row; the store's table does the same.
    pub fn change(&mut self, change: &MessageChange, at: Time) {
        match change {
            MessageChange::Received { holder } => (self.state, self.holder) = (State::Received, Some(*holder)),
            MessageChange::Dead { cause } => (self.state, self.cause) = (State::Dead, Some(*cause)),
            MessageChange::Unanswered => self.expired = true,
            MessageChange::Answered { by } => {
                self.answer.get_or_insert(*by);
            }
            MessageChange::Resent { seq } => {
                (self.state, self.cause, self.seq, self.deadline) = (State::Waiting, None, *seq, None);
            }
            MessageChange::Dropped => self.state = State::Dropped,
        }
        self.changed_at = at;
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageChange {
    Received {
        holder: Holder,
    },
    Dead {
        cause: Cause,
    },
    Unanswered,
    Answered {
        by: MessageId,
    },
    /// Dead, and waiting anew; its deadline is void.
    Resent {
        seq: u64,
    },
    Dropped,
}

/// May a channel have this name? `a-z`, `0-9`, `.`, `_` and `-`.
pub fn is_channel(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= CHANNEL_BYTES_MAX && name.bytes().all(fits)
}
