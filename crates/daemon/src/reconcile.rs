//! Reconcilers: each does one kind of what is owed and reports by command. They take no input but the owed index, hold
//! a bounded set of obligations in flight, and are idempotent: killed at any point, the next start does what is still owed.
//! No retry lives here; a failure is a command whose event moves the time at which it is owed again.
pub mod cancel;
pub mod comms;
pub mod dispatch;
pub mod end_key;
mod end_model_call;
mod instance;
pub mod end_pause;
pub mod expire;
pub mod perform;
pub mod program;
pub mod place;
pub mod rejudge;
mod remove_home;
pub mod retain;
pub mod sweep;
pub mod sweep_state;
pub mod think;
pub mod validate;
pub mod wake;
mod wakeups;

pub use validate::Computing;
pub use wakeups::Wakeups;

use crate::app::App;
use crate::records::Error;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::aggregate::Stream;
use tenure_core::owed::{Kind, Obligation};
use tenure_store as store;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use wakeups::Woken;

/// Rows of the owed index read at a time, and how many such pages a look goes through.
const PAGE: u32 = 256;
const PAGES_MAX: u32 = 64;
/// The owed index is read at least so often, in case a wake-up was missed.
const POLL_MAX: Duration = Duration::from_secs(30);

type Work = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// How obligations of a kind are done.
#[derive(Clone, Copy)]
pub enum Unit {
    One(fn(Arc<App>, Stream, Obligation) -> Work),
    /// As many as a page has, in one go.
    Page(fn(Arc<App>, Vec<(Stream, Obligation)>) -> Work),
}

/// What each kind needs of the loop.
#[derive(Clone, Copy)]
pub struct Policy {
    /// Obligations, or pages, in flight at a time.
    pub concurrency: usize,
    /// How long one is left alone that ended without moving the state, unless its stream moves.
    pub backoff: Duration,
    pub unit: Unit,
}

macro_rules! one {
    ($concurrency:literal, $perform:path) => {
        Policy {
            concurrency: $concurrency,
            backoff: Duration::from_secs(1),
            unit: Unit::One(|app, stream, obligation| Box::pin($perform(app, stream, obligation))),
        }
    };
}

/// Each kind's policy: the one table of reconcilers.
pub fn policy(kind: Kind) -> Policy {
    match kind {
        Kind::Place => Policy {
            concurrency: 1,
            backoff: Duration::from_secs(1),
            unit: Unit::Page(|app, page| Box::pin(place::place(app, page))),
        },
        Kind::Think => one!(128, think::think),
        // One is at each program that runs, for as long as it does.
        Kind::Dispatch => one!(4096, dispatch::dispatch),
        Kind::Perform => one!(32, perform::perform),
        Kind::Program => one!(8, program::program),
        // The jail of the last one goes within moments.
        Kind::StartProgram => Policy { backoff: Duration::from_millis(200), ..one!(16, instance::start_program) },
        Kind::CheckHealth => one!(16, instance::check_health),
        Kind::Validate => one!(8, validate::validate),
        Kind::Release => one!(128, dispatch::release),
        Kind::Cancel => one!(32, dispatch::cancel),
        Kind::Expire => one!(32, expire::expire),
        Kind::ExpireCalls => one!(32, expire::expire_calls),
        Kind::ExpireApprovals => one!(4, expire::expire_approvals),
        Kind::Rejudge => one!(1, rejudge::rejudge),
        Kind::Sweep => one!(4, sweep::sweep),
        Kind::CancelExecutions => one!(4, cancel::cancel),
        Kind::CancelChildren => one!(4, cancel::cancel_children),
        Kind::EndPause => one!(4, end_pause::end_pause),
        Kind::Wake => Policy {
            concurrency: 2,
            backoff: Duration::from_secs(1),
            unit: Unit::Page(|app, page| Box::pin(wake::wake(app, page))),
        },
        // Each waits for a call that is in hand.
        Kind::EndModelCall => one!(1024, end_model_call::end_model_call),
        Kind::EndKey => one!(4, end_key::end_key),
        Kind::SweepState => one!(4, sweep_state::sweep_state),
        Kind::Retain => one!(2, retain::retain),
        Kind::Erase => one!(2, retain::erase),
        Kind::FanOut => one!(4, comms::fan_out),
        Kind::ExpireMessages => one!(4, comms::expire),
        Kind::DeadLetterMessages => one!(4, comms::dead_letter),
        Kind::RemoveHome => Policy { backoff: Duration::from_secs(60), ..one!(4, remove_home::remove_home) },
    }
}

/// What names an obligation while it is in flight: one that changes its key halfway keeps its name.
type Name = (Stream, String);

fn name(stream: Stream, obligation: &Obligation) -> Name {
    let key = match obligation {
        // Due and open are two states of one.
        Obligation::Think { iteration, turn, attempt, open: _ } => format!("{iteration}:{turn}:{attempt}"),
        Obligation::Place { .. }
        | Obligation::EndModelCall { .. }
        | Obligation::Dispatch { .. }
        | Obligation::Perform { .. }
        | Obligation::Program { .. }
        | Obligation::StartProgram
        | Obligation::CheckHealth { .. }
        | Obligation::Validate { .. }
        | Obligation::Release { .. }
        | Obligation::Cancel { .. }
        | Obligation::Expire
        | Obligation::ExpireCalls
        | Obligation::ExpireApprovals
        | Obligation::Rejudge { .. }
        | Obligation::Sweep { .. }
        | Obligation::CancelExecutions
        | Obligation::CancelChildren { .. }
        | Obligation::EndPause
        | Obligation::Wake { .. }
        | Obligation::EndKey
        | Obligation::SweepState
        | Obligation::Retain { .. }
        | Obligation::Erase { .. }
        | Obligation::RemoveHome { .. }
        | Obligation::FanOut { .. }
        | Obligation::ExpireMessages
        | Obligation::DeadLetterMessages { .. } => obligation.to_key(),
    };
    (stream, key)
}

/// Does what is owed of one kind, until the daemon closes.
pub async fn run(app: Arc<App>, kind: Kind) {
    let mut reconciler = Reconciler {
        kind,
        policy: policy(kind),
        tasks: JoinSet::new(),
        in_flight: BTreeMap::new(),
        names: HashMap::new(),
        backing_off: BTreeMap::new(),
        app,
    };
    let mut woken = Woken::all();
    while !reconciler.app.is_closing() {
        let pause = match reconciler.poll(&woken).await {
            Ok(pause) => pause.unwrap_or(POLL_MAX).min(POLL_MAX),
            Err(error) => {
                tracing::error!(kind = kind.as_str(), %error, "the owed index cannot be read");
                Duration::from_secs(1)
            }
        };
        let app = Arc::clone(&reconciler.app);
        woken = tokio::select! {
            biased;
            () = app.closing.cancelled() => break,
            woken = app.wakeups.woken(kind) => woken,
            Some(done) = reconciler.tasks.join_next_with_id(), if !reconciler.tasks.is_empty() => {
                reconciler.finish(done);
                Woken::default()
            }
            () = tokio::time::sleep(pause) => Woken::default(),
        };
        while let Some(done) = reconciler.tasks.try_join_next_with_id() {
            reconciler.finish(done);
        }
    }
    reconciler.tasks.shutdown().await;
}

struct Reconciler {
    app: Arc<App>,
    kind: Kind,
    policy: Policy,
    tasks: JoinSet<()>,
    /// By name, so that what is let go of together goes in one order.
    in_flight: BTreeMap<Name, AbortHandle>,
    names: HashMap<Id, Vec<Name>>,
    /// Until when each is left alone.
    backing_off: BTreeMap<Name, Instant>,
}

impl Reconciler {
    fn finish(&mut self, done: Result<(Id, ()), JoinError>) {
        let id = match &done {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let until = Instant::now() + self.policy.backoff;
        for name in self.names.remove(&id).into_iter().flatten() {
            self.in_flight.remove(&name);
            self.backing_off.insert(name, until);
        }
        if let Err(error) = done
            && error.is_panic()
        {
            tracing::error!(%error, "a reconciler panicked; what it did stays owed");
        }
    }

    /// Lets go of what is no longer owed, and begins what is new. Gives the pause until the next is due.
    async fn poll(&mut self, woken: &Woken) -> Result<Option<Duration>, store::Error> {
        let instant = Instant::now();
        self.backing_off.retain(|(stream, _), until| *until > instant && !woken.touches(*stream));
        self.let_go(woken).await?;
        let (mut fresh, mut pause) = (Vec::new(), None);
        for page in 0..PAGES_MAX {
            let owed = self.app.records.owed(self.kind, self.app.committer.now(), page * PAGE, PAGE).await?;
            pause = owed.next_ms.map(|next| Duration::from_millis(next.max(1)));
            let whole = owed.due.len() < PAGE as usize;
            let known = |name: &Name| self.in_flight.contains_key(name) || self.backing_off.contains_key(name);
            fresh.extend(owed.due.into_iter().filter(|(stream, obligation)| !known(&name(*stream, obligation))));
            if whole || fresh.len() >= self.policy.concurrency.max(PAGE as usize) {
                break;
            }
        }
        self.begin(fresh);
        let nearest = self.backing_off.values().map(|until| until.saturating_duration_since(instant)).min();
        Ok(pause.into_iter().chain(nearest).min())
    }

    /// Of streams that moved: what is in flight and no longer owed is dropped.
    async fn let_go(&mut self, woken: &Woken) -> Result<(), store::Error> {
        let moved: BTreeSet<Stream> =
            self.in_flight.keys().map(|(stream, _)| *stream).filter(|stream| woken.touches(*stream)).collect();
        for stream in moved {
            let owed = self.app.records.owed_by(self.kind, stream).await?;
            let owed: BTreeSet<Name> = owed.iter().map(|owed| name(stream, &owed.obligation)).collect();
            for (name, task) in &self.in_flight {
                if name.0 == stream && !owed.contains(name) {
                    task.abort();
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, fresh: Vec<(Stream, Obligation)>) {
        match self.policy.unit {
            Unit::One(perform) => {
                for (stream, obligation) in fresh {
                    if self.tasks.len() >= self.policy.concurrency {
                        break;
                    }
                    let names = vec![name(stream, &obligation)];
                    self.spawn(names, perform(Arc::clone(&self.app), stream, obligation));
                }
            }
            Unit::Page(perform) => {
                if !fresh.is_empty() && self.tasks.len() < self.policy.concurrency {
                    let names = fresh.iter().map(|(stream, obligation)| name(*stream, obligation)).collect();
                    self.spawn(names, perform(Arc::clone(&self.app), fresh));
                }
            }
        }
    }

    fn spawn(&mut self, names: Vec<Name>, work: Work) {
        let kind = self.kind.as_str();
        let task = self.tasks.spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(kind, %error, "what is owed cannot be done yet");
            }
        });
        self.in_flight.extend(names.iter().map(|name| (name.clone(), task.clone())));
        self.names.insert(task.id(), names);
    }
}
