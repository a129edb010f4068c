//! Jails that the host made stand still, on every freezer that it can show: they die all the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stood")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tenure_sandbox::protocol::{Operation, Spawn};
use tenure_sandbox::{Jail, reap};

use crate::house::{House, eventually, is_root, processes_with, text};

/// Set where the tests run once more in a mount namespace without cgroup v2.
const WITHOUT_V2: &str = "TENURE_TEST_WITHOUT_V2";

/// A jail in which a program runs that holds `mark`.
fn busy(house: &House, mark: &str) -> (Jail, tenure_sandbox::Client) {
    let (jail, mut client) = house.open();
    client.send(Operation::Spawn(Spawn::new(["sh", "-c", &format!("sleep 600; : {mark}")])), b"").unwrap();
    eventually("the program", || !processes_with(mark).is_empty());
    (jail, client)
}

/// By the control group, as whoever runs the host may; without one, by a signal to each process.
fn freeze(groups: &[PathBuf], mark: &str) {
    let by = |file: &str| groups.iter().map(|group| group.join(file)).find(|state| state.exists());
    if let Some(state) = by("cgroup.freeze") {
        std::fs::write(state, "1").unwrap();
    } else if let Some(state) = by("freezer.state") {
        let frozen = || {
            std::fs::write(&state, "FROZEN").unwrap();
            std::fs::read_to_string(&state).unwrap().trim() == "FROZEN"
        };
        eventually("all stand still", frozen);
    } else {
        for pid in processes_with(mark) {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
        }
    }
}

#[test]
fn a_frozen_jail_dies_when_it_is_killed() {
    let house = House::new();
    let mark = format!("frozen-{}", std::process::id());
    let (jail, _client) = busy(&house, &mark);
    freeze(jail.cgroups(), &mark);
    jail.kill().unwrap();
    assert!(jail.is_dead() && processes_with(&mark).is_empty());
}

#[test]
fn a_frozen_jail_dies_with_its_zygote_and_is_reaped() {
    let house = House::new();
    let mark = format!("frozen-orphan-{}", std::process::id());
    let (jail, _client) = busy(&house, &mark);
    freeze(jail.cgroups(), &mark);
    let zygote = Pid::from_raw(house.zygote.pid() as i32).unwrap();
    kill_process(zygote, Signal::KILL).unwrap();
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
