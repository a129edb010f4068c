//! `/v1/packages` and `/v1/publishers`: signed archives of agents' programs, and whose are taken. An operator pushes; an owner
//! says whom to trust. Must never take an archive that was not opened here, whatever was said of it.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::aggregate::{Command, Refusal};
use tenure_core::bound::Hash;
use tenure_core::id::PackageId;
use tenure_core::package::archive::{self, ARCHIVE_BYTES_MAX};
use tenure_core::package::{Command as Verb, PackageRow, Refusal as Refused};
use tenure_core::project::{self, PublisherRow};
use tenure_store::rows::macs::Unverified;
use tenure_store::rows::{Match, packages};
use tenure_wire::api::List;
use tenure_wire::api::package::{KeptPackage, NewPublisher, PackagePublisher, PushedPackage, VerifiedPackage};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Owner, Viewer};
use super::body::{Content, Json, Params, Segment};
use super::lookup::{misnamed, quoted};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::{commit, package};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(push, list))
        .routes(routes!(get))
        .routes(routes!(verify))
        .routes(routes!(trust, publishers))
        .routes(routes!(remove))
}

/// Keep a package: its form, checksums and signature are checked, and its publisher must be trusted.
#[utoipa::path(
    post, path = "/v1/packages", tag = "packages", operation_id = "push_package",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "At most 16 MiB"),
    responses((status = 200, body = PushedPackage), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn push(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Content(bytes): Content<ARCHIVE_BYTES_MAX>,
) -> Answer<PushedPackage> {
    let (opened, bytes) = package::open(bytes.to_vec(), archive::open).await?;
    let id = api.app.committer.mint_package();
    // As it is: what was signed must not be changed, and it is packed, so that no value could be found in it.
    let archive = api.app.committer.sealed_payload(bytes);
    let push = Verb::Push { contents: opened.contents, archive };
    let (id, changed) = match api.app.committer.commit(caller.actor, Command::Package(id, push)).await {
        Ok(_) => (id, true),
        Err(commit::Error::Refused(Refusal::Package(Refused::Unchanged { package }))) => (package, false),
        Err(error) => return Err(error.into()),
    };
    let row = api.package_row(&id.to_string()).await?;
    Ok(Out(PushedPackage { package: shown(row), changed }))
}

impl From<package::Error> for Failure {
    fn from(error: package::Error) -> Failure {
        match error {
            package::Error::Records(error) => error.into(),
            error @ package::Error::Untrusted { .. } => Code::PublisherUntrusted.problem(error.to_string()).into(),
            package::Error::Wrong(wrong) if wrong.is_integrity() => {
                Code::PackageUnsound.problem(wrong.to_string()).into()
            }
            package::Error::Wrong(wrong) => Code::PackageInvalid.problem(wrong.to_string()).into(),
            package::Error::Broken { why } => Code::Internal.problem(why).into(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^pkg_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

/// Packages, the first that was pushed first.
#[utoipa::path(
    get, path = "/v1/packages", tag = "packages", params(ListParams), operation_id = "list_packages",
    responses((status = 200, body = List<KeptPackage>), (status = "4XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ListParams>,
) -> Answer<List<KeptPackage>> {
    let wrong = |_| Failure::from(Code::ParameterWrong.problem("the cursor is none of a list of packages"));
    let after = params.cursor.map(|cursor| cursor.parse::<PackageId>().map_err(wrong)).transpose()?;
    let limit = number::limit(params.limit.as_ref())?;
    let page = api.reader().read(move |sql| packages::list(sql, after, limit)).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(Out(List { items: page.rows.into_iter().map(shown).collect(), next_cursor }))
}

/// One package.
#[utoipa::path(
    get, path = "/v1/packages/{package}", tag = "packages", operation_id = "get_package",
    params(("package" = String, Path, description = "Id, short id, `name@version`, or the name of one that has one version")),
    responses((status = 200, body = KeptPackage), (status = "4XX", body = Problem))
)]
async fn get(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<KeptPackage> {
    api.package_row(&wanted).await.map(shown).map(Out)
}

/// Read a package again and check all of it: what loading one does each time.
#[utoipa::path(
    get, path = "/v1/packages/{package}/verification", tag = "packages", operation_id = "verify_package",
    params(("package" = String, Path, description = "Id, short id, `name@version`, or the name of one that has one version")),
    responses((status = 200, body = VerifiedPackage), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn verify(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<VerifiedPackage> {
    let row = api.package_row(&wanted).await?;
    package::load(&api.records, &row).await?;
    Ok(Out(VerifiedPackage { package: shown(row), verified: true }))
}

/// Say that packages signed by a key are taken.
#[utoipa::path(
    post, path = "/v1/publishers", tag = "packages", request_body = NewPublisher, operation_id = "trust_publisher",
    responses((status = 200, body = PackagePublisher), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn trust(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Json(NewPublisher { name, key }): Json<NewPublisher>,
) -> Answer<PackagePublisher> {
    let wrong = |why: String| Failure::from(Code::PublisherWrong.problem(why));
    let key: Hash = key.parse().map_err(|_| wrong("a key is 64 hexadecimal digits".to_string()))?;
    let project = api.app.committer.project();
    let trust = project::Command::TrustPublisher { name, key };
    match api.app.committer.commit(caller.actor, Command::Project(project, trust)).await {
        // As wanted already.
        Ok(_) | Err(commit::Error::Refused(Refusal::Project(project::Refusal::PublisherTrusted {}))) => {}
        Err(error) => return Err(error.into()),
    }
    api.publisher(&key.to_string()).await.map(Out)
}

/// Whose packages are taken.
#[utoipa::path(
    get, path = "/v1/publishers", tag = "packages", operation_id = "list_publishers",
    responses((status = 200, body = Vec<PackagePublisher>), (status = "4XX", body = Problem))
)]
async fn publishers(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<Vec<PackagePublisher>> {
    api.publishers().await.map(Out)
}

/// Trust a publisher no more: nothing that it signed is taken or loaded again.
#[utoipa::path(
    delete, path = "/v1/publishers/{publisher}", tag = "packages", operation_id = "remove_publisher",
    params(("publisher" = String, Path, description = "Name or key")),
    responses((status = 200, body = PackagePublisher), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn remove(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Segment(wanted): Segment,
) -> Answer<PackagePublisher> {
    let publisher = api.publisher(&wanted).await?;
    let unreadable = |why: String| Failure::from(Code::LedgerBroken.problem(why));
    let remove = project::Command::RemovePublisher { key: publisher.key.parse().map_err(unreadable)? };
    api.app.committer.commit(caller.actor, Command::Project(api.app.committer.project(), remove)).await?;
    Ok(Out(publisher))
}

fn shown(row: PackageRow) -> KeptPackage {
    KeptPackage {
        id: row.id,
        name: row.name,
        version: row.version,
        digest: row.digest.to_string(),
        publisher: row.publisher.to_string(),
        signed_by: row.signed_by,
        files: row.files,
        bytes: row.bytes,
        older_than: row.older_than,
        by: row.by.to_string(),
        at: row.at.into(),
    }
}

impl ApiState {
    async fn package_row(&self, wanted: &str) -> Result<PackageRow, Failure> {
        let text = wanted.to_string();
        match self.reader().read(move |sql| packages::find(sql, &text)).await? {
            Match::One(row) => Ok(row),
            Match::Many(rows) => {
                let names: Vec<String> = rows.iter().map(|row| format!("{}@{}", row.name, row.version)).collect();
                let detail = format!("{} could be {}", quoted(wanted), names.join(", "));
                Err(Code::PackageUnknown.problem(detail).hint("name the version too, or the id").into())
            }
            Match::None => Err(misnamed(Code::PackageUnknown, wanted, "package")
                .unwrap_or_else(|| Code::PackageUnknown.problem(format!("no package is called {}", quoted(wanted))))
                .into()),
        }
    }

    async fn publishers(&self) -> Result<Vec<PackagePublisher>, Failure> {
        let rows = self.reader().read(packages::publishers).await?;
        let shown = |row: Unverified<PublisherRow>| {
            let forged = row.clone().verified(self.reader().macs()).is_err();
            let PublisherRow { key, name, at } = row.as_it_stands();
            PackagePublisher { name, key, at: at.into(), forged }
        };
        Ok(rows.into_iter().map(shown).collect())
    }

    async fn publisher(&self, wanted: &str) -> Result<PackagePublisher, Failure> {
        let is = |publisher: &PackagePublisher| {
            publisher.name.eq_ignore_ascii_case(wanted) || publisher.key.eq_ignore_ascii_case(wanted)
        };
        let found = self.publishers().await?.into_iter().find(is);
        let unknown = || Code::PublisherUnknown.problem(format!("{} is no publisher's name or key", quoted(wanted)));
        found.ok_or_else(|| unknown().into())
    }
}
