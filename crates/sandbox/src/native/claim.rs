//! The messages between worker and zygote. Must never: be read by another version of the program than its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::spec::Spec;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The first message: where records go.
    Start {
        version: u16,
        run_dir: PathBuf,
        /// What the zygote itself does not put on.
        #[cfg(feature = "controls")]
        without: Vec<crate::error::Layer>,
    },
    /// One jail, with the jail's end of its socket.
    Claim { version: u16, id: String, spec: Box<Spec> },
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
    },
    Failed {
        id: String,
        failure: Failure,
    },
    /// The order was not understood; nothing was done.
    Refused {
        reason: String,
    },
}
