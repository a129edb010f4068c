//! One jail of any backend over a work folder of its own, and what tests do with it.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bollard::query_parameters::BuildImageOptionsBuilder;
use futures_util::TryStreamExt;
use tenure_sandbox::container::{Contained, Engine, Removal};
use tenure_sandbox::protocol::{Refusal, Spawn};
use tenure_sandbox::{Client, Error, Identity, Jail, Level, Output, Spec, Zygote};

use tokio::runtime::Runtime;

use crate::engines::{BUSYBOX, Kind, Started, packed};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn jail_exe() -> PathBuf {
    PathBuf::from(crate::JAIL_PROGRAM)
}

/// The identity of the `nth` agent.
pub(crate) fn identity(nth: u32) -> Identity {
    Identity::Host { uid: 300_000 + nth, gid: 300_000 + nth }
}

/// One running engine, as a worker holds it.
pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) runtime: Runtime,
    started: Started,
}

/// Every engine that can be started here.
pub(crate) fn engines() -> Vec<House> {
    [Kind::Docker, Kind::Podman].into_iter().filter_map(House::start).collect()
}

impl Deref for House {
    type Target = Started;

    fn deref(&self) -> &Started {
        &self.started
    }
}

impl House {
    pub(crate) fn start(kind: Kind) -> Option<House> {
        let started = Started::start(kind)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let engine = runtime.block_on(Engine::at(&started.socket())).expect("it answers");
        Some(House { engine, runtime, started })
    }

    /// Makes the tree at `root` the image `name:latest`, with lines of a Dockerfile that configure it.
    pub(crate) fn build(&self, name: &str, root: &Path, lines: &[&str]) {
        let context = self.folder.path().join(format!("context-{name}"));
        fs::create_dir(&context).expect("a context");
        let copied = Command::new("cp").arg("-a").arg(root).arg(context.join("root")).status().expect("cp");
        assert!(copied.success());
        let file = format!("FROM scratch\nCOPY root /\n{}\n", lines.join("\n"));
        fs::write(context.join("Dockerfile"), file).expect("a Dockerfile");
        let options = BuildImageOptionsBuilder::new().dockerfile("Dockerfile").t(name).build();
        let body = bollard::body_full(packed(&context).into());
        let docker = self.docker();
        let building = docker.build_image(options, None, Some(body)).try_collect::<Vec<_>>();
        self.runtime.block_on(building).unwrap_or_else(|error| panic!("build {name}: {error}"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        let folder = self.path("run");
        fs::create_dir_all(&folder).expect("a run folder");
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

    pub(crate) fn kill(&self, contained: &Contained) -> Removal {
        self.runtime.block_on(contained.kill()).expect("it is proven dead")
    }
}

fn spec(folder: &Path, name: &str, nth: u32) -> Spec {
    let work = folder.join(name);
    fs::create_dir_all(&work).expect("a work folder");
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
            (Backend::Engine(house), Held::Contained(contained)) => assert_eq!(house.kill(contained), Removal::Removed),
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
