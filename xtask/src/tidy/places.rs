//! Nothing tracked may speak of the machine that it was written on: no path of its owner, no host of its network.

use super::Finding;
use super::tree::{File, Tree};

/// First folders below which a path is somebody's.
const OWNED: [&str; 5] = ["home", "root", "work", "farm", "Users"];

/// Files that speak of such paths as targets of an attack or as a place inside the jail.
const SPEAKS_OF_HOMES: [&str; 3] = ["crates/sandbox/", "crates/worker/", "tests/"];

/// Hosts that a tracked file may name: public homes of what we use, names that resolve nowhere by their standard, and
/// addresses that stand for a kind (any, private, link-local).
const HOSTS: [&str; 31] = [
    "0.0.0.0",
    "10.0.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "169.254.169.254",
    "[::1]",
    "api.anthropic.com",
    "api.deepseek.com",
    "api.github.com",
    "api.mistral.ai",
    "api.openai.com",
    "crates.io",
    "doc.rust-lang.org",
    "docs.rs",
    "example.com",
    "example.org",
    "generativelanguage.googleapis.com",
    "github.com",
    "huggingface.co",
    "json-schema.org",
    "keepachangelog.com",
    "localhost",
    "rustup.rs",
    "semver.org",
    "sh.rustup.rs",
    "spec.commonmark.org",
    "spec.openapis.org",
    "tenure.dev",
    "www.apache.org",
    "www.rfc-editor.org",
    "www.sqlite.org",
];
const HOST_ENDINGS: [&str; 6] = [".example", ".example.com", ".example.org", ".invalid", ".localhost", ".test"];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter().filter(|file| file.path != "Cargo.lock");
    files
        .flat_map(|file| {
            file.text_lines().filter_map(move |(line, text)| {
                let path = foreign_path(text, file)?;
                Some(Finding {
                    path: file.path.clone(),
                    line,
                    rule: "machine-path",
                    what: format!("a path of some machine: {path}"),
                    way_out: "take it from an argument, the environment or the data directory",
                })
            })
        })
        .collect()
}

fn foreign_path<'t>(text: &'t str, file: &File) -> Option<&'t str> {
    let homes = SPEAKS_OF_HOMES.iter().any(|folder| file.path.starts_with(folder));
    text.match_indices('/').map(|(at, _)| (at, &text[at + 1..])).find_map(|(at, rest)| {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || "/.-_}~$:*]".contains(c)) {
            return None;
        }
        let (first, below) = rest.split_once('/')?;
        let below = below.split(|c: char| !(c.is_alphanumeric() || "._-".contains(c))).next().unwrap_or("");
        let ours = match first {
            "home" | "root" => !homes && !below.is_empty(),
            "tmp" => !homes && !file.is_test() && !below.is_empty() && file.path.ends_with(".rs"),
            first => OWNED.contains(&first) && !below.is_empty(),
        };
        ours.then(|| &text[at..at + 2 + first.len() + below.len()])
    })
}

pub(super) fn hosts(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter().filter(|file| file.path != "Cargo.lock" && !file.is_test());
    files
        .flat_map(|file| {
            file.text_lines().filter_map(move |(line, text)| {
                let host = unknown_host(text)?;
                Some(Finding {
                    path: file.path.clone(),
                    line,
                    rule: "host",
                    what: format!("the host {host}"),
                    way_out: "use a name that resolves nowhere (….example, ….test), or add a public one in xtask/src/tidy/places.rs",
                })
            })
        })
        .collect()
}

/// What is built comes from the public registry, whoever builds it.
pub(super) fn registry(tree: &Tree) -> Vec<Finding> {
    let locked = tree.files.iter().filter(|file| file.path.ends_with("Cargo.lock")).flat_map(|file| {
        let foreign = |line: &&str| line.starts_with("source = ") && !line.contains(CRATES_IO);
        file.text_lines().filter(move |(_, line)| foreign(line)).map(move |(line, _)| (file, line))
    });
    let configured = tree.files.iter().filter(|file| file.path.ends_with(".cargo/config.toml")).flat_map(|file| {
        let replaced = |line: &&str| line.starts_with("[source") || line.starts_with("[registr");
        file.text_lines().filter(move |(_, line)| replaced(line)).map(move |(line, _)| (file, line))
    });
    locked
        .chain(configured)
        .map(|(file, line)| Finding {
            path: file.path.clone(),
            line,
            rule: "registry",
            what: "a package from somewhere else than crates.io".to_owned(),
            way_out: "keep a mirror's address in your own ~/.cargo/config.toml",
        })
        .collect()
}

fn unknown_host(text: &str) -> Option<&str> {
    text.match_indices("://").find_map(|(at, found)| {
        if !(text[..at].ends_with("http") || text[..at].ends_with("https")) {
            return None;
        }
        let rest = &text[at + found.len()..];
        let authority = rest.split(|c: char| c.is_whitespace() || "/\"'`)>?#,;|<\\".contains(c)).next().unwrap_or("");
        let host = authority.rsplit('@').next().unwrap_or("");
        let host = if host.starts_with('[') { host.split_inclusive(']').next()? } else { host.split(':').next()? };
        let known = HOSTS.contains(&host) || HOST_ENDINGS.iter().any(|ending| host.ends_with(ending));
        // A placeholder of a format string, or a host without a dot: named by whoever runs it.
        let open = host.is_empty() || host.contains(['{', '$', '(']) || (!host.contains('.') && !host.contains('['));
        (!known && !open).then_some(host)
    })
}
