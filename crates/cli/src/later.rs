//! Words that are no command yet: those of later releases are said to be that, others get the near word from the parser.
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};

use crate::args::Format;
use crate::failure::{Exit, Failure};
use crate::screen::{self, Ink};

/// The first words of a command, what it comes with, and what does the most of it today.
const LATER: [(&str, &str, &str); 6] = [
    ("agent upgrade", "upgrades of code agents", "`tenure agent deploy FILE` makes the next revision"),
    ("agent memory", "the memory of code agents", "`tenure state list NAME` shows what an agent keeps"),
    ("join-key", "remote workers", "the built-in worker of each daemon"),
    ("candidates", "remote workers", "the built-in worker of each daemon"),
    ("execution fork", "forking executions", "`tenure execution retry ID` starts it once more"),
    ("execution replay", "replaying executions", "`tenure logs ID` shows what was done"),
];

/// Prints why the words were not understood, or the help that was asked for, and gives the exit code.
pub fn or_usage(words: &[OsString], error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument => {
            if let Some(failure) = not_yet(words, error) {
                return failure.end(Format::Table);
            }
        }
        _ => {}
    }
    if error.use_stderr() {
        // The words are repeated in it, and may hold what a terminal acts on.
        if words.iter().any(|word| word.to_string_lossy().contains(screen::acts)) {
            screen::tell(&[(Ink::Plain, &error.render().to_string())]);
        } else {
            let _ = error.print();
        }
        return Exit::Usage.into();
    }
    match error.print().and_then(|()| std::io::stdout().flush()) {
        Ok(()) => Exit::Done.into(),
        Err(error) => screen::unwritten(&error).end(Format::Table),
    }
}

fn not_yet(words: &[OsString], error: &clap::Error) -> Option<Failure> {
    let wrong = error.get(ContextKind::InvalidSubcommand)?.to_string();
    let typed: Vec<&str> = words.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let place = typed.iter().position(|word| *word == wrong)?;
    let before = place.checked_sub(1).and_then(|before| typed.get(before)).copied().unwrap_or_default();
    let pair = format!("{before} {wrong}");
    let (command, what, today) = LATER.iter().find(|(command, ..)| *command == pair || *command == wrong)?;
    let failure = Failure::new(Exit::Later, format!("`tenure {command}` is not in this release"));
    Some(failure.why(format!("it comes with {what}")).next(format!("today: {today}")))
}
