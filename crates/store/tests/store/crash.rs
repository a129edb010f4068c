//! A process that writes is killed at random moments: what it was told is written is there, and the ledger holds.

use crate::world::{World, get};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tenure_core::execution::{Execution, Status};
use tenure_store::rows::executions;
use tenure_store::verify::{Depth, verify};
use tenure_store::{Checkpoint, Options, Store, rows::Match};

const KILLS: u64 = 20;
/// Nothing here takes as long; a test that hangs must end all the same.
const PATIENCE: Duration = Duration::from_secs(60);
const FOLDER: &str = "TENURE_TEST_CRASH_FOLDER";
const SEED: &str = "TENURE_TEST_CRASH_SEED";

/// Only does something in the child, which never comes back from it.
#[test]
fn the_child_writes_until_it_is_killed() {
    let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else { return };
    let seed: u128 = seed.parse().unwrap();
    let store = Store::open(Options::new(PathBuf::from(folder))).unwrap();
    let mut world = World::new(1000 + seed);
    if store.size_at_open() == 0 {
        world.found(&store);
    }
    let agent = world.deploy(&store, &format!("agent-{seed}"));
    let worker = world.worker(&store, 1000);
    loop {
        let id = world.whole(&store, agent, worker, 3);
        assert!(get::<Execution>(&store, id).iteration().is_none());
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nended {id}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_answered_is_there_after_any_kill_and_the_ledger_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked: Vec<String> = Vec::new();
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::the_child_writes_until_it_is_killed", "--nocapture"])
            .env(FOLDER, dir.path())
            .env(SEED, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, ended) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let ended =
                out.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("ended ").map(str::to_string));
            ended.for_each(|id| sender.send(id).unwrap());
        });
        // Every fourth may be killed before it has written anything, but for the first: there is no database before it.
        if round % 4 != 3 {
            acked.push(ended.recv_timeout(PATIENCE).expect("the child writes"));
        }
        std::thread::sleep(Duration::from_millis((round * 7919) % 190));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        acked.extend(ended.iter());
        let report = verify(dir.path(), Depth::Whole).unwrap();
        assert!(report.holds(), "round {round}: {:?}", report.findings.kept());
    }
    let store = Store::open(Options::new(dir.path())).unwrap();
    assert!(matches!(store.checkpoint(), Checkpoint::OnChain { .. }));
    for id in acked {
        let entry = store.reader().read_blocking(|sql| executions::find(sql, &id)).unwrap();
        assert!(
            matches!(entry, Match::One(entry) if entry.status == Status::Completed),
            "{id} was answered and is lost"
        );
    }
}
