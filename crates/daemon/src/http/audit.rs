//! `/v1/audit`: the ledger for readers. Verifying and exporting are done on the data directory itself, not through the daemon.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use tenure_core::actor::Actor;
use tenure_core::ledger::consistency::Prover;
use tenure_core::ledger::lifecycle;
use tenure_store::audit::{self, Order};
use tenure_store::{Checkpoint, Recorded, Selection, events_from};
use tenure_wire::api::List;
use tenure_wire::api::audit::{AgentRecords, AuditStats, ConsistencyProof, DayRecords, SignedHead};
use tenure_wire::api::moment::Moment;
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Viewer;
use super::body::Params;
use super::number::{self, INDEX_MAX, Number};
use super::problem::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(records)).routes(routes!(stats)).routes(routes!(consistency))
}

/// Kinds that one query names.
const KINDS_MAX: usize = 32;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecordParams {
    /// The first index that is wanted.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    from: Option<Number>,
    /// Of them, so many of the newest.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    last: Option<Number>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before; it goes before `from` and `last`.
    #[param(pattern = "^[0-9]{1,15}$")]
    cursor: Option<String>,
    /// Only of this agent, its executions and sessions: name, id or short id.
    agent: Option<String>,
    /// Only of this one: id or short id.
    execution: Option<String>,
    /// Only of the stream of this id, an agent's executions and sessions too, or naming it.
    #[param(pattern = "^[a-z]{2,4}_[0-9a-z]{26}$")]
    about: Option<String>,
    /// Only of these kinds, with commas between: `call.called`, or all that begin so, as in `call.`.
    kind: Option<String>,
    /// Only what this actor commanded, as in `owner:1000`, `daemon`, `key_…`, `agt_…`.
    actor: Option<String>,
    /// Only of the kinds that a word of an agent's life fits: `created`, `registered`, `activated`, `started`, `message_received`,
    /// `message_sent`, `upgraded`, `quarantined`, `recovered`, `terminated` or `error`.
    lifecycle: Option<String>,
    /// Only from then on: RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Only before then: RFC 3339.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
    /// `true`: only refused commands, blocked calls, and places that the network's rules kept from.
    refused: Option<bool>,
    /// `newest`: the newest come first. `oldest` without it.
    order: Option<String>,
}

impl RecordParams {
    fn selects(&self) -> bool {
        let words = [&self.agent, &self.execution, &self.about, &self.kind, &self.actor, &self.lifecycle];
        let times = [&self.since, &self.until, &self.order];
        words.iter().chain(&times).any(|word| word.is_some()) || self.refused.is_some()
    }
}

/// Records of the ledger, oldest first: as stored, but that `at` is written as times are here, and `lifecycle` has the words of an
/// agent's life that their kind fits. Of a selection a page may be empty
/// and not the last: 100,000 records are looked through for one.
#[utoipa::path(
    get, path = "/v1/audit/records", tag = "audit", params(RecordParams),
    responses((status = 200, body = List<Value>), (status = "4XX", body = Problem))
)]
async fn records(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<RecordParams>,
) -> Answer<List<Value>> {
    let wrong = |_| Failure::from(Code::ParameterWrong.problem("the cursor is none of a list of records"));
    let cursor = params.cursor.as_deref().map(|cursor| cursor.parse::<u64>().map_err(wrong)).transpose()?;
    if params.selects() {
        return selected(&api, &params, cursor).await;
    }
    let index = |name, stated: Option<Number>| stated.map(|number| number.within(name, 0..=INDEX_MAX)).transpose();
    let newest = index("last", params.last)?.map_or(0, |last| api.app.watch.records().saturating_sub(last));
    let from = index("from", params.from)?.unwrap_or(0).max(newest);
    let limit = number::limit(params.limit.as_ref())?;
    let from = cursor.unwrap_or(from);
    // One more than is shown, to know whether there is a next page.
    let mut rows = api.reader().read(move |sql| events_from(sql, from, limit + 1)).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().map(|record| record.meta.index + 1).filter(|_| more);
    let items = rows.iter().map(shown).collect::<Result<Vec<Value>, _>>();
    let items = items.map_err(|error| Failure::from(Code::LedgerBroken.problem(error.to_string())))?;
    Ok(Out(List { items, next_cursor: next.map(|next| next.to_string()) }))
}

async fn selected(api: &Arc<ApiState>, params: &RecordParams, cursor: Option<u64>) -> Answer<List<Value>> {
    let wrong = |why: String| Failure::from(Code::ParameterWrong.problem(why));
    if params.from.is_some() || params.last.is_some() {
        return Err(wrong(
            "`from` and `last` are of the list of all records: a selection goes on by its cursor".into(),
        ));
    }
    let order = match params.order.as_deref() {
        None | Some("oldest") => Order::OldestFirst,
        Some("newest") => Order::NewestFirst,
        Some(_) => return Err(wrong("`order` is `oldest` or `newest`".to_string())),
    };
    let mut selection = Selection { refused: params.refused.unwrap_or(false), ..Selection::default() };
    if let Some(wanted) = &params.agent {
        selection.agent = Some(api.agent(wanted).await?.id);
    }
    if let Some(wanted) = &params.execution {
        selection.execution = Some(api.execution(wanted).await?.id);
    }
    if let Some(about) = &params.about {
        let is_id =
            tenure_core::id::kind_of(about).is_some() && about.split('_').nth(1).is_some_and(|id| id.len() == 26);
        selection.about =
            Some(is_id.then(|| about.clone()).ok_or_else(|| wrong("`about` is no whole id".to_string()))?);
    }
    let kinds = params.kind.iter().flat_map(|kinds| kinds.split(',')).map(|kind| kind.trim().to_string());
    selection.kinds = kinds.filter(|kind| !kind.is_empty()).take(KINDS_MAX).collect();
    if let Some(word) = &params.lifecycle {
        let kinds = lifecycle::kinds_of(word)
            .ok_or_else(|| wrong(format!("`lifecycle` is one of {}", lifecycle::WORDS.join(", "))))?;
        selection.lifecycle = kinds.iter().map(ToString::to_string).collect();
    }
    selection.actor = params.actor.as_deref().map(str::parse::<Actor>).transpose().map_err(wrong)?;
    let time = |text: &Option<String>| text.as_deref().map(str::parse::<Moment>).transpose().map_err(wrong);
    selection.since = time(&params.since)?.map(|moment| moment.0);
    selection.until = time(&params.until)?.map(|moment| moment.0);
    let limit = number::limit(params.limit.as_ref())?;
    let page = api.reader().read(move |sql| audit::records(sql, &selection, order, cursor, limit)).await?;
    let items = page.records.iter().map(shown).collect::<Result<Vec<Value>, _>>();
    let items = items.map_err(|error| Failure::from(Code::LedgerBroken.problem(error.to_string())))?;
    Ok(Out(List { items, next_cursor: page.next.map(|next| next.to_string()) }))
}

/// How many records there are of what, and the newest head. All records are looked through.
#[utoipa::path(
    get, path = "/v1/audit/stats", tag = "audit",
    responses((status = 200, body = AuditStats), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn stats(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<AuditStats> {
    let dir = api.installation.data_dir.clone();
    let outside = tokio::task::spawn_blocking(move || audit::outside(&dir)).await;
    let outside = outside.unwrap_or(Err(tenure_store::Error::Interrupted)).ok();
    let reader = api.reader().background();
    let read = reader.read(move |sql| {
        let said = match &outside {
            Some(outside) => match audit::compare(sql, outside) {
                Ok(Checkpoint::OnChain { .. }) => "agrees",
                Ok(Checkpoint::Missing) => "missing",
                Ok(Checkpoint::Restored(_)) => "differs",
                Err(tenure_store::Error::Corrupt { .. }) => "unreadable",
                Err(error) => return Err(error),
            },
            None => "unreadable",
        };
        Ok((audit::stats(sql)?, said))
    });
    let (stats, outside) = read.await?;
    let head = stats.head.ok_or_else(|| Failure::from(Code::LedgerBroken.problem("the ledger has no head")))?;
    let agents = stats.agents.into_iter();
    let days = stats.days.into_iter();
    Ok(Out(AuditStats {
        id: head.head.project,
        records: stats.records,
        bytes: stats.bytes,
        refusals: stats.refusals,
        kinds: stats.kinds,
        agents: agents.map(|of| AgentRecords { agent: of.agent, agent_name: of.name, records: of.records }).collect(),
        days: days.map(|of| DayRecords { day: of.day.into(), records: of.records, refusals: of.refusals }).collect(),
        head: SignedHead {
            size: head.head.size,
            root: head.head.root,
            at: head.head.at.into(),
            key: head.key,
            signature: head.signature,
        },
        outside: outside.to_string(),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConsistencyParams {
    /// Records of the older ledger; without it `to`, and nothing is to be proven.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    from: Option<Number>,
    /// Records of the newer one; without it, all under the newest head.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    to: Option<Number>,
}

/// Leaves that are read at a time, so that no reader is held for long.
const LEAVES: u32 = 2048;

/// Prove that the ledger only grew: RFC 6962, section 2.1.2. All records up to `to` are hashed for it.
#[utoipa::path(
    get, path = "/v1/audit/consistency", tag = "audit", params(ConsistencyParams),
    responses((status = 200, body = ConsistencyProof), (status = "4XX", body = Problem))
)]
async fn consistency(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ConsistencyParams>,
) -> Answer<ConsistencyProof> {
    let reader = api.reader().background();
    let (head, keys) = reader.read(audit::newest).await?;
    let size = head.head.size;
    let stated = |name, number: Option<Number>| number.map(|number| number.within(name, 1..=INDEX_MAX)).transpose();
    let to = stated("to", params.to)?.unwrap_or(size);
    let from = stated("from", params.from)?.unwrap_or(to);
    if to > size {
        let detail = format!("the ledger has {size} records, and not {to}");
        return Err(Code::ParameterOutOfRange.problem(detail).into());
    }
    let mut prover = Prover::new(from, to).ok_or_else(|| {
        let detail = format!("the ledger of {from} records is larger than the one of {to}");
        Failure::from(Code::ParameterOutOfRange.problem(detail))
    })?;
    while let Some(next) = prover.next() {
        let leaves = reader.read(move |sql| audit::leaves(sql, next, LEAVES)).await?;
        if leaves.is_empty() {
            return Err(Code::LedgerBroken.problem(format!("record {next} is missing")).into());
        }
        for (leaf, index) in leaves.into_iter().zip(next..) {
            if prover.next() == Some(index) {
                prover.push(leaf);
            }
        }
    }
    let path = prover.finish().ok_or_else(|| Failure::from(Code::Internal.problem("a proof is not whole")))?;
    Ok(Out(ConsistencyProof { from, to, path, head: (to == size).then_some(head), keys }))
}

fn shown(record: &Recorded) -> Result<Value, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(&record.bytes)?;
    value["at"] = Moment(record.meta.stamp.at).to_string().into();
    let words = lifecycle::words_of(&record.meta.kind);
    if !words.is_empty() {
        value["lifecycle"] = words.into();
    }
    Ok(value)
}
