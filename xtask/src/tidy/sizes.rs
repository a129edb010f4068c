//! How long a file may be. A function's length is clippy's to check.

use super::Finding;
use super::tree::Tree;

const FILE_LINES_MAX: usize = 700;
const ROOT_LINES_MAX: usize = 100;

pub(super) fn files(tree: &Tree) -> Vec<Finding> {
    let ours = tree.rust().filter(|file| !file.is_test() && !file.is_generated());
    ours.filter_map(|file| {
        let lines = file.tests_from() - 1;
        (lines > FILE_LINES_MAX).then(|| Finding {
            path: file.path.clone(),
            line: 0,
            rule: "file-size",
            what: format!("{lines} lines without its tests, at most {FILE_LINES_MAX}"),
            way_out: "cut it by part, each part a file of its own (`foo.rs` and `foo/`)",
        })
    })
    .collect()
}

/// Its root is the composition of its parts.
const COMPOSED: &str = "crates/daemon/src/lib.rs";

/// A crate's root says what is there and holds no logic.
pub(super) fn roots(tree: &Tree) -> Vec<Finding> {
    let root = |path: &str| path.starts_with("crates/") && path.ends_with("/src/lib.rs") && path != COMPOSED;
    let libraries = tree.rust().filter(|file| root(&file.path));
    libraries
        .filter_map(|file| {
            let lines = file.tests_from() - 1;
            (lines > ROOT_LINES_MAX).then(|| Finding {
                path: file.path.clone(),
                line: 0,
                rule: "root-size",
                what: format!("{lines} lines in a crate's root, at most {ROOT_LINES_MAX}"),
                way_out: "give the code a module; the root is charter and `mod` lines in reading order",
            })
        })
        .collect()
}
