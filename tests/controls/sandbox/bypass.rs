//! Jails that lack a layer or a check, so that a test can show what it is worth. It stands in the place of the sandbox's own module in
//! a build for tests alone. Must never: be reached by a spec that takes nothing away.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, readlinkat, symlinkat};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use rustix::process::{DumpableBehavior, PTracer, set_dumpable_behavior, set_ptracer};
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Failure, Layer};
use crate::jail::view::{PLAIN, attach, failed, new_mount, new_proc, take};
use crate::native::zygote::Zygote;
use crate::spec::{PoolSize, Spec, WORKSPACE};
use crate::sys;

/// What a jail is made without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// `Namespaces` means the host's net namespace, `View` the host's whole root, read-only. `Identity` stays. `Privileges` leaves
    /// programs the capabilities of the jail's own user namespace; `no_new_privs` stays, as filters cannot be put on without it.
    /// `Seccomp` needs a zygote that was started without it (`Zygote::start_without`).
    pub layers: Vec<Layer>,
    /// The host's pid namespace and its `/proc`. Where no control group holds such a jail, what its programs leave behind outlives
    /// it.
    pub pid_namespace: bool,
    /// What the jail's own code does not do.
    pub checks: Vec<Check>,
}

impl Bypass {
    pub(crate) fn keeps(&self, layer: Layer) -> bool {
        !self.layers.contains(&layer)
    }

    pub(crate) fn keeps_pid_namespace(&self) -> bool {
        !self.pid_namespace
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Bypass::default()
    }
}

/// What the jail's own code sees to, where a `Layer` is what the kernel does for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// File operations stay beneath the places that they may reach, follow no link, and are bounded.
    Paths,
    /// Files are regular ones, and no open waits for a program.
    Kinds,
    /// What a program leaves behind is found and killed.
    Orphans,
    /// Programs, though of the same user, cannot look into the jail's first process.
    Secrecy,
    /// Programs get no descriptor but the standard ones, and are not named by one.
    Descriptors,
    /// Device nodes in what a spec names are none.
    Devices,
    /// No route leads anywhere. Without it every address leads to the jail itself, which only a jail without `Layer::Seccomp` can
    /// arrange.
    Routes,
    /// What all jails share cannot be written. Without it, and without `Layer::View`, a jail has a copy of its own that can.
    Shared,
}

impl Zygote {
    /// As `start`, but the zygote itself does not put on `layers`, so that its jails can go without too. Of all layers, only
    /// `Seccomp` is one that a zygote puts on; without `Landlock` it is as on a host that has none.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_without(exe: &Path, run_dir: &Path, layers: &[Layer]) -> Result<Self, Error> {
        if layers.iter().any(|layer| !matches!(layer, Layer::Seccomp | Layer::Landlock)) {
            let reason = "a zygote puts on no layer but seccomp: name the others in the spec".to_owned();
            return Err(Error::Spec { field: "bypass", reason });
        }
        // No jail that lacks a layer comes from a pool.
        let bypass = Bypass { layers: layers.to_vec(), ..Bypass::default() };
        Self::launch(exe, run_dir, PoolSize::None, bypass)
    }
}

/// One that can leave layers out is another program.
pub(crate) const VERSION_BIT: u16 = 0x8000;

static BYPASSED: OnceLock<Vec<Check>> = OnceLock::new();

pub(crate) fn enforces(check: Check) -> bool {
    BYPASSED.get().is_none_or(|bypassed| !bypassed.contains(&check))
}

/// Takes a spec's checks away from this process, which becomes the jail's first one.
pub(crate) fn begin(spec: &Spec) -> Result<(), Failure> {
    let _ = BYPASSED.set(spec.bypass.checks.clone());
    if enforces(Check::Routes) {
        return Ok(());
    }
    // A host may have no IPv6.
    let _ = route_to_itself(libc::AF_INET6 as u8);
    route_to_itself(libc::AF_INET as u8)
        .map_err(|error| Failure::new(Layer::Namespaces, "lead every address to the loopback", error))
}

/// Opens this process to programs, if it need not be kept from them.
pub(crate) fn serving() -> io::Result<()> {
    if !enforces(Check::Secrecy) {
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        // Where the host has Yama it would answer next.
        let _ = set_ptracer(PTracer::Any);
    }
    Ok(())
}

pub(crate) fn drop_capabilities(spec: &Spec) -> io::Result<()> {
    if spec.keeps(Layer::Privileges) { sys::drop_capabilities() } else { pass_on_capabilities() }
}

pub(crate) fn root(spec: &Spec, root: OwnedFd) -> Result<OwnedFd, Failure> {
    if spec.keeps(Layer::View) { Ok(root) } else { root_of_host(spec) }
}

/// The attributes of a mount that a spec names.
pub(crate) fn attributes(attributes: u64) -> u64 {
    if enforces(Check::Devices) { attributes } else { attributes & !libc::MOUNT_ATTR_NODEV }
}

/// How an open is made: less what keeps it beneath a place, and what keeps it from waiting.
pub(crate) fn resolution(mut flags: OFlags, mut resolve: ResolveFlags) -> (OFlags, ResolveFlags) {
    if !enforces(Check::Paths) {
        flags.remove(OFlags::NOFOLLOW);
        resolve = ResolveFlags::empty();
    }
    if !enforces(Check::Kinds) && !flags.contains(OFlags::PATH) {
        flags.remove(OFlags::NONBLOCK | OFlags::DIRECTORY);
    }
    (flags, resolve)
}

/// Where a link leads, as a write through it would go.
pub(crate) fn follow(folder: &OwnedFd, name: &OsStr) -> Option<(OwnedFd, OsString)> {
    if enforces(Check::Paths) {
        return None;
    }
    let link = PathBuf::from(OsString::from_vec(readlinkat(folder, name, Vec::new()).ok()?.into_bytes()));
    let above = link.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = openat(folder, above, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let name = link.file_name()?.to_owned();
    Some(follow(&above, &name).unwrap_or((above, name)))
}

/// Programs get these besides the standard ones.
pub(crate) fn pass_on_descriptors(more: &[&OwnedFd]) -> io::Result<()> {
    let mut more = more.iter().filter(|_| !enforces(Check::Descriptors));
    more.try_for_each(|fd| Ok(fcntl_setfd(fd, FdFlags::empty())?))
}

/// Devices must work, so these trees are not `nodev`.
const SHOWN: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;

fn host_root() -> Result<Vec<(PathBuf, fs::FileType)>, Failure> {
    let read = || -> io::Result<Vec<_>> {
        fs::read_dir("/")?.map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))).collect()
    };
    read().map_err(|error| Failure::new(Layer::View, "read the host's root", error))
}

/// What all jails share, where a jail has a copy of its own, and the folders for that.
const SHARED: &[&str] = &["/etc", "/dev", "/run", "/tmp"];
const COPIED: &[&str] = &["etc/passwd", "etc/hosts", "etc/ld.so.cache"];
const MADE: &[&str] = &["etc", "dev", "dev/shm", "run", "run/tenure", "run/tenure/bin", "tmp"];

/// The host's own root, read-only, with a place for the work folder.
fn root_of_host(spec: &Spec) -> Result<OwnedFd, Failure> {
    let mut entries = host_root()?;
    let copies = spec.bypass.checks.contains(&Check::Shared);
    if copies {
        entries.retain(|(host, _)| !SHARED.iter().any(|shared| host == Path::new(shared)));
    }
    let shown = entries.iter().filter(|(_, kind)| !kind.is_symlink());
    let trees: Vec<OwnedFd> = shown.clone().map(|(host, _)| take(host, SHOWN)).collect::<Result<_, _>>()?;
    let root = new_mount("tmpfs", &[("size", "64k"), ("mode", "0755")], PLAIN)?;
    // From here on this hides the host's own.
    move_mount(&root, "", CWD, "/usr", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("mount the new root"))?;
    let name = |host: &Path| host.strip_prefix("/").unwrap_or(host).to_owned();
    for (host, _) in entries.iter().filter(|(_, kind)| kind.is_symlink()) {
        let step = || failed(format!("make a link for {}", host.display()));
        let target = rustix::fs::readlink(host, Vec::new()).map_err(step())?;
        symlinkat(target, &root, name(host)).map_err(step())?;
    }
    for ((host, kind), tree) in shown.zip(trees) {
        let step = || failed(format!("make a place for {}", host.display()));
        if kind.is_dir() {
            make_folder(&root, &name(host)).map_err(step())?;
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&root, name(host), flags, Mode::from(0o644)).map_err(step())?;
        }
        attach(&tree, &root, &name(host))?;
    }
    make_folder(&root, Path::new(&WORKSPACE[1..])).map_err(failed("make a place for the work folder"))?;
    if spec.bypass.keeps_pid_namespace() {
        attach(&new_proc()?, &root, Path::new("proc"))?;
    }
    if copies {
        copy_shared(&root)?;
    }
    Ok(root)
}

/// Files of the jail's own under the names of those that all jails share, in one file system, all of them writable.
fn copy_shared(root: &OwnedFd) -> Result<(), Failure> {
    for folder in MADE {
        make_folder(root, Path::new(folder)).map_err(failed(format!("make /{folder}")))?;
    }
    for file in COPIED {
        let made = openat(root, *file, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from(0o644));
        made.map_err(failed(format!("make /{file}")))?;
    }
    Ok(())
}

fn make_folder(root: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    match mkdirat(root, name, Mode::from(0o755)) {
        Err(error) if error != rustix::io::Errno::EXIST => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Programs get every capability of the jail's own user namespace.
fn pass_on_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if sets.permitted.contains(capability) {
            configure_capability_in_ambient_set(capability, true)?;
        }
    }
    Ok(())
}

/// `ip route add local default dev lo`, by rtnetlink, which is protocol 0: a header, what kind of route, and the number of its device.
fn route_to_itself(family: u8) -> io::Result<()> {
    const LENGTH: u32 = 36;
    const LOOPBACK: u32 = 1;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE;
    let header = [&LENGTH.to_ne_bytes()[..], &libc::RTM_NEWROUTE.to_ne_bytes(), &(flags as u16).to_ne_bytes(), &[0; 8]];
    let kind =
        [family, 0, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL, 0, 0, 0, 0];
    let device = [&8u16.to_ne_bytes()[..], &libc::RTA_OIF.to_ne_bytes(), &LOOPBACK.to_ne_bytes()];
    let message = [header.concat(), kind.to_vec(), device.concat()].concat();
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 128];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    match answer.get(16..20).and_then(|error| error.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error.unwrap_or(-libc::EIO))),
    }
}
