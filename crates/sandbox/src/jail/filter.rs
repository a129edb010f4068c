//! The system calls that confined programs may make; every other answers EPERM, and `clone3` ENOSYS so that libraries fall
//! back to `clone`, whose flags a filter can see. Must never: list a call that reaches mounts, namespaces, other processes'
//! memory, keys, modules, BPF or io_uring, but in `SET_UP`, which each jail gives up.
//!
//! Two filters, and a call must pass both. The long one allows what programs may do and what set-up does; it costs the kernel
//! 0.6 ms to take in, so the zygote puts it on once and its forks inherit it. The short one takes the set-up calls away again;
//! a jail puts it on when it is built. A third, of one call, is for programs alone.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// The short filters of a jail, compiled once by the zygote.
#[derive(Clone)]
pub(super) struct Filters {
    give_up: BpfProgram,
    absent: BpfProgram,
    cores: BpfProgram,
    program: BpfProgram,
}

const NEW_NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;
/// Families with the kinds and protocols of theirs that programs use; for any other the kernel may load a module.
const SOCKETS: [(i32, i32, i32); 8] = [
    (libc::AF_INET, libc::SOCK_STREAM, 0),
    (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::AF_INET, libc::SOCK_DGRAM, 0),
    (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    (libc::AF_INET6, libc::SOCK_STREAM, 0),
    (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::AF_INET6, libc::SOCK_DGRAM, 0),
    (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
];
/// The rest of a kind are flags.
const SOCKET_KIND: u64 = 0xf;
/// Pages of a size that the whole host has few of, which no memory limit counts.
const MAP_HUGE: u64 = libc::MAP_HUGETLB as u64;
const MEMFD_HUGE: u64 = libc::MFD_HUGETLB as u64;
const SEGMENT_HUGE: u64 = libc::SHM_HUGETLB as u64;
/// Put bytes into a terminal's input, or drive a console: ways out of a session; and have the kernel load other line disciplines.
const TERMINAL_REFUSED: [u64; 3] = [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSETD];
/// The jail's own first process, inside.
const INIT: u64 = 1;
const IOPRIO_WHO_PROCESS: u64 = 1;
/// All of a user's, whose first process is among them.
const IOPRIO_WHO_USER: u64 = 3;
const PERSONALITIES: [u64; 2] = [0, 0xffff_ffff];

#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // Files.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_preadv,
    libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_openat, libc::SYS_openat2, libc::SYS_close,
    libc::SYS_close_range, libc::SYS_lseek, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd, libc::SYS_chdir,
    libc::SYS_fchdir, libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2,
    libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchmodat2, libc::SYS_fchown,
    libc::SYS_fchownat, libc::SYS_truncate, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_utimensat, libc::SYS_umask,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync, libc::SYS_syncfs, libc::SYS_sync_file_range, libc::SYS_fadvise64,
    libc::SYS_readahead, libc::SYS_flock, libc::SYS_fcntl, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_sendfile,
    libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice, libc::SYS_copy_file_range, libc::SYS_getxattr, libc::SYS_lgetxattr,
    libc::SYS_fgetxattr, libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr, libc::SYS_setxattr, libc::SYS_lsetxattr,
    libc::SYS_fsetxattr, libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr, libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    // Memory.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_pkey_mprotect, libc::SYS_pkey_alloc,
    libc::SYS_pkey_free, libc::SYS_madvise, libc::SYS_brk, libc::SYS_msync, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2,
    libc::SYS_munlock, libc::SYS_mlockall, libc::SYS_munlockall, libc::SYS_membarrier, libc::SYS_remap_file_pages,
    // Processes, threads and their identity.
    libc::SYS_clone3, libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid,
    libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_getpid,
    libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid, libc::SYS_setpgid, libc::SYS_getsid, libc::SYS_setsid, libc::SYS_getuid,
    libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups,
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid,
    libc::SYS_setgroups, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_capget, libc::SYS_capset, libc::SYS_prctl,
    libc::SYS_set_tid_address, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_prlimit64,
    libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_getrusage, libc::SYS_getpriority, libc::SYS_setpriority,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity, libc::SYS_sched_getparam,
    libc::SYS_sched_setparam, libc::SYS_sched_getscheduler, libc::SYS_sched_setscheduler, libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min, libc::SYS_sched_rr_get_interval, libc::SYS_sched_getattr, libc::SYS_sched_setattr,
    libc::SYS_ioprio_get, libc::SYS_ioprio_set, libc::SYS_getcpu, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
    // Signals, time, waiting.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigpending, libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo, libc::SYS_sigaltstack,
    libc::SYS_restart_syscall, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_times, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_timer_create,
    libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun, libc::SYS_timer_delete,
    libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime, libc::SYS_signalfd4, libc::SYS_eventfd2,
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll, libc::SYS_pselect6,
    libc::SYS_futex, libc::SYS_futex_waitv,
    // Sockets (families below) and System V and POSIX queues of the jail's own ipc namespace.
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg,
    libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_shutdown, libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_shmat, libc::SYS_shmdt, libc::SYS_shmctl, libc::SYS_semget, libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_semctl,
    libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl, libc::SYS_mq_open, libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend, libc::SYS_mq_timedreceive, libc::SYS_mq_notify, libc::SYS_mq_getsetattr,
    // The system.
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrandom,
];

/// Calls that only this architecture still has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_getdents,
    libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_mknod, libc::SYS_unlink, libc::SYS_rename, libc::SYS_link, libc::SYS_symlink,
    libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat, libc::SYS_dup2,
    libc::SYS_pipe, libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd,
    libc::SYS_signalfd, libc::SYS_inotify_init, libc::SYS_fork, libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_alarm,
    libc::SYS_pause, libc::SYS_time, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// What the zygote and the building of a jail need, and no program.
#[rustfmt::skip]
const SET_UP: &[i64] = &[
    libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_mount_setattr,
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_sethostname,
];

/// Confines the zygote, and by inheritance its jails, to what either may ever do. Needs `no_new_privs`.
pub(super) fn confine_zygote() -> Result<(), seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let plain = ALLOWED.iter().chain(ALLOWED_HERE).chain(SET_UP).map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = plain.collect();
    rules.extend([
        (libc::SYS_clone, vec![rule(&[(0, SeccompCmpOp::MaskedEq(NEW_NAMESPACES as u64), 0)])?]),
        (libc::SYS_socket, sockets()?),
        (libc::SYS_socketpair, one_of(0, [libc::AF_UNIX as u64])?),
        (libc::SYS_mmap, vec![rule(&[(3, SeccompCmpOp::MaskedEq(MAP_HUGE), 0)])?]),
        (libc::SYS_memfd_create, vec![rule(&[(1, SeccompCmpOp::MaskedEq(MEMFD_HUGE), 0)])?]),
        (libc::SYS_shmget, vec![rule(&[(2, SeccompCmpOp::MaskedEq(SEGMENT_HUGE), 0)])?]),
        (libc::SYS_personality, one_of(0, PERSONALITIES)?),
        (libc::SYS_ioctl, vec![rule(&TERMINAL_REFUSED.map(|command| (1, SeccompCmpOp::Ne, command)))?]),
    ]);
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter: BpfProgram = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?.try_into()?;
    apply_filter(&filter)
}

impl Filters {
    pub(super) fn compile() -> Result<Self, seccompiler::Error> {
        let answer = |rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32| -> Result<BpfProgram, seccompiler::Error> {
            let action = SeccompAction::Errno(errno as u32);
            let arch = std::env::consts::ARCH.try_into()?;
            Ok(SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()?)
        };
        let all = |calls: &[i64]| -> BTreeMap<_, _> { calls.iter().map(|call| (*call, Vec::new())).collect() };
        Ok(Self {
            give_up: answer(
                all(SET_UP).into_iter().chain(aimed_at_init()?).chain(lent_identity()?).collect(),
                libc::EPERM,
            )?,
            absent: answer(all(&[libc::SYS_clone3]), libc::ENOSYS)?,
            // Answered with success: many a program that keeps secrets ends where it cannot forbid itself core dumps.
            cores: answer(core_limits()?, 0)?,
            program: answer(all(&[libc::SYS_openat2]), libc::ENOSYS)?,
        })
    }

    /// What a program puts on by [`hide_from_program`].
    pub(super) fn program(&self) -> BpfProgram {
        self.program.clone()
    }

    /// Answers ENOSYS to what libraries can do without, and leaves the limit of core dumps as it is.
    pub(super) fn hide(&self) -> Result<(), seccompiler::Error> {
        apply_filter(&self.absent)?;
        apply_filter(&self.cores)
    }

    /// Takes the set-up calls from this process and all its descendants, for good.
    pub(super) fn give_up(&self) -> Result<(), seccompiler::Error> {
        apply_filter(&self.give_up)
    }
}

/// Takes from this process, about to become a program, the call whose modes lie where no filter can read them: libraries fall
/// back to calls that [`Filters::give_up`] sees through.
pub(super) fn hide_from_program(program: &BpfProgram) -> Result<(), seccompiler::Error> {
    apply_filter(program)
}

fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    // The kernel reads these arguments as 32 bits (clone: the flags that matter), so higher bits must not evade a match.
    let conditions: Result<Vec<_>, _> = conditions
        .iter()
        .map(|(argument, op, value)| SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, op.clone(), *value))
        .collect();
    SeccompRule::new(conditions?)
}

/// What sets the limit of core dumps. (What only asks for it passes: the new limit is no pointer then.)
fn core_limits() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let core =
        |argument| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::RLIMIT_CORE as u64);
    let new = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    Ok(BTreeMap::from([
        (libc::SYS_setrlimit, vec![SeccompRule::new(vec![core(0)?])?]),
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![core(1)?, new])?]),
    ]))
}

/// What would limit, stop or slow the jail's first process, which has its programs' ids. (`prlimit64` that only reads passes: its
/// new limit is no pointer.)
fn aimed_at_init() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let init = |argument| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, INIT);
    let is = |value: u64| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let new = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    let mut rules = BTreeMap::from([
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![init(0)?, new])?]),
        (
            libc::SYS_setpriority,
            vec![
                SeccompRule::new(vec![is(libc::PRIO_PROCESS.into())?, init(1)?])?,
                SeccompRule::new(vec![is(libc::PRIO_USER.into())?])?,
            ],
        ),
        (
            libc::SYS_ioprio_set,
            vec![
                SeccompRule::new(vec![is(IOPRIO_WHO_PROCESS)?, init(1)?])?,
                SeccompRule::new(vec![is(IOPRIO_WHO_USER)?])?,
            ],
        ),
    ]);
    for call in
        [libc::SYS_sched_setaffinity, libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr]
    {
        rules.insert(call, vec![SeccompRule::new(vec![init(0)?])?]);
    }
    Ok(rules)
}

/// What would leave a file that lends its owner's or group's identity to whoever runs it: in a folder that the host shows and
/// lets be written, that would be somebody outside.
fn lent_identity() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    const LENT: u64 = (libc::S_ISUID | libc::S_ISGID) as u64;
    let makes = |argument, flag: i32| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag as u64), flag as u64)
    };
    let lends = |mode: u8, flags: Option<(u8, i32)>| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let each = [u64::from(libc::S_ISUID), u64::from(libc::S_ISGID), LENT].map(|lent| {
            let lends = SeccompCondition::new(mode, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(LENT), lent)?;
            // Without such a flag nobody reads the mode, which then may be anything.
            let flag = flags.map(|(argument, flag)| makes(argument, flag)).transpose()?;
            SeccompRule::new([Some(lends), flag].into_iter().flatten().collect())
        });
        each.into_iter().collect()
    };
    let opens = |flags: u8, mode: u8| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        // `O_TMPFILE` holds the flag of a folder, which alone makes nothing.
        let mut rules = lends(mode, Some((flags, libc::O_CREAT)))?;
        rules.extend(lends(mode, Some((flags, libc::O_TMPFILE)))?);
        Ok(rules)
    };
    let mut rules = BTreeMap::from([
        (libc::SYS_fchmod, lends(1, None)?),
        (libc::SYS_fchmodat, lends(2, None)?),
        (libc::SYS_fchmodat2, lends(2, None)?),
        (libc::SYS_mknodat, lends(2, None)?),
        (libc::SYS_openat, opens(2, 3)?),
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.extend([
        (libc::SYS_chmod, lends(1, None)?),
        (libc::SYS_mknod, lends(1, None)?),
        (libc::SYS_creat, lends(1, None)?),
        (libc::SYS_open, opens(1, 2)?),
    ]);
    Ok(rules)
}

fn sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let named = SOCKETS.iter().map(|(family, kind, protocol)| {
        let (family, kind, protocol) = (*family as u64, *kind as u64, *protocol as u64);
        rule(&[
            (0, SeccompCmpOp::Eq, family),
            (1, SeccompCmpOp::MaskedEq(SOCKET_KIND), kind),
            (2, SeccompCmpOp::Eq, protocol),
        ])
    });
    std::iter::once(rule(&[(0, SeccompCmpOp::Eq, libc::AF_UNIX as u64)])).chain(named).collect()
}

fn one_of<const N: usize>(argument: u8, values: [u64; N]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values.into_iter().map(|value| rule(&[(argument, SeccompCmpOp::Eq, value)])).collect()
}
