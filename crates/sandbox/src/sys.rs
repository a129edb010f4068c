//! The system calls that no safe crate offers, each wrapped so that its caller cannot break memory safety.
//! Must never: decide anything, allocate on behalf of a caller, or grow a second home; all `unsafe` of the product is here.
#![expect(unsafe_code, reason = "raw system calls; this file is the product's only unsafe code")]

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// libc's constant of this name overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a fork returned.
pub(crate) enum Side {
    Child,
    Parent(i32),
}

/// Which side of a `clone3` returned; the parent also holds the child's pidfd.
pub(crate) enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// What the kernel keeps in an ipc namespace until somebody removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemV {
    Segment,
    Semaphores,
    Queue,
}

/// What `wait4` says of one dead child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    pub(crate) status: i32,
    pub(crate) cpu_micros: u64,
    pub(crate) rss_max_bytes: u64,
}

fn checked(value: i64) -> io::Result<i64> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Forks without exec into the namespaces of `flags`. Only a single-threaded process may call this: the child goes on in a
/// copy of the caller's memory, and another thread's lock would stay locked for ever.
pub(crate) fn clone_into(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers; all-zero is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args outlives the call; no CLONE_VM, so the child has its own copy of memory and stack.
    let pid = checked(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel wrote a fresh descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: pid as i32, pidfd })
}

/// Changes root's effective uid, but not the one for files: a user namespace that is made now is counted for `uid`. Only for a
/// single-threaded process that keeps its capabilities; `uid` 0 is the way back.
pub(crate) fn take_effective_uid(uid: u32) -> io::Result<()> {
    const SAME: u32 = u32::MAX;
    // SAFETY: plain integer arguments.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, SAME, uid, SAME) })?;
    // SAFETY: a plain integer argument. It answers the old id and fails only for an id that is not mapped, which 0 is here.
    unsafe { libc::syscall(libc::SYS_setfsuid, 0) };
    Ok(())
}

/// Keeps this process's capabilities over changes of its ids.
pub(crate) fn keep_capabilities() -> io::Result<()> {
    // SAFETY: plain integer arguments.
    checked(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, libc::SECBIT_NO_SETUID_FIXUP, 0, 0, 0) } as i64).map(drop)
}

/// `fork`, for single-threaded callers only.
pub(crate) fn fork() -> io::Result<Side> {
    // SAFETY: the caller is single-threaded, so the child's copy of memory is consistent.
    match checked(unsafe { libc::fork() } as i64)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid as i32)),
    }
}

/// Has a program killed when the thread that starts it ends, whatever ends it.
pub(crate) fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have ended before this was asked for.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec it makes two system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(prepare) };
}

/// Leaves at once, without destructors or exit functions: the only right end of a forked child.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Replaces the program; returns only on failure.
pub(crate) fn execve(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (list(arguments), list(environment));
    // SAFETY: both lists are null-terminated and point to strings that live through the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Closes every descriptor but `keep`. Owners of the others must never run again in this process.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| *fd as u32).collect();
    keep.sort_unstable();
    let mut first = 0u32;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from `first` on close-on-exec.
pub(crate) fn cloexec_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: closing descriptors touches no memory; callers promise that no owner of a closed one runs again.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Makes descriptor `number` (0, 1 or 2) a copy of `fd`.
pub(crate) fn set_standard(number: RawFd, fd: BorrowedFd<'_>) -> io::Result<()> {
    debug_assert!((0..3).contains(&number), "only standard descriptors have no Rust owner");
    // SAFETY: 0 to 2 have no OwnedFd, so none is invalidated.
    checked(unsafe { libc::dup2(fd.as_raw_fd(), number) } as i64).map(drop)
}

/// Adds mount attributes (`MOUNT_ATTR_*`) to the mount or tree behind `fd`, and keeps mounts that are made elsewhere later out
/// of it.
pub(crate) fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, set: u64) -> io::Result<()> {
    // SAFETY: mount_attr is plain integers; all-zero is valid.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = set;
    attributes.propagation = libc::MS_PRIVATE;
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the empty path is null-terminated, the struct outlives the call and its size is given.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Drops every capability from the bounding set, as far as this kernel knows capabilities.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: plain integer arguments.
        let Err(refused) = checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } as i64) else {
            continue;
        };
        // Dropping needs a right that a process with an empty set no longer has.
        // SAFETY: plain integer arguments.
        match checked(unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } as i64) {
            Ok(0) => {}
            Ok(_) => return Err(refused),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Empties the effective, permitted and inheritable capability sets.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let sets = [0u32; 6];
    // SAFETY: header and sets have the layout that version 3 of capset reads, and outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }).map(drop)
}

/// Brings the loopback interface of the current net namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: ifreq is plain data; all-zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request outlives the call and is what SIOCSIFFLAGS reads.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) } as i64).map(drop)
}

/// Blocks SIGCHLD and returns a descriptor that becomes readable with each.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use; signalfd returns a fresh descriptor.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        checked(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) as i64)?;
        let fd = checked(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as i64)?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Ignores the signals that ask a program to end; SIGKILL and the end of a socket still do.
pub(crate) fn ignore_requests_to_end() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        // SAFETY: SIG_IGN installs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Unblocks all signals and gives each its default action, as a fresh program expects.
pub(crate) fn default_signals() {
    // SAFETY: SIG_DFL installs no code of ours; the set is initialised before use.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Reaps one dead child (`pid` -1: any). None if none is dead yet (only without `block`).
/// Err with ECHILD when there is no child at all.
pub(crate) fn reap(pid: i32, block: bool) -> io::Result<Option<Reaped>> {
    // SAFETY: both out-parameters outlive the call; rusage is plain integers.
    let (pid, status, usage) = unsafe {
        let mut status = 0;
        let mut usage: libc::rusage = std::mem::zeroed();
        let options = libc::__WALL | if block { 0 } else { libc::WNOHANG };
        let pid = checked(libc::wait4(pid, &raw mut status, options, &raw mut usage) as i64)?;
        (pid as i32, status, usage)
    };
    if pid == 0 {
        return Ok(None);
    }
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    let cpu_micros = micros(usage.ru_utime) + micros(usage.ru_stime);
    Ok(Some(Reaped { pid, status, cpu_micros, rss_max_bytes: usage.ru_maxrss as u64 * 1024 }))
}

/// Sends `signal` to `pid` (negative: to that process group).
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain integer arguments.
    checked(unsafe { libc::kill(pid, signal) } as i64).map(drop)
}

/// Removes one object of this ipc namespace.
pub(crate) fn remove(kind: SystemV, id: i32) -> io::Result<()> {
    // SAFETY: the command takes no pointer.
    let removed = unsafe {
        match kind {
            SystemV::Segment => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
            SystemV::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
            SystemV::Queue => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
        }
    };
    checked(removed.into()).map(drop)
}

/// Whether two threads have one table of descriptors; None where the kernel does not tell.
pub fn share_descriptors(one: i32, other: i32) -> Option<bool> {
    const KCMP_FILES: i32 = 2;
    // SAFETY: plain integer arguments.
    let compared = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) };
    (compared >= 0).then_some(compared == 0)
}

/// Sets one resource limit, no higher than the hard limit that holds already.
pub(crate) fn limit(resource: u32, value: u64) -> io::Result<()> {
    // SAFETY: rlimit is plain integers and outlives both calls.
    unsafe {
        let mut now: libc::rlimit = std::mem::zeroed();
        checked(libc::getrlimit(resource as _, &raw mut now) as i64)?;
        let value = value.min(now.rlim_max);
        let wanted = libc::rlimit { rlim_cur: value, rlim_max: value };
        checked(libc::setrlimit(resource as _, &raw const wanted) as i64).map(drop)
    }
}

/// The kernel's Landlock ABI; 0 where it is off or unknown.
pub(crate) fn landlock_abi() -> u8 {
    const VERSION: u32 = 1;
    // SAFETY: with the version flag the kernel takes no pointer.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    u8::try_from(abi).unwrap_or(0)
}

/// Whether the kernel offers seccomp filters with `errno` answers.
pub(crate) fn seccomp_errno_available() -> bool {
    const GET_ACTION_AVAIL: u32 = 2;
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one u32.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0u32, &raw const action) == 0 }
}

/// What the kernel keeps of one user on the file system that holds `folder`.
pub(crate) fn user_quota(folder: BorrowedFd<'_>, uid: u32) -> io::Result<libc::dqblk> {
    // SAFETY: dqblk is plain integers; all-zero is valid.
    let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
    quotactl(folder, libc::Q_GETQUOTA, uid, &raw mut quota)?;
    Ok(quota)
}

/// Sets the fields of `quota` that its `dqb_valid` names.
pub(crate) fn set_user_quota(folder: BorrowedFd<'_>, uid: u32, quota: &libc::dqblk) -> io::Result<()> {
    let mut quota = *quota;
    quotactl(folder, libc::Q_SETQUOTA, uid, &raw mut quota)
}

fn quotactl(folder: BorrowedFd<'_>, command: i32, uid: u32, quota: *mut libc::dqblk) -> io::Result<()> {
    let command = libc::QCMD(command, libc::USRQUOTA);
    // SAFETY: both callers' struct is the one that these two commands read and write, and outlives the call.
    checked(unsafe { libc::syscall(libc::SYS_quotactl_fd, folder.as_raw_fd(), command, uid, quota) }).map(drop)
}
