//! Files of the host: the daemon's, another agent's, everybody's.
use super::probe::Stage::Program;
use super::probe::{Class, Control, Layer, Needs, Probe, Why, probe};

/// Hidden by the jail's own tree; with the host's instead, `shown`.
const fn hidden(
    id: &'static str,
    tries: &'static str,
    script: &'static str,
    held: &'static str,
    shown: &'static str,
) -> Probe {
    probe(id, tries, Program(script), (Layer::View, held), Control::Without(&[Layer::View], shown))
}

pub const CLASS: Class = Class {
    name: "files of the host",
    probes: &[
        hidden(
            "files/secret",
            "reads a file that everybody on the host may read",
            "say(find(E['HOST_FILE']))",
            "ENOENT",
            "read",
        )
        .source("SandboxBench: discovery"),
        probe(
            "files/secret-shown",
            "reads the same where no mount shows it",
            Program("say(find(E['HOST_FILE']))"),
            (Layer::View, "ENOENT"),
            Control::WithMount("read"),
        ),
        hidden(
            "files/other-agent",
            "reads another agent's work folder",
            "say(find(E['OTHER_WORK'] + '/secret'))",
            "ENOENT",
            "read",
        )
        .source("SandboxBench: lateral movement"),
        hidden(
            "files/other-agent-list",
            "lists another agent's work folder",
            "say(attempt(os.listdir, E['OTHER_WORK']))",
            "ENOENT",
            "ok",
        ),
        hidden(
            "files/other-agent-write",
            "writes into another agent's work folder",
            "say(overwrite(E['OTHER_WORK'] + '/new', os.O_WRONLY | os.O_CREAT))",
            "ENOENT",
            "EACCES|EROFS",
        ),
        hidden(
            "files/ledger",
            "reads the daemon's ledger",
            "say(find(E['HOST_DATA'] + '/ledger.db'))",
            "ENOENT",
            "EACCES|read",
        )
        .source("SandboxBench: discovery"),
        hidden(
            "files/provider-key",
            "reads the key of the model's provider",
            "say(find(E['HOST_DATA'] + '/provider.key'))",
            "ENOENT",
            "EACCES|read",
        ),
        hidden(
            "files/daemon-socket",
            "speaks to the daemon over its socket",
            r"
            import socket
            say(attempt(socket.socket(socket.AF_UNIX).connect, E['HOST_SOCKET']))
            ",
            "ENOENT",
            "ok",
        )
        .source("CDK docker-sock-pwn; SandboxEscapeBench: Docker socket"),
        hidden("files/shadow", "reads the host's passwords", "say(find('/etc/shadow'))", "ENOENT", "EACCES"),
        probe(
            "files/users",
            "learns the host's users",
            Program("say('shown' if 'root:' in open('/etc/passwd').read() else 'hidden')"),
            (Layer::View, "hidden"),
            Control::Without(&[Layer::View], "shown"),
        ),
        hidden("files/root-home", "lists root's home", "say(attempt(os.listdir, '/root'))", "ENOENT", "EACCES|ok"),
        hidden("files/homes", "lists people's homes", "say(attempt(os.listdir, '/home'))", "ENOENT", "ok"),
        hidden("files/sys", "reads the kernel's objects in /sys", "say(attempt(os.listdir, '/sys'))", "ENOENT", "ok"),
        hidden("files/boot", "reads the kernel's image", "say(attempt(os.listdir, '/boot'))", "ENOENT", "ok|EACCES"),
        hidden(
            "files/var-lib",
            "reads what services of the host store",
            "say(attempt(os.listdir, '/var/lib'))",
            "ENOENT",
            "ok",
        ),
        probe(
            "files/run",
            "looks for sockets of the host's services in /run",
            Program("say('own' if os.listdir('/run') == ['tenure'] else 'shown')"),
            (Layer::View, "own"),
            Control::Without(&[Layer::View], "shown"),
        )
        .source("CDK docker-sock-check"),
        probe(
            "files/tmp",
            "reads what others leave in /tmp",
            Program("say('own' if os.listdir('/tmp') + os.listdir('/dev/shm') == [] else 'shown')"),
            (Layer::View, "own"),
            Control::Without(&[Layer::View], "shown"),
        ),
        hidden(
            "files/by-link",
            "reads through a link in its work folder",
            r"
            os.symlink(E['HOST_FILE'], 'link')
            say(find('link'))
            ",
            "ENOENT",
            "read",
        )
        .source("CVE-2026-39861"),
        hidden(
            "files/by-linked-folder",
            "reads through a link to the root",
            r"
            os.symlink('/', 'root')
            say(find('root' + E['HOST_FILE']))
            ",
            "ENOENT",
            "read",
        ),
        probe(
            "files/hard-link",
            "links one of the host's programs into its work folder, to have it writable",
            Program("say(attempt(os.link, '/usr/bin/env', '/workspace/env'))"),
            (Layer::View, "EXDEV|EACCES"),
            Control::Beside(
                Why::Always,
                "one of its own files",
                Program("open('a', 'w')\nsay(attempt(os.link, 'a', 'b'))"),
                "ok",
            ),
        ),
        hidden(
            "files/etc-other",
            "reads settings in /etc that are not listed",
            "say(attempt(open, '/etc/login.defs'))",
            "ENOENT",
            "ok",
        ),
        hidden(
            "files/write-host",
            "writes where everybody on the host may write",
            "say(overwrite(E['HOST_FOLDER'] + '/new', os.O_WRONLY | os.O_CREAT))",
            "ENOENT",
            "EROFS|EACCES",
        ),
        probe(
            "files/write-shown",
            "writes to what a mount shows read-only",
            Program("say(overwrite('/mnt/shown/outside/secret'))"),
            (Layer::View, "EROFS"),
            Control::Looser(|spec| spec.mounts[0].read_only = false, "ok"),
        )
        .shown(),
        hidden(
            "files/cgroups",
            "looks for control groups to write to",
            "say(attempt(os.listdir, '/sys/fs/cgroup'))",
            "ENOENT",
            "ok",
        ),
        probe(
            "files/other-uid",
            "opens another agent's file that a mistake shows it",
            Program("say(find(E['HOST_DATA'] + '/provider.key'))"),
            (Layer::Identity, "EACCES"),
            Control::AsRoot("read"),
        )
        .shown()
        .needs(Needs::Root),
    ],
};
