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

use crate::args::{Format, Listing};
use crate::failure::Failure;
use crate::screen::{self, Ink};
use margin::Margin;
use table::{Layout, Table};

/// The format that is wanted, and whether a person looks at it on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
    pub terminal: bool,
    /// More columns and detail.
    pub verbose: bool,
}

impl Output {
    pub fn new(format: Format, verbose: bool) -> Output {
        Output { format, terminal: std::io::stdout().is_terminal(), verbose }
    }

    /// Columns of the terminal; none where there is none.
    pub fn width(self) -> Option<u16> {
        if !self.terminal {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        Some(size.ws_col).filter(|width| *width > 0)
    }

    /// Lines of ours as the terminal has room for them: each goes on in the margin, between words.
    pub fn wrapped(self, text: &str) -> String {
        let margin = Margin::new(self.width().map(usize::from));
        text.lines().map(|line| margin.ours(line)).collect()
    }

    /// A list: its values as data, their names alone with `-q`, or a table for people. `none`: what a person is told beside an
    /// empty one, and what makes the first.
    ///
    /// # Errors
    /// It could not be written.
    pub fn list<T: Serialize>(
        self,
        listing: &Listing,
        values: &[T],
        none: &str,
        name: impl Fn(&T) -> String,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        if listing.quiet {
            let names: Vec<String> = values.iter().map(name).collect();
            return self.show(&names, || names.iter().map(|name| screen::one_line(name) + "\n").collect());
        }
        if self.format != Format::Table {
            return self.show(&values, String::new);
        }
        self.table(&table(), listing)?;
        if values.is_empty() && !listing.no_headers {
            screen::tell(&[(Ink::Dim, &self.wrapped(none))]);
        }
        Ok(())
    }

    /// With `-v` all columns are asked for, so that it is said which of them had no room.
    ///
    /// # Errors
    /// It could not be written.
    pub fn table(self, table: &Table, listing: &Listing) -> Result<(), Failure> {
        let layout = Layout { width: self.width(), headers: !listing.no_headers, details: self.verbose };
        let pieces = table.lay_out(layout);
        let pieces: Vec<(Ink, &str)> = pieces.iter().map(|(ink, text)| (*ink, text.as_str())).collect();
        screen::write(&pieces)?;
        let left_out = table.left_out(layout);
        if self.verbose && layout.headers && !left_out.is_empty() {
            let text = format!("no room for {}: a wider terminal shows them, and so does -o yaml", left_out.join(", "));
            screen::tell(&[(Ink::Dim, &self.wrapped(&text))]);
        }
        Ok(())
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

/// Relative for whoever looks at a terminal, exact elsewhere.
pub fn when(moment: Moment, output: Output) -> String {
    if output.terminal { ago(moment) } else { moment.to_string() }
}

/// How a status looks: what is well, what wants somebody's look, what went wrong.
pub fn status_ink(status: &str) -> Ink {
    match status {
        "completed" | "active" | "ready" | "live" => Ink::Good,
        "queued" | "running" | "waiting" | "paused" | "cancelling" => Ink::Wait,
        "failed" | "quarantined" | "revoked" | "forged" | "not ready" => Ink::Bad,
        "cancelled" | "archived" => Ink::Dim,
        _ => Ink::Plain,
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

/// `512 B`, `1.5 KiB`, `100.0 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
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
