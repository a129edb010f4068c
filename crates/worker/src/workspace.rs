//! An agent's folders: the work folder, kept between its executions, and its volumes, owned by a host id of its own where the
//! worker is root. Must never: follow a link beneath the data directory, or give two agents one id.
mod beneath;
mod owners;
mod host_ids;
mod view;
mod volume;
mod mount;
mod layout;
mod usage;
mod unlinked;
mod quota;
mod reserve;
mod quota_watcher;
mod remove;
mod sweep;
mod scratch;
mod files;

pub(crate) use layout::Layout;
pub use mount::{check_mounts, host_mount};
pub(crate) use quota::{Allowance, Baseline, LimitReached};
pub(crate) use quota_watcher::{QuotaWatcher, Unavailable};
pub use scratch::{SCRATCH, remove_scratch};
pub(crate) use sweep::SWEEP_EVERY;
pub(crate) use unlinked::JailProcesses;
pub(crate) use volume::Claim;

use crate::error::Error;
use beneath::{FOLDER, at, open_beneath, private};
use owners::Owners;
use reserve::Reserve;
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenure_core::id::AgentId;
use tenure_core::manifest::{HostMount, Quota};
use tenure_sandbox::{Identity, PoolSize, Zygote};
use volume::Found;

#[derive(Debug)]
pub(crate) struct WorkFolders {
    agents: OwnedFd,
    path: PathBuf,
    owners: Owners,
    /// What of the host the operator lets agents see.
    mounts: Vec<HostMount>,
    /// Whether the file system keeps agents to their limits.
    hard: bool,
    reserve: Arc<Reserve>,
}

/// The folder that holds all of one agent's; only the worker may enter it.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    folder: OwnedFd,
}

/// How the file system that holds `folder` keeps agents to what they may store: tried there, with nothing left behind. Blocks
/// for some tens of milliseconds. `exe` is what a worker's zygote runs.
///
/// # Errors
/// `Io` if nothing can be made in `folder`; `Sandbox` if no zygote starts.
pub fn try_quota(exe: &Path, folder: &Path) -> Result<Quota, Error> {
    let scratch = folder.join(format!("quota-check-{}", std::process::id()));
    let run = scratch.join("run");
    std::fs::create_dir_all(&run).map_err(Error::io(format!("make {}", run.display())))?;
    let tried = scratch.canonicalize().map_err(Error::io("look at the folder")).and_then(|scratch| {
        let zygote = Zygote::start_with(exe, &run, PoolSize::None)?;
        Ok(WorkFolders::open(&scratch, Vec::new())?.find_quota(&zygote))
    });
    std::fs::remove_dir_all(&scratch).map_err(Error::io(format!("remove {}", scratch.display())))?;
    tried
}

impl WorkFolders {
    /// `data_dir` must be canonical. Scans the owners of the folders that are there.
    pub(crate) fn open(data_dir: &Path, mounts: Vec<HostMount>) -> Result<WorkFolders, Error> {
        check_mounts(&mounts, data_dir)?;
        let path = data_dir.join("agents");
        let top = open(data_dir, FOLDER | OFlags::PATH, Mode::empty()).map_err(at("open", data_dir))?;
        let agents = private(top.as_fd(), "agents", &path)?;
        let owners = Owners::look(&agents, &path, data_dir)?;
        let reserve = Arc::new(Reserve::of(agents.try_clone().map_err(Error::io("copy a descriptor"))?));
        Ok(WorkFolders { agents, path, owners, mounts, hard: false, reserve })
    }

    /// Has the host know which ids were given here, before another worker gives one.
    pub(crate) fn claim_known_ids(&self) -> Result<(), Error> {
        match &self.owners {
            Owners::Range(ids) => ids.register(),
            Owners::Caller => Ok(()),
        }
    }

    /// Whether the file system keeps agents to their limits here: it is tried.
    pub(crate) fn find_quota(&mut self, zygote: &Zygote) -> Quota {
        match &self.owners {
            Owners::Range(ids) => self.hard = quota::is_kept(zygote, &self.agents, &self.path, ids.trial()),
            Owners::Caller => {}
        }
        if self.hard { Quota::Hard } else { Quota::Soft }
    }

    pub(crate) fn trial_identity(&self) -> Identity {
        match &self.owners {
            Owners::Range(ids) => Identity::Host { uid: ids.trial(), gid: ids.trial() },
            Owners::Caller => Identity::Caller,
        }
    }

    /// The agent's folders, made if it has none. Blocks; may run for several jails at once.
    fn home(&self, agent: AgentId) -> Result<(Home, Found, Identity), Error> {
        let name = agent.to_string();
        let home = self.path.join(&name);
        let path = home.join("work");
        let was_there = open_beneath(self.agents.as_fd(), &name).is_ok();
        let agent = private(self.agents.as_fd(), &name, &home)?;
        let folder = match open_beneath(agent.as_fd(), "work") {
            Err(Errno::NOENT) => {
                if was_there {
                    tracing::warn!(folder = %path.display(), "this agent's work folder is gone: it gets a new, empty one");
                }
                self.owners.make(&agent, &path)?;
                open_beneath(agent.as_fd(), "work").map_err(at("open", &path))?
            }
            found => found.map_err(at("open", &path))?,
        };
        let identity = self.owners.identity(&fstat(&folder).map_err(at("look at", &path))?, &path)?;
        Ok((Home { path: home, folder: agent }, Found { path, folder }, identity))
    }
}
