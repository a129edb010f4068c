//! Kill anything at any moment: each execution goes on by itself and ends as it would have.
mod kills;
mod messages;
mod disk;
mod sessions;

/// Of the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
