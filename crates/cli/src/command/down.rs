//! `tenure down`: ends the daemon of this data directory, and waits until it has ended. Executions go on at the next start.
//! The process is the one that listens on the socket, by the kernel's word, never by a number from a file.
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;

/// Jails are ended and the ledger is closed within this.
const END_MAX: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Stopped {
    pid: i32,
    data_dir: String,
}

pub fn run(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    settings.own_daemon("down")?;
    let socket = settings.socket();
    let connection = UnixStream::connect(&socket).map_err(|_| {
        Failure::new(Exit::Unreachable, "no daemon runs on this data directory")
            .why(format!("nothing listens on {}", socket.display()))
            .next("`tenure up` starts one; --data-dir chooses another directory")
    })?;
    let failed = |what: &str, error: Errno| Failure::new(Exit::Failure, format!("{what}: {error}"));
    let pid = match socket_peercred(&connection) {
        Ok(peer) => peer.pid,
        // What is outside of this process's own pid namespace has no number in it.
        Err(error) if error.raw_os_error() == 0 => {
            return Err(Failure::new(Exit::Failure, "the daemon cannot be ended from here")
                .why("it runs outside of this container (or pid namespace)")
                .next("run `tenure down` where `tenure up` was run"));
        }
        Err(error) => return Err(failed("its process is not known", error)),
    };
    stop(pid)?;
    let stopped = Stopped { pid: pid.as_raw_nonzero().get(), data_dir: settings.data_dir.display().to_string() };
    output.show(&stopped, || format!("stopped process {}; executions go on at the next start\n", stopped.pid))?;
    Ok(Exit::Done)
}

fn stop(pid: Pid) -> Result<(), Failure> {
    let number = pid.as_raw_nonzero();
    let failed = |what: &str, error: Errno| Failure::new(Exit::Failure, format!("{what}: {error}"));
    // A descriptor of the process: its number may be another's by the time that a signal is sent.
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(failed(&format!("process {number} cannot be opened"), error)),
    };
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(Errno::PERM) => {
            let failure = Failure::new(Exit::NotAllowed, format!("process {number} is another user's"));
            return Err(failure.next("stop it as the user who started it"));
        }
        Err(error) => return Err(failed(&format!("process {number} cannot be told to end"), error)),
    }
    let begun = Instant::now();
    loop {
        let left = END_MAX.saturating_sub(begun.elapsed());
        let wait = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&wait)) {
            Ok(0) => {
                let failure = Failure::new(
                    Exit::Failure,
                    format!("process {number} has not ended after {} s", END_MAX.as_secs()),
                );
                return Err(failure.next("its log says what it waits for; ending it by force loses nothing"));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(&format!("process {number} cannot be waited for"), error)),
        }
    }
}
