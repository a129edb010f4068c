//! The way out of jails: the rules as a table, the proxy against hostile bytes over a simulated network with paused time, the
//! `network.*` calls in a real worker, and real programs in real jails.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod world;
mod rules;
mod gate;
mod http;
mod socks;
mod house;
mod calls;
mod programs;
mod ordinary;
