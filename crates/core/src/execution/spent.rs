//! What a model call of an execution, a turn's or a program's, takes of what its agent and project, and those that started it, may
//! use up: held when it is made, settled when it ends, of a day on that on which it was made. Must never count for a day a call
//! whose event names none: such ones were made before there were sums.
use super::{Execution, ModelCall, Step, Usage, lineage};
use crate::budget::Day;
use crate::id::CallId;
use crate::model_call::{self, End, Held, change};
use crate::row::Row;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    pub tool_calls: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub micro_usd: u64,
    /// Model calls whose price is not known, so that `micro_usd` is too low.
    pub unpriced: u32,
    pub model_losses: u32,
    /// A provider did not count all of the tokens, so that some were estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// What the open call of its turn holds.
fn held(execution: &Execution) -> Option<Held<'_>> {
    match &execution.iteration()?.step {
        Step::Thinking { call: ModelCall::Open { model, reserved_micro_usd, reserved_tokens, day, .. }, .. } => {
            Some(Held { model, day: *day, tokens: *reserved_tokens, micro_usd: *reserved_micro_usd })
        }
        Step::Thinking { call: ModelCall::Due { .. }, .. }
        | Step::Program { .. }
        | Step::Told { .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => None,
    }
}

/// Millionths of a US dollar, for its turn and for its programs.
pub(super) fn held_micro_usd(execution: &Execution) -> u64 {
    let own = held(execution).and_then(|held| held.micro_usd).unwrap_or(0);
    own.saturating_add(execution.model_calls.held().1)
}

/// A call is made; `day`: where it counts.
pub(super) fn called(before: Option<&Execution>, day: Option<Day>, tokens: u64, micro_usd: Option<u64>) -> Vec<Row> {
    let Some(before) = before else { return Vec::new() };
    let mut rows = lineage::charged(before, 0, change(micro_usd.unwrap_or(0), 0));
    rows.extend(model_call::called_rows(before.agent, day, tokens, micro_usd));
    rows
}

/// Which open call has ended.
#[derive(Clone, Copy)]
pub(super) enum Whose {
    Turn,
    Program(CallId),
}

/// It has ended: with what a provider counted, or with what is charged for it since nobody did.
pub(super) fn ended(
    before: Option<&Execution>,
    whose: Whose,
    end: End<'_>,
    usage: Option<&Usage>,
    tokens: Option<u64>,
    micro_usd: Option<u64>,
) -> Vec<Row> {
    let Some(before) = before else { return Vec::new() };
    let held = match whose {
        Whose::Turn => held(before),
        Whose::Program(call) => before.model_calls.open(call).map(model_call::Open::held),
    };
    let Some(held) = held else { return Vec::new() };
    let settled = model_call::settle(before.agent, &held, end, usage, tokens, micro_usd);
    let mut rows = lineage::charged(before, settled.tokens, settled.micro_usd);
    rows.extend(settled.rows);
    rows
}
