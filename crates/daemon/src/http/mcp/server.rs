//! One agent as an MCP client meets it: its tools, and calls of them. A call that needs longer than a moment, or a person's word, is
//! answered with its id, and goes on by itself.
//! Must never: hold an answer back until a person decides, or end a call because a connection broke.
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, GetPromptRequestParams, GetPromptResponse,
    Implementation, InitializeRequestParams, InitializeResult, JsonObject, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, MetaObject, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    SubscriptionFilter,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde::Deserialize;
use serde_json::{Value, json};
use tenure_core::approval::{Listed, PENDING};
use tenure_core::id::{ApprovalId, CallId, SessionId};
use tenure_core::item::ItemKind;
use tenure_store::rows::items;
use tenure_wire::api::session::{Answered, Invoke};
use tenure_wire::problem::Code;
use tokio::time::Instant;

use super::notices::{self, Changes};
use super::progress::Progress;
use super::{answer, tools, upstream};
use crate::http::ApiState;
use crate::http::auth::AgentCaller;
use crate::http::problem::Failure;

/// How long a call is waited for; clients give up after a minute or less.
pub(super) const CALL_WAIT: Duration = Duration::from_secs(20);
/// More calls of one agent wait for people in no case that is looked at here.
const APPROVALS_LOOKED_AT: u32 = 256;

/// What a client may put into the `_meta` of a call: the same words mean the same as over `/v1/agent/invoke`.
const WAIT_MS: &str = "tenure.dev/wait_ms";
const UNUSABLE: &str = "tenure.dev/unusable_servers";
const IDEMPOTENCY_KEY: &str = "tenure.dev/idempotency_key";

const INSTRUCTIONS: &str = "Each tool is a capability of this agent: judged by policy, recorded, and done at most as the policy allows. \
    A call that takes long or waits for a person answers with status `in_flight` or `waiting` and an id; `tenure.call_result` \
    gives its result later. What is refused says what to do next.";

#[derive(Clone)]
pub(super) struct Server {
    pub(super) api: Arc<ApiState>,
    pub(super) caller: AgentCaller,
    /// The one MCP server of the agent's in whose place this stands; none: it stands for all that the agent may call.
    pub(super) mounted: Option<String>,
    /// The session that the request named.
    pub(super) named: Option<SessionId>,
    /// The one that it opened.
    pub(super) opened: Arc<OnceLock<SessionId>>,
}

/// The arguments of `tenure.call_result`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    call: String,
    #[serde(default)]
    wait_ms: Option<u64>,
    #[serde(default)]
    offset: usize,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let name = Implementation::new("tenure", env!("CARGO_PKG_VERSION")).with_title("Tenure");
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tool_list_changed()
                .enable_resources()
                .enable_prompts()
                .build(),
        )
        .with_server_info(name)
        .with_instructions(INSTRUCTIONS)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let result = self.negotiate_initialize(&request)?;
        context.peer.set_peer_info(request);
        let session = self.api.opened(self.caller).await.map_err(|failure| in_protocol(&failure))?;
        // A second one on the same request cannot be: rmcp takes one message a request.
        let _ = self.opened.set(session.id);
        Ok(result)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let failed = |failure: Failure| in_protocol(&failure);
        let built = match &self.mounted {
            Some(_) => Vec::new(),
            None => self.api.offered(self.caller).await.map_err(failed)?,
        };
        let upstream = self.upstream().await.map_err(failed)?;
        // One server's place is taken whole: that it cannot be asked is an error there.
        if let Some((server, why)) = upstream.failures().next().filter(|_| self.mounted.is_some()) {
            return Err(ErrorData::internal_error(format!("MCP server `{server}`: {why}"), None));
        }
        let brought = upstream.tools().map(|tool| upstream::tool(tool, self.name(&tool.capability))).collect();
        let mut page = tools::page(&built, brought, request.and_then(|request| request.cursor).as_deref())?;
        page.meta = unusable(&upstream);
        Ok(page)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.resources(request.and_then(|request| request.cursor)).await
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.templates(request.and_then(|request| request.cursor)).await
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.resource(&request.uri).await.map(Into::into)
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.prompts(request.and_then(|request| request.cursor)).await
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.prompt(&request.name, request.arguments.map(Value::Object)).await.map(Into::into)
    }

    fn accepted_subscription_filter(&self, _: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let Some(_place) = self.api.in_flight.listen() else {
            let told = "too many clients listen already; ask `tools/list` anew now and then";
            return Err(ErrorData::internal_error(told, None));
        };
        let changes = Changes::of(&self.api, self.caller, self.named);
        notices::listen(changes, subscription).await
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let called = if tools::is_call_result(&request.name) {
            self.result(arguments).await
        } else {
            self.call(&self.capability(&request.name), arguments, &context).await
        };
        Ok(called.unwrap_or_else(|failure| answer::failed(&failure)).into())
    }
}

impl Server {
    async fn call(
        &self,
        name: &str,
        arguments: JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Failure> {
        let session = self.session().await?;
        let entry = self.api.in_flight.enter(session, context.id.clone());
        let until = Instant::now() + waited(context.meta.get(WAIT_MS).and_then(Value::as_u64));
        let (capability, arguments) = (name.to_string(), Value::Object(arguments));
        let idempotency_key = context.meta.get(IDEMPOTENCY_KEY).and_then(Value::as_str).map(str::to_string);
        let mut progress = Progress::of(context, &capability, || self.api.app.watch.printed());
        let asked = Invoke { capability, arguments, idempotency_key, wait_ms: None };
        let call = match self.api.invoked(self.caller, session, asked, Instant::now()).await? {
            Answered::Done(invoked) => return Ok(answer::of(Ok(Answered::Done(invoked)), None, 0)),
            Answered::Open(call) => call,
        };
        if let Some(approval) = self.approval_of(call.call).await? {
            return Ok(answer::of(Ok(Answered::Open(call)), Some(approval), 0));
        }
        let id = call.call;
        let telling = async {
            match &mut progress {
                Some(progress) => progress.tell(id, context).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = entry.taken_back.cancelled() => self.take_back(id, session).await,
            () = context.ct.cancelled() => {
                // Since sessions are gone from the protocol, a client takes a request back by leaving it.
                if context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28) {
                    return self.take_back(id, session).await;
                }
                Ok(answer::of(Ok(Answered::Open(call)), None, 0))
            }
            answered = self.api.answered(id, session, until) => self.shown(id, answered, 0, false).await,
            () = telling => Err(Code::Internal.problem("nothing tells how far the call is").into()),
        }
    }

    /// What came of a call of any session of the agent.
    async fn result(&self, arguments: JsonObject) -> Result<CallToolResult, Failure> {
        let wanted: Wanted = serde_json::from_value(Value::Object(arguments)).map_err(|error| {
            Failure::from(Code::CallArgumentsWrong.problem(format!("`{}`: {error}", tools::CALL_RESULT)))
        })?;
        let (call, session) = self.api.own_call(self.caller, &wanted.call).await?;
        if let Some(approval) = self.approval_of(call).await?
            && let Ok(Answered::Open(open)) = self.api.answered(call, session, Instant::now()).await
        {
            return Ok(answer::of(Ok(Answered::Open(open)), Some(approval), 0));
        }
        let answered = self.api.answered(call, session, Instant::now() + waited(wanted.wait_ms)).await;
        self.shown(call, answered, wanted.offset, true).await
    }

    /// A call may have begun to wait for a person meanwhile.
    async fn shown(
        &self,
        call: CallId,
        answered: Result<Answered, Failure>,
        offset: usize,
        later: bool,
    ) -> Result<CallToolResult, Failure> {
        let approval = match &answered {
            Ok(Answered::Open(_)) => self.approval_of(call).await?,
            Ok(Answered::Done(_)) | Err(_) => {
                if let Some(said) = self.api.said_by_server(call).await? {
                    return Ok(upstream::said(call, said, offset, later));
                }
                None
            }
        };
        Ok(answer::of(answered, approval, offset))
    }

    async fn take_back(&self, call: CallId, session: SessionId) -> Result<CallToolResult, Failure> {
        self.api.taken_back(self.caller, call, session).await?;
        Ok(answer::taken_back(call))
    }

    /// The session that calls are of: the one that was named, else the newest that is open, else one that is opened now.
    pub(super) async fn session(&self) -> Result<SessionId, Failure> {
        if let Some(session) = self.named.or_else(|| self.opened.get().copied()) {
            return Ok(session);
        }
        match self.api.meant_by(self.caller, None).await {
            Ok(row) => Ok(row.id),
            Err(failure) if failure.0.code == Code::SessionNone => Ok(self.api.opened(self.caller).await?.id),
            Err(failure) => Err(failure),
        }
    }

    /// What a person is asked, where the call waits for one.
    pub(super) async fn approval_of(&self, call: CallId) -> Result<Option<ApprovalId>, Failure> {
        let agent = self.caller.agent;
        let read = self
            .api
            .reader()
            .read(move |sql| items::of_agent(sql, ItemKind::Approval, agent, PENDING, APPROVALS_LOOKED_AT));
        let found = read
            .await?
            .into_iter()
            .find(|item| serde_json::from_str::<Listed>(&item.data).is_ok_and(|listed| listed.call == call));
        Ok(found.and_then(|item| item.key.parse().ok()))
    }
}

/// What a client is told of servers whose tools are not in the list.
fn unusable(upstream: &crate::upstream::Upstream) -> Option<MetaObject> {
    let failed: Vec<Value> = upstream.failures().map(|(server, why)| json!({"server": server, "why": why})).collect();
    let meta = JsonObject::from_iter([(UNUSABLE.to_string(), json!(failed))]);
    (!failed.is_empty()).then_some(MetaObject(meta))
}

fn waited(wanted_ms: Option<u64>) -> Duration {
    wanted_ms.map_or(CALL_WAIT, |wanted| Duration::from_millis(wanted.min(tools::WAIT_MS_MAX)))
}

/// Where only the protocol's own errors can be given.
pub(super) fn in_protocol(failure: &Failure) -> ErrorData {
    let problem = &failure.0;
    ErrorData::internal_error(format!("{}; {}", problem.detail, problem.hint), None)
}
