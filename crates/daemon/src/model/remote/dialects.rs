//! What an endpoint refuses to be sent, remembered for each of its models: it is asked again without, and not asked so
//! any more. Only what a request can do without is left out.

use super::address::Protocol;
use crate::model::wire::{AnswerLimit, Dialect, Wire};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Models that are remembered; of others each request begins anew.
const MODELS_MAX: usize = 1024;

pub(super) struct Dialects {
    protocol: Protocol,
    official: bool,
    /// Held for microseconds, never across an await.
    learned: Mutex<BTreeMap<String, Learned>>,
}

#[derive(Debug, Clone)]
struct Learned {
    dialect: Dialect,
    wants_responses: bool,
    /// Names of the answer's limit that were refused.
    refused_limits: Vec<AnswerLimit>,
}

/// How a refusal of a parameter is put, in lower case.
const REFUSING: [&str; 17] = [
    "unsupported",
    "not supported",
    "not support",
    "unknown",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "not permitted",
    "not allowed",
    "extra inputs",
    "extra fields",
    "extra_forbidden",
    "additional propert",
    "invalid parameter",
    "not a valid",
    "deprecated",
    "instead",
];

impl Dialects {
    pub(super) fn new(protocol: Protocol, official: bool) -> Dialects {
        Dialects { protocol, official, learned: Mutex::default() }
    }

    pub(super) fn of(&self, model: &str) -> Dialect {
        self.learned().get(model).map_or_else(|| self.first().dialect, |learned| learned.dialect)
    }

    /// The wire that a model is asked over.
    pub(super) fn wire(&self, model: &str) -> Wire {
        match self.protocol {
            Protocol::Anthropic => Wire::Messages,
            Protocol::OpenAi | Protocol::Ollama => {
                let learned = self.learned().get(model).is_some_and(|learned| learned.wants_responses);
                if learned || (self.official && is_for_responses(model)) { Wire::Responses } else { Wire::Chat }
            }
        }
    }

    fn first(&self) -> Learned {
        let limit = match (self.protocol, self.official) {
            // OpenAI's newer models refuse the older name, and no other server knows the newer one for sure.
            (Protocol::OpenAi, true) => AnswerLimit::MaxCompletionTokens,
            (Protocol::OpenAi | Protocol::Ollama | Protocol::Anthropic, _) => AnswerLimit::MaxTokens,
        };
        let dialect = Dialect { limit, ..Dialect::default() };
        Learned { dialect, wants_responses: false, refused_limits: Vec::new() }
    }

    /// Whether the refusal of a request that was made in `dialect` names something to leave out, so that asking again
    /// can help.
    pub(super) fn learn(&self, model: &str, wire: Wire, dialect: Dialect, status: u16, words: &str) -> bool {
        if !matches!(status, 400 | 404 | 405 | 422) {
            return false;
        }
        let words = words.to_lowercase();
        let mut learned = self.learned();
        if learned.len() >= MODELS_MAX && !learned.contains_key(model) {
            return false;
        }
        let known = learned.entry(model.to_owned()).or_insert_with(|| self.first());
        if known.dialect != dialect {
            // Another request has learned meanwhile.
            return true;
        }
        if wire == Wire::Chat && words.contains("v1/responses") {
            known.wants_responses = true;
            return true;
        }
        REFUSING.iter().any(|refusing| words.contains(refusing)) && known.leave_out(wire, &words)
    }

    fn learned(&self) -> MutexGuard<'_, BTreeMap<String, Learned>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learned {
    fn leave_out(&mut self, wire: Wire, words: &str) -> bool {
        let dialect = &mut self.dialect;
        if wire == Wire::Chat && dialect.stream_options && words.contains("stream_options") {
            dialect.stream_options = false;
            return true;
        }
        if wire == Wire::Responses && dialect.include && words.contains("encrypted") {
            dialect.include = false;
            return true;
        }
        let limit = match (wire, dialect.limit) {
            (Wire::Messages, _) | (_, AnswerLimit::Unsaid) => None,
            (Wire::Responses, _) => Some("max_output_tokens"),
            (Wire::Chat, AnswerLimit::MaxTokens) => Some("max_tokens"),
            (Wire::Chat, AnswerLimit::MaxCompletionTokens) => Some("max_completion_tokens"),
        };
        if limit.is_some_and(|limit| words.contains(limit)) && !says_too_large(words) {
            self.refused_limits.push(dialect.limit);
            let others = [AnswerLimit::MaxCompletionTokens, AnswerLimit::MaxTokens];
            let next = others.into_iter().find(|other| wire == Wire::Chat && !self.refused_limits.contains(other));
            dialect.limit = next.unwrap_or(AnswerLimit::Unsaid);
            return true;
        }
        let thought =
            ["reasoning_content", "reasoning_details", "'reasoning'", "\"reasoning\"", "messages[", "thinking"];
        if dialect.reasoning && words.contains("reason") && thought.iter().any(|field| words.contains(field)) {
            dialect.reasoning = false;
            return true;
        }
        false
    }
}

/// The parameter is known, only its value is refused.
fn says_too_large(words: &str) -> bool {
    ["too large", "at most", "less than or equal", "exceeds", "must be"].iter().any(|says| words.contains(says))
}

/// Models of OpenAI's own that are served over `responses` alone.
fn is_for_responses(model: &str) -> bool {
    model.contains("codex") || model.ends_with("-pro") || model.contains("-pro-") || model.contains("deep-research")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(dialects: &Dialects, wire: Wire, words: &str) -> bool {
        dialects.learn("m", wire, dialects.of("m"), 400, words)
    }

    #[test]
    fn a_refused_name_of_the_limit_is_replaced_and_both_refused_leave_it_out() {
        let dialects = Dialects::new(Protocol::OpenAi, false);
        let words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        assert!(refusals(&dialects, Wire::Chat, words));
        assert_eq!(dialects.of("m").limit, AnswerLimit::MaxCompletionTokens);
        assert!(refusals(&dialects, Wire::Chat, "max_completion_tokens: Extra inputs are not permitted"));
        assert_eq!(dialects.of("m").limit, AnswerLimit::Unsaid);
        assert!(!refusals(&dialects, Wire::Chat, "max_tokens: unknown"), "nothing is left to leave out");
        assert_eq!(dialects.of("other"), Dialect::default(), "another model is asked as ever");
        let official = Dialects::new(Protocol::OpenAi, true);
        assert_eq!(official.of("m").limit, AnswerLimit::MaxCompletionTokens);
    }

    #[test]
    fn only_what_is_named_as_refused_is_left_out() {
        for words in [
            "max_tokens is too large: 4096. This model supports at most 2048 completion tokens; use less instead",
            "unknown model",
            "the reasoning_content in the thinking mode must be passed back to the API",
            "stream_options",
            "",
        ] {
            let dialects = Dialects::new(Protocol::OpenAi, false);
            assert!(!refusals(&dialects, Wire::Chat, words), "{words}");
            assert_eq!(dialects.of("m"), Dialect::default());
        }
        let dialects = Dialects::new(Protocol::OpenAi, false);
        assert!(!dialects.learn("m", Wire::Chat, dialects.of("m"), 500, "unknown field stream_options"));
        assert!(refusals(&dialects, Wire::Chat, "unknown field stream_options"));
        assert!(!dialects.of("m").stream_options);
        assert!(refusals(&dialects, Wire::Chat, "messages.2.reasoning_content: Extra inputs are not permitted"));
        assert!(!dialects.of("m").reasoning);
    }

    #[test]
    fn a_model_that_wants_the_other_wire_is_asked_over_it() {
        let official = Dialects::new(Protocol::OpenAi, true);
        assert_eq!((official.wire("gpt-5"), official.wire("gpt-5-codex")), (Wire::Chat, Wire::Responses));
        let elsewhere = Dialects::new(Protocol::OpenAi, false);
        assert_eq!(elsewhere.wire("gpt-5-codex"), Wire::Chat);
        let words = "This model is only supported in v1/responses and not in v1/chat/completions.";
        assert!(elsewhere.learn("gpt-5-codex", Wire::Chat, elsewhere.of("gpt-5-codex"), 404, words));
        assert_eq!(elsewhere.wire("gpt-5-codex"), Wire::Responses);
        assert_eq!(Dialects::new(Protocol::Anthropic, true).wire("claude"), Wire::Messages);
    }
}
