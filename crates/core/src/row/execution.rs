//! Rows of an execution's events. A call's events touch only its own row, so that a governed call stays cheap.
use super::{CallRow, ExecutionRow, IterationRow, Note, Row, TurnRow, ValidationRow};
use crate::bound::Hash;
use crate::execution::{Cause, Ending, Event, Execution, Phase, Step};
use crate::id::ExecutionId;
use crate::time::Time;

pub(super) fn rows(
    id: ExecutionId,
    before: Option<&Execution>,
    after: &Execution,
    event: &Event,
    at: Time,
) -> Vec<Row> {
    let list = |started| Row::Execution(Box::new(list_row(id, after, at, started)));
    match event {
        Event::Started { agent, input, idempotency, .. } => {
            let twin = idempotency.map(|key| Row::Twin { agent: *agent, key, execution: id });
            std::iter::once(list(Some(input.hash))).chain(twin).collect()
        }
        Event::CancelRequested { .. }
        | Event::Ended { .. }
        | Event::ModelFailed { .. }
        | Event::ModelLost { .. }
        | Event::ModelCalled { .. } => vec![list(None)],
        Event::IterationStarted { iteration, .. } => {
            vec![list(None), Row::Iteration(iteration_row(id, *iteration, before, "running", None, None, at))]
        }
        Event::IterationBound { .. } => vec![list(None)],
        Event::IterationUnbound { jailed, .. } => {
            let lost = jailed.then(|| note(id, after)).flatten();
            std::iter::once(list(None)).chain(lost).collect()
        }
        Event::JailLost { .. } => note(id, after).into_iter().collect(),
        Event::ModelAnswered { .. } => answered(id, event, at, list(None)),
        Event::CallCalled(called) => {
            let rules = called.judgement.rules.join(", ");
            let call = validator_call(id, before, called);
            call.into_iter().chain([Row::CallCalled { id: called.call, at, rules }]).collect()
        }
        Event::CallBlocked { call, blocked, .. } => {
            let why = match blocked {
                crate::call::Blocked::Policy { .. } => "policy",
                crate::call::Blocked::Misfit { .. } => "misfit",
                crate::call::Blocked::Withdrawn => "withdrawn",
            };
            vec![Row::CallBlocked { id: *call, at, why, sentence: blocked.to_string() }]
        }
        Event::CallEnded(ended) => vec![call_ended(ended, at)],
        Event::Validated { iteration, index, validator, pass, score_milli, reasons } => {
            vec![Row::Validation(ValidationRow {
                execution: id,
                iteration: *iteration,
                index: *index,
                validator: validator.clone(),
                pass: *pass,
                score_milli: *score_milli,
                reasons: reasons.hash,
                at,
            })]
        }
        Event::IterationCompleted { iteration, output } => {
            vec![Row::Iteration(iteration_row(id, *iteration, before, "completed", None, Some(output.hash), at))]
        }
        Event::IterationFailed { iteration, cause } => {
            vec![Row::Iteration(iteration_row(id, *iteration, before, "failed", Some(cause.word()), None, at))]
        }
        Event::IterationClosing { .. }
        | Event::IterationReleased { .. }
        | Event::NetworkRefused { .. }
        | Event::Refused(_) => Vec::new(),
    }
}

fn list_row(id: ExecutionId, execution: &Execution, at: Time, started: Option<Hash>) -> ExecutionRow {
    let (status, waiting_for) = execution.status();
    let iteration = execution.iteration();
    let (reason, detail, output) = match &execution.phase {
        Phase::Ended(Ending::Completed { output }) => (None, None, Some(output.hash)),
        Phase::Ended(Ending::Failed { reason, detail }) => (Some(reason.word()), Some(detail.clone()), None),
        Phase::Ended(Ending::Cancelled { by, why }) => (None, Some(format!("by {by}: {why}")), None),
        Phase::Queued { .. } | Phase::Running(_) => (None, None, None),
    };
    let binding = iteration.and_then(|iteration| iteration.binding);
    let cancelling = matches!(
        iteration.map(|iteration| &iteration.step),
        Some(Step::Closing { cause: Cause::End { ending: Ending::Cancelled { .. } }, .. })
    );
    ExecutionRow {
        id,
        agent: execution.agent,
        revision: execution.revision,
        status,
        waiting_for,
        cancel_requested: cancelling || matches!(execution.phase, Phase::Ended(Ending::Cancelled { .. })),
        reason,
        detail,
        iterations: iteration.map_or(0, |iteration| iteration.number),
        max_iterations: execution.terms.limits.max_iterations,
        tool_calls: execution.spent.tool_calls,
        input_tokens: execution.spent.input_tokens,
        output_tokens: execution.spent.output_tokens,
        micro_usd: execution.spent.micro_usd,
        unpriced: execution.spent.unpriced,
        session: binding.map(|binding| binding.session),
        worker: binding.map(|binding| binding.worker),
        wall_used_ms: execution.wall.used_ms_at(at),
        output,
        at,
        started,
        ended: matches!(execution.phase, Phase::Ended(_)),
    }
}

fn iteration_row(
    execution: ExecutionId,
    number: u32,
    before: Option<&Execution>,
    status: &'static str,
    cause: Option<String>,
    output: Option<Hash>,
    at: Time,
) -> IterationRow {
    let ending = before.and_then(Execution::iteration).filter(|open| open.number == number);
    IterationRow {
        execution,
        number,
        status,
        cause,
        turns: ending.map_or(0, |open| open.turns),
        used_ms: ending.map_or(0, |open| open.clock.used_ms_at(at)),
        output,
        at,
    }
}

fn note(execution: ExecutionId, after: &Execution) -> Option<Row> {
    let iteration = after.iteration()?;
    Some(Row::Note { execution, iteration: iteration.number, turn: iteration.turns, note: Note::SandboxLost })
}

fn answered(id: ExecutionId, event: &Event, at: Time, list: Row) -> Vec<Row> {
    let Event::ModelAnswered { turn, model, delta, output, calls, usage, cassette } = event else { return vec![list] };
    let mut rows = vec![
        list,
        Row::Turn(TurnRow {
            execution: id,
            iteration: turn.iteration,
            turn: turn.turn,
            delta: delta.hash,
            output: output.map(|output| output.hash),
            model: model.clone(),
            input_tokens: usage.input,
            output_tokens: usage.output,
            cached_tokens: usage.cached,
            micro_usd: usage.micro_usd,
            took_ms: usage.took_ms,
            cassette: *cassette,
            at,
        }),
    ];
    rows.extend(calls.iter().zip(0u32..).map(|(call, ordinal)| {
        Row::Call(CallRow {
            id: call.call,
            execution: id,
            iteration: turn.iteration,
            turn: turn.turn,
            ordinal,
            validator: false,
            capability: call.capability.clone(),
            arguments: call.arguments.hash,
            path: call.attributes.path.clone(),
            command: call.attributes.command.clone(),
            host: call.attributes.host.clone(),
            bytes: call.attributes.bytes,
        })
    }));
    rows
}

/// A validator's call has no proposal of a turn's, so its row comes with its first `call.called`.
fn validator_call(id: ExecutionId, before: Option<&Execution>, called: &crate::call::Called) -> Option<Row> {
    let iteration = before?.iteration()?;
    let Step::Validating { index, check: crate::execution::Check::None, .. } = &iteration.step else { return None };
    Some(Row::Call(CallRow {
        id: called.call,
        execution: id,
        iteration: iteration.number,
        turn: iteration.turns,
        ordinal: *index,
        validator: true,
        capability: called.capability.clone(),
        arguments: called.arguments,
        path: called.attributes.path.clone(),
        command: called.attributes.command.clone(),
        host: called.attributes.host.clone(),
        bytes: called.attributes.bytes,
    }))
}

fn call_ended(ended: &crate::call::Ended, at: Time) -> Row {
    use crate::call::Outcome;
    let exit_code = match &ended.outcome {
        Outcome::Done { exit_code } => *exit_code,
        Outcome::Failed { .. }
        | Outcome::TimedOut
        | Outcome::ResourceExhausted { .. }
        | Outcome::Killed
        | Outcome::Redirected { .. }
        | Outcome::Lost { .. } => None,
    };
    let outcome = match &ended.outcome {
        Outcome::Failed { code } => format!("failed:{code}"),
        Outcome::ResourceExhausted { resource, .. } => format!("resource_exhausted:{resource}"),
        Outcome::Lost { again: true } => "again".to_string(),
        Outcome::Done { .. }
        | Outcome::TimedOut
        | Outcome::Killed
        | Outcome::Redirected { .. }
        | Outcome::Lost { again: false } => ended.outcome.word().to_string(),
    };
    let result = ended.result.map(|result| result.hash);
    Row::CallEnded { id: ended.call, at, outcome, exit_code, result, level: ended.level.clone() }
}
