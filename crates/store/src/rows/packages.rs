//! Packages by name and version, and the publishers whose are taken. A publisher is believed only once the row's MAC holds.
use super::macs::{Authority, Unverified};
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::bound::Hash;
use tenure_core::id::PackageId;
use tenure_core::package::PackageRow;
use tenure_core::project::PublisherRow;

table!(PackageRow in "packages", key "id", keeps [], {
    id: "id",
    name: "name",
    version: "version",
    digest: "digest",
    publisher: "publisher",
    signed_by: "signed_by",
    archive: "archive",
    files: "files",
    bytes: "bytes",
    older_than: "older_than",
    by: "actor",
    at: "at",
});

table!(PublisherRow in "publishers", key "key", keeps [], {
    key: "key",
    name: "name",
    at: "at",
});

impl Authority for PublisherRow {}

pub(super) fn remove_publisher(sql: &mut dyn Sql, key: &Hash) -> Result<(), Error> {
    let key = key.to_string();
    sql.execute("DELETE FROM publishers WHERE key = $1", &[Cell::Text(&key)])?;
    sql.execute("DELETE FROM macs WHERE of_table = 'publishers' AND key = $1", &[Cell::Text(&key)]).map(|_| ())
}

/// All whose packages are taken, by name.
///
/// # Errors
/// The database's.
pub fn publishers(sql: &mut dyn Sql) -> Result<Vec<Unverified<PublisherRow>>, Error> {
    sql.all(&PublisherRow::select_unverified("ORDER BY name, publishers.key"), &[], PublisherRow::read_unverified)
}

/// The one with this key.
///
/// # Errors
/// The database's.
pub fn publisher(sql: &mut dyn Sql, key: &Hash) -> Result<Option<Unverified<PublisherRow>>, Error> {
    let text = PublisherRow::select_unverified("WHERE publishers.key = $1");
    sql.first(&text, &[Cell::Text(&key.to_string())], PublisherRow::read_unverified)
}

/// The package of this id, short id, `name@version`, or, where it is the only one, name.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<PackageRow>, Error> {
    let by = |sql: &mut dyn Sql, which: &str, values: &[Cell<'_>]| {
        sql.all(&PackageRow::select(&format!("WHERE {which} ORDER BY id LIMIT 8")), values, PackageRow::read)
    };
    let mut found = by(sql, "id = $1", &[Cell::Text(wanted)])?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, PackageId::PREFIX)) {
        found = by(sql, "substr(id, 23) = $1", &[Cell::Text(letters)])?;
    }
    if found.is_empty() {
        found = match wanted.split_once('@') {
            Some((name, version)) => {
                by(sql, "lower(name) = lower($1) AND version = $2", &[Cell::Text(name), Cell::Text(version)])?
            }
            None => by(sql, "lower(name) = lower($1)", &[Cell::Text(wanted)])?,
        };
    }
    Ok(Match::of(found))
}

/// By their ids, after this one.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, after: Option<PackageId>, limit: u32) -> Result<Page<PackageRow, PackageId>, Error> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let text = PackageRow::select("WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = sql.all(&text, &[Cell::Text(&after), Cell::Int(i64::from(limit) + 1)], PackageRow::read)?;
    Ok(Page::of(rows, limit, |row| row.id))
}
