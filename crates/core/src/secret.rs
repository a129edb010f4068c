//! A secret: a value that agents use and never see. This module knows its name, its version, who may use it and where; the value
//! itself is sealed by the daemon's vault and bound here as bytes that nothing in this crate can open. It must never take, hold or
//! compare a value.
//!
//! ```text
//! set ──> live ──rotate──> live ──revoke──> revoked, its sealed bytes erased
//!           └─ bind, unbind: agent × capability × host; none is bound by itself
//! ```
mod binding;

pub use binding::{Binding, BindingRow, USED_BY, covers, host_fits, is_private, is_wanted, of_server};
pub(crate) use binding::{bound_to, may_use};

use crate::actor::Actor;
use crate::agent::Agent;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::bound::{Bound, Hash, Payload};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::{Counter, Namespace};
use crate::id::{AgentId, SecretId};
use crate::row::Row;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// Live secrets of one project.
pub const SECRETS_MAX: i64 = 256;
/// Of one secret.
pub const BINDINGS_MAX: usize = 24;
/// A shorter value could not be told from what is no secret, so that nothing could be scrubbed of it.
pub const VALUE_BYTES_MIN: usize = 8;
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// What sealing adds to a value, at most.
const SEAL_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 63;
/// The bucket of what is counted of a project.
const ALL: &str = "project";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub name: String,
    /// Counts its values from 1.
    pub version: u32,
    pub state: State,
    pub set_at: Time,
    pub changed_at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Live {
        /// The bytes that hold the value.
        sealed: Hash,
        /// Those of the value before, kept so that it is scrubbed too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<Hash>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bindings: Vec<Binding>,
    },
    Revoked,
}

verbs! {
    pub enum Command {
        "secret.set" => Set { name: String, sealed: Payload },
        /// `version`: of the new value, which its seal is for.
        "secret.rotate" => Rotate { version: u32, sealed: Payload },
        "secret.revoke" ends => Revoke {},
        "secret.bind" => Bind { binding: Binding },
        /// `host`: of one binding; none: all of the agent's.
        "secret.unbind" ends => Unbind { agent: AgentId, host: Option<String> },
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Set { sealed, .. } | Command::Rotate { sealed, .. } => vec![sealed],
            Command::Revoke {} | Command::Bind { .. } | Command::Unbind { .. } => Vec::new(),
        }
    }
}

events! {
    pub enum Event {
        "secret.set" => Set { name: String, sealed: Bound },
        /// `erased`: the value before the one that it takes the place of.
        "secret.rotated" => Rotated {
            version: u32,
            sealed: Bound,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            erased: Option<Hash>,
        },
        "secret.revoked" => Revoked { name: String, erased: Vec<Hash>, unbound: Vec<Binding> },
        "secret.bound" => BindingMade { binding: Binding, by: Actor },
        "secret.unbound" => BindingEnded { binding: Binding },
    }
}

refusals! {
    pub enum Refusal {
        "secret.name_wrong" => NameWrong {},
        "secret.name_taken" => NameTaken { name: String },
        "secret.too_many" => TooMany {},
        "secret.too_large" => TooLarge {},
        "secret.unknown" => Unknown {},
        "secret.revoked" => Revoked {},
        /// It was rotated meanwhile; `version`: of the value that it has.
        "secret.moved" => Moved { version: u32 },
        "secret.agent_gone" => AgentGone {},
        "secret.binding_wrong" => BindingWrong { why: String },
        "secret.already_bound" quiet => AlreadyBound {},
        "secret.bindings_full" => BindingsFull {},
        "secret.not_bound" => NotBound {},
    }
}

/// A secret as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    pub id: SecretId,
    pub name: String,
    pub version: u32,
    /// None once it is revoked.
    pub sealed: Option<Hash>,
    pub previous: Option<Hash>,
    pub set_at: Time,
    pub changed_at: Time,
}

fn no<T>(refusal: Refusal) -> Result<T, Stop> {
    Err(refuse::<Secret>(refusal))
}

/// Letters, digits, `.`, `_` and `-`, a letter or digit first: it stands in what is written in a value's place.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= NAME_BYTES_MAX
        && name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// What is unique of a name.
pub(crate) fn name_key(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl Secret {
    pub fn bindings(&self) -> &[Binding] {
        match &self.state {
            State::Live { bindings, .. } => bindings,
            State::Revoked => &[],
        }
    }

    fn row(&self, id: SecretId) -> SecretRow {
        let (sealed, previous) = match &self.state {
            State::Live { sealed, previous, .. } => (Some(*sealed), *previous),
            State::Revoked => (None, None),
        };
        let (name, version, set_at, changed_at) = (self.name.clone(), self.version, self.set_at, self.changed_at);
        SecretRow { id, name, version, sealed, previous, set_at, changed_at }
    }
}

impl Aggregate for Secret {
    type Id = SecretId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: SecretId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        let known = draft.get::<Secret>(id)?.cloned();
        match (command, known) {
            (Command::Set { name, sealed }, None) => set(id, draft, name, sealed),
            (Command::Set { name, .. }, Some(_)) => no(Refusal::NameTaken { name }),
            (_, None) => no(Refusal::Unknown {}),
            (Command::Rotate { version, sealed }, Some(secret)) => rotate(id, draft, &secret, version, sealed),
            (Command::Revoke {}, Some(secret)) => revoke(id, draft, secret),
            (Command::Bind { binding }, Some(secret)) => bind(id, draft, &secret, binding),
            (Command::Unbind { agent, host }, Some(secret)) => unbind(id, draft, &secret, agent, host.as_deref()),
        }
    }

    fn apply(fold: &mut Option<Secret>, event: &Event, stamp: Stamp) {
        if let Event::Set { name, sealed } = event {
            let state = State::Live { sealed: sealed.hash, previous: None, bindings: Vec::new() };
            *fold = Some(Secret { name: name.clone(), version: 1, state, set_at: stamp.at, changed_at: stamp.at });
            return;
        }
        let Some(secret) = fold else { return };
        match (event, &mut secret.state) {
            (Event::Rotated { version, sealed: new, .. }, State::Live { sealed, previous, .. }) => {
                *previous = Some(*sealed);
                *sealed = new.hash;
                (secret.version, secret.changed_at) = (*version, stamp.at);
            }
            (Event::Revoked { .. }, _) => (secret.state, secret.changed_at) = (State::Revoked, stamp.at),
            (Event::BindingMade { binding, .. }, State::Live { bindings, .. }) => bindings.push(binding.clone()),
            (Event::BindingEnded { binding }, State::Live { bindings, .. }) => bindings.retain(|held| held != binding),
            (
                Event::Set { .. }
                | Event::Rotated { .. }
                | Event::BindingMade { .. }
                | Event::BindingEnded { .. }
                | Event::Refused(_),
                _,
            ) => {}
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        match event {
            Event::Set { sealed, .. } | Event::Rotated { sealed, .. } => each(&sealed.hash),
            Event::Revoked { .. } | Event::BindingMade { .. } | Event::BindingEnded { .. } | Event::Refused(_) => {}
        }
    }

    fn rows(id: SecretId, before: Option<&Secret>, event: &Event, stamp: Stamp) -> Vec<Row> {
        let held = |name: &str, holder| Row::Held { namespace: Namespace::SecretName, key: name_key(name), holder };
        let live = |by| Row::Counted { counter: Counter::Secrets, key: ALL.to_string(), bucket: 0, by };
        match event {
            Event::Set { name, .. } => vec![held(name, Some(id.to_string())), live(1)],
            Event::Rotated { erased, .. } => erased.iter().map(|hash| Row::Erased { hash: *hash }).collect(),
            Event::Revoked { name, erased, unbound } => {
                let erased = erased.iter().map(|hash| Row::Erased { hash: *hash });
                let unbound = unbound.iter().map(|binding| Row::SecretUnbound { secret: id, binding: binding.clone() });
                erased.chain(unbound).chain([held(name, None), live(-1)]).collect()
            }
            Event::BindingMade { binding, by } => {
                let (name, by) = (before.map(|secret| secret.name.clone()).unwrap_or_default(), *by);
                vec![Row::SecretBound(binding.row(id, name, by, stamp.at))]
            }
            Event::BindingEnded { binding } => vec![Row::SecretUnbound { secret: id, binding: binding.clone() }],
            Event::Refused(_) => Vec::new(),
        }
    }

    fn state_rows(id: SecretId, before: Option<&Secret>, after: &Secret) -> Vec<Row> {
        let row = after.row(id);
        if before.is_some_and(|before| before.row(id) == row) { Vec::new() } else { vec![Row::Secret(row)] }
    }
}

fn fits(sealed: &Payload) -> Result<(), Stop> {
    if sealed.bytes().len() > VALUE_BYTES_MAX + SEAL_BYTES_MAX { no(Refusal::TooLarge {}) } else { Ok(()) }
}

fn set(id: SecretId, draft: &mut Draft<'_>, name: String, sealed: Payload) -> Result<(), Stop> {
    if !is_name(&name) {
        return no(Refusal::NameWrong {});
    }
    fits(&sealed)?;
    if draft.holder(Namespace::SecretName, &name_key(&name))?.is_some() {
        return no(Refusal::NameTaken { name });
    }
    if draft.count(Counter::Secrets, ALL)? >= SECRETS_MAX {
        return no(Refusal::TooMany {});
    }
    let sealed = draft.bind(sealed);
    Ok(draft.emit::<Secret>(id, Event::Set { name, sealed })?)
}

/// The value before the present one is kept until the next: an answer that still holds it is scrubbed of it.
fn rotate(id: SecretId, draft: &mut Draft<'_>, secret: &Secret, version: u32, sealed: Payload) -> Result<(), Stop> {
    let State::Live { previous, .. } = &secret.state else { return no(Refusal::Revoked {}) };
    fits(&sealed)?;
    if version != secret.version.saturating_add(1) {
        return no(Refusal::Moved { version: secret.version });
    }
    let (sealed, erased) = (draft.bind(sealed), *previous);
    Ok(draft.emit::<Secret>(id, Event::Rotated { version, sealed, erased })?)
}

fn revoke(id: SecretId, draft: &mut Draft<'_>, secret: Secret) -> Result<(), Stop> {
    let State::Live { sealed, previous, bindings } = secret.state else { return no(Refusal::Revoked {}) };
    let erased = [Some(sealed), previous].into_iter().flatten().collect();
    Ok(draft.emit::<Secret>(id, Event::Revoked { name: secret.name, erased, unbound: bindings })?)
}

/// It never begins anything again.
fn is_gone(agent: &Agent) -> bool {
    !agent.lives()
}

fn bind(id: SecretId, draft: &mut Draft<'_>, secret: &Secret, binding: Binding) -> Result<(), Stop> {
    let State::Live { bindings, .. } = &secret.state else { return no(Refusal::Revoked {}) };
    let binding = match binding.checked() {
        Ok(binding) => binding,
        Err(why) => return no(Refusal::BindingWrong { why }),
    };
    if draft.get::<Agent>(binding.agent)?.is_none_or(is_gone) {
        return no(Refusal::AgentGone {});
    }
    if bindings.contains(&binding) {
        return no(Refusal::AlreadyBound {});
    }
    if bindings.len() >= BINDINGS_MAX {
        return no(Refusal::BindingsFull {});
    }
    let by = draft.actor;
    Ok(draft.emit::<Secret>(id, Event::BindingMade { binding, by })?)
}

fn unbind(
    id: SecretId,
    draft: &mut Draft<'_>,
    secret: &Secret,
    agent: AgentId,
    host: Option<&str>,
) -> Result<(), Stop> {
    let host = host.map(str::to_ascii_lowercase);
    let meant = |binding: &&Binding| binding.agent == agent && host.as_ref().is_none_or(|host| *host == binding.host);
    let ended: Vec<Binding> = secret.bindings().iter().filter(meant).cloned().collect();
    if ended.is_empty() {
        return no(Refusal::NotBound {});
    }
    ended.into_iter().try_for_each(|binding| Ok(draft.emit::<Secret>(id, Event::BindingEnded { binding })?))
}
