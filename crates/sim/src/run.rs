//! Many seeds, one after another on each of a few threads; the first that finds something is told with its history.
use crate::audit::{Rule, Violation};
use crate::daemon::{self, Settings};
use crate::mutation::Mutation;
use crate::storage::Storage;
use crate::world::{Figures, World};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What a seed found.
#[derive(Debug)]
pub struct Found {
    pub seed: u64,
    pub steps: u64,
    pub violation: Violation,
    pub history: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { seed, steps, violation, history } = self;
        writeln!(f, "{history}")?;
        write!(f, "seed {seed} after {steps} steps: {violation}\nagain: cargo xtask sim --seed {seed} --seeds 1")
    }
}

/// One world from its seed to its rest.
///
/// # Errors
/// What does not hold.
pub fn one<S: Storage>(storage: S, seed: u64, steps: u64, mutation: Option<Mutation>) -> Result<World<S>, Box<Found>> {
    let found = |violation, steps, history| Box::new(Found { seed, steps, violation, history });
    let mut world = World::new(storage, seed, mutation).map_err(|violation| found(violation, 0, String::new()))?;
    for step in 1..=steps {
        world.step().map_err(|violation| found(violation, step, world.history()))?;
    }
    world.rest().map_err(|violation| found(violation, steps, world.history()))?;
    Ok(world)
}

/// `count` seeds from `first` on; gives what they did in all.
///
/// # Errors
/// The first that was found.
pub fn many<S: Storage>(
    make: impl Fn() -> S + Sync,
    first: u64,
    count: u64,
    steps: u64,
) -> Result<Figures, Box<Found>> {
    each(first, count, |seed| one(make(), seed, steps, None).map(|world| world.figures))
}

/// The same of worlds with a real daemon.
///
/// # Errors
/// The first that was found.
pub fn many_daemons(settings: Settings, first: u64, count: u64) -> Result<Figures, Box<Found>> {
    each(first, count, |seed| daemon::one(settings, seed).map(|rest| rest.figures))
}

fn each(
    first: u64,
    count: u64,
    run: impl Fn(u64) -> Result<Figures, Box<Found>> + Sync,
) -> Result<Figures, Box<Found>> {
    let (next, sum, found) = (AtomicU64::new(0), Mutex::new(Figures::default()), Mutex::new(None));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return;
            }
            match run(first + seed) {
                Ok(figures) => sum.lock().expect("invariant: nobody panics with it").add(figures),
                Err(violation) => {
                    next.store(count, Ordering::Relaxed);
                    found.lock().expect("invariant: nobody panics with it").get_or_insert(violation);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |count| count.get().min(8)) {
            scope.spawn(work);
        }
    });
    match found.into_inner().expect("invariant: nobody panics with it") {
        Some(found) => Err(found),
        None => Ok(sum.into_inner().expect("invariant: nobody panics with it")),
    }
}

/// The seeds until a mutation is found, at most `count`; and what was found of it.
pub fn until_found<S: Storage>(
    make: impl Fn(Mutation) -> S,
    mutation: Mutation,
    count: u64,
    steps: u64,
) -> Option<(u64, Rule)> {
    (0..count).find_map(|seed| {
        let found = one(make(mutation), seed, steps, Some(mutation)).err()?;
        Some((seed, found.violation.rule))
    })
}
