//! The messages between worker, zygote and prewarmed jail. Must never: be read by another version of the program than its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bypass::Bypass;
use crate::error::Failure;
use crate::spec::Spec;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The first message.
    Start(Start),
    /// One jail, with the jail's end of its socket. The zygote passes the same bytes on to the jail.
    Claim(Claim),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) version: u16,
    /// Where records go.
    pub(crate) run_dir: PathBuf,
    /// What prewarmed jails may cost the host, in bytes.
    pub(crate) pool_bytes: u64,
    /// What the zygote itself does not put on.
    pub(crate) bypass: Bypass,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) version: u16,
    /// Not from the pool.
    pub(crate) cold: bool,
    pub(crate) spec: Box<Spec>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Started,
    /// With the pidfd. The jail itself says on its socket whether it is ready.
    Opened {
        id: String,
        pid: i32,
        cgroups: Vec<PathBuf>,
        /// The slot of its record.
        record: PathBuf,
        from_pool: bool,
    },
    Failed {
        failure: Failure,
    },
    /// The order was not understood; nothing was done.
    Refused {
        reason: String,
    },
}
