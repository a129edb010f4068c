//! Owed Validate: finds something, or asks for the one call that it needs first.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use serde_json::json;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::call::{Proposal, attributes_json};
use tenure_core::capability;
use tenure_core::execution::{self, Finding};
use tenure_core::id::{CallId, ExecutionId};

pub(super) fn validate<S: Storage>(
    world: &mut World<S>,
    id: ExecutionId,
    iteration: u32,
    index: u32,
    check: Option<CallId>,
) -> Checked {
    let command = if check.is_none() && world.random.chance(500) {
        execution::Command::Check { iteration, index, proposal: run(world) }
    } else {
        let pass = world.random.chance(700);
        let score_milli = if pass { 1000 } else { 0 };
        let finding = Finding { validator: "regex".into(), pass, score_milli, reasons: world.payload("because") };
        execution::Command::Validate { iteration, index, finding }
    };
    world.command(Actor::Daemon, Command::Execution(id, command)).map(drop)
}

/// A program that only ends well.
pub(super) fn run<S: Storage>(world: &mut World<S>) -> Proposal {
    let (capability, arguments) = ("process.run", json!({"command": "true"}));
    let attributes = capability::find(capability).map(|known| known.attributes(&arguments)).unwrap_or_default();
    let attributes = attributes_json(&attributes).expect("invariant: these are small");
    Proposal {
        capability: capability.to_string(),
        arguments: world.payload(arguments.to_string()),
        attributes: world.payload(attributes),
        misfit: None,
    }
}
