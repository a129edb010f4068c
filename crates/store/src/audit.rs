//! What people ask of the records: those of a selection, page by page, and how many there are of what. Must never: look at more
//! records in one read than it says.
use crate::chain::End;
use crate::events::{Recorded, selected};
use crate::folder::Folder;
use crate::select::Selection;
use crate::sql::{Cell, Sql, Walk};
use crate::{Checkpoint, Error, chain, checkpoint, keys, sealed};
use std::collections::BTreeMap;
use std::path::Path;
use tenure_core::bound::Hash;
use tenure_core::id::AgentId;
use tenure_core::ledger::consistency::HandOver;
use tenure_core::ledger::{Signed, Verifier};
use tenure_core::time::{Stamp, Time};

/// Records that one page looks through.
const LOOKED_MAX: u64 = 100_000;
/// Agents and days that figures name: the busiest, and the newest.
const NAMED_MAX: usize = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// A page of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    pub records: Vec<Recorded>,
    /// Where the next page goes on; none where all was looked through. A page may be empty and not the last.
    pub next: Option<u64>,
}

/// The records of a selection from `from` on, or before `from` where the newest come first.
///
/// # Errors
/// The database's; `Corrupt` where a record cannot be read.
pub fn records(
    sql: &mut dyn Sql,
    selection: &Selection,
    order: Order,
    from: Option<u64>,
    limit: u32,
) -> Result<Records, Error> {
    let size = sql.first("SELECT size FROM heads LIMIT 1", &[], |row| row.count::<u64>(0))?.unwrap_or(0);
    let within = match order {
        Order::OldestFirst => {
            let from = from.unwrap_or(0).min(size);
            from..from.saturating_add(LOOKED_MAX).min(size)
        }
        Order::NewestFirst => {
            let end = from.unwrap_or(size).min(size);
            end.saturating_sub(LOOKED_MAX)..end
        }
    };
    let records = selected(sql, selection, order, within.clone(), limit)?;
    let last = records.last().map(|record| record.meta.index);
    let (full, window) = (records.len() >= limit as usize, within);
    let next = match (order, last) {
        (Order::OldestFirst, Some(last)) if full => Some(last + 1),
        (Order::OldestFirst, _) => Some(window.end),
        (Order::NewestFirst, Some(last)) if full => Some(last),
        (Order::NewestFirst, _) => Some(window.start),
    };
    let over = match order {
        Order::OldestFirst => next >= Some(size),
        Order::NewestFirst => next == Some(0),
    };
    Ok(Records { records, next: next.filter(|_| !over) })
}

/// Records of one agent: its own, its executions', its sessions' and its instances'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfAgent {
    pub agent: AgentId,
    pub name: String,
    pub records: u64,
}

/// Records of one day of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfDay {
    pub day: Time,
    pub records: u64,
    pub refusals: u64,
}

/// How many records there are of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    pub records: u64,
    /// Of the records alone.
    pub bytes: u64,
    pub refusals: u64,
    /// By kind.
    pub kinds: BTreeMap<String, u64>,
    /// The busiest first.
    pub agents: Vec<OfAgent>,
    /// The newest first.
    pub days: Vec<OfDay>,
    pub head: Option<Signed>,
}

/// Looks through the whole ledger: ask a reader for it that nobody waits behind.
///
/// # Errors
/// The database's.
pub fn stats(sql: &mut dyn Sql) -> Result<Stats, Error> {
    let head = head(sql)?;
    let mut stats =
        Stats { records: 0, bytes: 0, refusals: 0, kinds: BTreeMap::new(), agents: Vec::new(), days: Vec::new(), head };
    let mut days: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    let text = format!("SELECT kind, at / {DAY_MS}, COUNT(*), SUM(length(body)) FROM ledger GROUP BY 1, 2");
    sql.each(&text, &[], &mut |row| {
        let (kind, day, count, bytes) = (row.text(0)?, row.int(1)?, row.count::<u64>(2)?, row.count::<u64>(3)?);
        stats.records += count;
        stats.bytes += bytes;
        *stats.kinds.entry(kind.to_string()).or_default() += count;
        let of_day = days.entry(day).or_default();
        of_day.0 += count;
        if crate::select::is_refusal(kind) {
            stats.refusals += count;
            of_day.1 += count;
        }
        Ok(Walk::On)
    })?;
    let newest = days.into_iter().rev().take(NAMED_MAX);
    let day = |(day, (records, refusals))| OfDay { day: Time::from_millis(day * DAY_MS), records, refusals };
    stats.days = newest.map(day).collect();
    stats.agents = agents(sql)?;
    Ok(stats)
}

fn agents(sql: &mut dyn Sql) -> Result<Vec<OfAgent>, Error> {
    let text = "SELECT agent, (SELECT name FROM agents WHERE id = agent), SUM(n) FROM (\
            SELECT CASE WHEN substr(stream, 1, 4) = 'agt_' THEN stream ELSE COALESCE(\
                (SELECT agent FROM executions WHERE id = stream), (SELECT agent FROM sessions WHERE id = stream), \
                (SELECT agent FROM instances WHERE id = stream)\
            ) END AS agent, n FROM (SELECT stream, COUNT(*) AS n FROM ledger GROUP BY stream)\
        ) WHERE agent IS NOT NULL GROUP BY agent ORDER BY SUM(n) DESC, agent LIMIT $1";
    sql.all(text, &[Cell::Int(NAMED_MAX as i64)], |row| {
        let name = row.text_or_null(1)?.unwrap_or_default().to_string();
        Ok(OfAgent { agent: row.parse(0)?, name, records: row.count(2)? })
    })
}

/// The newest signed head, as the database has it.
///
/// # Errors
/// The database's; `Corrupt` where it cannot be read.
pub fn head(sql: &mut dyn Sql) -> Result<Option<Signed>, Error> {
    let signed = sql.first("SELECT signed FROM heads LIMIT 1", &[], |row| Ok(row.text(0)?.to_string()))?;
    let read = |text: String| serde_json::from_str(&text).map_err(|error| Error::corrupt(format!("the head: {error}")));
    signed.map(read).transpose()
}

/// The head outside the database of `dir`, and the public key there. Read it before the moment of the database that it is held
/// against: it is never ahead.
#[derive(Debug, Clone)]
pub struct Outside {
    head: Option<Signed>,
    key: Verifier,
}

/// # Errors
/// The file system's; `Corrupt` where it cannot be read.
pub fn outside(dir: &Path) -> Result<Outside, Error> {
    let folder = Folder { root: dir.to_path_buf() };
    let key = folder.read_verifier()?.ok_or_else(|| Error::corrupt("ledger.pub is missing"))?;
    Ok(Outside { head: checkpoint::read_unchecked(&folder.head())?, key })
}

/// What it says of the database.
///
/// # Errors
/// The database's; `Corrupt` where one of the heads is not this ledger's.
pub fn compare(sql: &mut dyn Sql, outside: &Outside) -> Result<Checkpoint, Error> {
    let keys = keys::follow(sql, outside.key)?;
    let outside = outside.head.clone().map(|signed| checkpoint::checked(signed, &keys)).transpose()?;
    let Some(Signed { head, .. }) = head(sql)? else { return Ok(Checkpoint::Missing) };
    let stamp = Stamp { at: head.at, run: head.run };
    let end = End { project: Some(head.project), size: head.size, last: head.last, stamp };
    chain::compare(sql, &end, outside.as_ref())
}

/// The newest head, and what the ledger's keys have handed over.
///
/// # Errors
/// The database's; `Corrupt` where there is no head, or one that cannot be read.
pub fn newest(sql: &mut dyn Sql) -> Result<(Signed, Vec<HandOver>), Error> {
    let signed = sql.first("SELECT signed FROM heads LIMIT 1", &[], |row| Ok(row.text(0)?.to_string()))?;
    let signed = signed.ok_or_else(|| Error::corrupt("the ledger has no head"))?;
    let signed =
        serde_json::from_str(&signed).map_err(|error| Error::corrupt(format!("the ledger's head: {error}")))?;
    let handed = keys::rotations(sql)?.into_iter().map(|(_, _, rotation)| rotation.into());
    Ok((signed, handed.collect()))
}

/// The leaf hashes of records from one index on, in order.
///
/// # Errors
/// The database's; `Corrupt` where one is missing.
pub fn leaves(sql: &mut dyn Sql, from: u64, limit: u32) -> Result<Vec<Hash>, Error> {
    let text = "SELECT idx, body FROM ledger WHERE project = (SELECT project FROM heads LIMIT 1) AND idx >= $1 \
        ORDER BY idx LIMIT $2";
    let read = sql.all(text, &[Cell::count(from), Cell::Int(limit.into())], |row| {
        Ok((row.count::<u64>(0)?, sealed::leaf(row.bytes(1)?)?))
    })?;
    let placed = read.into_iter().zip(from..).map(|((index, leaf), wanted)| match index == wanted {
        true => Ok(leaf),
        false => Err(Error::corrupt(format!("record {wanted} is missing"))),
    });
    placed.collect()
}
