//! Things in a work folder that are no plain files, names that are no plain names, trees without end: file capabilities neither
//! block nor fall over them, and change nothing that they were not asked to.
use super::probe::Stage::{Capability, Program};
use super::probe::{Attempt, Class, Control, Layer, Probe, Why, probe, word};
use super::trial::{run, spawn};
use std::time::{Duration, Instant};
use tenure_sandbox::Error;
use tenure_sandbox::protocol::{Operation, Refusal, WriteMode};

/// When a race of which not both ends were seen has failed; only on a machine that hangs.
pub const RACE_MAX: Duration = Duration::from_secs(60);

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
/// The other end of the fifo, for whoever waits in an open of it: without one that open never ends.
const MEETING: &str = r"
                import time
                os.mkfifo('odd')
                os.write(1, b'on')
                while True:
                    try: end = os.open('odd', os.O_WRONLY | os.O_NONBLOCK)
                    except OSError: time.sleep(.001)
                    else:
                        attempt(os.write, end, b'a')
                        os.close(end)
                ";
/// A reader of the fifo, which takes what is meant for a file.
const READING: &str = r"
                os.mkfifo('odd')
                reader = os.open('odd', os.O_RDONLY | os.O_NONBLOCK)
                os.write(1, b'on')
                signal.pause()
                ";
/// A program that opens it as any program would waits for ever.
const BLOCKS: Control = Control::Beside(
    Why::Beneath,
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

/// Answered at once, with a refusal that says what it is. A jail that did not look would wait for a program to open the other
/// end, or give it what belongs in a file.
const fn fifo(id: &'static str, tries: &'static str, deed: Deed, bare: &'static str) -> Probe {
    probe(id, tries, Capability(deed), (Layer::Paths, "Invalid"), Control::Without(&[Layer::Paths], bare))
}

/// Nothing of it is ever opened.
const fn unopened(id: &'static str, tries: &'static str, deed: Deed, held: &'static str) -> Probe {
    probe(id, tries, Capability(deed), (Layer::Kernel, held), BLOCKS)
}

/// Held by a check of a path, or of what lies there.
pub const fn checked(
    id: &'static str,
    tries: &'static str,
    deed: Deed,
    held: &'static str,
    bare: &'static str,
) -> Probe {
    probe(id, tries, Capability(deed), (Layer::Paths, held), Control::Without(&[Layer::Paths], bare))
}

/// Starts a program and waits until it says so.
fn with(attempt: &mut Attempt<'_>, script: &str) {
    let program = spawn(attempt, script);
    let id = attempt.client.send(Operation::Spawn(program), b"").expect("it is sent");
    while !matches!(attempt.client.answer(id), Ok((_, said)) if said == b"on") {}
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
    probe(
        id,
        tries,
        Capability(deed),
        (Layer::Paths, held),
        Control::Beside(Why::Deed, "a plain one", Capability(plain), word),
    )
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
                with(a, MEETING);
                word(a.client.read("odd", 10))
            },
            "ok",
        ),
        fifo(
            "oddities/fifo-write",
            "leaves a fifo to be written",
            |a| {
                run(a, FIFO);
                word(a.client.write("odd", b"x", WriteMode::Overwrite))
            },
            "ok",
        ),
        fifo(
            "oddities/fifo-append",
            "leaves a fifo to be appended to",
            |a| {
                with(a, READING);
                word(a.client.append("odd", b"x"))
            },
            "ok|Io",
        ),
        fifo(
            "oddities/fifo-edit",
            "leaves a fifo to be edited",
            |a| {
                with(a, MEETING);
                word(a.client.edit("odd", "a", "b", None))
            },
            "ok|NoMatch",
        ),
        unopened(
            "oddities/fifo-list",
            "leaves a fifo to be listed",
            |a| {
                run(a, FIFO);
                word(a.client.list("odd", 10, None))
            },
            "NotDirectory",
        ),
        unopened(
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
        probe(
            "oddities/fifo-race",
            "swaps a file for a fifo while it is read",
            Capability(|a| {
                with(
                    a,
                    r"
                os.mkfifo('pipe')
                open('file', 'w').write('x')
                os.write(1, b'on')
                while True:
                    call(316 if _machine == 0 else 276, -100, b'pipe', -100, b'file', 2)
                    attempt(lambda: os.close(os.open('file', os.O_WRONLY | os.O_NONBLOCK)))
                ",
                );
                let (mut read, mut refused) = (0, 0);
                let began = Instant::now();
                while read == 0 || refused == 0 {
                    for _ in 0..200 {
                        match a.client.read("file", 10) {
                            Ok(bytes) if bytes == b"x" => read += 1,
                            Ok(_) => return "waited for a program".to_owned(),
                            Err(Error::Refused(Refusal::Invalid { .. })) => refused += 1,
                            Err(error) => return error.to_string(),
                        }
                    }
                    if began.elapsed() > RACE_MAX {
                        return format!("no race: {read} read, {refused} refused");
                    }
                }
                "never waited".to_owned()
            }),
            (Layer::Paths, "never waited"),
            Control::Without(&[Layer::Paths], "waited for a program"),
        ),
        probe(
            "oddities/socket",
            "leaves a socket to be read",
            Capability(|a| {
                run(a, SOCKET);
                word(a.client.read("odd", 10))
            }),
            (Layer::Kernel, "Invalid"),
            Control::Beside(Why::Beneath, "a plain file", Capability(plain), "ok"),
        ),
        checked(
            "oddities/lease",
            "holds a lease on a file, so that opens of it wait",
            |a| {
                with(
                    a,
                    r"
                import fcntl, time
                def broken(*_):
                    time.sleep(.2)
                    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
                signal.signal(signal.SIGIO, broken)
                file = os.open('leased', os.O_RDWR | os.O_CREAT)
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
                os.write(1, b'on')
                while True: signal.pause()
                ",
                );
                word(a.client.read("leased", 10))
            },
            "Busy",
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
        checked(
            "oddities/zero-byte",
            "names a path with a zero byte",
            |a| word(a.client.read("plain\0/../../etc/passwd", 10)),
            "Invalid",
            "Io",
        ),
        odd(
            "oddities/long-path",
            "names a path that is longer than the kernel takes",
            |a| word(a.client.read(&"x/".repeat(3000), 10)),
            "Invalid",
            plain,
            "ok",
        ),
        checked("oddities/empty-path", "names no path", |a| word(a.client.read("", 10)), "Invalid", "IsDirectory"),
    ],
};
