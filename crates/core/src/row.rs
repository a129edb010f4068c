//! The list rows that events imply, written in the same transaction. Derived from the fold after the event and from
//! the event alone, so that `verify --rows` can rebuild them. Lists read only rows.
mod execution;

use crate::access::Role;
use crate::agent;
use crate::bound::Hash;
use crate::fleet;
use crate::fold::{Event, Fold, Stream};
use crate::id::{AgentId, CallId, ExecutionId, KeyId, SessionId, WorkerId};
use crate::project;
use crate::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    Key {
        id: KeyId,
        name: String,
        role: Role,
        hash: Hash,
        created_at: Time,
    },
    KeyRevoked {
        id: KeyId,
        at: Time,
    },
    Agent(AgentRow),
    Revision(RevisionRow),
    Execution(Box<ExecutionRow>),
    /// Binds an idempotency key of an agent to the execution that it started.
    Twin {
        agent: AgentId,
        key: Hash,
        execution: ExecutionId,
    },
    Iteration(IterationRow),
    Turn(TurnRow),
    /// Something that the model is told before its next turn.
    Note {
        execution: ExecutionId,
        iteration: u32,
        turn: u32,
        note: Note,
    },
    /// A call as asked for.
    Call(CallRow),
    CallCalled {
        id: CallId,
        at: Time,
        rules: String,
    },
    CallEnded {
        id: CallId,
        at: Time,
        outcome: String,
        exit_code: Option<i32>,
        result: Option<Hash>,
        level: Option<String>,
    },
    CallBlocked {
        id: CallId,
        at: Time,
        why: &'static str,
        sentence: String,
    },
    Validation(ValidationRow),
    Worker(WorkerRow),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The sandbox died; only the work folder survived.
    SandboxLost,
}

impl Note {
    pub fn word(self) -> &'static str {
        match self {
            Note::SandboxLost => "sandbox_lost",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    pub id: AgentId,
    pub name: String,
    /// `deployed`, `leaving` or `archived`; presence is joined to it when listed.
    pub state: &'static str,
    pub revision: u32,
    /// Present in the events that deploy.
    pub deployed: Option<DeployedRow>,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedRow {
    pub runtime: String,
    pub labels: Vec<(String, String)>,
    pub model: String,
    pub version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionRow {
    pub agent: AgentId,
    pub number: u32,
    pub version: Option<String>,
    pub digest: Hash,
    pub manifest: Hash,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionRow {
    pub id: ExecutionId,
    pub agent: AgentId,
    pub revision: u32,
    pub status: &'static str,
    pub waiting_for: Option<&'static str>,
    pub cancel_requested: bool,
    pub reason: Option<&'static str>,
    pub detail: Option<String>,
    /// The iteration that runs, or the last that ran; 0 before the first.
    pub iterations: u32,
    pub max_iterations: u32,
    pub tool_calls: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub micro_usd: u64,
    pub unpriced: u32,
    pub session: Option<SessionId>,
    pub worker: Option<WorkerId>,
    /// Milliseconds on the wall clock that count: not queued, not down.
    pub wall_used_ms: u64,
    pub output: Option<Hash>,
    pub at: Time,
    /// Present in `execution.started`.
    pub started: Option<Hash>,
    pub ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IterationRow {
    pub execution: ExecutionId,
    pub number: u32,
    /// `running`, `completed` or `failed`.
    pub status: &'static str,
    pub cause: Option<String>,
    pub turns: u32,
    pub used_ms: u64,
    pub output: Option<Hash>,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnRow {
    pub execution: ExecutionId,
    pub iteration: u32,
    pub turn: u32,
    pub delta: Hash,
    pub output: Option<Hash>,
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub micro_usd: Option<u64>,
    pub took_ms: u64,
    pub cassette: bool,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    pub id: CallId,
    pub execution: ExecutionId,
    pub iteration: u32,
    /// The turn that asked for it; a validator's calls belong to the turn after the last.
    pub turn: u32,
    pub ordinal: u32,
    pub validator: bool,
    pub capability: String,
    pub arguments: Hash,
    pub path: Option<String>,
    pub command: Option<String>,
    pub host: Option<String>,
    pub bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationRow {
    pub execution: ExecutionId,
    pub iteration: u32,
    pub index: u32,
    pub validator: String,
    pub pass: bool,
    pub score_milli: u32,
    pub reasons: Hash,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    pub id: WorkerId,
    pub name: String,
    pub fence: u64,
    pub session: Option<SessionId>,
    pub slots: u32,
    pub at: Time,
}

/// The rows of one event; `before` and `after` are the fold around it.
pub fn rows(stream: Stream, before: Option<&Fold>, after: Option<&Fold>, event: &Event, at: Time) -> Vec<Row> {
    match (stream, event, after) {
        (Stream::Project, Event::Project(event), _) => of_project(event, at),
        (Stream::Agent(_), Event::Agent(event), Some(Fold::Agent(agent))) => of_agent(agent, event, at),
        (Stream::Execution(id), Event::Execution(event), Some(Fold::Execution(after))) => {
            execution::rows(id, before.and_then(Fold::execution), after, event, at)
        }
        (Stream::Worker(_), Event::Worker(event), Some(Fold::Worker(worker))) => of_worker(worker, event, at),
        (Stream::Project | Stream::Agent(_) | Stream::Execution(_) | Stream::Worker(_), ..) => Vec::new(),
    }
}

fn of_project(event: &project::Event, at: Time) -> Vec<Row> {
    match event {
        project::Event::KeyCreated { key, name, role, hash } => {
            vec![Row::Key { id: *key, name: name.clone(), role: *role, hash: *hash, created_at: at }]
        }
        project::Event::KeyRevoked { key } => vec![Row::KeyRevoked { id: *key, at }],
        project::Event::Founded { .. }
        | project::Event::DaemonStarted { .. }
        | project::Event::RestoreAccepted { .. }
        | project::Event::Refused(_) => Vec::new(),
    }
}

fn of_agent(agent: &agent::Agent, event: &agent::Event, at: Time) -> Vec<Row> {
    let state = match agent.state {
        agent::State::Deployed => "deployed",
        agent::State::Leaving { .. } => "leaving",
        agent::State::Archived { .. } => "archived",
    };
    let row = |deployed| {
        Row::Agent(AgentRow {
            id: agent.id,
            name: agent.name.clone(),
            state,
            revision: agent.revision.number,
            deployed,
            at,
        })
    };
    match event {
        agent::Event::Created(deployed) | agent::Event::Revised(deployed) => vec![
            row(Some(DeployedRow {
                runtime: deployed.runtime.clone(),
                labels: deployed.labels.clone(),
                model: deployed.terms.model.clone(),
                version: deployed.version.clone(),
            })),
            Row::Revision(RevisionRow {
                agent: agent.id,
                number: deployed.revision,
                version: deployed.version.clone(),
                digest: deployed.digest,
                manifest: deployed.manifest.hash,
                at,
            }),
        ],
        agent::Event::Deleted {} | agent::Event::Archived {} => vec![row(None)],
        agent::Event::Refused(_) => Vec::new(),
    }
}

fn of_worker(worker: &fleet::Worker, event: &fleet::Event, at: Time) -> Vec<Row> {
    match event {
        fleet::Event::Registered { .. }
        | fleet::Event::SessionOpened { .. }
        | fleet::Event::SessionLapsed { .. }
        | fleet::Event::SessionSwept { .. } => vec![Row::Worker(WorkerRow {
            id: worker.id,
            name: worker.name.clone(),
            fence: worker.fence.0,
            session: worker.session.as_ref().map(|session| session.id),
            slots: worker.session.as_ref().map_or(0, |session| session.slots),
            at,
        })],
        fleet::Event::Refused(_) => Vec::new(),
    }
}
