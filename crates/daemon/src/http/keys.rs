//! `/v1/keys`: an owner's only.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use tenure_core::command::Command;
use tenure_core::fold::Event;
use tenure_core::id::KeyId;
use tenure_core::project;
use tenure_store::rows::keys::{self, KeyEntry};
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
    let committed = api.app.committer.commit(caller.actor, Command::Project(command)).await?;
    let id = committed.events.iter().find_map(|(_, event)| match event {
        Event::Project(project::Event::KeyCreated { key, .. }) => Some(*key),
        Event::Project(_) | Event::Agent(_) | Event::Execution(_) | Event::Worker(_) => None,
    });
    let id = id.ok_or_else(|| Code::Internal.problem("a created key has no event"))?;
    let entry = api.key(&id.to_string()).await?;
    Ok(Out(CreatedKey { key: shown(entry), secret: text.reveal().to_string() }))
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
    let command = Command::Project(project::Command::RevokeKey { key: entry.id });
    api.app.committer.commit(caller.actor, command).await?;
    let entry = api.key(&entry.id.to_string()).await?;
    Ok(Out(shown(entry)))
}

impl ApiState {
    async fn key(&self, wanted: &str) -> Result<KeyEntry, Failure> {
        let entries = self.reader().read(|sql| keys::list(sql, SHOWN_MAX)).await?;
        let by_id = |entry: &KeyEntry| wanted.parse::<KeyId>() == Ok(entry.id) || entry.id.short() == wanted;
        let by_name = |entry: &KeyEntry| entry.revoked_at.is_none() && entry.name == wanted;
        let found = entries.iter().find(|entry| by_id(entry)).or_else(|| entries.iter().find(|entry| by_name(entry)));
        found
            .cloned()
            .ok_or_else(|| Code::KeyUnknown.problem(format!("no key has the id or name {}", quoted(wanted))).into())
    }
}

fn shown(entry: KeyEntry) -> Key {
    Key {
        id: entry.id,
        name: entry.name,
        role: entry.role,
        created_at: entry.created_at.into(),
        revoked_at: entry.revoked_at.map(Into::into),
    }
}
