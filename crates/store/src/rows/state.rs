//! Stored values: every kept version of a key, and the rules on shared ones. A version that is dropped takes its bytes
//! with it, and leaves their hash among what is erased. Nothing here may read a value.
use super::Page;
use super::macs::{Authority, Unverified};
use crate::Error;
use crate::events::{Recorded, recorded};
use crate::payload;
use crate::sealed::Bodies;
use crate::sql::stored::table;
use crate::sql::{Cell, Columns, Sql, Walk};
use std::collections::BTreeSet;
use tenure_core::bound::{Bound, Hash};
use tenure_core::facts::{Changed, Counter, Expiring};
use tenure_core::ledger::MacKey;
use tenure_core::state::{Access, Acl, AclRow, Entry, Home, Usage};
use tenure_core::time::Time;

table!(AclRow in "acls", key "prefix", keeps [], {
    prefix: "prefix",
    read: "readers",
    write: "writers",
    by: "actor",
    at: "at",
});

impl Authority for AclRow {}

const COLUMNS: &str = "key, version, value, size, actor, at, expires, home";

fn entry_of(row: &Columns<'_>) -> Result<(String, Entry), Error> {
    let value = if row.is_null(2)? { None } else { Some(Bound { hash: row.hash(2)?, size: row.count(3)? }) };
    let entry = Entry {
        version: row.count(1)?,
        value,
        by: row.parse(4)?,
        at: row.time(5)?,
        expires: row.int_or_null(6)?.map(Time::from_millis),
        home: row.parse(7)?,
    };
    Ok((row.text(0)?.to_string(), entry))
}

pub(super) fn write(sql: &mut dyn Sql, namespace: &str, key: &str, entry: &Entry) -> Result<(), Error> {
    let text = "UPDATE entries SET superseded = 1 WHERE namespace = $1 AND key = $2 AND superseded = 0";
    sql.execute(text, &[Cell::Text(namespace), Cell::Text(key)])?;
    let text = "INSERT INTO entries (home, namespace, key, version, value, size, actor, at, expires, superseded) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)";
    let (home, actor) = (entry.home.to_string(), entry.by.to_string());
    let cells = [
        Cell::Text(&home),
        Cell::Text(namespace),
        Cell::Text(key),
        Cell::count(entry.version),
        entry.value.as_ref().map(|value| value.hash.0.as_slice()).into(),
        Cell::count(entry.value.map_or(0, |value| value.size)),
        Cell::Text(&actor),
        Cell::Int(entry.at.millis()),
        entry.expires.map(Time::millis).into(),
    ];
    sql.execute(text, &cells).map(|_| ())
}

/// A large value's file goes after the commit.
pub(super) fn drop_version(
    sql: &mut dyn Sql,
    namespace: &str,
    key: &str,
    version: u64,
    value: Option<&Hash>,
) -> Result<(), Error> {
    let text = "DELETE FROM entries WHERE namespace = $1 AND key = $2 AND version = $3";
    sql.execute(text, &[Cell::Text(namespace), Cell::Text(key), Cell::count(version)])?;
    match value {
        Some(hash) => payload::erase(sql, hash),
        None => Ok(()),
    }
}

pub(super) fn expire(sql: &mut dyn Sql, namespace: &str, at: Time) -> Result<(), Error> {
    let text = "UPDATE entries SET expires = $1 WHERE namespace = $2 AND superseded = 0 AND value IS NOT NULL";
    sql.execute(text, &[Cell::Int(at.millis()), Cell::Text(namespace)]).map(|_| ())
}

pub(super) fn remove_acl(sql: &mut dyn Sql, prefix: &str) -> Result<(), Error> {
    sql.execute("DELETE FROM acls WHERE prefix = $1", &[Cell::Text(prefix)])?;
    let text = "DELETE FROM macs WHERE of_table = 'acls' AND key = $1";
    sql.execute(text, &[Cell::Text(prefix)]).map(|_| ())
}

/// The rules, by prefix.
///
/// # Errors
/// The database's.
pub fn acl_rows(sql: &mut dyn Sql) -> Result<Vec<Unverified<AclRow>>, Error> {
    sql.all(&AclRow::select_unverified("ORDER BY acls.prefix"), &[], AclRow::read_unverified)
}

/// The rules that hold. Where one was not written by this ledger, no agent may use what falls under no other, until a person
/// sets or removes it: it may have stood for any prefix.
///
/// # Errors
/// The database's.
pub(crate) fn acls(sql: &mut dyn Sql, macs: &MacKey) -> Result<Vec<Acl>, Error> {
    let nobody = |prefix: String| {
        let none = || Access::Agents(BTreeSet::new());
        Acl { prefix, read: none(), write: none() }
    };
    let (mut acls, mut is_forged) = (Vec::new(), false);
    for row in acl_rows(sql)? {
        match row.clone().verified(macs) {
            Ok(AclRow { prefix, read, write, .. }) => acls.push(Acl { prefix, read, write }),
            Err(forged) => {
                tracing::error!(%forged, "a rule on shared keys closes all that no other rule is on");
                acls.push(nobody(row.as_it_stands().prefix));
                is_forged = true;
            }
        }
    }
    if is_forged {
        acls.push(nobody(String::new()));
    }
    Ok(acls)
}

/// The newest version of a key, a mark that it is gone included.
///
/// # Errors
/// The database's.
pub fn present(sql: &mut dyn Sql, namespace: &str, key: &str) -> Result<Option<Entry>, Error> {
    let text = format!("SELECT {COLUMNS} FROM entries WHERE namespace = $1 AND key = $2 AND superseded = 0");
    Ok(sql.first(&text, &[Cell::Text(namespace), Cell::Text(key)], entry_of)?.map(|(_, entry)| entry))
}

/// Kept versions of a key, from `at_most` down.
///
/// # Errors
/// The database's.
pub fn versions(sql: &mut dyn Sql, namespace: &str, key: &str, at_most: u64, limit: u32) -> Result<Vec<Entry>, Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM entries WHERE namespace = $1 AND key = $2 AND version <= $3 ORDER BY version DESC LIMIT $4"
    );
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let cells = [Cell::Text(namespace), Cell::Text(key), Cell::Int(at_most), Cell::Int(limit.into())];
    Ok(sql.all(&text, &cells, entry_of)?.into_iter().map(|(_, entry)| entry).collect())
}

pub(crate) fn old_versions(sql: &mut dyn Sql, namespace: &str, limit: u32) -> Result<Vec<(String, Entry)>, Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM entries WHERE namespace = $1 AND (superseded = 1 OR value IS NULL) \
        ORDER BY at, key, version LIMIT $2"
    );
    sql.all(&text, &[Cell::Text(namespace), Cell::Int(limit.into())], entry_of)
}

/// Keys after `after` that begin with a prefix and have a value, in the order of their bytes; one whose time is over is
/// among them until it is swept.
///
/// # Errors
/// The database's.
pub fn list(
    sql: &mut dyn Sql,
    namespace: &str,
    prefix: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, Entry)>, Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM entries WHERE namespace = $1 AND key >= $2 AND key > $3 AND superseded = 0 ORDER BY key"
    );
    let mut found = Vec::new();
    sql.each(&text, &[Cell::Text(namespace), Cell::Text(prefix), Cell::Text(after)], &mut |row| {
        if found.len() >= limit as usize || !row.text(0)?.starts_with(prefix) {
            return Ok(Walk::Stop);
        }
        if !row.is_null(2)? {
            found.push(entry_of(row)?);
        }
        Ok(Walk::On)
    })?;
    Ok(found)
}

/// The same as a page of a list, without what is over.
///
/// # Errors
/// The database's.
pub fn page(
    sql: &mut dyn Sql,
    namespace: &str,
    (prefix, after): (&str, &str),
    now: Time,
    limit: u32,
) -> Result<Page<(String, Entry), String>, Error> {
    let rows = list(sql, namespace, prefix, after, limit.saturating_add(1))?;
    let mut page = Page::of(rows, limit, |(key, _)| key.clone());
    page.rows.retain(|(_, entry)| entry.is_live(now));
    Ok(page)
}

pub(crate) fn expiring(sql: &mut dyn Sql, home: Home, limit: u32) -> Result<Vec<Expiring>, Error> {
    let text = "SELECT namespace, key, expires FROM entries WHERE home = $1 AND expires IS NOT NULL AND superseded = 0 \
        ORDER BY expires, namespace, key LIMIT $2";
    sql.all(text, &[Cell::Text(&home.to_string()), Cell::Int(limit.into())], |row| {
        Ok(Expiring { namespace: row.text(0)?.to_string(), key: row.text(1)?.to_string(), at: row.time(2)? })
    })
}

/// Records of a stream after `after` that set, deleted or expired a key; the newest alone where that is none.
///
/// # Errors
/// The database's; `Corrupt` where a record cannot be read.
pub fn changes(sql: &mut dyn Sql, home: Home, after: Option<u64>, limit: u32) -> Result<Vec<Recorded>, Error> {
    const OF_STATE: &str = "kind IN ('state.set', 'state.deleted', 'state.expired')";
    let home = home.to_string();
    let bodies = Bodies::of(sql);
    match after {
        Some(after) => {
            let text =
                format!("SELECT body FROM ledger WHERE stream = $1 AND {OF_STATE} AND idx > $2 ORDER BY idx LIMIT $3");
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            sql.all(&text, &[Cell::Text(&home), Cell::Int(after), Cell::Int(limit.into())], |row| {
                recorded(&bodies, row)
            })
        }
        None => {
            let text = format!("SELECT body FROM ledger WHERE stream = $1 AND {OF_STATE} ORDER BY idx DESC LIMIT 1");
            sql.all(&text, &[Cell::Text(&home)], |row| recorded(&bodies, row))
        }
    }
}

/// What is kept in a namespace; `quota` as a person set it, 0 where none did.
///
/// # Errors
/// The database's.
pub fn usage(sql: &mut dyn Sql, namespace: &str) -> Result<Usage, Error> {
    let mut count = |counter| {
        let counted = super::facts::counted(sql, counter, namespace, 0)?;
        Ok::<u64, Error>(u64::try_from(counted).unwrap_or(0))
    };
    Ok(Usage {
        keys: count(Counter::StateKeys)?,
        bytes: count(Counter::StateBytes)?,
        history_bytes: count(Counter::StateHistory)?,
        quota: count(Counter::StateQuota)?,
    })
}

pub(crate) fn changed(recorded: Recorded) -> Changed {
    Changed { index: recorded.meta.index, at: recorded.meta.stamp.at, event: recorded.event }
}
