//! What goes on side by side before the agent can begin: the build, and the weights. Must never leave a child behind when one
//! of the two fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::demo::progress::{Progress, of_cargo};
use crate::step;
use crate::weights::Watch;

const TICK: Duration = Duration::from_millis(200);
/// Lines of a failed build that are shown.
const LINES_KEPT: usize = 80;

/// What the threads tell the one that shows it.
pub(crate) enum News {
    Building(String),
    Said(String),
    Built(String),
    BuildSilent,
    Weights(String),
    WeightsEnded(Result<()>),
}

/// Builds `programs`, runs `fetch` meanwhile, and calls `ready` once `first` is built.
///
/// # Errors
/// Any of the three fails; the others are stopped.
pub(crate) fn prepare(
    root: &Path,
    programs: &[&str],
    fetch: impl FnOnce(&Watch) -> Result<()> + Send + 'static,
    mut ready: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let (sender, news) = sync_channel(64);
    let mut cargo = build(root, programs, &sender)?;
    let watch = Arc::new(Watch::new({
        let sender = sender.clone();
        // A full queue loses a line that the next one repeats.
        move |now: &str| drop(sender.try_send(News::Weights(now.to_owned())))
    }));
    let fetcher = thread::spawn({
        let watch = Arc::clone(&watch);
        move || drop(sender.send(News::WeightsEnded(fetch(&watch))))
    });
    let mut progress = Progress::new();
    let outcome = follow(&mut cargo, &news, &mut progress, &mut ready);
    progress.clear();
    if outcome.is_err() {
        watch.stop();
        step::stop(&mut cargo);
        // What it still has to say must find room.
        while !fetcher.is_finished() {
            let _ = news.recv_timeout(TICK);
        }
    }
    let _ = fetcher.join();
    if outcome.is_ok() {
        step::done("built, and the weights are there: their checksum holds", progress.begun());
    }
    outcome
}

fn build(root: &Path, programs: &[&str], sender: &SyncSender<News>) -> Result<Child> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--profile", super::PROFILE, "--message-format=json-render-diagnostics"]).current_dir(root);
    cargo.args(programs.iter().flat_map(|name| ["--package", name, "--bin", name]));
    cargo
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "200")
        .env("CARGO_TERM_COLOR", "never");
    cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = cargo.spawn().context("cargo cannot be started")?;
    let out = child.stdout.take().context("its output is piped")?;
    let err = child.stderr.take().context("its errors are piped")?;
    let artifacts = sender.clone();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(name) = executable(&line) {
                let _ = artifacts.send(News::Built(name));
            }
        }
        let _ = artifacts.send(News::BuildSilent);
    });
    let said = sender.clone();
    thread::spawn(move || {
        lines(err, |line| match of_cargo(line) {
            Some(now) => drop(said.try_send(News::Building(now))),
            None => drop(said.send(News::Said(line.to_owned()))),
        });
    });
    Ok(child)
}

/// The name of the program that an artifact message of cargo's is about.
fn executable(line: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    message.get("executable")?.as_str()?;
    Some(message.get("target")?.get("name")?.as_str()?.to_owned())
}

/// Lines that end as text does or as a progress bar does.
fn lines(from: impl Read, mut each: impl FnMut(&str)) {
    let mut line = Vec::new();
    for byte in BufReader::new(from).bytes().map_while(Result::ok) {
        if byte == b'\n' || byte == b'\r' {
            each(&String::from_utf8_lossy(&line));
            line.clear();
        } else {
            line.push(byte);
        }
    }
    each(&String::from_utf8_lossy(&line));
}

fn follow(
    cargo: &mut Child,
    news: &Receiver<News>,
    progress: &mut Progress,
    ready: &mut impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let (mut built, mut fetched) = (false, false);
    let mut kept = VecDeque::new();
    while !(built && fetched) {
        match news.recv_timeout(TICK) {
            Ok(News::Building(now)) => progress.set("build", now),
            Ok(News::Weights(now)) => progress.set("weights", now),
            Ok(News::Said(line)) => {
                kept.push_back(line);
                kept.drain(..kept.len().saturating_sub(LINES_KEPT));
            }
            Ok(News::Built(name)) => {
                progress.clear();
                ready(&name)?;
            }
            Ok(News::BuildSilent) => {
                let status = cargo.wait().context("cargo cannot be waited for")?;
                if !status.success() {
                    progress.clear();
                    // The errors come on another pipe than the end.
                    while let Ok(News::Said(line)) = news.recv_timeout(TICK) {
                        kept.push_back(line);
                    }
                    kept.iter().filter(|line| !line.trim().is_empty()).for_each(|line| eprintln!("{line}"));
                    bail!("the build ended with {status}");
                }
                built = true;
                progress.set("build", "");
            }
            Ok(News::WeightsEnded(ended)) => {
                ended?;
                fetched = true;
                progress.set("weights", "");
            }
            Err(RecvTimeoutError::Timeout) => progress.tick(),
            Err(RecvTimeoutError::Disconnected) => ensure!(built && fetched, "the build's threads are gone"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_cargos_message_and_a_bar_by_its_carriage_return() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"tenure"},"executable":"/t/debug/tenure"}"#;
        assert_eq!(executable(line).as_deref(), Some("tenure"));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#), None);
        assert_eq!(executable("warning"), None);
        let mut heard = Vec::new();
        lines(&b"a\rb\nc"[..], |line| heard.push(line.to_owned()));
        assert_eq!(heard, ["a", "b", "c"]);
    }
}
