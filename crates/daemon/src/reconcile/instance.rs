//! Owed StartProgram and CheckHealth: the program of a code agent is started when it is due, asked for its health now and then,
//! and what it said of that is read. Must never decide what follows from either.
use crate::app::App;
use crate::records::{Error, ReadTxn};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::capability::clip;
use tenure_core::id::CallId;
use tenure_core::instance::{self, Condition, Health};
use tenure_core::owed::Obligation;

pub async fn start_program(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Instance(id) = stream else { return Ok(()) };
    app.report(Actor::Daemon, Command::Instance(id, instance::Command::Begin {})).await;
    Ok(())
}

pub async fn check_health(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Instance(id), Obligation::CheckHealth { call }) = (stream, obligation) else { return Ok(()) };
    let command = match call {
        None => instance::Command::Check {},
        Some(call) => {
            let health = app.records.read(move |txn| found(txn, call)).await?;
            instance::Command::ReportHealth { health }
        }
    };
    app.report(Actor::Daemon, Command::Instance(id, command)).await;
    Ok(())
}

/// What a program says of itself; what it leaves out, or says in another form, counts for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    status: Value,
    errors: Value,
}

/// What the worker measured of the program's jail.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Measured {
    memory_bytes: u64,
    cpu_ms: u64,
    processes: u32,
    uptime_ms: u64,
}

/// The kernel's figures stand, whatever the program says of them.
fn found(txn: &mut ReadTxn<'_>, call: CallId) -> Result<Health, Error> {
    let row = txn.call(call)?;
    let result: Value = row.result.map(|result| txn.json(result)).transpose()?.unwrap_or_default();
    let said: Said = serde_json::from_value(result["answer"].clone()).unwrap_or_default();
    let measured: Measured = serde_json::from_value(result["measured"].clone()).unwrap_or_default();
    let condition = said.status.as_str().and_then(|word| word.parse().ok()).unwrap_or(Condition::Healthy);
    let kinds = said.errors.as_array().into_iter().flatten();
    let kinds: Vec<&str> = kinds.filter_map(|error| error["type"].as_str()).collect();
    let Measured { memory_bytes, cpu_ms, processes, uptime_ms } = measured;
    Ok(Health { condition, memory_bytes, cpu_ms, processes, uptime_ms, errors: clip(&kinds.join(", ")), call })
}
