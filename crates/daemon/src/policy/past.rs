//! Recorded calls, as they would be judged anew: what a judge saw of them, with the counts that rules ask for made again from the
//! calls themselves. Must never write, and never hold more than a page.
use crate::app::App;
use crate::records::{Error, ReadTxn, found};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::call::{CallRow, Holder};
use tenure_core::capability::Attributes;
use tenure_core::id::{AgentId, CallId, Mint};
use tenure_core::judge::{Circumstances, Counters, Verdict};
use tenure_core::plan::Plan;
use tenure_core::secret;
use tenure_core::time::Time;
use tenure_policy::{Against, Bundle, Fate, Learned, Policy, RecordedCall, Summary, compare, learn};
use tenure_store::rows::{agents, calls, executions, sessions};
use tokio::sync::mpsc;

/// Calls that rules are learned from.
const LEARNED_FROM_MAX: u64 = 200_000;
/// Calls that one replay judges.
pub const CALLS_MAX: u64 = 1_000_000;
const PAGE: u32 = 512;
/// Pages that are read ahead.
const AHEAD: usize = 4;
const MINUTE_MS: i64 = 60_000;
const HOUR_MINUTES: i64 = 60;
const DAY_MINUTES: i64 = 24 * HOUR_MINUTES;

/// What a candidate would have changed, and whether calls were left out.
pub struct Past {
    pub summary: Summary,
    pub cut: bool,
}

/// Judges the calls that were asked for since then by the policy that holds and by a candidate.
///
/// # Errors
/// The store's.
pub async fn replay(app: Arc<App>, since: Time, holds: Arc<Policy>, candidate: Arc<Policy>) -> Result<Past, Error> {
    let judge =
        move |calls: &mut dyn Iterator<Item = RecordedCall>| compare(Against::Policy(&holds), &candidate, calls);
    let (summary, cut) = through(app, since, None, CALLS_MAX, judge).await?;
    Ok(Past { summary, cut })
}

/// Rules that the calls of one agent, or of all, ask for; and whether calls were left out.
///
/// # Errors
/// The store's.
pub async fn learned(
    app: Arc<App>,
    since: Time,
    only: Option<AgentId>,
    holds: Arc<Policy>,
    bundle: Bundle,
) -> Result<(Learned, bool), Error> {
    let look = move |calls: &mut dyn Iterator<Item = RecordedCall>| learn(&holds, &bundle, calls);
    through(app, since, only, LEARNED_FROM_MAX, look).await
}

/// Hands recorded calls to what looks at them on a thread of its own, a page at a time.
async fn through<T: Send + 'static>(
    app: Arc<App>,
    since: Time,
    only: Option<AgentId>,
    calls_max: u64,
    look: impl FnOnce(&mut dyn Iterator<Item = RecordedCall>) -> T + Send + 'static,
) -> Result<(T, bool), Error> {
    let (pages, mut read) = mpsc::channel::<Vec<RecordedCall>>(AHEAD);
    let looking = tokio::task::spawn_blocking(move || {
        let mut calls = std::iter::from_fn(|| read.blocking_recv()).flatten();
        look(&mut calls)
    });
    let (mut after, mut seen, mut cut, mut known) =
        (Some(first_id(since)), 0, false, Known { last: since, ..Known::default() });
    while let Some(from) = after {
        let page = app.records.read(move |txn| page(txn, from, known));
        let (mut calls, next, back) = page.await?;
        known = back;
        calls.retain(|call| only.is_none_or(|agent| call.agent == agent));
        seen += calls.len() as u64;
        (after, cut) = if seen >= calls_max { (None, next.is_some()) } else { (next, false) };
        if pages.send(calls).await.is_err() {
            break;
        }
    }
    drop(pages);
    let looked = looking.await.expect("invariant: judging does not panic");
    Ok((looked, cut))
}

/// Ids are in the order of time: the least that a call of that moment could have.
fn first_id(since: Time) -> CallId {
    CallId::mint(&mut Mint::new(since, 0))
}

/// What many calls share, and how often each agent called what.
#[derive(Default)]
struct Known {
    holders: HashMap<Holder, Option<Arc<Asker>>>,
    counts: HashMap<(AgentId, String), BTreeMap<i64, u64>>,
    /// Of the call before.
    level: Option<(Holder, String)>,
    /// When the call before it was: one that still waits says no time of its own.
    last: Time,
}

/// Of a holder of calls.
struct Asker {
    agent: AgentId,
    agent_name: String,
    revision: u32,
    trigger: Option<String>,
    opener: Option<String>,
    plan: Arc<Plan>,
    tools: Arc<[String]>,
}

/// One recorded call, and its row. Counts are those of the calls before it that are read with it: none.
///
/// # Errors
/// The store's.
pub fn recorded(txn: &mut ReadTxn<'_>, id: CallId) -> Result<Option<(RecordedCall, CallRow)>, Error> {
    let Some(row) = calls::get(txn.parts().0, id)? else { return Ok(None) };
    let mut known = Known::default();
    let Some(asker) = known.asker(txn, row.holder)? else { return Ok(None) };
    Ok(call(txn, &mut known, &asker, row.clone())?.map(|recorded| (recorded, row)))
}

/// How many calls of its capability its agent had made before a recorded one.
///
/// # Errors
/// The store's.
pub async fn counters(app: Arc<App>, call: &RecordedCall) -> Result<Counters, Error> {
    let (id, since) = (call.call, Time::from_millis(call.context.at.millis() - DAY_MINUTES * MINUTE_MS));
    let find = move |mut calls: &mut dyn Iterator<Item = RecordedCall>| {
        Iterator::find(&mut calls, |call| call.call == id).map(|call| call.context.counters)
    };
    let (found, _) = through(app, since, Some(call.agent), CALLS_MAX, find).await?;
    Ok(found.unwrap_or_default())
}

type Page = (Vec<RecordedCall>, Option<CallId>, Known);

fn page(txn: &mut ReadTxn<'_>, from: CallId, mut known: Known) -> Result<Page, Error> {
    let rows = calls::from(txn.parts().0, from, PAGE + 1)?;
    let next = rows.get(PAGE as usize).map(|row| row.id);
    let mut recorded = Vec::with_capacity(rows.len());
    for row in rows.into_iter().take(PAGE as usize) {
        let Some(asker) = known.asker(txn, row.holder)? else { continue };
        recorded.extend(call(txn, &mut known, &asker, row)?);
    }
    Ok((recorded, next, known))
}

/// None of a call that no judge has seen: its arguments did not fit.
fn call(txn: &mut ReadTxn<'_>, known: &mut Known, asker: &Asker, row: CallRow) -> Result<Option<RecordedCall>, Error> {
    if row.outcome.as_deref() == Some("misfit") || row.state == "proposed" {
        return Ok(None);
    }
    let fate = match (row.state.as_str(), row.outcome.as_deref()) {
        ("called" | "ended", _) => Fate::Made,
        (_, Some("policy")) => Fate::Blocked,
        (_, Some("rejected")) => Fate::Rejected,
        _ => Fate::Open,
    };
    let at = row.called_at.or(row.ended_at).unwrap_or(known.last);
    known.last = at;
    let attributes: Option<Attributes> = found(txn.json(row.attributes))?;
    let actor = if row.validator { Actor::Validator } else { Actor::Agent(asker.agent) };
    let actor = tenure_core::call::judged_as(actor, &row.capability);
    let unbound = fate == Fate::Blocked && is_unbound(txn, asker, &row.capability, attributes.as_ref())?;
    let counters = known.count((asker.agent, &row.capability), row.id.minted_at(), at, row.called_at.is_some());
    Ok(Some(RecordedCall {
        call: row.id,
        agent: asker.agent,
        revision: asker.revision,
        actor,
        capability: row.capability,
        tools: Arc::clone(&asker.tools),
        context: Circumstances {
            agent_name: asker.agent_name.clone(),
            labels: asker.plan.labels.iter().cloned().collect(),
            caller: row.holder.kind(),
            opener: asker.opener.clone(),
            trigger: asker.trigger.clone(),
            level: known.level(row.holder, row.level),
            at,
            counters,
        },
        attributes,
        // Both sides are judged now.
        verdict: Verdict::Autonomous,
        fate,
        unbound,
    }))
}

/// Of a call that was blocked: it names a secret that is not bound for it now either. One that was made, or that a person was asked
/// about, had it.
fn is_unbound(
    txn: &mut ReadTxn<'_>,
    asker: &Asker,
    capability: &str,
    attributes: Option<&Attributes>,
) -> Result<bool, Error> {
    let wanted = attributes.filter(|_| secret::is_wanted(&asker.plan, capability));
    let Some(attributes) = wanted else { return Ok(false) };
    Ok(!secret::covers(&txn.secret_bindings(asker.agent)?, &asker.plan, capability, attributes))
}

impl Known {
    fn asker(&mut self, txn: &mut ReadTxn<'_>, holder: Holder) -> Result<Option<Arc<Asker>>, Error> {
        const HELD_MAX: usize = 4_096;
        if let Some(known) = self.holders.get(&holder) {
            return Ok(known.clone());
        }
        if self.holders.len() >= HELD_MAX {
            self.holders.clear();
        }
        let asker = asker(txn, holder)?.map(Arc::new);
        self.holders.insert(holder, asker.clone());
        Ok(asker)
    }

    /// The confinement of a call that never ran is the one before it of the same holder.
    fn level(&mut self, holder: Holder, told: Option<String>) -> Option<String> {
        match told {
            Some(level) => self.level.insert((holder, level)).1.clone().into(),
            None => self.level.as_ref().filter(|(of, _)| *of == holder).map(|(_, level)| level.clone()),
        }
    }

    /// Of the calls before it that began: by the minute, so that a day of one agent and capability takes little. Calls come in the order
    /// in which they were asked for, and one that waited for people began later than some that come after it: each counts where it
    /// began. Those that began while it waited come after it, and are not among its own.
    fn count(&mut self, (agent, capability): (AgentId, &str), asked: Time, at: Time, began: bool) -> Counters {
        let minutes = self.counts.entry((agent, capability.to_string())).or_default();
        let minute = |time: Time| time.millis().div_euclid(MINUTE_MS);
        let now = minute(at);
        // None that is still to come began before it was asked for.
        *minutes = minutes.split_off(&(minute(asked.min(at)) - DAY_MINUTES + 1));
        let within = |span: i64| minutes.range(now - span + 1..=now).map(|(_, count)| count).sum::<u64>();
        let counters = Counters {
            calls_minute: within(1),
            calls_hour: within(HOUR_MINUTES),
            calls_day: within(DAY_MINUTES),
            ..Counters::default()
        };
        if began {
            *minutes.entry(now).or_default() += 1;
        }
        counters
    }
}

fn asker(txn: &mut ReadTxn<'_>, holder: Holder) -> Result<Option<Asker>, Error> {
    let (agent, agent_name, revision, trigger, opener) = match holder {
        Holder::Execution(id) => match executions::get(txn.parts().0, id)? {
            Some(row) => (row.agent, row.agent_name, row.revision, Some(row.trigger.as_str().to_string()), None),
            None => return Ok(None),
        },
        Holder::Session(id) => match sessions::get(txn.parts().0, id)? {
            Some(row) => {
                // Which revision it was is not in its rows once its jail is gone: the newest stands for it.
                let newest = agents::get(txn.parts().0, row.agent)?.map_or(1, |agent| agent.standing.revision);
                (row.agent, row.agent_name, row.revision.unwrap_or(newest), None, Some(row.opener.to_string()))
            }
            None => return Ok(None),
        },
    };
    let Some(plan) = found(txn.plan(agent, revision))? else { return Ok(None) };
    let tools = plan.tools.clone().into();
    Ok(Some(Asker { agent, agent_name, revision, trigger, opener, plan, tools }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_waited_counts_where_it_began_and_keeps_no_other_from_being_counted() {
        let (mut known, agent) = (Known::default(), AgentId::mint(&mut Mint::new(Time::from_millis(0), 1)));
        let at = |minute: i64| Time::from_millis(minute * MINUTE_MS);
        let mut count = |asked, began_at, began| {
            let Counters { calls_minute, calls_hour, calls_day, .. } =
                known.count((agent, "process.run"), at(asked), at(began_at), began);
            [calls_minute, calls_hour, calls_day]
        };
        let days = 2 * DAY_MINUTES;
        assert_eq!(count(0, 0, true), [0, 0, 0]);
        assert_eq!(count(1, days, true), [0, 0, 0], "it waited for two days");
        assert_eq!(count(2, 2, true), [0, 1, 1], "the first alone began before it");
        assert_eq!(count(2, 2, false), [1, 2, 2], "one that never began is not counted");
        assert_eq!(count(3, 70, true), [0, 0, 2]);
        assert_eq!(count(days + 1, days + 1, true), [0, 1, 1], "the one that waited");
    }
}
