//! A jail's first moments: from a fresh fork of the zygote to a locked-in process that says hello.
//! Must never: read a request, say that it is ready before every layer is in force, or keep what it hands out.

use std::fs::File;
use std::io::{self, IoSlice, Read};
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

use super::lockdown;
use super::serve::{Server, Supplies};
use super::view::{self, Sources};
use super::zygote::Inheritance;
use crate::error::{Failure, Layer};
use crate::native::channel;
use crate::protocol::{EGRESS_PORT, Hello, encode};
use crate::spec::{INNER_ID, Identity, Spec};
use crate::sys;

/// Connections that may wait at the egress listener until the worker accepts them.
const EGRESS_WAITING_MAX: i32 = 256;

/// The first and last call of a fresh jail.
pub(super) fn enter(inheritance: Inheritance) -> ! {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(inheritance))) {
        Ok(Ok(())) => sys::leave(0),
        Ok(Err(_)) => sys::leave(70),
        Err(_) => sys::leave(101),
    }
}

fn live(inheritance: Inheritance) -> io::Result<()> {
    let Inheritance { spec, mut level, filters, confined, skeleton, socket, go, parent, oom, doors, cpu } = inheritance;
    let mut keep: Vec<i32> = [&socket, &go, &parent].map(AsRawFd::as_raw_fd).to_vec();
    keep.extend(oom.iter().map(AsRawFd::as_raw_fd));
    keep.extend(doors.iter().chain(&cpu).map(AsRawFd::as_raw_fd));
    sys::close_all_but(&keep)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut go = File::from(go);
    let (mut badness, mut listener) = (None, None);
    let made = (|| {
        for door in doors {
            door.enter().map_err(|error| Failure::new(Layer::Cgroup, "enter the control group", error))?;
        }
        standard_streams().map_err(|error| Failure::new(Layer::View, "open /dev/null", error))?;
        // Only before the change of ids may this file be opened for writing.
        badness = File::options().write(true).open("/proc/self/oom_score_adj").ok();
        let mut sources = Sources::open(&skeleton, &spec)?;
        go.read_exact(&mut [0]).map_err(|error| Failure::new(Layer::Identity, "wait for ids", error))?;
        sources.take_mounts(&spec)?;
        take_identity(&spec)?;
        set_up_network(&spec)?;
        listener = spec.egress.then(egress_listener).transpose()?;
        view::build(sources, &spec)?;
        lockdown::lock(&spec, &filters, confined, &mut level)
    })();
    if let Err(failure) = made {
        return tell(&socket, &Hello::Failed(failure), None);
    }
    drop(go);
    // A change of ids clears the death signal; one that died in between is seen here.
    if channel::readable(&parent, Duration::ZERO)? {
        return Ok(());
    }
    drop(parent);
    tell(&socket, &Hello::Ready(level.clone()), listener)?;
    Server::new(Supplies { spec, level, socket, cpu, oom, badness })?.serve()
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

/// The hello, and with it the listener, whose only copy then is the worker's.
pub(super) fn tell(socket: &OwnedFd, hello: &Hello, listener: Option<OwnedFd>) -> io::Result<()> {
    let frame = encode(hello, &[]).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = listener.iter().map(AsFd::as_fd).collect();
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

fn set_up_network(spec: &Spec) -> Result<(), Failure> {
    let failed = |step: &'static str| move |error: io::Error| Failure::new(Layer::Namespaces, step, error);
    rustix::system::sethostname(spec.hostname.as_bytes()).map_err(|e| failed("set the hostname")(e.into()))?;
    if !spec.keeps(Layer::Namespaces) {
        return Ok(());
    }
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed("open a socket")(error.into()))?;
    sys::loopback_up(socket.as_fd()).map_err(failed("bring up the loopback"))
}

/// The door to the worker's egress proxy, on this jail's own loopback.
pub(super) fn egress_listener() -> Result<OwnedFd, Failure> {
    let failed = |error: rustix::io::Errno| Failure::new(Layer::Namespaces, "make the egress listener", error);
    let listener = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, EGRESS_PORT)).map_err(failed)?;
    listen(&listener, EGRESS_WAITING_MAX).map_err(failed)?;
    Ok(listener)
}
