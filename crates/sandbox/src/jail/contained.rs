//! The jail program as the first process of a container: the engine has made namespaces, limits and root. This checks what it
//! made, locks itself in on top with the same rules as any jail, and serves.
//! Must never: serve where the engine gave less than it was asked for, or open anything of the image before it is locked in.

mod check;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use seccompiler::BpfProgram;

use super::filter::Filters;
use super::serve::{Server, ServerParts};
use super::{child, lockdown};
use crate::container::order::{Counter, DOOR, Order};
use crate::error::{Failure, Layer};
use crate::level::Level;
use crate::native::channel;
use crate::native::tally::Tally;
use crate::protocol::{FRAME_BYTES_MAX, Hello, VERSION, decode};
use crate::sys;

/// How long the worker may take to send its order.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The main of a container. Ends with the worker's socket, and with this process the container.
pub(super) fn run() -> io::Result<()> {
    sys::close_all_but(&[0, 1, 2])?;
    child::standard_streams()?;
    rustix::process::umask(Mode::from(0o022));
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(DOOR)?)?;
    let (order, tally) = match receive(&socket) {
        Ok(Some(received)) => received,
        Ok(None) => return Ok(()),
        Err(error) => {
            let step = "read the order: worker and jail program must be the same version of tenure; restart the worker";
            return child::tell(&socket, &Hello::Failed(Failure::new(Layer::View, step, error)), &[]);
        }
    };
    // Programs get the same ids: while this file can be opened, it must be.
    let oom_score_adj = File::options().write(true).open("/proc/self/oom_score_adj").ok();
    let mut level = order.level.clone();
    let (listeners, filter) = match lock(&order, &mut level) {
        Ok(locked) => locked,
        Err(failure) => return child::tell(&socket, &Hello::Failed(failure), &[]),
    };
    child::tell(&socket, &Hello::Ready(level.clone()), &listeners)?;
    drop(listeners);
    Server::new(ServerParts { spec: order.spec, level, socket, cpu: None, filter, tally, oom_score_adj })?.serve()
}

/// The order and the counters that come with its first bytes; None at the end of the socket.
fn receive(socket: &OwnedFd) -> io::Result<Option<(Order, Tally)>> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let (mut buffer, mut counters) = (Vec::new(), Vec::new());
    while buffer.len() <= FRAME_BYTES_MAX + 4 {
        let left = deadline.saturating_duration_since(Instant::now());
        if !channel::readable(socket, left)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let Some((bytes, fd)) = channel::receive(socket)? else { return Ok(None) };
        buffer.extend_from_slice(&bytes);
        counters.extend(fd.map(File::from));
        let malformed = |_| io::Error::from_raw_os_error(libc::EPROTO);
        if let Some(frame) = decode::<Order>(&buffer).map_err(malformed)? {
            let order = frame.header;
            if order.version != VERSION || frame.consumed != buffer.len() || order.counters.len() != counters.len() {
                return Err(io::Error::from_raw_os_error(libc::EPROTO));
            }
            let [mut memory, mut pids, mut cpu] = [None, None, None];
            for (counter, file) in order.counters.iter().zip(counters) {
                *match counter {
                    Counter::Memory => &mut memory,
                    Counter::Pids => &mut pids,
                    Counter::Cpu => &mut cpu,
                } = Some(file);
            }
            return Ok(Some((order, Tally::of(memory, pids, cpu))));
        }
    }
    Err(io::Error::from_raw_os_error(libc::EMSGSIZE))
}

/// Checks, then locks. The listeners that the spec asks for, and what programs put on.
fn lock(order: &Order, level: &mut Level) -> Result<(Vec<OwnedFd>, Option<BpfProgram>), Failure> {
    check::ids(order)?;
    check::network()?;
    check::view(order)?;
    let listeners = child::listeners(&order.spec)?;
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hidden.map_err(|error| Failure::new(Layer::Identity, "hide the jail's memory", error))?;
    let filters = Filters::compile().map_err(|_| check::lacks(Layer::Seccomp, "compile the filter"))?;
    lockdown::prepare(&order.spec.bypass, &filters, false)?;
    lockdown::lock(&order.spec, &filters, level)?;
    Ok((listeners, order.spec.keeps(Layer::Seccomp).then(|| filters.program())))
}
