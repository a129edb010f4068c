//! From a spec and an image to a container whose jail program has said hello.
//! Must never: send the order before the process at the socket is proven to be the container's, or leave a container that failed.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bollard::models::ContainerState;
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::time::sleep;

use super::call::{self, Answered};
use super::contained::Contained;
use super::image::{self, Image};
use super::measured::MeasuredLimits;
use super::order::{Counter, Order, Place};
use super::rendezvous::RendezvousSocket;
use super::runtime_files::RuntimeFiles;
use super::settings::{ContainerMount, Flavor, Plan, shown};
use super::{Engine, mark};
use crate::client::{Client, Listeners};
use crate::error::{Error, Layer};
use crate::level::{Level, Mapping};
use crate::native::record::{self, Holder, Life, Slot};
use crate::native::{channel, zygote};
use crate::protocol::{FrameError, Hello, VERSION, encode};
use crate::spec::{Identity, Mount, Spec, WORKSPACE};

/// How long the engine may take to make a container, and to start it.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to say what it has.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the jail program may take to come to the socket, and to say hello.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at a container whose program has not come yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many looks at a state that the API has no word for.
const LOOKS_MAX: u32 = 50;
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);
const IMAGE_NAME_MAX: usize = 255;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// What is made on the host before the engine is asked.
#[derive(Debug)]
struct PreparedContainer {
    id: String,
    run: String,
    uid: u32,
    gid: u32,
    runtime_files: RuntimeFiles,
    rendezvous: RendezvousSocket,
    slot: Slot,
    shown: Vec<ContainerMount>,
    places: Vec<Place>,
    /// Keeps the inodes of the places from being used again.
    _held: Vec<OwnedFd>,
}

/// What goes into the order, but for what is found out about the process.
struct ContainerRequest {
    spec: Spec,
    uid: u32,
    gid: u32,
    places: Vec<Place>,
    container: String,
}

/// What the process at the socket turned out to be.
struct StartedJail {
    pidfd: OwnedFd,
    socket: UnixStream,
    listener: Option<TcpListener>,
    service: Option<TcpListener>,
    level: Level,
    held: MeasuredLimits,
}

impl Engine {
    /// Makes a container of `image`, starts the jail program in it and waits until that is ready: some tenths of a second.
    /// `exe` as for `Zygote::start`; records and sockets go to `run_dir`, which belongs to this worker alone.
    ///
    /// # Errors
    /// `Image` if the engine does not hold it; `Layer` if engine and host together do not give what a jail must have; `Engine`,
    /// `Spec`, `Io`. Nothing is left then, unless the engine no longer answers; the next `reap` removes that.
    pub async fn open(&self, spec: &Spec, image: &str, exe: &Path, run_dir: &Path) -> Result<Contained, Error> {
        spec.check()?;
        self.check(spec)?;
        let image = self.image(image).await?;
        let (wanted, program, folder) = (spec.clone(), exe.to_owned(), run_dir.to_owned());
        let flavor = self.flavor;
        let preparing = tokio::task::spawn_blocking(move || prepare(flavor, &wanted, &program, &folder));
        let prepared = preparing.await.map_err(|error| Error::io("prepare a container")(error.into()))??;
        let plan = Plan {
            flavor: self.flavor,
            selinux: self.selinux,
            cpus: self.cpus,
            spec,
            shown: &prepared.shown,
            uid: prepared.uid,
            gid: prepared.gid,
            image: &image,
            runtime_files: &prepared.runtime_files,
            id: &prepared.id,
            run: &prepared.run,
        };
        let name = format!("tenure-{}", prepared.id);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let made = self.docker.create_container(Some(options), plan.body());
        let made = call::must(&self.title(), "make the container", CREATE_TIMEOUT, made).await;
        let met = match made {
            Ok(made) => self.wait_for_jail(made.id, &prepared, &image, spec).await,
            Err(error) => Err(error),
        };
        match met {
            Ok((pid, met)) => {
                let PreparedContainer { id, slot, .. } = prepared;
                Ok(Contained {
                    docker: self.docker.clone(),
                    engine: self.title(),
                    id,
                    container: name,
                    pid,
                    pidfd: met.pidfd,
                    socket: Some(met.socket),
                    listener: met.listener,
                    service: met.service,
                    level: met.level,
                    further: met.held.further,
                    selinux: self.selinux,
                    groups: met.held.groups,
                    slot,
                })
            }
            Err(error) => {
                // One whose engine is gone ends by itself: without an order it has nothing to do.
                let removed = call::remove(&self.docker, &name, REMOVE_TIMEOUT).await;
                if removed.is_ok() {
                    let _ = prepared.slot.clear().and_then(|()| prepared.slot.remove());
                }
                Err(error)
            }
        }
    }

    /// Refuses what this engine cannot honour.
    fn check(&self, spec: &Spec) -> Result<(), Error> {
        let refuse = |field, reason: &str| Err(Error::Spec { field, reason: reason.to_owned() });
        if self.flavor == Flavor::RootlessPodman && matches!(spec.identity, Identity::Host { .. }) {
            return refuse(
                "identity",
                "this Podman is an ordinary user's and cannot give an agent a host id of its own",
            );
        }
        // Podman's API writes these into a line of words between commas.
        let mounts = spec.mounts.iter().flat_map(|mount| [&mount.source, &mount.target]);
        let odd = |path: &PathBuf| {
            path.to_str().is_none_or(|path| path.contains([',', '"', '\\']) || path.contains(char::is_control))
        };
        if std::iter::once(&spec.work_folder).chain(mounts).any(odd) {
            return refuse(
                "mounts",
                "for a container, a path is UTF-8 without commas, quotes, backslashes and control characters",
            );
        }
        let kept = [Layer::Namespaces, Layer::View, Layer::Cgroup].into_iter().all(|layer| spec.keeps(layer));
        if !kept || !spec.has_own_pids() {
            return refuse("bypass", "a container always has namespaces, a root and control groups of its own");
        }
        Ok(())
    }

    /// The image that a manifest calls `name`.
    async fn image(&self, name: &str) -> Result<Image, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if name.is_empty() || name.len() > IMAGE_NAME_MAX || !name.chars().all(plain) || name.contains("..") {
            let reason = format!("`{name}` is no name of an image");
            return Err(Error::Spec { field: "image", reason });
        }
        for candidate in image::candidates(name) {
            let found = match call::ask(HELLO_TIMEOUT, self.docker.inspect_image(&candidate)).await {
                Answered::Yes(found) => Image::of(found, &candidate),
                Answered::Absent => continue,
                Answered::Unclear(why) | Answered::No(why) => {
                    return Err(Error::Engine { engine: self.title(), what: "look at the image", why });
                }
            };
            let ours = match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            };
            return match &found.architecture {
                Some(theirs) if theirs != ours => {
                    let reason = format!("`{name}` is for {theirs}, and this host is {ours}");
                    Err(Error::Spec { field: "image", reason })
                }
                Some(_) | None => Ok(found),
            };
        }
        Err(Error::Image { image: name.to_owned(), engine: self.name() })
    }

    /// Starts the container, lets its program in and gives it the order.
    async fn wait_for_jail(
        &self,
        name: String,
        prepared: &PreparedContainer,
        image: &Image,
        spec: &Spec,
    ) -> Result<(i32, StartedJail), Error> {
        let started = self.docker.start_container(&name, None::<StartContainerOptions>);
        call::must(&self.title(), "start the container", CREATE_TIMEOUT, started).await?;
        let pid = self.first_process(&name).await?;
        let failed = |why| self.cannot_run(why);
        let socket = tokio::select! {
            admitted = prepared.rendezvous.admit(pid) => admitted.map_err(|error| failed(error.to_string()))?,
            why = self.ended(&name) => return Err(why),
            () = sleep(CONNECT_TIMEOUT) => return Err(failed(format!("it did not connect within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        let socket = socket.into_std().map_err(Error::io("take the jail's socket"))?;
        socket.set_nonblocking(false).map_err(Error::io("take the jail's socket"))?;
        let mut spec = spec.clone();
        spec.env = image.environment(&spec);
        let places = prepared.places.clone();
        let asked = ContainerRequest { spec, uid: prepared.uid, gid: prepared.gid, places, container: name };
        let life = record::start_time(pid).map(|start| Life { pid, start });
        let life = life.ok_or_else(|| failed("it is gone already".to_owned()))?;
        prepared.slot.live(life).map_err(Error::io("write the container's record"))?;
        let meeting = tokio::task::spawn_blocking(move || greet(socket, pid, asked));
        let met = meeting.await.map_err(|error| Error::io("meet the jail program")(error.into()))??;
        Ok((pid, met))
    }

    async fn first_process(&self, name: &str) -> Result<i32, Error> {
        let state = self.state(name).await?;
        match state.pid.and_then(|pid| i32::try_from(pid).ok()) {
            Some(pid) if pid > 0 => Ok(pid),
            Some(_) | None => Err(self.cannot_run(ending(state.exit_code, state.error.as_deref()))),
        }
    }

    /// Returns once the container has ended, with the reason.
    async fn ended(&self, name: &str) -> Error {
        loop {
            sleep(LOOK_EVERY).await;
            match self.state(name).await {
                Ok(state) if state.running == Some(true) => {}
                Ok(state) => return self.cannot_run(ending(state.exit_code, state.error.as_deref())),
                Err(error) => return error,
            }
        }
    }

    /// Once it is one that the API has a word for.
    async fn state(&self, name: &str) -> Result<ContainerState, Error> {
        let mut unclear = String::new();
        for _ in 0..LOOKS_MAX {
            match call::ask(HELLO_TIMEOUT, self.docker.inspect_container(name, None)).await {
                Answered::Yes(found) => return Ok(found.state.unwrap_or_default()),
                Answered::Absent => return Err(self.cannot_run("somebody removed the container".to_owned())),
                Answered::No(why) => return Err(self.cannot_run(why)),
                Answered::Unclear(why) => unclear = why,
            }
            sleep(LOOK_EVERY).await;
        }
        Err(self.cannot_run(unclear))
    }

    fn cannot_run(&self, why: String) -> Error {
        Error::Engine { engine: self.title(), what: "run the jail program", why }
    }
}

/// Whether the agent itself, in another jail, could put something else in the place of what is mounted.
fn in_agents_hands(mount: &Mount, identity: Identity) -> bool {
    match identity {
        Identity::Host { uid, .. } => {
            let owned = |folder: &Path| std::fs::symlink_metadata(folder).is_ok_and(|found| found.uid() == uid);
            mount.source.ancestors().skip(1).any(owned)
        }
        // Owners tell nothing where they are all one: parts of the work folder are shown beneath it.
        Identity::Caller => mount.target.starts_with(WORKSPACE),
    }
}

fn ending(code: Option<i64>, error: Option<&str>) -> String {
    let error = error.filter(|error| !error.is_empty()).map(|error| format!(": {error}")).unwrap_or_default();
    format!("it ended at once with code {}{error}", code.unwrap_or(-1))
}

/// What the ids of this process's jails begin with.
pub(super) fn prefix() -> String {
    let own = std::process::id();
    let start = record::start_time(own as i32).unwrap_or(0);
    format!("c{own:x}-{start:x}-")
}

/// Everything that needs no engine. Blocks.
fn prepare(flavor: Flavor, spec: &Spec, exe: &Path, run_dir: &Path) -> Result<PreparedContainer, Error> {
    zygote::own_work_folder(spec)?;
    if flavor != Flavor::Docker && spec.mounts.iter().any(|mount| in_agents_hands(mount, spec.identity)) {
        let reason = "Podman makes a missing folder of the host as it looks for it, which an agent could turn against the host \
                      in its own work folder: let the agent see all of /workspace, use Docker, or `isolation: native`";
        return Err(Error::Spec { field: "mounts", reason: reason.to_owned() });
    }
    let run_dir = run_dir.canonicalize().map_err(Error::io(format!("resolve {}", run_dir.display())))?;
    let (uid, gid) = match spec.identity {
        Identity::Host { uid, gid } => (uid, gid),
        Identity::Caller => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    let id = format!("{}{:x}", prefix(), NEXT.fetch_add(1, Ordering::Relaxed));
    let slot = Slot::make(&run_dir, &format!("engine-{id}")).map_err(Error::io("make the container's record"))?;
    let holder = Holder::of(&run_dir).map_err(Error::io("tell the worker's folder from a copy of it"))?;
    slot.begin(&id, &holder, &[]).map_err(Error::io("write the container's record"))?;
    let rendezvous =
        RendezvousSocket::make(&run_dir, &id, (uid, gid)).map_err(Error::io("make the container's socket"))?;
    let runtime_files = RuntimeFiles::of_this_process().map_err(Error::io("find what the jail program runs with"))?;
    let exe = exe.canonicalize().map_err(Error::io(format!("resolve {}", exe.display())))?;
    let shown = shown(spec, &runtime_files, &exe, &rendezvous);
    let (mut places, mut held) = (Vec::new(), Vec::new());
    for ContainerMount { source, target, read_only } in &shown {
        let failed = |error: rustix::io::Errno| Error::io(format!("open {}", source.display()))(error.into());
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = openat2(CWD, source, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(failed)?;
        let stat = fstat(&found).map_err(failed)?;
        let (device, inode) = (stat.st_dev, stat.st_ino);
        places.push(Place { path: target.clone(), device, inode, read_only: *read_only });
        held.push(found);
    }
    Ok(PreparedContainer {
        id,
        run: mark(&run_dir)?,
        uid,
        gid,
        runtime_files,
        rendezvous,
        slot,
        shown,
        places,
        _held: held,
    })
}

/// Looks at the process from outside, gives it its order and hears what it reached. Blocks.
fn greet(socket: UnixStream, pid: i32, asked: ContainerRequest) -> Result<StartedJail, Error> {
    let ContainerRequest { spec, uid, gid, places, container } = asked;
    let raw = Pid::from_raw(pid).ok_or(Error::JailLost)?;
    // The process answers the order below, so it lives, and its id is nobody else's, while this is opened.
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|_| Error::JailLost)?;
    let held = MeasuredLimits::of(pid, &spec.limits).map_err(Error::Layer)?;
    let level = Level {
        namespaces: true,
        identity: match spec.identity {
            Identity::Host { .. } => Mapping::Host,
            Identity::Caller => Mapping::Caller,
        },
        landlock: 0,
        seccomp: false,
        memory: held.memory,
        pids: held.pids,
        cpu: held.cpu,
    };
    let open = |(counter, path): &(Counter, PathBuf)| Some((*counter, File::open(path).ok()?));
    let (counters, files): (Vec<Counter>, Vec<File>) = held.counters.iter().filter_map(open).unzip();
    let (egress, service) = (spec.egress, spec.service_port.is_some());
    let host_devices = host_devices(&container).map_err(Error::io("read the host's mounts"))?;
    let order = Order { version: VERSION, spec, level, uid, gid, counters, places, host_devices, container };
    let frame = encode(&order, &[])?;
    let (first, rest) = frame.split_at(files.len());
    for (byte, file) in first.chunks(1).zip(&files) {
        channel::send(&socket, byte, Some(file.as_fd())).map_err(|_| Error::JailLost)?;
    }
    (&socket).write_all(rest).map_err(|_| Error::JailLost)?;
    let mut client = Client::new(socket, CONNECT_TIMEOUT);
    match client.hello()? {
        (Hello::Ready(level), fds) => match Listeners::of(egress, service, fds) {
            Some(Listeners { egress: listener, service }) => {
                Ok(StartedJail { pidfd, socket: client.into_socket(), listener, service, level, held })
            }
            None => Err(FrameError::Unexpected("a hello with other listeners than were asked for").into()),
        },
        (Hello::Failed(failure), _) => Err(Error::Layer(failure)),
    }
}

/// `major:minor` of every file system that is mounted here, but for those that the engine made for this container.
fn host_devices(container: &str) -> std::io::Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let of_host = |line: &&str| line.split(' ').nth(4).is_some_and(|target| !target.contains(container));
    let mut devices: Vec<String> =
        table.lines().filter(of_host).filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect();
    devices.sort();
    devices.dedup();
    Ok(devices)
}
