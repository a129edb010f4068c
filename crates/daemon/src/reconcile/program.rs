//! Owed Program: an agent that is a program is run with its prompt, as one `process.run` of the agent's own, and what it printed is
//! the attempt's output; or, where an instance keeps it running, it is told what is wanted, and its answer is the output. It judges nothing: what a good output is, validators say.
use crate::app::App;
use crate::reconcile::think;
use crate::records::{Error, ReadTxn};
use crate::upstream::Upstream;
use serde_json::{Value, json};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::call::CallRow;
use tenure_core::execution::{self, ProgramOutcome};
use tenure_core::id::{CallId, ExecutionId};
use tenure_core::manifest::{AgentKind, Validator};
use tenure_core::owed::Obligation;
use tenure_core::plan::Plan;

const RUN: &str = "process.run";
/// Stands in a command's words for the prompt; without it the prompt is the last argument.
const PROMPT: &str = "{{prompt}}";
/// The longest that one program may run, in milliseconds, as `process.run` says.
const RUN_MS_MAX: u64 = 3_600_000;
/// Of what a failed program printed, what the next attempt is told.
const PRINTED_BYTES_MAX: usize = 2 * 1024;
/// And what its record says: the last of it, since programs say at the end why they fail, and the record's sentence is short.
const RECORDED_BYTES_MAX: usize = 192;

pub async fn program(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Program { iteration, call }) = (stream, obligation) else {
        return Ok(());
    };
    let kind = app.records.read(move |txn| {
        let execution = txn.execution(id)?;
        Ok(txn.plan(execution.agent, execution.revision)?.kind())
    });
    let command = match (kind.await?.is_hosted(), call) {
        (true, None) => told(&app, id, iteration).await?,
        (true, Some(call)) => heard(&app, iteration, call).await?,
        (false, None) => asked(&app, id, iteration).await?,
        (false, Some(_)) => ended(&app, id, iteration).await?,
    };
    app.report(Actor::Daemon, Command::Execution(id, command)).await;
    Ok(())
}

async fn asked(app: &App, id: ExecutionId, iteration: u32) -> Result<execution::Command, Error> {
    let read = app.records.read(move |txn| {
        let execution = txn.execution(id)?;
        let plan = txn.plan(execution.agent, execution.revision)?;
        let prompt = think::program_prompt(txn, id, &plan, iteration)?;
        Ok((plan, prompt))
    });
    let (plan, prompt) = read.await?;
    Ok(match prompt {
        Ok(prompt) => {
            let arguments = arguments(&plan, &prompt);
            let proposal = think::proposal(app, &Upstream::default(), RUN, &arguments, None);
            execution::Command::AskProgram { iteration, proposal }
        }
        Err(failure) => execution::Command::EndProgram { iteration, outcome: ProgramOutcome::Failed { failure } },
    })
}

/// The message to a program that is kept running: what the execution was started with, and the prompt that is made of it.
async fn told(app: &App, id: ExecutionId, iteration: u32) -> Result<execution::Command, Error> {
    let read = app.records.read(move |txn| {
        let execution = txn.execution(id)?;
        let plan = txn.plan(execution.agent, execution.revision)?;
        let input = txn.text(execution.input)?;
        Ok((plan.kind(), input, think::program_prompt(txn, id, &plan, iteration)?))
    });
    Ok(match read.await? {
        (kind, input, Ok(prompt)) => {
            let given: Value = serde_json::from_str(&input).unwrap_or(Value::String(input));
            // The agents of others read a prompt; a program of one's own has both.
            let input = if kind == AgentKind::Acp { Value::String(prompt.clone()) } else { given };
            let message =
                json!({"id": format!("{id}:{iteration}"), "attempt": iteration, "input": input, "prompt": prompt});
            let message = app.committer.payload(message.to_string().into_bytes());
            execution::Command::TellProgram { iteration, message }
        }
        (_, _, Err(failure)) => {
            execution::Command::EndProgram { iteration, outcome: ProgramOutcome::Failed { failure } }
        }
    })
}

async fn heard(app: &App, iteration: u32, call: CallId) -> Result<execution::Command, Error> {
    let read = app.records.read(move |txn| {
        let call = txn.call(call)?;
        let result = result(txn, &call)?;
        Ok(if call.outcome.as_deref() == Some("done") { Ok(answer(&result)) } else { Err(unanswered(&call, &result)) })
    });
    let outcome = match read.await? {
        Ok(output) => ProgramOutcome::Answered { output: app.committer.payload(output.into_bytes()) },
        Err(failure) => ProgramOutcome::Failed { failure },
    };
    Ok(execution::Command::EndProgram { iteration, outcome })
}

/// A text as it is, or the `output` of an object that has one; of anything else its JSON.
fn answer(result: &Value) -> String {
    let answer = result.get("answer").unwrap_or(result);
    let text = answer.as_str().or_else(|| answer["output"].as_str());
    text.map_or_else(|| answer.to_string(), str::to_owned)
}

fn unanswered(call: &CallRow, result: &Value) -> String {
    let why = result.get("error").and_then(Value::as_str).or(call.sentence.as_deref());
    let word = call.outcome.as_deref().unwrap_or(&call.state);
    format!("the program did not answer ({word}): {}", why.unwrap_or("nothing more is known"))
}

fn arguments(plan: &Plan, prompt: &str) -> Value {
    let words = plan.command();
    let mut argv: Vec<String> = words.iter().map(|word| word.replace(PROMPT, prompt)).collect();
    if !words.iter().any(|word| word.contains(PROMPT)) {
        argv.push(prompt.to_string());
    }
    let timeout_ms = plan.limits.iteration_timeout_ms.clamp(1, RUN_MS_MAX);
    json!({"command": argv[0], "args": argv[1..], "timeout_ms": timeout_ms})
}

async fn ended(app: &App, id: ExecutionId, iteration: u32) -> Result<execution::Command, Error> {
    let read = app.records.read(move |txn| {
        let execution = txn.execution(id)?;
        let plan = txn.plan(execution.agent, execution.revision)?;
        let any_code = plan.validators.iter().any(|validator| matches!(validator, Validator::ExitCode { .. }));
        let call = call(txn, id, iteration)?.ok_or(Error::Gone("call"))?;
        let result = result(txn, &call)?;
        Ok(match failed(&call, &result, any_code) {
            true => Err(sentence(&call, &result, RECORDED_BYTES_MAX)),
            false => Ok(printed(&result)),
        })
    });
    let outcome = match read.await? {
        Ok(output) => ProgramOutcome::Answered { output: app.committer.payload(output.into_bytes()) },
        Err(failure) => ProgramOutcome::Failed { failure },
    };
    Ok(execution::Command::EndProgram { iteration, outcome })
}

/// Where a validator looks at the exit code, it alone decides on it.
fn failed(call: &CallRow, result: &Value, any_code: bool) -> bool {
    let ended = call.outcome.as_deref() == Some("done") && call.exit_code.is_some();
    let timed_out = result.get("timed_out").and_then(Value::as_bool).unwrap_or(false);
    !ended || timed_out || (call.exit_code != Some(0) && !any_code)
}

/// The call by which the attempt ran its program.
fn call(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32) -> Result<Option<CallRow>, Error> {
    let calls = txn.calls(id, iteration)?;
    Ok(calls.into_iter().find(|call| !call.validator && call.capability == RUN))
}

fn result(txn: &mut ReadTxn<'_>, call: &CallRow) -> Result<Value, Error> {
    Ok(call.result.map(|result| txn.json(result)).transpose()?.unwrap_or_default())
}

/// The end of its last line is no part of an output.
fn printed(result: &Value) -> String {
    let printed = result.get("stdout").and_then(Value::as_str).unwrap_or_default();
    printed.strip_suffix('\n').unwrap_or(printed).to_string()
}

fn sentence(call: &CallRow, result: &Value, printed_bytes_max: usize) -> String {
    let how = match call.exit_code {
        Some(code) => format!("the program ended with exit code {code}"),
        None => {
            let why = result.get("error").and_then(Value::as_str).or(call.sentence.as_deref());
            let word = call.outcome.as_deref().unwrap_or(&call.state);
            format!("the program did not end well ({word}): {}", why.unwrap_or("nothing more is known"))
        }
    };
    let text = |stream: &str| result.get(stream).and_then(Value::as_str).unwrap_or_default().trim();
    let printed = both(text("stdout"), text("stderr"), printed_bytes_max);
    if printed.is_empty() { how } else { format!("{how}; it printed:\n{printed}") }
}

/// The end of each stream: some programs say on the one what they do, and on the other why they fail.
fn both(output: &str, error: &str, bytes_max: usize) -> String {
    match (output.is_empty(), error.is_empty()) {
        (true, _) => last(error, bytes_max),
        (false, true) => last(output, bytes_max),
        (false, false) => format!("{}\n{}", last(output, bytes_max / 2), last(error, bytes_max / 2)),
    }
}

/// The end of a text; a cut shows as `…`.
fn last(text: &str, bytes_max: usize) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
    let cut = if from > 0 { "…" } else { "" };
    format!("{cut}{}", &text[from..])
}

/// What the attempt's program printed, once it has ended.
pub(super) fn output(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32) -> Result<Option<String>, Error> {
    if let Some(told) = txn.iteration(id, iteration)?.and_then(|row| row.told) {
        let call = txn.call(told)?;
        let result = result(txn, &call)?;
        return Ok((call.outcome.as_deref() == Some("done")).then(|| answer(&result)));
    }
    let Some(call) = call(txn, id, iteration)? else { return Ok(None) };
    let result = result(txn, &call)?;
    Ok(Some(printed(&result)))
}

/// Why the attempt's program gave no output.
pub(super) fn failure(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32) -> Result<String, Error> {
    if let Some(told) = txn.iteration(id, iteration)?.and_then(|row| row.told) {
        let call = txn.call(told)?;
        let result = result(txn, &call)?;
        return Ok(unanswered(&call, &result));
    }
    let Some(call) = call(txn, id, iteration)? else { return Ok("the program could not be run".to_string()) };
    let result = result(txn, &call)?;
    Ok(sentence(&call, &result, PRINTED_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_failed_program_printed_the_end_is_told() {
        assert_eq!(last("a banner\nERROR: no such model", 20), "…ERROR: no such model");
        assert_eq!(last("short", 20), "short");
        assert_eq!(last("äöü", 3), "…ü", "no letter is cut");
        assert_eq!(both("API error 403", "a warning", 18), "…error 403\na warning", "of each stream");
        assert_eq!((both("", "why", 9), both("why", "", 9)), ("why".to_string(), "why".to_string()));
    }
}
