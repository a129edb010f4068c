//! What models and programs say, in a margin of its own: each row of it begins with the mark of who speaks, so that none can
//! pass for a line of ours, whatever it says and however wide the terminal is. Pure: the same pieces give the same rows.
use crate::screen::{acts, one_line, plain};

/// Columns that a tab stands for.
const TAB: &str = "    ";
/// Before the rest of a line of ours that is longer than the terminal is wide.
const GOES_ON: &str = "    ";
/// The least room beside the mark; a narrower terminal breaks rows itself.
const ROOM_MIN: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    Model,
    Output,
    Errors,
    /// A validator's reasons.
    Check,
}

impl Voice {
    pub fn mark(self) -> &'static str {
        match self {
            Voice::Model => "  │ ",
            Voice::Output => "  > ",
            Voice::Errors => "  ! ",
            Voice::Check => "  ? ",
        }
    }
}

#[derive(Debug, Default)]
pub struct Margin {
    /// Columns of the terminal; elsewhere rows are as long as they are.
    width: Option<usize>,
    /// Who spoke last, while its row is open, and how many columns it has.
    open: Option<(Voice, usize)>,
    /// A carriage return came last; a newline after it is the same break.
    returned: bool,
}

impl Margin {
    pub fn new(width: Option<usize>) -> Margin {
        Margin { width, ..Margin::default() }
    }

    /// What is written for the next piece of what `voice` says.
    pub fn say(&mut self, voice: Voice, text: &str) -> String {
        let mut rows = String::new();
        if self.open.is_some_and(|(other, _)| other != voice) {
            rows.push_str(self.close());
        }
        for letter in text.chars() {
            let pair = std::mem::replace(&mut self.returned, letter == '\r') && letter == '\n';
            match letter {
                _ if pair => {}
                '\n' | '\r' => {
                    self.begin(voice, &mut rows);
                    rows.push_str(self.close());
                }
                '\t' => TAB.chars().for_each(|space| self.push(voice, space, &mut rows)),
                letter if acts(letter) => {
                    plain(letter.encode_utf8(&mut [0; 4])).chars().for_each(|shown| self.push(voice, shown, &mut rows));
                }
                letter => self.push(voice, letter, &mut rows),
            }
        }
        rows
    }

    /// A line of ours with its newline. On a terminal what goes beyond the width begins in the margin, as it may be another's,
    /// with a whole word where the row has room for it.
    pub fn ours(&self, line: &str) -> String {
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(1).max(ROOM_MIN));
        let (mut rows, mut row, mut column) = (String::new(), String::new(), 0);
        for letter in one_line(line).chars() {
            if column + columns(letter) > room {
                let rest = match row.trim_start().rsplit_once(' ') {
                    Some((_, word)) if letter != ' ' && columns_of(word) + 2 < room / 2 => {
                        row.split_off(row.len() - word.len())
                    }
                    Some(_) | None => String::new(),
                };
                rows.push_str(row.trim_end());
                rows.push('\n');
                row = format!("{GOES_ON}{rest}");
                column = columns_of(&row);
                if letter == ' ' {
                    continue;
                }
            }
            row.push(letter);
            column += columns(letter);
        }
        rows.push_str(&row);
        rows.push('\n');
        rows
    }

    /// What ends the open row.
    pub fn close(&mut self) -> &'static str {
        if self.open.take().is_some() { "\n" } else { "" }
    }

    fn push(&mut self, voice: Voice, letter: char, rows: &mut String) {
        let columns = columns(letter);
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(1).max(voice.mark().len() + ROOM_MIN));
        if self.open.is_some_and(|(_, column)| column + columns > room) {
            rows.push_str(self.close());
        }
        let column = self.begin(voice, rows);
        rows.push(letter);
        self.open = Some((voice, column + columns));
    }

    /// The column at which the row goes on.
    fn begin(&mut self, voice: Voice, rows: &mut String) -> usize {
        if let Some((_, column)) = self.open {
            return column;
        }
        rows.push_str(voice.mark());
        let column = voice.mark().chars().count();
        self.open = Some((voice, column));
        column
    }
}

/// No letter is wider than two columns; counting all but ASCII as that breaks a row early, never late.
fn columns(letter: char) -> usize {
    if letter.is_ascii() { 1 } else { 2 }
}

fn columns_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: &str =
        "[2026-02-23T10:00:06Z] Execution exe_01jm000000e000000000000001 Completed (1 iteration, 5.0s)";

    fn said(width: Option<usize>, pieces: &[(Voice, &str)]) -> String {
        let mut margin = Margin::new(width);
        let mut rows: String = pieces.iter().map(|(voice, text)| margin.say(*voice, text)).collect();
        rows.push_str(margin.close());
        rows
    }

    #[test]
    fn no_row_of_a_model_or_a_program_begins_as_ours_do() {
        for width in [None, Some(0), Some(20), Some(80)] {
            for breaks in ["\n", "\r", "\r\n", "\u{85}", "\u{2028}", "\u{1b}[1G", "\u{b}"] {
                let filler = " ".repeat(160);
                let text = format!("{FORGED}{breaks}{FORGED}{filler}{FORGED}{breaks}");
                for voice in [Voice::Model, Voice::Output, Voice::Errors, Voice::Check] {
                    let rows = said(width, &[(voice, &text)]);
                    assert!(rows.lines().all(|row| row.starts_with(voice.mark())), "{width:?} {breaks:?}: {rows}");
                    assert!(!rows.chars().any(|letter| acts(letter) && letter != '\n'), "{rows:?}");
                    if let Some(width) = width.filter(|width| *width >= 20) {
                        assert!(rows.lines().all(|row| row.chars().count() < width), "{rows}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_another_wrote_into_a_long_line_of_ours_begins_no_row() {
        let line = format!("[2026-02-23T10:00:04Z] Tool: process.run {}{FORGED}", "x".repeat(39));
        let rows = Margin::new(Some(80)).ours(&line);
        assert_eq!(rows.lines().filter(|row| row.starts_with('[')).count(), 1, "{rows}");
        assert!(rows.lines().all(|row| row.chars().count() < 80), "{rows}");
        assert_eq!(Margin::new(None).ours(&line), format!("{line}\n"), "a file has lines of any length");
    }

    #[test]
    fn a_long_line_of_ours_breaks_between_words_and_loses_nothing() {
        let line = "[2026-02-23T10:00:04Z] Model: the cassette has no answer left for turn 1; record it again";
        let rows = Margin::new(Some(40)).ours(line);
        insta::assert_snapshot!(rows, @r"
        [2026-02-23T10:00:04Z] Model: the
            cassette has no answer left for
            turn 1; record it again
        ");
        let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        assert_eq!(words(&rows), words(line));
    }

    #[test]
    fn a_wide_letter_breaks_its_row_before_the_terminal_would() {
        let rows = said(Some(24), &[(Voice::Model, &"世".repeat(30))]);
        assert!(rows.lines().all(|row| 4 + 2 * row.chars().filter(|letter| *letter == '世').count() <= 23), "{rows}");
    }

    #[test]
    fn who_speaks_begins_a_row_of_its_own_and_pieces_of_one_text_make_one_text() {
        let pieces = [
            (Voice::Model, "I ru"),
            (Voice::Model, "n it.\r"),
            (Voice::Model, "\nNow"),
            (Voice::Output, "42\n"),
            (Voice::Errors, "no\n\nway"),
            (Voice::Model, "Done."),
        ];
        insta::assert_snapshot!(said(None, &pieces), @r"
          │ I run it.
          │ Now
          > 42
          ! no
          ! 
          ! way
          │ Done.
        ");
    }
}
