//! The simulation holds, and would not if what it checks did not hold. Many more seeds run in `cargo xtask sim`.
use std::collections::BTreeSet;
use tenure_core::aggregate::Kinds;
use tenure_core::{agent, execution, fleet, project, session};
use tenure_sim::audit::Rule;
use tenure_sim::disk::DiskStorage;
use tenure_sim::memory::MemoryStorage;
use tenure_sim::mutation::Mutation;
use tenure_sim::run;
use tenure_sim::storage::View;

const STEPS: u64 = 200;
/// Seeds within which each mutation must be found.
const FOUND_WITHIN: u64 = 120;

#[test]
fn seeds_hold_in_memory() {
    let figures = run::many(|| MemoryStorage::new(None), 0, 40, STEPS).unwrap_or_else(|found| panic!("{found}"));
    assert!(figures.failed > 0 && figures.kills > 0 && figures.lost_frames > 0 && figures.calls > 100, "{figures}");
}

/// A simulation that never comes to something shows nothing of it.
#[test]
fn every_kind_of_event_happens() {
    // Nobody brings agents files here, nor other rules, nor another key, nor reads their alerts; sessions are heard by their
    // calls alone, and seldom hold a call that is taken back; no agent has an MCP server, and no program asks a model.
    const NEVER: [&str; 28] = [
        "restore.accepted",
        "ledger.key_rotated",
        "ledger.sealed",
        "policy.applied",
        "policy.rejudged",
        "publisher.trusted",
        "publisher.removed",
        "agent.instance_started",
        "agent.instance_ended",
        "agent.file_put",
        "agent.file_put_ended",
        "alert.acknowledged",
        "iteration.tools_asked",
        "program.told",
        "program.heard",
        "proxy.called",
        "proxy.answered",
        "proxy.failed",
        "proxy.lost",
        "call.released",
        "call.recalled",
        "execution.payload_erased",
        "session.heard",
        "hook.asked",
        "call.cancel_requested",
        "call.released",
        "call.recalled",
        "session.payload_erased",
    ];
    let mut kinds = BTreeSet::new();
    for seed in 3_000_000..3_000_800 {
        let world = run::one(MemoryStorage::new(None), seed, STEPS, None).unwrap_or_else(|found| panic!("{found}"));
        kinds.extend(world.audit.kinds().iter().copied());
    }
    let known = [
        project::Event::KINDS,
        agent::Event::KINDS,
        execution::Event::KINDS,
        fleet::Event::KINDS,
        session::Event::KINDS,
    ];
    let missing: Vec<&str> = known.concat().into_iter().filter(|kind| !kinds.contains(kind)).collect();
    assert_eq!(missing, NEVER);
}

#[test]
fn seeds_hold_on_disk() {
    let figures = run::many(DiskStorage::new, 1_000_000, 3, STEPS).unwrap_or_else(|found| panic!("{found}"));
    assert!(figures.failed > 0 && figures.kills > 0, "{figures}");
}

#[test]
fn one_seed_gives_the_same_records_each_time_in_memory_and_on_disk() {
    for seed in 2_000_001..2_000_004 {
        let memory = || run::one(MemoryStorage::new(None), seed, STEPS, None).unwrap_or_else(|found| panic!("{found}"));
        let first = memory().storage.records(0);
        assert!(first.len() > 40, "seed {seed} did next to nothing");
        same(seed, &first, &memory().storage.records(0));
        let mut disk = run::one(DiskStorage::new(), seed, STEPS, None).unwrap_or_else(|found| panic!("{found}"));
        same(seed, &first, &disk.storage.records(0));
    }
}

fn same(seed: u64, one: &[Vec<u8>], other: &[Vec<u8>]) {
    let differs = one.iter().zip(other).find(|(one, other)| one != other);
    if let Some((one, other)) = differs {
        panic!("seed {seed}: {}\nis not {}", String::from_utf8_lossy(one), String::from_utf8_lossy(other));
    }
    assert_eq!(one.len(), other.len(), "seed {seed} went on longer the other time");
}

#[test]
fn what_breaks_an_invariant_is_found_as_a_breach_of_that_one() {
    let cases: [(Mutation, &[Rule]); 17] = [
        (Mutation::AskBeforeCommit, &[Rule::NoEventNoAction]),
        (Mutation::SendUncommitted, &[Rule::NoEventNoAction]),
        (Mutation::LapseEarly, &[Rule::NoEventNoAction]),
        (Mutation::PerformAgain, &[Rule::AtMostOnce, Rule::NoEventNoAction]),
        (Mutation::DropEnd, &[Rule::Replay, Rule::OneEnd, Rule::Owed]),
        (Mutation::EndTwice, &[Rule::OneEnd]),
        (Mutation::HalfCommit, &[Rule::Replay, Rule::Owed, Rule::Chain]),
        (Mutation::ChangePayload, &[Rule::Bound]),
        (Mutation::DropRow, &[Rule::Rows]),
        (Mutation::DropCount, &[Rule::Rows]),
        (Mutation::NoLimits, &[Rule::Bounded]),
        (Mutation::DropOwed, &[Rule::Owed]),
        (Mutation::ForgetRelease, &[Rule::Standstill]),
        (Mutation::ForgetKey, &[Rule::Idempotency, Rule::Replay]),
        (Mutation::LoseMessage, &[Rule::Atomic]),
        (Mutation::SwapMessages, &[Rule::AtMostOnce]),
        (Mutation::SkipVersion, &[Rule::Chain]),
    ];
    for (mutation, rules) in cases {
        let found = run::until_found(|mutation| MemoryStorage::new(Some(mutation)), mutation, FOUND_WITHIN, STEPS);
        let Some((seed, rule)) = found else { panic!("{mutation:?} is not found within {FOUND_WITHIN} seeds") };
        assert!(rules.contains(&rule), "{mutation:?} is found by seed {seed} as {rule:?}");
    }
}
