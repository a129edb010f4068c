//! What a model call takes of what its agent and project may use up: held when it is made, settled when it ends, both on the
//! day on which it was made. Must never count a call whose event names no day: such ones were made before there were sums.
use super::{Execution, ModelCall, Step, Usage};
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
    day: Day,
    tokens: u64,
    /// None where its price is not known.
    micro_usd: Option<u64>,
}

fn held(execution: &Execution) -> Option<Held<'_>> {
    match &execution.iteration()?.step {
        Step::Thinking { call: ModelCall::Open { model, reserved_micro_usd, reserved_tokens, day, .. }, .. } => {
            Some(Held { model, day: (*day)?, tokens: *reserved_tokens, micro_usd: *reserved_micro_usd })
        }
        Step::Thinking { call: ModelCall::Due { .. }, .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => None,
    }
}

fn counted(usage: &Usage) -> u64 {
    usage.input.saturating_add(usage.output)
}

/// A call is made; `day`: where it counts.
pub(super) fn called(before: Option<&Execution>, day: Option<Day>, tokens: u64, micro_usd: Option<u64>) -> Vec<Row> {
    let Some((before, day)) = before.zip(day) else { return Vec::new() };
    budget::used_rows(before.agent, day, change(tokens, 0), change(micro_usd.unwrap_or(0), 0))
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
    // One that was lost or withdrawn cost something too.
    let spent = usage.is_some() || tokens.is_some();
    let cost = cost(before.agent, &held, end, usage, micro_usd.ok_or(spent));
    let tokens = usage.map(counted).or(tokens).unwrap_or(0);
    // What was counted and has no known price costs as much as was held for it.
    let micro_usd = micro_usd.or_else(|| usage.and(held.micro_usd)).unwrap_or(0);
    let (tokens, micro_usd) = (change(tokens, held.tokens), change(micro_usd, held.micro_usd.unwrap_or(0)));
    let mut rows = budget::used_rows(before.agent, held.day, tokens, micro_usd);
    rows.push(Row::Cost(cost));
    rows
}

/// `known`: what it cost, or else whether it cost anything.
fn cost(agent: AgentId, held: &Held<'_>, end: End<'_>, usage: Option<&Usage>, known: Result<u64, bool>) -> CostRow {
    let (model, failed, lost) = match end {
        End::Answered { model } => (model, false, false),
        End::Failed => (held.model, true, false),
        End::Lost => (held.model, false, true),
    };
    let of = |amount: fn(&Usage) -> u64| usage.map_or(0, amount);
    CostRow {
        day: held.day,
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
