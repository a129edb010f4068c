//! What this host enforces, layer by layer, found out by trying. Must never: report a layer that no trial confirmed.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::container::Engine;
use crate::error::{Error, Layer};
use crate::level::{Level, Meter};
use crate::native::cgroup::{Cgroups, Controller};
use crate::native::toolchain::{Toolchain, Toolchains};
use crate::native::zygote::Zygote;
use crate::spec::{Identity, PoolSize, Spec};
use crate::sys;

/// One layer or limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub enforced: bool,
    /// What was found, for example `Landlock ABI 7` or the kernel's refusal.
    pub why: String,
    /// What to do to get it, or to get more of it.
    pub advice: Option<String>,
    /// Whether a jail opens without it.
    pub required: bool,
}

/// All findings, with the level that a jail reached here; None if none opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub level: Option<Level>,
    pub findings: Vec<Finding>,
    /// The languages that programs inside can be written in.
    pub toolchains: Vec<Toolchain>,
    pub engine: Answer,
}

/// The container engine beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    Absent {
        why: String,
    },
    Present {
        name: &'static str,
        version: String,
        images: usize,
        /// What it says that it holds; a container's own level is found out when it opens.
        level: Level,
    },
}

impl Answer {
    /// What is there, and what to do to get it or to use it.
    fn lines(&self) -> [String; 2] {
        match self {
            Answer::Present { name, version, images, level } => {
                let held = [("memory", level.memory), ("pids", level.pids), ("cpu", level.cpu)];
                let whole: Vec<&str> =
                    held.iter().filter(|(_, meter)| *meter == Meter::Engine).map(|(name, _)| *name).collect();
                let held = if whole.is_empty() { "nothing".to_owned() } else { whole.join(", ") };
                let plural = if *images == 1 { "image" } else { "images" };
                [
                    format!("{name} {version}, with {images} {plural}; it bounds {held} of a container as a whole"),
                    format!(
                        "`isolation: docker` runs agents in it; get images with `{name} pull`, nothing is pulled unasked"
                    ),
                ]
            }
            Answer::Absent { why } => [
                format!("no engine answers: {why}"),
                "only agents that ask for an image need one: start Docker or Podman, or name its socket in DOCKER_HOST"
                    .to_owned(),
            ],
        }
    }
}

impl Report {
    /// Whether jails open on this host.
    pub fn usable(&self) -> bool {
        self.level.is_some()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = if finding.enforced { "yes" } else { "NO " };
            writeln!(f, "{mark}  {:<14} {}", finding.name, finding.why)?;
            if let Some(advice) = &finding.advice {
                writeln!(f, "     {:<14} {advice}", "")?;
            }
        }
        let found: Vec<String> = self.toolchains.iter().map(|it| format!("{} {}", it.language, it.version)).collect();
        match found.as_slice() {
            [] => writeln!(f, "     {:<14} none inside: install python3, or another, under /usr", "languages")?,
            found => writeln!(f, "     {:<14} {} inside", "languages", found.join(", "))?,
        }
        let [found, advice] = self.engine.lines();
        writeln!(f, "     {:<14} {found}\n     {:<14} {advice}", "containers", "")
    }
}

/// Opens one jail in a new folder beneath `scratch` with `exe` (see `Zygote::start`) and reports what held it. Ids beneath
/// `identity` must be free to use; as root they may not be 0.
pub fn check(exe: &Path, scratch: &Path, identity: Identity) -> Result<Report, Error> {
    let mut toolchains = Toolchains::begin();
    let engine = std::thread::spawn(ask_engine);
    let folder = scratch.join(format!("sandbox-check-{}", std::process::id()));
    let work = folder.join("work");
    std::fs::create_dir_all(&work).map_err(Error::io(format!("make {}", work.display())))?;
    let outcome = trial(exe, &folder, Spec::new(&work, identity));
    std::fs::remove_dir_all(&folder).map_err(Error::io(format!("remove {}", folder.display())))?;
    let outcome = outcome?;
    let mut findings = vec![namespaces(&outcome), landlock(&outcome), seccomp(&outcome)];
    let cgroups = Cgroups::detect().map_err(Error::io("look for control groups"))?;
    findings.push(meter("memory", cgroups.meter(Controller::Memory, Meter::Rlimit)));
    findings.push(meter("pids", cgroups.meter(Controller::Pids, Meter::Rlimit)));
    findings.push(meter("cpu", cgroups.meter(Controller::Cpu, Meter::None)));
    let engine =
        engine.join().map_err(|_| Error::io("ask the container engine")(std::io::Error::other("a thread failed")))?;
    Ok(Report { level: outcome.ok(), findings, toolchains: toolchains.again(), engine: engine? })
}

/// In a runtime of its own: whoever calls `check` may be in another.
fn ask_engine() -> Result<Answer, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("make a runtime"))?;
    Ok(runtime.block_on(async {
        let found = match Engine::connect().await {
            Ok(engine) => engine.images().await.map(|images| (engine, images.len())).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match found {
            Ok((engine, images)) => {
                let (name, version, level) = (engine.name(), engine.version().to_owned(), engine.level());
                Answer::Present { name, version, images, level }
            }
            Err(why) => Answer::Absent { why },
        }
    }))
}

type Outcome = Result<Level, crate::error::Failure>;

fn trial(exe: &Path, folder: &Path, spec: Spec) -> Result<Outcome, Error> {
    let zygote = Zygote::start_with(exe, &folder.join("run"), PoolSize::None)?;
    match zygote.open(&spec) {
        Ok(jail) => {
            jail.kill()?;
            Ok(Ok(jail.level().clone()))
        }
        Err(Error::Layer(failure)) => Ok(Err(failure)),
        Err(other) => Err(other),
    }
}

fn namespaces(outcome: &Outcome) -> Finding {
    let name = "namespaces";
    match outcome {
        Err(failure) if !matches!(failure.layer, Layer::Landlock | Layer::Seccomp) => Finding {
            name,
            enforced: false,
            why: failure.to_string(),
            advice: Some(failure.hint().to_owned()),
            required: true,
        },
        Ok(_) | Err(_) => Finding {
            name,
            enforced: true,
            why: "user, mount, pid, net, ipc, uts and cgroup; own root; no capabilities".to_owned(),
            advice: None,
            required: true,
        },
    }
}

fn landlock(outcome: &Outcome) -> Finding {
    let abi = outcome.as_ref().map_or_else(|_| sys::landlock_abi(), |level| level.landlock);
    let advice = match abi {
        0 => Some("boot with `lsm=landlock,…` on a kernel built with CONFIG_SECURITY_LANDLOCK".to_owned()),
        1..=3 => Some("a kernel of 6.7 or newer also closes TCP, one of 6.12 signals between jails".to_owned()),
        _ => None,
    };
    let why = if abi == 0 { "the kernel has no Landlock".to_owned() } else { format!("ABI {abi}") };
    Finding { name: "landlock", enforced: abi > 0, why, advice, required: false }
}

fn seccomp(outcome: &Outcome) -> Finding {
    let enforced = outcome.as_ref().map_or_else(|_| sys::seccomp_errno_available(), |level| level.seccomp);
    let why = if enforced { "an allow-list of system calls" } else { "the kernel has no seccomp filters" };
    let advice = (!enforced).then(|| "use a kernel built with CONFIG_SECCOMP_FILTER".to_owned());
    Finding { name: "seccomp", enforced, why: why.to_owned(), advice, required: true }
}

fn meter(name: &'static str, meter: Meter) -> Finding {
    let delegate = "for limits on the whole jail, run the worker as root or in a cgroup delegated to its user \
                    (systemd: Delegate=yes and DelegateSubgroup=worker)";
    let (enforced, why, advice) = match meter {
        Meter::CgroupV2 => (true, "cgroup v2", None),
        Meter::CgroupV1 => (true, "cgroup v1", None),
        Meter::Engine => (true, "the container engine", None),
        Meter::Rlimit => (true, "resource limits, of each process and not of all together", Some(delegate)),
        Meter::None => (false, "no cgroup that this user may make holds it", Some(delegate)),
    };
    Finding { name, enforced, why: why.to_owned(), advice: advice.map(str::to_owned), required: false }
}
