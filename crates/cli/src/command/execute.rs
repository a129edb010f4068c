//! `tenure execute` and `tenure agent run`.
use std::path::Path;

use serde_json::value::RawValue;
use tenure_wire::api::INPUT_BYTES_MAX;
use tenure_wire::api::execution::Start;
use tenure_wire::client::Client;

use super::{contents, interrupted};
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

/// JSON as written; what does not begin as JSON is a string. None at all is null.
fn input(typed: Option<&str>, text: bool) -> Result<Box<RawValue>, Failure> {
    let Some(typed) = typed else { return Ok(RawValue::NULL.to_owned()) };
    let content = match typed.strip_prefix('@') {
        Some(file) => read(Path::new(file))?,
        None if typed == "-" => read(Path::new("-"))?,
        None => typed.to_string(),
    };
    let trimmed = content.trim();
    let quoted = || serde_json::value::to_raw_value(&content).expect("invariant: a string is JSON");
    let value = match RawValue::from_string(trimmed.to_string()) {
        _ if text => quoted(),
        _ if trimmed.is_empty() => {
            return Err(Failure::new(Exit::Refused, "the input is empty")
                .next("leave --input out where there is none, or say --text if nothing is meant"));
        }
        Ok(value) => value,
        Err(error) if trimmed.starts_with(['{', '[', '"']) => {
            return Err(Failure::new(Exit::Refused, "the input begins as JSON and is none")
                .why(error.to_string())
                .next("mend the JSON, or say --text if it is text"));
        }
        Err(_) => quoted(),
    };
    let size = value.get().len();
    if size > INPUT_BYTES_MAX {
        return Err(Failure::new(
            Exit::Refused,
            format!("the input has {size} bytes as JSON; at most {INPUT_BYTES_MAX} are taken"),
        )
        .next("keep large data in files of the agent's work folder"));
    }
    Ok(value)
}

fn read(path: &Path) -> Result<String, Failure> {
    String::from_utf8(contents(path, INPUT_BYTES_MAX)?)
        .map_err(|_| Failure::new(Exit::Refused, format!("{} is not UTF-8", path.display())))
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
    fn input_that_does_not_begin_as_json_is_a_string() {
        let json = |typed: &str| input(Some(typed), false).unwrap().get().to_string();
        assert_eq!(json(r#"{"task": "x",  "n": 1.50}"#), r#"{"task": "x",  "n": 1.50}"#);
        assert_eq!(json("reverse \"it\""), r#""reverse \"it\"""#);
        assert_eq!((json("12"), json("-5 is cold")), ("12".to_string(), r#""-5 is cold""#.to_string()));
        assert_eq!(input(None, false).unwrap().get(), "null");
        assert_eq!(input(Some("@/nowhere/at/all"), false).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn empty_and_broken_input_is_refused_unless_it_is_said_to_be_text() {
        for typed in ["", "  \n", r#"{"task": "#, "[1, 2", "\"open", "[x] first, do this"] {
            assert_eq!(input(Some(typed), false).unwrap_err().exit, Exit::Refused, "{typed:?}");
            let text: String = serde_json::from_str(input(Some(typed), true).unwrap().get()).unwrap();
            assert_eq!(text, typed);
        }
        let most = "x".repeat(INPUT_BYTES_MAX - 2);
        assert!(input(Some(&most), false).is_ok(), "with its quotes it is just as long as is taken");
        assert_eq!(input(Some(&(most + "x")), false).unwrap_err().exit, Exit::Refused);
    }
}
