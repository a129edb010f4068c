//! The lists that people read: each row of core's written, and the queries over them. A file a noun.
pub mod agents;
pub mod calls;
pub mod executions;
pub mod iterations;
pub mod keys;
pub mod turns;
pub mod workers;

use crate::Error;
use crate::sql::Sql;
use tenure_core::row::Row;

/// Letters at the end of an id that lists show.
pub(crate) const SHORT: usize = 8;

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

pub(crate) fn write(sql: &mut dyn Sql, row: &Row) -> Result<(), Error> {
    match row {
        Row::Key { id, name, role, hash, created_at } => keys::insert(sql, *id, name, *role, hash, *created_at),
        Row::KeyRevoked { id, at } => keys::revoke(sql, *id, *at),
        Row::Agent(row) => agents::write(sql, row),
        Row::Revision(row) => agents::write_revision(sql, row),
        Row::Execution(row) => executions::write(sql, row),
        Row::Twin { agent, key, execution } => executions::write_twin(sql, *agent, key, *execution),
        Row::Iteration(row) => iterations::write(sql, row),
        Row::Turn(row) => turns::write(sql, row),
        Row::Note { execution, iteration, turn, note } => turns::write_note(sql, *execution, *iteration, *turn, *note),
        Row::Call(row) => calls::write(sql, row),
        Row::CallCalled { id, at, rules } => calls::write_called(sql, *id, *at, rules),
        Row::CallEnded { id, at, outcome, exit_code, result, level } => {
            let end = calls::End { outcome, exit_code: *exit_code, result: result.as_ref(), level: level.as_deref() };
            calls::write_ended(sql, *id, *at, &end)
        }
        Row::CallBlocked { id, at, why, sentence } => calls::write_blocked(sql, *id, *at, why, sentence),
        Row::Validation(row) => iterations::write_validation(sql, row),
        Row::Worker(row) => workers::write(sql, row),
    }
}

/// The last letters of an id, by which it is found when shortened.
pub(crate) fn short(id: &str) -> &str {
    &id[id.len().saturating_sub(SHORT)..]
}

/// The part of a wanted text that may be a short id: `exe_7k2m9p4q` or `7k2m9p4q`.
pub(crate) fn as_short<'a>(wanted: &'a str, prefix: &str) -> Option<&'a str> {
    let letters = wanted.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).unwrap_or(wanted);
    (letters.len() == SHORT && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(letters)
}
