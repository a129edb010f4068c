//! May a call be made? Gathers what a judge sees of it, asks the judge, and says what follows. Must never look at a payload.
use super::{Caller, Holder, Open};
use crate::agent::Agent;
use crate::budget::{self, Day, Measure, Period, Whose};
use crate::capability::Shown;
use crate::draft::Draft;
use crate::execution::Execution;
use crate::facts::Unread;
use crate::judge::{Ask, Circumstances, Counters, Digest, Judgement, Verdict};
use crate::session::Session;
use std::collections::BTreeMap;

/// A verdict with what it was made on.
#[derive(Debug)]
pub struct Judged {
    pub judgement: Judgement,
    pub shown: Shown,
    pub may: bool,
}

/// No policy can be applied yet.
const POLICY: Option<Digest> = None;

/// What a judge sees of a call beside its arguments.
///
/// # Errors
/// `Unread`.
fn circumstances(draft: &mut Draft<'_>, caller: Caller, capability: &str) -> Result<Circumstances, Unread> {
    let agent_name = draft.get::<Agent>(caller.agent)?.map(|agent| agent.name.clone()).unwrap_or_default();
    let (opener, trigger) = match caller.holder {
        Holder::Execution(id) => {
            let trigger = draft.get::<Execution>(id)?.map(|execution| <&str>::from(execution.trigger).to_string());
            (None, trigger)
        }
        Holder::Session(id) => (draft.get::<Session>(id)?.map(|session| session.key.to_string()), None),
    };
    let mut counters = Counters::default();
    if draft.judge.wants(POLICY, &agent_name, capability).money {
        let (day, whose) = (Day::of(draft.wall), Whose::Agent(caller.agent));
        let mut spent = |period| {
            let counter = budget::counter(Measure::Money, period);
            let spent = draft.count_in(counter, &whose.key(), day.bucket(period))?;
            Ok(u64::try_from(spent).unwrap_or(0))
        };
        counters.spent_day_micro_usd = spent(Period::Day)?;
        counters.spent_month_micro_usd = spent(Period::Month)?;
    }
    Ok(Circumstances {
        agent_name,
        labels: BTreeMap::new(),
        caller: caller.holder.kind(),
        opener,
        trigger,
        level: None,
        at: draft.stamp.at,
        counters,
    })
}

/// May this call be made now?
///
/// # Errors
/// `Unread`.
pub fn judge(draft: &mut Draft<'_>, caller: Caller, call: &Open) -> Result<Judged, Unread> {
    let blocked = |rule: &str| {
        let judgement = Judgement::blocked(rule);
        Judged { judgement, shown: Shown::default(), may: false }
    };
    let Some(plan) = draft.plan(caller.agent, caller.revision)? else { return Ok(blocked("floor:no_plan")) };
    let Some(attributes) = draft.attributes(&call.attributes)? else { return Ok(blocked("floor:erased")) };
    let context = circumstances(draft, caller, &call.capability)?;
    let mut judgement = draft.judge.judge(&Ask {
        actor: caller.actor,
        agent: caller.agent,
        revision: caller.revision,
        capability: &call.capability,
        attributes: &attributes,
        tools: &plan.tools,
        context: &context,
        policy: POLICY,
    });
    let may = match judgement.verdict {
        Verdict::Autonomous | Verdict::Notify => true,
        // Nobody can answer an approval yet, so a call that wants one is refused rather than left to wait for ever.
        Verdict::ApprovalRequired => {
            judgement.rules.push("floor:no_approvals_yet".to_string());
            false
        }
        Verdict::Blocked => false,
    };
    Ok(Judged { judgement, shown: Shown::of(&attributes), may })
}
