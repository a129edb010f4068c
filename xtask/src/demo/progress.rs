//! What a long step says of itself: one line that moves, on a terminal; a line now and then, elsewhere. Must never scroll a
//! terminal away, or be silent for long.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const MOVES: Duration = Duration::from_millis(200);
const SAYS: Duration = Duration::from_secs(15);
/// What any terminal shows of a line without breaking it.
const LINE_LETTERS: usize = 78;

pub(crate) struct Progress {
    begun: Instant,
    said: Option<Instant>,
    parts: Vec<(&'static str, String)>,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { begun: Instant::now(), said: None, parts: Vec::new(), terminal: std::io::stdout().is_terminal() }
    }

    /// What part `name` does now; nothing once it is done.
    pub(crate) fn set(&mut self, name: &'static str, now: impl Into<String>) {
        let now = now.into();
        match self.parts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, text)) => *text = now,
            None => self.parts.push((name, now)),
        }
        self.tick();
    }

    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Shows the line where it is time to.
    pub(crate) fn tick(&mut self) {
        let pause = if self.terminal { MOVES } else { SAYS };
        if self.said.is_some_and(|said| said.elapsed() < pause) {
            return;
        }
        self.said = Some(Instant::now());
        let line = line(&self.parts, self.begun.elapsed());
        if self.terminal {
            print!("\r\x1b[K{}", cut(&line));
            // A closed screen stops nothing.
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }

    /// Makes room for a line that stays.
    pub(crate) fn clear(&self) {
        if self.terminal {
            print!("\r\x1b[K");
            let _ = std::io::stdout().flush();
        }
    }
}

fn line(parts: &[(&'static str, String)], past: Duration) -> String {
    let seconds = past.as_secs();
    let mut line = format!("  {}:{:02}", seconds / 60, seconds % 60);
    for (name, now) in parts.iter().filter(|(_, now)| !now.is_empty()) {
        line.push_str(&format!(" · {name} {now}"));
    }
    line
}

fn cut(line: &str) -> String {
    line.chars().take(LINE_LETTERS).collect()
}

/// The count and the crates of cargo's own progress bar: `Building [==>  ] 12/345: serde, tokio(build)`.
pub(crate) fn of_cargo(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("] ")?;
    let (count, names) = rest.split_once(':').unwrap_or((rest, ""));
    let (done, all) = count.trim().split_once('/')?;
    let number = |text: &str| text.parse::<u32>().ok();
    let (done, all) = (number(done)?, number(all)?);
    let names = names.trim_end_matches(['\u{1b}', '[', 'K']).trim();
    Some(if names.is_empty() { format!("{done} of {all}") } else { format!("{done} of {all}: {names}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_time_and_parts_and_fits_a_terminal() {
        let parts = [("build", "12 of 345: tokio".to_owned()), ("weights", String::new())];
        assert_eq!(line(&parts, Duration::from_secs(75)), "  1:15 · build 12 of 345: tokio");
        let long = [("build", "x".repeat(200))];
        assert_eq!(cut(&line(&long, Duration::ZERO)).chars().count(), LINE_LETTERS);
    }

    #[test]
    fn cargos_bar_is_read_and_its_other_lines_are_not() {
        let bar = "    Building [=====>          ] 12/345: serde, llama-cpp-sys-2(build)\u{1b}[K";
        assert_eq!(of_cargo(bar).as_deref(), Some("12 of 345: serde, llama-cpp-sys-2(build)"));
        assert_eq!(of_cargo("    Building [>  ] 0/2").as_deref(), Some("0 of 2"));
        assert_eq!(of_cargo("   Compiling serde v1.0.0"), None);
        assert_eq!(of_cargo("warning: [unused] 1/x: y"), None);
    }
}
