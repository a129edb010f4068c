//! Who descends from whom inside, read from the jail's own /proc. Must never: signal the jail's init or a keeper.

use std::fs;

use crate::sys;

struct Process {
    pid: i32,
    parent: i32,
    zombie: bool,
}

fn all() -> Vec<Process> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    folder.filter_map(|entry| parse(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

fn parse(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Process { pid, parent: fields.next()?.parse().ok()?, zombie })
}

/// Kills every descendant of `roots`, but not the roots.
pub(super) fn kill_below(roots: &[i32]) {
    let mut processes = all();
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
