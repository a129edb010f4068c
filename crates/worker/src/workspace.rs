//! An agent's folders: the work folder, kept between its executions, and its volumes, owned by a host id of its own where the
//! worker is root. Must never: follow a link beneath the data directory, or give two agents one id.
mod beneath;
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

pub(crate) use layout::Layout;
pub use mount::{check_mounts, host_mount};
pub(crate) use quota::{Allowance, Baseline, LimitReached};
pub(crate) use quota_watcher::{QuotaWatcher, Unavailable};
pub use scratch::{SCRATCH, remove_scratch};
pub(crate) use sweep::SWEEP_EVERY;
pub(crate) use unlinked::JailProcesses;
pub(crate) use volume::Claim;

use crate::error::Error;
use beneath::{BENEATH, FOLDER, at, open_beneath, private};
use reserve::Reserve;
use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchown, fstat, mkdirat, open, openat2, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tenure_core::id::AgentId;
use tenure_core::manifest::{HostMount, Quota};
use tenure_sandbox::{Identity, PoolSize, Zygote};
use volume::Found;

/// Where host ids of agents may begin: the first that this (perhaps nested) user namespace maps is taken.
const RANGES: [u32; 3] = [2_000_000, 200_000, 30_000];
const RANGE_IDS: u32 = 30_000;
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

#[derive(Debug)]
enum Owners {
    /// The worker is root: each agent has an id of its own; the range's first is the trial jail's.
    Range { first: u32, next: AtomicU32 },
    /// The worker's own user.
    Caller,
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
        let owners = if rustix::process::geteuid().is_root() { Owners::scan(&agents, &path)? } else { Owners::Caller };
        let reserve = Arc::new(Reserve::of(agents.try_clone().map_err(Error::io("copy a descriptor"))?));
        Ok(WorkFolders { agents, path, owners, mounts, hard: false, reserve })
    }

    /// Whether the file system keeps agents to their limits here: it is tried.
    pub(crate) fn find_quota(&mut self, zygote: &Zygote) -> Quota {
        match &self.owners {
            Owners::Range { first, .. } => self.hard = quota::is_kept(zygote, &self.agents, &self.path, *first),
            Owners::Caller => {}
        }
        if self.hard { Quota::Hard } else { Quota::Soft }
    }

    pub(crate) fn trial_identity(&self) -> Identity {
        match &self.owners {
            Owners::Range { first, .. } => Identity::Host { uid: *first, gid: *first },
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

impl Owners {
    fn scan(agents: &OwnedFd, path: &Path) -> Result<Owners, Error> {
        let first = first_id().ok_or_else(|| Error::IdsUsedUp { from: RANGES[2], to: RANGES[2] + RANGE_IDS })?;
        let mut next = first + 1;
        let folder = openat2(agents, ".", FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH).map_err(at("list", path))?;
        for entry in Dir::read_from(&folder).map_err(at("list", path))? {
            let entry = entry.map_err(at("list", path))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(agent) = name.parse::<AgentId>() else { continue };
            let home = openat2(agents, agent.to_string(), FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH)
                .map_err(at("open", path))?;
            for inner in Dir::read_from(&home).map_err(at("list", path))? {
                let inner = inner.map_err(at("list", path))?;
                let found = statat(&home, inner.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(at("look at", path))?;
                if (first..first + RANGE_IDS).contains(&found.st_uid) {
                    next = next.max(found.st_uid + 1);
                }
                if inner.file_name().to_bytes().starts_with(b"work.") {
                    // A making that was cut short; it is still empty.
                    let _ = unlinkat(&home, inner.file_name(), AtFlags::REMOVEDIR);
                }
            }
        }
        Ok(Owners::Range { first, next: AtomicU32::new(next) })
    }

    /// Makes `work` whole or not at all: of two makings at once, the second one's is dropped.
    fn make(&self, home: &OwnedFd, path: &Path) -> Result<(), Error> {
        let id = match self {
            Owners::Caller => None,
            Owners::Range { first, next } => {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= first + RANGE_IDS {
                    return Err(Error::IdsUsedUp { from: *first, to: first + RANGE_IDS });
                }
                Some(id)
            }
        };
        let made = format!("work.{}", id.unwrap_or_else(std::process::id));
        match mkdirat(home, &made, Mode::from(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(at("make", path)(errno)),
        }
        if let Some(id) = id {
            let folder =
                openat2(home, &made, FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH).map_err(at("open", path))?;
            fchown(&folder, Some(Uid::from_raw(id)), Some(Gid::from_raw(id))).map_err(at("give away", path))?;
        }
        match renameat_with(home, &made, home, "work", RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST | Errno::NOENT) => {
                // Another call made it first.
                let _ = unlinkat(home, &made, AtFlags::REMOVEDIR);
                Ok(())
            }
            Err(errno) => Err(at("make", path)(errno)),
        }
    }

    fn identity(&self, found: &Stat, path: &Path) -> Result<Identity, Error> {
        let refuse = |why| Err(Error::Unsafe { path: path.display().to_string(), why });
        match self {
            Owners::Caller if found.st_uid == rustix::process::geteuid().as_raw() => Ok(Identity::Caller),
            Owners::Caller => refuse("it belongs to another user; was this data directory used as root before?"),
            Owners::Range { first, .. } if (first + 1..first + RANGE_IDS).contains(&found.st_uid) => {
                Ok(Identity::Host { uid: found.st_uid, gid: found.st_gid })
            }
            Owners::Range { .. } => {
                refuse("its owner is none of the ids for agents; chown it to a free one, or remove it")
            }
        }
    }
}

/// The first id of the first range that `/proc/self/{uid,gid}_map` holds whole.
fn first_id() -> Option<u32> {
    let maps =
        ["/proc/self/uid_map", "/proc/self/gid_map"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let holds = |map: &str, first: u32| {
        map.lines().any(|line| {
            let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
            let (inside, _, count) = (numbers.next(), numbers.next(), numbers.next());
            let (Some(inside), Some(count)) = (inside, count) else { return false };
            inside <= u64::from(first) && u64::from(first + RANGE_IDS) <= inside + count
        })
    };
    RANGES.into_iter().find(|first| maps.iter().all(|map| holds(map, *first)))
}
