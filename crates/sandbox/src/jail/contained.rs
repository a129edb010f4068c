//! The jail program as the first process of a container: the engine has made namespaces, limits and root. This checks what it
//! made, locks itself in on top with the same rules as any jail, and serves.
//! Must never: serve where the engine gave less than it was asked for, or open anything of the image before it is locked in.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, openat2, statvfs};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{DumpableBehavior, getegid, geteuid, getgid, getgroups, getuid, set_dumpable_behavior};

use super::filter::Filters;
use super::serve::{Server, Supplies};
use super::{birth, lockdown};
use crate::container::order::{Counter, DOOR, Order, innermost};
use crate::error::{Failure, Layer};
use crate::layers::Layers;
use crate::level::Level;
use crate::native::channel;
use crate::native::tally::Tally;
use crate::protocol::{FRAME_BYTES_MAX, Hello, VERSION, decode};
use crate::sys;

/// How long the worker may take to send its order.
const PATIENCE: Duration = Duration::from_secs(60);

/// The main of a container. Ends with the worker's socket, and with this process the container.
pub(super) fn run() -> io::Result<()> {
    sys::close_all_but(&[0, 1, 2])?;
    birth::standard_streams()?;
    rustix::process::umask(Mode::from(0o022));
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(DOOR)?)?;
    let (order, tally) = match receive(&socket) {
        Ok(Some(received)) => received,
        Ok(None) => return Ok(()),
        Err(error) => {
            let step = "read the order: worker and jail program must be the same version of tenure; restart the worker";
            return birth::tell(&socket, &Hello::Failed(Failure::new(Layer::View, step, error)), None);
        }
    };
    // Programs get the same ids: while this file can be opened, it must be.
    let badness = File::options().write(true).open("/proc/self/oom_score_adj").ok();
    let mut level = order.level.clone();
    let listener = match lock(&order, &mut level) {
        Ok(listener) => listener,
        Err(failure) => return birth::tell(&socket, &Hello::Failed(failure), None),
    };
    birth::tell(&socket, &Hello::Ready(level.clone()), listener)?;
    Server::new(Supplies { spec: order.spec, level, socket, cpu: None, tally, badness })?.serve()
}

/// The order and the counters that come with its first bytes; None at the end of the socket.
fn receive(socket: &OwnedFd) -> io::Result<Option<(Order, Tally)>> {
    let deadline = Instant::now() + PATIENCE;
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

/// Checks, then locks. The egress listener, if the spec asks for one.
fn lock(order: &Order, level: &mut Level) -> Result<Option<OwnedFd>, Failure> {
    check_ids(order)?;
    check_network()?;
    check_view(order)?;
    let listener = order.spec.egress.then(birth::egress_listener).transpose()?;
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hidden.map_err(|error| Failure::new(Layer::Identity, "hide the jail's memory", error))?;
    let filters = Filters::compile().map_err(|_| lacks(Layer::Seccomp, "compile the filter"))?;
    lockdown::prepare(&Layers::of(&order.spec), &filters, false)?;
    lockdown::lock(&order.spec, &filters, level)?;
    Ok(listener)
}

/// The engine did not do what it was asked for.
fn lacks(layer: Layer, step: impl Into<String>) -> Failure {
    Failure { layer, step: step.into(), errno: libc::ENOTSUP }
}

fn check_ids(order: &Order) -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err(lacks(Layer::Namespaces, "be the container's first process (the engine put another before it)"));
    }
    let users = [getuid(), geteuid()].map(|id| id.as_raw());
    let groups = [getgid(), getegid()].map(|id| id.as_raw());
    if users != [order.uid; 2] || groups != [order.gid; 2] || order.uid == 0 {
        return Err(lacks(Layer::Identity, format!("run as uid {} and gid {}", order.uid, order.gid)));
    }
    let further = getgroups().map_err(|error| Failure::new(Layer::Identity, "read the groups", error))?;
    if further.iter().any(|group| group.as_raw() != order.gid) {
        return Err(lacks(Layer::Identity, "be in no group but its own (the image's /etc/group gives others)"));
    }
    Ok(())
}

/// No way out but what is handed out: no route leads anywhere but to the loopback. Interfaces alone mean nothing, since some
/// kernels put dead ones into each new namespace.
fn check_network() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Layer::Namespaces, "read the routes", error);
    let v4 = fs::read_to_string("/proc/net/route").map_err(failed)?;
    let v6 = match fs::read_to_string("/proc/net/ipv6_route") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(failed)?,
    };
    let v4 = v4.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
    let v6 = v6.lines().filter_map(|line| line.split_ascii_whitespace().last());
    match v4.chain(v6).find(|interface| *interface != "lo") {
        None => Ok(()),
        Some(other) => Err(lacks(Layer::Namespaces, format!("have no network (there is a route by {other})"))),
    }
}

fn check_view(order: &Order) -> Result<(), Failure> {
    let failed = |step: String| move |error: rustix::io::Errno| Failure::new(Layer::View, step, error);
    let root = statvfs("/").map_err(failed("look at /".into()))?;
    if !root.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(lacks(Layer::View, "have a read-only root"));
    }
    for place in &order.places {
        let step = || format!("look at {}", place.path.display());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found =
            openat2(CWD, &place.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(failed(step()))?;
        let found = fstat(found.as_fd()).map_err(failed(step()))?;
        if (found.st_dev, found.st_ino) != (place.device, place.inode) {
            return Err(lacks(
                Layer::View,
                format!("show what was named as {} (it was exchanged meanwhile)", place.path.display()),
            ));
        }
    }
    check_mounts(order)
}

/// What may not be written to is mounted so, with everything in it.
fn check_mounts(order: &Order) -> Result<(), Failure> {
    let table = fs::read("/proc/self/mountinfo")
        .map_err(|error| Failure::new(Layer::View, "read /proc/self/mountinfo", error))?;
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let (Some(target), Some(options)) = (fields.nth(4), fields.next()) else { continue };
        let target = unescape(target);
        let guarded = innermost(&order.places, &target).is_some_and(|place| place.read_only);
        let read_only = options.split(|byte| *byte == b',').any(|option| option == b"ro");
        if guarded && !read_only {
            return Err(lacks(Layer::View, format!("show {} read-only", target.display())));
        }
    }
    Ok(())
}

/// A path of mountinfo, where space, tab, newline and backslash are octal.
fn unescape(field: &[u8]) -> PathBuf {
    let (mut path, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let byte = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        path.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    Path::new(&std::ffi::OsString::from_vec(path)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounts_path_is_read_as_the_kernel_escapes_it() {
        assert_eq!(unescape(br"/a\040b\134c\011"), Path::new("/a b\\c\t"));
        assert_eq!(unescape(br"/plain\9"), Path::new(r"/plain\9"));
    }
}
