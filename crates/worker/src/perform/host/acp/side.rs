//! What an agent says to its client: the pieces of its answers, and what it wants done. Each wish goes to the daemon, which judges it
//! as any call of the agent. Must never: allow what nobody allowed, or do in the jail what it could be told to do by the agent itself.
use super::super::super::program::message::{RpcError, Said, UNKNOWN_METHOD, answer};
use super::super::super::program::{Counterpart, Lines, Talk};
use super::super::callbacks::{Callbacks, refused};
use super::mode::{self, SaidModes};
use super::terminals::Terminals;
use crate::models::ANSWER_TIMEOUT;
use crate::output::Shown;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tenure_core::capability::clip;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Tools of one turn whose titles are kept.
const TITLES_MAX: usize = 256;
/// Bytes of an answer's text that are kept; all of it is shown.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// A person may take this long to answer; the message's own time is mostly less.
const PERMISSION_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Most of a text file that is read for an agent.
const READ_BYTES_MAX: u64 = 1 << 20;
/// What Codex puts beside a command that names this asking alone: a decision on the same command is one, also after a restart.
const OF_ONE_ASKING: [&str; 3] = ["call_id", "turn_id", "started_at_ms"];
const INVALID_PARAMS: i64 = -32602;

/// What an open request of the agent hears.
#[derive(Debug, Default)]
pub(in super::super) struct Turn(pub(super) Option<Prompt>);

#[derive(Debug)]
pub(super) struct Prompt {
    session: String,
    output: String,
    cut: bool,
    /// Of the tools that it uses, by their ids: how they end is told without them.
    titles: HashMap<String, String>,
    shown: Shown,
    /// Nobody waits for it any more.
    over: CancellationToken,
}

impl Prompt {
    pub(super) fn new(session: &str, shown: Shown, over: CancellationToken) -> Prompt {
        let (session, output, titles) = (session.to_owned(), String::new(), HashMap::new());
        Prompt { session, output, cut: false, titles, shown, over }
    }

    fn tool_begins(&mut self, id: String, title: String) {
        self.shown.push(false, format!("\n[tool] {title}\n").as_bytes());
        if self.titles.len() < TITLES_MAX {
            self.titles.insert(id, title);
        }
    }

    fn tool_ends(&mut self, id: &str, status: &str) {
        let title = self.titles.remove(id).unwrap_or_else(|| id.to_owned());
        self.shown.push(false, format!("[tool] {title}: {status}\n").as_bytes());
    }

    fn push(&mut self, text: &str) {
        self.shown.push(false, text.as_bytes());
        let room = OUTPUT_BYTES_MAX - self.output.len();
        self.cut |= text.len() > room;
        if !self.cut {
            self.output.push_str(text);
        }
    }
}

impl Turn {
    pub(super) fn output(self) -> String {
        let Some(Prompt { mut output, cut, .. }) = self.0 else { return String::new() };
        if cut {
            output.push_str("\n[… the rest was left out: more than 1 MiB came …]");
        }
        output
    }
}

pub(super) struct Side {
    log: Shown,
    callbacks: Callbacks,
    terminals: Terminals,
    said: watch::Sender<SaidModes>,
}

impl Side {
    pub(super) fn new(log: Shown, callbacks: Callbacks, said: watch::Sender<SaidModes>) -> Side {
        Side { log, callbacks, terminals: Terminals::default(), said }
    }

    fn update(&mut self, params: &Value, talk: &mut Talk<Turn>) {
        let (session, update) = (params["sessionId"].as_str().unwrap_or_default(), &params["update"]);
        if let Some(mode) = mode::said(update) {
            self.said.send_modify(|said| said.push(mode));
            return;
        }
        let prompts = talk.ears().filter_map(|turn| turn.0.as_mut());
        // What comes outside a prompt is an earlier session told again.
        let Some(prompt) = prompts.into_iter().find(|prompt| prompt.session == session) else { return };
        let word = |name: &str| update[name].as_str().map(clip).unwrap_or_default();
        match update["sessionUpdate"].as_str().unwrap_or_default() {
            "agent_message_chunk" => {
                if let Some(text) = update["content"]["text"].as_str() {
                    prompt.push(text);
                }
            }
            "tool_call" => prompt.tool_begins(word("toolCallId"), word("title")),
            "tool_call_update" => {
                if let Some(status @ ("completed" | "failed")) = update["status"].as_str() {
                    prompt.tool_ends(&word("toolCallId"), status);
                }
            }
            _ => {}
        }
    }

    /// Becomes an approval, unless a policy decides it at once. Without a prompt nobody waits for it.
    fn permission(&mut self, id: Value, params: &Value, talk: &mut Talk<Turn>) -> Result<(), String> {
        let cancelled = || json!({"outcome": {"outcome": "cancelled"}});
        let session = params["sessionId"].as_str().unwrap_or_default();
        let over = talk.ears().filter_map(|turn| turn.0.as_ref()).find(|prompt| prompt.session == session);
        let Some(over) = over.map(|prompt| prompt.over.clone()) else {
            return talk.lines.say(&answer(&id, Ok(cancelled())));
        };
        let place = match self.callbacks.place() {
            Ok(place) => place,
            Err(error) => return talk.lines.say(&answer(&id, Err(error))),
        };
        let options = params["options"].clone();
        let mut tool_call = params["toolCall"].clone();
        if let Some(input) = tool_call.get_mut("rawInput").and_then(Value::as_object_mut) {
            input.retain(|name, _| !OF_ONE_ASKING.contains(&name.as_str()));
        }
        let body = json!({"params": {"tool_call": tool_call, "options": options}}).to_string();
        let lines = talk.lines.clone();
        self.callbacks.begin(async move {
            let told = tokio::select! {
                told = place.ask("permission", &body, PERMISSION_TIMEOUT) => told,
                () = over.cancelled() => Ok(Value::Null),
            };
            let chosen = told.ok().and_then(|told| told["option_id"].as_str().map(str::to_owned));
            // Only what was offered can be chosen.
            let offered =
                |chosen: &String| options.as_array().into_iter().flatten().any(|one| one["optionId"] == **chosen);
            let outcome = match chosen.filter(offered) {
                Some(chosen) => json!({"outcome": {"outcome": "selected", "optionId": chosen}}),
                None => cancelled(),
            };
            lines.send(&answer(&id, Ok(outcome))).await;
        });
        Ok(())
    }

    /// One call of a capability, of whose result `reads` makes the answer.
    fn invoke(
        &mut self,
        (lines, id): (&Lines, Value),
        (capability, arguments): (&str, Value),
        reads: impl FnOnce(&Value) -> Result<Value, RpcError> + Send + 'static,
    ) -> Result<(), String> {
        let place = match self.callbacks.place() {
            Ok(place) => place,
            Err(error) => return lines.say(&answer(&id, Err(error))),
        };
        let body = json!({"params": {"capability": capability, "arguments": arguments}}).to_string();
        let lines = lines.clone();
        self.callbacks.begin(async move {
            let told = place.ask("capability.invoke", &body, ANSWER_TIMEOUT).await;
            lines.send(&answer(&id, told.and_then(|told| reads(result_of(&told)?)))).await;
        });
        Ok(())
    }

    fn read_file(&mut self, lines: &Lines, id: Value, params: &Value) -> Result<(), String> {
        let arguments = json!({"path": params["path"], "max_bytes": READ_BYTES_MAX});
        let (first, count) = (params["line"].as_u64(), params["limit"].as_u64());
        self.invoke((lines, id), ("filesystem.read", arguments), move |result| {
            let content = result["content"].as_str().unwrap_or_default();
            let is_whole = result["size"].as_u64().is_none_or(|size| size <= READ_BYTES_MAX);
            if result["encoding"].as_str().is_some_and(|encoding| encoding != "utf-8") {
                return Err(refused("the file is no text"));
            }
            if !is_whole && first.is_none() && count.is_none() {
                return Err(refused("the file is longer than 1 MiB; read it by line and limit"));
            }
            Ok(json!({"content": lines_of(content, first, count)}))
        })
    }
}

/// The result of a call in the daemon's answer, or the error that it ended with.
pub(super) fn result_of(told: &Value) -> Result<&Value, RpcError> {
    let result = told.get("result").filter(|result| result.is_object()).unwrap_or(told);
    match result.get("error").and_then(Value::as_str) {
        Some(sentence) => Err(RpcError { data: Some(told.clone()), ..refused(sentence) }),
        None => Ok(result),
    }
}

/// From the line `first`, counted from 1, so many.
fn lines_of(content: &str, first: Option<u64>, count: Option<u64>) -> String {
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let skipped = content.split_inclusive('\n').skip(number(first.unwrap_or(1).saturating_sub(1)));
    skipped.take(count.map_or(usize::MAX, number)).collect()
}

impl Counterpart for Side {
    type Ear = Turn;
    const NOISE_MAX: u32 = 32;

    fn hear(&mut self, said: Said, talk: &mut Talk<Turn>) -> Result<(), String> {
        let (id, method, params) = match said {
            Said::Notice { method, params } => {
                if method == "session/update" {
                    self.update(&params, talk);
                }
                return Ok(());
            }
            Said::Request { id, method, params } => (id, method, params),
        };
        let lines = talk.lines.clone();
        match method.as_str() {
            "session/request_permission" => self.permission(id, &params, talk),
            "fs/read_text_file" | "fs/write_text_file" if !params["path"].is_string() => {
                let message = "a file has a `path`".to_owned();
                lines.say(&answer(&id, Err(RpcError { code: INVALID_PARAMS, message, data: None })))
            }
            "fs/read_text_file" => self.read_file(&lines, id, &params),
            "fs/write_text_file" => {
                let arguments = json!({"path": params["path"], "content": params["content"]});
                self.invoke((&lines, id), ("filesystem.write", arguments), |_| Ok(json!({})))
            }
            terminal if terminal.starts_with("terminal/") => {
                self.terminals.hear(&mut self.callbacks, &lines, (id, terminal, &params))
            }
            other => {
                let message = format!("`{}` is not offered by this client", clip(other));
                lines.say(&answer(&id, Err(RpcError { code: UNKNOWN_METHOD, message, data: None })))
            }
        }
    }

    fn log(&mut self, bytes: &[u8]) {
        self.log.push(true, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_keep_their_ends() {
        assert_eq!(lines_of("a\nb\nc", None, None), "a\nb\nc");
        assert_eq!(lines_of("a\nb\nc", Some(2), Some(1)), "b\n");
        assert_eq!(lines_of("a\nb\nc", Some(0), Some(1)), "a\n");
        assert_eq!(lines_of("a\nb\nc", Some(9), None), "");
    }

    #[test]
    fn an_error_in_a_result_is_one_wherever_the_result_stands() {
        assert!(result_of(&json!({"error": "no"})).is_err());
        assert!(result_of(&json!({"call": "c", "result": {"error": "no"}})).is_err());
        assert_eq!(result_of(&json!({"result": {"content": "a"}})).unwrap()["content"], "a");
        assert_eq!(result_of(&json!({"content": "a"})).unwrap()["content"], "a");
    }
}
