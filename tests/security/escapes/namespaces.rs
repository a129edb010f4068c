//! New namespaces and other processes' namespaces: the first step of most kernel exploits of an ordinary user.
use super::probe::Stage::{Capability, Program};
use super::probe::{Attempt, Class, Control, Layer, Probe, Why, probe};
use super::trial::{on_host, run};

const USERNS: &str = "CDK abuse-unpriv-userns; the first step of CVE-2022-0185, CVE-2023-32233, CVE-2024-1086";
const BARE: &[Layer] = &[Layer::Seccomp, Layer::Privileges];

/// `unshare` of one flag. All but a user namespace need a capability too.
const fn unshare(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Without(BARE, "ok")).source(USERNS)
}

/// `clone` with one flag.
const fn clone(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Without(BARE, "ok"))
}

const fn of_init(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Jail, "EACCES"), Control::Without(&[Layer::Jail], "ok"))
}

pub const CLASS: Class = Class {
    name: "namespaces",
    probes: &[
        probe(
            "namespaces/unshare-user",
            "makes a user namespace, to be root in it",
            Program("say(call('unshare', 0x10000000))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok"),
        )
        .source(USERNS),
        probe(
            "namespaces/unshare-all",
            "makes a user namespace and all others at once",
            Program("say(call('unshare', 0x7e020000))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok"),
        )
        .source(USERNS),
        unshare("namespaces/unshare-mount", "makes a mount namespace", "say(call('unshare', 0x00020000))"),
        unshare("namespaces/unshare-pid", "makes a pid namespace", "say(call('unshare', 0x20000000))"),
        unshare("namespaces/unshare-net", "makes a net namespace", "say(call('unshare', 0x40000000))"),
        unshare("namespaces/unshare-ipc", "makes an ipc namespace", "say(call('unshare', 0x08000000))"),
        unshare("namespaces/unshare-uts", "makes a uts namespace", "say(call('unshare', 0x04000000))"),
        unshare("namespaces/unshare-cgroup", "makes a cgroup namespace", "say(call('unshare', 0x02000000))")
            .source("CVE-2022-0492"),
        unshare("namespaces/unshare-time", "makes a time namespace", "say(call('unshare', 0x00000080))"),
        unshare(
            "namespaces/unshare-fs",
            "stops sharing its root and working folder",
            "say(call('unshare', 0x00000200))",
        ),
        probe(
            "namespaces/clone-user",
            "forks into a user namespace",
            Program(
                r"
            pid = call('clone', 0x10000011, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
            ),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok"),
        ),
        probe(
            "namespaces/clone-user-high-bits",
            "forks into a user namespace with bits above that the kernel ignores",
            Program(
                r"
            pid = call('clone', 0x10000011 | 1 << 40, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
            ),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok"),
        )
        .source("the way of CVE-2019-10063"),
        clone(
            "namespaces/clone-mount",
            "forks into a mount namespace",
            r"
            pid = call('clone', 0x00020011, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
        ),
        clone(
            "namespaces/clone-pid",
            "forks into a pid namespace",
            r"
            pid = call('clone', 0x20000011, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
        ),
        clone(
            "namespaces/clone-net",
            "forks into a net namespace",
            r"
            pid = call('clone', 0x40000011, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
        ),
        clone(
            "namespaces/clone-ipc",
            "forks into an ipc namespace",
            r"
            pid = call('clone', 0x08000011, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
        ),
        clone(
            "namespaces/clone-uts",
            "forks into a uts namespace",
            r"
            pid = call('clone', 0x04000011, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
        ),
        clone(
            "namespaces/clone-cgroup",
            "forks into a cgroup namespace",
            r"
            pid = call('clone', 0x02000011, 0, 0, 0, 0)
            if pid == 0: os._exit(0)
            say(pid)
            ",
        ),
        probe(
            "namespaces/clone3-user",
            "forks into a user namespace by the newer call, whose flags no filter sees",
            Program(
                r"
            arguments = (ctypes.c_ulonglong * 11)(0x10000000, 0, 0, 0, 17)
            pid = call('clone3', arguments, 88)
            if pid == 0: os._exit(0)
            say(pid)
            ",
            ),
            (Layer::Seccomp, "ENOSYS"),
            Control::Without(&[Layer::Seccomp], "ok"),
        )
        .source("CVE-2021-41133"),
        probe(
            "namespaces/clone3-time",
            "forks into a time namespace by the newer call",
            Program(
                r"
            arguments = (ctypes.c_ulonglong * 11)(0x10000080, 0, 0, 0, 17)
            pid = call('clone3', arguments, 88)
            if pid == 0: os._exit(0)
            say(pid)
            ",
            ),
            (Layer::Seccomp, "ENOSYS"),
            Control::Without(&[Layer::Seccomp], "ok"),
        ),
        probe(
            "namespaces/clone3-cgroup",
            "forks into another control group",
            Program(
                r"
            arguments = (ctypes.c_ulonglong * 11)(0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
            pid = call('clone3', arguments, 88)
            if pid == 0: os._exit(0)
            say(pid)
            ",
            ),
            (Layer::Seccomp, "ENOSYS"),
            Control::Without(&[Layer::Seccomp], "EBADF|EINVAL"),
        ),
        probe(
            "namespaces/setns-own",
            "enters a namespace by its file",
            Program("say(call('setns', os.open('/proc/self/ns/uts', os.O_RDONLY), 0))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(BARE, "ok"),
        )
        .source("CVE-2021-41133"),
        probe(
            "namespaces/setns-pidfd",
            "enters all namespaces of a process at once",
            Program("say(call('setns', os.pidfd_open(os.getpid()), 0x4c000000))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(BARE, "ok"),
        ),
        of_init(
            "namespaces/init-mount",
            "opens the mount namespace of the jail's first process",
            "say(attempt(os.open, '/proc/1/ns/mnt', os.O_RDONLY))",
        ),
        of_init(
            "namespaces/init-user",
            "opens the user namespace of the jail's first process",
            "say(attempt(os.open, '/proc/1/ns/user', os.O_RDONLY))",
        ),
        probe(
            "namespaces/parent-user",
            "asks the kernel for the user namespace above its own",
            Program(
                r"
            import fcntl
            file = os.open('/proc/self/ns/user', os.O_RDONLY)
            say(attempt(fcntl.ioctl, file, 0xb702))
            ",
            ),
            (Layer::Namespaces, "EPERM"),
            Control::Beside(
                Why::Always,
                "the owner of its net namespace, which is its own user namespace",
                Program(
                    r"
            import fcntl
            file = os.open('/proc/self/ns/net', os.O_RDONLY)
            say(attempt(fcntl.ioctl, file, 0xb701))
            ",
                ),
                "ok",
            ),
        ),
        probe(
            "namespaces/uid-map",
            "maps host ids into its user namespace",
            Program("say(attempt(os.open, '/proc/self/uid_map', os.O_WRONLY))"),
            (Layer::View, "EROFS|EACCES"),
            Control::Outside("ok"),
        )
        .source("CVE-2018-18955"),
        probe(
            "namespaces/setgroups",
            "allows itself other groups",
            Program("say(attempt(os.open, '/proc/self/setgroups', os.O_WRONLY))"),
            (Layer::View, "EROFS|EACCES"),
            Control::AsRoot("ok"),
        )
        .source("CVE-2014-8989"),
        probe(
            "namespaces/host-ipc",
            "asks for a System V segment that somebody on the host has made for everybody",
            Capability(|attempt| with_segment(attempt, run)),
            (Layer::Namespaces, "ENOENT"),
            Control::Beside(
                Why::Always,
                "somebody else on the host asks for it",
                Capability(|attempt| with_segment(attempt, |attempt, script| on_host(attempt.ground, script))),
                "ok",
            ),
        ),
        probe(
            "namespaces/host-name",
            "learns the host's name",
            Program(
                r"
            names = open('/proc/sys/kernel/hostname').read().strip(), os.uname().nodename
            say('hidden' if set(names) == {'tenure'} else 'shown')
            ",
            ),
            (Layer::Namespaces, "hidden"),
            Control::Outside("shown"),
        ),
    ],
};

/// What `asks` gets for a segment of the host's.
fn with_segment(attempt: &mut Attempt<'_>, asks: fn(&mut Attempt<'_>, &str) -> String) -> String {
    let key = 0x7e4e_0000 | (std::process::id() & 0xffff);
    let made = on_host(
        attempt.ground,
        &format!("say('made' if isinstance(call('shmget', {key}, 4096, 0o1666), int) else 'not')"),
    );
    assert_eq!(made, "made");
    let said = asks(attempt, &format!("say(call('shmget', {key}, 0, 0))"));
    let gone = format!("say('gone' if _libc.shmctl(call('shmget', {key}, 0, 0), 0, None) == 0 else 'there')");
    assert_eq!(on_host(attempt.ground, &gone), "gone");
    said
}
