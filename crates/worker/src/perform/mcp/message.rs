//! JSON-RPC 2.0 as both transports carry it, and what each era of the protocol adds to a request.
use serde::Deserialize;
use serde_json::{Value, json};
use tenure_core::capability::clip;

/// Of one message of a server's.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// What `initialize` offers, and what a server may answer with.
pub(super) const OFFERED: &str = "2025-11-25";
pub(super) const SPOKEN: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Without `initialize`: each request says all of itself.
pub(super) const STATELESS: &str = "2026-07-28";

/// Which of the protocol's two forms a server speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Era {
    /// Greeted once, with the version that it answered.
    Greeted(String),
    Stateless,
}

impl Era {
    pub(super) fn version(&self) -> &str {
        match self {
            Era::Greeted(version) => version,
            Era::Stateless => STATELESS,
        }
    }
}

pub(super) fn client() -> Value {
    json!({"name": "tenure", "version": env!("CARGO_PKG_VERSION")})
}

/// A request as a server of this era wants it. It may say how far it is.
pub(super) fn request(era: &Era, id: u64, method: &str, mut params: Value) -> Value {
    if !params.is_object() {
        params = json!({});
    }
    let meta = &mut params["_meta"];
    if !meta.is_object() {
        *meta = json!({});
    }
    meta["progressToken"] = json!(id);
    if *era == Era::Stateless {
        meta["io.modelcontextprotocol/protocolVersion"] = json!(STATELESS);
        meta["io.modelcontextprotocol/clientInfo"] = client();
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub(super) fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

/// What a server is told that asks something of its client: it may ask whether it is there, and nothing else.
pub(super) fn answer(id: &Value, method: &str) -> Value {
    if method == "ping" {
        return json!({"jsonrpc": "2.0", "id": id, "result": {}});
    }
    let message = format!("`{}` is not offered by this client", clip(method));
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": message}})
}

/// It is given back in the answer.
const REQUEST_ID_BYTES_MAX: usize = 128;

#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    Answer {
        id: u64,
        result: Result<Value, RpcError>,
    },
    /// It wants something of its client.
    Request {
        id: Value,
        method: String,
    },
    Progress {
        id: u64,
        text: String,
    },
    /// Its list of tools is another one now.
    ToolsChanged,
    /// Nothing that anybody waits for.
    Other,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct RpcError {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

/// # Errors
/// What is no message.
pub(super) fn read(bytes: &[u8]) -> Result<Incoming, String> {
    let mut message: Value = serde_json::from_slice(bytes).map_err(|error| format!("no JSON: {error}"))?;
    let method = message.get("method").and_then(Value::as_str).map(str::to_owned);
    let id = message.get("id").cloned().filter(|id| !id.is_null());
    match (method, id) {
        (Some(_), Some(Value::String(id))) if id.len() > REQUEST_ID_BYTES_MAX => {
            Err(format!("the id of a request has more than {REQUEST_ID_BYTES_MAX} bytes"))
        }
        (Some(method), Some(id @ (Value::String(_) | Value::Number(_)))) => Ok(Incoming::Request { id, method }),
        (Some(_), Some(_)) => Err("the id of a request is neither a text nor a number".to_owned()),
        (Some(method), None) if method == "notifications/progress" => {
            let params = &message["params"];
            let Some(id) = params["progressToken"].as_u64() else { return Ok(Incoming::Other) };
            Ok(Incoming::Progress { id, text: progress(params) })
        }
        (Some(method), None) if method == "notifications/tools/list_changed" => Ok(Incoming::ToolsChanged),
        (Some(_), None) => Ok(Incoming::Other),
        (None, Some(id)) => {
            let id = id.as_u64().ok_or("it answers a request that was never made")?;
            if let Some(error) = message.get("error") {
                let error = serde_json::from_value(error.clone()).map_err(|_| "its error is none of the protocol's")?;
                return Ok(Incoming::Answer { id, result: Err(error) });
            }
            let result = message.get_mut("result").map(Value::take).ok_or("its answer has no result")?;
            Ok(Incoming::Answer { id, result: Ok(result) })
        }
        (None, None) if message.get("error").is_some() => {
            Err(format!("it did not understand: {}", clip(&message["error"]["message"].to_string())))
        }
        (None, None) => Err("neither a request nor an answer".to_owned()),
    }
}

fn progress(params: &Value) -> String {
    let number = |name: &str| params.get(name).filter(|value| value.is_number()).map(ToString::to_string);
    let done = number("progress").unwrap_or_default();
    let total = number("total").map(|total| format!("/{total}")).unwrap_or_default();
    let told = params.get("message").and_then(Value::as_str).map(|told| format!(" {}", clip(told))).unwrap_or_default();
    format!("{done}{total}{told}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_messages_are_refused_and_never_taken_for_an_answer() {
        for wrong in ["", "{", "[]", "1", "{}", r#"{"id":"1","result":{}}"#, r#"{"id":-1,"result":{}}"#, r#"{"id":1}"#]
        {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(deep.as_bytes()).is_err(), "a deep one ends no stack");
        let asked = |id: &str| read(json!({"id": id, "method": "ping"}).to_string().as_bytes());
        assert!(asked(&"a".repeat(REQUEST_ID_BYTES_MAX)).is_ok(), "the control: a long id is one");
        assert!(asked(&"a".repeat(REQUEST_ID_BYTES_MAX + 1)).is_err(), "it would be given back");
        assert!(read(br#"{"id":{"a":1},"method":"ping"}"#).is_err());
        let answer = read(br#"{"jsonrpc":"2.0","id":7,"result":{"a":1}}"#);
        assert_eq!(
            answer,
            Ok(Incoming::Answer { id: 7, result: Ok(json!({"a": 1})) }),
            "the control: an answer is one"
        );
    }

    #[test]
    fn a_request_says_all_of_itself_only_where_nobody_greets() {
        let greeted = request(&Era::Greeted(OFFERED.into()), 3, "tools/list", json!({}));
        assert_eq!(greeted["params"], json!({"_meta": {"progressToken": 3}}));
        let stateless = request(&Era::Stateless, 3, "tools/list", json!({}));
        assert_eq!(stateless["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], STATELESS);
    }
}
