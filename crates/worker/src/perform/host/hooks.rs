//! The protocol `hooks`: our own, JSON-RPC 2.0, one message a line; a hook is a request of the program, whose name is the hook's.
//! Must never: ask what no hook is, or hand on a callback that is none.
use super::super::program::message::{RpcError, Said, UNKNOWN_METHOD, answer, notification, request};
use super::super::program::{Counterpart, Program, Talk};
use super::{CallResult, Callbacks, Fault, Hook, Patience, TAKE_BACK_TIMEOUT, absent, hook_failed};
use crate::output::Shown;
use serde_json::{Value, json};
use tenure_core::capability::clip;
use tokio::time::timeout;

/// What a program may ask of its host, all of it answered by the daemon.
const CALLBACKS: [&str; 10] = [
    "capability.invoke",
    "state.get",
    "state.set",
    "state.delete",
    "state.list",
    "memory.get",
    "memory.set",
    "memory.delete",
    "memory.list",
    "model.generate",
];
/// Methods of this group are the daemon's to know.
const COMMS: &str = "comms.";
const METHOD_BYTES_MAX: usize = 64;

/// The host's side of the talk.
pub(super) struct Side {
    log: Shown,
    callbacks: Callbacks,
}

impl Side {
    pub(super) fn new(log: Shown, callbacks: Callbacks) -> Side {
        Side { log, callbacks }
    }

    fn note(&mut self, params: &Value) {
        let level = params["level"].as_str().unwrap_or("info");
        let text = params["text"].as_str().map_or_else(|| params["text"].to_string(), str::to_owned);
        self.log.push(true, format!("[{}] {text}\n", clip(level)).as_bytes());
    }
}

impl Counterpart for Side {
    type Ear = ();
    const NOISE_MAX: u32 = 32;

    fn hear(&mut self, said: Said, talk: &mut Talk<()>) -> Result<(), String> {
        match said {
            Said::Request { id, method, params } if method == "log" => {
                self.note(&params);
                talk.lines.say(&answer(&id, Ok(Value::Null)))
            }
            Said::Request { id, method, params } if is_callback(&method) => {
                self.callbacks.pass_on(&talk.lines, id, &method, &json!({"params": params}))
            }
            Said::Request { id, method, .. } => {
                let message = format!("`{}` is nothing that an agent can ask", clip(&method));
                talk.lines.say(&answer(&id, Err(RpcError { code: UNKNOWN_METHOD, message, data: None })))
            }
            Said::Notice { method, params } => {
                if method == "log" {
                    self.note(&params);
                }
                Ok(())
            }
        }
    }

    fn log(&mut self, bytes: &[u8]) {
        self.log.push(true, bytes);
    }
}

fn is_callback(method: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let comms = method.strip_prefix(COMMS).is_some_and(|name| !name.is_empty() && name.bytes().all(word));
    method.len() <= METHOD_BYTES_MAX && (comms || CALLBACKS.contains(&method))
}

/// One hook, and its answer.
pub(super) async fn ask(
    program: &Program<()>,
    hook: Hook,
    arguments: &Value,
    patience: &Patience,
) -> Result<CallResult, Fault> {
    let id = program.next_id();
    let asking = program.ask(id, request(id, hook.as_str(), arguments), ());
    let answered = tokio::select! {
        answered = asking => answered.map_err(Fault::Ended)?.0,
        why = patience.over() => {
            // One that reads nothing is told nothing: the call is over.
            let told = program.take_back(id, notification("cancel", &json!({"id": id})));
            let _ = timeout(TAKE_BACK_TIMEOUT, told).await;
            return Err(why);
        }
    };
    Ok(match answered {
        Ok(answer) => CallResult::done(json!({ "answer": answer })),
        Err(RpcError { code: UNKNOWN_METHOD, .. }) if hook.is_optional() => absent(),
        Err(error) => hook_failed(hook, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_handed_on_and_nothing_makes_a_path_of_its_own() {
        for known in
            ["capability.invoke", "state.set", "memory.list", "comms.send", "comms.mark_read", "model.generate"]
        {
            assert!(is_callback(known), "{known}");
        }
        let long = format!("comms.{}", "a".repeat(METHOD_BYTES_MAX));
        for wrong in ["", "state", "state.drop", "comms.", "comms./../x", "comms.a b", "comms.A", "permission", &long] {
            assert!(!is_callback(wrong), "{wrong}");
        }
    }
}
