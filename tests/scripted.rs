//! A model that follows scripts: an OpenAI-compatible server on loopback. It keeps no state; the conversation itself
//! says which step comes next, so any process may be killed at any time and the story goes on.
use crate::daemon::Daemon;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the model says at one step.
#[derive(Debug, Clone)]
pub enum Say {
    /// Calls with a capability's name and its arguments.
    Calls(Vec<(&'static str, Value)>),
    Text(String),
    /// A whole answer of HTTP: status and body.
    Http(u16, String),
    /// The beginning of a stream, then the end of the connection.
    HalfAStream,
    /// Waits before it says something.
    After(Duration, Box<Say>),
    /// What it thought before it says something, beside that.
    Thinking(&'static str, Box<Say>),
}

/// Given the conversation (as sent) and how many turns were answered in it, what comes next.
pub type Script = Arc<dyn Fn(&Value, usize) -> Say + Send + Sync>;

pub struct Scripted {
    pub address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

/// A daemon on fresh data whose model follows a script; all of it ends with this value.
pub struct ScriptedDaemon {
    pub daemon: Daemon,
    _model: Scripted,
    pub runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl ScriptedDaemon {
    pub fn start(script: Script) -> ScriptedDaemon {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let model = runtime.block_on(Scripted::serve(script));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = model.base_url();
        let environment = [
            ("OPENAI_BASE_URL", url.as_str()),
            ("OPENAI_API_KEY", "sk-test-0123456789"),
            ("TENURE_DEFAULT_MODEL", "openai/scripted"),
        ];
        let daemon = Daemon::start(&folder.path().join("data"), &environment);
        ScriptedDaemon { daemon, _model: model, runtime, _folder: folder }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Scripted {
    pub async fn serve(script: Script) -> Scripted {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models))
            .with_state(script);
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("the scripted model serves") });
        Scripted { address, server }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1/", self.address)
    }
}

async fn models() -> impl IntoResponse {
    axum::Json(json!({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))
}

async fn complete(State(script): State<Script>, body: String) -> Response {
    let Ok(request) = serde_json::from_str::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "no JSON").into_response();
    };
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let answered = messages.iter().filter(|message| message["role"] == "assistant").count();
    let mut say = script(&request, answered);
    while let Say::After(pause, next) = say {
        tokio::time::sleep(pause).await;
        say = *next;
    }
    respond(say)
}

fn respond(say: Say) -> Response {
    let (thought, say) = match say {
        Say::Thinking(thought, next) => (Some(thought), *next),
        say => (None, say),
    };
    let mut delta = match say {
        Say::Calls(calls) => {
            let calls: Vec<Value> = calls
                .iter()
                .enumerate()
                .map(|(index, (name, arguments))| {
                    json!({"index": index, "id": format!("call_{index}"), "type": "function",
                        "function": {"name": name.replace('.', "_"), "arguments": arguments.to_string()}})
                })
                .collect();
            json!({"role": "assistant", "tool_calls": calls})
        }
        Say::Text(text) => json!({"role": "assistant", "content": text}),
        Say::Http(status, body) => {
            let status = StatusCode::from_u16(status).expect("a status code");
            return (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        }
        Say::HalfAStream => {
            let half = format!("data: {}\n\n", chunk(json!({"role": "assistant", "content": "half"}), None));
            return ([(header::CONTENT_TYPE, "text/event-stream")], half).into_response();
        }
        Say::After(..) | Say::Thinking(..) => unreachable!("invariant: pauses and thoughts are taken before"),
    };
    if let Some(thought) = thought {
        delta["reasoning_content"] = thought.into();
    }
    let reason = if delta.get("tool_calls").is_some() { "tool_calls" } else { "stop" };
    let mut text = format!("data: {}\n\n", chunk(delta, None));
    let mut last = chunk(json!({}), Some(reason));
    last["usage"] = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110});
    text.push_str(&format!("data: {last}\n\ndata: [DONE]\n\n"));
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}

fn chunk(delta: Value, reason: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "scripted",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
}

/// All the text of a request's messages, for scripts that look at it.
pub fn said(request: &Value) -> String {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    messages.iter().filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
}

/// The messages that a conversation was woken with.
pub fn woken_with(request: &Value) -> Vec<Value> {
    let text = said(request);
    let begin = text.find("[{").unwrap_or(text.len());
    let mut read = serde_json::Deserializer::from_str(&text[begin..]).into_iter::<Vec<Value>>();
    read.next().and_then(Result::ok).unwrap_or_default()
}
