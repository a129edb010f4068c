//! What an aggregate is, and the table of all of them. An aggregate is one module: its commands, events, fold and
//! refusals, and how it decides, applies, owes and shows itself. Nothing but this table may list aggregates.
use crate::actor::Actor;
use crate::bound::{Hash, Payload};
use crate::draft::{Draft, Stop};
use crate::id::{AgentId, ExecutionId, ProjectId, WorkerId};
use crate::owed::Owed;
use crate::row::Row;
use crate::time::Stamp;
use crate::{agent, execution, fleet, project};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// A fold's snapshot made under another version is dropped and replayed.
pub const FOLD_VERSION: u32 = 1;
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
    fn of(fold: &Fold) -> Option<&Self>;
    fn event(event: Self::Event) -> Event;
    fn read(event: &Event) -> Option<&Self::Event>;
    fn refusal(refusal: Self::Refusal) -> Refusal;
}

/// An enum of commands: `"noun.verb" flags => Variant`. Flags are those of [`Verb`].
macro_rules! verbs {
    ($(#[$meta:meta])* pub enum $Name:ident { $(
        $(#[$doc:meta])* $verb:literal $($flag:ident)* => $Variant:ident $body:tt
    ),+ $(,)? } $payloads:item) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $Name { $($(#[$doc])* $Variant $body),+ }

        impl $crate::aggregate::Verbs for $Name {
            fn verb(&self) -> $crate::aggregate::Verb {
                match self { $(
                    $Name::$Variant { .. } => $crate::aggregate::Verb::new($verb)$(.$flag())*
                ),+ }
            }

            $payloads
        }
    };
}

/// An enum of events: `"noun.past" version => Variant`; the version is left out while it is 1.
macro_rules! events {
    ($(#[$meta:meta])* pub enum $Name:ident { $(
        $(#[$doc:meta])* $kind:literal $($version:literal)? => $Variant:ident $body:tt
    ),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(tag = "kind", content = "data")]
        pub enum $Name {
            $($(#[$doc])* #[serde(rename = $kind)] $Variant $body,)+
            #[serde(rename = "command.refused")]
            Refused($crate::aggregate::Refused),
        }

        impl $crate::aggregate::Kinds for $Name {
            const KINDS: &'static [&'static str] = &[$($kind,)+ "command.refused"];

            fn kind(&self) -> &'static str {
                match self {
                    $($Name::$Variant { .. } => $kind,)+
                    $Name::Refused(_) => "command.refused",
                }
            }

            fn version(kind: &str) -> Option<u32> {
                match kind {
                    $($kind => Some([1, $($version)?][[1, $($version)?].len() - 1]),)+
                    "command.refused" => Some(1),
                    _ => None,
                }
            }

            fn refused(refused: $crate::aggregate::Refused) -> $Name {
                $Name::Refused(refused)
            }
        }
    };
}

/// An enum of refusals: `"noun.reason" => Variant`; `quiet` ones leave no event.
macro_rules! refusals {
    ($(#[$meta:meta])* pub enum $Name:ident { $(
        $(#[$doc:meta])* $code:literal $($flag:ident)? => $Variant:ident $body:tt
    ),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $Name { $($(#[$doc])* $Variant $body),+ }

        impl $crate::aggregate::Codes for $Name {
            fn code(&self) -> &'static str {
                match self { $($Name::$Variant { .. } => $code),+ }
            }

            fn is_quiet(&self) -> bool {
                match self { $($Name::$Variant { .. } => refusals!(@quiet $($flag)?)),+ }
            }
        }
    };
    (@quiet) => { false };
    (@quiet quiet) => { true };
}

pub(crate) use {events, refusals, verbs};

macro_rules! aggregates { ($($Name:ident: $Fold:ty, $Id:ty);+ $(;)?) => {
    /// One stream an aggregate.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Stream { $($Name($Id)),+ }

    /// A change that somebody wants, addressed to one aggregate; its decision may write others too.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Command { $($Name($Id, <$Fold as Aggregate>::Command)),+ }

    /// Serialises as `{"kind": …, "data": …}`, which a record carries at its top level.
    #[expect(clippy::large_enum_variant, reason = "an event lives for one commit")]
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    #[serde(untagged)]
    pub enum Event { $($Name(<$Fold as Aggregate>::Event)),+ }

    #[expect(clippy::large_enum_variant, reason = "most folds in the cache are executions")]
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "fold", rename_all = "snake_case")]
    pub enum Fold { $($Name($Fold)),+ }

    /// Why a command changed nothing. Said to the caller, and recorded.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Refusal { $($Name(<$Fold as Aggregate>::Refusal)),+ }

    $(impl Member for $Fold {
        fn stream(id: $Id) -> Stream {
            Stream::$Name(id)
        }

        fn of(fold: &Fold) -> Option<&Self> {
            if let Fold::$Name(inner) = fold { Some(inner) } else { None }
        }

        fn event(event: Self::Event) -> Event {
            Event::$Name(event)
        }

        fn read(event: &Event) -> Option<&Self::Event> {
            if let Event::$Name(inner) = event { Some(inner) } else { None }
        }

        fn refusal(refusal: Self::Refusal) -> Refusal {
            Refusal::$Name(refusal)
        }
    })+

    impl fmt::Display for Stream {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self { $(Stream::$Name(id) => fmt::Display::fmt(id, f)),+ }
        }
    }

    impl FromStr for Stream {
        type Err = String;

        fn from_str(text: &str) -> Result<Stream, String> {
            let prefix = text.split('_').next().unwrap_or_default();
            $(if prefix == <$Id>::PREFIX {
                return text.parse().map(Stream::$Name).map_err(|_| format!("`{text}` names no stream"));
            })+
            Err(format!("`{text}` names no stream"))
        }
    }

    impl Command {
        pub fn stream(&self) -> Stream {
            match self { $(Command::$Name(id, _) => Stream::$Name(*id)),+ }
        }

        pub fn verb(&self) -> Verb {
            match self { $(Command::$Name(_, command) => command.verb()),+ }
        }

        /// The bytes that its events would bind.
        pub fn payloads(&self) -> Vec<&Payload> {
            match self { $(Command::$Name(_, command) => command.payloads()),+ }
        }

        pub(crate) fn decide(self, draft: &mut Draft<'_>) -> Result<(), Stop> {
            match self { $(Command::$Name(id, command) => <$Fold as Aggregate>::decide(id, draft, command)),+ }
        }
    }

    impl Event {
        /// `noun.past`, as on disk.
        pub fn kind(&self) -> &'static str {
            match self { $(Event::$Name(event) => event.kind()),+ }
        }

        /// The version that this program writes of its kind.
        pub fn version(&self) -> u32 {
            let version = match self { $(Event::$Name(event) => <$Fold as Aggregate>::Event::version(event.kind())),+ };
            version.expect("invariant: every kind has a version")
        }

        /// The payloads that it binds.
        pub fn binds(&self, each: &mut dyn FnMut(&Hash)) {
            match self { $(Event::$Name(event) => <$Fold as Aggregate>::binds(event, each)),+ }
        }

        /// The event that a refused command leaves in this stream.
        pub fn refused(stream: Stream, refused: Refused) -> Event {
            match stream { $(Stream::$Name(_) => Event::$Name(<$Fold as Aggregate>::Event::refused(refused))),+ }
        }

        /// Reads an event as stored: its data's text.
        ///
        /// # Errors
        /// A kind or version that this program does not know, or data of another shape: the ledger is not opened then.
        pub fn read(stream: Stream, kind: &str, version: u32, data: &str) -> Result<Event, String> {
            match stream { $(
                Stream::$Name(_) => read::<<$Fold as Aggregate>::Event>(kind, version, data).map(Event::$Name)
            ),+ }
            .map_err(|error| format!("event `{kind}` (version {version}) of {stream} {error}"))
        }
    }

    impl Fold {
        /// What the world owes this state.
        pub fn owed(&self) -> Vec<Owed> {
            match self { $(Fold::$Name(fold) => fold.owed()),+ }
        }
    }

    impl Refusal {
        /// Its stable name.
        pub fn code(&self) -> &'static str {
            match self { $(Refusal::$Name(refusal) => refusal.code()),+ }
        }

        pub fn is_quiet(&self) -> bool {
            match self { $(Refusal::$Name(refusal) => refusal.is_quiet()),+ }
        }
    }

    /// Total: replaying a stream under the same code gives the same bytes.
    pub fn apply(fold: &mut Option<Fold>, event: &Event, stamp: Stamp) {
        match event { $(Event::$Name(event) => {
            let mut inner = fold.take().and_then(|fold| if let Fold::$Name(inner) = fold { Some(inner) } else { None });
            <$Fold as Aggregate>::apply(&mut inner, event, stamp);
            *fold = inner.map(Fold::$Name);
        })+ }
    }

    /// The rows of one event, seen from the fold before it.
    pub fn event_rows(stream: Stream, before: Option<&Fold>, event: &Event, stamp: Stamp) -> Vec<Row> {
        match (stream, event) {
            $((Stream::$Name(id), Event::$Name(event)) => {
                <$Fold as Aggregate>::rows(id, before.and_then(<$Fold as Member>::of), event, stamp)
            })+
            // A stream holds events of its own aggregate only.
            ($(Stream::$Name(_))|+, _) => Vec::new(),
        }
    }

    /// The rows that a fold alone implies, where they differ from those of the fold before.
    pub fn state_rows(stream: Stream, before: Option<&Fold>, after: &Fold) -> Vec<Row> {
        match (stream, after) {
            $((Stream::$Name(id), Fold::$Name(after)) => {
                <$Fold as Aggregate>::state_rows(id, before.and_then(<$Fold as Member>::of), after)
            })+
            ($(Stream::$Name(_))|+, _) => Vec::new(),
        }
    }
}; }

aggregates! {
    Project: project::Project, ProjectId;
    Agent: agent::Agent, AgentId;
    Execution: execution::Execution, ExecutionId;
    Worker: fleet::Worker, WorkerId;
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
