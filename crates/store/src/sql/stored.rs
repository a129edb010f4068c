//! How a value stands in one column, and how a struct stands in a row: the fields that a table names once are what is
//! written and what is read.
use super::{Cell, Columns};
use crate::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenure_core::access::Role;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Listed, Supervised};
use tenure_core::bound::Hash;
use tenure_core::call::Holder;
use tenure_core::capability::Shown;
use tenure_core::comms;
use tenure_core::execution::{Reason, Status, Trigger};
use tenure_core::id::{
    AgentId, CallId, ConnectionId, ExecutionId, InstanceId, KeyId, MessageId, PackageId, SecretId, SessionId, WorkerId,
};
use tenure_core::instance::Health;
use tenure_core::item::ItemKind;
use tenure_core::session::Opener;
use tenure_core::state::Access;
use tenure_core::time::{Clock, Time};

/// An owned column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Value::Null => Cell::Null,
            Value::Int(number) => Cell::Int(*number),
            Value::Text(text) => Cell::Text(text),
            Value::Bytes(bytes) => Cell::Bytes(bytes),
        }
    }
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Value {
        match cell {
            Cell::Null => Value::Null,
            Cell::Int(number) => Value::Int(number),
            Cell::Text(text) => Value::Text(text.to_string()),
            Cell::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        }
    }
}

/// A type of one column.
pub trait Stored: Sized {
    fn value(&self) -> Value;

    /// # Errors
    /// `Corrupt` where the column is no such value.
    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error>;
}

impl<T: Stored> Stored for Option<T> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Stored::value)
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error> {
        if columns.is_null(place)? { Ok(None) } else { T::read(columns, place).map(Some) }
    }
}

macro_rules! stored_number { ($($number:ty),+) => { $(impl Stored for $number {
    fn value(&self) -> Value {
        Value::Int(i64::try_from(*self).expect("invariant: a stored number is below 2^53"))
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error> {
        columns.count(place)
    }
})+ }; }
stored_number!(u32, u64, i32);

/// In the form that it is written and parsed in.
macro_rules! stored_text { ($($text:ty),+ $(,)?) => { $(impl Stored for $text {
    fn value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error> {
        columns.parse(place)
    }
})+ }; }
stored_text!(
    String,
    Actor,
    AgentId,
    CallId,
    ConnectionId,
    ExecutionId,
    InstanceId,
    Holder,
    KeyId,
    MessageId,
    PackageId,
    SecretId,
    SessionId,
    Opener,
    WorkerId,
    Reason,
    Role,
    Status,
    Trigger,
    agent::Status,
    comms::Cause,
    comms::State,
    ItemKind,
);

macro_rules! stored_json { ($($json:ty),+ $(,)?) => { $(impl Stored for $json {
    fn value(&self) -> Value {
        to_json(self)
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error> {
        from_json(columns, place)
    }
})+ }; }
stored_json!(Access, Clock, Health, Listed, Shown, Supervised);

fn to_json<T: Serialize>(value: &T) -> Value {
    Value::Text(serde_json::to_string(value).expect("invariant: a column's value is JSON with text keys"))
}

fn from_json<T: DeserializeOwned>(columns: &Columns<'_>, place: usize) -> Result<T, Error> {
    serde_json::from_str(columns.text(place)?)
        .map_err(|error| Error::corrupt(format!("column {place} of a row cannot be read: {error}")))
}

impl Stored for bool {
    fn value(&self) -> Value {
        Value::Int(i64::from(*self))
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error> {
        columns.truth(place)
    }
}

impl Stored for Hash {
    fn value(&self) -> Value {
        Value::Bytes(self.0.to_vec())
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error> {
        columns.hash(place)
    }
}

impl Stored for Time {
    fn value(&self) -> Value {
        Value::Int(self.millis())
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Self, Error> {
        columns.time(place)
    }
}

/// A struct of core as a row of a table: `field: column`, the key first. `keeps` names columns that a later write of the
/// same key leaves as they are.
macro_rules! table {
    ($Row:ident in $table:literal, key $key:literal, keeps [$($keep:literal),*], { $($field:ident: $column:literal),+ $(,)? }) => {
        impl crate::rows::Table for $Row {
            const NAME: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$($column),+];
            const KEY: &'static str = $key;
            const KEEPS: &'static [&'static str] = &[$($keep),*];

            fn values(&self) -> Vec<crate::sql::stored::Value> {
                vec![$(crate::sql::stored::Stored::value(&self.$field)),+]
            }

            fn insert() -> &'static str {
                static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new($Row::insert_text);
                &TEXT
            }

            fn read(columns: &crate::sql::Columns<'_>) -> Result<Self, crate::Error> {
                let mut place = 0..;
                let mut next = || place.next().expect("invariant: a range without an end");
                Ok($Row { $($field: crate::sql::stored::Stored::read(columns, next())?),+ })
            }
        }
    };
}

pub(crate) use table;
