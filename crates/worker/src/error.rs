//! Why a worker's life ends. Must never: be sent to a model; what a call did wrong is its outcome, not an error here.
use std::io;
use tenure_wire::frame::FrameError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Sandbox(#[from] tenure_sandbox::Error),
    #[error("the daemon sent what is no frame: {0}; daemon and worker must be the same version of tenure")]
    Frame(#[from] FrameError),
    #[error("the daemon broke the connection's order: {0}")]
    Protocol(&'static str),
    /// Nothing new may start over the work folder until the next worker has proven it.
    #[error("{what} was not proven dead within {seconds} s; the worker ends so that its connection lapses")]
    Unproven { what: String, seconds: u64 },
    #[error("gave up after {seconds} s waiting for {what}")]
    Deadline { what: &'static str, seconds: u64 },
    #[error("another worker holds {folder}; stop it, or give this one a data directory of its own")]
    Locked { folder: String },
    #[error(
        "no host ids are left for agents: all from {from} to {to} were given on this host, and none is given twice; run this \
         worker where more ids are mapped, or on another host"
    )]
    IdsUsedUp { from: u32, to: u32 },
    #[error(
        "host ids for agents cannot be claimed in {path}: {why}; two daemons of one host would give the same, so make that \
         folder writable, or run as another user than root"
    )]
    HostIds { path: String, why: String },
    #[error(
        "no container engine answers: {why}; start Docker or Podman where the worker may reach its socket, or name that in DOCKER_HOST"
    )]
    NoEngine { why: String },
    #[error("the manifest requires `{guard}`, and the sandbox that opened does not have it ({level})")]
    Lacks { guard: &'static str, level: String },
    #[error("{path} is not safe to use: {why}")]
    Unsafe { path: String, why: &'static str },
    #[error("this host does not give `hard-quota`{why}, and the manifest requires it")]
    SoftOnly { why: &'static str },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("a task of the worker panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    pub(crate) fn errno(what: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Error {
        let what = what.into();
        move |errno| Error::Io { what, source: errno.into() }
    }
}
