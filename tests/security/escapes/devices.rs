//! Device nodes, terminals and their control calls.
use super::probe::Stage::{Capability, Program};
use super::probe::{Class, Control, Layer, Needs, Probe, Why, probe};
use super::trial::run;

/// Not among the five devices of a jail. As root on the host it opens.
const fn absent(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::View, "ENOENT"), Control::AsRoot("ok"))
}

/// A control call that the filter refuses on any descriptor.
const fn control(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Without(&[Layer::Seccomp], "ENOTTY"))
}

pub const CLASS: Class = Class {
    name: "devices",
    probes: &[
        probe(
            "devices/mknod-memory",
            "makes a node for the host's memory",
            Program("say(attempt(os.mknod, 'node', 0o20600, os.makedev(1, 1)))"),
            (Layer::Landlock, "EACCES|EPERM"),
            Control::AsRoot("ok"),
        )
        .source("CDK mount-disk"),
        probe(
            "devices/mknod-disk",
            "makes a node for the host's disk",
            Program("say(attempt(os.mknod, 'node', 0o60600, os.stat('/usr').st_dev))"),
            (Layer::Landlock, "EACCES|EPERM"),
            Control::AsRoot("ok"),
        )
        .source("CDK mount-disk; SandboxEscapeBench: privileged"),
        probe(
            "devices/mknod-nothing",
            "makes the one device node that any user may make, an overlay's mark of deletion",
            Program("say(attempt(os.mknod, 'node', 0o20600, os.makedev(0, 0)))"),
            (Layer::Landlock, "EACCES"),
            Control::Without(&[Layer::Landlock], "ok"),
        )
        .needs(Needs::Landlock(1)),
        probe(
            "devices/planted",
            "opens a device node that somebody left in its work folder",
            Capability(|attempt| {
                plant(&attempt.spec.work_folder.join("zero"));
                run(attempt, "say(attempt(os.open, '/workspace/zero', os.O_RDONLY))")
            }),
            (Layer::View, "EACCES"),
            Control::Without(&[Layer::View], "ok"),
        )
        .needs(Needs::Root),
        probe(
            "devices/listed",
            "looks for a device that is not harmless",
            Program(
                r"
                known = {'fd', 'full', 'null', 'ptmx', 'pts', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'tty', 'urandom', 'zero'}
                say('known' if set(os.listdir('/dev')) <= known else 'more')
                ",
            ),
            (Layer::View, "known"),
            Control::Without(&[Layer::View], "more"),
        ),
        absent(
            "devices/kmsg",
            "opens the kernel's log",
            "say(attempt(os.open, '/dev/kmsg', os.O_RDONLY | os.O_NONBLOCK))",
        ),
        probe(
            "devices/disk",
            "looks for the node of the disk that the host's programs lie on",
            Program(
                r"
                device = os.stat('/usr').st_dev
                path = f'/dev/block/{os.major(device)}:{os.minor(device)}'
                rows = [line.split() for line in open('/proc/partitions')][2:]
                names = [row[3] for row in rows if (int(row[0]), int(row[1])) == (os.major(device), os.minor(device))]
                say(attempt(os.stat, '/dev/' + names[0] if names else path))
                ",
            ),
            (Layer::View, "ENOENT"),
            Control::Outside("ok"),
        )
        .source("CDK mount-disk"),
        probe(
            "devices/pts",
            "opens a terminal of the host's, to type into it",
            Program("say(attempt(os.open, '/dev/pts/' + E['HOST_PTS'], os.O_RDWR | os.O_NOCTTY))"),
            (Layer::View, "ENOENT"),
            Control::Outside("ok"),
        ),
        probe(
            "devices/ptmx",
            "makes terminals without end, of which the host has so many",
            Program(
                r"
                while True:
                    result = attempt(os.open, '/dev/ptmx', os.O_RDWR | os.O_NOCTTY)
                    if result != 'ok': break
                say(result)
                ",
            ),
            (Layer::View, "ENOSPC"),
            Control::Beside(
                Why::Harm,
                "a single one",
                Program("say(attempt(os.open, '/dev/ptmx', os.O_RDWR | os.O_NOCTTY))"),
                "ok",
            ),
        ),
        probe(
            "devices/tty",
            "opens the operator's terminal",
            Program("say(attempt(os.open, '/dev/tty', os.O_RDWR))"),
            (Layer::Jail, "ENXIO"),
            Control::Beside(
                Why::Always,
                "its own, in a session that has one",
                Program(
                    r"
                import pty
                child, terminal = pty.fork()
                if child == 0:
                    os._exit(0 if attempt(os.open, '/dev/tty', os.O_RDWR) == 'ok' else 1)
                say('ok' if os.waitpid(child, 0)[1] == 0 else 'none')
                ",
                ),
                "ok",
            ),
        ),
        probe(
            "devices/line-discipline",
            "has the kernel load another discipline for a terminal of its own",
            Program("say(call('ioctl', os.openpty()[1], 0x5423, ctypes.c_int(0)))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok"),
        )
        .source("CVE-2017-2636, CVE-2023-6546"),
        control("devices/tiocsti", "types into its terminal", "say(call('ioctl', 0, 0x5412, b'x'))")
            .source("CVE-2017-5226"),
        control(
            "devices/tiocsti-high-bits",
            "the same with bits that the kernel ignores",
            "say(call('ioctl', 0, 0x5412 | 1 << 32, b'x'))",
        )
        .source("CVE-2019-7303, CVE-2019-10063"),
        control("devices/tioclinux", "pastes into a console", "say(call('ioctl', 0, 0x541c, b'\\x03'))")
            .source("CVE-2023-28100"),
        probe(
            "devices/immutable",
            "makes a file that cannot be removed",
            Program(
                r"
                import fcntl
                file = os.open('kept', os.O_RDWR | os.O_CREAT)
                flags = fcntl.ioctl(file, 0x80086601, bytes(8))
                result = attempt(fcntl.ioctl, file, 0x40086602, bytes([flags[0] | 0x10]) + flags[1:])
                attempt(fcntl.ioctl, file, 0x40086602, flags)
                say(result)
                ",
            ),
            (Layer::Privileges, "EPERM"),
            Control::AsRoot("ok"),
        ),
        probe(
            "devices/entropy",
            "tells the kernel how random it is",
            Program(
                "import fcntl\nsay(attempt(fcntl.ioctl, os.open('/dev/urandom', os.O_WRONLY), 0x40045201, bytes(4)))",
            ),
            (Layer::Privileges, "EPERM"),
            Control::AsRoot("ok"),
        ),
    ],
};

/// A node for /dev/zero, which any user may read.
fn plant(path: &std::path::Path) {
    let mode = rustix::fs::Mode::from_bits_truncate(0o666);
    let device = rustix::fs::makedev(1, 5);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::CharacterDevice, mode, device).expect("a node");
    rustix::fs::chmod(path, mode).expect("a mode");
}
