//! The ledger on disk, and all that lies beside it: SQL, blobs, the one writer, the readers, the proof that it holds.
//!
//! ```text
//! Store::open ─> Writer::write(class, |txn| …)      jobs → one thread → one transaction, one fsync → answers
//!             └> Reader::read(|sql| rows::…)        lists and payloads, beside the writer
//! verify(dir, depth) -> Report                      the chain, the heads, the folds, the rows, the payloads
//! export(dir, wanted, out)                          records that are checked without the ledger
//! scrub                                             after each start, the chain and the tables, in the background
//! ```
//! This crate must never decide anything: decisions are core's, made inside the writer's jobs. No SQL leaves it.
#![forbid(unsafe_code)]

mod error;
pub mod sql;
mod migration;
mod closed;
mod folder;
mod keys;
mod checkpoint;
mod ballast;
mod chain;
mod cache;
mod payload;
mod sealed;
mod events;
mod select;
mod owed;
mod pace;
pub mod rows;
mod txn;
mod writer;
mod reader;
pub mod verify;
pub mod export;
pub mod audit;
mod scrub;
mod store;

pub use ballast::Ballast;
pub use cache::Plans;
pub use checkpoint::{Checkpoint, Restored};
pub use error::Error;
pub use events::{BriefingReader, Recorded, events_from, events_of, fold};
pub use owed::{next_owed_ms, owed_by, owed_now};
pub use pace::Pace;
pub use payload::{Blobs, INLINE_BYTES_MAX, bound_payload, is_erased, payload};
pub use reader::Reader;
pub use scrub::ScrubState;
pub use select::Selection;
pub use store::{Options, Store};
pub use txn::{Appended, Txn};
pub use writer::{Class, Commit, Hook, Rotated, Sealed, Step, Writer, rotate_key, seal};
