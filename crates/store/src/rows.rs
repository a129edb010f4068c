//! The lists that people read, and the facts that decisions are made by: each row of core's written, and the queries over
//! them. A file a noun.
pub mod agent_keys;
pub mod agents;
pub mod budgets;
pub mod calls;
pub mod conversations;
pub mod costs;
pub mod executions;
pub mod facts;
pub mod items;
pub mod iterations;
pub mod keys;
pub mod macs;
pub mod secrets;
pub mod sessions;
pub mod state;
pub mod messages;
pub mod instances;
pub mod packages;
pub mod policies;
pub mod turns;
pub mod workers;

use crate::Error;
use crate::payload;
use crate::sql::stored::Value;
use crate::sql::{Cell, Columns, Sql};
use macs::Authority;
use tenure_core::ledger::MacKey;
use tenure_core::row::Row;

/// Letters at the end of an id that lists show.
pub(crate) const SHORT: usize = 8;

/// A struct of core that stands in one row.
pub(crate) trait Table: Sized {
    const NAME: &'static str;
    const COLUMNS: &'static [&'static str];
    const KEY: &'static str;
    /// Columns that a later write of the same key leaves as they are.
    const KEEPS: &'static [&'static str];

    fn values(&self) -> Vec<Value>;

    fn read(columns: &Columns<'_>) -> Result<Self, Error>;

    /// [`Table::insert_text`], made once.
    fn insert() -> &'static str;

    /// Writes the row, over the one of the same key.
    fn write(&self, sql: &mut dyn Sql) -> Result<(), Error> {
        let values = self.values();
        let cells: Vec<Cell<'_>> = values.iter().map(Value::cell).collect();
        sql.execute(Self::insert(), &cells).map(|_| ())
    }

    fn insert_text() -> String {
        let places: Vec<String> = (1..=Self::COLUMNS.len()).map(|place| format!("${place}")).collect();
        let key: Vec<&str> = Self::KEY.split(", ").collect();
        let kept = |column: &&&str| !key.contains(*column) && !Self::KEEPS.contains(*column);
        let sets: Vec<String> =
            Self::COLUMNS.iter().filter(kept).map(|column| format!("{column} = excluded.{column}")).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
            Self::NAME,
            Self::COLUMNS.join(", "),
            places.join(", "),
            Self::KEY,
            sets.join(", ")
        )
    }

    /// `SELECT` of all columns; what comes after `FROM table`.
    fn select(rest: &str) -> String {
        let columns: Vec<String> = Self::COLUMNS.iter().map(|column| format!("{}.{column}", Self::NAME)).collect();
        format!("SELECT {} FROM {} {rest}", columns.join(", "), Self::NAME)
    }
}

/// Makes the MACs of all rows that grant authority anew. One that does not hold is left as it is: forged.
pub(crate) fn rekey(sql: &mut dyn Sql, old: &MacKey, new: &MacKey) -> Result<(), Error> {
    macs::rekey::<tenure_core::project::KeyRow>(sql, old, new)?;
    macs::rekey::<tenure_core::agent::AgentKeyRow>(sql, old, new)?;
    macs::rekey::<tenure_core::agent::RevisionRow>(sql, old, new)?;
    macs::rekey::<tenure_core::state::AclRow>(sql, old, new)?;
    macs::rekey::<tenure_core::project::PublisherRow>(sql, old, new)?;
    macs::rekey::<tenure_core::secret::BindingRow>(sql, old, new)
}

/// What a name or an id, whole or short, was found to mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match<T> {
    None,
    One(T),
    /// A short form that fits several.
    Many(Vec<T>),
}

impl<T> Match<T> {
    fn of(mut found: Vec<T>) -> Match<T> {
        match found.len() {
            0 => Match::None,
            1 => found.pop().map_or(Match::None, Match::One),
            _ => Match::Many(found),
        }
    }
}

/// A page of a list, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    pub rows: Vec<T>,
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Of rows that were read with a limit of one more.
    fn of(mut rows: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> Page<T, C> {
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = if more { rows.last().map(cursor) } else { None };
        Page { rows, next }
    }
}

pub(crate) fn write(sql: &mut dyn Sql, macs: &MacKey, row: &Row) -> Result<(), Error> {
    match row {
        Row::Held { namespace, key, holder } => facts::write_holder(sql, *namespace, key, holder.as_deref()),
        Row::Counted { counter, key, bucket, by } => facts::count(sql, *counter, key, *bucket, *by),
        Row::Entry { namespace, key, entry } => state::write(sql, namespace, key, entry),
        Row::EntryDropped { namespace, key, version, value } => {
            state::drop_version(sql, namespace, key, *version, value.as_ref())
        }
        Row::Erased { hash } => payload::erase(sql, hash),
        Row::EntriesExpire { namespace, at } => state::expire(sql, namespace, *at),
        Row::Acl(row) => row.write_with_mac(sql, macs),
        Row::AclRemoved { prefix } => state::remove_acl(sql, prefix),
        Row::Key(row) => row.write_with_mac(sql, macs),
        Row::KeyRevoked { id, at } => keys::revoke(sql, macs, *id, *at),
        Row::AgentKey(row) => row.write_with_mac(sql, macs),
        Row::AgentKeyRetired { id, dies_at } => agent_keys::retire(sql, macs, *id, *dies_at),
        Row::AgentKeyRevoked { id, at } => agent_keys::revoke(sql, macs, *id, *at),
        Row::Deployed { agent, name, listed, at } => agents::write_deployed(sql, *agent, name, listed, *at),
        Row::Revision(row) => row.write_with_mac(sql, macs),
        Row::Standing { agent, standing } => agents::write_standing(sql, *agent, standing),
        Row::Conversation(row) => row.write(sql),
        Row::Execution(row) => row.write(sql),
        Row::Iteration(row) => row.write(sql),
        Row::Turn(row) => row.write(sql),
        Row::Cost(row) => costs::add(sql, row),
        Row::Note { execution, iteration, turn, note } => turns::write_note(sql, *execution, *iteration, *turn, *note),
        Row::Call(row) => row.write(sql),
        Row::CallChanged { id, change, at } => calls::change(sql, *id, change, *at),
        Row::Validation(row) => row.write(sql),
        Row::Worker(row) => row.write(sql),
        Row::Policy(row) => row.write(sql),
        Row::Session(row) => row.write(sql),
        Row::Secret(row) => row.write(sql),
        Row::SecretBound(row) => row.write_with_mac(sql, macs),
        Row::SecretUnbound { secret, binding } => secrets::unbind(sql, *secret, binding),
        Row::Package(row) => row.write(sql),
        Row::Instance(row) => row.write(sql),
        Row::Publisher(row) => row.write_with_mac(sql, macs),
        Row::PublisherRemoved { key } => packages::remove_publisher(sql, key),
        Row::Item(row) => row.write(sql),
        Row::ItemChanged { kind, agent, key, change, at } => items::change(sql, (*kind, *agent, key), change, *at),
        Row::ItemGone { kind, agent, key } => items::remove(sql, *kind, *agent, key),
        Row::Message(row) => row.write(sql),
        Row::MessageChanged { recipient, message, change, at } => {
            messages::change(sql, *recipient, *message, change, *at)
        }
    }
}

/// The part of a wanted text that may be a short id: `exe_7k2m9p4q` or `7k2m9p4q`.
pub(crate) fn as_short<'a>(wanted: &'a str, prefix: &str) -> Option<&'a str> {
    let letters = wanted.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).unwrap_or(wanted);
    (letters.len() == SHORT && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(letters)
}
