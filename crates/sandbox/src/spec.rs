//! What a jail is to be: its folder, mounts, identity and limits. Must never: name agents, executions or policy.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bypass::Bypass;
use crate::error::{Error, Layer};
use crate::limits::Limits;
use crate::protocol::EGRESS_PORT;

/// Most mounts that one spec may name.
pub const MOUNTS_MAX: usize = 32;
/// Most bytes of environment that one spec may carry.
pub const ENV_BYTES_MAX: usize = 32 << 10;
/// What the pool of prewarmed jails may cost the host, if nothing else is said, in bytes.
pub const POOL_BYTES: u64 = 64 << 20;
/// Where the work folder appears inside.
pub const WORKSPACE: &str = "/workspace";
/// The search path of programs inside. The last entry holds the `python` link.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/run/tenure/bin";
/// A file in each jail's view by which git works in repositories of other users, if it is told to read it.
pub const GIT_CONFIG: &str = "/run/tenure/gitconfig";
/// The folders in which, or onto which, a spec may mount, besides the work folder and /tmp.
pub(crate) const MOUNT_ROOTS: &[&str] = &["data", "mnt", "opt", "srv"];
/// The uid and gid that programs see as their own, whatever the host's are.
pub const INNER_ID: u32 = 1000;

/// Whose the files are that a jail makes, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A host uid and gid of the agent's own; needs a worker that runs as root. Neither may be 0.
    Host { uid: u32, gid: u32 },
    /// The user that the worker runs as, who may not be root.
    Caller,
}

/// One more host folder or file inside. It is always `nosuid` and `nodev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute; no part of it may be a symbolic link.
    pub source: PathBuf,
    /// Absolute, without `..`: beneath /workspace or /tmp, or one of /data, /mnt, /opt and /srv or beneath it.
    pub target: PathBuf,
    pub read_only: bool,
}

/// How many prewarmed jails a zygote may keep ready, by what they cost the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolSize {
    /// Each jail is made when it is asked for.
    None,
    /// One at least, as many as were claimed in the last 10 s at most, within this many bytes.
    UpTo { bytes: u64 },
}

impl Default for PoolSize {
    fn default() -> Self {
        Self::UpTo { bytes: POOL_BYTES }
    }
}

/// Everything that `Zygote::open` needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Absolute host path of the folder that becomes `/workspace`.
    pub work_folder: PathBuf,
    /// Then only mounts beneath it can be written to.
    pub work_folder_read_only: bool,
    pub mounts: Vec<Mount>,
    pub hostname: String,
    /// Added to the environment of every spawned program.
    pub env: BTreeMap<String, String>,
    pub limits: Limits,
    pub identity: Identity,
    /// Size of each of `/tmp` and `/dev/shm`; it counts as memory too. 0: `/tmp` is empty and cannot be written.
    pub tmp_bytes: u64,
    /// Whether the jail hands out a listener on `127.0.0.1:EGRESS_PORT` of its own loopback (`Jail::take_listener`) and names
    /// it to programs as their proxy. Whoever accepts there decides what they reach. Programs may serve on this loopback themselves:
    /// nobody else is on it, and no route leads from it.
    #[serde(default)]
    pub egress: bool,
    /// The port of a second listener on that loopback (`Jail::take_service_listener`), whatever its network is: what answers
    /// there is the affair of whoever accepts.
    #[serde(default)]
    pub service_port: Option<u16>,
    /// What a test's jail goes without; nothing here.
    #[serde(default, skip_serializing_if = "Bypass::is_none")]
    pub bypass: Bypass,
}

impl Spec {
    /// A spec with the default limits and no mounts.
    pub fn new(work_folder: impl Into<PathBuf>, identity: Identity) -> Self {
        Self {
            work_folder: work_folder.into(),
            work_folder_read_only: false,
            mounts: Vec::new(),
            hostname: "tenure".to_owned(),
            env: BTreeMap::new(),
            limits: Limits::default(),
            identity,
            tmp_bytes: 64 << 20,
            egress: false,
            service_port: None,
            bypass: Bypass::default(),
        }
    }

    /// Refuses what no jail can honour.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |field, reason: &str| Err(Error::Spec { field, reason: reason.to_owned() });
        if !self.work_folder.is_absolute() {
            return refuse("work_folder", "give an absolute path");
        }
        if self.mounts.len() > MOUNTS_MAX {
            return refuse("mounts", "at most 32 are possible");
        }
        for mount in &self.mounts {
            if !mount.source.is_absolute() {
                return refuse("mounts.source", "give an absolute path");
            }
            check_target(&mount.target)?;
        }
        if self.hostname.is_empty() || self.hostname.len() > 63 || self.hostname.contains(['/', '\0']) {
            return refuse("hostname", "give 1 to 63 bytes without `/`");
        }
        check_env(&self.env)?;
        let hands_out = self.egress || self.service_port.is_some();
        if !self.keeps(Layer::Identity) || (hands_out && !self.keeps(Layer::Namespaces)) {
            return refuse(
                "bypass",
                "no jail goes without an identity, or hands out listeners without a net namespace of its own",
            );
        }
        if self.service_port.is_some_and(|port| port == 0 || port == EGRESS_PORT) {
            return refuse("service_port", "give a port that is neither 0 nor the egress listener's");
        }
        match self.identity {
            Identity::Host { uid, gid } if uid == 0 || gid == 0 || uid == u32::MAX || gid == u32::MAX => {
                return refuse("identity", "host uid and gid 0 are never mapped: give the agent ids of its own");
            }
            Identity::Host { .. } | Identity::Caller => {}
        }
        let limits = &self.limits;
        if limits.memory_bytes < 8 << 20 || limits.pids < 4 || limits.cpu_millicores < 10 || limits.open_files < 16 {
            return refuse("limits", "the least is 8 MiB of memory, 4 pids, 10 millicores and 16 open files");
        }
        Ok(())
    }
}

impl Spec {
    pub(crate) fn keeps(&self, layer: Layer) -> bool {
        self.bypass.keeps(layer)
    }

    pub(crate) fn has_own_pids(&self) -> bool {
        self.bypass.keeps_pid_namespace()
    }
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::Spec { field: "env", reason: reason.to_owned() });
    if env.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>() > ENV_BYTES_MAX {
        return refuse("at most 32 KiB are possible");
    }
    if env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) || env.values().any(|v| v.contains('\0')) {
        return refuse("a name is empty or holds `=`, or something holds a zero byte");
    }
    Ok(())
}

fn check_target(target: &Path) -> Result<(), Error> {
    let refuse =
        |reason: &str| Err(Error::Spec { field: "mounts.target", reason: format!("{}: {reason}", target.display()) });
    let mut parts = target.components();
    if parts.next() != Some(Component::RootDir) {
        return refuse("give an absolute path");
    }
    let names: Vec<_> = parts.collect();
    if names.iter().any(|part| !matches!(part, Component::Normal(_))) {
        return refuse("`.` and `..` are not possible");
    }
    let first = names.first().map(|part| part.as_os_str().to_string_lossy()).unwrap_or_default();
    let within = ["workspace", "tmp"].contains(&first.as_ref()) && names.len() > 1;
    if !within && !MOUNT_ROOTS.contains(&first.as_ref()) {
        return refuse("mount beneath /workspace or /tmp, or onto or beneath /data, /mnt, /opt or /srv");
    }
    Ok(())
}
