//! `/v1/audit/records`: the ledger as stored. Verifying is done on the data directory itself, not through the daemon.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use tenure_store::events_from;
use tenure_wire::api::audit::Records;
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
    /// Instead of `from`: so many of the newest.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    last: Option<Number>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
}

/// Records of the ledger, oldest first.
#[utoipa::path(
    get, path = "/v1/audit/records", tag = "audit", params(RecordParams),
    responses((status = 200, body = Records), (status = "4XX", body = Problem))
)]
async fn records(State(api): State<Arc<ApiState>>, _: Viewer, Params(params): Params<RecordParams>) -> Answer<Records> {
    let from = match (params.from, params.last) {
        (Some(_), Some(_)) => return Err(Code::ParameterWrong.problem("`from` and `last` exclude each other").into()),
        (Some(from), None) => from.within("from", 0..=INDEX_MAX)?,
        (None, Some(last)) => api.app.watch.records().saturating_sub(last.within("last", 0..=INDEX_MAX)?),
        (None, None) => 0,
    };
    let limit = number::limit(params.limit.as_ref())?;
    let rows = api.reader().read(move |sql| events_from(sql, from, limit)).await?;
    let next = rows.last().map_or(from, |record| record.meta.index + 1);
    let items = rows.iter().map(|record| serde_json::from_slice::<Value>(&record.bytes));
    let items: Result<Vec<Value>, _> = items.collect();
    let items = items.map_err(|error| Failure::from(Code::LedgerBroken.problem(error.to_string())))?;
    Ok(Out(Records { items, next }))
}
