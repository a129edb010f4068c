//! How much a jail may use. Must never: be enforced by counting in our own code what the kernel can refuse.

use serde::{Deserialize, Serialize};

/// The limits of one jail. All are hard; which mechanism holds each is in the jail's `Level`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all its processes and tmpfs files together, in bytes. With rlimits only: data of each process.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub pids: u32,
    /// Thousandths of one CPU. Not enforced where the host offers no cgroup; `Level` says so.
    pub cpu_millicores: u32,
    /// Open descriptors of each process.
    pub open_files: u32,
    /// Size of any one file that is written, in bytes.
    pub file_bytes: u64,
    /// Output kept of one spawned process when the request names none, in bytes; more is dropped and flagged.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            pids: 100,
            cpu_millicores: 1000,
            open_files: 1024,
            file_bytes: 1 << 30,
            output_bytes: 16 << 20,
        }
    }
}
