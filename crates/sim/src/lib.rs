//! A seeded world of fakes, under the names of what they stand for. For tests only; nothing shipped may use it.
//!
//! ```text
//! world ── one seed: what happens next, what fails, how time passes ── audit: what must hold after each step
//!   people · model · worker · reconcile/{place, think, …}  ─commands─>  storage: memory, or the store on disk
//! daemon ── the same people, workers and audit around the daemon's own reconcilers, under virtual time
//! ```
#![forbid(unsafe_code)]

pub mod judge;
pub mod store;
pub mod random;
pub mod mutation;
pub mod storage;
pub mod memory;
mod reads;
pub mod disk;
pub mod audit;
pub mod world;
pub mod people;
pub mod model;
pub mod worker;
pub mod reconcile;
pub mod daemon;
pub mod run;
