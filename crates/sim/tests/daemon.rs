//! The daemon itself holds under virtual time, and is missed where a part of it does not run. Many more seeds run in
//! `cargo xtask sim`.
use std::collections::BTreeSet;
use strum::IntoEnumIterator;
use tenure_core::aggregate::Kinds;
use tenure_core::owed::Kind;
use tenure_core::{execution, fleet, ledger};
use tenure_sim::audit::Rule;
use tenure_sim::daemon::{self, Medium, Settings};
use tenure_sim::run;
use tokio::runtime::{Builder, Runtime};

const STEPS: u64 = 200;
/// Seeds within which a missing reconciler must be found.
const FOUND_WITHIN: u64 = 60;

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without IO starts")
}

fn settings(medium: Medium) -> Settings {
    Settings { runtime: paused, medium, steps: STEPS, without: None }
}

#[test]
fn daemons_hold_in_memory_and_on_disk() {
    let memory = run::many_daemons(settings(Medium::Memory), 0, 12).unwrap_or_else(|found| panic!("{found}"));
    assert!(memory.failed > 0 && memory.kills > 0 && memory.lost_frames > 0 && memory.calls > 100, "{memory}");
    run::many_daemons(settings(Medium::Disk), 1_000_000, 1).unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn one_seed_gives_the_same_ledger_to_its_last_hash_each_time() {
    for seed in 2_000_000..2_000_003 {
        let once = || daemon::one(settings(Medium::Memory), seed).unwrap_or_else(|found| panic!("{found}")).records;
        let (first, second) = (once(), once());
        assert!(first.len() > 100, "seed {seed} did next to nothing");
        if let Some((one, other)) = first.iter().zip(&second).find(|(one, other)| one != other) {
            panic!("seed {seed}: {}\nis not {}", String::from_utf8_lossy(one), String::from_utf8_lossy(other));
        }
        let head = |records: &[Vec<u8>]| records.last().map(|record| ledger::leaf(record));
        assert_eq!((first.len(), head(&first)), (second.len(), head(&second)), "seed {seed}");
    }
}

/// What the simulation finds where a reconciler does not run: nothing else does its work. Where placing or dispatching is
/// what is missed, all waits for workers until its time is over, as it does where these are faulty.
#[test]
fn a_reconciler_that_does_not_run_is_missed() {
    // A pause ends by the wall clock, which nothing waits for, as values expire; a key whose overlap is over is refused by the
    // clock, whoever comes to it.
    // An idle jail, and a call that waits, go with their session; a call that was taken back ends by itself.
    // What a cancelled execution started ends by itself, too.
    // What is kept too long is waited for by nobody; here people are asked nothing.
    // Nobody writes to many here, nor waits for an answer until it is late, nor leaves letters behind.
    let waits = [
        Kind::Place,
        Kind::Dispatch,
        Kind::RemoveHome,
        Kind::ExpireCalls,
        Kind::ExpireApprovals,
        Kind::Rejudge,
        Kind::Cancel,
        Kind::EndPause,
        Kind::EndKey,
        Kind::SweepState,
        Kind::Retain,
        Kind::Erase,
        Kind::FanOut,
        Kind::ExpireMessages,
        Kind::DeadLetterMessages,
        Kind::CancelChildren,
        // No program asks a model here, or is kept running.
        Kind::EndModelCall,
        Kind::StartProgram,
        Kind::CheckHealth,
    ];
    for kind in Kind::iter().filter(|kind| !waits.contains(kind)) {
        let without = Settings { without: Some(kind), steps: STEPS / 2, ..settings(Medium::Memory) };
        let found = (0..FOUND_WITHIN).find_map(|seed| daemon::one(without, seed).err());
        let Some(found) = found else { panic!("{kind:?} is not missed within {FOUND_WITHIN} seeds") };
        assert_eq!(found.violation.rule, Rule::Standstill, "{kind:?}: {found}");
    }
}

/// A simulation that never comes to something shows nothing of it.
#[test]
fn every_kind_of_event_of_an_execution_and_a_worker_happens() {
    // Agents that start agents do so in the other world; here they seldom come to it.
    // People are asked nothing here, and no agent has an MCP server.
    const NEVER: [&str; 16] = [
        "execution.child_started",
        "execution.child_ended",
        "iteration.tools_asked",
        "program.told",
        "program.heard",
        "proxy.called",
        "proxy.answered",
        "proxy.failed",
        "proxy.lost",
        "call.held",
        "call.allowed",
        "call.released",
        "call.recalled",
        "iteration.parked",
        "execution.payload_erased",
        "worker.surveyed",
    ];
    let mut kinds = BTreeSet::new();
    for seed in 3_000_000..3_000_040 {
        kinds.extend(daemon::one(settings(Medium::Memory), seed).unwrap_or_else(|found| panic!("{found}")).kinds);
    }
    assert!(kinds.contains("agent.woken") && kinds.contains("agent.wake_skipped"), "{kinds:?}");
    let known = [execution::Event::KINDS, fleet::Event::KINDS].concat();
    let missing: Vec<&str> = known.into_iter().filter(|kind| !kinds.contains(kind)).collect();
    assert_eq!(missing, NEVER);
}
