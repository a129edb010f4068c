//! Control groups, v2 or v1, wherever this process may make them. Must never: touch a group that is not named `tenure-…`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Failure, Layer};
use crate::level::Meter;
use crate::limits::Limits;
use crate::native::{freeze, tally};
use crate::sys;

/// In v1.
const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
const CPU_PERIOD_MICROS: u64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    /// The file that holds the limit, in v2 and in v1.
    pub(crate) fn file(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, Version::V2) => "memory.max",
            (Self::Memory, Version::V1) => "memory.limit_in_bytes",
            (Self::Pids, _) => "pids.max",
            (Self::Cpu, Version::V2) => "cpu.max",
            (Self::Cpu, Version::V1) => "cpu.cfs_quota_us",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V2,
    V1,
}

/// Where groups can be made, found once.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    /// Parent folder in the v2 hierarchy and the controllers that work beneath it.
    v2: Option<(PathBuf, Vec<Controller>)>,
    v1: Vec<(Controller, PathBuf)>,
    /// Parent folder in v1's hierarchy for freezing; None where v2 freezes.
    freezer: Option<PathBuf>,
}

/// The groups of one jail.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) v2: Option<PathBuf>,
    v1: Vec<PathBuf>,
    /// The CPU controller's, if it has a hierarchy of its own. Set-up and file operations stay out of it: a quota is for
    /// programs, and a busy host would make every jail wait in line for its first share.
    v1_cpu: Option<PathBuf>,
    /// Where the kernel counts what was refused.
    pub(crate) counters: tally::Sources,
}

impl Cgroups {
    /// Tries every hierarchy that is mounted: first beneath this process's own group, then at its root.
    pub(crate) fn detect() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let mut found = Self::default();
        for line in mounts.lines() {
            let Some(hierarchy) = Hierarchy::parse(line) else { continue };
            let parents = hierarchy.parents(&own);
            match hierarchy.version {
                Version::V2 if found.v2.is_none() => found.v2 = best_v2(parents),
                Version::V2 => {}
                Version::V1 => {
                    for controller in Controller::ALL {
                        let known = found.v1.iter().any(|(c, _)| *c == controller);
                        if known || !hierarchy.options.split(',').any(|option| option == controller.name()) {
                            continue;
                        }
                        let parent = parents.iter().find(|parent| try_v1(parent, controller));
                        found.v1.extend(parent.map(|parent| (controller, parent.clone())));
                    }
                    if hierarchy.options.split(',').any(|option| option == "freezer") {
                        let freezes = |trial: &Path| trial.join(freeze::V1_STATE).exists();
                        found.freezer = parents.into_iter().find(|parent| with_trial(parent, freezes) == Some(true));
                    }
                }
            }
        }
        if found.v2.is_some() {
            found.freezer = None;
        }
        if let Some((_, controllers)) = &found.v2 {
            found.v1.retain(|(controller, _)| !controllers.contains(controller));
        }
        Ok(found)
    }

    /// What holds `controller`'s limit; `otherwise` where no group does.
    pub(crate) fn meter(&self, controller: Controller, otherwise: Meter) -> Meter {
        if self.v2.as_ref().is_some_and(|(_, controllers)| controllers.contains(&controller)) {
            Meter::CgroupV2
        } else if self.v1.iter().any(|(c, _)| *c == controller) {
            Meter::CgroupV1
        } else {
            otherwise
        }
    }

    /// The folders that `create` will make for `id`.
    pub(crate) fn paths(&self, id: &str) -> Vec<PathBuf> {
        let name = format!("tenure-{id}");
        let mut paths: Vec<PathBuf> = self.v2.iter().map(|(parent, _)| parent.join(&name)).collect();
        for parent in self.v1.iter().map(|(_, parent)| parent).chain(&self.freezer) {
            let path = parent.join(&name);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    /// Makes the groups of one jail and sets its limits.
    pub(crate) fn create(&self, id: &str, limits: &Limits) -> Result<Group, Failure> {
        let name = format!("tenure-{id}");
        let mut group = Group::default();
        if let Some((parent, controllers)) = &self.v2 {
            let path = parent.join(&name);
            make(&path)?;
            for controller in controllers {
                set(&path, *controller, Version::V2, limits)?;
            }
            for controller in controllers {
                group.count(*controller, Version::V2, &path);
            }
            group.v2 = Some(path);
        }
        for (controller, parent) in &self.v1 {
            let path = parent.join(&name);
            if *controller == Controller::Cpu && !group.v1.contains(&path) {
                make(&path)?;
                group.v1_cpu = Some(path.clone());
            } else if !group.v1.contains(&path) {
                make(&path)?;
                group.v1.push(path.clone());
            }
            set(&path, *controller, Version::V1, limits)?;
            group.count(*controller, Version::V1, &path);
        }
        if let Some(path) = self.freezer.as_ref().map(|parent| parent.join(&name)).filter(|p| !group.v1.contains(p)) {
            make(&path)?;
            group.v1.push(path);
        }
        Ok(group)
    }

    /// Holds the groups of jail `id` to other limits than those that they were made with.
    pub(crate) fn change(&self, id: &str, limits: &Limits) -> Result<(), Failure> {
        let name = format!("tenure-{id}");
        if let Some((parent, controllers)) = &self.v2 {
            let path = parent.join(&name);
            controllers.iter().try_for_each(|controller| set(&path, *controller, Version::V2, limits))?;
        }
        for (controller, parent) in &self.v1 {
            let path = parent.join(&name);
            let swap = path.join(MEMORY_AND_SWAP);
            if *controller == Controller::Memory && swap.exists() {
                // It may not be below the limit of memory alone at any time.
                write(&swap, "-1")?;
            }
            set(&path, *controller, Version::V1, limits)?;
        }
        Ok(())
    }
}

impl Group {
    fn count(&mut self, controller: Controller, version: Version, path: &Path) {
        let (place, file) = match (controller, version) {
            (Controller::Memory, Version::V2) => (&mut self.counters.memory, "memory.events"),
            (Controller::Memory, Version::V1) => (&mut self.counters.memory, "memory.oom_control"),
            (Controller::Pids, _) => (&mut self.counters.pids, "pids.events"),
            (Controller::Cpu, _) => (&mut self.counters.cpu, "cpu.stat"),
        };
        *place = Some(path.join(file));
    }

    /// The door of each v1 group that holds the whole jail, and apart from them that of the group that only programs enter.
    pub(crate) fn cgroup_fds(&self) -> Result<(Vec<CgroupFd>, Option<CgroupFd>), Failure> {
        let whole = self.v1.iter().map(|path| CgroupFd::open(path)).collect::<Result<_, _>>()?;
        Ok((whole, self.v1_cpu.as_deref().map(CgroupFd::open).transpose()?))
    }
}

/// The way into one v1 group, for a process without any rights of its own there. A process that moves itself is quick; moving
/// another makes the kernel wait for a grace period, which is milliseconds.
#[derive(Debug)]
pub(crate) struct CgroupFd(File);

impl CgroupFd {
    fn open(group: &Path) -> Result<Self, Failure> {
        let path = group.join("tasks");
        let opened = File::options().write(true).open(&path);
        opened.map(Self).map_err(|error| Failure::new(Layer::Cgroup, format!("open {}", path.display()), error))
    }

    /// Moves this single-threaded process into the group.
    pub(crate) fn enter(&self) -> io::Result<()> {
        (&self.0).write_all(b"0")
    }
}

impl AsRawFd for CgroupFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn make(path: &Path) -> Result<(), Failure> {
    fs::create_dir(path).map_err(|error| Failure::new(Layer::Cgroup, format!("make {}", path.display()), error))
}

fn write(path: &Path, value: &str) -> Result<(), Failure> {
    write_existing(path, value).map_err(|error| Failure::new(Layer::Cgroup, format!("write {}", path.display()), error))
}

/// Writes to a file of the kernel's. To make one, or to cut it off first, costs it more than the writing.
pub(crate) fn write_existing(path: &Path, value: &str) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(value.as_bytes())
}

fn set(path: &Path, controller: Controller, version: Version, limits: &Limits) -> Result<(), Failure> {
    let quota = (u64::from(limits.cpu_millicores) * CPU_PERIOD_MICROS / 1000).max(1000);
    let value = match (controller, version) {
        (Controller::Memory, _) => limits.memory_bytes.to_string(),
        (Controller::Pids, _) => limits.pids.to_string(),
        (Controller::Cpu, Version::V2) => format!("{quota} {CPU_PERIOD_MICROS}"),
        (Controller::Cpu, Version::V1) => quota.to_string(),
    };
    match write(&path.join(controller.file(version)), &value) {
        // The parent's quota is tighter and holds anyway.
        Err(failure) if controller == Controller::Cpu && failure.errno == libc::EINVAL => {}
        other => other?,
    }
    if controller == Controller::Memory {
        let (swap, value) = match version {
            Version::V2 => ("memory.swap.max", "0"),
            Version::V1 => (MEMORY_AND_SWAP, value.as_str()),
        };
        match write(&path.join(swap), value) {
            // A kernel that does not count swap.
            Err(failure) if failure.errno == libc::ENOENT => {}
            other => other?,
        }
    }
    Ok(())
}

pub(crate) struct Hierarchy {
    version: Version,
    root: String,
    mountpoint: PathBuf,
    options: String,
}

impl Hierarchy {
    /// A line of mountinfo, if it is a cgroup mount.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let version = match filesystem.next()? {
            "cgroup2" => Version::V2,
            "cgroup" => Version::V1,
            _ => return None,
        };
        let options = filesystem.nth(1).unwrap_or_default().to_owned();
        let mut fields = mount.split(' ');
        let root = fields.nth(3)?.to_owned();
        Some(Self { version, root, mountpoint: PathBuf::from(fields.next()?), options })
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Whether `controller` limits the group at `group`, which is one of this hierarchy.
    pub(crate) fn carries(&self, controller: Controller, group: &Path) -> bool {
        match self.version {
            Version::V2 => group.join(controller.file(Version::V2)).exists(),
            Version::V1 => self.options.split(',').any(|option| option == controller.name()),
        }
    }

    /// The folder of the group that the lines of a process's `/proc/…/cgroup` name, if it is shown here.
    pub(crate) fn group(&self, own: &str) -> Option<PathBuf> {
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let matches = match self.version {
                Version::V2 => number == "0",
                Version::V1 => {
                    !controllers.is_empty()
                        && controllers.split(',').all(|name| self.options.split(',').any(|option| option == name))
                }
            };
            matches.then(|| path.to_owned())
        })?;
        let within = path.strip_prefix(self.root.trim_end_matches('/'))?.trim_start_matches('/');
        (!within.split('/').any(|part| part == "..")).then(|| self.mountpoint.join(within))
    }

    /// Folders to try, best first: this process's own group, in v2 the group around it (systemd's DelegateSubgroup= makes that
    /// one the user's), then the hierarchy's root.
    fn parents(&self, own: &str) -> Vec<PathBuf> {
        let mut parents = Vec::new();
        if let Some(own) = self.group(own) {
            let around = own.parent().filter(|around| around.starts_with(&self.mountpoint)).map(Path::to_owned);
            parents.push(own);
            parents.extend(around.filter(|_| self.version == Version::V2));
        }
        if !parents.contains(&self.mountpoint) {
            parents.push(self.mountpoint.clone());
        }
        parents.retain(|parent| parent.is_dir());
        parents
    }
}

/// Runs `test` on a new group beneath `parent`; None if none can be made.
fn with_trial<T>(parent: &Path, test: impl FnOnce(&Path) -> T) -> Option<T> {
    let trial = parent.join(format!("tenure-trial-{}", std::process::id()));
    fs::create_dir(&trial).ok()?;
    let result = test(&trial);
    fs::remove_dir(&trial).ok()?;
    Some(result)
}

fn try_v1(parent: &Path, controller: Controller) -> bool {
    with_trial(parent, |trial| {
        let file = trial.join(controller.file(Version::V1));
        fs::read_to_string(&file).is_ok_and(|now| fs::write(&file, now.trim()).is_ok())
    })
    .unwrap_or(false)
}

/// The first of `parents` that limits most: one's own group cannot pass controllers on while one is in it. Those behind one that
/// limits everything are left alone: they belong to someone else.
fn best_v2(parents: Vec<PathBuf>) -> Option<(PathBuf, Vec<Controller>)> {
    let mut best: Option<(PathBuf, Vec<Controller>)> = None;
    for parent in parents {
        let Some(controllers) = try_v2(&parent) else { continue };
        let enough = controllers.len() == Controller::ALL.len();
        if best.as_ref().is_none_or(|(_, known)| known.len() < controllers.len()) {
            best = Some((parent, controllers));
        }
        if enough {
            break;
        }
    }
    best
}

/// The controllers that can be limited beneath `parent`; None if no group can be made and entered there.
fn try_v2(parent: &Path) -> Option<Vec<Controller>> {
    if fs::OpenOptions::new().write(true).open(parent.join("cgroup.procs")).is_err() {
        return None;
    }
    // Of a group that holds processes, the kernel would pass on what it can limit thread by thread, which makes that group one
    // beneath which no process can be put. Only the hierarchy's root, which has no type, is free of that.
    let is_held = fs::read_to_string(parent.join("cgroup.procs")).is_ok_and(|members| !members.trim().is_empty());
    if !is_held || !parent.join("cgroup.type").exists() {
        pass_on(parent);
    }
    with_trial(parent, |trial| {
        // Beneath a threaded group, one that no process can enter is made without an error.
        let kind = fs::read_to_string(trial.join("cgroup.type")).ok()?;
        let limits = |controller: &Controller| trial.join(controller.file(Version::V2)).exists();
        (kind.trim() == "domain").then(|| Controller::ALL.into_iter().filter(limits).collect())
    })?
}

/// Has groups beneath `parent` limited by all controllers that it has itself.
fn pass_on(parent: &Path) {
    let control = parent.join("cgroup.subtree_control");
    let passed_on = fs::read_to_string(&control).unwrap_or_default();
    for controller in Controller::ALL {
        if !passed_on.split_ascii_whitespace().any(|name| name == controller.name()) {
            // A refusal is no failure: whoever asks looks what is really there.
            let _ = fs::write(&control, format!("+{}", controller.name()));
        }
    }
}

/// Kills whatever is in the group and removes it; true once it is gone.
pub(crate) fn remove(path: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return false;
        }
        kill_members(path);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill_members(path: &Path) {
    freeze::release(&[path.to_owned()]);
    if fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1) {
        // One that is gone already is what was wanted.
        let _ = sys::kill(pid, libc::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_for_beneath_ones_own_first_even_where_a_container_shows_only_a_part() {
        let host = tempfile::tempdir().unwrap();
        let at = host.path().display().to_string();
        fs::create_dir_all(host.path().join("app/main")).unwrap();
        let own = "4:memory:/docker/abc/app/main\n2:cpu,cpuacct:/x\n0::/docker/abc/app/main\n";
        let line = |kind, options| format!("41 31 0:38 /docker/abc {at} rw,relatime - {kind} none rw,{options}");
        let parents = |line: String| Hierarchy::parse(&line).unwrap().parents(own);
        let (main, app) = (host.path().join("app/main"), host.path().join("app"));
        assert_eq!(parents(line("cgroup2", "nsdelegate")), [main.clone(), app, host.path().to_owned()]);
        assert_eq!(parents(line("cgroup", "memory")), [main, host.path().to_owned()]);
        assert_eq!(parents(line("cgroup", "cpu,cpuacct")), [host.path()], "its own group is not shown here");
        assert!(Hierarchy::parse("22 27 0:21 / /proc rw - proc proc rw").is_none());
    }
}
