//! An iteration: bound to one worker's connection at a time, closed once, released when its jail is gone.
use super::decide::{Decider, bound_to, no};
use super::{
    Binding, Cause, Check, Ending, Event, Execution, Iteration, Payloads, Phase, Reason, Refusal, Spent, Step, proxy,
};
use crate::agent::{self, Agent};
use crate::binding::{self, Unplaced};
use crate::bound::Payload;
use crate::call::{self, Open, Outcome, Proposal, Proposed};
use crate::capability::clip;
use crate::capability::mcp::{self, Method};
use crate::draft::{Stop, refuse};
use crate::id::{CallId, ConnectionId, LeaseId, WorkerId};
use crate::instance;
use crate::manifest::AgentKind;
use crate::model_call::ModelCalls;
use crate::network::{self, Traffic};
use crate::time::{Clock, Run, Stamp};

impl From<Unplaced> for Refusal {
    fn from(why: Unplaced) -> Refusal {
        match why {
            Unplaced::NotConnected => Refusal::NotConnected {},
            Unplaced::SlotsFull => Refusal::SlotsFull {},
            Unplaced::AgentBusy => Refusal::AgentBusy {},
            Unplaced::NotHome => Refusal::NotHome {},
            Unplaced::PlanLost => Refusal::PlanLost {},
        }
    }
}

/// An agent's first binding makes that worker its home; only there may it run.
pub(super) fn bind(it: &mut Decider<'_, '_>, worker: WorkerId, connection: ConnectionId) -> Result<(), Stop> {
    let (agent, bound) = (it.execution()?.agent, it.execution()?.binding());
    let (revision, begun) = (it.execution()?.revision, it.execution()?.has_begun());
    let next = match &it.execution()?.phase {
        Phase::Ended { .. } => return Err(no(Refusal::Ended {})),
        Phase::Running(_) if bound.is_some() => return Err(no(Refusal::Bound {})),
        Phase::Running(iteration) if iteration.waits_for_people() => return Err(no(Refusal::Stale {})),
        Phase::Running(_) => None,
        Phase::Queued { iteration, .. } => Some(*iteration),
    };
    match it.draft.get::<Agent>(agent)? {
        // One that runs goes on while its agent is paused.
        Some(known) if begun => known.not_revoked()?,
        Some(known) => known.may_begin()?,
        None => return Err(refuse::<Agent>(agent::Refusal::Unknown {})),
    }
    let hosted = it.execution()?.kind.is_hosted();
    if hosted && instance::want(it.draft, agent, revision)? != Some(connection) {
        return Err(no(Refusal::ProgramNotReady {}));
    }
    let wanted = binding::Wanted { agent, revision, begun, hosted, worker, connection };
    let binding = binding::bind(it.draft, wanted)?.map_err(|why| no(why.into()))?;
    match next {
        Some(iteration) => begin(it, iteration, binding),
        None => {
            let iteration = it.iteration()?.number;
            it.emit(Event::IterationBound { iteration, binding })
        }
    }
}

/// Its first calls ask the agent's MCP servers what tools they have; the model is asked once all have answered.
fn begin(it: &mut Decider<'_, '_>, iteration: u32, binding: Binding) -> Result<(), Stop> {
    it.emit(Event::IterationStarted { iteration, binding })?;
    let (agent, revision) = (it.execution()?.agent, it.execution()?.revision);
    // A program has no way to be told of tools, or to ask for them.
    if it.execution()?.kind != AgentKind::Llm {
        return Ok(());
    }
    let Some(plan) = it.draft.plan(agent, revision)? else { return Ok(()) };
    let mut calls = Vec::new();
    for server in plan.mcp.iter().take(mcp::SERVERS_MAX) {
        let (id, capability) = (CallId::mint(&mut it.draft.mint), mcp::capability(&server.name, Method::ListTools));
        let mut empty = || Payload::new(it.draft.mint.salt(), b"{}".to_vec());
        let (arguments, attributes) = (empty(), empty());
        let proposal = Proposal { capability, arguments, attributes, misfit: None };
        calls.push(Proposed::of(id, proposal, it.draft).0);
    }
    if calls.is_empty() { Ok(()) } else { it.emit(Event::ToolsAsked { iteration, calls }) }
}

pub(super) fn unbind(it: &mut Decider<'_, '_>, connection: ConnectionId, since: Run, why: String) -> Result<(), Stop> {
    let iteration = it.iteration()?;
    bound_to(iteration.binding, connection)?;
    let (number, had_sandbox) = (iteration.number, iteration.has_sandbox);
    lose_calls(it, |_| true)?;
    proxy::withdraw(it)?;
    it.emit(Event::IterationUnbound { iteration: number, connection, since, had_sandbox, why: clip(&why) })
}

pub(super) fn lose_jail(
    it: &mut Decider<'_, '_>,
    connection: ConnectionId,
    number: u32,
    leases: &[LeaseId],
    why: String,
    traffic: Option<Traffic>,
) -> Result<(), Stop> {
    with_sandbox(it, connection, number)?;
    lose_calls(it, |lease| leases.contains(&lease))?;
    proxy::withdraw(it)?;
    let traffic = traffic.map(Traffic::recordable);
    it.emit(Event::JailLost { iteration: number, connection, why: clip(&why), traffic })
}

pub(super) fn release(
    it: &mut Decider<'_, '_>,
    connection: ConnectionId,
    number: u32,
    traffic: Option<Traffic>,
) -> Result<(), Stop> {
    let iteration = with_sandbox(it, connection, number)?;
    let parked = iteration.parked;
    if !parked && !matches!(iteration.step, Step::Closing { .. }) {
        return Err(no(Refusal::Stale {}));
    }
    for call in leased(&iteration.step) {
        end_unfinished(it, &call, Outcome::Killed)?;
    }
    proxy::withdraw(it)?;
    let traffic = traffic.map(Traffic::recordable);
    it.emit(Event::IterationReleased { iteration: number, connection, traffic })?;
    if parked && !matches!(it.iteration()?.step, Step::Closing { .. }) {
        return give_back(it, true);
    }
    Ok(())
}

/// Gives its slot back while all that is left waits for people: with its jail, where it has one.
pub(super) fn park(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    let iteration = it.iteration()?;
    if iteration.binding.is_none() || iteration.parked || !iteration.waits_for_people() {
        return Ok(false);
    }
    let number = iteration.number;
    it.emit(Event::IterationParked { iteration: number })?;
    Ok(true)
}

pub(super) fn give_back(it: &mut Decider<'_, '_>, had_sandbox: bool) -> Result<(), Stop> {
    let (since, iteration) = (it.draft.stamp.run, it.iteration()?);
    let (number, binding) = (iteration.number, iteration.binding);
    let Some(Binding { connection, .. }) = binding else { return Ok(()) };
    let why = "a person must allow a call first".to_string();
    it.emit(Event::IterationUnbound { iteration: number, connection, since, had_sandbox, why })
}

pub(super) fn refuse_network(
    it: &mut Decider<'_, '_>,
    connection: ConnectionId,
    number: u32,
    refusals: Vec<network::Refusal>,
) -> Result<(), Stop> {
    with_sandbox(it, connection, number)?;
    if refusals.len() > network::REFUSALS_MAX {
        return Err(no(Refusal::TooManyRefusals {}));
    }
    for network::Refusal { host, port, rule, count } in refusals {
        let refusal = network::Refusal { host: clip(&host), port, rule: clip(&rule), count };
        it.emit(Event::NetworkRefused { iteration: number, refusal })?;
    }
    Ok(())
}

/// What a worker tells of a jail must be of the present iteration and connection.
fn with_sandbox<'i>(it: &'i Decider<'_, '_>, connection: ConnectionId, number: u32) -> Result<&'i Iteration, Stop> {
    let iteration = it.iteration()?;
    bound_to(iteration.binding, connection)?;
    if iteration.number == number && iteration.has_sandbox { Ok(iteration) } else { Err(no(Refusal::Stale {})) }
}

/// The jail is proven dead: what is idempotent comes again, of the rest the outcome is unknown.
fn lose_calls(it: &mut Decider<'_, '_>, lost: impl Fn(LeaseId) -> bool) -> Result<(), Stop> {
    let iteration = it.iteration()?;
    let closing = matches!(iteration.step, Step::Closing { .. });
    for call in leased(&iteration.step).into_iter().filter(|call| call.lease().is_some_and(|held| lost(held.lease))) {
        let outcome = call.lost(closing);
        end_unfinished(it, &call, outcome)?;
    }
    Ok(())
}

fn end_unfinished(it: &mut Decider<'_, '_>, call: &Open, outcome: Outcome) -> Result<(), Stop> {
    match call.end_unfinished(outcome) {
        Some(ended) => it.emit(Event::CallEnded(ended)),
        None => Ok(()),
    }
}

fn leased(step: &Step) -> Vec<Open> {
    call::leased(step_calls(step))
}

pub(super) fn step_calls(step: &Step) -> &[Open] {
    match step {
        Step::Acting { calls } | Step::Closing { calls, .. } => calls,
        Step::Validating { check: Check::Open { call }, .. } => std::slice::from_ref(call),
        Step::Validating { check: Check::None | Check::Ended { .. }, .. }
        | Step::Thinking { .. }
        | Step::Program { .. }
        | Step::Told { .. } => &[],
    }
}

/// A closing iteration: withdraw what was never called, wait for its jail, then end it and go on.
pub(super) fn finish(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    let iteration = it.iteration()?;
    let Step::Closing { cause, calls } = &iteration.step else { return Ok(false) };
    if let Some(call) = calls.iter().find(|call| call.lease().is_none()) {
        let (call, capability) = (call.id, call.capability.clone());
        it.emit(Event::CallBlocked { call, capability, blocked: call::Blocked::Withdrawn, check: None })?;
        return Ok(true);
    }
    if iteration.has_sandbox && iteration.binding.is_some() {
        return Ok(false);
    }
    let (number, cause, binding) = (iteration.number, cause.clone(), iteration.binding);
    let all_blocked = iteration.calls > 0 && iteration.blocked == iteration.calls;
    if let Cause::Passed { output } = cause {
        it.emit(Event::IterationCompleted { iteration: number, output })?;
        it.end(Ending::Completed { output })?;
        return Ok(true);
    }
    it.emit(Event::IterationFailed { iteration: number, cause: cause.clone() })?;
    let ending = match cause {
        Cause::End { ending } => Some(ending),
        Cause::Passed { .. }
        | Cause::Invalid { .. }
        | Cause::Turns
        | Cause::IterationTimeout
        | Cause::Program { .. }
        | Cause::Unanswered { .. } => spent(it, number, &cause, all_blocked)?,
    };
    match (ending, binding) {
        (Some(ending), _) => it.end(ending)?,
        // Where its program is by then, is found anew: it takes up no slot that it could lose.
        (None, Some(binding)) if !it.execution()?.kind.is_hosted() => begin(it, number + 1, binding)?,
        (None, Some(_) | None) => {}
    }
    Ok(true)
}

fn spent(it: &Decider<'_, '_>, number: u32, cause: &Cause, all_blocked: bool) -> Result<Option<Ending>, Stop> {
    let limits = it.execution()?.limits;
    if number < limits.max_iterations {
        return Ok(None);
    }
    if all_blocked {
        let detail = "every call of the last iteration was refused by policy".to_string();
        return Ok(Some(Ending::Failed { reason: Reason::Blocked, detail }));
    }
    let detail = match cause {
        Cause::Turns => {
            format!("the last of {} attempts used up its {} turns", limits.max_iterations, limits.max_turns)
        }
        Cause::Program { failure } => {
            format!("all {} attempts are used up; of the last: {failure}", limits.max_iterations)
        }
        Cause::Passed { .. }
        | Cause::Invalid { .. }
        | Cause::IterationTimeout
        | Cause::Unanswered { .. }
        | Cause::End { .. } => {
            format!("all {} attempts are used up", limits.max_iterations)
        }
    };
    Ok(Some(Ending::Failed { reason: Reason::MaxIterations, detail }))
}

impl Iteration {
    /// Nothing can go on before a person has answered.
    pub fn waits_for_people(&self) -> bool {
        match &self.step {
            Step::Acting { calls } => {
                call::startable(calls).next().is_none()
                    && calls.iter().all(|call| call.lease().is_none())
                    && calls.iter().any(|call| call.waits_for().is_some())
            }
            Step::Thinking { .. }
            | Step::Program { .. }
            | Step::Told { .. }
            | Step::Validating { .. }
            | Step::Closing { .. } => false,
        }
    }
}

/// As it begins: queued, with nothing spent.
pub(super) fn started(event: &Event, stamp: Stamp) -> Option<Execution> {
    let Event::Started {
        agent,
        agent_name,
        revision,
        input,
        briefing,
        limits,
        validators,
        agent_kind,
        trigger,
        conversation,
        parent,
        ..
    } = event
    else {
        return None;
    };
    Some(Execution {
        agent: *agent,
        agent_name: agent_name.clone(),
        revision: *revision,
        kind: *agent_kind,
        limits: *limits,
        validators: *validators,
        input: input.hash,
        briefing: briefing.map(|briefing| briefing.hash),
        trigger: *trigger,
        parent: parent.clone(),
        children: Vec::new(),
        has_started: 0,
        started_at: stamp.at,
        wall: Clock::default(),
        spent: Spent::default(),
        bytes: 0,
        iterations: 0,
        cancel_requested: false,
        conversation: *conversation,
        model_calls: ModelCalls::default(),
        warned: Vec::new(),
        phase: Phase::Queued { iteration: 1, since: stamp.run },
    })
}

pub(super) fn apply(execution: &mut Execution, event: &Event, stamp: Stamp) {
    match event {
        Event::IterationStarted { iteration, binding } => {
            execution.wall.start(stamp.run);
            execution.iterations = *iteration;
            execution.phase = Phase::Running(fresh(execution.kind, *iteration, *binding, stamp.run));
        }
        Event::ToolsAsked { calls, .. } => change(execution, |iteration| {
            iteration.step = Step::Acting { calls: calls.iter().map(Proposed::open).collect() };
        }),
        Event::IterationBound { binding, .. } => {
            execution.wall.start(stamp.run);
            if let Some(iteration) = execution.iteration_mut() {
                iteration.clock.start(stamp.run);
                iteration.binding = Some(*binding);
            }
        }
        Event::IterationUnbound { since, .. } => {
            execution.wall.stop(*since);
            if let Some(iteration) = execution.iteration_mut() {
                iteration.clock.stop(*since);
                iteration.binding = None;
                (iteration.has_sandbox, iteration.parked) = (false, false);
            }
        }
        Event::JailLost { .. } => {
            if let Some(iteration) = execution.iteration_mut() {
                // Calls that are still open run in its successor.
                iteration.has_sandbox = step_calls(&iteration.step).iter().any(|call| call.lease().is_some());
            }
        }
        Event::IterationParked { .. } => change(execution, |iteration| iteration.parked = true),
        Event::IterationReleased { .. } => change(execution, |iteration| iteration.has_sandbox = false),
        Event::IterationClosing { cause, .. } => {
            if let Some(iteration) = execution.iteration_mut() {
                let calls = step_calls(&iteration.step).to_vec();
                iteration.step = Step::Closing { cause: cause.clone(), calls };
            }
        }
        Event::IterationFailed { iteration, .. } => {
            execution.wall.stop(stamp.run);
            execution.phase = Phase::Queued { iteration: iteration + 1, since: stamp.run };
        }
        Event::Ended { ending, bytes } => {
            execution.wall.stop(stamp.run);
            let payloads = Payloads::Present { bytes: *bytes };
            execution.phase = Phase::Ended { ending: ending.clone(), at: stamp.at, payloads };
        }
        Event::IterationCompleted { .. } => {}
        Event::Started { .. }
        | Event::CancelRequested { .. }
        | Event::ModelCalled { .. }
        | Event::ModelAnswered { .. }
        | Event::ModelFailed { .. }
        | Event::ModelLost { .. }
        | proxy_events!()
        | Event::CallCalled(_)
        | Event::CallHeld(_)
        | Event::CallAllowed(_)
        | Event::CallReleased(_)
        | Event::CallRecalled(_)
        | Event::CallBlocked { .. }
        | Event::CallEnded(_)
        | program_events!()
        | Event::Validated { .. }
        | Event::NetworkRefused { .. }
        | Event::BudgetWarned { .. }
        | child_events!()
        | Event::PayloadErased { .. }
        | Event::Erased { .. }
        | Event::Refused(_) => {}
    }
}

fn change(execution: &mut Execution, change: impl FnOnce(&mut Iteration)) {
    if let Some(iteration) = execution.iteration_mut() {
        change(iteration);
    }
}

fn fresh(kind: AgentKind, number: u32, binding: Binding, run: Run) -> Iteration {
    Iteration {
        number,
        clock: Clock { used_ms: 0, since: Some(run) },
        binding: Some(binding),
        has_sandbox: false,
        turns: 0,
        calls: 0,
        blocked: 0,
        parked: false,
        told: None,
        step: Step::next(kind, None, run),
    }
}
