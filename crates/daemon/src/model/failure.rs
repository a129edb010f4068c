//! Why a model did not answer, in kinds that a reconciler can act on and a sentence that a person can.

use super::answer::Usage;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{sentence}")]
pub struct Failure {
    #[serde(flatten)]
    pub kind: Kind,
    /// What happened, with the provider's own words clipped and scrubbed of keys.
    pub sentence: String,
    /// What to do next.
    pub hint: String,
    /// Another model of the same alias may be asked at once.
    #[serde(skip)]
    pub elsewhere: bool,
    /// The provider had begun to answer, and counts it, though nothing of it came to an end here.
    #[serde(skip)]
    pub begun: bool,
    /// What the provider counted of the answer that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Box<Spent>>,
}

/// What a failed answer cost all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub usage: Usage,
    /// Micro-dollars; `None` is an unknown price.
    pub micro_usd: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The provider does not accept the key, or there is none.
    Auth,
    /// The account is out of credit: waiting does not help.
    Quota,
    UnknownModel,
    RateLimited {
        retry_after_ms: Option<u64>,
    },
    Overloaded {
        retry_after_ms: Option<u64>,
    },
    ServerError,
    /// No connection, or one that broke before the answer began.
    Transport,
    /// The answer began and did not end.
    Truncated,
    /// The answer ended and held nothing.
    Empty,
    /// The answer is not what the protocol promises, such as arguments that are not JSON.
    Malformed,
    ContextTooLong,
    /// The provider understood the request and will not take it as it is.
    Rejected,
    /// The provider's filter withheld the answer.
    Refused,
    /// The model wrote without coming to an end: the same request would most likely end the same way.
    Runaway,
    Deadline,
    Cancelled,
    /// What this model needs is not there (weights, program, configuration).
    NotReady,
    /// The cassette has no answer for this turn.
    CassetteEnded,
}

impl Kind {
    /// Whether the same request may succeed later with nobody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Kind::RateLimited { .. }
            | Kind::Overloaded { .. }
            | Kind::ServerError
            | Kind::Transport
            | Kind::Truncated
            | Kind::Empty
            | Kind::Malformed
            | Kind::Deadline => true,
            Kind::Auth
            | Kind::Quota
            | Kind::UnknownModel
            | Kind::ContextTooLong
            | Kind::Rejected
            | Kind::Refused
            | Kind::Runaway
            | Kind::Cancelled
            | Kind::NotReady
            | Kind::CassetteEnded => false,
        }
    }

    /// Stable word for events, problem bodies and tables.
    pub fn code(&self) -> &'static str {
        match self {
            Kind::Auth => "auth",
            Kind::Quota => "quota",
            Kind::UnknownModel => "unknown_model",
            Kind::RateLimited { .. } => "rate_limited",
            Kind::Overloaded { .. } => "overloaded",
            Kind::ServerError => "server_error",
            Kind::Transport => "transport",
            Kind::Truncated => "truncated",
            Kind::Empty => "empty",
            Kind::Malformed => "malformed",
            Kind::ContextTooLong => "context_too_long",
            Kind::Rejected => "rejected",
            Kind::Refused => "refused",
            Kind::Runaway => "runaway",
            Kind::Deadline => "deadline",
            Kind::Cancelled => "cancelled",
            Kind::NotReady => "not_ready",
            Kind::CassetteEnded => "cassette_ended",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Failure {
    pub fn new(kind: Kind, sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        let begun = matches!(kind, Kind::Truncated | Kind::Runaway);
        Failure { kind, sentence: sentence.into(), hint: hint.into(), elsewhere: false, begun, spent: None }
    }

    /// The same of an answer that had begun.
    pub fn begun(self) -> Self {
        Failure { begun: true, ..self }
    }

    pub fn retryable(&self) -> bool {
        self.kind.retryable()
    }

    /// What the provider asked to wait, at most an hour.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self.kind {
            Kind::RateLimited { retry_after_ms } | Kind::Overloaded { retry_after_ms } => retry_after_ms,
            Kind::Auth
            | Kind::Quota
            | Kind::UnknownModel
            | Kind::ServerError
            | Kind::Transport
            | Kind::Truncated
            | Kind::Empty
            | Kind::Malformed
            | Kind::ContextTooLong
            | Kind::Rejected
            | Kind::Refused
            | Kind::Runaway
            | Kind::Deadline
            | Kind::Cancelled
            | Kind::NotReady
            | Kind::CassetteEnded => None,
        }
    }
}
