//! Conversations that go in a circle. Pure.
//!
//! A small model that is stuck repeats its calls word for word until something stops it. Its next turn is then held to
//! the final text: whoever checks the work decides, and a new attempt begins afresh.

use tenure_wire::local::{Call, Message};

/// Repeats in a row that make a circle. One alone is ordinary: a program is run again after each correction.
const REPEATS: usize = 2;

/// Whether the newest calls have all been made before, word for word and with the same results.
pub(crate) fn circles(messages: &[Message]) -> bool {
    let done = done(messages);
    let Some(first) = done.len().checked_sub(REPEATS) else { return false };
    (first..done.len()).all(|at| done[..at].contains(&done[at]))
}

/// Calls with their results since the user last spoke.
fn done(messages: &[Message]) -> Vec<(&Call, &str)> {
    let since = messages.iter().rposition(|m| matches!(m, Message::User { .. })).map_or(0, |at| at + 1);
    let mut out = Vec::new();
    let mut asked: &[Call] = &[];
    for message in &messages[since..] {
        match message {
            Message::Assistant { calls, .. } => asked = calls,
            Message::Tool { content, .. } => {
                if let Some((call, rest)) = asked.split_first() {
                    out.push((call, content.as_str()));
                    asked = rest;
                }
            }
            Message::System { .. } | Message::User { .. } => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A conversation of calls and their results.
    fn conversation(steps: &[(&str, &str)]) -> Vec<Message> {
        let mut messages = vec![Message::User { content: "go".into() }];
        for (call, result) in steps {
            let calls = vec![Call { name: (*call).into(), arguments: json!({}) }];
            messages.push(Message::Assistant { content: String::new(), calls });
            messages.push(Message::Tool { name: (*call).into(), content: (*result).into() });
        }
        messages
    }

    #[test]
    fn calls_that_repeat_with_the_same_results_are_a_circle() {
        assert!(circles(&conversation(&[("read", "x"), ("read", "x"), ("read", "x")])));
        assert!(circles(&conversation(&[
            ("write", "ok"),
            ("run", "no"),
            ("read", "x"),
            ("write", "ok"),
            ("run", "no")
        ])));
    }

    #[test]
    fn another_result_or_another_call_is_progress() {
        assert!(!circles(&conversation(&[("run", "2 failed"), ("run", "1 failed"), ("run", "ok")])));
        let corrected = [("run", "no"), ("edit", "ok"), ("run", "no"), ("edit again", "ok"), ("run", "no")];
        assert!(!circles(&conversation(&corrected)));
        assert!(!circles(&conversation(&[])));
    }

    #[test]
    fn a_new_word_of_the_user_begins_anew() {
        let mut messages = conversation(&[("read", "x"), ("read", "x")]);
        messages.extend(conversation(&[("read", "x")]));
        assert!(!circles(&messages));
    }
}
