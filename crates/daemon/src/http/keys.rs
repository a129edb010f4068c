//! `/v1/keys`: an owner's only.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use tenure_core::aggregate::Command;
use tenure_core::id::KeyId;
use tenure_core::project::{self, KeyRow};
use tenure_core::row::Row;
use tenure_store::rows::keys;
use tenure_wire::api::List;
use tenure_wire::api::key::{CreatedKey, Key, KeyText, NewKey};
use tenure_wire::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Owner;
use super::body::{Json, Segment};
use super::lookup::quoted;
use super::problem::{Answer, Failure};

/// Keys that a list shows, revoked ones included.
const SHOWN_MAX: u32 = 500;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// Make a key. Its text is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", request_body = NewKey,
    responses((status = 200, body = CreatedKey), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn create(State(api): State<Arc<ApiState>>, Owner(caller): Owner, Json(new): Json<NewKey>) -> Answer<CreatedKey> {
    let mut random = [0u8; 20];
    getrandom::fill(&mut random).expect("invariant: the kernel gives randomness");
    let text = KeyText::new(random);
    let command = project::Command::CreateKey { name: new.name, role: new.role, hash: text.hash() };
    let committed = api.app.committer.commit(caller.actor, Command::Project(api.app.committer.project(), command));
    let row = committed
        .await?
        .decision
        .rows
        .iter()
        .find_map(|row| if let Row::Key(row) = row { Some(row.clone()) } else { None });
    let row = row.ok_or_else(|| Code::Internal.problem("a created key has no row"))?;
    Ok(Out(CreatedKey { key: shown(row), secret: text.reveal().to_string() }))
}

/// All keys, oldest first, revoked ones included.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", responses((status = 200, body = List<Key>), (status = "4XX", body = Problem)))]
async fn list(State(api): State<Arc<ApiState>>, _: Owner) -> Answer<List<Key>> {
    let entries = api.reader().read(|sql| keys::list(sql, SHOWN_MAX)).await?;
    Ok(Out(List { items: entries.into_iter().map(shown).collect(), next_cursor: None }))
}

/// Revoke a key: refused from now on, and what it holds open ends.
#[utoipa::path(
    delete, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = String, Path, description = "Id, short id, or the name of a live key")),
    responses((status = 200, body = Key), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn revoke(State(api): State<Arc<ApiState>>, Owner(caller): Owner, Segment(wanted): Segment) -> Answer<Key> {
    let entry = api.key(&wanted).await?;
    let command = Command::Project(api.app.committer.project(), project::Command::RevokeKey { key: entry.id });
    api.app.committer.commit(caller.actor, command).await?;
    let entry = api.key(&entry.id.to_string()).await?;
    Ok(Out(shown(entry)))
}

impl ApiState {
    async fn key(&self, wanted: &str) -> Result<KeyRow, Failure> {
        let entries = self.reader().read(|sql| keys::list(sql, SHOWN_MAX)).await?;
        let by_id = |entry: &KeyRow| wanted.parse::<KeyId>() == Ok(entry.id) || entry.id.short() == wanted;
        let by_name = |entry: &KeyRow| entry.revoked_at.is_none() && entry.name == wanted;
        let found = entries.iter().find(|entry| by_id(entry)).or_else(|| entries.iter().find(|entry| by_name(entry)));
        found
            .cloned()
            .ok_or_else(|| Code::KeyUnknown.problem(format!("no key has the id or name {}", quoted(wanted))).into())
    }
}

fn shown(entry: KeyRow) -> Key {
    Key {
        id: entry.id,
        name: entry.name,
        role: entry.role,
        created_at: entry.created_at.into(),
        revoked_at: entry.revoked_at.map(Into::into),
    }
}
