//! Publishers: whose signature on a package the project believes. One that is removed is believed no more, also of what was
//! pushed before.
use super::{Event, Project, Refusal};
use crate::bound::Hash;
use crate::draft::{Draft, Stop, refuse};
use crate::id::ProjectId;
use crate::package::archive;
use crate::row::Row;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// Of one project.
pub const PUBLISHERS_MAX: usize = 32;
const NAME_CHARS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    pub name: String,
    /// Its public key, Ed25519.
    pub key: Hash,
    pub at: Time,
}

/// A publisher as lists show it; packages are loaded by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherRow {
    /// As a [`Hash`] is written.
    pub key: String,
    pub name: String,
    pub at: Time,
}

pub(super) fn rows(event: &Event, stamp: Stamp) -> Vec<Row> {
    if let Event::PublisherTrusted { name, key } = event {
        return vec![Row::Publisher(PublisherRow { key: key.to_string(), name: name.clone(), at: stamp.at })];
    }
    if let Event::PublisherRemoved { key, .. } = event {
        return vec![Row::PublisherRemoved { key: *key }];
    }
    Vec::new()
}

impl Project {
    pub fn publisher(&self, key: Hash) -> Option<&Publisher> {
        self.publishers.iter().find(|publisher| publisher.key == key)
    }
}

fn no<T>(refusal: Refusal) -> Result<T, Stop> {
    Err(refuse::<Project>(refusal))
}

pub(super) fn trust(id: ProjectId, draft: &mut Draft<'_>, name: String, key: Hash) -> Result<(), Stop> {
    let wrong = |why: &str| no(Refusal::PublisherWrong { why: why.to_owned() });
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX || name.trim() != name || name.chars().any(char::is_control) {
        return wrong("a name has 1 to 64 printable characters");
    }
    if !archive::is_key(key) {
        return wrong("the key is no Ed25519 public key");
    }
    let publishers = draft.get::<Project>(id)?.map(|project| project.publishers.clone()).unwrap_or_default();
    match publishers.iter().find(|known| known.key == key || known.name.eq_ignore_ascii_case(&name)) {
        Some(known) if known.key == key && known.name == name => return no(Refusal::PublisherTrusted {}),
        Some(known) if known.key == key => return wrong(&format!("`{}` has this key", known.name)),
        Some(_) => return wrong("another publisher has this name"),
        None if publishers.len() >= PUBLISHERS_MAX => return no(Refusal::PublishersFull {}),
        None => {}
    }
    Ok(draft.emit::<Project>(id, Event::PublisherTrusted { name, key })?)
}

pub(super) fn remove(id: ProjectId, draft: &mut Draft<'_>, key: Hash) -> Result<(), Stop> {
    let known = draft.get::<Project>(id)?.and_then(|project| project.publisher(key)).cloned();
    let Some(known) = known else { return no(Refusal::PublisherUnknown {}) };
    Ok(draft.emit::<Project>(id, Event::PublisherRemoved { name: known.name, key })?)
}
