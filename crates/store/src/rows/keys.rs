//! API keys, by the hash of their text.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::access::Role;
use tenure_core::bound::Hash;
use tenure_core::id::KeyId;
use tenure_core::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    pub id: KeyId,
    pub name: String,
    pub role: Role,
    pub created_at: Time,
    pub revoked_at: Option<Time>,
}

pub(crate) fn insert(sql: &mut dyn Sql, id: KeyId, name: &str, role: Role, hash: &Hash, at: Time) -> Result<(), Error> {
    let text = "INSERT INTO keys (id, name, role, hash, created_at) VALUES ($1, $2, $3, $4, $5)";
    let (id, role) = (id.to_string(), role.word());
    let cells = [Cell::Text(&id), Cell::Text(name), Cell::Text(role), Cell::Bytes(&hash.0), Cell::Int(at.millis())];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn revoke(sql: &mut dyn Sql, id: KeyId, at: Time) -> Result<(), Error> {
    let text = "UPDATE keys SET revoked_at = $1 WHERE id = $2";
    sql.execute(text, &[Cell::Int(at.millis()), Cell::Text(&id.to_string())]).map(|_| ())
}

const COLUMNS: &str = "id, name, role, created_at, revoked_at";

fn read(row: &Columns<'_>) -> Result<KeyEntry, Error> {
    Ok(KeyEntry {
        id: row.parse(0)?,
        name: row.text(1)?.to_string(),
        role: row.parse(2)?,
        created_at: row.time(3)?,
        revoked_at: row.time_or_null(4)?,
    })
}

/// The key with this hash, revoked or not.
///
/// # Errors
/// The database's.
pub fn by_hash(sql: &mut dyn Sql, hash: &Hash) -> Result<Option<KeyEntry>, Error> {
    sql.first(&format!("SELECT {COLUMNS} FROM keys WHERE hash = $1"), &[Cell::Bytes(&hash.0)], read)
}

/// Oldest first, revoked ones included.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, limit: u32) -> Result<Vec<KeyEntry>, Error> {
    sql.all(&format!("SELECT {COLUMNS} FROM keys ORDER BY id LIMIT $1"), &[Cell::Int(limit.into())], read)
}
