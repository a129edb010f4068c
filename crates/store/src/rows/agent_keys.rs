//! The keys of agents, by the hash of their text. Whoever acts on one checks its MAC first; what an agent may do by it is
//! asked of the agent's own fold, in the decision.
use super::Table;
use super::macs::{Authority, Unverified, write_mac};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::agent::AgentKeyRow;
use tenure_core::bound::Hash;
use tenure_core::id::{AgentId, KeyId};
use tenure_core::ledger::MacKey;
use tenure_core::time::Time;

table!(AgentKeyRow in "agent_keys", key "id", keeps [], {
    id: "id",
    agent: "agent",
    hash: "hash",
    created_at: "created_at",
    dies_at: "dies_at",
    revoked_at: "revoked_at",
});

impl Authority for AgentKeyRow {}

pub(super) fn retire(sql: &mut dyn Sql, macs: &MacKey, id: KeyId, dies_at: Time) -> Result<(), Error> {
    change(sql, macs, id, "dies_at", dies_at, |row| AgentKeyRow { dies_at: Some(dies_at), ..row })
}

pub(super) fn revoke(sql: &mut dyn Sql, macs: &MacKey, id: KeyId, at: Time) -> Result<(), Error> {
    change(sql, macs, id, "revoked_at", at, |row| AgentKeyRow { revoked_at: Some(at), ..row })
}

/// A row that was changed by another hand keeps its broken MAC: it stays refused whatever is done to it later.
fn change(
    sql: &mut dyn Sql,
    macs: &MacKey,
    id: KeyId,
    column: &str,
    time: Time,
    changed: impl FnOnce(AgentKeyRow) -> AgentKeyRow,
) -> Result<(), Error> {
    let id = id.to_string();
    let by_id = [Cell::Text(&id)];
    let select = AgentKeyRow::select_unverified("WHERE id = $1");
    let found = sql.first(&select, &by_id, AgentKeyRow::read_unverified)?;
    let text = format!("UPDATE agent_keys SET {column} = $1 WHERE id = $2");
    sql.execute(&text, &[Cell::Int(time.millis()), by_id[0]])?;
    match found.map(|found| found.verified(macs)) {
        Some(Ok(row)) => write_mac(sql, macs, &changed(row)),
        Some(Err(_)) | None => Ok(()),
    }
}

/// The key with this hash, dead or not.
///
/// # Errors
/// The database's.
pub fn by_hash(sql: &mut dyn Sql, hash: &Hash) -> Result<Option<Unverified<AgentKeyRow>>, Error> {
    let text = AgentKeyRow::select_unverified("WHERE hash = $1");
    sql.first(&text, &[Cell::Bytes(&hash.0)], AgentKeyRow::read_unverified)
}

/// The newest key of an agent, dead or not, for showing it.
///
/// # Errors
/// The database's.
pub fn last_of(sql: &mut dyn Sql, agent: AgentId) -> Result<Option<AgentKeyRow>, Error> {
    let text = AgentKeyRow::select("WHERE agent = $1 ORDER BY agent, id DESC LIMIT 1");
    sql.first(&text, &[Cell::Text(&agent.to_string())], AgentKeyRow::read)
}
