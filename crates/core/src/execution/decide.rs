//! Decisions of an execution. A draft applies each event as it is made, so that what follows sees what came before;
//! `advance` then takes every step that needs nobody else. It must stay pure: time, ids and the judge are arguments.
use super::{
    Binding, Cause, Command, Ending, Event, Execution, Phase, Reason, Start, Step, Thought, apply, iteration, turn,
    validation,
};
use crate::actor::Actor;
use crate::agent::{self, Agent};
use crate::bound::Payload;
use crate::fleet::Worker;
use crate::id::{ExecutionId, Mint};
use crate::judge::Judge;
use crate::time::Time;

/// What the view knows beyond the execution's own stream.
#[derive(Clone, Copy, Default)]
pub struct Around<'a> {
    pub agent: Option<&'a Agent>,
    pub worker: Option<&'a Worker>,
    /// Executions bound to the worker's session.
    pub bound: u64,
    /// The execution that this idempotency key already started.
    pub twin: Option<ExecutionId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misstep {
    Unknown,
    AgentUnknown,
    AgentArchived,
    /// Started before with the same idempotency key.
    Twin(ExecutionId),
    Started,
    Ended,
    /// Its cancel was asked for before; it ends when its sandbox is gone.
    CancelRequested,
    MaxIterationsWrong,
    NoSession,
    SlotsFull,
    Bound,
    /// The command speaks of a turn, call, lease or session that is no longer the present one.
    Stale,
    NotDue,
    TooManyCalls,
    TooManyRefusals,
}

/// A decision in the making.
pub(super) struct Draft<'a> {
    pub fold: Option<Execution>,
    pub events: Vec<Event>,
    pub payloads: Vec<Payload>,
    pub now: Time,
    pub mint: &'a mut Mint,
    pub judge: &'a dyn Judge,
}

impl Draft<'_> {
    pub(super) fn emit(&mut self, event: Event) {
        apply(&mut self.fold, &event, self.now);
        self.events.push(event);
    }

    pub(super) fn execution(&self) -> Result<&Execution, Misstep> {
        self.fold.as_ref().ok_or(Misstep::Unknown)
    }

    pub(super) fn iteration(&self) -> Result<&super::Iteration, Misstep> {
        match &self.execution()?.phase {
            Phase::Running(iteration) => Ok(iteration),
            Phase::Queued { .. } => Err(Misstep::Stale),
            Phase::Ended(_) => Err(Misstep::Ended),
        }
    }

    /// Takes bytes along with the event that will hold their hash.
    pub(super) fn bind(&mut self, payload: Payload) -> crate::bound::Bound {
        let bound = payload.bound();
        self.payloads.push(payload);
        bound
    }
}

/// # Errors
/// A misstep changes nothing; the door turns it into a refusal.
pub fn decide(
    fold: Option<&Execution>,
    actor: Actor,
    command: Command,
    around: Around<'_>,
    judge: &dyn Judge,
    now: Time,
    mint: &mut Mint,
) -> Result<(Vec<Event>, Vec<Payload>), Misstep> {
    let mut draft =
        Draft { fold: fold.cloned(), events: Vec::with_capacity(4), payloads: Vec::with_capacity(2), now, mint, judge };
    match command {
        Command::Start(start) => begin(&mut draft, start, around)?,
        Command::Cancel { why } => cancel(&mut draft, actor, why)?,
        Command::Bind { worker: _, session } => iteration::bind(&mut draft, session, around)?,
        Command::Unbind { session, since, why } => iteration::unbind(&mut draft, session, since, why)?,
        Command::LoseJail { session, iteration, leases, why, traffic } => {
            iteration::lose_jail(&mut draft, session, iteration, &leases, why, traffic)?;
        }
        Command::Release { session, iteration, traffic } => {
            iteration::release(&mut draft, session, iteration, traffic)?;
        }
        Command::RefuseNetwork { session, iteration, refusals } => {
            iteration::refuse_network(&mut draft, session, iteration, refusals)?;
        }
        Command::CallModel(call) => turn::call_model(&mut draft, call)?,
        Command::AnswerModel { turn, answer } => turn::answer_model(&mut draft, turn, answer)?,
        Command::FailModel { turn, failure } => turn::fail_model(&mut draft, turn, failure)?,
        Command::LoseModel { turn } => turn::lose_model(&mut draft, turn)?,
        Command::EndCall(end) => turn::end_call(&mut draft, end)?,
        Command::Check { iteration, index, proposal } => validation::check(&mut draft, iteration, index, proposal)?,
        Command::Validate { iteration, index, finding } => validation::report(&mut draft, iteration, index, finding)?,
        Command::Expire => expire(&mut draft)?,
    }
    advance(&mut draft);
    Ok((draft.events, draft.payloads))
}

fn begin(draft: &mut Draft<'_>, start: Start, around: Around<'_>) -> Result<(), Misstep> {
    if draft.fold.is_some() {
        return Err(Misstep::Started);
    }
    if let Some(twin) = around.twin {
        return Err(Misstep::Twin(twin));
    }
    let agent = around.agent.filter(|agent| agent.id == start.agent).ok_or(Misstep::AgentUnknown)?;
    match agent.state {
        agent::State::Deployed => {}
        agent::State::Leaving { .. } | agent::State::Archived { .. } => return Err(Misstep::AgentArchived),
    }
    let mut terms = agent.revision.terms.clone();
    if let Some(wanted) = start.max_iterations {
        if wanted == 0 || wanted > 1000 {
            return Err(Misstep::MaxIterationsWrong);
        }
        terms.limits.max_iterations = wanted;
    }
    let (revision, input) = (agent.revision.number, draft.bind(start.input));
    draft.emit(Event::Started { agent: start.agent, revision, input, terms, idempotency: start.idempotency });
    Ok(())
}

fn cancel(draft: &mut Draft<'_>, by: Actor, why: String) -> Result<(), Misstep> {
    let ending = Ending::Cancelled { by, why: why.clone() };
    match &draft.execution()?.phase {
        Phase::Ended(_) => Err(Misstep::Ended),
        Phase::Queued { .. } => {
            draft.emit(Event::CancelRequested { by, why });
            draft.emit(Event::Ended { ending });
            Ok(())
        }
        Phase::Running(iteration) => {
            if let Step::Closing { cause: Cause::End { ending: Ending::Cancelled { .. } }, .. } = iteration.step {
                return Err(Misstep::CancelRequested);
            }
            draft.emit(Event::CancelRequested { by, why });
            close(draft, Cause::End { ending });
            Ok(())
        }
    }
}

fn expire(draft: &mut Draft<'_>) -> Result<(), Misstep> {
    let execution = draft.execution()?;
    let limits = execution.terms.limits;
    let iteration = draft.iteration()?;
    if matches!(iteration.step, Step::Closing { .. }) {
        return Err(Misstep::NotDue);
    }
    let past = |due: Option<Time>| due.is_some_and(|due| due <= draft.now);
    if past(execution.wall.due(limits.timeout_ms)) {
        let detail = format!("the wall clock of {} ms is used up", limits.timeout_ms);
        close(draft, Cause::End { ending: Ending::Failed { reason: Reason::Timeout, detail } });
        return Ok(());
    }
    if past(iteration.clock.due(limits.iteration_timeout_ms)) {
        close(draft, Cause::IterationTimeout);
        return Ok(());
    }
    Err(Misstep::NotDue)
}

/// Ends the iteration for `cause`: an open model call is withdrawn, open calls stay until their sandbox is gone.
pub(super) fn close(draft: &mut Draft<'_>, cause: Cause) {
    let Some(iteration) = draft.fold.as_ref().and_then(Execution::iteration) else { return };
    let number = iteration.number;
    if let Step::Thinking { attempt, thought: Thought::Open { reserved_micro_usd, .. }, .. } = iteration.step {
        let turn = super::Turn { iteration: number, turn: iteration.turns, attempt };
        draft.emit(Event::ModelFailed {
            turn,
            failure: "withdrawn".to_string(),
            sentence: "its iteration ended first".to_string(),
            retry_at: None,
            charged_micro_usd: reserved_micro_usd,
        });
    }
    draft.emit(Event::IterationClosing { iteration: number, cause });
}

/// Takes every step that waits for nobody. Each round emits an event or ends, and each event moves the fold on.
pub(super) fn advance(draft: &mut Draft<'_>) {
    const ROUNDS_MAX: usize = 256;
    for _ in 0..ROUNDS_MAX {
        let Some(iteration) = draft.fold.as_ref().and_then(Execution::iteration) else { return };
        let moved = match &iteration.step {
            Step::Thinking { thought: Thought::Due { .. }, .. } => turn::limit(draft),
            Step::Thinking { thought: Thought::Open { .. }, .. } => false,
            Step::Acting { .. } => turn::begin_next_call(draft),
            Step::Validating { .. } => validation::advance(draft),
            Step::Closing { .. } => iteration::finish(draft),
        };
        if !moved {
            return;
        }
    }
    unreachable!("invariant: an execution comes to rest within {ROUNDS_MAX} events");
}

pub(super) fn failed(reason: Reason, detail: impl Into<String>) -> Cause {
    Cause::End { ending: Ending::Failed { reason, detail: crate::capability::clip(&detail.into()) } }
}

pub(super) fn bound_to(binding: Option<Binding>, session: crate::id::SessionId) -> Result<Binding, Misstep> {
    binding.filter(|binding| binding.session == session).ok_or(Misstep::Stale)
}
