//! What a worker stands on: its zygote, its work folders, and what this host enforces, found once at the start.
//! Must never: be made while another worker lives on the same data directory.
use crate::backend::{self, SweepScope};
use crate::egress::Egress;
use crate::egress::network::HostNetwork;
use crate::error::Error;
use crate::level::{describe_level, guards};
use crate::reap::{self, RunDirLock};
use crate::workspace::WorkFolders;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tenure_core::manifest::{Engine, Host, HostMount, Toolchain};
use tenure_sandbox::container;
use tenure_sandbox::{Identity, Level, Meter, Spec, Toolchains, Zygote};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a start waits, beyond what else it does, for the container engine to say what it is. What has not said so by then, and
/// every language but Python, is in the next survey.
const ENGINE_GREETING_TIMEOUT: Duration = Duration::from_millis(20);
const PYTHON_TIMEOUT: Duration = Duration::from_millis(250);
/// Before each try to have what an earlier worker left forgotten; an engine may be slow, or come later. What stays goes at the next
/// start.
const SWEEP_PAUSES_S: [u64; 4] = [0, 1, 5, 30];
/// How long containers may take to be forgotten at the end. What stays goes at the next start.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and as whom a worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Holds `agents/` (work folders) and `run/worker/` (records of jails). Made if missing.
    pub data_dir: PathBuf,
    /// Absolute. The program that is the jail's main when its argv[0] is `tenure-jail`.
    pub exe: PathBuf,
    pub name: String,
    /// Most jails at once.
    pub slots: u32,
    /// Folders of the host that agents may see.
    pub mounts: Vec<HostMount>,
}

/// Holds the zygote: dropping it kills every jail.
#[derive(Debug)]
pub struct WorkerRuntime {
    pub(crate) name: String,
    pub(crate) slots: u32,
    pub(crate) zygote: Zygote,
    pub(crate) folders: WorkFolders,
    pub(crate) egress: Arc<Egress>,
    pub(crate) level: String,
    pub(crate) host: Host,
    pub(crate) reaped: u32,
    pub(crate) exe: PathBuf,
    pub(crate) run_dir: PathBuf,
    toolchains: Mutex<Toolchains>,
    /// The one that answered last: greeting it again for each jail would cost up to a second.
    engine: Mutex<Option<container::Engine>>,
    /// Tells once the first look for an engine has ended, if the greeting was ready before.
    late_engine: Mutex<Option<Receiver<Engine>>>,
    /// Whether an engine was asked to make anything.
    used_engine: AtomicBool,
    pub(crate) lock: RunDirLock,
}

impl WorkerRuntime {
    /// Ends what the last life left, starts the zygote and tries one jail: some tens of milliseconds. Blocks.
    ///
    /// # Errors
    /// `Held` while another worker lives on the data directory, `Unproven` if something it left cannot be ended,
    /// `Sandbox` with the missing layer and the way out if this host cannot hold a jail, `Io` for the data directory.
    pub fn prepare(options: &Options) -> Result<WorkerRuntime, Error> {
        let describe = || format!("make {}", options.data_dir.display());
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(options.data_dir.join("run/worker"));
        made.map_err(Error::io(describe()))?;
        let data_dir = options.data_dir.canonicalize().map_err(Error::io(describe()))?;
        let run_dir = data_dir.join("run/worker");
        let (lock, reaped) = reap::reap(&run_dir)?;
        let mut toolchains = Toolchains::begin();
        let engine = look_for_engine(&run_dir);
        let mut folders = WorkFolders::open(&data_dir, options.mounts.clone())?;
        folders.claim_known_ids()?;
        let zygote = Zygote::start(&options.exe, &run_dir)?;
        more_descriptors();
        let level = open_trial_jail(&zygote, &run_dir, folders.trial_identity())?;
        let quota = folders.find_quota(&zygote);
        // Most agents' programs are written in it, and it tells in a few milliseconds.
        toolchains.wait_for("python", PYTHON_TIMEOUT);
        let found = engine.recv_timeout(ENGINE_GREETING_TIMEOUT);
        let late_engine = (found == Err(RecvTimeoutError::Timeout)).then_some(engine);
        let host = Host {
            toolchains: named(toolchains.within(Duration::ZERO)),
            cpu: enforced(level.cpu),
            memory: enforced(level.memory),
            pids: enforced(level.pids),
            quota,
            guards: guards(&level, quota),
            engine: found.unwrap_or_else(|_| Engine::Absent { why: "it has not answered yet".into() }),
            mounts: options.mounts.clone(),
        };
        let level = describe_level(&level, quota.as_str());
        Ok(WorkerRuntime {
            name: options.name.clone(),
            slots: options.slots.max(1),
            zygote,
            folders,
            egress: Arc::new(Egress::new(&run_dir, options.slots.max(1))),
            level,
            host,
            reaped,
            exe: options.exe.clone(),
            run_dir,
            toolchains: Mutex::new(toolchains),
            engine: Mutex::new(None),
            late_engine: Mutex::new(late_engine),
            used_engine: AtomicBool::new(false),
            lock,
        })
    }

    /// The same over another network: for tests.
    #[doc(hidden)]
    pub fn through(mut self, outside: Arc<dyn HostNetwork>) -> WorkerRuntime {
        self.egress = Arc::new(self.egress.through(outside));
        self
    }

    /// What this host can do now: some seconds at most.
    pub(crate) async fn survey(runtime: &Arc<WorkerRuntime>) -> Host {
        let shared = Arc::clone(runtime);
        let asking = tokio::task::spawn_blocking(move || {
            named(shared.toolchains.lock().unwrap_or_else(PoisonError::into_inner).again())
        });
        let ((found, engine), toolchains) = tokio::join!(backend::engine(runtime.host.quota), asking);
        *runtime.engine.lock().unwrap_or_else(PoisonError::into_inner) = found;
        let toolchains = toolchains.unwrap_or_else(|error| {
            tracing::error!(%error, "the look for languages failed");
            runtime.host.toolchains.clone()
        });
        Host { toolchains, engine, ..runtime.host.clone() }
    }

    /// Ends with the first look for an engine; None if the greeting told of it, or somebody waits already.
    pub(crate) fn late_engine(&self) -> Option<impl Future<Output = ()> + use<>> {
        let late = self.late_engine.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(async move {
            // Its own bounds end it. What it found is asked again, with all else that a survey tells.
            let _ = tokio::task::spawn_blocking(move || late.recv()).await;
        })
    }

    /// The engine that the last survey found.
    pub(crate) fn known_engine(&self) -> Option<container::Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next jail looks for one itself.
    pub(crate) fn forget_engine(&self) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on an engine may hold containers of this worker.
    pub(crate) fn uses_engine(&self) {
        self.used_engine.store(true, Ordering::Relaxed);
    }

    /// No jail is open any more: the engine is to forget what it still lists.
    pub(crate) async fn leave(&self) {
        if self.used_engine.load(Ordering::Relaxed) {
            // What it does not do in time is done at the next start.
            let _ = timeout(CLEAR_TIMEOUT, backend::sweep(&self.run_dir, SweepScope::All)).await;
        }
    }

    /// The confinement that this host gives, as one line.
    pub fn level(&self) -> &str {
        &self.level
    }
}

/// Has the engine forget what an earlier worker left there, and hears what it is. HostNetwork a runtime nothing is heard.
fn look_for_engine(run_dir: &Path) -> Receiver<Engine> {
    let (sender, receiver) = channel();
    if let Ok(runtime) = Handle::try_current() {
        let run_dir = run_dir.to_owned();
        runtime.spawn(async move {
            // Its guards for disks are the host's, which the next survey knows.
            let _ = sender.send(backend::engine(tenure_core::manifest::Quota::None).await.1);
            for pause in SWEEP_PAUSES_S {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                if backend::sweep(&run_dir, SweepScope::Earlier).await {
                    return;
                }
            }
        });
    }
    receiver
}

fn named(found: Vec<tenure_sandbox::Toolchain>) -> Vec<Toolchain> {
    let own =
        |found: tenure_sandbox::Toolchain| Toolchain { language: found.language.to_owned(), version: found.version };
    found.into_iter().map(own).collect()
}

/// Connections of jails take two each. The zygote, and so every jail, was started under the limit that was there.
fn more_descriptors() {
    const WANTED: u64 = 1 << 16;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if limit.current.is_some_and(|there_is| there_is < current) {
        // Where it may not, what is over the limit waits at the listeners.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum });
    }
}

/// One jail over an empty folder: the only proof that this host can hold one.
fn open_trial_jail(zygote: &Zygote, run_dir: &Path, identity: Identity) -> Result<Level, Error> {
    let folder = run_dir.join("trial");
    let describe = || format!("make {}", folder.display());
    match fs::remove_dir(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(describe())(error)),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir(&folder).map_err(Error::io(describe()))?;
    let jail = zygote.open(&Spec::new(&folder, identity))?;
    let level = jail.level().clone();
    jail.kill()?;
    fs::remove_dir(&folder).map_err(Error::io(format!("remove {}", folder.display())))?;
    Ok(level)
}

fn enforced(meter: Meter) -> bool {
    match meter {
        Meter::CgroupV2 | Meter::CgroupV1 | Meter::Engine | Meter::Rlimit => true,
        Meter::None => false,
    }
}
