//! The daemon itself in a simulated world: its reconcilers, its fleet, its door to the ledger and the store, as they are, on one
//! thread under virtual time and one seed. What is outside of it is simulated: people, models, workers' processes, the
//! clock, randomness, the disk's slowness and its failures, and the end of the daemon's own process.
//!
//! ```text
//! life: one process of the daemon, from its start to its kill ── a runtime whose time is virtual
//!   people ─commit─> daemon ─ Models ─> model        fate: what chance decides, and when each read and write has its turn
//!                           ─ Source ─> worker       book: the audit, told at once what is asked of models and done by workers
//! ```
//! It must never read a real clock, the kernel's randomness or a thread's timing: the caller gives runtimes of one thread whose
//! time is paused.
mod book;
mod fate;
mod life;
mod model;
mod worker;

pub use crate::reads::Medium;

use crate::audit::{Audit, Violation};
use crate::people::People;
use crate::reads::Lives;
use crate::run::Found;
use crate::world::{Figures, LIMITS};
use book::Book;
use fate::Fate;
use life::End;
use tenure_core::owed::Kind;
use tenure_core::time::Run;
use tokio::runtime::Runtime;
use worker::Worker;

/// How a world with a real daemon is made.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Of one thread, with time and without IO; its time is paused, and so goes on when there is nothing else to do.
    pub runtime: fn() -> Runtime,
    pub medium: Medium,
    pub steps: u64,
    /// The reconciler of this kind is not started, to show that it is missed.
    pub without: Option<Kind>,
}

/// What stays while daemons are killed and started.
pub struct World {
    settings: Settings,
    fate: Fate,
    book: Book,
    people: People,
    workers: Vec<Worker>,
    lives: Lives,
    /// What the file `alive` says that the daemon has lived.
    alive: Run,
    steps: u64,
    kills: u64,
}

impl World {
    fn new(settings: Settings, seed: u64) -> World {
        let fate = Fate::new(seed);
        let book = Book::new(Audit::new(LIMITS), fate.clone());
        let workers = worker::NAMES.map(|name| Worker::new(name, fate.clone(), book.clone())).into();
        let (people, lives) = (People::default(), Lives::new(settings.medium));
        World { settings, fate, book, people, workers, lives, alive: Run::ZERO, steps: 0, kills: 0 }
    }

    /// What lies on the disk is all that the next life knows.
    fn kill(&mut self) {
        self.kills += 1;
        let killed = self.lives.kill();
        self.book.close();
        // What cannot be removed now goes with the world.
        let _ = std::fs::remove_dir_all(killed);
    }

    fn figures(&self) -> Figures {
        let (executions, calls) = self.book.counts();
        Figures { kills: self.kills, executions, calls, ..self.fate.figures() }
    }
}

/// What one seed came to.
#[derive(Debug)]
pub struct Rest {
    pub figures: Figures,
    /// Every record of the ledger, in order.
    pub records: Vec<Vec<u8>>,
    /// Kinds of events that there were.
    pub kinds: Vec<&'static str>,
}

/// One world from its seed to its rest.
///
/// # Errors
/// What does not hold.
pub fn one(settings: Settings, seed: u64) -> Result<Rest, Box<Found>> {
    let mut world = World::new(settings, seed);
    loop {
        let runtime = (settings.runtime)();
        match runtime.block_on(life::live(&mut world)) {
            Ok(End::Killed) => {
                world.kill();
                drop(runtime);
            }
            Ok(End::Rested) => break,
            Err(violation) => return Err(found(&world, seed, violation)),
        }
    }
    let (records, kinds) = world.book.records().map_err(|violation| found(&world, seed, violation))?;
    Ok(Rest { figures: world.figures(), records, kinds })
}

fn found(world: &World, seed: u64, violation: Violation) -> Box<Found> {
    Box::new(Found { seed, steps: world.steps, violation, history: world.fate.history() })
}
