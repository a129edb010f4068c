//! Where each statement of a document begins. Cedar's own parser has read the document before and judges its syntax.

/// The byte at which each statement begins, in order: comments and gaps before it are not its own.
pub(crate) fn begins(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut begins, mut at, mut open) = (Vec::new(), 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| at + end);
                continue;
            }
            byte if byte.is_ascii_whitespace() => {}
            b';' => open = false,
            byte => {
                if !open {
                    begins.push(at);
                    open = true;
                }
                if byte == b'"' {
                    at = string_end(bytes, at);
                }
            }
        }
        at += 1;
    }
    begins
}

/// The closing quote of the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_begin_at_their_first_word_whatever_comments_and_strings_hold() {
        let text = "// a; permit\n@id(\"a;\\\"b\")\npermit(principal, action, resource); // x;\n\n  forbid(principal, action, resource) when { \"//;\" == \"\" };";
        let words: Vec<&str> = begins(text).into_iter().map(|at| &text[at..at + 3]).collect();
        assert_eq!(words, ["@id", "for"]);
        assert!(begins(" // nothing").is_empty());
    }
}
