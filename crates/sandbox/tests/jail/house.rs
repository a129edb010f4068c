//! A zygote, a work folder and a jail, made and unmade around one test; and the same probes run outside, as controls.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tenure_sandbox::protocol::{Refusal, Spawn};
use tenure_sandbox::{Client, Error, Identity, Jail, Layer, Output, Spec, Zygote};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Set in the environment of the second run, as an ordinary user: the jail program that this user may execute.
pub(crate) const JAIL_EXE: &str = "TENURE_TEST_JAIL_EXE";

pub(crate) struct House {
    pub(crate) zygote: Zygote,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The identity of the `nth` agent.
pub(crate) fn identity(nth: u32) -> Identity {
    if is_root() { Identity::Host { uid: 300_000 + nth, gid: 300_000 + nth } } else { Identity::Caller }
}

pub(crate) fn jail_exe() -> PathBuf {
    std::env::var_os(JAIL_EXE).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tenure-jail")), PathBuf::from)
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let zygote = Zygote::start(&jail_exe(), &folder.path().join("run")).expect("a zygote");
        Self { zygote, folder }
    }

    /// A zygote whose jails can go without the system call filter.
    pub(crate) fn unfiltered() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run_dir = folder.path().join("run");
        let zygote = Zygote::start_without(&jail_exe(), &run_dir, &[Layer::Seccomp]).expect("a zygote");
        Self { zygote, folder }
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
        let jail = self.zygote.open(spec).unwrap_or_else(|error| panic!("{error}"));
        let client = jail.client(PATIENCE).expect("a client");
        (jail, client)
    }
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
