//! A zygote, a work folder and a jail, made and unmade around one test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tenure_sandbox::{Client, Identity, Jail, Output, Spec, Zygote, protocol::Spawn};

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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

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

pub(crate) fn sh(client: &mut Client, script: &str) -> Output {
    run(client, &["sh", "-c", script])
}

pub(crate) fn run(client: &mut Client, argv: &[&str]) -> Output {
    client.run(Spawn::new(argv.iter().copied()), b"").unwrap_or_else(|error| panic!("{argv:?}: {error}"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

pub(crate) fn out(client: &mut Client, script: &str) -> String {
    let output = sh(client, script);
    text(&output.stdout) + &text(&output.stderr)
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
