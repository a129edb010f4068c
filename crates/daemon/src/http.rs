//! The HTTP face: a file a resource, all behind one composition of authentication, bounds and problems. It turns
//! requests into commands and rows into answers, and decides nothing.
//!
//! ```text
//! connection ─ listen ─> same_site ─> identify ─> in_turn ─> in_time ─> a resource ─> Committer::commit, or a read of
//!                                                                                     the store
//! ```
#![expect(unused_qualifications, reason = "written by the macro of utoipa where a handler names its parameters")]

mod listen;
mod certificate;
mod places;
mod auth;
mod attempts;
mod shares;
mod body;
mod number;
mod problem;
mod lookup;
mod agents;
mod instances;
mod revisions;
mod briefings;
mod budgets;
mod retention;
mod costs;
mod files;
mod manifests;
mod approvals;
mod approve;
mod policies;
mod items;
mod messages;
mod executions;
mod events;
mod logs;
mod state;
mod keys;
mod packages;
mod secrets;
mod sessions;
mod conversations;
mod agent_calls;
mod call_failure;
mod agent_session;
mod mcp;
mod brought;
mod watch;
mod models;
mod audit;
mod status;
mod doctor;
mod description;
#[cfg(test)]
mod roles;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Router};
use tenure_core::time::Time;
use tenure_store::Reader;
use tenure_wire::api::event::{Piece, Printer};
use tenure_wire::api::session::WAIT_MS_MAX;
use tenure_wire::fingerprint::Fingerprint;
use tenure_wire::problem::{Code, MEDIA_TYPE};
use tenure_wire::scrub::Scrubber;
use tokio::net::TcpListener;
use tokio::sync::watch as cell;
use tokio::task::JoinSet;
use tokio::time::timeout;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Info, License, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

pub use certificate::{CertificateError, CertificateSource};
pub use listen::ListenError;

pub(crate) use approvals::card;
pub(crate) use approve::Link;
pub(crate) use auth::of_program;

use crate::Options;
use crate::app::App;
use crate::disk::Disk;
use crate::fleet::Greeting;
use crate::model::router;
use crate::records::Records;
use attempts::Attempts;
use certificate::Certificates;
use listen::{Listeners, Tls};
use problem::Failure;
use shares::Shares;

/// A handler answers within this, or the request fails; event streams answer at once and then go on.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const OPENAPI_PATH: &str = "/v1/openapi.json";

/// What the faces reach.
struct ApiState {
    app: Arc<App>,
    /// Read by threads that no reconciler uses.
    records: Records,
    /// What the built-in worker said of itself; kept while it is away.
    greeting: cell::Receiver<Option<Greeting>>,
    shares: Shares,
    attempts: Attempts,
    installation: Installation,
    /// What each word for a model means.
    models: Arc<router::Router>,
    disk: Disk,
    /// Requests of MCP clients that are being answered.
    in_flight: mcp::InFlight,
}

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
struct Installation {
    data_dir: PathBuf,
    started_at: Time,
    /// How long a deleted agent's work folder is kept.
    home_grace_ms: u64,
    /// The user that the daemon runs as; on the Unix socket, it and root are the owner.
    owner: u32,
    /// Where it listens, as people write it.
    listening: Vec<String>,
    /// What it shows there, where it speaks TLS.
    certificates: Option<Arc<Certificates>>,
}

impl ApiState {
    fn reader(&self) -> &Reader {
        self.records.reader()
    }
}

/// Where the API listens for keys, taken before anything is written: a start that cannot have the address changes nothing.
pub struct Tcp(Option<TcpListener>);

impl Tcp {
    /// # Errors
    /// What cannot be bound, or a certificate of the operator's that cannot be used.
    pub async fn bind(options: &Options) -> Result<Tcp, ListenError> {
        let Some(address) = options.listen else { return Ok(Tcp(None)) };
        if let Some(source @ CertificateSource::Files { .. }) = &options.tls {
            Certificates::open(source, &options.data_dir, Vec::new())?;
        }
        listen::tcp(address, options.tls.is_some()).await.map(|listener| Tcp(Some(listener)))
    }
}

/// Both listeners, bound; nobody is served yet.
pub struct Bound(Listeners);

impl Bound {
    /// Binds the Unix socket too, and makes a certificate where one is to be made. The data directory must be held.
    ///
    /// # Errors
    /// What cannot be bound or made.
    pub fn with_socket(Tcp(tcp): Tcp, options: &Options) -> Result<Bound, ListenError> {
        let tls = match (&tcp, &options.tls) {
            (Some(listener), Some(source)) => {
                let names = names(listener.local_addr().ok());
                let certificates = Arc::new(Certificates::open(source, &options.data_dir, names)?);
                Some(Tls { acceptor: Arc::new(certificates.server()?).into(), certificates })
            }
            (None, _) | (_, None) => None,
        };
        Ok(Bound(Listeners { unix: listen::unix(&options.socket)?, tcp, tls }))
    }
}

/// What the daemon may be addressed as, for a certificate of its own making.
fn names(bound: Option<SocketAddr>) -> Vec<String> {
    let mut names = vec!["localhost".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name = |name: &str| {
        let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        fits && !name.is_empty() && name != "localhost"
    };
    names.extend(Some(host).filter(|host| is_name(host)));
    let address = bound.map(|bound| bound.ip()).filter(|address| !address.is_unspecified() && !address.is_loopback());
    names.extend(address.map(|address| address.to_string()));
    names
}

/// Where the API listens for keys.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    pub address: SocketAddr,
    /// What it shows there, where it speaks TLS.
    pub fingerprint: Option<Fingerprint>,
}

impl std::fmt::Display for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.fingerprint.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// Serves both in `tasks` until the daemon closes. Gives the address bound.
pub fn serve(
    tasks: &mut JoinSet<()>,
    app: &Arc<App>,
    greeting: &cell::Receiver<Option<Greeting>>,
    models: Arc<router::Router>,
    options: &Options,
    Bound(listeners): Bound,
) -> Option<Listening> {
    let fingerprint = listeners.tls.as_ref().map(|tls| tls.certificates.fingerprint());
    let bound = listeners.tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let bound = bound.map(|address| Listening { address, fingerprint });
    let listening = std::iter::once(format!("unix:{}", options.socket.display()))
        .chain(bound.map(|bound| bound.to_string()))
        .collect();
    let installation = Installation {
        data_dir: options.data_dir.clone(),
        started_at: app.committer.now().at,
        home_grace_ms: u64::try_from(options.home_grace.as_millis()).unwrap_or(u64::MAX),
        owner: rustix::process::geteuid().as_raw(),
        listening,
        certificates: listeners.tls.as_ref().map(|tls| Arc::clone(&tls.certificates)),
    };
    let (records, shares) = (app.records.interactive(), Shares::default());
    let app = Arc::clone(app);
    let closing = app.closing.clone();
    let api = Arc::new(ApiState {
        app,
        records,
        greeting: greeting.clone(),
        shares,
        attempts: Attempts::default(),
        installation,
        models,
        disk: Disk::default(),
        in_flight: mcp::InFlight::default(),
    });
    if let Some(tls) = &listeners.tls {
        tasks.spawn(Arc::clone(&tls.certificates).follow(closing.clone()));
    }
    let (router, app) = (router(Arc::clone(&api)), Arc::clone(&api.app));
    app.agent_api.send_replace(Some(router.clone()));
    tasks.spawn(async move {
        listen::serve(router, listeners, closing).await;
        // It holds what holds it.
        app.agent_api.send_replace(None);
    });
    bound
}

fn resources() -> OpenApiRouter<Arc<ApiState>> {
    let license = License::builder().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = Info::builder()
        .title("Tenure")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Runs AI agents under a ledger, limits and a sandbox."))
        .license(Some(license))
        .build();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("tnr_…").build());
    let told = ComponentsBuilder::new().schema_from::<Piece>().schema_from::<Printer>();
    let components = told.security_scheme("key", bearer).build();
    let wanted = SecurityRequirement::new("key", [""; 0]);
    let document = OpenApiBuilder::new().info(info).components(Some(components)).security(Some([wanted])).build();
    OpenApiRouter::with_openapi(document)
        .merge(agents::routes())
        .merge(instances::routes())
        .merge(revisions::routes())
        .merge(files::routes())
        .merge(manifests::routes())
        .merge(messages::routes())
        .merge(items::routes())
        .merge(approvals::routes())
        .merge(policies::routes())
        .merge(briefings::routes())
        .merge(budgets::routes())
        .merge(retention::routes())
        .merge(costs::routes())
        .merge(executions::routes())
        .merge(events::routes())
        .merge(logs::routes())
        .merge(state::routes())
        .merge(keys::routes())
        .merge(packages::routes())
        .merge(secrets::routes())
        .merge(sessions::routes())
        .merge(conversations::routes())
        .merge(agent_session::routes())
        .merge(agent_calls::routes())
        .merge(watch::routes())
        .merge(models::routes())
        .merge(audit::routes())
        .merge(status::routes())
        .merge(doctor::routes())
}

/// A path, and by which methods it answers.
type Route = (&'static str, &'static [Method], MethodRouter<Arc<ApiState>>);

/// What answers beside the operations of the description. No route stands anywhere else.
fn undescribed() -> [Route; 4] {
    let description = get(|| async { ([(CONTENT_TYPE, "application/json")], openapi()) });
    [
        (OPENAPI_PATH, &[Method::GET], description),
        (mcp::PATH, &[Method::GET, Method::POST, Method::DELETE], mcp::methods()),
        (mcp::ONE_PATH, &[Method::GET, Method::POST, Method::DELETE], mcp::methods_of_one()),
        (approve::PATH, &[Method::GET, Method::POST], approve::methods()),
    ]
}

fn router(api: Arc<ApiState>) -> Router {
    let (router, _) = resources().split_for_parts();
    let beside = undescribed().into_iter().fold(router, |router, (path, _, methods)| router.route(path, methods));
    beside
        .fallback(async |request: Request| {
            let detail = format!("there is no {}", lookup::quoted(request.uri().path()));
            Failure::from(Code::RouteUnknown.problem(detail))
        })
        .method_not_allowed_fallback(async |request: Request| {
            let detail = format!("{} does not take {}", lookup::quoted(request.uri().path()), request.method());
            Failure::from(Code::MethodWrong.problem(detail))
        })
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(Arc::clone(&api), shares::in_turn))
        .layer(from_fn_with_state(Arc::clone(&api), auth::identify))
        .layer(from_fn(auth::same_site))
        .layer(map_response_with_state(api.app.vault.scrubber().clone(), clean_answer))
        .layer(Extension(api.app.vault.scrubber().clone()))
        .with_state(api)
}

/// An answer may repeat what was said before a value was set. What streams is clean where it is made; files are as they are.
async fn clean_answer(State(scrubber): State<Scrubber>, response: Response) -> Response {
    let media = response.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let is_json = media.starts_with("application/json") || media.starts_with(MEDIA_TYPE);
    if scrubber.is_empty() || !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) if scrubber.finds(&bytes) => {
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(parts, scrubber.payload(bytes.to_vec()).into())
        }
        Ok(bytes) => Response::from_parts(parts, bytes.into()),
        Err(_) => Failure::from(Code::Internal.problem("the answer broke off")).into_response(),
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let within = match path {
        "/v1/models/test" => Duration::from_secs(models::TEST_SECONDS_MAX + 10),
        // These may wait for a call's end before they begin to answer.
        "/v1/agent/invoke" | mcp::PATH => ANSWER_MAX + Duration::from_millis(WAIT_MS_MAX),
        "/v1/agent/capabilities" => ANSWER_MAX + Duration::from_millis(WAIT_MS_MAX),
        _ if path.starts_with("/v1/agent/calls/") || path.starts_with("/mcp/") => {
            ANSWER_MAX + Duration::from_millis(WAIT_MS_MAX)
        }
        _ => ANSWER_MAX,
    };
    match timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer was ready after {} seconds", within.as_secs());
            Failure::from(Code::TookTooLong.problem(detail)).into_response()
        }
    }
}

/// The API's description, as served and as committed.
pub fn openapi() -> String {
    let document = description::completed(resources().into_openapi());
    let mut text = document.to_pretty_json().expect("invariant: the description is JSON");
    text.push('\n');
    text
}

/// The same as a page for people, in Markdown.
pub fn api_page() -> String {
    let description = serde_json::from_str(&openapi()).expect("invariant: the description is JSON");
    description::page::page(&description)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Run with `TENURE_CODEGEN=1` to write them anew.
    #[test]
    fn the_committed_description_and_its_page_are_those_that_are_served() {
        for (name, served) in [("openapi.json", super::openapi()), ("docs/api.md", super::api_page())] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
            if std::env::var_os("TENURE_CODEGEN").is_some() {
                std::fs::write(&path, &served).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == served, "{name} is old: run TENURE_CODEGEN=1 cargo test -p tenure-daemon description");
        }
    }

    #[test]
    fn each_operation_of_the_description_has_an_id_of_its_own() {
        let document: serde_json::Value = serde_json::from_str(&super::openapi()).unwrap();
        let items = document["paths"].as_object().unwrap().values();
        let ids: Vec<&str> = items
            .flat_map(|item| item.as_object().unwrap().values())
            .filter_map(|operation| operation["operationId"].as_str())
            .collect();
        let apart: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert!(ids.len() > 60, "{}", ids.len());
        assert_eq!(ids.len(), apart.len(), "{ids:?}");
    }

    #[test]
    fn each_shape_that_the_description_refers_to_is_in_it() {
        let text = super::openapi();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let shapes = document["components"]["schemas"].as_object().unwrap();
        let meant = text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        let missing: std::collections::BTreeSet<&str> = meant.filter(|shape| !shapes.contains_key(*shape)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
