//! Owed Think: rebuild the conversation, commit `model.called`, ask, commit what came. A model call found open that is
//! not in hand was lost with an earlier life of the daemon; it is charged at its reservation and the turn is tried again.
//! When it is no longer owed (cancelled, timed out) the task is dropped, and with it the provider's stream.
mod arguments;
mod prompt;
mod context;

pub(crate) use context::{output, program_prompt};
pub use prompt::Delta;

use crate::app::App;
use crate::commit;
use crate::model::answer::{Answer, StopReason};
use crate::model::failure::{Failure, Kind as FailureKind};
use crate::model::piece::PieceSink;
use crate::model::price;
use crate::model::request::{Request, ToolCall};
use crate::model::{ANSWER_BYTES_MAX, Model};
use crate::records::Error;
use crate::upstream::Upstream;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event, Stream};
use tenure_core::bound::Hash;
use tenure_core::call::{Proposal, attributes_json};
use tenure_core::capability::{self, Capability, mcp};
use tenure_core::execution::{self, CallModel, ModelFailure, Remedy, TURN_CALLS_MAX, Turn, Usage, Used};
use tenure_core::id::ExecutionId;
use tenure_core::owed::Obligation;
use tenure_core::plan::Plan;
use tenure_core::time::Run;
use tenure_wire::scrub::{ScrubbedText, Scrubber};
use tokio::time::{Instant, sleep_until};

/// The longest that one model call may take, in milliseconds; the iteration's own clock is usually nearer.
const CALL_MS_MAX: u64 = 900_000;

pub async fn think(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Think { iteration, turn, attempt, open }) = (stream, obligation) else {
        return Ok(());
    };
    let turn = Turn { iteration, turn, attempt };
    if !open {
        return take_turn(&app, id, turn).await;
    }
    app.report(Actor::Daemon, Command::Execution(id, execution::Command::LoseModel { turn })).await;
    Ok(())
}

async fn take_turn(app: &App, id: ExecutionId, turn: Turn) -> Result<(), Error> {
    let plan = app.records.read(move |txn| context::plan(txn, id)).await?;
    let alias = plan.model.clone();
    let model = app.models.resolve(&alias).await;
    let question = match &model {
        Ok(model) => {
            let bytes_max = model.result_bytes_max();
            app.records.read(move |txn| context::request(txn, id, &plan, turn, bytes_max)).await?
        }
        Err(failure) => Err(failure.clone()),
    };
    let deadline = app.committer.now().run.plus_ms(CALL_MS_MAX);
    let call = match (&question, &model) {
        (Ok(question), Ok(model)) => called(turn, &question.request, model.as_ref(), deadline),
        (Err(_), _) | (_, Err(_)) => uncallable(turn, &alias, deadline),
    };
    if !is_made(app, id, call).await {
        return Ok(());
    }
    let started = Instant::now();
    let result = match (question, model) {
        (Ok(question), Ok(model)) => {
            let answer = ask(app, id, turn, &question.request, model.as_ref(), deadline).await;
            answer.and_then(|answer| whole(answer, question.carried)).map(|whole| (whole, question.upstream))
        }
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    };
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let command = match result {
        Ok(((answer, output), upstream)) => {
            execution::Command::AnswerModel { turn, answer: answered(app, &upstream, answer, output, took_ms) }
        }
        Err(failure) => {
            execution::Command::FailModel { turn, failure: failed(app.vault.scrubber(), &failure, took_ms) }
        }
    };
    app.report(Actor::Daemon, Command::Execution(id, command)).await;
    Ok(())
}

/// Commits that the model is called. False: it is not, and must not be asked. What it may cost can end the execution instead,
/// which is a commit too.
async fn is_made(app: &App, id: ExecutionId, call: CallModel) -> bool {
    let command = Command::Execution(id, execution::Command::CallModel(call));
    match app.committer.commit(Actor::Daemon, command).await {
        Ok(committed) => {
            let is_call = |event: &Event| matches!(event, Event::Execution(execution::Event::ModelCalled { .. }));
            committed.decision.events.iter().any(|(_, event)| is_call(event))
        }
        Err(commit::Error::Refused(refusal)) => {
            tracing::debug!(%id, refusal = refusal.code(), "the model is not called: the state has moved on");
            false
        }
        Err(commit::Error::Store(error)) => {
            tracing::error!(%id, %error, "a model call is not written; it stays owed");
            false
        }
    }
}

fn called(turn: Turn, request: &Request, model: &dyn Model, deadline: Run) -> CallModel {
    CallModel {
        turn,
        model: model.name().to_string(),
        request: request.hash().parse().expect("invariant: a request's hash is 64 hexadecimal digits"),
        deadline,
        reserved_micro_usd: model.reserve_micro_usd(request),
        reserved_tokens: price::reserve_tokens(request),
    }
}

/// What a model call holds before it is made; the money is none where its price is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub tokens: u64,
    pub micro_usd: Option<u64>,
}

/// What each call of this plan holds at least.
pub fn held_at_least(plan: &Plan, model: &dyn Model) -> Option<Held> {
    let request = context::shortest(plan, model.result_bytes_max())?;
    Some(Held { tokens: price::reserve_tokens(&request), micro_usd: model.reserve_micro_usd(&request) })
}

/// The call that cannot be made is recorded all the same, so that its failure has something to end.
fn uncallable(turn: Turn, alias: &str, deadline: Run) -> CallModel {
    CallModel {
        turn,
        model: capability::clip(alias),
        request: Hash::of(&[]),
        deadline,
        reserved_micro_usd: Some(0),
        reserved_tokens: 0,
    }
}

/// Ends by the deadline that the call was committed with, also where the model does not.
async fn ask(
    app: &App,
    id: ExecutionId,
    turn: Turn,
    request: &Request,
    model: &dyn Model,
    deadline: Run,
) -> Result<Answer, Failure> {
    let deadline = Instant::now() + Duration::from_millis(deadline.since_ms(app.committer.now().run));
    let (sender, mut pieces) = tokio::sync::mpsc::channel(64);
    let sink = PieceSink::new(sender);
    let generate = model.generate(request, &sink, deadline);
    let _open = OpenText { app, id };
    tokio::pin!(generate);
    let mut begun = false;
    let mut clean = ScrubbedText::new(app.vault.scrubber());
    loop {
        tokio::select! {
            biased;
            // First, for a model says best itself why it is late.
            answer = &mut generate => {
                let rest = clean.end();
                if !rest.is_empty() {
                    app.watch.text(id, turn, rest);
                }
                return answer.map_err(|failure| if begun { failure.begun() } else { failure });
            }
            Some(text) = pieces.recv() => {
                begun = true;
                let text = clean.push(&text);
                if !text.is_empty() {
                    app.watch.text(id, turn, text);
                }
            }
            () = sleep_until(deadline) => return Err(late(model).begun()),
        }
    }
}

fn late(model: &dyn Model) -> Failure {
    let sentence = format!("{} did not end by its deadline", model.name());
    Failure::new(FailureKind::Deadline, sentence, "it is asked again while the execution has time")
}

/// Ends the text that watchers see of this turn, also when the task is dropped in its midst.
struct OpenText<'a> {
    app: &'a App,
    id: ExecutionId,
}

impl Drop for OpenText<'_> {
    fn drop(&mut self) {
        self.app.watch.end_text(self.id);
    }
}

fn failed(scrubber: &Scrubber, failure: &Failure, took_ms: u64) -> ModelFailure {
    let hint = if failure.hint.is_empty() { String::new() } else { format!("; {}", failure.hint) };
    ModelFailure {
        kind: failure.kind.code().to_string(),
        sentence: scrubber.text(&format!("{}{hint}", failure.sentence)).into_owned(),
        used: used(failure, took_ms),
        remedy: if failure.elsewhere {
            Remedy::Elsewhere
        } else if failure.kind == FailureKind::Runaway {
            Remedy::NextIteration
        } else if failure.retryable() {
            Remedy::Again { after_ms: failure.retry_after_ms() }
        } else {
            Remedy::None
        },
    }
}

/// What a failed answer took all the same.
pub(crate) fn used(failure: &Failure, took_ms: u64) -> Used {
    match failure.spent.as_deref() {
        Some(spent) => Used::Counted(Usage {
            input: spent.usage.input.unwrap_or(0),
            output: spent.usage.output.unwrap_or(0),
            cached: spent.usage.cached.unwrap_or(0),
            micro_usd: spent.micro_usd,
            took_ms,
            estimated: false,
        }),
        None if failure.begun => Used::Unknown,
        None => Used::Nothing,
    }
}

pub(crate) fn usage(answer: &Answer, took_ms: u64) -> Usage {
    Usage {
        input: answer.usage.input.unwrap_or(0),
        output: answer.usage.output.unwrap_or(0),
        cached: answer.usage.cached.unwrap_or(0),
        micro_usd: answer.cost_micro_usd,
        took_ms,
        estimated: answer.usage.estimated,
    }
}

/// The output of a finished answer: what the turns before it said of it, and its own text.
fn whole(answer: Answer, carried: String) -> Result<(Answer, Option<String>), Failure> {
    if answer.stop != StopReason::End || !answer.calls.is_empty() {
        return Ok((answer, None));
    }
    if carried.len() + answer.text.len() > ANSWER_BYTES_MAX {
        let sentence = format!("{} wrote more than {ANSWER_BYTES_MAX} bytes without coming to an end", answer.model);
        return Err(Failure::new(FailureKind::Runaway, sentence, "ask for less at once"));
    }
    let output = carried + &answer.text;
    Ok((answer, Some(output)))
}

/// What a model says may hold what it was told, in words of its own: names of calls and reasons too.
pub(crate) fn clean(scrubber: &Scrubber, answer: &mut Answer) {
    scrubber.string(&mut answer.text);
    for call in &mut answer.calls {
        scrubber.string(&mut call.name);
        scrubber.value(&mut call.arguments);
        if let Some(misfit) = &mut call.misfit {
            scrubber.string(misfit);
        }
    }
}

fn answered(app: &App, upstream: &Upstream, answer: Answer, output: Option<String>, took_ms: u64) -> execution::Answer {
    if let Some(warning) = &answer.warning {
        tracing::warn!(warning, "a model's answer");
    }
    let mut answer = answer;
    let usage = usage(&answer, took_ms);
    clean(app.vault.scrubber(), &mut answer);
    let mut calls = answer.calls;
    let beyond = u32::try_from(calls.len().saturating_sub(TURN_CALLS_MAX)).unwrap_or(u32::MAX);
    calls.truncate(TURN_CALLS_MAX);
    for call in &mut calls {
        if let Some(known) = meant(&call.name) {
            arguments::make_whole(known, &mut call.arguments);
        }
    }
    let proposed = |call: &ToolCall| proposal(app, upstream, &call.name, &call.arguments, call.misfit.clone());
    let proposals: Vec<Proposal> = calls.iter().map(proposed).collect();
    let delta = Delta {
        text: answer.text,
        unfinished: (calls.is_empty() && output.is_none()).then_some(answer.stop),
        calls,
        dropped: answer.dropped.saturating_add(beyond),
        reasoning: answer.reasoning,
        estimated: answer.usage.estimated,
    };
    // Not the canonical form, which rounds integers beyond 2^53: the model is shown these bytes again.
    let delta = serde_json::to_vec(&delta).expect("invariant: a delta is JSON with text keys");
    execution::Answer {
        cassette: answer.model.provider == crate::model::name::Provider::Cassette,
        model: answer.model.to_string(),
        delta: app.committer.payload(delta),
        output: output.map(|output| app.committer.payload(output.into_bytes())),
        calls: proposals,
        usage,
    }
}

/// A call that is asked for, by whomever, on its way to the gate; `misfit`: why it cannot be made, where that is known.
/// `upstream`: what MCP servers bring.
pub(crate) fn proposal(
    app: &App,
    upstream: &Upstream,
    name: &str,
    arguments: &Value,
    misfit: Option<String>,
) -> Proposal {
    let known = meant(name);
    let meant = known.map(|known| known.name.to_string()).or_else(|| upstream.meant(name));
    let name = meant.as_deref().unwrap_or(name);
    let attributes = capability::attributes(name, arguments).unwrap_or_default();
    let (attributes, too_large) = match attributes_json(&attributes) {
        Ok(json) => (json, None),
        Err(sentence) => (b"{}".to_vec(), Some(sentence)),
    };
    let misfit = match (misfit, known, mcp::Name::parse(name)) {
        (Some(why), _, _) => Some(why),
        (None, Some(known), _) => arguments::misfit(known.name, arguments).or(too_large),
        (None, None, Some(name)) => upstream.misfit(name, arguments).or(too_large),
        (None, None, None) => Some(format!("there is no capability `{}`", capability::clip(name))),
    };
    Proposal {
        capability: capability::clip(name),
        arguments: app.committer.payload(arguments.to_string().into_bytes()),
        attributes: app.committer.payload(attributes),
        misfit,
    }
}

/// A model may ask for what it was not offered, in the spelling that providers want: the gate must know it by name.
fn meant(name: &str) -> Option<&'static Capability> {
    capability::find(name).or_else(|| capability::catalogue().find(|known| known.name.replace('.', "_") == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Models;
    use crate::model::answer;
    use crate::model::name::ModelName;
    use crate::model::request::Tag;
    use crate::testing::{Driven, OWNER, app, app_with};
    use futures_util::future::BoxFuture;
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tenure_core::budget::{Line, Measure, Period};
    use tenure_core::project;

    /// A model that heeds no deadline.
    struct Mute(ModelName);

    impl Model for Mute {
        fn name(&self) -> &ModelName {
            &self.0
        }

        fn reserve_micro_usd(&self, _: &Request) -> Option<u64> {
            None
        }

        fn generate<'a>(
            &'a self,
            _: &'a Request,
            _: &'a PieceSink,
            _: Instant,
        ) -> BoxFuture<'a, Result<Answer, Failure>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_says_nothing_fails_at_the_deadline_of_its_call() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _store) = app(folder.path());
        let (id, turn) = (app.committer.mint_execution(), Turn { iteration: 1, turn: 0, attempt: 1 });
        let request = Request {
            system: String::new(),
            messages: vec![],
            tools: vec![],
            max_tokens: 1,
            wishes: Default::default(),
            tag: Tag::default(),
        };
        let mute = Mute("local/qwen".parse().unwrap());
        let begun = Instant::now();
        let deadline = app.committer.now().run.plus_ms(5_000);
        let failure = ask(&app, id, turn, &request, &mute, deadline).await.unwrap_err();
        assert_eq!((failure.kind, begun.elapsed().as_secs()), (FailureKind::Deadline, 5));
    }

    /// A model that only counts how often it is asked.
    struct Counting {
        name: ModelName,
        asked: AtomicU32,
    }

    impl Model for Counting {
        fn name(&self) -> &ModelName {
            &self.name
        }

        fn reserve_micro_usd(&self, _: &Request) -> Option<u64> {
            Some(100)
        }

        fn generate<'a>(
            &'a self,
            _: &'a Request,
            _: &'a PieceSink,
            _: Instant,
        ) -> BoxFuture<'a, Result<Answer, Failure>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Err(Failure::new(FailureKind::Auth, "no", "")) })
        }
    }

    struct Only(Arc<Counting>);

    impl Models for Only {
        fn words(&self) -> Vec<String> {
            Vec::new()
        }

        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Model>, Failure>> {
            let model: Arc<dyn Model> = self.0.clone();
            Box::pin(async { Ok(model) })
        }
    }

    #[tokio::test]
    async fn a_model_is_never_asked_where_what_it_may_cost_ends_the_execution() {
        for (limit, expected) in [(100, 1), (99, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let name = "openai/x".parse().unwrap();
            let counting = Arc::new(Counting { name, asked: AtomicU32::new(0) });
            let (app, _store) = app_with(folder.path(), Arc::new(Only(Arc::clone(&counting))));
            let mut driven = Driven::start(&app).await;
            driven.begin_iteration().await;
            let id = driven.id;
            let lines = vec![Line { measure: Measure::Money, period: Period::Day, limit: Some(limit) }];
            let set = project::Command::SetBudget { lines };
            app.committer.commit(OWNER, Command::Project(app.committer.project(), set)).await.unwrap();
            let owed = Obligation::Think { iteration: 1, turn: 0, attempt: 1, open: false };
            think(Arc::clone(&app), Stream::Execution(id), owed).await.unwrap();
            assert_eq!(counting.asked.load(Ordering::Relaxed), expected, "of {limit}");
        }
    }

    #[tokio::test]
    async fn the_next_prompt_has_an_integer_as_the_model_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _store) = app(folder.path());
        let arguments = json!({"chat_id": 1_234_567_890_123_456_789_u64});
        let answer = Answer {
            text: String::new(),
            calls: vec![ToolCall {
                id: "c1".into(),
                name: "network.fetch".into(),
                arguments: arguments.clone(),
                misfit: None,
            }],
            dropped: 0,
            reasoning: None,
            stop: StopReason::Calls,
            usage: answer::Usage::default(),
            model: "local/qwen".parse().unwrap(),
            cost_micro_usd: None,
            warning: None,
        };
        let kept: Delta =
            serde_json::from_slice(answered(&app, &Upstream::default(), answer, None, 1).delta.bytes()).unwrap();
        assert_eq!(kept.calls[0].arguments, arguments);
    }

    fn said(text: &str, stop: StopReason) -> Answer {
        Answer {
            text: text.into(),
            calls: Vec::new(),
            dropped: 0,
            reasoning: None,
            stop,
            usage: answer::Usage::default(),
            model: "local/qwen".parse().unwrap(),
            cost_micro_usd: None,
            warning: None,
        }
    }

    #[test]
    fn only_an_answer_that_ended_by_itself_is_an_output_and_it_has_what_was_cut_before_it() {
        let (_, output) = whole(said("c", StopReason::End), "ab".into()).unwrap();
        assert_eq!(output.as_deref(), Some("abc"));
        for stop in [StopReason::Length, StopReason::Pause, StopReason::CallsLost, StopReason::Silent] {
            let (_, output) = whole(said("half", stop), String::new()).unwrap();
            assert_eq!(output, None, "{stop:?}");
        }
        let endless = whole(said("c", StopReason::End), "a".repeat(ANSWER_BYTES_MAX)).unwrap_err();
        assert_eq!(endless.kind, FailureKind::Runaway);
    }
}
