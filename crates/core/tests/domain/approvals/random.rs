//! Random histories of calls that people must allow.
use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Bind,
    Model,
    Ask(u8),
    Approve { again: bool, grant: u8 },
    Edit,
    Reject,
    Expire,
    Cancel,
    Release,
    Perform,
    End,
    LoseJail,
    Lapse,
    Rules(u32),
    Rejudge,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Bind),
        4 => Just(Step::Model),
        6 => (0..8u8).prop_map(Step::Ask),
        6 => (any::<bool>(), 0..5u8).prop_map(|(again, grant)| Step::Approve { again, grant }),
        1 => Just(Step::Edit),
        1 => Just(Step::Reject),
        1 => Just(Step::Expire),
        1 => Just(Step::Cancel),
        3 => Just(Step::Release),
        3 => Just(Step::Perform),
        3 => Just(Step::End),
        2 => Just(Step::LoseJail),
        1 => Just(Step::Lapse),
        1 => prop_oneof![0..4u32, Just(LAX)].prop_map(Step::Rules),
        2 => Just(Step::Rejudge),
        1 => prop_oneof![Just(1_000u64), Just(WAITS_MS)].prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

/// How often each call began, whether people had allowed it, and by what rules.
#[derive(Default)]
struct Seen {
    begun: BTreeMap<CallId, u32>,
    allowed: BTreeMap<CallId, bool>,
}

impl Seen {
    fn take(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Execution(execution::Event::CallHeld(held)) => {
                    self.allowed.insert(held.call, false);
                }
                Event::Execution(execution::Event::CallReleased(released)) => {
                    self.allowed.remove(&released.call);
                }
                Event::Execution(execution::Event::CallAllowed(allowed)) => {
                    self.allowed.insert(allowed.call, allowed.complete);
                }
                Event::Execution(execution::Event::CallCalled(called))
                    if called.judgement.verdict == Verdict::ApprovalRequired =>
                {
                    let granted = called.judgement.rules.iter().any(|rule| rule.starts_with("grant:"));
                    assert!(granted || self.allowed.get(&called.call) == Some(&true), "nobody allowed {called:?}");
                    let begun = self.begun.entry(called.call).or_default();
                    *begun += 1;
                    assert_eq!(*begun, 1, "it was begun twice: {called:?}");
                }
                _ => {}
            }
        }
    }
}

const CALLS: [&[&str]; 8] = [
    &[],
    &["process.run"],
    &["process.run", "process.run"],
    &["filesystem.write", "process.run"],
    &["state.persistent.set"],
    &["state.persistent.set", "process.run"],
    &["filesystem.read", "filesystem.read"],
    &["process.run", "filesystem.read"],
];

fn act(office: &mut Office, rules: &AtomicU32, step: Step) -> Result<Vec<Event>, Refusal> {
    let execution = match step {
        Step::Bind => office.bind(),
        Step::Model => office.call_model(),
        Step::Ask(which) => office.answer(CALLS[usize::from(which)]),
        Step::Approve { again, grant } => {
            let scope = match grant {
                0 => Some(Scope::Calls { left: 1 }),
                1 => Some(Scope::Until { at: office.world.now.at.plus_ms(10_000) }),
                2 => Some(Scope::Execution { id: office.execution }),
                _ => None,
            };
            let first = approve_with(office, scope);
            if again {
                let second = approve(office);
                assert!(second.is_err() || first.is_err() || office.open_calls().len() > 1, "{second:?}");
            }
            return first;
        }
        Step::Edit => return edit(office),
        Step::Reject => return reject(office),
        Step::Expire => return expire(office),
        Step::Rejudge => return rejudge(office),
        Step::Cancel => execution::Command::Cancel { why: "enough".into() },
        Step::Release => office.release(),
        Step::Perform => office.perform(),
        Step::End => office.end_call(Outcome::Done { exit_code: Some(0) }),
        Step::LoseJail => office.lose_jail(),
        Step::Lapse => {
            office.lapse();
            office.connect(2);
            return Ok(Vec::new());
        }
        Step::Rules(version) => {
            rules.store(version, Ordering::Relaxed);
            return Ok(Vec::new());
        }
        Step::Pass(ms) => {
            office.world.pass(ms);
            return Ok(Vec::new());
        }
    };
    office.apply(execution)
}

proptest! {
    /// Whatever comes between: double clicks, races with time, cancel, edits, other rules, lost jails and workers.
    #[test]
    fn what_people_must_allow_is_done_at_most_once_and_never_unasked(steps in steps()) {
        let (mut office, rules) = office();
        let mut seen = Seen::default();
        for step in steps {
            if let Ok(events) = act(&mut office, &rules, step) {
                seen.take(&events);
            }
            // A call that waits has no lease, and an execution that does nothing else has no worker for long.
            if let Some(execution) = office.state() {
                let bytes = serde_json::to_vec(&Fold::Execution(execution.clone())).expect("JSON").len();
                prop_assert!(bytes <= FOLD_BYTES_MAX, "{bytes}");
                if let Some(iteration) = execution.iteration().filter(|iteration| iteration.waits_for_people()) {
                    prop_assert!(iteration.binding.is_none() || iteration.parked, "{iteration:?}");
                }
            }
            let agent = office.world.fold::<Agent>(office.agent).expect("it is deployed");
            prop_assert!(agent.grants.len() <= GRANTS_MAX);
            let waiting = office.open_calls().iter().filter(|call| matches!(call.state, State::Waiting(_))).count();
            let pending = office.world.memory.items.values().filter(|item| item.state == "pending").count();
            prop_assert_eq!(waiting, pending);
        }
    }
}
