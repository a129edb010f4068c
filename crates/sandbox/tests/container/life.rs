//! How a container ends: whole, proven, and with nothing left.

use std::fs;

use tenure_sandbox::container::Removal;
use tenure_sandbox::protocol::{Operation, Spawn};
use tenure_sandbox::{Client, reap};

use crate::engines::processes_with;
use crate::house::{House, engines, eventually, inside};

/// Starts a program that outlives its parent inside; its command line holds `mark`.
fn linger(client: &mut Client, mark: &str) {
    let script =
        format!("(setsid sh -c 'while true; do sleep 1; done; : {mark}' &); while true; do sleep 1; done; : {mark}");
    client.send(Operation::Spawn(Spawn::new(["sh", "-c", &script])), b"").unwrap();
    eventually("the programs start", || processes_with(mark).len() >= 2);
}

fn mark(house: &House, word: &str) -> String {
    format!("tenure-mark-{word}-{}-{}", house.engine.name(), std::process::id())
}

/// Records, doors and whatever else a run folder holds of containers.
fn leftovers(house: &House) -> Vec<String> {
    let names = fs::read_dir(house.run_dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "engine").collect()
}

#[test]
fn a_killed_container_leaves_no_process_no_record_and_nothing_in_the_engine() {
    for house in engines() {
        let mark = mark(&house, "killed");
        let (contained, mut client) = house.open(&house.spec("work", 1));
        linger(&mut client, &mark);
        let groups = contained.cgroups().to_vec();
        assert!(!groups.is_empty() && groups.iter().all(|group| group.is_dir()));
        assert!(!contained.is_dead());
        assert_eq!(house.containers(), [format!("/tenure-{}", contained.id())]);
        assert_eq!(house.kill(&contained), Removal::Removed);
        assert!(contained.is_dead());
        assert_eq!(processes_with(&mark), Vec::<i32>::new());
        assert_eq!((house.containers(), leftovers(&house)), (Vec::new(), Vec::new()));
        eventually("its control groups go", || groups.iter().all(|group| !group.exists()));
        assert_eq!(house.kill(&contained), Removal::Removed, "a second time changes nothing");
    }
}

#[test]
fn the_end_of_the_workers_socket_ends_a_container_and_a_paused_one_can_be_killed() {
    for house in engines() {
        let mark = mark(&house, "socket");
        let (mut contained, mut client) = house.open(&house.spec("work", 1));
        linger(&mut client, &mark);
        drop((client, contained.take_socket()));
        eventually("the container ends by itself", || contained.is_dead());
        assert_eq!(processes_with(&mark), Vec::<i32>::new());
        let cause = house.runtime.block_on(contained.cause());
        assert_eq!(cause.as_deref(), Some("its first process ended with code 0"));
        house.kill(&contained);

        let (paused, mut client) = house.open(&house.spec("work", 1));
        linger(&mut client, &mark);
        house.runtime.block_on(paused.freeze()).unwrap();
        house.runtime.block_on(paused.thaw()).unwrap();
        assert_eq!(inside(&mut client, "echo on"), "on", "a thawed one goes on");
        house.runtime.block_on(paused.freeze()).unwrap();
        assert_eq!(house.kill(&paused), Removal::Removed);
        assert_eq!(processes_with(&mark), Vec::<i32>::new());
    }
}

#[test]
fn the_next_worker_on_a_run_folder_ends_what_was_left_and_nothing_of_anothers() {
    for house in engines() {
        let (left_mark, other_mark) = (mark(&house, "left"), mark(&house, "other"));
        let (left, mut client) = house.open(&house.spec("work", 1));
        linger(&mut client, &left_mark);
        let other_run = house.path("other-run");
        fs::create_dir(&other_run).unwrap();
        let spec = house.spec("other", 2);
        let exe = crate::house::jail_exe();
        let opening = house.engine.open(&spec, crate::engines::BUSYBOX, &exe, &other_run);
        let other = house.runtime.block_on(opening).unwrap();
        let mut other_client = other.client(crate::house::PATIENCE).unwrap();
        linger(&mut other_client, &other_mark);
        // The worker is gone without a word: its handle closes nothing and its sockets stay open elsewhere.
        let socket = client;
        std::mem::forget(left);
        let report = reap(&house.run_dir()).unwrap();
        assert_eq!((report.killed, report.already_dead), (1, 0), "the record alone is enough to end it");
        assert_eq!(processes_with(&left_mark), Vec::<i32>::new());
        assert_eq!(house.containers().len(), 2, "the engine still lists what is dead");
        assert_eq!(
            house.runtime.block_on(house.engine.reap(&house.run_dir())).unwrap(),
            0,
            "this life's own are spared"
        );
        assert_eq!(house.runtime.block_on(house.engine.clear(&house.run_dir())).unwrap(), 1);
        assert_eq!(house.containers(), [format!("/tenure-{}", other.id())]);
        assert_eq!(leftovers(&house), Vec::<String>::new());
        assert!(!other.is_dead() && processes_with(&other_mark).len() >= 2, "another worker's container lives on");
        // Without a record the label is enough.
        let (unrecorded, mut client) = house.open(&house.spec("work", 1));
        linger(&mut client, &left_mark);
        for name in leftovers(&house) {
            fs::remove_file(house.run_dir().join(name)).unwrap();
        }
        std::mem::forget(unrecorded);
        assert_eq!(house.runtime.block_on(house.engine.clear(&house.run_dir())).unwrap(), 1);
        assert_eq!(processes_with(&left_mark), Vec::<i32>::new());
        house.kill(&other);
        drop(socket);
    }
}
