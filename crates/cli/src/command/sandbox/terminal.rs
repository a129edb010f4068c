//! This process's own streams, tied to a program in a jail: raw where both ends are a terminal, else bytes as they come.
//! Must never: leave the terminal raw, or hold back the end of this process until somebody types.
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::stdio;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use tenure_worker::{AttendedStreams, InputEvent, OutputChunk, TerminalSize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::trial::failed;
use crate::failure::Failure;

const READ_BYTES: usize = 32 << 10;
/// Pieces on their way to and from the program.
const WAITING_MAX: usize = 16;
/// How long what was printed may wait for whoever reads this process's output, once the program has ended.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Terminal {
    /// As it was, where it is raw now.
    _raw: Option<Raw>,
    written: oneshot::Receiver<Option<std::io::Error>>,
}

/// A terminal that passes on each key. Dropping it makes it what it was.
struct Raw(Termios);

impl Raw {
    fn make() -> Result<Raw, Errno> {
        let before = tcgetattr(stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed already is the program's.
        tcsetattr(stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

impl Terminal {
    /// `stop` is called when nobody takes what is printed any more.
    pub(super) fn open(stop: CancellationToken) -> Result<(Terminal, AttendedStreams), Failure> {
        let at_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && in_foreground();
        let (typing, typed) = mpsc::channel(WAITING_MAX);
        let (printing, printed) = mpsc::channel(WAITING_MAX);
        let (done, written) = oneshot::channel();
        let mut raw = None;
        if at_terminal {
            let changes = signal(SignalKind::window_change()).map_err(|error| failed(error.to_string()))?;
            tokio::spawn(watch_size(changes, typing.clone()));
            raw = Some(Raw::make().map_err(|errno| failed(format!("this terminal cannot be used: {errno}")))?);
        }
        // Threads of their own: one that waits for a key must not keep the process from ending.
        thread::spawn(move || read(&typing));
        thread::spawn(move || {
            let lost = write(printed);
            if lost.is_some() {
                stop.cancel();
            }
            let _ = done.send(lost);
        });
        let attendance = AttendedStreams { typed, printed: printing, terminal: at_terminal.then(size) };
        Ok((Terminal { _raw: raw, written }, attendance))
    }

    /// After the program's end: when all that it printed is out, or why that cannot be.
    pub(super) async fn close(self) -> Option<std::io::Error> {
        match timeout(LAST_WORDS_TIMEOUT, self.written).await {
            Ok(Ok(lost)) => lost,
            Ok(Err(_)) => None,
            Err(_) => Some(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Only then may it read its terminal, or change it, without being stopped.
fn in_foreground() -> bool {
    tcgetpgrp(stdio::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn size() -> TerminalSize {
    match tcgetwinsize(stdio::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => TerminalSize { rows: size.ws_row, columns: size.ws_col },
        Ok(_) | Err(_) => TerminalSize::default(),
    }
}

async fn watch_size(mut changes: tokio::signal::unix::Signal, typing: mpsc::Sender<InputEvent>) {
    while changes.recv().await.is_some() {
        if typing.send(InputEvent::Resized(size())).await.is_err() {
            return;
        }
    }
}

/// Until the end of stdin or of the program.
fn read(typing: &mpsc::Sender<InputEvent>) {
    let mut buffer = vec![0; READ_BYTES];
    if std::io::stdin().is_terminal() && !in_foreground() {
        let _ = typing.blocking_send(InputEvent::End);
        return;
    }
    loop {
        let typed = match rustix::io::read(stdio::stdin(), &mut buffer) {
            Ok(0) => InputEvent::End,
            Ok(count) => InputEvent::Bytes(buffer[..count].to_vec()),
            Err(Errno::INTR) => continue,
            Err(_) => InputEvent::End,
        };
        let last = typed == InputEvent::End;
        if typing.blocking_send(typed).is_err() || last {
            return;
        }
    }
}

/// Until the program's end, or until one of the streams takes no more.
fn write(mut printed: mpsc::Receiver<OutputChunk>) -> Option<std::io::Error> {
    while let Some(OutputChunk { stderr, bytes }) = printed.blocking_recv() {
        let written = if stderr {
            std::io::stderr().write_all(&bytes)
        } else {
            let mut stdout = std::io::stdout();
            stdout.write_all(&bytes).and_then(|()| stdout.flush())
        };
        if let Err(error) = written {
            return Some(error);
        }
    }
    None
}
