//! Names that say nothing: type endings, module names, `get_`.

use super::Finding;
use super::tree::{File, Tree};

const TYPE_ENDINGS: [&str; 10] =
    ["Manager", "Service", "Handler", "Helper", "Util", "Processor", "Impl", "Base", "Info", "Data"];
const MODULES: [&str; 9] = ["util", "utils", "common", "misc", "helper", "helpers", "types", "manager", "managers"];
const DEFINING: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

pub(super) fn types(tree: &Tree) -> Vec<Finding> {
    defined(tree, &DEFINING)
        // What a trait of others wants its associated type to be called.
        .filter(|(_, _, name)| *name != "Data")
        .filter_map(|(file, line, name)| {
            let ending = TYPE_ENDINGS.iter().find(|ending| name.ends_with(*ending))?;
            Some(Finding {
                path: file.path.clone(),
                line,
                rule: "type-name",
                what: format!("`{name}` ends in {ending}"),
                way_out: "name the noun that it owns (docs/glossary.md), or make it a function",
            })
        })
        .collect()
}

pub(super) fn modules(tree: &Tree) -> Vec<Finding> {
    let way_out = "name what the code is about; what belongs nowhere has no room yet";
    let declared = defined(tree, &["mod"]).filter(|(_, _, name)| MODULES.contains(name)).map(|(file, line, name)| {
        let what = format!("a module named `{name}`");
        Finding { path: file.path.clone(), line, rule: "module-name", what, way_out }
    });
    let on_disk = tree.rust().filter_map(|file| {
        let stem = file.path.rsplit('/').next()?.strip_suffix(".rs")?;
        let what = match stem {
            "mod" => "a mod.rs".to_owned(),
            banned if MODULES.contains(&banned) => format!("a module named `{banned}`"),
            _ => return None,
        };
        let way_out = if stem == "mod" { "call it foo.rs, beside the folder foo/" } else { way_out };
        Some(Finding { path: file.path.clone(), line: 0, rule: "module-name", what, way_out })
    });
    declared.chain(on_disk).collect()
}

/// Which traits of others have.
const FOREIGN: [&str; 3] = ["get_mut", "get_info", "get_prompt"];

pub(super) fn functions(tree: &Tree) -> Vec<Finding> {
    defined(tree, &["fn"])
        .filter(|(_, _, name)| name.starts_with("get_") && !FOREIGN.contains(name) && !name.starts_with("get_or"))
        .map(|(file, line, name)| Finding {
            path: file.path.clone(),
            line,
            rule: "function-name",
            what: format!("`{name}` begins with get_"),
            way_out: "name what it answers",
        })
        .collect()
}

/// Names that follow one of the keywords, with file and line.
fn defined<'t>(tree: &'t Tree, keywords: &'t [&str]) -> impl Iterator<Item = (&'t File, usize, &'t str)> {
    tree.rust().flat_map(move |file| {
        file.code_lines().filter_map(move |(line, code)| {
            let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
            words.find(|word| keywords.contains(word))?;
            Some((file, line, words.next()?))
        })
    })
}
