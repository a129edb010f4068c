//! The worker's handles: a running zygote and the jails that it opened.
//! Must never: hold the control socket while a jail sets itself up, or let a jail outlive its handle.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use super::claim::{Claim, Order, Report, Start};
use super::freeze;
use super::{channel, reap, sealed};
use crate::bypass::Bypass;
use crate::client::{Client, Listeners};
use crate::error::Error;
use crate::level::Level;
use crate::protocol::{FrameError, Hello, VERSION};
use crate::spec::{Identity, PoolSize, Spec};

/// How long each step of a start, an opening or an ending may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a jail may take to die before it is taken to be frozen.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The resident parent of all jails of one worker. Dropping it kills them all.
#[derive(Debug)]
pub struct Zygote {
    link: Link,
    process: Child,
}

#[derive(Debug)]
struct Link {
    control: Mutex<Option<OwnedFd>>,
}

/// One confined place to work in. Dropping it kills everything in it, without waiting.
#[derive(Debug)]
pub struct Jail {
    id: String,
    pid: i32,
    pidfd: OwnedFd,
    socket: Option<UnixStream>,
    listener: Option<TcpListener>,
    service: Option<TcpListener>,
    level: Level,
    cgroups: Vec<PathBuf>,
    record: PathBuf,
    from_pool: bool,
}

impl Zygote {
    /// Starts `exe` under the name `tenure-jail`; its main must call `jail_main` first. Records of jails go to `run_dir`,
    /// which belongs to this worker alone, and which `reap` must have emptied before. The caller's soft limit of open files is
    /// raised to its hard one: each jail takes two or three.
    pub fn start(exe: &Path, run_dir: &Path) -> Result<Self, Error> {
        Self::start_with(exe, run_dir, PoolSize::default())
    }

    /// As `start`, with a pool of another size.
    pub fn start_with(exe: &Path, run_dir: &Path, pool: PoolSize) -> Result<Self, Error> {
        Self::launch(exe, run_dir, pool, Bypass::default())
    }

    pub(crate) fn launch(exe: &Path, run_dir: &Path, pool: PoolSize, bypass: Bypass) -> Result<Self, Error> {
        super::raise_open_files();
        fs::create_dir_all(run_dir).map_err(Error::io(format!("make {}", run_dir.display())))?;
        let run_dir = run_dir.canonicalize().map_err(Error::io(format!("resolve {}", run_dir.display())))?;
        let (ours, theirs) = channel::pair().map_err(Error::io("make the zygote's socket"))?;
        let copy = sealed::copy_if_needed(exe, &bypass).map_err(Error::io(format!("copy {}", exe.display())))?;
        let mut command = Command::new(copy.as_ref().map_or_else(|| exe.to_owned(), sealed::path));
        command.arg0("tenure-jail").arg("zygote").env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let process = command.spawn().map_err(Error::io(format!("start {}", exe.display())))?;
        drop(command);
        let zygote = Self { link: Link { control: Mutex::new(Some(ours)) }, process };
        let pool_bytes = match pool {
            PoolSize::None => 0,
            PoolSize::UpTo { bytes } => bytes,
        };
        let start = Start { version: VERSION, run_dir, pool_bytes, bypass };
        match zygote.link.ask(&Order::Start(start), None)? {
            (Report::Started, _) => Ok(zygote),
            (Report::Refused { reason }, _) => Err(Error::ZygoteLost(reason)),
            (Report::Opened { .. } | Report::Failed { .. }, _) => {
                Err(Error::ZygoteLost("it answered the start with something else".into()))
            }
        }
    }

    /// The zygote's process id on the host.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Opens one jail and waits until it is ready: under a millisecond where a prewarmed one waits, else a few. As root, a
    /// work folder that still belongs to the caller is given to the spec's uid; one that belongs to somebody else is refused.
    pub fn open(&self, spec: &Spec) -> Result<Jail, Error> {
        spec.check()?;
        own_work_folder(spec)?;
        match self.claim(spec, false)? {
            Claimed::Ready(jail) => Ok(jail),
            // Whatever befell a prewarmed jail befalls a new one only if it is the spec's or the host's fault.
            Claimed::Lost { from_pool: true, .. } => match self.claim(spec, true)? {
                Claimed::Ready(jail) => Ok(jail),
                Claimed::Lost { error, .. } => Err(error),
            },
            Claimed::Lost { error, .. } => Err(error),
        }
    }

    fn claim(&self, spec: &Spec, cold: bool) -> Result<Claimed, Error> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("make the jail's socket"))?;
        let order = Order::Claim(Claim { version: VERSION, cold, spec: Box::new(spec.clone()) });
        let (report, pidfd) = self.link.ask(&order, Some(theirs.as_fd()))?;
        drop(theirs);
        let (id, pid, cgroups, record, from_pool, pidfd) = match (report, pidfd) {
            (Report::Opened { id, pid, cgroups, record, from_pool }, Some(pidfd)) => {
                (id, pid, cgroups, record, from_pool, pidfd)
            }
            (Report::Failed { failure }, _) => return Err(Error::Layer(failure)),
            (Report::Refused { reason }, _) => return Err(Error::Spec { field: "claim", reason }),
            (Report::Started | Report::Opened { .. }, _) => {
                return Err(Error::ZygoteLost("its answer to a claim was something else".into()));
            }
        };
        let mut client = Client::new(ours, ANSWER_TIMEOUT);
        let hello = client.hello();
        let socket = client.into_socket();
        let error = match hello {
            Ok((Hello::Ready(level), fds)) => match Listeners::of(spec.egress, spec.service_port.is_some(), fds) {
                Some(Listeners { egress: listener, service }) => {
                    let socket = Some(socket);
                    let jail = Jail { id, pid, pidfd, socket, listener, service, level, cgroups, record, from_pool };
                    return Ok(Claimed::Ready(jail));
                }
                None => FrameError::Unexpected("a hello with other listeners than were asked for").into(),
            },
            Ok((Hello::Failed(failure), _)) => Error::Layer(failure),
            Err(error) => error,
        };
        // It ends by itself unless it hangs; only one that is proven dead may be replaced.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        if !channel::readable(&pidfd, ANSWER_TIMEOUT).unwrap_or(false) {
            return Err(Error::Unproven { what: format!("jail {id}") });
        }
        Ok(Claimed::Lost { error, from_pool })
    }
}

/// What became of one claim.
enum Claimed {
    Ready(Jail),
    /// It is dead.
    Lost {
        error: Error,
        from_pool: bool,
    },
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // The end of its socket makes the zygote kill and clean up all jails, then leave.
        drop(self.link.control.lock().unwrap_or_else(PoisonError::into_inner).take());
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Link {
    /// One order and its report; a lock keeps the pairs together.
    fn ask(&self, order: &Order, fd: Option<BorrowedFd<'_>>) -> Result<(Report, Option<OwnedFd>), Error> {
        let lost = |error: io::Error| Error::ZygoteLost(error.to_string());
        let bytes = serde_json::to_vec(order).map_err(|error| lost(error.into()))?;
        if bytes.len() > channel::MESSAGE_BYTES_MAX {
            let reason = format!("it takes {} bytes, over the limit of {}", bytes.len(), channel::MESSAGE_BYTES_MAX);
            return Err(Error::Spec { field: "(whole)", reason });
        }
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = control.as_ref() else {
            return Err(Error::ZygoteLost("an earlier order was never answered".into()));
        };
        channel::send(socket, &bytes, fd).map_err(lost)?;
        if !channel::readable(socket, ANSWER_TIMEOUT).map_err(lost)? {
            // A late answer would be taken for the next order's.
            *control = None;
            return Err(Error::Deadline { what: "the zygote", millis: ANSWER_TIMEOUT.as_millis() as u64 });
        }
        match channel::receive(socket).map_err(lost)? {
            Some((bytes, fd)) => Ok((serde_json::from_slice(&bytes).map_err(|error| lost(error.into()))?, fd)),
            None => Err(Error::ZygoteLost("it ended".into())),
        }
    }
}

impl Jail {
    /// Unique among all jails of this host since its boot.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host's process id of the jail's init.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable once the jail's init, and with it every process of the jail, is dead.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn level(&self) -> &Level {
        &self.level
    }

    /// Whether it was prewarmed when it was asked for.
    pub fn is_from_pool(&self) -> bool {
        self.from_pool
    }

    /// The control groups that hold it; none as an ordinary user without delegation.
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// The socket that speaks `protocol`; None if it was taken. Its end kills the jail.
    pub fn take_socket(&mut self) -> Option<UnixStream> {
        self.socket.take()
    }

    /// The listener on `EGRESS_PORT` of the jail's own loopback, blocking, if the spec has `egress`; None if it was taken.
    /// Nobody else holds it: while nobody accepts, programs wait, and once it is dropped they are refused.
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

    /// Whether every process of the jail is dead.
    pub fn is_dead(&self) -> bool {
        channel::readable(&self.pidfd, Duration::ZERO).unwrap_or(false)
    }

    /// Kills every process of the jail and returns once they are proven dead and its control groups and record are gone.
    pub fn kill(&self) -> Result<(), Error> {
        let unproven = |_| Error::Unproven { what: format!("jail {}", self.id) };
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(unproven(error.into())),
        }
        // What dies at once is not frozen.
        if !channel::readable(&self.pidfd, EXIT_POLL_INTERVAL).map_err(unproven)? {
            freeze::release(&self.cgroups);
        }
        if !channel::readable(&self.pidfd, ANSWER_TIMEOUT).map_err(unproven)? {
            return Err(Error::Unproven { what: format!("jail {}", self.id) });
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            // The zygote has to see the death first, so the first look too comes after a pause.
            std::thread::sleep(Duration::from_micros(200));
            if !reap::is_recorded(&self.record, &self.id) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return reap::end_one(&self.record, &self.id);
            }
        }
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        // Dead already is what was wanted; the zygote cleans up it.
        if pidfd_send_signal(&self.pidfd, Signal::KILL) != Err(rustix::io::Errno::SRCH) {
            freeze::release(&self.cgroups);
        }
    }
}

/// Makes the work folder's owner the jail's identity, or refuses.
pub(crate) fn own_work_folder(spec: &Spec) -> Result<(), Error> {
    let folder = &spec.work_folder;
    let found = fs::symlink_metadata(folder).map_err(Error::io(format!("look at {}", folder.display())))?;
    let refuse = |field, reason: String| Err(Error::Spec { field, reason });
    if !found.is_dir() {
        return refuse("work_folder", format!("{} is not a folder", folder.display()));
    }
    let caller = rustix::process::geteuid().as_raw();
    match spec.identity {
        Identity::Caller if caller == 0 => {
            refuse("identity", "the worker is root, which is never mapped: give the agent host ids of its own".into())
        }
        Identity::Caller => Ok(()),
        Identity::Host { .. } if caller != 0 => {
            refuse("identity", "only a worker that runs as root can map other host ids: use the caller's".into())
        }
        Identity::Host { uid, .. } if found.uid() == uid => Ok(()),
        Identity::Host { uid, gid } if found.uid() == 0 => std::os::unix::fs::lchown(folder, Some(uid), Some(gid))
            .map_err(Error::io(format!("give {} to uid {uid}", folder.display()))),
        Identity::Host { uid, .. } => refuse(
            "work_folder",
            format!("{} belongs to uid {}, not to the agent's {uid}", folder.display(), found.uid()),
        ),
    }
}
