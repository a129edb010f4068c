//! Why an answer ended, in every provider's words, and what follows. The table stands in docs/models.md too.

use std::fmt;

/// What the end of an answer means. Only [`Finish::Done`] and [`Finish::Calls`] can make a finished answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// It had said all.
    Done,
    /// It asks for calls.
    Calls,
    /// The token limit cut it: it goes on.
    Length,
    /// The provider paused: it goes on.
    Pause,
    /// The provider could not read the call that the model asked for: the model is told.
    CallsLost,
    /// The conversation is too long: fails.
    Context,
    /// A filter withheld it: fails.
    Filtered,
    /// It broke off: asked again.
    Broken,
    /// Nobody knows what it means: asked again.
    Unknown,
}

/// The words of each end. A word is compared by its letters and digits alone, whatever their case.
pub const TABLE: [(Finish, &[&str]); 8] = [
    (
        Finish::Done,
        &["stop", "end_turn", "stop_sequence", "completed", "complete", "end", "eos", "eos_token", "finished"],
    ),
    (Finish::Calls, &["tool_calls", "tool_call", "tool_use", "function_call", "function_calls"]),
    (Finish::Length, &["length", "max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit"]),
    (Finish::Pause, &["pause_turn", "pause"]),
    (Finish::CallsLost, &["malformed_function_call", "malformed_tool_call", "unexpected_tool_call"]),
    (
        Finish::Context,
        &["model_context_window_exceeded", "context_window_exceeded", "context_length_exceeded", "context_length"],
    ),
    (
        Finish::Filtered,
        &[
            "content_filter",
            "content_filtered",
            "refusal",
            "safety",
            "sensitive",
            "recitation",
            "prohibited_content",
            "blocklist",
            "spii",
        ],
    ),
    (
        Finish::Broken,
        &[
            "error",
            "abort",
            "aborted",
            "cancelled",
            "canceled",
            "failed",
            "timeout",
            "network_error",
            "server_error",
            "insufficient_system_resource",
            "incomplete",
            "in_progress",
        ],
    ),
];

impl Finish {
    pub fn of(word: &str) -> Finish {
        let wanted = letters(word);
        let row = TABLE.iter().find(|(_, words)| words.iter().any(|known| letters(known) == wanted));
        row.map_or(Finish::Unknown, |(finish, _)| *finish)
    }

    /// The rule, as docs/models.md has it.
    pub fn rule(self) -> &'static str {
        match self {
            Finish::Done => "finished; with calls, they are made",
            Finish::Calls => "the calls are made; without any, the model is told and goes on",
            Finish::Length => "goes on: what was said is kept, whole calls are made, a cut one is told to the model",
            Finish::Pause => "goes on",
            Finish::CallsLost => "the model is told and goes on",
            Finish::Context => "fails as `context_too_long`",
            Finish::Filtered => "fails as `refused`",
            Finish::Broken => "asked again; what came is not used",
            Finish::Unknown => "asked again; at last fails, naming the word",
        }
    }
}

fn letters(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// An end as the provider wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub finish: Finish,
    word: String,
}

/// Letters of a provider's word that are kept.
const WORD_CHARS_MAX: usize = 64;

impl End {
    pub fn of(word: &str) -> End {
        let kept = word.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(WORD_CHARS_MAX);
        End { finish: Finish::of(word), word: kept.collect() }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_one_rule_and_the_docs_have_the_same_table() {
        let mut seen = std::collections::BTreeMap::new();
        let mut table = String::from("| the provider says | what follows |\n|---|---|\n");
        for (finish, words) in TABLE {
            for word in words {
                assert_eq!(seen.insert(letters(word), finish), None, "{word} stands twice");
                assert_eq!(Finish::of(&word.to_uppercase().replace('_', "-")), finish);
            }
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            table.push_str(&format!("| {} | {} |\n", words.join(", "), finish.rule()));
        }
        table.push_str(&format!("| anything else | {} |\n", Finish::Unknown.rule()));
        let docs = include_str!("../../../../../docs/models.md");
        assert!(docs.contains(&table), "docs/models.md needs this table:\n{table}");
    }

    #[test]
    fn a_word_that_nobody_knows_is_no_end() {
        for word in ["", "stopp", "tool", "finish_reason_unspecified"] {
            assert_eq!(Finish::of(word), Finish::Unknown, "{word}");
        }
    }
}
