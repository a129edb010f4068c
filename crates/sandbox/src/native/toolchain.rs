//! Which languages programs inside can be written in, found by asking each program for its version.
//! Must never: look beyond the folders that a jail shows, wait for one that does not answer, or hold up a start.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::channel as descriptors;
use crate::sys;

/// How long a program may take to tell its version.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often one that is late is asked, a look each.
const ASKED_MAX: u32 = 3;
/// Most of what it says that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// Versions can wait; what else starts meanwhile cannot.
const NICENESS: i32 = 19;
/// The one that starts wait for.
const FIRST: &str = "python";
const STACK_BYTES: usize = 128 << 10;
/// Folders that a jail shows as they are.
const SHOWN: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"];

/// A language, by the program that runs or compiles it.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    /// As a manifest names it.
    language: &'static str,
    program: &'static str,
    asking: Lookup,
}

#[derive(Debug, PartialEq, Eq)]
enum Lookup {
    /// With these arguments it prints its version.
    By(&'static [&'static str]),
    /// It cannot be asked, but being there means this.
    Always(&'static str),
}

const fn kind(language: &'static str, program: &'static str, arguments: &'static [&'static str]) -> Kind {
    Kind { language, program, asking: Lookup::By(arguments) }
}

const KINDS: [Kind; 13] = [
    kind("python", "python3", &["-V"]),
    kind("node", "node", &["--version"]),
    kind("ruby", "ruby", &["--disable=gems", "--version"]),
    kind("perl", "perl", &["-e", "print $^V"]),
    kind("php", "php", &["-n", "-v"]),
    kind("go", "go", &["version"]),
    kind("rust", "rustc", &["--version"]),
    kind("java", "java", &["-version"]),
    kind("bash", "bash", &["--version"]),
    Kind { language: "sh", program: "sh", asking: Lookup::Always("posix") },
    kind("lua", "lua", &["-v"]),
    kind("c", "gcc", &["-dumpfullversion", "-dumpversion"]),
    kind("c++", "g++", &["-dumpfullversion", "-dumpversion"]),
];

/// A language that programs inside can be written in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Toolchain {
    /// As a manifest names it: `python`, `node`.
    pub language: &'static str,
    /// As in `3.11.7`.
    pub version: String,
}

/// What is known of this host's languages. It is asked once; `again` asks only programs whose file changed.
#[derive(Debug)]
pub struct Toolchains {
    answers: Receiver<Answer>,
    sender: Sender<Answer>,
    known: Vec<Known>,
}

/// One program's file, told apart from another one at the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    stamp: (u64, i64, i64, u64),
}

#[derive(Debug)]
struct Known {
    kind: &'static Kind,
    program: Program,
    /// None while it is asked.
    told: Option<VersionAnswer>,
    asked: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum VersionAnswer {
    Version(String),
    Nothing,
    /// It did not end in time, as on a host that is busy.
    Late,
}

impl Known {
    fn is_waiting(&self) -> bool {
        self.told.is_none()
    }

    fn is_settled(&self) -> bool {
        self.told != Some(VersionAnswer::Late) || self.asked >= ASKED_MAX
    }
}

#[derive(Debug)]
struct Answer {
    kind: &'static Kind,
    program: Program,
    told: VersionAnswer,
}

impl Toolchains {
    /// Begins to look, and returns at once.
    pub fn begin() -> Self {
        let (sender, answers) = channel();
        let mut all = Self { answers, sender, known: Vec::new() };
        all.ask_changed();
        all
    }

    /// What has answered; waits for the rest until `patience` is over.
    pub fn within(&mut self, patience: Duration) -> Vec<Toolchain> {
        self.wait_until(Instant::now() + patience, |_| false);
        let told = |known: &Known| match &known.told {
            Some(VersionAnswer::Version(version)) => {
                Some(Toolchain { language: known.kind.language, version: version.clone() })
            }
            Some(VersionAnswer::Nothing | VersionAnswer::Late) | None => None,
        };
        self.known.iter().filter_map(told).collect()
    }

    /// Waits for one of them alone, if it is there, until `patience` is over.
    pub fn wait_for(&mut self, language: &str, patience: Duration) {
        if self.known.iter().any(|known| known.kind.language == language && known.is_waiting()) {
            self.wait_until(Instant::now() + patience, |answer| answer.kind.language == language);
        }
    }

    fn wait_until(&mut self, deadline: Instant, enough: impl Fn(&Answer) -> bool) {
        while self.known.iter().any(Known::is_waiting) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(answer) = self.answers.recv_timeout(left) else { return };
            let enough = enough(&answer);
            // One whose file changed since is asked again.
            let same = |known: &&mut Known| known.kind == answer.kind && known.program == answer.program;
            if let Some(known) = self.known.iter_mut().find(same) {
                known.told = Some(answer.told);
            }
            if enough {
                return;
            }
        }
    }

    /// Asks those that came or changed since, and waits until all have told, for some seconds at most.
    pub fn again(&mut self) -> Vec<Toolchain> {
        self.ask_changed();
        self.within(ANSWER_TIMEOUT)
    }

    fn ask_changed(&mut self) {
        for kind in &KINDS {
            let found = locate(kind.program);
            let mut asked = 0;
            if let Some(at) = self.known.iter().position(|known| known.kind == kind) {
                let same = found.as_ref() == Some(&self.known[at].program);
                if same && self.known[at].is_settled() {
                    continue;
                }
                let before = self.known.remove(at);
                asked = if same { before.asked } else { 0 };
            }
            let Some(program) = found else { continue };
            // What no thread asks is not known; the next look tries again.
            if self.ask(kind, program.clone()) {
                self.known.push(Known { kind, program, told: None, asked: asked + 1 });
            }
        }
    }

    /// Whether an answer will come.
    fn ask(&self, kind: &'static Kind, program: Program) -> bool {
        let sender = self.sender.clone();
        let asking = move || {
            if kind.language != FIRST {
                // Where it is not permitted, the answers only come at other processes' cost.
                let _ = rustix::process::nice(NICENESS);
            }
            let told = match kind.asking {
                Lookup::By(arguments) => version(&program.path, arguments),
                Lookup::Always(version) => VersionAnswer::Version(version.to_owned()),
            };
            let _ = sender.send(Answer { kind, program, told });
        };
        let thread = std::thread::Builder::new().name(kind.language.to_owned()).stack_size(STACK_BYTES);
        thread.spawn(asking).is_ok()
    }
}

/// The program of that name that a jail shows, looked up as the jail's `PATH` does.
fn locate(name: &str) -> Option<Program> {
    let folders = crate::spec::PATH.split(':').filter(|folder| SHOWN.iter().any(|shown| folder.starts_with(shown)));
    folders.map(|folder| Path::new(folder).join(name)).find_map(|path| {
        let real = path.canonicalize().ok().filter(|real| SHOWN.iter().any(|shown| real.starts_with(shown)))?;
        let found = fs::metadata(&real).ok().filter(|found| found.is_file() && found.mode() & 0o111 != 0)?;
        Some(Program { path, stamp: (found.ino(), found.mtime(), found.mtime_nsec(), found.size()) })
    })
}

fn version(program: &Path, arguments: &[&str]) -> VersionAnswer {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    match run(program, arguments, deadline) {
        Ok(Some(said)) => parse(&said).map_or(VersionAnswer::Nothing, VersionAnswer::Version),
        Ok(None) => VersionAnswer::Nothing,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => VersionAnswer::Late,
        Err(_) => VersionAnswer::Nothing,
    }
}

/// What it says, if it ends well.
fn run(program: &Path, arguments: &[&str], deadline: Instant) -> io::Result<Option<String>> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null());
    command.stdout(writer.try_clone()?).stderr(writer);
    sys::die_with_parent(&mut command);
    let mut child = command.spawn()?;
    drop(command);
    let said = read(reader, deadline);
    let well = ended_well(&mut child, deadline);
    let said = said?;
    Ok(well?.then_some(said))
}

fn read(mut reader: io::PipeReader, deadline: Instant) -> io::Result<String> {
    let (mut said, mut chunk) = (Vec::new(), [0; 1024]);
    while said.len() < ANSWER_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if !descriptors::readable(&reader, left)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match reader.read(&mut chunk)? {
            0 => break,
            count => said.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn ended_well(child: &mut Child, deadline: Instant) -> io::Result<bool> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Ok(None) | Err(_) => {
                // One that cannot be killed is the host's to clean up.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// The first number with dots, or without, that the text holds. Java's old numbering counts from its second part.
fn parse(said: &str) -> Option<String> {
    let start = said.find(|c: char| c.is_ascii_digit())?;
    let end = said[start..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(said.len(), |end| start + end);
    let version = said[start..end].trim_end_matches('.');
    let version = if said.contains("version \"1.") { version.trim_start_matches("1.") } else { version };
    Some(version.to_owned())
}

/// The host's `python3` that a jail shows, for its `python` link.
pub(crate) fn host_python() -> Option<PathBuf> {
    locate("python3").map(|program| program.path)
}

/// The version of the Python that programs inside get, for example `3.11.2`; None if there is none.
pub fn host_python_version() -> Option<String> {
    match version(&host_python()?, &["-V"]) {
        VersionAnswer::Version(version) => Some(version),
        VersionAnswer::Nothing | VersionAnswer::Late => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_that_is_asked_does_not_outlive_whoever_asks() {
        let asked = |with_parent: bool| {
            let asking = move || {
                let mut command = Command::new("/bin/sleep");
                command.arg("60");
                if with_parent {
                    sys::die_with_parent(&mut command);
                }
                command.spawn().unwrap()
            };
            std::thread::spawn(asking).join().unwrap()
        };
        assert_eq!(asked(true).wait().unwrap().to_string(), "signal: 9 (SIGKILL)");
        // The control: without it, it goes on until it is killed by another signal.
        let mut control = asked(false);
        sys::kill(i32::try_from(control.id()).unwrap(), 15).unwrap();
        assert_eq!(control.wait().unwrap().to_string(), "signal: 15 (SIGTERM)");
    }

    #[test]
    fn a_version_is_found_in_what_each_program_prints() {
        for (said, version) in [
            ("Python 3.11.7\n", "3.11.7"),
            ("v20.18.1\n", "20.18.1"),
            ("ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]\n", "3.1.2"),
            ("PHP 8.2.29 (cli) (built: Jul  3 2025 16:16:05) (NTS)\n", "8.2.29"),
            ("go version go1.19.8 linux/amd64\n", "1.19.8"),
            ("rustc 1.63.0 (4b91a6ea7 2022-08-08)\n", "1.63.0"),
            ("openjdk version \"21\" 2023-09-19\nOpenJDK Runtime Environment\n", "21"),
            ("openjdk version \"1.8.0_392\"\n", "8.0"),
            ("GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)\n", "5.2.15"),
            ("Lua 5.4.4  Copyright (C) 1994-2022 Lua.org, PUC-Rio\n", "5.4.4"),
            ("12.2.0\n", "12.2.0"),
        ] {
            assert_eq!(parse(said).as_deref(), Some(version), "{said}");
        }
        assert_eq!(parse("no number at all"), None);
    }

    #[test]
    fn a_program_that_hangs_or_fails_has_no_version_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let known = |version: &str| VersionAnswer::Version(version.to_owned());
        // A busy host may be late with any of them.
        let asked = |program: PathBuf| {
            let mut tries = std::iter::repeat_with(|| version(&program, &[])).take(30);
            tries.find(|told| *told != VersionAnswer::Late).unwrap_or(VersionAnswer::Late)
        };
        assert_eq!(asked(program("good", "#!/bin/sh\necho version 4.2")), known("4.2"));
        assert_eq!(asked(program("errs", "#!/bin/sh\necho version 4.2 >&2")), known("4.2"));
        assert_eq!(asked(program("fails", "#!/bin/sh\necho 4.2; exit 3")), VersionAnswer::Nothing);
        assert_eq!(version(&program("hangs", "#!/bin/sh\nexec sleep 1000"), &[]), VersionAnswer::Late);
        let endless = "#!/bin/sh\nwhile true; do echo no number here; done";
        assert!(!matches!(version(&program("endless", endless), &[]), VersionAnswer::Version(_)));
    }

    #[test]
    fn what_was_asked_is_asked_again_only_when_its_file_changed_or_it_was_late() {
        let mut all = Toolchains::begin();
        let settle = |all: &mut Toolchains| {
            (0..ASKED_MAX).for_each(|_| drop(all.again()));
            all.wait_until(Instant::now() + Duration::from_secs(60), |_| false);
            all.within(Duration::ZERO)
        };
        let found = settle(&mut all);
        assert!(found.iter().any(|toolchain| toolchain.language == "sh"), "{found:?}");
        let waiting = |all: &Toolchains| all.known.iter().filter(|known| known.is_waiting()).count();
        assert_eq!(waiting(&all), 0);
        // Who was late on a busy host is asked no more.
        all.known.iter_mut().for_each(|known| known.asked = ASKED_MAX);
        all.ask_changed();
        assert_eq!(waiting(&all), 0, "nothing changed");
        all.known[0].program.stamp.3 += 1;
        all.ask_changed();
        assert_eq!(waiting(&all), 1);
        settle(&mut all);
        let changed = &mut all.known[0];
        (changed.told, changed.asked) = (Some(VersionAnswer::Late), 1);
        all.ask_changed();
        assert_eq!(waiting(&all), 1, "who was late is asked again");
        settle(&mut all);
        let late = &mut all.known[0];
        (late.told, late.asked) = (Some(VersionAnswer::Late), ASKED_MAX);
        all.ask_changed();
        assert_eq!(waiting(&all), 0, "but not for ever");
    }
}
