//! Calls that would change the host itself, were they allowed, and ways around the filter that refuses them. Their arguments
//! are such that the kernel refuses them too, with another answer.
use super::probe::Stage::{Program, ProgramX86};
use super::probe::{Class, Control, Layer, Probe, probe};

const DOCKER: &str = "Docker's default seccomp profile";
/// As root the kernel itself refuses the arguments.
const fn root(
    id: &'static str,
    tries: &'static str,
    script: &'static str,
    why: &'static str,
    kernel: &'static str,
) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Errno(why, kernel)).source(DOCKER)
}

pub const CLASS: Class = Class {
    name: "the host's kernel",
    probes: &[
        root(
            "kernel/reboot",
            "reboots the host",
            "say(call('reboot', 0, 0, 0, 0))",
            "it would reboot; the magic numbers are wrong",
            "EINVAL",
        ),
        root(
            "kernel/swapon",
            "adds swap",
            "say(call('swapon', b'/no/such/file', 0))",
            "it would swap to a disk; the file is not there",
            "ENOENT|ENOSYS",
        ),
        root(
            "kernel/swapoff",
            "takes swap away",
            "say(call('swapoff', b'/no/such/file'))",
            "it would take memory away; the file is not there",
            "ENOENT|EINVAL|ENOSYS",
        ),
        root(
            "kernel/init-module",
            "loads a kernel module from memory",
            "say(call('init_module', 1, 0, b''))",
            "it would run in the kernel; the module is empty",
            "ENOEXEC|EFAULT|ENOSYS",
        )
        .source("SandboxEscapeBench: SYS_MODULE"),
        root(
            "kernel/finit-module",
            "loads a kernel module from a file",
            "say(call('finit_module', -1, b'', 0))",
            "it would run in the kernel; the file is none",
            "EBADF|ENOSYS",
        )
        .source("SandboxEscapeBench: SYS_MODULE"),
        root(
            "kernel/delete-module",
            "removes a kernel module",
            "say(call('delete_module', b'no_such_module', 0))",
            "it would change the kernel; the module is not there",
            "ENOENT|ENOSYS",
        ),
        root(
            "kernel/kexec-load",
            "replaces the running kernel",
            "say(call('kexec_load', 0, 1 << 20, 0, 0))",
            "it would replace the kernel; there are too many segments",
            "EINVAL|ENOSYS",
        ),
        root(
            "kernel/kexec-file-load",
            "replaces the running kernel by a file",
            "say(call('kexec_file_load', -1, -1, 0, 0, 0xff00))",
            "it would replace the kernel; the flags are unknown",
            "EINVAL|EBADF|ENOSYS",
        ),
        root(
            "kernel/acct",
            "turns on process accounting into a file",
            "say(call('acct', 1))",
            "it would account for all processes; the pointer is bad",
            "EFAULT|ENOSYS",
        ),
        probe(
            "kernel/syslog-size",
            "asks for the kernel's log",
            Program("say(call('syslog', 10, 0, 0))"),
            (Layer::Seccomp, "EPERM"),
            Control::AsRoot("ok"),
        )
        .source(DOCKER),
        probe(
            "kernel/syslog-read",
            "reads the kernel's log, with its addresses",
            Program("say(call('syslog', 3, ctypes.create_string_buffer(4096), 4096))"),
            (Layer::Seccomp, "EPERM"),
            Control::AsRoot("ok"),
        )
        .source(DOCKER),
        probe(
            "kernel/vhangup",
            "hangs up the operator's terminal",
            Program(
                r"
            if os.fork():
                os.wait()
                os._exit(0)
            os.setsid()
            say(call('vhangup'))
            ",
            ),
            (Layer::Seccomp, "EPERM"),
            Control::AsRoot("ok"),
        )
        .source(DOCKER),
        probe(
            "kernel/sethostname",
            "renames the machine",
            Program("say(call('sethostname', b'owned', 5))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp, Layer::Privileges], "ok"),
        ),
        probe(
            "kernel/setdomainname",
            "renames the machine's domain",
            Program("say(call('setdomainname', b'owned', 5))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp, Layer::Privileges], "ok"),
        ),
        probe(
            "kernel/i386-calls",
            "makes its calls by the 32-bit gate, whose numbers mean other calls",
            ProgramX86(
                r"
            import mmap
            code = mmap.mmap(-1, 4096, prot=7)
            code.write(bytes.fromhex('b814000000cd80c3'))
            gate = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
            ended = child(lambda: 0 if gate() > 0 else 1)
            say('ok' if ended == 0 else f'signal {-ended}')
            ",
            ),
            (Layer::Seccomp, "signal 31"),
            Control::Without(&[Layer::Seccomp], "ok|signal 11"),
        ),
        probe(
            "kernel/own-filter-allows",
            "puts a filter of its own on top that allows the call",
            Program(
                r"
            own_filter(0x7fff0000)
            say(call('ptrace', 0, 0, 0, 0))
            ",
            ),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok"),
        ),
        probe(
            "kernel/own-filter-traces",
            "puts a filter on top that hands the call to a tracer",
            Program(
                r"
            own_filter(0x7ff00000)
            say(call('ptrace', 0, 0, 0, 0))
            ",
            ),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ENOSYS"),
        ),
    ],
};
