//! `cargo xtask vm`: the sandbox's own tests in a small virtual machine with a kernel and control groups of its own, whatever
//! this host has. Needs no virtualization in hardware: qemu emulates. Must never: leave a guest or its disk behind, or call a
//! place held whose suite did not count itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::test::{Count, counted, skipped};
use crate::{install, step};

mod kernel;
mod disk;

use kernel::Kernel;

const QEMU: &str = "qemu-system-x86_64";
/// How the guest's own program begins what it says to us.
const MARK: &str = "@@ ";
/// How the suite begins a line with the level that its jails reached.
const LEVEL: &str = "level: ";
/// Lines of the console that may wait to be read.
const LINES_MAX: usize = 1024;
/// Of a failed suite's console, shown at the end.
const TAIL_LINES_MAX: usize = 200;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which control groups the guest has.
    #[arg(long, value_enum, default_value_t = Groups::V2)]
    cgroup: Groups,
    /// Only in these places of the guest.
    #[arg(long = "in", value_enum, value_delimiter = ',')]
    places: Vec<Place>,
    /// A kernel image to boot, with NVMe and ext4 built in (and for quotas loop and quota_v2); without it, Debian's for clouds.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// Run the worker's tests instead of the sandbox's.
    #[arg(long)]
    worker: bool,
    /// After so many minutes the guest is ended, and the run has failed.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    /// For the suite, as in `-- limits:: --test-threads=1`.
    #[arg(last = true)]
    suite: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Groups {
    V2,
    None,
}

/// Who runs the suite, and in which group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    /// Root, in the hierarchy's root.
    Root,
    /// As root, with every jail from the pool.
    Pooled,
    /// Root, in a group of its own beneath another, as a service of systemd's is.
    Service,
    /// An ordinary user to whom the group around its own was given (DelegateSubgroup=).
    Delegated,
    /// An ordinary user to whom only the group that it is in was given: nothing in it can be limited.
    Occupied,
    /// An ordinary user that may make no group.
    User,
    /// Root, where no control groups are mounted.
    RootBare,
    /// An ordinary user, where no control groups are mounted.
    UserBare,
}

impl Place {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn groups(self) -> Groups {
        match self {
            Self::Root | Self::Pooled | Self::Service | Self::Delegated | Self::Occupied | Self::User => Groups::V2,
            Self::RootBare | Self::UserBare => Groups::None,
        }
    }
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let places = places(arguments)?;
    if std::env::consts::ARCH != "x86_64" {
        bail!("the guest is x86_64 and runs this host's programs, which are {}", std::env::consts::ARCH);
    }
    for (program, package) in [(QEMU, "qemu-system-x86"), ("mkfs.ext4", "e2fsprogs"), ("setpriv", "util-linux")] {
        if !install::on_path(program) && !Path::new("/usr/sbin").join(program).exists() {
            bail!("{program} is missing: sudo apt-get install --no-install-recommends {package}");
        }
    }
    let suite = disk::build(root, arguments.worker)?;
    let folder = suite.target.join("vm");
    let kernel = match &arguments.kernel {
        Some(path) => Kernel { image: path.clone(), modules: Vec::new() },
        None => kernel::fetched(&folder)?,
    };
    let begun = Instant::now();
    let disk = disk::Disk::make(&folder, &suite, &kernel, &arguments.suite)?;
    step::done("the guest's disk", begun);
    let deadline = begun + Duration::from_secs(arguments.minutes * 60);
    let outcome = Guest::boot(&kernel.image, &disk.image(), &places)?.watch(&places, deadline)?;
    println!("{}", outcome.line());
    Ok(if outcome.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Those that were named, or all that go with the control groups.
fn places(arguments: &Arguments) -> Result<Vec<Place>> {
    if arguments.places.is_empty() {
        let all = Place::value_variants().iter().copied();
        return Ok(all.filter(|place| place.groups() == arguments.cgroup).collect());
    }
    if let Some(place) = arguments.places.iter().find(|place| place.groups() != arguments.cgroup) {
        bail!("`--in {}` does not go with `--cgroup {:?}`", place.name(), arguments.cgroup);
    }
    Ok(arguments.places.clone())
}

/// A running machine. Dropping it ends it.
struct Guest {
    qemu: Child,
    console: Receiver<String>,
}

impl Guest {
    fn boot(kernel: &Path, image: &Path, places: &[Place]) -> Result<Self> {
        let names: Vec<String> = places.iter().map(|place| place.name()).collect();
        let line = format!(
            "root=/dev/nvme0n1 rootfstype=ext4 rw init=/init console=ttyS0 loglevel=3 panic=-1 TENURE_PLACES={}",
            names.join(",")
        );
        let drive = format!("file={},if=none,id=disk,format=raw,cache=unsafe", image.display());
        // The machine ends with us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", QEMU, "-accel", "tcg,thread=multi", "-cpu", "max"]);
        command.args(["-machine", "q35", "-smp", "2", "-m", "2G", "-nodefaults", "-nographic", "-no-reboot"]);
        command.args(["-serial", "stdio", "-nic", "none", "-append", &line, "-drive", &drive]);
        command.args(["-device", "nvme,drive=disk,serial=disk", "-kernel"]).arg(kernel);
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{QEMU} cannot be started"))?;
        let output = qemu.stdout.take().context("its output is piped")?;
        let (lines, console) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if lines.send(text).is_err() {
                    return;
                }
            }
        });
        Ok(Self { qemu, console })
    }

    /// Reads the console until the guest is off, and says how each place went.
    fn watch(mut self, places: &[Place], deadline: Instant) -> Result<Count> {
        let mut report = Report::default();
        loop {
            match self.console.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => report.hear(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    report.show();
                    bail!("the guest was not done in time; `--minutes` gives it more");
                }
            }
        }
        let status = self.qemu.wait()?;
        if !status.success() || report.ended != places.len() {
            report.show();
            bail!("the guest ended ({status}) after {} of {} places", report.ended, places.len());
        }
        Ok(report.sum)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Ended already is what was wanted.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// What the console said.
#[derive(Default)]
struct Report {
    sum: Count,
    ended: usize,
    /// When the place that is running began.
    begun: Option<Instant>,
    /// What was said there.
    said: Vec<String>,
}

impl Report {
    fn hear(&mut self, line: &str) {
        // The firmware does not end its last line.
        let Some((_, told)) = line.split_once(MARK) else {
            self.said.push(line.to_owned());
            return;
        };
        match told.split_once(' ') {
            Some(("run", _)) => (self.begun, self.said) = (Some(Instant::now()), Vec::new()),
            Some(("end", told)) => self.end(told),
            _ => println!("  {told}"),
        }
    }

    /// The place that ended, and its suite's exit code.
    fn end(&mut self, told: &str) {
        let (place, code) = told.split_once(' ').unwrap_or((told, "no code"));
        let text = self.said.join("\n");
        let mut count = counted(&text).unwrap_or_default();
        let whys = skipped(&text);
        count.passed = count.passed.saturating_sub(whys.len() as u64);
        count.skipped += whys.len() as u64;
        if count.failed == 0 && (code != "0" || count.passed == 0) {
            // It ended without a test that says why.
            count.failed = 1;
        }
        let seconds = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        println!("  {place}: {} ({seconds:.1} s)", count.line());
        let levels = text.lines().filter(|line| line.starts_with(LEVEL));
        levels.chain(whys).for_each(|line| println!("    {line}"));
        if count.failed > 0 {
            self.show();
        }
        self.sum.add(count);
        self.ended += 1;
    }

    fn show(&self) {
        let lines: Vec<&String> = self.said.iter().filter(|line| !line.ends_with("... ok")).collect();
        lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].iter().for_each(|line| eprintln!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(console: &str) -> Report {
        let mut report = Report::default();
        console.lines().for_each(|line| report.hear(line));
        report
    }

    #[test]
    fn a_place_is_counted_by_what_its_suite_says_and_fails_where_it_says_nothing() {
        let ok = "BIOS@@ kernel 6.1\n@@ run root\ntest result: ok. 5 passed; 0 failed; 1 ignored\nskipped: no v1\n@@ end root 0\n";
        assert_eq!(heard(ok).sum, Count { passed: 4, failed: 0, skipped: 2 });
        let silent =
            heard("@@ run root\n@@ end root 0\n@@ run user\ntest result: ok. 5 passed; 0 failed\n@@ end user 99\n");
        assert_eq!((silent.sum, silent.ended), (Count { passed: 5, failed: 2, skipped: 0 }, 2));
        assert_eq!(heard("@@ run root\ntest result: ok. 5 passed; 0 failed").ended, 0, "it never ended");
    }

    #[test]
    fn places_and_control_groups_have_to_go_together() {
        let arguments = |cgroup, places: &[Place]| Arguments {
            cgroup,
            places: places.to_vec(),
            kernel: None,
            worker: false,
            minutes: 1,
            suite: Vec::new(),
        };
        assert_eq!(places(&arguments(Groups::None, &[])).unwrap(), [Place::RootBare, Place::UserBare]);
        assert_eq!(places(&arguments(Groups::V2, &[])).unwrap().len(), 6);
        let error = places(&arguments(Groups::V2, &[Place::UserBare])).unwrap_err().to_string();
        assert!(error.contains("user-bare"), "{error}");
    }
}
