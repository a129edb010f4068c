//! Bombs: memory, processes, descriptors, files and the kernel's own counters. Each is made in a jail of small limits, so that
//! one that went off would not hurt the host.
use super::probe::Stage::{Capability, Program};
use super::probe::{Attempt, Class, Control, Layer, Needs, Probe, Why, probe};
use super::trial::{on_host, run, spawn};
use tenure_sandbox::Spec;
use tenure_sandbox::protocol::{Answer, Operation, Stream, WriteMode};

fn small(spec: &mut Spec) {
    spec.limits.memory_bytes = 64 << 20;
    spec.limits.pids = 32;
    spec.limits.open_files = 64;
    spec.limits.file_bytes = 4 << 20;
    spec.tmp_bytes = 8 << 20;
}

/// The same with room for what the bombs take.
fn large(spec: &mut Spec) {
    spec.limits.memory_bytes = 768 << 20;
    spec.limits.pids = 200;
    spec.limits.open_files = 1024;
    spec.limits.file_bytes = 1 << 30;
    spec.tmp_bytes = 512 << 20;
}

/// Room in files, but not in memory.
fn roomy_files(spec: &mut Spec) {
    small(spec);
    spec.limits.file_bytes = 1 << 30;
    spec.tmp_bytes = 512 << 20;
}

const NODES: &str = r"
                os.chdir('/tmp')
                for number in range(70000):
                    result = attempt(os.mknod, str(number))
                    if result != 'ok': say(result)
                say('went off')
                ";
const WATCHERS: &str = r"
                held = 0
                while held < 2000 and call('inotify_init1', 0) not in ('EMFILE', 'ENFILE'): held += 1
                os.write(1, b'taken\n')
                while True: signal.pause()
                ";
const ONE_WATCHER: &str = "say(call('inotify_init1', 0))";
const SIGNALS: &str = r"
                signal.pthread_sigmask(signal.SIG_BLOCK, [40])
                for _ in range(300000):
                    if _libc.sigqueue(os.getpid(), 40, None): break
                os.write(1, b'taken\n')
                while True: signal.pause()
                ";
const ONE_SIGNAL: &str = r"
                signal.pthread_sigmask(signal.SIG_BLOCK, [40])
                say('ok' if _libc.sigqueue(os.getpid(), 40, None) == 0 else name(ctypes.get_errno()))
                ";

const fn bomb(id: &'static str, tries: &'static str, script: &'static str, held: (Layer, &'static str)) -> Probe {
    probe(id, tries, Program(script), held, Control::Looser(large, "went off")).spec(small)
}

/// Memory that only a control group counts.
const fn memory(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    bomb(id, tries, script, (Layer::Cgroup, "oom")).spec(roomy_files).needs(Needs::Groups)
}

/// A limit of the program's that it would raise again.
const fn raise(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Rlimits, "EPERM"), Control::Without(&[Layer::Rlimits], "ok"))
}

pub const CLASS: Class = Class {
    name: "bombs and limits",
    probes: &[
        bomb("limits/memory", "takes all memory", r"
                result = attempt(bytearray, 256 << 20)
                say('went off' if result == 'ok' else result)
                ", (Layer::Cgroup, "oom|MemoryError")),
        bomb(
            "limits/memory-by-children",
            "takes it by many processes",
            r"
                reader, writer = os.pipe()
                signal.signal(signal.SIGCHLD, lambda *_: say('oom'))
                for _ in range(12):
                    if os.fork() == 0:
                        held = bytearray(24 << 20)
                        os.write(writer, b'x')
                        while True: signal.pause()
                taken = 0
                while taken < 12: taken += len(os.read(reader, 12))
                say('went off')
                ",
            (Layer::Cgroup, "oom"),
        )
        .needs(Needs::Groups),
        memory("limits/memory-shared", "takes memory that belongs to no process", r"
                import mmap
                held = mmap.mmap(-1, 256 << 20)
                for at in range(0, 256 << 20, 4096): held[at] = 1
                say('went off')
                "),
        memory("limits/memory-file", "takes it by a file that has no name", r"
                file = os.memfd_create('bomb')
                for _ in range(256): os.write(file, bytes(1 << 20))
                say('went off')
                "),
        memory("limits/memory-tmp", "takes it by files in /tmp", r"
                file = os.open('/tmp/bomb', os.O_WRONLY | os.O_CREAT)
                for _ in range(256): os.write(file, bytes(1 << 20))
                say('went off')
                "),
        memory("limits/memory-segment", "takes it by a System V segment", r"
                key = call('shmget', 0, 256 << 20, 0o1600)
                at = _libc.shmat; at.restype = ctypes.c_void_p
                ctypes.memset(at(ctypes.c_int(key), None, 0), 1, 256 << 20)
                say('went off')
                "),
        bomb("limits/tmp", "fills /tmp", r"
                file = os.open('/tmp/bomb', os.O_WRONLY | os.O_CREAT)
                for number in range(6):
                    for _ in range(3):
                        result = attempt(os.write, os.open(f'/tmp/bomb{number}', os.O_WRONLY | os.O_CREAT | os.O_APPEND), bytes(1 << 20))
                        if result != 'ok': say(result)
                say('went off')
                ", (Layer::View, "ENOSPC")),
        probe(
            "limits/tmp-inodes",
            "fills /tmp with empty files",
            Program(NODES),
            (Layer::View, "ENOSPC|oom"),
            Control::Beside(Why::Always, "fewer", Program(r"
                os.chdir('/tmp')
                for number in range(500): os.mknod(str(number))
                say('went off')
                "), "went off"),
        )
        .spec(small),
        bomb("limits/processes", "forks without end", r"
                for _ in range(60):
                    result = attempt(fork_idle)
                    if result != 'ok': say(result)
                say('went off')
                ", (Layer::Cgroup, "EAGAIN"))
            .source("CDK fork bomb"),
        bomb("limits/threads", "starts threads without end", r"
                import threading
                stop = threading.Event()
                try:
                    for _ in range(60): threading.Thread(target=stop.wait, daemon=True).start()
                except RuntimeError: say('EAGAIN')
                say('went off')
                ", (Layer::Cgroup, "EAGAIN")),
        bomb("limits/descriptors", "opens files without end", r"
                held = []
                for _ in range(200):
                    result = attempt(lambda: held.append(os.open('/dev/null', os.O_RDONLY)))
                    if result != 'ok': say(result)
                say('went off')
                ", (Layer::Rlimits, "EMFILE")),
        bomb("limits/file-size", "writes one file without end", r"
                file = os.open('bomb', os.O_WRONLY | os.O_CREAT)
                for _ in range(8):
                    result = attempt(os.write, file, bytes(1 << 20))
                    if result != 'ok': say(result)
                say('went off')
                ", (Layer::Rlimits, "EFBIG")),
        bomb("limits/sparse", "makes a file of holes that is larger than a disk", r"
                open('bomb', 'w')
                result = attempt(os.truncate, 'bomb', 256 << 20)
                say('went off' if result == 'ok' else result)
                ", (Layer::Rlimits, "EFBIG")),
        bomb("limits/fallocate", "reserves the disk without writing", r"
                file = os.open('bomb', os.O_WRONLY | os.O_CREAT)
                result = attempt(os.posix_fallocate, file, 0, 16 << 20)
                say('went off' if result == 'ok' else result)
                ", (Layer::Rlimits, "EFBIG")),
        raise("limits/raise-descriptors", "allows itself more descriptors", r"
                import resource
                try: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); say('ok')
                except ValueError: say('EPERM')
                "),
        raise("limits/raise-file-size", "allows itself larger files", r"
                import resource
                try: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40)); say('ok')
                except ValueError: say('EPERM')
                "),
        probe(
            "limits/core-dumps",
            "has its crash handed to the host's handler of core dumps, by the one limit that does not stop that",
            Program(
                r"
                import resource
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                say('kept' if resource.getrlimit(resource.RLIMIT_CORE) == (1, 1) else 'set')
                ",
            ),
            (Layer::Seccomp, "kept"),
            Control::Without(&[Layer::Seccomp], "set"),
        )
        .source("CVE-2025-5054, CVE-2025-4598, CVE-2022-0811"),
        probe(
            "limits/huge-pages",
            "takes the host's huge pages, which no limit of memory counts",
            Program("say(call('mmap', 0, 2 << 20, 3, 0x40022, -1, 0))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok|ENOMEM|EINVAL"),
        ),
        probe(
            "limits/huge-pages-file",
            "takes them by a file that has no name",
            Program("say(call('memfd_create', b'x', 4))"),
            (Layer::Seccomp, "EPERM"),
            Control::Without(&[Layer::Seccomp], "ok|ENOSYS|ENOENT"),
        ),
        memory(
            "limits/memory-sockets",
            "takes it by what waits in sockets",
            r"
            import socket
            reader, writer = os.pipe()
            signal.signal(signal.SIGCHLD, lambda *_: say('oom'))
            def fill(end):
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                while attempt(end.send, bytes(65536)) == 'ok': pass
            for _ in range(4):
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    held = [socket.socketpair() for _ in range(15)]
                    for pair in held:
                        for end in pair: fill(end)
                    os.write(writer, b'x')
                    while True: signal.pause()
            taken = 0
            while taken < 4: taken += len(os.read(reader, 4))
            say('went off')
            ",
        ),
        probe(
            "limits/lock-memory",
            "locks memory so that the host cannot use it",
            Program(r"
                import mmap
                held = mmap.mmap(-1, 64 << 20)
                say('went off' if _libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(held))), ctypes.c_size_t(64 << 20)) == 0 else name(ctypes.get_errno()))
                "),
            (Layer::Rlimits, "ENOMEM|EPERM|EAGAIN|oom"),
            Control::AsRoot("went off"),
        ),
        probe(
            "limits/output",
            "prints without end",
            Capability(|attempt| {
                let flood = spawn(attempt, r"
                for _ in range(200): os.write(1, b'x' * (1 << 20))
                open('done', 'w')
                ");
                let output = attempt.client.run(flood, b"").expect("an answer");
                let whole = output.exit.output_truncated && attempt.client.stat("done").is_ok();
                if whole { format!("cut at {}", output.stdout.len()) } else { format!("{:?}", output.exit) }
            }),
            (Layer::Jail, "cut at 10000"),
            Control::Looser(|spec| spec.limits.output_bytes = 20_000, "cut at 20000"),
        )
        .spec(|spec| spec.limits.output_bytes = 10_000),
        probe(
            "limits/upload",
            "sends a file that is larger than it said, or than the limit",
            Capability(|attempt| {
                let over = super::probe::word(attempt.client.write("over", &vec![0; (4 << 20) + 1], WriteMode::Create));
                let size = Operation::Write { path: "lie".to_owned(), size: 2, mode: WriteMode::Create };
                let id = attempt.client.send(size, b"more than two").expect("it is sent");
                let lie = matches!(attempt.client.answer(id), Ok((Answer::Refused(_), _)));
                if lie && attempt.client.stat("lie").is_err() { over } else { "a lie was believed".to_owned() }
            }),
            (Layer::Jail, "TooLarge"),
            Control::Looser(large, "ok"),
        )
        .spec(small),
        probe(
            "limits/inotify",
            "takes all file watchers, which the kernel also counts for whoever made the jail; the host then asks for one",
            Capability(|attempt| while_taken(attempt, WATCHERS, |attempt| on_host(attempt.ground, ONE_WATCHER))),
            (Layer::Identity, "ok"),
            Control::Beside(Why::Always,
                "another program of the same jail asks",
                Capability(|attempt| while_taken(attempt, WATCHERS, |attempt| run(attempt, ONE_WATCHER))),
                "EMFILE",
            ),
        )
        .source("NixOS/nixops#890")
        .needs(Needs::Root),
        probe(
            "limits/signals",
            "fills the queue of signals, which the kernel also counts for whoever made the jail; the host then queues one",
            Capability(|attempt| while_taken(attempt, SIGNALS, |attempt| on_host(attempt.ground, ONE_SIGNAL))),
            (Layer::Identity, "ok"),
            Control::Beside(Why::Always,
                "another program of the same jail queues one",
                Capability(|attempt| while_taken(attempt, SIGNALS, |attempt| run(attempt, ONE_SIGNAL))),
                "EAGAIN",
            ),
        )
        .needs(Needs::Root),
    ],
};

/// What `asks` gets while a program of the jail holds all that it could take.
fn while_taken(attempt: &mut Attempt<'_>, takes: &str, asks: fn(&mut Attempt<'_>) -> String) -> String {
    let taker = spawn(attempt, takes);
    let id = attempt.client.send(Operation::Spawn(taker), b"").expect("it is sent");
    loop {
        match attempt.client.answer(id) {
            Ok((Answer::Output { stream: Stream::Stdout }, said)) if said == b"taken\n" => return asks(attempt),
            Ok((Answer::Started, _)) => {}
            Ok((answer, said)) => return format!("{answer:?} {}", String::from_utf8_lossy(&said)),
            Err(error) => return error.to_string(),
        }
    }
}
