//! Whose the files of an agent are on the host: as root, an id of its own; else the worker's user. Must never: give two agents
//! one id, or take a folder of another owner for an agent's.
use super::beneath::{BENEATH, FOLDER, at};
use super::host_ids::HostIds;
use crate::error::Error;
use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchown, mkdirat, openat2, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use tenure_core::id::AgentId;
use tenure_sandbox::Identity;

#[derive(Debug)]
pub(super) enum Owners {
    /// The worker is root: each agent has an id of its own.
    Range(HostIds),
    /// The worker's own user.
    Caller,
}

impl Owners {
    /// `agents`: the folder of all homes, whose owners are looked at.
    pub(super) fn look(agents: &OwnedFd, path: &Path, data_dir: &Path) -> Result<Owners, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Owners::Caller);
        }
        let ids = HostIds::open(data_dir)?;
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
                ids.seen(found.st_uid);
                if inner.file_name().to_bytes().starts_with(b"work.") {
                    // A making that was cut short; it is still empty.
                    let _ = unlinkat(&home, inner.file_name(), AtFlags::REMOVEDIR);
                }
            }
        }
        Ok(Owners::Range(ids))
    }

    /// Makes `work` whole or not at all: of two makings at once, the second one's is dropped.
    pub(super) fn make(&self, home: &OwnedFd, path: &Path) -> Result<(), Error> {
        let id = match self {
            Owners::Caller => None,
            Owners::Range(ids) => Some(ids.claim()?),
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

    pub(super) fn identity(&self, found: &Stat, path: &Path) -> Result<Identity, Error> {
        let refuse = |why| Err(Error::Unsafe { path: path.display().to_string(), why });
        match self {
            Owners::Caller if found.st_uid == rustix::process::geteuid().as_raw() => Ok(Identity::Caller),
            Owners::Caller => refuse("it belongs to another user; was this data directory used as root before?"),
            Owners::Range(ids) if ids.holds(found.st_uid) => {
                Ok(Identity::Host { uid: found.st_uid, gid: found.st_gid })
            }
            Owners::Range(_) => refuse("its owner is none of the ids for agents; chown it to a free one, or remove it"),
        }
    }
}
