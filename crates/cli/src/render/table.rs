//! Tables without borders, in the seeds' columns. On a terminal they fit its width: texts are wrapped between words, and
//! where that is not enough whole columns go, the least worth first. Elsewhere everything stands on one line a row.
//! Must never: cut a word in two, or lose a part of a cell that is shown.
use comfy_table::{ColumnConstraint, ContentArrangement, Table as Laid, Width, presets};

use crate::screen::{Ink, one_line};

/// Blanks between columns.
const GAP: u16 = 2;
/// A text that is wrapped has at least so much room, if it needs it, while there is a column that may go.
const TEXT_WIDTH_MIN: u16 = 24;

/// One column: its title, and what becomes of it where there is too little room.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub title: &'static str,
    /// The greatest goes first; never for none.
    pub dropped: Option<u8>,
    pub wraps: bool,
    /// Shown with `-v` alone.
    pub detail: bool,
}

impl Column {
    /// Always there, on one line.
    pub const fn key(title: &'static str) -> Column {
        Column { title, dropped: None, wraps: false, detail: false }
    }

    /// Always there, over several lines where it must.
    pub const fn text(title: &'static str) -> Column {
        Column { wraps: true, ..Column::key(title) }
    }

    /// Goes where there is no room; the greatest first.
    pub const fn worth(title: &'static str, dropped: u8) -> Column {
        Column { dropped: Some(dropped), ..Column::key(title) }
    }

    /// Shown with `-v`.
    pub const fn detail(title: &'static str) -> Column {
        Column { detail: true, dropped: Some(u8::MAX), ..Column::key(title) }
    }
}

#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    ink: Ink,
}

impl Cell {
    pub fn inked(text: impl Into<String>, ink: Ink) -> Cell {
        Cell { text: one_line(&text.into()), ink }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::inked(text, Ink::Plain)
    }
}

/// How a table is laid out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// Of the terminal; none elsewhere.
    pub width: Option<u16>,
    pub headers: bool,
    pub details: bool,
}

pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new<const N: usize>(columns: [Column; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Table {
        Table { columns: columns.to_vec(), rows: rows.into_iter().map(Vec::from).collect() }
    }

    /// Pieces of text, line by line.
    pub fn lay_out(&self, layout: Layout) -> Vec<(Ink, String)> {
        let (shown, widths) = self.fitted(layout);
        self.laid(&shown, layout.headers, widths.as_deref())
    }

    /// The titles of columns that are wanted and have no room.
    pub fn left_out(&self, layout: Layout) -> Vec<&'static str> {
        let (shown, _) = self.fitted(layout);
        let left_out = self.wanted(layout).into_iter().filter(|index| !shown.contains(index));
        left_out.map(|index| self.columns[index].title).filter(|title| !title.is_empty()).collect()
    }

    fn wanted(&self, layout: Layout) -> Vec<usize> {
        (0..self.columns.len()).filter(|index| layout.details || !self.columns[*index].detail).collect()
    }

    /// The columns that have room, and their widths where there is a width to keep to.
    fn fitted(&self, layout: Layout) -> (Vec<usize>, Option<Vec<u16>>) {
        let mut shown = self.wanted(layout);
        let Some(width) = layout.width else { return (shown, None) };
        loop {
            if let Some(widths) = self.widths(&shown, width, TEXT_WIDTH_MIN) {
                return (shown, Some(widths));
            }
            let least = shown.iter().filter_map(|index| Some((self.columns[*index].dropped?, *index))).max();
            let Some((_, least)) = least else {
                let widths = self.widths(&shown, width, 1);
                return (shown, widths);
            };
            shown.retain(|index| *index != least);
        }
    }

    /// The columns' widths within `width`, those of texts at least `text`; None where they do not fit.
    fn widths(&self, shown: &[usize], width: u16, text: u16) -> Option<Vec<u16>> {
        let natural: Vec<u16> = shown.iter().map(|index| measure(self.texts(*index))).collect();
        let gaps = GAP * u16::try_from(shown.len().saturating_sub(1)).unwrap_or(u16::MAX);
        let total = |widths: &[u16]| widths.iter().fold(gaps, |sum, width| sum.saturating_add(*width));
        if total(&natural) <= width {
            return Some(natural);
        }
        let least = shown.iter().zip(&natural).map(|(index, natural)| match self.columns[*index].wraps {
            false => *natural,
            true => {
                let words = self.texts(*index).flat_map(str::split_whitespace);
                measure(words).max((*natural).min(text))
            }
        });
        let mut widths: Vec<u16> = least.collect();
        let mut left = width.checked_sub(total(&widths))?;
        while left > 0 {
            let mut hungry: Vec<usize> = (0..widths.len()).filter(|at| widths[*at] < natural[*at]).collect();
            hungry.truncate(usize::from(left));
            if hungry.is_empty() {
                break;
            }
            left -= u16::try_from(hungry.len()).unwrap_or(left);
            hungry.into_iter().for_each(|at| widths[at] += 1);
        }
        Some(widths)
    }

    fn texts(&self, index: usize) -> impl Iterator<Item = &str> {
        std::iter::once(self.columns[index].title).chain(self.rows.iter().map(move |row| row[index].text.as_str()))
    }

    fn laid(&self, shown: &[usize], headers: bool, widths: Option<&[u16]>) -> Vec<(Ink, String)> {
        let mut pieces = Vec::new();
        if self.rows.is_empty() && !headers {
            return pieces;
        }
        let mut laid = bare();
        laid.add_row(shown.iter().map(|index| self.columns[*index].title));
        for row in &self.rows {
            laid.add_row(shown.iter().map(|index| row[*index].text.as_str()));
        }
        let widths: Vec<u16> = widths.map_or_else(|| laid.column_max_content_widths(), <[u16]>::to_vec);
        let last = shown.len().saturating_sub(1);
        let gaps = GAP * u16::try_from(last).unwrap_or(u16::MAX);
        // Texts are wrapped only in a table that has a width.
        let whole = widths.iter().fold(gaps, |sum, width| sum.saturating_add((*width).max(1)));
        // Row by row, so that it is known which lines are whose.
        let rows = self.rows.iter().map(Some);
        for row in std::iter::once(None).filter(|_| headers).chain(rows) {
            let text = |index: &usize| match row {
                Some(row) => row[*index].text.as_str(),
                None => self.columns[*index].title,
            };
            let mut line = bare();
            line.set_content_arrangement(ContentArrangement::Dynamic).set_width(whole);
            line.add_row(shown.iter().map(text));
            for (at, column) in line.column_iter_mut().enumerate() {
                let gap = if at == last { 0 } else { GAP };
                column.set_padding((0, gap));
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(widths[at].max(1) + gap)));
            }
            let text = line.to_string();
            let ink = row.and_then(|row| inked(shown, row, &widths));
            for line in text.lines() {
                colour(line.trim_end(), ink, &mut pieces);
            }
        }
        pieces
    }
}

/// The first cell with an ink of its own: where it begins and ends.
fn inked(shown: &[usize], row: &[Cell], widths: &[u16]) -> Option<(Ink, usize, usize)> {
    let at = shown.iter().position(|index| row[*index].ink != Ink::Plain)?;
    let before = widths[..at].iter().map(|width| usize::from(width + GAP)).sum();
    Some((row[shown[at]].ink, before, usize::from(widths[at])))
}

/// Only where letters and places are the same thing.
fn colour(line: &str, ink: Option<(Ink, usize, usize)>, pieces: &mut Vec<(Ink, String)>) {
    match ink {
        Some((ink, from, width)) if line.is_ascii() && line.len() > from => {
            let (before, rest) = line.split_at(from);
            let (inked, after) = rest.split_at(width.min(rest.len()));
            pieces.extend([(Ink::Plain, before.to_string()), (ink, inked.to_string())]);
            pieces.push((Ink::Plain, format!("{after}\n")));
        }
        Some(_) | None => pieces.push((Ink::Plain, format!("{line}\n"))),
    }
}

fn bare() -> Laid {
    let mut table = Laid::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The widest of them, in places on a terminal.
fn measure<'t>(texts: impl Iterator<Item = &'t str>) -> u16 {
    let mut table = bare();
    texts.for_each(|text| {
        table.add_row([text]);
    });
    table.column_max_content_widths().first().copied().unwrap_or(0)
}

/// Columns in capitals, rows below, everything on one line a row.
pub fn table<const N: usize>(columns: [&'static str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows = rows.into_iter().map(|row| row.map(Cell::from));
    let table = Table::new(columns.map(Column::key), rows);
    let pieces = table.lay_out(Layout { headers: true, ..Layout::default() });
    pieces.into_iter().map(|(_, text)| text).collect()
}

/// `name  value` lines for one thing; lines without a value are left out. On a terminal of `width` a long value goes on
/// beneath its own beginning.
pub fn lines<'n>(width: Option<u16>, pairs: impl IntoIterator<Item = (&'n str, Option<String>)>) -> String {
    let rows = pairs.into_iter().filter_map(|(name, value)| Some([Cell::from(name), Cell::from(value?)]));
    let table = Table::new([Column::key(""), Column::text("")], rows);
    let pieces = table.lay_out(Layout { width, ..Layout::default() });
    pieces.into_iter().map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, width: Option<u16>) -> String {
        let pieces = table.lay_out(Layout { width, headers: true, details: false });
        pieces.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_cell_cannot_break_its_row_or_colour_the_terminal() {
        let text = table(["NAME", "X"], [["a\u{1b}[31m\nb".to_string(), "1".to_string()]]);
        assert_eq!(text, "NAME           X\na\\u{1b}[31m b  1\n");
    }

    /// A list of executions, one with a long reason.
    fn executions() -> Table {
        let reason = "waiting for a model (the provider answered 429: too many requests, asked again in 12s)";
        let columns = [
            Column::key("ID"),
            Column::key("AGENT"),
            Column::text("STATUS"),
            Column::worth("STARTED", 1),
            Column::worth("TOKENS", 2),
            Column::worth("COST", 3),
        ];
        let row = |id: &str, status: &str| {
            let status = Cell::inked(status, Ink::Good);
            [id.into(), "pr-reviewer".into(), status, "2m ago".into(), "12345".into(), "$0.0123".into()]
        };
        Table::new(columns, [row("exe_3f2k9m1p", "completed"), row("exe_9q8w7e6r", reason)])
    }

    #[test]
    fn no_word_is_cut_and_no_reason_lost_at_any_width_and_no_line_is_wider() {
        let table = executions();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let whole = words(&text(&table, None));
        for width in 50..=200 {
            let shown = text(&table, Some(width));
            for line in shown.lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
            let found = words(&shown);
            assert!(found.iter().all(|word| whole.contains(word)), "{width} cuts a word:\n{shown}");
            for word in ["429:", "requests,", "12s)", "completed", "exe_9q8w7e6r"] {
                assert!(found.iter().any(|found| found == word), "{width} loses {word}:\n{shown}");
            }
        }
        assert!(!text(&table, Some(60)).contains("COST") && text(&table, Some(200)).contains("COST"));
    }

    #[test]
    fn what_has_no_room_is_named_and_what_nobody_asked_for_is_not() {
        let columns =
            [Column::key("NAME"), Column::worth("RUNTIME", 1), Column::detail("SESSION"), Column::detail("LAST")];
        let table = Table::new(columns, [["a-long-enough-name", "native", "1m 03s", "2m ago"].map(Cell::from)]);
        let left_out = |width, details| table.left_out(Layout { width, headers: true, details });
        assert_eq!(left_out(Some(30), true), ["SESSION", "LAST"]);
        assert_eq!(left_out(Some(20), false), ["RUNTIME"]);
        assert_eq!((left_out(Some(80), true), left_out(None, true)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_status_keeps_its_ink_on_every_line_and_nothing_else_gets_it() {
        let pieces = executions().lay_out(Layout { width: Some(60), headers: true, details: false });
        let good: String = pieces.iter().filter(|(ink, _)| *ink == Ink::Good).map(|(_, text)| text.as_str()).collect();
        assert!(good.contains("completed") && good.contains("429:") && !good.contains("pr-reviewer"), "{good}");
    }

    #[test]
    fn a_long_value_goes_on_beneath_its_beginning_and_whole_where_there_is_no_terminal() {
        let value = || Some("one two three four five six seven".to_string());
        let shown = lines(Some(31), [("id", Some("x".into())), ("detail", value()), ("none", None)]);
        assert_eq!(shown, "id      x\ndetail  one two three four five\n        six seven\n");
        assert_eq!(lines(None, [("detail", value())]), "detail  one two three four five six seven\n");
    }

    #[test]
    fn headers_go_when_they_are_not_wanted_and_details_come_when_they_are() {
        let table = Table::new([Column::key("A"), Column::detail("B")], [["1".into(), "2".into()]]);
        let lay = |headers, details| {
            let pieces = table.lay_out(Layout { width: None, headers, details });
            pieces.into_iter().map(|(_, text)| text).collect::<String>()
        };
        assert_eq!((lay(true, false), lay(false, true)), ("A\n1\n".into(), "1  2\n".into()));
    }
}
