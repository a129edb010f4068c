//! What a manifest says of the sandbox, resolved for one host: the daemon sends it with each call, the worker makes a jail of
//! it, `tenure sandbox explain` says it in words. Must never: loosen what the manifest states.
use serde::{Deserialize, Serialize};
use tenure_core::manifest::{Backend, Guard, Host, Problem};
pub use tenure_core::plan::{CONNECTIONS_MAX, Life, Network, TTL_HOURS, Volume};
use tenure_core::plan::{McpServer, Sandbox};

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
    /// MCP servers that run in the jail, or are reached from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp: Vec<McpServer>,
}

impl Confinement {
    /// # Errors
    /// Why nothing of this plan can run on `host`.
    pub fn of(stated: &Sandbox, host: &Host) -> Result<Confinement, Problem> {
        let backend = stated.runtime.as_ref().map_or(Ok(Backend::Native), |runtime| runtime.backend(host))?;
        let Sandbox { memory_bytes, cpu_millicores, pids, output_bytes, disk_bytes, files, .. } = *stated;
        Ok(Confinement {
            memory_bytes,
            cpu_millicores,
            pids,
            output_bytes,
            disk_bytes,
            files,
            read: stated.read.clone(),
            write: stated.write.clone(),
            temp: stated.temp,
            volumes: stated.volumes.clone(),
            network: stated.network.clone(),
            backend,
            require: stated.require.clone(),
            mcp: Vec::new(),
        })
    }
}
