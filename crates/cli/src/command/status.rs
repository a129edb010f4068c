//! `tenure status`.
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, ago, table};
use crate::screen::one_line;
use tenure_wire::api::status::{LedgerCheck, LedgerCheckState};

pub async fn run(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let status = settings.client()?.status().await?;
    output.show(&status, || {
        let worker = status.worker.as_ref().map(|worker| {
            let state = if worker.connected { "connected" } else { "away" };
            format!("{} {state}, {} slots, {}", worker.name, worker.slots, worker.level)
        });
        let languages = status.worker.as_ref().map(|worker| worker.toolchains.join(", "));
        let engine = status.worker.as_ref().map(|worker| worker.engine.clone());
        let unusable = status.unusable.iter().map(|item| {
            let next = item.next.as_ref().map(|next| format!("; {next}")).unwrap_or_default();
            ("not usable", Some(format!("{}: {}{next}", item.what, item.why)))
        });
        let lines = [
            (
                "daemon",
                Some(format!("{}, started {} (process {})", status.version, ago(status.started_at), status.pid)),
            ),
            ("data", Some(status.data_dir.clone())),
            ("listening", Some(status.listening.join(", "))),
            ("certificate", status.fingerprint.map(|fingerprint| fingerprint.to_string())),
            ("worker", Some(worker.unwrap_or_else(|| "not up yet".to_string()))),
            ("languages", languages),
            ("containers", engine),
            ("model", Some(format!("default is {}: {}", status.model.model, status.model.because))),
            ("cassette", status.model.cassette.clone()),
            ("ledger", Some(format!("{} records, {}", status.records, checked(&status.ledger_check)))),
            ("agents", Some(status.agents.to_string())),
            ("executions", Some(format!("{} open", status.executions_open))),
            (
                "alerts",
                (status.alerts.count() > 0).then(|| {
                    let alerts = status.alerts;
                    format!("{} open, {} of them critical; `tenure alerts` shows them", alerts.count(), alerts.critical)
                }),
            ),
            (
                "messages",
                (status.dead_letters > 0)
                    .then(|| format!("{} dead letters; `tenure comms dead list` shows them", status.dead_letters)),
            ),
        ];
        table::lines(output.width(), lines.into_iter().chain(unusable))
    })?;
    Ok(Exit::Done)
}

fn checked(check: &LedgerCheck) -> String {
    let first = check.findings.first().map(|finding| one_line(finding)).unwrap_or_default();
    match check.state {
        LedgerCheckState::Running => format!("{} looked at since the start", check.records),
        LedgerCheckState::Clean => "looked at since the start: they hold".to_string(),
        LedgerCheckState::Damaged => format!("DAMAGED: {first}; run `tenure audit verify`"),
        LedgerCheckState::Failed => format!("not looked at: {first}"),
    }
}
