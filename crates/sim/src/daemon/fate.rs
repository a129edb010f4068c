//! What chance decides of one world, from one seed: ids, waits, faults, the wall clock. It is asked from everywhere, also
//! inside a commit, and so must never ask anyone itself.
use crate::random::Random;
use crate::world::Figures;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenure_core::aggregate::{Event, Stream};
use tenure_core::time::Time;
use tenure_daemon::clock::WallClock;
use tenure_daemon::platform::Entropy;
use tenure_store::{Commit, Error, Pace};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

/// Lines of the history that a failure shows.
const HISTORY_MAX: usize = 80;
/// Of 1,000 commits so many fail by themselves.
const BUSY: u64 = 6;
const EPOCH_MS: i64 = 1_700_000_000_000;

#[derive(Clone)]
pub(super) struct Fate(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) random: Random,
    /// Faults happen.
    pub(super) faulty: bool,
    /// Commits that find the disk full from now on, one after another.
    pub(super) full_for: u32,
    /// The next commit fails so that nobody knows what is on the disk.
    pub(super) failing: bool,
    pub(super) figures: Figures,
    /// The audit looks: that is no commit of the daemon's.
    looking: bool,
    /// The daemon is killed: what it had not written stays unwritten.
    dead: bool,
    /// The wall clock's moment at the anchor.
    wall_ms: i64,
    anchor: Option<Instant>,
    /// Events of commits that stood.
    appended: u64,
    history: VecDeque<String>,
}

impl Fate {
    pub(super) fn new(seed: u64) -> Fate {
        Fate(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            faulty: false,
            full_for: 0,
            failing: false,
            figures: Figures::default(),
            looking: false,
            dead: false,
            wall_ms: EPOCH_MS,
            anchor: None,
            appended: 0,
            history: VecDeque::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.lock())
    }

    pub(super) fn draw<R>(&self, draw: impl FnOnce(&mut Random) -> R) -> R {
        draw(&mut self.lock().random)
    }

    /// True in so many of 1,000 cases, as long as there are faults.
    pub(super) fn mishap(&self, thousandths: u64) -> bool {
        self.with(|state| state.faulty && state.random.chance(thousandths))
    }

    pub(super) fn begin_life(&self) {
        self.with(|state| (state.dead, state.anchor) = (false, Some(Instant::now())));
    }

    pub(super) fn end_life(&self) {
        let wall = self.now().millis();
        self.with(|state| {
            (state.dead, state.anchor, state.wall_ms) = (true, None, wall);
            (state.faulty, state.full_for, state.failing) = (false, 0, false);
        });
    }

    pub(super) fn set_wall(&self, by_ms: i64) {
        self.with(|state| state.wall_ms += by_ms);
    }

    pub(super) fn look<R>(&self, look: impl FnOnce() -> R) -> R {
        self.lock().looking = true;
        let seen = look();
        self.lock().looking = false;
        seen
    }

    pub(super) fn appended(&self) -> u64 {
        self.lock().appended
    }

    pub(super) fn figures(&self) -> Figures {
        self.lock().figures
    }

    pub(super) fn note(&self, line: impl Into<String>) {
        self.with(|state| state.note(line.into()));
    }

    pub(super) fn history(&self) -> String {
        self.lock().history.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// A commit stands.
    pub(super) fn committed(&self, commit: &Commit) {
        self.with(|state| {
            for appended in commit.appended.iter() {
                state.appended += appended.decision.events.len() as u64;
                state.figures.commits += 1;
                let said = |(stream, event): &(Stream, Event)| format!("{} {stream}", event.kind());
                let said: Vec<String> = appended.decision.events.iter().map(said).collect();
                state.note(format!("  {} ms: {}", appended.stamp.run.millis(), said.join(", ")));
            }
        });
    }
}

impl State {
    fn note(&mut self, line: String) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(line);
    }

    fn commit_fails(&mut self) -> Option<Error> {
        let doing = "what the simulation asked for".to_string();
        if self.looking {
            return None;
        }
        if self.dead || std::mem::take(&mut self.failing) {
            return Some(Error::Io { doing, why: "the simulation asked for it".to_string() });
        }
        if !self.faulty {
            return None;
        }
        if self.full_for > 0 {
            self.full_for -= 1;
            return Some(Error::Full { doing });
        }
        self.random.chance(BUSY).then_some(Error::Busy { doing })
    }
}

impl Pace for Fate {
    fn turn(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let wait = self.draw(|random| match random.below(20) {
            0..=12 => None,
            13..=16 => Some(0),
            17 | 18 => Some(1 + random.below(10)),
            _ => Some(1 + random.below(300)),
        });
        Box::pin(async move {
            match wait {
                None => {}
                Some(0) => yield_now().await,
                Some(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            }
        })
    }

    fn before_commit(&self) -> Result<(), Error> {
        self.with(|state| match state.commit_fails() {
            Some(error) => {
                state.figures.failed += 1;
                state.note(format!("  a commit fails: {error}"));
                Err(error)
            }
            None => Ok(()),
        })
    }
}

impl Entropy for Fate {
    fn seed(&self) -> u128 {
        self.draw(Random::seed)
    }
}

impl WallClock for Fate {
    fn now(&self) -> Time {
        self.with(|state| {
            let since = state.anchor.map_or(0, |anchor| anchor.elapsed().as_millis());
            Time::from_millis(state.wall_ms + i64::try_from(since).unwrap_or(i64::MAX))
        })
    }
}
