//! API keys, by the hash of their text. Whoever acts on one checks its MAC first.
use super::macs::{Authority, Unverified, write_mac};
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql, Walk};
use tenure_core::bound::Hash;
use tenure_core::id::KeyId;
use tenure_core::ledger::MacKey;
use tenure_core::project::KeyRow;
use tenure_core::time::Time;

table!(KeyRow in "keys", key "id", keeps [], {
    id: "id",
    name: "name",
    role: "role",
    hash: "hash",
    created_at: "created_at",
    revoked_at: "revoked_at",
});

impl Authority for KeyRow {}

/// A row that was changed by another hand keeps its broken MAC: it stays refused whatever is done to it later.
pub(super) fn revoke(sql: &mut dyn Sql, macs: &MacKey, id: KeyId, at: Time) -> Result<(), Error> {
    let id = id.to_string();
    let by_id = [Cell::Text(&id)];
    let found = sql.first(&KeyRow::select_unverified("WHERE id = $1"), &by_id, KeyRow::read_unverified)?;
    let text = "UPDATE keys SET revoked_at = $1 WHERE id = $2";
    sql.execute(text, &[Cell::Int(at.millis()), by_id[0]])?;
    match found.map(|found| found.verified(macs)) {
        Some(Ok(row)) => write_mac(sql, macs, &KeyRow { revoked_at: Some(at), ..row }),
        Some(Err(_)) | None => Ok(()),
    }
}

/// The key with this hash, revoked or not.
///
/// # Errors
/// The database's.
pub fn by_hash(sql: &mut dyn Sql, hash: &Hash) -> Result<Option<Unverified<KeyRow>>, Error> {
    sql.first(&KeyRow::select_unverified("WHERE hash = $1"), &[Cell::Bytes(&hash.0)], KeyRow::read_unverified)
}

/// The key of this id or short id, revoked or not; else the live one of this name.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<Unverified<KeyRow>>, Error> {
    let by = |sql: &mut dyn Sql, which: &str, value: &str| {
        let text = KeyRow::select_unverified(&format!("WHERE {which} LIMIT 8"));
        sql.all(&text, &[Cell::Text(value)], KeyRow::read_unverified)
    };
    let mut found = by(sql, "id = $1", wanted)?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, KeyId::PREFIX)) {
        found = by(sql, "substr(id, 23) = $1", letters)?;
    }
    if found.is_empty() {
        found = by(sql, "name = $1 AND revoked_at IS NULL", wanted)?;
    }
    Ok(Match::of(found))
}

/// Where a page of the list ended: at a key that was live then, or at a revoked one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Live(KeyId),
    Revoked(KeyId),
}

/// The live ones, of which there are few, then the revoked; the newest of each first.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, after: Option<After>, limit: u32) -> Result<Page<Unverified<KeyRow>, After>, Error> {
    let (which, id) = match after {
        None => ("id <> $1", String::new()),
        Some(After::Live(id)) => ("(revoked_at IS NULL AND id < $1) OR revoked_at IS NOT NULL", id.to_string()),
        Some(After::Revoked(id)) => ("revoked_at IS NOT NULL AND id < $1", id.to_string()),
    };
    let text = KeyRow::select_unverified(&format!("WHERE {which} ORDER BY revoked_at IS NOT NULL, id DESC LIMIT $2"));
    let cells = [Cell::Text(&id), Cell::Int(i64::from(limit) + 1)];
    let end = |row: &Unverified<KeyRow>| {
        let row = row.clone().as_it_stands();
        if row.revoked_at.is_some() { After::Revoked(row.id) } else { After::Live(row.id) }
    };
    Ok(Page::of(sql.all(&text, &cells, KeyRow::read_unverified)?, limit, end))
}

/// Every key as it stands, in the order of their ids.
pub(crate) fn each(sql: &mut dyn Sql, row: &mut dyn FnMut(KeyRow)) -> Result<(), Error> {
    sql.each(&KeyRow::select("ORDER BY id"), &[], &mut |columns| {
        row(KeyRow::read(columns)?);
        Ok(Walk::On)
    })
}
