//! A project: the unit of chain and tree. Its own stream holds its keys, the daemon's starts, steps of the clock, and what
//! belongs to no other.
mod budget;
pub mod policy;
mod publisher;
mod shared;

pub use publisher::{PUBLISHERS_MAX, Publisher, PublisherRow};

use crate::access::{KEYS_MAX, Role};
use crate::actor::Actor;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::bound::{Bound, Hash, Payload};
use crate::budget::{Allowance, Line, Near, Whose};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::{Counter, Namespace};
use crate::id::{KeyId, ProjectId};
use crate::judge::Digest;
use crate::ledger::export::{Rotation, Seal};
use crate::owed::{Obligation, Owed};
use crate::retention::{self, Keeping, Retention};
use crate::row::Row;
use crate::state::{self as values, Acl, Home};
use crate::time::{Due, Stamp, Time};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub name: String,
    pub starts: u64,
    /// When shared values are to be swept next: not later than the first of them expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_due: Option<Time>,
    /// What all its agents together may use up in a day and a month.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budget: Vec<Allowance>,
    /// Of what ended executions of all its agents bound.
    #[serde(default, skip_serializing_if = "Keeping::is_off")]
    pub keeping: Keeping,
    /// What judges its calls; none: what is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<policy::Applied>,
    /// Whose packages are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishers: Vec<Publisher>,
}

verbs! {
    pub enum Command {
        "project.found" => Found { name: String },
        "daemon.start" => RecordStart { version: String },
        /// The wall clock was set while the daemon ran.
        "clock.step" => RecordStep { by_ms: i64 },
        /// The head outside the database is not on this chain: an older copy was put back, and a person says that it may stand.
        "restore.accept" ends => AcceptRestore { checkpoint_size: u64, why: String },
        /// A person changes the ledger's key. Only the store makes both signatures.
        "ledger.rotate_key" ends => RotateKey { rotation: Rotation },
        /// A person has old records moved into a file. Only the store writes it.
        "ledger.seal" ends => SealRecords { seal: Seal },
        "key.create" => CreateKey { name: String, role: Role, hash: Hash },
        "key.revoke" ends => RevokeKey { key: KeyId },
        /// Refusals were counted, and none came after them to tell of them.
        "refusals.tell" => TellRefusals {},
        /// A person sets a shared value; `expected` is asked of people as of agents.
        "state.set_shared" => SetShared(values::Write),
        "state.delete_shared" => DeleteShared { key: String, expected: Option<u64> },
        "state.set_shared_quota" => SetSharedQuota { quota: u64 },
        /// Who may read and write the keys of a prefix, in the place of the rule that it has.
        "state.set_acl" => SetAcl(Acl),
        "state.remove_acl" => RemoveAcl { prefix: String },
        /// A person limits what all agents together may use up; limits that are not named stay.
        "project.set_budget" => SetBudget { lines: Vec<Line> },
        /// A person says by which rules calls are judged, from the next one on.
        "policy.apply" => ApplyPolicy(policy::Apply),
        /// By the reconciler: what waits for people is judged by it.
        "policy.finish_rejudging" ends => FinishRejudging { number: u32 },
        /// A person says that packages signed by this key are taken.
        "publisher.trust" => TrustPublisher { name: String, key: Hash },
        /// And that they are not any more: those that were pushed are not loaded again.
        "publisher.remove" ends => RemovePublisher { key: Hash },
        /// A person says how long, and how much, of ended executions is kept.
        "retention.set" => SetRetention { retention: Retention },
        /// By the reconciler, once something may be kept too long or be too much.
        "retention.sweep" ends => Retain {},
        /// By the reconciler, once shared values expire.
        "state.sweep_shared" ends => SweepShared {},
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::SetShared(write) => vec![&write.value],
            Command::ApplyPolicy(apply) => vec![&apply.bundle],
            Command::Found { .. }
            | Command::RecordStart { .. }
            | Command::RecordStep { .. }
            | Command::AcceptRestore { .. }
            | Command::RotateKey { .. }
            | Command::SealRecords { .. }
            | Command::CreateKey { .. }
            | Command::RevokeKey { .. }
            | Command::TellRefusals {}
            | Command::DeleteShared { .. }
            | Command::SetSharedQuota { .. }
            | Command::SetAcl(_)
            | Command::RemoveAcl { .. }
            | Command::SetBudget { .. }
            | Command::SetRetention { .. }
            | Command::FinishRejudging { .. }
            | Command::TrustPublisher { .. }
            | Command::RemovePublisher { .. }
            | Command::Retain {}
            | Command::SweepShared {} => Vec::new(),
        }
    }
}

events! {
    pub enum Event {
        "project.founded" => Founded { project: ProjectId, name: String },
        "daemon.started" => DaemonStarted { version: String },
        /// Forwards where `by_ms` is above 0.
        "clock.stepped" => ClockStepped { by_ms: i64 },
        "restore.accepted" => RestoreAccepted { checkpoint_size: u64, why: String },
        /// From the next record on the new key signs heads.
        "ledger.key_rotated" => KeyRotated(Rotation),
        /// Their bodies are in that file; their places in the tree stay.
        "ledger.sealed" => Sealed(Seal),
        "key.created" => KeyCreated { key: KeyId, name: String, role: Role, hash: Hash },
        "key.revoked" => KeyRevoked { key: KeyId, name: String },
        "state.set" => StateSet(values::Set),
        "state.deleted" => StateDeleted(values::Ended),
        "state.expired" => StateExpired(values::Ended),
        "state.dropped" => StateDropped(values::Dropped),
        /// `by` more than before.
        "state.quota_set" => StateQuotaSet { namespace: String, quota: u64, by: i64 },
        "state.sweep_due" => StateSweepDue { due: Option<Time> },
        "state.acl_set" => AclSet { acl: Acl, by: Actor, is_new: bool },
        "state.acl_removed" => AclRemoved { prefix: String },
        "project.budget_set" => BudgetSet { lines: Vec<Line> },
        "project.budget_near" => BudgetNear(Near),
        /// `repeats`: it is that one again.
        "policy.applied" => PolicyApplied {
            number: u32,
            digest: Digest,
            bundle: Bound,
            by: Actor,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            repeats: Option<u32>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            note: Option<String>,
        },
        /// Calls that waited for people have been judged by it.
        "policy.rejudged" => PolicyRejudged { number: u32 },
        "publisher.trusted" => PublisherTrusted { name: String, key: Hash },
        "publisher.removed" => PublisherRemoved { name: String, key: Hash },
        "retention.set" => RetentionSet { retention: Retention },
        /// When it is looked at next.
        "retention.due" => RetentionDue { due: Option<Time> },
    }
}

refusals! {
    pub enum Refusal {
        "project.already_founded" => Founded {},
        "project.unfounded" => Unfounded {},
        "ledger.rotation_wrong" => RotationWrong {},
        "ledger.seal_wrong" => SealWrong {},
        "key.name_taken" => KeyNameTaken {},
        "key.name_wrong" => KeyNameWrong {},
        "key.too_many" => KeysFull {},
        "key.unknown" => KeyUnknown {},
        "refusals.none" => NothingToTell {},
        "state.version_conflict" => StateVersion { key: String, current: u64 },
        "state.quota_exceeded" => StateQuota { key: String, conflict: values::Conflict },
        /// A key, a value, a time to live or a quota that none may be.
        "state.wrong" => StateWrong { key: String, conflict: values::Conflict },
        "state.key_unknown" => StateMissing { key: String },
        "state.nothing_due" quiet => NothingDue {},
        "state.acl_wrong" => AclWrong {},
        "state.acls_full" => AclsFull {},
        "state.acl_unknown" => AclUnknown { prefix: String },
        /// A limit that none may be, or the same one twice.
        "project.budget_wrong" => BudgetWrong {},
        /// Another was applied meanwhile; `number`: the one that holds.
        "policy.moved" => PolicyMoved { number: u32 },
        "policy.unchanged" quiet => PolicyUnchanged { number: u32 },
        "policy.too_large" => PolicyTooLarge {},
        "policy.already_rejudged" quiet => PolicyRejudged {},
        "publisher.wrong" => PublisherWrong { why: String },
        "publisher.already_trusted" quiet => PublisherTrusted {},
        "publisher.too_many" => PublishersFull {},
        "publisher.unknown" => PublisherUnknown {},
        /// An age or a size that none may be.
        "retention.wrong" => RetentionWrong {},
        "retention.nothing_due" quiet => NothingToErase {},
    }
}

/// An API key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: KeyId,
    pub name: String,
    pub role: Role,
    /// SHA-256 of the key's text, which has 160 random bits and so needs no slow hash.
    pub hash: Hash,
    pub created_at: Time,
    pub revoked_at: Option<Time>,
}

impl Aggregate for Project {
    type Id = ProjectId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: ProjectId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        let founded = draft.get::<Project>(id)?.is_some();
        match (founded, matches!(command, Command::Found { .. })) {
            (true, true) => return Err(refuse::<Project>(Refusal::Founded {})),
            (false, false) => return Err(refuse::<Project>(Refusal::Unfounded {})),
            (true, false) | (false, true) => {}
        }
        match command {
            Command::Found { name } => draft.emit::<Project>(id, Event::Founded { project: id, name })?,
            Command::RecordStart { version } => draft.emit::<Project>(id, Event::DaemonStarted { version })?,
            Command::RecordStep { by_ms } => draft.emit::<Project>(id, Event::ClockStepped { by_ms })?,
            Command::AcceptRestore { checkpoint_size, why } => {
                draft.emit::<Project>(id, Event::RestoreAccepted { checkpoint_size, why })?;
            }
            Command::RotateKey { rotation } if !rotation.is_signed(id) => {
                return Err(refuse::<Project>(Refusal::RotationWrong {}));
            }
            Command::RotateKey { rotation } => draft.emit::<Project>(id, Event::KeyRotated(rotation))?,
            Command::SealRecords { seal } if !seal.fits() => return Err(refuse::<Project>(Refusal::SealWrong {})),
            Command::SealRecords { seal } => draft.emit::<Project>(id, Event::Sealed(seal))?,
            Command::CreateKey { name, role, hash } => create_key(id, draft, name, role, hash)?,
            Command::RevokeKey { key } => {
                let Some(name) = draft.holder(Namespace::Key, &key.to_string())? else {
                    return Err(refuse::<Project>(Refusal::KeyUnknown {}));
                };
                draft.emit::<Project>(id, Event::KeyRevoked { key, name })?;
            }
            Command::TellRefusals {} if draft.page(Counter::RefusalsUntold)?.is_empty() => {
                return Err(refuse::<Project>(Refusal::NothingToTell {}));
            }
            Command::TellRefusals {} => draft.tell_refusals()?,
            Command::SetShared(write) => shared::set(id, draft, write)?,
            Command::DeleteShared { key, expected } => shared::delete(id, draft, &key, expected)?,
            Command::SetSharedQuota { quota } => shared::set_quota(id, draft, quota)?,
            Command::SetAcl(acl) => shared::set_acl(id, draft, acl)?,
            Command::RemoveAcl { prefix } => shared::remove_acl(id, draft, prefix)?,
            Command::SetBudget { lines } => budget::set(id, draft, lines)?,
            Command::ApplyPolicy(apply) => policy::apply(id, draft, apply)?,
            Command::FinishRejudging { number } => policy::finish_rejudging(id, draft, number)?,
            Command::SetRetention { retention } if !retention.fits() => {
                return Err(refuse::<Project>(Refusal::RetentionWrong {}));
            }
            Command::SetRetention { retention } => draft.emit::<Project>(id, Event::RetentionSet { retention })?,
            Command::Retain {} => {
                retention::sweep(draft, Whose::Project, refuse::<Project>(Refusal::NothingToErase {}))?;
            }
            Command::TrustPublisher { name, key } => publisher::trust(id, draft, name, key)?,
            Command::RemovePublisher { key } => publisher::remove(id, draft, key)?,
            Command::SweepShared {} => shared::sweep(id, draft)?,
        }
        Ok(())
    }

    fn apply(fold: &mut Option<Project>, event: &Event, stamp: Stamp) {
        if let (Some(change), Some(project)) = (event.state(), fold.as_mut()) {
            change.apply(&mut project.state_due, stamp);
            return;
        }
        match (event, fold) {
            (Event::Founded { name, .. }, fold) => {
                let (name, keeping) = (name.clone(), Keeping::default());
                *fold = Some(Project {
                    name,
                    starts: 0,
                    state_due: None,
                    budget: Vec::new(),
                    keeping,
                    policy: None,
                    publishers: Vec::new(),
                });
            }
            (Event::DaemonStarted { .. }, Some(project)) => project.starts += 1,
            (Event::BudgetSet { lines }, Some(project)) => crate::budget::set(&mut project.budget, lines),
            (Event::PolicyApplied { number, digest, .. }, Some(project)) => {
                project.policy = Some(policy::Applied { number: *number, digest: *digest, rejudged: false });
            }
            (Event::PolicyRejudged { .. }, Some(project)) => {
                project.policy = project.policy.map(|applied| policy::Applied { rejudged: true, ..applied });
            }
            (Event::PublisherTrusted { name, key }, Some(project)) => {
                project.publishers.push(Publisher { name: name.clone(), key: *key, at: stamp.at });
            }
            (Event::PublisherRemoved { key, .. }, Some(project)) => {
                project.publishers.retain(|publisher| publisher.key != *key);
            }
            (Event::RetentionSet { retention }, Some(project)) => project.keeping.set(*retention),
            (Event::RetentionDue { due }, Some(project)) => project.keeping.due = *due,
            (Event::BudgetNear(near), Some(project)) => crate::budget::told(&mut project.budget, near),
            (
                Event::DaemonStarted { .. }
                | Event::ClockStepped { .. }
                | Event::RestoreAccepted { .. }
                | Event::KeyRotated(_)
                | Event::Sealed(_)
                | Event::KeyCreated { .. }
                | Event::KeyRevoked { .. }
                | Event::StateSet(_)
                | Event::StateDeleted(_)
                | Event::StateExpired(_)
                | Event::StateDropped(_)
                | Event::StateQuotaSet { .. }
                | Event::StateSweepDue { .. }
                | Event::AclSet { .. }
                | Event::AclRemoved { .. }
                | Event::BudgetSet { .. }
                | Event::BudgetNear(_)
                | Event::PolicyApplied { .. }
                | Event::PolicyRejudged { .. }
                | Event::PublisherTrusted { .. }
                | Event::PublisherRemoved { .. }
                | Event::RetentionSet { .. }
                | Event::RetentionDue { .. }
                | Event::Refused(_),
                _,
            ) => {}
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        if let Some(change) = event.state() {
            change.binds(each);
        }
        if let Event::PolicyApplied { bundle, .. } = event {
            each(&bundle.hash);
        }
    }

    fn owed(&self) -> Vec<Owed> {
        let owe = |obligation, due| Owed { obligation, due: Due::Wall(due) };
        let sweep = self.state_due.map(|due| owe(Obligation::SweepState, due));
        let retain = self.keeping.due.map(|due| owe(Obligation::Retain { due }, due));
        let waits = self.policy.filter(|applied| !applied.rejudged);
        let rejudge = waits.map(|policy::Applied { number, .. }| Owed {
            obligation: Obligation::Rejudge { number },
            due: Due::AT_ONCE,
        });
        sweep.into_iter().chain(retain).chain(rejudge).collect()
    }

    fn rows(project: ProjectId, before: Option<&Project>, event: &Event, stamp: Stamp) -> Vec<Row> {
        if let Some(change) = event.state() {
            return change.rows(Home::Project(project), stamp);
        }
        let keys = |by| Row::Counted { counter: Counter::Keys, key: project.to_string(), bucket: 0, by };
        let held = |namespace, key, holder| Row::Held { namespace, key, holder };
        match event {
            Event::KeyCreated { key, name, role, hash } => vec![
                Row::Key(KeyRow {
                    id: *key,
                    name: name.clone(),
                    role: *role,
                    hash: *hash,
                    created_at: stamp.at,
                    revoked_at: None,
                }),
                held(Namespace::Key, key.to_string(), Some(name.clone())),
                held(Namespace::KeyName, name.clone(), Some(key.to_string())),
                keys(1),
            ],
            Event::KeyRevoked { key, name } => vec![
                Row::KeyRevoked { id: *key, at: stamp.at },
                held(Namespace::Key, key.to_string(), None),
                held(Namespace::KeyName, name.clone(), None),
                keys(-1),
            ],
            Event::AclSet { .. } | Event::AclRemoved { .. } => shared::acl_rows(project, event, stamp),
            Event::BudgetSet { lines } => budget::rows(before, lines),
            Event::PublisherTrusted { .. } | Event::PublisherRemoved { .. } => publisher::rows(event, stamp),
            Event::PolicyApplied { .. } => policy::row(event, stamp).into_iter().collect(),
            Event::Founded { .. }
            | Event::DaemonStarted { .. }
            | Event::ClockStepped { .. }
            | Event::RestoreAccepted { .. }
            | Event::KeyRotated(_)
            | Event::Sealed(_)
            | Event::BudgetNear(_)
            | Event::PolicyRejudged { .. }
            | Event::RetentionSet { .. }
            | Event::RetentionDue { .. }
            | Event::StateSet(_)
            | Event::StateDeleted(_)
            | Event::StateExpired(_)
            | Event::StateDropped(_)
            | Event::StateQuotaSet { .. }
            | Event::StateSweepDue { .. }
            | Event::Refused(_) => Vec::new(),
        }
    }
}

fn create_key(id: ProjectId, draft: &mut Draft<'_>, name: String, role: Role, hash: Hash) -> Result<(), Stop> {
    if name.is_empty() || name.chars().count() > 63 || name.chars().any(char::is_control) {
        return Err(refuse::<Project>(Refusal::KeyNameWrong {}));
    }
    if draft.holder(Namespace::KeyName, &name)?.is_some() {
        return Err(refuse::<Project>(Refusal::KeyNameTaken {}));
    }
    if draft.count(Counter::Keys, &id.to_string())? >= KEYS_MAX {
        return Err(refuse::<Project>(Refusal::KeysFull {}));
    }
    let key = KeyId::mint(&mut draft.mint);
    Ok(draft.emit::<Project>(id, Event::KeyCreated { key, name, role, hash })?)
}
