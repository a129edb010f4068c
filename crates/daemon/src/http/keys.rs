//! `/v1/keys`: an owner's only.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::aggregate::Command;
use tenure_core::ledger::MacKey;
use tenure_core::project::{self, KeyRow};
use tenure_core::row::Row;
use tenure_store::rows::keys::After;
use tenure_store::rows::macs::Unverified;
use tenure_store::rows::{Match, keys};
use tenure_wire::api::List;
use tenure_wire::api::key::{CreatedKey, Key, KeyStatus, KeyText, NewKey};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Owner;
use super::body::{Json, Params, Segment};
use super::lookup::{misnamed, quoted};
use super::number::{self, Number};
use super::problem::{Answer, Failure};

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
    Ok(Out(CreatedKey { key: shown(row, false), secret: text.reveal().to_string() }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^(live|revoked)\\.key_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

/// All live keys, then the revoked ones, the newest of each first.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", params(ListParams),
    responses((status = 200, body = List<Key>), (status = "4XX", body = Problem))
)]
async fn list(State(api): State<Arc<ApiState>>, _: Owner, Params(params): Params<ListParams>) -> Answer<List<Key>> {
    let wrong = || Failure::from(Code::ParameterWrong.problem("the cursor is none of a list of keys"));
    let after = params.cursor.map(|cursor| place(&cursor).ok_or_else(wrong)).transpose()?;
    let limit = number::limit(params.limit.as_ref())?;
    let page = api.reader().read(move |sql| keys::list(sql, after, limit)).await?;
    let next_cursor = page.next.map(|after| match after {
        After::Live(id) => format!("live.{id}"),
        After::Revoked(id) => format!("revoked.{id}"),
    });
    Ok(Out(List {
        items: page.rows.into_iter().map(|entry| checked(entry, api.reader().macs())).collect(),
        next_cursor,
    }))
}

fn place(cursor: &str) -> Option<After> {
    match cursor.split_once('.')? {
        ("live", id) => id.parse().ok().map(After::Live),
        ("revoked", id) => id.parse().ok().map(After::Revoked),
        _ => None,
    }
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
    Ok(Out(entry))
}

impl ApiState {
    async fn key(&self, wanted: &str) -> Result<Key, Failure> {
        let text = wanted.to_string();
        match self.reader().read(move |sql| keys::find(sql, &text)).await? {
            Match::One(entry) => Ok(checked(entry, self.reader().macs())),
            Match::Many(entries) => {
                let ids: Vec<String> = entries.into_iter().map(|entry| entry.as_it_stands().id.to_string()).collect();
                let detail = format!("{} could be {}", quoted(wanted), ids.join(", "));
                Err(Code::KeyUnknown.problem(detail).into())
            }
            Match::None => Err(misnamed(Code::KeyUnknown, wanted, "key")
                .unwrap_or_else(|| Code::KeyUnknown.problem(format!("no key has the id or name {}", quoted(wanted))))
                .into()),
        }
    }
}

/// A key as it stands, and whether this ledger wrote it so.
fn checked(entry: Unverified<KeyRow>, macs: &MacKey) -> Key {
    let forged = entry.clone().verified(macs).is_err();
    shown(entry.as_it_stands(), forged)
}

fn shown(entry: KeyRow, forged: bool) -> Key {
    Key {
        id: entry.id,
        name: entry.name,
        status: if entry.revoked_at.is_some() { KeyStatus::Revoked } else { KeyStatus::Live },
        role: entry.role,
        created_at: entry.created_at.into(),
        revoked_at: entry.revoked_at.map(Into::into),
        forged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::testing::{OWNER, app, found};
    use tenure_core::access::Role;
    use tenure_core::id::KeyId;

    async fn created(app: &App, name: &str, random: u8) -> KeyId {
        let hash = KeyText::new([random; 20]).hash();
        let create = project::Command::CreateKey { name: name.to_string(), role: Role::Viewer, hash };
        let committed = app.committer.commit(OWNER, Command::Project(app.committer.project(), create)).await.unwrap();
        let id =
            committed.decision.rows.iter().find_map(|row| if let Row::Key(row) = row { Some(row.id) } else { None });
        id.unwrap()
    }

    #[tokio::test]
    async fn a_key_is_found_and_a_live_one_listed_whatever_was_made_and_revoked_since() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _store) = app(folder.path());
        let tell = |command| app.committer.commit(OWNER, Command::Project(app.committer.project(), command));
        found(&app).await;
        let oldest = created(&app, "oldest", 0).await;
        let mut revoked = Vec::new();
        for random in 1..4 {
            let key = created(&app, "again", random).await;
            tell(project::Command::RevokeKey { key }).await.unwrap();
            revoked.push(key);
        }
        let live = created(&app, "again", 4).await;
        let expected = [live, oldest, revoked[2], revoked[1], revoked[0]];
        let read = app.records.reader().read(move |sql| {
            let wanted = [oldest.to_string(), revoked[0].to_string(), revoked[1].short(), "again".to_string()];
            let matches = wanted.iter().map(|wanted| keys::find(sql, wanted)).collect::<Result<Vec<_>, _>>()?;
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = keys::list(sql, after, 2)?;
                listed.extend(page.rows);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            Ok((listed, matches, [oldest, revoked[0], revoked[1], live]))
        });
        let (listed, matches, wanted) = read.await.unwrap();
        for (found, wanted) in matches.into_iter().zip(wanted) {
            assert!(
                matches!(&found, Match::One(row) if row.clone().as_it_stands().id == wanted),
                "{found:?} is not {wanted}"
            );
        }
        let ids: Vec<KeyId> = listed.iter().map(|row| row.clone().as_it_stands().id).collect();
        assert_eq!(ids, expected, "what is live stands before all that is not, each once, over pages of two");
    }
}
