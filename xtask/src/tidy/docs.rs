//! Commands that the documents show exist. Looks only inside fenced blocks: prose may speak of what will come.

use super::Finding;
use super::tree::{File, Tree};

const XTASK: &str = "xtask/src/main.rs";
const ARGUMENTS: &str = "crates/cli/src/args.rs";
const VERBS: &str = "crates/cli/src/command/";

pub(super) fn commands(tree: &Tree) -> Vec<Finding> {
    let pages = tree.files.iter().filter(|file| file.path.ends_with(".md") && file.path != "CHANGELOG.md");
    pages.flat_map(|page| shown(page).filter_map(|(line, command)| missing(tree, page, line, command))).collect()
}

/// A fence in a doc comment that opens with nothing, or with words that leave it Rust.
pub(super) fn runs_an_example(file: &File) -> bool {
    let mut inside = false;
    file.path.starts_with("crates/")
        && file.path.contains("/src/")
        && file.text.lines().map(str::trim_start).any(|line| {
            let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim_start);
            let Some(words) = doc.and_then(|doc| doc.strip_prefix("```")) else { return false };
            inside = !inside;
            let rust = words.split(',').all(|word| ["", "rust", "no_run", "should_panic"].contains(&word.trim()));
            inside && rust
        })
}

/// Lines of fenced blocks that are commands.
fn shown(page: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    page.text_lines().filter_map(move |(line, text)| {
        if text.trim_start().starts_with("```") {
            inside = !inside;
            return None;
        }
        inside.then(|| (line, text.trim().trim_start_matches("$ ")))
    })
}

fn missing(tree: &Tree, page: &File, line: usize, command: &str) -> Option<Finding> {
    let mut words = command.split_whitespace();
    let (program, verb, exists) = match (words.next()?, words.next()?) {
        ("cargo", "xtask") => words.next().map(|verb| ("cargo xtask", verb, has_task(tree, verb)))?,
        ("tenure", verb) if verb.starts_with(|c: char| c.is_ascii_lowercase()) => {
            ("tenure", verb, has_verb(tree, verb))
        }
        _ => return None,
    };
    (!exists).then(|| Finding {
        path: page.path.clone(),
        line,
        rule: "shown-command",
        what: format!("`{program} {verb}` does not exist"),
        way_out: "show a command that `--help` lists",
    })
}

/// A variant of the enum of verbs: `Test` for `test`.
fn has_task(tree: &Tree, verb: &str) -> bool {
    has_variant(tree, XTASK, verb)
}

fn has_variant(tree: &Tree, path: &str, verb: &str) -> bool {
    let mut letters = verb.chars();
    let name: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let variant = |line: &str| line.strip_prefix("    ").and_then(|line| line.strip_prefix(&name)).map(str::to_owned);
    tree.get(path).is_some_and(|main| {
        main.code.lines().filter_map(variant).any(|rest| rest.starts_with([',', '(']) || rest.starts_with(" {"))
    })
}

/// A verb is a file of the command line's folder, or a folder of such; or a variant that another's file does.
fn has_verb(tree: &Tree, verb: &str) -> bool {
    let stem = format!("{VERBS}{}", verb.replace('-', "_"));
    let lies = |file: &File| file.path.strip_prefix(&stem).is_some_and(|rest| rest.starts_with(['.', '/']));
    tree.files.iter().any(lies) || has_variant(tree, ARGUMENTS, verb)
}
