//! The words of an execution: what started it, why it failed, how it stands. They are on disk and in the API: none may change.
use serde::{Deserialize, Serialize};

/// What started an execution.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
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
pub enum Trigger {
    /// A person, or a program of theirs.
    #[default]
    Manual,
    /// The clock.
    Schedule,
    /// A message.
    Comms,
    /// Another agent.
    Agent,
}

impl Trigger {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub(super) fn is_manual(&self) -> bool {
        *self == Trigger::Manual
    }
}

/// Why an execution failed.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    MaxIterations,
    Timeout,
    TokenBudget,
    CostBudget,
    ToolBudget,
    ModelError,
    Blocked,
    Crashed,
    Lost,
    InvalidInput,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What a person does about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Reason::MaxIterations => "increase max_iterations or simplify the instructions",
            Reason::Timeout => "the task may be too complex for one run",
            Reason::TokenBudget => "reduce the scope or increase the budget",
            Reason::CostBudget => "reduce the scope, increase the budget or use a cheaper model",
            Reason::ToolBudget => "reduce the scope or increase the limit of tool calls",
            Reason::ModelError => "check the API key and the model's availability",
            Reason::Blocked => "review what its tools and policies allow",
            Reason::Crashed => "look at its log, mend it and run it again",
            Reason::Lost => "run it again: what it was in the middle of is not known",
            Reason::InvalidInput => "run it again with an input that fits",
        }
    }
}

/// The status words of SPEC 3.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    Queued,
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn has_ended(self) -> bool {
        match self {
            Status::Completed | Status::Failed | Status::Cancelled => true,
            Status::Queued | Status::Running | Status::Waiting => false,
        }
    }
}
