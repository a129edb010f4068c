//! Where each statement of a document begins and ends. Cedar's own parser has read the document before and judges its syntax.

/// The byte at which each statement begins, in order: comments and gaps before it are not its own.
pub(crate) fn begins(text: &str) -> Vec<usize> {
    spans(text).into_iter().map(|(begin, _)| begin).collect()
}

/// The byte at which each statement begins, and that of the `;` that ends it.
pub(crate) fn spans(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let (mut spans, mut at, mut open): (Vec<(usize, usize)>, _, _) = (Vec::new(), 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| at + end);
                continue;
            }
            byte if byte.is_ascii_whitespace() => {}
            b';' => {
                if let Some((_, end)) = spans.last_mut().filter(|_| open) {
                    *end = at;
                }
                open = false;
            }
            byte => {
                if !open {
                    spans.push((at, bytes.len()));
                    open = true;
                }
                if byte == b'"' {
                    at = string_end(bytes, at);
                }
            }
        }
        at += 1;
    }
    spans
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
        let ends: Vec<&str> = spans(text).into_iter().map(|(_, end)| &text[end - 1..=end]).collect();
        assert_eq!((ends, text.len()), (vec![");", "};"], spans(text)[1].1 + 1));
        assert!(begins(" // nothing").is_empty());
    }
}
