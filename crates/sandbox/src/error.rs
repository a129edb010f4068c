//! What can go wrong, in kinds that a caller can act on. Must never: hide the layer or the errno that failed.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::protocol::{FrameError, Refusal};

/// One enforced part of a jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// User, mount, pid, net, ipc and uts namespaces, made in one step.
    Namespaces,
    /// Host ids behind the ids inside.
    Identity,
    /// Control groups.
    Cgroup,
    /// The file tree that programs see.
    View,
    /// Resource limits of the process.
    Rlimits,
    /// Loss of all capabilities and `no_new_privs`.
    Privileges,
    /// Landlock.
    Landlock,
    /// The system call filter.
    Seccomp,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Identity => "identity",
            Self::Cgroup => "cgroup",
            Self::View => "file view",
            Self::Rlimits => "resource limits",
            Self::Privileges => "privileges",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

/// A layer that this host did not grant. It crosses the zygote's and the jail's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub layer: Layer,
    /// The step that failed, for example `mount /proc`.
    pub step: String,
    /// The kernel's answer; 0 if the failure was not a system call's.
    pub errno: i32,
}

impl Failure {
    pub(crate) fn new(layer: Layer, step: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self { layer, step: step.into(), errno: error.into().raw_os_error().unwrap_or(0) }
    }

    /// The way out, as far as the errno tells.
    pub fn hint(&self) -> &'static str {
        match (self.layer, self.errno) {
            (Layer::Namespaces, libc::ENOSPC) => {
                "raise the sysctls user.max_*_namespaces (one of them is used up or 0)"
            }
            (Layer::Namespaces | Layer::Identity | Layer::View, libc::EPERM | libc::EACCES) => {
                "unprivileged user namespaces are restricted: allow them (sysctl kernel.unprivileged_userns_clone=1, \
                 or kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns`), run the worker as \
                 root, or use the docker backend; in a container, let it use mount and user namespaces and an unmasked /proc"
            }
            (Layer::Namespaces | Layer::View, libc::EINVAL | libc::ENOSYS) => {
                "the kernel is too old or built without namespaces: Linux 5.13 or newer is needed"
            }
            (Layer::View, libc::ENOENT | libc::ENOTDIR) => "a folder that the spec names is not there: create it first",
            (Layer::View, libc::ELOOP) => "a path in the spec goes through a symbolic link: give the real path",
            (_, libc::ENOTSUP) => {
                "the container engine gave less than it was asked for: look at its configuration, or use `isolation: native`"
            }
            (Layer::Seccomp, _) => "the kernel must be built with CONFIG_SECCOMP_FILTER",
            (Layer::Cgroup, libc::ENOSPC | libc::EAGAIN) => "the host is at its limit of cgroups or processes",
            _ => "run `tenure sandbox check` to see what this host enforces",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = io::Error::from_raw_os_error(self.errno);
        write!(f, "the sandbox layer `{}` is not available: {}: {cause}; {}", self.layer, self.step, self.hint())
    }
}

/// Why a sandbox operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host does not grant a layer that a jail must have. Nothing runs; fix the host.
    #[error("{0}")]
    Layer(Failure),
    /// The caller's spec is wrong. Fix the spec.
    #[error("the sandbox spec's `{field}` is not usable: {reason}")]
    Spec { field: &'static str, reason: String },
    /// The zygote is gone and its jails with it. Call `reap`, then start another.
    #[error("the sandbox's parent process (zygote) is gone: {0}; start another one")]
    ZygoteLost(String),
    /// The jail is gone; only its work folder survives. Open another.
    #[error("the jail is gone; open another one over the same work folder")]
    JailLost,
    /// A wait was given up; what was waited for may still happen.
    #[error("gave up after {millis} ms waiting for {what}; the machine may be overloaded, try again")]
    Deadline { what: &'static str, millis: u64 },
    /// Something could not be proven dead. Nothing may be started in its place.
    #[error("{what} could not be proven dead; nothing new may start over its work folder")]
    Unproven { what: String },
    /// The other side broke the protocol; treat the jail as hostile and kill it.
    #[error("the jail sent a frame that breaks the protocol: {0}")]
    Frame(#[from] FrameError),
    /// The jail refused one operation; it lives on.
    #[error("{0}")]
    Refused(Refusal),
    /// The container engine does not hold the image.
    #[error("{engine} does not hold the image {image}: run `{engine} pull {image}`; nothing is pulled unasked")]
    Image { image: String, engine: &'static str },
    /// The container engine did not do what it was asked for.
    #[error("{engine} did not {what}: {why}")]
    Engine { engine: String, what: &'static str, why: String },
    /// The host's own file or process operations failed.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
