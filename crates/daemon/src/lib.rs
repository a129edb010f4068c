//! The daemon: holds the secrets, talks to models, serves the faces, and does what is owed. Composition only: what
//! happens is decided in core, written in the store, performed by reconcilers. It needs no root.
#![forbid(unsafe_code)]

pub mod clock;
mod disk;
mod file_stamp;
pub mod platform;
pub mod commit;
pub mod space;
pub mod records;
mod schema;
pub mod package;
mod upstream;
pub mod policy;
pub mod app;
pub mod start;
pub mod reconcile;
pub mod model;
pub mod fleet;
pub mod proxy;
pub mod watch;
pub mod presence;
pub mod sink;
pub mod vault;
pub mod http;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

/// `tenure audit verify` proves the ledger beside a daemon or without one; the terminal knows no store.
pub use tenure_store::{Rotated, Sealed, Selection, export, rotate_key, seal, verify};

use app::App;
use fleet::{BuiltIn, Greeting, Supervisor};
use http::{CertificateSource, Listening};
use model::environment::Environment;
use model::router::Router;
use platform::Platform;
use start::CommitListeners;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strum::IntoEnumIterator;
use tenure_core::owed::Kind;
use tenure_store::{self as store, Checkpoint, Store};
use tenure_wire::scrub::Scrubber;
use tokio::sync::watch as cell;
use tokio::task::JoinSet;
use vault::Vault;

/// The built-in worker's name in the ledger.
pub const BUILT_IN: &str = "built-in";
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

pub struct Options {
    pub data_dir: PathBuf,
    pub socket: PathBuf,
    /// Where the API listens for keys; none serves the socket alone.
    pub listen: Option<SocketAddr>,
    /// What it shows there; none serves this host alone, in clear.
    pub tls: Option<CertificateSource>,
    pub environment: Environment,
    pub built_in: BuiltIn,
    pub version: String,
    /// How long a deleted agent's work folder is kept.
    pub home_grace: Duration,
    /// Why a database that is older than its head outside may be used.
    pub accept_restore: Option<String>,
    /// Where committed records go on to.
    pub sinks: Vec<sink::Target>,
    /// Where the key is by which secrets are sealed.
    pub vault_key: vault::KeySource,
    /// What takes values out of whatever is told; the log has the same one.
    pub scrubber: Scrubber,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Commit(#[from] commit::Error),
    #[error("{}; {}", .0.sentence, .0.hint)]
    Model(model::failure::Failure),
    #[error(transparent)]
    Listen(#[from] http::ListenError),
    /// An older copy of the database was put back, or its tail was cut.
    #[error(
        "the database ends at record {database} but its head outside was signed at {outside}: a tail was cut or an older \
         copy was put back; check, then start with --accept-restore \"why\""
    )]
    Restored { database: u64, outside: u64 },
    /// Secrets could not be read.
    #[error(transparent)]
    Records(#[from] records::Error),
    #[error("the ledger's writer has stopped: {0}")]
    WriterStopped(&'static str),
}

/// A running daemon.
pub struct Daemon {
    pub app: Arc<App>,
    /// What each word for a model means.
    pub models: Arc<Router>,
    pub greeting: cell::Receiver<Option<Greeting>>,
    /// Where the API listens, if it does.
    pub listening: Option<Listening>,
    pub outside: Checkpoint,
    store: Arc<Store>,
    tasks: JoinSet<()>,
}

impl Daemon {
    /// # Errors
    /// What keeps it from being ready; then nothing was started.
    pub async fn start(options: Options) -> Result<Daemon, Error> {
        Daemon::start_on(options, Platform::host()).await
    }

    /// The same on another platform.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_on(options: Options, platform: Platform) -> Result<Daemon, Error> {
        let models = Arc::new(Router::new(&options.environment).map_err(Error::Model)?);
        let tcp = http::Tcp::bind(&options).await?;
        let listeners = CommitListeners::new();
        let settings = store::Options { hook: Some(listeners.hook()), ..store::Options::new(&options.data_dir) };
        let store = Arc::new(Store::open(settings)?);
        store.mended().iter().for_each(|word| tracing::warn!("{word}"));
        let bound = http::Bound::with_socket(tcp, &options)?;
        let (_, last) = store.end_at_open();
        let lived = match store.checkpoint() {
            // The file tells of the life that was put back, by whose clock all that waits here would be due at once.
            Checkpoint::Restored(_) => last.run,
            Checkpoint::Missing | Checkpoint::OnChain { .. } => {
                fleet::last_alive(&options.built_in).unwrap_or_default().max(last.run)
            }
        };
        let outside = store.checkpoint().clone();
        let app = Arc::new(start::assemble(
            &store,
            listeners,
            platform,
            lived,
            models.clone(),
            Vault::new(options.scrubber.clone()),
        ));
        start::greet(&app, &store, &options.version, options.accept_restore.clone()).await?;
        vault::unlock(&app, options.vault_key.clone(), &options.data_dir).await?;
        let (worker, stale) = start::worker(&app, &store, BUILT_IN, lived).await?;
        let (greeting, greetings) = cell::channel(None);
        let mut tasks = JoinSet::new();
        let listening = http::serve(&mut tasks, &app, &greetings, Arc::clone(&models), &options, bound);
        let supervisor = Supervisor::new(Arc::clone(&app), options.built_in.clone(), worker, stale, greeting);
        tasks.spawn(supervisor.run());
        tasks.spawn(fleet::keep_alive(Arc::clone(&app), options.built_in));
        start::spawn(&app, Kind::iter(), &mut tasks);
        sink::spawn(&app, &options.sinks, &options.data_dir, listening.as_ref(), &mut tasks);
        Ok(Daemon { app, models, greeting: greetings, listening, outside, store, tasks })
    }

    /// Until `stop` resolves or the ledger can no longer be written; then everything it started has ended.
    ///
    /// # Errors
    /// `WriterStopped`: the disk under the ledger failed.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let writer = self.store.writer().clone();
        let result = tokio::select! {
            () = stop => Ok(()),
            () = writer.stopped() => Err(Error::WriterStopped("check the disk, then start again")),
        };
        self.app.closing.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_TIMEOUT, all).await.is_err() {
            tracing::warn!("not everything ended in time");
        }
        result
    }
}
