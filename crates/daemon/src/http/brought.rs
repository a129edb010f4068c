//! What MCP servers bring to the sessions of an agent: they are asked by calls of the session, and what they said is held for a
//! minute. Must never: speak to a server itself.
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenure_core::call::Holder;
use tenure_core::capability::mcp::{Method, Name, capability};
use tenure_core::id::{CallId, SessionId};
use tenure_core::plan::Plan;
use tenure_wire::api::session::Invoke;
use tenure_wire::problem::Code;
use tokio::time::Instant;

use super::ApiState;
use super::auth::AgentCaller;
use super::problem::Failure;
use crate::upstream::{Known, Server, Upstream};

/// How long servers are waited for that must say first what they have.
pub(super) const SERVERS_WAIT: Duration = Duration::from_secs(20);
/// A list is asked for anew when it is older.
const LIST_MS_MAX: u64 = 60_000;

fn is_of_a_call(code: Code) -> bool {
    matches!(code, Code::CallFailed | Code::CallBlocked | Code::CallArgumentsWrong)
}

impl ApiState {
    /// What is needed to make a call of this name; nothing is asked for one that no server brings.
    pub(super) async fn brought_by(
        &self,
        caller: AgentCaller,
        session: SessionId,
        name: &str,
    ) -> Result<Upstream, Failure> {
        // Some clients write no dots.
        if !name.starts_with("mcp.") && !name.starts_with("mcp_") {
            return Ok(Upstream::default());
        }
        let (plan, known) = self.known(caller, session).await?;
        let wants = |server: &str| match Name::parse(name) {
            Some(name) => name.server == server && matches!(name.method, Method::CallTool(_)),
            None => true,
        };
        let unasked = known.servers.iter().filter(|server| wants(&server.name));
        let outdated = |server: &str, at| self.app.watch.is_outdated(session, server, at);
        let unasked = unasked.filter(|server| match server.known {
            Known::Unasked | Known::Failed(_) => true,
            Known::Tools { at, .. } => outdated(&server.name, at),
        });
        let unasked: Vec<String> = unasked.map(|server| server.name.clone()).collect();
        if unasked.is_empty() {
            return Ok(known);
        }
        self.ask_servers(caller, session, &plan, unasked).await
    }

    /// The tools of all servers, asked for where that was not done just now.
    pub(super) async fn brought(&self, caller: AgentCaller, session: SessionId) -> Result<Upstream, Failure> {
        let (plan, known) = self.known(caller, session).await?;
        let now = self.app.committer.now().at;
        let is_old = |server: &&Server| match &server.known {
            Known::Unasked | Known::Failed(_) => true,
            Known::Tools { at, .. } => {
                now.millis().abs_diff(at.millis()) > LIST_MS_MAX
                    || self.app.watch.is_outdated(session, &server.name, *at)
            }
        };
        let old = known.servers.iter().filter(is_old);
        let old: Vec<String> = old.map(|server| server.name.clone()).collect();
        if old.is_empty() {
            return Ok(known);
        }
        self.ask_servers(caller, session, &plan, old).await
    }

    /// What the holder of a call knows that waits for a person.
    pub(super) async fn brought_to(&self, holder: Holder, call: CallId) -> Result<Upstream, Failure> {
        let read = self.records.read(move |txn| {
            let (agent, revision, iteration) = match holder {
                Holder::Execution(id) => {
                    let (row, execution) = (txn.call(call)?, txn.execution(id)?);
                    (execution.agent, execution.revision, Some(row.iteration))
                }
                Holder::Session(id) => {
                    let agent = txn.session(id)?.agent;
                    let row = tenure_store::rows::agents::get(txn.parts().0, agent)?;
                    (agent, row.map_or(0, |row| row.standing.revision), None)
                }
            };
            let plan = txn.plan(agent, revision)?;
            Upstream::of(txn, &plan, holder, iteration)
        });
        Ok(read.await?)
    }

    pub(super) async fn plan_of(&self, caller: AgentCaller) -> Result<Arc<Plan>, Failure> {
        let (id, number) = (caller.agent, self.own_row(caller).await?.standing.revision);
        Ok(self.records.read(move |txn| txn.plan(id, number)).await?)
    }

    async fn known(&self, caller: AgentCaller, session: SessionId) -> Result<(Arc<Plan>, Upstream), Failure> {
        let plan = self.plan_of(caller).await?;
        let of = Arc::clone(&plan);
        let read = self.records.read(move |txn| Upstream::of(txn, &of, Holder::Session(session), None));
        Ok((plan, read.await?))
    }

    /// Whatever comes of asking is read afterwards: a server that fails is known as such.
    async fn ask_servers(
        &self,
        caller: AgentCaller,
        session: SessionId,
        plan: &Plan,
        names: Vec<String>,
    ) -> Result<Upstream, Failure> {
        let until = Instant::now() + SERVERS_WAIT;
        let named = |name: &str| plan.mcp.iter().any(|server| server.name == name);
        let upstream = self.known(caller, session).await?.1;
        let asks = names.iter().filter(|name| named(name)).map(|name| {
            let (capability, arguments) = (capability(name, Method::ListTools), json!({}));
            let asked = Invoke { capability, arguments, idempotency_key: None, wait_ms: None };
            self.asked(caller, session, asked, &upstream, until)
        });
        for answered in futures_util::future::join_all(asks).await {
            match answered {
                // What a call came to is in its row; what no call was made for is told.
                Ok(_) => {}
                Err(failure) if is_of_a_call(failure.0.code) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.known(caller, session).await?.1)
    }
}
