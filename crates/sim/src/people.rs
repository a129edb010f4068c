//! People and their scripts: they deploy, start with and without keys of idempotency, cancel, delete, and ask for what there
//! is not. They know nothing of what the ledger holds but what they were answered.
use crate::audit::{Audit, Checked, Rule, broken};
use crate::random::Random;
use crate::storage::Storage;
use crate::world::{LIMITS, Reply, World};
use tenure_core::access::Role;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Cause, Severity};
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::approval::Scope;
use tenure_core::bound::{Hash, Payload};
use tenure_core::budget::{Line, Measure, Period};
use tenure_core::comms::Priority;
use tenure_core::execution::{self, Start};
use tenure_core::id::{
    AgentId, ApprovalId, CallId, ExecutionId, GrantId, KeyId, MessageId, Mint, ProjectId, SessionId,
};
use tenure_core::manifest::{Manifest, Missed, Overlap};
use tenure_core::plan::{Plan, Schedule};
use tenure_core::retention::{AGE_MS_MIN, Retention};
use tenure_core::time::Time;
use tenure_core::{call, capability, project, session, state};

pub const OWNER: Actor = Actor::Owner { uid: 1000 };
pub(crate) const NAMES: [&str; 6] = ["clerk", "scribe", "cook", "Clerk", "porter", "smith"];
/// Executions of one agent at a time.
pub const CONCURRENCY: u32 = 2;
/// Executions that one world starts at most.
const EXECUTIONS_MAX: usize = 40;
/// What an outcome may have to pass. Some of it a model does now and then, some a worker, some nobody.
const VALIDATORS: [&str; 5] = [
    "{type: exit_code}",
    "{type: regex, pattern: done}",
    "{type: command, command: [\"true\"]}",
    "{type: regex, pattern: there, target: /workspace/notes/1}",
    "{type: json_schema, schema: {type: object}}",
];

/// What people were answered.
#[derive(Debug, Default)]
pub struct People {
    pub agents: Vec<AgentId>,
    pub executions: Vec<ExecutionId>,
    pub keys: Vec<KeyId>,
    /// Of agents.
    agent_keys: Vec<(AgentId, KeyId)>,
    sessions: Vec<(SessionId, AgentId)>,
    /// What they wrote, some of it a dead letter by now.
    posted: Vec<(AgentId, MessageId)>,
    grants: Vec<(AgentId, GrantId)>,
    /// What sessions have called.
    calls: Vec<(SessionId, CallId)>,
    files: u64,
}

/// Where and when somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct AskContext {
    pub project: ProjectId,
    /// One of the calls that they are asked to allow.
    pub asked: Option<(AgentId, ApprovalId)>,
    pub at: Time,
    /// What is deployed knows no limits.
    pub unlimited: bool,
}

/// Somebody asks for something.
///
/// # Errors
/// What does not hold of the records, or of the answer.
pub fn one<S: Storage>(world: &mut World<S>) -> Checked {
    let context = world.ask_context();
    match world.people.ask(&mut world.random, context) {
        Some(command) => send(world, command),
        None => Ok(()),
    }
}

pub(crate) fn deploy<S: Storage>(world: &mut World<S>) -> Checked {
    let context = world.ask_context();
    let command = world.people.deploy(&mut world.random, context);
    send(world, command)
}

fn send<S: Storage>(world: &mut World<S>, command: Command) -> Checked {
    let key = key_of(&command);
    let actor = world.people.actor(&command);
    let reply = world.command(actor, command)?;
    world.people.hear(key, &reply, &world.audit)
}

/// The key by which an execution is started once.
pub fn key_of(command: &Command) -> Option<(AgentId, Hash)> {
    match command {
        Command::Execution(_, execution::Command::Start(start)) => Some((start.agent, start.idempotency?)),
        _ => None,
    }
}

fn mint(random: &mut Random, at: Time) -> Mint {
    Mint::new(at, random.seed())
}

fn payload(random: &mut Random, bytes: impl Into<Vec<u8>>) -> Payload {
    Payload::new(random.seed().to_le_bytes(), bytes.into())
}

/// A call under one of few keys, so that it often comes twice.
fn invocation(random: &mut Random, key: KeyId) -> session::Invoke {
    let names = [
        "state.persistent.set",
        "state.persistent.get",
        "agent.whoami",
        "filesystem.read",
        "filesystem.write",
        "process.run",
        "process.run",
        "email.send",
    ];
    let name = random.pick(&names).copied().unwrap_or("agent.whoami");
    let arguments = serde_json::json!({"key": "a", "value": random.below(4), "path": "notes/1", "command": "true"});
    let attributes = capability::find(name).map(|known| known.attributes(&arguments)).unwrap_or_default();
    let attributes = call::attributes_json(&attributes).expect("invariant: they are small");
    let idempotency = Hash::of(&[u8::try_from(random.below(40)).unwrap_or(0)]);
    let proposal = call::Proposal {
        capability: name.to_string(),
        arguments: payload(random, arguments.to_string()),
        attributes: payload(random, attributes),
        misfit: random.chance(50).then(|| "it does not fit".to_string()),
    };
    session::Invoke { opener: session::Opener::Key(key), proposal, value: None, idempotency }
}

/// A call is allowed as it is, with other arguments, with others like it, or not.
pub(crate) fn answer(random: &mut Random, agent: AgentId, approval: ApprovalId, context: AskContext) -> Command {
    let command = match random.below(10) {
        0..=2 => agent::Command::Reject { approval, reason: Some("not now".into()) },
        more => {
            let edited = (more == 3).then(|| {
                let arguments = serde_json::json!({"command": "true"});
                let attributes = capability::find("process.run").map(|known| known.attributes(&arguments));
                let attributes = call::attributes_json(&attributes.unwrap_or_default());
                call::Proposal {
                    capability: "process.run".to_string(),
                    arguments: payload(random, arguments.to_string()),
                    attributes: payload(random, attributes.expect("invariant: they are small")),
                    misfit: None,
                }
            });
            let grant = match random.below(6) {
                0 => Some(Scope::Until { at: context.at.plus_ms(1 + random.below(60_000)) }),
                1 => Some(Scope::Calls { left: 1 + u32::try_from(random.below(3)).unwrap_or(0) }),
                2 => Some(Scope::Execution { id: ExecutionId::mint(&mut mint(random, context.at)) }),
                _ => None,
            };
            agent::Command::Approve(agent::Approve { approval, note: None, edited, grant })
        }
    };
    Command::Agent(agent, command)
}

/// Times that come within a run, by the passing of time or by a step of the clock.
const TIMES: [(&str, &str); 4] =
    [("*/5 * * * *", "UTC"), ("7,37 * * * *", "Europe/Berlin"), ("30 2 * * *", "America/New_York"), ("@daily", "UTC")];

/// What wakes an agent; most are woken by nothing.
fn schedule(random: &mut Random) -> Option<Schedule> {
    let (cron, timezone) = random.pick(&TIMES).copied().filter(|_| random.chance(400))?;
    let overlap = *random.pick(&[Overlap::Skip, Overlap::Queue, Overlap::Replace])?;
    let missed = *random.pick(&[Missed::RunOnce, Missed::Skip])?;
    let jitter_ms = random.below(2) * 90_000;
    Some(Schedule { cron: cron.into(), timezone: timezone.into(), jitter_ms, overlap, missed })
}

/// Short and small, so that it comes to something.
fn retention(random: &mut Random) -> Retention {
    let age_ms = random.chance(500).then(|| AGE_MS_MIN + random.below(120_000));
    Retention { age_ms, bytes: random.chance(500).then(|| random.below(4_000)) }
}

fn plan(validators: &str, unlimited: bool, is_program: bool) -> Plan {
    let runtime = if is_program { "\n  runtime: {kind: command, command: [clerk]}" } else { "" };
    let text = format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: clerk}}\nspec:\n  task: {{instruction: x}}\n  \
         triggers: [comms]\n  execution: {{validation: [{validators}]}}{runtime}\n"
    );
    let mut plan = Plan::compile(&Manifest::parse(&text).expect("invariant: the manifest is written here"));
    plan.limits = LIMITS;
    plan.concurrency = CONCURRENCY;
    if unlimited {
        (plan.limits.max_turns, plan.limits.tool_calls) = (1_000, 1_000);
    }
    plan.tools =
        ["filesystem.*", "process.run", "state.*", "agent.*", "comms.*", "scheduler.*", "alerts.*", "system.*"]
            .map(str::to_string)
            .to_vec();
    // Chains of messages end soon.
    plan.comms.hop_limit = 2;
    plan
}

impl People {
    /// The next wish; none where there is nobody to wish it of.
    pub fn ask(&mut self, random: &mut Random, context: AskContext) -> Option<Command> {
        if let Some((agent, approval)) = context.asked.filter(|_| random.chance(200)) {
            return Some(answer(random, agent, approval, context));
        }
        match random.below(50) {
            0..=22 => Some(self.start(random, context)),
            23 if random.chance(300) => {
                let (id, _) = *random.pick(&self.sessions)?;
                Some(Command::Session(id, session::Command::Erase { reason: "it is private".into() }))
            }
            23..=25 => {
                let id = *random.pick(&self.executions)?;
                let command = match random.chance(300) {
                    true => execution::Command::Erase { reason: "it is private".into() },
                    false => execution::Command::Cancel { why: "enough".into() },
                };
                Some(Command::Execution(id, command))
            }
            26..=28 => Some(self.deploy(random, context)),
            29 => {
                let id = *random.pick(&self.agents)?;
                Some(Command::Agent(id, agent::Command::Delete { home_grace_ms: random.below(600_000) }))
            }
            30..=32 => Some(self.keys(random, context)),
            33..=35 => self.supervise(random, context),
            36 | 37 => self.keep(random, context),
            38 | 39 => self.look_after_dead_letters(random, context),
            _ => self.connect(random, context),
        }
    }

    /// Who sends it: what is a session's comes from its agent.
    pub fn actor(&self, command: &Command) -> Actor {
        match command {
            Command::Session(_, session::Command::Open { agent, .. }) => Actor::Agent(*agent),
            Command::Session(id, _) => {
                let known = self.sessions.iter().find(|(known, _)| known == id);
                known.map_or(OWNER, |(_, agent)| Actor::Agent(*agent))
            }
            _ => OWNER,
        }
    }

    /// Agents are held back for a while, or for good.
    fn supervise(&mut self, random: &mut Random, context: AskContext) -> Option<Command> {
        if let Some((id, grant)) = random.pick(&self.grants).copied().filter(|_| random.chance(600)) {
            return Some(Command::Agent(id, agent::Command::RevokeGrant { grant }));
        }
        let id = *random.pick(&self.agents)?;
        let command = match random.below(20) {
            0..=7 => agent::Command::Pause { note: None, until: Some(context.at.plus_ms(1 + random.below(120_000))) },
            8..=14 => agent::Command::Resume { note: None },
            15 => {
                let severity = *random.pick(&[Severity::Low, Severity::High]).unwrap_or(&Severity::Low);
                agent::Command::Quarantine { cause: Cause::Manual, severity, description: "it looks odd".into() }
            }
            16..=18 => agent::Command::Recover { note: None },
            _ => agent::Command::Revoke { note: Some("enough".into()) },
        };
        Some(Command::Agent(id, command))
    }

    /// They write what must be answered soon, and look after what was not.
    fn look_after_dead_letters(&mut self, random: &mut Random, context: AskContext) -> Option<Command> {
        let late = random.pick(&self.posted).copied().filter(|_| random.chance(600));
        let Some((id, message)) = late else {
            let id = *random.pick(&self.agents)?;
            let deadline = Some(context.at.plus_ms(1 + random.below(2_000)));
            let body = payload(random, "\"x\"");
            let post = agent::Post { body, priority: Priority::Normal, correlation: None, deadline, idempotency: None };
            return Some(Command::Agent(id, agent::Command::Post(post)));
        };
        let command = match random.below(2) {
            0 => agent::Command::ResendMessage { message },
            _ => agent::Command::DropMessage { message },
        };
        Some(Command::Agent(id, command))
    }

    /// People keep values for agents, take them away, and rule who may have what.
    fn keep(&mut self, random: &mut Random, context: AskContext) -> Option<Command> {
        let id = *random.pick(&self.agents)?;
        let key = format!("k{}", random.below(4));
        let expected = random.chance(500).then(|| random.below(3));
        let value = random.below(4).to_string();
        let write = state::Write {
            key: key.clone(),
            value: payload(random, value),
            expected,
            ttl_ms: random.chance(300).then(|| 1 + random.below(60_000)),
        };
        let quota = random.below(3) * 1_000;
        let write_by = state::Access::Agents([id].into());
        let acl = state::Acl { prefix: "k".into(), read: state::Access::Everyone, write: write_by };
        let of_project = |command| Command::Project(context.project, command);
        Some(match random.below(16) {
            0 | 1 => Command::Agent(id, agent::Command::SetState(write)),
            2 => Command::Agent(id, agent::Command::RestoreState { values: vec![write] }),
            3 => Command::Agent(id, agent::Command::DeleteState { key, expected }),
            4 => Command::Agent(id, agent::Command::SetStateQuota { quota }),
            5 => of_project(project::Command::SetShared(write)),
            6 => of_project(project::Command::DeleteShared { key, expected }),
            7 => of_project(project::Command::SetSharedQuota { quota: quota * 100 }),
            8 | 9 => of_project(project::Command::SetAcl(acl)),
            12 | 13 => of_project(project::Command::SetRetention { retention: retention(random) }),
            _ => of_project(project::Command::RemoveAcl { prefix: acl.prefix }),
        })
    }

    /// Nobody is held back any more.
    pub fn resumes(&self) -> Vec<Command> {
        self.agents.iter().map(|id| Command::Agent(*id, agent::Command::Resume { note: None })).collect()
    }

    /// What agents that are connected from outside do, and people with their keys.
    fn connect(&mut self, random: &mut Random, context: AskContext) -> Option<Command> {
        match random.below(17) {
            0 | 1 => {
                let agent = *random.pick(&self.agents)?;
                let overlap_ms = if random.chance(500) { 0 } else { random.below(600_000) };
                let hash = Hash::of(&random.seed().to_le_bytes());
                Some(Command::Agent(agent, agent::Command::RotateKey { hash, overlap_ms }))
            }
            2..=4 => {
                let (agent, key) = *random.pick(&self.agent_keys)?;
                let id = SessionId::mint(&mut mint(random, context.at));
                Some(Command::Session(id, session::Command::Open { agent, key }))
            }
            5 => {
                let (id, _) = *random.pick(&self.sessions)?;
                Some(Command::Session(id, session::Command::Close {}))
            }
            6 => {
                let id = *random.pick(&self.agents)?;
                let priority = *random.pick(&[Priority::High, Priority::Normal, Priority::Low])?;
                let deadline = random.chance(300).then(|| context.at.plus_ms(1 + random.below(60_000)));
                let post = agent::Post {
                    body: payload(random, "\"x\""),
                    priority,
                    correlation: None,
                    deadline,
                    idempotency: None,
                };
                Some(Command::Agent(id, agent::Command::Post(post)))
            }
            7 => Some(Command::Agent(*random.pick(&self.agents)?, agent::Command::Kill { note: None })),
            8 => {
                let newest = self.calls.len().saturating_sub(6);
                let (id, call) = *random.pick(&self.calls[newest..])?;
                Some(Command::Session(id, session::Command::CancelCall { call }))
            }
            _ => {
                let (id, agent) = *random.pick(&self.sessions)?;
                let (_, key) = *self.agent_keys.iter().rev().find(|(owner, _)| *owner == agent)?;
                Some(Command::Session(id, session::Command::Invoke(invocation(random, key))))
            }
        }
    }

    pub fn deploy(&mut self, random: &mut Random, context: AskContext) -> Command {
        let name = random.pick(&NAMES).copied().unwrap_or("clerk");
        if random.chance(800) {
            self.files += 1;
        }
        let file = format!("{name} {}", self.files);
        let validators: Vec<&str> = (0..random.index(3)).filter_map(|_| random.pick(&VALIDATORS).copied()).collect();
        let retention = if random.chance(300) { retention(random) } else { Retention::default() };
        let plan = plan(&validators.join(", "), context.unlimited, random.chance(150));
        let plan = Plan { schedule: schedule(random), retention, ..plan };
        let expect = match random.below(8) {
            0 => agent::Expectation::New,
            1 => agent::Expectation::Revision(u32::try_from(random.below(3)).unwrap_or(0)),
            _ => agent::Expectation::Any,
        };
        let deployment = agent::Deployment {
            name: name.to_string(),
            listed: agent::Listed {
                version: None,
                labels: vec![("team".into(), "a".into())],
                provides: Vec::new(),
                runtime: "native".into(),
                model: "default".into(),
            },
            digest: Hash::of(file.as_bytes()),
            key: None,
            manifest: payload(random, file),
            plan: payload(random, plan.to_bytes()),
            schedule: plan.schedule.clone(),
            triggers: plan.triggers.clone(),
            retention: plan.retention,
            expect,
            repeats: None,
        };
        let fresh = AgentId::mint(&mut mint(random, context.at));
        Command::Agent(fresh, agent::Command::Deploy(deployment))
    }

    fn start(&mut self, random: &mut Random, context: AskContext) -> Command {
        let unknown = AgentId::mint(&mut mint(random, context.at));
        let known = random.pick(&self.agents).copied().filter(|_| self.executions.len() < EXECUTIONS_MAX);
        let agent = known.unwrap_or(unknown);
        let idempotency = random.chance(400).then(|| Hash::of(&[u8::try_from(random.below(6)).unwrap_or(0)]));
        let max_iterations = match random.below(10) {
            0 => Some(0),
            1 => Some(1),
            _ => None,
        };
        let revision = random.chance(100).then(|| u32::try_from(random.below(3)).unwrap_or(0));
        let id = ExecutionId::mint(&mut mint(random, context.at));
        let start = Start {
            agent,
            revision,
            input: payload(random, "\"go\""),
            max_iterations,
            idempotency,
            trigger: execution::Trigger::Manual,
        };
        Command::Execution(id, execution::Command::Start(start))
    }

    /// Small enough to be used up now and then.
    fn limit(&self, random: &mut Random, context: AskContext) -> Command {
        let measure = if random.chance(500) { Measure::Tokens } else { Measure::Money };
        let period = if random.chance(500) { Period::Day } else { Period::Month };
        let most = if measure == Measure::Tokens { 40_000 } else { 2_000 };
        let limit = random.chance(800).then(|| 1 + random.below(most));
        let lines = vec![Line { measure, period, limit }];
        match random.pick(&self.agents).copied().filter(|_| random.chance(700)) {
            Some(agent) => Command::Agent(agent, agent::Command::SetBudget { lines }),
            None => Command::Project(context.project, project::Command::SetBudget { lines }),
        }
    }

    fn keys(&mut self, random: &mut Random, context: AskContext) -> Command {
        if random.chance(350) {
            return self.limit(random, context);
        }
        let command = match random.pick(&self.keys).copied().filter(|_| random.chance(400)) {
            Some(key) => project::Command::RevokeKey { key },
            None => {
                let name = format!("key-{}", random.below(4));
                let hash = Hash::of(&random.seed().to_le_bytes());
                project::Command::CreateKey { name, role: Role::Viewer, hash }
            }
        };
        Command::Project(context.project, command)
    }

    /// What they learn of an answer. `key`: by which they asked.
    ///
    /// # Errors
    /// An execution that was never started by that key.
    pub fn hear(&mut self, key: Option<(AgentId, Hash)>, reply: &Reply, audit: &Audit) -> Checked {
        match reply {
            Reply::Committed(committed) => {
                for (stream, event) in &committed.decision.events {
                    self.learn(*stream, event);
                }
                Ok(())
            }
            Reply::Refused(Refusal::Execution(execution::Refusal::Repeated { execution })) => {
                let first = key.and_then(|(agent, key)| audit.started_by(agent, key));
                if first == Some(*execution) {
                    return Ok(());
                }
                broken(Rule::Idempotency, format!("{execution} is named for a key that started {first:?}"))
            }
            Reply::Refused(_) | Reply::Failed => Ok(()),
        }
    }

    fn learn(&mut self, stream: Stream, event: &Event) {
        match (stream, event) {
            (Stream::Execution(id), Event::Execution(execution::Event::Started { .. })) => self.executions.push(id),
            (_, Event::Agent(agent::Event::Created(deployed))) => self.agents.push(deployed.agent),
            (Stream::Agent(id), Event::Agent(agent::Event::KeyCreated { key, .. })) => self.agent_keys.push((id, *key)),
            (Stream::Session(id), Event::Session(session::Event::Opened { agent, .. })) => {
                self.sessions.push((id, *agent));
            }
            (Stream::Agent(id), Event::Agent(agent::Event::MessageQueued { envelope, .. })) => {
                self.posted.push((id, envelope.message));
            }
            (Stream::Agent(id), Event::Agent(agent::Event::GrantGiven { grant, .. })) => {
                self.grants.push((id, grant.id))
            }
            (Stream::Session(id), Event::Session(session::Event::Invoked { call, .. })) => {
                self.calls.push((id, call.call));
            }
            (_, Event::Project(project::Event::KeyCreated { key, .. })) => self.keys.push(*key),
            _ => {}
        }
    }
}
