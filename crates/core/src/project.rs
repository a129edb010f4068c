//! A project: the unit of chain and tree. Its own stream holds its keys, the daemon's starts and what belongs to no other.
use crate::access::{KEYS_MAX, Key, Role};
use crate::bound::Hash;
use crate::id::{KeyId, Mint, ProjectId};
use crate::time::Time;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub keys: Vec<Key>,
    pub starts: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Found {
        name: String,
    },
    RecordStart {
        version: String,
    },
    /// The head outside the database is not on this chain: an older copy was put back, and a person says that it may stand.
    AcceptRestore {
        outside_index: u64,
        why: String,
    },
    CreateKey {
        name: String,
        role: Role,
        hash: Hash,
    },
    RevokeKey {
        key: KeyId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum Event {
    #[serde(rename = "project.founded")]
    Founded { project: ProjectId, name: String },
    #[serde(rename = "daemon.started")]
    DaemonStarted { version: String },
    #[serde(rename = "restore.accepted")]
    RestoreAccepted { outside_index: u64, why: String },
    #[serde(rename = "key.created")]
    KeyCreated { key: KeyId, name: String, role: Role, hash: Hash },
    #[serde(rename = "key.revoked")]
    KeyRevoked { key: KeyId },
    #[serde(rename = "command.refused")]
    Refused(crate::command::Refused),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misstep {
    Founded,
    Unfounded,
    KeyNameTaken,
    KeyNameWrong,
    KeysFull,
    KeyUnknown,
}

pub fn decide(project: Option<&Project>, command: &Command, mint: &mut Mint) -> Result<Vec<Event>, Misstep> {
    let known = || project.ok_or(Misstep::Unfounded);
    Ok(match command {
        Command::Found { name } => match project {
            None => vec![Event::Founded { project: ProjectId::mint(mint), name: name.clone() }],
            Some(_) => return Err(Misstep::Founded),
        },
        Command::RecordStart { version } => {
            known()?;
            vec![Event::DaemonStarted { version: version.clone() }]
        }
        Command::AcceptRestore { outside_index, why } => {
            known()?;
            vec![Event::RestoreAccepted { outside_index: *outside_index, why: why.clone() }]
        }
        Command::CreateKey { name, role, hash } => {
            let project = known()?;
            if name.is_empty() || name.chars().count() > 63 || name.chars().any(char::is_control) {
                return Err(Misstep::KeyNameWrong);
            }
            if project.keys.iter().any(|key| key.name == *name) {
                return Err(Misstep::KeyNameTaken);
            }
            if project.keys.len() >= KEYS_MAX {
                return Err(Misstep::KeysFull);
            }
            vec![Event::KeyCreated { key: KeyId::mint(mint), name: name.clone(), role: *role, hash: *hash }]
        }
        Command::RevokeKey { key } => {
            if !known()?.keys.iter().any(|held| held.id == *key) {
                return Err(Misstep::KeyUnknown);
            }
            vec![Event::KeyRevoked { key: *key }]
        }
    })
}

pub fn apply(fold: &mut Option<Project>, event: &Event, at: Time) {
    match event {
        Event::Founded { project, name } => {
            *fold = Some(Project { id: *project, name: name.clone(), keys: Vec::new(), starts: 0 });
        }
        Event::DaemonStarted { .. } => {
            if let Some(project) = fold {
                project.starts += 1;
            }
        }
        Event::RestoreAccepted { .. } | Event::Refused(_) => {}
        Event::KeyCreated { key, name, role, hash } => {
            if let Some(project) = fold {
                project.keys.push(Key { id: *key, name: name.clone(), role: *role, hash: *hash, created_at: at });
            }
        }
        Event::KeyRevoked { key } => {
            if let Some(project) = fold {
                project.keys.retain(|held| held.id != *key);
            }
        }
    }
}
