//! What the YAML parser's errors mean to whoever wrote the text. Must never guess where the parser is sure: a habit of other
//! tools is named only where the text shows it.

use super::{ALIASES_MAX, DEPTH_MAX, Mark, NODES_MAX};
use crate::fault::{Code, Fault, excerpt};

/// The core schema's prefix, which `!!` stands for.
const CORE: &str = "tag:yaml.org,2002:";
/// What may stand before a value, beside a key.
const LIST_ENTRY: &str = "- ";

/// The parser reports a breached bound in more than one way; its name is in all of them.
pub(super) fn fault(message: &str, text: &str, at: Option<Mark>) -> Fault {
    let bounds = format!("at most {NODES_MAX} values, {ALIASES_MAX} anchors and as many aliases are read");
    if message.contains("Depth") || message.contains("Nesting") || message.contains("recursion limit") {
        too_deep()
    } else if message.contains("Documents {") {
        Fault::new(Code::TooMany, "a second document begins here").hint("put each manifest in a file of its own")
    } else if message.contains("Alias") || message.contains("Anchor") {
        Fault::new(Code::TooLarge, "anchors and aliases unfold to more than is read").hint(bounds)
    } else if message.contains("budget breached") {
        Fault::new(Code::TooLarge, "the manifest has more values than are read").hint(bounds)
    } else if let Some(habit) = habit(text, at) {
        habit
    } else {
        Fault::new(Code::Syntax, format!("this is not YAML: {}", without_place(message)))
    }
}

pub(super) fn too_deep() -> Fault {
    Fault::new(Code::TooDeep, format!("maps and lists nest deeper than {DEPTH_MAX}"))
}

pub(super) fn merge_key() -> Fault {
    Fault::new(Code::Syntax, "merge keys (`<<`) are not taken: what holds must stand where it holds")
        .hint("write the fields out; a whole value can be repeated by `&name` and `*name`")
}

/// A tag that would be dropped: only those that say what YAML reads anyway pass.
pub(super) fn tag(tag: &str) -> Option<Fault> {
    let core = tag.strip_prefix(CORE).or_else(|| tag.strip_prefix("!!"));
    if matches!(core, Some("str" | "map" | "seq")) {
        return None;
    }
    let shown = core.map_or_else(|| excerpt(tag), |word| excerpt(&format!("!!{word}")));
    let hint = match core {
        Some(_) => "leave the tag out: what a field takes decides how its value is read",
        None => "nothing is fetched, included or replaced in a manifest: write the value itself",
    };
    Some(Fault::new(Code::Syntax, format!("the tag {shown} means nothing here")).hint(hint))
}

/// The parsers end their sentences with the place, which a problem carries by itself.
pub(super) fn without_place(message: &str) -> &str {
    let message = message.split("\n").next().unwrap_or(message);
    message.split(" at line ").next().unwrap_or(message)
}

/// What people bring from other tools or editors, found in the text up to where the parser gave up.
fn habit(text: &str, at: Option<Mark>) -> Option<Fault> {
    let last = at.map_or(usize::MAX, |mark| usize::try_from(mark.line).unwrap_or(usize::MAX));
    let mut lines = text.lines().take(last);
    lines.find_map(|line| indented_by(line).or_else(|| braces(line)))
}

fn braces(line: &str) -> Option<Fault> {
    let mut value = line.trim_start();
    while let Some(entry) = value.strip_prefix(LIST_ENTRY) {
        value = entry.trim_start();
    }
    let value = value.split_once(": ").map_or(value, |(_, value)| value.trim_start());
    if !value.starts_with("{{") && !value.starts_with("{%") {
        return None;
    }
    let fault =
        Fault::new(Code::Syntax, format!("{} begins with a brace, which YAML reads as a mapping", excerpt(value)));
    Some(fault.hint("put the text in quotes, or under `|` on lines of its own"))
}

/// Indentation that looks like spaces and is none.
pub(crate) fn indented_by(line: &str) -> Option<Fault> {
    let odd = line
        .chars()
        .take_while(|letter| letter.is_whitespace() || *letter == '\u{feff}')
        .find(|letter| *letter != ' ')?;
    let name = match odd {
        '\t' => "a tab".to_owned(),
        '\u{a0}' => "a no-break space (U+00A0)".to_owned(),
        other if other.is_ascii() => return None,
        other => format!("the character U+{:04X}", u32::from(other)),
    };
    Some(Fault::new(Code::Syntax, format!("the line is indented by {name}")).hint("indent by plain spaces"))
}
