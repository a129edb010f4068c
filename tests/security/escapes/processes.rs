//! Processes: signals out of the jail, and what tries to outlive its call, its time or its keeper.
use super::probe::Stage::{Capability, Program};
use super::probe::{Attempt, Class, Control, Layer, Probe, Why, probe};
use super::trial::{run, spawn, verdict};
use tenure_sandbox::Error;
use tenure_sandbox::protocol::{Answer, Operation, Refusal, Spawn};

type Deed = fn(&mut Attempt<'_>) -> String;

const HOLDS: &str = "the jail works, alone";
const BESIDE: Control = Control::Beside(
    Why::Harm,
    "a daemon of its own while its call still runs, seen by the same check",
    Program(
        r"
                daemon()
                say('the jail works, alone' if alone() else 'not alone')
                ",
    ),
    "not alone",
);

/// At a process of the same host user, which only the pid namespace keeps apart. Behind it stands Landlock for signals.
const fn apart(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    let bare = Control::Without(&[Layer::Processes, Layer::Landlock], "ok");
    probe(id, tries, Program(script), (Layer::Processes, "ESRCH"), bare)
}

/// At the jail's own first process, which has its programs' ids.
const fn at_init(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Without(&[Layer::Seccomp], "ok"))
}

/// Afterwards the jail still works and nothing of the attack runs.
const fn ends(id: &'static str, tries: &'static str, deed: Deed) -> Probe {
    probe(id, tries, Capability(deed), (Layer::Jail, HOLDS), Control::Without(&[Layer::Jail], "not alone"))
}

pub const CLASS: Class = Class {
    name: "processes",
    probes: &[
        at_init(
            "processes/limit-init",
            "limits the jail's first process",
            "say(call('prlimit64', 1, 12, ctypes.create_string_buffer(16), 0))",
        ),
        at_init("processes/nice-init", "slows it down", "say(attempt(os.setpriority, os.PRIO_PROCESS, 1, 19))"),
        at_init(
            "processes/nice-user",
            "slows all of its user's, the jail's first process among them",
            "say(attempt(os.setpriority, os.PRIO_USER, 0, 19))",
        ),
        at_init(
            "processes/idle-user",
            "has the disk serve all of its user's last",
            "say(call('ioprio_set', 3, os.getuid(), 3 << 13))",
        ),
        at_init("processes/affinity-init", "ties it to one processor", "say(attempt(os.sched_setaffinity, 1, {0}))"),
        at_init(
            "processes/schedule-init",
            "has it run when nobody else does",
            "say(attempt(os.sched_setscheduler, 1, os.SCHED_IDLE, os.sched_param(0)))",
        ),
        apart("processes/kill-host", "signals a process of the host", "say(attempt(os.kill, int(E['HOST_PID']), 0))"),
        apart(
            "processes/kill-group",
            "signals a process group of the host",
            "say(attempt(os.killpg, os.getpgid(int(E['HOST_PID'])), 0) if os.path.exists(f\"/proc/{E['HOST_PID']}\") else 'ESRCH')",
        ),
        apart(
            "processes/pidfd",
            "takes hold of a process of the host",
            "say(attempt(os.pidfd_open, int(E['HOST_PID'])))",
        ),
        apart(
            "processes/owner",
            "has the kernel signal a process of the host when data comes",
            r"
                import fcntl
                say(attempt(fcntl.fcntl, 0, fcntl.F_SETOWN, int(E['HOST_PID'])))
                ",
        ),
        apart(
            "processes/limits",
            "reads or sets the limits of a process of the host",
            "say(call('prlimit64', int(E['HOST_PID']), 7, 0, ctypes.create_string_buffer(16)))",
        ),
        apart(
            "processes/affinity",
            "moves a process of the host to other processors",
            "say(attempt(os.sched_getaffinity, int(E['HOST_PID'])))",
        ),
        apart(
            "processes/priority",
            "slows a process of the host",
            "say(attempt(os.getpriority, os.PRIO_PROCESS, int(E['HOST_PID'])))",
        ),
        probe(
            "processes/kill-host-same-namespace",
            "signals a process of the host that it can see",
            Program("say(attempt(os.kill, int(E['HOST_PID']), 0))"),
            (Layer::Processes, "ESRCH"),
            Control::Without(&[Layer::Processes], "EPERM"),
        )
        .needs(super::probe::Needs::Landlock(6)),
        ends("processes/daemon", "leaves a daemon behind that forked twice", |attempt| {
            run(
                attempt,
                r"
                daemon()
                say('left')
                ",
            );
            aftermath(attempt)
        }),
        ends("processes/daemon-many", "leaves many behind, each in a session of its own", |attempt| {
            run(
                attempt,
                r"
                for _ in range(10): daemon()
                say('left')
                ",
            );
            aftermath(attempt)
        }),
        ends("processes/clone-parent", "makes children of its keeper instead of its own", |attempt| {
            run(
                attempt,
                r"
                for _ in range(4):
                    if call('clone', 0x8011, 0, 0, 0, 0) == 0: signal.pause()
                say('left')
                ",
            );
            aftermath(attempt)
        }),
        ends("processes/kill-keeper", "kills the process that keeps it", |attempt| {
            run(
                attempt,
                r"
                daemon()
                os.kill(os.getppid(), 9)
                signal.pause()
                ",
            );
            settled(attempt)
        }),
        probe(
            "processes/kill-all",
            "kills all processes that it may",
            Capability(|attempt| {
                run(
                    attempt,
                    r"
                daemon()
                os.kill(-1, 9)
                signal.pause()
                ",
                );
                settled(attempt)
            }),
            (Layer::Processes, HOLDS),
            BESIDE,
        ),
        probe(
            "processes/kill-init",
            "kills, stops and interrupts the jail's first process",
            Capability(|attempt| {
                run(
                    attempt,
                    r"
                first = int(open(f'/proc/{os.getppid()}/stat').read().rsplit(')')[1].split()[1])
                for number in range(1, 65): attempt(os.kill, first, number)
                say('tried')
                ",
                );
                if attempt.client.ping().is_ok() { aftermath(attempt) } else { "the jail is gone".to_owned() }
            }),
            (Layer::Processes, HOLDS),
            Control::Without(&[Layer::Processes], "the jail is gone"),
        ),
        ends("processes/ignore", "ignores every request to end when its time is up", |attempt| {
            late(
                attempt,
                r"
                for number in range(1, 65):
                    if number not in (9, 17, 19, 32, 33): signal.signal(number, signal.SIG_IGN)
                daemon()
                os.write(1, b'ready')
                while True: signal.pause()
                ",
            )
        }),
        ends("processes/stopped", "stops itself, so that it cannot end", |attempt| {
            late(
                attempt,
                r"
                daemon()
                os.write(1, b'ready')
                os.kill(os.getpid(), signal.SIGSTOP)
                ",
            )
        }),
        ends("processes/fork-storm", "forks faster than it is killed", |attempt| {
            late(
                attempt,
                r"
                os.fork()
                os.write(1, b'ready')
                while True:
                    try: os.fork()
                    except OSError: pass
                ",
            )
        }),
        ends("processes/zombies", "leaves dead children that nobody asks for", |attempt| {
            run(
                attempt,
                r"
                for _ in range(20):
                    if os.fork() == 0: os._exit(0)
                say('left')
                ",
            );
            aftermath(attempt)
        }),
        ends("processes/adopt", "has its children adopted by one that it will not end", |attempt| {
            late(
                attempt,
                r"
                call('prctl', 36, 1, 0, 0, 0)
                if os.fork() == 0:
                    os.setsid()
                    daemon()
                    call('prctl', 36, 1, 0, 0, 0)
                    os.write(1, b'ready')
                    while True: signal.pause()
                while True: signal.pause()
                ",
            )
        }),
        ends("processes/hold-output", "keeps its output open after its end", |attempt| {
            run(
                attempt,
                r"
                if os.fork() == 0:
                    os.setsid()
                    while True: os.write(1, b'x' * 4096)
                say('left')
                ",
            );
            aftermath(attempt)
        }),
        probe(
            "processes/stop-keeper",
            "stops the process that keeps it, so that its end is never told",
            Capability(|attempt| {
                let mut stop = spawn(
                    attempt,
                    r"
                daemon()
                os.kill(os.getppid(), signal.SIGSTOP)
                signal.pause()
                ",
                );
                stop.timeout_ms = Some(300);
                match attempt.client.run(stop, b"") {
                    Ok(_) => settled(attempt),
                    // The jail ended as a whole, which cannot fail.
                    Err(_) if attempt.jail.is_dead() => HOLDS.to_owned(),
                    Err(error) => error.to_string(),
                }
            }),
            (Layer::Jail, HOLDS),
            Control::Without(&[Layer::Jail], "not alone"),
        ),
    ],
};

/// What a later program sees of an earlier one.
fn aftermath(attempt: &mut Attempt<'_>) -> String {
    let look = spawn(attempt, "say('the jail works, alone' if alone() else 'not alone')");
    match attempt.client.run(look, b"") {
        // What is left is so much that no program can be started.
        Err(Error::Refused(Refusal::Busy)) => "not alone".to_owned(),
        said => verdict(said),
    }
}

/// The same where the killing of what a dead keeper kept may still be under way.
fn settled(attempt: &mut Attempt<'_>) -> String {
    let mut said = aftermath(attempt);
    // Where nothing kills, nothing is waited for.
    let looks = if attempt.spec.bypass.checks.is_empty() { 200 } else { 0 };
    for _ in 0..looks {
        if said != "not alone" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        said = aftermath(attempt);
    }
    said
}

/// A program whose time is up once it is ready.
fn late(attempt: &mut Attempt<'_>, script: &str) -> String {
    for patience_ms in [300, 3_000, 30_000] {
        let mut program: Spawn = spawn(attempt, script);
        (program.timeout_ms, program.output_max) = (Some(patience_ms), Some(1000));
        let id = attempt.client.send(Operation::Spawn(program), b"").expect("the jail takes it");
        let mut ready = false;
        loop {
            match attempt.client.answer(id) {
                Ok((Answer::Exited(exit), _)) if exit.timed_out && ready => return aftermath(attempt),
                Ok((Answer::Exited(exit), _)) if exit.timed_out => break,
                Ok((Answer::Exited(exit), _)) => return format!("it ended by itself: {exit:?}"),
                Ok((Answer::Output { .. }, said)) => ready |= said.starts_with(b"ready"),
                Ok(_) => {}
                Err(error) => return verdict(Err(error)),
            }
        }
    }
    "it was never ready".to_owned()
}
