//! Owed Think: commits that the model is called, then asks it. A call that is found open and not in flight was lost.
use crate::audit::Violation;
use crate::model::Thought;
use crate::mutation::Mutation;
use crate::storage::Storage;
use crate::world::{Name, Reply, World};
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event};
use tenure_core::bound::Hash;
use tenure_core::execution::{self, CallModel, Turn};
use tenure_core::id::ExecutionId;

/// True while the model is asked.
pub(super) fn think<S: Storage>(
    world: &mut World<S>,
    id: ExecutionId,
    turn: Turn,
    open: bool,
    name: &Name,
) -> Result<bool, Violation> {
    if open {
        world.command(Actor::Daemon, Command::Execution(id, execution::Command::LoseModel { turn }))?;
        return Ok(false);
    }
    let first = world.mutation == Some(Mutation::AskBeforeCommit);
    if first {
        world.audit.ask(id, turn)?;
    }
    let call = execution::Command::CallModel(CallModel {
        turn,
        model: "local/x".into(),
        request: Hash::of(b"request"),
        deadline: world.now.run.plus_ms(900_000),
        reserved_micro_usd: Some(10),
        reserved_tokens: 1_000,
    });
    // What it may cost can end the execution instead, which is a commit too.
    let is_call = |event: &Event| matches!(event, Event::Execution(execution::Event::ModelCalled { .. }));
    match world.command(Actor::Daemon, Command::Execution(id, call))? {
        Reply::Committed(made) if made.decision.events.iter().any(|(_, event)| is_call(event)) => {}
        Reply::Committed(_) | Reply::Refused(_) | Reply::Failed => return Ok(false),
    }
    if !first {
        world.audit.ask(id, turn)?;
    }
    world.daemon.thoughts.push(Thought { name: name.clone(), execution: id, turn });
    Ok(true)
}
