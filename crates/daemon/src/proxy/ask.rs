//! One request of a program, asked as the built-in loop asks: each attempt a call of its own in the ledger, before anything is sent to
//! a provider. Must never: ask what was not committed, or say that an answer is whole whose event is not written.
use super::InHand;
use super::exchange::{Exchange, Gone};
use super::problem::Problem;
use super::serve::begin_stream;
use super::wire::{Asked, Speech, Wire};
use crate::app::App;
use crate::commit;
use crate::model::answer::Answer;
use crate::model::failure::{Failure, Kind};
use crate::model::name::Provider;
use crate::model::piece::PieceSink;
use crate::model::request::{Request, Tag};
use crate::model::{Model, price};
use crate::reconcile::think;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event};
use tenure_core::call::Holder;
use tenure_core::execution::{self, MODEL_RETRIES_MAX, Used};
use tenure_core::id::{AgentId, CallId, ExecutionId, SessionId};
use tenure_core::instance::Instance;
use tenure_core::model_call::{self, Begin, RETRY_LAST_MS, backoff_ms};
use tenure_core::time::Run;
use tenure_store::fold;
use tenure_wire::scrub::ScrubbedText;
use tenure_wire::stream::OpenStream;
use tokio::time::{Instant, sleep, sleep_until};

/// The longest that one attempt may take, in milliseconds.
const CALL_MS_MAX: u64 = 900_000;
const PIECES_MAX: usize = 64;

pub(super) enum Outcome {
    Answered { answer: Box<Answer>, left_out: Vec<String> },
    Failed(Problem),
}

pub(super) struct Asker<'a> {
    app: &'a App,
    id: ExecutionId,
    agent: AgentId,
    iteration: u32,
    wire: Wire,
    pub(super) asked: Asked,
    /// The word by which it named a model; its agent's own where it named none.
    word: String,
    body: Vec<u8>,
}

/// An attempt that is in the ledger.
struct Called {
    /// Which of its execution's.
    number: u32,
    deadline: Run,
}

impl<'a> Asker<'a> {
    pub(super) async fn new(
        app: &'a App,
        open: &OpenStream,
        wire: Wire,
        asked: Asked,
        body: String,
    ) -> Result<Asker<'a>, Problem> {
        let (id, iteration) = match open.holder {
            Holder::Execution(id) => (id, open.iteration),
            Holder::Session(session) => task(app, session).await?,
        };
        let named = asked.word.clone();
        let read = app.records.read(move |txn| {
            let row = txn.execution(id)?;
            let word = match named {
                Some(word) => word,
                None => txn.plan(row.agent, row.revision)?.model.clone(),
            };
            Ok((row.agent, word))
        });
        let (agent, word) = read.await.map_err(|_| Problem::unwritten())?;
        Ok(Asker { app, id, agent, iteration, wire, asked, word, body: body.into_bytes() })
    }

    /// Asks until there is an answer or none is to be had. `Gone`: the program did not wait for it.
    pub(super) async fn run(&self, exchange: &mut Exchange, speech: &mut Speech) -> Result<Outcome, Gone> {
        let mut first = None;
        for attempt in 1..=MODEL_RETRIES_MAX + 1 {
            let model = match self.app.models.resolve(&self.word).await {
                Ok(model) => model,
                Err(failure) => return Ok(Outcome::Failed(self.failed(&failure))),
            };
            let (mut request, left_out) = fitted(&self.asked, model.name().provider);
            let call = self.app.committer.mint_call();
            let _taken = in_hand(self.app).take(call);
            let called = match self.call(exchange, call, attempt, model.as_ref(), &request).await {
                Ok(called) => called,
                Err(problem) => return Ok(Outcome::Failed(problem)),
            };
            speech.name(call);
            let turn = *first.get_or_insert(called.number);
            let execution = format!("{} programs", self.id);
            request.tag = Tag { execution, iteration: self.iteration, turn, attempt };
            let started = Instant::now();
            let result = self.generate(exchange, speech, &model, &request, &called, &left_out).await;
            let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            match result {
                Ok(Ok(answer)) => return Ok(self.answered(call, answer, took_ms, left_out).await),
                Ok(Err(failure)) => {
                    let used = think::used(&failure, took_ms);
                    self.fail(call, failure.kind.code(), &failure.sentence, used).await;
                    let is_last = attempt > MODEL_RETRIES_MAX || exchange.has_begun();
                    let pause = pause(&failure, attempt).filter(|_| !is_last);
                    let Some(pause) = pause else { return Ok(Outcome::Failed(self.failed(&failure))) };
                    tokio::select! {
                        biased;
                        gone = exchange.gone() => return Err(gone),
                        () = sleep(pause) => {}
                    }
                }
                Err(gone) => {
                    self.fail(call, "cancelled", "the program did not wait for the answer", Used::Unknown).await;
                    return Err(gone);
                }
            }
        }
        unreachable!("invariant: the last attempt is not tried again")
    }

    fn failed(&self, failure: &Failure) -> Problem {
        let mut problem = Problem::of_failure(failure);
        problem.message = self.app.vault.scrubber().text(&problem.message).into_owned();
        problem
    }

    /// Commits that the model is asked.
    async fn call(
        &self,
        exchange: &Exchange,
        call: CallId,
        attempt: u32,
        model: &dyn Model,
        request: &Request,
    ) -> Result<Called, Problem> {
        let deadline = self.app.committer.now().run.plus_ms(CALL_MS_MAX);
        let begin = Begin {
            call,
            attempt,
            wire: self.wire.as_str().to_string(),
            asked: self.word.clone(),
            model: model.name().to_string(),
            request: self.app.committer.payload(self.body.clone()),
            hash: request.hash().parse().expect("invariant: a request's hash is 64 hexadecimal digits"),
            deadline,
            reserved_micro_usd: model.reserve_micro_usd(request),
            reserved_tokens: price::reserve_tokens(request),
        };
        let (connection, iteration) = (exchange.connection.id, self.iteration);
        let command = execution::Command::CallProxy { connection, iteration, begin };
        match self.app.committer.commit(Actor::Agent(self.agent), Command::Execution(self.id, command)).await {
            Ok(committed) => {
                let number = committed.decision.events.iter().find_map(|(_, event)| match event {
                    Event::Execution(execution::Event::ProxyCalled(called)) => Some(called.number),
                    _ => None,
                });
                let number = number.expect("invariant: an accepted call is an event");
                Ok(Called { number, deadline })
            }
            Err(commit::Error::Refused(refusal)) => Err(Problem::of_refusal(&refusal)),
            Err(commit::Error::Store(error)) => {
                tracing::error!(id = %self.id, %error, "a program's model call is not written");
                Err(Problem::unwritten())
            }
        }
    }

    async fn generate(
        &self,
        exchange: &mut Exchange,
        speech: &mut Speech,
        model: &Arc<dyn Model>,
        request: &Request,
        called: &Called,
        left_out: &[String],
    ) -> Result<Result<Answer, Failure>, Gone> {
        let left_ms = called.deadline.since_ms(self.app.committer.now().run);
        let deadline = Instant::now() + Duration::from_millis(left_ms);
        let (sender, mut pieces) = tokio::sync::mpsc::channel(PIECES_MAX);
        let sink = if speech.streams() { PieceSink::new(sender) } else { PieceSink::none() };
        let generate = model.generate(request, &sink, deadline);
        tokio::pin!(generate);
        let mut clean = ScrubbedText::new(self.app.vault.scrubber());
        let mut begun = false;
        let result = loop {
            tokio::select! {
                biased;
                answer = &mut generate => break answer.map_err(|failure| if begun { failure.begun() } else { failure }),
                Some(text) = pieces.recv(), if speech.streams() => {
                    begun = true;
                    say(exchange, speech, &clean.push(&text), left_out).await?;
                }
                gone = exchange.gone() => return Err(gone),
                () = sleep_until(deadline) => break Err(late(model.as_ref()).begun()),
            }
        };
        while let Ok(text) = pieces.try_recv() {
            say(exchange, speech, &clean.push(&text), left_out).await?;
        }
        say(exchange, speech, &clean.end(), left_out).await?;
        Ok(result)
    }

    async fn answered(&self, call: CallId, mut answer: Answer, took_ms: u64, left_out: Vec<String>) -> Outcome {
        think::clean(self.app.vault.scrubber(), &mut answer);
        let payload = serde_json::to_vec(&answer).expect("invariant: an answer is JSON with text keys");
        let told = model_call::Answer {
            call,
            model: answer.model.to_string(),
            answer: self.app.committer.payload(payload),
            usage: think::usage(&answer, took_ms),
            cassette: answer.model.provider == Provider::Cassette,
        };
        let command = Command::Execution(self.id, execution::Command::AnswerProxy(told));
        match self.app.report_written(Actor::Daemon, command).await {
            Ok(true) => Outcome::Answered { answer: Box::new(answer), left_out },
            Ok(false) => Outcome::Failed(Problem::over()),
            Err(error) => {
                tracing::error!(id = %self.id, %error, "a program's answer is not written; the call stays open");
                Outcome::Failed(Problem::unwritten())
            }
        }
    }

    async fn fail(&self, call: CallId, kind: &str, sentence: &str, used: Used) {
        let sentence = self.app.vault.scrubber().text(sentence).into_owned();
        let failure = model_call::Failure { call, kind: kind.to_string(), sentence, used };
        self.app.report(Actor::Daemon, Command::Execution(self.id, execution::Command::FailProxy(failure))).await;
    }
}

fn in_hand(app: &App) -> &InHand {
    &app.in_hand
}

/// Sends a piece of text, and before the first the head and what an answer begins with.
async fn say(exchange: &mut Exchange, speech: &mut Speech, text: &str, left_out: &[String]) -> Result<(), Gone> {
    if text.is_empty() || !speech.streams() {
        return Ok(());
    }
    begin_stream(exchange, left_out).await?;
    let events = speech.text(text);
    exchange.data(&events).await
}

/// How long until the same request is tried again, by the same or another model of its alias.
fn pause(failure: &Failure, attempt: u32) -> Option<Duration> {
    if failure.elsewhere {
        return Some(Duration::ZERO);
    }
    if !failure.retryable() {
        return None;
    }
    let own = backoff_ms(attempt - 1);
    let wanted = failure.retry_after_ms().map_or(own, |wanted| wanted.clamp(own, RETRY_LAST_MS));
    Some(Duration::from_millis(wanted))
}

fn late(model: &dyn Model) -> Failure {
    Failure::new(Kind::Deadline, format!("{} did not end by its deadline", model.name()), "ask for less at once")
}

/// What a model of this provider is asked, and what of the program's wishes it is not.
fn fitted(asked: &Asked, provider: Provider) -> (Request, Vec<String>) {
    let (mut request, mut left_out) = (asked.request.clone(), asked.left_out.clone());
    if provider == Provider::Local {
        let wishes = &mut request.wishes;
        left_out.extend(wishes.temperature.take().map(|_| "temperature".to_string()));
        left_out.extend(wishes.top_p.take().map(|_| "top_p".to_string()));
    }
    (request, left_out)
}

/// What an instance's program is at: a model that it asks is asked for that, and paid by it. Of several the oldest.
pub(super) async fn task(app: &App, session: SessionId) -> Result<(ExecutionId, u32), Problem> {
    let macs = app.records.reader().macs().clone();
    let read = app.records.read(move |txn| {
        let Some(instance) = txn.session(session)?.opener.instance() else { return Ok(Err(Problem::of_session())) };
        let known = fold::<Instance>(txn.parts().0, &macs, instance)?;
        let Some(message) = known.and_then(|known| known.messages.first().copied()) else {
            return Ok(Err(Problem::no_task()));
        };
        Ok(Ok((message.execution, txn.execution(message.execution)?.iterations)))
    });
    read.await.map_err(|_| Problem::unwritten())?
}
