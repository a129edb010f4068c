//! What the compiler cannot check: the shape of the house. Each rule is a function from the tracked files to findings; a
//! finding names file, line, rule and the way out. Must never touch a file, run a build, or take a second.

use std::fmt;
use std::path::Path;

use anyhow::Result;

mod tree;
mod code;
mod edges;
mod sizes;
mod names;
mod source;
mod places;
mod docs;
mod cost;

use tree::Tree;

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 speaks of the whole file.
    line: usize,
    rule: &'static str,
    what: String,
    way_out: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, what, way_out } = self;
        write!(f, "{path}")?;
        if *line > 0 {
            write!(f, ":{line}")?;
        }
        write!(f, ": [{rule}] {what}\n    way out: {way_out}")
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [Rule; 18] = [
    edges::crates,
    edges::dependencies,
    edges::sim_only_in_tests,
    edges::lints,
    sizes::files,
    sizes::roots,
    names::types,
    names::modules,
    names::functions,
    source::unsafe_code,
    source::one_door,
    source::pure_core,
    source::marks,
    source::charters,
    places::machine_paths,
    places::hosts,
    places::registry,
    docs::commands,
];

/// Prints what the next feature costs and what is to be mended; whether there is nothing.
pub(crate) fn holds(root: &Path) -> Result<bool> {
    let tree = Tree::tracked(root)?;
    for cost in cost::of(&tree) {
        println!("{cost}");
    }
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        println!("tidy: {} to mend", findings.len());
    }
    Ok(findings.is_empty())
}

/// Whether any library's documentation holds an example that rustdoc would run.
pub(crate) fn has_doc_tests(root: &Path) -> Result<bool> {
    Ok(Tree::tracked(root)?.rust().any(docs::runs_an_example))
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort_by(|a, b| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)));
    findings
}

#[cfg(test)]
mod tests;
