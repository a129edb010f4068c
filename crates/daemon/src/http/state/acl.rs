//! `/v1/state/shared/acl`: who may use which shared keys.
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::aggregate::Command;
use tenure_core::project;
use tenure_core::state::{Access, Acl, AclRow};
use tenure_store::rows::macs::Unverified;
use tenure_store::rows::{agents, state as rows};
use tenure_wire::api::List;
use tenure_wire::api::state::{EVERYONE, PutAcl, SharedAcl};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::ApiState;
use super::super::auth::{Operator, Viewer};
use super::super::body::{Json, Params};
use super::super::problem::{Answer, Failure};
use super::place::Names;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list, put, delete))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PrefixParams {
    prefix: String,
}

/// The rules on shared keys, by prefix; a key falls under the longest one that it begins with, and under none every agent
/// may use it.
#[utoipa::path(
    get, path = "/v1/state/shared/acl", operation_id = "acl_list", tag = "state",
    responses((status = 200, body = List<SharedAcl>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn list(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<List<SharedAcl>> {
    Ok(Out(List { items: api.acls().await?, next_cursor: None }))
}

/// Say which agents may read and write the shared keys that begin with a prefix, in the place of the rule that it has.
#[utoipa::path(
    put, path = "/v1/state/shared/acl", operation_id = "acl_put", tag = "state", request_body = PutAcl,
    responses((status = 200, body = SharedAcl), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn put(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Json(acl): Json<PutAcl>,
) -> Answer<SharedAcl> {
    let (read, write) = (api.access(&acl.read).await?, api.access(&acl.write).await?);
    let command = project::Command::SetAcl(Acl { prefix: acl.prefix.clone(), read, write });
    api.app.committer.commit(caller.actor, Command::Project(api.app.committer.project(), command)).await?;
    let shown = api.acls().await?.into_iter().find(|shown| shown.prefix == acl.prefix);
    Ok(Out(shown.ok_or_else(|| Code::Conflict.problem("the rule was removed meanwhile"))?))
}

/// Remove the rule of a prefix.
#[utoipa::path(
    delete, path = "/v1/state/shared/acl", operation_id = "acl_delete", tag = "state", params(PrefixParams),
    responses((status = 200, body = List<SharedAcl>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn delete(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Params(params): Params<PrefixParams>,
) -> Answer<List<SharedAcl>> {
    let command = project::Command::RemoveAcl { prefix: params.prefix };
    api.app.committer.commit(caller.actor, Command::Project(api.app.committer.project(), command)).await?;
    Ok(Out(List { items: api.acls().await?, next_cursor: None }))
}

impl ApiState {
    async fn access(&self, wanted: &[String]) -> Result<Access, Failure> {
        if wanted.iter().any(|name| name == EVERYONE) {
            return match wanted {
                [_] => Ok(Access::Everyone),
                _ => Err(Code::BodyWrong.problem(format!("`{EVERYONE}` is every agent, and stands alone")).into()),
            };
        }
        let mut agents = BTreeSet::new();
        for name in wanted {
            agents.insert(self.agent(name).await?.id);
        }
        Ok(Access::Agents(agents))
    }

    async fn acls(&self) -> Result<Vec<SharedAcl>, Failure> {
        let read = self.reader().read(|sql| {
            let rows = rows::acl_rows(sql)?;
            let mut names = Names::new();
            for row in rows.iter().cloned().map(Unverified::as_it_stands) {
                for access in [&row.read, &row.write] {
                    let Access::Agents(agents) = access else { continue };
                    for id in agents {
                        names.extend(agents::name_of(sql, *id)?.map(|name| (*id, name)));
                    }
                }
            }
            Ok((rows, names))
        });
        let (found, names) = read.await?;
        let macs = self.reader().macs();
        Ok(found
            .into_iter()
            .map(|row| {
                let forged = row.clone().verified(macs).is_err();
                shown(row.as_it_stands(), &names, forged)
            })
            .collect())
    }
}

fn shown(row: AclRow, names: &Names, forged: bool) -> SharedAcl {
    let listed = |access: &Access| match access {
        Access::Everyone => vec![EVERYONE.to_string()],
        Access::Agents(agents) => {
            agents.iter().map(|id| names.get(id).cloned().unwrap_or_else(|| id.to_string())).collect()
        }
    };
    SharedAcl {
        read: listed(&row.read),
        write: listed(&row.write),
        prefix: row.prefix,
        by: row.by.to_string(),
        at: row.at.into(),
        forged,
    }
}
