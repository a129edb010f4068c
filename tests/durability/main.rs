//! Kill anything at any moment: each execution goes on by itself and ends as it would have.
mod kills;
mod messages;
mod disk;
mod sessions;
