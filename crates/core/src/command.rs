//! The one entrance: `reads` says what a decision needs, `decide` makes it. No clock, no randomness, no IO.
use crate::actor::Actor;
use crate::bound::Payload;
use crate::fold::{Event, Fold, Stream};
use crate::id::{AgentId, ExecutionId, Mint};
use crate::judge::Judge;
use crate::time::Time;
use crate::{agent, execution, fleet, project};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A change that somebody wants, addressed to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Project(project::Command),
    Agent(AgentId, agent::Command),
    Execution(ExecutionId, execution::Command),
    Worker(crate::id::WorkerId, fleet::Command),
}

impl Command {
    pub fn stream(&self) -> Stream {
        match self {
            Command::Project(_) => Stream::Project,
            Command::Agent(id, _) => Stream::Agent(*id),
            Command::Execution(id, _) => Stream::Execution(*id),
            Command::Worker(id, _) => Stream::Worker(*id),
        }
    }

    /// The bytes that its events would bind.
    pub fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Agent(_, agent::Command::Deploy(deployment)) => vec![&deployment.manifest],
            Command::Execution(_, command) => command.payloads(),
            Command::Agent(_, agent::Command::Delete | agent::Command::FinishDelete)
            | Command::Project(_)
            | Command::Worker(..) => Vec::new(),
        }
    }

    /// Its imperative, for refusals and logs.
    pub fn verb(&self) -> &'static str {
        match self {
            Command::Project(command) => match command {
                project::Command::Found { .. } => "project.found",
                project::Command::RecordStart { .. } => "daemon.start",
                project::Command::AcceptRestore { .. } => "restore.accept",
                project::Command::CreateKey { .. } => "key.create",
                project::Command::RevokeKey { .. } => "key.revoke",
            },
            Command::Agent(_, command) => match command {
                agent::Command::Deploy(_) => "agent.deploy",
                agent::Command::Delete => "agent.delete",
                agent::Command::FinishDelete => "agent.archive",
            },
            Command::Execution(_, command) => match command {
                execution::Command::Start(_) => "execution.start",
                execution::Command::Cancel { .. } => "execution.cancel",
                execution::Command::Bind { .. } => "iteration.bind",
                execution::Command::Unbind { .. } => "iteration.unbind",
                execution::Command::LoseJail { .. } => "jail.lose",
                execution::Command::Release { .. } => "iteration.release",
                execution::Command::RefuseNetwork { .. } => "network.refuse",
                execution::Command::CallModel(_) => "model.call",
                execution::Command::AnswerModel { .. } => "model.answer",
                execution::Command::FailModel { .. } => "model.fail",
                execution::Command::LoseModel { .. } => "model.lose",
                execution::Command::EndCall(_) => "call.end",
                execution::Command::Check { .. } => "iteration.check",
                execution::Command::Validate { .. } => "iteration.validate",
                execution::Command::Expire => "execution.expire",
            },
            Command::Worker(_, command) => match command {
                fleet::Command::Register { .. } => "worker.register",
                fleet::Command::OpenSession { .. } => "session.open",
                fleet::Command::LapseSession { .. } => "session.lapse",
                fleet::Command::FinishSweep { .. } => "session.sweep",
            },
        }
    }
}

/// One thing that a decision needs to see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    Fold(Stream),
    /// Which agent holds this name, archived ones included; compared without regard to case.
    AgentNamed(String),
    /// Executions of the agent that have not ended.
    OpenExecutions(AgentId),
    /// Executions bound to the present session of this worker.
    BoundTo(crate::id::SessionId),
    /// The execution that an idempotency key started.
    Twin(AgentId, crate::bound::Hash),
}

/// What was read for one command.
#[derive(Debug, Default)]
pub struct View {
    pub folds: BTreeMap<Stream, Fold>,
    pub agent_named: Option<AgentId>,
    pub open_executions: u64,
    pub bound: u64,
    pub twin: Option<ExecutionId>,
}

impl View {
    pub fn fold(&self, stream: Stream) -> Option<&Fold> {
        self.folds.get(&stream)
    }
}

/// The second round of reading; the first is always the command's own stream.
pub fn reads(command: &Command) -> Vec<Read> {
    match command {
        Command::Project(_) => Vec::new(),
        Command::Agent(id, command) => match command {
            agent::Command::Deploy(deployment) => vec![Read::AgentNamed(deployment.name.clone())],
            agent::Command::Delete | agent::Command::FinishDelete => vec![Read::OpenExecutions(*id)],
        },
        Command::Execution(_, command) => {
            let mut reads: Vec<Read> = pointed(command).map(Read::Fold).into_iter().collect();
            if let execution::Command::Start(start) = command {
                reads.extend(start.idempotency.map(|key| Read::Twin(start.agent, key)));
            }
            if let execution::Command::Bind { session, .. } = command {
                reads.push(Read::BoundTo(*session));
            }
            reads
        }
        Command::Worker(..) => Vec::new(),
    }
}

/// Why a command changed nothing. Said to the caller, and recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Project(project::Misstep),
    Agent(agent::Misstep),
    Execution(execution::Misstep),
    Worker(fleet::Misstep),
}

/// The event that a refused command of an authenticated actor leaves; `repeats` more came within the minute before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub verb: String,
    pub code: String,
    pub repeats: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    pub events: Vec<(Stream, Event)>,
    pub payloads: Vec<Payload>,
}

/// # Errors
/// A refusal: the command does not fit the state; nothing changes.
pub fn decide(
    view: &View,
    actor: Actor,
    command: Command,
    judge: &dyn Judge,
    now: Time,
    seed: u128,
) -> Result<Decision, Refusal> {
    let mut mint = Mint::new(now, seed);
    let stream = command.stream();
    let own = view.fold(stream);
    let (events, payloads): (Vec<Event>, Vec<Payload>) = match command {
        Command::Project(command) => {
            let events = project::decide(own.and_then(Fold::project), &command, &mut mint).map_err(Refusal::Project)?;
            (events.into_iter().map(Event::Project).collect(), Vec::new())
        }
        Command::Agent(id, command) => {
            let around = agent::Around { holder: view.agent_named, open_executions: view.open_executions };
            let events = agent::decide(own.and_then(Fold::agent), id, &command, around).map_err(Refusal::Agent)?;
            let payloads = match command {
                agent::Command::Deploy(deployment) => vec![deployment.manifest],
                agent::Command::Delete | agent::Command::FinishDelete => Vec::new(),
            };
            (events.into_iter().map(Event::Agent).collect(), payloads)
        }
        Command::Execution(_, command) => {
            let around = around(view, &command);
            let own = own.and_then(Fold::execution);
            let (events, payloads) =
                execution::decide(own, actor, command, around, judge, now, &mut mint).map_err(Refusal::Execution)?;
            (events.into_iter().map(Event::Execution).collect(), payloads)
        }
        Command::Worker(_, command) => {
            let events = fleet::decide(own.and_then(Fold::worker), &command, &mut mint).map_err(Refusal::Worker)?;
            (events.into_iter().map(Event::Worker).collect(), Vec::new())
        }
    };
    Ok(Decision { events: events.into_iter().map(|event| (stream, event)).collect(), payloads })
}

/// The other stream that a command on an execution is decided by.
fn pointed(command: &execution::Command) -> Option<Stream> {
    match command {
        execution::Command::Start(start) => Some(Stream::Agent(start.agent)),
        execution::Command::Bind { worker, .. } => Some(Stream::Worker(*worker)),
        execution::Command::Cancel { .. }
        | execution::Command::Unbind { .. }
        | execution::Command::LoseJail { .. }
        | execution::Command::Release { .. }
        | execution::Command::RefuseNetwork { .. }
        | execution::Command::CallModel(_)
        | execution::Command::AnswerModel { .. }
        | execution::Command::FailModel { .. }
        | execution::Command::LoseModel { .. }
        | execution::Command::EndCall(_)
        | execution::Command::Check { .. }
        | execution::Command::Validate { .. }
        | execution::Command::Expire => None,
    }
}

fn around<'a>(view: &'a View, command: &execution::Command) -> execution::Around<'a> {
    let fold = pointed(command).and_then(|stream| view.fold(stream));
    execution::Around {
        agent: fold.and_then(Fold::agent),
        worker: fold.and_then(Fold::worker),
        bound: view.bound,
        twin: view.twin,
    }
}
