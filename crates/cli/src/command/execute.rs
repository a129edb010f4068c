//! `tenure execute`.
use std::path::Path;

use serde_json::value::RawValue;
use tenure_wire::api::execution::Start;

use super::contents;
use crate::args::Execute;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, watch_view};

pub async fn run(execute: Execute, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let start = Start { agent: execute.agent, input: input(&execute.input)?, max_iterations: execute.max_iterations };
    let started = client.start(&start, execute.idempotency_key.as_deref()).await?;
    let id = started.execution.id.to_string();
    if execute.watch {
        return watch_view::watch(&client, &id, output).await;
    }
    output.show(&started, || match started.repeated {
        false => format!("Execution started: {id}"),
        true => format!("Execution was started before: {id} ({})", started.execution.status.as_str()),
    });
    Ok(Exit::Done)
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
    fn input_that_is_no_json_is_a_string() {
        assert_eq!(input(r#"{"task": "x",  "n": 1.50}"#).unwrap().get(), r#"{"task": "x",  "n": 1.50}"#);
        assert_eq!(input("reverse \"it\"").unwrap().get(), r#""reverse \"it\"""#);
        assert_eq!(input("12").unwrap().get(), "12");
        assert_eq!(input("@/nowhere/at/all").unwrap_err().exit, Exit::NotFound);
    }
}
