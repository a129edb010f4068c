//! JSON-RPC 2.0, as programs and servers speak it: what one message is. Must never: take what was never asked for an answer.
use serde::Deserialize;
use serde_json::{Value, json};
use tenure_core::capability::clip;

/// Of one message of a program's.
pub(in crate::perform) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// It is given back in the answer.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// The other side does not know this method.
pub(in crate::perform) const UNKNOWN_METHOD: i64 = -32601;

#[derive(Debug, PartialEq)]
pub(in crate::perform) enum Incoming {
    Answer { id: u64, result: Result<Value, RpcError> },
    Said(Said),
}

/// What the other side says of its own accord.
#[derive(Debug, PartialEq)]
pub(in crate::perform) enum Said {
    /// It wants something, and waits.
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notice {
        method: String,
        params: Value,
    },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::perform) struct RpcError {
    #[serde(default)]
    pub(in crate::perform) code: i64,
    #[serde(default)]
    pub(in crate::perform) message: String,
    #[serde(default)]
    pub(in crate::perform) data: Option<Value>,
}

/// # Errors
/// What is no message.
pub(in crate::perform) fn read(bytes: &[u8]) -> Result<Incoming, String> {
    let mut message: Value = serde_json::from_slice(bytes).map_err(|error| format!("no JSON: {error}"))?;
    let method = message.get("method").and_then(Value::as_str).map(str::to_owned);
    let id = message.get("id").cloned().filter(|id| !id.is_null());
    let mut params = || message.get_mut("params").map(Value::take).unwrap_or_default();
    match (method, id) {
        (Some(_), Some(Value::String(id))) if id.len() > REQUEST_ID_BYTES_MAX => {
            Err(format!("the id of a request has more than {REQUEST_ID_BYTES_MAX} bytes"))
        }
        (Some(method), Some(id @ (Value::String(_) | Value::Number(_)))) => {
            Ok(Incoming::Said(Said::Request { id, method, params: params() }))
        }
        (Some(_), Some(_)) => Err("the id of a request is neither a text nor a number".to_owned()),
        (Some(method), None) => Ok(Incoming::Said(Said::Notice { method, params: params() })),
        (None, Some(id)) => {
            let id = id.as_u64().ok_or("it answers a request that was never made")?;
            if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
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

pub(in crate::perform) fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub(in crate::perform) fn notification(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

pub(in crate::perform) fn answer(id: &Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(RpcError { code, message, data }) => {
            let mut error = json!({"code": code, "message": message});
            if let Some(data) = data {
                error["data"] = data;
            }
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
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
        let null = read(br#"{"jsonrpc":"2.0","id":7,"error":null,"result":null}"#);
        assert_eq!(null, Ok(Incoming::Answer { id: 7, result: Ok(Value::Null) }), "some libraries write both");
    }
}
