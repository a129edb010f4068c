//! API keys, by the hash of their text.
use super::Table;
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::bound::Hash;
use tenure_core::id::KeyId;
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

pub(super) fn revoke(sql: &mut dyn Sql, id: KeyId, at: Time) -> Result<(), Error> {
    let text = "UPDATE keys SET revoked_at = $1 WHERE id = $2";
    sql.execute(text, &[Cell::Int(at.millis()), Cell::Text(&id.to_string())]).map(|_| ())
}

/// The key with this hash, revoked or not.
///
/// # Errors
/// The database's.
pub fn by_hash(sql: &mut dyn Sql, hash: &Hash) -> Result<Option<KeyRow>, Error> {
    sql.first(&KeyRow::select("WHERE hash = $1"), &[Cell::Bytes(&hash.0)], KeyRow::read)
}

/// Oldest first, revoked ones included.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, limit: u32) -> Result<Vec<KeyRow>, Error> {
    sql.all(&KeyRow::select("ORDER BY id LIMIT $1"), &[Cell::Int(limit.into())], KeyRow::read)
}
