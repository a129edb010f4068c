//! A model that follows scripts: a server on loopback that speaks as OpenAI (and Ollama) and as Anthropic do. Of a story it keeps
//! nothing: the conversation itself says which step comes next, so any process may be killed at any time and the story goes on.
use crate::daemon::Daemon;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
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
    /// How many tokens it counts, in and out, where 100 and 10 are not meant.
    Counting(u64, u64, Box<Say>),
}

/// Given the conversation (as sent) and how many turns were answered in it, what comes next.
pub type Script = Arc<dyn Fn(&Value, usize) -> Say + Send + Sync>;

pub struct Scripted {
    pub address: SocketAddr,
    asked: Asked,
    server: tokio::task::JoinHandle<()>,
}

/// The models that were asked, by the names that they were asked for and the wire, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// What each request meets.
#[derive(Clone)]
struct Served {
    script: Script,
    asked: Asked,
}

/// A daemon on fresh data whose model follows a script; all of it ends with this value.
pub struct ScriptedDaemon {
    pub daemon: Daemon,
    pub model: Scripted,
    pub runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl ScriptedDaemon {
    pub fn start(script: Script) -> ScriptedDaemon {
        ScriptedDaemon::start_with(script, &[])
    }

    /// With more in the daemon's environment.
    pub fn start_with(script: Script, more: &[(&str, &str)]) -> ScriptedDaemon {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let model = runtime.block_on(Scripted::serve(script));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = model.base_url();
        let home = folder.path().to_str().expect("a temporary folder has a name of UTF-8");
        let environment = [
            ("HOME", home),
            ("OPENAI_BASE_URL", url.as_str()),
            ("OPENAI_API_KEY", "sk-test-0123456789"),
            ("ANTHROPIC_BASE_URL", url.as_str()),
            ("ANTHROPIC_API_KEY", "sk-ant-test-0123456789"),
            ("TENURE_DEFAULT_MODEL", "openai/scripted"),
        ];
        let environment: Vec<(&str, &str)> = environment.into_iter().chain(more.iter().copied()).collect();
        let daemon = Daemon::start(&folder.path().join("data"), &environment);
        ScriptedDaemon { daemon, model, runtime, folder }
    }

    /// Where the data directory lies, and the home of whoever runs the daemon.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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
        let asked = Asked::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/messages", post(message))
            .route("/v1/models", get(models))
            .with_state(Served { script, asked: Arc::clone(&asked) });
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("the scripted model serves") });
        Scripted { address, asked, server }
    }

    /// The models that were asked since this was called last.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1/", self.address)
    }
}

async fn models() -> impl IntoResponse {
    axum::Json(json!({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))
}

async fn complete(State(served): State<Served>, body: String) -> Response {
    match served.says("chat", &body).await {
        Some((say, turn)) => respond(say, turn),
        None => (StatusCode::BAD_REQUEST, "no JSON").into_response(),
    }
}

/// The same as Anthropic's wire has it, whole, which is what comes of a stream too.
async fn message(State(served): State<Served>, body: String) -> Response {
    let blocks: Vec<Value> = match served.says("messages", &body).await {
        Some((Say::Calls(calls), turn)) => {
            let block = |(index, (name, arguments)): (usize, (&str, Value))| json!({"type": "tool_use", "id": format!("call_{turn}_{index}"), "name": name.replace('.', "_"), "input": arguments});
            calls.into_iter().enumerate().map(block).collect()
        }
        Some((Say::Text(text), _)) => vec![json!({"type": "text", "text": text})],
        Some((other, turn)) => return respond(other, turn),
        None => return (StatusCode::BAD_REQUEST, "no JSON").into_response(),
    };
    let reason = if blocks.iter().any(|block| block["type"] == "tool_use") { "tool_use" } else { "end_turn" };
    let usage = json!({"input_tokens": 100, "output_tokens": 10});
    axum::Json(json!({"id": "m", "type": "message", "role": "assistant", "model": "scripted", "content": blocks,
        "stop_reason": reason, "usage": usage}))
    .into_response()
}

impl Served {
    /// What comes next in this conversation, and how many turns were answered in it; none where it is no conversation.
    async fn says(&self, wire: &str, body: &str) -> Option<(Say, usize)> {
        let request = serde_json::from_str::<Value>(body).ok()?;
        let name = format!("{} over {wire}", request["model"].as_str().unwrap_or_default());
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        let answered = messages.iter().filter(|message| message["role"] == "assistant").count();
        let mut say = (self.script)(&request, answered);
        while let Say::After(pause, next) = say {
            tokio::time::sleep(pause).await;
            say = *next;
        }
        Some((say, answered))
    }
}

fn respond(say: Say, turn: usize) -> Response {
    let (counted, say) = match say {
        Say::Counting(input, output, next) => ((input, output), *next),
        say => ((100, 10), say),
    };
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
                    json!({"index": index, "id": format!("call_{turn}_{index}"), "type": "function",
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
        Say::After(..) | Say::Thinking(..) | Say::Counting(..) => {
            unreachable!("invariant: pauses, counts and thoughts are taken before")
        }
    };
    if let Some(thought) = thought {
        delta["reasoning_content"] = thought.into();
    }
    let reason = if delta.get("tool_calls").is_some() { "tool_calls" } else { "stop" };
    let mut text = format!("data: {}\n\n", chunk(delta, None));
    let mut last = chunk(json!({}), Some(reason));
    let (input, output) = counted;
    last["usage"] = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    text.push_str(&format!("data: {last}\n\ndata: [DONE]\n\n"));
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}

fn chunk(delta: Value, reason: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "scripted",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
}

/// All the text of a request's messages, for scripts that look at it.
pub fn said(request: &Value) -> String {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    messages.iter().map(|message| text_of(&message["content"])).collect::<Vec<_>>().join("\n")
}

/// What the model was sent last: the results of its calls.
pub fn heard(request: &Value) -> String {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    messages.last().map(|message| text_of(&message["content"])).unwrap_or_default()
}

/// A text, or the texts of the blocks that stand for one.
fn text_of(content: &Value) -> String {
    let block = |block: &Value| text_of(if block["text"].is_string() { &block["text"] } else { &block["content"] });
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(block).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// The messages that a conversation was woken with.
pub fn woken_with(request: &Value) -> Vec<Value> {
    let text = said(request);
    let begin = text.find("[{").unwrap_or(text.len());
    let mut read = serde_json::Deserializer::from_str(&text[begin..]).into_iter::<Vec<Value>>();
    read.next().and_then(Result::ok).unwrap_or_default()
}
