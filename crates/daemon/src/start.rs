//! A daemon's parts, put together over a store that is open, and what it does on its own: the same whoever opened the store,
//! wherever its workers come from, and whichever faces it has.
use crate::app::App;
use crate::clock::StepWatcher;
use crate::commit::Committer;
use crate::fleet::{Connection, Fleet};
use crate::model::Models;
use crate::platform::Platform;
use crate::presence::Presence;
use crate::proxy::InHand;
use crate::reconcile::{self, Computing, Wakeups};
use crate::records::Records;
use crate::sink::Sinks;
use crate::vault::Vault;
use crate::watch::Watch;
use crate::{Error, commit, policy};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::id::{ConnectionId, WorkerId};
use tenure_core::owed::Kind;
use tenure_core::time::Run;
use tenure_core::{fleet, project};
use tenure_policy::Policies;
use tenure_store::{Checkpoint, Commit, Hook, Store, rows};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the wall clock is held against the daemon's life, and untold refusals are looked for.
const TICK: Duration = Duration::from_secs(1);
const REFUSALS_EVERY: u32 = 60;

/// Who is told of each commit. They stand before the store, whose hook they are.
#[derive(Clone)]
pub struct CommitListeners {
    pub watch: Watch,
    pub wakeups: Wakeups,
}

impl CommitListeners {
    pub fn new() -> CommitListeners {
        CommitListeners { watch: Watch::new(), wakeups: Wakeups::default() }
    }

    pub fn hook(&self) -> Hook {
        let CommitListeners { watch, wakeups } = self.clone();
        Box::new(move |commit: &Commit| {
            for appended in commit.appended.iter() {
                for ((stream, event), index) in appended.decision.events.iter().zip(appended.index..) {
                    watch.publish(index, appended.stamp, *stream, event);
                }
                wakeups.committed(&appended.decision);
            }
        })
    }
}

impl Default for CommitListeners {
    fn default() -> CommitListeners {
        CommitListeners::new()
    }
}

/// `lived`: how long the daemon had lived before this start.
pub fn assemble(
    store: &Arc<Store>,
    listeners: CommitListeners,
    platform: Platform,
    lived: Run,
    models: Arc<dyn Models>,
    vault: Vault,
) -> App {
    let (project, _) = store.end_at_open();
    let computing = Computing::new(platform.blocking);
    let policies = Arc::new(Policies::new());
    App {
        committer: Committer::new(store, policies.clone(), platform, lived, project, vault.scrubber().clone()),
        records: Records::new(store.reader().background(), store.blobs().clone()),
        models,
        vault,
        policies,
        computing,
        watch: listeners.watch,
        presence: Presence::default(),
        wakeups: listeners.wakeups,
        fleet: Fleet::default(),
        in_hand: InHand::default(),
        agent_api: tokio::sync::watch::Sender::new(None),
        sinks: Sinks::default(),
        closing: CancellationToken::new(),
    }
}

/// Accepts what a person accepts, founds a new project, and records this start. What nobody accepts is written nowhere.
///
/// # Errors
/// `Restored` where nobody accepted that the database is older than its head outside; else what could not be recorded.
pub async fn greet(app: &App, store: &Store, version: &str, accept_restore: Option<String>) -> Result<(), Error> {
    let tell = |command| app.committer.commit(Actor::Daemon, Command::Project(app.committer.project(), command));
    if let Checkpoint::Restored(restored) = store.checkpoint() {
        let Some(why) = accept_restore else {
            return Err(Error::Restored { database: restored.database_size, outside: restored.checkpoint_size });
        };
        tell(project::Command::AcceptRestore { checkpoint_size: restored.checkpoint_size, why }).await?;
    }
    if store.size_at_open() == 0 {
        tell(project::Command::Found { name: "default".to_string() }).await?;
    }
    tell(project::Command::RecordStart { version: version.to_string() }).await?;
    policy::load(app).await;
    Ok(())
}

/// The id of the worker of this name, registered where nobody knows it; and the connection that an earlier life of the daemon
/// left open, with the end of that life.
///
/// # Errors
/// What could not be read or recorded.
pub async fn worker(
    app: &App,
    store: &Store,
    name: &'static str,
    lived: Run,
) -> Result<(WorkerId, Option<(ConnectionId, Run)>), Error> {
    let known = store.reader().read(move |sql| rows::workers::named(sql, name)).await.map_err(commit::Error::Store)?;
    if let Some(worker) = known {
        return Ok((worker.id, worker.connection.map(|connection| (connection, lived))));
    }
    let id = app.committer.mint_worker();
    let register = fleet::Command::Register { name: name.to_string() };
    app.committer.commit(Actor::Daemon, Command::Worker(id, register)).await?;
    Ok((id, None))
}

/// Starts what the daemon does on its own, with the reconcilers of these kinds.
pub fn spawn(app: &Arc<App>, kinds: impl Iterator<Item = Kind>, tasks: &mut JoinSet<()>) {
    tasks.spawn(mind_space(Arc::clone(app)));
    tasks.spawn(mind_clock(Arc::clone(app)));
    for kind in kinds {
        tasks.spawn(reconcile::run(Arc::clone(app), kind));
    }
}

/// On a full disk jails are killed; once there is room, everything owed is looked at again.
async fn mind_space(app: Arc<App>) {
    let space = app.committer.space().clone();
    space.prepare().await;
    loop {
        tokio::select! {
            biased;
            () = app.closing.cancelled() => return,
            () = space.filled() => {}
        }
        app.fleet.connections().iter().for_each(Connection::end);
        tokio::select! {
            biased;
            () = app.closing.cancelled() => return,
            () = space.emptied() => app.wakeups.notify_all(),
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
            biased;
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
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
