//! Owed Program: runs the program that an agent is, and hears what came of it.
use super::validate;
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::execution::{self, ProgramOutcome};
use tenure_core::id::{CallId, ExecutionId};

pub(super) fn program<S: Storage>(
    world: &mut World<S>,
    id: ExecutionId,
    iteration: u32,
    call: Option<CallId>,
) -> Checked {
    let command = match call {
        None => execution::Command::AskProgram { iteration, proposal: validate::run(world) },
        Some(_) => {
            let outcome = match world.random.chance(700) {
                true => ProgramOutcome::Answered { output: world.payload("printed") },
                false => ProgramOutcome::Failed { failure: "the program ended with exit code 1".into() },
            };
            execution::Command::EndProgram { iteration, outcome }
        }
    };
    world.command(Actor::Daemon, Command::Execution(id, command)).map(drop)
}
