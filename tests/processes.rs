//! Processes as /proc shows them: the tree below a daemon, and what is left of one.
use std::collections::BTreeSet;
use std::fs;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: i32,
    pub started: u64,
    pub parent: i32,
    pub name: String,
    pub command: String,
}

impl Process {
    pub fn alive(&self) -> bool {
        of(self.pid).is_some_and(|now| now.started == self.started && now.name != "zombie")
    }

    /// SIGKILL, if it is still the same process.
    pub fn kill(&self) {
        if self.alive()
            && let Some(pid) = rustix::process::Pid::from_raw(self.pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

pub fn of(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let name = head.split_once('(').map(|(_, name)| name.to_string())?;
    let name = if fields.first() == Some(&"Z") { "zombie".to_string() } else { name };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_string();
    Some(Process { pid, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()?, name, command })
}

pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(of).collect()
}

/// Every process below `root`, itself not among them.
pub fn below(root: i32) -> Vec<Process> {
    let all = all();
    let mut known = BTreeSet::from([root]);
    let mut found = Vec::new();
    loop {
        let more: Vec<&Process> =
            all.iter().filter(|process| known.contains(&process.parent) && !known.contains(&process.pid)).collect();
        if more.is_empty() {
            return found;
        }
        for process in more {
            known.insert(process.pid);
            found.push(process.clone());
        }
    }
}

/// Mounts of this host, to be compared before and after. Container engines of tests that run beside make some in folders of their own.
pub fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = text.lines().map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" "));
    mounts.filter(|mount| !mount.contains("/tenure-engine-")).collect()
}

/// Folders below the cgroup mounts whose path names tenure.
pub fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![(std::path::PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = entry.path();
            let jail = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jail-"));
            if jail && path.to_string_lossy().contains("tenure") {
                found.insert(path.to_string_lossy().into_owned());
            }
            if depth < 6 {
                open.push((path, depth + 1));
            }
        }
    }
    found
}
