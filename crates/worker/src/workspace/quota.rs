//! How much an agent may keep on the disk, and who sees to it: the file system, where it refuses its user's writes by itself,
//! else the worker, which looks before each file call that writes and all the time while a program runs.
//! Must never: count what the kernel refuses by itself, or let an agent grow that is over its limit.

use super::beneath::own;
use super::remove::discard;
use super::reserve::Reserve;
use super::unlinked::{JailProcesses, device, unlinked_files};
use super::usage::{Usage, usage};
use crate::error::Error;
use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenure_core::manifest::Quota as QuotaKind;
use tenure_sandbox::protocol::{Refusal, WriteMode};
use tenure_sandbox::{Error as Sandbox, Identity, Quota, Spec, Zygote};

/// Someone who has so little left has nothing left, where only the kernel knows what it refused.
const NOTHING_BYTES: u64 = 64 << 10;
const NOTHING_FILES: u64 = 1;
/// How long one answer of the trial's jail may take, and what it may write.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);
const TRIAL_BYTES: usize = 256 << 10;
const TRIAL_FILES: u32 = 16;
/// Inodes that the worker itself may make for an agent, such as places to mount on.
const SPARE_FILES: u64 = 64;

/// One folder that an agent may fill.
#[derive(Debug)]
pub(crate) struct Root {
    /// Where it appears inside.
    pub(crate) target: PathBuf,
    pub(crate) folder: OwnedFd,
    /// A volume with a size of its own does not count as the agent's disk.
    pub(crate) own: Option<VolumeLimit>,
}

#[derive(Debug)]
pub(crate) struct VolumeLimit {
    pub(crate) resource: String,
    pub(crate) bytes_max: u64,
}

/// What one jail's agent may keep.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// The work folder first.
    pub(crate) roots: Vec<Root>,
    /// What `bytes_max` is called: `disk`, or the volume that is the work folder.
    pub(crate) resource: String,
    /// Of all roots without a size of their own.
    pub(crate) bytes_max: u64,
    /// In all roots together.
    pub(crate) files_max: u64,
    pub(crate) enforcer: Enforcer,
}

/// Who sees to it.
#[derive(Debug)]
pub(crate) enum Enforcer {
    Worker {
        reserve: Arc<Reserve>,
    },
    /// Of a uid on the file system that holds this folder.
    FileSystem {
        folder: OwnedFd,
        uid: u32,
    },
}

/// A limit that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitReached {
    pub(crate) resource: String,
    pub(crate) limit: Option<u64>,
    pub(crate) sentence: String,
}

/// What was found in one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measurement {
    /// In the order of the roots without, then of those with a size of their own.
    bytes: Vec<u64>,
    files: u64,
    /// More is there than could be counted.
    beyond: bool,
    /// Programs hold more open and mapped than can be looked at.
    unseen: bool,
    pub(super) took: Duration,
}

impl Allowance {
    /// Tells the file system what this agent may keep, where that sees to it. The limits are the agent's, not the jail's: of
    /// several executions of different revisions at once, those of the newest opening hold.
    pub(crate) fn impose(&self) -> Result<(), Error> {
        let Enforcer::FileSystem { folder, uid } = &self.enforcer else { return Ok(()) };
        let own: u64 = self.roots.iter().filter_map(|root| root.own.as_ref()).map(|own| own.bytes_max).sum();
        let files = self.files_max + self.roots.len() as u64 + SPARE_FILES;
        let bytes = self.bytes_max.saturating_add(own);
        Quota::limit(folder.as_fd(), *uid, bytes, files).map_err(Error::io("set the agent's quota"))
    }

    /// How it is kept, in words for each call's record.
    pub(crate) fn level(&self) -> &'static str {
        match self.enforcer {
            Enforcer::Worker { .. } => QuotaKind::Soft.as_str(),
            Enforcer::FileSystem { .. } if self.is_looked_after() => "hard, volume sizes soft",
            Enforcer::FileSystem { .. } => QuotaKind::Hard.as_str(),
        }
    }

    /// A user's quota knows no folders: sizes of single volumes are always looked after.
    pub(super) fn is_looked_after(&self) -> bool {
        matches!(self.enforcer, Enforcer::Worker { .. }) || self.roots.iter().any(|root| root.own.is_some())
    }

    /// What nobody may take of the disk; None where the file system keeps agents to their limits.
    pub(super) fn reserve(&self) -> Option<&Reserve> {
        match &self.enforcer {
            Enforcer::Worker { reserve } => Some(reserve),
            Enforcer::FileSystem { .. } => None,
        }
    }

    /// The limits in the order of [`Measurement::bytes`].
    fn limits(&self) -> Vec<(&str, u64)> {
        let own = self.roots.iter().filter_map(|root| root.own.as_ref());
        std::iter::once((self.resource.as_str(), self.bytes_max))
            .chain(own.map(|own| (own.resource.as_str(), own.bytes_max)))
            .collect()
    }

    /// Whose share of [`Measurement::bytes`] a path inside belongs to; None where nothing is counted.
    pub(super) fn share(&self, path: &Path) -> Option<usize> {
        let holds = |root: &&Root| path.starts_with(&root.target);
        let root = self.roots.iter().filter(holds).max_by_key(|root| root.target.components().count())?;
        let own = self.roots.iter().filter(|root| root.own.is_some()).position(|own| std::ptr::eq(own, root));
        Some(own.map_or(0, |own| own + 1))
    }

    /// Looks. Blocks.
    pub(super) fn look(&self, processes: &JailProcesses) -> Result<Measurement, Errno> {
        let began = Instant::now();
        let mut seen = Measurement { bytes: vec![0; self.limits().len()], ..Measurement::default() };
        let mut linked = HashSet::new();
        // Enough to tell by how much it is over, up to where no program is started any more.
        let files_max = self.files_max.saturating_mul(2);
        for root in &self.roots {
            let left = files_max.saturating_sub(seen.files);
            let Usage { bytes, files, beyond } = usage(&root.folder, left, &mut linked)?;
            let share = self.share(&root.target).unwrap_or(0);
            seen.bytes[share] += bytes;
            seen.files += files;
            seen.beyond |= beyond;
        }
        let held = unlinked_files(processes, device(&self.roots[0].folder)?, &mut linked);
        seen.unseen = held.unseen;
        for file in held.files {
            if let Some(share) = self.share(&file.path) {
                seen.bytes[share] += file.bytes;
                seen.files += 1;
            }
        }
        seen.took = began.elapsed();
        Ok(seen)
    }

    /// The first limit that `seen` and what is to be added are over.
    pub(super) fn reached(
        &self,
        seen: &Measurement,
        share: Option<usize>,
        bytes: u64,
        files: u64,
    ) -> Option<LimitReached> {
        for (index, (resource, limit)) in self.limits().into_iter().enumerate() {
            let more = if share == Some(index) { bytes } else { 0 };
            if share.is_none_or(|share| share == index) && seen.bytes[index].saturating_add(more) > limit {
                return Some(used_up(resource, limit, seen.bytes[index], more, "bytes"));
            }
        }
        if seen.beyond || seen.files.saturating_add(files) > self.files_max {
            return Some(used_up("files", self.files_max, seen.files, files, "files and folders"));
        }
        None
    }

    /// Why the kernel had no room for `asked` bytes, where it is the agent's own limit.
    pub(super) fn refused_by_kernel(&self, asked: u64) -> Option<LimitReached> {
        let Enforcer::FileSystem { folder, uid } = &self.enforcer else { return None };
        let quota = Quota::read(folder.as_fd(), *uid).ok()?;
        if quota.files + NOTHING_FILES > quota.files_max && quota.files_max > 0 {
            return Some(used_up("files", self.files_max, quota.files, 0, "files and folders"));
        }
        let left = quota.bytes_max.saturating_sub(quota.bytes);
        (quota.bytes_max > 0 && left < NOTHING_BYTES.max(asked))
            .then(|| used_up(&self.resource, self.bytes_max, quota.bytes, asked, "bytes"))
    }
}

fn used_up(resource: &str, limit: u64, used: u64, more: u64, unit: &str) -> LimitReached {
    let asked = if more == 0 { String::new() } else { format!(" and this needs {more} more") };
    let sentence = format!(
        "the limit of {resource} is reached: {used} {unit} are there, {limit} are allowed{asked}. Delete what is not needed; \
         what filesystem.delete moved to .trash counts until it is deleted there too"
    );
    LimitReached { resource: resource.to_owned(), limit: Some(limit), sentence }
}

fn unseen() -> LimitReached {
    let sentence = "its programs hold more files open and mapped than can be looked at, so that nobody could say how much of the disk \
                    they take; open fewer at a time"
        .to_owned();
    LimitReached { resource: "files".to_owned(), limit: None, sentence }
}

/// What a program started with, which it may not exceed where that was over the limit already.
#[derive(Debug)]
pub(crate) struct Baseline {
    bytes: Vec<u64>,
    files: u64,
}

impl Allowance {
    /// What a program may not exceed that starts now; Err where too much is there for any program.
    pub(super) fn baseline(&self, seen: &Measurement) -> Result<Baseline, LimitReached> {
        let limits = self.limits();
        let far = |(index, (_, limit)): (usize, &(&str, u64))| seen.bytes[index] > limit.saturating_mul(2);
        if seen.beyond || limits.iter().enumerate().any(far) {
            return Err(self.reached(seen, None, 0, 0).expect("invariant: what is over twice a limit is over it"));
        }
        let bytes = limits.iter().zip(&seen.bytes).map(|((_, limit), there)| *limit.max(there)).collect();
        Ok(Baseline { bytes, files: seen.files.max(self.files_max) })
    }

    /// What a running program has grown over.
    pub(super) fn over(&self, seen: &Measurement, baseline: &Baseline) -> Option<LimitReached> {
        let limits = self.limits();
        let mut grown = limits.iter().enumerate().filter(|(index, _)| seen.bytes[*index] > baseline.bytes[*index]);
        if let Some((index, (resource, limit))) = grown.next() {
            return Some(used_up(resource, *limit, seen.bytes[index], 0, "bytes"));
        }
        if seen.unseen {
            return Some(unseen());
        }
        (seen.beyond || seen.files > baseline.files)
            .then(|| used_up("files", self.files_max, seen.files, 0, "files and folders"))
    }

    /// The first limit of which so little is left that nothing can be done with it.
    pub(super) fn fullest(&self, seen: &Measurement) -> Option<LimitReached> {
        let mut limits = self.limits().into_iter().enumerate();
        let full = limits.find(|(index, (_, limit))| limit.saturating_sub(seen.bytes[*index]) < NOTHING_BYTES);
        full.map(|(index, (resource, limit))| used_up(resource, limit, seen.bytes[index], 0, "bytes"))
    }
}

impl Measurement {
    pub(super) fn all_bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }

    pub(super) fn has_grown_since(&self, before: &Measurement) -> bool {
        self.files > before.files || self.bytes.iter().zip(&before.bytes).any(|(now, then)| now > then)
    }
}

/// Tries, as the trial's user, whether the file system of `agents` refuses what goes over a quota: first by number, then by
/// bytes. Only a refusal is a proof.
pub(super) fn is_kept(zygote: &Zygote, agents: &OwnedFd, path: &Path, uid: u32) -> bool {
    let Ok(before) = Quota::read(agents.as_fd(), uid) else { return false };
    let tried = try_limits(zygote, agents, path, uid, before);
    let lifted = Quota::limit(agents.as_fd(), uid, 0, 0);
    let cleared = discard(agents.as_fd(), TRIAL, agents.as_fd());
    match (tried, lifted, cleared) {
        (Ok(true), Ok(()), Ok(())) => true,
        (Ok(false), _, _) => {
            tracing::warn!(folder = %path.display(), "its file system counts for each user and refuses nobody: quotas are soft");
            false
        }
        (tried, lifted, cleared) => {
            tracing::warn!(?tried, ?lifted, ?cleared, "whether this file system keeps quotas could not be tried");
            false
        }
    }
}

const TRIAL: &CStr = c"trial";

fn try_limits(zygote: &Zygote, agents: &OwnedFd, path: &Path, uid: u32, before: Quota) -> Result<bool, Error> {
    let work_folder = path.join("trial");
    let describe = || format!("make {}", work_folder.display());
    discard(agents.as_fd(), TRIAL, agents.as_fd()).map_err(Error::errno(describe()))?;
    mkdirat(agents, TRIAL, Mode::from(0o700)).map_err(Error::errno(describe()))?;
    own(agents, "trial", Identity::Host { uid, gid: uid }, &work_folder)?;
    // The folder and one file, or a few more: XFS still counts for a while what was just removed.
    Quota::limit(agents.as_fd(), uid, 0, before.files + 2).map_err(Error::io("set a quota"))?;
    let jail = zygote.open(&Spec::new(&work_folder, Identity::Host { uid, gid: uid }))?;
    let mut client = jail.client(TRIAL_TIMEOUT)?;
    let mut write = |name: &str, bytes: usize| client.write(name, &vec![b'x'; bytes], WriteMode::Overwrite);
    let refused = |written| matches!(written, Err(Sandbox::Refused(Refusal::NoSpace)));
    let mut more = (0..TRIAL_FILES).map(|count| write(&format!("more-{count}"), 1));
    let by_number = more.next().is_some_and(|first| first.is_ok()) && more.any(refused);
    Quota::limit(agents.as_fd(), uid, before.bytes + TRIAL_BYTES as u64, 0).map_err(Error::io("set a quota"))?;
    let by_bytes = write("small", 1).is_ok() && refused(write("large", 2 * TRIAL_BYTES));
    jail.kill()?;
    Ok(by_number && by_bytes)
}
