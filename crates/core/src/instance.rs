//! An instance: the program of a code agent, kept running. It owns a session, and so a jail, one after another; what the program is
//! asked are calls of that session, each recorded before it is asked. Every step is one decision, so that whatever is killed between
//! two of them, the next start goes on from the fold.
//!
//! ```text
//! due ──begin──> starting: run + init ──> start ──> ready ⇄ a message, a health check
//!  ▲                │ program ends, a hook fails      │ program ends           │ stop
//!  └── back-off ────┴──────── crashed ────────────────┘                    stopping ──> stopped
//!        └─ more than `max_crashes` in the window: its agent is in quarantine, and it is stopped
//! ```
//! A program that is lost with its worker or its daemon has not crashed: it is started again at once. Must never: let a message
//! through before `start` was answered, or keep a program for an agent that nothing may run of.
mod begin;
mod over;
mod rows;
mod rules;
mod task;

pub use over::Over;
pub(crate) use over::{hook_over, session_over, shut};
pub use rows::InstanceRow;
pub use rules::Rules;
pub(crate) use task::{ask, take_back, tell, want};

use crate::actor::Actor;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::bound::{Hash, Payload};
use crate::capability::hook::Hook;
use crate::draft::{Draft, Stop, refuse};
use crate::id::{AgentId, CallId, ExecutionId, InstanceId, SessionId};
use crate::owed::{Obligation, Owed};
use crate::row::Row;
use crate::time::{Due, Run, Stamp, Time};
use serde::{Deserialize, Serialize};

/// How often a program that is ready is asked for its health.
pub const HEALTH_EVERY_MS: u64 = 5 * 60 * 1000;
/// Messages that a program may have at a time, whatever its manifest lets run.
pub const MESSAGES_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub agent: AgentId,
    pub agent_name: String,
    pub created_at: Time,
    /// Of the program that runs, or ran last; 0 before the first.
    pub revision: u32,
    pub rules: Rules,
    /// Programs that it has had.
    pub starts: u32,
    /// The session of the last of them, whose jail must be gone before another program is in the same work folder.
    pub last: Option<SessionId>,
    /// When the last ones crashed, as far as they count.
    pub crashes: Vec<Run>,
    /// The call that told of the last of them.
    pub crashed_by: Option<CallId>,
    /// Programs in a row that were lost before a first health check.
    pub losses: u32,
    /// What the program has been told and not answered, oldest first.
    pub messages: Vec<Message>,
    pub phase: Phase,
}

/// The task of an execution, which is the program's at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub execution: ExecutionId,
    pub call: CallId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Phase {
    /// No program runs; one is to be started then.
    Due {
        at: Run,
    },
    /// The program is asked this hook, before it is told of any message.
    Starting {
        program: Program,
        hook: CallId,
        stage: Stage,
    },
    Ready {
        program: Program,
        since: Time,
        next_check: Run,
        check: Check,
        health: Option<Health>,
    },
    /// It is told to end.
    Stopping {
        program: Program,
        hook: Option<CallId>,
        why: Why,
    },
    Stopped {
        at: Time,
        why: Why,
    },
}

/// The one in the jail of this session, and the call that lives as long as it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub session: SessionId,
    pub run: CallId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Init,
    Start,
}

/// The health hook: not asked, asked by this call, or answered by it and to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Check {
    None,
    Asked { call: CallId },
    Answered { call: CallId },
}

/// Seed 003, `HealthStatus.status`; a program that has no such hook is as healthy as the kernel says.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr, strum::EnumIter,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Condition {
    Healthy,
    Warning,
    Critical,
}

impl Condition {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What the last health check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub condition: Condition,
    pub memory_bytes: u64,
    pub cpu_ms: u64,
    pub processes: u32,
    pub uptime_ms: u64,
    /// Kinds of errors that the program itself counts, at most 256 bytes in all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub errors: String,
    /// The call that asked, whose result says more.
    pub call: CallId,
}

/// Why it is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    Asked {
        by: Actor,
    },
    /// It crashed, and its manifest wants no restart.
    Crashed,
    Quarantined,
    Killed,
    Revoked,
    Deleted,
    /// The plan of its revision cannot be read any more, or names no program.
    PlanLost,
    /// A rule forbids its hooks.
    Forbidden,
    /// Another revision takes its place: it is started as that.
    Renewed,
}

impl Why {
    /// Only a person starts it again.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Why::Asked { .. } | Why::Crashed | Why::Forbidden | Why::PlanLost => true,
            Why::Quarantined | Why::Killed | Why::Revoked | Why::Deleted | Why::Renewed => false,
        }
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            Why::Asked { .. } => "asked",
            Why::Crashed => "crashed",
            Why::Quarantined => "quarantined",
            Why::Killed => "killed",
            Why::Revoked => "revoked",
            Why::Deleted => "deleted",
            Why::PlanLost => "plan_lost",
            Why::Forbidden => "forbidden",
            Why::Renewed => "renewed",
        }
    }
}

verbs! {
    pub enum Command {
        /// Addressed to a fresh id, where the agent has none that lives.
        "instance.start" => Start { agent: AgentId },
        /// By the reconciler: the program is due.
        "instance.begin" => Begin {},
        /// By the reconciler: an execution of a later revision waits, and nothing is in hand.
        "instance.renew" => Renew {},
        "instance.stop" ends => Stop {},
        /// By the reconciler, or a person: the program is asked for its health now.
        "instance.check" => Check {},
        /// By the reconciler: what the health hook gave.
        "instance.report_health" => ReportHealth { health: Health },
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Start { .. }
            | Command::Begin {}
            | Command::Renew {}
            | Command::Stop {}
            | Command::Check {}
            | Command::ReportHealth { .. } => Vec::new(),
        }
    }
}

events! {
    pub enum Event {
        "instance.created" => Created { agent: AgentId, agent_name: String, by: Actor },
        /// A program is started, in a session of its own.
        "instance.starting" => Starting {
            revision: u32,
            rules: Rules,
            session: SessionId,
            run: CallId,
            init: CallId,
        },
        /// `start`, `health` or `shutdown`.
        "instance.hook_asked" => HookAsked { hook: HookName, call: CallId },
        /// `start` was answered: it says what it provides, and may be told of messages.
        "instance.ready" => Ready {
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            provides: Vec<String>,
        },
        "instance.told" => Told { message: Message },
        "instance.message_over" => MessageOver { call: CallId },
        "instance.check_over" => CheckOver { call: CallId, answered: bool },
        "instance.checked" => Checked { health: Health },
        /// `outcome`: of the call that says so; `restart_at`: when another is started, if one is.
        "instance.crashed" => Crashed {
            session: SessionId,
            hook: HookName,
            call: CallId,
            outcome: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            restart_at: Option<Run>,
        },
        /// With its worker or its daemon.
        "instance.lost" => Lost { session: SessionId, restart_at: Run },
        /// The program of an earlier revision has ended, and another is started.
        "instance.renewed" => Renewed {},
        "instance.stopping" => Stopping { #[serde(flatten)] why: Why },
        "instance.stopped" => Stopped { #[serde(flatten)] why: Why },
    }
}

/// A hook as events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookName(pub Hook);

impl Serialize for HookName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for HookName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<HookName, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        word.parse().map(HookName).map_err(serde::de::Error::custom)
    }
}

refusals! {
    pub enum Refusal {
        "instance.unknown" => Unknown {},
        /// The agent's program is there already.
        "instance.running" quiet => Running { instance: InstanceId },
        /// The agent is no program of its own.
        "instance.no_program" => NoProgram {},
        "instance.already_stopped" quiet => Stopped {},
        "instance.not_due" quiet => NotDue {},
        "instance.not_ready" => NotReady {},
        "instance.stale" => Stale {},
    }
}

pub(super) fn no(refusal: Refusal) -> Stop {
    refuse::<Instance>(refusal)
}

impl Instance {
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Stopped { .. })
    }

    pub fn program(&self) -> Option<Program> {
        match &self.phase {
            Phase::Starting { program, .. } | Phase::Ready { program, .. } | Phase::Stopping { program, .. } => {
                Some(*program)
            }
            Phase::Due { .. } | Phase::Stopped { .. } => None,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }
}

impl Aggregate for Instance {
    type Id = InstanceId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: InstanceId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        match command {
            Command::Start { agent } => begin::start(id, draft, agent),
            Command::Begin {} => begin::begin(id, draft),
            Command::Renew {} => over::renew(id, draft),
            Command::Stop {} => over::stop(id, draft),
            Command::Check {} => begin::check(id, draft),
            Command::ReportHealth { health } => begin::report(id, draft, health),
        }
    }

    fn apply(fold: &mut Option<Instance>, event: &Event, stamp: Stamp) {
        if let Event::Created { agent, agent_name, .. } = event {
            *fold = Some(Instance {
                agent: *agent,
                agent_name: agent_name.clone(),
                created_at: stamp.at,
                revision: 0,
                rules: Rules::default(),
                starts: 0,
                last: None,
                crashes: Vec::new(),
                crashed_by: None,
                losses: 0,
                messages: Vec::new(),
                phase: Phase::Due { at: stamp.run },
            });
        }
        let Some(instance) = fold else { return };
        over::apply(instance, event, stamp);
    }

    fn binds(_: &Event, _: &mut dyn FnMut(&Hash)) {}

    fn state_rows(id: InstanceId, before: Option<&Instance>, after: &Instance) -> Vec<Row> {
        let row = after.row(id);
        let is_new = before.is_none_or(|before| before.row(id) != row);
        is_new.then(|| Row::Instance(Box::new(row))).into_iter().collect()
    }

    fn owed(&self) -> Vec<Owed> {
        let (obligation, due) = match &self.phase {
            Phase::Due { at } => (Obligation::StartProgram, *at),
            Phase::Ready { check: Check::None, next_check, .. } => {
                (Obligation::CheckHealth { call: None }, *next_check)
            }
            Phase::Ready { check: Check::Answered { call }, .. } => {
                return vec![Owed { obligation: Obligation::CheckHealth { call: Some(*call) }, due: Due::AT_ONCE }];
            }
            Phase::Ready { check: Check::Asked { .. }, .. }
            | Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Stopped { .. } => return Vec::new(),
        };
        vec![Owed { obligation, due: Due::Run(due) }]
    }
}
