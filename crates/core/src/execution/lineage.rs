//! Executions that others started: how deep they may stand, what they use up in the name of those above them, and how an end
//! is told upwards. What a descendant spends is a sum of rows of each one above it. Money is held before it is spent; tokens are
//! looked at before each call, so that the last calls of a chain may pass a limit of its first. An execution that ends by itself leaves those that it started at work; one that is cancelled
//! owes their cancelling.
//!
//! ```text
//! root ──agent.execute──> child ──agent.execute──> … at most DEPTH_MAX below the root
//!   └─ tokens and money of all below count against the limits of each above
//! ```
use super::budget::{self, Short};
use super::decide::{Decider, begin, close};
use super::{Cause, Ending, Event, Execution, Reason, Refusal, Start, Trigger, spent};
use crate::actor::Actor;
use crate::agent::{self, Agent};
use crate::aggregate;
use crate::bound::Payload;
use crate::budget::dollars;
use crate::call::{Caller, Holder};
use crate::comms::{self, Envelope, Priority};
use crate::draft::{Draft, Stop};
use crate::facts::{Counter, Unread};
use crate::id::{AgentId, ExecutionId, MessageId};
use crate::row::Row;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Executions that may stand one below the other, the first not counted.
pub const DEPTH_MAX: usize = 4;
/// Executions that one started and that have not ended.
pub const CHILDREN_MAX: usize = 16;

/// Who started an execution that an agent started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub execution: ExecutionId,
    pub agent: AgentId,
    /// Those above it, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<ExecutionId>,
    /// The hops of the messages that led here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
    /// Its end is a message to the agent that started it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Parent {
    /// Those whose limits hold for it, the nearest first.
    pub fn lineage(&self) -> impl Iterator<Item = ExecutionId> {
        std::iter::once(self.execution).chain(self.above.iter().copied())
    }
}

/// Why none was started: a stable code, and a sentence.
pub(crate) type Unstarted = (&'static str, String);

/// An execution starts another one, in the decision that performs its call.
pub(crate) fn start_child(
    draft: &mut Draft<'_>,
    caller: Caller,
    agent: AgentId,
    input: Payload,
    report: bool,
) -> Result<Result<ExecutionId, Unstarted>, Unread> {
    let above = caller.holder.execution();
    let known = above.map_or(Ok(None), |above| draft.get::<Execution>(above))?;
    let (Some(above), Some(execution)) = (above, known) else {
        return Ok(Err(("not_found", "the calling execution is not known".to_string())));
    };
    let higher: Vec<ExecutionId> = execution.parent.iter().flat_map(Parent::lineage).collect();
    let open = execution.children.len();
    if higher.len() >= DEPTH_MAX {
        let sentence = format!("{DEPTH_MAX} executions stand one below the other already, the most there may be");
        return Ok(Err(("too_deep", format!("{sentence}: do it yourself, or report to the agent that started you"))));
    }
    if open >= CHILDREN_MAX {
        let sentence = format!("{open} executions that you started have not ended, the most there may be");
        return Ok(Err(("too_many_children", format!("{sentence}: wait for one of them"))));
    }
    let plan = draft.plan(caller.agent, caller.revision)?;
    let most = plan.map(|plan| plan.comms).unwrap_or_default().hop_limit;
    let hops = u32::try_from(draft.count(Counter::Hops, &caller.holder.to_string())?).unwrap_or(u32::MAX);
    if hops >= most {
        let sentence = format!("the chain of messages and starts that led here has {hops} hops, the limit is {most}");
        return Ok(Err(("hop_limit", format!("{sentence}: finish here, or tell a person"))));
    }
    let parent = Parent { execution: above, agent: caller.agent, above: higher, hops: hops + 1, report };
    let id = ExecutionId::mint(&mut draft.mint);
    let trigger = Trigger::Agent;
    let start = Start { agent, revision: None, input, max_iterations: None, idempotency: None, trigger };
    draft.get::<Execution>(id)?;
    match begin(&mut Decider { id, draft }, start, None, Some(parent)) {
        Ok(()) => {}
        Err(Stop::Unread) => return Err(Unread),
        // It is refused before it makes any event.
        Err(Stop::Refused(aggregate::Refusal::Execution(Refusal::BudgetSpent { shut }))) => {
            return Ok(Err(("budget_spent", format!("it cannot start now: {shut}"))));
        }
        Err(Stop::Refused(refusal)) => {
            let sentence = format!("it cannot start now: {}", refusal.code());
            return Ok(Err(("cannot_start", sentence)));
        }
    }
    draft.emit::<Execution>(above, Event::ChildStarted { execution: id, agent })?;
    Ok(Ok(id))
}

/// Its end, to the one that started it.
pub(super) fn ended(it: &mut Decider<'_, '_>, ending: &Ending) -> Result<(), Stop> {
    let execution = it.execution()?;
    let Some(parent) = execution.parent.clone() else { return Ok(()) };
    let (agent, name, revision) = (execution.agent, execution.agent_name.clone(), execution.revision);
    if it.draft.get::<Execution>(parent.execution)?.is_some() {
        it.draft.emit::<Execution>(parent.execution, Event::ChildEnded { execution: it.id })?;
    }
    if !parent.report {
        return Ok(());
    }
    let plan = it.draft.plan(agent, revision)?;
    let most = plan.map(|plan| plan.comms).unwrap_or_default().hop_limit;
    let hops = it.draft.count(Counter::Hops, &Holder::Execution(it.id).to_string())?;
    let hop = u32::try_from(hops).unwrap_or(u32::MAX).saturating_add(1);
    if hop > most {
        if it.draft.get::<Agent>(parent.agent)?.is_some() {
            let refused = agent::Event::MessageRefused { from: agent, code: "hop_limit".to_string() };
            it.draft.emit::<Agent>(parent.agent, refused)?;
        }
        return Ok(());
    }
    let (status, reason) = ending.words();
    let mut said = json!({"execution": it.id, "agent": name, "status": status});
    if let Some(reason) = reason {
        said["reason"] = reason.into();
    }
    let body = Payload::new(it.draft.mint.salt(), said.to_string().into_bytes());
    let envelope = Envelope {
        message: MessageId::mint(&mut it.draft.mint),
        from: Actor::Agent(agent),
        from_name: Some(name),
        channel: None,
        priority: Priority::Normal,
        body: it.bind(body),
        correlation: Some(it.id.to_string()),
        reply_to: None,
        deadline: None,
        hop,
        sent_at: it.draft.stamp.at,
    };
    comms::deliver(it.draft, parent.agent, envelope)?;
    Ok(())
}

impl Ending {
    /// The status, and why it failed.
    pub(crate) fn words(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Ending::Completed { .. } => ("completed", None),
            Ending::Failed { reason, .. } => ("failed", Some(reason.as_str())),
            Ending::Cancelled { .. } => ("cancelled", None),
        }
    }
}

/// Tokens and money that those below an execution used up, and the money that they hold.
fn below(draft: &mut Draft<'_>, id: ExecutionId) -> Result<(u64, u64), Unread> {
    let key = id.to_string();
    let tokens = draft.count(Counter::TokensBelow, &key)?;
    let money = draft.count(Counter::MoneyBelow, &key)?;
    Ok((u64::try_from(tokens).unwrap_or(0), u64::try_from(money).unwrap_or(0)))
}

/// Whose limits hold for an execution beside its own alone: those above it, and itself where it started others.
fn bounded_by(it: &Decider<'_, '_>) -> Result<Vec<ExecutionId>, Stop> {
    let execution = it.execution()?;
    let own = (execution.has_started > 0).then_some(it.id);
    Ok(own.into_iter().chain(execution.parent.iter().flat_map(Parent::lineage)).collect())
}

/// Tokens and money that one used up with all below it, and its money held.
fn used(it: &mut Decider<'_, '_>, id: ExecutionId) -> Result<Option<(Execution, u64, u64)>, Stop> {
    let Some(execution) = it.draft.get::<Execution>(id)?.cloned() else { return Ok(None) };
    let (tokens, money) = below(it.draft, id)?;
    let spent = execution.spent;
    let tokens = tokens.saturating_add(spent.input_tokens).saturating_add(spent.output_tokens);
    let money = money.saturating_add(spent.micro_usd).saturating_add(spent::held_micro_usd(&execution));
    Ok(Some((execution, tokens, money)))
}

fn whose(it: &Decider<'_, '_>, id: ExecutionId, execution: &Execution) -> String {
    if id == it.id {
        "with what it started".to_string()
    } else {
        format!("of {} ({id}), which started this one, with all below it", execution.agent_name)
    }
}

/// Before a turn: is enough left of the tokens and money of all whose limits hold for it? Ends the execution where not.
pub(super) fn is_over(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    for id in bounded_by(it)? {
        let Some((execution, tokens, money)) = used(it, id)? else { continue };
        // One between them may have ended by itself before, so that nobody cancelled this one.
        if execution.cancel_requested && id != it.id {
            let why = format!("{id}, which this one was started for, was cancelled");
            close(it, Cause::End { ending: Ending::Cancelled { by: Actor::Daemon, why } })?;
            return Ok(true);
        }
        let short = over(&whose(it, id, &execution), &execution, tokens, money);
        if budget::ends(it, short)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn over(whose: &str, execution: &Execution, tokens: u64, money: u64) -> Option<Short> {
    let limits = execution.limits;
    if tokens >= limits.tokens {
        let detail = format!("{tokens} of {} tokens {whose} are used up", limits.tokens);
        return Some((Reason::TokenBudget, detail));
    }
    let most = limits.micro_usd.filter(|most| money >= *most)?;
    Some((Reason::CostBudget, format!("{} of {} {whose} are spent", dollars(money), dollars(most))))
}

/// Ends the execution where a model call might cost more than is left to one whose limit holds for it.
pub(super) fn is_too_dear(it: &mut Decider<'_, '_>, model: &str, reserved: Option<u64>) -> Result<bool, Stop> {
    for id in bounded_by(it)? {
        let Some((execution, _, money)) = used(it, id)? else { continue };
        let short = too_dear(&whose(it, id, &execution), &execution, money, model, reserved);
        if budget::ends(it, short)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn too_dear(whose: &str, execution: &Execution, money: u64, model: &str, reserved: Option<u64>) -> Option<Short> {
    let most = execution.limits.micro_usd?;
    let detail = match reserved {
        Some(reserved) if money.saturating_add(reserved) <= most => return None,
        Some(reserved) => {
            let (money, most, reserved) = (dollars(money), dollars(most), dollars(reserved));
            format!("{money} of {most} {whose} are spent or held, and the next call may cost {reserved}")
        }
        None => format!("the price of {model} is not known, so that {} {whose} cannot be kept to", dollars(most)),
    };
    Some((Reason::CostBudget, detail))
}

/// Why a program may not ask a model, by the limits of all whose limits hold for its execution.
pub(super) fn short(it: &mut Decider<'_, '_>, model: &str, reserved: Option<u64>) -> Result<Option<Short>, Stop> {
    for id in bounded_by(it)? {
        let Some((execution, tokens, money)) = used(it, id)? else { continue };
        let whose = whose(it, id, &execution);
        let short = over(&whose, &execution, tokens, money);
        let short = short.or_else(|| too_dear(&whose, &execution, money, model, reserved));
        if short.is_some() {
            return Ok(short);
        }
    }
    Ok(None)
}

impl Execution {
    /// Executions that it started and that are owed their cancelling.
    pub fn uncancelled_children(&self) -> &[ExecutionId] {
        if self.cancel_requested { &self.children } else { &[] }
    }
}

/// What a model call changes in the sums of those above its execution.
pub(super) fn charged(execution: &Execution, tokens: i64, micro_usd: i64) -> Vec<Row> {
    let above = execution.parent.iter().flat_map(Parent::lineage);
    let changes = [(Counter::TokensBelow, tokens), (Counter::MoneyBelow, micro_usd)];
    let counted = |id: ExecutionId| {
        let changed = changes.into_iter().filter(|(_, by)| *by != 0);
        changed.map(move |(counter, by)| Row::Counted { counter, key: id.to_string(), bucket: 0, by })
    };
    above.flat_map(counted).collect()
}

/// The hops that it begins with.
pub(super) fn hops(id: ExecutionId, parent: Option<&Parent>) -> Option<Row> {
    let hops = parent.map_or(0, |parent| parent.hops);
    let key = Holder::Execution(id).to_string();
    (hops > 0).then(|| Row::Counted { counter: Counter::Hops, key, bucket: 0, by: i64::from(hops) })
}
