//! Jails that were half-made before anyone asked for them.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use tenure_sandbox::{Error, Jail, PoolSize, reap};

use crate::house::{
    House, PATIENCE, POOLED, eventually, half_made, inside, is_root, opened_records, outside, records, remember, text,
};

/// A house with one jail waiting.
fn house() -> House {
    let house = House::with_pool(PoolSize::default());
    eventually("a half-made jail", || !half_made(&house.path("run")).is_empty());
    house
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

/// Alive; a zombie is not.
fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn groups(id: &str) -> Vec<String> {
    let found = outside(&format!("find /sys/fs/cgroup -maxdepth 6 -type d -name 'tenure-{id}*' 2>/dev/null"));
    found.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_claim_takes_a_waiting_jail_and_another_takes_its_place() {
    let house = house();
    let (jail, mut client) = house.open_pooled(&house.spec("work", 1));
    assert_eq!(inside(&mut client, "pwd; id -u; cat /proc/1/comm 2>/dev/null"), "/workspace\n1000\ntenure-jail");
    eventually("another one", || !half_made(&house.path("run")).is_empty());
    assert!(!half_made(&house.path("run")).contains(&jail.pid()));
    let control = House::with_pool(PoolSize::None);
    std::thread::sleep(Duration::from_millis(50));
    let (cold, _client) = control.open();
    assert!(!cold.is_from_pool() && half_made(&control.path("run")).is_empty());
}

#[test]
fn claims_at_once_and_claims_that_race_with_the_refilling_each_get_a_jail_of_their_own() {
    let house = house();
    let specs: Vec<_> = (0..8).map(|nth| house.spec(&format!("work{nth}"), nth)).collect();
    let start = Barrier::new(specs.len());
    let jails: Vec<Jail> = std::thread::scope(|scope| {
        let open = |nth: usize| {
            let (spec, start, zygote) = (&specs[nth], &start, &house.zygote);
            move || {
                let mut jails = Vec::new();
                start.wait();
                for round in 0..6_u64 {
                    // Around the time that the zygote waits before it refills.
                    std::thread::sleep(Duration::from_micros(round * 700 * (nth as u64 % 3)));
                    let jail = zygote.open(spec).unwrap();
                    remember(&jail);
                    std::fs::write(spec.work_folder.join(format!("mark-{}", jail.id())), nth.to_string()).unwrap();
                    let mut client = jail.client(PATIENCE).unwrap();
                    let mark = client.read(&format!("mark-{}", jail.id()), 10).unwrap();
                    assert_eq!(mark, nth.to_string().into_bytes(), "it has the folder of its own claim");
                    jails.push(jail);
                }
                jails
            }
        };
        let threads: Vec<_> = (0..specs.len()).map(|nth| scope.spawn(open(nth))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let ids: BTreeSet<_> = jails.iter().map(Jail::id).collect();
    let pids: BTreeSet<_> = jails.iter().map(Jail::pid).collect();
    assert_eq!((ids.len(), pids.len()), (48, 48));
    assert!(jails.iter().any(Jail::is_from_pool), "the control: the pool was used");
}

#[test]
fn a_waiting_jail_that_dies_is_buried_and_replaced_and_no_claim_suffers() {
    let house = house();
    let run_dir = house.path("run");
    for round in 0..3 {
        eventually("a half-made jail", || !half_made(&run_dir).is_empty());
        let victims: Vec<(String, i32)> =
            records(&run_dir).into_iter().filter(|(_, pid)| half_made(&run_dir).contains(pid)).collect();
        for (_, pid) in &victims {
            // One that is gone by itself is as good as killed.
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(*pid).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
        let (jail, mut client) = house.open_as(&house.spec(&format!("work{round}"), round));
        assert_eq!(inside(&mut client, "echo served"), "served");
        assert!(victims.iter().all(|(_, pid)| *pid != jail.pid()));
        for (id, pid) in victims {
            eventually("its burial", || {
                !lives(pid)
                    && groups(&format!("{id}*")).is_empty()
                    && records(&run_dir).iter().all(|(left, _)| *left != id)
            });
        }
    }
}

#[test]
fn a_zygote_killed_with_a_full_pool_leaves_nothing_after_reap() {
    let house = house();
    let run_dir = house.path("run");
    let jails: Vec<_> = (0..6).map(|nth| house.open_as(&house.spec(&format!("work{nth}"), nth))).collect();
    eventually("a full pool", || half_made(&run_dir).len() >= 6);
    let waiting = half_made(&run_dir);
    let all: Vec<_> = records(&run_dir);
    assert!(waiting.iter().any(|pid| lives(*pid)), "the control: they wait");
    kill(house.zygote.pid() as i32);
    eventually("the death of all", || {
        waiting.iter().all(|pid| !lives(*pid)) && jails.iter().all(|(jail, _)| jail.is_dead())
    });
    assert!(matches!(house.zygote.open(&house.spec("work0", 0)).unwrap_err(), Error::ZygoteLost(_)));
    reap(&run_dir).unwrap();
    assert_eq!(records(&run_dir), Vec::new());
    for (id, pid) in all {
        assert!(!lives(pid) || pid == house.zygote.pid() as i32, "{id}");
        assert_eq!(groups(&id), Vec::<String>::new());
    }
}

#[test]
fn the_end_of_the_zygote_ends_those_that_wait() {
    let house = house();
    let (jail, _client) = house.open();
    eventually("another one", || !half_made(&house.path("run")).is_empty());
    let waiting = half_made(&house.path("run"));
    let House { zygote, folder, .. } = house;
    drop(zygote);
    assert!(jail.is_dead() && waiting.iter().all(|pid| !lives(*pid)));
    assert_eq!(records(&folder.path().join("run")), Vec::new());
}

#[test]
fn a_hundred_open_at_once() {
    let house = house();
    let specs: Vec<_> = (0..100).map(|nth| house.spec(&format!("work{nth}"), nth)).collect();
    let start = Barrier::new(specs.len());
    let said: BTreeSet<String> = std::thread::scope(|scope| {
        let open = |spec| {
            let (start, zygote) = (&start, &house.zygote);
            scope.spawn(move || {
                start.wait();
                let jail = zygote.open(spec).unwrap();
                inside(&mut jail.client(PATIENCE).unwrap(), "touch own; stat -c %d:%i .")
            })
        };
        let threads: Vec<_> = specs.iter().map(open).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(said.len(), 100, "each is in a folder of its own");
}

/// Whether mounts reach the jails that wait, in the run of the test below.
const PROPAGATION: &str = "TENURE_TEST_PROPAGATION";

#[test]
fn a_claim_finds_what_the_host_mounted_since_and_an_open_jail_does_not() {
    if !is_root() {
        return;
    }
    for propagation in ["shared", "private"] {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", propagation, "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "pool::mounts_while_a_jail_waits", "--nocapture"])
            .env(PROPAGATION, propagation)
            .output()
            .unwrap();
        assert!(output.status.success(), "{propagation}: {}\n{}", text(&output.stdout), text(&output.stderr));
    }
}

/// Run by the test above, in mount namespaces of its own; alone it does nothing.
#[test]
fn mounts_while_a_jail_waits() {
    let Ok(propagation) = std::env::var(PROPAGATION) else { return };
    let house = house();
    let spec = house.spec("work", 1);
    let mount = |place: &std::path::Path| {
        assert!(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(place).status().unwrap().success());
        std::fs::create_dir(place.join("deep")).unwrap();
        std::fs::write(place.join("new"), "mounted").unwrap();
    };
    mount(&spec.work_folder);
    let (jail, mut client) = house.open_as(&spec);
    assert_eq!(client.read("new", 100).unwrap(), b"mounted");
    assert_eq!(jail.is_from_pool(), propagation == "shared", "where it sees the mount, it is of use");
    let (elsewhere, _client) = house.open_pooled(&house.spec("elsewhere", 2));
    elsewhere.kill().unwrap();
    mount(&spec.work_folder.join("deep"));
    let later = outside(&format!("cat {}", spec.work_folder.join("deep/new").display()));
    assert_eq!(later, "mounted", "the control: the host has it");
    assert_eq!(inside(&mut client, "ls deep"), "");
}

#[test]
fn the_limits_are_those_of_the_claim_whatever_the_jail_was_made_with() {
    let house = house();
    for (nth, megabytes) in [(1, 64), (2, 900), (3, 32)] {
        let mut spec = house.spec(&format!("work{nth}"), nth);
        spec.limits.memory_bytes = megabytes << 20;
        spec.limits.pids = 20 + nth;
        let (jail, _client) = house.open_pooled(&spec);
        for group in jail.cgroups() {
            let read = |file: &str| std::fs::read_to_string(group.join(file)).ok().map(|text| text.trim().to_owned());
            for file in ["memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
                assert!(read(file).is_none_or(|limit| limit == (megabytes << 20).to_string()), "{group:?}/{file}");
            }
            assert!(read("pids.max").is_none_or(|limit| limit == (20 + nth).to_string()));
        }
        jail.kill().unwrap();
    }
    assert_eq!(opened_records(&house.path("run")), 1, "the others are buried");
}

#[test]
fn everything_holds_for_jails_from_the_pool_too() {
    if std::env::var_os(POOLED).is_some() {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--test-threads=2", "--skip", "ordinary::", "--skip", "pool::"])
        .env(POOLED, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
