//! `tenure approval …`: what people are asked to allow, and how they answer. Must never answer more than was named.
use tenure_wire::api::approval::{self as api, Approval, ApprovalFile, Grant, GrantScope};
use tenure_wire::api::watch::WatchEvent;
use tenure_wire::client::{Client, StreamItem};

use super::{each, typed, watch};
use crate::args::{self, ApprovalFilter, Approve, Listing, Which};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::formatter::call_summary;
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, cost, status_ink, table, when};
use crate::screen::{self, one_line, plain};

/// Of arguments as JSON.
const ARGUMENTS_BYTES_MAX: usize = 1 << 20;
/// Of one batch.
const BATCH_MAX: usize = 1_000;

pub async fn run(verb: args::Approval, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        args::Approval::List(wanted) => list(&client, wanted, output).await,
        args::Approval::Show { approval, rule } => show(&client, &approval, rule, output).await,
        args::Approval::Approve(wanted) => approve(&client, wanted, output).await,
        args::Approval::Reject { which, reason } => {
            let body = api::Reject { reason };
            let reject = async |id: &str| Ok(client.reject(id, &body).await?);
            each(&meant(&client, which).await?, output, reject, |approval| answered("Rejected", approval)).await
        }
        args::Approval::Watch { agent } => {
            let events = client.watch_all(agent.as_deref(), None, None);
            watch::follow(events, is_of_approvals, output).await
        }
        args::Approval::Grants { agent, all, limit, listing } => {
            let status = all.then(|| "all".to_string());
            let grants = client.grants(&[("agent", agent), ("status", status)], limit as usize).await?;
            show_grants(&grants, &listing, output)
        }
        args::Approval::Revoke { grants } => {
            let revoke = async |id: &str| Ok(client.revoke_grant(id).await?);
            let text =
                |grant: &Grant| format!("Revoked {}: {} is asked for again", grant.id, one_line(&grant.capability));
            each(&grants, output, revoke, text).await
        }
    }
}

fn answered(word: &str, approval: &Approval) -> String {
    let what = one_line(&call_summary(&approval.capability, &approval.target));
    let mut text = match approval.status.as_str() {
        "pending" => format!("{word} {}: {what}; another person must allow it too", approval.id),
        _ => format!("{word} {}: {what}", approval.id),
    };
    if let Some(grant) = &approval.grant {
        text.push_str(&format!(
            "\nGrant {}, {}: the rule that asks lets such calls pass\n",
            grant.id,
            one_line(&grant.scope)
        ));
        grant.rule.lines().for_each(|line| text.push_str(&format!("  {}\n", one_line(line))));
        text.push_str(&format!("`tenure approval revoke {}` takes it back", grant.id.short()));
    }
    text
}

async fn approve(client: &Client, wanted: Approve, output: Output) -> Result<Exit, Failure> {
    let arguments = wanted.arguments.as_deref();
    let arguments = arguments.map(|typed| typed::json(typed, false, "arguments", ARGUMENTS_BYTES_MAX)).transpose()?;
    let grant = match (wanted.minutes, wanted.calls, wanted.execution) {
        (Some(minutes), _, _) => Some(GrantScope::Minutes(minutes)),
        (None, Some(calls), _) => Some(GrantScope::Calls(calls)),
        (None, None, true) => Some(GrantScope::Execution {}),
        (None, None, false) => None,
    };
    let ids = meant(client, wanted.which).await?;
    if ids.len() > 1 && arguments.is_some() {
        return Err(Failure::new(Exit::Usage, "other arguments are those of one call").next("approve it alone"));
    }
    let body = api::Approve { note: wanted.note, arguments, grant };
    let approve = async |id: &str| Ok(client.approve(id, &body).await?);
    let wanted_grant = body.grant.is_some();
    let told = |approval: &Approval| {
        let mut text = answered("Approved", approval);
        if wanted_grant && approval.grant.is_none() {
            text.push_str("\nNo grant is given yet: whoever answers last gives it");
        }
        text
    };
    each(&ids, output, approve, told).await
}

/// The ids that are meant; of `--all`, those that are pending now.
async fn meant(client: &Client, which: Which) -> Result<Vec<String>, Failure> {
    if !which.all {
        return Ok(which.approvals);
    }
    let query = [("agent", which.agent), ("capability", which.capability)];
    let pending = client.approvals(&query, BATCH_MAX).await?;
    if pending.is_empty() {
        return Err(Failure::new(Exit::NotFound, "nothing of it waits for an approval")
            .next("`tenure approval list` shows what does"));
    }
    Ok(pending.iter().map(|approval| approval.id.to_string()).collect())
}

async fn list(client: &Client, wanted: ApprovalFilter, output: Output) -> Result<Exit, Failure> {
    let status = wanted.all.then(|| "all".to_string());
    let query = [("agent", wanted.agent), ("capability", wanted.capability), ("status", status)];
    let approvals = client.approvals(&query, wanted.limit as usize).await?;
    let rows = || {
        let columns = [
            Column::key("ID"),
            Column::key("STATUS"),
            Column::key("AGENT"),
            Column::text("CALL"),
            Column::worth("ASKED", 1),
            Column::worth("EXPIRES", 2),
            Column::detail("RULES"),
            Column::detail("ANSWER"),
        ];
        let rows = approvals.iter().map(|approval| {
            let ink = match approval.status.as_str() {
                "pending" => "waiting",
                "approved" => "completed",
                _ => "failed",
            };
            [
                Cell::from(if output.verbose { approval.id.to_string() } else { approval.id.short() }),
                Cell::inked(approval.status.clone(), status_ink(ink)),
                Cell::from(whose(approval)),
                Cell::from(one_line(&call_summary(&approval.capability, &approval.target))),
                Cell::from(when(approval.asked_at, output)),
                Cell::from(approval.expires_at.map_or_else(|| "-".to_string(), |at| at.to_string())),
                Cell::from(approval.rules.join(", ")),
                Cell::from(approval.detail.clone().unwrap_or_else(|| "-".to_string())),
            ]
        });
        Table::new(columns, rows)
    };
    let none = "Nothing waits for an approval; --all shows what did";
    output.list(&wanted.listing, &approvals, none, |approval| approval.id.to_string(), rows)?;
    Ok(Exit::Done)
}

fn whose(approval: &Approval) -> String {
    approval.agent_name.clone().unwrap_or_else(|| approval.agent.to_string())
}

async fn show(client: &Client, wanted: &str, rule: bool, output: Output) -> Result<Exit, Failure> {
    let file = client.approval(wanted).await?;
    if rule {
        screen::print(&file.rule)?;
        return Ok(Exit::Done);
    }
    output.show(&file, || card(&file, output))?;
    Ok(Exit::Done)
}

fn card(file: &ApprovalFile, output: Output) -> String {
    let approval = &file.approval;
    let holder = approval.execution.map(|id| id.to_string()).or_else(|| approval.session.map(|id| id.to_string()));
    let pending = approval.status == "pending";
    let people = (approval.people > 1).then(|| format!("{} different people must allow it", approval.people));
    let arguments = file.arguments.as_ref().map(|arguments| plain(arguments.get()).into_owned());
    let mut text = table::lines(
        output.width(),
        [
            ("id", Some(approval.id.to_string())),
            ("status", Some(approval.status.clone())),
            ("what", Some(one_line(&file.effect))),
            ("call", Some(one_line(&call_summary(&approval.capability, &approval.target)))),
            ("arguments", Some(arguments.unwrap_or_else(|| "(erased)".to_string()))),
            ("taken back", Some(taken_back(&file.effects).to_string())),
            ("asked by", holder),
            ("asked", Some(approval.asked_at.to_string())),
            ("why", Some(approval.rules.join(", "))),
            ("people", people),
            (
                "cost so far",
                approval.execution.map(|_| format!("{} tokens, {}", file.tokens, cost(file.cost_micro_usd, 0))),
            ),
            ("answer", approval.detail.clone()),
            ("if not answered", approval.expires_at.map(|at| format!("refused at {at}"))),
        ],
    );
    if pending {
        text.push_str(
            "\nA grant would cover these calls; as an exception behind the rule that asks they would pass for good:\n",
        );
        file.rule.lines().for_each(|line| text.push_str(&format!("  {}\n", one_line(line))));
        let id = approval.id.short();
        text.push_str(&format!("\n  tenure approval approve {id}        reject {id} --reason WHY\n"));
    }
    text
}

fn taken_back(effects: &str) -> &'static str {
    match effects {
        "none" => "nothing is changed by it",
        "reversible" => "it can be",
        _ => "it cannot be",
    }
}

fn show_grants(grants: &[Grant], listing: &Listing, output: Output) -> Result<Exit, Failure> {
    let rows = || {
        let columns = [
            Column::key("ID"),
            Column::key("STATUS"),
            Column::key("AGENT"),
            Column::key("CAPABILITY"),
            Column::text("SCOPE"),
            Column::worth("GIVEN", 1),
            Column::detail("BY"),
            Column::detail("RULE"),
            Column::detail("LAST"),
        ];
        let rows = grants.iter().map(|grant| {
            let ink = if grant.status == "active" { "completed" } else { "waiting" };
            [
                Cell::from(if output.verbose { grant.id.to_string() } else { grant.id.short() }),
                Cell::inked(grant.status.clone(), status_ink(ink)),
                Cell::from(grant.agent_name.clone().unwrap_or_else(|| grant.agent.to_string())),
                Cell::from(grant.capability.clone()),
                Cell::from(grant.scope.clone()),
                Cell::from(when(grant.given_at, output)),
                Cell::from(grant.by.clone()),
                Cell::from(one_line(&grant.rule)),
                Cell::from(grant.detail.clone().unwrap_or_else(|| "-".to_string())),
            ]
        });
        Table::new(columns, rows)
    };
    let none = "No grant; `tenure approval approve ID --minutes 30` gives one";
    output.list(listing, grants, none, |grant| grant.id.to_string(), rows)?;
    Ok(Exit::Done)
}

fn is_of_approvals(item: &StreamItem<WatchEvent>) -> bool {
    match item {
        StreamItem::Event(event) => {
            let kind = event.kind.as_str();
            matches!(kind, "call.held" | "call.allowed" | "call.released" | "call.recalled" | "call.blocked")
                || kind.starts_with("grant.")
        }
        StreamItem::Piece(_) => false,
        StreamItem::Broken | StreamItem::Rejoined => true,
    }
}
