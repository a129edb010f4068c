//! The program `tenure`: terminal, environment and config files. It talks to a daemon over its API, or is the daemon
//! (`up`), its worker, or under the name `tenure-jail` the jail. It decides nothing about agents.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout)]

mod args;
mod later;
mod config;
mod failure;
mod screen;
mod render;
mod command;
mod complete;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches};

use args::{Arguments, Sandbox, Verb};
use config::{Settings, Stated};
use failure::{Exit, Failure};
use render::Output;

/// Options whose values these are read them whole, and refuse what is none.
const AMOUNTS: [&str; 5] = ["TIME", "MONEY", "TOKENS", "SIZE", "USD"];

fn main() -> ExitCode {
    // The jail's main comes before everything: it must find a process with one thread and nothing opened.
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == tenure_sandbox::JAIL_NAME) {
        tenure_sandbox::jail_main();
    }
    if complete::answered() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = std::env::args_os().collect();
    let matches = match with_negative(without_empty(Arguments::command())).try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => return later::or_usage(&words, &error),
    };
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => return later::or_usage(&words, &error),
    };
    let wanted = arguments.global.output;
    match run(arguments, &Stated::of(&matches)) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.end(wanted.unwrap_or_default()),
    }
}

/// A variable that is set and empty, as compose files and CI set them, counts as not set.
fn without_empty(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(None::<&'static str>),
        Some(_) | None => argument,
    });
    command.mut_subcommands(without_empty)
}

/// What begins with a minus after an option is its value where an amount or a time is meant, and so is any negative number, so that
/// the option itself says why it takes none.
fn with_negative(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let names = argument.get_value_names().unwrap_or_default();
        let is_amount = names.iter().any(|name| AMOUNTS.contains(&name.as_str()));
        match argument.is_positional() || !argument.get_action().takes_values() {
            true => argument,
            false if is_amount => argument.allow_hyphen_values(true),
            false if argument.is_allow_hyphen_values_set() => argument,
            false => argument.allow_negative_numbers(true),
        }
    });
    command.mut_subcommands(with_negative)
}

fn run(arguments: Arguments, stated: &Stated) -> Result<Exit, Failure> {
    // Both sides of the daemon and a pull speak TLS with this provider; a second call finds it in place.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // It cleans up after another process, in whatever state settings are.
    if let Verb::Sandbox(Sandbox::Clean { folder }) = &arguments.verb {
        return command::sandbox::clean(folder);
    }
    if matches!(arguments.verb, Verb::Up(_) | Verb::Worker(_) | Verb::Model(_)) {
        // What they make (the data directory, weights in it) is for nobody else, whatever the shell's or the unit's umask was.
        rustix::process::umask(rustix::fs::Mode::from(0o077));
    }
    if let Verb::Worker(worker) = &arguments.verb {
        // Its daemon says all that it needs. It has none of that one's environment, and so not its home folder either.
        return command::worker::run(worker, arguments.global.data_dir.as_deref());
    }
    let settings = Settings::resolve(&arguments.global, stated)?;
    let output = Output::new(settings.output, arguments.global.verbose);
    if output.verbose {
        tenure_wire::client::trace_requests(|line| screen::tell(&[(screen::Ink::Dim, &format!("{line}\n"))]));
    }
    // Idle memory counts: two threads serve all there is to do.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, format!("the async runtime cannot start: {error}")))?;
    let exit = runtime.block_on(command::run(arguments.verb, &settings, output));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit
}
