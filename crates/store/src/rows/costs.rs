//! What model calls cost: a row for each day, agent and model that anything was asked of. Lists are sums over those.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::budget::Day;
use tenure_core::id::AgentId;
use tenure_core::model_call::CostRow;
use tenure_core::time::Time;

/// What sums are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Agent,
    Model,
    Day,
}

/// A sum, and what it is of: an agent's id, a model's name, a day's number or an execution's id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sum {
    pub key: String,
    pub calls: u64,
    pub failed: u64,
    pub lost: u64,
    pub unpriced: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub micro_usd: u64,
}

pub(super) fn add(sql: &mut dyn Sql, row: &CostRow) -> Result<(), Error> {
    let text = "INSERT INTO costs (day, agent, model, calls, failed, lost, unpriced, input_tokens, output_tokens, \
        cached_tokens, micro_usd) VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10) \
        ON CONFLICT (day, agent, model) DO UPDATE SET calls = calls + 1, failed = failed + excluded.failed, \
        lost = lost + excluded.lost, unpriced = unpriced + excluded.unpriced, \
        input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens, \
        cached_tokens = cached_tokens + excluded.cached_tokens, micro_usd = micro_usd + excluded.micro_usd";
    let agent = row.agent.to_string();
    let cells = [
        Cell::Int(row.day.number().into()),
        Cell::Text(&agent),
        Cell::Text(&row.model),
        Cell::Int(row.failed.into()),
        Cell::Int(row.lost.into()),
        Cell::Int(row.unpriced.into()),
        Cell::count(row.input_tokens),
        Cell::count(row.output_tokens),
        Cell::count(row.cached_tokens),
        Cell::count(row.micro_usd),
    ];
    sql.execute(text, &cells).map(|_| ())
}

const SUMS: &str = "sum(calls), sum(failed), sum(lost), sum(unpriced), sum(input_tokens), sum(output_tokens), \
    sum(cached_tokens), sum(micro_usd)";

fn read(row: &Columns<'_>, key: String) -> Result<Sum, Error> {
    Ok(Sum {
        key,
        calls: row.count(1)?,
        failed: row.count(2)?,
        lost: row.count(3)?,
        unpriced: row.count(4)?,
        input_tokens: row.count(5)?,
        output_tokens: row.count(6)?,
        cached_tokens: row.count(7)?,
        micro_usd: row.count(8)?,
    })
}

/// The condition that keeps to one agent, whose cell is the second.
fn of_agent<'c>(cells: &mut Vec<Cell<'c>>, agent: Option<&'c str>) -> &'static str {
    match agent {
        Some(agent) => {
            cells.push(Cell::Text(agent));
            "AND agent = $2"
        }
        None => "",
    }
}

/// Sums from a day on, of one agent's alone or of all: the dearest first, days the newest first.
///
/// # Errors
/// The database's.
pub fn sums(sql: &mut dyn Sql, by: By, since: Day, agent: Option<AgentId>, limit: u32) -> Result<Vec<Sum>, Error> {
    let (column, order) = match by {
        By::Agent => ("agent", "sum(micro_usd) DESC, sum(input_tokens + output_tokens) DESC, agent"),
        By::Model => ("model", "sum(micro_usd) DESC, sum(input_tokens + output_tokens) DESC, model"),
        By::Day => ("day", "day DESC"),
    };
    let agent = agent.map(|agent| agent.to_string());
    let mut cells = vec![Cell::Int(since.number().into())];
    let of = of_agent(&mut cells, agent.as_deref());
    cells.push(Cell::Int(limit.into()));
    let place = cells.len();
    let text = format!(
        "SELECT {column}, {SUMS} FROM costs WHERE day >= $1 {of} GROUP BY {column} ORDER BY {order} LIMIT ${place}"
    );
    sql.all(&text, &cells, |row| {
        let key = match by {
            By::Agent | By::Model => row.text(0)?.to_string(),
            By::Day => row.count::<u32>(0)?.to_string(),
        };
        read(row, key)
    })
}

/// The sum of all from a day on.
///
/// # Errors
/// The database's.
pub fn total(sql: &mut dyn Sql, since: Day, agent: Option<AgentId>) -> Result<Sum, Error> {
    let agent = agent.map(|agent| agent.to_string());
    let mut cells = vec![Cell::Int(since.number().into())];
    let of = of_agent(&mut cells, agent.as_deref());
    let text = format!("SELECT count(*), {SUMS} FROM costs WHERE day >= $1 {of}");
    let total = sql.first(&text, &cells, |row| {
        if row.count::<u64>(0)? == 0 { Ok(Sum::default()) } else { read(row, String::new()) }
    })?;
    Ok(total.unwrap_or_default())
}

/// Executions that were started since then, the dearest first, each with the name of its agent; how often their models were
/// asked is not summed up.
///
/// # Errors
/// The database's.
pub fn of_executions(
    sql: &mut dyn Sql,
    since: Time,
    agent: Option<AgentId>,
    limit: u32,
) -> Result<Vec<(Sum, String)>, Error> {
    let agent = agent.map(|agent| agent.to_string());
    let mut cells = vec![Cell::Int(since.millis())];
    let of = of_agent(&mut cells, agent.as_deref());
    cells.push(Cell::Int(limit.into()));
    let place = cells.len();
    let text = format!(
        "SELECT id, agent_name, unpriced, input_tokens, output_tokens, micro_usd FROM executions \
        WHERE started_at >= $1 {of} ORDER BY micro_usd DESC, input_tokens + output_tokens DESC, id DESC LIMIT ${place}"
    );
    sql.all(&text, &cells, |row| {
        let sum = Sum {
            key: row.text(0)?.to_string(),
            unpriced: row.count(2)?,
            input_tokens: row.count(3)?,
            output_tokens: row.count(4)?,
            micro_usd: row.count(5)?,
            ..Sum::default()
        };
        Ok((sum, row.text(1)?.to_string()))
    })
}
