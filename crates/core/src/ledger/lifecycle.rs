//! The words in which people ask what became of an agent, and the kinds of records that they fit.

/// The kinds of a word; none where the word is no such one. A word whose kinds no release makes yet has an empty list.
pub fn kinds_of(word: &str) -> Option<&'static [&'static str]> {
    Some(match word {
        "created" => &["agent.created"],
        "registered" => &["agent.created", "worker.registered"],
        "activated" => &["agent.woken", "agent.resumed", "agent.session_opened", "instance.ready"],
        "started" => &["execution.started", "session.opened", "instance.starting"],
        "message_received" => &["message.queued", "instance.told"],
        "message_sent" => &["message.sent"],
        "upgraded" => &["agent.revised", "instance.renewed"],
        "quarantined" => &["agent.quarantined"],
        "recovered" => &["agent.recovered"],
        "terminated" => &["agent.killed", "agent.revoked", "agent.deleted", "agent.archived", "instance.stopped"],
        "error" => &[
            "iteration.failed",
            "iteration.jail_lost",
            "session.jail_lost",
            "model.failed",
            "model.lost",
            "proxy.failed",
            "proxy.lost",
            "instance.crashed",
            "instance.lost",
        ],
        _ => return None,
    })
}

/// The words that fit a kind; most kinds have none.
pub fn words_of(kind: &str) -> Vec<&'static str> {
    WORDS.into_iter().filter(|word| kinds_of(word).is_some_and(|kinds| kinds.contains(&kind))).collect()
}

/// All the words.
pub const WORDS: [&str; 11] = [
    "created",
    "registered",
    "activated",
    "started",
    "message_received",
    "message_sent",
    "upgraded",
    "quarantined",
    "recovered",
    "terminated",
    "error",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_kinds_and_no_other_word_has() {
        assert!(WORDS.iter().all(|word| kinds_of(word).is_some_and(|kinds| !kinds.is_empty())));
        assert_eq!(kinds_of("paused"), None);
        assert_eq!(words_of("agent.created"), ["created", "registered"]);
        assert!(words_of("call.called").is_empty());
    }
}
