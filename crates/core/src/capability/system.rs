//! What an agent may ask of the house that it works in. Each answer is made of what the decision sees and is bound like any
//! other, so that a replay gives it again.
use super::{Attributes, Capability, Effects, Perform, Performed, arguments};
use crate::agent::Agent;
use crate::call::Caller;
use crate::draft::Draft;
use crate::facts::{Counter, Unread};
use crate::fleet::Worker;
use crate::state::Space;
use serde_json::{Value, json};

const READ: Capability = Capability {
    name: "",
    version: 1,
    brief: "",
    use_when: "",
    avoid_when: "",
    effects: Effects::None,
    idempotent: true,
    usual: &[],
    input: || arguments(&[], json!({})),
    output: || json!({"type": "object"}),
    attributes: |_| Attributes::default(),
    perform: None,
};

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "system.info",
        brief: "Tell which Tenure you work in.",
        use_when: "Its version or your project is asked for.",
        avoid_when: "You ask who you are: agent.whoami.",
        perform: Some(Perform::From(info)),
        ..READ
    },
    Capability {
        name: "system.health",
        brief: "Tell whether the worker with your files is there.",
        use_when: "It is not clear whether programs and files can be used.",
        avoid_when: "They can: use them.",
        perform: Some(Perform::From(health)),
        ..READ
    },
    Capability {
        name: "system.metrics",
        brief: "Tell your figures: executions open, messages waiting, alerts open, bytes kept.",
        use_when: "It matters how much of yours is open or kept.",
        avoid_when: "Your limits are asked for: agent.whoami.",
        perform: Some(Perform::From(metrics)),
        ..READ
    },
    Capability {
        name: "system.time",
        brief: "Tell the time, in UTC.",
        use_when: "The date or the time matters.",
        avoid_when: "",
        perform: Some(Perform::From(time)),
        ..READ
    },
];

fn info(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let project = draft.project.map(|project| project.to_string());
    let told =
        json!({"product": "tenure", "version": env!("CARGO_PKG_VERSION"), "project": project, "agent": caller.agent});
    Ok(Performed::done(told))
}

fn health(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let home = draft.get::<Agent>(caller.agent)?.and_then(|agent| agent.home);
    let worker = match home {
        Some(worker) => match draft.get::<Worker>(worker)? {
            Some(found) if found.connection.is_some() => "connected",
            Some(_) | None => "away",
        },
        // Its first execution chooses one.
        None => "none_yet",
    };
    let status = if worker == "away" { "degraded" } else { "ok" };
    Ok(Performed::done(json!({"status": status, "ledger": "ok", "worker": worker})))
}

fn metrics(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let key = caller.agent.to_string();
    let agent = draft.get::<Agent>(caller.agent)?;
    let (open, sessions, waiting, schedules) = agent
        .map_or((0, 0, 0, 0), |agent| (agent.open, agent.sessions.len(), agent.mailbox.waiting, agent.planned.len()));
    let alerts = draft.count(Counter::AlertsOpen, &key)?;
    let space = Space::persistent(caller.agent);
    let (bytes, keys) =
        (draft.count(Counter::StateBytes, &space.namespace)?, draft.count(Counter::StateKeys, &space.namespace)?);
    let told = json!({
        "executions_open": open,
        "sessions_open": sessions,
        "messages_waiting": waiting,
        "schedules": schedules,
        "alerts_open": alerts,
        "state_bytes": bytes,
        "state_keys": keys,
    });
    Ok(Performed::done(told))
}

fn time(draft: &mut Draft<'_>, _: Caller, _: &Value) -> Result<Performed, Unread> {
    let at = draft.stamp.at;
    Ok(Performed::done(json!({"time": at.to_string(), "unix_ms": at.millis(), "timezone": "UTC"})))
}
