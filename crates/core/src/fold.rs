//! Streams and their folds. `apply` is total; replaying a stream under the same code gives the same bytes.
use crate::id::{AgentId, ExecutionId, WorkerId};
use crate::time::Time;
use crate::{agent, execution, fleet, project};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// One stream an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Project,
    Agent(AgentId),
    Execution(ExecutionId),
    Worker(WorkerId),
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stream::Project => f.write_str("project"),
            Stream::Agent(id) => fmt::Display::fmt(id, f),
            Stream::Execution(id) => fmt::Display::fmt(id, f),
            Stream::Worker(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(text: &str) -> Result<Stream, String> {
        let unknown = || format!("`{text}` names no stream");
        match text.split('_').next() {
            Some("project") => Ok(Stream::Project),
            Some(AgentId::PREFIX) => text.parse().map(Stream::Agent).map_err(|_| unknown()),
            Some(ExecutionId::PREFIX) => text.parse().map(Stream::Execution).map_err(|_| unknown()),
            Some(WorkerId::PREFIX) => text.parse().map(Stream::Worker).map_err(|_| unknown()),
            Some(_) | None => Err(unknown()),
        }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Stream, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Serialises as `{"kind": …, "data": …}`, which a record carries at its top level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Event {
    Project(project::Event),
    Agent(agent::Event),
    Execution(execution::Event),
    Worker(fleet::Event),
}

/// The shape that this program writes of each kind; `upcast` lifts older ones.
pub const EVENT_VERSION: u32 = 1;

impl Event {
    /// `noun.past`, as on disk.
    pub fn kind(&self) -> String {
        let value = serde_json::to_value(self).expect("invariant: every event is a JSON object");
        value["kind"].as_str().expect("invariant: every event is tagged with its kind").to_string()
    }

    /// Reads an event as stored.
    ///
    /// # Errors
    /// A kind or version that this program does not know, or data of another shape: the ledger is not opened then.
    pub fn read(stream: Stream, kind: &str, version: u32, data: Value) -> Result<Event, String> {
        let data = upcast(kind, version, data)?;
        let tagged = serde_json::json!({ "kind": kind, "data": data });
        let read = match stream {
            Stream::Project => serde_json::from_value(tagged).map(Event::Project),
            Stream::Agent(_) => serde_json::from_value(tagged).map(Event::Agent),
            Stream::Execution(_) => serde_json::from_value(tagged).map(Event::Execution),
            Stream::Worker(_) => serde_json::from_value(tagged).map(Event::Worker),
        };
        read.map_err(|error| format!("event `{kind}` (version {version}) of {stream} cannot be read: {error}"))
    }
}

fn upcast(kind: &str, version: u32, data: Value) -> Result<Value, String> {
    match version {
        EVENT_VERSION => Ok(data),
        _ => Err(format!("event `{kind}` has version {version}; this program knows {EVENT_VERSION}")),
    }
}

#[expect(clippy::large_enum_variant, reason = "most folds in the cache are executions")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fold", rename_all = "snake_case")]
pub enum Fold {
    Project(project::Project),
    Agent(agent::Agent),
    Execution(execution::Execution),
    Worker(fleet::Worker),
}

/// A snapshot made under another version is dropped and replayed.
pub const FOLD_VERSION: u32 = 1;
/// The most bytes that a fold's snapshot may have.
pub const FOLD_BYTES_MAX: usize = 16 * 1024;

impl Fold {
    pub fn execution(&self) -> Option<&execution::Execution> {
        match self {
            Fold::Execution(execution) => Some(execution),
            Fold::Project(_) | Fold::Agent(_) | Fold::Worker(_) => None,
        }
    }

    pub fn agent(&self) -> Option<&agent::Agent> {
        match self {
            Fold::Agent(agent) => Some(agent),
            Fold::Project(_) | Fold::Execution(_) | Fold::Worker(_) => None,
        }
    }

    pub fn worker(&self) -> Option<&fleet::Worker> {
        match self {
            Fold::Worker(worker) => Some(worker),
            Fold::Project(_) | Fold::Agent(_) | Fold::Execution(_) => None,
        }
    }

    pub fn project(&self) -> Option<&project::Project> {
        match self {
            Fold::Project(project) => Some(project),
            Fold::Agent(_) | Fold::Execution(_) | Fold::Worker(_) => None,
        }
    }
}

pub fn apply(fold: &mut Option<Fold>, event: &Event, at: Time) {
    match event {
        Event::Project(event) => {
            let mut inner =
                fold.take().and_then(|fold| if let Fold::Project(inner) = fold { Some(inner) } else { None });
            project::apply(&mut inner, event, at);
            *fold = inner.map(Fold::Project);
        }
        Event::Agent(event) => {
            let mut inner = fold.take().and_then(|fold| if let Fold::Agent(inner) = fold { Some(inner) } else { None });
            agent::apply(&mut inner, event, at);
            *fold = inner.map(Fold::Agent);
        }
        Event::Execution(event) => {
            let mut inner =
                fold.take().and_then(|fold| if let Fold::Execution(inner) = fold { Some(inner) } else { None });
            execution::apply(&mut inner, event, at);
            *fold = inner.map(Fold::Execution);
        }
        Event::Worker(event) => {
            let mut inner =
                fold.take().and_then(|fold| if let Fold::Worker(inner) = fold { Some(inner) } else { None });
            fleet::apply(&mut inner, event);
            *fold = inner.map(Fold::Worker);
        }
    }
}
