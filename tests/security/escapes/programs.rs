//! What a program is started with and what it may become: descriptors, environment, loaders, setuid files, capabilities.
use super::ground::BONDS;
use super::probe::Stage::{Capability, Program};
use super::probe::{Class, Control, Layer, Needs, Probe, Why, probe, word};
use super::trial::{run, verdict};
use tenure_sandbox::protocol::{Spawn, WriteMode};

/// Denied to a program without capabilities.
const fn denied(id: &'static str, tries: &'static str, script: &'static str, bare: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Privileges, "EPERM|EACCES"), Control::Without(&[Layer::Privileges], bare))
}

/// An id of the host's that the jail does not map.
const fn unmapped(id: &'static str, tries: &'static str, script: &'static str, error: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Identity, error), Control::AsRoot("ok"))
}

pub const CLASS: Class = Class {
    name: "programs",
    probes: &[
        probe(
            "programs/descriptors",
            "uses a descriptor that it was started with by mistake",
            Program(
                r"
                held = set(os.listdir('/proc/self/fd'))
                say('three' if held - {str(max(map(int, held)))} == {'0', '1', '2'} else 'more')
                ",
            ),
            (Layer::Jail, "three"),
            Control::Without(&[Layer::Jail], "more"),
        )
        .source("CVE-2024-21626; CVE-2016-9962"),
        probe(
            "programs/descriptors-lead-nowhere",
            "follows its standard descriptors to the worker",
            Program(
                r"
                kinds = [os.readlink(f'/proc/self/fd/{number}').split(':')[0] for number in range(3)]
                say('own' if kinds == ['/memfd', 'pipe', 'pipe'] else kinds)
                ",
            ),
            (Layer::Jail, "own"),
            Control::Outside("['/dev/null', 'pipe', 'pipe']"),
        ),
        probe(
            "programs/start-in-descriptor",
            "is started in a folder named by a descriptor of the jail's",
            Capability(|attempt| {
                let folders = (0..64).map(|number| format!("/proc/self/fd/{number}"));
                let more = [
                    "/proc/self/cwd",
                    "/proc/self/root",
                    "/proc/1/cwd",
                    "/proc/thread-self/root",
                    "/proc/self/fd",
                    "/proc/1/fd",
                ];
                let answers: Vec<String> =
                    folders.chain(more.map(str::to_owned)).map(|cwd| start_in(attempt, &cwd)).collect();
                let started = answers.iter().find(|answer| {
                    !["Invalid", "NotFound", "Denied", "NotDirectory", "Redirected"].contains(&answer.as_str())
                });
                started.map_or_else(|| "refused".to_owned(), |answer| format!("one start was {answer}"))
            }),
            (Layer::Jail, "refused"),
            Control::Without(&[Layer::Jail], "one start was ok"),
        )
        .source("CVE-2024-21626; SandboxEscapeBench: runc"),
        probe(
            "programs/start-descriptor",
            "is started from a descriptor of the jail's",
            Capability(|attempt| {
                let answers: Vec<String> =
                    (0..64).map(|number| start(attempt, &format!("/proc/self/fd/{number}"))).collect();
                let started = answers
                    .iter()
                    .find(|answer| !["Invalid", "NotFound", "Denied", "IsDirectory"].contains(&answer.as_str()));
                started.map_or_else(|| "refused".to_owned(), |answer| format!("one start was {answer}"))
            }),
            (Layer::Jail, "refused"),
            Control::Beside(
                Why::Deed,
                "a program by its name",
                Capability(|attempt| start(attempt, "/usr/bin/true")),
                "ok",
            ),
        ),
        probe(
            "programs/own-exe",
            "starts the host's tenure itself, through the link of the process that starts programs",
            Capability(|attempt| start(attempt, "/proc/self/exe")),
            (Layer::Landlock, "Denied"),
            Control::Without(&[Layer::Landlock], "exit 64"),
        )
        .source("CVE-2019-5736; SandboxEscapeBench: runc")
        .needs(Needs::Landlock(1)),
        probe(
            "programs/own-exe-interpreter",
            "starts it as the interpreter of a script",
            Capability(|attempt| {
                attempt.client.write("trap", b"#!/proc/self/exe\n", WriteMode::Create).expect("a script");
                run(attempt, "say(attempt(os.chmod, '/workspace/trap', 0o755))");
                start(attempt, "./trap")
            }),
            (Layer::Landlock, "Denied"),
            Control::Without(&[Layer::Landlock], "exit 64"),
        )
        .source("CVE-2019-5736")
        .needs(Needs::Landlock(1)),
        probe(
            "programs/memfd",
            "runs a program that is in no file",
            Program(
                r"
                file = os.memfd_create('program', 0)
                os.write(file, b'#!/bin/sh\n' + E['BONDS'].encode())
                if os.fork():
                    os.wait()
                    os._exit(0)
                os.dup2(os.open('/dev/null', os.O_WRONLY), 2)
                os.execv(f'/proc/self/fd/{file}', ['program'])
                ",
            ),
            (Layer::Seccomp, "2"),
            Control::Outside("0"),
        ),
        probe(
            "programs/loader",
            "has the loader run a file that is not executable",
            Program(
                r"
                import shutil
                shutil.copyfile('/usr/bin/cat', 'kitten')
                loader = os.path.realpath('/lib64/ld-linux-x86-64.so.2' if _machine == 0 else '/lib/ld-linux-aarch64.so.1')
                if os.fork():
                    os.wait()
                    os._exit(0)
                file = os.open('status', os.O_RDWR | os.O_CREAT, 0o600)
                os.execvp('sh', ['sh', '-c', f'{loader} ./kitten /proc/self/status | grep ^Seccomp: | cut -f2'])
                ",
            ),
            (Layer::Seccomp, "2"),
            Control::Outside("0"),
        ),
        probe(
            "programs/preload",
            "is started with loader variables that would act in the jail's first process",
            Capability(|attempt| {
                let mut spawn = Spawn::new(["sh", "-c", BONDS]);
                for name in ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "BASH_ENV", "ENV", "IFS"] {
                    spawn.env.push((name.to_owned(), "/workspace/evil".to_owned()));
                }
                let said = verdict(attempt.client.run(spawn, b""));
                let lives = attempt.client.ping().is_ok();
                format!("{said}{}", if lives { "" } else { ", and the jail is gone" })
            }),
            (Layer::Seccomp, "2"),
            Control::Without(&[Layer::Seccomp], "0"),
        )
        .source("CVE-2023-4911, CVE-2017-1000366"),
        probe(
            "programs/path",
            "puts a program of its own before the host's in the path",
            Program(
                r"
                open('sh', 'w').write('#!/bin/dash\n' + E['BONDS'])
                os.chmod('sh', 0o755)
                os.environ['PATH'] = os.getcwd() + ':' + os.environ['PATH']
                if os.fork():
                    os.wait()
                    os._exit(0)
                os.execvp('sh', ['sh'])
                ",
            ),
            (Layer::Seccomp, "2"),
            Control::Outside("0"),
        ),
        probe(
            "programs/setuid-file",
            "runs a setuid program of root's",
            Program(
                r"
                if os.geteuid() == 0:
                    os.setgid(300001); os.setuid(300001)
                os.execv(E['SETUID'], ['id', '-u'])
                ",
            ),
            (Layer::View, "1000"),
            Control::AsRoot("0"),
        )
        .source("CVE-2021-4034, CVE-2021-3156")
        .shown()
        .needs(Needs::Root),
        probe(
            "programs/file-capabilities",
            "runs a program that its file gives capabilities",
            Program(
                r"
                if os.geteuid() == 0:
                    os.setgid(300001); os.setuid(300001)
                os.execvp('sh', ['sh', '-c', '$FILECAPS /proc/self/status | grep ^CapEff: | cut -f2'])
                ",
            ),
            (Layer::View, "0000000000000000"),
            Control::AsRoot("0000000000002000"),
        )
        .shown()
        .needs(Needs::Root),
        probe(
            "programs/no-new-privileges",
            "takes off what forbids new privileges",
            Program(
                r"
                call('prctl', 38, 0, 0, 0, 0)
                say('kept' if call('prctl', 39, 0, 0, 0, 0) == 1 else 'off')
                ",
            ),
            (Layer::Privileges, "kept"),
            Control::Outside("off"),
        ),
        denied(
            "programs/capset",
            "gives itself all capabilities",
            r"
                header = (ctypes.c_uint * 2)(0x20080522, 0)
                say(call('capset', header, (ctypes.c_uint * 6)(0xffffffff, 0xffffffff, 0, 0x1ff, 0x1ff, 0)))
                ",
            "ok",
        ),
        denied("programs/ambient", "raises a capability for its children", "say(call('prctl', 47, 2, 21, 0, 0))", "ok"),
        denied("programs/securebits", "changes how user 0 gets its rights", "say(call('prctl', 28, 1, 0, 0, 0))", "ok"),
        unmapped("programs/setuid-call", "becomes root", "say(attempt(os.setuid, 0))", "EINVAL"),
        unmapped("programs/setgid-call", "joins root's group", "say(attempt(os.setgid, 0))", "EINVAL"),
        unmapped(
            "programs/setgroups",
            "joins the groups of disks and of Docker",
            "say(attempt(os.setgroups, [6, 999]))",
            "EINVAL|EPERM",
        ),
        unmapped("programs/other-agent-id", "becomes another agent", "say(attempt(os.setuid, 300002))", "EINVAL"),
        unmapped(
            "programs/chown",
            "gives a file of its own to root",
            r"
                open('x', 'w')
                say(attempt(os.chown, 'x', 0, 0))
                ",
            "EINVAL|EPERM",
        ),
        denied(
            "programs/make-file-capabilities",
            "gives a file of its own capabilities",
            r"
                import shutil
                shutil.copyfile('/usr/bin/cat', 'cat')
                say(attempt(os.setxattr, 'cat', 'security.capability', bytes.fromhex('0000000220000000000000000000000000000000')))
                ",
            "EINVAL|ok|EOPNOTSUPP",
        ),
        probe(
            "programs/trusted-attribute",
            "sets an attribute that overlays trust",
            Program(
                r"
                open('x', 'w')
                say(attempt(os.setxattr, 'x', 'trusted.overlay.opaque', b'y'))
                ",
            ),
            (Layer::Identity, "EPERM"),
            Control::AsRoot("ok|EOPNOTSUPP"),
        )
        .source("CVE-2021-3493"),
        probe(
            "programs/nice",
            "takes the processor from others",
            Program("say(attempt(os.setpriority, os.PRIO_PROCESS, 0, -20))"),
            (Layer::Privileges, "EACCES|EPERM"),
            Control::AsRoot("ok"),
        ),
        probe(
            "programs/real-time",
            "runs before all others",
            Program("say(attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)))"),
            (Layer::Privileges, "EPERM"),
            Control::AsRoot("ok"),
        ),
        probe(
            "programs/io-real-time",
            "reads and writes before all others",
            Program("say(call(251 if _machine == 0 else 30, 1, 0, 1 << 13))"),
            (Layer::Privileges, "EPERM"),
            Control::AsRoot("ok"),
        ),
    ],
};

fn start_in(attempt: &mut super::probe::Attempt<'_>, cwd: &str) -> String {
    let mut spawn = Spawn::new(["/usr/bin/true"]);
    spawn.cwd = Some(cwd.to_owned());
    word(attempt.client.run(spawn, b""))
}

/// How a start of `program` is refused, or its exit code where it is not 0.
fn start(attempt: &mut super::probe::Attempt<'_>, program: &str) -> String {
    match attempt.client.run(Spawn::new([program, "1"]), b"") {
        Ok(output) => match output.exit.ended {
            tenure_sandbox::protocol::Ended::Code(0) => "ok".to_owned(),
            tenure_sandbox::protocol::Ended::Code(code) => format!("exit {code}"),
            tenure_sandbox::protocol::Ended::Signal(signal) => format!("signal {signal}"),
        },
        refused => word(refused),
    }
}
