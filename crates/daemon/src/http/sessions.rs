//! `/v1/sessions`: the sessions of agents as people see them, and the keys by which agents open them.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::agent;
use tenure_core::aggregate::Command;
use tenure_core::id::{AgentId, SessionId};
use tenure_core::row::Row;
use tenure_core::session::{self, SessionRow};
use tenure_core::time::{Stamp, Time};
use tenure_store::rows::{Match, sessions};
use tenure_wire::api::List;
use tenure_wire::api::agent::Agent;
use tenure_wire::api::key::KeyText;
use tenure_wire::api::session::{AgentKey, RotateKey, Session, SessionStatus};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{JsonOrNothing, Params, Segment};
use super::lookup::{misnamed, quoted};
use super::number::{self, Number};
use super::problem::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, close)).routes(routes!(rotate))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Name, id or short id.
    agent: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^ses_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

/// Sessions, the newest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", params(ListParams),
    responses((status = 200, body = List<Session>), (status = "4XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ListParams>,
) -> Answer<List<Session>> {
    let agent = match &params.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let after = params.cursor.as_deref().map(str::parse::<SessionId>).transpose();
    let after = after.map_err(|error| Failure::from(Code::ParameterWrong.problem(error.to_string())))?;
    let limit = number::limit(params.limit.as_ref())?;
    let page = api.reader().read(move |sql| sessions::list(sql, agent, after, limit)).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(Out(List { items: page.rows.into_iter().map(|row| api.shown_session(row)).collect(), next_cursor }))
}

/// One session.
#[utoipa::path(
    get, path = "/v1/sessions/{session}", tag = "sessions",
    params(("session" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Session), (status = "4XX", body = Problem))
)]
async fn get(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<Session> {
    let row = api.session(&wanted).await?;
    Ok(Out(api.shown_session(row)))
}

/// Close a session. Its agent may open another.
#[utoipa::path(
    delete, path = "/v1/sessions/{session}", tag = "sessions",
    params(("session" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Session), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn close(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
) -> Answer<Session> {
    let id = api.session(&wanted).await?.id;
    api.app.committer.commit(caller.actor, Command::Session(id, session::Command::Close {})).await?;
    let row = api.session(&id.to_string()).await?;
    Ok(Out(api.shown_session(row)))
}

/// Give an agent a new key. Its text is in this answer and nowhere else; the one before dies now, or after the overlap.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/rotate", tag = "sessions", request_body = Option<RotateKey>,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = AgentKey), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn rotate(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    JsonOrNothing(body): JsonOrNothing<RotateKey>,
) -> Answer<AgentKey> {
    let entry = api.agent(&wanted).await?;
    let text = fresh_key();
    let rotate = agent::Command::RotateKey { hash: text.hash(), overlap_ms: body.overlap_ms };
    let committed = api.app.committer.commit(caller.actor, Command::Agent(entry.id, rotate)).await?;
    let (mut key, mut previous_until) = (None, None);
    for row in &committed.decision.rows {
        match row {
            Row::AgentKey(made) => key = Some(made.id),
            Row::AgentKeyRetired { dies_at, .. } => previous_until = Some((*dies_at).into()),
            _ => {}
        }
    }
    let id = key.ok_or_else(|| Code::Internal.problem("a new key has no row"))?;
    let secret = text.reveal().to_string();
    Ok(Out(AgentKey { agent: entry.id, agent_name: entry.name, id, secret, previous_until }))
}

pub(super) fn fresh_key() -> KeyText {
    let mut random = [0u8; 20];
    getrandom::fill(&mut random).expect("invariant: the kernel gives randomness");
    KeyText::new(random)
}

impl ApiState {
    pub(super) async fn session(&self, wanted: &str) -> Result<SessionRow, Failure> {
        let text = wanted.to_string();
        match self.reader().read(move |sql| sessions::find(sql, &text)).await? {
            Match::One(row) => Ok(row),
            Match::Many(rows) => {
                let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
                let detail = format!("{} could be {}", quoted(wanted), ids.join(", "));
                Err(Code::SessionAmbiguous.problem(detail).into())
            }
            Match::None => Err(misnamed(Code::SessionUnknown, wanted, "session")
                .unwrap_or_else(|| Code::SessionUnknown.problem(format!("no session has the id {}", quoted(wanted))))
                .into()),
        }
    }

    /// The row as it is seen, with what was heard since that is no event.
    pub(super) fn shown_session(&self, row: SessionRow) -> Session {
        let now = self.app.committer.now();
        let heard = self.app.presence.last(row.id, now.run).map(|heard| ago(now, now.run.since_ms(heard)));
        shown(row, heard, now)
    }

    /// Puts in the newest session of each agent that ever had one.
    pub(super) async fn with_sessions(&self, agents: &mut [Agent], connected: Vec<AgentId>) -> Result<(), Failure> {
        if connected.is_empty() {
            return Ok(());
        }
        let rows = self.reader().read(move |sql| {
            connected.into_iter().map(|agent| sessions::last_of(sql, agent)).collect::<Result<Vec<_>, _>>()
        });
        for row in rows.await?.into_iter().flatten() {
            if let Some(agent) = agents.iter_mut().find(|agent| agent.id == row.agent) {
                agent.session = Some(self.shown_session(row));
            }
        }
        Ok(())
    }
}

fn ago(now: Stamp, ms: u64) -> Time {
    Time::from_millis(now.at.millis().saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
}

fn shown(row: SessionRow, heard: Option<Time>, now: Stamp) -> Session {
    let live = row.ended_at.is_none();
    let last_at = heard.filter(|_| live).map_or(row.heard_at, |heard| heard.max(row.heard_at));
    let until = row.ended_at.unwrap_or(now.at);
    Session {
        id: row.id,
        agent: row.agent,
        agent_name: row.agent_name,
        status: if live { SessionStatus::Live } else { SessionStatus::Ended },
        ending: row.ending,
        opened_at: row.opened_at.into(),
        last_at: last_at.into(),
        ended_at: row.ended_at.map(Into::into),
        duration_ms: u64::try_from(until.millis() - row.opened_at.millis()).unwrap_or(0),
        invocations: row.invocations,
        calls: row.calls,
        has_sandbox: row.connection.is_some(),
        erased_at: row.erased_at.map(Into::into),
    }
}
