//! Decisions of an execution. The draft applies each event as it is made, so that what follows sees what came before;
//! `advance` then takes every step that needs nobody else. It must stay pure: time, ids and the judge are arguments.
use super::{
    Binding, Cause, Chained, Command, Ending, Event, Execution, Iteration, ModelCall, Parent, Phase, Reason, Refusal,
    Start, Step, Trigger, erase, iteration, lineage, program, proxy, turn, validation,
};
use crate::actor::Actor;
use crate::agent::{self, Agent};
use crate::approval::{self, Rejudged};
use crate::bound::{Bound, Payload};
use crate::briefing;
use crate::budget;
use crate::call::{Blocked, Caller, Holder, Open};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Namespace;
use crate::id::{AgentId, CallId, ConnectionId, ExecutionId};
use crate::retention;
use crate::time::Run;

/// An agent whose `tools` name it by its whole name is told what it missed when it is woken.
const BRIEFING: &str = "agent.briefing";

/// One execution's part of a draft.
pub(super) struct Decider<'d, 'a> {
    pub id: ExecutionId,
    pub draft: &'d mut Draft<'a>,
}

impl Decider<'_, '_> {
    pub(super) fn emit(&mut self, event: Event) -> Result<(), Stop> {
        Ok(self.draft.emit::<Execution>(self.id, event)?)
    }

    pub(super) fn execution(&self) -> Result<&Execution, Stop> {
        self.draft.seen::<Execution>(self.id).ok_or_else(|| no(Refusal::Unknown {}))
    }

    pub(super) fn iteration(&self) -> Result<&Iteration, Stop> {
        match &self.execution()?.phase {
            Phase::Running(iteration) => Ok(iteration),
            Phase::Queued { .. } => Err(no(Refusal::Stale {})),
            Phase::Ended { .. } => Err(no(Refusal::Ended {})),
        }
    }

    /// Takes bytes along with the event that will hold their hash.
    pub(super) fn bind(&mut self, payload: Payload) -> Bound {
        self.draft.bind(payload)
    }

    /// Whose calls those of this execution are; `actor` is its agent, or its manifest's validator.
    pub(super) fn caller(&self, actor: Option<Actor>) -> Result<Caller, Stop> {
        let Execution { agent, revision, .. } = self.execution()?;
        let actor = actor.unwrap_or(Actor::Agent(*agent));
        Ok(Caller { actor, agent: *agent, revision: *revision, holder: Holder::Execution(self.id) })
    }

    /// The end, in the agent's stream too.
    pub(super) fn end(&mut self, ending: Ending) -> Result<(), Stop> {
        let execution = self.execution()?;
        let (agent, bytes) = (execution.agent, execution.bytes);
        self.emit(Event::Ended { ending: ending.clone(), bytes: Some(bytes) })?;
        agent::execution_ended(agent, self.draft, self.id)?;
        retention::ended(self.draft, agent)?;
        lineage::ended(self, &ending)
    }
}

pub(super) fn no(refusal: Refusal) -> Stop {
    refuse::<Execution>(refusal)
}

pub(super) fn decide(id: ExecutionId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
    draft.get::<Execution>(id)?;
    let mut it = Decider { id, draft };
    let it = &mut it;
    match command {
        Command::Start(start) => begin(it, start, None, None)?,
        Command::Converse { start, conversation } => begin(it, start, Some(conversation), None)?,
        Command::Cancel { why } => cancel(it, why)?,
        Command::Bind { worker, connection } => iteration::bind(it, worker, connection)?,
        Command::Unbind { connection, since, why } => iteration::unbind(it, connection, since, why)?,
        Command::LoseJail { connection, iteration, leases, why, traffic } => {
            iteration::lose_jail(it, connection, iteration, &leases, why, traffic)?;
        }
        Command::Release { connection, iteration, traffic } => iteration::release(it, connection, iteration, traffic)?,
        Command::RefuseNetwork { connection, iteration, refusals } => {
            iteration::refuse_network(it, connection, iteration, refusals)?;
        }
        Command::CallModel(call) => turn::call_model(it, call)?,
        Command::AnswerModel { turn, answer } => turn::answer_model(it, turn, answer)?,
        Command::FailModel { turn, failure } => turn::fail_model(it, turn, failure)?,
        Command::LoseModel { turn } => turn::lose_model(it, turn)?,
        Command::CallProxy { connection, iteration, begin } => proxy::call(it, connection, iteration, begin)?,
        Command::AnswerProxy(answer) => proxy::answer(it, answer)?,
        Command::FailProxy(failure) => proxy::fail(it, failure)?,
        Command::LoseProxy { call } => proxy::lose(it, call)?,
        Command::Perform { call, arguments, value } => turn::perform(it, call, &arguments, value)?,
        Command::EndCall(end) => turn::end_call(it, end)?,
        Command::TellProgram { iteration, message } => program::tell(it, iteration, message)?,
        Command::AskProgram { iteration, proposal } => program::ask(it, iteration, proposal)?,
        Command::EndProgram { iteration, outcome } => program::end(it, iteration, outcome)?,
        Command::Check { iteration, index, proposal } => validation::check(it, iteration, index, proposal)?,
        Command::Validate { iteration, index, finding } => validation::report(it, iteration, index, finding)?,
        Command::ExpireApprovals {} => {
            let late = approval::overdue(iteration::step_calls(&it.iteration()?.step), it.draft.wall);
            if late.is_empty() {
                return Err(no(Refusal::NotDue {}));
            }
            for (call, blocked) in late {
                turn::block(it, &call, blocked)?;
            }
        }
        Command::Rejudge { call } => rejudge(it, call)?,
        Command::Expire {} => expire(it)?,
        Command::Erase { reason } => return erase::asked(it, reason),
        Command::ErasePayload { payload, n, reason } => return erase::one(it, payload, n, reason),
        Command::EraseRest {} => return erase::go_on(it),
    }
    advance(it)
}

/// `conversation`: it is a turn of this one, or of a new one. `parent`: another execution starts it.
pub(super) fn begin(
    it: &mut Decider<'_, '_>,
    start: Start,
    conversation: Option<Option<ExecutionId>>,
    parent: Option<Parent>,
) -> Result<(), Stop> {
    if it.execution().is_ok() {
        return Err(no(Refusal::Started {}));
    }
    if let Some(key) = start.idempotency {
        let held = it.draft.holder(Namespace::IdempotencyKey, &format!("{}:{key}", start.agent))?;
        if let Some(execution) = held.and_then(|held| held.parse().ok()) {
            return Err(no(Refusal::Repeated { execution }));
        }
    }
    let conversation = conversation.map(|known| chained(it, start.agent, known)).transpose()?;
    let agent = it.draft.get::<Agent>(start.agent)?;
    let Some(agent) = agent else { return Err(refuse::<Agent>(agent::Refusal::Unknown {})) };
    agent.may_begin()?;
    let (newest, agent_name) = (agent.revision, agent.name.clone());
    if let Some(shut) = budget::shut(it.draft, start.agent)? {
        return Err(no(Refusal::BudgetSpent { shut }));
    }
    let revision = start.revision.unwrap_or(newest);
    if !(1..=newest).contains(&revision) {
        return Err(refuse::<Agent>(agent::Refusal::RevisionUnknown { newest }));
    }
    let plan = it.draft.plan(start.agent, revision)?.ok_or_else(|| no(Refusal::PlanLost {}))?;
    let (mut limits, validators) = (plan.limits, u32::try_from(plan.validators.len()).unwrap_or(u32::MAX));
    if let Some(wanted) = start.max_iterations {
        if wanted == 0 || wanted > 1000 {
            return Err(no(Refusal::MaxIterationsWrong {}));
        }
        limits.max_iterations = wanted;
    }
    let briefing = missed(it, &start, &plan.tools)?;
    let (model, agent_kind) = (plan.model.clone(), plan.kind());
    let (input, idempotency) = (it.bind(start.input), start.idempotency);
    it.emit(Event::Started {
        agent: start.agent,
        agent_name,
        revision,
        model,
        input,
        briefing,
        limits,
        validators,
        agent_kind,
        idempotency,
        trigger: start.trigger,
        conversation,
        parent,
    })?;
    Ok(it.draft.emit::<Agent>(start.agent, agent::Event::ExecutionStarted { execution: it.id })?)
}

/// What a woken agent missed, where its plan asks for it.
fn missed(it: &mut Decider<'_, '_>, start: &Start, tools: &[String]) -> Result<Option<Bound>, Stop> {
    let woken = match start.trigger {
        Trigger::Schedule | Trigger::Comms => true,
        Trigger::Manual | Trigger::Agent => false,
    };
    if !woken || !tools.iter().any(|tool| tool == BRIEFING) {
        return Ok(None);
    }
    let Some(briefing) = briefing::of(it.draft, start.agent, None)? else { return Ok(None) };
    let salt = it.draft.mint.salt();
    Ok(Some(it.bind(Payload::new(salt, briefing.to_text().into_bytes()))))
}

/// Starts one within another decision.
pub(crate) fn start(id: ExecutionId, draft: &mut Draft<'_>, start: Start) -> Result<(), Stop> {
    draft.get::<Execution>(id)?;
    begin(&mut Decider { id, draft }, start, None, None)
}

fn rejudge(it: &mut Decider<'_, '_>, call: CallId) -> Result<(), Stop> {
    let is_due = |call: &&Open| call.waits_for().is_some() || call.lease().is_some();
    let open = it.execution()?.call(call).filter(is_due).cloned();
    let Some(call) = open else { return Err(no(Refusal::Stale {})) };
    let actor = match it.iteration()?.step {
        Step::Validating { .. } => Some(Actor::Validator),
        // Its jail ends, and all that runs in it.
        Step::Closing { .. } => return Err(no(Refusal::Stale {})),
        Step::Thinking { .. } | Step::Program { .. } | Step::Told { .. } | Step::Acting { .. } => None,
    };
    let caller = it.caller(actor)?;
    match approval::rejudge(it.draft, caller, &call)? {
        Rejudged::Same => Err(no(Refusal::NotDue {})),
        Rejudged::Released(released) => it.emit(Event::CallReleased(released)),
        Rejudged::Held(held) => it.emit(Event::CallHeld(*held)),
        Rejudged::Blocked(blocked) => turn::block(it, &call, blocked),
        Rejudged::Recalled(recalled) => it.emit(Event::CallRecalled(recalled)),
    }
}

/// A person allows one of its calls.
pub(crate) fn allow(id: ExecutionId, draft: &mut Draft<'_>, allowed: approval::Allowed) -> Result<(), Stop> {
    draft.get::<Execution>(id)?;
    let mut it = Decider { id, draft };
    it.emit(Event::CallAllowed(allowed))?;
    advance(&mut it)
}

/// A person does not.
pub(crate) fn reject(id: ExecutionId, draft: &mut Draft<'_>, call: &Open, blocked: Blocked) -> Result<(), Stop> {
    draft.get::<Execution>(id)?;
    let mut it = Decider { id, draft };
    turn::block(&mut it, call, blocked)?;
    advance(&mut it)
}

/// Cancels one for the next of its schedule; one that is ending anyway ends as it was going to.
pub(crate) fn replace(id: ExecutionId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    draft.get::<Execution>(id)?;
    let mut it = Decider { id, draft };
    match cancel(&mut it, "the next run of its schedule is due".to_string()) {
        Ok(()) => advance(&mut it),
        Err(Stop::Refused(_)) => Ok(()),
        Err(Stop::Unread) => Err(Stop::Unread),
    }
}

/// One turn of a conversation at a time: the next begins once the last is answered, or has failed.
fn chained(it: &mut Decider<'_, '_>, agent: AgentId, known: Option<ExecutionId>) -> Result<Chained, Stop> {
    let Some(id) = known else { return Ok(Chained { id: it.id, turn: 1 }) };
    let held = it.draft.holder(Namespace::Conversation, &id.to_string())?;
    let last: Option<ExecutionId> = held.and_then(|held| held.parse().ok());
    let Some(last) = last else { return Err(no(Refusal::ConversationUnknown {})) };
    match it.draft.get::<Execution>(last)? {
        Some(Execution { agent: of, conversation: Some(chained), phase, .. }) if *of == agent => match phase {
            Phase::Ended { .. } => Ok(Chained { id, turn: chained.turn.saturating_add(1) }),
            Phase::Queued { .. } | Phase::Running(_) => Err(no(Refusal::ConversationBusy { execution: last })),
        },
        Some(_) | None => Err(no(Refusal::ConversationUnknown {})),
    }
}

fn cancel(it: &mut Decider<'_, '_>, why: String) -> Result<(), Stop> {
    let by = it.draft.actor;
    let ending = Ending::Cancelled { by, why: why.clone() };
    match &it.execution()?.phase {
        Phase::Ended { .. } => Err(no(Refusal::Ended {})),
        Phase::Queued { .. } => {
            it.emit(Event::CancelRequested { by, why })?;
            it.end(ending)
        }
        Phase::Running(iteration) => {
            match &iteration.step {
                Step::Closing { cause: Cause::End { ending: Ending::Cancelled { .. } }, .. } => {
                    return Err(no(Refusal::CancelRequested {}));
                }
                // How it ends is decided, and only its jail is waited for.
                Step::Closing { cause: Cause::End { .. } | Cause::Passed { .. }, .. } => {
                    return Err(no(Refusal::Ended {}));
                }
                Step::Closing { .. }
                | Step::Thinking { .. }
                | Step::Program { .. }
                | Step::Told { .. }
                | Step::Acting { .. }
                | Step::Validating { .. } => {}
            }
            it.emit(Event::CancelRequested { by, why })?;
            close(it, Cause::End { ending })
        }
    }
}

fn expire(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    let (limits, wall) = (it.execution()?.limits, it.execution()?.wall);
    let iteration = it.iteration()?;
    if matches!(iteration.step, Step::Closing { .. }) {
        return Err(no(Refusal::NotDue {}));
    }
    let past = |due: Option<Run>| due.is_some_and(|due| due <= it.draft.stamp.run);
    if past(wall.due(limits.timeout_ms)) {
        let detail = format!("the wall clock of {} ms is used up", limits.timeout_ms);
        return close(it, Cause::End { ending: Ending::Failed { reason: Reason::Timeout, detail } });
    }
    if past(iteration.clock.due(limits.iteration_timeout_ms)) {
        return close(it, Cause::IterationTimeout);
    }
    Err(no(Refusal::NotDue {}))
}

/// Ends the iteration for `cause`: an open model call is withdrawn, open calls stay until their sandbox is gone.
pub(super) fn close(it: &mut Decider<'_, '_>, cause: Cause) -> Result<(), Stop> {
    let iteration = it.iteration()?;
    let number = iteration.number;
    if let Step::Thinking { attempt, call: ModelCall::Open { reserved_micro_usd, reserved_tokens, .. }, .. } =
        iteration.step
    {
        let turn = super::Turn { iteration: number, turn: iteration.turns, attempt };
        it.emit(Event::ModelFailed {
            turn,
            failure: "withdrawn".to_string(),
            sentence: "its iteration ended first".to_string(),
            retry_at: None,
            charged_micro_usd: reserved_micro_usd,
            charged_tokens: Some(reserved_tokens),
            usage: None,
        })?;
    }
    proxy::withdraw(it)?;
    program::take_back(it)?;
    it.emit(Event::IterationClosing { iteration: number, cause })
}

/// Takes every step that waits for nobody. Each round emits an event or ends, and each event moves the fold on.
fn advance(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    const ROUNDS_MAX: usize = 256;
    for _ in 0..ROUNDS_MAX {
        let Ok(iteration) = it.iteration() else { return Ok(()) };
        if iteration.parked && !iteration.has_sandbox && iteration.binding.is_some() {
            iteration::give_back(it, false)?;
            continue;
        }
        let moved = match &iteration.step {
            Step::Thinking { call: ModelCall::Due { .. }, .. } => turn::limit(it)?,
            // Its program is run, or heard, by a reconciler.
            Step::Thinking { call: ModelCall::Open { .. }, .. } | Step::Program { .. } | Step::Told { .. } => false,
            Step::Acting { .. } => turn::begin_next_call(it)? || iteration::park(it)?,
            Step::Validating { .. } => validation::advance(it)?,
            Step::Closing { .. } => iteration::finish(it)?,
        };
        if !moved {
            return Ok(());
        }
    }
    unreachable!("invariant: an execution comes to rest within {ROUNDS_MAX} events");
}

pub(super) fn failed(reason: Reason, detail: impl Into<String>) -> Cause {
    Cause::End { ending: Ending::Failed { reason, detail: crate::capability::clip(&detail.into()) } }
}

pub(super) fn bound_to(binding: Option<Binding>, connection: ConnectionId) -> Result<Binding, Stop> {
    binding.filter(|binding| binding.connection == connection).ok_or_else(|| no(Refusal::Stale {}))
}
