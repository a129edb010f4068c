//! The daemon: holds the secrets, talks to models, serves the faces, and does what is owed. Composition only: what
//! happens is decided in core, written in the store, performed by reconcilers. It needs no root.
#![forbid(unsafe_code)]

pub mod clock;
pub mod commit;
pub mod space;
pub mod records;
mod schema;
pub mod app;
pub mod reconcile;
pub mod model;
pub mod fleet;
pub mod watch;
pub mod http;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

/// `tenure audit verify` proves the ledger beside a daemon or without one; the terminal knows no store.
pub use tenure_store::verify;

use app::App;
use clock::{Clock, StepWatcher, SystemClock, WallClock};
use commit::Committer;
use fleet::{BuiltIn, Connection, Fleet, Greeting, Supervisor};
use model::environment::Environment;
use model::router::Router;
use reconcile::Wakeups;
use records::Records;
use space::Space;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strum::IntoEnumIterator;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::id::{ConnectionId, WorkerId};
use tenure_core::judge::FloorAndTools;
use tenure_core::owed::Kind;
use tenure_core::time::Run;
use tenure_core::{fleet as workers, project};
use tenure_store::{self as store, Checkpoint, Commit, Store};
use tokio::sync::watch as cell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use watch::Watch;

/// The built-in worker's name in the ledger.
pub const BUILT_IN: &str = "built-in";
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the wall clock is held against the daemon's life, and untold refusals are looked for.
const TICK: Duration = Duration::from_secs(1);
const REFUSALS_EVERY: u32 = 60;

pub struct Options {
    pub data_dir: PathBuf,
    pub socket: PathBuf,
    /// Where the API listens for keys; none serves the socket alone.
    pub listen: Option<SocketAddr>,
    pub environment: Environment,
    pub built_in: BuiltIn,
    pub version: String,
    /// How long a deleted agent's work folder is kept.
    pub home_grace: Duration,
    /// Why a database that is older than its head outside may be used.
    pub accept_restore: Option<String>,
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
    #[error("the ledger's writer has stopped: {0}")]
    WriterStopped(&'static str),
}

/// A running daemon.
pub struct Daemon {
    pub app: Arc<App>,
    pub greeting: cell::Receiver<Option<Greeting>>,
    /// Where the API listens, if it does.
    pub listening: Option<SocketAddr>,
    pub outside: Checkpoint,
    store: Arc<Store>,
    tasks: JoinSet<()>,
}

impl Daemon {
    /// # Errors
    /// What keeps it from being ready; then nothing was started.
    pub async fn start(options: Options) -> Result<Daemon, Error> {
        Daemon::start_with(options, Arc::new(SystemClock)).await
    }

    /// The same by another wall clock.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with(options: Options, wall: Arc<dyn WallClock>) -> Result<Daemon, Error> {
        let models = Arc::new(Router::new(&options.environment).map_err(Error::Model)?);
        let tcp = http::Tcp::bind(&options).await?;
        let (watch, wakeups) = (Watch::new(), Wakeups::default());
        let store = Arc::new(open(&options, watch.clone(), wakeups.clone())?);
        store.mended().iter().for_each(|word| tracing::warn!("{word}"));
        let bound = http::Bound::with_socket(tcp, &options)?;
        let (project, last) = store.end_at_open();
        let lived = match store.checkpoint() {
            // The file tells of the life that was put back, by whose clock all that waits here would be due at once.
            Checkpoint::Restored(_) => last.run,
            Checkpoint::Missing | Checkpoint::OnChain { .. } => {
                fleet::last_alive(&options.built_in).unwrap_or_default().max(last.run)
            }
        };
        let (judge, space) = (Arc::new(FloorAndTools), Space::new(Arc::clone(&store)));
        let committer = Committer::new(&store, judge, space, Clock::new(wall, lived), project);
        let outside = store.checkpoint().clone();
        greet_ledger(&committer, &store, &options).await?;
        let (worker, stale) = built_in_worker(&committer, &store, lived).await?;
        let records = Records::new(store.reader().background(), store.blobs().clone());
        let (greeting, greetings) = cell::channel(None);
        let closing = CancellationToken::new();
        let app = Arc::new(App { committer, records, models, watch, wakeups, fleet: Fleet::default(), closing });
        let mut tasks = JoinSet::new();
        let listening = http::serve(&mut tasks, &app, &greetings, &options, bound);
        let supervisor = Supervisor::new(Arc::clone(&app), options.built_in.clone(), worker, stale, greeting);
        tasks.spawn(supervisor.run());
        tasks.spawn(fleet::keep_alive(Arc::clone(&app), options.built_in));
        tasks.spawn(mind_space(Arc::clone(&app)));
        tasks.spawn(mind_clock(Arc::clone(&app)));
        for kind in Kind::iter() {
            tasks.spawn(reconcile::run(Arc::clone(&app), kind));
        }
        Ok(Daemon { app, greeting: greetings, listening, outside, store, tasks })
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

fn open(options: &Options, watch: Watch, wakeups: Wakeups) -> Result<Store, store::Error> {
    let mut settings = store::Options::new(&options.data_dir);
    settings.hook = Some(Box::new(move |commit: &Commit| {
        for appended in commit.appended.iter() {
            for ((stream, event), index) in appended.decision.events.iter().zip(appended.index..) {
                watch.publish(index, appended.stamp, *stream, event);
            }
            wakeups.committed(&appended.decision);
        }
    }));
    Store::open(settings)
}

/// Accepts what a person accepts, founds a new project, and records this start. What nobody accepts is written nowhere.
async fn greet_ledger(committer: &Committer, store: &Store, options: &Options) -> Result<(), Error> {
    let tell = |command| committer.commit(Actor::Daemon, Command::Project(committer.project(), command));
    if let Checkpoint::Restored(restored) = store.checkpoint() {
        let Some(why) = options.accept_restore.clone() else {
            return Err(Error::Restored { database: restored.database_size, outside: restored.checkpoint_size });
        };
        tell(project::Command::AcceptRestore { checkpoint_size: restored.checkpoint_size, why }).await?;
    }
    if store.size_at_open() == 0 {
        tell(project::Command::Found { name: "default".to_string() }).await?;
    }
    tell(project::Command::RecordStart { version: options.version.clone() }).await?;
    Ok(())
}

/// The built-in worker's id, and the connection that an earlier life of it left open.
async fn built_in_worker(
    committer: &Committer,
    store: &Store,
    lived: Run,
) -> Result<(WorkerId, Option<(ConnectionId, Run)>), Error> {
    let known = store.reader().read(|sql| store::rows::workers::named(sql, BUILT_IN)).await?;
    if let Some(worker) = known {
        return Ok((worker.id, worker.connection.map(|connection| (connection, lived))));
    }
    let id = committer.mint_worker();
    let register = workers::Command::Register { name: BUILT_IN.to_string() };
    committer.commit(Actor::Daemon, Command::Worker(id, register)).await?;
    Ok((id, None))
}

/// On a full disk jails are killed; once there is room, everything owed is looked at again.
async fn mind_space(app: Arc<App>) {
    let space = app.committer.space().clone();
    space.prepare().await;
    loop {
        tokio::select! {
            () = space.filled() => {}
            () = app.closing.cancelled() => return,
        }
        app.fleet.connections().iter().for_each(Connection::end);
        tokio::select! {
            () = space.emptied() => app.wakeups.notify_all(),
            () = app.closing.cancelled() => return,
        }
    }
}

/// Records steps of the wall clock, wakes what waits for it, and tells of refusals that were only counted.
async fn mind_clock(app: Arc<App>) {
    let project = app.committer.project();
    let mut watcher = StepWatcher::new(app.committer.now());
    let mut ticks: u32 = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = app.closing.cancelled() => return,
        }
        ticks = ticks.wrapping_add(1);
        if let Some(by_ms) = watcher.step(app.committer.now()) {
            tracing::warn!(by_ms, "the wall clock was set; time-outs and retries go on by the daemon's own");
            app.report(Actor::Daemon, Command::Project(project, project::Command::RecordStep { by_ms })).await;
            app.wakeups.notify_all();
        }
        if ticks.is_multiple_of(REFUSALS_EVERY) {
            app.report(Actor::Daemon, Command::Project(project, project::Command::TellRefusals {})).await;
        }
    }
}
