//! The domain of Tenure: what an agent, an execution, a call, a worker is, and how each may change.
//!
//! ```text
//! decide(&View, Command, now) -> Decision | Refusal      events for streams, and the bytes they bind
//! apply(&mut Fold, &Event)                               total: cannot fail
//! owed(&Fold) -> Vec<Owed>                               what the world owes it, and when
//! rows(before, after, &Event) -> Vec<Row>                the lists that people read
//! ```
//! This crate must never do IO, read a clock, make randomness, or know SQL or HTTP.
#![forbid(unsafe_code)]
#![deny(clippy::wildcard_enum_match_arm)]

pub mod id;
pub mod time;
pub mod actor;
pub mod bound;
pub mod access;
pub mod project;
pub mod agent;
pub mod fault;
pub mod template;
pub mod manifest;
pub mod capability;
pub mod judge;
pub mod network;
pub mod call;
pub mod execution;
pub mod fleet;
pub mod command;
pub mod fold;
pub mod owed;
pub mod row;
pub mod ledger;
