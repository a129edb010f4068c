//! The one place where the program writes: to standard output, whose failure is a failure of the command, and to standard
//! error. What agents, models, files and daemons say reaches a terminal with every control made visible, whoever calls;
//! colour is added here and nowhere else. Must never: write text raw, or lose a failed write.
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::failure::{Exit, Failure};
use tenure_wire::scrub::Scrubber;

/// How a piece of text looks on a terminal; elsewhere all look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Plain,
    /// What a model or a program says.
    Dim,
    Error,
    Next,
    /// Of a status.
    Good,
    Wait,
    Bad,
}

/// Pieces of one line or text, each in its ink.
pub type Pieces<'t> = &'t [(Ink, &'t str)];

/// One text with one newline at its end; none for none.
///
/// # Errors
/// It was not written: all that asked for it has failed, whatever was done before.
pub fn print(text: &str) -> Result<(), Failure> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() { Ok(()) } else { write(&[(Ink::Plain, text), (Ink::Plain, "\n")]) }
}

/// As it is, for a line that goes on.
///
/// # Errors
/// As of [`print`].
pub fn write(pieces: Pieces<'_>) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(inked(pieces).as_bytes()).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
}

/// Bytes of a file for a program that reads them; never for a terminal, which would act on them.
///
/// # Errors
/// As of [`print`].
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if io::IsTerminal::is_terminal(&out) {
        return Err(Failure::new(Exit::Usage, "bytes are not written to a terminal"));
    }
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
}

/// On standard error. Where that is gone there is nobody left to tell.
pub fn tell(pieces: Pieces<'_>) {
    let mut err = anstream::stderr().lock();
    let _ = err.write_all(inked(pieces).as_bytes()).and_then(|()| err.flush());
}

pub fn unwritten(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::unheard();
    }
    Failure::new(Exit::Failure, "the answer could not be written")
        .why(format!("standard output: {error}"))
        .next("what was asked for may have been done all the same: look before asking again")
}

fn inked(pieces: Pieces<'_>) -> String {
    let mut text = String::new();
    for (ink, piece) in pieces {
        let piece = plain(piece);
        let _ = match ink {
            Ink::Plain => write!(text, "{piece}"),
            Ink::Dim => write!(text, "{}", piece.dimmed()),
            Ink::Error => write!(text, "{}", piece.red().bold()),
            Ink::Next => write!(text, "{}", piece.cyan()),
            Ink::Good => write!(text, "{}", piece.green()),
            Ink::Wait => write!(text, "{}", piece.yellow()),
            Ink::Bad => write!(text, "{}", piece.red()),
        };
    }
    text
}

/// Whether a terminal acts on it instead of showing it: controls of both sets, what turns the direction of text or breaks
/// lines, and letters that only machines see.
pub fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
        || matches!(letter, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text of several lines with everything else that acts made visible, as in `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    let acts = |letter: char| acts(letter) && !matches!(letter, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if letters.peek() == Some(&'\n') => {}
            letter if acts(letter) => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

/// The same on one line: breaks and tabs are spaces.
pub fn one_line(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ")
}

/// The same where lines after the first must not begin where lines of ours do.
pub fn indented(text: &str, margin: &str) -> String {
    plain(text.trim_end()).replace('\n', &format!("\n{margin}"))
}

/// JSON over several lines, in which every letter that acts is written as JSON's escape: the value stays the same.
pub fn json<T: Serialize>(value: &T) -> String {
    escaped(&serde_json::to_string_pretty(value).expect("invariant: what is shown has text keys"))
}

/// The same on one line.
pub fn json_line<T: Serialize>(value: &T) -> String {
    escaped(&serde_json::to_string(value).expect("invariant: what is shown has text keys"))
}

/// YAML. Where its usual style would show letters raw that act, or other numbers than the value's own JSON, it is JSON, which
/// is YAML too.
pub fn yaml<T: Serialize>(value: &T) -> String {
    let exact = serde_json::to_string(value).expect("invariant: what is shown has text keys");
    let read: Option<serde_json::Value> = serde_json::from_str(&exact).ok();
    let same = read.filter(|read| serde_json::to_string(read).is_ok_and(|again| again == exact));
    let text = same.and_then(|read| serde_saphyr::to_string(&read).ok());
    text.filter(|text| plain(text) == *text).unwrap_or_else(|| json(value))
}

/// The same JSON without the spaces and breaks between its words, with every number and text as it was written.
pub fn compact(json: &RawValue) -> Box<RawValue> {
    let (mut text, mut within, mut escaped) = (String::with_capacity(json.get().len()), false, false);
    for letter in json.get().chars() {
        if within || !letter.is_ascii_whitespace() {
            text.push(letter);
        }
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = within,
            '"' => within = !within,
            _ => {}
        }
    }
    RawValue::from_string(text).expect("invariant: it was JSON, and its words are the same")
}

/// Outside of strings JSON has no such letter but the line breaks between its lines.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if acts(letter) && letter != '\n' {
            let mut units = [0u16; 2];
            letter.encode_utf16(&mut units).iter().for_each(|unit| {
                let _ = write!(text, "\\u{unit:04x}");
            });
        } else {
            text.push(letter);
        }
    }
    text
}

/// Where the daemon's log goes. Its maker escapes what is in messages, but not what turns text around.
#[derive(Debug, Clone)]
pub struct Log(Scrubber);

impl Log {
    pub fn new(scrubber: &Scrubber) -> Log {
        Log(scrubber.clone())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line comes whole, so that no value is cut.
        let clean = self.0.bytes(bytes);
        let line = String::from_utf8_lossy(&clean);
        let kept = |letter: char| !acts(letter) || matches!(letter, '\n' | '\t' | '\u{1b}');
        if line.chars().all(kept) {
            io::stderr().write_all(&clean)?;
            return Ok(bytes.len());
        }
        let mut shown = String::with_capacity(line.len() + 16);
        for letter in line.chars() {
            if kept(letter) { shown.push(letter) } else { shown.extend(letter.escape_unicode()) }
        }
        io::stderr().write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clears the screen, sets the title, turns text around, by either set of controls.
    const HOSTILE: &str =
        "a\u{1b}[2J\u{1b}]0;x\u{7}b\u{9b}31m\u{202e}c\u{2066}\u{200f}\u{85}\u{2028}\rd\u{7f}\u{e0041}";

    #[test]
    fn nothing_that_acts_reaches_a_terminal_and_what_people_write_does_unchanged() {
        let written = "Grüße, 世界 🦀 é — “x”\n\tindented\n";
        assert_eq!(plain(written), written, "the control");
        assert!(!plain(HOSTILE).chars().any(acts), "{:?}", plain(HOSTILE));
        assert!(plain(HOSTILE).starts_with("a\\u{1b}[2J"), "it is shown, not dropped");
        assert_eq!(plain("a\r\nb\rc"), "a\nb\\u{d}c");
        assert_eq!(one_line("a\nb\tc"), "a b c");
        assert_eq!(indented("a\nnext: b\n", "  "), "a\n  next: b");
    }

    #[test]
    fn json_that_was_received_keeps_its_numbers_however_it_is_shown() {
        let written = "{\"n\":\t12345678901234567890123, \"x\" : [1.50,\n 1e400, -0],\"t\":\" a\\\\\\\" \u{9b}b\"}";
        let raw = compact(&RawValue::from_string(written.to_string()).unwrap());
        let shown = "{\"n\":12345678901234567890123,\"x\":[1.50,1e400,-0],\"t\":\" a\\\\\\\" \u{9b}b\"}";
        assert_eq!(raw.get(), shown);
        for text in [json(&raw), json_line(&raw), yaml(&raw)] {
            assert_eq!(text.trim_end(), shown.replace('\u{9b}', "\\u009b"));
        }
        let plain = RawValue::from_string("{\"count\":1}".to_string()).unwrap();
        assert_eq!(yaml(&plain), "count: 1\n", "the control");
    }

    #[test]
    fn json_and_yaml_hold_the_same_value_without_a_raw_letter_that_acts() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "plain"] });
        for text in [json(&value), json_line(&value)] {
            assert!(!text.chars().any(|letter| acts(letter) && letter != '\n'), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
        for text in [HOSTILE, "a\u{1b}b", "a\u{202e}b", "two\nlines \u{2066}", "plain"] {
            let value = serde_json::json!({ "text": text });
            let shown = yaml(&value);
            assert_eq!(plain(&shown), shown);
            assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&shown).unwrap(), value, "{shown}");
        }
        assert_eq!(yaml(&serde_json::json!({"text": "plain"})), "text: plain\n", "the control");
    }
}
