//! Quotes that a model forgets to escape. Pure.
//!
//! A small model that writes a program into a JSON string now and then writes `"` where `\"` is due. The grammar takes it
//! for the end of the string, and the file is cut in the midst of a line. What the model wants to write next tells the
//! two apart: after a true end it wants `}`, `]`, `,` or nothing.

/// What to write instead of the likeliest token, which the grammar refuses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// This text goes on.
    Instead(String),
    /// The last token goes, and this text goes on.
    Undo(String),
}

/// `raw` is the answer so far, `last` the text of its last token, `wanted` that of the refused one.
pub(crate) fn of(raw: &str, last: &str, wanted: &str) -> Option<Repair> {
    if in_string(raw) {
        let (before, after) = wanted.split_once('"')?;
        let plain = !before.ends_with('\\') && !after.contains(['"', '\\']) && goes_on(after);
        return plain.then(|| Repair::Instead(format!("{before}\\\"{after}")));
    }
    let before = last.strip_suffix('"')?;
    let value = raw.ends_with(last) && in_string(&raw[..raw.len() - last.len()]);
    (value && !before.contains(['"', '\\']) && goes_on(wanted)).then(|| Repair::Undo(format!("{before}\\\"")))
}

/// Whether `text` is no JSON that may follow a string.
fn goes_on(text: &str) -> bool {
    text.trim_start().chars().next().is_some_and(|c| !matches!(c, '}' | ']' | ',' | ':' | '"'))
}

fn in_string(raw: &str) -> bool {
    let mut inside = false;
    let mut escaped = false;
    for c in raw.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = inside,
            '"' => inside = !inside,
            _ => {}
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_that_opens_within_a_program_is_escaped_after_the_fact() {
        let undo = |text: &str| Some(Repair::Undo(text.into()));
        assert_eq!(of(r#"{"content": "print(f""#, r#"(f""#, "Total"), undo(r#"(f\""#));
        assert_eq!(of(r#"{"content": "print(""#, r#"""#, " Total"), undo(r#"\""#));
    }

    #[test]
    fn a_quote_that_closes_within_a_program_is_escaped_on_the_way() {
        let instead = Some(Repair::Instead(r#"\")"#.into()));
        assert_eq!(of(r#"{"content": "print(\"Total"#, "Total", r#"")"#), instead);
    }

    #[test]
    fn a_true_end_is_left_alone() {
        for wanted in ["}", ", ", "\n}", "\n", "", "]"] {
            assert_eq!(of(r#"{"content": "x = 1""#, r#"1""#, wanted), None, "{wanted:?}");
        }
        assert_eq!(of(r#"{"content": "x = 1"}"#, r#""}"#, "x"), None);
        assert_eq!(of(r#"{"content": "a"#, "a", "\n"), None);
        assert_eq!(of(r#"{"content": ""#, r#" ""#, "x"), None, "the quote that opens the value");
    }
}
