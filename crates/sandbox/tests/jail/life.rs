use std::process::{Command, Stdio};

use tenure_sandbox::protocol::{Operation, Spawn, WriteMode};
use tenure_sandbox::{Error, Zygote, reap};

use crate::house::{House, PATIENCE, eventually, identity, inside, jail_exe, opened_records, processes_with, records};

fn mounts_with(mark: &str) -> usize {
    std::fs::read_to_string("/proc/self/mountinfo").expect("mounts").matches(mark).count()
}

#[test]
fn a_killed_jail_leaves_nothing_and_its_work_folder_stays() {
    let house = House::new();
    let (jail, mut client) = house.open();
    let mark = format!("killed-{}", std::process::id());
    client.write("kept", b"x", WriteMode::Create).unwrap();
    let sleep = Spawn::new(["sh", "-c", &format!("sleep 600 & sleep 600; : {mark}")]);
    client.send(Operation::Spawn(sleep), b"").unwrap();
    eventually("the program's start", || !processes_with(&mark).is_empty());
    let groups = jail.cgroups().to_vec();
    assert!(!jail.is_dead() && groups.iter().all(|group| group.exists()), "the control: it lives");
    jail.kill().unwrap();
    assert!(jail.is_dead() && processes_with(&mark).is_empty());
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    assert_eq!(opened_records(&house.path("run")), 1, "only the zygote's record is left");
    assert!(matches!(client.ping(), Err(Error::JailLost)));
    jail.kill().expect("a second kill finds it dead");
    let (_jail, mut again) = house.open();
    assert_eq!(again.read("kept", 10).unwrap(), b"x");
}

#[test]
fn a_jail_dies_with_the_end_of_its_socket() {
    let house = House::new();
    let (mut jail, client) = house.open();
    drop((client, jail.take_socket()));
    eventually("the jail's death", || jail.is_dead());
    jail.kill().unwrap();
    assert_eq!(opened_records(&house.path("run")), 1);
}

#[test]
fn dropping_the_zygote_ends_its_jails() {
    let house = House::new();
    let mark = format!("dropped-{}", std::process::id());
    let (jail, mut client) = house.open();
    client.send(Operation::Spawn(Spawn::new(["sh", "-c", &format!("sleep 600; : {mark}")])), b"").unwrap();
    eventually("the program's start", || !processes_with(&mark).is_empty());
    let House { zygote, folder, .. } = house;
    drop(zygote);
    assert!(jail.is_dead() && processes_with(&mark).is_empty());
    assert_eq!(records(&folder.path().join("run")), Vec::new());
}

#[test]
fn a_zygote_asked_to_end_goes_on_until_its_worker_ends() {
    let house = House::new();
    let (_jail, mut client) = house.open();
    let pid = rustix::process::Pid::from_raw(house.zygote.pid() as i32).unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    client.ping().unwrap();
    let (_jail, mut other) = house.open_as(&house.spec("other", 2));
    other.ping().expect("it still opens jails");
}

#[test]
fn a_zygote_killed_with_sigkill_takes_its_jails_along_and_reap_removes_the_rest() {
    let house = House::new();
    let run_dir = house.path("run");
    let mark = format!("orphan-{}", std::process::id());
    let mut groups = Vec::new();
    let mut jails = Vec::new();
    for nth in 0..4 {
        let (jail, mut client) = house.open_as(&house.spec(&format!("work{nth}"), nth));
        client
            .send(Operation::Spawn(Spawn::new(["sh", "-c", &format!("setsid sleep 600 & sleep 600; : {mark}")])), b"")
            .unwrap();
        groups.extend(jail.cgroups().to_vec());
        jails.push((jail, client));
    }
    eventually("the programs' start", || processes_with(&mark).len() >= 4);
    assert_eq!(opened_records(&run_dir), 5, "the control: four jails and a zygote are recorded");
    kill(house.zygote.pid());
    eventually("the jails' death", || jails.iter().all(|(jail, _)| jail.is_dead()));
    assert!(matches!(house.zygote.open(&house.spec("work", 1)).unwrap_err(), Error::ZygoteLost(_)));
    let recorded = records(&run_dir).len();
    let report = reap(&run_dir).unwrap();
    assert_eq!((report.killed + report.already_dead) as usize, recorded);
    assert!(report.cgroups_removed as usize >= groups.len());
    assert!(processes_with(&mark).is_empty() && groups.iter().all(|group| !group.exists()));
    assert_eq!((records(&run_dir), mounts_with("work0")), (Vec::new(), 0));
    assert_eq!(reap(&run_dir).unwrap(), tenure_sandbox::ReapReport::default(), "a second reap finds nothing");
    let zygote = Zygote::start(&jail_exe(), &run_dir).unwrap();
    let jail = zygote.open(&house.spec("work0", 0)).unwrap();
    assert_eq!(inside(&mut jail.client(PATIENCE).unwrap(), "echo again"), "again");
}

#[test]
fn a_worker_killed_with_sigkill_leaves_nothing_after_reap() {
    let folder = tempfile::tempdir().unwrap();
    let mark = format!("worker-{}", std::process::id());
    let exe = std::env::current_exe().unwrap();
    let mut worker = Command::new(exe)
        .args(["--exact", "life::worker_that_waits_to_be_killed", "--nocapture"])
        .envs([("TENURE_TEST_FOLDER", folder.path().as_os_str()), ("TENURE_TEST_MARK", mark.as_ref())])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let run_dir = folder.path().join("run");
    eventually("the worker's programs", || processes_with(&mark).len() >= 3);
    worker.kill().unwrap();
    worker.wait().unwrap();
    reap(&run_dir).unwrap();
    assert_eq!((processes_with(&mark), records(&run_dir)), (Vec::new(), Vec::new()));
    let left = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(!left.contains("tenure-"), "this process never was in a jail's group");
    assert!(folder.path().join("work/kept").exists(), "the work folder outlives everything");
}

/// Run by the test above, in a process of its own, until it is killed; alone it does nothing.
#[test]
fn worker_that_waits_to_be_killed() {
    let Some(folder) = std::env::var_os("TENURE_TEST_FOLDER").map(std::path::PathBuf::from) else { return };
    let mark = std::env::var("TENURE_TEST_MARK").unwrap();
    std::fs::create_dir_all(folder.join("work")).unwrap();
    let zygote = Zygote::start(&jail_exe(), &folder.join("run")).unwrap();
    let jail = zygote.open(&tenure_sandbox::Spec::new(folder.join("work"), identity(1))).unwrap();
    let mut client = jail.client(PATIENCE).unwrap();
    client.write("kept", b"x", WriteMode::Create).unwrap();
    for _ in 0..3 {
        let script = format!("setsid sh -c 'sleep 600; : {mark}' & sleep 600");
        client.send(Operation::Spawn(Spawn::new(["sh", "-c", &script])), b"").unwrap();
    }
    std::thread::sleep(PATIENCE);
}

#[test]
fn reap_neither_kills_a_stranger_nor_stumbles_over_a_torn_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let pid = stranger.id();
    let record = |cgroups: &str, start: u64| {
        let intent = format!("{{\"version\":1,\"id\":\"x\",\"boot\":\"{}\",\"cgroups\":[{cgroups}]}}", boot.trim());
        format!("{intent:<7168}{{\"pid\":{pid},\"start\":{start}}}")
    };
    std::fs::write(folder.path().join("a.jail"), record("\"/sys/fs/cgroup/not-ours\"", 1)).unwrap();
    std::fs::write(folder.path().join("b.jail"), "{\"version\":1,\"bo").unwrap();
    let report = reap(folder.path()).unwrap();
    assert_eq!((report.killed, report.already_dead), (0, 2));
    assert!(stranger.try_wait().unwrap().is_none(), "a process with another start time lives");
    let start = start_time(pid);
    std::fs::write(folder.path().join("c.jail"), record("", start)).unwrap();
    assert_eq!(reap(folder.path()).unwrap().killed, 1, "the control: with its own start time it is killed");
    assert!(!stranger.wait().unwrap().success());
    assert_eq!(records(folder.path()), Vec::new());
}

/// What a worker on a copy of a living worker's data directory does at its start.
#[test]
fn reap_on_a_copy_of_a_living_workers_folder_kills_none_of_its_jails() {
    let house = House::new();
    let (jail, mut client) = house.open();
    let (original, copy) = (house.path("run"), house.path("copy"));
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&original).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "jail") {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    assert!(records(&copy).len() >= 2, "a zygote's and a jail's");
    let report = reap(&copy).unwrap();
    assert_eq!((report.killed, report.cgroups_removed), (0, 0), "{report:?}");
    assert_eq!(records(&copy), Vec::new(), "they are forgotten there");
    client.ping().unwrap();
    assert!(jail.cgroups().iter().all(|group| group.exists()));
    assert!(reap(&original).unwrap().killed >= 2, "the control: where they were written they are ended");
    assert!(client.ping().is_err());
}

fn start_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields = stat.rsplit_once(')').expect("a name").1;
    fields.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).expect("a start time")
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

#[test]
fn a_jail_holds_no_descriptor_of_anyone_else() {
    let house = House::new();
    let (first, _one) = house.open_as(&house.spec("one", 1));
    let (second, mut two) = house.open_as(&house.spec("two", 2));
    two.ping().unwrap();
    if !crate::house::is_root() {
        return;
    }
    let held = |pid: i32| {
        let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        folder
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .map(|link| link.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    for pid in [first.pid(), second.pid()] {
        let sockets = held(pid).into_iter().filter(|link| link.starts_with("socket:")).count();
        assert_eq!(sockets, 1, "{:?}", held(pid));
    }
    eventually("a zygote that keeps no jail's socket", || {
        let sockets = held(house.zygote.pid() as i32).into_iter().filter(|link| link.starts_with("socket:")).count();
        sockets == 1 + crate::house::half_made(&house.path("run")).len()
    });
}
