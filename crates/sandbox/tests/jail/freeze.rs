//! Jails that stand still, on every freezer that this host can show.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tenure_sandbox::protocol::{Operation, Spawn};
use tenure_sandbox::{Freezer, reap};

use crate::house::{House, eventually, is_root, processes_with, text};

/// Set where the tests run once more in a mount namespace without cgroup v2.
const WITHOUT_V2: &str = "TENURE_TEST_WITHOUT_V2";

/// Writes how often it woke, for ever, with a child that does nothing else.
fn count(mark: &str) -> Spawn {
    let script = format!(
        "import os, time\nos.fork()\nn = 0\nwhile True:\n  n += 1\n  with open(f'n{{os.getpid()}}', 'w') as f: f.write(str(n))\n  time.sleep(0.002)  # {mark}\n"
    );
    Spawn::new(["python3", "-c", &script])
}

/// What the counters say, by name; a file that is being written is read again.
fn counted(house: &House) -> Vec<(String, u64)> {
    let folder = std::fs::read_dir(house.path("work")).expect("a folder");
    let mut all: Vec<(String, u64)> = folder
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let number = std::fs::read_to_string(&path).unwrap_or_default().parse().unwrap_or(0);
            (path.file_name().expect("a name").to_string_lossy().into_owned(), number)
        })
        .collect();
    all.sort();
    all
}

/// What has to freeze a jail that is in `groups`.
fn expected(groups: &[PathBuf]) -> Freezer {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let is_in = |kind: &str, option: &str| {
        let lines = mounts.lines().filter(|line| line.contains(kind) && line.contains(option));
        let mut places = lines.filter_map(|line| line.split(' ').nth(4));
        places.any(|place| groups.iter().any(|group| group.starts_with(place)))
    };
    match (is_in(" - cgroup2 ", ""), is_in(" - cgroup ", "freezer")) {
        (true, _) => Freezer::CgroupV2,
        (false, true) => Freezer::CgroupV1,
        (false, false) => Freezer::Signals,
    }
}

#[test]
fn a_frozen_jail_stands_still_goes_on_when_thawed_and_dies_when_killed_frozen() {
    let house = House::new();
    let (jail, mut client) = house.open();
    let mark = format!("frozen-{}", std::process::id());
    client.send(Operation::Spawn(count(&mark)), b"").unwrap();
    let moves = |since: &[(String, u64)]| {
        let now = counted(&house);
        now.len() == 2 && now.iter().zip(since).all(|((_, now), (_, then))| now > then)
    };
    eventually("both counters", || counted(&house).len() == 2);
    for _ in 0..3 {
        let how = jail.freeze().unwrap();
        assert_eq!(how, expected(jail.cgroups()));
        let before = counted(&house);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(counted(&house), before, "frozen by {how:?}");
        assert!(!jail.is_dead());
        assert_eq!(jail.thaw().unwrap(), how);
        eventually("the counters to go on", || moves(&before));
    }
    jail.freeze().unwrap();
    jail.freeze().expect("once more changes nothing");
    jail.kill().unwrap();
    assert!(jail.is_dead() && processes_with(&mark).is_empty());
    assert!(jail.freeze().is_err(), "the dead are not frozen");
}

#[test]
fn a_frozen_jail_dies_with_its_zygote_and_is_reaped() {
    let house = House::new();
    let (jail, mut client) = house.open();
    let mark = format!("frozen-orphan-{}", std::process::id());
    client.send(Operation::Spawn(count(&mark)), b"").unwrap();
    eventually("the program", || !processes_with(&mark).is_empty());
    jail.freeze().unwrap();
    let zygote = rustix::process::Pid::from_raw(house.zygote.pid() as i32).unwrap();
    rustix::process::kill_process(zygote, rustix::process::Signal::KILL).unwrap();
    // Its parent's death kills it, and where the freezer keeps it from dying, reap does.
    eventually("the zygote's end", || house.zygote.open(&house.spec("other", 2)).is_err());
    reap(&house.path("run")).unwrap();
    assert!(jail.is_dead() && processes_with(&mark).is_empty());
}

#[test]
fn the_same_holds_where_only_cgroup_v1_freezes() {
    if std::env::var_os(WITHOUT_V2).is_some() {
        return;
    }
    if !is_root() || !Path::new("/sys/fs/cgroup/freezer/cgroup.procs").exists() {
        eprintln!("skipped: no v1 freezer beside a v2 hierarchy that this user may unmount");
        return;
    }
    let script = "umount /sys/fs/cgroup/unified && exec \"$0\" freeze:: --test-threads=2";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(WITHOUT_V2, "1")
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("3 passed"), "{said}\n{}", text(&output.stderr));
}
