//! Which crate may depend on which, and on what from outside. The table is the design's; no other edge is allowed.

use toml::{Table, Value};

use super::Finding;
use super::tree::{File, Tree};

struct Room {
    package: &'static str,
    folder: &'static str,
    /// Packages of ours that it may use.
    may_use: &'static [&'static str],
    /// Packages of ours that only its tests may use.
    tests_may_use: &'static [&'static str],
}

const fn room(package: &'static str, folder: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { package, folder, may_use, tests_may_use: &[] }
}

const CORE: &str = "tenure-core";
const WIRE: &str = "tenure-wire";
const STORE: &str = "tenure-store";
const SANDBOX: &str = "tenure-sandbox";
const WORKER: &str = "tenure-worker";
const DAEMON: &str = "tenure-daemon";
const POLICY: &str = "tenure-policy";
const CLI: &str = "tenure";
const LOCAL_MODEL: &str = "tenure-local-model";
const SIM: &str = "tenure-sim";
const SANDBOX_CONTROLS: &str = "tenure-sandbox-controls";
const WORKER_CONTROLS: &str = "tenure-worker-controls";

const ROOMS: [Room; 15] = [
    Room { package: CORE, folder: "crates/core", may_use: &[], tests_may_use: &[SIM] },
    room(POLICY, "crates/policy", &[CORE]),
    room(SANDBOX, "crates/sandbox", &[]),
    room(WIRE, "crates/wire", &[CORE]),
    room(STORE, "crates/store", &[CORE]),
    room(WORKER, "crates/worker", &[CORE, WIRE, SANDBOX]),
    room(DAEMON, "crates/daemon", &[CORE, POLICY, WIRE, STORE]),
    room(CLI, "crates/cli", &[CORE, WIRE, WORKER, DAEMON, SANDBOX]),
    room(LOCAL_MODEL, "crates/local-model", &[WIRE]),
    room(SIM, "crates/sim", &[CORE, WIRE, STORE, WORKER, DAEMON]),
    room(
        "tests",
        "tests",
        &[CORE, POLICY, SANDBOX_CONTROLS, WIRE, STORE, WORKER_CONTROLS, DAEMON, CLI, LOCAL_MODEL, SIM],
    ),
    // The same sources, with the switches of tests.
    room(SANDBOX_CONTROLS, "tests/controls/sandbox", &[]),
    room(WORKER_CONTROLS, "tests/controls/worker", &[CORE, WIRE, SANDBOX]),
    room("tenure-fuzz", "fuzz", &[CORE, SANDBOX, WIRE, WORKER, DAEMON]),
    room("xtask", "xtask", &[]),
];

/// Crates from outside that stay in one room: (name, packages that may use it outside their tests).
const KEPT_IN: [(&str, &[&str]); 13] = [
    ("anyhow", &[CLI, "xtask"]),
    ("argon2", &[DAEMON]),
    ("bollard", &[SANDBOX, SANDBOX_CONTROLS]),
    ("cedar-policy", &[POLICY]),
    ("chacha20poly1305", &[DAEMON]),
    ("hkdf", &[DAEMON]),
    ("landlock", &[SANDBOX, SANDBOX_CONTROLS]),
    ("libc", &[SANDBOX, SANDBOX_CONTROLS]),
    ("llama-cpp-2", &[LOCAL_MODEL]),
    ("rusqlite", &[STORE, "tests"]),
    ("seccompiler", &[SANDBOX, SANDBOX_CONTROLS]),
    ("tiktoken-rs", &[DAEMON]),
    ("zip", &["xtask"]),
];

/// Crates by which core could do IO, read a clock, make randomness or wait.
const NOT_IN_CORE: [&str; 12] = [
    "async-trait",
    "axum",
    "futures-util",
    "getrandom",
    "hyper",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "tokio",
    "tracing",
    "uuid",
];

const OUR_NAMES: &str = "tenure";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Always,
    InTests,
}

/// Every package is one that the table knows, lies where it says, and uses only what it may.
pub(super) fn crates(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, manifest) in manifests(tree) {
        let package = name(&manifest);
        let Some(room) = ROOMS.iter().find(|room| room.package == package) else {
            findings.push(at(file, package, format!("the package {package} is not in the table of crates")));
            continue;
        };
        if file.path.strip_suffix("/Cargo.toml") != Some(room.folder) {
            findings.push(at(file, package, format!("{package} belongs into {}", room.folder)));
        }
        for (used, how) in uses(&manifest) {
            if !used.starts_with(OUR_NAMES) && used != "tests" && used != "xtask" {
                continue;
            }
            let allowed = room.may_use.contains(&used.as_str())
                || (how == Use::InTests && room.tests_may_use.contains(&used.as_str()));
            if !allowed {
                findings.push(at(file, &used, format!("{package} may not depend on {used}")));
            }
        }
    }
    findings
}

/// What belongs into one room stays there, and core has nothing to do IO with.
pub(super) fn dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, manifest) in manifests(tree) {
        let package = name(&manifest);
        for (used, how) in uses(&manifest) {
            if how == Use::InTests {
                continue;
            }
            if let Some((_, rooms)) = KEPT_IN.iter().find(|(kept, rooms)| *kept == used && !rooms.contains(&package)) {
                findings.push(at(file, &used, format!("{used} belongs to {} alone", rooms.join(" and "))));
            }
            if package == CORE && NOT_IN_CORE.contains(&used.as_str()) {
                findings.push(at(file, &used, format!("{used} would let core do IO, wait or roll dice")));
            }
        }
        if let Some(own) = dependency_lines(&file.text).find(|(_, line)| names_a_version(line)) {
            findings.push(Finding {
                path: file.path.clone(),
                line: own.0,
                rule: "workspace-versions",
                what: format!("a version of its own: {}", own.1.trim()),
                way_out: "name the version once, in [workspace.dependencies], and write `….workspace = true` here",
            });
        }
    }
    findings
}

/// core may use sim from its tests folder, not from unit tests beside the code.
pub(super) fn sim_only_in_tests(tree: &Tree) -> Vec<Finding> {
    let inside = tree.rust().filter(|file| file.path.starts_with("crates/core/src/"));
    inside
        .flat_map(|file| file.code_lines().map(move |(line, code)| (file, line, code)))
        .filter(|(_, _, code)| code.contains("tenure_sim"))
        .map(|(file, line, _)| Finding {
            path: file.path.clone(),
            line,
            rule: "crate-edges",
            what: "core uses sim outside its tests folder".to_owned(),
            way_out: "move the test to crates/core/tests/",
        })
        .collect()
}

/// The workspace's lints reach every package, and core forbids the wildcard on enums.
pub(super) fn lints(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, manifest) in manifests(tree) {
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
        if inherits != Some(true) {
            findings.push(Finding {
                path: file.path.clone(),
                line: 0,
                rule: "lints",
                what: "the workspace's lints do not hold here".to_owned(),
                way_out: "add `[lints]` with `workspace = true`",
            });
        }
    }
    let wildcard = "#![deny(clippy::wildcard_enum_match_arm)]";
    if let Some(root) = tree.get("crates/core/src/lib.rs")
        && !root.code.contains(wildcard)
    {
        findings.push(Finding {
            path: root.path.clone(),
            line: 0,
            rule: "lints",
            what: "core lets a `match` on an enum end in a wildcard".to_owned(),
            way_out: "add `#![deny(clippy::wildcard_enum_match_arm)]` to the crate's root",
        });
    }
    findings
}

fn manifests(tree: &Tree) -> impl Iterator<Item = (&File, Table)> {
    tree.files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .filter_map(|file| Some((file, file.text.parse::<Table>().ok()?)))
        .filter(|(_, manifest)| manifest.contains_key("package"))
}

fn name(manifest: &Table) -> &str {
    manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str).unwrap_or("")
}

/// Names of what it depends on, by the name of the package and not by a local one.
fn uses(manifest: &Table) -> Vec<(String, Use)> {
    let mut found = Vec::new();
    collect(manifest, &mut found);
    let targets = manifest.get("target").and_then(Value::as_table);
    for target in targets.into_iter().flat_map(Table::values).filter_map(Value::as_table) {
        collect(target, &mut found);
    }
    found
}

fn collect(table: &Table, found: &mut Vec<(String, Use)>) {
    for (section, how) in
        [("dependencies", Use::Always), ("build-dependencies", Use::Always), ("dev-dependencies", Use::InTests)]
    {
        for (key, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
            let package = value.get("package").and_then(Value::as_str).unwrap_or(key);
            found.push((package.to_owned(), how));
        }
    }
}

fn dependency_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
            return None;
        }
        inside.then_some((index + 1, line))
    })
}

fn names_a_version(line: &str) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    value.starts_with('"') || value.contains("version =") || value.contains("path =") || value.contains("git =")
}

fn at(file: &File, word: &str, what: String) -> Finding {
    let line = file.text_lines().find(|(_, line)| line.contains(word)).map_or(0, |(number, _)| number);
    Finding {
        path: file.path.clone(),
        line,
        rule: "crate-edges",
        what,
        way_out: "move the code to the room that may have it; a new edge is a change of the design, made there first",
    }
}
