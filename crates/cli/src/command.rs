//! A file a verb. Each takes what was typed and prints what came of it; none knows another.
pub mod up;
pub mod worker;
mod down;
mod init;
mod status;
mod doctor;
mod session;
mod chat;
mod supervise;
mod agent;
mod agents;
mod alerts;
mod approval;
mod policy;
mod budget;
mod comms;
mod cost;
mod api;
mod files;
mod manifest;
mod mcp;
mod execute;
mod execution;
mod config;
mod state;
mod key;
mod model;
mod retention;
mod instance;
mod package;
mod secret;
pub mod sandbox;
mod audit;
mod completions;
mod man;
mod moment;
mod out_file;
mod watch;
mod typed;

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tenure_wire::api::agent::Act;
use tenure_wire::api::watch::WatchEvent;
use tenure_wire::client::{EventStream, StreamItem};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Verb;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::{self, Ink, one_line};

pub async fn run(verb: Verb, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Up(up) => up::run(up, settings, output).await,
        Verb::Down => down::run(settings, output),
        Verb::Worker(worker) => worker::run(&worker, Some(&settings.data_dir)),
        Verb::Init(init) => init::run(init, output),
        Verb::Status => status::run(settings, output).await,
        Verb::Doctor(asked) => doctor::run(asked, settings, output).await,
        Verb::Agent(verb) => agent::run(verb, settings, output).await,
        Verb::Agents(listing) => agents::run(&listing, settings, output).await,
        Verb::Manifest(verb) => manifest::run(verb, settings, output).await,
        Verb::Pause(pause) => supervise::pause(pause, settings, output).await,
        Verb::Resume(whom) => supervise::run(Act::Resume, whom, settings, output).await,
        Verb::Kill(whom) => supervise::run(Act::Kill, whom, settings, output).await,
        Verb::Alerts(alerts) => alerts::run(alerts, settings, output).await,
        Verb::Policy(verb) => policy::run(verb, settings, output).await,
        Verb::Approval(verb) => approval::run(verb, settings, output).await,
        Verb::Comms(verb) => comms::run(verb, settings, output).await,
        Verb::Execute(execute) => execute::run(execute, settings, output).await,
        Verb::Execution(verb) => execution::run(verb, settings, output).await,
        Verb::Ps(listing) => execution::open(&listing, settings, output).await,
        Verb::Logs(wanted) => execution::logs(wanted, settings, output).await,
        Verb::Chat(chat) => chat::run(chat, settings, output).await,
        Verb::Watch(wanted) => watch::run(wanted, settings, output).await,
        Verb::Session(verb) => session::run(verb, settings, output).await,
        Verb::Mcp(wanted) => mcp::run(wanted, settings).await,
        Verb::Config(verb) => config::run(verb, settings, output).await,
        Verb::State(verb) => state::run(verb, settings, output).await,
        Verb::Budget(verb) => budget::run(verb, settings, output).await,
        Verb::Retention(verb) => retention::run(verb, settings, output).await,
        Verb::Cost(wanted) => cost::run(wanted, settings, output).await,
        Verb::Key(verb) => key::run(verb, settings, output).await,
        Verb::Secret(verb) => secret::run(verb, settings, output).await,
        Verb::Package(verb) => package::run(verb, settings, output).await,
        Verb::Model(verb) => model::run(verb, settings, output).await,
        Verb::Sandbox(verb) => sandbox::run(&verb, settings, output).await,
        Verb::Audit(verb) => audit::run(verb, settings, output).await,
        Verb::Api(api) => api::run(&api, output),
        Verb::Completions { shell } => completions::run(shell, output),
        Verb::Man { folder } => man::run(folder.as_deref(), output),
    }
}

/// What is said of an empty list of agents.
const NO_AGENT: &str = "No agent; `tenure agent create NAME` or `tenure agent deploy FILE` makes one";

/// The bytes of a file, or of stdin for `-`; `max` is what the daemon takes.
fn contents(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let refuse = |why: String| Failure::new(Exit::Refused, format!("{} cannot be read: {why}", path.display()));
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(max as u64 + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(Exit::NotFound, format!("there is no file {}", path.display())).next("check the path")
        }
        _ => refuse(error.to_string()),
    })?;
    if bytes.len() > max {
        return Err(
            refuse(format!("it has more than {max} bytes")).next("keep large data in files of the agent's work folder")
        );
    }
    Ok(bytes)
}

/// A look is taken at least so often, in case what happened came before the stream was joined.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Waits until something of a kind that begins so happens, by the event stream.
async fn happens(events: &mut EventStream<WatchEvent>, kinds: &[&str]) -> Result<(), Failure> {
    let wanted = async {
        loop {
            match events.next().await? {
                Some(StreamItem::Event(event)) if kinds.iter().any(|kind| event.kind.starts_with(kind)) => {
                    return Ok(());
                }
                Some(StreamItem::Event(_) | StreamItem::Piece(_) | StreamItem::Broken) => {}
                // What happened meanwhile may be among what was missed.
                Some(StreamItem::Rejoined) => return Ok(()),
                None => std::future::pending().await,
            }
        }
    };
    tokio::time::timeout(LOOK_EVERY, wanted).await.unwrap_or(Ok(()))
}

/// Does it to each, past a failure too, and shows what came of it: one thing as itself, several as a list.
async fn each<T: Serialize>(
    names: &[String],
    output: Output,
    action: impl AsyncFn(&str) -> Result<T, Failure>,
    text: impl Fn(&T) -> String,
) -> Result<Exit, Failure> {
    let (mut done, mut failed) = (Vec::with_capacity(names.len()), None);
    for name in names {
        match action(name).await {
            Ok(thing) => done.push(thing),
            Err(failure) if names.len() == 1 => return Err(failure),
            Err(failure) => {
                failure.print(output.format);
                failed.get_or_insert(failure.exit);
            }
        }
    }
    match done.as_slice() {
        [one] if names.len() == 1 => output.show(one, || text(one))?,
        several => output.show(&several, || several.iter().map(&text).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(failed.unwrap_or(Exit::Done))
}

/// Says that a list goes on, and how: beside the list, which programs read.
fn more(cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        screen::tell(&[
            (Ink::Next, "next: "),
            (Ink::Plain, &format!("--after {} for what comes after\n", one_line(cursor))),
        ]);
    }
}

/// Resolves at Ctrl-C or TERM, which from now on end nothing by themselves.
fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failure, format!("signals cannot be waited for: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Asks before something is destroyed. Without a terminal only `--yes` is an answer.
fn confirm(question: &str, settings: &Settings) -> Result<(), Failure> {
    if settings.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::new(Exit::Usage, "this destroys something, and there is no terminal to ask on")
            .why(question)
            .next("say --yes if it is meant"));
    }
    screen::tell(&[(Ink::Plain, &one_line(question)), (Ink::Plain, " [y/N] ")]);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, "nothing was done"))
}
