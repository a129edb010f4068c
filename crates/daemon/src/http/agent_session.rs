//! `/v1/agent`: what the holder of an agent's key may do, and nothing else: open a session, ask who it is and what it may call,
//! and follow what happens to it; its calls are in `agent_calls`. Every request by which a session is meant is a sign of its life.
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::Event as Message;
use futures_util::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tenure_core::actor::Actor;
use tenure_core::agent::AgentRow;
use tenure_core::aggregate::Command;
use tenure_core::call::HolderKind;
use tenure_core::capability::{self, Capability};
use tenure_core::id::SessionId;
use tenure_core::session::{self, CALLS_PER_MINUTE_MAX, IDLE_MS, SessionRow};
use tenure_store::rows::{agents, sessions};
use tenure_wire::api::List;
use tenure_wire::api::session::{OpenedSession, SESSION, Session, Whoami};
use tenure_wire::api::watch::WatchEvent;
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::agents::shown;
use super::auth::AgentCaller;
use super::body::Params;
use super::lookup::quoted;
use super::number::Number;
use super::problem::{Answer, Failure};
use super::watch::{Watcher, follow};
use crate::upstream::{Tool, Upstream};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(open, close))
        .routes(routes!(whoami))
        .routes(routes!(capabilities))
        .routes(routes!(events))
}

/// Open a session. An agent may have 8 at a time: of more, the one that was silent for longest ends.
#[utoipa::path(
    post, path = "/v1/agent/session", tag = "agent",
    responses((status = 201, body = OpenedSession), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn open(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
) -> Result<(StatusCode, Out<OpenedSession>), Failure> {
    let row = api.opened(caller).await?;
    let whoami = api.whoami(caller, Some(row.clone())).await?;
    let briefing = json!(api.briefing(caller.agent, None).await?);
    let opened = OpenedSession { session: api.shown_session(row), whoami, briefing };
    Ok((StatusCode::CREATED, Out(opened)))
}

/// Close the session.
#[utoipa::path(
    delete, path = "/v1/agent/session", tag = "agent",
    params(("Tenure-Session" = Option<String>, Header, description = "Id of the session; without it, the newest that is open")),
    responses((status = 200, body = Session), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn close(State(api): State<Arc<ApiState>>, caller: AgentCaller, headers: HeaderMap) -> Answer<Session> {
    let id = api.meant(caller, &headers).await?.id;
    let row = api.closed(caller, id).await?;
    Ok(Out(api.shown_session(row)))
}

/// Who the key makes of its holder. A request with an open session keeps it open.
#[utoipa::path(
    get, path = "/v1/agent/whoami", tag = "agent",
    params(("Tenure-Session" = Option<String>, Header, description = "Id of the session; without it, the newest that is open")),
    responses((status = 200, body = Whoami), (status = "4XX", body = Problem))
)]
async fn whoami(State(api): State<Arc<ApiState>>, caller: AgentCaller, headers: HeaderMap) -> Answer<Whoami> {
    let session = match api.meant(caller, &headers).await {
        Ok(row) => Some(row),
        Err(failure) if failure.0.code == Code::SessionNone => None,
        Err(failure) => return Err(failure),
    };
    Ok(Out(api.whoami(caller, session).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CapabilityParams {
    /// This one alone.
    name: Option<String>,
}

/// What may be called now, each with its schema. What MCP servers bring is among it where a session is open.
#[utoipa::path(
    get, path = "/v1/agent/capabilities", tag = "agent", params(
        CapabilityParams,
        ("Tenure-Session" = Option<String>, Header, description = "Id of the session by which the agent's MCP servers are asked; without it, the newest that is open")
    ),
    responses((status = 200, body = List<Value>), (status = "4XX", body = Problem))
)]
async fn capabilities(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    Params(params): Params<CapabilityParams>,
    headers: HeaderMap,
) -> Answer<List<Value>> {
    let upstream = match api.meant(caller, &headers).await {
        Ok(session) => api.brought(caller, session.id).await?,
        Err(failure) if failure.0.code == Code::SessionNone => Upstream::default(),
        Err(failure) => return Err(failure),
    };
    let built = api.offered(caller).await?.into_iter().map(Capability::described);
    let items = built.chain(upstream.tools().map(Tool::described));
    let wanted = items.filter(|known| params.name.as_deref().is_none_or(|name| known["name"] == name));
    Ok(Out(List { items: wanted.collect(), next_cursor: None }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventParams {
    /// What came after this ledger index too; the Last-Event-ID header goes before it. Without either: from now on.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    after: Option<Number>,
}

/// Follow what happens to the agent: its calls, sessions and executions. The session is present meanwhile, and the stream ends
/// with it.
#[utoipa::path(
    get, path = "/v1/agent/events", tag = "agent", params(
        EventParams,
        ("Last-Event-ID" = Option<u64>, Header, minimum = 0, maximum = 9_007_199_254_740_991_i64, description = "Resume after this ledger index"),
        ("Tenure-Session" = Option<String>, Header, description = "Id of the session; without it, the newest that is open")
    ),
    responses((status = 200, body = WatchEvent, content_type = "text/event-stream"), (status = "4XX", body = Problem))
)]
async fn events(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Failure> {
    let after = api.resumed(&headers, params.after.as_ref()).await?;
    // Before the session is looked up, so that its end falls into what is followed.
    let after = after.or_else(|| api.app.watch.records().checked_sub(1));
    let id = api.meant(caller, &headers).await?.id;
    let listening = api.app.presence.listen(id, api.app.committer.now().run);
    let watcher =
        Watcher { agent: Some(caller.agent), capability: None, key: caller.key(), session: Some((id, listening)) };
    Ok(follow(api, watcher, after))
}

impl ApiState {
    /// A session of the caller's, opened for it.
    pub(super) async fn opened(&self, caller: AgentCaller) -> Result<SessionRow, Failure> {
        let key = match (caller.key(), caller.session) {
            (Some(key), _) => key,
            // A program in a jail has its own already.
            (None, Some(own)) => return self.session_row(own).await,
            (None, None) => return Err(Code::Forbidden.problem("whoever asks has no key").into()),
        };
        let id = self.app.committer.mint_session();
        let open = session::Command::Open { agent: caller.agent, key };
        self.app.committer.commit(Actor::Agent(caller.agent), Command::Session(id, open)).await?;
        let row = self.session_row(id).await?;
        self.app.presence.heard(id, self.app.committer.now().run);
        Ok(row)
    }

    /// A session of the caller's, closed by it.
    pub(super) async fn closed(&self, caller: AgentCaller, id: SessionId) -> Result<SessionRow, Failure> {
        let close = Command::Session(id, session::Command::Close {});
        self.app.committer.commit(Actor::Agent(caller.agent), close).await?;
        self.app.presence.forget(id);
        self.session_row(id).await
    }

    /// What the newest revision lets a session of the caller's call.
    pub(super) async fn offered(&self, caller: AgentCaller) -> Result<Vec<&'static Capability>, Failure> {
        let (id, number) = (caller.agent, self.own_row(caller).await?.standing.revision);
        let plan = self.records.read(move |txn| txn.plan(id, number)).await?;
        Ok(capability::offered(&plan.tools, HolderKind::Session).collect())
    }

    pub(super) async fn own_row(&self, caller: AgentCaller) -> Result<AgentRow, Failure> {
        let row = self.reader().read(move |sql| agents::get(sql, caller.agent)).await?;
        row.ok_or_else(|| Code::AgentUnknown.problem("the agent of this key is gone").into())
    }

    async fn session_row(&self, id: SessionId) -> Result<SessionRow, Failure> {
        let row = self.reader().read(move |sql| sessions::get(sql, id)).await?;
        row.ok_or_else(|| Code::SessionUnknown.problem(format!("no session has the id {id}")).into())
    }

    /// The session that a request is of, which must be the caller's own and open. It is heard of.
    pub(super) async fn meant(&self, caller: AgentCaller, headers: &HeaderMap) -> Result<SessionRow, Failure> {
        self.meant_by(caller, headers.get(SESSION).map(|value| value.to_str().unwrap_or_default())).await
    }

    /// The same, by its id; without one the newest.
    pub(super) async fn meant_by(&self, caller: AgentCaller, named: Option<&str>) -> Result<SessionRow, Failure> {
        let named = match (caller.session, named) {
            (Some(own), _) => self.session_row(own).await?,
            (None, Some(text)) => {
                let unknown = || Code::SessionUnknown.problem(format!("you have no session {}", quoted(text)));
                let id: SessionId = text.parse().map_err(|_| Failure::from(unknown()))?;
                let row = self.reader().read(move |sql| sessions::get(sql, id)).await?;
                let own = |row: &SessionRow| row.agent == caller.agent && row.opener.instance().is_none();
                row.filter(own).ok_or_else(|| Failure::from(unknown()))?
            }
            (None, None) => {
                let row = self.reader().read(move |sql| sessions::live_of(sql, caller.agent)).await?;
                row.ok_or_else(|| Failure::from(Code::SessionNone.problem("no session of this agent is open")))?
            }
        };
        if let Some(ending) = &named.ending {
            return Err(Code::SessionEnded.problem(format!("session {} has ended: {ending}", named.id)).into());
        }
        self.app.presence.heard(named.id, self.app.committer.now().run);
        Ok(named)
    }

    async fn whoami(&self, caller: AgentCaller, session: Option<SessionRow>) -> Result<Whoami, Failure> {
        let row = self.own_row(caller).await?;
        let shown = shown(&row);
        Ok(Whoami {
            agent: row.id,
            name: row.name,
            status: shown.status,
            revision: shown.revision,
            key: caller.opener.to_string(),
            key_dies_at: caller.dies_at.map(Into::into),
            session: session.map(|session| self.shown_session(session)),
            calls_per_minute: u32::try_from(CALLS_PER_MINUTE_MAX).unwrap_or(u32::MAX),
            idle_ms: IDLE_MS,
        })
    }
}

#[cfg(test)]
mod tests;
