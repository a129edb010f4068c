//! `tenure execute`.
use std::path::Path;

use serde_json::value::RawValue;
use tenure_wire::api::execution::Start;
use tenure_wire::client::Client;

use super::contents;
use crate::args::Execute;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, watch_view};

pub async fn run(execute: Execute, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let (agent, typed) = agent_and_input(execute.words, execute.agent, execute.input)?;
    let start = Start { agent, input: input(&typed)?, max_iterations: execute.max_iterations };
    self::start(&client, &start, execute.idempotency_key.as_deref(), execute.watch, output).await
}

pub async fn start(
    client: &Client,
    start: &Start,
    idempotency_key: Option<&str>,
    watch: bool,
    output: Output,
) -> Result<Exit, Failure> {
    let started = client.start(start, idempotency_key).await?;
    let id = started.execution.id.to_string();
    if watch {
        return watch_view::watch(client, &id, output).await;
    }
    output.show(&started, || match started.repeated {
        false => format!("Execution started: {id}"),
        true => format!("Execution was started before: {id} ({})", started.execution.status.as_str()),
    });
    Ok(Exit::Done)
}

/// By place, by flag, or the agent by flag and the input by place.
fn agent_and_input(
    words: Vec<String>,
    agent: Option<String>,
    input: Option<String>,
) -> Result<(String, String), Failure> {
    let mut words = words.into_iter();
    let twice = |what: &str| Failure::new(Exit::Usage, format!("{what} is given twice, by place and by flag"));
    let agent = agent.or_else(|| words.next());
    let agent = agent.ok_or_else(|| Failure::new(Exit::Usage, "no agent is named"))?;
    let input = match (words.next(), input) {
        (Some(_), Some(_)) => return Err(twice("the input")),
        (Some(typed), None) | (None, Some(typed)) => typed,
        (None, None) => "null".to_string(),
    };
    if words.next().is_some() {
        return Err(twice("the agent"));
    }
    Ok((agent, input))
}

/// JSON as written; what is none is a string.
fn input(typed: &str) -> Result<Box<RawValue>, Failure> {
    let text = match typed.strip_prefix('@') {
        Some(file) => read(Path::new(file))?,
        None if typed == "-" => read(Path::new("-"))?,
        None => typed.to_string(),
    };
    let quoted = |text: &str| serde_json::value::to_raw_value(text).expect("invariant: a string is JSON");
    Ok(RawValue::from_string(text.trim().to_string()).unwrap_or_else(|_| quoted(&text)))
}

fn read(path: &Path) -> Result<String, Failure> {
    String::from_utf8(contents(path)?)
        .map_err(|_| Failure::new(Exit::Refused, format!("{} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_and_its_input_come_by_place_or_by_flag_and_neither_twice() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_string()).collect::<Vec<_>>();
        let some = |text: &str| Some(text.to_string());
        let both = ("fizz".to_string(), "go".to_string());
        assert_eq!(agent_and_input(words(&["fizz", "go"]), None, None).unwrap(), both);
        assert_eq!(agent_and_input(words(&["go"]), some("fizz"), None).unwrap(), both);
        assert_eq!(agent_and_input(words(&["fizz"]), None, some("go")).unwrap(), both);
        assert_eq!(agent_and_input(words(&["fizz"]), None, None).unwrap().1, "null");
        assert_eq!(agent_and_input(words(&["fizz", "go"]), some("fizz"), None).unwrap_err().exit, Exit::Usage);
        assert_eq!(agent_and_input(words(&["fizz", "go"]), None, some("go")).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn input_that_is_no_json_is_a_string() {
        assert_eq!(input(r#"{"task": "x",  "n": 1.50}"#).unwrap().get(), r#"{"task": "x",  "n": 1.50}"#);
        assert_eq!(input("reverse \"it\"").unwrap().get(), r#""reverse \"it\"""#);
        assert_eq!(input("12").unwrap().get(), "12");
        assert_eq!(input("@/nowhere/at/all").unwrap_err().exit, Exit::NotFound);
    }
}
