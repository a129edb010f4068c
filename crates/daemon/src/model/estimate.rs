//! Tokens of a text where a provider does not count them. An estimate: each model cuts text in its own way, and what is
//! counted here is marked as estimated wherever it is shown. It makes no limit exact, but none inert.

use super::request::{Message, Part, Request, ToolCall};
use std::fmt::Write;

/// Bytes that are counted in one piece, so that no text makes the tokenizer slow.
const PIECE_BYTES: usize = 1024;
/// Pieces of one text that are counted; of a longer text every n-th stands for its neighbours.
const PIECES_MAX: usize = 128;
/// Tokens that a chat adds to each message for its role and borders.
const MESSAGE_TOKENS: u64 = 4;

/// Tokens of all that a request says.
pub(super) fn request(request: &Request) -> u64 {
    let mut text = request.system.clone();
    for tool in &request.tools {
        let _ = write!(text, "\n{}\n{}\n{}", tool.name, tool.description, tool.schema);
    }
    for message in &request.messages {
        match message {
            Message::User { text: said } => text.push_str(said),
            Message::Parts { parts } => parts.iter().filter_map(Part::text).for_each(|said| text.push_str(said)),
            Message::Assistant { text: said, calls, .. } => {
                text.push_str(said);
                push_calls(&mut text, calls);
            }
            Message::Tool { content, .. } => text.push_str(content),
        }
        text.push('\n');
    }
    let messages = u64::try_from(request.messages.len() + 1).unwrap_or(u64::MAX);
    tokens(&text).saturating_add(messages.saturating_mul(MESSAGE_TOKENS))
}

/// Tokens of an answer with all that it asks for and what it thought.
pub(super) fn answer(text: &str, thought: &str, calls: &[ToolCall]) -> u64 {
    let mut all = format!("{text}\n{thought}");
    push_calls(&mut all, calls);
    tokens(&all).max(1)
}

fn push_calls(text: &mut String, calls: &[ToolCall]) {
    for call in calls {
        let _ = write!(text, "\n{} {}", call.name, call.arguments);
    }
}

fn tokens(text: &str) -> u64 {
    let pieces = pieces(text);
    let step = pieces.len().div_ceil(PIECES_MAX).max(1);
    let encoder = tiktoken_rs::cl100k_base_singleton();
    let counted: Vec<&str> = pieces.iter().copied().step_by(step).collect();
    let found: usize = counted.iter().map(|piece| encoder.encode_ordinary(piece).len()).sum();
    let bytes: usize = counted.iter().map(|piece| piece.len()).sum();
    if bytes == 0 {
        return 0;
    }
    // As many for each byte as in what was counted.
    u64::try_from((found as u128 * text.len() as u128).div_ceil(bytes as u128)).unwrap_or(u64::MAX)
}

fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::with_capacity(text.len() / PIECE_BYTES + 1);
    while !text.is_empty() {
        let mut end = text.len().min(PIECE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, rest) = text.split_at(end);
        pieces.push(piece);
        text = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_about_as_many_tokens_as_its_words_have() {
        assert_eq!(tokens(""), 0);
        assert_eq!(tokens("hello world"), 2);
        let long = "the quick brown fox jumps over the lazy dog. ".repeat(20_000);
        let expected = 10 * 20_000;
        assert!((expected * 9 / 10..expected * 12 / 10).contains(&tokens(&long)), "{}", tokens(&long));
    }

    #[test]
    fn no_text_makes_the_count_slow_or_fail() {
        for hostile in ["a", " ", "\n", "\u{10ffff}", "🧑‍🚀", "1", "'"] {
            assert!(tokens(&hostile.repeat(1_000_000)) > 0, "{hostile:?}");
        }
    }
}
