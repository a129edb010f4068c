//! What an aggregate is, and the table of all of them. An aggregate is one module: its commands, events, fold and
//! refusals, and how it decides, applies, owes and shows itself. Nothing but this table may list aggregates.
use crate::actor::Actor;
use crate::bound::{Hash, Payload};
use crate::draft::{Draft, Stop};
use crate::id::{AgentId, ExecutionId, InstanceId, PackageId, ProjectId, SecretId, SessionId, WorkerId};
use crate::owed::Owed;
use crate::row::Row;
use crate::time::Stamp;
use crate::{agent, execution, fleet, instance, package, project, secret, session};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

mod parts;
mod table;
pub(crate) use parts::{events, refusals, verbs};
use table::aggregates;

aggregates! {
    Project: project::Project, ProjectId;
    Agent: agent::Agent, AgentId;
    Execution: execution::Execution, ExecutionId;
    Worker: fleet::Worker, WorkerId;
    Session: session::Session, SessionId;
    Instance: instance::Instance, InstanceId;
    Secret: secret::Secret, SecretId;
    Package: package::Package, PackageId;
}

/// A fold's snapshot made under another version is dropped and replayed.
pub const FOLD_VERSION: u32 = 10;
/// The most bytes that a fold's snapshot may have.
pub const FOLD_BYTES_MAX: usize = 16 * 1024;

/// What queues, logs and a full disk must know of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verb {
    /// Its imperative, for refusals and logs.
    pub name: &'static str,
    /// It only ends or gives back, so that it may use the ballast of a full disk.
    pub ends: bool,
    /// Somebody waits for what it brings, also where the daemon itself commands it.
    pub urgent: bool,
}

impl Verb {
    pub const fn new(name: &'static str) -> Verb {
        Verb { name, ends: false, urgent: false }
    }

    pub const fn ends(self) -> Verb {
        Verb { ends: true, ..self }
    }

    pub const fn urgent(self) -> Verb {
        Verb { urgent: true, ..self }
    }
}

/// Commands of one aggregate; written by `verbs!`.
pub trait Verbs {
    fn verb(&self) -> Verb;

    /// The bytes that its events would bind.
    fn payloads(&self) -> Vec<&Payload>;
}

/// Events of one aggregate; written by `events!`.
pub trait Kinds: Clone + PartialEq + fmt::Debug + Serialize + DeserializeOwned {
    const KINDS: &'static [&'static str];

    /// `noun.past`, as on disk.
    fn kind(&self) -> &'static str;

    /// The shape that this program writes of a kind; none of one that it does not know.
    fn version(kind: &str) -> Option<u32>;

    /// Lifts data of an earlier version of a kind. None has changed yet.
    fn upcast(_kind: &str, _version: u32, _data: Value) -> Option<Value> {
        None
    }

    /// The event that a refused command of an authenticated actor leaves.
    fn refused(refused: Refused) -> Self;
}

/// Refusals of one aggregate; written by `refusals!`.
pub trait Codes {
    /// Its stable name, in problems and in the ledger.
    fn code(&self) -> &'static str;

    /// It tells of something that is as wanted already, and leaves no event.
    fn is_quiet(&self) -> bool;
}

/// What a refused command leaves; `repeats` more of the kind came since the last that was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub verb: String,
    pub code: String,
    pub repeats: u64,
    /// Whose, where the event is somebody else's: the daemon tells of the last repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Actor>,
}

/// One aggregate: all of it lies in its own module.
pub trait Aggregate: Clone + PartialEq + Sized {
    type Id: Copy + Ord + fmt::Display;
    type Command: Verbs;
    type Event: Kinds;
    type Refusal: Codes;

    /// Reads what it needs from the draft, and makes events on as many streams as it needs.
    ///
    /// # Errors
    /// A refusal changes nothing; `Unread` where a fact could not be read.
    fn decide(id: Self::Id, draft: &mut Draft<'_>, command: Self::Command) -> Result<(), Stop>;

    /// Total: an event that does not fit the fold changes nothing, for `decide` never makes one.
    fn apply(fold: &mut Option<Self>, event: &Self::Event, stamp: Stamp);

    /// The payloads that an event binds.
    fn binds(event: &Self::Event, each: &mut dyn FnMut(&Hash));

    /// What the world owes this state.
    fn owed(&self) -> Vec<Owed> {
        Vec::new()
    }

    /// Rows of one event; `before` is the fold that it is about to change.
    fn rows(_id: Self::Id, _before: Option<&Self>, _event: &Self::Event, _stamp: Stamp) -> Vec<Row> {
        Vec::new()
    }

    /// Rows that follow from the state alone, where they differ from those of the state before the decision.
    fn state_rows(_id: Self::Id, _before: Option<&Self>, _after: &Self) -> Vec<Row> {
        Vec::new()
    }
}

/// How a typed aggregate stands in the closed enums. Written by the table only.
pub trait Member: Aggregate {
    fn stream(id: Self::Id) -> Stream;
    /// None of a stream of another aggregate.
    fn id(stream: Stream) -> Option<Self::Id>;
    fn of(fold: &Fold) -> Option<&Self>;
    fn event(event: Self::Event) -> Event;
    fn read(event: &Event) -> Option<&Self::Event>;
    fn refusal(refusal: Self::Refusal) -> Refusal;
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

impl Fold {
    /// As the aggregate that the caller expects.
    pub fn as_a<A: Member>(&self) -> Option<&A> {
        A::of(self)
    }
}

/// An event of the present shape is read from its text as it is; an older one goes by way of its upcast.
fn read<E: Kinds>(kind: &str, version: u32, data: &str) -> Result<E, String> {
    let Some(known) = E::version(kind) else { return Err("is of a kind that this program does not know".to_string()) };
    let event = if version == known {
        serde_json::from_str(&format!(r#"{{"kind":"{kind}","data":{data}}}"#))
    } else {
        let data = serde_json::from_str(data).map_err(|error| format!("cannot be read: {error}"))?;
        let lifted = E::upcast(kind, version, data);
        let lifted =
            lifted.ok_or_else(|| format!("has a version that this program does not know; it knows {known}"))?;
        serde_json::from_value(serde_json::json!({ "kind": kind, "data": lifted }))
    };
    event.map_err(|error| format!("cannot be read: {error}"))
}
