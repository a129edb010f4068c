//! Each rule finds what it is for, at its line, and leaves the mended text alone.

use super::tree::{File, Tree};
use super::{Finding, RULES, check, code};

fn tree(files: &[(&str, &str)]) -> Tree {
    Tree { files: files.iter().map(|(path, text)| File::new(path, (*text).to_owned())).collect() }
}

fn found(rule: &str, path: &str, text: &str) -> Option<Finding> {
    check(&tree(&[(path, text)])).into_iter().find(|finding| finding.rule == rule && finding.path == path)
}

struct Seed {
    rule: &'static str,
    path: &'static str,
    bad: String,
    line: usize,
    mended: String,
}

fn seed(rule: &'static str, path: &'static str, bad: &str, line: usize, mended: &str) -> Seed {
    Seed { rule, path, bad: bad.to_owned(), line, mended: mended.to_owned() }
}

const STORE: &str = "[package]\nname = \"tenure-store\"\n[lints]\nworkspace = true\n[dependencies]\n";
const CORE: &str = "[package]\nname = \"tenure-core\"\n[lints]\nworkspace = true\n";

fn packages() -> Vec<Seed> {
    let store = |line: &str| format!("{STORE}{line}\n");
    let core = |rest: &str| format!("{CORE}{rest}\n");
    let path = "crates/store/Cargo.toml";
    vec![
        seed("crate-edges", path, &store("tenure-wire.workspace = true"), 6, &store("tenure-core.workspace = true")),
        seed("crate-edges", "crates/odds/Cargo.toml", &store(""), 2, "[workspace]\n"),
        seed("crate-edges", path, &store("").replace("-store", "-stores"), 2, &store("")),
        seed("crate-edges", path, &store("anyhow.workspace = true"), 6, &store("thiserror.workspace = true")),
        seed("crate-edges", "crates/core/Cargo.toml", &core("[dependencies]\ntokio.workspace = true"), 6, &core("")),
        seed(
            "crate-edges",
            "crates/core/Cargo.toml",
            &core("[dependencies]\ntenure-sim.workspace = true"),
            6,
            &core("[dev-dependencies]\ntenure-sim.workspace = true"),
        ),
        seed("crate-edges", "crates/core/src/agent.rs", "//! A.\nuse tenure_sim::World;\n", 2, "//! A.\n"),
        seed("workspace-versions", path, &store("serde = \"1\""), 6, &store("serde.workspace = true")),
        seed("lints", path, "[package]\nname = \"tenure-store\"\n", 0, STORE),
        seed(
            "lints",
            "crates/core/src/lib.rs",
            "//! Core.\n",
            0,
            "//! Core.\n#![deny(clippy::wildcard_enum_match_arm)]\n",
        ),
    ]
}

fn shapes() -> Vec<Seed> {
    let long = format!("//! Long.\n{}", "fn one() {}\n".repeat(700));
    let tested = format!("//! Long.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn one() {}\n".repeat(700));
    let root = format!("//! Root.\n#![forbid(unsafe_code)]\n{}", "pub mod one;\n".repeat(99));
    let path = "crates/store/src/row.rs";
    vec![
        seed("file-size", path, &long, 0, &tested),
        seed("root-size", "crates/store/src/lib.rs", &root, 0, "//! Root.\n#![forbid(unsafe_code)]\n"),
        seed("type-name", path, "//! R.\npub struct RowManager;\n", 2, "//! R.\npub struct Metadata;\n"),
        seed("type-name", path, "//! R.\ntrait Info {}\n", 2, "//! R.\n// struct RowInfo in prose\n"),
        seed("module-name", path, "//! R.\nmod helpers;\n", 2, "//! R.\nmod help;\n"),
        seed("function-name", path, "//! R.\nfn get_row() {}\n", 2, "//! R.\nfn row() {}\nfn get_mut() {}\n"),
        seed("charter", path, "#![forbid(unsafe_code)]\nfn row() {}\n", 1, "#![forbid(unsafe_code)]\n\n//! Rows.\n"),
    ]
}

fn deeds() -> Vec<Seed> {
    let root = "crates/store/src/lib.rs";
    let path = "crates/daemon/src/http.rs";
    let note = concat!("FIX", "ME");
    vec![
        seed("unsafe", root, "//! S.\n", 0, "//! S.\n#![forbid(unsafe_code)]\n"),
        seed("unsafe", "crates/sandbox/src/jail.rs", "//! J.\nunsafe { x() }\n", 2, "//! J.\n// unsafe in prose\n"),
        seed(
            "one-door",
            path,
            "//! H.\nfn f() {\n    txn.append(stream, events)?;\n}\n",
            3,
            "//! H.\nfn f() {\n    a.append(&mut b);\n    o.append(true);\n}\n#[cfg(test)]\nmod tests { t.append(x); }\n",
        ),
        seed("pure-core", "crates/core/src/call.rs", "//! C.\nuse std::fs;\n", 2, "//! C.\nlet x = \"std::fs\";\n"),
        seed("mark", path, "//! H.\nfn f() { todo!() }\n", 2, "//! H.\nfn f() { x(\"todo!\") }\n"),
        seed("mark", path, "//! H.\n#[allow(dead_code)]\n", 2, "//! H.\n#[expect(dead_code, reason = \"r\")]\n"),
        seed("mark", path, "//! H.\n#[ignore]\n", 2, "//! H.\n"),
        seed("mark", path, &format!("//! H.\n// {note}: later\n"), 2, "//! H.\n"),
    ]
}

fn places() -> Vec<Seed> {
    let path = "crates/daemon/src/http.rs";
    let below = |first: &str| format!("//! H.\nlet a = \"/{first}/ann/x\";\n");
    let url = |host: &str| format!("See https://{host}/x.\n");
    let crates_io = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    vec![
        seed("machine-path", path, &below("home"), 2, &below("usr")),
        seed("machine-path", path, &below("work"), 2, &below("workspace")),
        seed("machine-path", "docs/a.md", &below("root"), 2, "/etc/ssl and {root}/x and /tmp\n"),
        seed("machine-path", "tests/a.rs", &below("farm"), 2, &below("home")),
        seed("host", "README.md", &url("mirror.corp.net"), 1, &url("mirror.example")),
        seed("host", "README.md", &url("crates.io.evil.net"), 1, &url("crates.io")),
        seed("registry", "Cargo.lock", "source = \"registry+https://mirror.example/index\"\n", 1, crates_io),
        seed("registry", ".cargo/config.toml", "[source.crates-io]\n", 1, "[alias]\n"),
        seed("shown-command", "README.md", "```\ncargo xtask fly\n```\n", 2, "Prose may say `cargo xtask fly`.\n"),
        seed("shown-command", "README.md", "```\n$ tenure teleport x\n```\n", 2, "```\n$ tenure --help\n```\n"),
    ]
}

fn seeds() -> Vec<Seed> {
    [packages(), shapes(), deeds(), places()].into_iter().flatten().collect()
}

#[test]
fn each_seeded_fault_is_found_at_its_line_and_the_mended_text_passes() {
    for Seed { rule, path, bad, line, mended } in seeds() {
        let finding = found(rule, path, &bad);
        assert_eq!(finding.as_ref().map(|finding| finding.line), Some(line), "{rule} in {path}:\n{bad}");
        assert_eq!(found(rule, path, &mended), None, "{rule} in {path}:\n{mended}");
    }
}

#[test]
fn a_file_may_not_have_a_name_that_says_nothing() {
    for (path, refused) in [("util.rs", true), ("rows/mod.rs", true), ("utility.rs", false), ("rows.rs", false)] {
        let path = format!("crates/store/src/{path}");
        assert_eq!(found("module-name", &path, "//! Rows.\n").is_some(), refused, "{path}");
    }
}

#[test]
fn there_is_no_rule_that_cannot_fail() {
    let seeds: Vec<Seed> = seeds();
    for (index, rule) in RULES.iter().enumerate() {
        let fails = seeds.iter().any(|seed| !rule(&tree(&[(seed.path, &seed.bad)])).is_empty());
        assert!(fails, "no seed makes rule {index} fail");
    }
}

#[test]
fn commands_that_exist_may_be_shown() {
    let files = [
        ("README.md", "```sh\ncargo xtask demo\ntenure audit verify\n```\n"),
        ("xtask/src/main.rs", "//! X.\n#![forbid(unsafe_code)]\nenum Verb {\n    Demo,\n}\n"),
        ("crates/cli/src/command/audit.rs", "//! Audit.\n"),
    ];
    assert_eq!(check(&tree(&files)), []);
}

#[test]
fn code_is_told_from_comments_strings_and_characters() {
    let text = r##"let a = "x // y"; // unsafe
let b = r#"unsafe "q" "#; /* unsafe /* in */ unsafe */ keep();
let c = '"'; let d: &'static str = b"unsafe"; let e = '\''; last"##;
    let code = code::only(text);
    assert_eq!(code.lines().count(), 3);
    assert!(!code.contains("unsafe"), "{code}");
    for kept in ["let a", "keep();", "&'static str", "last"] {
        assert!(code.contains(kept), "{kept} is gone from {code}");
    }
}

#[test]
fn only_fences_that_rustdoc_would_run_count_as_examples() {
    let file = |text: &str| File::new("crates/store/src/row.rs", text.to_owned());
    assert!(super::docs::runs_an_example(&file("/// ```\n/// let a = 1;\n/// ```\nfn f() {}\n")));
    assert!(!super::docs::runs_an_example(&file("//! ```text\n//! a -> b\n//! ```\nfn f() {}\n")));
}
