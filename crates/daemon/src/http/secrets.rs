//! `/v1/secrets`: a value goes in and none comes out. An owner sets and binds; an operator rotates, unbinds and revokes.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::id::SecretId;
use tenure_core::secret::{self, Binding, BindingRow, SecretRow, VALUE_BYTES_MAX, VALUE_BYTES_MIN};
use tenure_store::rows::macs::Unverified;
use tenure_store::rows::{Match, agents, secrets};
use tenure_wire::api::List;
use tenure_wire::api::secret::{
    BindSecret, KeptSecret, NewSecret, RotateSecret, SecretBinding, SecretStatus, SecretValue,
};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::ApiState;
use super::auth::{Operator, Owner, Viewer};
use super::body::{Json, Params, Segment};
use super::lookup::{misnamed, quoted};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::commit;
use crate::vault::Locked;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(set, list))
        .routes(routes!(get, revoke))
        .routes(routes!(rotate))
        .routes(routes!(bind, unbind))
}

/// Keep a value under a name. Nobody may use it until it is bound.
#[utoipa::path(
    post, path = "/v1/secrets", tag = "secrets", request_body = NewSecret, operation_id = "set_secret",
    responses((status = 200, body = KeptSecret), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn set(State(api): State<Arc<ApiState>>, Owner(caller): Owner, Json(new): Json<NewSecret>) -> Answer<KeptSecret> {
    let id = api.app.committer.mint_secret();
    let NewSecret { name, value } = new;
    if !secret::is_name(&name) {
        return Err(Code::SecretNameWrong.problem("the name is empty, too long or has another letter").into());
    }
    keep(&api, caller.actor, (id, &name, 1), &value, |sealed| secret::Command::Set { name: name.clone(), sealed })
        .await?;
    api.secret(&id.to_string()).await.map(Out)
}

/// Seals a value and commits what binds it. It is scrubbed before anything can use it, and forgotten where the decision refuses it.
async fn keep(
    api: &ApiState,
    actor: Actor,
    (id, name, version): (SecretId, &str, u32),
    value: &SecretValue,
    command: impl FnOnce(tenure_core::bound::Payload) -> secret::Command,
) -> Result<(), Failure> {
    let bytes = value.reveal().as_bytes();
    if !(VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&bytes.len()) {
        let detail = format!("it has {} bytes; a value has {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX}", bytes.len());
        return Err(Code::SecretValueWrong.problem(detail).into());
    }
    let vault = &api.app.vault;
    let _turn = vault.turn().await;
    let sealed = vault.seal(id, version, bytes).map_err(locked)?;
    vault.remember(id, name, version, Zeroizing::new(bytes.to_vec())).await;
    let payload = api.app.committer.sealed_payload(sealed);
    let committed = api.app.committer.commit(actor, Command::Secret(id, command(payload))).await;
    // Of what the store failed at nobody knows: then it is scrubbed until the daemon starts anew.
    if matches!(committed, Err(commit::Error::Refused(_))) {
        vault.forget(id, version).await;
    }
    committed?;
    Ok(())
}

pub(super) fn locked(locked: Locked) -> Failure {
    Code::VaultLocked.problem(locked.why).hint(locked.next).into()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Revoked ones too.
    all: Option<bool>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^sec_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

/// Secrets by name, version and who may use them; never a value.
#[utoipa::path(
    get, path = "/v1/secrets", tag = "secrets", params(ListParams), operation_id = "list_secrets",
    responses((status = 200, body = List<KeptSecret>), (status = "4XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ListParams>,
) -> Answer<List<KeptSecret>> {
    let wrong = |_| Failure::from(Code::ParameterWrong.problem("the cursor is none of a list of secrets"));
    let after = params.cursor.map(|cursor| cursor.parse::<SecretId>().map_err(wrong)).transpose()?;
    let (limit, live) = (number::limit(params.limit.as_ref())?, !params.all.unwrap_or(false));
    let page = api.reader().read(move |sql| secrets::list(sql, live, after, limit)).await?;
    let mut items = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        items.push(api.shown_secret(row).await?);
    }
    Ok(Out(List { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// One secret; never its value.
#[utoipa::path(
    get, path = "/v1/secrets/{secret}", tag = "secrets", operation_id = "get_secret",
    params(("secret" = String, Path, description = "Id, short id, or the name of a live secret")),
    responses((status = 200, body = KeptSecret), (status = "4XX", body = Problem))
)]
async fn get(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<KeptSecret> {
    api.secret(&wanted).await.map(Out)
}

/// Give a secret a new value. Calls that have not left use it from now on.
#[utoipa::path(
    put, path = "/v1/secrets/{secret}/value", tag = "secrets", request_body = RotateSecret, operation_id = "rotate_secret",
    params(("secret" = String, Path, description = "Id, short id, or the name of a live secret")),
    responses((status = 200, body = KeptSecret), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn rotate(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(RotateSecret { value }): Json<RotateSecret>,
) -> Answer<KeptSecret> {
    let row = api.secret_row(&wanted).await?;
    let version = row.version.saturating_add(1);
    if row.sealed.is_some() {
        let rotate = |sealed| secret::Command::Rotate { version, sealed };
        keep(&api, caller.actor, (row.id, &row.name, version), &value, rotate).await?;
    } else {
        return Err(Code::SecretRevoked.problem("it was revoked, for good").into());
    }
    api.secret(&row.id.to_string()).await.map(Out)
}

/// Revoke a secret for good: its value is erased, and nothing uses it any more.
#[utoipa::path(
    delete, path = "/v1/secrets/{secret}", tag = "secrets", operation_id = "revoke_secret",
    params(("secret" = String, Path, description = "Id, short id, or the name of a live secret")),
    responses((status = 200, body = KeptSecret), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn revoke(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
) -> Answer<KeptSecret> {
    let row = api.secret_row(&wanted).await?;
    api.app.committer.commit(caller.actor, Command::Secret(row.id, secret::Command::Revoke {})).await?;
    api.secret(&row.id.to_string()).await.map(Out)
}

/// Let an agent use a secret by one capability with one host.
#[utoipa::path(
    post, path = "/v1/secrets/{secret}/bindings", tag = "secrets", request_body = BindSecret, operation_id = "bind_secret",
    params(("secret" = String, Path, description = "Id, short id, or the name of a live secret")),
    responses((status = 200, body = KeptSecret), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn bind(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Segment(wanted): Segment,
    Json(bind): Json<BindSecret>,
) -> Answer<KeptSecret> {
    let (row, agent) = (api.secret_row(&wanted).await?, api.agent(&bind.agent).await?);
    let binding = Binding { agent: agent.id, capability: bind.capability, host: bind.host };
    match api.app.committer.commit(caller.actor, Command::Secret(row.id, secret::Command::Bind { binding })).await {
        // As wanted already.
        Ok(_) => {}
        Err(commit::Error::Refused(tenure_core::aggregate::Refusal::Secret(secret::Refusal::AlreadyBound {}))) => {}
        Err(error) => return Err(error.into()),
    }
    api.secret(&row.id.to_string()).await.map(Out)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UnbindParams {
    /// Name, id or short id.
    agent: String,
    /// Of one binding; without it, all of the agent's.
    host: Option<String>,
}

/// Take a secret from an agent: its next call is refused, also one that waits.
#[utoipa::path(
    delete, path = "/v1/secrets/{secret}/bindings", tag = "secrets", operation_id = "unbind_secret",
    params(("secret" = String, Path, description = "Id, short id, or the name of a live secret"), UnbindParams),
    responses((status = 200, body = KeptSecret), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn unbind(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Params(params): Params<UnbindParams>,
) -> Answer<KeptSecret> {
    let (row, agent) = (api.secret_row(&wanted).await?, api.agent(&params.agent).await?);
    let unbind = secret::Command::Unbind { agent: agent.id, host: params.host };
    api.app.committer.commit(caller.actor, Command::Secret(row.id, unbind)).await?;
    api.secret(&row.id.to_string()).await.map(Out)
}

impl ApiState {
    async fn secret(&self, wanted: &str) -> Result<KeptSecret, Failure> {
        let row = self.secret_row(wanted).await?;
        self.shown_secret(row).await
    }

    async fn secret_row(&self, wanted: &str) -> Result<SecretRow, Failure> {
        let text = wanted.to_string();
        match self.reader().read(move |sql| secrets::find(sql, &text)).await? {
            Match::One(row) => Ok(row),
            Match::Many(rows) => {
                let ids: Vec<String> = rows.into_iter().map(|row| row.id.to_string()).collect();
                Err(Code::SecretUnknown.problem(format!("{} could be {}", quoted(wanted), ids.join(", "))).into())
            }
            Match::None => Err(misnamed(Code::SecretUnknown, wanted, "secret")
                .unwrap_or_else(|| Code::SecretUnknown.problem(format!("no live secret is called {}", quoted(wanted))))
                .into()),
        }
    }

    async fn shown_secret(&self, row: SecretRow) -> Result<KeptSecret, Failure> {
        let id = row.id;
        let bindings = self.reader().read(move |sql| {
            let mut named = Vec::new();
            for binding in secrets::bindings(sql, id)? {
                let agent = agents::get(sql, binding.clone().as_it_stands().agent)?;
                named.push((binding, agent.map(|agent| agent.name).unwrap_or_default()));
            }
            Ok(named)
        });
        let shown = |(binding, agent_name): (Unverified<BindingRow>, String)| {
            let forged = binding.clone().verified(self.reader().macs()).is_err();
            let BindingRow { agent, capability, host, by, at, .. } = binding.as_it_stands();
            SecretBinding { agent, agent_name, capability, host, by: by.to_string(), at: at.into(), forged }
        };
        Ok(KeptSecret {
            id: row.id,
            status: match row.sealed {
                None => SecretStatus::Revoked,
                Some(_) if self.app.vault.is_gone(row.id) => SecretStatus::Lost,
                Some(_) => SecretStatus::Live,
            },
            version: row.version,
            set_at: row.set_at.into(),
            changed_at: row.changed_at.into(),
            bindings: bindings.await?.into_iter().map(shown).collect(),
            name: row.name,
        })
    }
}
