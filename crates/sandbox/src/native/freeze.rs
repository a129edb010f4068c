//! Makes every process of a jail stand still, and go on. Must never: say that a jail stands still before all of it does, or keep
//! it from being killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::record;
use crate::sys;

/// What made a jail stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezer {
    CgroupV2,
    CgroupV1,
    /// `SIGSTOP` to each process. A program that had stopped itself before goes on with the others, and one that watches its
    /// children sees them stop.
    Signals,
}

pub(crate) const V1_STATE: &str = "freezer.state";
const V2_STATE: &str = "cgroup.freeze";

/// The freezer that holds all of a jail, of those that its control groups offer.
enum Place<'a> {
    V2(&'a Path),
    V1(&'a Path),
    None,
}

fn place(cgroups: &[PathBuf]) -> Place<'_> {
    if let Some(group) = cgroups.iter().find(|group| group.join(V2_STATE).exists()) {
        return Place::V2(group);
    }
    cgroups.iter().find(|group| group.join(V1_STATE).exists()).map_or(Place::None, |group| Place::V1(group))
}

/// Stops the jail whose init is `init`; None if it did not stand still in time.
pub(crate) fn freeze(init: i32, cgroups: &[PathBuf], patience: Duration) -> io::Result<Option<Freezer>> {
    let deadline = Instant::now() + patience;
    match place(cgroups) {
        Place::V2(group) => {
            fs::write(group.join(V2_STATE), "1")?;
            Ok(wait_v2(group, true, deadline)?.then_some(Freezer::CgroupV2))
        }
        Place::V1(group) => {
            while Instant::now() < deadline {
                // A process that was just made may be missed once: the kernel looks again on each write.
                fs::write(group.join(V1_STATE), "FROZEN")?;
                if fs::read_to_string(group.join(V1_STATE))?.trim() == "FROZEN" {
                    return Ok(Some(Freezer::CgroupV1));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(None)
        }
        Place::None => Ok(stop_all(init, deadline).then_some(Freezer::Signals)),
    }
}

/// Lets it go on.
pub(crate) fn thaw(init: i32, cgroups: &[PathBuf], patience: Duration) -> io::Result<Option<Freezer>> {
    match place(cgroups) {
        Place::V2(group) => {
            fs::write(group.join(V2_STATE), "0")?;
            Ok(wait_v2(group, false, Instant::now() + patience)?.then_some(Freezer::CgroupV2))
        }
        Place::V1(group) => {
            fs::write(group.join(V1_STATE), "THAWED")?;
            Ok(Some(Freezer::CgroupV1))
        }
        Place::None => {
            for process in family(init) {
                process.signal(Signal::CONT);
            }
            Ok(Some(Freezer::Signals))
        }
    }
}

/// Lets a jail die whose init was sent SIGKILL: in v1, and only there, what is frozen does not even take that.
pub(crate) fn release(cgroups: &[PathBuf]) {
    for group in cgroups {
        let state = group.join(V1_STATE);
        if fs::read_to_string(&state).is_ok_and(|now| now.trim() != "THAWED") {
            // Killed before they are let go, none of them does one more thing. While they are frozen, their ids are their own.
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
            // A group that is gone holds nothing.
            let _ = fs::write(state, "THAWED");
        }
    }
}

fn wait_v2(group: &Path, frozen: bool, deadline: Instant) -> io::Result<bool> {
    let path = group.join("cgroup.events");
    let wanted = format!("frozen {}", u8::from(frozen));
    let events = File::open(&path)?;
    loop {
        // Read before waiting: the kernel tells of each change once after a read.
        let text = io::read_to_string(&events)?;
        if text.lines().any(|line| line == wanted) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        io::Seek::rewind(&mut &events)?;
    }
}

/// One process of a jail, as the host sees it.
struct Process {
    pid: i32,
    parent: i32,
    start: u64,
    /// Stopped, or dead and not reaped yet.
    still: bool,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
        let still = matches!(*fields.first()?, "T" | "t" | "Z" | "X");
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, start: fields.get(19)?.parse().ok()?, still })
    }

    /// Sends `signal` to this very process; one that is gone needs none.
    fn signal(&self, signal: Signal) {
        let Some(Ok(pidfd)) = Pid::from_raw(self.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { return };
        if record::start_time(self.pid) == Some(self.start) {
            let _ = pidfd_send_signal(&pidfd, signal);
        }
    }
}

/// A jail's init and all its descendants: in a pid namespace of its own, no process can leave them.
fn family(init: i32) -> Vec<Process> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut others: Vec<Process> = pids.filter_map(Process::read).collect();
    let mut known = BTreeSet::from([init]);
    let mut members = Vec::new();
    loop {
        let (found, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|process| known.contains(&process.pid) || known.contains(&process.parent));
        others = rest;
        if found.is_empty() {
            return members;
        }
        known.extend(found.iter().map(|process| process.pid));
        members.extend(found);
    }
}

/// Stops the members until none of them runs, seen twice in a row: one that was about to fork may have a child that the first
/// look missed.
fn stop_all(init: i32, deadline: Instant) -> bool {
    let mut quiet_before = false;
    loop {
        let members = family(init);
        let moving: Vec<&Process> = members.iter().filter(|process| !process.still).collect();
        if moving.is_empty() && quiet_before {
            return !members.is_empty();
        }
        quiet_before = moving.is_empty();
        moving.iter().for_each(|process| process.signal(Signal::STOP));
        if Instant::now() >= deadline {
            return false;
        }
        if !quiet_before {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
