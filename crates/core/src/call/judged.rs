//! May a call be made? Gathers what a judge sees of it, asks the judge, and says what follows. Must never look at a payload.
use super::{Caller, Holder, Open};
use crate::actor::Actor;
use crate::agent::Agent;
use crate::approval;
use crate::budget::{self, Day, Measure, Period, Whose};
use crate::capability::hook::Hook;
use crate::capability::{Shown, mcp};
use crate::draft::{Draft, minute};
use crate::execution::Execution;
use crate::facts::{Counter, Unread};
use crate::fleet::Worker;
use crate::id::{AgentId, GrantId};
use crate::judge::{Ask, Circumstances, Counters, Digest, Judgement, Verdict, Wants};
use crate::project::Project;
use crate::row::Row;
use crate::secret;
use crate::session::Session;
use crate::time::{Run, Stamp};

/// A verdict with what it was made on.
#[derive(Debug)]
pub struct Judged {
    pub judgement: Judgement,
    pub shown: Shown,
    pub may: May,
    /// A rule asks how many such calls there were.
    pub counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// `grant`: what stands for a person's word, where one is wanted.
    Begin {
        grant: Option<GrantId>,
    },
    /// Once people allow it.
    Wait,
    Never,
}

/// The floor's word for a secret that the call names and that nobody bound to its agent for that capability and host.
pub const SECRET_UNBOUND: &str = "floor:secret_unbound";

/// Of a call whose secret nobody bound.
pub fn secret_unbound() -> Judgement {
    let reason = "no secret of this name is bound to the agent for this host; `secrets.list` shows what is";
    Judgement { reason: Some(reason.to_string()), ..Judgement::blocked(SECRET_UNBOUND) }
}

/// By the policy that the project has at this moment.
fn policy(draft: &mut Draft<'_>) -> Result<Option<Digest>, Unread> {
    let Some(project) = draft.project else { return Ok(None) };
    Ok(draft.get::<Project>(project)?.and_then(|project| project.policy.as_ref().map(|applied| applied.digest)))
}

const MINUTES: u64 = 60;
const HOURS: u64 = 24;

fn hour(stamp: Stamp) -> u64 {
    1 + stamp.run.millis() / 3_600_000
}

fn key(agent: AgentId, capability: &str) -> String {
    format!("{agent}/{capability}")
}

/// What a call that rules count adds.
pub(super) fn counted(agent: AgentId, capability: &str, stamp: Stamp) -> [Row; 2] {
    let row = |counter, bucket| Row::Counted { counter, key: key(agent, capability), bucket, by: 1 };
    [row(Counter::CallsByMinute, minute(stamp)), row(Counter::CallsByHour, hour(stamp))]
}

/// Of this minute, of the last sixty and of the last 24 hours, each the present one included.
fn calls(draft: &mut Draft<'_>, agent: AgentId, capability: &str) -> Result<[u64; 3], Unread> {
    let (key, stamp) = (key(agent, capability), draft.stamp);
    let mut sum = |counter, newest: u64, buckets: u64| {
        let mut sum = 0;
        for bucket in newest.saturating_sub(buckets - 1).max(1)..=newest {
            sum += u64::try_from(draft.count_in(counter, &key, bucket)?).unwrap_or(0);
        }
        Ok(sum)
    };
    let (minute, hour) = (minute(stamp), hour(stamp));
    Ok([
        sum(Counter::CallsByMinute, minute, 1)?,
        sum(Counter::CallsByMinute, minute, MINUTES)?,
        sum(Counter::CallsByHour, hour, HOURS)?,
    ])
}

/// A call that was counted when it began, and is judged once more, is none of those before it, as far as its bucket is among them.
fn without_itself(calls: [u64; 3], counted_at: Option<Run>, now: Stamp) -> [u64; 3] {
    let Some(run) = counted_at else { return calls };
    let began = Stamp { at: now.at, run };
    let (minutes, hours) = (minute(now).saturating_sub(minute(began)), hour(now).saturating_sub(hour(began)));
    let [in_minute, in_hour, in_day] = calls;
    [
        in_minute.saturating_sub(u64::from(minutes == 0)),
        in_hour.saturating_sub(u64::from(minutes < MINUTES)),
        in_day.saturating_sub(u64::from(hours < HOURS)),
    ]
}

/// The confinement of the worker that the holder is bound to.
fn level(draft: &mut Draft<'_>, holder: Holder) -> Result<Option<String>, Unread> {
    let binding = match holder {
        Holder::Execution(id) => {
            let execution = draft.get::<Execution>(id)?;
            execution.and_then(|execution| execution.iteration()).and_then(|iteration| iteration.binding)
        }
        Holder::Session(id) => draft.get::<Session>(id)?.and_then(|session| session.jail).map(|jail| jail.binding),
    };
    let Some(binding) = binding else { return Ok(None) };
    let worker = draft.get::<Worker>(binding.worker)?;
    Ok(worker.map(|worker| worker.level.clone()).filter(|level| !level.is_empty()))
}

/// What a judge sees of a call beside its arguments.
///
/// # Errors
/// `Unread`.
fn circumstances(
    draft: &mut Draft<'_>,
    caller: Caller,
    (capability, counted_at): (&str, Option<Run>),
    labels: &[(String, String)],
    policy: Option<Digest>,
) -> Result<(Circumstances, Wants), Unread> {
    let agent_name = draft.get::<Agent>(caller.agent)?.map(|agent| agent.name.clone()).unwrap_or_default();
    let (opener, trigger) = match caller.holder {
        Holder::Execution(id) => {
            let trigger = draft.get::<Execution>(id)?.map(|execution| <&str>::from(execution.trigger).to_string());
            (None, trigger)
        }
        Holder::Session(id) => (draft.get::<Session>(id)?.map(|session| session.opener.to_string()), None),
    };
    let mut counters = Counters::default();
    let wants = draft.judge.wants(policy, &agent_name, capability);
    if wants.counters {
        let calls = without_itself(calls(draft, caller.agent, capability)?, counted_at, draft.stamp);
        [counters.calls_minute, counters.calls_hour, counters.calls_day] = calls;
    }
    if wants.money {
        let (day, whose) = (Day::of(draft.wall), Whose::Agent(caller.agent));
        let mut spent = |period| {
            let counter = budget::counter(Measure::Money, period);
            let spent = draft.count_in(counter, &whose.key(), day.bucket(period))?;
            Ok(u64::try_from(spent).unwrap_or(0))
        };
        counters.spent_day_micro_usd = spent(Period::Day)?;
        counters.spent_month_micro_usd = spent(Period::Month)?;
    }
    let circumstances = Circumstances {
        agent_name,
        labels: labels.iter().cloned().collect(),
        caller: caller.holder.kind(),
        opener,
        trigger,
        level: level(draft, caller.holder)?,
        at: draft.stamp.at,
        counters,
    };
    Ok((circumstances, wants))
}

/// As whom a call is judged. The manifest that names an MCP server asks what tools there are, whoever is to be told: such a call is
/// judged as a check of the manifest's own, which is what `Validator` stands for.
pub fn judged_as(actor: Actor, capability: &str) -> Actor {
    if mcp::Name::parse(capability).is_some_and(|name| name.method.is_list()) { Actor::Validator } else { actor }
}

/// May this call be made now?
///
/// # Errors
/// `Unread`.
pub fn judge(draft: &mut Draft<'_>, caller: Caller, call: &Open) -> Result<Judged, Unread> {
    let never = |judgement| Judged { judgement, shown: Shown::default(), may: May::Never, counted: false };
    let blocked = |rule: &str| never(Judgement::blocked(rule));
    if Hook::of(&call.capability).is_some() && caller.actor != Actor::Validator {
        return Ok(blocked("floor:hook"));
    }
    let Some(plan) = draft.plan(caller.agent, caller.revision)? else { return Ok(blocked("floor:no_plan")) };
    let Some(attributes) = draft.attributes(&call.attributes)? else { return Ok(blocked("floor:erased")) };
    let policy = policy(draft)?;
    let (context, wants) = circumstances(draft, caller, (&call.capability, call.counted_at), &plan.labels, policy)?;
    let judgement = draft.judge.judge(&Ask {
        actor: judged_as(caller.actor, &call.capability),
        agent: caller.agent,
        revision: caller.revision,
        capability: &call.capability,
        attributes: &attributes,
        tools: &plan.tools,
        context: &context,
        policy,
    });
    if judgement.verdict != Verdict::Blocked
        && secret::is_wanted(&plan, &call.capability)
        && !secret::may_use(draft, caller.agent, &plan, &call.capability, &attributes)?
    {
        return Ok(never(secret_unbound()));
    }
    let may = match judgement.verdict {
        Verdict::Autonomous | Verdict::Notify => May::Begin { grant: None },
        Verdict::ApprovalRequired if call.approved().is_some_and(|approval| approval.answers(&judgement)) => {
            May::Begin { grant: None }
        }
        Verdict::ApprovalRequired => match approval::found(draft, caller, call, &attributes)? {
            Some(grant) => May::Begin { grant: Some(grant) },
            None => May::Wait,
        },
        Verdict::Blocked => May::Never,
    };
    Ok(Judged { judgement, shown: Shown::of(&attributes), may, counted: wants.counters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn a_call_that_is_judged_once_more_is_left_out_of_the_buckets_that_it_is_in_and_of_no_other() {
        let at = |minutes: u64| Stamp { at: Time::from_millis(0), run: Run::ZERO.plus_ms(minutes * 60_000) };
        let left = |counted: Option<u64>, now| without_itself([5, 7, 9], counted.map(|run| at(run).run), at(now));
        assert_eq!(left(None, 3), [5, 7, 9], "no rule counted it when it began");
        assert_eq!(left(Some(3), 3), [4, 6, 8]);
        assert_eq!(left(Some(3), 4), [5, 6, 8], "it began in another minute");
        assert_eq!(left(Some(3), 62), [5, 6, 8]);
        assert_eq!(left(Some(3), 63), [5, 7, 8]);
        assert_eq!(left(Some(3), 24 * 60 - 1), [5, 7, 8]);
        assert_eq!(left(Some(3), 24 * 60), [5, 7, 9]);
    }
}
