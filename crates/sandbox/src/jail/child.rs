//! A jail's first moments: from a fresh fork of the zygote over a prewarmed jail, which waits for its claim, to a locked-in
//! process that says hello. Must never: take two claims, say that it is ready before every layer is in force, or keep what it
//! hands out.
//!
//! ```text
//! fork ─ prewarmed: own namespaces, loopback, view of the host's programs ─ claim ─ work folder, ids, /tmp, pivot, lock ─ hello
//! ```
//! What needs neither spec nor ids comes before the claim. The two folders of /tmp come after it although their size could be
//! changed later: made before the ids are mapped, they would for ever belong to nobody inside.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, bind, listen,
    sendmsg, socket_with,
};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::filter::Filters;
use super::lockdown;
use super::serve::{Server, ServerParts};
use super::skeleton::Skeleton;
use super::view::{Sources, View};
use crate::bypass::{self, Bypass};
use crate::error::{Failure, Layer};
use crate::level::{Level, Mapping, Meter};
use crate::native::cgroup::CgroupFd;
use crate::native::channel;
use crate::native::claim::Order;
use crate::native::tally::Tally;
use crate::protocol::{EGRESS_PORT, Hello, encode};
use crate::spec::{INNER_ID, Identity, Spec};
use crate::sys;

/// Connections that may wait at a listener until the worker accepts them.
const WAITING_MAX: i32 = 256;

/// What a fresh jail inherits from the zygote; everything else it closes.
pub(super) struct ChildSetup<'a> {
    pub(super) bypass: &'a Bypass,
    pub(super) meters: Meters,
    pub(super) filters: &'a Filters,
    /// Whether the zygote confined itself.
    pub(super) confined: bool,
    pub(super) skeleton: &'a Skeleton,
    /// Brings the claim, once ids and limits are in place; its end means that there is none to come.
    pub(super) claims: OwnedFd,
    /// Readable once the zygote is dead.
    pub(super) parent: OwnedFd,
    pub(super) tally: Tally,
    /// Of the control groups of the whole jail.
    pub(super) cgroup_fds: Vec<CgroupFd>,
    /// Of the one that programs enter.
    pub(super) cpu: Option<CgroupFd>,
}

/// What holds each limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meters {
    pub(super) memory: Meter,
    pub(super) pids: Meter,
    pub(super) cpu: Meter,
}

/// What is there before the claim.
struct Prewarmed {
    view: View,
    oom_score_adj: Option<File>,
}

/// The first and last call of a fresh jail.
pub(super) fn enter(setup: ChildSetup<'_>) -> ! {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(setup))) {
        Ok(Ok(())) => sys::leave(0),
        Ok(Err(_)) => sys::leave(70),
        Err(_) => sys::leave(101),
    }
}

fn live(setup: ChildSetup<'_>) -> io::Result<()> {
    let ChildSetup { bypass, meters, filters, confined, skeleton, claims, parent, tally, cgroup_fds, cpu } = setup;
    let mut keep: Vec<i32> = [&claims, &parent].map(AsRawFd::as_raw_fd).to_vec();
    keep.extend(tally.descriptors());
    keep.extend(cgroup_fds.iter().chain(&cpu).map(AsRawFd::as_raw_fd));
    sys::close_all_but(&keep)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let prewarmed = prewarm(skeleton, bypass, cgroup_fds, || lockdown::prepare(bypass, filters, confined));
    // A zygote that died before the death signal was set ends the socket.
    let Some((bytes, Some(socket))) = channel::receive(&claims)? else { return Ok(()) };
    drop(claims);
    let Order::Claim(claim) = serde_json::from_slice(&bytes)? else { return Ok(()) };
    let spec = *claim.spec;
    let mut level = level(&spec, meters);
    let (oom_score_adj, listeners) = match prewarmed.and_then(|half| complete(half, &spec, filters, &mut level)) {
        Ok(made) => made,
        Err(failure) => return tell(&socket, &Hello::Failed(failure), &[]),
    };
    // A change of ids clears the death signal; one that died in between is seen here.
    if channel::readable(&parent, Duration::ZERO)? {
        return Ok(());
    }
    drop(parent);
    tell(&socket, &Hello::Ready(level.clone()), &listeners)?;
    drop(listeners);
    let filter = spec.keeps(Layer::Seccomp).then(|| filters.program());
    Server::new(ServerParts { spec, level, socket, cpu, filter, tally, oom_score_adj })?.serve()
}

fn prewarm(
    skeleton: &Skeleton,
    bypass: &Bypass,
    cgroup_fds: Vec<CgroupFd>,
    prepare: impl FnOnce() -> Result<(), Failure>,
) -> Result<Prewarmed, Failure> {
    for cgroup_fd in cgroup_fds {
        cgroup_fd.enter().map_err(|error| Failure::new(Layer::Cgroup, "enter the control group", error))?;
    }
    standard_streams().map_err(|error| Failure::new(Layer::View, "open /dev/null", error))?;
    // Only before the change of ids may this file be opened for writing.
    let oom_score_adj = File::options().write(true).open("/proc/self/oom_score_adj").ok();
    if bypass.keeps(Layer::Namespaces) {
        bring_loopback_up()?;
    }
    let view = View::begin(skeleton, bypass)?;
    prepare()?;
    Ok(Prewarmed { view, oom_score_adj })
}

/// Does what the claim asks, up to the last layer.
fn complete(
    prewarmed: Prewarmed,
    spec: &Spec,
    filters: &Filters,
    level: &mut Level,
) -> Result<(Option<File>, Vec<OwnedFd>), Failure> {
    let Prewarmed { view, oom_score_adj } = prewarmed;
    bypass::begin(spec)?;
    let sources = Sources::take(spec)?;
    take_identity(spec)?;
    rustix::system::sethostname(spec.hostname.as_bytes())
        .map_err(|error| Failure::new(Layer::Namespaces, "set the hostname", error))?;
    let listeners = listeners(spec)?;
    view.complete(sources, spec)?;
    lockdown::lock(spec, filters, level)?;
    Ok((oom_score_adj, listeners))
}

/// What holds so far.
fn level(spec: &Spec, meters: Meters) -> Level {
    Level {
        namespaces: spec.keeps(Layer::Namespaces) && spec.has_own_pids(),
        identity: match spec.identity {
            Identity::Host { .. } => Mapping::Host,
            Identity::Caller => Mapping::Caller,
        },
        landlock: 0,
        seccomp: false,
        memory: meters.memory,
        pids: meters.pids,
        cpu: meters.cpu,
    }
}

pub(super) fn standard_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for number in 0..3 {
        sys::set_standard(number, null.as_fd())?;
    }
    if null.as_raw_fd() < 3 {
        let _ = null.into_raw_fd();
    }
    Ok(())
}

/// The hello, and with it the listeners; once the caller drops its own, the only copies are the worker's.
pub(super) fn tell(socket: &OwnedFd, hello: &Hello, listeners: &[OwnedFd]) -> io::Result<()> {
    let frame = encode(hello, &[]).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL)?;
    // A fresh socket has room for far more than this.
    if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn take_identity(spec: &Spec) -> Result<(), Failure> {
    let failed = |step: &'static str| move |error: rustix::io::Errno| Failure::new(Layer::Identity, step, error);
    let (uid, gid) = (Uid::from_raw(INNER_ID), Gid::from_raw(INNER_ID));
    match spec.identity {
        Identity::Host { .. } => set_thread_groups(&[]).map_err(failed("leave the worker's groups"))?,
        // An ordinary user's namespace may not change groups; they stay, unmapped, with the rights that the user has anyway.
        Identity::Caller => {}
    }
    set_thread_res_gid(gid, gid, gid).map_err(failed("become the agent's group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("become the agent's user"))?;
    // Programs have the same ids: they must not read this process's memory, environment or descriptors.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("hide the jail's memory"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("die with the zygote"))
}

fn bring_loopback_up() -> Result<(), Failure> {
    let failed = |step: &'static str| move |error: io::Error| Failure::new(Layer::Namespaces, step, error);
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed("open a socket")(error.into()))?;
    sys::loopback_up(socket.as_fd()).map_err(failed("bring up the loopback"))
}

/// The doors to the worker on this jail's own loopback: to its egress proxy, then to the service.
pub(super) fn listeners(spec: &Spec) -> Result<Vec<OwnedFd>, Failure> {
    spec.egress.then_some(EGRESS_PORT).into_iter().chain(spec.service_port).map(listener).collect()
}

fn listener(port: u16) -> Result<OwnedFd, Failure> {
    let failed = |error: rustix::io::Errno| Failure::new(Layer::Namespaces, "make a listener for the worker", error);
    let listener = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    listen(&listener, WAITING_MAX).map_err(failed)?;
    Ok(listener)
}
