//! What really holds a jail, recorded with every call. Must never: claim a layer that was asked for but not granted.

use serde::{Deserialize, Serialize};

/// What enforces one resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    CgroupV2,
    CgroupV1,
    /// A control group that the container engine made, and whose limit was read there.
    Engine,
    /// Of each process, not of all together.
    Rlimit,
    None,
}

/// Whose ids stand behind the jail's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// A host uid of the agent's own.
    Host,
    /// The user that runs the worker.
    Caller,
}

/// The protection that one jail reached. Small enough to be kept with every call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// In fresh user, mount, pid, net, ipc, uts and cgroup namespaces; a container at least in its own mount, pid, net, ipc and
    /// uts namespaces. A jail without them does not open.
    pub namespaces: bool,
    pub identity: Mapping,
    /// The Landlock ABI in force; 0 = the kernel has none.
    pub landlock: u8,
    pub seccomp: bool,
    pub memory: Meter,
    pub pids: Meter,
    pub cpu: Meter,
}
