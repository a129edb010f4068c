//! Engines of a test's own, with data, sockets and images in a temporary folder, and ended with it. The tests of the sandbox, of
//! the worker and of the whole product include this one file: it must use nothing of theirs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters::{CreateImageOptions, ListContainersOptionsBuilder, RemoveImageOptions};
use bollard::{ClientVersion, Docker};
use futures_util::TryStreamExt;
use tenure_sandbox::container::Engine;

const START: Duration = Duration::from_secs(60);
const LISTING: Duration = Duration::from_secs(30);
pub(crate) const BUSYBOX: &str = "busybox-for-tests:latest";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Podman,
}

/// One engine, with the image `BUSYBOX`.
pub(crate) struct Started {
    pub(crate) kind: Kind,
    pub(crate) folder: tempfile::TempDir,
    program: PathBuf,
    process: Child,
}

impl Started {
    /// None where it is not installed, or only root could start it: what is missing is said. One that is installed and does not
    /// start is a failure.
    pub(crate) fn start(kind: Kind) -> Option<Started> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can start engines of its own");
            return None;
        }
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
        let process = launch(kind, &program, folder.path());
        let mut started = Started { kind, folder, program, process };
        started.await_answer();
        started.import("busybox-for-tests", &busybox_root(started.folder.path(), &busybox));
        Some(started)
    }

    fn await_answer(&mut self) {
        let deadline = Instant::now() + START;
        let socket = self.socket();
        let log = self.folder.path().join("log");
        while let Err(why) = wait(Engine::at(&socket)) {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(self.process.try_wait().expect("its state").is_none(), "{:?} ended: {}", self.kind, said());
            assert!(Instant::now() < deadline, "{:?} does not answer: {why}\n{}", self.kind, said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// As `DOCKER_HOST` names it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The process that answers, to be stopped or killed.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.process)
    }

    /// The engine's own API, for what a worker never asks of it.
    pub(crate) fn docker(&self) -> Docker {
        let version = ClientVersion { major_version: 1, minor_version: 41 };
        Docker::connect_with_unix(&self.socket().to_string_lossy(), 60, &version).expect("its API")
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
        wait(async { self.docker().create_image(Some(options), Some(body), None).try_collect::<Vec<_>>().await })
            .unwrap_or_else(|error| panic!("import {name}: {error}"));
    }

    pub(crate) fn remove_image(&self, name: &str) {
        wait(async { self.docker().remove_image(name, None::<RemoveImageOptions>, None).await })
            .unwrap_or_else(|error| panic!("remove {name}: {error}"));
    }

    /// The names of all containers that it lists, ended ones too.
    pub(crate) fn containers(&self) -> Vec<String> {
        let deadline = Instant::now() + LISTING;
        loop {
            let options = ListContainersOptionsBuilder::new().all(true).build();
            match wait(async { self.docker().list_containers(Some(options)).await }) {
                Ok(listed) => return listed.into_iter().flat_map(|it| it.names.unwrap_or_default()).collect(),
                // Podman's list fails while one of them is removed.
                Err(error) => assert!(Instant::now() < deadline, "{:?} lists nothing: {error}", self.kind),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the engine as its host does at a shutdown. What it ran may live on.
    pub(crate) fn stop(&mut self) {
        // One that has ended cannot be asked.
        let ask = |signal| rustix::process::kill_process(self.pid(), signal).unwrap_or(());
        // A stopped one hears no request to end.
        ask(rustix::process::Signal::CONT);
        ask(rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(15);
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = rustix::process::kill_process(self.pid(), rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// On the same data and the same socket.
    pub(crate) fn start_again(&mut self) {
        self.process = launch(self.kind, &self.program, self.folder.path());
        self.await_answer();
    }
}

/// On a thread of its own: whoever asks may be in a runtime.
fn wait<T: Send>(question: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(question)
        });
        asking.join().expect("it does not panic")
    })
}

fn launch(kind: Kind, program: &Path, folder: &Path) -> Child {
    // A test that is killed takes its engine along, and so does the end of the thread that starts it.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program);
    match kind {
        Kind::Docker => dockerd(&mut command, folder),
        Kind::Podman => podman(&mut command, folder),
    }
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).process_group(0);
    // Podman's monitor leaves a file named `oom` where it was started.
    command.current_dir(folder).spawn().expect("an engine")
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

pub(crate) fn packed(folder: &Path) -> Vec<u8> {
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

impl Drop for Started {
    fn drop(&mut self) {
        self.stop();
        end_leftovers(self.folder.path());
        unmount_beneath(self.folder.path());
    }
}

/// Docker's own helper process outlives a killed dockerd, and Podman's clean up after containers on their own.
fn end_leftovers(folder: &Path) {
    let folder = folder.display().to_string();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = processes_with(&folder);
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in left.into_iter().filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Host processes whose command line holds `mark`. Zombies have none and so do not count.
pub(crate) fn processes_with(mark: &str) -> Vec<i32> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id() as i32;
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .collect()
}

fn unmount_beneath(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let targets = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for target in targets.filter(|target| target.starts_with(folder)) {
        let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
    }
}
