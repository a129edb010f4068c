//! `/v1/audit/records`: the ledger for readers. Verifying is done on the data directory itself, not through the daemon.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use tenure_store::{Recorded, events_from};
use tenure_wire::api::List;
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
    OpenApiRouter::new().routes(routes!(records))
}

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
}

/// Records of the ledger, oldest first: as stored, but that `at` is written as times are here.
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
    let cursor = params.cursor.map(|cursor| cursor.parse::<u64>().map_err(wrong)).transpose()?;
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

fn shown(record: &Recorded) -> Result<Value, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(&record.bytes)?;
    value["at"] = Moment(record.meta.stamp.at).to_string().into();
    Ok(value)
}
