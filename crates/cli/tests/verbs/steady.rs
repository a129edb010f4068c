//! What the program prints, with what differs from run to run made the same. The whole product's tests read their output by it too.
use std::path::Path;

use regex::Regex;

/// Ids, times, durations and places, which differ from run to run, as fixed words; the width of a table's columns,
/// which follows them, as two spaces.
pub(crate) fn steady(folder: &Path, text: &str) -> String {
    let mut text = text.replace(&folder.display().to_string(), "DIR");
    for (pattern, word) in [
        (r"\b(agt|exe|call|key|wrk|ses|sec)_[0-9a-z]{26}\b", "${1}_ID"),
        (r"\b(agt|exe|call|key|wrk|ses|sec)_[0-9a-z]{8}\b", "${1}_SHORT"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\b(\d+\.\ds|\d+m \d\ds)\b", "0.0s"),
        (r"\b\d+[sm] ago\b", "0s ago"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"\b[0-9a-f]{64}\b", "HASH"),
        (r"\b[0-9a-f]{12}\b", "DIGEST"),
        (r"tnr_[0-9A-Za-z]{33}", "tnr_KEY"),
        (r" {2,}", "  "),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text
}
