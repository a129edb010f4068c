//! `/mcp`: the Model Context Protocol over Streamable HTTP. Any client of it that shows an agent's key is that agent, with no adapter.
//! An MCP session is a session of the agent, under the same id: `initialize` opens it, `DELETE` closes it, and it outlives a restart
//! of the daemon; a request that names none is of the newest. Nothing is held here but which requests are being answered.
//! Must never: decide about a call, or make one elsewhere than where `/v1/agent/invoke` makes it.
//!
//! ```text
//! request ─ as every face: same_site, identify ─> session ─> rmcp, without sessions of its own ─> Server ─> ApiState::invoked
//! ```
mod answer;
mod in_flight;
mod notices;
mod progress;
mod server;
mod tools;
mod upstream;

use std::sync::{Arc, OnceLock};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use rmcp::model::RequestId;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use tenure_core::id::SessionId;
use tenure_wire::api::BODY_BYTES_MAX;
use tenure_wire::problem::Code;

use super::ApiState;
use super::auth::AgentCaller;
use super::body::Segment;
use super::lookup::quoted;
use super::problem::Failure;
pub(super) use in_flight::InFlight;
use server::Server;

pub(super) const PATH: &str = "/mcp";
/// In the place of one MCP server of the agent's.
pub(super) const ONE_PATH: &str = "/mcp/{server}";
/// The header by which MCP says which session a request is of.
const MCP_SESSION: &str = "mcp-session-id";

pub(super) fn methods() -> MethodRouter<Arc<ApiState>> {
    post(message).get(notices::follow).delete(close)
}

pub(super) fn methods_of_one() -> MethodRouter<Arc<ApiState>> {
    post(message_to_one).get(notices::follow).delete(close)
}

/// One message of a client, and its answer.
async fn message(State(api): State<Arc<ApiState>>, caller: AgentCaller, request: Request) -> Result<Response, Failure> {
    answered(api, caller, None, request).await
}

/// The same in the place of one MCP server of the agent's, under that server's own names.
async fn message_to_one(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    Segment(server): Segment,
    request: Request,
) -> Result<Response, Failure> {
    let plan = api.plan_of(caller).await?;
    if !plan.mcp.iter().any(|known| known.name == server) {
        let names: Vec<&str> = plan.mcp.iter().map(|known| known.name.as_str()).collect();
        let problem =
            Code::RouteUnknown.problem(format!("the agent's manifest names no MCP server {}", quoted(&server)));
        return Err(problem.hint(format!("it names: {}", names.join(", "))).into());
    }
    answered(api, caller, Some(server), request).await
}

async fn answered(
    api: Arc<ApiState>,
    caller: AgentCaller,
    mounted: Option<String>,
    request: Request,
) -> Result<Response, Failure> {
    let named = named(&api, caller, request.headers()).await?;
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Failure::from(Code::BodyTooLarge.problem(format!("a message has at most {BODY_BYTES_MAX} bytes here")))
    })?;
    if let (Some(session), Some(request)) = (named, taken_back(&bytes)) {
        api.in_flight.take_back(session, &request);
    }
    let opened = Arc::new(OnceLock::new());
    let server = Server { api, caller, mounted, named, opened: Arc::clone(&opened) };
    let service =
        StreamableHttpService::new(move || Ok(server.clone()), Arc::new(NeverSessionManager::default()), settings());
    let mut response = service.handle(Request::from_parts(parts, Body::from(bytes))).await.map(Body::new);
    if let Some(session) = opened.get().map(SessionId::to_string)
        && let Ok(value) = HeaderValue::from_str(&session)
    {
        response.headers_mut().insert(MCP_SESSION, value);
    }
    Ok(response)
}

/// Ends the session, and what runs in it.
async fn close(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let Some(session) = named(&api, caller, &headers).await? else {
        let problem = Code::ParameterOutOfRange.problem("there is no Mcp-Session-Id header, and no session is meant");
        return Err(problem.hint("send the one that the answer to `initialize` had").into());
    };
    api.closed(caller, session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which hosts and origins a request may name was checked before it came here, by the address that it came to, which rmcp does not
/// know. Sessions are ours.
fn settings() -> StreamableHttpServerConfig {
    StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY_BYTES_MAX)
}

/// The session that a request names. One that is unknown or over is a 404, by which a client knows that it must begin anew.
async fn named(api: &ApiState, caller: AgentCaller, headers: &HeaderMap) -> Result<Option<SessionId>, Failure> {
    if let Some(own) = caller.session {
        return Ok(Some(own));
    }
    let Some(value) = headers.get(MCP_SESSION) else { return Ok(None) };
    match api.meant_by(caller, Some(value.to_str().unwrap_or_default())).await {
        Ok(row) => Ok(Some(row.id)),
        Err(mut failure) if matches!(failure.0.code, Code::SessionUnknown | Code::SessionEnded) => {
            failure.0.status = StatusCode::NOT_FOUND.as_u16();
            failure.0.hint = "begin anew with `initialize`".to_string();
            Err(failure)
        }
        Err(failure) => Err(failure),
    }
}

/// The request that a client takes back with this message. Without sessions of its own rmcp passes no notification on.
fn taken_back(message: &[u8]) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct Notification {
        method: String,
        params: Option<Cancelled>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cancelled {
        request_id: Option<RequestId>,
    }
    let notification: Notification = serde_json::from_slice(message).ok()?;
    (notification.method == "notifications/cancelled").then_some(notification.params?.request_id)?
}

#[cfg(test)]
mod tests;
