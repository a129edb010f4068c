//! The JSON that a model's output holds: all of it, or what stands in a fence or behind the reasoning before it. Models
//! that are asked for JSON write it so. Nothing is mended: what is taken is JSON as it stands.

use serde_json::Value;

/// Places that are tried.
const TRIES_MAX: usize = 64;
const FENCE: &str = "```";

/// # Errors
/// Why the whole is no JSON, where no part is either.
pub(super) fn find(text: &str) -> Result<Value, serde_json::Error> {
    let whole = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let answer = behind_reasoning(text);
    let parts = std::iter::once(answer.trim()).chain(fenced(answer)).chain(to_the_end(answer));
    parts.take(TRIES_MAX).find_map(|part| serde_json::from_str(part).ok()).ok_or(whole)
}

fn behind_reasoning(text: &str) -> &str {
    let ends = ["</think>", "</thinking>", "</reasoning>"];
    let end = ends.iter().filter_map(|end| text.rfind(end).map(|place| place + end.len())).max();
    &text[end.unwrap_or(0)..]
}

/// Blocks within fences, the last first, each without the word behind its fence.
fn fenced(text: &str) -> impl Iterator<Item = &str> {
    let mut parts: Vec<&str> = text.split(FENCE).collect();
    // Every second part is within; the last one is not when its fence was never closed.
    if parts.len().is_multiple_of(2) {
        parts.pop();
    }
    let within = parts.into_iter().skip(1).step_by(2).map(|block| match block.split_once('\n') {
        Some((word, rest)) if !word.trim_start().starts_with(['{', '[', '"']) => rest.trim(),
        Some(_) | None => block.trim().trim_start_matches("json").trim(),
    });
    within.collect::<Vec<_>>().into_iter().rev()
}

/// What begins a line like JSON and goes on to the end.
fn to_the_end(text: &str) -> impl Iterator<Item = &str> {
    let mut place = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let begin = place;
        place += line.len();
        line.trim_start().starts_with(['{', '[']).then(|| text[begin..].trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_in_a_fence_or_behind_reasoning_is_found_and_other_words_are_not() {
        let wanted = json!({"ok": true});
        for text in [
            "{\"ok\": true}",
            "```json\n{\"ok\": true}\n```",
            "```\n{\"ok\": true}\n```\n",
            "```{\"ok\": true}```",
            "Here it is:\n```json\n{\"ok\": true}\n```\nDone.",
            "First {\"ok\": false}:\n```json\n{\"ok\": false}\n```\nNo, rather:\n```json\n{\"ok\": true}\n```",
            "<think>maybe {\"ok\": false}?</think>\n{\"ok\": true}",
            "<think>hm</think>```json\n{\"ok\": true}\n```",
            "I thought about it.\n\n{\n  \"ok\": true\n}",
        ] {
            assert_eq!(find(text).unwrap(), wanted, "{text}");
        }
        for text in ["", "ok", "```json\n{\"ok\": tru\n```", "{\"ok\": true} and more", "{'ok': True}"] {
            assert!(find(text).is_err(), "{text}");
        }
        assert!(find(&"{\n".repeat(100_000)).is_err(), "and it comes to an end");
    }
}
