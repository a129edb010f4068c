//! Who descends from whom inside, read from the jail's own /proc. Must never: kill or stop the jail's init or a keeper.

use std::fs;

use crate::sys;

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

/// Kills every descendant of `roots`, but not the roots. One that a program has stopped goes on, so that it can tell the end.
pub(super) fn kill_below(roots: &[i32]) {
    let mut processes = all();
    for root in processes.iter().filter(|process| process.stopped && roots.contains(&process.pid)) {
        let _ = sys::kill(root.pid, libc::SIGCONT);
    }
    let mut family = roots.to_vec();
    loop {
        let (children, others): (Vec<_>, Vec<_>) = processes.into_iter().partition(|p| family.contains(&p.parent));
        processes = others;
        if children.is_empty() {
            return;
        }
        for child in children {
            if !roots.contains(&child.pid) && !child.zombie {
                // Stopped first: a killed member frees a slot for a sibling that forks, a stopped one does not.
                let _ = sys::kill(child.pid, libc::SIGSTOP);
                let _ = sys::kill(child.pid, libc::SIGKILL);
            }
            family.push(child.pid);
        }
    }
}

/// Kills every child of init that is no keeper, with its descendants; whether there were any.
pub(super) fn kill_strays(keepers: &[i32]) -> bool {
    let strays: Vec<i32> =
        all().into_iter().filter(|p| p.parent == 1 && !p.zombie && !keepers.contains(&p.pid)).map(|p| p.pid).collect();
    kill_below(&strays);
    for stray in &strays {
        let _ = sys::kill(*stray, libc::SIGKILL);
    }
    !strays.is_empty()
}
