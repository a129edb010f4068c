//! The main job, end to end on the built program: deploy an agent and watch it work.
extern crate tenure_sandbox_controls as tenure_sandbox;

// One file for three packages: whoever starts an engine starts the same one.
#[expect(dead_code, reason = "not all that the sandbox's and the worker's tests ask of an engine is asked here")]
#[path = "../../crates/sandbox/tests/container/engines.rs"]
mod engines;
mod asks;
mod containers;
mod homes;
mod journal;
mod local;
mod own_rows;
mod scripted;
