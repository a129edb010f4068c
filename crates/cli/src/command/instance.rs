//! `tenure agent start|stop|status|health|message|inspect`: the program of a code agent, held and asked.
use serde_json::json;
use tenure_wire::api::INPUT_BYTES_MAX;
use tenure_wire::api::execution::Start;
use tenure_wire::api::instance::{Inspection, Instance as Shown, InstanceHealth};

use super::{each, execute};
use crate::args::{Instance, Whom};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, duration, size, table, when};

pub async fn run(verb: Instance, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Instance::Start(Whom { agents }) => {
            let client = settings.client()?;
            let start = async |name: &str| Ok(client.start_instance(name).await?);
            let text = |instance: &Shown| format!("Starting agent \"{}\" (id: {})", instance.name, instance.id);
            each(&agents, output, start, text).await
        }
        Instance::Stop(Whom { agents }) => {
            let client = settings.client()?;
            let stop = async |name: &str| Ok(client.stop_instance(name).await?);
            let text = |instance: &Shown| match instance.state.as_str() {
                "stopped" => format!("Stopped agent \"{}\"", instance.name),
                _ => format!("Stopping agent \"{}\": its program is told", instance.name),
            };
            each(&agents, output, stop, text).await
        }
        Instance::Status { agent } => {
            let instance = settings.client()?.instance(&agent).await?;
            output.show(&instance, || facts(&instance, output))?;
            Ok(Exit::Done)
        }
        Instance::Health { agent } => health(&agent, settings, output).await,
        Instance::Message { agent, message } => {
            let input = super::typed::json(&message, false, "message", INPUT_BYTES_MAX)?;
            let start = Start { agent, revision: None, input, max_iterations: None };
            execute::answered(&settings.client()?, &start, output).await
        }
        Instance::Inspect { agent } => {
            let found = settings.client()?.inspect_instance(&agent).await?;
            output.show(&found, || inspected(&found, output))?;
            Ok(Exit::Done)
        }
    }
}

/// Asked now; what was found before stands for one that does not answer.
async fn health(agent: &str, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    const LOOKS_MAX: u32 = 60;
    const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
    let client = settings.client()?;
    let before = client.instance(agent).await?.health;
    let mut instance = client.check_instance(agent).await?;
    for _ in 0..LOOKS_MAX {
        if instance.health != before {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        instance = client.instance(agent).await?;
    }
    let Some(found) = &instance.health else {
        return Err(Failure::new(Exit::Failure, "the program did not say how it is")
            .next(format!("`tenure agent inspect {agent}` shows what became of the question")));
    };
    output.show(&json!({"name": instance.name, "health": found}), || table::lines(output.width(), told(found)))?;
    Ok(Exit::Done)
}

fn told(health: &InstanceHealth) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("status", Some(health.status.clone())),
        ("uptime", Some(duration(health.uptime_ms))),
        ("memory", Some(size(health.memory_bytes))),
        ("cpu", Some(duration(health.cpu_ms))),
        ("processes", Some(health.processes.to_string())),
        ("errors", Some(health.errors.clone()).filter(|errors| !errors.is_empty())),
    ]
}

fn facts(instance: &Shown, output: Output) -> String {
    let status: &str = instance.status.into();
    let state = match &instance.why {
        Some(why) => format!("{} ({why})", instance.state),
        None => instance.state.clone(),
    };
    let revision = (instance.revision > 0).then(|| match &instance.version {
        Some(version) => format!("{version} (revision {})", instance.revision),
        None => format!("revision {}", instance.revision),
    });
    let mut pairs = vec![
        ("agent", Some(instance.name.clone())),
        ("status", Some(status.to_string())),
        ("state", Some(state)),
        ("waits for", instance.waits_for.clone()),
        ("version", revision),
        ("instance", Some(instance.id.to_string())),
        ("uptime", instance.uptime_ms.map(duration)),
        ("starts", Some(instance.starts.to_string())),
        ("crashes", (instance.crashes > 0).then(|| instance.crashes.to_string())),
        ("last crash", instance.last_crash.clone()),
        ("in hand", (instance.messages > 0).then(|| instance.messages.to_string())),
        ("stopped", instance.stopped_at.map(|at| when(at, output))),
    ];
    let health = instance.health.as_ref();
    pairs.push(("health", health.map(|health| format!("{}, {}", health.status, size(health.memory_bytes)))));
    table::lines(output.width(), pairs)
}

fn inspected(found: &Inspection, output: Output) -> String {
    let mut text = facts(&found.instance, output);
    let messages: Vec<String> = found.messages.iter().map(ToString::to_string).collect();
    if !messages.is_empty() {
        text.push_str(&format!("\nIN HAND\n  {}\n", messages.join("\n  ")));
    }
    let rows = found.calls.iter().map(|call| {
        let at = call.called_at.map(|at| when(at, output)).unwrap_or_default();
        let outcome = call.outcome.clone().unwrap_or_else(|| call.state.clone());
        [call.call.short(), call.capability.clone(), outcome, at]
    });
    text.push('\n');
    text.push_str(&table::table(["CALL", "CAPABILITY", "OUTCOME", "AT"], rows));
    text
}
