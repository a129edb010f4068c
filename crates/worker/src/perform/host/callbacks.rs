//! What a program asks of its host, carried to the daemon: one stream each, its answer given back as JSON-RPC. Who asks is told by the
//! jail, as with the model listener. Must never: hold more of them than the jail has places, or answer one in the daemon's stead.
use super::super::program::Lines;
use super::super::program::message::{MESSAGE_BYTES_MAX, RpcError, answer};
use crate::models::{ANSWER_TIMEOUT, Cut, Streams};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

/// Where the daemon answers programs.
const PATH: &str = "/v1/agent/";
const REFUSED: i64 = -32000;
const TOO_MANY: i64 = -32001;

/// Those of one program. They end with it.
pub(super) struct Callbacks {
    streams: Option<Streams>,
    open: JoinSet<()>,
}

/// The right to ask once.
pub(super) struct Place {
    streams: Streams,
    place: OwnedSemaphorePermit,
}

impl Callbacks {
    pub(super) fn new(streams: Option<Streams>) -> Callbacks {
        Callbacks { streams, open: JoinSet::new() }
    }

    /// # Errors
    /// What the program is answered: too many are open, or nobody is there to ask.
    pub(super) fn place(&self) -> Result<Place, RpcError> {
        let Some(streams) = self.streams.clone() else { return Err(refused("no daemon is there to ask")) };
        let Some(place) = streams.place() else {
            let message = "this sandbox has 32 requests open already; wait for one to end".to_owned();
            return Err(RpcError { code: TOO_MANY, message, data: None });
        };
        Ok(Place { streams, place })
    }

    /// Something that goes on beside the talk; it ends with the program.
    pub(super) fn begin(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        while self.open.try_join_next().is_some() {}
        self.open.spawn(task);
    }

    /// Asks the daemon; its answer is the program's.
    pub(super) fn pass_on(&mut self, lines: &Lines, id: Value, method: &str, body: &Value) -> Result<(), String> {
        match self.place() {
            Ok(place) => {
                let (lines, method, body) = (lines.clone(), method.to_owned(), body.to_string());
                self.begin(async move {
                    let asked = place.ask(&method, &body, ANSWER_TIMEOUT).await;
                    lines.send(&answer(&id, asked)).await;
                });
                Ok(())
            }
            Err(error) => lines.say(&answer(&id, Err(error))),
        }
    }
}

impl Place {
    /// # Errors
    /// As the program is told it.
    pub(super) async fn ask(self, method: &str, body: &str, patience: Duration) -> Result<Value, RpcError> {
        let Place { streams, place } = self;
        let path = format!("{PATH}{method}");
        let (status, text) =
            streams.post((place, patience), path, body, MESSAGE_BYTES_MAX).await.map_err(|cut| match cut {
                Cut::NoDaemon => refused("the link to the daemon has ended, and this sandbox ends with it"),
                Cut::NoAnswer => refused("the daemon broke the answer off; whether it was done is not known"),
                Cut::TooLong => refused("the answer is longer than 4 MiB; ask for less at once"),
            })?;
        let told = serde_json::from_str::<Value>(&text);
        if status == 200 {
            return told.map_err(|_| refused("the daemon's answer is no JSON"));
        }
        let told = told.unwrap_or(Value::Null);
        let message = reason(&told).map_or_else(|| format!("refused ({status})"), str::to_owned);
        Err(RpcError { code: REFUSED, message, data: Some(told) })
    }
}

/// Why it was not done, wherever an answer says it: a problem, a call that failed, or one that never began.
fn reason(told: &Value) -> Option<&str> {
    let found = ["/detail", "/result/error", "/reason", "/title"].into_iter().find_map(|at| told.pointer(at));
    found.and_then(Value::as_str)
}

pub(super) fn refused(message: impl Into<String>) -> RpcError {
    RpcError { code: REFUSED, message: message.into(), data: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_reason_is_found_in_a_problem_and_in_a_call_that_failed() {
        assert_eq!(reason(&json!({"title": "t", "detail": "d"})), Some("d"));
        assert_eq!(reason(&json!({"call": "c", "outcome": "failed:io", "result": {"error": "e"}})), Some("e"));
        assert_eq!(reason(&json!({"call": "c", "outcome": "policy", "reason": "r"})), Some("r"));
        assert_eq!(reason(&json!({"title": "t"})), Some("t"));
        assert_eq!(reason(&json!("text")), None);
    }
}
