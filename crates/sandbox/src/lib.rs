//! Confines programs. A *zygote* (one resident single-threaded process per worker) forks *jails*: small single-threaded
//! programs in namespaces of their own, with no capabilities, a system call allow-list, Landlock and resource limits. A jail
//! serves file operations on its work folder and runs programs, over a socket. It is killed as a whole; nothing remains.
//!
//! Must never: know agents, weaken a layer in silence, hold `unsafe` outside `sys`, or use an async runtime outside `container`.
//!
//! ```text
//! worker ── Zygote::start ──▶ zygote (argv[0] = tenure-jail) ── clone3 ──▶ prewarmed jail ── claim ──▶ jail (pid 1 inside)
//!    │                                                                                                 ├─ subreaper ─ program
//!    ├─────────────────────── Jail::take_socket: protocol::{Request, Reply} ───────────────────────────┘   └─ …
//!    └─────────────────────── Jail::take_listener: whoever accepts there is the programs' way out
//! ```
//!
//! What of a jail needs neither its spec nor its ids is made ahead of need ([`PoolSize`]); a cold start makes the same and claims
//! it at once. A jail is always killed as a whole.
//!
//! The shipped binary calls [`jail_main`] before anything else when its name is [`JAIL_NAME`]; the worker calls [`reap`] on its
//! run folder, then [`Zygote::start`], then [`Zygote::open`] per jail. An async worker speaks [`protocol`] over
//! [`Jail::take_socket`]; [`Client`] is the blocking way. All waits have deadlines.
//!
//! Nothing here can leave a layer out. The tests build the same sources with another `bypass` in a package of their own.

mod spec;
mod limits;
#[cfg_attr(test_controls, path = "../../../tests/controls/sandbox/bypass.rs")]
mod bypass;
mod level;
mod error;
pub mod protocol;
mod client;
mod native;
pub mod container;
pub mod probe;
mod name;
mod edit;
mod jail;
mod quota;
mod sys;

pub use bypass::*;
pub use client::{Client, Output};
pub use edit::Replacement;
pub use error::{Error, Failure, Layer};
pub use jail::{JAIL_NAME, jail_main};
pub use level::{Level, Mapping, Meter};
pub use limits::Limits;
pub use name::{parse as parse_name, shown as shown_name};
pub use native::reap::{ReapReport, reap};
pub use native::toolchain::{Toolchain, Toolchains, host_python_version};
pub use native::zygote::{Jail, Zygote};
pub use protocol::{EGRESS_PORT, OWN_LOOPBACK};
pub use quota::Quota;
pub use spec::{
    ENV_BYTES_MAX, GIT_CONFIG, INNER_ID, Identity, MOUNTS_MAX, Mount, PATH, POOL_BYTES, PoolSize, Spec, WORKSPACE,
};
pub use sys::share_descriptors;
