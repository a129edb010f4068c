//! `tenure execute` and `tenure agent run`.
use serde_json::value::RawValue;
use tenure_wire::api::INPUT_BYTES_MAX;
use tenure_wire::api::execution::{ExecutionStatus, Start};
use tenure_wire::client::Client;

use std::time::Duration;

use tokio::time::sleep;

use super::{interrupted, typed};
use crate::args::{Execute, Run};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, watch_view};
use crate::screen::one_line;

pub async fn run(execute: Execute, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let (agent, typed) = agent_and_input(execute.words, execute.agent, execute.input)?;
    let (agent, revision) = of_revision(&agent)?;
    let input = input(typed.as_deref(), execute.text)?;
    let start = Start { agent, revision, input, max_iterations: execute.max_iterations };
    self::start(&client, &start, execute.idempotency_key.as_deref(), execute.watch, output).await
}

/// The instruction is the input, which stands beside what the agent is told at each start.
pub async fn now(run: Run, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let (agent, revision) = of_revision(&run.agent)?;
    let input = input(Some(&run.instruction), run.text)?;
    let start = Start { agent, revision, input, max_iterations: None };
    self::start(&settings.client()?, &start, None, run.watch, output).await
}

/// `NAME@3` is revision 3 of it; no name has an `@`.
fn of_revision(agent: &str) -> Result<(String, Option<u32>), Failure> {
    let Some((name, number)) = agent.split_once('@') else { return Ok((agent.to_string(), None)) };
    match number.parse::<u32>() {
        Ok(number) if number > 0 && !name.is_empty() => Ok((name.to_string(), Some(number))),
        Ok(_) | Err(_) => Err(Failure::new(Exit::Usage, format!("`{}` names no revision", one_line(agent)))
            .next("write NAME@3 for revision 3; `tenure agent revisions NAME` lists them")),
    }
}

pub async fn start(
    client: &Client,
    start: &Start,
    idempotency_key: Option<&str>,
    watch: bool,
    output: Output,
) -> Result<Exit, Failure> {
    // Whoever interrupts while the start is asked for is told what was started.
    let interrupted = if watch { Some(interrupted()?) } else { None };
    let started = client.start(start, idempotency_key).await?;
    let id = started.execution.id.to_string();
    if let Some(interrupted) = interrupted {
        return watch_view::watch(client, &id, output, interrupted).await;
    }
    output.show(&started, || match started.repeated {
        false => format!("Execution started: {id}"),
        true => format!("Execution was started before: {id} ({})", started.execution.status.as_str()),
    })?;
    Ok(Exit::Done)
}

/// Starts it, waits for its end, and prints what it gave.
pub async fn answered(client: &Client, start: &Start, output: Output) -> Result<Exit, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let started = client.start(start, None).await?;
    let id = started.execution.id.to_string();
    let mut file = client.execution(&id).await?;
    while file.execution.ended_at.is_none() {
        sleep(LOOK_EVERY).await;
        file = client.execution(&id).await?;
    }
    match &file.output {
        Some(answer) if file.execution.status == ExecutionStatus::Completed => {
            output.show(&file, || format!("{}\n", answer.trim_end()))?;
            Ok(Exit::Done)
        }
        Some(_) | None => {
            let detail = file.execution.detail.clone().unwrap_or_default();
            let why = format!("{}: {detail}", file.execution.status.as_str());
            Err(Failure::new(Exit::Failure, "there is no answer")
                .why(why)
                .next(format!("`tenure logs {id}` shows more")))
        }
    }
}

/// By place, by flag, or the agent by flag and the input by place.
fn agent_and_input(
    words: Vec<String>,
    agent: Option<String>,
    input: Option<String>,
) -> Result<(String, Option<String>), Failure> {
    let mut words = words.into_iter();
    let twice = |what: &str| Failure::new(Exit::Usage, format!("{what} is given twice, by place and by flag"));
    let agent = agent.or_else(|| words.next());
    let agent = agent.ok_or_else(|| Failure::new(Exit::Usage, "no agent is named"))?;
    if agent.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "the agent's name is empty").next("is a variable not set?"));
    }
    let input = match (words.next(), input) {
        (Some(_), Some(_)) => return Err(twice("the input")),
        (typed, flag) => typed.or(flag),
    };
    if words.next().is_some() {
        return Err(twice("the agent"));
    }
    Ok((agent, input))
}

/// None at all is null.
fn input(typed: Option<&str>, text: bool) -> Result<Box<RawValue>, Failure> {
    match typed {
        Some(typed) => typed::json(typed, text, "input", INPUT_BYTES_MAX),
        None => Ok(RawValue::NULL.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_and_its_input_come_by_place_or_by_flag_and_neither_twice() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect::<Vec<_>>();
        let some = |text: &str| Some(text.to_string());
        let both = ("fizz".to_string(), some("go"));
        assert_eq!(agent_and_input(words(&["fizz", "go"]), None, None).unwrap(), both);
        assert_eq!(agent_and_input(words(&["go"]), some("fizz"), None).unwrap(), both);
        assert_eq!(agent_and_input(words(&["fizz"]), None, some("go")).unwrap(), both);
        assert_eq!(agent_and_input(words(&["fizz"]), None, None).unwrap().1, None);
        assert_eq!(agent_and_input(words(&["fizz", "go"]), some("fizz"), None).unwrap_err().exit, Exit::Usage);
        assert_eq!(agent_and_input(words(&["fizz", "go"]), None, some("go")).unwrap_err().exit, Exit::Usage);
        assert_eq!(agent_and_input(words(&["", "go"]), None, None).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn no_input_is_null_and_one_is_read_as_every_verb_reads_it() {
        assert_eq!(input(None, false).unwrap().get(), "null");
        assert_eq!(input(Some("[1]"), false).unwrap().get(), "[1]");
        assert_eq!(input(Some("[1]"), true).unwrap().get(), "\"[1]\"");
    }
}
