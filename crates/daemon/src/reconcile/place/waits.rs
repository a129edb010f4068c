//! What a queued execution waits for, in words for people. Must never decide: the next look may find it placed.
use super::Slots;
use super::room::is_busy;
use crate::fleet::Connection;
use crate::records::{Error, ReadTxn};
use tenure_core::execution::Status;
use tenure_core::id::ExecutionId;
use tenure_store::rows::{agents, executions, instances};

/// None where nothing stands in its way.
///
/// # Errors
/// The database's.
pub fn waits_for(
    txn: &mut ReadTxn<'_>,
    connections: Vec<Connection>,
    id: ExecutionId,
) -> Result<Option<String>, Error> {
    let Some(row) = executions::get(txn.parts().0, id)?.filter(|row| row.status == Status::Queued) else {
        return Ok(None);
    };
    let Some(agent) = agents::get(txn.parts().0, row.agent)? else { return Ok(None) };
    let begins = row.iterations == 0;
    if begins && agent.standing.state == "paused" {
        return Ok(Some(format!("its agent, which is paused (`tenure resume {}`)", agent.name)));
    }
    let before = executions::queued_before(txn.parts().0, row.agent, id)?;
    if before > 0 {
        return Ok(Some(format!("its turn: {before} of its agent are queued before it")));
    }
    if begins && is_busy(txn, row.agent, row.revision)? {
        let running = executions::running_of(txn.parts().0, row.agent)?;
        return Ok(Some(format!("its agent, which runs as many as it may at once ({running})")));
    }
    if txn.plan(row.agent, row.revision)?.kind().is_hosted() {
        let instance = instances::last_of(txn.parts().0, row.agent)?;
        let state = instance.map_or("not started".to_string(), |instance| instance.state);
        let next = if state == "stopped" { format!(" (`tenure agent start {}`)", agent.name) } else { String::new() };
        return Ok((state != "ready").then(|| format!("its program, which is {state}{next}")));
    }
    if connections.is_empty() {
        return Ok(Some("a worker: none is connected".to_string()));
    }
    let slots = Slots::free(txn, connections)?;
    let is_full = slots.full(agent.standing.home).is_some();
    Ok(is_full.then(|| "a free slot: all are taken by other executions and sessions".to_string()))
}
