//! An answer as it is written: its tokens, its text, and how much of it the watch has had.

use llama_cpp_2::token::LlamaToken;
use tenure_wire::local::{Outcome, Part};

use crate::engine::Watch;
use crate::reply;

pub(crate) struct Draft {
    tokens: Vec<LlamaToken>,
    raw: String,
    /// Bytes of a character that is not whole yet.
    half: Vec<u8>,
    constrained: bool,
    shown: usize,
}

impl Draft {
    /// A constrained draft begins with the head that every such answer has; without one it is free text.
    pub(crate) fn new(head: Vec<(LlamaToken, Vec<u8>)>) -> Self {
        let constrained = !head.is_empty();
        let mut draft = Self { tokens: Vec::new(), raw: String::new(), half: Vec::new(), constrained, shown: 0 };
        for (token, bytes) in head {
            draft.take(token, &bytes);
        }
        draft
    }

    pub(crate) fn tokens(&self) -> &[LlamaToken] {
        &self.tokens
    }

    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }

    /// # Errors
    /// A sentence, when a constrained answer is not whole.
    pub(crate) fn outcome(&self) -> Result<Outcome, String> {
        if self.constrained { reply::read(&self.raw) } else { Ok(Outcome::Answer { text: self.raw.clone() }) }
    }

    /// Whether nothing may follow.
    pub(crate) fn is_whole(&self, calls_max: u32) -> bool {
        self.constrained
            && self.raw.ends_with('}')
            && match self.outcome() {
                Ok(Outcome::Answer { .. }) => true,
                Ok(Outcome::Calls { calls }) => u32::try_from(calls.len()).unwrap_or(u32::MAX) >= calls_max,
                Err(_) => false,
            }
    }

    pub(crate) fn push(&mut self, token: LlamaToken, bytes: &[u8], watch: &mut impl Watch) {
        self.take(token, bytes);
        if !self.constrained {
            self.show(Part::Answer, self.raw.len(), self.raw[self.shown..].to_owned(), watch);
        } else if let Some(text) = reply::answer_so_far(&self.raw) {
            self.show(Part::Answer, text.len(), text[self.shown..].to_owned(), watch);
        } else if reply::is_call(&self.raw) {
            self.show(Part::Calls, self.raw.len(), self.raw[self.shown..].to_owned(), watch);
        }
    }

    /// Takes the last token back, whose text is `piece`.
    pub(crate) fn pop(&mut self, piece: &str) {
        debug_assert!(self.half.is_empty() && self.raw.ends_with(piece));
        self.tokens.pop();
        self.raw.truncate(self.raw.len() - piece.len());
        self.shown = self.shown.min(self.raw.len());
    }

    fn take(&mut self, token: LlamaToken, bytes: &[u8]) {
        self.tokens.push(token);
        self.half.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.half) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.half.len(),
        };
        let rest = self.half.split_off(whole);
        self.raw.push_str(&String::from_utf8_lossy(&self.half));
        self.half = rest;
    }

    fn show(&mut self, part: Part, shown: usize, piece: String, watch: &mut impl Watch) {
        if !piece.is_empty() {
            watch.piece(part, &piece);
            self.shown = shown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Failure;
    use crate::grammar::{ANSWER_HEAD, HEAD};

    #[derive(Default)]
    struct Seen(Vec<(Part, String)>);

    impl Watch for Seen {
        fn stop(&self) -> Option<Failure> {
            None
        }

        fn piece(&mut self, part: Part, piece: &str) {
            self.0.push((part, piece.to_owned()));
        }
    }

    fn written(head: &str, text: &str) -> (Draft, Seen) {
        let mut seen = Seen::default();
        let head = head.bytes().map(|b| (LlamaToken(i32::from(b)), vec![b])).collect();
        let mut draft = Draft::new(head);
        for byte in text.bytes() {
            draft.push(LlamaToken(i32::from(byte)), &[byte], &mut seen);
        }
        (draft, seen)
    }

    #[test]
    fn an_answer_streams_as_text_and_ends_with_its_brace() {
        let (draft, seen) = written(HEAD, &format!("{}é\\n!\"}}}}", &ANSWER_HEAD[HEAD.len()..]));
        let text: String = seen.0.iter().map(|(_, piece)| piece.as_str()).collect();
        assert_eq!(text, "é\n!");
        assert!(seen.0.iter().all(|(part, _)| *part == Part::Answer));
        assert!(draft.is_whole(4));
    }

    #[test]
    fn calls_stream_raw_and_end_when_no_more_may_follow() {
        let (draft, seen) = written(HEAD, r#"now", "arguments": {}}"#);
        assert_eq!(seen.0.iter().map(|(_, piece)| piece.as_str()).collect::<String>(), draft.raw());
        assert!(seen.0.iter().all(|(part, _)| *part == Part::Calls));
        assert!(draft.is_whole(1));
        assert!(!draft.is_whole(2));
    }

    #[test]
    fn free_text_is_never_whole_by_itself() {
        let (draft, seen) = written("", "{} 😀");
        assert_eq!(seen.0.len(), 4);
        assert!(!draft.is_whole(1));
        assert_eq!(draft.outcome(), Ok(Outcome::Answer { text: "{} 😀".into() }));
    }
}
