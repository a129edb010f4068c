//! `tenure agent logs`: what an agent did, a task a line. Must never: show an end that has not come, or miss a task that came
//! and went between two looks.
use std::collections::BTreeSet;

use tenure_core::id::ExecutionId;
use tenure_wire::api::execution::{Execution, ExecutionStatus};
use tenure_wire::client::{Client, Query};

use crate::args::{AgentLogs, Format};
use crate::command::execution::status_word;
use crate::command::{happens, interrupted, more};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Layout, Table};
use crate::render::{Output, cost, duration, status_ink, tokens, when};
use crate::screen::{self, one_line};

/// Tasks that are looked through for those that began between two looks.
const BEGUN_MAX: usize = 1000;

pub(super) async fn run(wanted: AgentLogs, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let AgentLogs { agent, after, limit, follow, listing } = wanted;
    let client = settings.client()?;
    let id = client.agent(&agent).await?.agent.id.to_string();
    let query = [("agent", Some(id.clone())), ("cursor", after)];
    let page = client.list_of::<Execution>(&["executions"], &query, limit as usize).await?;
    let tasks = page.items;
    if follow {
        return self::follow(&client, id, tasks, output).await;
    }
    output.list(
        &listing,
        &tasks,
        &format!("No task of it; `tenure agent run {agent} INSTRUCTION` starts one"),
        |task| task.id.to_string(),
        || table(&tasks, output),
    )?;
    if output.format == Format::Table && !listing.quiet {
        screen::print(&output.wrapped(&remedies(&tasks)))?;
    }
    more(page.next_cursor.as_deref());
    Ok(Exit::Done)
}

/// A task a line.
pub fn table(tasks: &[Execution], output: Output) -> Table {
    let columns = [
        Column::key("ID"),
        Column::text("STATUS"),
        Column::worth("TRIGGER", 7),
        Column::worth("STARTED", 1),
        Column::worth("DURATION", 2),
        Column::worth("CALLS", 4),
        Column::worth("TOKENS", 5),
        Column::worth("COST", 6),
        Column { wraps: true, ..Column::worth("ERROR", 3) },
        Column::detail("REVISION"),
    ];
    let rows = tasks.iter().map(|task| {
        let error = task.detail.as_deref().filter(|_| task.status != ExecutionStatus::Completed);
        [
            Cell::from(if output.verbose { task.id.to_string() } else { task.id.short() }),
            Cell::inked(status_word(task), status_ink(task.status.as_str())),
            Cell::from(task.trigger.as_str()),
            Cell::from(when(task.started_at, output)),
            Cell::from(duration(task.duration_ms)),
            Cell::from(task.tool_calls.to_string()),
            Cell::from(tokens(task.tokens_in + task.tokens_out, task.tokens_estimated)),
            Cell::from(cost(task.cost_micro_usd, task.unpriced_model_calls)),
            Cell::from(error.unwrap_or("-").to_string()),
            Cell::from(task.revision.to_string()),
        ]
    });
    Table::new(columns, rows)
}

/// The last tasks on an agent's page, with what to do about those that failed.
pub(super) fn last(tasks: &[Execution], output: Output) -> String {
    if tasks.is_empty() {
        return "none yet\n".to_string();
    }
    let layout = Layout { width: output.width(), headers: true, details: output.verbose };
    let table: String = table(tasks, output).lay_out(layout).into_iter().map(|(_, text)| text).collect();
    format!("{table}{}", output.wrapped(&remedies(tasks)))
}

/// One line for each reason of failure.
fn remedies(tasks: &[Execution]) -> String {
    let mut told = BTreeSet::new();
    let failed = tasks.iter().filter_map(|task| Some((task.reason.as_deref()?, task.remedy.as_deref()?)));
    failed.filter(|(reason, _)| told.insert(*reason)).map(|(reason, remedy)| format!("{reason}: {remedy}\n")).collect()
}

/// What is there, oldest first, then each task as it starts and as it ends.
async fn follow(client: &Client, agent: String, known: Vec<Execution>, output: Output) -> Result<Exit, Failure> {
    let mut interrupted = std::pin::pin!(interrupted()?);
    let (mut newest, mut open): (Option<ExecutionId>, BTreeSet<ExecutionId>) = (None, BTreeSet::new());
    let mut events = client.watch_all(Some(&agent), None, None);
    let (mut found, query) = (known, [("agent", Some(agent))]);
    loop {
        for task in found.iter().rev() {
            newest = newest.max(Some(task.id));
            tell(task, output)?;
            if !task.status.ended() {
                open.insert(task.id);
            }
        }
        for id in open.clone() {
            let task = client.execution(&id.to_string()).await?.execution;
            if task.status.ended() {
                open.remove(&id);
                tell(&task, output)?;
            }
        }
        tokio::select! {
            moved = happens(&mut events, &["execution."]) => moved?,
            () = &mut interrupted => return Ok(Exit::Program(130)),
        }
        found = begun(client, &query, newest).await?;
    }
}

/// Those that began since, the latest first.
async fn begun(client: &Client, query: Query<'_>, newest: Option<ExecutionId>) -> Result<Vec<Execution>, Failure> {
    let is_new = |task: &Execution| newest.is_none_or(|newest| task.id > newest);
    let mut wanted = 1;
    loop {
        let mut tasks = client.executions(query, wanted).await?;
        // Where the last of them is new too, there may be more behind it.
        if tasks.len() < wanted || wanted >= BEGUN_MAX || !tasks.last().is_some_and(is_new) {
            tasks.retain(is_new);
            return Ok(tasks);
        }
        wanted *= 10;
    }
}

fn tell(task: &Execution, output: Output) -> Result<(), Failure> {
    output.show_next(task, || {
        let (id, word) = (task.id.short(), status_word(task));
        if !task.status.ended() {
            let by = task.trigger.as_str();
            return output.wrapped(&format!("{} {id} {word} by {by} (revision {})", task.started_at, task.revision));
        }
        let at = task.ended_at.unwrap_or(task.started_at);
        let spent = tokens(task.tokens_in + task.tokens_out, task.tokens_estimated);
        let paid = cost(task.cost_micro_usd, task.unpriced_model_calls);
        let took = duration(task.duration_ms);
        let mut line = format!("{at} {id} {word} after {took}: {} calls, {spent} tokens, {paid}", task.tool_calls);
        if let Some(why) = task.detail.as_deref().filter(|_| task.status != ExecutionStatus::Completed) {
            line.push_str(&format!(": {}", one_line(why)));
        }
        if let Some(remedy) = &task.remedy {
            line.push_str(&format!("; {remedy}"));
        }
        output.wrapped(&line)
    })
}
