//! What an engine is told to make: the strictest container that the jail program can live in. Pure.
//! Must never: leave to an engine's default what a jail depends on, or let a spec name anything but its own folders.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::image::Image;
use super::kit::Kit;
use super::order::{DOOR, PROGRAM, Place};
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
    pub(crate) places: &'a [Place],
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) image: &'a Image,
    pub(crate) kit: &'a Kit,
    pub(crate) exe: &'a Path,
    pub(crate) door: &'a Path,
    /// A file without content.
    pub(crate) empty: &'a Path,
    pub(crate) id: &'a str,
    pub(crate) run: &'a str,
}

impl Plan<'_> {
    pub(crate) fn body(&self) -> ContainerCreateBody {
        let labels = [(JAIL_LABEL, self.id), (RUN_LABEL, self.run)];
        let mut command = self.kit.command().into_iter();
        ContainerCreateBody {
            image: Some(self.image.id.clone()),
            hostname: Some(self.spec.hostname.clone()),
            user: Some(format!("{}:{}", self.uid, self.gid)),
            env: Some(self.image.silenced()),
            entrypoint: Some(command.next().into_iter().collect()),
            cmd: Some(command.collect()),
            working_dir: Some("/".to_owned()),
            // An image's own check would run beside the jail, not in it.
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
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
        let mut all = vec![("nofile", i64::from(limits.open_files)), ("core", 0), ("fsize", bytes)];
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
        let sources =
            std::iter::once(self.spec.work_folder.as_path()).chain(self.spec.mounts.iter().map(|m| m.source.as_path()));
        let mut mounts: Vec<Mount> = sources
            .zip(self.places)
            .map(|(source, place)| bind(source, &place.path.to_string_lossy(), place.read_only))
            .collect();
        mounts.push(bind(self.exe, PROGRAM, true));
        mounts.extend(self.kit.mounts().map(|(host, inside)| bind(host, &inside, true)));
        let door = Path::new(DOOR).parent().unwrap_or(Path::new("/"));
        mounts.push(bind(self.door, &door.to_string_lossy(), true));
        // The loader would load what an image names here into the jail program, before anything holds it.
        mounts.push(bind(self.empty, "/etc/ld.so.preload", true));
        mounts
    }

    fn tmpfs(&self) -> HashMap<String, String> {
        // Podman copies what the image has there, if it is not told otherwise.
        let copy = if self.flavor == Flavor::Docker { "" } else { ",notmpcopyup" };
        let nothing = format!("ro,nosuid,nodev,noexec,size={PLACEHOLDER_BYTES},mode=0755{copy}");
        let tmp = match self.spec.tmp_bytes {
            0 => nothing.clone(),
            bytes => format!("rw,nosuid,nodev,exec,size={bytes},mode=1777{copy}"),
        };
        let ours = |path: &Path| {
            path == Path::new("/tmp")
                || self.places.iter().any(|place| place.path.starts_with(path) || path.starts_with(WORKSPACE))
        };
        let volumes = self.image.volumes.iter().filter(|path| !ours(Path::new(path)));
        let covered = volumes.map(|path| (path.clone(), nothing.clone()));
        covered.chain([("/tmp".to_owned(), tmp)]).collect()
    }
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    let options = MountBindOptions {
        propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
        // What is mounted in it on the host would not be read-only.
        non_recursive: read_only.then_some(true),
        ..MountBindOptions::default()
    };
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        bind_options: Some(options),
        ..Mount::default()
    }
}
