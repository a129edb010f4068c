//! How a call ended, in the words that records and lists have for it.
use serde::{Deserialize, Serialize};

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Done {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    },
    /// It was tried and did not succeed; `code` is the reason's stable name.
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
    /// Ended before it was done: cancelled, or its iteration or session was over.
    Killed,
    /// What was in flight is not known. `again`: it is idempotent and will be repeated.
    Lost {
        again: bool,
    },
    /// It met a link; `path` is where the link leads, to be judged before anything is done.
    Redirected {
        path: String,
    },
}

impl Outcome {
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Done { .. } => "done",
            Outcome::Failed { .. } => "failed",
            Outcome::TimedOut => "timed_out",
            Outcome::ResourceExhausted { .. } => "resource_exhausted",
            Outcome::Killed => "killed",
            Outcome::Lost { .. } => "lost",
            Outcome::Redirected { .. } => "redirected",
        }
    }

    /// As rows show it: with what went wrong behind it.
    pub fn to_word(&self) -> String {
        match self {
            Outcome::Failed { code } => format!("failed:{code}"),
            Outcome::ResourceExhausted { resource, .. } => format!("resource_exhausted:{resource}"),
            Outcome::Done { .. }
            | Outcome::TimedOut
            | Outcome::Killed
            | Outcome::Lost { .. }
            | Outcome::Redirected { .. } => self.as_str().to_string(),
        }
    }

    /// The call is proposed anew after it.
    pub fn is_again(&self) -> bool {
        match self {
            Outcome::Lost { again } => *again,
            Outcome::Redirected { .. } => true,
            Outcome::Done { .. }
            | Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::ResourceExhausted { .. }
            | Outcome::Killed => false,
        }
    }
}
