//! `tenure status`.
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, ago, size, table};
use crate::screen::one_line;
use tenure_wire::api::status::{DiskUse, LedgerCheck, LedgerCheckState, Sink};

pub async fn run(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let status = settings.client()?.status().await?;
    output.show(&status, || {
        let worker = status.worker.as_ref().map(|worker| {
            let state = if worker.connected { "connected" } else { "away" };
            format!("{} {state}, {} slots, {}", worker.name, worker.slots, worker.level)
        });
        let languages = status.worker.as_ref().filter(|worker| worker.connected).map(|worker| {
            let found = worker.toolchains.join(", ");
            if found.is_empty() { "none: install python3, or another, under /usr".to_string() } else { found }
        });
        let engine = status.worker.as_ref().map(|worker| worker.engine.clone());
        let unusable = status.unusable.chunk_by(|one, other| (&one.why, &one.next) == (&other.why, &other.next));
        let unusable = unusable.map(|alike| {
            let what: Vec<&str> = alike.iter().map(|item| item.what.as_str()).collect();
            let next = alike[0].next.as_ref().map(|next| format!("; {next}")).unwrap_or_default();
            ("not usable", Some(format!("{}: {}{next}", what.join(", "), alike[0].why)))
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
            ("sinks", (!status.sinks.is_empty()).then(|| sinks(&status.sinks))),
            ("disk", (!status.disk.is_empty()).then(|| disk(&status.disk))),
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

fn sinks(sinks: &[Sink]) -> String {
    let shown = sinks.iter().map(|sink| {
        let far = if sink.behind == 0 { "has all".to_string() } else { format!("is {} records behind", sink.behind) };
        let since = sink.failing_since.map(|since| format!(" and takes nothing since {}", ago(since)));
        format!("{} {} {far}{}", sink.kind, sink.to, since.unwrap_or_default())
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The largest first, with what they come to.
fn disk(uses: &[DiskUse]) -> String {
    let mut uses: Vec<&DiskUse> = uses.iter().collect();
    uses.sort_by_key(|one| std::cmp::Reverse(one.bytes));
    let least = |beyond: bool| if beyond { "at least " } else { "" };
    let sum = uses.iter().fold(0u64, |sum, one| sum.saturating_add(one.bytes));
    let parts = uses.iter().filter(|one| one.bytes > 0 || one.beyond);
    let parts = parts.map(|one| format!("{} {}{}", one.what.replace('_', " "), least(one.beyond), size(one.bytes)));
    let all = least(uses.iter().any(|one| one.beyond));
    format!("{all}{} ({})", size(sum), parts.collect::<Vec<_>>().join(", "))
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
