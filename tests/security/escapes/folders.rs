//! File capabilities against a hostile work folder: every operation, through links, past races, at things that are no files.
//! Beside `/workspace` and `/tmp` a jail can write to `/dev/shm`: what lands or is read there has left the work folder.
use super::oddities::RACE_MAX;
use super::probe::Stage::Capability;
use super::probe::{Attempt, Class, Control, Layer, Probe, probe, word};
use super::trial::{run, spawn};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tenure_sandbox::protocol::{Operation, Refusal, WriteMode};
use tenure_sandbox::{Client, Error};

type Deed = fn(&mut Attempt<'_>) -> String;
/// One file capability on one path; what was read, if it reads.
type Use = fn(&mut Client, &str) -> Result<String, Error>;

/// Tries of one round of a race; each is an operation while a program swaps a folder and a link.
const TRIES: usize = 40;

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
    client.edit(path, "T", "T BREACH", None).map(|_| String::new())
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

/// Deletes a file of its own and has it restored to another path, whose folder is to be made.
fn restore(client: &mut Client, path: &str) -> Result<String, Error> {
    client.write("victim", b"BREACH", WriteMode::Overwrite)?;
    let Some(trashed) = client.delete("victim", false)? else { return Ok("not kept".to_owned()) };
    client.restore(&trashed, Some(&format!("{}/deep", another(path))))
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

/// All ways out by one operation.
fn ways(attempt: &mut Attempt<'_>, operation: Use) -> String {
    run(attempt, LINKS);
    let (mut refused, mut shown, mut odd) = (0, false, Vec::new());
    for way in WAYS {
        let result = operation(&mut attempt.client, way);
        shown |= result.as_deref().is_ok_and(lies_outside);
        match word(result).as_str() {
            "Escape" => refused += 1,
            said => odd.push(format!("{way}: {said}")),
        }
    }
    match (refused, shown || is_changed(attempt)) {
        (all, false) if all == WAYS.len() => "Escape".to_owned(),
        (0, true) => "all lead out".to_owned(),
        (_, reached) => format!("outside was reached: {reached}; {}", odd.join(", ")),
    }
}

/// Whether an answer can only have come from outside.
fn lies_outside(said: &str) -> bool {
    said.contains("OUTSIDE") || said == OUTSIDE_BYTES
}

/// Whether what lies outside is not as it was.
fn is_changed(attempt: &mut Attempt<'_>) -> bool {
    let check = r"
        try: found = {entry: open('/dev/shm/' + entry).read() for entry in os.listdir('/dev/shm')}
        except OSError as error: found = error
        say('kept' if found == {'same': 'OUTSIDE', 'OUTSIDE-TOO': 'OUTSIDE'} else 'changed')
        ";
    run(attempt, check) != "kept"
}

const fn leads_out(id: &'static str, tries: &'static str, deed: Deed) -> Probe {
    let control = Control::Without(&[Layer::Paths], "all lead out");
    probe(id, tries, Capability(deed), (Layer::Paths, "Escape"), control)
}

/// Swaps `swap` between a folder with a file and a link out, as fast as it can, and so it does with `file`. What was deleted is
/// made again, or the race would be over with the first one.
const SWAPPER: &str = r"
    os.mkdir('swap'); os.symlink('/dev/shm', 'link'); open('swap/same', 'w').write('INSIDE T')
    open('file', 'w').write('INSIDE T'); os.symlink('/dev/shm/same', 'away')
    for entry in ('same', 'OUTSIDE-TOO'): open('/dev/shm/' + entry, 'w').write('OUTSIDE')
    folder = os.open('swap', os.O_PATH)
    exchange = 316 if _machine == 0 else 276
    os.write(1, b'swapping\n')
    while True:
        attempt(lambda: os.close(os.open('same', os.O_WRONLY | os.O_CREAT, dir_fd=folder)))
        call(exchange, -100, b'swap', -100, b'link', 2)
        if call(exchange, -100, b'file', -100, b'away', 2) == 'ENOENT':
            for entry in ('file', 'away'): attempt(os.unlink, entry)
            attempt(os.symlink, '/dev/shm/same', 'away')
            attempt(lambda: open('file', 'x').write('INSIDE T'))
    ";

/// One operation again and again while a program swaps what the path means, until both ends of the race were seen.
fn race(attempt: &mut Attempt<'_>, operation: Use) -> String {
    let swapper = spawn(attempt, SWAPPER);
    let id = attempt.client.send(Operation::Spawn(swapper), b"").expect("it is sent");
    while !matches!(attempt.client.answer(id), Ok((_, said)) if said == b"swapping\n") {}
    let (mut inside, mut refused, mut other) = (0, 0, None);
    let began = Instant::now();
    while inside == 0 || refused == 0 {
        for path in ["swap/same", "file"].repeat(TRIES) {
            match operation(&mut attempt.client, path) {
                Ok(said) if lies_outside(&said) => return "got outside".to_owned(),
                // Some operations on a link are done to the link itself, so only a folder's ends tell that it was a race.
                Ok(_) => inside += usize::from(path != "file"),
                Err(Error::Refused(Refusal::Escape)) => refused += usize::from(path != "file"),
                // What an operation before it, or the swapper, left there.
                Err(Error::Refused(refusal)) => other = Some(refusal),
                Err(error) => return error.to_string(),
            }
        }
        if is_changed(attempt) {
            return "got outside".to_owned();
        }
        if began.elapsed() > RACE_MAX {
            return format!("no race: {inside} inside, {refused} refused, else {other:?}");
        }
    }
    if std::env::var_os("TENURE_ESCAPES_SHOW").is_some() {
        println!("a race: {inside} inside, {refused} refused");
    }
    "never outside".to_owned()
}

const fn raced(id: &'static str, tries: &'static str, deed: Deed) -> Probe {
    let control = Control::Without(&[Layer::Paths], "got outside");
    probe(id, tries, Capability(deed), (Layer::Paths, "never outside"), control)
        .source("CVE-2026-39861; CVE-2018-15664, CVE-2021-30465")
}

/// A file of the host's that is nowhere in a jail's view; that is the layer behind the paths.
fn of_host(attempt: &mut Attempt<'_>) -> String {
    let path = attempt.environment.iter().find(|(name, _)| name == "HOST_FILE").map(|(_, path)| path.clone());
    let path = path.expect("every probe is told of it");
    run(attempt, "os.symlink('/', 'root')\nos.symlink(E['HOST_FILE'], 'link')\nsay('made')");
    let ways = [format!("/proc/self/root{path}"), format!("..{path}"), format!("root{path}"), "link".to_owned()];
    let answers: Vec<String> = ways
        .iter()
        .map(|way| {
            // A link into the jail's own /tmp leads on, as it would for any program inside: it is asked for where it leads.
            let said = match read(&mut attempt.client, way) {
                Err(Error::Refused(Refusal::Redirected { path })) => read(&mut attempt.client, &path),
                said => said,
            };
            match said {
                Ok(said) if said.contains("CANARY") => "read".to_owned(),
                other => word(other),
            }
        })
        .collect();
    if answers.iter().all(|answer| ["Escape", "NotFound"].contains(&answer.as_str())) {
        return "nothing is there".to_owned();
    }
    if answers.iter().all(|answer| *answer == answers[0]) { answers[0].clone() } else { answers.join(" ") }
}

pub const CLASS: Class = Class {
    name: "file capabilities",
    probes: &[
        leads_out("folders/out-read", "reads through every way out of the work folder", |a| ways(a, read)),
        leads_out("folders/out-write", "writes through every way out", |a| ways(a, write)),
        leads_out("folders/out-create", "makes files through every way out", |a| ways(a, create)),
        leads_out("folders/out-append", "appends through every way out", |a| ways(a, extend)),
        leads_out("folders/out-edit", "edits through every way out", |a| ways(a, edit)),
        leads_out("folders/out-list", "lists through every way out", |a| ways(a, list)),
        leads_out("folders/out-stat", "looks through every way out", |a| ways(a, stat)),
        leads_out("folders/out-delete", "deletes through every way out", |a| ways(a, delete)),
        leads_out("folders/out-restore", "has a deleted file restored through every way out", |a| ways(a, restore)),
        probe(
            "folders/host-file",
            "reads a file of the host's by its path, by links, and through the root",
            Capability(of_host),
            (Layer::Paths, "nothing is there"),
            Control::Without(&[Layer::Paths, Layer::View], "read"),
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
