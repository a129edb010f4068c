//! How things look: tables for people, JSON and YAML for programs. A format never changes what is shown, only how.
pub mod table;
pub mod formatter;
pub mod watch_view;
pub mod confinement;

use std::io::IsTerminal;

use jiff::Timestamp;
use serde::Serialize;
use tenure_wire::api::moment::Moment;

use crate::args::Format;

/// The format that is wanted, and whether a person looks at it on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
    pub terminal: bool,
}

impl Output {
    pub fn new(format: Format) -> Output {
        Output { format, terminal: std::io::stdout().is_terminal() }
    }

    /// The value as data, or `text` for people.
    pub fn show<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) {
        match self.format {
            Format::Table => print(&text()),
            Format::Json => print(&json(value)),
            Format::Yaml => print(&yaml(value)),
        }
    }
}

pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("invariant: what is shown has text keys")
}

pub fn yaml<T: Serialize>(value: &T) -> String {
    serde_saphyr::to_string(value).expect("invariant: what is shown has text keys")
}

/// Prints with one newline at the end. A reader that has gone away (`| head`) ends the program quietly.
pub fn print(text: &str) {
    use std::io::Write;
    let mut out = anstream::stdout().lock();
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return;
    }
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(i32::from(crate::failure::Exit::Done.code()));
    }
}

/// `5.2s`, `1m 03s`, `2h 05m`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m {:02}s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{}h {:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// How long ago, for tables.
pub fn ago(moment: Moment) -> String {
    let past = Timestamp::now().as_millisecond().saturating_sub(moment.0.millis());
    let seconds = u64::try_from(past).unwrap_or(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// `$0.0123`, with a mark where some calls have no price.
pub fn cost(micro_usd: u64, unpriced: u32) -> String {
    let dollars = format!("${}.{:04}", micro_usd / 1_000_000, micro_usd % 1_000_000 / 100);
    match (micro_usd, unpriced) {
        (0, 0) => "-".to_string(),
        (0, _) => "unknown".to_string(),
        (_, 0) => dollars,
        (_, _) => format!("{dollars}+"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_costs_read_as_people_write_them() {
        assert_eq!([5_200, 59_999, 63_000, 7_500_000].map(duration), ["5.2s", "59.9s", "1m 03s", "2h 05m"]);
        assert_eq!(cost(12_345, 0), "$0.0123");
        assert_eq!((cost(0, 0), cost(0, 2), cost(1_000_000, 1)), ("-".into(), "unknown".into(), "$1.0000+".into()));
    }
}
