//! Random lives of executions, in a store that forgets every fold at once and in one that keeps them: snapshots and
//! replay must give what the live folds are, byte for byte.

use crate::world::{self, Connected, OWNER, World};
use proptest::prelude::*;
use serde_json::json;
use tenure_core::aggregate::{self, Command, Stream};
use tenure_core::call::{EndCall, Outcome, Proposal};
use tenure_core::execution::{self, Check, Execution, Finding, ModelCall, Phase, ProgramOutcome, Step, Turn};
use tenure_core::ledger::canonical;
use tenure_store::verify::{Depth, verify};
use tenure_store::{Class, Options, Store, Txn, events_of};

const EXECUTIONS: usize = 3;

/// What the next command of an execution is, chosen among those that fit its state by `dice`.
fn next(
    world: &mut World,
    store: &Store,
    fold: &Execution,
    (worker, connection): Connected,
    dice: u8,
) -> Option<execution::Command> {
    use execution::Command as C;
    let iteration = match &fold.phase {
        Phase::Ended { .. } => return None,
        Phase::Queued { .. } => return Some(C::Bind { worker, connection }),
        Phase::Running(iteration) => iteration,
    };
    let number = iteration.number;
    if iteration.binding.is_none() {
        return Some(C::Bind { worker, connection });
    }
    // How a closing one ends is decided, so that no cancel is taken.
    if dice == 0 && !matches!(iteration.step, Step::Closing { .. }) {
        return Some(C::Cancel { why: "enough".into() });
    }
    if dice == 1 && iteration.has_sandbox {
        let leases = leases(&iteration.step);
        return Some(C::LoseJail { connection, iteration: number, leases, why: "killed".into(), traffic: None });
    }
    if dice == 2 {
        let since = world.now.run;
        return Some(C::Unbind { connection, since, why: "the worker was lost".into() });
    }
    Some(match &iteration.step {
        Step::Thinking { call: ModelCall::Due { .. }, .. } => world.turn_commands(fold, Vec::new()).0,
        Step::Thinking { call: ModelCall::Open { .. }, attempt, .. } if dice == 3 => {
            C::LoseModel { turn: Turn { iteration: number, turn: iteration.turns, attempt: *attempt } }
        }
        Step::Thinking { call: ModelCall::Open { .. }, .. } => {
            let proposals = proposals(world, dice);
            world.turn_commands(fold, proposals).1
        }
        Step::Program { call: None } => C::AskProgram { iteration: number, proposal: world.proposal() },
        Step::Program { call: Some(_) } => {
            let outcome = ProgramOutcome::Answered { output: world.payload("printed") };
            C::EndProgram { iteration: number, outcome }
        }
        // Only an instance's own session moves it on.
        Step::Told { .. } => return None,
        Step::Acting { calls } => match calls.iter().find(|call| call.lease().is_some()) {
            Some(call) if dice.is_multiple_of(7) => {
                let attributes = Some(world.payload(r#"{"path":"/workspace/behind"}"#));
                let outcome = Outcome::Redirected { path: "/workspace/behind".into() };
                C::EndCall(EndCall { outcome, attributes, result: None, ..world.end_of(call) })
            }
            Some(call) => C::EndCall(world.end_of(call)),
            None => world::perform_command(store, fold).unwrap(),
        },
        Step::Validating { index, check, .. } => match check {
            Check::None if dice.is_multiple_of(2) => {
                C::Check { iteration: number, index: *index, proposal: world.proposal() }
            }
            Check::None | Check::Ended { .. } => {
                let reasons = world.payload("reasons");
                let finding =
                    Finding { validator: "regex".into(), pass: !dice.is_multiple_of(3), score_milli: 500, reasons };
                C::Validate { iteration: number, index: *index, finding }
            }
            Check::Open { call } => C::EndCall(world.end_of(call)),
        },
        Step::Closing { .. } => C::Release { connection, iteration: number, traffic: None },
    })
}

/// Up to three calls, in the sandbox and on our own rows.
fn proposals(world: &mut World, dice: u8) -> Vec<Proposal> {
    let ttl = 1 + u64::from(dice % 9);
    let kinds = [
        (
            "state.shared.set",
            json!({ "key": "shared", "value": dice, "expected_version": dice % 3, "ttl_seconds": ttl }),
        ),
        ("state.session.set", json!({ "key": format!("key-{}", dice % 2), "value": dice })),
        ("state.persistent.delete", json!({ "key": format!("key-{}", dice % 5) })),
        ("filesystem.read", json!({ "path": "src/main.rs" })),
        ("state.persistent.set", json!({ "key": format!("key-{}", dice % 5), "value": dice })),
        ("filesystem.write", json!({ "path": "out", "content": "x" })),
        ("state.persistent.get", json!({ "key": format!("key-{}", dice % 3) })),
    ];
    let kinds = kinds.iter().cycle().skip(usize::from(dice / 4)).take(usize::from(dice % 4));
    kinds.map(|(capability, arguments)| world.proposal_of(capability, arguments)).collect()
}

fn leases(step: &Step) -> Vec<tenure_core::id::LeaseId> {
    let Step::Acting { calls } = step else { return Vec::new() };
    calls.iter().filter_map(|call| Some(call.lease()?.lease)).collect()
}

/// Lives the life that `dice` tell, and gives every fold at its end.
fn live(dir: &std::path::Path, folds_max: usize, dice: &[(u8, u8)]) -> Vec<Vec<u8>> {
    let mut options = Options::new(dir);
    options.folds_max = folds_max;
    let store = Store::open(options).unwrap();
    let mut world = World::new(31);
    world.found(&store);
    let agent = world.deploy_under(&store, "random", &world::validated_plan(2));
    let worker = world.worker(&store, 100);
    let ids: Vec<_> = (0..EXECUTIONS).map(|_| world.start(&store, agent, None)).collect();
    for (which, dice) in dice {
        let id = ids[usize::from(*which) % EXECUTIONS];
        let fold: Execution = world::get(&store, id);
        let Some(command) = next(&mut world, &store, &fold, worker, *dice) else { continue };
        let (now, seed) = world.tick();
        let job = move |txn: &mut Txn<'_>| world::commit(txn, OWNER, Command::Execution(id, command), now, seed);
        let decided = store.writer().write_blocking(Class::Wake, job).unwrap();
        assert!(decided.is_ok(), "{decided:?} after {fold:?}");
    }
    let streams = ids.into_iter().map(Stream::Execution).chain([Stream::Agent(agent), Stream::Worker(worker.0)]);
    let streams: Vec<Stream> = streams.collect();
    let folds =
        streams.iter().map(|stream| canonical(world::fold(&store, *stream).unwrap().as_ref()).unwrap()).collect();
    for stream in streams {
        let mut replayed = None;
        for record in store.reader().read_blocking(|sql| events_of(sql, stream, 0, 100_000)).unwrap() {
            aggregate::apply(&mut replayed, &record.event, record.meta.stamp);
        }
        assert_eq!(replayed.as_ref(), world::fold(&store, stream).as_deref());
    }
    store.close();
    let report = verify(dir, Depth::Whole).unwrap();
    assert!(report.holds(), "{:?}", report.findings.kept());
    folds
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn snapshots_and_replay_give_what_the_live_folds_are(dice in prop::collection::vec((any::<u8>(), any::<u8>()), 250)) {
        let (kept, forgotten) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        prop_assert_eq!(live(kept.path(), 4096, &dice), live(forgotten.path(), 1, &dice));
    }
}
