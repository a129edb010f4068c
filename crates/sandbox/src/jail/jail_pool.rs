//! Jails from their record to their cleanup, as the zygote sees them: prewarmed, given away, dead.
//! Must never: make a process before its record is written, give one jail to two claims, or keep a descriptor of one that was
//! given away.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, pidfd_open};

use super::child::{self, ChildSetup, Meters};
use super::filter::Filters;
use super::mounts::{Changes, Unseen};
use super::skeleton::Skeleton;
use crate::bypass::Bypass;
use crate::error::{Failure, Layer};
use crate::level::Meter;
use crate::limits::Limits;
use crate::native::cgroup::{self, Cgroups, Controller, Group};
use crate::native::record::{self, Holder, Life, Slot};
use crate::native::{channel, freeze};
use crate::spec::{INNER_ID, Identity, Spec};
use crate::sys::{self, Cloned};

/// How long a dead jail's groups may take to become removable.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Host ids that stand for jails where the kernel counts by user: watchers, pending signals and queues count for whoever made
/// the namespace, and were that root, one jail could use up what root has on this host. No program ever runs as one of them;
/// systemd's ranges for containers end below.
const OWNERS_FIRST: u32 = 0x7000_0000;
const OWNERS: u32 = 0x1_0000;
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What the zygote prepares once for all jails.
pub(super) struct Parts {
    pub(super) skeleton: Skeleton,
    pub(super) run_dir: PathBuf,
    pub(super) holder: Holder,
    pub(super) cgroups: Cgroups,
    pub(super) filters: Filters,
    /// Whether the long filter is on this process, and so on every jail.
    pub(super) confined: bool,
}

/// Everything that a jail is made from, and all jails that were made.
pub(super) struct JailPool {
    parts: Parts,
    myself: OwnedFd,
    /// Unique among all jails of this host since its boot, with a number behind it.
    prefix: String,
    made: u64,
    /// Whether each jail is counted for a host user of its own.
    apart: bool,
    free_slots: Vec<Slot>,
    slots_made: u32,
    /// The limits of the last claim, which the next one probably has too.
    limits: Limits,
    waiting: VecDeque<PrewarmedJail>,
    given: Vec<ClaimedJail>,
    dead: Vec<ExitedJail>,
}

/// What a jail leaves when it dies.
struct ExitCleanup {
    id: String,
    cgroups: Vec<PathBuf>,
    slot: Slot,
}

/// Everything that needs neither spec nor ids is done, or being done by itself.
pub(super) struct PrewarmedJail {
    pid: i32,
    pidfd: OwnedFd,
    /// One message goes there: the claim, with the jail's socket.
    claims: OwnedFd,
    /// What its groups hold it to now.
    limits: Limits,
    unseen: Unseen,
    cleanup: ExitCleanup,
}

struct ClaimedJail {
    pid: i32,
    cleanup: ExitCleanup,
}

struct ExitedJail {
    since: Instant,
    cleanup: ExitCleanup,
}

/// What the worker is told of its jail.
pub(super) struct OpenedJail {
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) cgroups: Vec<PathBuf>,
    pub(super) record: PathBuf,
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(Layer::Namespaces, step, error)
}

impl JailPool {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        Ok(Self {
            parts,
            myself: pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?,
            prefix: record::prefix(std::process::id()),
            made: 0,
            apart: can_count_apart()?,
            free_slots: Vec::new(),
            slots_made: 0,
            limits: Limits::default(),
            waiting: VecDeque::new(),
            given: Vec::new(),
            dead: Vec::new(),
        })
    }

    /// Whether no jail can go without the system call filter.
    pub(super) fn is_confined(&self) -> bool {
        self.parts.confined
    }

    /// How many wait for a claim.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_cleaning_up(&self) -> bool {
        !self.dead.is_empty()
    }

    /// All that are not cleaned up yet.
    pub(super) fn count(&self) -> usize {
        self.waiting.len() + self.given.len() + self.dead.len()
    }

    /// One that waits and sees what `spec` names as the host does, the oldest first.
    pub(super) fn take_waiting(&mut self, spec: &Spec) -> Option<PrewarmedJail> {
        let paths = spec.mounts.iter().map(|mount| &mount.source).chain([&spec.work_folder]);
        let at = self.waiting.iter().position(|jail| !paths.clone().any(|path| jail.unseen.concerns(path)))?;
        self.waiting.remove(at)
    }

    /// Tells those that wait apart from those that a change of the host's mounts made useless, which go.
    pub(super) fn take_note(&mut self, changes: &Changes) {
        for mut jail in std::mem::take(&mut self.waiting) {
            if jail.unseen.take_note(changes) {
                self.waiting.push_back(jail);
            } else {
                self.end(jail);
            }
        }
    }

    pub(super) fn make_waiting(&mut self) -> Result<(), Failure> {
        let prewarmed = self.make(&Bypass::default())?;
        self.waiting.push_back(prewarmed);
        Ok(())
    }

    pub(super) fn end_waiting(&mut self) {
        if let Some(prewarmed) = self.waiting.pop_back() {
            self.end(prewarmed);
        }
    }

    /// Groups of the next jail hold it to these from the start.
    pub(super) fn expect(&mut self, limits: &Limits) {
        self.limits.clone_from(limits);
    }

    /// Record, groups, fork: in this order, so that a crash at any point leaves nothing unknown.
    pub(super) fn make(&mut self, bypass: &Bypass) -> Result<PrewarmedJail, Failure> {
        self.made += 1;
        let id = format!("{}-{:x}", self.prefix, self.made);
        let cgroups = if bypass.keeps(Layer::Cgroup) { self.parts.cgroups.paths(&id) } else { Vec::new() };
        let slot = self.free_slot().map_err(failed("make the jail's record"))?;
        let cleanup = ExitCleanup { id, cgroups, slot };
        let (pid, pidfd, claims) = match self.spawn(&cleanup, bypass) {
            Ok(born) => born,
            Err(failure) => {
                // What was begun is cleaned up like a jail that died.
                self.dead.push(ExitedJail { since: Instant::now(), cleanup });
                return Err(failure);
            }
        };
        let prewarmed =
            PrewarmedJail { pid, pidfd, claims, limits: self.limits.clone(), unseen: Unseen::default(), cleanup };
        match note_life(&prewarmed) {
            Ok(()) => Ok(prewarmed),
            Err(failure) => {
                self.end(prewarmed);
                Err(failure)
            }
        }
    }

    /// Process id, pidfd, and the socket that takes the claim.
    fn spawn(&self, cleanup: &ExitCleanup, bypass: &Bypass) -> Result<(i32, OwnedFd, OwnedFd), Failure> {
        let begun = cleanup.slot.begin(&cleanup.id, &self.parts.holder, &cleanup.cgroups);
        begun.map_err(failed("write the jail's record"))?;
        let grouped = bypass.keeps(Layer::Cgroup);
        let group = if grouped { self.parts.cgroups.create(&cleanup.id, &self.limits)? } else { Group::default() };
        let (setup, claims, entry) = self.pass_fds(&group, bypass)?;
        let owned = |uid| match self.apart {
            true => sys::take_effective_uid(uid).map_err(failed("take the user that the jail is counted for")),
            false => Ok(()),
        };
        owned(OWNERS_FIRST + (self.made % u64::from(OWNERS)) as u32)?;
        let cloned = sys::clone_into(namespaces(bypass), entry.as_ref().map(AsFd::as_fd));
        if !matches!(cloned, Ok(Cloned::Child)) {
            owned(0)?;
        }
        match cloned {
            Ok(Cloned::Child) => child::enter(setup),
            Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd, claims)),
            Err(error) => Err(failed("clone3 with new user, mount, pid, net, ipc, uts and cgroup namespaces")(error)),
        }
    }

    /// What the jail gets, the zygote's end of its socket for the claim, and the v2 group to clone it into.
    fn pass_fds<'a>(
        &'a self,
        group: &Group,
        bypass: &'a Bypass,
    ) -> Result<(ChildSetup<'a>, OwnedFd, Option<File>), Failure> {
        let entry = group.v2.as_deref().map(File::open).transpose().map_err(failed("open the jail's control group"))?;
        let tally = group.counters.open().map_err(failed("open the counters of the control group"))?;
        let (cgroup_fds, cpu) = group.cgroup_fds()?;
        let (ours, claims) = channel::pair().map_err(failed("make a socket"))?;
        let setup = ChildSetup {
            bypass,
            meters: self.meters(bypass),
            filters: &self.parts.filters,
            confined: self.parts.confined,
            skeleton: &self.parts.skeleton,
            claims,
            parent: self.myself.try_clone().map_err(failed("copy a descriptor"))?,
            tally,
            cgroup_fds,
            cpu,
        };
        Ok((setup, ours, entry))
    }

    fn meters(&self, bypass: &Bypass) -> Meters {
        let rlimit = if bypass.keeps(Layer::Rlimits) { Meter::Rlimit } else { Meter::None };
        let meter = |controller, otherwise| {
            if bypass.keeps(Layer::Cgroup) { self.parts.cgroups.meter(controller, otherwise) } else { otherwise }
        };
        Meters {
            memory: meter(Controller::Memory, rlimit),
            pids: meter(Controller::Pids, rlimit),
            cpu: meter(Controller::Cpu, Meter::None),
        }
    }

    /// Limits, ids, and then the claim itself with the jail's socket. On failure the jail is ended.
    pub(super) fn give(
        &mut self,
        mut jail: PrewarmedJail,
        spec: &Spec,
        claim: &[u8],
        socket: &OwnedFd,
    ) -> Result<OpenedJail, Failure> {
        let given = (|| {
            if jail.limits != spec.limits {
                self.parts.cgroups.change(&jail.cleanup.id, &spec.limits)?;
                jail.limits.clone_from(&spec.limits);
            }
            identify(jail.pid, spec.identity)?;
            channel::send(&jail.claims, claim, Some(socket.as_fd())).map_err(failed("hand over the claim"))
        })();
        self.expect(&spec.limits);
        if let Err(failure) = given {
            self.end(jail);
            return Err(failure);
        }
        let PrewarmedJail { pid, pidfd, cleanup, .. } = jail;
        let (id, cgroups) = (cleanup.id.clone(), cleanup.cgroups.clone());
        let record = cleanup.slot.path().to_owned();
        self.given.push(ClaimedJail { pid, cleanup });
        Ok(OpenedJail { id, pid, pidfd, cgroups, record })
    }

    fn end(&mut self, jail: PrewarmedJail) {
        // It is a child of ours that nobody has reaped: the id is its own.
        let _ = sys::kill(jail.pid, libc::SIGKILL);
        self.given.push(ClaimedJail { pid: jail.pid, cleanup: jail.cleanup });
    }

    /// Takes note of the dead; whether one of them was waiting for a claim.
    pub(super) fn reap(&mut self) -> bool {
        let mut unclaimed = false;
        while let Ok(Some(reaped)) = sys::reap(-1, false) {
            let cleanup = if let Some(at) = self.given.iter().position(|jail| jail.pid == reaped.pid) {
                self.given.swap_remove(at).cleanup
            } else if let Some(at) = self.waiting.iter().position(|jail| jail.pid == reaped.pid) {
                unclaimed = true;
                let Some(jail) = self.waiting.remove(at) else { continue };
                jail.cleanup
            } else {
                continue;
            };
            self.dead.push(ExitedJail { since: Instant::now(), cleanup });
        }
        unclaimed
    }

    /// Removes what the dead leave, as far as the kernel lets go of it.
    pub(super) fn clean_up(&mut self) {
        for jail in std::mem::take(&mut self.dead) {
            let ExitCleanup { cgroups, slot, .. } = &jail.cleanup;
            let gone = cgroups.iter().all(|path| cgroup::remove(path, Duration::ZERO));
            if !gone && jail.since.elapsed() < CLEANUP_TIMEOUT {
                self.dead.push(jail);
            } else if gone && slot.clear().is_ok() {
                self.free_slots.push(jail.cleanup.slot);
            }
            // A record whose groups would not go stays for the next reap.
        }
    }

    /// A slot that an earlier jail used, or a new one.
    fn free_slot(&mut self) -> io::Result<Slot> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        self.slots_made += 1;
        Slot::make(&self.parts.run_dir, &format!("slot-{}", self.slots_made))
    }

    /// Kills and cleans up all, within a bound.
    pub(super) fn end_all(&mut self) {
        while !self.waiting.is_empty() {
            self.end_waiting();
        }
        for jail in &self.given {
            let _ = sys::kill(jail.pid, libc::SIGKILL);
            freeze::release(&jail.cleanup.cgroups);
        }
        let deadline = Instant::now() + CLEANUP_TIMEOUT;
        while self.count() > 0 && Instant::now() < deadline {
            self.reap();
            self.clean_up();
            std::thread::sleep(Duration::from_micros(500));
        }
        for slot in &self.free_slots {
            // An empty slot says nothing; the next reap removes it.
            let _ = slot.remove();
        }
        self.parts.skeleton.remove();
    }
}

/// Whether this process is root and the ids are there: in a user namespace of its own they may not be, and an ordinary worker
/// can be no other.
fn can_count_apart() -> io::Result<bool> {
    if !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    sys::keep_capabilities()?;
    let can = sys::take_effective_uid(OWNERS_FIRST).is_ok();
    sys::take_effective_uid(0)?;
    Ok(can)
}

fn note_life(jail: &PrewarmedJail) -> Result<(), Failure> {
    let start = record::start_time(jail.pid)
        .ok_or_else(|| failed("find the jail's start time")(io::ErrorKind::NotFound.into()))?;
    jail.cleanup.slot.live(Life { pid: jail.pid, start }).map_err(failed("write the jail's record"))
}

fn namespaces(bypass: &Bypass) -> u64 {
    let net = if bypass.keeps(Layer::Namespaces) { 0 } else { libc::CLONE_NEWNET };
    let pids = if bypass.keeps_pid_namespace() { 0 } else { libc::CLONE_NEWPID };
    (NAMESPACES & !(net | pids)) as u64
}

/// Gives the waiting child its ids.
fn identify(pid: i32, identity: Identity) -> Result<(), Failure> {
    let write = |file: &str, value: String| {
        let path = format!("/proc/{pid}/{file}");
        cgroup::write_existing(path.as_ref(), &value)
            .map_err(|error| Failure::new(Layer::Identity, format!("write {path}"), error))
    };
    let (uid, gid) = match identity {
        Identity::Host { uid, gid } => (uid, gid),
        Identity::Caller => {
            write("setgroups", "deny".to_owned())?;
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        }
    };
    write("uid_map", format!("{INNER_ID} {uid} 1"))?;
    write("gid_map", format!("{INNER_ID} {gid} 1"))
}
