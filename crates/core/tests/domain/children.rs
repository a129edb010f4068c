//! Executions that others started: in one commit, at most so deep, told of in both streams, charged up the chain so that no
//! family passes a limit of its first, and cancelled with whoever started them.
use crate::office::OWNER;
use crate::retention::settle;
use crate::talk::Talk;
use proptest::prelude::*;
use serde_json::json;
use tenure_core::agent::{self, Agent};
use tenure_core::aggregate::{Event, Fold, Stream};
use tenure_core::call::HolderKind;
use tenure_core::capability;
use tenure_core::execution::{self, CHILDREN_MAX, DEPTH_MAX, Ending, Execution, ModelCall, Phase, Reason, Step};
use tenure_core::facts::Counter;
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::owed::Obligation;
use tenure_core::project;
use tenure_core::retention::{AGE_MS_MIN, Retention};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Agents that start each other, with slots for all.
struct Family {
    talk: Talk,
    agents: Vec<AgentId>,
}

impl Family {
    fn new(tokens: u64, micro_usd: Option<u64>) -> Family {
        let mut talk = Talk::new();
        talk.office.lapse();
        talk.office.connect(64);
        (talk.limits.tokens, talk.limits.micro_usd) = (tokens, micro_usd);
        let agents = NAMES.iter().map(|name| talk.agent(name, &[])).collect();
        Family { talk, agents }
    }

    fn root(&mut self) -> ExecutionId {
        self.talk.begin(self.agents[0])
    }

    /// Starts the agent of this name from an execution at work, and gives its execution, at work too.
    fn child(&mut self, of: ExecutionId, name: &str) -> ExecutionId {
        let child = self.queued(of, name);
        self.talk.office.execution = child;
        let bind = self.talk.office.bind();
        self.talk.office.must(bind);
        child
    }

    fn queued(&mut self, of: ExecutionId, name: &str) -> ExecutionId {
        let started = self.talk.done(of, "agent.execute", &json!({"agent": name, "input": "go", "report": true}));
        started["execution"].as_str().expect("an id").parse().expect("an id of an execution")
    }

    fn state(&self, id: ExecutionId) -> &Execution {
        self.talk.office.world.fold::<Execution>(id).expect("it was started")
    }

    fn below(&self, id: ExecutionId, counter: Counter) -> i64 {
        self.talk.office.world.memory.counters.get(&(counter, id.to_string(), 0)).copied().unwrap_or(0)
    }

    fn finish(&mut self, id: ExecutionId) {
        self.talk.office.execution = id;
        let call = self.talk.office.call_model();
        self.talk.office.must(call);
        let answer = self.talk.office.answer(&[]);
        self.talk.office.must(answer);
    }

    fn reason(&self, id: ExecutionId) -> Option<(Reason, String)> {
        match &self.state(id).phase {
            Phase::Ended { ending: Ending::Failed { reason, detail }, .. } => Some((*reason, detail.clone())),
            _ => None,
        }
    }
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::kind).collect()
}

#[test]
fn one_commit_starts_another_agent_and_both_streams_tell_of_it() {
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    let (_, given, events) = family.talk.call(root, "agent.execute", &json!({"agent": "B", "input": {"n": 1}}));
    assert_eq!(
        kinds(&events),
        ["call.called", "execution.started", "agent.execution_started", "execution.child_started", "call.ended"]
    );
    let child: ExecutionId = given["execution"].as_str().expect("an id").parse().expect("an id");
    assert_eq!(family.state(root).children, [child]);
    let parent = family.state(child).parent.clone().expect("it was started by one");
    assert_eq!((parent.execution, parent.agent), (root, family.agents[0]));
    let asked = family.talk.done(root, "agent.result", &json!({"execution": child.to_string()}));
    assert_eq!(asked["status"], "queued");
}

#[test]
fn its_end_is_told_to_whoever_started_it_and_its_output_is_given_to_no_other() {
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    let child = family.child(root, "b");
    family.finish(child);
    assert!(family.state(root).children.is_empty());
    let taken = family.talk.done(root, "comms.receive", &json!({}));
    let told = &taken["messages"][0];
    assert_eq!(told["message"], json!({"execution": child, "agent": "b", "status": "completed"}));
    assert_eq!((told["from"].as_str(), told["correlation"].as_str()), (Some("b"), Some(child.to_string().as_str())));
    let asked = json!({"execution": child.to_string()});
    assert_eq!(family.talk.done(root, "agent.result", &asked)["output"], "done");
    let (one, agent) = (family.agents[2], family.agents[0]);
    let stranger = family.talk.begin(one);
    assert_eq!(family.talk.fails(stranger, "agent.result", &asked), "not_found");
    // A later execution of the same agent may ask: the message woke it perhaps.
    family.talk.end(root);
    let later = family.talk.begin(agent);
    assert_eq!(family.talk.done(later, "agent.result", &asked)["status"], "completed");
}

#[test]
fn what_a_running_execution_started_is_kept_until_that_has_ended_too() {
    let mut family = Family::new(1 << 40, None);
    let retention = Retention { age_ms: Some(AGE_MS_MIN), bytes: None };
    let rule = project::Command::SetRetention { retention };
    family.talk.office.command_project(OWNER, rule).expect("a minute");
    let root = family.root();
    let child = family.child(root, "b");
    family.finish(child);
    family.talk.office.world.pass(2 * AGE_MS_MIN);
    settle(&mut family.talk.office);
    let asked = json!({"execution": child.to_string()});
    assert_eq!(family.talk.done(root, "agent.result", &asked)["output"], "done");
    family.talk.end(root);
    family.talk.office.world.pass(AGE_MS_MIN);
    settle(&mut family.talk.office);
    for gone in [root, child] {
        assert!(family.state(gone).row(gone).erased_at.is_some());
    }
}

#[test]
fn no_chain_is_deeper_than_its_limit_and_no_execution_has_more_children_at_a_time() {
    let mut family = Family::new(1 << 40, None);
    let mut last = family.root();
    for name in &NAMES[1..=DEPTH_MAX] {
        last = family.child(last, name);
    }
    assert_eq!(family.talk.fails(last, "agent.execute", &json!({"agent": "f", "input": 1})), "too_deep");
    assert_eq!(family.talk.fails(last, "agent.execute", &json!({"agent": "a", "input": 1})), "too_deep");
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    for _ in 0..CHILDREN_MAX {
        family.queued(root, "b");
    }
    assert_eq!(family.talk.fails(root, "agent.execute", &json!({"agent": "b", "input": 1})), "too_many_children");
    let first = family.state(root).children[0];
    family.talk.end(first);
    family.queued(root, "c");
}

#[test]
fn nothing_is_started_of_an_agent_that_there_is_not_or_that_may_not_begin() {
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    let ask = |name: &str| json!({"agent": name, "input": null});
    assert_eq!(family.talk.fails(root, "agent.execute", &ask("nobody")), "not_found");
    let (paused, revoked, deleted) = (family.agents[1], family.agents[2], family.agents[3]);
    let pause = agent::Command::Pause { note: None, until: None };
    family.talk.tell(OWNER, paused, pause).expect("it is deployed");
    family.talk.tell(OWNER, revoked, agent::Command::Revoke { note: None }).expect("it is deployed");
    family.talk.tell(OWNER, deleted, agent::Command::Delete { home_grace_ms: 0 }).expect("it is deployed");
    assert_eq!(family.talk.fails(root, "agent.execute", &ask("b")), "is_paused");
    assert_eq!(family.talk.fails(root, "agent.execute", &ask("c")), "already_revoked");
    assert_eq!(family.talk.fails(root, "agent.execute", &ask("d")), "not_found");
    assert_eq!(family.talk.fails(root, "agent.execute", &ask(&deleted.to_string())), "already_archived");
    let large = json!({"agent": "e", "input": "x".repeat(300_000)});
    assert_eq!(family.talk.fails(root, "agent.execute", &large), "too_large");
    assert!(family.state(root).children.is_empty());
}

#[test]
fn who_is_cancelled_owes_the_cancelling_of_what_it_started_and_a_killed_agent_s_whole_tree_ends() {
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    let (one, other) = (family.child(root, "b"), family.queued(root, "c"));
    let owes = |family: &Family, id| {
        let owed = family.talk.office.world.owed(Stream::Execution(id));
        owed.iter().filter(|owed| matches!(owed.obligation, Obligation::CancelChildren { .. })).count()
    };
    assert_eq!(owes(&family, root), 0, "the control: while it is at work it owes none");
    let grandchild = family.child(one, "d");
    family.talk.tell(OWNER, family.agents[0], agent::Command::Kill { note: None }).expect("it is deployed");
    family.talk.end(root);
    assert_eq!(owes(&family, root), 1);
    for id in [one, other] {
        family.talk.office.execution = id;
        family
            .talk
            .office
            .must(execution::Command::Cancel { why: "the execution that started it was cancelled".into() });
    }
    assert_eq!((owes(&family, root), owes(&family, one)), (0, 1));
    family.talk.end(grandchild);
    assert_eq!(owes(&family, one), 0);
    let agent = family.talk.office.world.fold::<Agent>(family.agents[0]).expect("it is deployed");
    assert_eq!((agent.open, agent.killed), (0, false));
}

#[test]
fn who_ends_by_itself_leaves_what_it_started_at_work() {
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    let child = family.child(root, "b");
    family.finish(root);
    assert!(family.talk.office.world.owed(Stream::Execution(root)).is_empty());
    family.finish(child);
    assert!(family.state(root).children.is_empty(), "its end is told all the same");
}

#[test]
fn who_outlives_the_one_between_is_cancelled_with_the_first_before_its_next_turn() {
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    let child = family.child(root, "b");
    let grandchild = family.child(child, "c");
    family.finish(child);
    family.talk.office.execution = grandchild;
    let call = family.talk.office.call_model();
    family.talk.office.must(call);
    family.talk.end(root);
    assert!(matches!(family.state(grandchild).phase, Phase::Running(_)), "nobody was there to cancel it");
    family.talk.office.execution = grandchild;
    let answer = family.talk.office.answer(&["agent.whoami"]);
    family.talk.office.must(answer);
    let perform = family.talk.office.perform();
    family.talk.office.must(perform);
    let Phase::Ended { ending: Ending::Cancelled { why, .. }, .. } = &family.state(grandchild).phase else {
        panic!("{:?}", family.state(grandchild).phase)
    };
    assert!(why.starts_with(&root.to_string()), "{why}");
}

#[test]
fn tokens_of_all_below_count_against_the_limit_of_the_first() {
    // A turn takes 110: three of the first, then of the second.
    let mut family = Family::new(700, None);
    let root = family.root();
    let child = family.child(root, "b");
    let grandchild = family.child(child, "c");
    for _ in 0..3 {
        family.talk.done(grandchild, "agent.whoami", &json!({}));
    }
    assert_eq!(family.below(root, Counter::TokensBelow), 440);
    assert_eq!(family.below(child, Counter::TokensBelow), 330);
    family.talk.done(child, "agent.whoami", &json!({}));
    assert_eq!(family.reason(child), None, "the control: 660 of 700 are used up");
    family.talk.done(grandchild, "agent.whoami", &json!({}));
    let (reason, detail) = family.reason(grandchild).expect("it has failed");
    assert_eq!(reason, Reason::TokenBudget);
    assert!(detail.starts_with(&format!("770 of 700 tokens of a ({root}), which started this one")), "{detail}");
    family.talk.office.execution = child;
    let call = family.talk.office.call_model();
    assert!(family.talk.office.apply(call).is_ok(), "it is asked whether it may, and ends");
}

#[test]
fn hops_of_messages_go_on_through_starts_so_that_no_circle_lasts() {
    let mut family = Family::new(1 << 40, None);
    let root = family.root();
    let (one, two) = (family.child(root, "b"), family.child(root, "c"));
    let three = family.child(one, "d");
    let hops = |family: &Family, id: ExecutionId| family.below(id, Counter::Hops);
    assert_eq!([root, one, two, three].map(|id| hops(&family, id)), [0, 1, 1, 2]);
    // The plan of these lets four hops pass: the third start and the message of its end do.
    let four = family.child(three, "e");
    assert_eq!(hops(&family, four), 3);
    let sent = family.talk.done(four, "comms.send", &json!({"to": "f", "message": 1}));
    assert_eq!(sent["state"], "waiting");
    let receiver = family.talk.begin(family.agents[5]);
    family.talk.done(receiver, "comms.receive", &json!({}));
    assert_eq!(family.talk.fails(receiver, "agent.execute", &json!({"agent": "a", "input": 1})), "hop_limit");
}

/// What a family does next; numbers choose among its executions that are at work.
#[derive(Debug, Clone)]
enum Move {
    Start(usize, usize),
    Ask(usize),
    Answer(usize),
    Lose(usize),
    Fail(usize),
    Cancel(usize),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0usize..8, 0usize..6).prop_map(|(of, name)| Move::Start(of, name)),
        6 => (0usize..8).prop_map(Move::Ask),
        5 => (0usize..8).prop_map(Move::Answer),
        1 => (0usize..8).prop_map(Move::Lose),
        1 => (0usize..8).prop_map(Move::Fail),
        1 => (0usize..8).prop_map(Move::Cancel),
    ]
}

impl Family {
    fn open(&self) -> Vec<ExecutionId> {
        let folds = self.talk.office.world.memory.folds.iter();
        let open = folds.filter_map(|(stream, fold)| match stream {
            Stream::Execution(id) if !matches!(fold.as_a::<Execution>()?.phase, Phase::Ended { .. }) => Some(*id),
            _ => None,
        });
        open.collect()
    }

    fn is_thinking(&self, id: ExecutionId, open: bool) -> bool {
        match self.state(id).iteration().map(|iteration| &iteration.step) {
            Some(Step::Thinking { call: ModelCall::Due { .. }, .. }) => !open,
            Some(Step::Thinking { call: ModelCall::Open { .. }, .. }) => open,
            _ => false,
        }
    }

    fn play(&mut self, step: &Move) {
        let open = self.open();
        let pick = |place: &usize| open.get(place % open.len().max(1)).copied();
        let (Move::Start(place, _)
        | Move::Ask(place)
        | Move::Answer(place)
        | Move::Lose(place)
        | Move::Fail(place)
        | Move::Cancel(place)) = step;
        let Some(id) = pick(place) else { return };
        self.talk.office.execution = id;
        if self.state(id).iteration().is_none() {
            let bind = self.talk.office.bind();
            let _ = self.talk.office.apply(bind);
        }
        let command = match step {
            Move::Start(_, name) if self.is_thinking(id, false) => {
                let call = self.talk.office.call_model();
                if self.talk.office.apply(call).is_ok() && self.is_thinking(id, true) {
                    let ask = json!({"agent": NAMES[*name], "input": 1, "report": true});
                    self.talk.answer_with(id, "agent.execute", &ask);
                    let perform = self.talk.office.perform();
                    let _ = self.talk.office.apply(perform);
                }
                return;
            }
            Move::Ask(_) => self.talk.office.call_model(),
            Move::Answer(_) => self.talk.office.answer(&["agent.whoami"]),
            Move::Lose(_) => execution::Command::LoseModel { turn: self.talk.office.turn() },
            Move::Fail(_) => self.talk.office.fail_model(true),
            Move::Cancel(_) => execution::Command::Cancel { why: "enough".into() },
            Move::Start(..) => return,
        };
        let _ = self.talk.office.apply(command);
        let perform = self.talk.office.perform();
        let _ = self.talk.office.apply(perform);
    }

    /// All below one, by the folds.
    fn all_below(&self, id: ExecutionId) -> Vec<&Execution> {
        let executions = self.talk.office.world.memory.folds.values().filter_map(Fold::as_a::<Execution>);
        executions
            .filter(|one| one.parent.as_ref().is_some_and(|parent| parent.lineage().any(|above| above == id)))
            .collect()
    }

    fn check(&self) {
        let ids: Vec<ExecutionId> = self
            .talk
            .office
            .world
            .memory
            .folds
            .keys()
            .filter_map(|stream| match stream {
                Stream::Execution(id) => Some(*id),
                _ => None,
            })
            .collect();
        for id in ids {
            let (mut tokens, mut money) = (0, 0);
            for one in self.all_below(id) {
                tokens += one.spent.input_tokens + one.spent.output_tokens;
                money += one.spent.micro_usd;
                if let Some(Step::Thinking { call: ModelCall::Open { reserved_micro_usd, .. }, .. }) =
                    one.iteration().map(|iteration| &iteration.step)
                {
                    money += reserved_micro_usd.unwrap_or(0);
                }
            }
            assert_eq!(self.below(id, Counter::TokensBelow), tokens as i64, "tokens below {id}");
            assert_eq!(self.below(id, Counter::MoneyBelow), money as i64, "money below {id}");
            let own = self.state(id);
            let most = own.limits.micro_usd.expect("it has a limit");
            assert!(own.spent.micro_usd + money <= most, "{id} and all below it spent {money} of {most}");
            let depth = own.parent.as_ref().map_or(0, |parent| parent.lineage().count());
            assert!(depth <= DEPTH_MAX && own.children.len() <= CHILDREN_MAX);
            let open = self.talk.office.world.memory.folds.values().filter_map(Fold::as_a::<Execution>).filter(|one| {
                one.parent.as_ref().is_some_and(|parent| parent.execution == id)
                    && !matches!(one.phase, Phase::Ended { .. })
            });
            assert_eq!(open.count(), own.children.len(), "children of {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_family_passes_the_money_of_any_of_its_own_whatever_is_lost(
        steps in proptest::collection::vec(moves(), 1..120),
        most in 10u64..200,
    ) {
        let mut family = Family::new(1 << 40, Some(most));
        family.root();
        for step in &steps {
            family.play(step);
            family.check();
        }
        let bytes = |folds: &std::collections::BTreeMap<Stream, Fold>| serde_json::to_string(&folds.values().collect::<Vec<_>>()).expect("JSON");
        prop_assert_eq!(bytes(&family.talk.office.world.replayed()), bytes(&family.talk.office.world.memory.folds));
    }
}

#[test]
fn a_session_starts_no_executions_and_is_not_offered_to() {
    let mut desk = crate::sessions::Desk::at(crate::office::Office::new(0));
    desk.rotate(0).expect("a first key");
    desk.open().expect("its key lives");
    let started = |desk: &crate::sessions::Desk| {
        desk.office.world.memory.folds.values().filter_map(Fold::as_a::<Execution>).count()
    };
    let before = started(&desk);
    desk.invoke("agent.execute").expect("it is recorded");
    assert_eq!(started(&desk), before);
    let tools = ["agent.*".to_string()];
    let offered = |holder| capability::offered(&tools, holder).map(|known| known.name).collect::<Vec<_>>();
    let (to_executions, to_sessions) = (offered(HolderKind::Execution), offered(HolderKind::Session));
    let left_out: Vec<&&str> = to_executions.iter().filter(|name| !to_sessions.contains(name)).collect();
    assert_eq!(left_out, [&"agent.execute"], "and it is offered what it may call, nothing more or less");
}
