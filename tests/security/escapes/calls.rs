//! System calls that no confined program needs: each is made so that the kernel itself would take it, or would refuse it for
//! another reason than permission.
use super::probe::Stage::{Program, ProgramX86};
use super::probe::{Class, Control, Layer, Probe, probe};

const DOCKER: &str = "Docker's default seccomp profile";

/// Refused by the filter; without it the kernel answers with `kernel`.
const fn call(id: &'static str, tries: &'static str, script: &'static str, kernel: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Without(&[Layer::Seccomp], kernel))
}

/// Only where the architecture still has the call's number.
const fn old(id: &'static str, tries: &'static str, script: &'static str, kernel: &'static str) -> Probe {
    probe(id, tries, ProgramX86(script), (Layer::Seccomp, "EPERM"), Control::Without(&[Layer::Seccomp], kernel))
        .source(DOCKER)
}

pub const CLASS: Class = Class {
    name: "system calls",
    probes: &[
        call("calls/ptrace-traceme", "asks to be traced", "say(call('ptrace', 0, 0, 0, 0))", "ok").source(DOCKER),
        call(
            "calls/ptrace-seize",
            "traces another process of its jail",
            r"
            pid = os.fork()
            if pid == 0: signal.pause()
            result = call('ptrace', 0x4206, pid, 0, 0)
            os.kill(pid, 9)
            say(result)
            ",
            "ok",
        )
        .source("CDK check-ptrace"),
        call(
            "calls/process-vm-readv",
            "reads a process's memory across processes",
            r"
            a, b = ctypes.create_string_buffer(b'abcdef'), ctypes.create_string_buffer(7)
            say(call('process_vm_readv', os.getpid(), Vector(ctypes.addressof(b), 6), 1, Vector(ctypes.addressof(a), 6), 1, 0))
            ",
            "ok",
        )
        .source(DOCKER),
        call(
            "calls/process-vm-writev",
            "writes a process's memory across processes",
            r"
            a, b = ctypes.create_string_buffer(b'abcdef'), ctypes.create_string_buffer(7)
            say(call('process_vm_writev', os.getpid(), Vector(ctypes.addressof(a), 6), 1, Vector(ctypes.addressof(b), 6), 1, 0))
            ",
            "ok",
        )
        .source(DOCKER),
        call(
            "calls/pidfd-getfd",
            "takes a descriptor out of a process",
            "say(call('pidfd_getfd', os.pidfd_open(os.getpid()), 1, 0))",
            "ok",
        ),
        call("calls/kcmp", "compares kernel objects of processes", "say(call('kcmp', os.getpid(), os.getpid(), 0, 0, 1))", "ok|ENOSYS")
            .source(DOCKER),
        call("calls/process-madvise", "gives advice on another's memory", "say(call('process_madvise', -1, 0, 0, 20, 0))", "EBADF|ENOSYS"),
        call("calls/process-mrelease", "frees a dying process's memory", "say(call('process_mrelease', -1, 0))", "EBADF|ENOSYS"),
        call("calls/userfaultfd", "handles page faults itself, to hold the kernel in a race", "say(call('userfaultfd', 1))", "ok|ENOSYS")
            .source("CVE-2016-4557, and as a tool of many others"),
        call(
            "calls/perf-event-open",
            "opens a performance counter",
            r"
            a = ctypes.create_string_buffer(b'\x01\0\0\0\x80\0\0\0' + bytes(32) + b'\x60' + bytes(87), 128)
            say(call('perf_event_open', a, 0, -1, -1, 0))
            ",
            "ok|EACCES|ENOSYS",
        )
        .source("CVE-2013-2094, CVE-2023-6931"),
        probe(
            "calls/bpf",
            "loads into the kernel's virtual machine",
            Program("say(call('bpf', 999, 0, 0))"),
            (Layer::Seccomp, "EPERM"),
            Control::Errno("a program in the kernel is the host's; the command is one that does not exist", "EINVAL|ENOSYS"),
        )
        .source("SandboxEscapeBench: eBPF; CVE-2021-3490, CVE-2020-8835"),
        call("calls/keyctl-session", "looks for the worker's session keyring", "say(call('keyctl', 0, -3, 0))", "ok|ENOKEY|ENOSYS").source(DOCKER),
        call("calls/keyctl-join", "replaces its session keyring", "say(call('keyctl', 1, 0))", "ok|ENOSYS").source("CVE-2016-0728"),
        call("calls/add-key", "stores a key, which no namespace holds", "say(call('add_key', b'user', b'probe', b'x', 1, -2))", "ok|ENOSYS")
            .source(DOCKER),
        call("calls/request-key", "asks for a key, which starts a program on the host", "say(call('request_key', b'user', b'no-such', 0, 0))", "ENOKEY|ENOSYS")
            .source(DOCKER),
        call(
            "calls/io-uring-setup",
            "makes a ring whose work no filter sees",
            "say(call('io_uring_setup', 8, ctypes.create_string_buffer(120)))",
            "ok|ENOSYS",
        )
        .source("CVE-2021-41073, CVE-2022-29582"),
        call("calls/io-uring-enter", "enters a ring", "say(call('io_uring_enter', -1, 0, 0, 0, 0, 0))", "EBADF|ENOSYS"),
        call("calls/io-uring-register", "registers files with a ring", "say(call('io_uring_register', -1, 0, 0, 0))", "EBADF|EINVAL|EOPNOTSUPP|ENOSYS"),
        call(
            "calls/name-to-handle-at",
            "turns a path into a handle that crosses roots",
            r"
            handle = (ctypes.c_uint * 40)(128)
            say(call('name_to_handle_at', -100, b'/workspace', handle, ctypes.c_int(), 0))
            ",
            "ok|EOPNOTSUPP|EOVERFLOW",
        )
        .source("shocker"),
        probe(
            "calls/open-by-handle-at",
            "opens the host's files by inode number",
            Program("say(call('open_by_handle_at', -1, 0, 0))"),
            (Layer::Seccomp, "EPERM"),
            Control::Errno("root opens any file of the host by it; the mount here is none", "EBADF|EFAULT|EINVAL"),
        )
        .source("shocker; CDK cap-dac-read-search; SandboxEscapeBench: DAC_READ_SEARCH"),
        call("calls/fanotify-init", "watches whole file systems", "say(call('fanotify_init', 0x200, 0))", "ok|ENOSYS").source(DOCKER),
        call("calls/fanotify-mark", "marks a mount to be watched", "say(call('fanotify_mark', -1, 1, 1, -100, 0))", "EBADF|ENOSYS|EINVAL"),
        call("calls/personality-no-random", "turns off the randomness of its addresses", "say(call('personality', 0x0040000))", "ok").source(DOCKER),
        call("calls/personality-read-exec", "makes readable memory executable", "say(call('personality', 0x0400000))", "ok").source("CVE-2009-1895"),
        call("calls/personality-high-bits", "hides a personality's value in bits that the kernel ignores", "say(call('personality', 0x0040000 | 1 << 32))", "ok")
            .source("the way of CVE-2019-10063"),
        call("calls/quotactl", "reads or sets disk quotas", "say(call('quotactl', 0x80000400, b'/workspace', 0, 0))", "ENOTBLK|ENODEV|ENOSYS|ESRCH|EINVAL")
            .source(DOCKER),
        call("calls/quotactl-fd", "the same by descriptor", "say(call('quotactl_fd', -1, 0x80000400, 0, 0))", "EBADF|ENOSYS"),
        call("calls/settimeofday", "sets the host's clock", "say(call('settimeofday', 1, 0))", "EFAULT").source(DOCKER),
        call("calls/clock-settime", "sets the host's clock by number", "say(call('clock_settime', 0, 1))", "EFAULT").source(DOCKER),
        call("calls/adjtimex", "tunes the host's clock", "say(call('adjtimex', 1))", "EFAULT").source(DOCKER),
        call("calls/clock-adjtime", "tunes a clock by number", "say(call('clock_adjtime', 0, 1))", "EFAULT").source(DOCKER),
        old("calls/iopl", "asks for all IO ports", "say(call('iopl', 4))", "EINVAL|ENOSYS"),
        old("calls/ioperm", "asks for one IO port", "say(call('ioperm', 0x10000, 1, 1))", "EINVAL|ENOSYS"),
        old("calls/modify-ldt", "edits its segment table", "say(call('modify_ldt', 0, ctypes.create_string_buffer(64), 64))", "ok|ENOSYS"),
        old("calls/set-thread-area", "sets a thread's segment", "say(call('set_thread_area', 1))", "EFAULT|ENOSYS"),
        call("calls/lookup-dcookie", "asks for a path by a profiler's cookie", "say(call('lookup_dcookie', 0, 0, 0))", "ENOSYS|EINVAL").source(DOCKER),
        call("calls/nfsservctl", "calls what kernels no longer have", "say(call('nfsservctl', 0, 0, 0))", "ENOSYS").source(DOCKER),
        old("calls/create-module", "calls an older way to make a module", "say(call('create_module', 0, 0))", "ENOSYS"),
        old("calls/query-module", "asks for modules the old way", "say(call('query_module', 0, 0, 0, 0, 0))", "ENOSYS"),
        old("calls/get-kernel-syms", "asks for the kernel's symbols the old way", "say(call('get_kernel_syms', 0))", "ENOSYS"),
        old("calls/uselib", "loads a library the old way", "say(call('uselib', b'/no/such'))", "ENOSYS|ENOENT"),
        old("calls/sysctl", "reads kernel settings the old way", "say(call('_sysctl', 0))", "ENOSYS|EFAULT"),
        old("calls/sysfs", "lists the kernel's file systems the old way", "say(call('sysfs', 3))", "ok|ENOSYS"),
        old("calls/ustat", "asks for a file system by its device", "say(call('ustat', 0, ctypes.create_string_buffer(64)))", "EINVAL|ENOSYS"),
        call("calls/migrate-pages", "moves a process's memory between nodes", "say(call('migrate_pages', 0, 0, 0, 0))", "ok|EINVAL|ENOSYS"),
        call("calls/move-pages", "asks where pages lie", "say(call('move_pages', 0, 0, 0, 0, 0, 0))", "ok|EINVAL|ENOSYS").source(DOCKER),
        call("calls/mbind", "binds memory to nodes", "say(call('mbind', 0, 0, 0, 0, 0, 0))", "ok|EINVAL|ENOSYS").source(DOCKER),
        call("calls/set-mempolicy", "sets its memory policy", "say(call('set_mempolicy', 0, 0, 0))", "ok|EINVAL|ENOSYS").source(DOCKER),
        call("calls/get-mempolicy", "reads its memory policy", "say(call('get_mempolicy', 0, 0, 0, 0, 0))", "ok|EINVAL|ENOSYS|EFAULT").source(DOCKER),
        call("calls/memfd-secret", "hides memory from the kernel itself", "say(call('memfd_secret', 0))", "ok|ENOSYS"),
        call(
            "calls/unknown-numbers",
            "calls every number that no kernel has yet",
            r"
            answers = {call(number, 0, 0, 0, 0, 0, 0) for number in range(600, 1024)}
            say(answers.pop() if len(answers) == 1 else sorted(map(str, answers)))
            ",
            "ENOSYS",
        ),
        old("calls/x32", "calls by the numbers of the x32 ABI", "say(call(0x40000000 + 39))", "ok|ENOSYS"),
    ],
};
