//! Reconcilers: each does one kind of what is owed and reports by command. They take no input but the owed index, hold
//! a bounded set of deeds in hand, and are idempotent: killed at any point, the next start does what is still owed.
//! No retry lives here; a failure is a command whose event moves the time at which the deed is owed again.
pub mod bind;
pub mod dispatch;
pub mod expire;
pub mod revoke;
pub mod think;
pub mod validate;

use crate::commit;
use crate::house::House;
use crate::records::Error;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::fold::Stream;
use tenure_core::owed::{Deed, Kind};
use tenure_store as store;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

/// Deeds of one kind in hand at a time.
const HAND_MAX: usize = 128;
/// Rows of the owed index read at a time: more than a hand holds, so that something new is always among them.
const LOOK_MAX: u32 = 2 * HAND_MAX as u32;
/// A deed that ended without moving the state is left alone for so long.
const COOLING: Duration = Duration::from_secs(1);
/// The owed index is read at least so often, in case a wake was missed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One bell a kind, rung after a commit that changed what is owed.
#[derive(Clone, Default)]
pub struct Bells(Arc<[Notify; Kind::ALL.len()]>);

impl Bells {
    pub fn ring(&self, kind: Kind) {
        self.bell(kind).notify_one();
    }

    pub fn ring_all(&self) {
        Kind::ALL.iter().for_each(|kind| self.ring(*kind));
    }

    fn bell(&self, kind: Kind) -> &Notify {
        &self.0[kind as usize]
    }
}

type Name = (Stream, String);

struct Hand {
    working: HashMap<Name, (Deed, AbortHandle)>,
    names: HashMap<Id, Name>,
    cooling: HashMap<Name, Instant>,
    tasks: JoinSet<()>,
}

/// Does what is owed of one kind, until the house closes.
pub async fn run<F>(house: Arc<House>, kind: Kind, perform: impl Fn(Arc<House>, Stream, Deed) -> F)
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut hand =
        Hand { working: HashMap::new(), names: HashMap::new(), cooling: HashMap::new(), tasks: JoinSet::new() };
    while !house.is_closing() {
        let next = match take_up(&house, kind, &perform, &mut hand).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(kind = kind.word(), %error, "the owed index cannot be read");
                Some(Duration::from_secs(1))
            }
        };
        let pause = next.unwrap_or(PATIENCE).min(PATIENCE);
        tokio::select! {
            () = house.bells.bell(kind).notified() => hand.cooling.clear(),
            () = house.closing.cancelled() => break,
            Some(done) = hand.tasks.join_next_with_id(), if !hand.tasks.is_empty() => hand.put_down(done),
            () = tokio::time::sleep(pause) => {}
        }
        while let Some(done) = hand.tasks.try_join_next_with_id() {
            hand.put_down(done);
        }
    }
    hand.tasks.shutdown().await;
}

/// What names a deed while it is in hand: a deed that changes its key halfway keeps its name.
fn name(deed: &Deed) -> String {
    match deed {
        // Due and open are two states of one deed.
        Deed::Think { iteration, turn, attempt, open: _ } => format!("{iteration}:{turn}:{attempt}"),
        Deed::Bind { .. }
        | Deed::Dispatch { .. }
        | Deed::Validate { .. }
        | Deed::Release { .. }
        | Deed::Expire
        | Deed::Sweep { .. }
        | Deed::Leave => deed.to_string(),
    }
}

impl Hand {
    fn put_down(&mut self, done: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match &done {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Some(name) = self.names.remove(&id) {
            self.working.remove(&name);
            self.cooling.insert(name, Instant::now() + COOLING);
        }
        if let Err(error) = done
            && error.is_panic()
        {
            tracing::error!(%error, "a reconciler's deed panicked; it stays owed");
        }
    }
}

/// Reads what is owed, lets go of what no longer is, begins what is new. Gives the pause until the next is due.
async fn take_up<F>(
    house: &Arc<House>,
    kind: Kind,
    perform: &impl Fn(Arc<House>, Stream, Deed) -> F,
    hand: &mut Hand,
) -> Result<Option<Duration>, store::Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let now = commit::now();
    let page = house.records.owed(kind, now, LOOK_MAX).await?;
    let instant = Instant::now();
    hand.cooling.retain(|_, until| *until > instant);
    let named: Vec<(Name, Deed)> = page.due.into_iter().map(|(stream, deed)| ((stream, name(&deed)), deed)).collect();
    let whole = named.len() < LOOK_MAX as usize;
    if whole {
        for (name, (_, task)) in &hand.working {
            if !named.iter().any(|(owed, _)| owed == name) {
                task.abort();
            }
        }
    }
    let mut pause = page.next.map(|at| Duration::from_millis(at.since_ms(now).max(1)));
    for (name, deed) in named {
        if hand.working.contains_key(&name) {
            continue;
        }
        if let Some(until) = hand.cooling.get(&name) {
            let left = until.saturating_duration_since(instant);
            pause = Some(pause.map_or(left, |pause| pause.min(left)));
            continue;
        }
        if hand.working.len() >= HAND_MAX {
            break;
        }
        let (stream, performing) = (name.0, perform(Arc::clone(house), name.0, deed.clone()));
        let task = hand.tasks.spawn(async move {
            if let Err(error) = performing.await {
                tracing::error!(kind = kind.word(), %stream, %error, "what is owed cannot be done yet");
            }
        });
        hand.names.insert(task.id(), name.clone());
        hand.working.insert(name, (deed, task));
    }
    Ok(pause)
}
