//! What a manifest says of the sandbox, resolved for one host: the daemon sends it with each call, the worker makes a jail of
//! it, `tenure sandbox explain` says it in words. Must never: loosen what the manifest states.
use serde::{Deserialize, Serialize};
use tenure_core::manifest::{
    AccessMode, Backend, Guard, Host, Manifest, NetworkMode, Problem, StorageClass, Volume as Stated,
};

/// Connections that one iteration may have open where its manifest names no number.
pub const CONNECTIONS_MAX: u32 = 64;
/// How long an ephemeral volume is kept where its manifest names no time, in hours.
pub const TTL_HOURS: u32 = 24;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub memory_bytes: u64,
    pub cpu_millicores: u32,
    pub pids: u32,
    /// Bytes of output kept of one process.
    pub output_bytes: u64,
    /// Of the work folder, what lies in the trash included.
    pub disk_bytes: u64,
    pub files: u32,
    /// Paths at or below /workspace, and host paths that the operator allowed; what is in neither list is not there.
    pub read: Vec<String>,
    pub write: Vec<String>,
    /// A /tmp of its own, in memory; without it there is none.
    pub temp: bool,
    pub volumes: Vec<Volume>,
    pub network: Network,
    pub backend: Backend,
    /// A jail that lacks one of these is not opened.
    pub require: Vec<Guard>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub mount_point: String,
    pub read_only: bool,
    pub size_bytes: Option<u64>,
    pub life: Life,
}

/// How long a volume's content is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Life {
    /// With its agent.
    Persistent,
    /// With its execution, and never longer than this.
    Ephemeral { ttl_hours: u32 },
}

/// What of the network programs and `network.*` calls reach, always through the worker's proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub mode: NetworkMode,
    /// Names, `*.name`, addresses, each with an optional port.
    pub allow: Vec<String>,
    /// Beats `allow`.
    pub block: Vec<String>,
    pub connections_max: u32,
    /// Bytes a second, both ways together.
    pub bandwidth: Option<u64>,
}

impl Confinement {
    /// # Errors
    /// Why nothing of this manifest can run on `host`.
    pub fn of(manifest: &Manifest, host: &Host) -> Result<Confinement, Problem> {
        let (bounds, views) = (manifest.bounds(), manifest.views());
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_string()).collect();
        let security = manifest.spec.security.as_ref();
        Ok(Confinement {
            memory_bytes: bounds.memory_bytes,
            cpu_millicores: bounds.cpu_millicores,
            pids: bounds.pids,
            output_bytes: bounds.output_bytes,
            disk_bytes: bounds.disk_bytes,
            files: bounds.files,
            read: owned(&views.read),
            write: owned(&views.write),
            temp: views.temp,
            volumes: manifest.spec.volumes.iter().map(Volume::of).collect(),
            network: Network::of(manifest),
            backend: manifest.backend(host)?,
            require: security.map(|security| security.require.clone()).unwrap_or_default(),
        })
    }
}

impl Volume {
    fn of(stated: &Stated) -> Volume {
        Volume {
            name: stated.name.clone(),
            mount_point: stated.mount_point.clone(),
            read_only: stated.access_mode == Some(AccessMode::ReadOnly),
            size_bytes: stated.size_limit_mb.map(|limit| u64::from(limit) << 20),
            life: match stated.storage_class {
                Some(StorageClass::Persistent) => Life::Persistent,
                Some(StorageClass::Ephemeral) | None => {
                    Life::Ephemeral { ttl_hours: stated.ttl_hours.unwrap_or(TTL_HOURS) }
                }
            },
        }
    }
}

impl Network {
    fn of(manifest: &Manifest) -> Network {
        let stated = manifest.spec.security.as_ref().and_then(|security| security.network.as_ref());
        let Some(stated) = stated else { return Network::none() };
        Network {
            mode: stated.mode,
            allow: stated.allowlist.clone(),
            block: stated.blocklist.clone(),
            connections_max: stated.max_connections.unwrap_or(CONNECTIONS_MAX),
            bandwidth: stated.bandwidth.map(|bandwidth| bandwidth.get()),
        }
    }

    /// Nothing is reached.
    pub fn none() -> Network {
        let (allow, block) = (Vec::new(), Vec::new());
        Network { mode: NetworkMode::None, allow, block, connections_max: CONNECTIONS_MAX, bandwidth: None }
    }
}
