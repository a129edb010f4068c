//! Instances: the programs of code agents that are, or were, kept running.
use super::Table;
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::id::{AgentId, InstanceId};
use tenure_core::instance::InstanceRow;

table!(InstanceRow in "instances", key "id", keeps [], {
    id: "id",
    agent: "agent",
    agent_name: "agent_name",
    state: "state",
    why: "why",
    revision: "revision",
    starts: "starts",
    crashes: "crashes",
    crashed_by: "crashed_by",
    messages: "messages",
    session: "session",
    created_at: "created_at",
    ready_at: "ready_at",
    stopped_at: "stopped_at",
    health: "health",
});

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: InstanceId) -> Result<Option<InstanceRow>, Error> {
    sql.first(&InstanceRow::select("WHERE id = $1"), &[Cell::Text(&id.to_string())], InstanceRow::read)
}

/// The newest of an agent, stopped or not.
///
/// # Errors
/// The database's.
pub fn last_of(sql: &mut dyn Sql, agent: AgentId) -> Result<Option<InstanceRow>, Error> {
    let text = InstanceRow::select("WHERE agent = $1 ORDER BY agent, id DESC LIMIT 1");
    sql.first(&text, &[Cell::Text(&agent.to_string())], InstanceRow::read)
}
