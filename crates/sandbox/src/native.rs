//! The native backend as the worker sees it: a zygote process and the jails that it forks.
//! Must never: fork in the worker (it is multi-threaded), wait without a deadline, or call a jail dead that is not proven so.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) mod cgroup;
pub(crate) mod channel;
pub(crate) mod claim;
pub(crate) mod freeze;
pub(crate) mod toolchain;
pub(crate) mod record;
pub(crate) mod reap;
pub(crate) mod sealed;
pub(crate) mod tally;
pub(crate) mod zygote;

/// Lets this process hold as many descriptors as its hard limit allows: each jail takes a few, and a soft limit of 1024 is for
/// programs that use `select`.
pub(crate) fn raise_open_files() {
    let now = getrlimit(Resource::Nofile);
    // At worst the old limit holds, and opening a jail too many says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}
