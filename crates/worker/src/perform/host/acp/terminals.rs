//! Terminals that an agent asks its client for: each is one `process.run` of the agent, whose output is there once it has ended.
//! Must never: run anything by itself, or keep the output of a terminal that was released.
use super::super::super::program::Lines;
use super::super::super::program::message::{RpcError, UNKNOWN_METHOD, answer};
use super::super::callbacks::{Callbacks, Place, refused};
use super::side::result_of;
use crate::models::ANSWER_TIMEOUT;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use tenure_core::capability::clip;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Open ones of one agent.
const TERMINALS_MAX: usize = 32;
const OUTPUT_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Terminals {
    open: HashMap<String, Terminal>,
    last: u64,
}

#[derive(Debug)]
struct Terminal {
    /// None until it has ended.
    ended: watch::Receiver<Option<Ended>>,
    kill: CancellationToken,
    output_max: usize,
}

#[derive(Debug, Clone)]
struct Ended {
    output: String,
    code: Option<i64>,
    signal: Option<String>,
}

impl Ended {
    fn status(&self) -> Value {
        json!({"exitCode": self.code, "signal": self.signal})
    }
}

impl Terminals {
    pub(super) fn hear(
        &mut self,
        callbacks: &mut Callbacks,
        lines: &Lines,
        (id, method, params): (Value, &str, &Value),
    ) -> Result<(), String> {
        let named = params["terminalId"].as_str().unwrap_or_default();
        let found = self.open.get(named);
        let answered = match (method, found) {
            ("terminal/create", _) => self.create(callbacks, params),
            ("terminal/output", Some(terminal)) => Ok(terminal.output()),
            ("terminal/wait_for_exit", Some(terminal)) => {
                let (mut ended, lines) = (terminal.ended.clone(), lines.clone());
                callbacks.begin(async move {
                    let status =
                        ended.wait_for(Option::is_some).await.ok().and_then(|ended| Some(ended.as_ref()?.status()));
                    let status = status.ok_or_else(|| refused("the terminal is gone"));
                    lines.send(&answer(&id, status)).await;
                });
                return Ok(());
            }
            ("terminal/kill", Some(terminal)) => {
                terminal.kill.cancel();
                Ok(json!({}))
            }
            ("terminal/release", Some(terminal)) => {
                terminal.kill.cancel();
                self.open.remove(named);
                Ok(json!({}))
            }
            ("terminal/output" | "terminal/wait_for_exit" | "terminal/kill" | "terminal/release", None) => {
                Err(refused(format!("there is no terminal `{}`", clip(named))))
            }
            (other, _) => {
                let message = format!("`{}` is not offered by this client", clip(other));
                Err(RpcError { code: UNKNOWN_METHOD, message, data: None })
            }
        };
        lines.say(&answer(&id, answered))
    }

    fn create(&mut self, callbacks: &mut Callbacks, params: &Value) -> Result<Value, RpcError> {
        if self.open.len() >= TERMINALS_MAX {
            return Err(refused(format!("{TERMINALS_MAX} terminals are open already; release one first")));
        }
        let arguments = arguments(params)?;
        let place = callbacks.place()?;
        let (tell, ended) = watch::channel(None);
        let kill = CancellationToken::new();
        let asked = params["outputByteLimit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let output_max = asked.map_or(OUTPUT_BYTES_MAX, |asked| asked.min(OUTPUT_BYTES_MAX));
        callbacks.begin(run(place, arguments, kill.clone(), tell));
        self.last += 1;
        let name = format!("terminal-{}", self.last);
        self.open.insert(name.clone(), Terminal { ended, kill, output_max });
        Ok(json!({ "terminalId": name }))
    }
}

impl Terminal {
    fn output(&self) -> Value {
        let ended = self.ended.borrow();
        let Some(ended) = ended.as_ref() else { return json!({"output": "", "truncated": false}) };
        let start = ended.output.ceil_char_boundary(ended.output.len().saturating_sub(self.output_max));
        json!({"output": &ended.output[start..], "truncated": start > 0, "exitStatus": ended.status()})
    }
}

/// As `process.run` wants them. What stands in one word with spaces is a line for a shell.
fn arguments(params: &Value) -> Result<Value, RpcError> {
    let Some(command) = params["command"].as_str().filter(|command| !command.is_empty()) else {
        return Err(refused("a terminal has a `command`"));
    };
    let words = params["args"].as_array().cloned().unwrap_or_default();
    let mut arguments = if words.is_empty() && command.contains(char::is_whitespace) {
        json!({"command": "sh", "args": ["-c", command]})
    } else {
        json!({"command": command, "args": words})
    };
    let env: Map<String, Value> = params["env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["value"].clone())))
        .collect();
    if !env.is_empty() {
        arguments["env"] = Value::Object(env);
    }
    if let Some(cwd) = params["cwd"].as_str() {
        arguments["cwd"] = json!(cwd);
    }
    Ok(arguments)
}

/// Once it is killed nobody waits for the call, which takes it back.
async fn run(place: Place, arguments: Value, kill: CancellationToken, tell: watch::Sender<Option<Ended>>) {
    let body = json!({"params": {"capability": "process.run", "arguments": arguments}}).to_string();
    let told = tokio::select! {
        told = place.ask("capability.invoke", &body, ANSWER_TIMEOUT) => Some(told),
        () = kill.cancelled() => None,
    };
    let ended = match told {
        None => Ended { output: String::new(), code: None, signal: Some("SIGKILL".to_owned()) },
        Some(Ok(told)) => match result_of(&told) {
            Ok(result) => of(result),
            Err(error) => Ended { output: error.message, code: Some(126), signal: None },
        },
        Some(Err(error)) => Ended { output: error.message, code: Some(126), signal: None },
    };
    tell.send_replace(Some(ended));
}

fn of(result: &Value) -> Ended {
    let text = |name: &str| result[name].as_str().unwrap_or_default();
    let output = format!("{}{}", text("stdout"), text("stderr"));
    let signal = result["signal"].as_i64().map(|signal| signal.to_string());
    Ended { output, code: result["exit_code"].as_i64(), signal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_shell_is_run_by_one_and_a_program_with_words_is_not() {
        let line = arguments(&json!({"command": "echo a > b", "env": [{"name": "A", "value": "1"}]})).unwrap();
        assert_eq!(line, json!({"command": "sh", "args": ["-c", "echo a > b"], "env": {"A": "1"}}));
        let program = arguments(&json!({"command": "a b", "args": ["c"], "cwd": "/workspace"})).unwrap();
        assert_eq!(program, json!({"command": "a b", "args": ["c"], "cwd": "/workspace"}));
        assert!(arguments(&json!({})).is_err());
    }
}
