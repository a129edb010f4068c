//! Looks for what a test's jails left on the host: processes that see the test's folder, and control groups of its zygote.
//! Must never: take what another test does at the same time for an orphan.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::house::PATIENCE;

use tenure_sandbox::Zygote;

const DEPTH_MAX: usize = 6;

/// Fails the test at its end if anything is left of the zygote's jails.
pub(crate) struct NothingLeft {
    /// The name of the test's own temporary folder, which only its jails have mounts of.
    folder: String,
    /// What the names of all groups of the zygote's jails begin with.
    groups: String,
}

impl NothingLeft {
    pub(crate) fn of(zygote: &Zygote, folder: &Path) -> Self {
        let start = field(zygote.pid() as i32, 19).unwrap_or_default();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        Self { folder: name, groups: format!("tenure-{:x}-{start:x}-", zygote.pid()) }
    }

    fn processes(&self) -> Vec<i32> {
        let pids = std::fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let own = std::fs::read_link("/proc/self/ns/mnt").expect("a namespace");
        let confined = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|other| other != own);
        let sees = |pid: &i32| {
            let text = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            (confined(pid) && text("mountinfo").contains(&self.folder)) || text("cgroup").contains(&self.groups)
        };
        pids.filter(sees).collect()
    }

    fn groups(&self) -> Vec<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let hierarchies = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let mut found = Vec::new();
        for place in hierarchies.filter_map(|line| line.split(' ').nth(4)) {
            self.collect(Path::new(place), DEPTH_MAX, &mut found);
        }
        found
    }

    fn collect(&self, folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().starts_with(&self.groups) {
                found.push(entry.path());
            } else if depth > 0 {
                self.collect(&entry.path(), depth - 1, found);
            }
        }
    }
}

impl Drop for NothingLeft {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = (self.processes(), self.groups());
            if left == Default::default() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn field(pid: i32, nth: usize) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(nth)?.parse().ok()
}

#[test]
fn the_search_finds_what_a_living_jail_has() {
    let house = crate::house::House::new();
    let (jail, _client) = house.open();
    let search = NothingLeft::of(&house.zygote, house.folder.path());
    if crate::house::is_root() {
        // Another user may not look into a jail's init.
        assert!(search.processes().contains(&jail.pid()));
    }
    let groups = search.groups();
    assert!(jail.cgroups().iter().all(|group| groups.contains(group)), "{groups:?}");
    jail.kill().unwrap();
    assert!(!search.processes().contains(&jail.pid()));
    drop((jail, house));
}
