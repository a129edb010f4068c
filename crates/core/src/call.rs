//! One capability call: the sub-machine that executions (and later sessions and instances) hold.
//!
//! ```text
//! proposed ──judge──> called ──outcome──> ended
//!     │                 │ lost, idempotent
//!     └──> blocked      └──────────────> proposed, judged again
//! ```
//! Every `call.called` gets exactly one `call.ended`; a proposed call is never in flight.
use crate::bound::{Bound, Hash, Payload};
use crate::capability::{Attributes, Effects};
use crate::id::{CallId, LeaseId};
use crate::judge::Judgement;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Losses of one call before even an idempotent one is given up as unknown.
pub const LOSSES_MAX: u32 = 50;

/// Counts the openings of a worker's sessions; a result under an older fence is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// A call that a model, or a validator, asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// As the asker named it; at most 128 bytes.
    pub capability: String,
    pub arguments: Payload,
    pub attributes: Attributes,
    /// Why the arguments do not fit the capability's schema; at most 512 bytes.
    pub misfit: Option<String>,
}

/// A call that has no terminal event yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub id: CallId,
    pub capability: String,
    pub arguments: Hash,
    pub attributes: Attributes,
    pub idempotent: bool,
    pub effects: Effects,
    pub losses: u32,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Proposed,
    Called { lease: LeaseId, fence: Fence },
}

impl Open {
    pub fn lease(&self) -> Option<(LeaseId, Fence)> {
        match self.state {
            State::Proposed => None,
            State::Called { lease, fence } => Some((lease, fence)),
        }
    }
}

/// How a leased call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Done {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    },
    /// The deed was tried and did not succeed; `code` is the reason's stable name.
    Failed {
        code: String,
    },
    TimedOut,
    /// A limit was hit; `limit` is how much there was, in the resource's own unit (bytes, processes, files, ms).
    ResourceExhausted {
        resource: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Ended with its sandbox: cancelled, or its iteration was over.
    Killed,
    /// It met a link; `path` is where the link leads, to be judged before anything is done.
    Redirected {
        path: String,
    },
    /// What was in flight is not known. `again`: it is idempotent and will be repeated.
    Lost {
        again: bool,
    },
}

impl Outcome {
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Done { .. } => "done",
            Outcome::Failed { .. } => "failed",
            Outcome::TimedOut => "timed_out",
            Outcome::ResourceExhausted { .. } => "resource_exhausted",
            Outcome::Killed => "killed",
            Outcome::Redirected { .. } => "redirected",
            Outcome::Lost { .. } => "lost",
        }
    }
}

/// Why a proposed call was never made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Blocked {
    Policy {
        judgement: Judgement,
    },
    Misfit {
        sentence: String,
    },
    /// The iteration ended before its turn came.
    Withdrawn,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::Policy { judgement } => write!(f, "blocked by policy ({})", judgement.rules.join(", ")),
            Blocked::Misfit { sentence } => write!(f, "wrong arguments: {sentence}"),
            Blocked::Withdrawn => f.write_str("withdrawn: its iteration ended first"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub call: CallId,
    pub capability: String,
    pub arguments: Hash,
    pub attributes: Attributes,
    pub effects: Effects,
    pub idempotent: bool,
    pub judgement: Judgement,
    pub lease: LeaseId,
    pub fence: Fence,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub call: CallId,
    pub lease: LeaseId,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Bound>,
    /// Milliseconds that the deed itself took, as the worker measured.
    #[serde(default)]
    pub took_ms: u64,
    /// The confinement that held while it ran, as the sandbox named it; at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}
