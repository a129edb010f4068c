//! What the next feature costs: how many files of the product name the newest example of each kind. Must never stand for a
//! review: a file that must change without naming the example is not counted.

use std::fmt;

use super::tree::Tree;

/// One kind of feature, and what only its newest example is called by.
struct Example {
    kind: &'static str,
    name: &'static str,
    words: &'static [&'static str],
    /// The design's measure.
    most: usize,
}

const EXAMPLES: [Example; 4] = [
    Example {
        kind: "a capability on our own rows",
        name: "secrets.list",
        words: &["\"secrets.list\"", "secrets::list", "SecretsListed"],
        most: 4,
    },
    Example {
        kind: "a verb with its endpoint and command",
        name: "agent.recover",
        words: &["\"agent.recover\"", "agent::Command::Recover", "Act::Recover", "Agent::Recover", "Event::Recovered"],
        most: 8,
    },
    Example {
        kind: "an aggregate",
        name: "package",
        words: &[
            "package::Package",
            "package::Command",
            "package::Event",
            "Stream::Package",
            "Command::Package",
            "Event::Package",
            "Fold::Package",
            "Row::Package",
            "PackageRow",
            "api::package",
        ],
        most: 12,
    },
    Example {
        kind: "a stored field",
        name: "worker.host",
        words: &["host: Bound", "host: Option<Hash>", "host: \"host\""],
        most: 4,
    },
];

pub(super) struct Cost {
    example: &'static Example,
    files: Vec<String>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Example { kind, name, most, .. } = self.example;
        let over = if self.files.len() > *most { ", which is too dear" } else { "" };
        let files: Vec<&str> = self.files.iter().map(|path| path.trim_start_matches("crates/")).collect();
        write!(f, "cost: {kind} ({name}) {} files of {most}{over}: {}", files.len(), files.join(", "))
    }
}

/// The cost of each kind, in files of the product that are no tests.
pub(super) fn of(tree: &Tree) -> Vec<Cost> {
    EXAMPLES.iter().map(|example| Cost { example, files: naming(tree, example.words) }).collect()
}

fn naming(tree: &Tree, words: &[&str]) -> Vec<String> {
    let product = |path: &str| {
        path.starts_with("crates/")
            && path.contains("/src/")
            && !path.starts_with("crates/sim/")
            && !path.ends_with("tests.rs")
            && !path.ends_with("testing.rs")
    };
    tree.rust()
        .filter(|file| product(&file.path))
        .filter(|file| {
            let text = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            words.iter().any(|word| text.contains(word))
        })
        .map(|file| file.path.clone())
        .collect()
}
