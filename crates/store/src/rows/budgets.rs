//! What people let agents use up, and what of it is used: both are counters, written by core's rows. Only reads.
use super::{Page, facts};
use crate::Error;
use crate::sql::{Cell, Sql};
use tenure_core::budget::{Day, Measure, Period, Whose, counter};
use tenure_core::facts::Counter;

/// One limit, and what of it is used up or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRow {
    pub key: String,
    pub whose: Whose,
    pub measure: Measure,
    pub period: Period,
    pub limit: u64,
    pub used: u64,
}

/// Limits after a key, by key: those of agents, then the project's; `of` takes those of one alone.
///
/// # Errors
/// The database's; `Corrupt` where a key names nothing that is limited.
pub fn page(
    sql: &mut dyn Sql,
    day: Day,
    of: Option<Whose>,
    after: &str,
    limit: u32,
) -> Result<Page<BudgetRow, String>, Error> {
    // `0` is the byte after `/`.
    let (from, to) = match of.map(Whose::key) {
        Some(key) => (format!("{key}/"), format!("{key}0")),
        None => (String::new(), "~".to_string()),
    };
    let text = "SELECT key, value FROM counters WHERE counter = $1 AND bucket = 0 AND key > $2 AND key > $3 AND key < $4 \
        ORDER BY key LIMIT $5";
    let cells = [
        Cell::Text(Counter::BudgetLimit.as_str()),
        Cell::Text(after),
        Cell::Text(&from),
        Cell::Text(&to),
        Cell::Int(i64::from(limit) + 1),
    ];
    let found = sql.all(text, &cells, |row| Ok((row.text(0)?.to_string(), row.count(1)?)))?;
    let mut rows = Vec::with_capacity(found.len());
    for (key, limit) in found {
        let (whose, measure, period) =
            Whose::of_key(&key).ok_or_else(|| Error::corrupt(format!("`{key}` names no budget")))?;
        let used = facts::counted(sql, counter(measure, period), &whose.key(), day.bucket(period))?;
        rows.push(BudgetRow { key, whose, measure, period, limit, used: u64::try_from(used).unwrap_or(0) });
    }
    Ok(Page::of(rows, limit, |row| row.key.clone()))
}
