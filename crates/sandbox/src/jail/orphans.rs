//! Who descends from whom inside, read from the jail's own /proc. Must never: kill the jail's init or a subreaper, or leave
//! a subreaper stopped.

use std::collections::BTreeSet;
use std::fs;

use crate::sys;

/// Each look finds what was forked since the one before. What escapes them all, the next sweep finds.
const LOOKS_MAX: u32 = 10;

/// Processes that are no crowd.
const CROWD: usize = 32;

struct Process {
    pid: i32,
    parent: i32,
    zombie: bool,
    stopped: bool,
}

fn all() -> Vec<Process> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    folder.filter_map(|entry| parse(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn parse(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let (zombie, stopped) = (matches!(state, "Z" | "X"), matches!(state, "T"));
    Some(Process { pid, parent: fields.next()?.parse().ok()?, zombie, stopped })
}

/// When every other process of the jail is stopped for a sweep. One call stops them all, which no fork outruns: where many of
/// them fight for the processor, this one would not get through its looks before they fork again. A program that had stopped
/// itself goes on with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopOthers {
    /// Where there is no pid namespace, and so others than the jail's would be stopped.
    Never,
    IfCrowded,
    Always,
}

/// Kills every descendant of `roots`, but not the roots. One that a program has stopped goes on, so that it can tell the end.
pub(super) fn kill_below(roots: &[i32], stop: StopOthers) {
    for root in all().iter().filter(|process| process.stopped && roots.contains(&process.pid)) {
        let _ = sys::kill(root.pid, libc::SIGCONT);
    }
    kill(|| below(roots), stop);
}

/// Kills every child of init that is no subreaper, with its descendants; whether there were any.
pub(super) fn kill_orphans(subreapers: &[i32], stop: StopOthers) -> bool {
    let orphans = || {
        let processes = all();
        let orphan = |p: &&Process| p.parent == 1 && !p.zombie && !subreapers.contains(&p.pid);
        let orphans: Vec<i32> = processes.iter().filter(orphan).map(|p| p.pid).collect();
        [below(&orphans), orphans].concat()
    };
    kill(orphans, stop)
}

/// The living descendants of `roots`, without them.
fn below(roots: &[i32]) -> Vec<i32> {
    let mut processes = all();
    let (mut family, mut living) = (roots.to_vec(), Vec::new());
    loop {
        let (children, others): (Vec<_>, Vec<_>) = processes.into_iter().partition(|p| family.contains(&p.parent));
        processes = others;
        if children.is_empty() {
            return living;
        }
        living.extend(children.iter().filter(|child| !child.zombie && !roots.contains(&child.pid)).map(|p| p.pid));
        family.extend(children.iter().map(|child| child.pid));
    }
}

/// Kills what `members` finds; whether that was anything. All are stopped before one is killed: one that is killed frees a slot
/// for a sibling that forks, and where the others run on, a fork bomb outlives every sweep of a slow host.
fn kill(members: impl Fn() -> Vec<i32>, stop: StopOthers) -> bool {
    let mut stopped = BTreeSet::new();
    let mut stopped_all = false;
    for _ in 0..LOOKS_MAX {
        if !stopped_all && (stop == StopOthers::Always || stop == StopOthers::IfCrowded && is_crowded()) {
            stopped_all = true;
            let _ = sys::kill(-1, libc::SIGSTOP);
        }
        let moving: Vec<i32> = members().into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if moving.is_empty() {
            break;
        }
        for pid in moving {
            let _ = sys::kill(pid, libc::SIGSTOP);
            stopped.insert(pid);
        }
    }
    let found = members();
    for pid in &found {
        let _ = sys::kill(*pid, libc::SIGKILL);
    }
    if stopped_all {
        let _ = sys::kill(-1, libc::SIGCONT);
    }
    !found.is_empty()
}

/// Whether so many processes are there that looking at each takes long beside them. Asked by names alone.
fn is_crowded() -> bool {
    let named = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
    fs::read_dir("/proc").is_ok_and(|folder| folder.flatten().filter(named).nth(CROWD).is_some())
}
