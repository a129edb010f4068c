//! What a client is told unasked: that its list of tools is another one now. Of the protocol with sessions by the stream that a GET
//! opens, of the one without by `subscriptions/listen`. Must never: say more than that the list is to be asked for again.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as Message, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use rmcp::model::ErrorData;
use rmcp::service::SubscriptionContext;
use serde_json::json;
use tenure_core::id::{AgentId, KeyId, SessionId};
use tenure_wire::problem::Code;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::named;
use crate::http::ApiState;
use crate::http::auth::AgentCaller;
use crate::http::problem::Failure;
use crate::presence::Listening;
use crate::watch::GatewayEvent;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The changes that one client is told of, until its key or its session ends.
pub(super) struct Changes {
    api: Arc<ApiState>,
    agent: AgentId,
    key: Option<KeyId>,
    session: Option<SessionId>,
    events: Receiver<GatewayEvent>,
    revoked: Receiver<KeyId>,
}

impl Changes {
    pub(super) fn of(api: &Arc<ApiState>, caller: AgentCaller, session: Option<SessionId>) -> Changes {
        let (events, revoked) = (api.app.watch.gateway(), api.app.watch.revocations());
        Changes { api: Arc::clone(api), agent: caller.agent, key: caller.key(), session, events, revoked }
    }

    /// None once there is nobody to be told.
    async fn next(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                biased;
                () = self.api.app.closing.cancelled() => return None,
                revoked = self.revoked.recv() => match revoked {
                    Ok(key) if Some(key) != self.key => {}
                    // Too many at once to know: whoever holds a key joins again, and is asked for it again.
                    Ok(_) | Err(_) => return None,
                },
                event = self.events.recv() => match event {
                    Ok(GatewayEvent::PolicyApplied) => return Some(()),
                    Ok(GatewayEvent::Revised(agent)) if agent == self.agent => return Some(()),
                    Ok(GatewayEvent::Announced(session)) if self.session.is_none_or(|own| own == session) => {
                        return Some(());
                    }
                    Ok(GatewayEvent::Ended(session)) if self.session == Some(session) => return None,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Some(()),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

/// The session is present as long as its client listens.
struct Following {
    changes: Changes,
    _listening: Listening,
}

/// The stream of one session.
pub(super) async fn follow(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Failure> {
    // Before the session is looked up, so that its end falls into what is followed.
    let mut changes = Changes::of(&api, caller, None);
    let Some(session) = named(&api, caller, &headers).await? else {
        let problem = Code::ParameterOutOfRange.problem("there is no Mcp-Session-Id header, so no session is meant");
        return Err(problem
            .hint("send the one that the answer to `initialize` had; without sessions, `subscriptions/listen`")
            .into());
    };
    changes.session = Some(session);
    let listening = api.app.presence.listen(session, api.app.committer.now().run);
    let following = Following { changes, _listening: listening };
    let stream = unfold(following, async |mut following| {
        following.changes.next().await?;
        let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        Some((Ok(Message::default().event("message").data(told.to_string())), following))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The same of a client without sessions, until it leaves.
pub(super) async fn listen(mut changes: Changes, subscription: SubscriptionContext) -> Result<(), ErrorData> {
    loop {
        tokio::select! {
            () = subscription.cancelled() => return Ok(()),
            changed = changes.next() => {
                if changed.is_none() || subscription.sink().notify_tool_list_changed().await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
