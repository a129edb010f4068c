//! One container as the worker sees it. Must never: call it dead before its first process is, or wait without a deadline.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerState;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::time::sleep;

use super::call::{self, Answered};
use crate::client::Client;
use crate::error::Error;
use crate::level::{Level, Mapping, Meter};
use crate::native::channel;
use crate::native::record::Slot;

/// How long a killed process may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// After which a killed process is taken for one that is paused.
const THAW_AFTER: Duration = Duration::from_secs(1);
/// How long the engine may take to remove a dead container.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often, and how many times, it is asked why one ended.
const CAUSE_EVERY: Duration = Duration::from_millis(100);
const CAUSE_TRIES: u32 = 20;

/// A jail whose root is an image's. Dropping it kills everything in it, without waiting.
#[derive(Debug)]
pub struct Contained {
    pub(super) docker: Docker,
    pub(super) engine: String,
    pub(super) id: String,
    pub(super) container: String,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) socket: Option<UnixStream>,
    pub(super) listener: Option<TcpListener>,
    pub(super) service: Option<TcpListener>,
    pub(super) level: Level,
    pub(super) further: Vec<&'static str>,
    pub(super) selinux: bool,
    pub(super) groups: Vec<PathBuf>,
    pub(super) slot: Slot,
}

/// What became of a container whose processes are all proven dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// The engine knows it no more.
    Removed,
    /// The engine did not answer; the worker's next start removes what it still lists.
    Left { why: String },
}

impl Contained {
    /// Unique among all jails of this host since its boot.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host's process id of the container's first process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable once the container's first process, and with it every process in it, is dead.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn level(&self) -> &Level {
        &self.level
    }

    /// What holds it, in at most 256 characters.
    pub fn describe(&self) -> String {
        let meter = |meter| match meter {
            Meter::Engine => "engine",
            Meter::CgroupV2 | Meter::CgroupV1 => "cgroup",
            Meter::Rlimit => "rlimit",
            Meter::None => "none",
        };
        let identity = match self.level.identity {
            Mapping::Host => "own host id",
            Mapping::Caller => "worker's user",
        };
        let mut namespaces = "mount pid net ipc uts".to_owned();
        for further in &self.further {
            namespaces.push(' ');
            namespaces.push_str(further);
        }
        let landlock =
            if self.level.landlock == 0 { "none".to_owned() } else { format!("abi {}", self.level.landlock) };
        format!(
            "{}: namespaces {namespaces}, identity {identity}, landlock {landlock}, seccomp {}, memory {}, pids {}, cpu {}{}",
            self.engine,
            if self.level.seccomp { "on" } else { "none" },
            meter(self.level.memory),
            meter(self.level.pids),
            meter(self.level.cpu),
            if self.selinux { ", selinux label off" } else { "" },
        )
    }

    /// The control groups that hold it.
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.groups
    }

    /// The socket that speaks `protocol`; None if it was taken. Its end kills the container.
    pub fn take_socket(&mut self) -> Option<UnixStream> {
        self.socket.take()
    }

    /// As `Jail::take_listener`.
    pub fn take_listener(&mut self) -> Option<TcpListener> {
        self.listener.take()
    }

    /// The same of the listener on `service_port`.
    pub fn take_service_listener(&mut self) -> Option<TcpListener> {
        self.service.take()
    }

    /// A blocking client over a copy of the socket.
    pub fn client(&self, patience: Duration) -> Result<Client, Error> {
        let socket = self.socket.as_ref().ok_or(Error::JailLost)?;
        Ok(Client::new(socket.try_clone().map_err(Error::io("copy the jail's socket"))?, patience))
    }

    /// Whether every process of the container is dead.
    pub fn is_dead(&self) -> bool {
        channel::readable(&self.pidfd, Duration::ZERO).unwrap_or(false)
    }

    /// Stops all its processes where they are.
    pub async fn freeze(&self) -> Result<(), Error> {
        call::must(&self.engine, "pause the container", REMOVE_TIMEOUT, self.docker.pause_container(&self.container))
            .await
    }

    /// Lets them go on.
    pub async fn thaw(&self) -> Result<(), Error> {
        call::must(
            &self.engine,
            "unpause the container",
            REMOVE_TIMEOUT,
            self.docker.unpause_container(&self.container),
        )
        .await
    }

    /// Why it ended by itself, as far as the engine knows.
    pub async fn cause(&self) -> Option<String> {
        for _ in 0..CAUSE_TRIES {
            let state = match call::ask(REMOVE_TIMEOUT, self.docker.inspect_container(&self.container, None)).await {
                Answered::Yes(found) => found.state?,
                Answered::Unclear(_) => ContainerState::default(),
                Answered::Absent | Answered::No(_) => return None,
            };
            match (state.oom_killed, state.running, state.exit_code) {
                (Some(true), _, _) => return Some("its memory was used up".to_owned()),
                (_, Some(false), Some(code)) => return Some(format!("its first process ended with code {code}")),
                // The engine has not noticed yet.
                (_, _, _) => sleep(CAUSE_EVERY).await,
            }
        }
        None
    }

    /// Kills every process of the container and returns once they are proven dead. Then has the engine forget it; an engine
    /// that does not answer changes nothing about the death.
    ///
    /// # Errors
    /// `Unproven`.
    pub async fn kill(&self) -> Result<Removal, Error> {
        let unproven = || Error::Unproven { what: format!("the container of jail {}", self.id) };
        // Where a signal is not permitted, the engine's removal kills.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if !self.gone_within(THAW_AFTER).await {
            // A paused process dies only once it goes on; an unpaused one cannot be thawed, which is as good.
            let _ = self.thaw().await;
        }
        let removed = call::remove(&self.docker, &self.container, REMOVE_TIMEOUT).await;
        if !self.gone_within(KILL_TIMEOUT).await {
            return Err(unproven());
        }
        // Only what is proven dead may lose its record.
        let _ = self.slot.clear().and_then(|()| self.slot.remove());
        Ok(match removed {
            Ok(()) => Removal::Removed,
            Err(why) => Removal::Left { why },
        })
    }

    async fn gone_within(&self, patience: Duration) -> bool {
        let Ok(copy) = self.pidfd.try_clone() else { return self.is_dead() };
        let waiting = tokio::task::spawn_blocking(move || channel::readable(&copy, patience).unwrap_or(false));
        waiting.await.unwrap_or(false)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // The end of the socket ends it too. What the engine still lists is removed at the worker's end or next start.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}
