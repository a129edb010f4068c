//! What the agent's own MCP servers bring, as a client of the gateway meets it: their tools beside ours, their resources and prompts
//! under names that say whose they are; or one server alone, under its own names, in the place of that server.
//! Each request is a call of the session, judged and recorded; what a server says is passed on as it said it.
use std::sync::Arc;

use rmcp::model::{
    CallToolResult, ContentBlock, ErrorData, GetPromptResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ReadResourceResult, Tool as McpTool,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenure_core::capability::mcp::{Method, capability};
use tenure_core::id::CallId;
use tenure_wire::api::session::{Answered, Invoke};
use tenure_wire::problem::Code;
use tokio::time::Instant;

use super::answer::{self, RESULT_BYTES_MAX};
use super::server::{CALL_WAIT, Server, in_protocol};
use super::tools::{self, CALL_RESULT};
use crate::http::problem::Failure;
use crate::upstream::{Tool, Upstream};

/// Resources of a server, as a client of all of them names them.
const OF_SERVER: &str = "tenure://mcp/";
/// What came of a call, as a resource.
const OF_CALL: &str = "tenure://call/";
/// What clients of 2026-07-28 are told of a result that is one; others are not.
const COMPLETE: &str = "complete";
/// Entries of one page.
const PAGE: usize = 128;

pub(super) fn tool(tool: &Tool, name: &str) -> McpTool {
    let mut shown = json!({"name": name, "description": tool.description, "inputSchema": tool.input});
    if let Some(title) = &tool.title {
        shown["title"] = json!(title);
    }
    if let Some(annotations) = &tool.annotations {
        shown["annotations"] = annotations.clone();
    }
    let whole = serde_json::from_value(shown);
    // A schema that the protocol's own types do not take leaves a tool that takes an object.
    whole.unwrap_or_else(|_| {
        let object = Arc::new(tools::object(json!({"type": "object"})));
        McpTool::new(name.to_string(), tool.description.clone(), object)
    })
}

/// As the server said it, with the call's id beside it. A long one is cut in its text, and whole as a resource. `later`: it is given by
/// `tenure.call_result`, whose own schema the structured content fits.
pub(super) fn said(call: CallId, mut said: Value, offset: usize, later: bool) -> CallToolResult {
    let text = said.to_string();
    if offset == 0 && text.len() <= RESULT_BYTES_MAX {
        if let Some(fields) = said.as_object_mut() {
            fields.remove("error");
            if later {
                let failed = fields.get("isError") == Some(&Value::Bool(true));
                let mut content = json!({"status": if failed { "failed" } else { "done" }, "call": call});
                if let Some(structured) = fields.remove("structuredContent") {
                    content["result"] = structured;
                }
                fields.insert("structuredContent".to_string(), content);
            }
            fields.insert("_meta".to_string(), json!({"tenure.dev/call": call}));
            fields.insert("resultType".to_string(), json!(COMPLETE));
            fields.entry("content").or_insert_with(|| json!([]));
        }
        if let Ok(result) = serde_json::from_value(said) {
            return result;
        }
    }
    answer::long(call, &text, offset, json!({"status": "done", "call": call}))
}

/// By which a client reads what an answer had no room for.
pub(super) fn link(call: CallId) -> Option<ContentBlock> {
    let link = json!({
        "type": "resource_link",
        "uri": format!("{OF_CALL}{call}"),
        "name": format!("{call}"),
        "description": "The whole result, as JSON.",
        "mimeType": "application/json",
    });
    serde_json::from_value(link).ok()
}

impl Server {
    pub(super) async fn upstream(&self) -> Result<Upstream, Failure> {
        if self.api.plan_of(self.caller).await?.mcp.is_empty() {
            return Ok(Upstream::default());
        }
        let session = self.session().await?;
        let mut upstream = self.api.brought(self.caller, session).await?;
        if let Some(mounted) = &self.mounted {
            upstream.servers.retain(|server| server.name == *mounted);
        }
        Ok(upstream)
    }

    /// The capability that a client of one server means.
    pub(super) fn capability(&self, name: &str) -> String {
        match &self.mounted {
            Some(server) => capability(server, Method::CallTool(name)),
            None => name.to_string(),
        }
    }

    /// The name of a tool as this client knows it.
    pub(super) fn name<'a>(&self, full: &'a str) -> &'a str {
        let own = self.mounted.as_ref().and_then(|server| full.strip_prefix(&capability(server, Method::CallTool(""))));
        own.unwrap_or(full)
    }

    async fn servers(&self) -> Result<Vec<String>, ErrorData> {
        let plan = self.api.plan_of(self.caller).await.map_err(|failure| in_protocol(&failure))?;
        let names = plan.mcp.iter().map(|server| server.name.clone());
        let named: Vec<String> = names.filter(|name| self.mounted.as_ref().is_none_or(|own| own == name)).collect();
        match &self.mounted {
            Some(own) if named.is_empty() => {
                Err(ErrorData::invalid_params(format!("the agent's manifest names no MCP server `{own}`"), None))
            }
            _ => Ok(named),
        }
    }

    /// What a server answers to a request that is no call of a tool.
    async fn ask(&self, server: &str, method: Method<'_>, arguments: Value) -> Result<Value, ErrorData> {
        let failed = |failure: Failure| in_protocol(&failure);
        let session = self.session().await.map_err(failed)?;
        let invoke = Invoke { capability: capability(server, method), arguments, idempotency_key: None, wait_ms: None };
        let begun = self.api.invoked(self.caller, session, invoke, Instant::now()).await.map_err(failed)?;
        let call = match begun {
            Answered::Done(invoked) => return Ok(invoked.result),
            Answered::Open(call) => call.call,
        };
        let approval = self.approval_of(call).await.map_err(failed)?;
        let answered = match &approval {
            Some(_) => None,
            None => Some(self.api.answered(call, session, Instant::now() + CALL_WAIT).await.map_err(failed)?),
        };
        match answered {
            Some(Answered::Done(invoked)) => Ok(invoked.result),
            Some(Answered::Open(_)) | None => {
                let waits = approval.map_or_else(
                    || "it has not ended yet".to_string(),
                    |approval| format!("a person must allow it ({approval})"),
                );
                let next = json!({"call": call});
                let told = format!("{call}: {waits}; the tool `{CALL_RESULT}` {next} gives its result");
                Err(ErrorData::internal_error(told, Some(json!({"call": call}))))
            }
        }
    }

    /// Entries of all servers under names that say whose they are, each with its place. One server that fails hides no other's.
    async fn entries(&self, method: Method<'_>, field: &str, key: &str) -> Result<Vec<(Place, Value)>, ErrorData> {
        let servers = self.servers().await?;
        let mut all = Vec::new();
        for server in &servers {
            let list = match self.ask(server, method, json!({})).await {
                Ok(list) => list,
                Err(error) if servers.len() == 1 => return Err(error),
                Err(_) => continue,
            };
            for (number, entry) in list[field].as_array().into_iter().flatten().enumerate() {
                let mut entry = entry.clone();
                let name = entry[key].as_str().unwrap_or_default().to_string();
                if !name.is_empty() {
                    entry[key] = json!(self.wrapped(server, &name, key == "name"));
                }
                all.push((Place { server: server.clone(), number, name }, entry));
            }
        }
        Ok(all)
    }

    fn wrapped(&self, server: &str, name: &str, is_prompt: bool) -> String {
        match (&self.mounted, is_prompt) {
            (Some(_), _) => name.to_string(),
            (None, true) => format!("{server}.{name}"),
            (None, false) => format!("{OF_SERVER}{server}/{name}"),
        }
    }

    async fn page<T: DeserializeOwned>(
        &self,
        method: Method<'_>,
        (field, key): (&str, &str),
        cursor: Option<String>,
    ) -> Result<T, ErrorData> {
        let mut entries = self.entries(method, field, key).await?;
        if let Some(cursor) = cursor {
            let of_another = "the cursor is of another list; ask for the first page again, without one";
            let of_another = || ErrorData::invalid_params(of_another, None);
            let place: Place = serde_json::from_str(&cursor).map_err(|_| of_another())?;
            let last = entries.iter().position(|(known, _)| *known == place).ok_or_else(of_another)?;
            entries.drain(..=last);
        }
        let (entries, next) = first_page(entries)?;
        let mut page = json!({});
        if let Some(next) = next {
            page["nextCursor"] = json!(next);
        }
        page[field] = json!(entries);
        read(page)
    }

    pub(super) async fn resources(&self, cursor: Option<String>) -> Result<ListResourcesResult, ErrorData> {
        self.page(Method::ListResources, ("resources", "uri"), cursor).await
    }

    pub(super) async fn templates(&self, cursor: Option<String>) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.page(Method::ListTemplates, ("resourceTemplates", "uriTemplate"), cursor).await
    }

    pub(super) async fn prompts(&self, cursor: Option<String>) -> Result<ListPromptsResult, ErrorData> {
        self.page(Method::ListPrompts, ("prompts", "name"), cursor).await
    }

    pub(super) async fn resource(&self, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        if let Some(call) = uri.strip_prefix(OF_CALL) {
            return self.whole(uri, call).await;
        }
        let own = uri.strip_prefix(OF_SERVER).and_then(|rest| rest.split_once('/'));
        let (server, inner) = match (&self.mounted, own) {
            (Some(server), _) => (server.as_str(), uri),
            (None, Some(own)) => own,
            (None, None) => return Err(ErrorData::resource_not_found(format!("there is no resource {uri}"), None)),
        };
        self.is_named(server).await?;
        let mut result = self.ask(server, Method::ReadResource, json!({"uri": inner})).await?;
        for content in result["contents"].as_array_mut().into_iter().flatten() {
            if let Some(named) = content["uri"].as_str() {
                content["uri"] = json!(self.wrapped(server, named, false));
            }
        }
        read(result)
    }

    pub(super) async fn prompt(&self, name: &str, arguments: Option<Value>) -> Result<GetPromptResult, ErrorData> {
        let (server, inner) = match (&self.mounted, name.split_once('.')) {
            (Some(server), _) => (server.as_str(), name),
            (None, Some(own)) => own,
            (None, None) => return Err(ErrorData::invalid_params(format!("there is no prompt {name}"), None)),
        };
        self.is_named(server).await?;
        let mut asked = json!({"name": inner});
        if let Some(arguments) = arguments {
            asked["arguments"] = arguments;
        }
        read(self.ask(server, Method::GetPrompt, asked).await?)
    }

    async fn is_named(&self, server: &str) -> Result<(), ErrorData> {
        if self.servers().await?.iter().any(|name| name == server) {
            return Ok(());
        }
        Err(ErrorData::resource_not_found(format!("the agent's manifest names no MCP server `{server}`"), None))
    }

    /// What came of a call of the agent's, whole.
    async fn whole(&self, uri: &str, call: &str) -> Result<ReadResourceResult, ErrorData> {
        let failed = |failure: Failure| match failure.0.code {
            Code::CallUnknown => ErrorData::resource_not_found(failure.0.detail.clone(), None),
            _ => in_protocol(&failure),
        };
        let (call, session) = self.api.own_call(self.caller, call).await.map_err(failed)?;
        let result = match self.api.said_by_server(call).await.map_err(failed)? {
            Some(said) => said,
            None => match self.api.answered(call, session, Instant::now()).await.map_err(failed)? {
                Answered::Done(invoked) => invoked.result,
                Answered::Open(_) => {
                    return Err(ErrorData::resource_not_found(format!("{call} has not ended yet"), None));
                }
            },
        };
        let content = json!({"uri": uri, "mimeType": "application/json", "text": result.to_string()});
        read(json!({"contents": [content]}))
    }
}

/// Where in the lists of all servers an entry stands. Names alone are none: a server may have one twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    server: String,
    number: usize,
    name: String,
}

/// What one page has room for, and the cursor of the next.
fn first_page(mut entries: Vec<(Place, Value)>) -> Result<(Vec<Value>, Option<String>), ErrorData> {
    let more = entries.len() > PAGE;
    entries.truncate(PAGE);
    let last = entries.last().filter(|_| more).map(|(place, _)| serde_json::to_string(place));
    let next = last.transpose().map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Ok((entries.into_iter().map(|(_, entry)| entry).collect(), next))
}

fn read<T: DeserializeOwned>(mut result: Value) -> Result<T, ErrorData> {
    if let Some(fields) = result.as_object_mut() {
        fields.insert("resultType".to_string(), json!(COMPLETE));
    }
    serde_json::from_value(result).map_err(|error| {
        ErrorData::internal_error(format!("the MCP server's answer is none of the protocol's: {error}"), None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end_where_two_servers_and_one_server_twice_have_the_same_name() {
        let entry = |server: &str, number: usize| {
            let place = Place { server: server.to_string(), number, name: "same".to_string() };
            (place, json!({"uri": format!("{server}/{number}")}))
        };
        let all: Vec<(Place, Value)> =
            ["a", "b"].iter().flat_map(|server| (0..PAGE).map(move |number| entry(server, number))).collect();
        let (mut left, mut seen, mut pages) = (all.clone(), Vec::new(), 0);
        loop {
            let (page, next) = first_page(left.clone()).unwrap();
            seen.extend(page);
            pages += 1;
            let Some(next) = next else { break };
            let place: Place = serde_json::from_str(&next).unwrap();
            let last = left.iter().position(|(known, _)| *known == place).unwrap();
            left.drain(..=last);
        }
        let whole: Vec<Value> = all.into_iter().map(|(_, entry)| entry).collect();
        assert_eq!((pages, seen), (2, whole));
    }
}
