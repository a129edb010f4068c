//! Executions of agents whose program an instance keeps running: they go to the worker that has it, once it is ready, and take up
//! no slot. Where there is no instance, one is started for them, unless a person stopped the last one.
use super::Binding;
use crate::fleet::Connection;
use crate::records::{Error, ReadTxn};
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::agent::Agent;
use tenure_core::call::Holder;
use tenure_core::execution::ExecutionRow;
use tenure_core::id::{AgentId, ExecutionId, InstanceId};
use tenure_core::instance::Instance;
use tenure_core::ledger::MacKey;
use tenure_store::fold;
use tenure_store::rows::{agents, executions, sessions};

pub(super) struct Hosted {
    pub(super) bindings: Vec<Binding>,
    /// Agents whose program is to be started.
    pub(super) start: BTreeSet<AgentId>,
    /// Those whose program is of an earlier revision than what waits, and has nothing in hand.
    pub(super) renew: BTreeSet<InstanceId>,
    /// Of agents whose newest revision is no such program any more.
    pub(super) gone: Vec<ExecutionId>,
    /// What finds a place by itself.
    pub(super) others: Vec<Holder>,
}

/// Where an agent's program stands.
enum Program {
    None,
    /// It starts, is stopped by a person, or its worker is away.
    Away,
    /// Of an earlier revision than what waits; `idle`: with nothing in hand.
    Earlier {
        instance: InstanceId,
        idle: bool,
    },
    Ready(Connection),
}

pub(super) fn split(
    txn: &mut ReadTxn<'_>,
    macs: &MacKey,
    connections: &[Connection],
    waiting: Vec<Holder>,
) -> Result<Hosted, Error> {
    let (start, renew) = (BTreeSet::new(), BTreeSet::new());
    let mut hosted = Hosted { bindings: Vec::new(), start, renew, gone: Vec::new(), others: Vec::new() };
    let mut begun: BTreeMap<AgentId, u64> = BTreeMap::new();
    for holder in waiting {
        let Some(row) = hosted_row(txn, holder)? else {
            hosted.others.push(holder);
            continue;
        };
        let agent = row.agent;
        let newest = agents::get(txn.parts().0, agent)?.map_or(row.revision, |row| row.standing.revision);
        if !txn.plan(agent, newest)?.kind().is_hosted() {
            hosted.gone.push(row.id);
            continue;
        }
        let begins = row.iterations == 0;
        if begins && !may_begin(txn, &row, &mut begun)? {
            continue;
        }
        match program(txn, macs, connections, (agent, row.revision))? {
            Program::None => drop(hosted.start.insert(agent)),
            Program::Away | Program::Earlier { idle: false, .. } => {}
            Program::Earlier { instance, idle: true } => drop(hosted.renew.insert(instance)),
            Program::Ready(connection) => {
                *begun.entry(agent).or_default() += u64::from(begins);
                hosted.bindings.push(Binding { holder, queue: None, connection });
            }
        }
    }
    Ok(hosted)
}

/// Not while its agent is paused, and no more at a time than its plan lets run.
fn may_begin(txn: &mut ReadTxn<'_>, row: &ExecutionRow, begun: &mut BTreeMap<AgentId, u64>) -> Result<bool, Error> {
    let paused = agents::get(txn.parts().0, row.agent)?.is_some_and(|agent| agent.standing.state == "paused");
    let running = executions::running_of(txn.parts().0, row.agent)?;
    let more = begun.get(&row.agent).copied().unwrap_or_default();
    Ok(!paused && running + more < u64::from(txn.plan(row.agent, row.revision)?.concurrency))
}

fn hosted_row(txn: &mut ReadTxn<'_>, holder: Holder) -> Result<Option<ExecutionRow>, Error> {
    let Some(id) = holder.execution() else { return Ok(None) };
    let Some(row) = executions::get(txn.parts().0, id)? else { return Ok(None) };
    Ok(txn.plan(row.agent, row.revision)?.kind().is_hosted().then_some(row))
}

fn program(
    txn: &mut ReadTxn<'_>,
    macs: &MacKey,
    connections: &[Connection],
    (agent, revision): (AgentId, u32),
) -> Result<Program, Error> {
    let known = fold::<Agent>(txn.parts().0, macs, agent)?;
    let (held, id) = known.map(|agent| (agent.program_held, agent.instance)).unwrap_or_default();
    let Some(id) = id else { return Ok(if held { Program::Away } else { Program::None }) };
    let Some(instance) = fold::<Instance>(txn.parts().0, macs, id)?.filter(Instance::is_ready) else {
        return Ok(Program::Away);
    };
    if revision > instance.revision {
        return Ok(Program::Earlier { instance: id, idle: instance.messages.is_empty() });
    }
    let Some(program) = instance.program() else { return Ok(Program::Away) };
    let bound = sessions::get(txn.parts().0, program.session)?.and_then(|row| row.connection);
    let connection = connections.iter().find(|connection| Some(connection.id) == bound);
    Ok(connection.map_or(Program::Away, |connection| Program::Ready(connection.clone())))
}
