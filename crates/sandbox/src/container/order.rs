//! What the worker sends to the jail program in a fresh container: one frame, with the counters of its control groups beside it.
//! Must never: be taken by another version of the program than the worker's own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::level::Level;
use crate::spec::Spec;

/// Where inside the worker's socket is.
pub(crate) const DOOR: &str = "/run/tenure/door/socket";
/// Where inside the jail program is. Its name makes it the jail's main.
pub(crate) const PROGRAM: &str = "/run/tenure/tenure-jail";
/// Where inside the loader and the libraries of the jail program are.
pub(crate) const LIBRARIES: &str = "/run/tenure/lib";
/// The argument that makes the jail program the main of a container.
pub(crate) const CONTAINED: &str = "contained";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) version: u16,
    pub(crate) spec: Spec,
    /// What the engine was seen to hold; the jail program adds what it reaches by itself.
    pub(crate) level: Level,
    /// The ids that the engine was told to give.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// What each descriptor counts that comes with the frame, one with each of its first bytes.
    pub(crate) counters: Vec<Counter>,
    /// Every mount that the engine was told to make of the host: the spec's, and the jail program's own.
    pub(crate) places: Vec<Place>,
    /// `major:minor` of the file systems that the worker sees, but for those that the engine made for this container.
    pub(crate) host_devices: Vec<String>,
    /// The name that the engine gave.
    pub(crate) container: String,
}

/// One of the files of `native::tally`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counter {
    Memory,
    Pids,
    Cpu,
}

/// A folder or file of the host and where it must be inside. The worker took the numbers before the engine resolved the path:
/// an agent that put a link there in between is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) read_only: bool,
}
