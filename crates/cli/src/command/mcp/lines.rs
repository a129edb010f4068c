//! Lines of standard input, each of bounded length, read by a thread of their own: standard input cannot be waited for otherwise.
use std::io::{self, BufRead, Read};

use tenure_wire::api::BODY_BYTES_MAX;
use tokio::sync::mpsc;

/// Lines that were read and not yet taken.
const AHEAD: usize = 4;
pub(super) const TOO_LONG: &str =
    "the message is longer than 1 MiB, and was not read; put large data into files of the agent's work folder";

pub(super) enum Line {
    Whole(Vec<u8>),
    TooLong,
}

pub(super) fn of_stdin() -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        // What cannot be read any more has ended.
        while let Ok(Some(line)) = next(&mut input, BODY_BYTES_MAX) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// The next line that is not empty, without its end.
fn next(input: &mut impl BufRead, max: usize) -> io::Result<Option<Line>> {
    loop {
        let mut line = Vec::new();
        let count = input.by_ref().take(max as u64 + 1).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') && count > max {
            skip(input)?;
            return Ok(Some(Line::TooLong));
        }
        let line = line.trim_ascii();
        if !line.is_empty() {
            return Ok(Some(Line::Whole(line.to_vec())));
        }
    }
}

/// To the end of the line.
fn skip(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let read = input.fill_buf()?;
        let end = read.iter().position(|byte| *byte == b'\n');
        let (count, over) = (end.map_or(read.len(), |end| end + 1), end.is_some() || read.is_empty());
        input.consume(count);
        if over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_whole() {
        let long = "x".repeat(100);
        let mut input = io::BufReader::with_capacity(7, io::Cursor::new(format!("one\r\n\n{long}\ntwo\nthree")));
        let mut seen = Vec::new();
        while let Some(line) = next(&mut input, 10).unwrap() {
            seen.push(match line {
                Line::Whole(bytes) => String::from_utf8(bytes).unwrap(),
                Line::TooLong => "-".to_string(),
            });
        }
        assert_eq!(seen, ["one", "-", "two", "three"]);
    }
}
