//! How things look: tables for people, JSON and YAML for programs. A format never changes what is shown, only how.
pub mod table;
pub mod margin;
pub mod formatter;
pub mod watch_view;
pub mod confinement;

use std::io::IsTerminal;

use jiff::Timestamp;
use serde::Serialize;
use tenure_wire::api::moment::Moment;

use crate::args::Format;
use crate::failure::Failure;
use crate::screen;

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
    ///
    /// # Errors
    /// It could not be written.
    pub fn show<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => screen::print(&text()),
            Format::Json => screen::print(&screen::json(value)),
            Format::Yaml => screen::print(&screen::yaml(value)),
        }
    }

    /// One of a row of values that come one after the other, or `text` for people.
    ///
    /// # Errors
    /// It could not be written.
    pub fn show_next<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => screen::print(&text()),
            Format::Json => screen::print(&screen::json_line(value)),
            Format::Yaml => screen::print(&format!("---\n{}", screen::yaml(value))),
        }
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

/// A count of tokens, with a mark where some were estimated.
pub fn tokens(count: u64, estimated: bool) -> String {
    if estimated { format!("~{count}") } else { count.to_string() }
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
