//! File capabilities against a hostile work folder: every operation, through links, past races, at things that are no files.
//! Beside `/workspace` and `/tmp` a jail can write to `/dev/shm`: what lands or is read there has left the work folder.
use super::probe::Stage::{Capability, Program};
use super::probe::{Attempt, Class, Control, Layer, Probe, probe, word};
use super::trial::{run, spawn};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tenure_sandbox::protocol::{Operation, WriteMode};
use tenure_sandbox::{Client, Error};

type Deed = fn(&mut Attempt<'_>) -> String;
/// One file capability on one path; what was read, if it reads.
type Use = fn(&mut Client, &str) -> Result<String, Error>;

/// Least tries of a race; each is an operation while a program swaps a folder and a link.
const TRIES: u32 = 150;
/// When a race of which only one end was seen is over.
const RACE_MAX: Duration = Duration::from_secs(1);

/// How large the file outside is; that within is not.
const OUTSIDE_BYTES: &str = "7";

fn read(client: &mut Client, path: &str) -> Result<String, Error> {
    client.read(path, 1 << 20).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn write(client: &mut Client, path: &str) -> Result<String, Error> {
    client.write(path, b"BREACH", WriteMode::Overwrite).map(|_| String::new())
}

/// A name beside it that nothing has yet.
fn another(path: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{path}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn create(client: &mut Client, path: &str) -> Result<String, Error> {
    client.write(&another(path), b"BREACH", WriteMode::Create).map(|_| String::new())
}

fn extend(client: &mut Client, path: &str) -> Result<String, Error> {
    client.append(path, b"BREACH").map(|()| String::new())
}

fn edit(client: &mut Client, path: &str) -> Result<String, Error> {
    client.edit(path, "T", "BREACH", None).map(|_| String::new())
}

fn list(client: &mut Client, path: &str) -> Result<String, Error> {
    let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
    let (entries, _) = client.list(folder, 1000, None)?;
    Ok(entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(" "))
}

fn stat(client: &mut Client, path: &str) -> Result<String, Error> {
    client.stat(path).map(|entry| entry.size.to_string())
}

fn delete(client: &mut Client, path: &str) -> Result<String, Error> {
    client.delete(path, true).map(|_| String::new())
}

/// Deletes a file of its own and has it restored to another path.
fn restore(client: &mut Client, path: &str) -> Result<String, Error> {
    client.write("victim", b"BREACH", WriteMode::Overwrite)?;
    let Some(trashed) = client.delete("victim", false)? else { return Ok("not kept".to_owned()) };
    client.restore(&trashed, Some(&another(path)))
}

/// Paths that lead out, in every manner.
const LINKS: &str = r"
    os.symlink('/dev/shm', 'out'); os.symlink('../dev/shm', 'up'); os.symlink('/proc/self/root/dev/shm', 'magic')
    os.symlink('/proc/self/cwd/../dev/shm', 'cwd'); os.symlink('out', 'chain'); os.mkdir('sub'); os.mkdir('file-is')
    os.symlink('/', 'root'); os.symlink('/etc', 'etc'); os.mkdir('sub/sub'); os.symlink('../../../dev/shm', 'sub/sub/deep')
    for name in ('same', 'OUTSIDE-TOO'): open('/dev/shm/' + name, 'w').write('OUTSIDE')
    say('made')
    ";
const WAYS: &[&str] = &[
    "../dev/shm/same",
    "/dev/shm/same",
    "/workspace/../dev/shm/same",
    "sub/../../dev/shm/same",
    "/tmp/../dev/shm/same",
    "out/same",
    "up/same",
    "magic/same",
    "cwd/same",
    "chain/same",
    "root/dev/shm/same",
    "sub/sub/deep/same",
    "etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "/proc/1/mem",
    "/dev/null",
    "//dev/shm/same",
    "/workspace//../dev//shm/./same",
];

/// All ways out by one operation, then the same at a file within.
fn ways(attempt: &mut Attempt<'_>, operation: Use) -> String {
    run(attempt, LINKS);
    for way in WAYS {
        let said = word(operation(&mut attempt.client, way));
        if said != "Escape" {
            return format!("{way}: {said}");
        }
    }
    outside(attempt, "Escape")
}

/// The word, if what lies outside is as it was.
fn outside(attempt: &mut Attempt<'_>, word: &str) -> String {
    let check = r"
        found = {entry: open('/dev/shm/' + entry).read() for entry in os.listdir('/dev/shm')}
        say('kept' if found == {'same': 'OUTSIDE', 'OUTSIDE-TOO': 'OUTSIDE'} else found)
        ";
    match run(attempt, check) {
        kept if kept == "kept" => word.to_owned(),
        found => format!("outside lies {found}"),
    }
}

const fn leads_out(id: &'static str, tries: &'static str, deed: Deed, within: Deed) -> Probe {
    let control = Control::Beside("the same at a file within", Capability(within), "ok");
    probe(id, tries, Capability(deed), (Layer::Paths, "Escape"), control)
}

/// One operation at a file of its own.
fn within(attempt: &mut Attempt<'_>, operation: Use) -> String {
    run(
        attempt,
        r"
        os.mkdir('sub')
        open('sub/file', 'w').write('TEXT')
        say('made')
        ",
    );
    word(operation(&mut attempt.client, "sub/file"))
}

/// Swaps `swap` between a folder with a file and a link out, as fast as it can, and so it does with `file`.
const SWAPPER: &str = r"
    os.mkdir('swap'); os.symlink('/dev/shm', 'link'); open('swap/same', 'w').write('INSIDE T')
    open('file', 'w').write('INSIDE T'); os.symlink('/dev/shm/same', 'away')
    for name in ('same', 'OUTSIDE-TOO'): open('/dev/shm/' + name, 'w').write('OUTSIDE')
    exchange = 316 if _machine == 0 else 276
    os.write(1, b'swapping\n')
    while True:
        call(exchange, -100, b'swap', -100, b'link', 2)
        call(exchange, -100, b'file', -100, b'away', 2)
    ";

/// One operation again and again while a program swaps what the path means.
fn race(attempt: &mut Attempt<'_>, operation: Use) -> String {
    let swapper = spawn(attempt, SWAPPER);
    let id = attempt.client.send(Operation::Spawn(swapper), b"").expect("it is sent");
    while !matches!(attempt.client.answer(id), Ok((_, said)) if said == b"swapping\n") {}
    let (mut done, mut refused) = (0, 0);
    let began = Instant::now();
    // On a busy machine the swapper may not run for a while: a race is worth little until both of its ends were seen.
    for tries in 0.. {
        let both = done > 0 && refused > 0;
        if tries >= TRIES && (both || began.elapsed() > RACE_MAX) {
            break;
        }
        for path in ["swap/same", "file"] {
            match operation(&mut attempt.client, path) {
                Ok(said) if said.contains("OUTSIDE") || said == OUTSIDE_BYTES => {
                    return format!("it shows what lies outside: {said}");
                }
                Ok(_) => done += 1,
                Err(Error::Refused(_)) => refused += 1,
                Err(error) => return error.to_string(),
            }
        }
    }
    if std::env::var_os("TENURE_ESCAPES_SHOW").is_some() {
        println!("a race: {done} done, {refused} refused");
    }
    let kill = attempt.client.send(Operation::Kill { target: id }, b"").expect("it is sent");
    attempt.client.answer(kill).expect("an answer");
    outside(attempt, "never outside")
}

/// What a check of the path followed by a plain open does when the path is swapped between them.
const NAIVE: Control = Control::Beside(
    "a check of the path, then an open, with the swap in between",
    Program(
        r"
        os.mkdir('swap'); open('swap/same', 'w').write('INSIDE'); open('/dev/shm/same', 'w').write('OUTSIDE')
        assert os.path.realpath('swap/same').startswith('/workspace/')
        os.rename('swap', 'old'); os.symlink('/dev/shm', 'swap')
        say('outside' if open('swap/same').read() == 'OUTSIDE' else 'never outside')
        ",
    ),
    "outside",
);

const fn raced(id: &'static str, tries: &'static str, deed: Deed) -> Probe {
    probe(id, tries, Capability(deed), (Layer::Paths, "never outside"), NAIVE)
        .source("CVE-2026-39861; CVE-2018-15664, CVE-2021-30465")
}

pub const CLASS: Class = Class {
    name: "file capabilities",
    probes: &[
        leads_out(
            "folders/out-read",
            "reads through every way out of the work folder",
            |a| ways(a, read),
            |a| within(a, read),
        ),
        leads_out("folders/out-write", "writes through every way out", |a| ways(a, write), |a| within(a, write)),
        leads_out(
            "folders/out-create",
            "makes files through every way out",
            |a| ways(a, create),
            |a| within(a, create),
        ),
        leads_out("folders/out-append", "appends through every way out", |a| ways(a, extend), |a| within(a, extend)),
        leads_out("folders/out-edit", "edits through every way out", |a| ways(a, edit), |a| within(a, edit)),
        leads_out("folders/out-list", "lists through every way out", |a| ways(a, list), |a| within(a, list)),
        leads_out("folders/out-stat", "looks through every way out", |a| ways(a, stat), |a| within(a, stat)),
        leads_out("folders/out-delete", "deletes through every way out", |a| ways(a, delete), |a| within(a, delete)),
        leads_out(
            "folders/out-restore",
            "has a deleted file restored through every way out",
            |a| ways(a, restore),
            |a| within(a, restore),
        ),
        raced("folders/race-read", "swaps a folder for a link while it is read", |a| race(a, read)),
        raced("folders/race-write", "swaps while it is written", |a| race(a, write)),
        raced("folders/race-create", "swaps while files are made", |a| race(a, create)),
        raced("folders/race-append", "swaps while it is appended to", |a| race(a, extend)),
        raced("folders/race-edit", "swaps while it is edited", |a| race(a, edit)),
        raced("folders/race-list", "swaps while it is listed", |a| race(a, list)),
        raced("folders/race-stat", "swaps while it is looked at", |a| race(a, stat)),
        raced("folders/race-restore", "swaps while a deleted file is restored", |a| race(a, restore)),
        raced("folders/race-delete", "swaps while it is deleted", |a| race(a, delete)),
    ],
};
