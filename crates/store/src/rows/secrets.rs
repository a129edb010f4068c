//! Secrets by their names, and who may use which of them where. A binding is believed only once its MAC holds; nothing here can
//! open what a secret's row names.
use super::macs::{Authority, Unverified};
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::id::{AgentId, SecretId};
use tenure_core::ledger::MacKey;
use tenure_core::secret::{Binding, BindingRow, SecretRow};

table!(SecretRow in "secrets", key "id", keeps [], {
    id: "id",
    name: "name",
    version: "version",
    sealed: "sealed",
    previous: "previous",
    set_at: "set_at",
    changed_at: "changed_at",
});

table!(BindingRow in "secret_bindings", key "secret, agent, capability, host", keeps [], {
    secret: "secret",
    agent: "agent",
    capability: "capability",
    host: "host",
    name: "name",
    by: "actor",
    at: "at",
});

impl Authority for BindingRow {}

pub(super) fn unbind(sql: &mut dyn Sql, secret: SecretId, binding: &Binding) -> Result<(), Error> {
    let Binding { agent, capability, host } = binding;
    let (secret, agent) = (secret.to_string(), agent.to_string());
    let cells = [Cell::Text(&secret), Cell::Text(&agent), Cell::Text(capability), Cell::Text(host)];
    let text = "DELETE FROM secret_bindings WHERE secret = $1 AND agent = $2 AND capability = $3 AND host = $4";
    sql.execute(text, &cells)?;
    let key = format!("{secret} {agent} {capability} {host}");
    sql.execute("DELETE FROM macs WHERE of_table = 'secret_bindings' AND key = $1", &[Cell::Text(&key)]).map(|_| ())
}

/// The secret of this id or short id, revoked or not; else the live one of this name.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<SecretRow>, Error> {
    let by = |sql: &mut dyn Sql, which: &str, value: &str| {
        sql.all(&SecretRow::select(&format!("WHERE {which} LIMIT 8")), &[Cell::Text(value)], SecretRow::read)
    };
    let mut found = by(sql, "id = $1", wanted)?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, SecretId::PREFIX)) {
        found = by(sql, "substr(id, 23) = $1", letters)?;
    }
    if found.is_empty() {
        found = by(sql, "lower(name) = lower($1) AND sealed IS NOT NULL", wanted)?;
    }
    Ok(Match::of(found))
}

/// By their ids, after this one; `live`: without those that are revoked.
///
/// # Errors
/// The database's.
pub fn list(
    sql: &mut dyn Sql,
    live: bool,
    after: Option<SecretId>,
    limit: u32,
) -> Result<Page<SecretRow, SecretId>, Error> {
    let which = if live { "AND sealed IS NOT NULL" } else { "" };
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let text = SecretRow::select(&format!("WHERE id > $1 {which} ORDER BY id LIMIT $2"));
    let rows = sql.all(&text, &[Cell::Text(&after), Cell::Int(i64::from(limit) + 1)], SecretRow::read)?;
    Ok(Page::of(rows, limit, |row| row.id))
}

/// Who may use a secret.
///
/// # Errors
/// The database's.
pub fn bindings(sql: &mut dyn Sql, secret: SecretId) -> Result<Vec<Unverified<BindingRow>>, Error> {
    let text = BindingRow::select_unverified("WHERE secret_bindings.secret = $1 ORDER BY agent, capability, host");
    sql.all(&text, &[Cell::Text(&secret.to_string())], BindingRow::read_unverified)
}

/// What an agent may use, by name. What this ledger did not write lets nobody use anything.
///
/// # Errors
/// The database's.
pub fn of_agent(sql: &mut dyn Sql, macs: &MacKey, agent: AgentId) -> Result<Vec<BindingRow>, Error> {
    let text = BindingRow::select_unverified("WHERE secret_bindings.agent = $1 ORDER BY name, capability, host");
    let rows = sql.all(&text, &[Cell::Text(&agent.to_string())], BindingRow::read_unverified)?;
    let verified = rows.into_iter().filter_map(|row| match row.verified(macs) {
        Ok(row) => Some(row),
        Err(forged) => {
            tracing::error!(%forged, "a binding of a secret is not used");
            None
        }
    });
    Ok(verified.collect())
}
