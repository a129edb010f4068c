//! Removes what is past its time: trash that is older than a week, ephemeral volumes, and what earlier removals left.
//! Must never: work for long at a time, or touch what a jail shows but for its old trash.

use super::beneath::{BENEATH, FOLDER, at, open_beneath};
use super::remove::{Effort, clear, discard, reach};
use super::volume::{self, EPHEMERAL, Found, PERSISTENT, Removal, now_ms};
use super::{Home, WorkFolders};
use crate::error::Error;
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tenure_core::call::Holder;
use tenure_core::id::AgentId;
use tenure_sandbox::protocol::{TRASH, TRASH_ORIGINS};
use tenure_sandbox::{Identity, Quota};
use tokio_util::sync::CancellationToken;

/// How long deleted files are kept in the trash.
pub(super) const TRASH_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often all agents are looked at.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// What one agent's part of a sweep may take.
const AGENT_TIME: Duration = Duration::from_secs(5);
const AGENT_ENTRIES: u64 = 1_000_000;
/// What the end of an execution waits for; the rest goes with the next sweep.
const END_TIME: Duration = Duration::from_secs(1);
/// What the removal of one agent's home may take at once.
const REMOVAL_TIME: Duration = Duration::from_secs(60);

impl WorkFolders {
    /// All agents, one after another. Blocks, until it is done or stopped.
    pub(crate) fn sweep(&self, stop: &CancellationToken) {
        let effort = || Effort::new(AGENT_TIME, AGENT_ENTRIES, stop.clone());
        if let Err(error) = clear(self.agents.as_fd(), &self.path, &mut effort()) {
            tracing::warn!(%error, "removed agents' folders could not be cleared");
        }
        self.each_home(|home| {
            if !stop.is_cancelled() {
                agent(home, &mut effort());
            }
        });
    }

    /// Removes the ephemeral volumes of an execution or session whose jails are proven dead. Blocks; the bulk may be left to a sweep.
    pub(crate) fn end(&self, agent: AgentId, holder: Holder) {
        let home = match self.find_home(agent) {
            Ok(Some(home)) => home,
            Ok(None) => return,
            Err(errno) => return tracing::warn!(%errno, %holder, "its volumes could not be removed"),
        };
        match volume::end(&home, holder) {
            Ok(Removal::None) => {}
            Ok(Removal::Discarded) => {
                let mut effort = Effort::new(END_TIME, AGENT_ENTRIES, CancellationToken::new());
                let _ = clear(home.folder.as_fd(), &home.path, &mut effort)
                    .inspect_err(|error| tracing::warn!(%error, %holder, "its volumes could not be removed"));
            }
            Ok(Removal::Shown) => {
                tracing::warn!(%holder, "its volumes are still shown; they go when their time is over")
            }
            Err(errno) => tracing::warn!(%errno, %holder, "its volumes could not be removed"),
        }
    }

    /// Removes all of one agent's, of whom no jail is open; nothing to remove is as good. Blocks; the bulk may be left to a sweep.
    pub(crate) fn remove_home(&self, agent: AgentId) -> Result<(), Error> {
        let (name, path) = (agent.to_string(), self.path.join(agent.to_string()));
        let Some(home) = self.find_home(agent).map_err(at("open", &path))? else { return Ok(()) };
        if self.hard
            && let Ok(work) = open_beneath(home.folder.as_fd(), "work")
            && let Identity::Host { uid, .. } =
                self.owners.identity(&fstat(&work).map_err(at("look at", &path))?, &path)?
            && let Err(error) = Quota::limit(self.agents.as_fd(), uid, 0, 0)
        {
            tracing::warn!(%error, %agent, "the quota of a removed agent could not be lifted");
        }
        let c_name = CString::new(name).expect("invariant: an id holds no zero byte");
        discard(self.agents.as_fd(), &c_name, self.agents.as_fd()).map_err(at("remove", &path))?;
        // From here on it is nobody's home any more.
        let mut effort = Effort::new(REMOVAL_TIME, AGENT_ENTRIES, CancellationToken::new());
        match clear(self.agents.as_fd(), &self.path, &mut effort) {
            Ok(true) => {}
            Ok(false) => tracing::info!(%agent, "its home is large; the rest of it goes with the next sweep"),
            Err(error) => tracing::warn!(%error, %agent, "the rest of its home goes with the next sweep"),
        }
        Ok(())
    }

    fn find_home(&self, agent: AgentId) -> Result<Option<Home>, Errno> {
        let name = agent.to_string();
        match open_beneath(self.agents.as_fd(), &name) {
            Ok(folder) => Ok(Some(Home { path: self.path.join(name), folder })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn each_home(&self, mut deal: impl FnMut(&Home)) {
        let listed = openat2(&self.agents, ".", FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH);
        let entries = match listed.and_then(Dir::read_from) {
            Ok(entries) => entries,
            Err(errno) => return tracing::warn!(folder = %self.path.display(), %errno, "agents cannot be listed"),
        };
        for entry in entries.filter_map(Result::ok) {
            let Some(name) = entry.file_name().to_str().ok().filter(|name| name.parse::<AgentId>().is_ok()) else {
                continue;
            };
            let path = self.path.join(name);
            match open_beneath(self.agents.as_fd(), name) {
                Ok(folder) => deal(&Home { path, folder }),
                Err(errno) => tracing::warn!(folder = %path.display(), %errno, "an agent's folders cannot be opened"),
            }
        }
    }
}

/// One agent's. What cannot be removed now is tried again by the next sweep.
pub(super) fn agent(home: &Home, effort: &mut Effort) {
    let path = home.path.display();
    if let Err(errno) = volume::sweep(home, effort) {
        tracing::warn!(folder = %path, %errno, "old volumes could not be removed");
    }
    if let Err(errno) = trashes(home, effort) {
        tracing::warn!(folder = %path, %errno, "old trash could not be removed");
    }
    if let Err(error) = clear(home.folder.as_fd(), &home.path, effort) {
        tracing::warn!(folder = %path, %error, "something discarded could not be removed");
    }
}

/// The trash of a folder in the work folder that a view lets be written.
pub(super) fn trash_in(home: &Home, work: &Found, path: &Path, effort: &mut Effort) {
    let resolve = BENEATH | ResolveFlags::NO_XDEV;
    let swept = match openat2(&work.folder, path, FOLDER | OFlags::PATH, Mode::empty(), resolve) {
        Ok(folder) => trash(home, &folder, effort),
        // A single file.
        Err(Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    };
    if let Err(errno) = swept {
        tracing::warn!(folder = %work.path.join(path).display(), %errno, "old trash could not be removed");
    }
}

/// Of the work folder and of every volume.
fn trashes(home: &Home, effort: &mut Effort) -> Result<(), Errno> {
    match open_beneath(home.folder.as_fd(), "work") {
        Err(Errno::NOENT) => {}
        work => trash(home, &work?, effort)?,
    }
    for (kind, depth) in [(PERSISTENT, 1), (EPHEMERAL, 2)] {
        match open_beneath(home.folder.as_fd(), kind) {
            Err(Errno::NOENT) => {}
            all => each(&all?, depth, &mut |volume| trash(home, volume, effort))?,
        }
    }
    Ok(())
}

/// The folders that lie `depth` levels in `top`; all above them are the worker's own.
fn each(top: &OwnedFd, depth: u32, deal: &mut dyn FnMut(&OwnedFd) -> Result<(), Errno>) -> Result<(), Errno> {
    if depth == 0 {
        return deal(top);
    }
    let listed = openat2(top, ".", FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH)?;
    for entry in Dir::read_from(&listed)? {
        let entry = entry?;
        if entry.file_name().to_bytes().starts_with(b".") {
            continue;
        }
        match openat2(top, entry.file_name(), FOLDER | OFlags::PATH, Mode::empty(), BENEATH) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            folder => each(&folder?, depth - 1, deal)?,
        }
    }
    Ok(())
}

/// Discards the entries of a trash, and notes of where they lay, that are older than they may be.
fn trash(home: &Home, top: &OwnedFd, effort: &mut Effort) -> Result<(), Errno> {
    let too_old = now_ms().saturating_sub(u64::try_from(TRASH_KEPT.as_millis()).unwrap_or(u64::MAX));
    let Some(trash) = agents_own(top, TRASH)? else { return Ok(()) };
    old_ones(home, &trash, too_old, effort)?;
    match agents_own(&trash, TRASH_ORIGINS)? {
        Some(origins) => old_ones(home, &origins, too_old, effort),
        None => Ok(()),
    }
}

/// A folder that the agent may have replaced by anything.
fn agents_own(parent: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    match reach(parent.as_fd(), &name) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn old_ones(home: &Home, folder: &OwnedFd, too_old: u64, effort: &mut Effort) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !effort.spend() {
            return Ok(());
        }
        if deleted_ms(entry.file_name()).is_some_and(|at| at < too_old) {
            discard(folder.as_fd(), entry.file_name(), home.folder.as_fd())?;
        }
    }
    Ok(())
}

/// When something was deleted, by its name in the trash. What has another name was put there by the agent: it stays.
fn deleted_ms(name: &CStr) -> Option<u64> {
    let (time, rest) = name.to_str().ok()?.split_once('-')?;
    let (count, _) = rest.split_once('-')?;
    count.parse::<u32>().ok()?;
    time.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_deletion_is_read_from_a_name_of_ours_alone() {
        assert_eq!(deleted_ms(c"1700000000000-3-a-b"), Some(1_700_000_000_000));
        for name in [c".from", c"notes", c"17-a", c"x-3-a", c"17-x-a", c"-3-a", c""] {
            assert_eq!(deleted_ms(name), None, "{name:?}");
        }
    }
}
