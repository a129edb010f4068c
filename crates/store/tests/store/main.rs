//! The store through its own API: its story, group commit, crashes, replay, and each way to tamper with it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stood")]
mod crash;
mod group;
mod mutation;
mod replay;
mod story;
mod verify;
mod rows;
mod authority;
mod beside;
mod export;
mod rotation;
mod seal;
mod readers;
mod refused;
#[expect(dead_code, reason = "the example `ledger_rate` uses the rest")]
mod world;
