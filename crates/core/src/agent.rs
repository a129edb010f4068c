//! An agent: its name, its manifest's revisions and its administrative state. Presence (active, idle) is no part of it.
//!
//! ```text
//! deployed ──delete──> leaving ──last execution ended──> archived
//! ```
use crate::bound::{Bound, Hash, Payload};
use crate::execution::Terms;
use crate::id::AgentId;
use crate::time::Time;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub id: AgentId,
    pub name: String,
    pub revision: Revision,
    pub state: State,
}

/// What decisions need of the newest revision; its manifest is bound data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub number: u32,
    /// SHA-256 of the canonical manifest: the same file deployed again changes nothing.
    pub digest: Hash,
    pub terms: Terms,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    Deployed,
    /// Deleted; its executions are being cancelled.
    Leaving {
        since: Time,
    },
    Archived {
        since: Time,
    },
}

/// A manifest at the door, translated and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub name: String,
    pub version: Option<String>,
    pub labels: Vec<(String, String)>,
    pub runtime: String,
    pub manifest: Payload,
    pub digest: Hash,
    pub terms: Terms,
}

#[expect(clippy::large_enum_variant, reason = "a command lives for one decision")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Deploy(Deployment),
    Delete,
    /// By the reconciler, once no execution of the agent is left open.
    FinishDelete,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum Event {
    #[serde(rename = "agent.created")]
    Created(Deployed),
    #[serde(rename = "agent.revised")]
    Revised(Deployed),
    #[serde(rename = "agent.deleted")]
    Deleted {},
    #[serde(rename = "agent.archived")]
    Archived {},
    #[serde(rename = "command.refused")]
    Refused(crate::command::Refused),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    pub agent: AgentId,
    pub name: String,
    pub revision: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub labels: Vec<(String, String)>,
    pub runtime: String,
    pub manifest: Bound,
    pub digest: Hash,
    pub terms: Terms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misstep {
    Unknown,
    /// The same manifest is already the newest revision.
    Unchanged,
    Archived,
    /// Another agent has, or had, this name.
    NameTaken,
    /// A deploy under another name than the agent's own.
    NameDiffers,
    StillRunning,
}

/// What the view knows beyond the agent's own stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    /// The agent that holds this name, archived ones included.
    pub holder: Option<AgentId>,
    pub open_executions: u64,
}

pub fn decide(
    agent: Option<&Agent>,
    stream: AgentId,
    command: &Command,
    around: Around,
) -> Result<Vec<Event>, Misstep> {
    let event = match (command, agent) {
        (Command::Deploy(_), None) if around.holder.is_some_and(|holder| holder != stream) => {
            return Err(Misstep::NameTaken);
        }
        (Command::Deploy(deployment), None) => Event::Created(deployed(stream, 1, deployment)),
        (Command::Deploy(deployment), Some(agent)) => match agent.state {
            State::Leaving { .. } | State::Archived { .. } => return Err(Misstep::Archived),
            State::Deployed if !agent.name.eq_ignore_ascii_case(&deployment.name) => return Err(Misstep::NameDiffers),
            State::Deployed if agent.revision.digest == deployment.digest => return Err(Misstep::Unchanged),
            State::Deployed => Event::Revised(deployed(stream, agent.revision.number + 1, deployment)),
        },
        (Command::Delete | Command::FinishDelete, None) => return Err(Misstep::Unknown),
        (Command::Delete, Some(agent)) => match agent.state {
            State::Leaving { .. } | State::Archived { .. } => return Err(Misstep::Archived),
            State::Deployed if around.open_executions == 0 => {
                return Ok(vec![Event::Deleted {}, Event::Archived {}]);
            }
            State::Deployed => Event::Deleted {},
        },
        (Command::FinishDelete, Some(agent)) => match agent.state {
            State::Leaving { .. } if around.open_executions == 0 => Event::Archived {},
            State::Leaving { .. } | State::Deployed => return Err(Misstep::StillRunning),
            State::Archived { .. } => return Err(Misstep::Archived),
        },
    };
    Ok(vec![event])
}

fn deployed(agent: AgentId, revision: u32, deployment: &Deployment) -> Deployed {
    Deployed {
        agent,
        name: deployment.name.clone(),
        revision,
        version: deployment.version.clone(),
        labels: deployment.labels.clone(),
        runtime: deployment.runtime.clone(),
        manifest: deployment.manifest.bound(),
        digest: deployment.digest,
        terms: deployment.terms.clone(),
    }
}

pub fn apply(fold: &mut Option<Agent>, event: &Event, at: Time) {
    match event {
        Event::Created(deployed) => {
            *fold = Some(Agent {
                id: deployed.agent,
                name: deployed.name.clone(),
                revision: revision(deployed),
                state: State::Deployed,
            });
        }
        Event::Revised(deployed) => {
            if let Some(agent) = fold {
                agent.revision = revision(deployed);
            }
        }
        Event::Deleted {} => {
            if let Some(agent) = fold {
                agent.state = State::Leaving { since: at };
            }
        }
        Event::Archived {} => {
            if let Some(agent) = fold {
                agent.state = State::Archived { since: at };
            }
        }
        Event::Refused(_) => {}
    }
}

fn revision(deployed: &Deployed) -> Revision {
    Revision { number: deployed.revision, digest: deployed.digest, terms: deployed.terms.clone() }
}
