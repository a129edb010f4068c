//! A zygote, a work folder and a jail, made and unmade around one test; and the same probes run outside, as controls.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use std::time::{Duration, Instant};

use crate::orphans::NothingLeft;

use tenure_sandbox::protocol::{Refusal, Spawn};
use tenure_sandbox::{Client, Error, Identity, Jail, Output, PoolSize, Spec, Zygote};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Set in the environment of the run in which every jail comes from a pool.
pub(crate) const POOLED: &str = "TENURE_TEST_POOLED";

/// Set in the environment of the second run, as an ordinary user: the jail program that this user may execute.
pub(crate) const JAIL_EXE: &str = "TENURE_TEST_JAIL_EXE";

pub(crate) struct House {
    pub(crate) zygote: Zygote,
    pub(crate) folder: tempfile::TempDir,
    /// Whether jails are to be taken from its pool.
    pooled: bool,
    /// The last to be dropped.
    _left: NothingLeft,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The identity of the `nth` agent.
pub(crate) fn identity(nth: u32) -> Identity {
    if is_root() { Identity::Host { uid: 300_000 + nth, gid: 300_000 + nth } } else { Identity::Caller }
}

pub(crate) fn jail_exe() -> PathBuf {
    std::env::var_os(JAIL_EXE).map_or_else(|| PathBuf::from(crate::JAIL_PROGRAM), PathBuf::from)
}

impl House {
    /// Its jails come from a pool if this run is to show that, else each is made when it is opened.
    pub(crate) fn new() -> Self {
        Self::with_pool(if std::env::var_os(POOLED).is_some() { PoolSize::default() } else { PoolSize::None })
    }

    pub(crate) fn with_pool(size: PoolSize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let zygote = Zygote::start_with(&jail_exe(), &folder.path().join("run"), size).expect("a zygote");
        Self::of(zygote, folder, std::env::var_os(POOLED).is_some())
    }

    pub(crate) fn of(zygote: Zygote, folder: tempfile::TempDir, pooled: bool) -> Self {
        let _left = NothingLeft::of(&zygote, folder.path());
        Self { zygote, folder, pooled, _left }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A spec over the folder `name`, which is made.
    pub(crate) fn spec(&self, name: &str, nth: u32) -> Spec {
        let work = self.path(name);
        std::fs::create_dir_all(&work).expect("a work folder");
        Spec::new(work, identity(nth))
    }

    pub(crate) fn open(&self) -> (Jail, Client) {
        self.open_as(&self.spec("work", 1))
    }

    pub(crate) fn open_as(&self, spec: &Spec) -> (Jail, Client) {
        if self.pooled {
            return self.open_pooled(spec);
        }
        let jail = self.zygote.open(spec).unwrap_or_else(|error| panic!("{error}"));
        remember(&jail);
        let client = jail.client(PATIENCE).expect("a client");
        (jail, client)
    }

    /// One that was half-made. Another test may mount or unmount something on this host, which ends those that wait, so that
    /// one try is not enough.
    pub(crate) fn open_pooled(&self, spec: &Spec) -> (Jail, Client) {
        for _ in 0..50 {
            eventually("a half-made jail", || !half_made(&self.path("run")).is_empty());
            let jail = self.zygote.open(spec).unwrap_or_else(|error| panic!("{error}"));
            remember(&jail);
            if jail.is_from_pool() {
                let client = jail.client(PATIENCE).expect("a client");
                return (jail, client);
            }
            jail.kill().expect("dead");
        }
        panic!("no jail comes from the pool");
    }
}

/// The jails that this process opened.
static OPENED: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) fn remember(jail: &Jail) {
    OPENED.lock().expect("a list").push(jail.id().to_owned());
}

/// The ids and process ids in the records of a run folder.
pub(crate) fn records(run_dir: &Path) -> Vec<(String, i32)> {
    let Ok(folder) = std::fs::read_dir(run_dir) else { return Vec::new() };
    let paths = folder.map(|entry| entry.expect("an entry").path());
    let slots = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jail"));
    let texts = slots.filter_map(|path| std::fs::read_to_string(path).ok()).filter(|text| !text.trim().is_empty());
    texts
        .map(|text| {
            let (intent, life) = text.split_at(7168.min(text.len()));
            let field = |text: &str, name: &str| {
                let value = serde_json::from_str::<serde_json::Value>(text.trim()).unwrap_or_default();
                value.get(name).cloned().unwrap_or_default()
            };
            let id = field(intent, "id").as_str().unwrap_or_default().to_owned();
            (id, field(life, "pid").as_i64().unwrap_or_default() as i32)
        })
        .collect()
}

/// The process ids of jails that wait for a claim, among those that were opened through `remember`.
pub(crate) fn half_made(run_dir: &Path) -> Vec<i32> {
    let waiting = |(id, pid): &(String, i32)| *pid > 0 && !is_opened(id);
    records(run_dir).into_iter().filter(waiting).map(|(_, pid)| pid).collect()
}

fn is_opened(id: &str) -> bool {
    id.starts_with("zygote-") || OPENED.lock().expect("a list").iter().any(|opened| opened == id)
}

/// How many records are the zygote's or an opened jail's.
pub(crate) fn opened_records(run_dir: &Path) -> usize {
    records(run_dir).iter().filter(|(id, _)| is_opened(id)).count()
}

pub(crate) fn run(client: &mut Client, argv: &[&str]) -> Output {
    client.run(Spawn::new(argv.iter().copied()), b"").unwrap_or_else(|error| panic!("{argv:?}: {error}"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// What a shell script prints inside, both streams.
pub(crate) fn inside(client: &mut Client, script: &str) -> String {
    let output = run(client, &["sh", "-c", &format!("exec 2>&1; {script}")]);
    text(&output.stdout)
}

/// What the same script prints on the host, as the same user that runs the tests.
pub(crate) fn outside(script: &str) -> String {
    let output = Command::new("/bin/sh").args(["-c", &format!("exec 2>&1; {script}")]).output().expect("a shell");
    text(&output.stdout)
}

pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub(crate) fn redirected(path: &str) -> Refusal {
    Refusal::Redirected { path: path.to_owned() }
}

/// Waits for what must come true, but not for ever.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Host processes whose command line holds `mark`. Zombies have none and so do not count.
pub(crate) fn processes_with(mark: &str) -> Vec<i32> {
    let Ok(folder) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id() as i32;
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .collect()
}
