//! Runs near the work: takes calls under a lease from the daemon, does them in a jail of their iteration, and answers.
//! It is a child process of the daemon and speaks frames over the socket that it is given; when that ends, so does it.
//!
//! Must never: know the store, hold a secret at rest, decide whether a call may be made, perform one lease twice, or call
//! a jail gone that is not proven dead.
//!
//! ```text
//! daemon ── frames ──▶ connection ── calls ──▶ jail (one task each) ── protocol ──▶ jail process
//!        ◀── frames ──      ▲                    ├─ perform (one task a call)
//!                           └────── events ──────┘
//! ```
#![forbid(unsafe_code)]

mod error;
mod level;
mod runtime;
mod backend;
mod connection;
mod jail;
mod jail_connection;
pub mod egress;
pub mod models;
mod perform;
mod workspace;
mod output;
mod reap;
mod attend;

pub use attend::{AttendedOutcome, AttendedStreams, InputEvent, OutputChunk, attend};
pub use connection::serve;
pub use error::Error;
pub use runtime::{Options, WorkerRuntime};
pub use tenure_sandbox::protocol::TerminalSize;
pub use workspace::{SCRATCH, check_mounts, host_mount, remove_scratch, try_quota};

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Prepares the worker on this host and serves the daemon at the other end of `socket` until it ends.
///
/// # Errors
/// What [`WorkerRuntime::prepare`] and [`serve`] give. After an error the process must end: the daemon then lets the
/// connection lapse and starts another worker, which ends what this one left.
pub async fn run(options: Options, socket: UnixStream) -> Result<(), Error> {
    // A terminal's interrupt is for the daemon, which ends this worker. Leading a session already is as good.
    let _ = rustix::process::setsid();
    let runtime = tokio::task::spawn_blocking(move || WorkerRuntime::prepare(&options)).await??;
    socket.set_nonblocking(true).map_err(Error::io("prepare the daemon's socket"))?;
    let socket = tokio::net::UnixStream::from_std(socket).map_err(Error::io("prepare the daemon's socket"))?;
    serve(runtime, socket).await
}

/// The socket that the daemon handed over as this process's stdin.
///
/// # Errors
/// `Io`, if the descriptor cannot be copied.
pub fn stdin_socket() -> Result<UnixStream, Error> {
    let copy = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("copy stdin"))?;
    Ok(UnixStream::from(copy))
}
