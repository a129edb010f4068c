//! What watchers of everything are sent: one line of the ledger, in the words of lists. Shapes only.
use serde::{Deserialize, Serialize};
use tenure_core::aggregate::{Event, Stream};
use tenure_core::execution::{self, Ending};
use tenure_core::id::{AgentId, CallId, ExecutionId, SessionId};
use tenure_core::retention::Why;
use tenure_core::time::Stamp;
use tenure_core::{agent, approval, call, instance, project, session, state};

use super::execution::{Target, cause_from_one};
use super::moment::Moment;

/// One committed event of an agent, of one of its executions or of one of its sessions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WatchEvent {
    /// Its place in the ledger; a stream is resumed after it.
    pub index: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub agent: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub execution: Option<ExecutionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub session: Option<SessionId>,
    /// As in the ledger: `call.called`, `session.opened`, `agent.paused`…
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub call: Option<CallId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    #[serde(flatten)]
    pub target: Target,
    /// The rules that let a call through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// How a call, an execution or a session ended, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

impl WatchEvent {
    /// None for what is of no agent (but for shared values), and for what stands a second time in an agent's own stream. The agent of an execution's or
    /// session's event is not in it; whoever reads the store puts it in.
    pub fn of(index: u64, stamp: Stamp, stream: Stream, event: &Event) -> Option<WatchEvent> {
        let told = WatchEvent { index, at: Moment(stamp.at), kind: event.kind().to_string(), ..WatchEvent::default() };
        match (stream, event) {
            (Stream::Agent(id), Event::Agent(event)) => of_agent(WatchEvent { agent: Some(id), ..told }, event),
            (Stream::Execution(id), Event::Execution(event)) => {
                Some(of_execution(WatchEvent { execution: Some(id), ..told }, event))
            }
            (Stream::Project(_), Event::Project(event)) => of_project(told, event),
            (Stream::Session(id), Event::Session(event)) => {
                Some(of_session(WatchEvent { session: Some(id), ..told }, event))
            }
            (Stream::Instance(_), Event::Instance(event)) => Some(of_instance(told, event)),
            _ => None,
        }
    }

    fn called(self, called: &call::Called) -> WatchEvent {
        WatchEvent {
            call: Some(called.call),
            capability: Some(called.capability.clone()),
            target: called.shown.clone().into(),
            rules: called.judgement.rules.clone(),
            ..self
        }
    }

    fn blocked(self, call: CallId, capability: &str, blocked: &call::Blocked) -> WatchEvent {
        WatchEvent {
            call: Some(call),
            capability: Some(capability.to_string()),
            outcome: Some("blocked".to_string()),
            detail: Some(blocked.to_string()),
            ..self
        }
    }

    fn recalled(self, recalled: &call::Recalled) -> WatchEvent {
        WatchEvent {
            call: Some(recalled.call),
            capability: Some(recalled.capability.clone()),
            detail: Some(recalled.to_string()),
            ..self
        }
    }

    fn ended(self, ended: &call::Ended) -> WatchEvent {
        let detail = match &ended.outcome {
            call::Outcome::Failed { code } => Some(code.clone()),
            call::Outcome::ResourceExhausted { resource, .. } => Some(resource.clone()),
            call::Outcome::Done { exit_code: Some(code) } => Some(format!("exit code {code}")),
            call::Outcome::Redirected { path } => Some(path.clone()),
            call::Outcome::Done { exit_code: None }
            | call::Outcome::TimedOut
            | call::Outcome::Killed
            | call::Outcome::Lost { .. } => None,
        };
        let outcome = Some(ended.outcome.as_str().to_string());
        WatchEvent { call: Some(ended.call), outcome, detail, took_ms: Some(ended.took_ms), ..self }
    }

    fn held(self, held: &approval::Held) -> WatchEvent {
        WatchEvent {
            call: Some(held.call),
            capability: Some(held.capability.clone()),
            target: held.shown.clone().into(),
            ..self.told(format!("a person must allow it: {}", held.approval))
        }
    }

    fn allowed(self, allowed: &approval::Allowed) -> WatchEvent {
        let more = if allowed.complete { "" } else { "; another person must allow it too" };
        let edited = if allowed.edited.is_some() { ", with other arguments" } else { "" };
        WatchEvent { call: Some(allowed.call), ..self.told(format!("by {}{edited}{more}", allowed.by)) }
    }

    fn set(self, set: &state::Set) -> WatchEvent {
        let target = Target { key: Some(set.key.clone()), bytes: Some(set.value.size), ..Target::default() };
        WatchEvent { target, ..self.told(format!("version {}, by {}", set.version, set.by)) }
    }

    fn unset(self, ended: &state::Ended) -> WatchEvent {
        let by = match ended.by {
            state::EndedBy::Actor { by } => format!(", by {by}"),
            state::EndedBy::Expiry { .. } => String::new(),
        };
        let target = Target { key: Some(ended.key.clone()), ..Target::default() };
        WatchEvent { target, ..self.told(format!("version {}{by}", ended.version)) }
    }

    fn told(self, detail: impl Into<String>) -> WatchEvent {
        WatchEvent { detail: Some(detail.into()), ..self }
    }
}

/// What becomes of shared values; the rest of a project's stream is for the audit.
fn of_project(told: WatchEvent, event: &project::Event) -> Option<WatchEvent> {
    use project::Event as E;
    if let E::StateSet(set) = event {
        return Some(told.set(set));
    }
    if let E::StateDeleted(ended) | E::StateExpired(ended) = event {
        return Some(told.unset(ended));
    }
    None
}

fn of_agent(told: WatchEvent, event: &agent::Event) -> Option<WatchEvent> {
    use agent::Event as E;
    Some(match event {
        E::Paused { supervision, .. }
        | E::Resumed { supervision, .. }
        | E::Killed(supervision)
        | E::Revoked(supervision) => {
            let note = supervision.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            told.told(format!("by {}{note}", supervision.by))
        }
        E::Quarantined { quarantine, .. } => {
            let agent::Quarantine { cause, severity, by, description, .. } = quarantine;
            told.told(format!("{} ({}) by {by}: {description}", cause.as_str(), severity.as_str()))
        }
        E::Recovered { by, note, .. } => {
            let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            told.told(format!("by {by}{note}"))
        }
        E::ScheduleCreated { name, next, .. } => told.told(format!("{name}, next {next}")),
        E::ScheduleDeleted { name, by } => told.told(format!("{name}, by {by}")),
        E::ScheduleWoken { name, execution, .. } => told.told(format!("{name}: {execution}")),
        E::ScheduleSkipped { name, why, .. } => told.told(format!("{name}: {}", why.as_str())),
        E::AlertSent { alert, severity, .. } => {
            WatchEvent { outcome: Some(severity.as_str().to_string()), ..told.told(alert.to_string()) }
        }
        E::GrantGiven { grant, .. } => told.told(format!("{}, by {}", grant.id, grant.by)),
        E::GrantUsed { grant, call } => WatchEvent { call: Some(*call), ..told.told(grant.to_string()) },
        E::GrantRevoked { grant, by } => told.told(format!("{grant}, by {by}")),
        E::AlertAcknowledged { alert, by, .. } => told.told(format!("{alert}, by {by}")),
        E::StateSet(set) => told.set(set),
        E::StateDeleted(ended) | E::StateExpired(ended) => told.unset(ended),
        E::Created(deployed) | E::Revised(deployed) => told.told(format!("revision {}", deployed.revision)),
        E::BudgetNear(near) => told.told(near.to_string()),
        E::RetentionDue { .. } => return None,
        E::WakeSkipped { why, scheduled, .. } => told.told(format!("{scheduled}: {}", why.as_str())),
        E::WakeHeld { until: Some(until) } => told.told(format!("a budget is used up, until {until}")),
        // The execution or session says it itself.
        E::ExecutionStarted { .. } | E::ExecutionEnded { .. } | E::SessionOpened { .. } | E::SessionEnded { .. } => {
            return None;
        }
        E::Refused(refused) => told.told(format!("{}: {}", refused.verb, refused.code)),
        _ => told,
    })
}

fn of_execution(told: WatchEvent, event: &execution::Event) -> WatchEvent {
    use execution::Event as E;
    match event {
        E::Started { agent, agent_name, model, .. } => {
            WatchEvent { agent: Some(*agent), agent_name: Some(agent_name.clone()), ..told.told(model.clone()) }
        }
        E::ChildStarted { execution, .. } | E::ChildEnded { execution } => told.told(execution.to_string()),
        E::CancelRequested { by, why } => told.told(format!("by {by}: {why}")),
        E::CallCalled(called) => told.called(called),
        E::CallHeld(held) => told.held(held),
        E::CallAllowed(allowed) => told.allowed(allowed),
        E::CallReleased(released) => {
            WatchEvent { call: Some(released.call), ..told.told("the rules ask for it no more") }
        }
        E::CallRecalled(recalled) => told.recalled(recalled),
        E::CallBlocked { call, capability, blocked, .. } => told.blocked(*call, capability, blocked),
        E::CallEnded(ended) => told.ended(ended),
        E::ModelFailed { failure, sentence, .. } => told.told(format!("{failure}: {sentence}")),
        E::ModelAnswered { model, usage, .. } => {
            WatchEvent { took_ms: Some(usage.took_ms), ..told.told(model.clone()) }
        }
        E::ProxyCalled(called) => told.told(format!("a program asks {}", called.model)),
        E::ProxyAnswered(answered) => WatchEvent {
            took_ms: Some(answered.usage.took_ms),
            ..told.told(format!("{} to a program", answered.model))
        },
        E::ProxyFailed(failed) => told.told(format!("{}: {}", failed.failure, failed.sentence)),
        E::IterationFailed { cause, .. } => told.told(cause_from_one(&cause.to_word())),
        E::BudgetWarned { budget, used, limit } => told.told(format!("{used} of {limit} {budget}")),
        E::NetworkRefused { refusal, .. } => told.told(format!("{}:{} ({})", refusal.host, refusal.port, refusal.rule)),
        E::PayloadErased { payload, reason } => told.told(format!("{reason}: {payload}")),
        E::Erased { why, payloads, .. } => told.told(erased(why.as_ref(), payloads.len())),
        E::Ended { ending, .. } => {
            let (outcome, detail) = match ending {
                Ending::Completed { .. } => ("completed", None),
                Ending::Failed { reason, detail } => ("failed", Some(format!("{}: {detail}", reason.as_str()))),
                Ending::Cancelled { by, why } => ("cancelled", Some(format!("by {by}: {why}"))),
            };
            WatchEvent { outcome: Some(outcome.to_string()), detail, ..told }
        }
        E::Refused(refused) => told.told(format!("{}: {}", refused.verb, refused.code)),
        _ => told,
    }
}

fn of_instance(told: WatchEvent, event: &instance::Event) -> WatchEvent {
    use instance::Event as E;
    match event {
        E::Created { agent, agent_name, .. } => {
            WatchEvent { agent: Some(*agent), agent_name: Some(agent_name.clone()), ..told }
        }
        E::Starting { session, revision, .. } => {
            WatchEvent { session: Some(*session), ..told.told(format!("revision {revision}")) }
        }
        E::HookAsked { hook, call } => {
            WatchEvent { call: Some(*call), capability: Some(hook.0.capability().to_string()), ..told }
        }
        E::Ready { provides } => told.told(provides.join(", ")),
        E::Told { message } => WatchEvent { execution: Some(message.execution), call: Some(message.call), ..told },
        E::MessageOver { call } => WatchEvent { call: Some(*call), ..told },
        E::CheckOver { call, answered } => {
            let outcome = if *answered { "answered" } else { "no answer" };
            WatchEvent { call: Some(*call), outcome: Some(outcome.to_string()), ..told }
        }
        E::Checked { health } => WatchEvent { outcome: Some(health.condition.as_str().to_string()), ..told },
        E::Crashed { hook, call, outcome, restart_at, .. } => {
            let next = if restart_at.is_some() { "it is started again" } else { "it is not started again" };
            let outcome = Some(outcome.clone());
            WatchEvent { call: Some(*call), outcome, ..told.told(format!("`{}`; {next}", hook.0.as_str())) }
        }
        E::Lost { session, .. } => WatchEvent { session: Some(*session), ..told },
        E::Renewed {} => told,
        E::Stopping { why } | E::Stopped { why } => told.told(why.as_str()),
        E::Refused(refused) => told.told(format!("{}: {}", refused.verb, refused.code)),
    }
}

fn erased(why: Option<&Why>, payloads: usize) -> String {
    let why = match why {
        Some(Why::Age) => "too old: ".to_string(),
        Some(Why::Size) => "too much: ".to_string(),
        Some(Why::Asked { reason }) => format!("{reason}: "),
        None => String::new(),
    };
    format!("{why}{payloads} payloads")
}

fn of_session(told: WatchEvent, event: &session::Event) -> WatchEvent {
    use session::Event as E;
    match event {
        E::Opened { agent, agent_name, .. } => {
            WatchEvent { agent: Some(*agent), agent_name: Some(agent_name.clone()), ..told }
        }
        E::Heard { .. } => told,
        E::Invoked { call, .. } | E::HookAsked { call, .. } => WatchEvent {
            call: Some(call.call),
            capability: Some(call.capability.clone()),
            target: call.shown.clone().into(),
            ..told
        },
        E::CallCalled(called) => told.called(called),
        E::CallHeld(held) => told.held(held),
        E::CallAllowed(allowed) => told.allowed(allowed),
        E::CallReleased(released) => {
            WatchEvent { call: Some(released.call), ..told.told("the rules ask for it no more") }
        }
        E::CallRecalled(recalled) => told.recalled(recalled),
        E::CallBlocked { call, capability, blocked } => told.blocked(*call, capability, blocked),
        E::CallEnded(ended) => told.ended(ended),
        E::CancelRequested { call, by } => WatchEvent { call: Some(*call), ..told.told(format!("by {by}")) },
        E::NetworkRefused { refusal, .. } => told.told(format!("{}:{} ({})", refusal.host, refusal.port, refusal.rule)),
        E::PayloadErased { payload, reason } => told.told(format!("{reason}: {payload}")),
        E::Erased { why, payloads, .. } => told.told(erased(why.as_ref(), payloads.len())),
        E::Unbound { why, .. } | E::JailLost { why, .. } | E::Releasing { why, .. } => told.told(why.clone()),
        E::Bound { .. } | E::Yielding { .. } | E::Released { .. } => told,
        E::Ended { ending, .. } => {
            let by = match ending {
                session::Ending::Closed { by } => Some(format!("by {by}")),
                _ => None,
            };
            WatchEvent { outcome: Some(ending.as_str().to_string()), detail: by, ..told }
        }
        E::Refused(refused) => told.told(format!("{}: {}", refused.verb, refused.code)),
    }
}
