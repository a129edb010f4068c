//! Executions of agents whose program an instance keeps running: they go to the worker that has it, once it is ready, and take up
//! no slot. Where there is no instance, one is started for them.
use super::Binding;
use crate::fleet::Connection;
use crate::records::{Error, ReadTxn};
use std::collections::BTreeSet;
use tenure_core::agent::Agent;
use tenure_core::call::Holder;
use tenure_core::id::AgentId;
use tenure_core::instance::Instance;
use tenure_core::ledger::MacKey;
use tenure_store::fold;
use tenure_store::rows::{executions, sessions};

pub(super) struct Hosted {
    pub(super) bindings: Vec<Binding>,
    /// Agents whose program is to be started.
    pub(super) start: BTreeSet<AgentId>,
    /// What finds a place by itself.
    pub(super) others: Vec<Holder>,
}

/// Where an agent's program stands.
enum Program {
    None,
    Starting,
    Ready(Connection),
}

pub(super) fn split(
    txn: &mut ReadTxn<'_>,
    macs: &MacKey,
    connections: &[Connection],
    waiting: Vec<Holder>,
) -> Result<Hosted, Error> {
    let mut hosted = Hosted { bindings: Vec::new(), start: BTreeSet::new(), others: Vec::new() };
    for holder in waiting {
        let Some(agent) = hosted_agent(txn, holder)? else {
            hosted.others.push(holder);
            continue;
        };
        match program(txn, macs, connections, agent)? {
            Program::None => drop(hosted.start.insert(agent)),
            Program::Starting => {}
            Program::Ready(connection) => hosted.bindings.push(Binding { holder, queue: None, connection }),
        }
    }
    Ok(hosted)
}

fn hosted_agent(txn: &mut ReadTxn<'_>, holder: Holder) -> Result<Option<AgentId>, Error> {
    let Some(id) = holder.execution() else { return Ok(None) };
    let Some(row) = executions::get(txn.parts().0, id)? else { return Ok(None) };
    Ok(txn.plan(row.agent, row.revision)?.kind().is_hosted().then_some(row.agent))
}

fn program(txn: &mut ReadTxn<'_>, macs: &MacKey, connections: &[Connection], agent: AgentId) -> Result<Program, Error> {
    let known = fold::<Agent>(txn.parts().0, macs, agent)?;
    let Some(id) = known.and_then(|agent| agent.instance) else { return Ok(Program::None) };
    let Some(instance) = fold::<Instance>(txn.parts().0, macs, id)?.filter(Instance::is_ready) else {
        return Ok(Program::Starting);
    };
    let Some(program) = instance.program() else { return Ok(Program::Starting) };
    let bound = sessions::get(txn.parts().0, program.session)?.and_then(|row| row.connection);
    let connection = connections.iter().find(|connection| Some(connection.id) == bound);
    Ok(connection.map_or(Program::Starting, |connection| Program::Ready(connection.clone())))
}
