//! People and their scripts: they deploy, start with and without keys of idempotency, cancel, delete, and ask for what there
//! is not. They know nothing of what the ledger holds but what they were answered.
use crate::audit::{Checked, Rule, broken};
use crate::mutation::Mutation;
use crate::storage::Storage;
use crate::world::{LIMITS, Reply, World};
use tenure_core::access::Role;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event, Refusal};
use tenure_core::bound::Hash;
use tenure_core::execution::{self, Start};
use tenure_core::id::{AgentId, ExecutionId, KeyId};
use tenure_core::manifest::{Manifest, Validator};
use tenure_core::plan::Plan;
use tenure_core::{agent, project};

const OWNER: Actor = Actor::Owner { uid: 1000 };
const NAMES: [&str; 6] = ["clerk", "scribe", "cook", "Clerk", "porter", "smith"];
/// Executions of one agent at a time.
pub const CONCURRENCY: u32 = 2;
/// Executions that one world starts at most.
const EXECUTIONS_MAX: usize = 40;

/// What people were answered.
#[derive(Debug, Default)]
pub struct People {
    pub agents: Vec<AgentId>,
    pub executions: Vec<ExecutionId>,
    pub keys: Vec<KeyId>,
    files: u64,
}

/// # Errors
/// What does not hold of the records.
pub fn one<S: Storage>(world: &mut World<S>) -> Checked {
    match world.random.below(20) {
        0..=12 => start(world),
        13 | 14 => cancel(world),
        15 | 16 => deploy(world),
        17 => delete(world),
        _ => keys(world),
    }
}

fn plan(validators: usize, unlimited: bool) -> Plan {
    let text = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: clerk}\nspec: {task: {instruction: x}}\n";
    let mut plan = Plan::compile(&Manifest::parse(text).expect("invariant: the manifest is written here"));
    plan.limits = LIMITS;
    plan.concurrency = CONCURRENCY;
    if unlimited {
        (plan.limits.max_turns, plan.limits.tool_calls) = (1_000, 1_000);
    }
    plan.tools = ["filesystem.*", "process.run", "state.*", "agent.*"].map(str::to_string).to_vec();
    plan.validators = vec![Validator::ExitCode { expected: None }; validators];
    plan
}

pub(crate) fn deploy<S: Storage>(world: &mut World<S>) -> Checked {
    let name = world.random.pick(&NAMES).copied().unwrap_or("clerk");
    if world.random.chance(800) {
        world.people.files += 1;
    }
    let (file, validators) = (format!("{name} {}", world.people.files), world.random.index(3));
    let plan = plan(validators, world.mutation == Some(Mutation::NoLimits));
    let deployment = agent::Deployment {
        name: name.to_string(),
        listed: agent::Listed {
            version: None,
            labels: vec![("team".into(), "a".into())],
            runtime: "native".into(),
            model: "default".into(),
        },
        digest: Hash::of(file.as_bytes()),
        manifest: world.payload(file),
        plan: world.payload(plan.to_bytes()),
    };
    let fresh = AgentId::mint(&mut world.mint());
    if let Reply::Committed(committed) =
        world.command(OWNER, Command::Agent(fresh, agent::Command::Deploy(deployment)))?
    {
        let created = committed.decision.events.iter().find_map(|(_, event)| match event {
            Event::Agent(agent::Event::Created(deployed)) => Some(deployed.agent),
            _ => None,
        });
        world.people.agents.extend(created);
    }
    Ok(())
}

fn start<S: Storage>(world: &mut World<S>) -> Checked {
    let unknown = AgentId::mint(&mut world.mint());
    let known =
        world.random.pick(&world.people.agents).copied().filter(|_| world.people.executions.len() < EXECUTIONS_MAX);
    let agent = known.unwrap_or(unknown);
    let idempotency = world.random.chance(400).then(|| Hash::of(&[u8::try_from(world.random.below(6)).unwrap_or(0)]));
    let max_iterations = match world.random.below(10) {
        0 => Some(0),
        1 => Some(1),
        _ => None,
    };
    let id = ExecutionId::mint(&mut world.mint());
    let before = idempotency.and_then(|key| world.audit.started_by(agent, key));
    let start = Start { agent, input: world.payload("go"), max_iterations, idempotency };
    match world.command(OWNER, Command::Execution(id, execution::Command::Start(start)))? {
        Reply::Committed(_) => world.people.executions.push(id),
        Reply::Refused(Refusal::Execution(execution::Refusal::Repeated { execution })) if before != Some(execution) => {
            return broken(Rule::Idempotency, format!("{execution} is named for a key that started {before:?}"));
        }
        Reply::Refused(_) | Reply::Failed => {}
    }
    Ok(())
}

fn cancel<S: Storage>(world: &mut World<S>) -> Checked {
    let Some(id) = world.random.pick(&world.people.executions).copied() else { return Ok(()) };
    let cancel = execution::Command::Cancel { why: "enough".into() };
    world.command(OWNER, Command::Execution(id, cancel)).map(drop)
}

fn delete<S: Storage>(world: &mut World<S>) -> Checked {
    let Some(id) = world.random.pick(&world.people.agents).copied() else { return Ok(()) };
    let home_grace_ms = world.random.below(600_000);
    world.command(OWNER, Command::Agent(id, agent::Command::Delete { home_grace_ms })).map(drop)
}

fn keys<S: Storage>(world: &mut World<S>) -> Checked {
    let command = match world.random.pick(&world.people.keys).copied().filter(|_| world.random.chance(400)) {
        Some(key) => project::Command::RevokeKey { key },
        None => {
            let name = format!("key-{}", world.random.below(4));
            project::Command::CreateKey { name, role: Role::Viewer, hash: Hash::of(&world.random.seed().to_le_bytes()) }
        }
    };
    if let Reply::Committed(committed) = world.command(OWNER, Command::Project(world.project, command))? {
        world.people.keys.extend(committed.decision.events.iter().filter_map(|(_, event)| match event {
            Event::Project(project::Event::KeyCreated { key, .. }) => Some(*key),
            _ => None,
        }));
    }
    Ok(())
}
