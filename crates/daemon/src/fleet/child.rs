//! The built-in worker: a child process that speaks frames over the socket on its stdin, and one source of connections.
//! It is started, served and started again. No secret may reach the child: its environment is made anew.
use super::{AttachedWorker, Error, Greeting, Source};
use crate::app::App;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::id::{ConnectionId, WorkerId};
use tenure_core::time::Run;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const EXIT_TIMEOUT: Duration = Duration::from_secs(15);
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_LAST: Duration = Duration::from_secs(10);
/// How often the file `alive` is written: how much of its life a crash may take from the daemon at most.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
const ALIVE_DIGITS: usize = 20;
/// Beyond what a JSON number holds exactly, and any life.
const ALIVE_MILLIS_END: u64 = 1 << 53;

/// How the built-in worker is started.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    /// The program, and what makes it a worker.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Says how long the daemon has lived, so that the next one goes on from there.
    pub alive: PathBuf,
}

/// Starts a worker's processes, one after another, and serves each one's connection.
pub struct Supervisor<S> {
    app: Arc<App>,
    source: S,
    attached: AttachedWorker,
    greeting: watch::Sender<Option<Greeting>>,
}

impl<S: Source> Supervisor<S> {
    /// `stale`: a connection of an earlier life that is still to be lapsed, and when that life ended.
    pub fn new(
        app: Arc<App>,
        source: S,
        worker: WorkerId,
        stale: Option<(ConnectionId, Run)>,
        greeting: watch::Sender<Option<Greeting>>,
    ) -> Supervisor<S> {
        Supervisor { app, source, attached: AttachedWorker { worker, stale }, greeting }
    }

    /// Runs until the daemon closes; then the worker has ended.
    pub async fn run(mut self) {
        let mut pause = RESTART_FIRST;
        while !self.app.is_closing() {
            match self.life().await {
                Ok(()) => pause = RESTART_FIRST,
                Err(error) => {
                    tracing::error!(%error, "a worker is down; executions wait for it");
                    pause = (pause * 2).min(RESTART_LAST);
                }
            }
            tokio::select! {
                biased;
                () = self.app.closing.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One worker process, from its start to its end.
    async fn life(&mut self) -> Result<(), Error> {
        let (process, stream) = self.source.start().map_err(Error::Start)?;
        let result = self.attached.serve(&self.app, stream, &self.greeting).await;
        self.source.end(process).await;
        result
    }
}

impl Source for BuiltIn {
    type Process = Child;
    type Stream = UnixStream;

    fn start(&mut self) -> std::io::Result<(Child, UnixStream)> {
        start(self)
    }

    async fn end(&mut self, mut child: Child) {
        if timeout(EXIT_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
    }
}

fn start(built_in: &BuiltIn) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = tokio::process::Command::new(&built_in.program);
    command.args(&built_in.arguments).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).env_clear();
    for name in ["PATH", "TENURE_LOG", "TMPDIR", "XDG_RUNTIME_DIR", "DOCKER_HOST", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // One heap for a worker's few threads: it idles most of its life, and each heap costs memory for ever.
    command.env("MALLOC_ARENA_MAX", "1");
    let child = command.kill_on_drop(true).spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

/// How long the daemon had lived when its last life ended, by its file.
pub fn last_alive(built_in: &BuiltIn) -> Option<Run> {
    read_alive(&std::fs::read_to_string(&built_in.alive).ok()?)
}

/// Keeps the file `alive` until the daemon closes.
pub async fn keep_alive(app: Arc<App>, built_in: BuiltIn) {
    let mut told = false;
    loop {
        if let Err(error) = write_alive(&built_in.alive, app.committer.now().run)
            && !std::mem::replace(&mut told, true)
        {
            let path = built_in.alive.display();
            tracing::warn!(%error, %path, "cannot be written: after a crash clocks count from the last event");
        }
        tokio::select! {
            () = sleep(ALIVE_EVERY) => {}
            () = app.closing.cancelled() => return,
        }
    }
}

/// Replaces the file, so that a write that is cut leaves the former one.
fn write_alive(path: &Path, lived: Run) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, format!("{:0ALIVE_DIGITS$}\n", lived.millis()))?;
    std::fs::rename(part, path)
}

/// None for a text that is not whole, or a number that no JSON can hold exactly.
fn read_alive(text: &str) -> Option<Run> {
    let digits = text.strip_suffix('\n').filter(|digits| digits.len() == ALIVE_DIGITS)?;
    let millis = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
    (millis < ALIVE_MILLIS_END).then_some(Run::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_alive_says_is_whole_and_possible_or_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alive");
        for millis in [0, 199, 200, ALIVE_MILLIS_END - 1] {
            write_alive(&path, Run::from_millis(millis)).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(read_alive(&text), Some(Run::from_millis(millis)));
            for end in 0..text.len() {
                assert_eq!(read_alive(&text[..end]), None, "{end}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        for wrong in [
            ALIVE_MILLIS_END.to_string(),
            u64::MAX.to_string(),
            "+1".into(),
            "-1".into(),
            "99999999999999999999".into(),
        ] {
            assert_eq!(read_alive(&format!("{wrong:0>ALIVE_DIGITS$}\n")), None, "{wrong}");
        }
    }
}
