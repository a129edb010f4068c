//! What holds a container's first process, read from the host's side: its namespaces and its control groups' limits.
//! Must never: believe a limit that was asked for and cannot be read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::order::Counter;
use crate::error::{Failure, Layer};
use crate::level::Meter;
use crate::limits::Limits;
use crate::native::cgroup::{Controller, Hierarchy, Version};

/// Namespaces that a jail does not open without.
const REQUIRED: [&str; 5] = ["mnt", "pid", "net", "ipc", "uts"];
const FURTHER: [&str; 2] = ["user", "cgroup"];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeasuredLimits {
    pub(crate) memory: Meter,
    pub(crate) pids: Meter,
    pub(crate) cpu: Meter,
    /// Namespaces of its own besides the required ones.
    pub(crate) further: Vec<&'static str>,
    /// The groups whose counters tell of refused forks.
    pub(crate) groups: Vec<PathBuf>,
    /// The files that tell of limits that were hit.
    pub(crate) counters: Vec<(Counter, PathBuf)>,
}

impl MeasuredLimits {
    pub(crate) fn of(pid: i32, limits: &Limits) -> Result<Self, Failure> {
        let failed =
            |error| Failure::new(Layer::Namespaces, "compare the container's namespaces with the worker's", error);
        let missing: Vec<&str> = shared(pid, &REQUIRED).map_err(failed)?;
        if !missing.is_empty() {
            let step = format!("have {} namespaces of its own (the engine shares the host's)", missing.join(" and "));
            return Err(Failure { layer: Layer::Namespaces, step, errno: libc::ENOTSUP });
        }
        let shared = shared(pid, &FURTHER).map_err(failed)?;
        let further = FURTHER.into_iter().filter(|name| !shared.contains(name)).collect();
        let failed = |error| Failure::new(Layer::Cgroup, "read the container's control groups", error);
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(failed)?;
        let mut held = Self { further, ..Self::none() };
        for (controller, version, group) in groups(&mounts, &own) {
            held.add(controller, version, &group, limits);
        }
        Ok(held)
    }

    fn none() -> Self {
        let (further, groups) = (Vec::new(), Vec::new());
        Self { memory: Meter::Rlimit, pids: Meter::Rlimit, cpu: Meter::None, further, groups, counters: Vec::new() }
    }

    fn add(&mut self, controller: Controller, version: Version, group: &Path, limits: &Limits) {
        if !holds(controller, version, group, limits) {
            return;
        }
        if !self.groups.iter().any(|known| known == group) {
            self.groups.push(group.to_owned());
        }
        let (meter, counter, file) = match (controller, version) {
            (Controller::Memory, Version::V2) => (&mut self.memory, Counter::Memory, "memory.events"),
            (Controller::Memory, Version::V1) => (&mut self.memory, Counter::Memory, "memory.oom_control"),
            (Controller::Pids, _) => (&mut self.pids, Counter::Pids, "pids.events"),
            (Controller::Cpu, _) => (&mut self.cpu, Counter::Cpu, "cpu.stat"),
        };
        *meter = Meter::Engine;
        self.counters.push((counter, group.join(file)));
    }
}

/// Those of `kinds` that process `pid` has in common with this one.
fn shared<'a>(pid: i32, kinds: &[&'a str]) -> io::Result<Vec<&'a str>> {
    let mut shared = Vec::new();
    for kind in kinds {
        if fs::read_link(format!("/proc/{pid}/ns/{kind}"))? == fs::read_link(format!("/proc/self/ns/{kind}"))? {
            shared.push(*kind);
        }
    }
    Ok(shared)
}

/// The group of each controller, by the mounts that this process sees and the lines of the other's `/proc/…/cgroup`.
fn groups(mounts: &str, own: &str) -> Vec<(Controller, Version, PathBuf)> {
    let mut found = Vec::new();
    for hierarchy in mounts.lines().filter_map(Hierarchy::parse) {
        let Some(group) = hierarchy.group(own) else { continue };
        for controller in Controller::ALL {
            if hierarchy.carries(controller, &group) {
                found.push((controller, hierarchy.version(), group.clone()));
            }
        }
    }
    found
}

/// Whether the group's limit is the one that was asked for, or tighter.
fn holds(controller: Controller, version: Version, group: &Path, limits: &Limits) -> bool {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    match (controller, version) {
        (Controller::Memory, _) => number(controller.file(version)).is_some_and(|limit| limit <= limits.memory_bytes),
        (Controller::Pids, _) => number(controller.file(version)).is_some_and(|limit| limit <= u64::from(limits.pids)),
        (Controller::Cpu, Version::V2) => read(controller.file(version)).is_some_and(|value| {
            let mut numbers = value.split_ascii_whitespace().map(|number| number.parse::<u64>().ok());
            match (numbers.next().flatten(), numbers.next().flatten()) {
                (Some(quota), Some(period)) => is_share(quota, period, limits),
                (_, _) => false,
            }
        }),
        (Controller::Cpu, Version::V1) => match (number(controller.file(version)), number("cpu.cfs_period_us")) {
            (Some(quota), Some(period)) => is_share(quota, period, limits),
            (_, _) => false,
        },
    }
}

fn is_share(quota: u64, period: u64, limits: &Limits) -> bool {
    period > 0 && quota.saturating_mul(1000) <= u64::from(limits.cpu_millicores).saturating_mul(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_only_if_it_can_be_read_and_is_no_looser_than_asked() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { memory_bytes: 64 << 20, pids: 50, cpu_millicores: 500, ..Limits::default() };
        let put = |file: &str, value: &str| fs::write(folder.path().join(file), value).unwrap();
        let held = |controller, version| holds(controller, version, folder.path(), &limits);
        assert!(!held(Controller::Memory, Version::V2));
        for (value, good) in [("67108864\n", true), ("67108865\n", false), ("max\n", false)] {
            put("memory.max", value);
            assert_eq!(held(Controller::Memory, Version::V2), good, "{value}");
        }
        for (value, good) in [("50000 100000\n", true), ("60000 100000\n", false), ("max 100000\n", false)] {
            put("cpu.max", value);
            assert_eq!(held(Controller::Cpu, Version::V2), good, "{value}");
        }
        put("cpu.cfs_period_us", "100000\n");
        for (value, good) in [("50000\n", true), ("-1\n", false)] {
            put("cpu.cfs_quota_us", value);
            assert_eq!(held(Controller::Cpu, Version::V1), good, "{value}");
        }
    }

    #[test]
    fn a_process_that_shares_this_ones_namespaces_is_no_jail() {
        let refused = MeasuredLimits::of(std::process::id() as i32, &Limits::default()).unwrap_err();
        assert!(refused.step.contains("net"), "{refused}");
    }
}
