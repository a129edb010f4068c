//! What an agent may ask of the daemon, for the program in its jail: the same API that a key opens from outside, `/v1/agent` and
//! `/mcp`, and by it the callbacks of hooks. Who asks is told by the listener. Must never: take a header that names a caller, or
//! decide what a call may do.
use super::ask::task;
use super::exchange::{Exchange, Gone};
use super::problem::Problem;
use crate::app::App;
use crate::http::of_program;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tenure_core::bound::Hash;
use tenure_core::call::Holder;
use tenure_core::capability::permission::{ASK, INPUT_BYTES_MAX, TITLE_BYTES_MAX};
use tenure_core::id::{AgentId, ConnectionId, InstanceId, SessionId};
use tenure_store::rows::sessions;
use tenure_wire::stream::OpenStream;
use tower::ServiceExt;

pub(super) const PREFIX: &str = "/v1/agent/";
/// The one callback whose name has no dot.
pub(super) const PERMISSION: &str = "permission";
/// How long one request waits for a call's end, before it asks again.
const WAIT_MS: u64 = 25_000;
/// Of an answer of the API's own that is not passed on piece by piece.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A stream, and the connection of the worker that says where it comes from.
type From<'a> = (&'a OpenStream, ConnectionId);

/// The agent and the instance whose program asks, and its session.
async fn caller(app: &App, (open, by): From<'_>) -> Result<(AgentId, InstanceId, SessionId), Problem> {
    let Holder::Session(id) = open.holder else { return Err(Problem::no_instance()) };
    let row = app.records.reader().read(move |sql| sessions::get(sql, id)).await.map_err(|_| Problem::no_api())?;
    // A worker speaks for the jails that it has, and for no longer than their sessions live.
    let row = row.filter(|row| row.ended_at.is_none() && row.connection == Some(by));
    let known = row.and_then(|row| Some((row.agent, row.opener.instance()?, id)));
    known.ok_or_else(Problem::no_instance)
}

/// Headers that say what the body is, and what MCP needs; none that says who asks.
const PASSED: [&str; 5] = ["accept", "content-type", "mcp-protocol-version", "mcp-method", "last-event-id"];

async fn sent(
    app: &App,
    (open, by): From<'_>,
    (method, path): (Method, &str),
    body: String,
) -> Result<Response<Body>, Problem> {
    let (agent, instance, session) = caller(app, (open, by)).await?;
    let router = app.agent_api.borrow().clone().ok_or_else(Problem::no_api)?;
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in open.headers.iter().filter(|(name, _)| PASSED.contains(&name.as_str())) {
        request = request.header(name.as_str(), value.as_str());
    }
    if !open.headers.contains_key("content-type") {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let mut request = request.body(Body::from(body)).map_err(|_| Problem::no_such_path(path))?;
    of_program(&mut request, agent, instance, session);
    router.oneshot(request).await.map_err(|never| match never {})
}

pub(super) async fn forward(app: &App, (open, by): From<'_>, body: String) -> Result<Response<Body>, Problem> {
    let method = open.method.parse().map_err(|_| Problem::wrong_method(&open.method, &open.path))?;
    sent(app, (open, by), (method, &open.path), body).await
}

/// Hands an answer of the API's to the program, piece by piece.
pub(super) async fn pass_on(exchange: &mut Exchange, response: Response<Body>) -> Result<(), Gone> {
    let headers: Vec<(&str, String)> = ["content-type", "mcp-session-id", "cache-control", "retry-after"]
        .into_iter()
        .filter_map(|name| Some((name, response.headers().get(name)?.to_str().ok()?.to_owned())))
        .collect();
    exchange.head(response.status().as_u16(), &headers).await?;
    let mut pieces = response.into_body().into_data_stream();
    let mut carried = Vec::new();
    while let Some(piece) = pieces.next().await {
        carried.extend_from_slice(&piece.map_err(|_| Gone)?);
        let whole = match std::str::from_utf8(&carried) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = carried.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut carried, rest)).map_err(|_| Gone)?;
        exchange.data(&text).await?;
    }
    Ok(())
}

/// What a program calls back, read.
pub(super) enum Callback {
    /// As the API takes it.
    Invoke(Value),
    /// The body of `/v1/llm/generate`.
    Generate(String),
    /// What an agent behind the Agent Client Protocol wants its supervisor to decide.
    Permission(Wanted),
}

/// The body: the parameters of the program's own request, which may say of which message they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(default)]
    params: Value,
}

impl Callback {
    pub(super) fn read(name: &str, body: &str) -> Result<Callback, Problem> {
        let Named { mut params } = serde_json::from_str(body).map_err(|error| Problem::not_json(error.to_string()))?;
        if params.is_null() {
            params = json!({});
        }
        let Value::Object(fields) = &mut params else { return Err(Problem::field("params", "is an object")) };
        let key = match (fields.remove("message"), fields.remove("ordinal")) {
            // A message that is told again asks for nothing twice.
            (Some(Value::String(message)), Some(ordinal)) if ordinal.is_u64() => Some(format!("{message}:{ordinal}")),
            (None, None) => None,
            _ => return Err(Problem::field("message", "is the id of a message, beside an `ordinal` in it")),
        };
        let (capability, arguments) = match name {
            PERMISSION => {
                let wanted = serde_json::from_value(params);
                return wanted.map(Callback::Permission).map_err(|error| Problem::field("params", error.to_string()));
            }
            "model.generate" => return Ok(Callback::Generate(params.to_string())),
            "capability.invoke" => {
                let named = fields.remove("capability").and_then(|named| named.as_str().map(str::to_owned));
                let capability = named.ok_or_else(|| Problem::field("capability", "is the name of one"))?;
                (capability, fields.remove("arguments").unwrap_or_else(|| json!({})))
            }
            other => (stored(other), params),
        };
        let mut invoke = json!({"capability": capability, "arguments": arguments, "wait_ms": WAIT_MS});
        if let Some(key) = key {
            invoke["idempotency_key"] = Value::String(key);
        }
        Ok(Callback::Invoke(invoke))
    }
}

/// As the protocol names it.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    tool_call: ToolCall,
    #[serde(default)]
    options: Vec<Choice>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ToolCall {
    title: Option<String>,
    kind: Option<String>,
    raw_input: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    option_id: String,
    #[serde(default)]
    kind: String,
}

impl Wanted {
    /// For this once, where that is offered: what holds for longer, people say by a grant.
    fn choice(&self, allowed: bool) -> Value {
        let words = if allowed { ["allow_once", "allow_always"] } else { ["reject_once", "reject_always"] };
        let found = words.iter().find_map(|word| self.options.iter().find(|option| option.kind == *word));
        found.map_or_else(|| json!({"cancelled": true}), |option| json!({"option_id": option.option_id}))
    }
}

/// A person, or a rule, decides; the same wish in the same message is one, however often the program is told of that message.
pub(super) async fn permission(app: &App, (open, by): From<'_>, wanted: &Wanted) -> Result<Value, Problem> {
    let ToolCall { title, kind, raw_input } = &wanted.tool_call;
    let cut = |text: String, most: usize| text[..text.floor_char_boundary(most)].to_string();
    let title = cut(title.clone().unwrap_or_else(|| "a tool of its own".to_string()), TITLE_BYTES_MAX);
    let mut arguments = json!({"title": title});
    if let Some(kind) = kind {
        arguments["kind"] = Value::String(cut(kind.clone(), 64));
    }
    if !raw_input.is_null() {
        arguments["input"] = Value::String(cut(raw_input.to_string(), INPUT_BYTES_MAX));
    }
    let message = match open.holder {
        Holder::Session(session) => {
            let (execution, attempt) = task(app, session).await?;
            format!("{execution}:{attempt}")
        }
        Holder::Execution(_) => return Err(Problem::no_instance()),
    };
    let asked = serde_json_canonicalizer::to_vec(&arguments).map_err(|error| Problem::not_json(error.to_string()))?;
    let key = format!("{message}:{}", Hash::of(&asked));
    let invoke = json!({"capability": ASK, "arguments": arguments, "wait_ms": WAIT_MS, "idempotency_key": key});
    let (status, _) = self::invoke(app, (open, by), invoke).await?;
    Ok(wanted.choice(status == 200))
}

/// `state.get` and its like are the agent's own, persistent values.
fn stored(name: &str) -> String {
    match name.strip_prefix("state.") {
        Some(word) if !word.contains('.') => format!("state.persistent.{word}"),
        Some(_) | None => name.to_owned(),
    }
}

/// Asks for a call, and waits for its end: people may have to allow it first.
pub(super) async fn invoke(app: &App, from: From<'_>, invoke: Value) -> Result<(u16, Value), Problem> {
    let path = format!("{PREFIX}invoke");
    let (mut status, mut answer) = whole(sent(app, from, (Method::POST, &path), invoke.to_string()).await?).await?;
    while let (202, Some(call)) = (status, answer["call"].as_str().or(answer["id"].as_str()).map(str::to_owned)) {
        let path = format!("{PREFIX}calls/{call}?wait_ms={WAIT_MS}");
        (status, answer) = whole(sent(app, from, (Method::GET, &path), String::new()).await?).await?;
        if status == 200 {
            status = stands(&answer);
        }
    }
    Ok((status, answer))
}

/// A call that was asked after, as the answer to it would have been: open, done, or a failure.
fn stands(call: &Value) -> u16 {
    match (call["state"].as_str(), call["outcome"].as_str()) {
        (Some("proposed" | "waiting" | "called"), _) => 202,
        (_, Some("done")) => 200,
        (_, Some("policy" | "rejected" | "unapproved")) => 403,
        (_, _) => 422,
    }
}

async fn whole(response: Response<Body>) -> Result<(u16, Value), Problem> {
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.map_err(|_| Problem::no_api())?;
    let answer = serde_json::from_slice(&bytes).map_err(|_| Problem::no_api())?;
    Ok((status, answer))
}
