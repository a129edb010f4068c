//! The model that runs on this host, in the program `tenure-local-model`: its C++ stays out of the daemon.
//!
//! One task owns the program: it starts it at the first request, passes requests on, stops it when nobody has asked
//! for a while, and starts it again, after a growing wait, when it dies. The program gets none of the daemon's
//! environment, so no key can reach it. A request that is dropped is cancelled there too.

use super::Model;
use super::answer::{Answer, StopReason, Usage};
use super::catalogue::Weights;
use super::failure::{Failure, Kind};
use super::name::{ModelName, Provider};
use super::piece::PieceSink;
use super::pull;
use super::request::{Message, Part, Request, Tag, ToolCall, Wishes};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tenure_wire::local as wire;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod program;
mod supervise;

/// Questions that may wait for the program; the next asker waits for a place until its deadline.
const WAITING_MAX: usize = 256;
/// Small models choose best when they see what came of one call before the next.
const CALLS_AT_ONCE: u32 = 1;
/// Pieces on their way to one caller. More are left out: they are for watching only.
const PIECES_MAX: usize = 64;

/// What it takes to run the program.
#[derive(Debug, Clone)]
pub struct Settings {
    pub program: PathBuf,
    /// The folder that weights are pulled into; the program keeps the state of prompts in `state` beside them.
    pub folder: PathBuf,
    pub weights: &'static Weights,
    /// Time without a request after which the program is stopped and its memory is free.
    pub idle: Duration,
    /// The longest that loading the weights may take.
    pub load: Duration,
}

impl Settings {
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
    pub const LOAD_TIMEOUT: Duration = Duration::from_secs(180);

    /// # Errors
    /// [`Kind::NotReady`] when the program or its weights are missing.
    fn ready(&self) -> Result<(), Failure> {
        let weights = pull::path(self.weights, &self.folder);
        let word = self.weights.alias.unwrap_or(self.weights.name);
        let pull = format!("run `tenure model pull {word}` ({} MB)", self.weights.bytes / 1_000_000);
        match std::fs::metadata(&weights) {
            Ok(found) if found.len() == self.weights.bytes => {}
            Ok(_) => {
                let sentence = format!("{} is not whole", weights.display());
                return Err(Failure::new(Kind::NotReady, sentence, pull));
            }
            Err(_) => {
                let sentence = format!("the weights of local/{} are not on this host", self.weights.name);
                return Err(Failure::new(Kind::NotReady, sentence, pull));
            }
        }
        if !self.program.is_file() {
            return Err(Failure::new(
                Kind::NotReady,
                format!("the program of the local model is not at {}", self.program.display()),
                "install tenure-local-model beside tenure, or say where it is with TENURE_LOCAL_MODEL_BIN",
            ));
        }
        Ok(())
    }
}

/// A request on its way to the program.
struct QueuedRequest {
    generate: wire::Generate,
    deadline: Instant,
    pieces: mpsc::Sender<String>,
    outcome: oneshot::Sender<Result<Reply, Failure>>,
    /// Cancelled when the caller is gone.
    gone: CancellationToken,
}

/// What the program answered.
struct Reply {
    outcome: wire::Outcome,
    usage: wire::Usage,
}

/// The local model.
pub struct Local {
    name: ModelName,
    settings: Arc<Settings>,
    /// The queue of the task that owns the program, started at the first request: a task needs a running runtime.
    queue: OnceLock<mpsc::Sender<QueuedRequest>>,
}

impl Local {
    pub fn new(settings: Settings) -> Self {
        let name = ModelName::new(Provider::Local, settings.weights.name);
        Local { name, settings: Arc::new(settings), queue: OnceLock::new() }
    }

    /// Whether a request would be answered: the program and the weights are there.
    ///
    /// # Errors
    /// [`Kind::NotReady`] with what is missing.
    pub fn ready(&self) -> Result<(), Failure> {
        self.settings.ready()
    }

    fn queue(&self) -> &mpsc::Sender<QueuedRequest> {
        self.queue.get_or_init(|| {
            let (sender, requests) = mpsc::channel(WAITING_MAX);
            tokio::spawn(supervise::supervise(self.settings.clone(), requests));
            sender
        })
    }

    async fn ask(&self, request: &Request, pieces: &PieceSink, deadline: Instant) -> Result<Answer, Failure> {
        self.ready()?;
        let (piece_sender, mut piece_reader) = mpsc::channel(PIECES_MAX);
        let (sender, mut outcome) = oneshot::channel();
        let gone = CancellationToken::new();
        let _cancel_on_drop = gone.clone().drop_guard();
        let queued =
            QueuedRequest { generate: generate(request)?, deadline, pieces: piece_sender, outcome: sender, gone };
        self.queue().send(queued).await.map_err(|_| stopped())?;
        let reply = loop {
            tokio::select! {
                biased;
                Some(piece) = piece_reader.recv() => pieces.push(&piece),
                reply = &mut outcome => break reply.unwrap_or_else(|_| Err(stopped()))?,
            }
        };
        pieces.flush();
        Ok(self.answer(reply, &request.tag))
    }

    fn answer(&self, reply: Reply, tag: &Tag) -> Answer {
        let (text, calls) = match reply.outcome {
            wire::Outcome::Answer { text } => (text, Vec::new()),
            wire::Outcome::Calls { calls } => (String::new(), calls),
        };
        let named = |(place, call): (usize, wire::Call)| ToolCall {
            id: format!("call_{}_{}_{}", tag.iteration, tag.turn, place + 1),
            name: call.name,
            arguments: call.arguments,
            misfit: None,
        };
        let calls: Vec<ToolCall> = calls.into_iter().enumerate().map(named).collect();
        let usage = Usage {
            input: Some(reply.usage.prompt_tokens.into()),
            output: Some(reply.usage.completion_tokens.into()),
            cached: Some(reply.usage.cached_tokens.into()),
            cache_written: None,
            estimated: false,
        };
        let stop = if calls.is_empty() { StopReason::End } else { StopReason::Calls };
        Answer {
            text,
            calls,
            dropped: 0,
            reasoning: None,
            stop,
            usage,
            model: self.name.clone(),
            cost_micro_usd: Some(0),
            warning: None,
        }
    }
}

fn stopped() -> Failure {
    Failure::new(Kind::Transport, "the local model is being stopped", "it is asked again when the daemon runs")
}

fn generate(request: &Request) -> Result<wire::Generate, Failure> {
    if request.messages.len() >= wire::MESSAGES_MAX {
        return Err(Failure::new(
            Kind::ContextTooLong,
            format!(
                "the conversation has {} messages; the local model takes {}",
                request.messages.len(),
                wire::MESSAGES_MAX
            ),
            "give the agent fewer turns",
        ));
    }
    if request.tools.len() > wire::TOOLS_MAX {
        return Err(Failure::new(
            Kind::Rejected,
            format!("{} capabilities are on offer; the local model takes {}", request.tools.len(), wire::TOOLS_MAX),
            "shorten the manifest's tools list",
        ));
    }
    let system = (!request.system.is_empty()).then(|| wire::Message::System { content: request.system.clone() });
    let messages = system.into_iter().chain(request.messages.iter().map(message)).collect();
    let tool = |tool: &super::request::Tool| wire::Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        schema: tool.schema.clone(),
    };
    let tools = request.tools.iter().map(tool).collect();
    Ok(wire::Generate {
        id: 0,
        messages,
        tools,
        max_tokens: request.max_tokens,
        calls_max: CALLS_AT_ONCE,
        deadline_ms: None,
    })
}

fn message(message: &Message) -> wire::Message {
    match message {
        Message::User { text } => wire::Message::User { content: text.clone() },
        // Images are refused before.
        Message::Parts { parts } => {
            let texts: Vec<&str> = parts.iter().filter_map(Part::text).collect();
            wire::Message::User { content: texts.join("\n\n") }
        }
        Message::Assistant { text, calls, .. } => wire::Message::Assistant {
            content: text.clone(),
            calls: calls
                .iter()
                .map(|call| wire::Call { name: call.name.clone(), arguments: call.arguments.clone() })
                .collect(),
        },
        Message::Tool { name, content, .. } => wire::Message::Tool { name: name.clone(), content: content.clone() },
    }
}

/// What of a request the local program has no words for.
fn lacks(request: &Request) -> Option<&'static str> {
    let Wishes { temperature, top_p, stop, choice, one_call, format } = &request.wishes;
    let is_image = |part: &Part| part.text().is_none();
    let shows = |message: &Message| matches!(message, Message::Parts { parts } if parts.iter().any(is_image));
    let lacking = [
        (request.messages.iter().any(shows), "images"),
        (temperature.is_some() || top_p.is_some(), "a temperature"),
        (!stop.is_empty(), "sequences that end an answer"),
        (choice.is_some() || *one_call, "a choice of calls"),
        (format.is_some(), "a form of the answer's text"),
    ];
    lacking.into_iter().find_map(|(is, what)| is.then_some(what))
}

impl Model for Local {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn reserve_micro_usd(&self, _: &Request) -> Option<u64> {
        Some(0)
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        pieces: &'a PieceSink,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            if let Some(lacking) = lacks(request) {
                let sentence = format!("{} cannot be asked for {lacking}", self.name);
                return Err(Failure::new(Kind::Rejected, sentence, "leave it out, or name another model"));
            }
            match tokio::time::timeout_at(deadline, self.ask(request, pieces, deadline)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(late()),
            }
        }
        .boxed()
    }
}

fn late() -> Failure {
    Failure::new(
        Kind::Deadline,
        "the local model did not finish its answer in time",
        "it is asked again while the execution has time; give the iteration more, or set a key for a faster model",
    )
}
