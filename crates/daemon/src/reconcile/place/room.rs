//! Who makes room for what found no place: a session holds its slot for a while after its calls, and gives it up when somebody waits.
//! No more are asked than there are who wait, counting those that were asked before.
use super::{Slots, lost_its_worker};
use crate::records::{Error, ReadTxn};
use std::collections::BTreeMap;
use tenure_core::call::Holder;
use tenure_core::id::{AgentId, SessionId};
use tenure_store::rows::sessions::{self, JailsOf};
use tenure_store::rows::{agents, executions};

/// Of those that wait, how many are looked at.
const LEFT_MAX: usize = 256;

/// Sessions whose jails are to yield, each with the number of its jail.
pub(super) fn wanted(
    txn: &mut ReadTxn<'_>,
    slots: &Slots,
    left: impl Iterator<Item = Holder>,
) -> Result<Vec<(SessionId, u32)>, Error> {
    let mut wants: BTreeMap<JailsOf, u64> = BTreeMap::new();
    for holder in left.take(LEFT_MAX) {
        if let Some(of) = wanted_by(txn, slots, holder)? {
            *wants.entry(of).or_default() += 1;
        }
    }
    let mut chosen = BTreeMap::new();
    for (of, count) in wants {
        let more = count.saturating_sub(sessions::making_room(txn.parts().0, of)?);
        let limit = u32::try_from(more).unwrap_or(u32::MAX);
        for row in sessions::with_jails(txn.parts().0, of, limit)? {
            chosen.insert(row.id, row.jails);
        }
    }
    Ok(chosen.into_iter().collect())
}

/// Where there must be room for it; none where no session stands in its way.
fn wanted_by(txn: &mut ReadTxn<'_>, slots: &Slots, holder: Holder) -> Result<Option<JailsOf>, Error> {
    let waits = match holder {
        Holder::Execution(id) => {
            executions::get(txn.parts().0, id)?.filter(|row| row.ended_at.is_none()).map(|row| {
                // What has begun counts among its agent's already.
                let begins = row.iterations == 0 && !lost_its_worker(&row);
                (row.agent, begins.then_some(row.revision))
            })
        }
        Holder::Session(id) => sessions::get(txn.parts().0, id)?
            .filter(|row| row.waiting_since.is_some())
            .map(|row| (row.agent, row.revision.filter(|_| row.opener.instance().is_none()))),
    };
    let Some((agent, begins)) = waits else { return Ok(None) };
    let Some(row) = agents::get(txn.parts().0, agent)? else { return Ok(None) };
    let held = row.standing.state == "paused" && holder.execution().is_some() && begins.is_some();
    if held || !matches!(row.standing.state.as_str(), "deployed" | "paused") {
        return Ok(None);
    }
    if let Some(revision) = begins
        && is_busy(txn, agent, revision)?
    {
        return Ok(Some(JailsOf::Agent(agent)));
    }
    Ok(slots.full(row.standing.home).map(JailsOf::Connection))
}

/// As many of an agent run as this revision of it lets.
pub(super) fn is_busy(txn: &mut ReadTxn<'_>, agent: AgentId, revision: u32) -> Result<bool, Error> {
    let running = executions::running_of(txn.parts().0, agent)?;
    Ok(running >= u64::from(txn.plan(agent, revision)?.concurrency))
}
