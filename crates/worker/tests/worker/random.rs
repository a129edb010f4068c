use crate::house::{House, Run, jail_of, processes, shell};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::collections::HashMap;
use tenure_core::call::Holder;
use tenure_core::id::LeaseId;
use tenure_wire::frame::{FromWorker, LeasedCall, ToWorker};

const STEPS: u32 = 150;
/// As many executions as the worker has slots.
const RUNS: usize = 3;

/// A reproducible stream of numbers (an LCG; quality does not matter here).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What is known of the calls that were sent.
#[derive(Default)]
struct Book {
    open: HashMap<LeaseId, LeasedCall>,
    answered: HashMap<LeaseId, u32>,
    /// Sent more than once, or perhaps lost: how often they are answered is open.
    loose: Vec<LeaseId>,
    lost: u32,
    /// Sent and not yet answered.
    releases: u32,
}

impl Book {
    fn read(&mut self, frame: &FromWorker) {
        match frame {
            FromWorker::Outcome(outcome) => {
                *self.answered.entry(outcome.lease).or_default() += 1;
                let known = self.open.remove(&outcome.lease).is_some() || self.loose.contains(&outcome.lease);
                assert!(known, "answered after its jail was gone: {outcome:?}");
            }
            FromWorker::JailLost { holder, iteration, .. } => {
                self.lost += 1;
                // Some may have been sent before this was read, and are done in the next jail.
                let there = |call: &&LeasedCall| call.holder == *holder && call.iteration == *iteration;
                self.loose.extend(self.open.values().filter(there).map(|call| call.lease));
                self.close(*holder, *iteration);
            }
            FromWorker::Released { holder, iteration, .. } => {
                self.releases = self.releases.checked_sub(1).expect("each release is answered once");
                self.close(*holder, *iteration);
            }
            FromWorker::Output { .. }
            | FromWorker::ToolsChanged { .. }
            | FromWorker::Beat { .. }
            | FromWorker::NetworkRefused { .. }
            | FromWorker::Files { .. }
            | FromWorker::Stream { .. }
            | FromWorker::Surveyed { .. }
            | FromWorker::HomeRemoved { .. }
            | FromWorker::Hello(_) => {}
        }
    }

    fn close(&mut self, holder: Holder, iteration: u32) {
        self.open.retain(|_, call| call.holder != holder || call.iteration != iteration);
    }
}

#[tokio::test]
async fn whatever_is_killed_and_released_each_lease_is_answered_once_or_its_jail_is_gone() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (mut house, mut dice, mut book) = (House::new().await, Dice(seed), Book::default());
    let mark = format!("tenure-test-random-{seed}");
    let mut runs: Vec<Run> = (0..RUNS).map(|_| house.another_run()).collect();
    for _ in 0..STEPS {
        let which = dice.roll(RUNS as u64) as usize;
        house.run = runs[which];
        match dice.roll(10) {
            0..=3 => {
                let path = format!("f{}", dice.roll(4));
                let call = house.call("filesystem.append", json!({"path": path, "content": "x"}));
                house.begin(&call).await;
                book.open.insert(call.lease, call);
            }
            4..=5 => {
                let script = format!("sleep 0.0{}; : {mark}", dice.roll(9));
                let call = house.call("process.run", shell(&script));
                house.begin(&call).await;
                book.open.insert(call.lease, call);
            }
            6 => {
                if let Some(call) = book.open.values().next().cloned() {
                    book.loose.push(call.lease);
                    house.begin(&call).await;
                }
            }
            7 => {
                // Nothing of this iteration is sent any more.
                let Run { agent, holder, iteration } = runs[which];
                house.send(&ToWorker::Release { agent, holder, iteration, last: false }).await;
                book.releases += 1;
                runs[which].iteration += 1;
            }
            8 => {
                if let Some((pid, _)) = jail_of(&mark) {
                    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
                }
            }
            _ => {
                // Until nothing of this execution is open.
                while book.open.values().any(|call| call.holder == house.run.holder) {
                    let frame = house.next().await.expect("the worker lives");
                    book.read(&frame);
                }
            }
        }
    }
    for run in &runs {
        let Run { agent, holder, iteration } = *run;
        house.send(&ToWorker::Release { agent, holder, iteration, last: true }).await;
        book.releases += 1;
    }
    while book.releases > 0 {
        let frame = house.next().await.expect("the worker lives");
        book.read(&frame);
    }
    assert!(book.open.is_empty(), "never answered: {:?}", book.open);
    assert!(book.answered.iter().all(|(lease, times)| *times == 1 || book.loose.contains(lease)));
    assert_eq!(processes(&mark), [0; 0]);
    println!("{} answered, {} jails lost", book.answered.len(), book.lost);
    house.hang_up().await;
}
