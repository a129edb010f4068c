//! The container backend: Docker or Podman makes namespaces, limits and a root from an image; our own jail program is the
//! container's first process and serves in it as in any jail. The only part of this crate that is async.
//!
//! Must never: pull an image, speak to an engine of another host, start anything but the jail program, or take a limit for
//! held that cannot be read on the host.
//!
//! ```text
//! worker ── API ──▶ engine ── makes ──▶ container: jail program (pid 1 inside) ── subreaper ── program
//!    └──── socket (a socket in a folder of its own) ────▶ order ▲, then protocol::{Request, Reply}
//! ```

pub(crate) mod order;
pub(crate) mod rendezvous;
mod runtime_files;
mod image;
mod settings;
mod measured;
mod call;
mod open;
mod contained;

pub use contained::{Contained, Removal};

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerSummary, SystemInfo, SystemInfoCgroupVersionEnum};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptions};
use bollard::{ClientVersion, Docker};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Error;
use crate::level::{Level, Mapping, Meter};
use crate::sys;
use call::Answered;
use settings::{Flavor, JAIL_LABEL, RUN_LABEL};

/// How long all engines together may take to answer that they are there. Podman asks its helper programs for their versions
/// first: 0.7 s on a quiet host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an engine may take to list its images or its containers.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one container of an earlier life may take to be removed.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the list of them may be unclear.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most names of images that are passed on.
const IMAGES_MAX: usize = 2000;
/// Longer than this a request to an engine never takes, whatever else bounds it, in seconds.
const REQUEST_SECONDS: u64 = 120;
/// Versions of the API that have all that is used here; an engine knows at least one.
const VERSIONS: [ClientVersion; 2] =
    [ClientVersion { major_version: 1, minor_version: 41 }, ClientVersion { major_version: 1, minor_version: 44 }];
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// Holds the run folder's name for the engine.
const MARK: &str = "engine";

/// A container engine of this host that answered.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    flavor: Flavor,
    version: String,
    cpus: u64,
    meters: [Meter; 3],
    selinux: bool,
}

impl Engine {
    /// The first that answers: what `DOCKER_HOST` names, or else Docker's socket, the user's Podman's, the system's Podman's.
    ///
    /// # Errors
    /// Why none does, in a sentence without its end.
    pub async fn connect() -> Result<Engine, String> {
        Self::connect_within(CONNECT_TIMEOUT).await
    }

    /// The same, by whoever can wait longer than 5 s for it, or not so long.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn connect_within(patience: Duration) -> Result<Engine, String> {
        let sockets = match env::var("DOCKER_HOST") {
            Ok(host) if !host.is_empty() => vec![named_socket(&host)?],
            Ok(_) | Err(_) => usual_sockets(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)),
        };
        let late = || format!("no answer within {} s", patience.as_secs());
        timeout(patience, first_of(&sockets, patience)).await.unwrap_or_else(|_| Err(late()))
    }

    /// The engine that listens at `socket`.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn at(socket: &Path) -> Result<Engine, String> {
        let late = || format!("{} does not answer within {} s", socket.display(), CONNECT_TIMEOUT.as_secs());
        timeout(CONNECT_TIMEOUT, Self::greet(socket, CONNECT_TIMEOUT)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn greet(socket: &Path, patience: Duration) -> Result<Engine, String> {
        let shown = socket.display();
        let owner = match UnixStream::connect(socket).await.and_then(|stream| stream.peer_cred()) {
            Ok(peer) => peer.uid(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(format!("{shown} is closed to this user; for Docker, add it to the group `docker`"));
            }
            Err(error) => return Err(format!("{shown}: {error}")),
        };
        let mut why = String::new();
        for version in &VERSIONS {
            let docker = Docker::connect_with_unix(&socket.to_string_lossy(), REQUEST_SECONDS, version)
                .map_err(|error| format!("{shown}: {}", call::words(&error)))?;
            let (found, info) = tokio::join!(call::ask(patience, docker.version()), call::ask(patience, docker.info()));
            let (found, info) = match (found, info) {
                (Answered::Yes(found), Answered::Yes(info)) => (found, info),
                (Answered::Absent, _) | (_, Answered::Absent) => {
                    return Err(format!("{shown}: it is no container engine"));
                }
                (Answered::Unclear(refused) | Answered::No(refused), _)
                | (_, Answered::Unclear(refused) | Answered::No(refused)) => {
                    why = format!("{shown}: {refused}");
                    continue;
                }
            };
            let podman = found.components.unwrap_or_default().iter().any(|part| part.name.contains("Podman"));
            return Self::of(docker, podman, owner, found.version.unwrap_or_default(), &info);
        }
        Err(why)
    }

    fn of(docker: Docker, podman: bool, owner: u32, version: String, info: &SystemInfo) -> Result<Engine, String> {
        let options = info.security_options.as_deref().unwrap_or_default();
        let says = |word: &str| options.iter().any(|option| option.split(',').any(|part| part == word));
        // Podman does not say so itself.
        let rootless = says("name=rootless") || (podman && owner != 0);
        let flavor = match (podman, rootless, says("name=userns")) {
            (true, true, _) => Flavor::RootlessPodman,
            (true, false, _) => Flavor::Podman,
            (false, false, false) => Flavor::Docker,
            (false, true, _) => {
                return Err(
                    "rootless Docker makes its user root inside; use Podman's socket instead (`systemctl --user \
                            start podman.socket`)"
                        .to_owned(),
                );
            }
            (false, false, true) => {
                return Err(
                    "Docker runs with userns-remap, under which an agent's files are nobody's inside; use an engine \
                            without it"
                        .to_owned(),
                );
            }
        };
        // An ordinary user's Podman says that it has them, and then ignores limits where it cannot make groups.
        let groups = flavor != Flavor::RootlessPodman || info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_2);
        let meter = |has, otherwise| if has == Some(true) && groups { Meter::Engine } else { otherwise };
        Ok(Engine {
            docker,
            flavor,
            version,
            cpus: info.ncpu.and_then(|count| u64::try_from(count).ok()).unwrap_or(1),
            meters: [
                meter(info.memory_limit, Meter::Rlimit),
                meter(info.pids_limit, Meter::Rlimit),
                meter(info.cpu_cfs_quota, Meter::None),
            ],
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        })
    }

    /// `docker` or `podman`, which is its command's name too.
    pub fn name(&self) -> &'static str {
        match self.flavor {
            Flavor::Docker => "docker",
            Flavor::Podman | Flavor::RootlessPodman => "podman",
        }
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    fn title(&self) -> String {
        let version: String = self.version.chars().take(32).collect();
        format!("{} {version}", self.name())
    }

    /// What a container may reach here. What one really reached is its own `level`.
    pub fn level(&self) -> Level {
        let [memory, pids, cpu] = self.meters;
        let root = rustix::process::geteuid().is_root();
        Level {
            namespaces: true,
            identity: if root { Mapping::Host } else { Mapping::Caller },
            landlock: sys::landlock_abi(),
            seccomp: sys::seccomp_errno_available(),
            memory,
            pids,
            cpu,
        }
    }

    /// The names of the images that it holds, sorted; at most 2000.
    ///
    /// # Errors
    /// `Engine`.
    pub async fn images(&self) -> Result<Vec<String>, Error> {
        let listed = self.docker.list_images(None::<ListImagesOptions>);
        let listed = call::must(&self.title(), "list its images", LIST_TIMEOUT, listed).await?;
        let mut names: Vec<String> = listed
            .into_iter()
            .flat_map(|image| image.repo_tags.into_iter().chain(image.repo_digests))
            .filter(|name| !name.contains("<none>"))
            .collect();
        names.sort();
        names.dedup();
        names.truncate(IMAGES_MAX);
        Ok(names)
    }

    /// Removes by force every container that an earlier worker on `run_dir` left, and returns how many those were. Those of this
    /// process are not touched.
    ///
    /// # Errors
    /// `Engine`, `Io` for the run folder.
    pub async fn reap(&self, run_dir: &Path) -> Result<u32, Error> {
        self.remove_of(run_dir, |id| !id.starts_with(&open::prefix())).await
    }

    /// The same, with those of this process: only once none is in use.
    ///
    /// # Errors
    /// As `reap`.
    pub async fn clear(&self, run_dir: &Path) -> Result<u32, Error> {
        self.remove_of(run_dir, |_| true).await
    }

    async fn remove_of(&self, run_dir: &Path, goes: impl Fn(&str) -> bool) -> Result<u32, Error> {
        let label = format!("{RUN_LABEL}={}", mark(run_dir)?);
        let failed = |what, why| Error::Engine { engine: self.title(), what, why };
        let mut count = 0;
        for container in self.labelled(label).await? {
            let jail = container.labels.and_then(|labels| labels.get(JAIL_LABEL).cloned()).unwrap_or_default();
            if let Some(id) = container.id.filter(|_| goes(&jail)) {
                let removed = call::remove(&self.docker, &id, REMOVE_TIMEOUT).await;
                removed.map_err(|why| failed("remove a container of an earlier worker", why))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Waits while one of them is in a state between two others, which the API has no word for.
    async fn labelled(&self, label: String) -> Result<Vec<ContainerSummary>, Error> {
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let deadline = Instant::now() + REAP_TIMEOUT;
        let why = loop {
            let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
            match call::ask(LIST_TIMEOUT, self.docker.list_containers(Some(options))).await {
                Answered::Yes(listed) => return Ok(listed),
                Answered::Unclear(_) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                Answered::Unclear(why) | Answered::No(why) => break why,
                Answered::Absent => break "it has no such list".to_owned(),
            }
        };
        Err(Error::Engine { engine: self.title(), what: "list its containers", why })
    }
}

fn named_socket(host: &str) -> Result<PathBuf, String> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(_) | None => Err(format!(
            "DOCKER_HOST is {host}, and an agent's files and its proxy are on this host alone; name a socket (unix:///…) or \
             leave it unset"
        )),
    }
}

fn usual_sockets(runtime_dir: Option<PathBuf>) -> Vec<PathBuf> {
    let own = runtime_dir.map(|folder| folder.join("podman/podman.sock"));
    [Some(PathBuf::from(DOCKER_SOCKET)), own, Some(PathBuf::from(PODMAN_SOCKET))].into_iter().flatten().collect()
}

async fn first_of(sockets: &[PathBuf], patience: Duration) -> Result<Engine, String> {
    let mut refused = Vec::new();
    for socket in sockets.iter().filter(|socket| socket.exists()) {
        match Engine::greet(socket, patience).await {
            Ok(engine) => return Ok(engine),
            Err(why) => refused.push(why),
        }
    }
    if refused.is_empty() {
        let shown: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
        return Err(format!("there is no socket at {}", shown.join(" or ")));
    }
    Err(refused.join("; "))
}

/// What makes a run folder's containers its own: a random word that lies in it, and the folder's inode, so that a copy of the
/// folder is another one.
fn mark(run_dir: &Path) -> Result<String, Error> {
    let path = run_dir.join(MARK);
    let failed = || Error::io(format!("make {}", path.display()));
    if !path.exists() {
        let mut word = [0u8; 16];
        rustix::rand::getrandom(&mut word, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| failed()(error.into()))?;
        let word = format!("{:032x}", u128::from_ne_bytes(word));
        let whole = run_dir.join(format!("{MARK}.{word}"));
        fs::write(&whole, &word).map_err(failed())?;
        // Of two at once, the first one's counts.
        let linked = fs::hard_link(&whole, &path);
        fs::remove_file(&whole).map_err(failed())?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed()(error)),
            Ok(()) | Err(_) => {}
        }
    }
    let word = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
    let inode = fs::metadata(run_dir).map_err(Error::io(format!("look at {}", run_dir.display())))?.ino();
    Ok(format!("{}-{inode:x}", word.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_of_this_host_is_taken_from_docker_host() {
        assert_eq!(named_socket("unix:///run/x.sock"), Ok("/run/x.sock".into()));
        assert!(named_socket("tcp://10.0.0.1:2375").unwrap_err().contains("unix://"));
        assert_eq!(usual_sockets(Some("/run/user/7".into()))[1], Path::new("/run/user/7/podman/podman.sock"));
    }

    #[test]
    fn a_run_folder_keeps_its_mark_and_no_copy_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        let named = mark(&first).unwrap();
        assert_eq!(mark(&first).unwrap(), named);
        fs::copy(first.join(MARK), second.join(MARK)).unwrap();
        assert_ne!(mark(&second).unwrap(), named);
        assert_eq!(fs::read_dir(&first).unwrap().count(), 1, "nothing else is left");
    }
}
