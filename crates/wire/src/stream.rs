//! What crosses the link of one program's HTTP exchange on its jail's model listener: the worker reads and writes HTTP, here are only
//! its parts, as text. Each direction has a window: a side sends no more than the other side has given it room for, so that one slow
//! stream stalls nothing else on the link.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tenure_core::call::Holder;

/// Room that each side of a stream has at its beginning.
pub const WINDOW: usize = 64 * 1024;
/// Bytes of one part's text; what is left of the window may be less.
pub const PART_BYTES_MAX: usize = 16 * 1024;
/// A part takes at least so much of the window, so that no more than `PARTS_MAX` wait, however short they are.
const PART_ROOM_MIN: usize = 512;
/// Parts with text that may be under way in one direction.
pub const PARTS_MAX: usize = WINDOW / PART_ROOM_MIN;
/// Streams of one jail that are open at a time.
pub const STREAMS_MAX: usize = 32;
/// Of the body of a request: long conversations, and images in them.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const PATH_BYTES_MAX: usize = 512;
pub const HEADER_BYTES_MAX: usize = 512;
/// Of a request, the headers that mean something to whoever answers.
pub const HEADERS: [&str; 9] = [
    "accept",
    "content-type",
    "anthropic-version",
    "anthropic-beta",
    "last-event-id",
    "mcp-method",
    "mcp-protocol-version",
    "mcp-session-id",
    "user-agent",
];

/// What a part with this text takes of the window.
pub fn room(text: &str) -> usize {
    text.len().max(PART_ROOM_MIN)
}

/// The longest beginning of `text` that makes one part.
pub fn part(text: &str) -> (&str, &str) {
    text.split_at(text.floor_char_boundary(PART_BYTES_MAX))
}

/// Whose jail a stream comes from. The worker says so by the listener that it came by; nothing that a program sends does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStream {
    pub holder: Holder,
    /// Which jail of its holder.
    pub iteration: u32,
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

/// From the program to whoever answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum FromProgram {
    Open(Box<OpenStream>),
    /// Of the body.
    Data {
        text: String,
    },
    /// The request is whole.
    End,
    /// It took so much of the answer.
    Credit {
        room: usize,
    },
    /// It went away; nothing more is sent to it.
    Close,
}

/// To the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum ToProgram {
    Head {
        status: u16,
        headers: BTreeMap<String, String>,
    },
    Data {
        text: String,
    },
    /// The answer is whole.
    End,
    /// So much of the request was taken.
    Credit {
        room: usize,
    },
    /// The answer breaks off.
    Close,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parted_between_letters_and_a_short_part_takes_the_least_room() {
        let text = "é".repeat(PART_BYTES_MAX);
        let (first, rest) = part(&text);
        assert_eq!(first.len(), PART_BYTES_MAX);
        assert_eq!(rest.len(), PART_BYTES_MAX);
        let odd = format!("a{text}");
        assert_eq!(part(&odd).0.len(), PART_BYTES_MAX - 1, "a letter is never cut");
        assert_eq!(room("x") * PARTS_MAX, WINDOW);
    }
}
