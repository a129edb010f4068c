//! An agent that is put away: nothing of it runs until it is recovered, and how often that may be tried follows from how bad it was.
//! What was known of it at that moment is kept as evidence.
use super::{Agent, Event, Refusal, State, keys, planned, schedule};
use crate::actor::Actor;
use crate::bound::Payload;
use crate::capability::clip;
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Unread;
use crate::id::AgentId;
use crate::session::Ending;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Why (seed 003, `QuarantineReason.type`).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Serialize,
    Deserialize,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    Crash,
    ResourceAbuse,
    SecurityViolation,
    #[default]
    Manual,
}

/// How bad it is (seed 003, `QuarantineReason.severity`).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Serialize,
    Deserialize,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// How often recovery may be tried.
    pub fn tries_max(self) -> u32 {
        match self {
            Severity::Low => 5,
            Severity::Medium => 3,
            Severity::High => 1,
            Severity::Critical => 0,
        }
    }
}

/// An agent's time in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    pub cause: Cause,
    pub severity: Severity,
    pub by: Actor,
    /// What happened, in a sentence.
    pub description: String,
    pub at: Time,
}

impl Agent {
    /// # Errors
    /// It is in quarantine.
    pub fn not_quarantined(&self) -> Result<(), Stop> {
        match &self.state {
            State::Quarantined(Quarantine { cause, severity, .. }) => {
                Err(refuse::<Agent>(Refusal::IsQuarantined { cause: *cause, severity: *severity }))
            }
            State::Deployed
            | State::Paused { .. }
            | State::Revoked(_)
            | State::Deleting { .. }
            | State::Archived { .. } => Ok(()),
        }
    }
}

pub(super) fn enter(
    id: AgentId,
    draft: &mut Draft<'_>,
    (cause, severity): (Cause, Severity),
    description: &str,
) -> Result<(), Stop> {
    let agent = super::known(id, draft)?;
    agent.not_revoked()?;
    if let State::Quarantined(_) = agent.state {
        return Err(refuse::<Agent>(Refusal::AlreadyQuarantined {}));
    }
    Ok(put_away(id, draft, (cause, severity), description)?)
}

/// Its program crashes too often; one that is put away already stays so.
pub(crate) fn put_away_for_crashes(id: AgentId, draft: &mut Draft<'_>, description: &str) -> Result<(), Unread> {
    let may = |agent: &&Agent| matches!(agent.state, State::Deployed | State::Paused { .. });
    if draft.get::<Agent>(id)?.filter(may).is_none() {
        return Ok(());
    }
    put_away(id, draft, (Cause::Crash, Severity::Medium), description)
}

fn put_away(
    id: AgentId,
    draft: &mut Draft<'_>,
    (cause, severity): (Cause, Severity),
    description: &str,
) -> Result<(), Unread> {
    let Some(agent) = draft.get::<Agent>(id)?.cloned() else { return Ok(()) };
    let plan = draft.plan(id, agent.revision)?.map(|plan| plan.to_bytes());
    let plan = plan.as_deref().map(String::from_utf8_lossy);
    let evidence = json!({ "agent": agent, "plan": plan }).to_string().into_bytes();
    let evidence = Payload::new(draft.mint.salt(), evidence);
    let evidence = draft.bind(evidence);
    let (by, description, at) = (draft.actor, clip(description), draft.stamp.at);
    let quarantine = Quarantine { cause, severity, by, description, at };
    draft.emit::<Agent>(id, Event::Quarantined { quarantine, evidence })?;
    keys::end_all(id, draft, &Ending::Quarantined)
}

/// Lets it begin again. What fell due meanwhile is treated as after a pause.
pub(super) fn recover(id: AgentId, draft: &mut Draft<'_>, note: Option<String>) -> Result<(), Stop> {
    let now = draft.wall;
    let agent = super::known(id, draft)?;
    agent.not_revoked()?;
    let State::Quarantined(quarantine) = &agent.state else {
        return Err(refuse::<Agent>(Refusal::NotQuarantined {}));
    };
    if quarantine.severity.tries_max() == 0 {
        return Err(refuse::<Agent>(Refusal::MaxRetriesExceeded { severity: quarantine.severity }));
    }
    if agent.killed {
        return Err(refuse::<Agent>(Refusal::StillEnding {}));
    }
    let (by, next) = (draft.actor, schedule::after_pause(id, draft, now)?);
    draft.emit::<Agent>(id, Event::Recovered { by, note: note.map(|note| clip(&note)), next })?;
    planned::after_pause(id, draft, now)
}
