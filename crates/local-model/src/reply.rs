//! What the model wrote, as an outcome. Pure.

use serde::Deserialize;
use tenure_wire::local::{Call, Outcome};

use crate::grammar::ANSWER_HEAD;

/// A tail this long that goes round in a period no longer than its third is a circle, in tokens.
const CIRCLE_TOKENS: usize = 192;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    arguments: serde_json::Value,
}

/// Reads a whole constrained answer.
///
/// # Errors
/// A sentence, when `raw` is not whole.
pub(crate) fn read(raw: &str) -> Result<Outcome, String> {
    if raw.starts_with(ANSWER_HEAD) {
        let line: Line = serde_json::from_str(raw).map_err(|e| format!("the answer is not whole: {e}"))?;
        let text = line.arguments["text"].as_str().ok_or("the answer has no text")?;
        return Ok(Outcome::Answer { text: text.to_owned() });
    }
    let calls = raw.lines().map(|line| {
        let Line { name, arguments } = serde_json::from_str(line).map_err(|e| format!("a call is not whole: {e}"))?;
        Ok(Call { name, arguments })
    });
    let calls = calls.collect::<Result<Vec<_>, String>>()?;
    if calls.is_empty() { Err("nothing was answered".into()) } else { Ok(Outcome::Calls { calls }) }
}

/// The text of a final answer as far as `raw` has it: `None` while it may still become, or is, a call.
pub(crate) fn answer_so_far(raw: &str) -> Option<String> {
    let body = raw.strip_prefix(ANSWER_HEAD)?;
    let mut whole = 0;
    let mut escape = 0;
    for (at, c) in body.char_indices() {
        match (escape, c) {
            (0, '"') => break,
            (0, '\\') => escape = 1,
            (1, 'u') => escape = 5,
            (0 | 1, _) => escape = 0,
            (n, _) => escape = if n == 2 { 0 } else { n - 1 },
        }
        if escape == 0 {
            whole = at + c.len_utf8();
        }
    }
    // An escaped pair of surrogates may be half here: then nothing new until the rest comes.
    serde_json::from_str(&format!("\"{}\"", &body[..whole])).ok()
}

/// Whether `raw` can no longer become a final text.
pub(crate) fn is_call(raw: &str) -> bool {
    !raw.starts_with(ANSWER_HEAD) && !ANSWER_HEAD.starts_with(raw)
}

/// Whether the end of `tokens` goes round in a circle.
pub(crate) fn circles<T: PartialEq>(tokens: &[T]) -> bool {
    let Some(start) = tokens.len().checked_sub(CIRCLE_TOKENS) else { return false };
    let tail = &tokens[start..];
    (1..=CIRCLE_TOKENS / 3).any(|period| tail.iter().zip(&tail[period..]).all(|(a, b)| a == b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_lines_are_several_calls_and_an_answer_is_a_text() {
        let raw = "{\"name\": \"a\", \"arguments\": {\"x\": 1}}\n{\"name\":\"b\",\"arguments\":{}}";
        let calls = vec![
            Call { name: "a".into(), arguments: json!({"x": 1}) },
            Call { name: "b".into(), arguments: json!({}) },
        ];
        assert_eq!(read(raw), Ok(Outcome::Calls { calls }));
        let raw = format!("{ANSWER_HEAD}done\\n\"}}}}");
        assert_eq!(read(&raw), Ok(Outcome::Answer { text: "done\n".into() }));
    }

    #[test]
    fn a_cut_answer_is_no_outcome() {
        assert!(read(&format!("{ANSWER_HEAD}half")).is_err());
        assert!(read(r#"{"name": "a", "arguments": {"x""#).is_err());
        assert!(read("").is_err());
    }

    #[test]
    fn the_text_streams_whole_characters_at_every_cut() {
        let text = "a \"q\" \\ \n é 😀 end";
        let raw = format!("{ANSWER_HEAD}{}", &json!(text).to_string()[1..]);
        let escaped = format!("{ANSWER_HEAD}a \\\"q\\\" \\\\ \\n \\u00e9 \\ud83d\\ude00 end\"}}}}");
        for raw in [raw + "}}", escaped] {
            let mut last = String::new();
            for cut in (0..=raw.len()).filter(|cut| raw.is_char_boundary(*cut)) {
                if let Some(now) = answer_so_far(&raw[..cut]) {
                    assert!(now.starts_with(&last), "{now:?} after {last:?}");
                    last = now;
                }
            }
            assert_eq!(last, text);
        }
        assert!(is_call("{\"name\": \"ab"));
        assert!(!is_call("{\"name\": \"a"));
    }

    #[test]
    fn a_circle_is_seen_and_plain_text_is_none() {
        let round: Vec<usize> = (0..400).map(|n| n % 7).collect();
        assert!(circles(&round));
        assert!(!circles(&round[..100]));
        assert!(!circles(&(0..400).collect::<Vec<usize>>()));
    }
}
