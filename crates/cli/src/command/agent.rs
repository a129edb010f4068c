//! `tenure agent …`.
mod harness;
mod logs;
mod make;
mod revisions;
mod schedules;

pub use logs::table as tasks_table;

use std::path::Path;

use tenure_core::manifest::TEXT_BYTES_MAX;
use tenure_wire::api::List;
use tenure_wire::api::agent::{Act, Agent as Shown, AgentFile, Schedule, Supervised, WantedSecret};
use tenure_wire::api::session::Session;
use tenure_wire::client::Query;

use super::{NO_AGENT, confirm, contents, each, more};
use crate::args::{Agent, Format, Isolation, Listing};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, cost, duration, status_ink, table, when};
use crate::screen::{one_line, yaml};

pub async fn run(verb: Agent, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Agent::Deploy { file, dry_run, isolation } => deploy(&file, dry_run, isolation, settings, output).await,
        Agent::Create(create) => make::create(*create, settings, output).await,
        Agent::Edit(edit) => make::edit(*edit, settings, output).await,
        Agent::SetModel { agent, model } => make::set_model(&agent, model, settings, output).await,
        Agent::Run(run) => super::execute::now(run, settings, output).await,
        Agent::Logs(wanted) => logs::run(wanted, settings, output).await,
        Agent::Revisions(wanted) => revisions::run(wanted, settings, output).await,
        Agent::Rollback(wanted) => revisions::roll_back(&wanted, settings, output).await,
        Agent::List { status, labels, provides, after, limit, listing } => {
            let labels = (!labels.is_empty()).then(|| labels.join(","));
            let query = [("status", status), ("labels", labels), ("provides", provides), ("cursor", after)];
            list(&query, limit, &listing, settings, output).await
        }
        Agent::Files(verb) => super::files::run(verb, settings, output).await,
        Agent::Get { agent, manifest } => get(&agent, manifest, settings, output).await,
        Agent::Briefing { agent, since } => {
            let since = since.as_deref().map(super::moment::past).transpose()?;
            let briefing = settings.client()?.briefing(&agent, since).await?;
            output.show(&briefing, || output.wrapped(&briefing.to_text()))?;
            Ok(Exit::Done)
        }
        Agent::Schedules(wanted) => schedules::run(wanted, settings, output).await,
        Agent::Pause(pause) => super::supervise::pause(pause, settings, output).await,
        Agent::Resume(whom) => super::supervise::run(Act::Resume, whom, settings, output).await,
        Agent::Rotate { agent, overlap } => super::session::rotate(&agent, overlap, settings, output).await,
        Agent::Instance(verb) => super::instance::run(verb, settings, output).await,
        Agent::Quarantine(wanted) => super::supervise::quarantine(wanted, settings, output).await,
        Agent::Recover(whom) => super::supervise::run(Act::Recover, whom, settings, output).await,
        Agent::Revoke(whom) => super::supervise::run(Act::Revoke, whom, settings, output).await,
        Agent::Delete { agents } => delete(&agents, settings, output).await,
    }
}

async fn deploy(
    file: &Path,
    dry_run: bool,
    isolation: Option<Isolation>,
    settings: &Settings,
    output: Output,
) -> Result<Exit, Failure> {
    let text = contents(file, TEXT_BYTES_MAX)?;
    let deployed = settings.client()?.deploy_isolated(text, dry_run, isolation.map(Isolation::as_str)).await?;
    deployed.notes.iter().for_each(|note| eprintln!("note: {note}"));
    output.show(&deployed, || match (&deployed.agent, deployed.changed, deployed.dry_run) {
        (None, ..) => "Would deploy a new agent".to_string(),
        (Some(agent), true, true) => {
            format!("Would deploy revision {} of agent \"{}\"", agent.revision + 1, agent.name)
        }
        (Some(agent), false, _) => {
            format!("Agent \"{}\" is unchanged (id: {}, revision {})", agent.name, agent.id, agent.revision)
        }
        (Some(agent), true, false) if agent.revision == 1 => {
            format!("Deployed agent \"{}\" (id: {})", agent.name, agent.id)
        }
        (Some(agent), true, false) => {
            format!("Deployed agent \"{}\" (id: {}, revision {})", agent.name, agent.id, agent.revision)
        }
    })?;
    Ok(Exit::Done)
}

async fn list(
    query: Query<'_>,
    limit: u32,
    listing: &Listing,
    settings: &Settings,
    output: Output,
) -> Result<Exit, Failure> {
    let List { items: agents, next_cursor } =
        settings.client()?.list_of::<Shown>(&["agents"], query, limit as usize).await?;
    output.list(
        listing,
        &agents,
        NO_AGENT,
        |agent| agent.id.to_string(),
        || {
            let columns = [
                Column::key("ID"),
                Column::key("NAME"),
                Column::key("STATUS"),
                Column::worth("RUNTIME", 2),
                Column { wraps: true, ..Column::worth("LABELS", 3) },
                Column::detail("REVISION"),
                Column::detail("MODEL"),
                Column::detail("MESSAGES"),
                Column::detail("NEXT RUN"),
                Column::detail("UPDATED"),
                Column::detail("SESSION"),
                Column::detail("CALLS"),
                Column::detail("LAST"),
            ];
            let rows = agents.iter().map(|agent| {
                let (word, session) = (agent.status.as_str(), agent.session.as_ref());
                let dash = || "-".to_string();
                [
                    Cell::from(if output.verbose { agent.id.to_string() } else { agent.id.short() }),
                    Cell::from(agent.name.clone()),
                    Cell::inked(word, status_ink(word)),
                    Cell::from(agent.runtime.clone()),
                    Cell::from(labels(agent)),
                    Cell::from(agent.revision.to_string()),
                    Cell::from(agent.model.clone()),
                    Cell::from(waiting(agent)),
                    Cell::from(agent.next_run_at.map_or_else(|| "-".to_string(), |next| next.to_string())),
                    Cell::from(when(agent.updated_at, output)),
                    Cell::from(session.map_or_else(dash, |session| duration(session.duration_ms))),
                    Cell::from(session.map_or_else(dash, |session| session.invocations.to_string())),
                    Cell::from(session.map_or_else(dash, |session| when(session.last_at, output))),
                ]
            });
            Table::new(columns, rows)
        },
    )?;
    more(next_cursor.as_deref());
    Ok(Exit::Done)
}

async fn get(agent: &str, manifest: bool, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let file = settings.client()?.agent(agent).await?;
    if manifest {
        let format = if output.format == Format::Json { Format::Json } else { Format::Yaml };
        Output { format, ..output }.show(&file.manifest, String::new)?;
        return Ok(Exit::Done);
    }
    output.show(&file, || {
        let mut text = facts(&file, output);
        text.push_str("\nREVISIONS\n");
        text.push_str(&table::table(
            ["NUMBER", "VERSION", "DIGEST", "DEPLOYED"],
            file.revisions.iter().map(|revision| {
                let version = revision.version.clone().unwrap_or_else(|| "-".to_string());
                let digest = revision.digest.chars().take(12).collect();
                [revision.number.to_string(), version, digest, when(revision.at, output)]
            }),
        ));
        text.push_str("\nMANIFEST\n");
        text.push_str(&yaml(&file.manifest));
        text.push_str("\nLAST TASKS\n");
        text.push_str(&logs::last(&file.tasks, output));
        text
    })?;
    Ok(Exit::Done)
}

fn facts(file: &AgentFile, output: Output) -> String {
    let (agent, limits) = (&file.agent, &file.limits);
    let seconds = |ms: u64| format!("{}s", ms / 1000);
    table::lines(
        output.width(),
        [
            ("id", Some(agent.id.to_string())),
            ("name", Some(agent.name.clone())),
            ("purpose", file.purpose.clone()),
            ("status", Some(status_word(agent))),
            ("held", agent.supervised.as_ref().map(held)),
            ("session", agent.session.as_ref().map(|session| session_line(session, output))),
            ("revision", Some(agent.revision.to_string())),
            ("version", agent.version.clone()),
            ("runtime", Some(agent.runtime.clone())),
            ("model", Some(agent.model.clone())),
            ("messages", (agent.messages_waiting > 0).then(|| format!("{} waiting", agent.messages_waiting))),
            ("labels", Some(labels(agent)).filter(|labels| !labels.is_empty())),
            ("provides", Some(agent.provides.join(", ")).filter(|words| !words.is_empty())),
            ("schedule", file.schedule.as_ref().map(schedule)),
            ("next runs", file.schedule.as_ref().map(next_runs)),
            (
                "next wake",
                agent
                    .next_run_at
                    .filter(|_| file.schedule.as_ref().is_some_and(|it| it.jitter_ms > 0))
                    .map(|at| at.to_string()),
            ),
            ("last wake", file.schedule.as_ref().and_then(|it| it.last_woken_at).map(|at| at.to_string())),
            ("planned", schedules::lines(&file.planned)),
            ("triggers", Some(file.triggers.join(", "))),
            ("tools", Some(file.tools.join(", "))),
            ("secrets", secrets(&file.secrets)),
            (
                "limits",
                Some(format!(
                    "{} of {} and {}, {}, {}{}, {} in all",
                    counted(limits.max_iterations.into(), "iteration"),
                    counted(limits.max_turns.into(), "turn"),
                    seconds(limits.iteration_timeout_ms),
                    counted(limits.tool_calls.into(), "tool call"),
                    counted(limits.tokens, "token"),
                    limits.micro_usd.map(|most| format!(", {}", cost(most, 0))).unwrap_or_default(),
                    seconds(limits.timeout_ms),
                )),
            ),
            ("created", Some(agent.created_at.to_string())),
            ("updated", Some(agent.updated_at.to_string())),
        ],
    )
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

async fn delete(agents: &[String], settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let delete = async |wanted: &str| {
        let agent = client.agent(wanted).await?.agent;
        let question = format!(
            "Delete agent \"{}\"? Its executions are cancelled, and it cannot be restored. Its history stays under its id, {}; \
             once the last execution has ended, another agent may have its name.",
            agent.name, agent.id
        );
        confirm(&question, settings)?;
        Ok(client.delete_agent(&agent.id.to_string()).await?)
    };
    let text = |deleted: &Shown| {
        let name = &deleted.name;
        let rest = "Its history stays under its id. Its name is free once its last execution has ended.";
        format!("Deleted agent \"{name}\" (id: {})\n{rest}", deleted.id)
    };
    each(agents, output, delete, text).await
}

/// When it comes, and what becomes of a time that cannot be kept.
fn schedule(schedule: &Schedule) -> String {
    let Schedule { cron, timezone, overlap, missed, jitter_ms, .. } = schedule;
    let jitter = if *jitter_ms > 0 { format!(", later by up to {}", duration(*jitter_ms)) } else { String::new() };
    format!("{cron} ({timezone}){jitter}, overlap {overlap}, missed {missed}")
}

/// What its manifest asks for, and whether anybody has let it.
fn secrets(wanted: &[WantedSecret]) -> Option<String> {
    let line = |secret: &WantedSecret| {
        let WantedSecret { name, host, bound, .. } = secret;
        let word = if *bound { "bound" } else { "not bound: `tenure secret bind` lets it" };
        format!("{name} with {host} ({word})")
    };
    (!wanted.is_empty()).then(|| wanted.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn next_runs(schedule: &Schedule) -> String {
    let next: Vec<String> = schedule.next.iter().map(ToString::to_string).collect();
    if next.is_empty() { "none: no such time comes".to_string() } else { next.join(", ") }
}

/// By whom, why, and until when.
fn held(supervised: &Supervised) -> String {
    let note = supervised.note.as_deref().map(|note| format!(": {}", one_line(note))).unwrap_or_default();
    let until = supervised.until.map(|until| format!(", until {until}")).unwrap_or_default();
    format!("by {}{note}{until}", supervised.by)
}

/// How long, how many calls, and when something of it was heard last.
fn session_line(session: &Session, output: Output) -> String {
    let state = session.ending.as_ref().map_or_else(|| "live".to_string(), |ending| format!("ended ({ending})"));
    let (lasted, last) = (duration(session.duration_ms), when(session.last_at, output));
    format!("{} {state}, {lasted}, {} calls, last {last}", session.id, session.invocations)
}

/// Messages that wait.
fn waiting(agent: &Shown) -> String {
    if agent.messages_waiting == 0 { "-".to_string() } else { agent.messages_waiting.to_string() }
}

fn status_word(agent: &Shown) -> String {
    agent.status.as_str().to_string()
}

fn labels(agent: &Shown) -> String {
    agent.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
