//! The events of state, the same on an agent's stream and on a project's, and what follows from each: its rows, what it
//! binds and erases, and when its stream has something to sweep.
use super::{Entry, Home, bytes};
use crate::actor::Actor;
use crate::agent::Agent;
use crate::aggregate::{Event, Member};
use crate::bound::{Bound, Hash};
use crate::facts::Counter;
use crate::project::Project;
use crate::row::Row;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    pub namespace: String,
    pub key: String,
    pub version: u64,
    pub value: Bound,
    pub by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// Bytes of the value that it takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
}

/// A key is gone; `version` is the one that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub namespace: String,
    pub key: String,
    pub version: u64,
    /// Of the value that it had.
    pub size: u64,
    pub hash: Hash,
    #[serde(flatten)]
    pub by: EndedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EndedBy {
    Actor {
        by: Actor,
    },
    /// Its time was over, at this moment.
    Expiry {
        due: Time,
    },
}

/// Versions are kept no longer, and their bytes are erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub namespace: String,
    pub versions: Vec<VersionDropped>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionDropped {
    pub key: String,
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Bound>,
}

/// A session is over: what it kept expires with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOver {
    pub namespace: String,
}

/// Values of a backup were put back, each as a change of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    pub namespace: String,
    pub values: u64,
    pub by: Actor,
}

/// A change of state, seen from its event.
#[derive(Debug, Clone, Copy)]
pub enum Change<'e> {
    Set(&'e Set),
    Ended(&'e Ended),
    Dropped(&'e Dropped),
    SessionOver(&'e SessionOver),
    /// When the next value expires, as far as is known; none where none does.
    SweepDue(Option<Time>),
    /// `by` more than before, or less.
    Quota {
        namespace: &'e str,
        by: i64,
    },
}

impl<'e> Change<'e> {
    /// Of an event of any stream, if it is one.
    pub fn of(event: &'e Event) -> Option<Change<'e>> {
        let of_agent = Agent::read(event).and_then(|event| event.state());
        of_agent.or_else(|| Project::read(event).and_then(|event| event.state()))
    }

    pub(crate) fn binds(self, each: &mut dyn FnMut(&Hash)) {
        match self {
            Change::Set(set) => each(&set.value.hash),
            Change::Ended(_)
            | Change::Dropped(_)
            | Change::SessionOver(_)
            | Change::SweepDue(_)
            | Change::Quota { .. } => {}
        }
    }

    /// Moves the time at which a stream's state is swept next. It may be too early, never too late.
    pub(crate) fn apply(self, due: &mut Option<Time>, stamp: Stamp) {
        let mut sooner = |at: Time| *due = Some(due.map_or(at, |due| due.min(at)));
        match self {
            Change::Set(Set { expires: Some(at), .. }) => sooner(*at),
            Change::SessionOver(_) => sooner(stamp.at),
            Change::SweepDue(next) => *due = next,
            Change::Set(Set { expires: None, .. }) | Change::Ended(_) | Change::Dropped(_) | Change::Quota { .. } => {}
        }
    }

    pub(crate) fn rows(self, home: Home, stamp: Stamp) -> Vec<Row> {
        match self {
            Change::Set(set) => set.rows(home, stamp),
            Change::Ended(ended) => ended.rows(home, stamp),
            Change::Dropped(dropped) => dropped.rows(),
            Change::SessionOver(over) => {
                vec![Row::EntriesExpire { namespace: over.namespace.clone(), at: stamp.at }]
            }
            Change::Quota { namespace, by } => vec![counted(Counter::StateQuota, namespace, by)],
            Change::SweepDue(_) => Vec::new(),
        }
    }
}

fn counted(counter: Counter, namespace: &str, by: i64) -> Row {
    Row::Counted { counter, key: namespace.to_string(), bucket: 0, by }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Set {
    fn rows(&self, home: Home, stamp: Stamp) -> Vec<Row> {
        let (space, key) = (self.namespace.as_str(), self.key.as_str());
        let entry = Entry {
            version: self.version,
            value: Some(self.value),
            by: self.by,
            at: stamp.at,
            expires: self.expires,
            home,
        };
        let replaced = self.replaced.map_or(0, |size| signed(bytes(key, size)));
        let mut rows = vec![
            Row::Entry { namespace: space.to_string(), key: key.to_string(), entry },
            counted(Counter::StateBytes, space, signed(bytes(key, self.value.size)) - replaced),
        ];
        match self.replaced {
            Some(_) => rows.push(counted(Counter::StateHistory, space, replaced)),
            None => rows.push(counted(Counter::StateKeys, space, 1)),
        }
        rows
    }
}

impl Ended {
    fn rows(&self, home: Home, stamp: Stamp) -> Vec<Row> {
        let (space, key) = (self.namespace.as_str(), self.key.as_str());
        let by = match self.by {
            EndedBy::Actor { by } => by,
            EndedBy::Expiry { .. } => Actor::Daemon,
        };
        let entry = Entry { version: self.version, value: None, by, at: stamp.at, expires: None, home };
        let (was, gone) = (signed(bytes(key, self.size)), signed(bytes(key, 0)));
        vec![
            Row::Entry { namespace: space.to_string(), key: key.to_string(), entry },
            counted(Counter::StateBytes, space, -was),
            counted(Counter::StateKeys, space, -1),
            counted(Counter::StateHistory, space, was + gone),
        ]
    }
}

impl Dropped {
    fn rows(&self) -> Vec<Row> {
        let mut freed = 0;
        let mut rows: Vec<Row> = Vec::with_capacity(self.versions.len() + 1);
        for VersionDropped { key, version, value } in &self.versions {
            freed += signed(bytes(key, value.map_or(0, |value| value.size)));
            rows.push(Row::EntryDropped {
                namespace: self.namespace.clone(),
                key: key.clone(),
                version: *version,
                value: value.map(|value| value.hash),
            });
        }
        rows.push(counted(Counter::StateHistory, &self.namespace, -freed));
        rows
    }
}
