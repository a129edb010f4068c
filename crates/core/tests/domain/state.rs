//! Stored values against a model that knows nothing of ledgers: whatever people set, delete and expect, and whenever time
//! passes, each change adds one version, a conflict changes nothing, and the quotas count what is there.
use crate::office::{OWNER, Office};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::call::{Holder, Outcome};
use tenure_core::execution;
use tenure_core::facts::{Counter, Facts};
use tenure_core::state::{Access, Acl, Conflict, Space, VALUE_BYTES_MAX, VERSIONS_MAX, Write};
use tenure_core::{agent, project};

#[derive(Debug, Clone)]
enum Move {
    Set {
        shared: bool,
        key: usize,
        size: usize,
        expected: Option<u64>,
        ttl_ms: Option<u64>,
    },
    Delete {
        shared: bool,
        key: usize,
        expected: Option<u64>,
    },
    /// With the version that the model says, as one does who has read.
    Overwrite {
        shared: bool,
        key: usize,
    },
    Quota(u64),
    Pass(u64),
    Sweep,
}

const KEYS: [&str; 3] = ["a", "b:long", "b:longer"];

fn moves() -> impl Strategy<Value = Move> {
    let expected = || proptest::option::of(0u64..4);
    prop_oneof![
        6 => (any::<bool>(), 0usize..3, 0usize..60, expected(), proptest::option::of(1u64..5_000))
            .prop_map(|(shared, key, size, expected, ttl_ms)| Move::Set { shared, key, size, expected, ttl_ms }),
        3 => (any::<bool>(), 0usize..3, expected())
            .prop_map(|(shared, key, expected)| Move::Delete { shared, key, expected }),
        6 => (any::<bool>(), 0usize..3).prop_map(|(shared, key)| Move::Overwrite { shared, key }),
        1 => (1u64..400).prop_map(Move::Quota),
        3 => (1u64..3_000).prop_map(Move::Pass),
        2 => Just(Move::Sweep),
    ]
}

/// One key as the model has it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Kept {
    version: u64,
    /// Bytes of the value; none where there is none.
    value: Option<(u64, Option<i64>)>,
}

type Model = BTreeMap<(bool, usize), Kept>;

impl Kept {
    fn live(&self, now: i64) -> bool {
        self.value.is_some_and(|(_, due)| due.is_none_or(|due| due > now))
    }

    fn current(&self, now: i64) -> u64 {
        if self.live(now) { self.version } else { 0 }
    }

    /// A value whose time is over is gone with a version of its own.
    fn settle(&mut self, now: i64) {
        if self.value.is_some() && !self.live(now) {
            (self.version, self.value) = (self.version + 1, None);
        }
    }
}

fn space(office: &Office, shared: bool) -> Space {
    if shared { Space::shared(office.project) } else { Space::persistent(office.agent) }
}

fn set(office: &mut Office, shared: bool, write: Write) -> Result<Vec<Event>, Refusal> {
    let command = match shared {
        true => Command::Project(office.project, project::Command::SetShared(write)),
        false => Command::Agent(office.agent, agent::Command::SetState(write)),
    };
    office.world.commit(OWNER, command)
}

fn delete(office: &mut Office, shared: bool, key: &str, expected: Option<u64>) -> Result<Vec<Event>, Refusal> {
    let key = key.to_string();
    let command = match shared {
        true => Command::Project(office.project, project::Command::DeleteShared { key, expected }),
        false => Command::Agent(office.agent, agent::Command::DeleteState { key, expected }),
    };
    office.world.commit(OWNER, command)
}

fn sweep(office: &mut Office) {
    let command = Command::Agent(office.agent, agent::Command::SweepState {});
    let _ = office.world.commit(Actor::Daemon, command);
    let command = Command::Project(office.project, project::Command::SweepShared {});
    let _ = office.world.commit(Actor::Daemon, command);
}

fn count(office: &mut Office, counter: Counter, shared: bool) -> u64 {
    let space = space(office, shared);
    let counted = office.world.memory.count(counter, &space.namespace, 0).expect("the memory is whole");
    u64::try_from(counted).expect("no sum is below 0")
}

fn quota(office: &mut Office) -> u64 {
    match count(office, Counter::StateQuota, false) {
        0 => 100 << 20,
        set => set,
    }
}

fn is_version(refusal: &Refusal, current: u64) -> bool {
    match refusal {
        Refusal::Agent(agent::Refusal::StateVersion { current: told, .. })
        | Refusal::Project(project::Refusal::StateVersion { current: told, .. }) => *told == current,
        _ => false,
    }
}

fn is_quota(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Agent(agent::Refusal::StateQuota { .. }) | Refusal::Project(project::Refusal::StateQuota { .. })
    )
}

fn bytes(model: &Model, shared: bool) -> u64 {
    let values = model.iter().filter(|((of, _), _)| *of == shared);
    values.filter_map(|((_, key), kept)| kept.value.map(|(size, _)| size + KEYS[*key].len() as u64)).sum()
}

fn play(office: &mut Office, model: &mut Model, step: &Move) {
    let now = office.world.now.at.millis();
    match *step {
        Move::Pass(milliseconds) => office.world.pass(milliseconds),
        Move::Sweep => {
            sweep(office);
            model.values_mut().for_each(|kept| kept.settle(now));
        }
        Move::Quota(quota) => {
            let command = Command::Agent(office.agent, agent::Command::SetStateQuota { quota });
            office.world.commit(OWNER, command).expect("a quota that may be");
            sweep(office);
            model.values_mut().for_each(|kept| kept.settle(now));
        }
        Move::Overwrite { shared, key } => {
            let expected = Some(model.entry((shared, key)).or_default().current(now));
            play(office, model, &Move::Set { shared, key, size: 7, expected, ttl_ms: None });
        }
        Move::Set { shared, key, size, expected, ttl_ms } => {
            let value = office.world.payload(&"x".repeat(size));
            let quota = if shared { u64::MAX } else { quota(office) };
            let others = bytes(model, shared);
            let kept = model.entry((shared, key)).or_default();
            let counted = kept.value.map_or(0, |(size, _)| size + KEYS[key].len() as u64);
            let fits = others - counted + (size + KEYS[key].len()) as u64 <= quota;
            let current = kept.current(now);
            match set(office, shared, Write { key: KEYS[key].into(), value, expected, ttl_ms }) {
                Ok(_) => {
                    assert!(expected.is_none_or(|expected| expected == current) && fits, "{step:?} over {kept:?}");
                    kept.settle(now);
                    let due = ttl_ms.map(|ttl_ms| now + i64::try_from(ttl_ms).expect("small"));
                    (kept.version, kept.value) = (kept.version + 1, Some((size as u64, due)));
                }
                Err(refusal) if expected.is_some_and(|expected| expected != current) => {
                    assert!(is_version(&refusal, current), "{refusal:?} where {current} was");
                }
                Err(refusal) => assert!(!fits && is_quota(&refusal), "{step:?} over {kept:?}: {refusal:?}"),
            }
        }
        Move::Delete { shared, key, expected } => {
            let kept = model.entry((shared, key)).or_default();
            let current = kept.current(now);
            match delete(office, shared, KEYS[key], expected) {
                Ok(_) => {
                    assert!(current > 0 && expected.is_none_or(|expected| expected == current));
                    (kept.version, kept.value) = (kept.version + 1, None);
                }
                Err(refusal) if expected.is_some_and(|expected| expected != current) => {
                    assert!(is_version(&refusal, current), "{refusal:?} where {current} was");
                }
                Err(refusal) => assert!(current == 0, "{refusal:?}"),
            }
        }
    }
}

/// The model forgets no version; the ledger may have dropped the mark of a key that is gone, and numbers begin anew then.
fn compare(office: &mut Office, model: &mut Model) {
    for shared in [false, true] {
        let space = space(office, shared);
        let mut history = 0;
        for (key, name) in KEYS.iter().enumerate() {
            let versions = office.world.memory.versions(&space.namespace, name, u64::MAX, 1000).expect("whole");
            let kept = model.entry((shared, key)).or_default();
            assert!(versions.len() as u64 <= VERSIONS_MAX, "{name} has {} versions", versions.len());
            match versions.first() {
                Some(newest) => {
                    let value = newest.value.map(|value| (value.size, newest.expires.map(|at| at.millis())));
                    assert_eq!((newest.version, value), (kept.version, kept.value), "{name}");
                }
                None => {
                    assert!(kept.value.is_none(), "{name} is lost: {kept:?}");
                    kept.version = 0;
                }
            }
            let numbers: Vec<u64> = versions.iter().map(|entry| entry.version).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] > pair[1]), "{name} goes {numbers:?}");
            let old = versions.iter().enumerate().filter(|(place, entry)| *place > 0 || entry.value.is_none());
            history += old.map(|(_, entry)| entry.bytes(name)).sum::<u64>();
        }
        let keys = model.iter().filter(|((of, _), kept)| *of == shared && kept.value.is_some()).count() as u64;
        assert_eq!(count(office, Counter::StateBytes, shared), bytes(model, shared));
        assert_eq!(count(office, Counter::StateKeys, shared), keys);
        assert_eq!(count(office, Counter::StateHistory, shared), history);
        let due = office.world.fold::<agent::Agent>(office.agent).and_then(|agent| agent.state_due);
        let is_swept_now = due.is_some_and(|due| due <= office.world.now.at);
        if !shared && history > quota(office) {
            assert!(is_swept_now, "{history} bytes of history are over the quota, and nothing is owed");
        }
    }
}

/// Each version of a key that was set is in the ledger, in order, with who set it.
fn recorded(office: &Office) {
    let mut last: BTreeMap<(Stream, String), u64> = BTreeMap::new();
    for (stream, events) in &office.world.memory.streams {
        for (_, event) in events {
            let (key, version) = match event {
                Event::Agent(agent::Event::StateSet(set)) | Event::Project(project::Event::StateSet(set)) => {
                    assert_eq!(set.by, OWNER);
                    (&set.key, set.version)
                }
                Event::Agent(agent::Event::StateDeleted(ended) | agent::Event::StateExpired(ended))
                | Event::Project(project::Event::StateDeleted(ended) | project::Event::StateExpired(ended)) => {
                    (&ended.key, ended.version)
                }
                _ => continue,
            };
            let before = last.insert((*stream, key.clone()), version).unwrap_or(0);
            assert!(version == before + 1 || version == 1, "{key} goes from {before} to {version}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn stored_values_are_those_of_a_plain_map_whatever_is_set_deleted_expected_and_expires(
        steps in proptest::collection::vec(moves(), 1..80)
    ) {
        let (mut office, mut model) = (Office::new(0), Model::new());
        for step in &steps {
            play(&mut office, &mut model, step);
            compare(&mut office, &mut model);
        }
        recorded(&office);
        for _ in 0..4 {
            sweep(&mut office);
        }
        let (history, quota) = (count(&mut office, Counter::StateHistory, false), quota(&mut office));
        prop_assert!(history <= quota, "{} of {}", history, quota);
        prop_assert_eq!(office.world.replayed(), office.world.memory.folds.clone());
    }
}

fn write(office: &mut Office, key: &str, text: &str) -> Write {
    Write { key: key.into(), value: office.world.payload(text), expected: None, ttl_ms: None }
}

#[test]
fn the_last_hundred_versions_of_a_key_are_kept_and_what_is_dropped_is_erased() {
    let mut office = Office::new(0);
    let mut first = None;
    for number in 1..=VERSIONS_MAX + 5 {
        let write = write(&mut office, "a", &number.to_string());
        first.get_or_insert(write.value.bound().hash);
        set(&mut office, false, write).expect("it fits");
    }
    let space = Space::persistent(office.agent);
    let versions = office.world.memory.versions(&space.namespace, "a", u64::MAX, 1000).expect("whole");
    let numbers: Vec<u64> = versions.iter().map(|entry| entry.version).collect();
    assert_eq!(numbers, (6..=VERSIONS_MAX + 5).rev().collect::<Vec<_>>());
    let first = first.expect("one was set");
    assert!(!office.world.memory.payloads.contains_key(&first) && office.world.memory.erased.contains(&first));
    let kept = versions[0].value.expect("it is live").hash;
    assert!(office.world.memory.payloads.contains_key(&kept), "the control");
}

#[test]
fn a_key_a_value_a_time_to_live_and_a_quota_that_none_may_be_change_nothing() {
    let mut office = Office::new(0);
    let before = office.world.memory.streams[&Stream::Agent(office.agent)].len();
    let long = "k".repeat(513);
    for key in ["", "a\nb", long.as_str()] {
        let wrong = write(&mut office, key, "1");
        let refusal = set(&mut office, false, wrong).expect_err("no such key");
        assert!(matches!(refusal, Refusal::Agent(agent::Refusal::StateWrong { .. })), "{refusal:?}");
    }
    let large = write(&mut office, "a", &"1".repeat(VALUE_BYTES_MAX + 1));
    let refusal = set(&mut office, false, large).expect_err("too large");
    let Refusal::Agent(agent::Refusal::StateWrong { conflict, .. }) = refusal else { panic!("{refusal:?}") };
    assert_eq!(conflict, Conflict::Value { size: VALUE_BYTES_MAX as u64 + 1 }, "it says the size");
    let ttl = Write { ttl_ms: Some(0), ..write(&mut office, "a", "1") };
    set(&mut office, false, ttl).expect_err("no time at all");
    let quota = Command::Agent(office.agent, agent::Command::SetStateQuota { quota: 0 });
    office.world.commit(OWNER, quota).expect_err("no quota at all");
    let events = &office.world.memory.streams[&Stream::Agent(office.agent)][before..];
    assert!(events.iter().all(|(_, event)| event.kind() == "command.refused"), "{events:?}");
    let most = write(&mut office, "a", &"1".repeat(VALUE_BYTES_MAX));
    set(&mut office, false, most).expect("the control: just as large as may be");
}

#[test]
fn what_a_session_keeps_ends_with_its_execution_and_leaves_no_bytes() {
    let mut office = Office::new(0);
    let start = office.start();
    office.must(start);
    for step in [Office::bind as fn(&Office) -> execution::Command, Office::call_model] {
        let command = step(&office);
        office.must(command);
    }
    let answer = office.answer(&["state.session.set", "state.session.set", "state.session.get"]);
    office.must(answer);
    for _ in 0..2 {
        let perform = office.perform();
        office.must(perform);
    }
    let space = Space::session(office.agent, Holder::Execution(office.execution));
    let kept = |office: &mut Office| office.world.memory.versions(&space.namespace, "a", u64::MAX, 10).expect("whole");
    let versions = kept(&mut office);
    assert_eq!(versions.iter().map(|entry| entry.version).collect::<Vec<_>>(), [2, 1]);
    office.must(execution::Command::Cancel { why: "enough".into() });
    let phase = &office.state().expect("it was started").phase;
    assert!(matches!(phase, execution::Phase::Ended { .. }), "no sandbox was made: {phase:?}");
    sweep(&mut office);
    assert_eq!(kept(&mut office), []);
    for version in versions {
        assert!(office.world.memory.erased.contains(&version.value.expect("both were set").hash));
    }
    let left = office.world.memory.count(Counter::StateHistory, &space.namespace, 0).expect("whole");
    let bytes = office.world.memory.count(Counter::StateBytes, &space.namespace, 0).expect("whole");
    assert_eq!((left, bytes), (0, 0));
}

#[test]
fn an_agent_uses_shared_keys_as_the_rule_of_the_longest_prefix_says() {
    let mut office = Office::new(0);
    let nobody = || Access::Agents(std::collections::BTreeSet::new());
    let rule = |prefix: &str, read, write| project::Command::SetAcl(Acl { prefix: prefix.into(), read, write });
    let outcome = |office: &mut Office, capability: &str| {
        office.execution = office.world.execution_id();
        let start = office.start();
        office.must(start);
        for step in [Office::bind as fn(&Office) -> execution::Command, Office::call_model] {
            let command = step(office);
            office.must(command);
        }
        let answer = office.answer(&[capability]);
        office.must(answer);
        let perform = office.perform();
        let events = office.apply(perform).expect("it is proposed");
        let cancel = execution::Command::Cancel { why: "enough".into() };
        let _ = office.apply(cancel);
        events.into_iter().find_map(|event| match event {
            Event::Execution(execution::Event::CallEnded(ended)) => Some(ended.outcome),
            _ => None,
        })
    };
    let failed = |code: &str| Some(Outcome::Failed { code: code.into() });
    assert_eq!(outcome(&mut office, "state.shared.get"), failed("not_found"), "the control: without a rule it may");
    office.command_project(OWNER, rule("", nobody(), nobody())).expect("a rule");
    assert_eq!(outcome(&mut office, "state.shared.get"), failed("AccessDenied"));
    assert_eq!(outcome(&mut office, "state.shared.delete"), failed("AccessDenied"));
    let own = Access::Agents([office.agent].into());
    office.command_project(OWNER, rule("a", own, nobody())).expect("a longer one");
    assert_eq!(outcome(&mut office, "state.shared.get"), failed("not_found"));
    assert_eq!(outcome(&mut office, "state.shared.delete"), failed("AccessDenied"));
    office.command_project(OWNER, project::Command::RemoveAcl { prefix: "a".into() }).expect("it is there");
    assert_eq!(outcome(&mut office, "state.shared.get"), failed("AccessDenied"));
}
