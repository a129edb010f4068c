//! A deploy: a new agent, or a new revision of the one with its name.
use super::dependency::{self, Registered, Unmet};
use super::{Agent, Event, Mailbox, NextWake, Refusal, State, keys, schedule};
use crate::bound::{Bound, Hash, Payload};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::{Namespace, Unread};
use crate::id::AgentId;
use crate::manifest::Trigger;
use crate::plan::{Plan, Schedule};
use crate::retention::{Keeping, Retention};
use serde::{Deserialize, Serialize};

/// A manifest at the door, translated, checked and compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub name: String,
    pub listed: Listed,
    pub manifest: Payload,
    pub plan: Payload,
    pub digest: Hash,
    /// As its plan has them.
    pub schedule: Option<Schedule>,
    pub triggers: Vec<Trigger>,
    pub retention: Retention,
    /// Of the text of the key that a new agent gets; one that there is keeps its own.
    pub key: Option<Hash>,
    pub expect: Expectation,
    /// The older revision whose manifest and plan these are, where it is a rollback.
    pub repeats: Option<u32>,
}

/// What a deploy takes for granted; where it is otherwise, nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Any,
    /// No agent has the name.
    New,
    /// This is the newest revision, so that nobody's change is lost.
    Revision(u32),
}

/// What lists show of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub labels: Vec<(String, String)>,
    /// What it does for others, in its own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<String>,
    pub runtime: String,
    pub model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    pub agent: AgentId,
    pub name: String,
    pub revision: u32,
    #[serde(flatten)]
    pub listed: Listed,
    pub manifest: Bound,
    pub plan: Bound,
    pub digest: Hash,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    #[serde(default, skip_serializing_if = "Retention::is_off")]
    pub retention: Retention,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextWake>,
    /// The older revision whose manifest and plan these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u32>,
}

impl Agent {
    /// It is neither revoked nor deleted.
    pub(crate) fn lives(&self) -> bool {
        match self.state {
            State::Deployed | State::Paused { .. } | State::Quarantined(_) => true,
            State::Revoked(_) | State::Deleting { .. } | State::Archived { .. } => false,
        }
    }

    pub(super) fn created(deployed: &Deployed) -> Agent {
        let mut keeping = Keeping::default();
        keeping.set(deployed.retention);
        Agent {
            name: deployed.name.clone(),
            revision: deployed.revision,
            digest: deployed.digest,
            state: State::Deployed,
            killed: false,
            home: None,
            open: 0,
            last_started_at: None,
            last_ended_at: None,
            triggers: deployed.triggers.clone(),
            next: deployed.next,
            last: None,
            scheduled: Vec::new(),
            last_woken_at: None,
            keys: Vec::new(),
            sessions: Vec::new(),
            last_session_at: None,
            state_due: None,
            mailbox: Mailbox::default(),
            planned: Vec::new(),
            plans: 0,
            grants: Vec::new(),
            instance: None,
            program_held: false,
            budget: Vec::new(),
            held_until: None,
            keeping,
        }
    }
}

pub(super) fn deploy(fresh: AgentId, draft: &mut Draft<'_>, deployment: Deployment) -> Result<(), Stop> {
    let holder = draft.holder(Namespace::AgentName, &deployment.name.to_ascii_lowercase())?;
    let id = holder.and_then(|holder| holder.parse().ok()).unwrap_or(fresh);
    if id != fresh && draft.get::<Agent>(fresh)?.is_some() {
        return Err(refuse::<Agent>(Refusal::NameDiffers {}));
    }
    depended_on(draft, &deployment)?;
    let Some(agent) = draft.get::<Agent>(id)?.cloned() else {
        if let Expectation::Revision(_) = deployment.expect {
            return Err(refuse::<Agent>(Refusal::Unknown {}));
        }
        let next = schedule::deployed(id, draft, None, deployment.schedule.as_ref())?;
        let key = deployment.key;
        let created = deployed(id, 1, draft, deployment, next);
        draft.emit::<Agent>(id, Event::Created(created))?;
        return key.map_or(Ok(()), |hash| Ok(keys::create(id, draft, hash)?));
    };
    if !agent.name.eq_ignore_ascii_case(&deployment.name) {
        return Err(refuse::<Agent>(Refusal::NameDiffers {}));
    }
    agent.not_deleted()?;
    let (expected, newest) = (deployment.expect, agent.revision);
    match expected {
        Expectation::New => return Err(refuse::<Agent>(Refusal::NameTaken {})),
        Expectation::Revision(known) if known != newest => {
            return Err(refuse::<Agent>(Refusal::RevisedMeanwhile { revision: newest }));
        }
        Expectation::Any | Expectation::Revision(_) => {}
    }
    agent.not_revoked()?;
    // An older revision may have run the same manifest by another plan.
    if deployment.repeats.map_or(agent.digest == deployment.digest, |repeated| repeated == newest) {
        return Err(refuse::<Agent>(Refusal::Unchanged { agent: id }));
    }
    let next = schedule::deployed(id, draft, Some(&agent), deployment.schedule.as_ref())?;
    let mut revised = deployed(id, agent.revision + 1, draft, deployment, next);
    revised.name = agent.name;
    Ok(draft.emit::<Agent>(id, Event::Revised(revised))?)
}

/// What it depends on must be registered when it is: there is no instant at which it is not.
fn depended_on(draft: &mut Draft<'_>, deployment: &Deployment) -> Result<(), Stop> {
    let Ok(plan) = Plan::read(deployment.plan.bytes()) else { return Ok(()) };
    if plan.dependencies.is_empty() {
        return Ok(());
    }
    let mut find = |name: &str| registered(draft, name);
    let unmet = dependency::unmet(&deployment.name, &plan.dependencies, &mut find)?;
    let required: Vec<Unmet> = unmet.into_iter().filter(|unmet| unmet.required).collect();
    if required.is_empty() { Ok(()) } else { Err(refuse::<Agent>(Refusal::DependenciesUnmet { unmet: required })) }
}

fn registered(draft: &mut Draft<'_>, name: &str) -> Result<Option<Registered>, Unread> {
    let holder = draft.holder(Namespace::AgentName, &name.to_ascii_lowercase())?;
    let Some(id) = holder.and_then(|holder| holder.parse().ok()) else { return Ok(None) };
    let Some((name, lives, revision)) =
        draft.get::<Agent>(id)?.map(|agent| (agent.name.clone(), agent.lives(), agent.revision))
    else {
        return Ok(None);
    };
    let plan = draft.plan(id, revision)?;
    Ok(plan.map(|plan| Registered { name, lives, plan }))
}

fn deployed(
    agent: AgentId,
    revision: u32,
    draft: &mut Draft<'_>,
    deployment: Deployment,
    next: Option<NextWake>,
) -> Deployed {
    let Deployment {
        name,
        listed,
        manifest,
        plan,
        digest,
        schedule: _,
        triggers,
        retention,
        key: _,
        expect: _,
        repeats,
    } = deployment;
    let (manifest, plan) = (draft.bind(manifest), draft.bind(plan));
    Deployed { agent, name, revision, listed, manifest, plan, digest, triggers, retention, next, repeats }
}
