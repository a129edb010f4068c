//! What a client of MCP says and hears over both transports, and what each era of the protocol adds to a request.
use super::super::program::message::{self as rpc, RpcError, Said, UNKNOWN_METHOD};
use serde_json::{Value, json};
use tenure_core::capability::clip;

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
    rpc::request(id, method, &params)
}

/// What a server is told that asks something of its client: it may ask whether it is there, and nothing else.
pub(super) fn answer(id: &Value, method: &str) -> Value {
    if method == "ping" {
        return rpc::answer(id, Ok(json!({})));
    }
    let message = format!("`{}` is not offered by this client", clip(method));
    rpc::answer(id, Err(RpcError { code: UNKNOWN_METHOD, message, data: None }))
}

/// What a server says, as its client hears it.
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

impl From<Said> for Incoming {
    fn from(said: Said) -> Incoming {
        match said {
            Said::Request { id, method, .. } => Incoming::Request { id, method },
            Said::Notice { method, params } if method == "notifications/progress" => {
                let Some(id) = params["progressToken"].as_u64() else { return Incoming::Other };
                Incoming::Progress { id, text: progress(&params) }
            }
            Said::Notice { method, .. } if method == "notifications/tools/list_changed" => Incoming::ToolsChanged,
            Said::Notice { .. } => Incoming::Other,
        }
    }
}

/// # Errors
/// What is no message.
pub(super) fn read(bytes: &[u8]) -> Result<Incoming, String> {
    Ok(match rpc::read(bytes)? {
        rpc::Incoming::Answer { id, result } => Incoming::Answer { id, result },
        rpc::Incoming::Said(said) => Incoming::from(said),
    })
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
    fn a_request_says_all_of_itself_only_where_nobody_greets() {
        let greeted = request(&Era::Greeted(OFFERED.into()), 3, "tools/list", json!({}));
        assert_eq!(greeted["params"], json!({"_meta": {"progressToken": 3}}));
        let stateless = request(&Era::Stateless, 3, "tools/list", json!({}));
        assert_eq!(stateless["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], STATELESS);
    }
}
