//! A worker with real jails, driven by frames as the daemon drives it. The suite runs as the user that starts it and, when
//! that is root, once more as an ordinary user (`everything_holds_for_an_ordinary_user_too`).
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

// One file for three packages: whoever starts an engine starts the same one.
#[expect(dead_code, reason = "not all that the sandbox's and the product's tests ask of an engine is asked here")]
#[path = "../../../sandbox/tests/container/engines.rs"]
mod engines;
mod house;
mod files;
mod paths;
mod programs;
mod confinement;
mod disk;
mod quotas;
mod volumes;
mod homes;
mod looks;
mod mcp;
mod hooks;
mod sdks;
mod acp;
mod mounts;
mod containers;
mod leases;
mod endings;
mod random;
mod ordinary;
