//! What a model call takes of what its agent and project, and those that started its execution, may use up: held when it is
//! made, settled when it ends, of a day on that on which it was made. Must never count for a day a call whose event names none:
//! such ones were made before there were sums.
use super::{Execution, ModelCall, Step, Usage, lineage};
use crate::budget::{self, Day};
use crate::id::AgentId;
use crate::row::Row;

/// One model call that has ended, for the sums of its day, agent and model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    /// On which it was made.
    pub day: Day,
    pub agent: AgentId,
    pub model: String,
    pub failed: bool,
    pub lost: bool,
    /// It cost something, and nobody knows how much.
    pub unpriced: bool,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub micro_usd: u64,
}

/// How a model call ended.
pub(super) enum End<'e> {
    Answered { model: &'e str },
    Failed,
    Lost,
}

/// What the open call holds.
struct Held<'f> {
    model: &'f str,
    day: Option<Day>,
    tokens: u64,
    /// None where its price is not known.
    micro_usd: Option<u64>,
}

fn held(execution: &Execution) -> Option<Held<'_>> {
    match &execution.iteration()?.step {
        Step::Thinking { call: ModelCall::Open { model, reserved_micro_usd, reserved_tokens, day, .. }, .. } => {
            Some(Held { model, day: *day, tokens: *reserved_tokens, micro_usd: *reserved_micro_usd })
        }
        Step::Thinking { call: ModelCall::Due { .. }, .. }
        | Step::Program { .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => None,
    }
}

/// Millionths of a US dollar.
pub(super) fn held_micro_usd(execution: &Execution) -> u64 {
    held(execution).and_then(|held| held.micro_usd).unwrap_or(0)
}

fn counted(usage: &Usage) -> u64 {
    usage.input.saturating_add(usage.output)
}

/// A call is made; `day`: where it counts.
pub(super) fn called(before: Option<&Execution>, day: Option<Day>, tokens: u64, micro_usd: Option<u64>) -> Vec<Row> {
    let Some(before) = before else { return Vec::new() };
    let micro_usd = change(micro_usd.unwrap_or(0), 0);
    let mut rows = lineage::charged(before, 0, micro_usd);
    rows.extend(day.into_iter().flat_map(|day| budget::used_rows(before.agent, day, change(tokens, 0), micro_usd)));
    rows
}

/// It has ended: with what a provider counted, or with what is charged for it since nobody did.
pub(super) fn ended(
    before: Option<&Execution>,
    end: End<'_>,
    usage: Option<&Usage>,
    tokens: Option<u64>,
    micro_usd: Option<u64>,
) -> Vec<Row> {
    let Some(before) = before else { return Vec::new() };
    let Some(held) = held(before) else { return Vec::new() };
    // What was counted and has no known price costs as much as was held for it.
    let settled = micro_usd.or_else(|| usage.and(held.micro_usd)).unwrap_or(0);
    let money = change(settled, held.micro_usd.unwrap_or(0));
    let mut rows = lineage::charged(before, change(usage.map_or(0, counted), 0), money);
    let Some(day) = held.day else { return rows };
    // One that was lost or withdrawn cost something too.
    let spent = usage.is_some() || tokens.is_some();
    let cost = cost(before.agent, day, &held, end, usage, micro_usd.ok_or(spent));
    let tokens = usage.map(counted).or(tokens).unwrap_or(0);
    rows.extend(budget::used_rows(before.agent, day, change(tokens, held.tokens), money));
    rows.push(Row::Cost(cost));
    rows
}

/// `known`: what it cost, or else whether it cost anything.
fn cost(
    agent: AgentId,
    day: Day,
    held: &Held<'_>,
    end: End<'_>,
    usage: Option<&Usage>,
    known: Result<u64, bool>,
) -> CostRow {
    let (model, failed, lost) = match end {
        End::Answered { model } => (model, false, false),
        End::Failed => (held.model, true, false),
        End::Lost => (held.model, false, true),
    };
    let of = |amount: fn(&Usage) -> u64| usage.map_or(0, amount);
    CostRow {
        day,
        agent,
        model: model.to_string(),
        failed,
        lost,
        unpriced: known == Err(true),
        input_tokens: of(|usage| usage.input),
        output_tokens: of(|usage| usage.output),
        cached_tokens: of(|usage| usage.cached),
        micro_usd: known.unwrap_or(0),
    }
}

/// Both are far below what would be too large.
fn change(to: u64, from: u64) -> i64 {
    let number = |amount| i64::try_from(amount).unwrap_or(i64::MAX);
    number(to).saturating_sub(number(from))
}
