//! The native backend as the worker sees it: a zygote process and the jails that it forks.
//! Must never: fork in the worker (it is multi-threaded), wait without a deadline, or call a jail dead that is not proven so.

pub(crate) mod cgroup;
pub(crate) mod channel;
pub(crate) mod claim;
pub(crate) mod python;
pub(crate) mod record;
pub(crate) mod reap;
pub(crate) mod zygote;
