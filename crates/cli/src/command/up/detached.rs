//! `tenure up --detach`: starts the daemon as a process of its own and waits until it serves. Must never leave a daemon
//! behind that it called failed.
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;

/// A ledger of many millions is looked through at the start.
const READY_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of the log, when the daemon ended at once.
const LOG_LINES_SHOWN: usize = 20;

pub async fn run(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let socket = settings.own_client();
    if let Ok(status) = socket.status().await {
        return Err(Failure::new(Exit::Conflict, "a daemon runs on this data directory already")
            .why(format!("process {} holds {}", status.pid, settings.data_dir.display()))
            .next("`tenure down` stops it"));
    }
    let log = settings.log();
    let mut child = spawn(settings, &log)?;
    let begun = Instant::now();
    let status = loop {
        if let Ok(status) = socket.status().await {
            break status;
        }
        let ended = child.try_wait().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
        if let Some(ended) = ended {
            return Err(Failure::new(Exit::Failure, format!("the daemon ended at once ({ended})")).why(last(&log)));
        }
        if begun.elapsed() > READY_MAX {
            let _ = child.kill();
            let _ = child.wait();
            let failure =
                Failure::new(Exit::Failure, format!("the daemon did not serve within {} s", READY_MAX.as_secs()));
            return Err(failure.why(last(&log)).next(format!("{} has the rest", log.display())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    output.show(&status, || {
        let listening = status.listening.join(", ");
        let certificate = status.fingerprint.map(|fingerprint| format!("  certificate  {fingerprint}\n"));
        let certificate = certificate.unwrap_or_default();
        format!(
            "Tenure {} runs in the background, process {}\n  listening  {listening}\n{certificate}  log        {}\n  `tenure status` shows it, `tenure down` stops it\n",
            status.version,
            status.pid,
            log.display()
        )
    })?;
    Ok(Exit::Done)
}

/// The same words without those that detach; what it prints goes into its log.
fn spawn(settings: &Settings, log: &Path) -> Result<Child, Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::new(Exit::Failure, format!("{what}: {error}"));
    let program = std::env::current_exe().map_err(|error| failed("its own program is not known", error))?;
    super::make_data_dir(&settings.data_dir)?;
    // In a folder that was open to others somebody may have put a link there.
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(no_link).open(log);
    let file = file.map_err(|error| failed(&format!("{} cannot be written", log.display()), error))?;
    let also = file.try_clone().map_err(|error| failed("the log cannot be shared", error))?;
    let words = std::env::args_os().skip(1).filter(|word| !detaches(word));
    let mut command = Command::new(program);
    command.args(words).arg("--own-session").stdin(Stdio::null()).stdout(file).stderr(also);
    command.spawn().map_err(|error| failed("the daemon cannot be started", error))
}

fn detaches(word: &OsString) -> bool {
    word == "-d" || word == "--detach"
}

/// The last lines of a log.
fn last(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
