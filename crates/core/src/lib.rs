//! The domain of Tenure: what an agent, an execution, a call, a worker is, and how each may change.
//!
//! ```text
//! decide(&mut Draft, Command) -> Result<(), Stop>        the facts it looks at, the events it makes, on any streams
//! apply(&mut Fold, &Event)                               total: cannot fail
//! owed(&Fold) -> Vec<Owed>                               what the world owes it, and when
//! rows(&Fold, &Event), state_rows(&Fold) -> Vec<Row>     the lists that people read, the sums that decisions are made by
//! ```
//! This crate must never do IO, read a clock, make randomness, or know SQL or HTTP.
#![forbid(unsafe_code)]
#![deny(clippy::wildcard_enum_match_arm)]

pub mod id;
pub mod time;
pub mod actor;
pub mod bound;
pub mod facts;
pub mod draft;
pub mod aggregate;
pub mod access;
pub mod project;
pub mod agent;
pub mod fault;
pub mod cron;
pub mod template;
pub mod manifest;
pub mod plan;
pub mod capability;
pub mod judge;
pub mod network;
pub mod call;
pub mod approval;
pub mod binding;
pub mod state;
pub mod budget;
pub mod model_call;
pub mod retention;
pub mod comms;
pub mod secret;
pub mod ustar;
pub mod package;
pub mod item;
pub mod execution;
pub mod session;
pub mod instance;
pub mod fleet;
pub mod briefing;
pub mod owed;
pub mod row;
pub mod ledger;
