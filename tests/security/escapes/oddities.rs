//! Things in a work folder that are no plain files, names that are no plain names, trees without end: file capabilities neither
//! block nor fall over them, and change nothing that they were not asked to.
use super::probe::Stage::{Capability, Program};
use super::probe::{Attempt, Class, Control, Layer, Probe, probe, word};
use super::trial::{run, spawn};
use tenure_sandbox::protocol::{Operation, WriteMode};

pub type Deed = fn(&mut Attempt<'_>) -> String;

const FIFO: &str = r"
                os.mkfifo('odd')
                say('made')
                ";
const SOCKET: &str = r"
                import socket
                socket.socket(1).bind('odd')
                say('made')
                ";
/// A program that opens it as any program would waits for ever.
const BLOCKS: Control = Control::Beside(
    "a program that opens it plainly",
    Program(
        r"
                os.mkfifo('odd')
                def late(*_): say('blocked')
                signal.signal(signal.SIGALRM, late)
                signal.setitimer(signal.ITIMER_REAL, .2)
                os.open('odd', os.O_RDONLY)
                say('opened')
                ",
    ),
    "blocked",
);

/// Answered at once, with a refusal that says what it is.
const fn fifo(id: &'static str, tries: &'static str, deed: Deed, held: &'static str) -> Probe {
    probe(id, tries, Capability(deed), (Layer::Paths, held), BLOCKS)
}

/// Refused or done without harm; then the jail still answers.
pub const fn odd(
    id: &'static str,
    tries: &'static str,
    deed: Deed,
    held: &'static str,
    plain: Deed,
    word: &'static str,
) -> Probe {
    probe(id, tries, Capability(deed), (Layer::Paths, held), Control::Beside("a plain one", Capability(plain), word))
}

pub fn plain(attempt: &mut Attempt<'_>) -> String {
    attempt.client.write("plain", b"TEXT", WriteMode::Create).expect("it is written");
    word(attempt.client.read("plain", 100))
}

pub fn alive(attempt: &mut Attempt<'_>, said: String) -> String {
    if attempt.client.ping().is_ok() { said } else { "the jail is gone".to_owned() }
}

pub const CLASS: Class = Class {
    name: "odd things in a work folder",
    probes: &[
        fifo(
            "oddities/fifo-read",
            "leaves a fifo to be read",
            |a| {
                run(a, FIFO);
                word(a.client.read("odd", 10))
            },
            "Invalid",
        ),
        fifo(
            "oddities/fifo-write",
            "leaves a fifo to be written",
            |a| {
                run(a, FIFO);
                word(a.client.write("odd", b"x", WriteMode::Overwrite))
            },
            "Invalid",
        ),
        fifo(
            "oddities/fifo-append",
            "leaves a fifo to be appended to",
            |a| {
                run(a, FIFO);
                word(a.client.append("odd", b"x"))
            },
            "Invalid",
        ),
        fifo(
            "oddities/fifo-edit",
            "leaves a fifo to be edited",
            |a| {
                run(a, FIFO);
                word(a.client.edit("odd", "a", "b", None))
            },
            "Invalid",
        ),
        fifo(
            "oddities/fifo-list",
            "leaves a fifo to be listed",
            |a| {
                run(a, FIFO);
                word(a.client.list("odd", 10, None))
            },
            "NotDirectory",
        ),
        fifo(
            "oddities/fifo-delete",
            "leaves a fifo in a folder to be removed",
            |a| {
                run(
                    a,
                    r"
                os.makedirs('/tmp/d')
                os.mkfifo('/tmp/d/odd')
                say('made')
                ",
                );
                word(a.client.delete("/tmp/d", true).map(|_| ()))
            },
            "ok",
        ),
        fifo(
            "oddities/fifo-race",
            "swaps a file for a fifo while it is read",
            |a| {
                let swapper = spawn(
                    a,
                    r"
                os.mkfifo('pipe')
                open('file', 'w').write('x')
                os.write(1, b'on')
                while True: call(316 if _machine == 0 else 276, -100, b'pipe', -100, b'file', 2)
                ",
                );
                let id = a.client.send(Operation::Spawn(swapper), b"").expect("it is sent");
                while !matches!(a.client.answer(id), Ok((_, said)) if said == b"on") {}
                let mut answers: Vec<String> = (0..200).map(|_| word(a.client.read("file", 10))).collect();
                answers.retain(|answer| answer != "ok" && answer != "Invalid");
                answers.pop().unwrap_or_else(|| "never blocked".to_owned())
            },
            "never blocked",
        ),
        odd(
            "oddities/socket",
            "leaves a socket to be read",
            |a| {
                run(a, SOCKET);
                word(a.client.read("odd", 10))
            },
            "Invalid",
            plain,
            "ok",
        ),
        odd(
            "oddities/lease",
            "holds a lease on a file, so that opens of it wait",
            |a| {
                let holder = spawn(
                    a,
                    r"
                import fcntl
                signal.signal(signal.SIGIO, signal.SIG_IGN)
                file = os.open('leased', os.O_RDWR | os.O_CREAT)
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
                os.write(1, b'on')
                while True: signal.pause()
                ",
                );
                let id = a.client.send(Operation::Spawn(holder), b"").expect("it is sent");
                while !matches!(a.client.answer(id), Ok((_, said)) if said == b"on") {}
                word(a.client.read("leased", 10))
            },
            "Busy",
            plain,
            "ok",
        ),
        odd(
            "oddities/names",
            "makes names with new lines, escapes for terminals and no text at all",
            |a| {
                run(
                    a,
                    r"
                for name in (b'a\nb', b'\x1b]0;x\x07', b'\xff\xfe', b'-rf', b'x' * 255, b'\xe2\x80\xae', b' ', b'...', b'CON'): open(name, 'w')
                say('made')
                ",
                );
                let (entries, next) = a.client.list(".", 100, None).expect("a list");
                let said = format!("{} entries, {}", entries.len(), if next.is_none() { "all" } else { "more" });
                alive(a, said)
            },
            "9 entries, all",
            |a| format!("{} entries, all", a.client.list(".", 100, None).expect("a list").0.len()),
            "0 entries, all",
        ),
        odd(
            "oddities/zero-byte",
            "names a path with a zero byte",
            |a| word(a.client.read("plain\0/../../etc/passwd", 10)),
            "Invalid",
            plain,
            "ok",
        ),
        odd(
            "oddities/long-path",
            "names a path that is longer than the kernel takes",
            |a| word(a.client.read(&"x/".repeat(3000), 10)),
            "Invalid",
            plain,
            "ok",
        ),
        odd("oddities/empty-path", "names no path", |a| word(a.client.read("", 10)), "Invalid", plain, "ok"),
    ],
};
