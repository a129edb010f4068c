//! The resident parent: takes claims, hands out jails, tends the pool of prewarmed ones.
//! Must never: keep a jail's socket, do a jail's work, or outlive its worker: the end of its socket ends all.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::filter::{self, Filters};
use super::jail_pool::{JailPool, OpenedJail, Parts};
use super::mounts::Mounts;
use super::pool_sizing::{PoolSizing, PoolStep};
use super::skeleton::Skeleton;
use crate::bypass::Bypass;
use crate::error::{Failure, Layer};
use crate::native::cgroup::Cgroups;
use crate::native::channel;
use crate::native::claim::{Claim, Order, Report, Start};
use crate::native::record::{self, Holder, Life, Slot};
use crate::protocol::VERSION;
use crate::sys;

/// Most jails at once.
pub(super) const JAILS_MAX: usize = 4096;
/// How many prewarmed jails one claim may use up before a new one is made for it.
const WARM_TRIES: usize = 2;
/// Between two attempts to clean up what the kernel has not let go of.
const CLEANUP_INTERVAL: Duration = Duration::from_millis(1);

struct Zygote {
    control: OwnedFd,
    /// Readable when a child has died.
    deaths: OwnedFd,
    jails: JailPool,
    pool: PoolSizing,
    mounts: Mounts,
}

/// What there is to do.
struct Ready {
    ordered: bool,
    died: bool,
    /// The host's mounts changed.
    remounted: bool,
}

pub(super) fn run() -> io::Result<()> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    sys::close_all_but(&[0, 1, 2, control.as_raw_fd()])?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    sys::set_standard(0, null.as_fd())?;
    drop(null);
    let start = match order(&control) {
        Ok(Some((Order::Start(start), _, _))) if start.version == VERSION => start,
        Ok(None) => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
        Ok(Some(_)) | Err(_) => {
            let reason = "worker and zygote are not the same version of tenure; restart the worker".to_owned();
            return report(&control, &Report::Refused { reason }, None);
        }
    };
    // A supervisor that signals the whole group must not take the jails from a worker that is ending them in order.
    sys::ignore_requests_to_end();
    crate::native::raise_open_files();
    rustix::thread::set_no_new_privs(true)?;
    let confined = start.bypass.keeps(Layer::Seccomp);
    if confined {
        filter::confine_zygote().map_err(io::Error::other)?;
    }
    let filters = Filters::compile().map_err(io::Error::other)?;
    let (holder, cgroups) = (Holder::of(&start.run_dir)?, Cgroups::detect()?);
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let Start { run_dir, pool_bytes, .. } = start;
    let skeleton = Skeleton::make(&run_dir)?;
    let own = write_own_record(&run_dir, &holder)?;
    let deaths = sys::child_signals()?;
    let mounts = Mounts::look(skeleton.shown.iter().map(|(host, _)| host.clone()).collect())?;
    let jails = JailPool::new(Parts { skeleton, run_dir, holder, cgroups, filters, confined })?;
    report(&control, &Report::Started, None)?;
    let pool = PoolSizing::new(pool_bytes, Instant::now());
    let mut zygote = Zygote { control, deaths, jails, pool, mounts };
    let outcome = zygote.serve();
    zygote.jails.end_all();
    own.remove()?;
    outcome
}

fn write_own_record(run_dir: &Path, holder: &Holder) -> io::Result<Slot> {
    let pid = std::process::id() as i32;
    let start = record::start_time(pid).ok_or_else(|| io::Error::other("/proc shows no start time"))?;
    let name = format!("zygote-{pid:x}-{start:x}");
    let slot = Slot::make(run_dir, &name)?;
    slot.begin(&name, holder, &[])?;
    slot.live(Life { pid, start })?;
    Ok(slot)
}

type Received = (Order, Vec<u8>, Option<OwnedFd>);

fn order(control: &OwnedFd) -> io::Result<Option<Received>> {
    let Some((bytes, fd)) = channel::receive(control)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&bytes)?, bytes, fd)))
}

fn report(control: &OwnedFd, report: &Report, fd: Option<&OwnedFd>) -> io::Result<()> {
    channel::send(control, &serde_json::to_vec(report)?, fd.map(AsFd::as_fd))
}

impl Zygote {
    /// Orders come first; the dead are cleaned up and the pool is tended in the time between them.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let tending = self.pool.tend(Instant::now(), self.jails.waiting());
            let mut timeout = match tending {
                PoolStep::Make | PoolStep::End => Some(Duration::ZERO),
                PoolStep::Wait(left) => left,
            };
            if self.jails.is_cleaning_up() {
                timeout = Some(timeout.map_or(CLEANUP_INTERVAL, |left| left.min(CLEANUP_INTERVAL)));
            }
            let Ready { ordered, died, remounted } = self.wait(timeout)?;
            if remounted {
                let changes = self.mounts.look_again()?;
                self.jails.take_note(&changes);
            }
            if ordered && !self.obey()? {
                return Ok(());
            }
            if died {
                self.reap()?;
            }
            self.jails.clean_up();
            if ordered || remounted {
                self.pool.ordered(Instant::now());
                continue;
            }
            match tending {
                PoolStep::Make if self.jails.count() < JAILS_MAX => {
                    if self.jails.make_waiting().is_err() {
                        // A claim that needs one finds out why.
                        self.pool.failed(Instant::now());
                    }
                }
                PoolStep::End => self.jails.end_waiting(),
                PoolStep::Make => self.pool.failed(Instant::now()),
                PoolStep::Wait(_) => {}
            }
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let timeout =
            timeout.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        let mut fds = [
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::new(&self.deaths, PollFlags::IN),
            PollFd::from_borrowed_fd(self.mounts.changes(), PollFlags::PRI),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ordered, died, remounted] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { ordered, died, remounted })
    }

    fn reap(&mut self) -> io::Result<()> {
        // One read empties the descriptor enough: all dead children are looked for below.
        let mut signals = [0; 128 * 16];
        match rustix::io::read(&self.deaths, &mut signals) {
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.jails.reap() {
            self.pool.failed(Instant::now());
        }
        Ok(())
    }

    /// One order; false at the end of the socket.
    fn obey(&mut self) -> io::Result<bool> {
        match order(&self.control) {
            Ok(None) => return Ok(false),
            Ok(Some((Order::Claim(claim), bytes, Some(socket)))) if claim.version == VERSION => {
                self.claim(&claim, &bytes, &socket)?;
            }
            Ok(Some((Order::Start(_) | Order::Claim(_), _, _))) => self.refuse("the order is not a claim")?,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => self.refuse(&error.to_string())?,
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn refuse(&self, reason: &str) -> io::Result<()> {
        report(&self.control, &Report::Refused { reason: reason.to_owned() }, None)
    }

    fn claim(&mut self, claim: &Claim, bytes: &[u8], socket: &OwnedFd) -> io::Result<()> {
        let bypass = &claim.spec.bypass;
        if self.jails.is_confined() && !bypass.keeps(Layer::Seccomp) {
            return self.refuse("this zygote has its filter on: start one without");
        }
        let opened = match self.warm(claim, bytes, socket) {
            Some(opened) => Ok((opened, true)),
            None if self.jails.count() >= JAILS_MAX => {
                return self.refuse("too many jails are open: close some");
            }
            None => self.cold(claim, bypass, bytes, socket).map(|opened| (opened, false)),
        };
        self.pool.claimed(Instant::now());
        match opened {
            Ok((OpenedJail { id, pid, pidfd, cgroups, record }, from_pool)) => {
                report(&self.control, &Report::Opened { id, pid, cgroups, record, from_pool }, Some(&pidfd))
            }
            Err(failure) => report(&self.control, &Report::Failed { failure }, None),
        }
    }

    /// A prewarmed jail that takes the claim. One that does not is dead or ended, and the next is tried.
    fn warm(&mut self, claim: &Claim, bytes: &[u8], socket: &OwnedFd) -> Option<OpenedJail> {
        if claim.cold || !claim.spec.bypass.is_none() {
            return None;
        }
        for _ in 0..WARM_TRIES {
            let prewarmed = self.jails.take_waiting(&claim.spec)?;
            if let Ok(opened) = self.jails.give(prewarmed, &claim.spec, bytes, socket) {
                return Some(opened);
            }
        }
        None
    }

    fn cold(&mut self, claim: &Claim, bypass: &Bypass, bytes: &[u8], socket: &OwnedFd) -> Result<OpenedJail, Failure> {
        self.jails.expect(&claim.spec.limits);
        let prewarmed = self.jails.make(bypass)?;
        self.jails.give(prewarmed, &claim.spec, bytes, socket)
    }
}
