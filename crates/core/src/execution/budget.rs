//! What one execution may use up: tokens, money, tool calls and time. At 80 % its agent is told once, and at 100 % it ends with
//! the reason. Money is held before it is spent: a model call that might pass the limit, or whose price nobody knows, is not made.
use super::decide::{Decider, close, failed};
use super::{CallModel, Event, Execution, Reason, spent};
use crate::agent;
use crate::budget::{self, Measure, NEAR_PERCENT, Shut, Wanted, dollars};
use crate::draft::Stop;
use crate::row::Note;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Budget {
    Tokens,
    /// In millionths of a US dollar.
    Money,
    ToolCalls,
    /// In milliseconds of its wall clock.
    Time,
}

impl Budget {
    pub fn note(self) -> Note {
        match self {
            Budget::Tokens => Note::TokensNear,
            Budget::Money => Note::MoneyNear,
            Budget::ToolCalls => Note::ToolCallsNear,
            Budget::Time => Note::TimeNear,
        }
    }

    /// What is used of it now, and how much there is; none where it has no limit.
    fn of(self, it: &Decider<'_, '_>) -> Result<Option<(u64, u64)>, Stop> {
        let Execution { limits, spent, wall, .. } = it.execution()?;
        Ok(match self {
            Budget::Tokens => Some((spent.input_tokens.saturating_add(spent.output_tokens), limits.tokens)),
            Budget::Money => limits.micro_usd.map(|most| (spent.micro_usd, most)),
            Budget::ToolCalls => Some((spent.tool_calls.into(), limits.tool_calls.into())),
            Budget::Time => Some((wall.used_ms_at(it.draft.stamp.run), limits.timeout_ms)),
        })
    }
}

/// Why a model may not be asked: the reason, and a sentence.
pub(super) type Short = (Reason, String);

/// Before a model is asked: is enough left of tokens and money, beside what is `held`?
pub(super) fn over(it: &Decider<'_, '_>, held: (u64, u64)) -> Result<Option<Short>, Stop> {
    let (held_tokens, held_micro_usd) = held;
    if let Some((used, most)) = Budget::Tokens.of(it)?
        && used.saturating_add(held_tokens) >= most
    {
        return Ok(Some((Reason::TokenBudget, format!("{used} of {most} tokens are used up{}", beside(held_tokens)))));
    }
    if let Some((used, most)) = Budget::Money.of(it)?
        && used.saturating_add(held_micro_usd) >= most
    {
        let (used, most) = (dollars(used), dollars(most));
        return Ok(Some((Reason::CostBudget, format!("{used} of {most} are spent{}", beside(held_micro_usd)))));
    }
    Ok(None)
}

fn beside(held: u64) -> &'static str {
    if held > 0 { ", and calls that are open hold the rest" } else { "" }
}

/// Before a turn: ends the execution where nothing is left, and says so.
pub(super) fn is_over(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    let short = over(it, (0, 0))?;
    ends(it, short)
}

pub(super) fn ends(it: &mut Decider<'_, '_>, short: Option<Short>) -> Result<bool, Stop> {
    let Some((reason, detail)) = short else { return Ok(false) };
    close(it, failed(reason, detail))?;
    Ok(true)
}

/// Before a turn: what is nearly used up, each budget once.
pub(super) fn warn(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    for budget in [Budget::Tokens, Budget::Money, Budget::ToolCalls, Budget::Time] {
        let Some((used, limit)) = budget.of(it)? else { continue };
        let near = used.saturating_mul(100) >= limit.saturating_mul(NEAR_PERCENT) && used < limit;
        if near && !it.execution()?.warned.contains(&budget) {
            it.emit(Event::BudgetWarned { budget, used, limit })?;
        }
    }
    Ok(())
}

/// Why a model call might cost more than is left, or nobody knows what it costs.
pub(super) fn too_dear(it: &Decider<'_, '_>, model: &str, reserved: Option<u64>) -> Result<Option<Short>, Stop> {
    let Some((used, most)) = Budget::Money.of(it)? else { return Ok(None) };
    let held = spent::held_micro_usd(it.execution()?);
    let detail = match reserved {
        Some(reserved) if used.saturating_add(held).saturating_add(reserved) <= most => return Ok(None),
        Some(reserved) => {
            let (used, most, reserved) = (dollars(used), dollars(most), dollars(reserved));
            format!("{used} of {most} are spent{}, and the next call may cost {reserved}", beside(held))
        }
        None => format!("the price of {model} is not known, so that {} cannot be kept to", dollars(most)),
    };
    Ok(Some((Reason::CostBudget, detail)))
}

/// Ends the execution where a model call might cost more than is left, or nobody knows what it costs.
pub(super) fn is_too_dear(it: &mut Decider<'_, '_>, model: &str, reserved: Option<u64>) -> Result<bool, Stop> {
    let short = too_dear(it, model, reserved)?;
    ends(it, short)
}

pub(super) fn reason(measure: Measure) -> Reason {
    match measure {
        Measure::Tokens => Reason::TokenBudget,
        Measure::Money => Reason::CostBudget,
    }
}

/// What its agent, or the project, may not use up so much of in this day or month.
pub(super) fn shut(it: &mut Decider<'_, '_>, wanted: Wanted) -> Result<Option<Shut>, Stop> {
    let agent = it.execution()?.agent;
    Ok(budget::shut_for(it.draft, agent, wanted)?)
}

/// Ends the execution where its agent, or the project, may not use up so much in this day or month.
pub(super) fn is_shut(it: &mut Decider<'_, '_>, call: &CallModel) -> Result<bool, Stop> {
    let agent = it.execution()?.agent;
    let wanted = Wanted { tokens: call.reserved_tokens, micro_usd: call.reserved_micro_usd };
    let Some(shut) = shut(it, wanted)? else { return Ok(false) };
    agent::hold_messages(agent, it.draft, shut.opens)?;
    close(it, failed(reason(shut.measure), shut.to_string()))?;
    Ok(true)
}

/// After a model call: what its agent, or the project, has nearly used up.
pub(super) fn tell_shared(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    let agent = it.execution()?.agent;
    budget::tell(it.draft, agent)
}
