//! What may stand in Rust code, and where: `unsafe`, the door to the ledger, IO in core, leftover marks, charters.

use super::Finding;
use super::tree::{File, Tree};

const FORBID: &str = "#![forbid(unsafe_code)]";
const DOOR: &str = "crates/daemon/src/commit.rs";
const DOORS_PARTS: &str = "crates/daemon/src/commit/";

/// Only the sandbox has `unsafe`, and only in its room for system calls.
pub(super) fn unsafe_code(tree: &Tree) -> Vec<Finding> {
    let roots = tree.rust().filter(|file| is_root(&file.path) && !file.path.starts_with("crates/sandbox/"));
    let missing = roots.filter(|file| !file.code.contains(FORBID)).map(|file| Finding {
        path: file.path.clone(),
        line: 0,
        rule: "unsafe",
        what: "the crate's root does not forbid unsafe code".to_owned(),
        way_out: "add `#![forbid(unsafe_code)]` under the charter",
    });
    let sandbox = tree.rust().filter(|file| file.path.starts_with("crates/sandbox/src/"));
    let outside = sandbox.filter(|file| !file.path.starts_with("crates/sandbox/src/sys")).flat_map(|file| {
        lines_with(file, |code| words(code).any(|word| word == "unsafe")).map(|line| Finding {
            path: file.path.clone(),
            line,
            rule: "unsafe",
            what: "unsafe code outside the room for system calls".to_owned(),
            way_out: "wrap the call safely in crates/sandbox/src/sys.rs",
        })
    });
    missing.chain(outside).collect()
}

fn is_root(path: &str) -> bool {
    let ours = path.starts_with("crates/") || path.starts_with("xtask/");
    ours && (path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs") || path.contains("/src/bin/"))
        || path == "tests/lib.rs"
}

/// Records are appended in one file: no event, no action, and nothing beside the decision. The table of crates lets only
/// the daemon reach the store.
pub(super) fn one_door(tree: &Tree) -> Vec<Finding> {
    let others = tree.rust().filter(|file| {
        file.path.starts_with("crates/daemon/")
            && file.path != DOOR
            && !file.path.starts_with(DOORS_PARTS)
            && !file.is_test()
    });
    others
        .flat_map(|file| {
            let until = file.tests_from();
            lines_with(file, appends_a_record).filter(move |line| *line < until).map(|line| Finding {
                path: file.path.clone(),
                line,
                rule: "one-door",
                what: "an append outside the door".to_owned(),
                way_out: "send a command through crates/daemon/src/commit.rs; join vectors with `extend`",
            })
        })
        .collect()
}

/// `.append(…)` that is neither a vector's nor the way to open a file.
fn appends_a_record(code: &str) -> bool {
    code.match_indices(".append(").any(|(at, found)| {
        let argument = code[at + found.len()..].trim_start();
        !(argument.starts_with("true)") || argument.starts_with("false)") || argument.starts_with("&mut "))
    })
}

const IO: [&str; 18] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "stdin()",
    "stdout()",
    "stderr()",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "async fn",
    "thread_rng",
    "println!",
];

/// core has no IO, clock, randomness or async.
pub(super) fn pure_core(tree: &Tree) -> Vec<Finding> {
    let core = tree.rust().filter(|file| file.path.starts_with("crates/core/src/"));
    core.flat_map(|file| {
        file.code_lines().filter_map(move |(line, code)| {
            let found = IO.iter().find(|word| code.contains(*word))?;
            Some(Finding {
                path: file.path.clone(),
                line,
                rule: "pure-core",
                what: format!("`{found}` in core"),
                way_out: "take it as an argument, or do it in a reconciler that reports by command",
            })
        })
    })
    .collect()
}

/// Marks of work not done, each with its way out.
const MARKS: [(&str, &str); 6] = [
    ("todo!", "build it, or refuse it at run time with a clear error"),
    ("unimplemented!", "build it, or refuse it at run time with a clear error"),
    ("dbg!", "remove it; what is worth telling goes through tracing"),
    ("#[ignore", "make the test pass or remove it; a test that needs a feature of the host says so when it is missing"),
    ("#[allow(", "mend what the lint says, or `#[expect(lint, reason = …)]`"),
    ("#![allow(", "mend what the lint says, or `#![expect(lint, reason = …)]`"),
];
/// Split, so that this file does not find itself.
const NOTES: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

pub(super) fn marks(tree: &Tree) -> Vec<Finding> {
    let in_code = tree.rust().flat_map(|file| {
        file.code_lines().filter_map(move |(line, code)| {
            let (mark, way_out) = MARKS.iter().find(|(mark, _)| code.contains(mark))?;
            Some(Finding { path: file.path.clone(), line, rule: "mark", what: format!("`{mark}`"), way_out })
        })
    });
    let in_text = tree.rust().flat_map(|file| {
        file.text_lines().filter_map(move |(line, text)| {
            let note = NOTES.iter().find(|note| words(text).any(|word| word == **note))?;
            Some(Finding {
                path: file.path.clone(),
                line,
                rule: "mark",
                what: format!("`{note}`"),
                way_out: "do it now, or write an issue and no mark",
            })
        })
    });
    in_code.chain(in_text).collect()
}

/// A module opens with what it is and what it must never do.
pub(super) fn charters(tree: &Tree) -> Vec<Finding> {
    let ours = tree.rust().filter(|file| file.path.contains("/src/") && !file.is_test() && !file.is_generated());
    ours.filter(|file| !file.text.trim().is_empty() && !opens_with_charter(&file.text))
        .map(|file| Finding {
            path: file.path.clone(),
            line: 1,
            rule: "charter",
            what: "the module does not say what it is".to_owned(),
            way_out: "open it with `//!`: what it is, and what it must never do",
        })
        .collect()
}

fn opens_with_charter(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("#!["));
    lines.next().is_some_and(|line| line.starts_with("//!"))
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn lines_with(file: &File, found: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
    file.code_lines().filter(move |(_, code)| found(code)).map(|(line, _)| line)
}
