//! `tenure execution …`.
use serde_json::Value;
use tenure_wire::api::execution::{
    Call, Cancel, Execution as Shown, ExecutionFile, ExecutionStatus, Iteration, IterationLog, IterationStatus, Start,
};

use super::{each, interrupted, moment, more};
use crate::args::{Execution, Format, Listing, Logs};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::formatter::call_summary;
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, cost, duration, status_ink, table, tokens, watch_view, when};
use crate::screen::{self, Ink, one_line, plain};

const NONE: &str = "No execution; `tenure execute AGENT INPUT` starts one";
/// Of each status.
const OPEN_MAX: usize = 1000;

pub async fn run(verb: Execution, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Execution::List { agent, status, since, after, limit, listing } => {
            let since = since.map(|text| moment::past(&text)).transpose()?.map(|moment| moment.to_string());
            let query = [("agent", agent), ("status", status), ("since", since), ("cursor", after)];
            let executions = settings.client()?.list_of(&["executions"], &query, limit as usize).await?;
            show(&executions.items, NONE, &listing, output)?;
            more(executions.next_cursor.as_deref());
            Ok(Exit::Done)
        }
        Execution::Get { execution } => get(&execution, settings, output).await,
        Execution::Logs(wanted) => logs(wanted, settings, output).await,
        Execution::Watch { execution } => {
            watch_view::watch(&settings.client()?, &execution, output, interrupted()?).await
        }
        Execution::Retry { execution, watch } => retry(&execution, watch, settings, output).await,
        Execution::Cancel { executions, why } => cancel(&executions, why, settings, output).await,
    }
}

/// `tenure ps`: what has not ended, the latest first.
pub async fn open(listing: &Listing, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let mut executions = Vec::new();
    for status in [ExecutionStatus::Queued, ExecutionStatus::Running, ExecutionStatus::Waiting] {
        let query = [("status", Some(status.as_str().to_string()))];
        executions.extend(client.executions(&query, OPEN_MAX).await?);
    }
    // One that moves on meanwhile may be found twice.
    executions.sort_by_key(|execution| std::cmp::Reverse(execution.id));
    executions.dedup_by_key(|execution| execution.id);
    show(&executions, "Nothing runs or waits; `tenure execution list` shows what has ended", listing, output)?;
    Ok(Exit::Done)
}

fn show(executions: &[Shown], none: &str, listing: &Listing, output: Output) -> Result<(), Failure> {
    output.list(
        listing,
        executions,
        none,
        |execution| execution.id.to_string(),
        || {
            let columns = [
                Column::key("ID"),
                Column::key("AGENT"),
                Column::text("STATUS"),
                Column::worth("ITERATION", 2),
                Column::worth("STARTED", 1),
                Column::worth("DURATION", 3),
                Column::worth("TOKENS", 4),
                Column::worth("COST", 5),
                Column::detail("REVISION"),
                Column::detail("CALLS"),
                Column::detail("TRIGGER"),
            ];
            let rows = executions.iter().map(|execution| {
                [
                    Cell::from(if output.verbose { execution.id.to_string() } else { execution.id.short() }),
                    Cell::from(execution.agent_name.clone()),
                    Cell::inked(status_in_list(execution), status_ink(execution.status.as_str())),
                    Cell::from(format!("{}/{}", execution.iteration, execution.max_iterations)),
                    Cell::from(when(execution.started_at, output)),
                    Cell::from(duration(execution.duration_ms)),
                    Cell::from(tokens(execution.tokens_in + execution.tokens_out, execution.tokens_estimated)),
                    Cell::from(cost(execution.cost_micro_usd, execution.unpriced_model_calls)),
                    Cell::from(execution.revision.to_string()),
                    Cell::from(execution.tool_calls.to_string()),
                    Cell::from(execution.trigger.as_str()),
                ]
            });
            Table::new(columns, rows)
        },
    )
}

/// Tables show the reason in the place of `failed`, and what is waited for.
pub fn status_word(execution: &Shown) -> String {
    match (execution.status, &execution.reason, &execution.waiting_for) {
        (ExecutionStatus::Failed, Some(reason), _) => reason.clone(),
        (ExecutionStatus::Waiting, _, Some(thing)) => format!("waiting for {thing}"),
        (ExecutionStatus::Queued, _, Some(thing)) => format!("queued, waiting for {thing}"),
        (ExecutionStatus::Running, ..) if execution.detail.is_some() && !execution.cancel_requested => {
            "asking its model again".to_string()
        }
        (status, ..) if execution.cancel_requested && !status.ended() => "cancelling".to_string(),
        (status, ..) => status.as_str().to_string(),
    }
}

fn status_in_list(execution: &Shown) -> String {
    let word = status_word(execution);
    match &execution.detail {
        Some(why) if !execution.status.ended() => format!("{word} ({})", one_line(why)),
        Some(_) | None => word,
    }
}

async fn get(wanted: &str, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let mut file = settings.client()?.execution(wanted).await?;
    file.input = file.input.map(|input| screen::compact(&input));
    output.show(&file, || {
        let mut text = facts(&file, output);
        if !file.iterations.is_empty() {
            text.push('\n');
            text.push_str(&iterations(&file.iterations));
        }
        if !file.children.is_empty() {
            text.push('\n');
            text.push_str(&children(&file));
        }
        if let Some(output) = &file.output {
            text.push_str(&format!("\nOUTPUT\n{}", indented(output)));
        }
        text
    })?;
    Ok(Exit::Done)
}

fn facts(file: &ExecutionFile, output: Output) -> String {
    let execution = &file.execution;
    let input = file.input.as_ref().map(|input| input.get());
    let below = file.below.map(|below| {
        format!("{} tokens, {}, which count against its limits", below.tokens, cost(below.cost_micro_usd, 0))
    });
    table::lines(
        output.width(),
        [
            ("id", Some(execution.id.to_string())),
            ("agent", Some(format!("{} ({}, revision {})", execution.agent_name, execution.agent, execution.revision))),
            ("status", Some(status_word(execution))),
            ("detail", execution.detail.clone()),
            ("trigger", Some(execution.trigger.as_str().to_string())),
            ("started by", execution.parent.map(|parent| parent.to_string())),
            ("started", Some(execution.started_at.to_string())),
            ("ended", execution.ended_at.map(|at| at.to_string())),
            ("erased", execution.erased_at.map(|at| format!("{at}: what it was told and said is gone"))),
            ("duration", Some(duration(execution.duration_ms))),
            ("iterations", Some(format!("{} of {}", execution.iteration, execution.max_iterations))),
            ("tool calls", Some(execution.tool_calls.to_string())),
            ("tokens", Some(tokens_line(execution))),
            ("cost", Some(cost(execution.cost_micro_usd, execution.unpriced_model_calls))),
            ("below it", below),
            ("input", input.map(|input| input.chars().take(200).collect())),
        ],
    )
}

/// What it started.
fn children(file: &ExecutionFile) -> String {
    let rows = file.children.iter().map(|child| {
        [
            child.id.to_string(),
            child.agent_name.clone(),
            status_word(child),
            (child.tokens_in + child.tokens_out).to_string(),
            cost(child.cost_micro_usd, child.unpriced_model_calls),
        ]
    });
    let more = if file.children_cut { "and more\n" } else { "" };
    format!("{}{more}", table::table(["STARTED", "AGENT", "STATUS", "TOKENS", "COST"], rows))
}

fn tokens_line(execution: &Shown) -> String {
    let shown = |count| tokens(count, execution.tokens_estimated);
    let (input, output) = (shown(execution.tokens_in), shown(execution.tokens_out));
    let mark = if execution.tokens_estimated { " (estimated: a provider does not count all of them)" } else { "" };
    format!("{input} in, {output} out{mark}")
}

fn iterations(iterations: &[Iteration]) -> String {
    let rows = iterations.iter().map(|iteration| {
        let checks = iteration.validation.iter().map(|found| {
            format!("{}={} ({:.1})", found.validator, if found.pass { "PASS" } else { "FAIL" }, found.score)
        });
        [
            iteration.number.to_string(),
            iteration_word(iteration),
            duration(iteration.duration_ms),
            iteration.turns.to_string(),
            iteration.tool_calls.to_string(),
            (iteration.tokens_in + iteration.tokens_out).to_string(),
            checks.collect::<Vec<_>>().join(" "),
        ]
    });
    table::table(["ITERATION", "STATUS", "DURATION", "TURNS", "CALLS", "TOKENS", "VALIDATION"], rows)
}

fn iteration_word(iteration: &Iteration) -> String {
    let word = match iteration.status {
        IterationStatus::Running => "running",
        IterationStatus::Completed => "completed",
        IterationStatus::Failed => "failed",
    };
    match &iteration.cause {
        Some(cause) if iteration.status == IterationStatus::Failed => format!("{word} ({cause})"),
        Some(_) | None => word.to_string(),
    }
}

pub async fn logs(wanted: Logs, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    if wanted.follow {
        return watch_view::watch(&client, &wanted.execution, output, interrupted()?).await;
    }
    let logs = client.logs(&wanted.execution, wanted.iteration).await?;
    if let Some(at) = client.execution(&wanted.execution).await?.execution.erased_at
        && output.format == Format::Table
    {
        let text = format!("What it was told and said was erased at {at}; `tenure audit query` has the records\n");
        screen::tell(&[(Ink::Dim, &text)]);
    }
    output.show(&logs, || match logs.is_empty() {
        true => "No iteration has begun".to_string(),
        false => logs.iter().map(log).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(Exit::Done)
}

fn log(log: &IterationLog) -> String {
    let iteration = &log.iteration;
    let mut text = format!(
        "Iteration {} {} ({}, {} turns, {} tokens)\n",
        iteration.number,
        iteration_word(iteration),
        duration(iteration.duration_ms),
        iteration.turns,
        iteration.tokens_in + iteration.tokens_out,
    );
    let (mut estimated, mut answering) = (false, log.log.first().map(|turn| turn.model.as_str()));
    let is_mixed = log.log.iter().any(|turn| Some(turn.model.as_str()) != answering);
    if is_mixed {
        answering = None;
    }
    for turn in &log.log {
        if answering.is_none_or(|model| model != turn.model) {
            text.push_str(&format!("  Model: {}\n", one_line(&turn.model)));
            answering = Some(&turn.model);
        }
        if let Some(said) = turn.text.as_deref().filter(|_| !turn.calls.is_empty()) {
            text.push_str(&indented(said));
        }
        turn.calls.iter().for_each(|call| text.push_str(&call_lines("Tool", call)));
        if turn.tokens_estimated && !std::mem::replace(&mut estimated, true) {
            text.push_str("  Tokens: estimated, since the provider does not count all of them\n");
        }
    }
    log.checks.iter().for_each(|call| text.push_str(&call_lines("Check", call)));
    for found in &iteration.validation {
        let word = if found.pass { "PASS" } else { "FAIL" };
        text.push_str(&format!("  Validation: {}={word} (score={:.1})\n", found.validator, found.score));
        if let Some(reasons) = &found.reasons {
            text.push_str(&indented(reasons));
        }
    }
    if let Some(why) = &log.asked_again {
        text.push_str(&format!("  Model: asked again after {}\n", one_line(why)));
    }
    if let Some(output) = &log.output {
        text.push_str("  Output:\n");
        text.push_str(&indented(output));
    }
    text
}

/// What was done and how it ended; of a failure, also why.
fn call_lines(what: &str, call: &Call) -> String {
    let mut text = format!("  {what}: {}\n", call_line(call));
    if let (true, Some(why)) = (call.outcome.starts_with("blocked"), &call.result) {
        text.push_str(&indented(why));
        return text;
    }
    let result = call.result.as_deref().filter(|_| call.outcome.starts_with("failed"));
    let result: Option<Value> = result.and_then(|result| serde_json::from_str(result).ok());
    if let Some(why) = result.as_ref().and_then(|result| result["error"].as_str()) {
        text.push_str(&indented(why));
    }
    text
}

fn call_line(call: &Call) -> String {
    let how = match (call.outcome.as_str(), call.exit_code) {
        ("done", None | Some(0)) => String::new(),
        ("done", Some(code)) => format!(" -> exit code {code}"),
        (other, _) => format!(" -> {other}"),
    };
    one_line(&format!("{}{how}", call_summary(&call.capability, &call.target)))
}

fn indented(text: &str) -> String {
    plain(text).trim_end().lines().map(|line| format!("    {line}\n")).collect()
}

async fn cancel(
    executions: &[String],
    why: Option<String>,
    settings: &Settings,
    output: Output,
) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let cancel = async |wanted: &str| Ok(client.cancel(wanted, &Cancel { why: why.clone() }).await?);
    let text = |execution: &Shown| match execution.status {
        ExecutionStatus::Cancelled => format!("Execution {} cancelled", execution.id),
        _ => format!("Execution {} is being cancelled; its sandbox ends first", execution.id),
    };
    each(executions, output, cancel, text).await
}

/// The same agent, as it is now, and the same input.
async fn retry(wanted: &str, watch: bool, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let file = client.execution(wanted).await?;
    let Some(input) = file.input else {
        return Err(Failure::new(Exit::Conflict, format!("the input of execution {} is gone", file.execution.id))
            .why("payloads are kept for a time, and this one was erased")
            .next("`tenure execute` starts it with an input of yours"));
    };
    let start = Start { agent: file.execution.agent.to_string(), revision: None, input, max_iterations: None };
    super::execute::start(&client, &start, None, watch, output).await
}
