//! `/v1/agents/{agent}/state` and `/v1/state/shared`: what agents keep, for people to read and to mend. Each change is a
//! command with the person as its actor; the same checks hold as for agents.
mod acl;
mod place;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::header::{ETAG, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tenure_core::actor::Actor;
use tenure_core::draft::Committed;
use tenure_core::state::{Change, EndedBy, Entry, Scope, VERSIONS_MAX, Write, quota};
use tenure_core::time::Time;
use tenure_store::Recorded;
use tenure_store::rows::state as rows;
use tenure_wire::api::List;
use tenure_wire::api::state::{
    BackupValue, RESTORE_BYTES_MAX, RESTORED_VALUES_MAX, SetQuota, StateBackup, StateChange, StateChanges, StateEntry,
    StateEvent, StateQuota, StateRestored, StateValue, StateVersion, StateWritten, VALUE_BODY_BYTES_MAX,
};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{Content, DEPTH_MAX, Json, Params, Segment, depth};
use super::lookup::quoted;
use super::number::{self, INDEX_MAX, Number};
use super::problem::{Answer, Failure};
use place::{Place, names_of};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(history))
        .routes(routes!(changes))
        .routes(routes!(show_quota, set_quota))
        .routes(routes!(backup))
        .routes(routes!(restore))
        .routes(routes!(list_shared))
        .routes(routes!(shared_value, put_shared, delete_shared))
        .routes(routes!(history_shared))
        .routes(routes!(changes_shared))
        .routes(routes!(show_shared_quota, set_shared_quota))
        .merge(acl::routes())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only keys that begin so.
    prefix: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetParams {
    /// 1 to 512 bytes.
    key: String,
    /// An earlier version that is still kept.
    #[param(value_type = Option<u64>, minimum = 1)]
    version: Option<Number>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PutParams {
    /// 1 to 512 bytes.
    key: String,
    /// The version that it must have now, 0 for none.
    #[param(value_type = Option<u64>, minimum = 0)]
    expected_version: Option<Number>,
    /// After so many seconds it expires.
    #[param(value_type = Option<u64>, minimum = 1)]
    ttl_seconds: Option<Number>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteParams {
    /// 1 to 512 bytes.
    key: String,
    /// The version that it must have now.
    #[param(value_type = Option<u64>, minimum = 0)]
    expected_version: Option<Number>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeyParams {
    /// 1 to 512 bytes.
    key: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChangesParams {
    /// `cursor` of the answer before; without it only the present cursor is told.
    #[param(value_type = Option<u64>, minimum = 0)]
    after: Option<Number>,
    /// Only keys that begin so.
    prefix: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BackupParams {
    /// Only keys that begin so.
    prefix: Option<String>,
}

/// An agent's keys, without their values.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/state", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id"), ListParams),
    responses((status = 200, body = List<StateEntry>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<ListParams>,
) -> Answer<List<StateEntry>> {
    api.agents_place(&wanted).await?.list(&api, params).await
}

/// A value of an agent's; its version is the ETag.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/state/value", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id"), GetParams),
    responses((status = 200, body = StateValue), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn get(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<GetParams>,
) -> Result<Response, Failure> {
    api.agents_place(&wanted).await?.get(&api, params).await
}

/// Set a value of an agent's; recorded as yours.
#[utoipa::path(
    put, path = "/v1/agents/{agent}/state/value", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id"), PutParams),
    request_body(content = serde_json::Value, description = "The value: any JSON, at most 1 MiB"),
    responses((status = 200, body = StateWritten), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn put(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Params(params): Params<PutParams>,
    Content(bytes): Content<VALUE_BODY_BYTES_MAX>,
) -> Answer<StateWritten> {
    api.agents_place(&wanted).await?.put(&api, caller.actor, params, &bytes).await
}

/// Delete a value of an agent's; recorded as yours. Its earlier versions stay for a while.
#[utoipa::path(
    delete, path = "/v1/agents/{agent}/state/value", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id"), DeleteParams),
    responses((status = 200, body = StateWritten), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn delete(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Params(params): Params<DeleteParams>,
) -> Answer<StateWritten> {
    api.agents_place(&wanted).await?.delete(&api, caller.actor, params).await
}

/// The kept versions of a key of an agent's, newest first.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/state/history", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id"), KeyParams),
    responses((status = 200, body = List<StateVersion>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn history(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<KeyParams>,
) -> Answer<List<StateVersion>> {
    api.agents_place(&wanted).await?.history(&api, params.key).await
}

/// What was set, deleted or expired of an agent's keys since a cursor.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/state/changes", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id"), ChangesParams),
    responses((status = 200, body = StateChanges), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn changes(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<ChangesParams>,
) -> Answer<StateChanges> {
    api.agents_place(&wanted).await?.changes(&api, params).await
}

/// How much an agent keeps, and how much it may.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/state/quota", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = StateQuota), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn show_quota(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<StateQuota> {
    api.agents_place(&wanted).await?.quota(&api).await
}

/// Set how much an agent may keep; what it keeps already stays.
#[utoipa::path(
    put, path = "/v1/agents/{agent}/state/quota", tag = "state", request_body = SetQuota,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = StateQuota), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn set_quota(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(set): Json<SetQuota>,
) -> Answer<StateQuota> {
    api.agents_place(&wanted).await?.set_quota(&api, caller.actor, &set).await
}

/// All values of an agent's as they are at one moment.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/state/backup", tag = "state",
    params(("agent" = String, Path, description = "Name, id or short id"), BackupParams),
    responses((status = 200, body = StateBackup), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn backup(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<BackupParams>,
) -> Answer<StateBackup> {
    let row = api.agent(&wanted).await?;
    let place = Place::of_agent(row.id);
    let (values, at) = place.all(&api, params.prefix.unwrap_or_default()).await?;
    Ok(Out(StateBackup { agent: row.name, agent_id: row.id, at: at.into(), values }))
}

/// Put the values of a backup back, all or none, each over what its key has now; other keys stay. At most 16 MiB and 1000
/// values.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/state/restore", tag = "state", request_body = StateBackup,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = StateRestored), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn restore(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Content(bytes): Content<RESTORE_BYTES_MAX>,
) -> Answer<StateRestored> {
    let row = api.agent(&wanted).await?;
    let backup: StateBackup =
        serde_json::from_slice(&bytes).map_err(|error| Code::BodyWrong.problem(format!("it is no backup: {error}")))?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = backup.values.iter().find(|value| !seen.insert(value.key.clone())) {
        return Err(Code::BodyWrong.problem(format!("the key {} stands in it twice", quoted(&twice.key))).into());
    }
    let now = api.app.committer.now().at;
    let (mut writes, mut expired) = (Vec::new(), Vec::new());
    for BackupValue { key, value, expires_at, .. } in backup.values {
        if expires_at.is_some_and(|at| at.0 <= now) {
            expired.push(key);
            continue;
        }
        let ttl_ms = expires_at.map(|at| at.0.since_ms(now));
        let value = api.app.committer.payload(checked(value.get().as_bytes())?);
        writes.push(Write { key, value, expected: None, ttl_ms });
    }
    if writes.len() > RESTORED_VALUES_MAX {
        let detail = format!("it has {} values; at most {RESTORED_VALUES_MAX} are put back at once", writes.len());
        return Err(Code::BodyTooLarge.problem(detail).hint("make several, each with `--prefix`").into());
    }
    let keys: Vec<String> = writes.iter().map(|write| write.key.clone()).collect();
    let command = tenure_core::agent::Command::RestoreState { values: writes };
    let command = tenure_core::aggregate::Command::Agent(row.id, command);
    let committed = api.app.committer.commit(caller.actor, command).await?;
    let items = keys.into_iter().map(|key| written(&committed, key)).collect::<Result<Vec<_>, _>>()?;
    Ok(Out(StateRestored { items, expired }))
}

/// The keys that agents share, without their values.
#[utoipa::path(
    get, path = "/v1/state/shared", tag = "state", params(ListParams),
    responses((status = 200, body = List<StateEntry>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn list_shared(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ListParams>,
) -> Answer<List<StateEntry>> {
    api.shared_place().list(&api, params).await
}

/// A value that agents share; its version is the ETag.
#[utoipa::path(
    get, path = "/v1/state/shared/value", tag = "state", params(GetParams),
    responses((status = 200, body = StateValue), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn shared_value(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<GetParams>,
) -> Result<Response, Failure> {
    api.shared_place().get(&api, params).await
}

/// Set a value that agents share; `expected_version` is wanted, 0 for a new key.
#[utoipa::path(
    put, path = "/v1/state/shared/value", tag = "state", params(PutParams),
    request_body(content = serde_json::Value, description = "The value: any JSON, at most 1 MiB"),
    responses((status = 200, body = StateWritten), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn put_shared(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Params(params): Params<PutParams>,
    Content(bytes): Content<VALUE_BODY_BYTES_MAX>,
) -> Answer<StateWritten> {
    expected(params.expected_version.as_ref())?;
    api.shared_place().put(&api, caller.actor, params, &bytes).await
}

/// Delete a value that agents share; `expected_version` is wanted.
#[utoipa::path(
    delete, path = "/v1/state/shared/value", tag = "state", params(DeleteParams),
    responses((status = 200, body = StateWritten), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn delete_shared(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Params(params): Params<DeleteParams>,
) -> Answer<StateWritten> {
    expected(params.expected_version.as_ref())?;
    api.shared_place().delete(&api, caller.actor, params).await
}

/// The kept versions of a shared key, newest first.
#[utoipa::path(
    get, path = "/v1/state/shared/history", tag = "state", params(KeyParams),
    responses((status = 200, body = List<StateVersion>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn history_shared(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<KeyParams>,
) -> Answer<List<StateVersion>> {
    api.shared_place().history(&api, params.key).await
}

/// What was set, deleted or expired of the shared keys since a cursor.
#[utoipa::path(
    get, path = "/v1/state/shared/changes", tag = "state", params(ChangesParams),
    responses((status = 200, body = StateChanges), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn changes_shared(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ChangesParams>,
) -> Answer<StateChanges> {
    api.shared_place().changes(&api, params).await
}

/// How much agents share, and how much they may.
#[utoipa::path(
    get, path = "/v1/state/shared/quota", tag = "state",
    responses((status = 200, body = StateQuota), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn show_shared_quota(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<StateQuota> {
    api.shared_place().quota(&api).await
}

/// Set how much agents may share; what they share already stays.
#[utoipa::path(
    put, path = "/v1/state/shared/quota", tag = "state", request_body = SetQuota,
    responses((status = 200, body = StateQuota), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn set_shared_quota(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Json(set): Json<SetQuota>,
) -> Answer<StateQuota> {
    api.shared_place().set_quota(&api, caller.actor, &set).await
}

fn expected(version: Option<&Number>) -> Result<(), Failure> {
    let why = "shared values want `expected_version`: the version that you read, 0 for a new key";
    version.map(|_| ()).ok_or_else(|| Code::ParameterWrong.problem(why).into())
}

/// The bytes of a value as they are kept: JSON that nests no deeper than is read.
fn checked(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to();
        Code::BodyNotUtf8.problem(format!("the byte at offset {place} is not UTF-8"))
    })?;
    if depth(text) > DEPTH_MAX {
        return Err(Code::BodyTooDeep.problem(format!("it nests deeper than {DEPTH_MAX}")).into());
    }
    let value: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| Code::BodyNotJson.problem(error.to_string()))?;
    Ok(value.get().as_bytes().to_vec())
}

/// The version that a commit gave a key.
fn written(committed: &Committed, key: String) -> Result<StateWritten, Failure> {
    let versions = committed.decision.rows.iter().rev().filter_map(|row| match row {
        tenure_core::row::Row::Entry { key: name, entry, .. } if *name == key => Some(entry.version),
        _ => None,
    });
    let version = versions.max().ok_or_else(|| Code::Internal.problem("a change of state has no row"))?;
    Ok(StateWritten { key, version })
}

impl Place {
    async fn list(self, api: &ApiState, params: ListParams) -> Answer<List<StateEntry>> {
        let limit = number::limit(params.limit.as_ref())?;
        let now = api.app.committer.now().at;
        let (namespace, prefix) = (self.0.namespace.clone(), params.prefix.unwrap_or_default());
        let after = params.cursor.unwrap_or_default();
        let read = api.reader().read(move |sql| {
            let page = rows::page(sql, &namespace, (&prefix, &after), now, limit)?;
            let names = names_of(sql, page.rows.iter().map(|(_, entry)| entry))?;
            Ok((page, names))
        });
        let (page, names) = read.await?;
        let items = page.rows.into_iter().map(|(key, entry)| {
            let (owner_agent, owner_id) = self.owner(&entry, &names);
            StateEntry {
                key,
                version: entry.version,
                size: entry.value.map_or(0, |value| value.size),
                owner_agent,
                owner_id,
                updated_by: entry.by.to_string(),
                updated_at: entry.at.into(),
                expires_at: entry.expires.map(Into::into),
            }
        });
        Ok(Out(List { items: items.collect(), next_cursor: page.next }))
    }

    async fn get(self, api: &ApiState, params: GetParams) -> Result<Response, Failure> {
        let version = params.version.map(|version| version.within("version", 1..=INDEX_MAX)).transpose()?;
        let (namespace, key, now) = (self.0.namespace.clone(), params.key.clone(), api.app.committer.now().at);
        let read = api.reader().read(move |sql| {
            let present = rows::present(sql, &namespace, &key)?;
            let found = match (present, version) {
                (present, None) => present.filter(|entry| entry.is_live(now)),
                (Some(present), Some(version)) if present.version == version => {
                    Some(present).filter(|entry| entry.is_live(now))
                }
                (_, Some(version)) => {
                    let kept = rows::versions(sql, &namespace, &key, version, 1)?.pop();
                    kept.filter(|entry| entry.version == version && entry.value.is_some())
                }
            };
            let names = names_of(sql, found.iter())?;
            Ok((found, names))
        });
        let (found, names) = read.await?;
        let missing = || Failure::from(Code::StateUnknown.problem(self.missing(&params.key, version)));
        let entry = found.ok_or_else(missing)?;
        let hash = entry.value.ok_or_else(missing)?.hash;
        // Between the two reads the version may have been dropped.
        let text = api.text(Some(hash)).await?.ok_or_else(missing)?;
        let value = RawValue::from_string(text).map_err(|_| Code::LedgerBroken.problem("a value is no JSON"))?;
        let (owner_agent, owner_id) = self.owner(&entry, &names);
        let shown = StateValue {
            key: params.key,
            value,
            version: entry.version,
            owner_agent,
            owner_id,
            updated_by: entry.by.to_string(),
            updated_at: entry.at.into(),
            expires_at: entry.expires.map(Into::into),
        };
        let etag = HeaderValue::from_str(&format!("\"{}\"", entry.version))
            .map_err(|_| Code::Internal.problem("a version is no header"))?;
        Ok(([(ETAG, etag)], Out(shown)).into_response())
    }

    async fn put(self, api: &ApiState, actor: Actor, params: PutParams, bytes: &[u8]) -> Answer<StateWritten> {
        let expected = params.expected_version.map(|it| it.within("expected_version", 0..=INDEX_MAX)).transpose()?;
        let most = tenure_core::state::TTL_SECONDS_MAX;
        let ttl = params.ttl_seconds.map(|it| it.within("ttl_seconds", 1..=most)).transpose()?;
        let value = api.app.committer.payload(checked(bytes)?);
        let write = Write { key: params.key.clone(), value, expected, ttl_ms: ttl.map(|seconds| seconds * 1000) };
        let committed = api.app.committer.commit(actor, self.set(write)).await?;
        Ok(Out(written(&committed, params.key)?))
    }

    async fn delete(self, api: &ApiState, actor: Actor, params: DeleteParams) -> Answer<StateWritten> {
        let expected = params.expected_version.map(|it| it.within("expected_version", 0..=INDEX_MAX)).transpose()?;
        let committed = api.app.committer.commit(actor, self.remove(params.key.clone(), expected)).await?;
        Ok(Out(written(&committed, params.key)?))
    }

    async fn history(self, api: &ApiState, key: String) -> Answer<List<StateVersion>> {
        let (namespace, wanted) = (self.0.namespace.clone(), key.clone());
        let most = u32::try_from(VERSIONS_MAX).unwrap_or(u32::MAX);
        let found = api.reader().read(move |sql| rows::versions(sql, &namespace, &wanted, u64::MAX, most)).await?;
        if found.is_empty() {
            return Err(Code::StateUnknown.problem(self.missing(&key, None)).into());
        }
        let items = found.into_iter().map(|entry| StateVersion {
            version: entry.version,
            deleted: entry.value.is_none(),
            size: entry.value.map_or(0, |value| value.size),
            by: entry.by.to_string(),
            at: entry.at.into(),
        });
        Ok(Out(List { items: items.collect(), next_cursor: None }))
    }

    async fn changes(self, api: &ApiState, params: ChangesParams) -> Answer<StateChanges> {
        let limit = number::limit(params.limit.as_ref())?;
        let after = params.after.map(|after| after.within("after", 0..=INDEX_MAX)).transpose()?;
        let home = self.0.home;
        let mut found = api.reader().read(move |sql| rows::changes(sql, home, after, limit + 1)).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let cursor = found.last().map(|recorded| recorded.meta.index).or(after).unwrap_or(0);
        let prefix = params.prefix.unwrap_or_default();
        let told = found.into_iter().filter_map(|recorded| self.change(&recorded));
        let items = match after {
            Some(_) => told.filter(|change| change.key.starts_with(&prefix)).collect(),
            None => Vec::new(),
        };
        Ok(Out(StateChanges { items, cursor, more }))
    }

    /// None of another namespace of the same stream: what sessions keep.
    fn change(&self, recorded: &Recorded) -> Option<StateChange> {
        let (what, namespace, key, version, size, by) = match Change::of(&recorded.event)? {
            Change::Set(set) => (StateEvent::Set, &set.namespace, &set.key, set.version, set.value.size, Some(set.by)),
            Change::Ended(ended) => {
                let (what, by) = match ended.by {
                    EndedBy::Actor { by } => (StateEvent::Deleted, Some(by)),
                    EndedBy::Expiry { .. } => (StateEvent::Expired, None),
                };
                (what, &ended.namespace, &ended.key, ended.version, ended.size, by)
            }
            Change::Dropped(_) | Change::SessionOver(_) | Change::SweepDue(_) | Change::Quota { .. } => return None,
        };
        (*namespace == self.0.namespace).then(|| StateChange {
            index: recorded.meta.index,
            at: recorded.meta.stamp.at.into(),
            what,
            key: key.clone(),
            version,
            size,
            by: by.map(|by| by.to_string()),
        })
    }

    async fn quota(self, api: &ApiState) -> Answer<StateQuota> {
        let namespace = self.0.namespace.clone();
        let usage = api.reader().read(move |sql| rows::usage(sql, &namespace)).await?;
        let most = quota(self.0.scope, usage.quota);
        Ok(Out(StateQuota {
            keys: usage.keys,
            keys_max: self.0.scope.keys_max(),
            used: usage.bytes,
            quota: most,
            set: usage.quota > 0,
            history_used: usage.history_bytes,
            history_quota: most,
        }))
    }

    async fn set_quota(self, api: &ApiState, actor: Actor, set: &SetQuota) -> Answer<StateQuota> {
        api.app.committer.commit(actor, self.limit(set.bytes)).await?;
        self.quota(api).await
    }

    /// Pages of one read, so that it is of one moment.
    async fn all(self, api: &ApiState, prefix: String) -> Result<(Vec<BackupValue>, Time), Failure> {
        let now = api.app.committer.now().at;
        let namespace = self.0.namespace.clone();
        let limit = u32::try_from(self.0.scope.keys_max()).unwrap_or(u32::MAX);
        let entries = api.reader().read(move |sql| rows::list(sql, &namespace, &prefix, "", limit)).await?;
        let mut values = Vec::with_capacity(entries.len());
        let mut bytes = 0;
        for (key, Entry { version, value, expires, .. }) in entries.into_iter().filter(|(_, it)| it.is_live(now)) {
            let Some(bound) = value else { continue };
            bytes += bound.size + key.len() as u64 + 128;
            if bytes > RESTORE_BYTES_MAX as u64 || values.len() >= RESTORED_VALUES_MAX {
                let detail = format!("it has more than {RESTORED_VALUES_MAX} values or {RESTORE_BYTES_MAX} bytes");
                return Err(Code::BodyTooLarge.problem(detail).hint("make several, each with `--prefix`").into());
            }
            let gone = || Code::Conflict.problem(format!("{} was changed meanwhile: ask again", quoted(&key)));
            let text = api.text(Some(bound.hash)).await?.ok_or_else(gone)?;
            let value = RawValue::from_string(text).map_err(|_| Code::LedgerBroken.problem("a value is no JSON"))?;
            values.push(BackupValue { key, version, value, expires_at: expires.map(Into::into) });
        }
        Ok((values, now))
    }

    fn missing(&self, key: &str, version: Option<u64>) -> String {
        let whose = match self.0.scope {
            Scope::Shared => "nothing is shared",
            Scope::Session | Scope::Persistent => "the agent keeps nothing",
        };
        let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
        format!("{whose} under {}{version}", quoted(key))
    }
}
