//! `/v1/approvals` and `/v1/grants`: what people are asked to allow, how they answer, and what they let agents do unasked. A call
//! begins when its holder has judged it again; here it is only answered.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Event};
use tenure_core::approval::{self as approvals, ACTIVE, Listed, PENDING, Pattern, Scope};
use tenure_core::call::Holder;
use tenure_core::capability::{self, Attributes, mcp};
use tenure_core::id::{ApprovalId, GrantId};
use tenure_core::item::{Item, ItemKind};
use tenure_core::time::Time;
use tenure_store::rows::{Match, calls, executions, items};
use tenure_wire::api::List;
use tenure_wire::api::approval::{Approval, ApprovalFile, Approve, Grant, GrantScope, Reject};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Approver, Viewer};
use super::body::{JsonOrNothing, Params, Segment};
use super::lookup::{Names, Sought};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::reconcile::think;
use crate::records::{Error, ReadTxn, found};

const MINUTES_MAX: u32 = 30 * 24 * 60;
const CALLS_MAX: u32 = 10_000;

const APPROVAL: Sought = Sought {
    kind: ItemKind::Approval,
    prefix: ApprovalId::PREFIX,
    noun: "approval",
    unknown: Code::ApprovalUnknown,
    ambiguous: Code::ApprovalAmbiguous,
};
const GRANT: Sought = Sought {
    kind: ItemKind::Grant,
    prefix: GrantId::PREFIX,
    noun: "grant",
    unknown: Code::GrantUnknown,
    ambiguous: Code::GrantUnknown,
};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list_approvals))
        .routes(routes!(approval))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(list_grants))
        .routes(routes!(revoke_grant))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ApprovalParams {
    /// Name, id or short id.
    agent: Option<String>,
    /// `pending`, `approved`, `rejected`, `expired`, `cancelled` or `all`; `pending` without it.
    status: Option<String>,
    /// Of this capability in each page.
    capability: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What people are asked to allow, the newest first.
#[utoipa::path(
    get, path = "/v1/approvals", tag = "approvals", params(ApprovalParams),
    responses((status = 200, body = List<Approval>), (status = "4XX", body = Problem))
)]
async fn list_approvals(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ApprovalParams>,
) -> Answer<List<Approval>> {
    let wrong = |why: &str| Failure::from(Code::ParameterWrong.problem(why));
    let known = [PENDING, approvals::APPROVED, approvals::REJECTED, approvals::EXPIRED, approvals::CANCELLED];
    let state = match params.status.as_deref() {
        None => Some(PENDING.to_string()),
        Some("all") => None,
        Some(word) if known.contains(&word) => Some(word.to_string()),
        Some(_) => return Err(wrong("`status` is pending, approved, rejected, expired, cancelled or all")),
    };
    let before = params.cursor.as_deref().map(str::parse::<ApprovalId>).transpose();
    let before = before.map_err(|_| wrong("the cursor is none of a list of approvals"))?.map(|id| id.to_string());
    let agent = match &params.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let limit = number::limit(params.limit.as_ref())?;
    let filter = items::Filter { agent, state, before, due_after: None };
    let capability = params.capability;
    let read = api.records.read(move |txn| {
        let page = items::list(txn.parts().0, ItemKind::Approval, &filter, limit)?;
        let mut shown = shown(txn, page.rows)?;
        shown.retain(|approval| capability.as_ref().is_none_or(|wanted| approval.capability == *wanted));
        Ok((shown, page.next))
    });
    let (items, next_cursor) = read.await?;
    Ok(Out(List { items, next_cursor }))
}

/// One approval with all that a person decides by.
#[utoipa::path(
    get, path = "/v1/approvals/{approval}", tag = "approvals",
    params(("approval" = String, Path, description = "Id or short id")),
    responses((status = 200, body = ApprovalFile), (status = "4XX", body = Problem))
)]
async fn approval(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<ApprovalFile> {
    let item = api.approval(&wanted).await?;
    let read = api.records.read(move |txn| file(txn, item));
    Ok(Out(read.await?))
}

/// Allow a call: as it was asked for, or with other arguments. It is judged again, and done at most once.
#[utoipa::path(
    post, path = "/v1/approvals/{approval}/approve", tag = "approvals", request_body = Option<Approve>,
    params(("approval" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Approval), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn approve(
    State(api): State<Arc<ApiState>>,
    Approver(caller): Approver,
    Segment(wanted): Segment,
    JsonOrNothing(body): JsonOrNothing<Approve>,
) -> Answer<Approval> {
    let item = api.approval(&wanted).await?;
    let (id, listed) = (key_of(&item)?, listed_of(&item)?);
    let edited = match body.arguments {
        None => None,
        Some(arguments) => {
            let wrong = |error: serde_json::Error| Code::CallArgumentsWrong.problem(error.to_string());
            let arguments = serde_json::from_str(arguments.get()).map_err(wrong)?;
            let upstream = api.brought_to(listed.holder, listed.call).await?;
            Some(think::proposal(&api.app, &upstream, &listed.capability, &arguments, None))
        }
    };
    let grant = body.grant.map(|scope| scope_of(scope, api.app.committer.now().at, listed.holder)).transpose()?;
    let command = agent::Command::Approve(agent::Approve { approval: id, note: body.note, edited, grant });
    api.answer(caller.actor, item, command).await
}

/// Do not allow a call. Its agent is told the reason and goes on.
#[utoipa::path(
    post, path = "/v1/approvals/{approval}/reject", tag = "approvals", request_body = Option<Reject>,
    params(("approval" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Approval), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn reject(
    State(api): State<Arc<ApiState>>,
    Approver(caller): Approver,
    Segment(wanted): Segment,
    JsonOrNothing(body): JsonOrNothing<Reject>,
) -> Answer<Approval> {
    let item = api.approval(&wanted).await?;
    let command = agent::Command::Reject { approval: key_of(&item)?, reason: body.reason };
    api.answer(caller.actor, item, command).await
}

impl ApiState {
    pub(super) async fn approval(&self, wanted: &str) -> Result<Item, Failure> {
        self.item(&APPROVAL, wanted).await
    }

    pub(super) async fn answer(&self, actor: Actor, item: Item, command: agent::Command) -> Answer<Approval> {
        let (agent, key, wall) = (item.agent, item.key, self.app.committer.now().at);
        let committed = self.app.committer.commit(actor, Command::Agent(agent, command)).await?;
        let given = committed.decision.events.iter().find_map(|(_, event)| {
            let Event::Agent(agent::Event::GrantGiven { grant, .. }) = event else { return None };
            Some(grant.id.to_string())
        });
        let read = self.records.read(move |txn| {
            let item = items::get(txn.parts().0, ItemKind::Approval, agent, &key)?.ok_or(Error::Gone("approval"))?;
            let mut shown = shown(txn, vec![item])?;
            if let (Some(key), Some(approval)) = (given, shown.first_mut()) {
                let item = items::get(txn.parts().0, ItemKind::Grant, agent, &key)?.ok_or(Error::Gone("grant"))?;
                approval.grant = grants(txn, vec![item], wall)?.pop();
            }
            Ok(shown)
        });
        let shown = read.await?.pop();
        shown.map(Out).ok_or_else(|| Code::Internal.problem("an approval that was answered is not there").into())
    }
}

fn key_of(item: &Item) -> Result<ApprovalId, Failure> {
    item.key.parse().map_err(|_| Code::Internal.problem("an approval's id is none").into())
}

fn listed_of(item: &Item) -> Result<Listed, Failure> {
    item.parse_data().map_err(|_| Code::LedgerBroken.problem("an approval's row cannot be read").into())
}

fn scope_of(scope: GrantScope, wall: Time, holder: Holder) -> Result<Scope, Failure> {
    let wrong = |why: &str| Failure::from(Code::GrantWrong.problem(why));
    match scope {
        GrantScope::Minutes(minutes) if (1..=MINUTES_MAX).contains(&minutes) => {
            Ok(Scope::Until { at: wall.plus_ms(u64::from(minutes) * 60_000) })
        }
        GrantScope::Calls(left) if (1..=CALLS_MAX).contains(&left) => Ok(Scope::Calls { left }),
        GrantScope::Execution {} => match holder {
            Holder::Execution(id) => Ok(Scope::Execution { id }),
            Holder::Session(_) => Err(wrong("a session asked, and no execution")),
        },
        GrantScope::Minutes(_) => Err(wrong("minutes are from 1 to 43200")),
        GrantScope::Calls(_) => Err(wrong("calls are from 1 to 10000")),
    }
}

fn shown(txn: &mut ReadTxn<'_>, rows: Vec<Item>) -> Result<Vec<Approval>, Error> {
    let mut names = Names::default();
    let mut shown = Vec::with_capacity(rows.len());
    for item in rows {
        let (Ok(id), Ok(listed)) = (item.key.parse(), item.parse_data::<Listed>()) else { continue };
        let pending = item.state == PENDING;
        // A person may have changed its arguments since it was listed.
        let target = calls::get(txn.parts().0, listed.call)?.map_or(listed.shown, |call| call.shown);
        shown.push(Approval {
            id,
            agent: item.agent,
            agent_name: names.of(txn.parts().0, item.agent)?,
            execution: listed.holder.execution(),
            session: listed.holder.session(),
            call: listed.call,
            capability: listed.capability,
            target: target.into(),
            rules: listed.rules,
            people: listed.people,
            detail: item.detail,
            asked_at: item.at.into(),
            expires_at: item.due.filter(|_| pending).map(Into::into),
            decided_at: (!pending).then(|| item.changed_at.into()),
            grant: None,
            status: item.state,
        });
    }
    Ok(shown)
}

fn file(txn: &mut ReadTxn<'_>, item: Item) -> Result<ApprovalFile, Error> {
    let approval = shown(txn, vec![item])?.pop().ok_or(Error::Gone("approval"))?;
    let row = txn.call(approval.call)?;
    let arguments = found(txn.text(row.arguments))?.and_then(|text| RawValue::from_string(text).ok());
    let attributes: Attributes = found(txn.json(row.attributes))?.unwrap_or_default();
    let spent = match approval.execution {
        Some(id) => executions::get(txn.parts().0, id)?,
        None => None,
    };
    let (tokens, cost_micro_usd) =
        spent.map_or((0, 0), |row| (row.input_tokens.saturating_add(row.output_tokens), row.micro_usd));
    let known = capability::find(&approval.capability);
    let name = approval.agent_name.clone().unwrap_or_else(|| approval.agent.to_string());
    Ok(ApprovalFile {
        effect: effect(&name, known.map(|known| known.brief), &approval.capability),
        effects: capability::terms(&approval.capability)
            .map_or("irreversible", |terms| terms.effects.into())
            .to_string(),
        rule: Pattern::of(&approval.capability, &attributes).to_exception(&name),
        arguments,
        tokens,
        cost_micro_usd,
        approval,
    })
}

/// By its id; none where there is no such one.
pub(crate) fn card(txn: &mut ReadTxn<'_>, approval: ApprovalId) -> Result<Option<ApprovalFile>, Error> {
    match items::find(txn.parts().0, ItemKind::Approval, ApprovalId::PREFIX, &approval.to_string())? {
        Match::One(item) => file(txn, item).map(Some),
        Match::Many(_) | Match::None => Ok(None),
    }
}

fn effect(agent: &str, brief: Option<&str>, capability: &str) -> String {
    match brief {
        Some(brief) => format!("{agent} wants to use {capability}: {}", brief.trim_end_matches('.')),
        None => match mcp::Name::parse(capability) {
            Some(name) => format!("{agent} wants to ask its MCP server {}: {}", name.server, name.method.as_str()),
            None => format!("{agent} wants to use {capability}, which this release does not know"),
        },
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GrantParams {
    /// Name, id or short id.
    agent: Option<String>,
    /// `active` or `all`; `active` without it.
    status: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What people let agents do unasked, the newest first.
#[utoipa::path(
    get, path = "/v1/grants", tag = "approvals", params(GrantParams),
    responses((status = 200, body = List<Grant>), (status = "4XX", body = Problem))
)]
async fn list_grants(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<GrantParams>,
) -> Answer<List<Grant>> {
    let wrong = |why: &str| Failure::from(Code::ParameterWrong.problem(why));
    let all = match params.status.as_deref() {
        None | Some(ACTIVE) => false,
        Some("all") => true,
        Some(_) => return Err(wrong("`status` is active or all")),
    };
    let before = params.cursor.as_deref().map(str::parse::<GrantId>).transpose();
    let before = before.map_err(|_| wrong("the cursor is none of a list of grants"))?.map(|id| id.to_string());
    let agent = match &params.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let limit = number::limit(params.limit.as_ref())?;
    let wall = api.app.committer.now().at;
    let state = (!all).then(|| ACTIVE.to_string());
    let filter = items::Filter { agent, state, before, due_after: (!all).then_some(wall) };
    let read = api.records.read(move |txn| {
        let page = items::list(txn.parts().0, ItemKind::Grant, &filter, limit)?;
        let mut grants = grants(txn, page.rows, wall)?;
        grants.retain(|grant| all || grant.status == ACTIVE);
        Ok((grants, page.next))
    });
    let (items, next_cursor) = read.await?;
    Ok(Out(List { items, next_cursor }))
}

/// Take a grant back: from now on its calls are asked for again.
#[utoipa::path(
    delete, path = "/v1/grants/{grant}", tag = "approvals",
    params(("grant" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Grant), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn revoke_grant(
    State(api): State<Arc<ApiState>>,
    Approver(caller): Approver,
    Segment(wanted): Segment,
) -> Answer<Grant> {
    let item = api.item(&GRANT, &wanted).await?;
    let grant = item.key.parse().map_err(|_| Code::Internal.problem("a grant's id is none"))?;
    let (agent, key, wall) = (item.agent, item.key, api.app.committer.now().at);
    let revoke = agent::Command::RevokeGrant { grant };
    api.app.committer.commit(caller.actor, Command::Agent(agent, revoke)).await?;
    let read = api.records.read(move |txn| {
        let item = items::get(txn.parts().0, ItemKind::Grant, agent, &key)?.ok_or(Error::Gone("grant"))?;
        grants(txn, vec![item], wall)
    });
    let found = read.await?.pop();
    found.map(Out).ok_or_else(|| Code::Internal.problem("a grant that was revoked is not there").into())
}

fn grants(txn: &mut ReadTxn<'_>, rows: Vec<Item>, wall: Time) -> Result<Vec<Grant>, Error> {
    let mut names = Names::default();
    let mut shown = Vec::with_capacity(rows.len());
    for item in rows {
        let Ok(grant) = item.parse_data::<approvals::Grant>() else { continue };
        let agent_name = names.of(txn.parts().0, item.agent)?;
        let name = agent_name.clone().unwrap_or_else(|| item.agent.to_string());
        let scope = match grant.scope {
            Scope::Until { at } => format!("until {at}"),
            Scope::Calls { left: 1 } => "1 call".to_string(),
            Scope::Calls { left } => format!("{left} calls"),
            Scope::Execution { id } => format!("while {id} runs"),
        };
        let expired = item.state == ACTIVE && grant.is_over(wall);
        shown.push(Grant {
            id: grant.id,
            status: if expired { approvals::EXPIRED.to_string() } else { item.state },
            agent: item.agent,
            agent_name,
            capability: grant.pattern.capability.clone(),
            rule: grant.pattern.to_exception(&name),
            scope,
            by: grant.by.to_string(),
            detail: item.detail,
            given_at: item.at.into(),
        });
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tenure_core::judge::Verdict;
    use tenure_policy::{Layer, Policy, Situation, default_bundle};

    #[test]
    fn the_exception_on_a_card_is_one_that_loads_and_lets_the_call_pass_and_no_other() {
        for (name, input, other) in [
            (
                "process.run",
                json!({"command": "git", "args": ["push", "a\"*b"]}),
                json!({"command": "git", "args": ["reset"]}),
            ),
            (
                "process.run",
                json!({"command": "sh", "args": ["-c", "ls *"]}),
                json!({"command": "sh", "args": ["-c", "rm x"]}),
            ),
            (
                "filesystem.write",
                json!({"path": "out*/a.txt", "content": "x"}),
                json!({"path": "other/a.txt", "content": "x"}),
            ),
            ("state.persistent.set", json!({"key": "a", "value": 1}), json!({"key": "b", "value": 1})),
            (
                "network.http_request",
                json!({"url": "https://a.example/x", "method": "GET"}),
                json!({"url": "https://a.example/x", "method": "PUT"}),
            ),
            ("mcp.mail.send", json!({"to": "a", "reply-to": "b"}), json!({"to": "a", "reply-to": "c"})),
            ("mcp.mail.send", json!({"a || true || context.input.b": "x"}), json!({"to": "a"})),
        ] {
            let exception = Pattern::of(name, &capability::attributes(name, &input).unwrap()).to_exception("coder");
            let rule = format!(
                "@verdict(\"approval_required\")\npermit(principal, action == Action::\"{name}\", resource)\n{exception};\n"
            );
            let policy = Policy::compile(&default_bundle().with(Layer::Project, "asks.cedar", &rule));
            let policy = policy.unwrap_or_else(|faults| panic!("{rule}\n{faults:?}"));
            let judged = |input: &serde_json::Value| {
                let situation = json!({"agent": "coder", "capability": name, "input": input}).to_string();
                let asked = Situation::parse(&situation).unwrap().asked().unwrap();
                policy.judge(&asked.ask(Some(policy.digest()))).verdict
            };
            assert_ne!(judged(&input), Verdict::ApprovalRequired, "{rule}");
            assert_eq!(judged(&other), Verdict::ApprovalRequired, "{rule}");
        }
    }
}
