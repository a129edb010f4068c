//! Random lives of executions, in a store that forgets every fold at once and in one that keeps them: snapshots and
//! replay must give what the live folds are, byte for byte.

use crate::door::{self, OWNER, World};
use proptest::prelude::*;
use tenure_core::command::Command;
use tenure_core::execution::{self, Execution, Finding, Phase, Step, Terms, Thought};
use tenure_core::fold::{self, Stream};
use tenure_core::ledger::canonical;
use tenure_store::verify::{Depth, verify};
use tenure_store::{Class, Options, Store, Txn, events_of};

const EXECUTIONS: usize = 3;

/// What the next command of an execution is, chosen among those that fit its state by `dice`.
fn next(
    world: &mut World,
    fold: &Execution,
    worker: (tenure_core::id::WorkerId, tenure_core::id::SessionId),
    dice: u8,
) -> Option<execution::Command> {
    use execution::Command as C;
    let session = worker.1;
    let iteration = match &fold.phase {
        Phase::Ended(_) => return None,
        Phase::Queued { .. } => return Some(C::Bind { worker: worker.0, session }),
        Phase::Running(iteration) => iteration,
    };
    let number = iteration.number;
    if iteration.binding.is_none() {
        return Some(C::Bind { worker: worker.0, session });
    }
    if dice == 0 {
        return Some(C::Cancel { why: "enough".into() });
    }
    if dice == 1 && iteration.jailed {
        return Some(C::LoseJail {
            session,
            iteration: number,
            leases: leases(&iteration.step),
            why: "killed".into(),
            traffic: None,
        });
    }
    if dice == 2 {
        let since = tenure_core::time::Time::from_millis(world.now);
        return Some(C::Unbind { session, since, why: "the worker was lost".into() });
    }
    Some(match &iteration.step {
        Step::Thinking { thought: Thought::Due { .. }, .. } => world.turn_commands(fold, 0).0,
        Step::Thinking { thought: Thought::Open { .. }, attempt, .. } if dice == 3 => {
            C::LoseModel { turn: execution::Turn { iteration: number, turn: iteration.turns, attempt: *attempt } }
        }
        Step::Thinking { thought: Thought::Open { .. }, .. } => world.turn_commands(fold, usize::from(dice % 4)).1,
        Step::Acting { .. } => world.end_command(fold),
        Step::Validating { index, check, .. } => match check {
            execution::Check::None if dice.is_multiple_of(2) => {
                C::Check { iteration: number, index: *index, proposal: world.proposal() }
            }
            execution::Check::None | execution::Check::Ended { .. } => {
                let reasons = world.payload("reasons");
                let finding =
                    Finding { validator: "regex".into(), pass: !dice.is_multiple_of(3), score_milli: 500, reasons };
                C::Validate { iteration: number, index: *index, finding }
            }
            execution::Check::Open { call } => world.end_of(call),
        },
        Step::Closing { .. } => C::Release { session, iteration: number, traffic: None },
    })
}

fn leases(step: &Step) -> Vec<tenure_core::id::LeaseId> {
    let Step::Acting { calls } = step else { return Vec::new() };
    calls.iter().filter_map(|call| Some(call.lease()?.0)).collect()
}

/// Lives the life that `dice` tell, and gives every fold at its end.
fn live(dir: &std::path::Path, folds_max: usize, dice: &[(u8, u8)]) -> Vec<Vec<u8>> {
    let mut options = Options::new(dir);
    options.folds_max = folds_max;
    let store = Store::open(options).unwrap();
    let mut world = World::new(31);
    world.found(&store);
    let agent = world.deploy_under(&store, "random", Terms { validators: 2, ..door::terms() });
    let worker = world.worker(&store, 100);
    let ids: Vec<_> = (0..EXECUTIONS).map(|_| world.start(&store, agent, None)).collect();
    for (which, dice) in dice {
        let id = ids[usize::from(*which) % EXECUTIONS];
        let fold = door::execution(&store, id);
        let Some(command) = next(&mut world, &fold, worker, *dice) else { continue };
        let (now, seed) = world.tick();
        let job = move |txn: &mut Txn<'_>| door::commit(txn, OWNER, Command::Execution(id, command), now, seed);
        let decided = store.writer().write_blocking(Class::Wake, job).unwrap();
        assert!(decided.is_ok(), "{decided:?} after {fold:?}");
    }
    let streams: Vec<Stream> = ids.into_iter().map(Stream::Execution).chain([Stream::Agent(agent)]).collect();
    let folds = streams.iter().map(|stream| canonical(&door::fold(&store, *stream)).unwrap()).collect();
    for stream in streams {
        let mut replayed = None;
        for record in store.reader().read_blocking(|sql| events_of(sql, stream, 0, 100_000)).unwrap() {
            fold::apply(&mut replayed, &record.event, record.meta.at);
        }
        assert_eq!(replayed, door::fold(&store, stream));
    }
    store.close();
    let report = verify(dir, Depth::Payloads).unwrap();
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
