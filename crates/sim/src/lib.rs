//! A seeded world of fakes, under the names of what they stand for. For tests only; nothing shipped may use it.
#![forbid(unsafe_code)]

pub mod judge;
pub mod store;
