//! Engines of a test's own, with data, sockets and images in a temporary folder, and ended with it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters::{BuildImageOptionsBuilder, CreateImageOptions, ListContainersOptionsBuilder};
use bollard::{ClientVersion, Docker};
use futures_util::TryStreamExt;
use tenure_sandbox::container::Engine;
use tokio::runtime::Runtime;

const START: Duration = Duration::from_secs(60);
pub(crate) const BUSYBOX: &str = "busybox-for-tests:latest";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Podman,
}

/// One running engine.
pub(crate) struct House {
    pub(crate) kind: Kind,
    pub(crate) engine: Engine,
    /// The engine's own API, for what a worker never asks of it.
    pub(crate) docker: Docker,
    pub(crate) runtime: Runtime,
    pub(crate) folder: tempfile::TempDir,
    process: Child,
}

/// Every engine that can be started here; what is missing is said.
pub(crate) fn engines() -> Vec<House> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can start engines of its own");
        return Vec::new();
    }
    [Kind::Docker, Kind::Podman].into_iter().filter_map(House::start).collect()
}

impl House {
    /// None where it is not installed. One that is installed and does not start is a failure.
    pub(crate) fn start(kind: Kind) -> Option<House> {
        let program = match kind {
            Kind::Docker => "dockerd",
            Kind::Podman => "podman",
        };
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&folders).collect();
        places.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let find = |name: &str| places.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        let (Some(program), Some(busybox), Some(_)) = (find(program), find("busybox"), find("runc")) else {
            eprintln!("skipped: {program}, runc or a static busybox is not installed");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("tenure-engine-").tempdir().expect("a temporary folder");
        let socket = folder.path().join("engine.sock");
        // A test that is killed takes its engine along.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(program);
        match kind {
            Kind::Docker => dockerd(&mut command, folder.path()),
            Kind::Podman => podman(&mut command, folder.path()),
        }
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).process_group(0);
        let mut process = command.spawn().expect("an engine");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let deadline = Instant::now() + START;
        let engine = loop {
            match runtime.block_on(Engine::at(&socket)) {
                Ok(engine) => break engine,
                Err(why) => {
                    let said = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                    assert!(process.try_wait().expect("its state").is_none(), "{kind:?} ended: {}", said());
                    assert!(Instant::now() < deadline, "{kind:?} does not answer: {why}\n{}", said());
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let version = ClientVersion { major_version: 1, minor_version: 41 };
        let docker = Docker::connect_with_unix(&socket.to_string_lossy(), 60, &version).expect("its API");
        let house = House { kind, engine, docker, runtime, folder, process };
        house.import("busybox-for-tests", &busybox_root(house.folder.path(), &busybox));
        Some(house)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// The process that answers, to be stopped or killed.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.process)
    }

    /// Makes the tree at `root` the image `name:latest`.
    pub(crate) fn import(&self, name: &str, root: &Path) {
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(name.to_owned()),
            tag: Some("latest".to_owned()),
            ..CreateImageOptions::default()
        };
        let body = bollard::body_full(packed(root).into());
        let importing = self.docker.create_image(Some(options), Some(body), None).try_collect::<Vec<_>>();
        self.runtime.block_on(importing).unwrap_or_else(|error| panic!("import {name}: {error}"));
    }

    /// The same, with lines of a Dockerfile that configure it.
    pub(crate) fn build(&self, name: &str, root: &Path, lines: &[&str]) {
        let context = self.folder.path().join(format!("context-{name}"));
        fs::create_dir(&context).expect("a context");
        let copied = Command::new("cp").arg("-a").arg(root).arg(context.join("root")).status().expect("cp");
        assert!(copied.success());
        let file = format!("FROM scratch\nCOPY root /\n{}\n", lines.join("\n"));
        fs::write(context.join("Dockerfile"), file).expect("a Dockerfile");
        let options = BuildImageOptionsBuilder::new().dockerfile("Dockerfile").t(name).build();
        let body = bollard::body_full(packed(&context).into());
        let building = self.docker.build_image(options, None, Some(body)).try_collect::<Vec<_>>();
        self.runtime.block_on(building).unwrap_or_else(|error| panic!("build {name}: {error}"));
    }

    /// The names of all containers that it lists, ended ones too.
    pub(crate) fn containers(&self) -> Vec<String> {
        let options =
            ListContainersOptionsBuilder::new().all(true).filters(&HashMap::<String, Vec<String>>::new()).build();
        let mut listed = Vec::new();
        // Podman's list fails while one of them is removed.
        crate::house::eventually("a list", || {
            let found = self.runtime.block_on(self.docker.list_containers(Some(options.clone())));
            found.map(|found| listed = found).inspect_err(|error| eprintln!("{error}")).is_ok()
        });
        listed.into_iter().flat_map(|container| container.names.unwrap_or_default()).collect()
    }
}

fn dockerd(command: &mut Command, folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--log-level=warn"]);
    command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
    command.args(["--host", &format!("unix://{}", path("engine.sock"))]);
}

fn podman(command: &mut Command, folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    // Root here may lack the right to raise limits, which Podman's own defaults need.
    let settings = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n";
    fs::write(folder.join("containers.conf"), settings).expect("its settings");
    command.env("CONTAINERS_CONF", path("containers.conf"));
    command.args(["--root", &path("data"), "--runroot", &path("exec"), "--tmpdir", &path("tmp")]);
    command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "system", "service", "--time=0"]);
    command.arg(format!("unix://{}", path("engine.sock")));
}

fn packed(folder: &Path) -> Vec<u8> {
    let packed = Command::new("tar").arg("-C").arg(folder).args(["-c", "."]).output().expect("tar");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    packed.stdout
}

/// A root with a static busybox and nothing else: no loader, no library, no `/etc`.
fn busybox_root(folder: &Path, busybox: &Path) -> PathBuf {
    let root = folder.join("busybox");
    fs::create_dir_all(root.join("bin")).expect("a root");
    fs::copy(busybox, root.join("bin/busybox")).expect("busybox");
    let listed = Command::new(busybox).arg("--list").output().expect("its programs");
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a program");
    }
    root
}

impl Drop for House {
    fn drop(&mut self) {
        let pid = self.pid();
        // One that has ended cannot be asked.
        let ask = |signal| rustix::process::kill_process(pid, signal).unwrap_or(());
        // A stopped one hears no request to end.
        ask(rustix::process::Signal::CONT);
        ask(rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(15);
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                ask(rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        end_leftovers(self.folder.path());
        unmount_beneath(self.folder.path());
    }
}

/// Docker's own helper process outlives a killed dockerd, and Podman's clean up after containers on their own.
fn end_leftovers(folder: &Path) {
    let folder = folder.display().to_string();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = crate::house::processes_with(&folder);
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in left.into_iter().filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn unmount_beneath(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let targets = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for target in targets.filter(|target| target.starts_with(folder)) {
        let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
    }
}
