//! How people hold an agent: pause, resume, kill, revoke, each with a note. What may begin is asked here and nowhere else.
use super::{Agent, Event, Quarantine, Refusal, keys, planned, schedule};
use crate::actor::Actor;
use crate::approval::Scope;
use crate::call::Holder;
use crate::capability::clip;
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Unread;
use crate::id::{AgentId, ExecutionId};
use crate::session::Ending;
use crate::state as values;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// Who did it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    pub by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    Deployed,
    /// Nothing of it begins; what runs goes on.
    Paused {
        #[serde(flatten)]
        supervision: Supervision,
        /// When it is over by itself.
        until: Option<Time>,
    },
    /// Put away: nothing of it runs until it is recovered.
    Quarantined(Quarantine),
    /// For good; what runs is being cancelled.
    Revoked(Supervision),
    /// Deleted; its executions are being cancelled.
    Deleting {
        home_grace_ms: u64,
    },
    /// `home_due`: when its work folder may be removed; none once it is, or where there never was one.
    Archived {
        home_due: Option<Time>,
    },
}

impl State {
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Deployed => "deployed",
            State::Paused { .. } => "paused",
            State::Quarantined(_) => "quarantined",
            State::Revoked(_) => "revoked",
            State::Deleting { .. } => "deleting",
            State::Archived { .. } => "archived",
        }
    }
}

/// As people see it: who paused or revoked the agent, why, and when a pause ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervised {
    pub by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

impl Agent {
    pub(super) fn supervised(&self) -> Option<Supervised> {
        let (supervision, until) = match &self.state {
            State::Paused { supervision, until } => (supervision, *until),
            State::Revoked(supervision) => (supervision, None),
            State::Quarantined(quarantine) => {
                let Quarantine { by, description, cause, severity, .. } = quarantine;
                let note = format!("{} ({}): {description}", cause.as_str(), severity.as_str());
                return Some(Supervised { by: *by, note: Some(note), until: None });
            }
            State::Deployed | State::Deleting { .. } | State::Archived { .. } => return None,
        };
        Some(Supervised { by: supervision.by, note: supervision.note.clone(), until })
    }

    /// # Errors
    /// Why no execution of it may begin now.
    pub fn may_begin(&self) -> Result<(), Stop> {
        self.not_revoked()?;
        match &self.state {
            State::Paused { until, .. } => Err(refuse::<Agent>(Refusal::IsPaused { until: *until })),
            State::Quarantined(_) => self.not_quarantined(),
            _ if self.killed => Err(refuse::<Agent>(Refusal::StillEnding {})),
            State::Deployed | State::Revoked(_) | State::Deleting { .. } | State::Archived { .. } => Ok(()),
        }
    }

    /// # Errors
    /// It is revoked or deleted.
    pub fn not_revoked(&self) -> Result<(), Stop> {
        self.not_deleted()?;
        match self.state {
            State::Revoked(_) => Err(refuse::<Agent>(Refusal::AlreadyRevoked {})),
            State::Deployed
            | State::Paused { .. }
            | State::Quarantined(_)
            | State::Deleting { .. }
            | State::Archived { .. } => Ok(()),
        }
    }

    pub(super) fn not_deleted(&self) -> Result<(), Stop> {
        match self.state {
            State::Deleting { .. } | State::Archived { .. } => Err(refuse::<Agent>(Refusal::Archived {})),
            State::Deployed | State::Paused { .. } | State::Quarantined(_) | State::Revoked(_) => Ok(()),
        }
    }

    /// Whether what runs of it is being cancelled.
    pub(super) fn is_ending(&self) -> bool {
        match self.state {
            // A deleted one's last end is what archives it.
            State::Deleting { .. } => true,
            State::Revoked(_) => self.open > 0,
            State::Deployed | State::Paused { .. } | State::Quarantined(_) | State::Archived { .. } => self.killed,
        }
    }
}

fn by(draft: &Draft<'_>, note: Option<String>) -> Supervision {
    Supervision { by: draft.actor, note: note.map(|note| clip(&note)) }
}

/// Its messages wait for no budget any more.
pub(super) fn is_over(agent: &mut Agent, state: State) {
    (agent.state, agent.held_until) = (state, None);
}

pub(super) fn pause(id: AgentId, draft: &mut Draft<'_>, note: Option<String>, until: Option<Time>) -> Result<(), Stop> {
    let (supervision, now) = (by(draft, note), draft.wall);
    let agent = super::known(id, draft)?;
    agent.not_revoked()?;
    if until.is_some_and(|until| until <= now) {
        return Err(refuse::<Agent>(Refusal::UntilPast {}));
    }
    match &agent.state {
        State::Paused { supervision: known, until: end } if known.note == supervision.note && *end == until => {
            Err(refuse::<Agent>(Refusal::AlreadyPaused {}))
        }
        State::Quarantined(_) => agent.not_quarantined(),
        State::Deployed
        | State::Paused { .. }
        | State::Revoked(_)
        | State::Deleting { .. }
        | State::Archived { .. } => Ok(draft.emit::<Agent>(id, Event::Paused { supervision, until })?),
    }
}

pub(super) fn resume(id: AgentId, draft: &mut Draft<'_>, note: Option<String>) -> Result<(), Stop> {
    let (supervision, now) = (by(draft, note), draft.wall);
    let agent = super::known(id, draft)?;
    agent.not_revoked()?;
    match agent.state {
        State::Paused { .. } => {
            let next = schedule::after_pause(id, draft, now)?;
            draft.emit::<Agent>(id, Event::Resumed { supervision, next })?;
            planned::after_pause(id, draft, now)
        }
        State::Quarantined(_) => agent.not_quarantined(),
        State::Deployed | State::Revoked(_) | State::Deleting { .. } | State::Archived { .. } => {
            Err(refuse::<Agent>(Refusal::NotPaused {}))
        }
    }
}

/// Ends the pause whose time is over, and no other: between being owed and being done people may have made it longer.
pub(super) fn end_pause(id: AgentId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let (supervision, now) = (by(draft, Some("its time is over".to_string())), draft.wall);
    let agent = super::known(id, draft)?;
    agent.not_revoked()?;
    match agent.state {
        State::Paused { until: Some(until), .. } if until <= now => {
            // What falls due at its end or after it is no longer held back.
            let end = Time::from_millis(until.millis() - 1);
            let next = schedule::after_pause(id, draft, end)?;
            draft.emit::<Agent>(id, Event::Resumed { supervision, next })?;
            planned::after_pause(id, draft, end)
        }
        State::Deployed
        | State::Paused { .. }
        | State::Quarantined(_)
        | State::Revoked(_)
        | State::Deleting { .. }
        | State::Archived { .. } => Err(refuse::<Agent>(Refusal::NotPaused {})),
    }
}

pub(super) fn kill(id: AgentId, draft: &mut Draft<'_>, note: Option<String>) -> Result<(), Stop> {
    let supervision = by(draft, note);
    super::known(id, draft)?.not_revoked()?;
    draft.emit::<Agent>(id, Event::Killed(supervision))?;
    Ok(keys::end_all(id, draft, &Ending::Killed)?)
}

pub(super) fn revoke(id: AgentId, draft: &mut Draft<'_>, note: Option<String>) -> Result<(), Stop> {
    let supervision = by(draft, note);
    super::known(id, draft)?.not_revoked()?;
    draft.emit::<Agent>(id, Event::Revoked(supervision))?;
    Ok(keys::shut_out(id, draft, &Ending::AgentRevoked)?)
}

/// An execution of the agent ends; a deleted agent's last one archives it.
pub(crate) fn execution_ended(id: AgentId, draft: &mut Draft<'_>, execution: ExecutionId) -> Result<(), Unread> {
    values::end_session(draft, id, &values::Space::session(id, Holder::Execution(execution)))?;
    draft.emit::<Agent>(id, Event::ExecutionEnded { execution })?;
    archive_if_over(id, draft)
}

pub(super) fn apply_ended(agent: &mut Agent, execution: ExecutionId, stamp: Stamp) {
    agent.scheduled.retain(|open| *open != execution);
    planned::ended(agent, execution);
    agent.open = agent.open.saturating_sub(1);
    agent.killed &= agent.open > 0;
    agent.last_ended_at = Some(stamp.at);
    agent.grants.retain(|grant| grant.scope != Scope::Execution { id: execution });
}

pub(super) fn home_removed(agent: &mut Agent) {
    agent.home = None;
    agent.state = State::Archived { home_due: None };
}

pub(super) fn archive_if_over(id: AgentId, draft: &mut Draft<'_>) -> Result<(), Unread> {
    let now = draft.wall;
    let Some(agent) = draft.get::<Agent>(id)? else { return Ok(()) };
    match agent.state {
        State::Deleting { home_grace_ms } if agent.open == 0 => {
            let home_due = agent.home.map(|_| now.plus_ms(home_grace_ms));
            values::end_persistent(draft, id)?;
            draft.emit::<Agent>(id, Event::Archived { home_due })
        }
        State::Deleting { .. }
        | State::Deployed
        | State::Paused { .. }
        | State::Quarantined(_)
        | State::Revoked(_)
        | State::Archived { .. } => Ok(()),
    }
}
