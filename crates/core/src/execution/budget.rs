//! What one execution may use up: tokens, money, tool calls and time. At 80 % its agent is told once, and at 100 % it ends with
//! the reason. Money is held before it is spent: a model call that might pass the limit, or whose price nobody knows, is not made.
use super::decide::{Decider, close, failed};
use super::{CallModel, Event, Execution, Reason};
use crate::agent;
use crate::budget::{self, Measure, NEAR_PERCENT, Wanted, dollars};
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

/// Before a turn: is enough left of tokens and money? Ends the execution where not, and says so.
pub(super) fn is_over(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    if let Some((used, most)) = Budget::Tokens.of(it)?
        && used >= most
    {
        close(it, failed(Reason::TokenBudget, format!("{used} of {most} tokens are used up")))?;
        return Ok(true);
    }
    if let Some((used, most)) = Budget::Money.of(it)?
        && used >= most
    {
        close(it, failed(Reason::CostBudget, format!("{} of {} are spent", dollars(used), dollars(most))))?;
        return Ok(true);
    }
    Ok(false)
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

/// Ends the execution where a model call might cost more than is left, or nobody knows what it costs.
pub(super) fn is_too_dear(it: &mut Decider<'_, '_>, model: &str, reserved: Option<u64>) -> Result<bool, Stop> {
    let Some((used, most)) = Budget::Money.of(it)? else { return Ok(false) };
    let detail = match reserved {
        Some(reserved) if used.saturating_add(reserved) <= most => return Ok(false),
        Some(reserved) => {
            let (used, most, reserved) = (dollars(used), dollars(most), dollars(reserved));
            format!("{used} of {most} are spent, and the next call may cost {reserved}")
        }
        None => format!("the price of {model} is not known, so that {} cannot be kept to", dollars(most)),
    };
    close(it, failed(Reason::CostBudget, detail))?;
    Ok(true)
}

/// Ends the execution where its agent, or the project, may not use up so much in this day or month.
pub(super) fn is_shut(it: &mut Decider<'_, '_>, call: &CallModel) -> Result<bool, Stop> {
    let agent = it.execution()?.agent;
    let wanted = Wanted { tokens: call.reserved_tokens, micro_usd: call.reserved_micro_usd };
    let Some(shut) = budget::shut_for(it.draft, agent, wanted)? else { return Ok(false) };
    let reason = match shut.measure {
        Measure::Tokens => Reason::TokenBudget,
        Measure::Money => Reason::CostBudget,
    };
    agent::hold_messages(agent, it.draft, shut.opens)?;
    close(it, failed(reason, shut.to_string()))?;
    Ok(true)
}

/// After a model call: what its agent, or the project, has nearly used up.
pub(super) fn tell_shared(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    let agent = it.execution()?.agent;
    budget::tell(it.draft, agent)
}
