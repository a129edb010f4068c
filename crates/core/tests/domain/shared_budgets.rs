//! What an agent, and all agents together, may use up in a day and a month: held before it is spent, never passed together.
use crate::office::{self, OWNER, Office};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tenure_core::agent::{self, Agent, Skipped};
use tenure_core::aggregate::{Event, Refusal, Stream};
use tenure_core::budget::{Day, Line, Measure, Period, Whose, counter};
use tenure_core::execution::{
    self, Answer, CallModel, Ending, Event as Happened, ModelFailure, Phase, Reason, Remedy, Usage, Used,
};
use tenure_core::facts::{Counter, Facts};
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::manifest::{Missed, Overlap};
use tenure_core::plan::Plan;
use tenure_core::project;
use tenure_core::time::Time;

const HOUR: u64 = 3_600_000;

fn line(measure: Measure, period: Period, limit: u64) -> Line {
    Line { measure, period, limit: Some(limit) }
}

fn limit_agent(office: &mut Office, lines: Vec<Line>) {
    office.supervise(agent::Command::SetBudget { lines }).expect("it may be");
}

fn limit_project(office: &mut Office, lines: Vec<Line>) {
    office.command_project(OWNER, project::Command::SetBudget { lines }).expect("it may be");
}

/// A new execution of the office's agent, bound, with its model due.
fn begin(office: &mut Office) {
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    let bind = office.bind();
    office.must(bind);
}

fn ask(office: &mut Office, tokens: u64, micro_usd: Option<u64>) -> Vec<Event> {
    let execution::Command::CallModel(call) = office.call_model() else { panic!("a call") };
    let call = CallModel { reserved_tokens: tokens, reserved_micro_usd: micro_usd, ..call };
    office.apply(execution::Command::CallModel(call)).expect("it is due")
}

fn answer(office: &mut Office, tokens: u64, micro_usd: Option<u64>) -> Vec<Event> {
    let execution::Command::AnswerModel { turn, answer } = office.answer(&[]) else { panic!("an answer") };
    let usage = Usage { input: tokens, output: 0, micro_usd, ..Usage::default() };
    office.apply(execution::Command::AnswerModel { turn, answer: Answer { usage, ..answer } }).expect("it is open")
}

fn reason(office: &Office) -> Option<(Reason, String)> {
    match &office.state()?.phase {
        Phase::Ended { ending: Ending::Failed { reason, detail }, .. } => Some((*reason, detail.clone())),
        Phase::Ended { .. } | Phase::Queued { .. } | Phase::Running(_) => None,
    }
}

fn used(office: &mut Office, whose: Whose, measure: Measure, period: Period) -> i64 {
    let bucket = Day::of(office.world.now.at).bucket(period);
    office.world.memory.count(counter(measure, period), &whose.key(), bucket).expect("whole")
}

fn near(events: &[Event]) -> usize {
    let is = |event: &&Event| {
        matches!(event, Event::Agent(agent::Event::BudgetNear(_)) | Event::Project(project::Event::BudgetNear(_)))
    };
    events.iter().filter(is).count()
}

#[test]
fn an_execution_ends_before_a_call_that_may_pass_a_shared_limit_and_says_whose_and_when_it_opens() {
    for (measure, period, reason_of, opens) in [
        (Measure::Money, Period::Day, Reason::CostBudget, "T00:00:00Z"),
        (Measure::Money, Period::Month, Reason::CostBudget, "-01T00:00:00Z"),
        (Measure::Tokens, Period::Day, Reason::TokenBudget, "T00:00:00Z"),
        (Measure::Tokens, Period::Month, Reason::TokenBudget, "-01T00:00:00Z"),
    ] {
        for (shared, whose) in [(false, "the agent's"), (true, "the project's")] {
            let mut office = Office::new(0);
            let lines = vec![line(measure, period, 1_000)];
            if shared {
                limit_project(&mut office, lines)
            } else {
                limit_agent(&mut office, lines)
            }
            begin(&mut office);
            ask(&mut office, 1_000, Some(1_000));
            assert!(!office.ended(), "the control: what fits is asked");
            answer(&mut office, 600, Some(600));
            begin(&mut office);
            let events = ask(&mut office, 401, Some(401));
            assert!(!events.iter().any(|event| event.kind() == "model.called"), "{events:?}");
            let (reason, detail) = reason(&office).expect("it ended");
            assert_eq!(reason, reason_of);
            assert!(detail.contains(whose) && detail.contains(&format!("for this {period}")), "{detail}");
            assert!(detail.ends_with(opens), "{detail}");
        }
    }
}

#[test]
fn executions_at_a_time_share_what_is_left_by_what_each_holds() {
    let mut office = Office::new(0);
    let plan = Plan { concurrency: 4, ..office::plan(0) };
    office.deploy_plan("clerk", &plan, "many at a time").expect("a changed manifest");
    limit_agent(&mut office, vec![line(Measure::Money, Period::Day, 1_000)]);
    begin(&mut office);
    let first = office.execution;
    begin(&mut office);
    ask(&mut office, 1, Some(700));
    let second = std::mem::replace(&mut office.execution, first);
    ask(&mut office, 1, Some(400));
    assert!(office.ended(), "700 are held, and 400 more would pass 1,000");
    office.execution = second;
    answer(&mut office, 1, Some(100));
    let day = used(&mut office, Whose::Project, Measure::Money, Period::Day);
    assert_eq!(day, 100, "what was held and not spent is given back, to the project too");
}

#[test]
fn a_start_while_a_budget_is_used_up_is_refused_until_the_day_or_the_month_is_over() {
    let mut office = Office::new(0);
    let money = |period, limit| line(Measure::Money, period, limit);
    limit_agent(&mut office, vec![money(Period::Day, 500), money(Period::Month, 600)]);
    for (spent, whole_month) in [(500, false), (100, true)] {
        begin(&mut office);
        ask(&mut office, 1, Some(spent));
        answer(&mut office, 1, Some(spent));
        office.execution = office.world.execution_id();
        let start = office.start();
        let refusal = office.apply(start).expect_err("it is used up");
        let Refusal::Execution(execution::Refusal::BudgetSpent { shut }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(shut.period, if whole_month { Period::Month } else { Period::Day }, "what opens last is told");
        let opens = u64::try_from(shut.opens.millis() - office.world.now.at.millis()).expect("ahead");
        office.world.pass(opens - 1);
        let start = office.start();
        office.apply(start).expect_err("a millisecond before");
        office.world.pass(1);
    }
    begin(&mut office);
}

#[test]
fn a_time_of_a_schedule_is_skipped_with_the_reason_while_a_budget_is_used_up() {
    let mut office = Office::new(0);
    office.schedule("@hourly", Overlap::Queue, Missed::RunOnce).expect("another manifest");
    limit_project(&mut office, vec![line(Measure::Tokens, Period::Day, 10)]);
    begin(&mut office);
    ask(&mut office, 10, Some(0));
    answer(&mut office, 10, Some(0));
    office.world.pass(HOUR);
    let events = office.wake().expect("it is due");
    let skipped = matches!(events[..], [Event::Agent(agent::Event::WakeSkipped { why: Skipped::Budget, .. })]);
    assert!(skipped, "{events:?}");
    office.world.pass(24 * HOUR);
    let events = office.wake().expect("it is due");
    assert!(events.iter().any(|event| event.kind() == "execution.started"), "the control: the next day {events:?}");
}

fn held_until(office: &Office) -> Option<Time> {
    office.world.fold::<Agent>(office.agent).and_then(|agent| agent.held_until)
}

#[test]
fn messages_wait_while_a_budget_is_used_up_and_wake_their_agent_once_it_opens_or_is_raised() {
    for raise in [None, Some(false), Some(true)] {
        let mut office = Office::new(0);
        let plan = Plan { triggers: vec![tenure_core::manifest::Trigger::Comms], ..office::plan(0) };
        office.deploy_plan("clerk", &plan, "woken by messages").expect("a changed manifest");
        limit_project(&mut office, vec![line(Measure::Money, Period::Day, 10)]);
        limit_agent(&mut office, vec![line(Measure::Tokens, Period::Day, 1_000)]);
        begin(&mut office);
        ask(&mut office, 10, Some(10));
        answer(&mut office, 10, Some(10));
        office.post().expect("it is deployed");
        let events = office.wake_by_messages().expect("they wait");
        assert_eq!(events.len(), 1, "{events:?}");
        let until = held_until(&office).expect("it waits");
        office.wake_by_messages().expect_err("it is not due before");
        match raise {
            None => office.world.pass(until.since_ms(office.world.now.at)),
            Some(true) => limit_project(&mut office, vec![line(Measure::Money, Period::Day, 100)]),
            // Its own budget is none of what holds it: it is asked again, and waits on.
            Some(false) => {
                limit_agent(&mut office, vec![line(Measure::Tokens, Period::Day, 2_000)]);
                assert_eq!(held_until(&office), None);
                office.wake_by_messages().expect("they wait");
                assert_eq!(held_until(&office), Some(until));
                office.world.pass(until.since_ms(office.world.now.at));
            }
        }
        let events = office.wake_by_messages().expect("it opens");
        assert!(events.iter().any(|event| event.kind() == "execution.started"), "{events:?}");
        let held = office.world.memory.page(Counter::HeldBack).expect("whole");
        assert!(held.iter().all(|(_, count)| *count == 0), "{held:?}");
    }
}

#[test]
fn once_too_little_is_left_for_a_call_messages_wait_too() {
    let mut office = Office::new(0);
    let plan = Plan { triggers: vec![tenure_core::manifest::Trigger::Comms], ..office::plan(0) };
    office.deploy_plan("clerk", &plan, "woken by messages").expect("a changed manifest");
    limit_agent(&mut office, vec![line(Measure::Tokens, Period::Day, 100)]);
    begin(&mut office);
    let ended = ask(&mut office, 60, None);
    assert_eq!(ended.len(), 1, "the control: so much fits");
    answer(&mut office, 60, None);
    begin(&mut office);
    ask(&mut office, 60, None);
    assert_eq!(reason(&office).expect("it has ended").0, Reason::TokenBudget);
    assert!(held_until(&office).is_some(), "what comes would end as this one did");
    office.post().expect("it is deployed");
    office.wake_by_messages().expect_err("it waits");
    limit_agent(&mut office, vec![line(Measure::Tokens, Period::Day, 1_000)]);
    let events = office.wake_by_messages().expect("it is raised");
    assert!(events.iter().any(|event| event.kind() == "execution.started"), "{events:?}");
}

#[test]
fn it_is_told_once_in_a_day_that_most_of_a_budget_is_used() {
    let mut office = Office::new(0);
    limit_agent(&mut office, vec![line(Measure::Money, Period::Day, 1_000)]);
    let mut told = Vec::new();
    for _ in 0..2 {
        for spent in [700, 99, 1, 100] {
            begin(&mut office);
            ask(&mut office, 1, Some(spent));
            told.push(near(&answer(&mut office, 1, Some(spent))));
        }
        office.world.pass(24 * HOUR);
    }
    assert_eq!(told, [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn a_call_that_nobody_counted_is_charged_what_it_held_and_one_that_did_not_begin_nothing() {
    let ends = [("lost", 300), ("withdrawn", 300), ("broke off", 300), ("failed", 0), ("failed, counted", 40)];
    for (end, charged) in ends {
        let mut office = Office::new(0);
        begin(&mut office);
        ask(&mut office, 300, Some(300));
        let turn = office.turn();
        let usage = Usage { input: 30, output: 10, micro_usd: Some(40), ..Usage::default() };
        let fail = |used| {
            let (kind, sentence) = ("overloaded".into(), "no".into());
            let failure = ModelFailure { kind, sentence, remedy: Remedy::Again { after_ms: None }, used };
            execution::Command::FailModel { turn, failure }
        };
        let command = match end {
            "lost" => execution::Command::LoseModel { turn },
            "withdrawn" => execution::Command::Cancel { why: "enough".into() },
            "broke off" => fail(Used::Unknown),
            "failed" => fail(Used::Nothing),
            _ => fail(Used::Counted(usage)),
        };
        office.must(command);
        for measure in [Measure::Tokens, Measure::Money] {
            for whose in [Whose::Agent(office.agent), Whose::Project] {
                assert_eq!(used(&mut office, whose, measure, Period::Month), charged, "{end}: {measure} of {whose:?}");
            }
        }
    }
}

#[test]
fn what_has_no_known_price_is_not_asked_where_money_is_limited_and_costs_what_was_held_where_its_answer_has_none() {
    let mut office = Office::new(0);
    limit_project(&mut office, vec![line(Measure::Money, Period::Month, 1_000)]);
    begin(&mut office);
    ask(&mut office, 1, None);
    let (reason, detail) = reason(&office).expect("it ended");
    assert!(reason == Reason::CostBudget && detail.contains("is not known"), "{detail}");
    begin(&mut office);
    ask(&mut office, 1, Some(50));
    answer(&mut office, 1, None);
    assert_eq!(used(&mut office, Whose::Project, Measure::Money, Period::Month), 50);
}

#[test]
fn a_call_over_midnight_counts_on_the_day_on_which_it_was_made() {
    let mut office = Office::new(0);
    begin(&mut office);
    let made = office.world.now.at;
    ask(&mut office, 1, Some(50));
    office.world.pass(24 * HOUR);
    answer(&mut office, 1, Some(20));
    assert_eq!(used(&mut office, Whose::Project, Measure::Money, Period::Day), 0);
    let bucket = Day::of(made).bucket(Period::Day);
    assert_eq!(office.world.memory.count(Counter::DayMoney, &Whose::Project.key(), bucket), Ok(20));
}

#[test]
fn a_limit_that_none_may_be_changes_nothing() {
    let mut office = Office::new(0);
    let day = |limit| Line { measure: Measure::Money, period: Period::Day, limit };
    for lines in [vec![], vec![day(Some(0))], vec![day(Some(1 << 60))], vec![day(Some(1)), day(Some(2))]] {
        let command = agent::Command::SetBudget { lines: lines.clone() };
        assert_eq!(office.supervise(command), Err(Refusal::Agent(agent::Refusal::BudgetWrong {})));
        let refusal = office.command_project(OWNER, project::Command::SetBudget { lines }).expect_err("no such limit");
        assert_eq!(refusal, Refusal::Project(project::Refusal::BudgetWrong {}));
    }
    limit_agent(&mut office, vec![day(Some(5))]);
    let key = format!("{}/money/day", office.agent);
    assert_eq!(office.world.memory.count(Counter::BudgetLimit, &key, 0), Ok(5));
    limit_agent(&mut office, vec![day(None)]);
    assert_eq!(office.world.memory.count(Counter::BudgetLimit, &key, 0), Ok(0), "and removed it is gone from lists");
}

#[test]
fn months_and_days_begin_at_midnight_of_utc() {
    let day =
        |text: &str| Day::of(Time::from_millis(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()));
    let leap = day("2024-02-29T23:59:59.999Z");
    assert_eq!(leap.over(Period::Month).to_string(), "2024-03-01T00:00:00Z");
    assert_eq!(leap.over(Period::Day), leap.over(Period::Month));
    assert_eq!(day("2024-12-31T00:00:00Z").over(Period::Month).to_string(), "2025-01-01T00:00:00Z");
    assert_eq!(
        day("2024-12-01T00:00:00Z").bucket(Period::Month) + 1,
        day("2025-01-31T00:00:00Z").bucket(Period::Month)
    );
    assert_eq!(Day::of(Time::from_millis(-1)), Day::of(Time::from_millis(0)), "no clock makes it fail");
    assert!(Day::of(Time::from_millis(i64::MAX)).over(Period::Month) > Time::from_millis(0));
}

#[derive(Debug, Clone)]
enum Move {
    Begin { agent: usize },
    Ask { open: usize, tokens: u64, micro_usd: u64 },
    Answer { open: usize, percent: u64 },
    Lose { open: usize },
    Fail { open: usize },
    Cancel { open: usize },
    Lapse,
    Limit { agent: Option<usize>, money: bool, day: bool, limit: u64 },
    Pass { hours: u64 },
}

fn moves() -> impl Strategy<Value = Move> {
    let open = || 0usize..6;
    prop_oneof![
        6 => (0usize..2).prop_map(|agent| Move::Begin { agent }),
        10 => (open(), 1u64..400, 1u64..400).prop_map(|(open, tokens, micro_usd)| Move::Ask { open, tokens, micro_usd }),
        6 => (open(), 0u64..=100).prop_map(|(open, percent)| Move::Answer { open, percent }),
        2 => open().prop_map(|open| Move::Lose { open }),
        2 => open().prop_map(|open| Move::Fail { open }),
        1 => open().prop_map(|open| Move::Cancel { open }),
        1 => Just(Move::Lapse),
        2 => (proptest::option::of(0usize..2), any::<bool>(), any::<bool>(), 100u64..2_000)
            .prop_map(|(agent, money, day, limit)| Move::Limit { agent, money, day, limit }),
        1 => (1u64..30).prop_map(|hours| Move::Pass { hours }),
    ]
}

/// Of an agent, or of all, by measure and day or month.
type Sums = BTreeMap<(Option<AgentId>, bool, u64), u64>;
type Limits = BTreeMap<(Option<AgentId>, bool, bool), u64>;

/// What is used up and held, reckoned anew from the records alone; `check` is told before each call what it may take.
fn reckon(office: &Office, mut check: impl FnMut(&Sums, &Limits, AgentId, Day, [u64; 2])) -> Sums {
    let (mut sums, mut limits) = (Sums::new(), Limits::new());
    let mut held: BTreeMap<ExecutionId, (Day, [u64; 2])> = BTreeMap::new();
    let mut agents: BTreeMap<ExecutionId, AgentId> = BTreeMap::new();
    for record in &office.world.memory.chain {
        let (meta, event) = tenure_core::ledger::read(record).expect("a record");
        let mut limited = |whose: Option<AgentId>, lines: &[Line]| {
            for line in lines {
                let key = (whose, line.measure == Measure::Money, line.period == Period::Day);
                limits.remove(&key);
                limits.extend(line.limit.map(|limit| (key, limit)));
            }
        };
        let mut settle = |id: ExecutionId, used: [u64; 2]| {
            let Some((day, _)) = held.remove(&id) else { return };
            for (whose, bucket) in keys(agents[&id], day) {
                for (money, amount) in [(false, used[0]), (true, used[1])] {
                    *sums.entry((whose, money, bucket)).or_default() += amount;
                }
            }
        };
        match (meta.stream, event) {
            (Stream::Agent(id), Event::Agent(agent::Event::BudgetSet { lines })) => limited(Some(id), &lines),
            (_, Event::Project(project::Event::BudgetSet { lines })) => limited(None, &lines),
            (Stream::Execution(id), Event::Execution(event)) => match event {
                Happened::Started { agent, .. } => drop(agents.insert(id, agent)),
                Happened::ModelCalled { reserved_tokens, reserved_micro_usd, day, .. } => {
                    let (day, wanted) = (day.expect("it is new"), [reserved_tokens, reserved_micro_usd.unwrap_or(0)]);
                    let mut all = sums.clone();
                    for (of, (day, amounts)) in &held {
                        add(&mut all, agents[of], *day, *amounts);
                    }
                    check(&all, &limits, agents[&id], day, wanted);
                    held.insert(id, (day, wanted));
                }
                Happened::ModelAnswered { usage, .. } => {
                    settle(id, [usage.input + usage.output, usage.micro_usd.unwrap_or(0)]);
                }
                Happened::ModelFailed { charged_tokens, charged_micro_usd, .. }
                | Happened::ModelLost { charged_tokens, charged_micro_usd, .. } => {
                    settle(id, [charged_tokens.unwrap_or(0), charged_micro_usd.unwrap_or(0)]);
                }
                _ => {}
            },
            _ => {}
        }
    }
    for (of, (day, amounts)) in &held {
        add(&mut sums, agents[of], *day, *amounts);
    }
    sums
}

/// Day buckets and month buckets never meet: the ones count from 1970, the others from the year 0.
fn keys(agent: AgentId, day: Day) -> [(Option<AgentId>, u64); 4] {
    let (date, month) = (day.bucket(Period::Day), 1_000_000 + day.bucket(Period::Month));
    [(Some(agent), date), (Some(agent), month), (None, date), (None, month)]
}

fn add(sums: &mut Sums, agent: AgentId, day: Day, amounts: [u64; 2]) {
    for (whose, bucket) in keys(agent, day) {
        for (money, amount) in [(false, amounts[0]), (true, amounts[1])] {
            *sums.entry((whose, money, bucket)).or_default() += amount;
        }
    }
}

/// An answer that goes on, and takes so much of what was held for it.
fn answer_part(office: &mut Office, percent: u64) {
    let held = office.state().and_then(|state| state.iteration()).map(|iteration| iteration.step.clone());
    let Some(execution::Step::Thinking {
        call: execution::ModelCall::Open { reserved_tokens, reserved_micro_usd, .. },
        ..
    }) = held
    else {
        return;
    };
    let execution::Command::AnswerModel { turn, answer } = office.answer_half() else { return };
    let of = |amount: u64| amount * percent / 100;
    let usage = Usage { input: of(reserved_tokens), micro_usd: reserved_micro_usd.map(of), ..Usage::default() };
    let _ = office.apply(execution::Command::AnswerModel { turn, answer: Answer { usage, ..answer } });
}

fn play(office: &mut Office, agents: [AgentId; 2], open: &mut Vec<ExecutionId>, step: &Move) {
    let pick = |place: usize| open.get(place % open.len().max(1)).copied();
    let measure = |money| if money { Measure::Money } else { Measure::Tokens };
    match *step {
        Move::Begin { agent } => {
            (office.agent, office.execution) = (agents[agent], office.world.execution_id());
            let start = office.start();
            if office.apply(start).is_ok() {
                open.push(office.execution);
                let bind = office.bind();
                let _ = office.apply(bind);
            }
        }
        Move::Ask { open, tokens, micro_usd } => {
            let Some(id) = pick(open) else { return };
            office.execution = id;
            let execution::Command::CallModel(call) = office.call_model() else { return };
            let call = CallModel { reserved_tokens: tokens, reserved_micro_usd: Some(micro_usd), ..call };
            let _ = office.apply(execution::Command::CallModel(call));
        }
        Move::Answer { open, percent } => {
            let Some(id) = pick(open) else { return };
            office.execution = id;
            answer_part(office, percent);
        }
        Move::Lose { open } => {
            let Some(id) = pick(open) else { return };
            office.execution = id;
            let _ = office.apply(execution::Command::LoseModel { turn: office.turn() });
        }
        Move::Fail { open } => {
            let Some(id) = pick(open) else { return };
            office.execution = id;
            let fail = office.fail_model(true);
            let _ = office.apply(fail);
        }
        Move::Cancel { open } => {
            let Some(id) = pick(open) else { return };
            office.execution = id;
            let _ = office.apply(execution::Command::Cancel { why: "enough".into() });
        }
        Move::Lapse => {
            office.lapse();
            office.connect(8);
            for id in open.clone() {
                office.execution = id;
                let bind = office.bind();
                let _ = office.apply(bind);
            }
        }
        Move::Limit { agent, money, day, limit } => {
            let period = if day { Period::Day } else { Period::Month };
            let lines = vec![line(measure(money), period, limit)];
            match agent {
                Some(agent) => {
                    office.agent = agents[agent];
                    limit_agent(office, lines);
                }
                None => limit_project(office, lines),
            }
        }
        Move::Pass { hours } => office.world.pass(hours * HOUR),
    }
    open.retain(|id| {
        office.world.fold::<execution::Execution>(*id).is_some_and(|it| !matches!(it.phase, Phase::Ended { .. }))
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_model_call_is_made_that_could_pass_a_limit_of_its_agent_or_of_all_whatever_is_lost_killed_and_concurrent(
        steps in proptest::collection::vec(moves(), 1..120)
    ) {
        let mut office = Office::new(0);
        let mut plan = Plan { concurrency: 4, ..office::plan(0) };
        (plan.limits.tokens, plan.limits.max_turns) = (1 << 40, 1_000);
        office.deploy_plan("clerk", &plan, "many at a time").expect("a changed manifest");
        let first = std::mem::replace(&mut office.agent, office.world.agent_id());
        office.deploy_plan("scribe", &plan, "another").expect("a new name");
        let agents = [first, office.agent];
        office.lapse();
        office.connect(8);
        let mut open = Vec::new();
        for step in &steps {
            play(&mut office, agents, &mut open, step);
        }
        let sums = reckon(&office, |sums, limits, agent, day, wanted| {
            for whose in [Some(agent), None] {
                for (money, wanted) in [(false, wanted[0]), (true, wanted[1])] {
                    for (is_day, bucket) in [(true, keys(agent, day)[0].1), (false, keys(agent, day)[1].1)] {
                        let Some(limit) = limits.get(&(whose, money, is_day)) else { continue };
                        let used = sums.get(&(whose, money, bucket)).copied().unwrap_or(0);
                        assert!(used + wanted <= *limit, "{used} and {wanted} of {limit}");
                    }
                }
            }
        });
        for ((whose, money, bucket), sum) in sums {
            let (measure, whose) = (if money { Measure::Money } else { Measure::Tokens }, whose.map_or(Whose::Project, Whose::Agent));
            let (period, bucket) =
                if bucket >= 1_000_000 { (Period::Month, bucket - 1_000_000) } else { (Period::Day, bucket) };
            let counted = office.world.memory.count(counter(measure, period), &whose.key(), bucket).expect("whole");
            prop_assert_eq!(u64::try_from(counted).expect("never below 0"), sum);
        }
        prop_assert_eq!(office.world.replayed(), office.world.memory.folds.clone());
    }
}
