//! What an engine is told to make: the strictest container that the jail program can live in. Pure.
//! Must never: leave to an engine's default what a jail depends on, or let a spec name anything but its own folders.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::image::Image;
use super::order::{DOOR, PROGRAM};
use super::rendezvous::RendezvousSocket;
use super::runtime_files::RuntimeFiles;
use crate::spec::{Spec, WORKSPACE};

/// Names the jail of a container.
pub(crate) const JAIL_LABEL: &str = "tenure.jail";
/// Names the run folder that a container belongs to.
pub(crate) const RUN_LABEL: &str = "tenure.run";
/// Podman sets more than some hosts allow if it is not told a number. The real limit is that of the control group.
const USER_PROCESSES: i64 = 32_768;
/// Size of a tmpfs that nothing is to be written to.
const PLACEHOLDER_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    Docker,
    /// Podman as root.
    Podman,
    /// Podman as the worker's own user.
    RootlessPodman,
}

/// Everything that decides how a container is made.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) flavor: Flavor,
    /// Whether the host labels files for SELinux: then no container may read what it is shown, unless the engine's own label
    /// is left off.
    pub(crate) selinux: bool,
    pub(crate) cpus: u64,
    pub(crate) spec: &'a Spec,
    pub(crate) shown: &'a [ContainerMount],
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) image: &'a Image,
    pub(crate) runtime_files: &'a RuntimeFiles,
    pub(crate) id: &'a str,
    pub(crate) run: &'a str,
}

impl Plan<'_> {
    pub(crate) fn body(&self) -> ContainerCreateBody {
        let labels = [(JAIL_LABEL, self.id), (RUN_LABEL, self.run)];
        let mut command = self.runtime_files.command().into_iter();
        ContainerCreateBody {
            image: Some(self.image.id.clone()),
            hostname: Some(self.spec.hostname.clone()),
            user: Some(format!("{}:{}", self.uid, self.gid)),
            env: Some(self.image.silenced()),
            entrypoint: Some(command.next().into_iter().collect()),
            cmd: Some(command.collect()),
            working_dir: Some("/".to_owned()),
            // An image's own check would run beside the jail, not in it.
            healthcheck: self
                .image
                .is_checked
                .then(|| HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            stop_signal: Some("SIGKILL".to_owned()),
            stop_timeout: Some(0),
            attach_stdin: Some(false),
            attach_stdout: Some(false),
            attach_stderr: Some(false),
            open_stdin: Some(false),
            tty: Some(false),
            host_config: Some(self.host()),
            ..ContainerCreateBody::default()
        }
    }

    fn host(&self) -> HostConfig {
        let limits = &self.spec.limits;
        let memory = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
        let cpus = (u64::from(limits.cpu_millicores) * 1_000_000).min(self.cpus.max(1) * 1_000_000_000);
        let mut security = vec!["no-new-privileges:true".to_owned()];
        if self.selinux {
            security.push("label=disable".to_owned());
        }
        HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(security),
            userns_mode: (self.flavor == Flavor::RootlessPodman).then(|| "keep-id".to_owned()),
            pids_limit: Some(i64::from(limits.pids)),
            memory: Some(memory),
            memory_swap: Some(memory),
            nano_cpus: Some(i64::try_from(cpus).unwrap_or(i64::MAX)),
            ulimits: Some(self.ulimits()),
            oom_kill_disable: Some(false),
            ipc_mode: Some("private".to_owned()),
            // The empty word is the only one for a namespace of its own.
            pid_mode: Some(String::new()),
            uts_mode: Some(String::new()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            init: Some(false),
            auto_remove: Some(false),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..RestartPolicy::default() }),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            shm_size: Some(i64::try_from(self.spec.tmp_bytes.max(PLACEHOLDER_BYTES)).unwrap_or(i64::MAX)),
            mounts: Some(self.mounts()),
            tmpfs: Some(self.tmpfs()),
            ..HostConfig::default()
        }
    }

    fn ulimits(&self) -> Vec<ResourcesUlimits> {
        let limits = &self.spec.limits;
        let bytes = i64::try_from(limits.file_bytes).unwrap_or(i64::MAX);
        let mut all = vec![("nofile", i64::from(limits.open_files)), ("core", 1), ("fsize", bytes)];
        if self.flavor != Flavor::Docker {
            all.push(("nproc", USER_PROCESSES));
        }
        let both = |(name, value): (&str, i64)| ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(value),
            hard: Some(value),
        };
        all.into_iter().map(both).collect()
    }

    fn mounts(&self) -> Vec<Mount> {
        self.shown.iter().map(ContainerMount::mount).collect()
    }

    fn tmpfs(&self) -> HashMap<String, String> {
        // Podman copies what the image has there, if it is not told otherwise.
        let copy = if self.flavor == Flavor::Docker { "" } else { ",notmpcopyup" };
        let nothing = format!("ro,nosuid,nodev,noexec,size={PLACEHOLDER_BYTES},mode=0755{copy}");
        let tmp = match self.spec.tmp_bytes {
            0 => nothing.clone(),
            bytes => format!("rw,nosuid,nodev,exec,size={bytes},mode=1777{copy}"),
        };
        // One beneath a folder of ours stays: the jail program then finds it and refuses the image.
        let ours = |path: &Path| self.shown.iter().any(|shown| path.starts_with(&shown.target));
        let volumes = self.image.volumes.iter().filter(|path| !ours(Path::new(path)) && path.as_str() != "/tmp");
        let covered = volumes.map(|path| (path.clone(), nothing.clone()));
        covered.chain([("/tmp".to_owned(), tmp)]).collect()
    }
}

/// One file or folder of the host, and where it is to appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerMount {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
}

impl ContainerMount {
    pub(crate) fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), read_only: true }
    }

    fn mount(&self) -> Mount {
        let options = MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            // What the host has mounted in it was not named.
            non_recursive: Some(true),
            ..MountBindOptions::default()
        };
        Mount {
            typ: Some(MountType::BIND),
            source: Some(self.source.to_string_lossy().into_owned()),
            target: Some(self.target.to_string_lossy().into_owned()),
            read_only: Some(self.read_only),
            bind_options: Some(options),
            ..Mount::default()
        }
    }
}

/// Everything of the host that a container shows: the spec's folders, then what the jail program needs.
pub(crate) fn shown(
    spec: &Spec,
    runtime_files: &RuntimeFiles,
    exe: &Path,
    socket: &RendezvousSocket,
) -> Vec<ContainerMount> {
    let work = ContainerMount {
        source: spec.work_folder.clone(),
        target: WORKSPACE.into(),
        read_only: spec.work_folder_read_only,
    };
    let further = spec.mounts.iter().map(|mount| ContainerMount {
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
    });
    let mut all: Vec<ContainerMount> = std::iter::once(work).chain(further).collect();
    all.push(ContainerMount::read_only(exe, PROGRAM));
    all.extend(runtime_files.mounts().map(|(host, inside)| ContainerMount::read_only(host, inside)));
    all.push(ContainerMount::read_only(socket.folder(), Path::new(DOOR).parent().unwrap_or(Path::new("/"))));
    // The loader would load what an image names here into the jail program, before anything holds it.
    all.push(ContainerMount::read_only(socket.empty(), "/etc/ld.so.preload"));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Identity, Mount as Wanted};

    fn body(flavor: Flavor, volumes: &[&str]) -> (ContainerCreateBody, HostConfig) {
        let mut spec = Spec::new("/data/work", Identity::Host { uid: 7, gid: 8 });
        spec.mounts.push(Wanted { source: "/srv/shared".into(), target: "/srv/shared".into(), read_only: true });
        spec.limits.cpu_millicores = 64_000;
        let volumes = volumes.iter().map(|path| (*path).to_owned()).collect();
        let image = Image { id: "sha256:1".into(), volumes, ..Image::default() };
        let runtime_files = RuntimeFiles::of_this_process().expect("its files");
        let shown = vec![
            ContainerMount { source: "/data/work".into(), target: WORKSPACE.into(), read_only: false },
            ContainerMount::read_only("/srv/shared", "/srv/shared"),
        ];
        let (spec, image, runtime_files, shown) = (&spec, &image, &runtime_files, &shown);
        let plan = Plan {
            flavor,
            selinux: false,
            cpus: 2,
            spec,
            shown,
            uid: 7,
            gid: 8,
            image,
            runtime_files,
            id: "c1",
            run: "r",
        };
        let body = plan.body();
        let host = body.host_config.clone().expect("a host's part");
        (body, host)
    }

    #[test]
    fn a_container_has_no_rights_no_network_and_only_the_folders_that_it_is_to_show() {
        let (body, host) = body(Flavor::Docker, &[]);
        assert_eq!(body.user.as_deref(), Some("7:8"));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!((host.privileged, host.readonly_rootfs, host.auto_remove), (Some(false), Some(true), Some(false)));
        assert_eq!((host.network_mode.as_deref(), host.ipc_mode.as_deref()), (Some("none"), Some("private")));
        assert_eq!((host.devices, host.binds, host.cap_add, host.runtime), (None, None, None, None));
        assert_eq!(host.memory, host.memory_swap);
        assert_eq!(host.nano_cpus, Some(2_000_000_000), "no more than there are");
        let mounts = host.mounts.expect("mounts");
        let shown: Vec<_> = mounts.iter().map(|mount| (mount.target.as_deref(), mount.read_only)).collect();
        assert_eq!(shown, [(Some(WORKSPACE), Some(false)), (Some("/srv/shared"), Some(true))]);
    }

    #[test]
    fn volumes_of_the_image_are_covered_unless_something_of_ours_is_there() {
        let (_, host) = body(Flavor::Docker, &["/var/lib/db", "/workspace/cache", "/srv", "/tmp"]);
        let mut covered: Vec<_> = host.tmpfs.expect("tmpfs").into_iter().collect();
        covered.sort();
        let places: Vec<&str> = covered.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(places, ["/srv", "/tmp", "/var/lib/db"]);
        assert!(covered[1].1.starts_with("rw,") && covered[2].1.starts_with("ro,"), "{covered:?}");
    }

    #[test]
    fn podman_is_told_what_it_would_else_choose_by_itself() {
        let (_, docker) = body(Flavor::Docker, &[]);
        let (_, podman) = body(Flavor::RootlessPodman, &[]);
        let names = |host: &HostConfig| -> Vec<String> {
            host.ulimits.iter().flatten().filter_map(|limit| limit.name.clone()).collect()
        };
        assert!(!names(&docker).contains(&"nproc".to_owned()) && names(&podman).contains(&"nproc".to_owned()));
        assert_eq!((docker.userns_mode, podman.userns_mode.as_deref()), (None, Some("keep-id")));
        assert!(podman.tmpfs.expect("tmpfs")["/tmp"].contains("notmpcopyup"));
    }
}
