//! The resident parent: takes claims, forks jails, reaps them, and removes their control groups and records.
//! Must never: keep a jail's socket, do a jail's work, or outlive its worker: the end of its socket ends all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::birth;
use super::filter::{self, Filters};
use super::skeleton::Skeleton;
use crate::error::{Failure, Layer};
use crate::level::{Level, Mapping, Meter};
use crate::native::cgroup::{self, Cgroups, Controller, Door, Group};
use crate::native::channel;
use crate::native::claim::{Order, Report};
use crate::native::record::{self, Life, Slot};
use crate::protocol::VERSION;
use crate::spec::{INNER_ID, Identity, Spec};
use crate::sys::{self, Cloned};

/// Most jails at once.
const JAILS_MAX: usize = 4096;
/// How long a dead jail's groups may take to become removable.
const BURIAL: Duration = Duration::from_secs(5);
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

struct Zygote {
    control: OwnedFd,
    myself: OwnedFd,
    skeleton: Skeleton,
    run_dir: PathBuf,
    boot: String,
    cgroups: Cgroups,
    filters: Filters,
    /// Whether the long filter is on this process, and so on every jail.
    confined: bool,
    jails: Vec<Child>,
    free_slots: Vec<Slot>,
    slots_made: u32,
}

/// A jail from its record to its burial.
struct Child {
    id: String,
    state: State,
    cgroups: Vec<PathBuf>,
    slot: Slot,
}

enum State {
    Alive { pid: i32, pidfd: OwnedFd },
    Dead { since: Instant },
}

/// What a fresh jail inherits from the zygote; everything else it closes.
pub(super) struct Inheritance {
    pub(super) spec: Spec,
    pub(super) level: Level,
    pub(super) filters: Filters,
    /// Whether the long filter is in force already.
    pub(super) confined: bool,
    pub(super) skeleton: Skeleton,
    pub(super) socket: OwnedFd,
    /// One byte comes once record and ids are in place; its end means that the zygote gave up or died.
    pub(super) go: OwnedFd,
    /// Readable once the zygote is dead.
    pub(super) parent: OwnedFd,
    /// Counts memory kills of the jail's group.
    pub(super) oom: Option<File>,
    /// Of the control groups of the whole jail.
    pub(super) doors: Vec<Door>,
    /// Of the one that programs enter.
    pub(super) cpu: Option<Door>,
}

pub(super) fn run() -> io::Result<()> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    sys::close_all_but(&[0, 1, 2, control.as_raw_fd()])?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    sys::set_standard(0, null.as_fd())?;
    drop(null);
    let start = order(&control)?;
    #[cfg(feature = "controls")]
    let confined = !matches!(&start, Some((Order::Start { without, .. }, _)) if without.contains(&Layer::Seccomp));
    #[cfg(not(feature = "controls"))]
    let confined = true;
    let run_dir = match start {
        Some((Order::Start { version: VERSION, run_dir, .. }, _)) => run_dir,
        Some(_) => {
            let reason = "worker and zygote are not the same version of tenure; restart the worker".to_owned();
            return report(&control, &Report::Refused { reason }, None);
        }
        None => return Ok(()),
    };
    // A supervisor that signals the whole group must not take the jails from a worker that is ending them in order.
    sys::ignore_requests_to_end();
    rustix::thread::set_no_new_privs(true)?;
    if confined {
        filter::confine_zygote().map_err(io::Error::other)?;
    }
    let filters = Filters::compile().map_err(io::Error::other)?;
    let (boot, cgroups) = (record::boot_id()?, Cgroups::detect()?);
    let myself = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let skeleton = Skeleton::make(&run_dir)?;
    let own = write_own_record(&run_dir, &boot)?;
    report(&control, &Report::Started, None)?;
    let mut zygote = Zygote {
        control,
        myself,
        skeleton,
        run_dir,
        boot,
        cgroups,
        filters,
        confined,
        jails: Vec::new(),
        free_slots: Vec::new(),
        slots_made: 0,
    };
    let outcome = zygote.serve();
    zygote.end_all();
    zygote.skeleton.remove();
    own.remove()?;
    outcome
}

fn write_own_record(run_dir: &Path, boot: &str) -> io::Result<Slot> {
    let pid = std::process::id() as i32;
    let start = record::start_time(pid).ok_or_else(|| io::Error::other("/proc shows no start time"))?;
    let name = format!("zygote-{pid:x}-{start:x}");
    let slot = Slot::make(run_dir, &name)?;
    slot.begin(&name, boot, &[])?;
    slot.live(Life { pid, start })?;
    Ok(slot)
}

fn order(control: &OwnedFd) -> io::Result<Option<(Order, Option<OwnedFd>)>> {
    let Some((bytes, fd)) = channel::receive(control)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&bytes)?, fd)))
}

fn report(control: &OwnedFd, report: &Report, fd: Option<&OwnedFd>) -> io::Result<()> {
    channel::send(control, &serde_json::to_vec(report)?, fd.map(AsFd::as_fd))
}

impl Zygote {
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let burying = self.jails.iter().any(|jail| matches!(jail.state, State::Dead { .. }));
            let timeout = burying.then_some(Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
            let claimed = {
                let alive = self.jails.iter().filter_map(|jail| match &jail.state {
                    State::Alive { pidfd, .. } => Some(pidfd),
                    State::Dead { .. } => None,
                });
                let mut fds: Vec<PollFd<'_>> =
                    std::iter::once(&self.control).chain(alive).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
                match poll(&mut fds, timeout.as_ref()) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => !fds[0].revents().is_empty(),
                    Err(error) => return Err(error.into()),
                }
            };
            self.bury();
            if !claimed {
                continue;
            }
            match order(&self.control) {
                Ok(None) => return Ok(()),
                Ok(Some((Order::Claim { version: VERSION, id, spec }, Some(socket)))) => {
                    self.claim(id, *spec, socket)?
                }
                Ok(Some((Order::Start { .. } | Order::Claim { .. }, _))) => self.refuse("the order is not a claim")?,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.refuse(&error.to_string())?,
                Err(error) => return Err(error),
            }
        }
    }

    fn refuse(&self, reason: &str) -> io::Result<()> {
        report(&self.control, &Report::Refused { reason: reason.to_owned() }, None)
    }

    fn claim(&mut self, id: String, spec: Spec, socket: OwnedFd) -> io::Result<()> {
        if self.jails.len() >= JAILS_MAX {
            return self.refuse("too many jails are open: close some");
        }
        if self.confined && !spec.keeps(Layer::Seccomp) {
            return self.refuse("this zygote has its filter on: start one without");
        }
        match self.open(&id, spec, socket) {
            Ok((pid, pidfd)) => {
                let jail = self.jails.last().expect("invariant: pushed by open");
                let (cgroups, record) = (jail.cgroups.clone(), jail.slot.path().to_owned());
                report(&self.control, &Report::Opened { id, pid, cgroups, record }, Some(&pidfd))
            }
            Err(failure) => {
                // What was begun is buried like a jail that died.
                for jail in self.jails.iter().filter(|jail| jail.id == id) {
                    if let State::Alive { pidfd, .. } = &jail.state {
                        let _ = pidfd_send_signal(pidfd, Signal::KILL);
                    }
                }
                report(&self.control, &Report::Failed { id, failure }, None)
            }
        }
    }

    /// Record, groups, fork, identity, go: in this order, so that a crash at any point leaves nothing unknown.
    fn open(&mut self, id: &str, spec: Spec, socket: OwnedFd) -> Result<(i32, OwnedFd), Failure> {
        let paths = if spec.keeps(Layer::Cgroup) { self.cgroups.paths(id) } else { Vec::new() };
        let failed = |step: &'static str| move |error: io::Error| Failure::new(Layer::Namespaces, step, error);
        let slot = self.free_slot().map_err(failed("make the jail's record"))?;
        slot.begin(id, &self.boot, &paths).map_err(failed("write the jail's record"))?;
        let buried = State::Dead { since: Instant::now() };
        self.jails.push(Child { id: id.to_owned(), state: buried, cgroups: paths, slot });
        let group = if spec.keeps(Layer::Cgroup) { self.cgroups.create(id, &spec.limits)? } else { Group::default() };
        let entry = group.v2.as_deref().map(File::open).transpose().map_err(failed("open the jail's control group"))?;
        let oom = group.oom.as_deref().map(File::open).transpose().map_err(failed("open the memory kill counter"))?;
        let (doors, cpu) = group.doors()?;
        let (go, say_go) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed("make a pipe")(e.into()))?;
        let parent = self.myself.try_clone().map_err(failed("copy a descriptor"))?;
        let identity = spec.identity;
        let level = self.level(&spec);
        match sys::clone_into(namespaces(&spec) as u64, entry.as_ref().map(AsFd::as_fd)) {
            Ok(Cloned::Child) => {
                let (filters, skeleton, confined) = (self.filters.clone(), self.skeleton.clone(), self.confined);
                birth::enter(Inheritance {
                    spec,
                    level,
                    skeleton,
                    filters,
                    confined,
                    socket,
                    go,
                    parent,
                    oom,
                    doors,
                    cpu,
                })
            }
            Ok(Cloned::Parent { pid, pidfd }) => {
                drop(socket);
                let copy = pidfd.try_clone().map_err(failed("copy the jail's pidfd"));
                let jail = self.jails.last_mut().expect("invariant: pushed above");
                jail.state = State::Alive { pid, pidfd };
                let start = record::start_time(pid)
                    .ok_or_else(|| failed("find the jail's start time")(io::ErrorKind::NotFound.into()))?;
                jail.slot.live(Life { pid, start }).map_err(failed("write the jail's record"))?;
                identify(pid, identity)?;
                File::from(say_go).write_all(b"g").map_err(failed("let the jail go"))?;
                Ok((pid, copy?))
            }
            Err(error) => Err(failed("clone3 with new user, mount, pid, net, ipc, uts and cgroup namespaces")(error)),
        }
    }

    fn level(&self, spec: &Spec) -> Level {
        let rlimit = if spec.keeps(Layer::Rlimits) { Meter::Rlimit } else { Meter::None };
        let meter = |controller, otherwise| {
            if spec.keeps(Layer::Cgroup) { self.cgroups.meter(controller, otherwise) } else { otherwise }
        };
        Level {
            namespaces: spec.keeps(Layer::Namespaces) && spec.has_own_pids(),
            identity: match spec.identity {
                Identity::Host { .. } => Mapping::Host,
                Identity::Caller => Mapping::Caller,
            },
            landlock: 0,
            seccomp: false,
            memory: meter(Controller::Memory, rlimit),
            pids: meter(Controller::Pids, rlimit),
            cpu: meter(Controller::Cpu, Meter::None),
            #[cfg(feature = "controls")]
            without: spec.without.clone(),
        }
    }

    /// Reaps the dead and removes what they leave.
    fn bury(&mut self) {
        for jail in &mut self.jails {
            if let State::Alive { pid, .. } = jail.state
                && !matches!(sys::reap(pid, false), Ok(None))
            {
                jail.state = State::Dead { since: Instant::now() };
            }
        }
        let (kept, gone): (Vec<Child>, Vec<Child>) = self.jails.drain(..).partition(|jail| match jail.state {
            State::Alive { .. } => true,
            State::Dead { since } => {
                !jail.cgroups.iter().all(|path| cgroup::remove(path, Duration::ZERO)) && since.elapsed() < BURIAL
            }
        });
        self.jails = kept;
        for jail in gone {
            // A record whose groups would not go stays for the next reap.
            if jail.cgroups.iter().all(|path| !path.exists()) && jail.slot.clear().is_ok() {
                self.free_slots.push(jail.slot);
            }
        }
    }

    /// A slot that an earlier jail used, or a new one.
    fn free_slot(&mut self) -> io::Result<Slot> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        self.slots_made += 1;
        Slot::make(&self.run_dir, &format!("slot-{}", self.slots_made))
    }

    fn end_all(&mut self) {
        for jail in &self.jails {
            if let State::Alive { pidfd, .. } = &jail.state {
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
        let deadline = Instant::now() + BURIAL;
        while !self.jails.is_empty() && Instant::now() < deadline {
            self.bury();
            std::thread::sleep(Duration::from_micros(500));
        }
        for slot in &self.free_slots {
            // An empty slot says nothing; the next reap removes it.
            let _ = slot.remove();
        }
    }
}

fn namespaces(spec: &Spec) -> i32 {
    let net = if spec.keeps(Layer::Namespaces) { 0 } else { libc::CLONE_NEWNET };
    let pids = if spec.has_own_pids() { 0 } else { libc::CLONE_NEWPID };
    NAMESPACES & !(net | pids)
}

/// Gives the waiting child its ids.
fn identify(pid: i32, identity: Identity) -> Result<(), Failure> {
    let write = |file: &str, value: String| {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, value).map_err(|error| Failure::new(Layer::Identity, format!("write {path}"), error))
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
