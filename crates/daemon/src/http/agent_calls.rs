//! `/v1/agent/invoke` and `/v1/agent/calls`: the calls of a session. What touches only our own rows is done in the commit that takes
//! it; what needs a sandbox goes on by itself, and a request waits for its end for a bounded time, then says where it stands.
//! Nothing here may end a call because nobody waits for it any more.
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Out;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event, Refusal};
use tenure_core::bound::Hash;
use tenure_core::call::{self, CallRow, Holder};
use tenure_core::capability::{self, mcp};
use tenure_core::draft::Committed;
use tenure_core::id::{CallId, SessionId};
use tenure_core::session::{self, SessionRow};
use tenure_store::rows::{calls, sessions};
use tenure_wire::api::INPUT_BYTES_MAX;
use tenure_wire::api::session::{Answered, CallState, Invoke, Invoked, SessionCall, WAIT_MS_DEFAULT, WAIT_MS_MAX};
use tenure_wire::problem::{Code, Problem};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::AgentCaller;
use super::body::{Json, Params, Segment};
use super::call_failure;
use super::executions::idempotency_of;
use super::lookup::quoted;
use super::number::Number;
use super::problem::{Answer, Failure};
use crate::commit;
use crate::reconcile::think::proposal;
use crate::records::found;
use crate::upstream::Upstream;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(invoke)).routes(routes!(get, cancel))
}

/// Call a capability. It is judged and recorded before anything is done. What needs a sandbox may take longer than this waits: then the
/// answer is 202, and `GET /v1/agent/calls/{call}` says what came of it.
#[utoipa::path(
    post, path = "/v1/agent/invoke", tag = "agent", request_body = Invoke,
    params(("Tenure-Session" = Option<String>, Header, description = "Id of the session; without it, the newest that is open")),
    responses(
        (status = 200, body = Invoked), (status = 202, body = SessionCall),
        (status = "4XX", body = Problem), (status = "5XX", body = Problem)
    )
)]
async fn invoke(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    headers: HeaderMap,
    Json(asked): Json<Invoke>,
) -> Result<Response, Failure> {
    let wait_ms = asked.wait_ms.unwrap_or(WAIT_MS_DEFAULT);
    if wait_ms > WAIT_MS_MAX {
        return Err(Code::ParameterOutOfRange.problem(format!("`wait_ms` is 0 to {WAIT_MS_MAX}")).into());
    }
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let session = api.meant(caller, &headers).await?.id;
    Ok(match api.invoked(caller, session, asked, until).await? {
        Answered::Done(invoked) => Out(invoked).into_response(),
        Answered::Open(call) => (StatusCode::ACCEPTED, Out(call)).into_response(),
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CallParams {
    /// How long the answer may wait for the call's end, in milliseconds; 0 without it.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 120_000_i64)]
    wait_ms: Option<Number>,
}

/// A call of any of the agent's sessions: where it stands, or what came of it.
#[utoipa::path(
    get, path = "/v1/agent/calls/{call}", tag = "agent",
    params(
        ("call" = String, Path, description = "Id of the call"), CallParams,
        ("Tenure-Session" = Option<String>, Header, description = "Id of the session that is thereby present; without it, the newest that is open")
    ),
    responses((status = 200, body = SessionCall), (status = "4XX", body = Problem))
)]
async fn get(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    headers: HeaderMap,
    Segment(wanted): Segment,
    Params(params): Params<CallParams>,
) -> Answer<SessionCall> {
    let wait_ms = params.wait_ms.as_ref().map_or(Ok(0), |stated| stated.within("wait_ms", 0..=WAIT_MS_MAX))?;
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let (call, session) = api.own_call(caller, &wanted).await?;
    api.is_present(caller, &headers).await?;
    Ok(Out(api.awaited(call, session, until).await?.shown()))
}

/// Take a call back: one that waits does not begin, and a program that runs is killed.
#[utoipa::path(
    delete, path = "/v1/agent/calls/{call}", tag = "agent",
    params(
        ("call" = String, Path, description = "Id of the call"),
        ("Tenure-Session" = Option<String>, Header, description = "Id of the session that is thereby present; without it, the newest that is open")
    ),
    responses((status = 200, body = SessionCall), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn cancel(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    headers: HeaderMap,
    Segment(wanted): Segment,
) -> Answer<SessionCall> {
    let (call, session) = api.own_call(caller, &wanted).await?;
    api.is_present(caller, &headers).await?;
    Ok(Out(api.taken_back(caller, call, session).await?))
}

/// Without a key of the caller's own, one that nobody else has.
fn idempotency(key: Option<&str>) -> Result<Hash, Failure> {
    let Some(key) = key else {
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).expect("invariant: the kernel gives randomness");
        return Ok(Hash::of(&random));
    };
    idempotency_of("`idempotency_key`", key.as_bytes())
}

/// What the commit that took a call has made of it.
enum Made {
    Over(Invoked),
    Open(CallId),
}

/// A call as its row has it.
struct Seen {
    row: CallRow,
    session: SessionId,
    result: Option<Vec<u8>>,
}

impl ApiState {
    /// Asks for a call of the session, and waits for its end until then: the one way in for calls of sessions, whatever protocol
    /// asks.
    pub(super) async fn invoked(
        &self,
        caller: AgentCaller,
        session: SessionId,
        asked: Invoke,
        until: Instant,
    ) -> Result<Answered, Failure> {
        let upstream = self.brought_by(caller, session, &asked.capability).await?;
        self.asked(caller, session, asked, &upstream, until).await
    }

    /// The same, with what MCP servers bring.
    pub(super) async fn asked(
        &self,
        caller: AgentCaller,
        session: SessionId,
        asked: Invoke,
        upstream: &Upstream,
        until: Instant,
    ) -> Result<Answered, Failure> {
        let idempotency = idempotency(asked.idempotency_key.as_deref())?;
        let arguments = asked.arguments.to_string();
        if arguments.len() > INPUT_BYTES_MAX || !asked.arguments.is_object() {
            let detail = format!("the arguments are one JSON object of at most {INPUT_BYTES_MAX} bytes");
            return Err(Code::BodyWrong.problem(detail).into());
        }
        let proposal = proposal(&self.app, upstream, &asked.capability, &asked.arguments, None);
        let known = capability::find(&proposal.capability);
        let value =
            known.and_then(|known| known.value(&asked.arguments)).map(|bytes| self.app.committer.payload(bytes));
        let capability = proposal.capability.clone();
        let invoke = session::Command::Invoke(session::Invoke { opener: caller.opener, proposal, value, idempotency });
        match self.app.committer.commit(Actor::Agent(caller.agent), Command::Session(session, invoke)).await {
            Ok(committed) => match self.made(&committed, &capability).await? {
                Made::Over(answer) => Ok(Answered::Done(answer)),
                Made::Open(call) => self.answered(call, session, until).await,
            },
            Err(commit::Error::Refused(Refusal::Session(session::Refusal::Repeated { call }))) => {
                self.is_the_same(call, &capability, arguments).await?;
                self.awaited(call, session, until).await?.into_answer(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What came of a call that was taken before, or where it stands at `until`.
    pub(super) async fn answered(&self, call: CallId, session: SessionId, until: Instant) -> Result<Answered, Failure> {
        self.awaited(call, session, until).await?.into_answer(false)
    }

    /// The call as it stands once it was taken back.
    pub(super) async fn taken_back(
        &self,
        caller: AgentCaller,
        call: CallId,
        session: SessionId,
    ) -> Result<SessionCall, Failure> {
        /// A program is dead long before.
        const CANCEL_WAIT: Duration = Duration::from_secs(5);
        let cancel = session::Command::CancelCall { call };
        self.app.committer.commit(Actor::Agent(caller.agent), Command::Session(session, cancel)).await?;
        Ok(self.awaited(call, session, Instant::now() + CANCEL_WAIT).await?.shown())
    }

    /// A call of one of the caller's own sessions, open or ended.
    pub(super) async fn own_call(&self, caller: AgentCaller, wanted: &str) -> Result<(CallId, SessionId), Failure> {
        let unknown = || Failure::from(Code::CallUnknown.problem(format!("you have made no call {}", quoted(wanted))));
        let call: CallId = wanted.parse().map_err(|_| unknown())?;
        let session = self.reader().read(move |sql| {
            let Some(Holder::Session(session)) = calls::get(sql, call)?.map(|row| row.holder) else { return Ok(None) };
            sessions::get(sql, session)
        });
        let session = session.await?.filter(|session| session.agent == caller.agent);
        let own = |session: &SessionRow| session.opener.instance() == caller.opener.instance();
        let session = session.filter(own).ok_or_else(unknown)?;
        Ok((call, session.id))
    }

    /// Whoever asks after a call is there; it may also be asked after once its session has ended.
    async fn is_present(&self, caller: AgentCaller, headers: &HeaderMap) -> Result<(), Failure> {
        match self.meant(caller, headers).await {
            Ok(_) => Ok(()),
            Err(failure) if matches!(failure.0.code, Code::SessionNone | Code::SessionEnded) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// The call once it has ended, or as it stands at `until` or when the daemon closes.
    async fn awaited(&self, call: CallId, session: SessionId, until: Instant) -> Result<Seen, Failure> {
        let mut ended = self.app.watch.ended_calls();
        loop {
            let seen = self.seen(call, session).await?;
            if seen.is_over() || Instant::now() >= until || self.app.is_closing() {
                return Ok(seen);
            }
            let end = async {
                loop {
                    match ended.recv().await {
                        Ok(id) if id != call => {}
                        // One that was missed may have been this.
                        Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                    }
                }
            };
            tokio::select! {
                // Then it is looked at a last time.
                _ = timeout_at(until, end) => {}
                () = self.app.closing.cancelled() => {}
            }
            if self.app.presence.last(session, self.app.committer.now().run).is_some() {
                self.app.presence.heard(session, self.app.committer.now().run);
            }
        }
    }

    /// What an MCP server answered, whole: also of a tool that says that it failed. None of what has not ended so.
    pub(super) async fn said_by_server(&self, call: CallId) -> Result<Option<Value>, Failure> {
        let read = self.records.read(move |txn| {
            let row = txn.call(call)?;
            let ended = matches!(row.outcome.as_deref(), Some("done" | "failed:tool_error"));
            let result = row.result.filter(|_| ended && mcp::Name::parse(&row.capability).is_some());
            Ok(result.map(|result| found(txn.json(result))).transpose()?.flatten())
        });
        Ok(read.await?)
    }

    async fn seen(&self, call: CallId, session: SessionId) -> Result<Seen, Failure> {
        let read = self.records.read(move |txn| {
            let row = txn.call(call)?;
            let result = row.result.map(|result| found(txn.bytes(result))).transpose()?.flatten();
            // The one that holds it, which may be another than the one that asks.
            let session = match row.holder {
                Holder::Session(holder) => holder,
                Holder::Execution(_) => session,
            };
            Ok(Seen { row, session, result })
        });
        Ok(read.await?)
    }

    /// What came of a call in the commit that took it.
    async fn made(&self, committed: &Committed, capability: &str) -> Result<Made, Failure> {
        let mut asked = None;
        for (_, event) in &committed.decision.events {
            match event {
                Event::Session(session::Event::Invoked { call, .. }) => asked = Some(call.call),
                Event::Session(session::Event::CallBlocked { call, blocked, .. }) if asked == Some(*call) => {
                    return Err(call_failure::blocked(blocked.as_str(), blocked.to_string()));
                }
                Event::Session(session::Event::CallEnded(ended)) if asked == Some(ended.call) => {
                    let result = self.result_of(committed, ended).await?;
                    let outcome = ended.outcome.to_word();
                    let detail = ended.detail.as_deref();
                    return answer(ended.call, capability.to_string(), &outcome, result, detail, false).map(Made::Over);
                }
                _ => {}
            }
        }
        asked.map(Made::Open).ok_or_else(|| Code::Internal.problem("a call was taken and has no event").into())
    }

    async fn result_of(&self, committed: &Committed, ended: &call::Ended) -> Result<Option<Vec<u8>>, Failure> {
        let Some(hash) = ended.result.map(|bound| bound.hash) else { return Ok(None) };
        let at_hand = committed.decision.payloads.iter().find(|payload| payload.bound().hash == hash);
        match at_hand {
            Some(payload) => Ok(Some(payload.bytes().to_vec())),
            None => Ok(self.reader().payload(hash).await?),
        }
    }

    /// # Errors
    /// The call that was made before with the same idempotency key asked for something else.
    async fn is_the_same(&self, call: CallId, capability: &str, arguments: String) -> Result<(), Failure> {
        let read = self.records.read(move |txn| {
            let row = txn.call(call)?;
            Ok((row.capability, found(txn.bytes(row.arguments))?, txn.is_erased(row.arguments)?))
        });
        let (known, bytes, is_erased) = read.await?;
        if is_erased {
            let detail = format!("it made {call}, and what that call was asked and answered is erased");
            return Err(Code::Erased.problem(detail).into());
        }
        if known != capability || bytes.as_deref() != Some(arguments.as_bytes()) {
            let detail = format!("it made {call}, which called `{known}` with other arguments");
            return Err(Code::IdempotencyKeyReused.problem(detail).into());
        }
        Ok(())
    }
}

impl Seen {
    fn state(&self) -> CallState {
        match self.row.state.as_str() {
            "proposed" | "waiting" => CallState::Waiting,
            "called" => CallState::Running,
            _ => CallState::Ended,
        }
    }

    fn is_over(&self) -> bool {
        self.state() == CallState::Ended
    }

    fn into_answer(self, repeated: bool) -> Result<Answered, Failure> {
        if !self.is_over() {
            return Ok(Answered::Open(self.shown()));
        }
        let Seen { row, result, .. } = self;
        let outcome = row.outcome.unwrap_or_default();
        if row.state == "blocked" {
            return Err(call_failure::blocked(&outcome, row.sentence.unwrap_or_default()));
        }
        // One that was taken back says why.
        if let (true, Some(sentence)) = (outcome != "done", row.sentence) {
            return Err(call_failure::failed(outcome, sentence));
        }
        answer(row.id, row.capability, &outcome, result, row.detail.as_deref(), repeated).map(Answered::Done)
    }

    fn shown(self) -> SessionCall {
        let state = self.state();
        let Seen { row, session, result } = self;
        SessionCall {
            call: row.id,
            session,
            capability: row.capability,
            state,
            outcome: row.outcome,
            result: result.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            detail: row.detail.and_then(|detail| serde_json::from_str(&detail).ok()),
            reason: row.sentence,
            called_at: row.called_at.map(Into::into),
            ended_at: row.ended_at.map(Into::into),
        }
    }
}

/// What came of a call that was made: its result, or why it failed.
fn answer(
    call: CallId,
    capability: String,
    outcome: &str,
    result: Option<Vec<u8>>,
    detail: Option<&str>,
    repeated: bool,
) -> Result<Invoked, Failure> {
    let result: Value = result.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null);
    if outcome != "done" {
        let code = outcome.strip_prefix("failed:").unwrap_or(outcome).to_string();
        let reason = match (result["error"].as_str(), outcome) {
            (Some(reason), _) => reason,
            (None, "lost") => "its sandbox was lost, and whether it was done is not known",
            (None, "killed") => "it was ended before it was done",
            (None, other) => other,
        };
        let reason = reason.to_string();
        return Err(call_failure::failed(code, reason));
    }
    let detail = detail.and_then(|detail| serde_json::from_str(detail).ok());
    Ok(Invoked { call, capability, result, detail, repeated })
}
