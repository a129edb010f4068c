//! How much an agent may keep on the disk, and who sees to it: the file system, where it refuses its user's writes by itself,
//! else the worker, which looks before each file call that writes and all the time while a program runs.
//! Must never: count what the kernel refuses by itself, or let an agent grow that is over its limit.

use super::held::{Inmates, device, held};
use super::own;
use super::remove::discard;
use super::usage::{Usage, usage};
use crate::error::Error;
use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenure_core::manifest::Quota as Kept;
use tenure_sandbox::protocol::{Refusal, WriteMode};
use tenure_sandbox::{Error as Sandbox, Identity, Quota, Spec, Zygote};
use tokio::sync::{mpsc, oneshot};

/// Looking may take this part of the time at most.
const PART: u32 = 10;
/// The times between two looks while a program runs: the shortest after growth, the longest after none for a while.
const PERIOD_MIN: Duration = Duration::from_millis(20);
pub(crate) const PERIOD_MAX: Duration = Duration::from_millis(250);
/// Someone who has so little left has nothing left, where only the kernel knows what it refused.
const NOTHING_BYTES: u64 = 64 << 10;
const NOTHING_FILES: u64 = 1;
const WANTS_MAX: usize = 64;
/// How long one answer of the trial's jail may take, and what it may write.
const PATIENCE: Duration = Duration::from_secs(10);
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
    pub(crate) own: Option<Own>,
}

#[derive(Debug)]
pub(crate) struct Own {
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
    pub(crate) keeper: Keeper,
}

/// Who sees to it.
#[derive(Debug)]
pub(crate) enum Keeper {
    Worker,
    /// Of a uid on the file system that holds this folder.
    FileSystem {
        folder: OwnedFd,
        uid: u32,
    },
}

/// A limit that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) resource: String,
    pub(crate) limit: Option<u64>,
    pub(crate) sentence: String,
}

/// What was found in one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// In the order of the roots without, then of those with a size of their own.
    bytes: Vec<u64>,
    files: u64,
    /// More is there than could be counted.
    beyond: bool,
    took: Duration,
}

impl Allowance {
    /// Tells the file system what this agent may keep, where that sees to it. The limits are the agent's, not the jail's: of
    /// several executions of different revisions at once, those of the newest opening hold.
    pub(crate) fn impose(&self) -> Result<(), Error> {
        let Keeper::FileSystem { folder, uid } = &self.keeper else { return Ok(()) };
        let own: u64 = self.roots.iter().filter_map(|root| root.own.as_ref()).map(|own| own.bytes_max).sum();
        let files = self.files_max + self.roots.len() as u64 + SPARE_FILES;
        let bytes = self.bytes_max.saturating_add(own);
        Quota::limit(folder.as_fd(), *uid, bytes, files).map_err(Error::io("set the agent's quota"))
    }

    /// How it is kept, in words for each call's record.
    pub(crate) fn level(&self) -> &'static str {
        match self.keeper {
            Keeper::Worker => Kept::Soft.word(),
            Keeper::FileSystem { .. } if self.is_looked_after() => "hard, volume sizes soft",
            Keeper::FileSystem { .. } => Kept::Hard.word(),
        }
    }

    /// A user's quota knows no folders: sizes of single volumes are always looked after.
    fn is_looked_after(&self) -> bool {
        matches!(self.keeper, Keeper::Worker) || self.roots.iter().any(|root| root.own.is_some())
    }

    /// The limits in the order of [`Seen::bytes`].
    fn limits(&self) -> Vec<(&str, u64)> {
        let own = self.roots.iter().filter_map(|root| root.own.as_ref());
        std::iter::once((self.resource.as_str(), self.bytes_max))
            .chain(own.map(|own| (own.resource.as_str(), own.bytes_max)))
            .collect()
    }

    /// Whose share of [`Seen::bytes`] a path inside belongs to; None where nothing is counted.
    fn share(&self, path: &Path) -> Option<usize> {
        let holds = |root: &&Root| path.starts_with(&root.target);
        let root = self.roots.iter().filter(holds).max_by_key(|root| root.target.components().count())?;
        let own = self.roots.iter().filter(|root| root.own.is_some()).position(|own| std::ptr::eq(own, root));
        Some(own.map_or(0, |own| own + 1))
    }

    /// Looks. Blocks.
    fn look(&self, inmates: &Inmates) -> Result<Seen, Errno> {
        let began = Instant::now();
        let mut seen = Seen { bytes: vec![0; self.limits().len()], ..Seen::default() };
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
        for file in held(inmates, device(&self.roots[0].folder)?) {
            if let Some(share) = self.share(&file.path) {
                seen.bytes[share] += file.bytes;
                seen.files += 1;
            }
        }
        seen.took = began.elapsed();
        Ok(seen)
    }

    /// The first limit that `seen` and what is to be added are over.
    fn lack(&self, seen: &Seen, share: Option<usize>, bytes: u64, files: u64) -> Option<Lack> {
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

    /// Why the kernel said that no space is left, where it is the agent's own limit.
    pub(crate) fn refused_by_kernel(&self) -> Option<Lack> {
        let Keeper::FileSystem { folder, uid } = &self.keeper else { return None };
        let quota = Quota::read(folder.as_fd(), *uid).ok()?;
        if quota.files + NOTHING_FILES > quota.files_max && quota.files_max > 0 {
            return Some(used_up("files", self.files_max, quota.files, 0, "files and folders"));
        }
        // The refused write itself may have been larger than what is left.
        let left = quota.bytes_max.saturating_sub(quota.bytes);
        (quota.bytes_max > 0 && left < NOTHING_BYTES)
            .then(|| used_up(&self.resource, self.bytes_max, quota.bytes, 0, "bytes"))
    }
}

fn used_up(resource: &str, limit: u64, used: u64, more: u64, unit: &str) -> Lack {
    let asked = if more == 0 { String::new() } else { format!(" and this needs {more} more") };
    let sentence = format!(
        "the limit of {resource} is reached: {used} {unit} are there, {limit} are allowed{asked}. Delete what is not needed; \
         what filesystem.delete moved to .trash counts until it is deleted there too"
    );
    Lack { resource: resource.to_owned(), limit: Some(limit), sentence }
}

/// Asks how much an agent has left. Handles of one jail share its looks.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    allowance: Arc<Allowance>,
    /// None where the file system sees to everything.
    wants: Option<mpsc::Sender<Want>>,
}

enum Want {
    Room {
        share: usize,
        bytes: u64,
        files: u64,
        answer: oneshot::Sender<Result<Option<Lack>, Errno>>,
    },
    /// `recent`: one that somebody else asked for just now will do.
    Look {
        recent: bool,
        answer: oneshot::Sender<Result<Arc<Seen>, Errno>>,
    },
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Blind {
    /// The folder cannot be looked at now.
    Unseen(Errno),
    /// Nobody looks any more.
    Gone,
}

/// What a program started with, which it may not exceed where that was over the limit already.
#[derive(Debug)]
pub(crate) struct Baseline {
    bytes: Vec<u64>,
    files: u64,
}

impl Gauge {
    /// The task must be spawned; it ends with the last handle.
    pub(crate) fn new(allowance: Allowance, inmates: Inmates) -> (Gauge, impl Future<Output = ()>) {
        let allowance = Arc::new(allowance);
        let (wants, wanted) = mpsc::channel(WANTS_MAX);
        let task = Looking { allowance: Arc::clone(&allowance), inmates, last: None };
        let wants = allowance.is_looked_after().then_some(wants);
        (Gauge { allowance, wants }, task.serve(wanted))
    }

    /// Whether a file call may add so much at `path`, as the call named it. None: it may.
    pub(crate) async fn room(&self, path: &str, bytes: u64, files: u64) -> Result<Option<Lack>, Blind> {
        let Some(wants) = &self.wants else { return Ok(None) };
        let Some(share) = self.allowance.share(&plain(path)) else { return Ok(None) };
        let (answer, answered) = oneshot::channel();
        wants.send(Want::Room { share, bytes, files, answer }).await.map_err(|_| Blind::Gone)?;
        answered.await.map_err(|_| Blind::Gone)?.map_err(Blind::Unseen)
    }

    async fn look(&self, recent: bool) -> Result<Option<Arc<Seen>>, Blind> {
        let Some(wants) = &self.wants else { return Ok(None) };
        let (answer, answered) = oneshot::channel();
        wants.send(Want::Look { recent, answer }).await.map_err(|_| Blind::Gone)?;
        answered.await.map_err(|_| Blind::Gone)?.map(Some).map_err(Blind::Unseen)
    }

    /// Before a program starts: what it may not exceed. Err within: too much is there for any program.
    pub(crate) async fn begin(&self) -> Result<Result<Option<Baseline>, Lack>, Blind> {
        let Some(seen) = self.look(false).await? else { return Ok(Ok(None)) };
        let limits = self.allowance.limits();
        let far = |(index, (_, limit)): (usize, &(&str, u64))| seen.bytes[index] > limit.saturating_mul(2);
        if seen.beyond || limits.iter().enumerate().any(far) {
            let lack = self.allowance.lack(&seen, None, 0, 0);
            return Ok(Err(lack.expect("invariant: what is over twice a limit is over it")));
        }
        let bytes = limits.iter().zip(&seen.bytes).map(|((_, limit), there)| *limit.max(there)).collect();
        Ok(Ok(Some(Baseline { bytes, files: seen.files.max(self.allowance.files_max) })))
    }

    /// Ends when a running program is over: its limit, or what was there when it began. Never where the kernel sees to it.
    pub(crate) async fn watch(&self, baseline: Option<&Baseline>) -> Result<Lack, Blind> {
        let Some(baseline) = baseline else { return std::future::pending().await };
        let (mut period, mut before, mut unseen) = (PERIOD_MIN, Vec::new(), 0);
        loop {
            tokio::time::sleep(period).await;
            let seen = match self.look(true).await {
                Ok(Some(seen)) => seen,
                Ok(None) => return std::future::pending().await,
                Err(Blind::Unseen(errno)) if unseen < 8 => {
                    // Such as no descriptors left for a moment.
                    tracing::warn!(%errno, "an agent's folders could not be looked at; trying again");
                    unseen += 1;
                    continue;
                }
                Err(blind) => return Err(blind),
            };
            if let Some(lack) = self.over(&seen, baseline) {
                return Ok(lack);
            }
            let grows = seen.bytes.iter().zip(&before).any(|(now, then)| now > then);
            period = if grows { PERIOD_MIN } else { (period * 2).min(PERIOD_MAX) }.max(seen.took * PART);
            before.clone_from(&seen.bytes);
            unseen = 0;
        }
    }

    /// After a program has ended: what it left too much of, or what it failed for want of.
    pub(crate) async fn end(&self, baseline: Option<&Baseline>, well: bool) -> Result<Option<Lack>, Blind> {
        if let Some(baseline) = baseline
            && let Some(seen) = self.look(false).await?
        {
            if let Some(lack) = self.over(&seen, baseline) {
                return Ok(Some(lack));
            }
            // The kernel may have ended it at the limit itself: no file may be larger.
            let full = self.allowance.lack(&seen, None, 0, 0);
            if !well && (full.is_some() || self.allowance.is_full(&seen)) {
                return Ok(full.or_else(|| self.allowance.fullest(&seen)));
            }
        }
        Ok(if well { None } else { self.allowance.refused_by_kernel() })
    }

    /// Why a write of the jail's own found no space.
    pub(crate) fn no_space(&self) -> Option<Lack> {
        self.allowance.refused_by_kernel()
    }

    fn over(&self, seen: &Seen, baseline: &Baseline) -> Option<Lack> {
        let limits = self.allowance.limits();
        let mut grown = limits.iter().enumerate().filter(|(index, _)| seen.bytes[*index] > baseline.bytes[*index]);
        if let Some((index, (resource, limit))) = grown.next() {
            return Some(used_up(resource, *limit, seen.bytes[index], 0, "bytes"));
        }
        (seen.beyond || seen.files > baseline.files)
            .then(|| used_up("files", self.allowance.files_max, seen.files, 0, "files and folders"))
    }
}

impl Allowance {
    fn is_full(&self, seen: &Seen) -> bool {
        self.fullest(seen).is_some()
    }

    /// The first limit of which so little is left that nothing can be done with it.
    fn fullest(&self, seen: &Seen) -> Option<Lack> {
        let mut limits = self.limits().into_iter().enumerate();
        let full = limits.find(|(index, (_, limit))| limit.saturating_sub(seen.bytes[*index]) < NOTHING_BYTES);
        full.map(|(index, (resource, limit))| used_up(resource, limit, seen.bytes[index], 0, "bytes"))
    }
}

/// The one who looks, for all that ask.
struct Looking {
    allowance: Arc<Allowance>,
    inmates: Inmates,
    last: Option<(Arc<Seen>, Instant)>,
}

impl Looking {
    async fn serve(mut self, mut wanted: mpsc::Receiver<Want>) {
        while let Some(want) = wanted.recv().await {
            // Whoever does not wait any more is gone.
            match want {
                Want::Look { recent: true, answer } => drop(answer.send(self.recent().await)),
                Want::Look { recent: false, answer } => drop(answer.send(self.look().await)),
                Want::Room { share, bytes, files, answer } => {
                    let lack = self.look().await.map(|seen| self.allowance.lack(&seen, Some(share), bytes, files));
                    drop(answer.send(lack));
                }
            }
        }
    }

    /// The last look while it is fresh, so that several programs cost no more than one.
    async fn recent(&mut self) -> Result<Arc<Seen>, Errno> {
        match &self.last {
            Some((seen, at)) if at.elapsed() < seen.took * PART => Ok(Arc::clone(seen)),
            Some(_) | None => self.look().await,
        }
    }

    async fn look(&mut self) -> Result<Arc<Seen>, Errno> {
        let (allowance, inmates) = (Arc::clone(&self.allowance), self.inmates.clone());
        let looked = tokio::task::spawn_blocking(move || allowance.look(&inmates)).await;
        let seen = Arc::new(looked.unwrap_or(Err(Errno::IO))?);
        self.last = Some((Arc::clone(&seen), Instant::now()));
        Ok(seen)
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
    let mut client = jail.client(PATIENCE)?;
    let mut write = |name: &str, bytes: usize| client.write(name, &vec![b'x'; bytes], WriteMode::Overwrite);
    let refused = |written| matches!(written, Err(Sandbox::Refused(Refusal::NoSpace)));
    let mut more = (0..TRIAL_FILES).map(|count| write(&format!("more-{count}"), 1));
    let by_number = more.next().is_some_and(|first| first.is_ok()) && more.any(refused);
    Quota::limit(agents.as_fd(), uid, before.bytes + TRIAL_BYTES as u64, 0).map_err(Error::io("set a quota"))?;
    let by_bytes = write("small", 1).is_ok() && refused(write("large", 2 * TRIAL_BYTES));
    jail.kill()?;
    Ok(by_number && by_bytes)
}

/// A path as a call named it, from the root. Links and `..` are not resolved: a wrong share is seen by the next look.
fn plain(path: &str) -> PathBuf {
    let path = Path::new(tenure_sandbox::WORKSPACE).join(path);
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}
