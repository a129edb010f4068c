//! One jail of any backend over a work folder of its own, and what tests do with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tenure_sandbox::container::{Burial, Contained};
use tenure_sandbox::protocol::{Refusal, Spawn};
use tenure_sandbox::{Client, Error, Identity, Jail, Level, Output, Spec, Zygote};

use crate::engines::{BUSYBOX, House, engines};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn jail_exe() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tenure-jail"))
}

/// The identity of the `nth` agent.
pub(crate) fn identity(nth: u32) -> Identity {
    Identity::Host { uid: 300_000 + nth, gid: 300_000 + nth }
}

impl House {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        let folder = self.path("run");
        std::fs::create_dir_all(&folder).expect("a run folder");
        folder
    }

    /// A spec over the folder `name`, which is made.
    pub(crate) fn spec(&self, name: &str, nth: u32) -> Spec {
        spec(self.folder.path(), name, nth)
    }

    pub(crate) fn try_open(&self, spec: &Spec, image: &str) -> Result<Contained, Error> {
        self.runtime.block_on(self.engine.open(spec, image, &jail_exe(), &self.run_dir()))
    }

    pub(crate) fn open(&self, spec: &Spec) -> (Contained, Client) {
        self.open_image(spec, BUSYBOX)
    }

    pub(crate) fn open_image(&self, spec: &Spec, image: &str) -> (Contained, Client) {
        let contained = self.try_open(spec, image).unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
        let client = contained.client(PATIENCE).expect("a client");
        (contained, client)
    }

    pub(crate) fn kill(&self, contained: &Contained) -> Burial {
        self.runtime.block_on(contained.kill()).expect("it is proven dead")
    }
}

fn spec(folder: &Path, name: &str, nth: u32) -> Spec {
    let work = folder.join(name);
    std::fs::create_dir_all(&work).expect("a work folder");
    Spec::new(work, identity(nth))
}

/// Where a behaviour is tried: in a native jail, which is the control, and in each engine's containers.
pub(crate) enum Backend {
    Native { zygote: Zygote, folder: tempfile::TempDir },
    Engine(Box<House>),
}

pub(crate) enum Held {
    Native(Jail),
    Contained(Contained),
}

/// Every backend of this machine.
pub(crate) fn backends() -> Vec<Backend> {
    let engines = engines();
    if engines.is_empty() {
        return Vec::new();
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let zygote = Zygote::start(&jail_exe(), &folder.path().join("run")).expect("a zygote");
    std::iter::once(Backend::Native { zygote, folder })
        .chain(engines.into_iter().map(Box::new).map(Backend::Engine))
        .collect()
}

impl Backend {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Backend::Native { .. } => "native",
            Backend::Engine(house) => house.engine.name(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match self {
            Backend::Native { folder, .. } => folder.path().join(name),
            Backend::Engine(house) => house.path(name),
        }
    }

    pub(crate) fn spec(&self, name: &str, nth: u32) -> Spec {
        spec(self.path("").as_path(), name, nth)
    }

    pub(crate) fn open(&self, spec: &Spec) -> (Held, Client) {
        match self {
            Backend::Native { zygote, .. } => {
                let jail = zygote.open(spec).unwrap_or_else(|error| panic!("{error}"));
                let client = jail.client(PATIENCE).expect("a client");
                (Held::Native(jail), client)
            }
            Backend::Engine(house) => {
                let (contained, client) = house.open(spec);
                (Held::Contained(contained), client)
            }
        }
    }

    pub(crate) fn kill(&self, held: &Held) {
        match (self, held) {
            (Backend::Engine(house), Held::Contained(contained)) => assert_eq!(house.kill(contained), Burial::Removed),
            (_, Held::Native(jail)) => jail.kill().expect("it is proven dead"),
            (Backend::Native { .. }, Held::Contained(_)) => unreachable!("a backend kills what it opened"),
        }
    }
}

impl Held {
    pub(crate) fn level(&self) -> &Level {
        match self {
            Held::Native(jail) => jail.level(),
            Held::Contained(contained) => contained.level(),
        }
    }

    pub(crate) fn take_listener(&mut self) -> Option<std::net::TcpListener> {
        match self {
            Held::Native(jail) => jail.take_listener(),
            Held::Contained(contained) => contained.take_listener(),
        }
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
