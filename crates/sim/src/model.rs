//! A model that answers, asks for what there is and is not, asks wrongly, fails for a while or for good, runs away, says
//! absurd figures, or answers when nobody waits any more.
use crate::audit::Violation;
use crate::mutation::Mutation;
use crate::people::NAMES;
use crate::storage::Storage;
use crate::world::{Name, Reply, World};
use serde_json::json;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::call::{Proposal, attributes_json};
use tenure_core::capability;
use tenure_core::execution::{self, Answer, ModelFailure, Remedy, Turn, Usage, Used};
use tenure_core::id::{ExecutionId, LeaseId};
use tenure_core::owed::Kind;

/// The last one is a capability that there is not, and one that the plan forbids stands before it.
pub(crate) const CAPABILITIES: [&str; 33] = [
    "filesystem.read",
    "filesystem.list",
    "filesystem.write",
    "filesystem.append",
    "process.run",
    "state.persistent.get",
    "state.persistent.set",
    "state.persistent.delete",
    "state.session.set",
    "state.shared.set",
    "state.shared.get",
    "state.shared.watch",
    "agent.whoami",
    "agent.capabilities",
    "agent.briefing",
    "agent.execute",
    "agent.result",
    "scheduler.cron_create",
    "scheduler.cron_list",
    "scheduler.cron_delete",
    "scheduler.delay",
    "alerts.send",
    "alerts.list",
    "alerts.acknowledge",
    "system.health",
    "system.metrics",
    "comms.send",
    "comms.receive",
    "comms.publish",
    "comms.subscribe",
    "comms.unsubscribe",
    "network.dns_lookup",
    "email.send",
];

/// A model call that is under way.
#[derive(Debug, Clone)]
pub struct Thought {
    pub name: Name,
    pub execution: ExecutionId,
    pub turn: Turn,
}

/// One model call comes to its end. False: none is under way.
///
/// # Errors
/// What does not hold of the records.
pub fn one<S: Storage>(world: &mut World<S>) -> Result<bool, Violation> {
    if world.daemon.thoughts.is_empty() {
        return Ok(false);
    }
    let place = world.random.index(world.daemon.thoughts.len());
    let thought = world.daemon.thoughts.swap_remove(place);
    let now = world.now;
    let wanted = world
        .storage
        .due(Kind::Think, now)
        .iter()
        .any(|(stream, owed)| crate::reconcile::name(*stream, &owed.obligation) == thought.name);
    // What is no longer owed is dropped; sometimes the answer is just before that.
    if wanted || world.random.chance(300) {
        let command = answer(world, thought.turn);
        let reply = world.command(Actor::Daemon, Command::Execution(thought.execution, command))?;
        if world.mutation == Some(Mutation::SendUncommitted) && matches!(reply, Reply::Failed) {
            let lease = LeaseId::mint(&mut world.mint());
            world.audit.perform(lease)?;
        }
    }
    world.end_work(&thought.name);
    Ok(true)
}

fn answer<S: Storage>(world: &mut World<S>, turn: Turn) -> execution::Command {
    let failure = |kind: &str, remedy| ModelFailure {
        kind: kind.into(),
        sentence: "the provider says no".into(),
        remedy,
        used: Used::Nothing,
    };
    match world.random.below(100) {
        0..=11 => {
            let after_ms = world.random.chance(300).then(|| world.random.below(30_000));
            execution::Command::FailModel { turn, failure: failure("overloaded", Remedy::Again { after_ms }) }
        }
        12 | 13 => execution::Command::FailModel { turn, failure: failure("auth", Remedy::None) },
        14..=17 => execution::Command::FailModel {
            turn,
            failure: ModelFailure { used: Used::Unknown, ..failure("runaway", Remedy::NextIteration) },
        },
        18..=42 => {
            // Now and then it is cut, and the next turn goes on with it.
            let output = (!world.random.chance(80)).then(|| world.payload("done"));
            execution::Command::AnswerModel { turn, answer: answered(world, output, Vec::new()) }
        }
        _ => {
            let most = if world.random.chance(50) { 16 } else { 4 };
            let count = 1 + world.random.below(most);
            let calls = (0..count).map(|_| proposal(world)).collect();
            execution::Command::AnswerModel { turn, answer: answered(world, None, calls) }
        }
    }
}

fn answered<S: Storage>(
    world: &mut World<S>,
    output: Option<tenure_core::bound::Payload>,
    calls: Vec<Proposal>,
) -> Answer {
    let input = if world.random.chance(5) { u64::MAX } else { world.random.below(3_000) };
    let micro_usd = world.random.chance(800).then(|| world.random.below(500));
    let usage = Usage { input, output: world.random.below(500), cached: 0, micro_usd, took_ms: 5, ..Usage::default() };
    let cassette = world.random.chance(100);
    Answer { model: "local/x".into(), delta: world.payload("{}"), output, calls, usage, cassette }
}

pub(crate) fn proposal<S: Storage>(world: &mut World<S>) -> Proposal {
    let name = world.random.pick(&CAPABILITIES).copied().unwrap_or("email.send");
    let number = world.random.below(4);
    let to = world.random.pick(&NAMES).copied().unwrap_or("clerk");
    let priority = world.random.pick(&["low", "normal", "high"]).copied().unwrap_or("normal");
    let last = world.people.executions.last().map(ToString::to_string);
    let arguments = json!({
        "name": format!("w{number}"), "cron": "*/10 * * * *", "seconds": 5 + number * 600, "severity": "warning",
        "agent": to, "input": number, "report": number > 1, "execution": last, "to": to,
        "message": format!("m{number}"), "priority": priority, "channel": "alerts", "deadline_seconds": 1 + number,
        "path": format!("notes/{number}"), "command": "true", "key": format!("k{number}"), "value": number,
        "content": "x", "host": "example.com", "expected_version": world.random.below(3),
    });
    let known = capability::find(name);
    let attributes = known.map(|known| known.attributes(&arguments)).unwrap_or_default();
    let attributes = attributes_json(&attributes).expect("invariant: these are small");
    // The pairs of state change under each other's hands; now and then what is brought is none of what was bound.
    let misfit = world.random.chance(60).then(|| "path: missing".to_string());
    Proposal {
        capability: name.to_string(),
        arguments: world.payload(arguments.to_string()),
        attributes: world.payload(attributes),
        misfit,
    }
}
