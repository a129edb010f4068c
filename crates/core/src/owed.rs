//! What the world owes the folded state, and when. Pure: `transact` diffs it before and after each command and the store
//! keeps the difference as rows; reconcilers read those rows and nothing else.
use crate::agent::Waking;
use crate::comms::Audience;
use crate::id::{AgentId, CallId, ConnectionId, LeaseId, MessageId, WorkerId};
use crate::time::{Due, Run, Time};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    pub obligation: Obligation,
    /// Not before this moment.
    pub due: Due,
}

/// One thing to do. Its JSON is the key of its row: unique among what one stream owes at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, strum::EnumDiscriminants)]
#[serde(rename_all = "snake_case")]
#[strum_discriminants(name(Kind), doc = "The reconciler that an obligation belongs to.")]
#[strum_discriminants(derive(Hash, PartialOrd, Ord, strum::EnumIter, strum::EnumCount, strum::IntoStaticStr))]
#[strum_discriminants(strum(serialize_all = "snake_case"))]
pub enum Obligation {
    /// Give a queued or unbound execution to a worker, or a session whose calls wait; `iteration`: which of its jails.
    Place {
        iteration: u32,
    },
    /// Call the model; `open`: it was called, and its end is owed.
    Think {
        iteration: u32,
        turn: u32,
        attempt: u32,
        open: bool,
    },
    /// A program's model call is open: whoever has it in hand ends it, and else it is lost.
    EndModelCall {
        call: CallId,
    },
    /// Send a leased call to its worker, and bring its outcome.
    Dispatch {
        call: CallId,
        lease: LeaseId,
        connection: ConnectionId,
    },
    /// Bring the arguments of a call on our own rows.
    Perform {
        call: CallId,
    },
    /// Run the program that the execution's agent is, or hear what this call of it gave.
    Program {
        iteration: u32,
        call: Option<CallId>,
    },
    /// Start the program of a code agent.
    StartProgram,
    /// Ask the program of an instance for its health, or read what this call of it gave.
    CheckHealth {
        call: Option<CallId>,
    },
    Validate {
        iteration: u32,
        index: u32,
        check: Option<CallId>,
    },
    /// Destroy the jail of a closing iteration, or the one of a session that has this number. `last`: none comes after it.
    Release {
        iteration: u32,
        connection: ConnectionId,
        last: bool,
    },
    /// End a leased call that was taken back, before the rest of its jail.
    Cancel {
        call: CallId,
        lease: LeaseId,
        connection: ConnectionId,
    },
    /// A clock runs out.
    Expire,
    /// The time of a session's call is over, or its jail is idle.
    ExpireCalls,
    /// A call has waited too long for a person to allow it.
    ExpireApprovals,
    /// Calls that wait for people are judged by the policy that holds now.
    Rejudge {
        number: u32,
    },
    /// Give back what a lapsed connection held.
    Sweep {
        connection: ConnectionId,
        since: Run,
    },
    /// Cancel the executions of an agent that was killed, revoked or deleted.
    CancelExecutions,
    /// Cancel what an execution started that is cancelled itself; `left` moves with each end.
    CancelChildren {
        left: u32,
    },
    /// The pause of an agent is over.
    EndPause,
    /// Wake an agent.
    Wake {
        waking: Waking,
    },
    /// A key of an agent dies, beside which another lived for a while.
    EndKey,
    /// Stored values expire, or their history has more than its room.
    SweepState,
    /// Erase what is kept too long, or is too much; `due` moves with each page.
    Retain {
        due: Time,
    },
    /// Erase the rest of what an execution or session bound; `through` moves with each page.
    Erase {
        through: u64,
    },
    /// Remove the work folder of an archived agent.
    RemoveHome {
        worker: WorkerId,
    },
    /// Deliver the next page of a message to many.
    FanOut {
        message: MessageId,
        to: Audience,
        after: Option<AgentId>,
    },
    /// Deadlines of answers are over.
    ExpireMessages,
    /// What waits for an agent that is gone is dead; `waiting` moves with each page.
    DeadLetterMessages {
        waiting: u32,
    },
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Obligation {
    pub fn kind(&self) -> Kind {
        self.into()
    }

    pub fn to_key(&self) -> String {
        serde_json::to_string(self).expect("invariant: an obligation is JSON")
    }

    /// # Errors
    /// Text that is no obligation.
    pub fn from_key(key: &str) -> Result<Obligation, String> {
        serde_json::from_str(key).map_err(|error| format!("`{key}` is no obligation: {error}"))
    }
}
