//! Mounts, roots and the way back to the old one.
use super::probe::Stage::Program;
use super::probe::{Class, Control, Layer, Probe, probe};

const DOCKER: &str = "Docker's default seccomp profile";
/// What holds mounts, in the order in which it answers.
const BARE: &[Layer] = &[Layer::Seccomp, Layer::Privileges, Layer::Landlock];

/// Refused by the filter. Behind it stand the loss of capabilities and Landlock.
const fn mount(id: &'static str, tries: &'static str, script: &'static str, bare: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Without(BARE, bare)).source(DOCKER)
}

pub const CLASS: Class = Class {
    name: "mounts and roots",
    probes: &[
        mount(
            "mounts/tmpfs",
            "mounts a file system of its own",
            "say(call('mount', b'none', b'/tmp', b'tmpfs', 0, 0))",
            "ok",
        ),
        mount(
            "mounts/bind",
            "binds one folder over another",
            "say(call('mount', b'/usr', b'/mnt', 0, 0x1000, 0))",
            "ok",
        ),
        mount(
            "mounts/remount-usr",
            "makes the host's programs writable",
            "say(call('mount', 0, b'/usr', 0, 0x1020, 0))",
            "ok|EINVAL",
        )
        .source("CVE-2014-5206, CVE-2014-5207"),
        mount("mounts/remount-proc", "makes /proc writable", "say(call('mount', 0, b'/proc', 0, 0x1020, 0))", "ok"),
        mount(
            "mounts/shared",
            "makes its mounts spread to the host",
            "say(call('mount', 0, b'/', 0, 0x100000 | 0x4000, 0))",
            "ok|EINVAL",
        ),
        mount(
            "mounts/proc",
            "mounts a /proc without the flags",
            "say(call('mount', b'proc', b'/mnt', b'proc', 0, 0))",
            "ok",
        )
        .source("CDK mount-procfs"),
        mount(
            "mounts/cgroup",
            "mounts a control group file system",
            "say(call('mount', b'none', b'/mnt', b'cgroup2', 0, 0))",
            "ok|EBUSY|EINVAL|ENODEV",
        )
        .source("CVE-2022-0492; CDK mount-cgroup; SandboxEscapeBench: release_agent"),
        mount(
            "mounts/overlay",
            "lays a writable layer over the host's programs",
            r"
            os.makedirs('/tmp/u'); os.makedirs('/tmp/w')
            say(call('mount', b'none', b'/mnt', b'overlay', 0, b'lowerdir=/usr,upperdir=/tmp/u,workdir=/tmp/w'))
            ",
            "ok|EINVAL|ENODEV",
        )
        .source("CVE-2021-3493, CVE-2023-0386, CVE-2015-8660"),
        mount("mounts/umount-proc", "unmounts /proc", "say(call('umount2', b'/proc', 2))", "ok"),
        mount(
            "mounts/umount-workspace",
            "unmounts the work folder, to see what lies below",
            "say(call('umount2', b'/workspace', 2))",
            "ok",
        ),
        mount("mounts/pivot-root", "pivots into another root", "say(call('pivot_root', b'.', b'.'))", "ok|EINVAL"),
        probe(
            "mounts/chroot",
            "changes its root, the first half of the old way out of one",
            Program("say(call('chroot', b'/tmp'))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp, Layer::Privileges], "ok"),
        )
        .source("the chroot escape of every list"),
        mount("mounts/open-tree", "copies a mount tree", "say(call('open_tree', -100, b'/', 1))", "ok")
            .source("CVE-2021-41133"),
        probe(
            "mounts/open-tree-plain",
            "opens a mount by the newer call",
            Program("say(call('open_tree', -100, b'/', 0))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok"),
        )
        .source("CVE-2021-41133"),
        mount("mounts/move-mount", "moves a mount", "say(call('move_mount', -1, b'', -1, b'', 4))", "EBADF|ENOENT")
            .source("CVE-2021-41133"),
        mount("mounts/fsopen", "opens a file system's context", "say(call('fsopen', b'tmpfs', 0))", "ok")
            .source("CVE-2022-0185"),
        mount(
            "mounts/fsconfig",
            "configures a file system",
            "say(call('fsconfig', -1, 1, b'a', b'b', 0))",
            "EBADF|EINVAL",
        )
        .source("CVE-2022-0185"),
        mount("mounts/fsmount", "mounts from a context", "say(call('fsmount', -1, 0, 0))", "EBADF|EINVAL")
            .source("CVE-2021-41133"),
        mount(
            "mounts/fspick",
            "picks up a mounted file system's context",
            "say(call('fspick', -100, b'/tmp', 0))",
            "ok",
        )
        .source("CVE-2021-41133"),
        mount(
            "mounts/mount-setattr",
            "takes flags off a mount",
            "say(call('mount_setattr', -1, b'', 0x1000, ctypes.create_string_buffer(32), 32))",
            "ok|EBADF",
        )
        .source("CVE-2021-41133"),
        mount(
            "mounts/statmount",
            "reads all about a mount",
            "say(call('statmount', 0, 0, 0, 0))",
            "EFAULT|EINVAL|E2BIG|ENOSYS",
        ),
        mount("mounts/listmount", "lists mounts", "say(call('listmount', 0, 0, 0, 0))", "EFAULT|EINVAL|E2BIG|ENOSYS"),
        mount(
            "mounts/open-tree-attr",
            "copies a mount tree with other flags",
            "say(call('open_tree_attr', -1, b'', 0x1000, 0, 0))",
            "EBADF|EINVAL|ENOSYS",
        ),
        probe(
            "mounts/dots",
            "goes up from its root",
            Program("say(find('/' + '../' * 40 + E['HOST_FILE']))"),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "read"),
        ),
        probe(
            "mounts/dots-from-descriptor",
            "goes up from a descriptor of its root",
            Program(
                r"
                os.chdir(os.open('/', os.O_PATH))
                say(find('../' * 40 + E['HOST_FILE'][1:]))
                ",
            ),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "read"),
        ),
        probe(
            "mounts/proc-root",
            "goes through the link to its own root",
            Program("say(find('/proc/self/root' + E['HOST_FILE']))"),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "read"),
        ),
        probe(
            "mounts/proc-cwd",
            "goes up through the link to its working folder",
            Program("say(find('/proc/self/cwd/../..' + E['HOST_FILE']))"),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "read"),
        ),
        probe(
            "mounts/removed-folder",
            "goes up from a folder that was removed under it",
            Program(
                r"
                os.makedirs('a/b'); os.chdir('a/b'); os.rmdir('../b'); os.rmdir('/workspace/a')
                say(find('../' * 40 + E['HOST_FILE'][1:]))
                ",
            ),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "read"),
        ),
        probe(
            "mounts/old-root",
            "looks for the host's root among its mounts",
            Program(
                r"
                rows = [line.split() for line in open('/proc/self/mountinfo')]
                say('shown' if any(find(row[4] + E['HOST_FILE']) == 'read' for row in rows) else 'hidden')
                ",
            ),
            (Layer::View, "hidden"),
            Control::Without(&[Layer::View], "shown"),
        ),
    ],
};
