//! One generation at a time: prompt to tokens, state kept from before, the rest computed, the answer sampled.
//!
//! Nothing here waits for anyone. The caller's [`Watch`] is asked between any two tokens and between any two chunks of a
//! prompt, so that a cancel acts within a second or two.

mod write;

use std::collections::VecDeque;
use std::time::Instant;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::{LlamaChatTemplate, LlamaModel};
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use tenure_wire::local::{FailureKind, Generate, Outcome, Part, Timings, Tool, Usage};

use crate::prompt::{self, Piece};
use crate::slots::{self, SLOTS_MAX, Slot, Start};
use crate::warm::Warm;
use crate::{circle, grammar};

/// Prompt tokens computed between two looks at the [`Watch`].
pub(crate) const CHUNK_TOKENS: usize = 64;
/// Answers whose own tokens are remembered.
const REMEMBERED_MAX: usize = 64;
/// Shared beginnings shorter than this are computed faster than they are read back.
const WARM_TOKENS_MIN: usize = 32;

/// The caller's side of a generation.
pub(crate) trait Watch {
    /// `Some` ends the generation with this failure.
    fn stop(&self) -> Option<Failure>;
    /// Takes the next piece of the answer.
    fn piece(&mut self, part: Part, piece: &str);
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    pub(crate) partial: String,
    pub(crate) usage: Usage,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), partial: String::new(), usage: Usage::default() }
    }

    fn engine(error: impl std::fmt::Display) -> Self {
        Self::new(FailureKind::Engine, format!("the engine failed: {error}"))
    }
}

#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) outcome: Outcome,
    pub(crate) circled: bool,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
}

/// An answer in the tokens in which it was made: another way to cut the same text would lose the state behind it.
struct Remembered {
    outcome: Outcome,
    tokens: Vec<LlamaToken>,
}

/// The grammar of the last request: most follow with the same tools.
struct Grammar {
    tools: Vec<Tool>,
    calls_max: u32,
    text: String,
}

pub(crate) struct Engine<'m> {
    model: &'m LlamaModel,
    template: LlamaChatTemplate,
    context: LlamaContext<'m>,
    batch: LlamaBatch<'m>,
    slots: Vec<Slot>,
    turn: u64,
    remembered: VecDeque<Remembered>,
    rules: Option<Grammar>,
    warm: Option<Warm>,
}

impl<'m> Engine<'m> {
    pub(crate) fn new(
        model: &'m LlamaModel,
        template: LlamaChatTemplate,
        context: LlamaContext<'m>,
        warm: Option<Warm>,
    ) -> Self {
        Self {
            model,
            template,
            context,
            batch: LlamaBatch::new(CHUNK_TOKENS, 1),
            slots: (0..SLOTS_MAX).map(|_| Slot::default()).collect(),
            turn: 0,
            remembered: VecDeque::new(),
            rules: None,
            warm,
        }
    }

    pub(crate) fn context_tokens(&self) -> u32 {
        self.context.n_ctx()
    }

    /// Answers `request`.
    ///
    /// # Errors
    /// [`Failure`]; the engine stays well and keeps what it computed.
    pub(crate) fn generate(&mut self, request: &Generate, watch: &mut impl Watch) -> Result<Turn, Failure> {
        if let Some(failure) = watch.stop() {
            return Err(failure);
        }
        let circled = !request.tools.is_empty() && circle::circles(&request.messages);
        let sampler = if circled { Some(self.grammar(&grammar::answer_only())?) } else { self.sampler(request)? };
        let (prompt, shared) = self.prompt(request)?;
        let mut usage = Usage { prompt_tokens: count(prompt.len()), ..Usage::default() };
        self.fits(prompt.len(), request.max_tokens).map_err(|f| Failure { usage, ..f })?;
        let began = Instant::now();
        let (slot, kept) = self.start(&prompt, shared, request.max_tokens)?;
        usage.cached_tokens = count(kept);
        self.compute(slot, &prompt, shared, watch).map_err(|f| Failure { usage, ..f })?;
        let prompt_ms = millis(began);
        let began = Instant::now();
        let outcome = self.answer(slot, sampler, request, watch, &mut usage)?;
        Ok(Turn { outcome, circled, usage, timings: Timings { waited_ms: 0, prompt_ms, answer_ms: millis(began) } })
    }

    fn sampler(&mut self, request: &Generate) -> Result<Option<LlamaSampler>, Failure> {
        let Generate { tools, calls_max, .. } = request;
        if tools.is_empty() {
            return Ok(None);
        }
        if self.rules.as_ref().is_none_or(|g| g.tools != *tools || g.calls_max != *calls_max) {
            let text = grammar::build(tools, *calls_max).map_err(|e| Failure::new(FailureKind::Request, e))?;
            self.rules = Some(Grammar { tools: tools.clone(), calls_max: *calls_max, text });
        }
        let text = &self.rules.as_ref().expect("invariant: built above").text;
        self.grammar(text).map(Some)
    }

    fn grammar(&self, text: &str) -> Result<LlamaSampler, Failure> {
        LlamaSampler::grammar(self.model, text, "root").map_err(|e| {
            Failure::new(FailureKind::Request, format!("the grammar of the offered tools is refused: {e}"))
        })
    }

    /// The tokens of the prompt, and how many of them make up its shared beginning.
    fn prompt(&self, request: &Generate) -> Result<(Vec<LlamaToken>, usize), Failure> {
        let rendered = prompt::render(self.model, &self.template, &request.messages, &request.tools)
            .map_err(|e| Failure::new(FailureKind::Request, e))?;
        let vocab = self.model.vocab();
        let mut tokens = Vec::new();
        if vocab.should_add_bos() {
            tokens.push(vocab.bos());
        }
        let mut shared = 0;
        for (at, piece) in rendered.pieces.iter().enumerate() {
            match piece {
                Piece::Mark(text) => tokens.extend(vocab.tokenize(text.as_bytes(), false, true)),
                Piece::Plain(text) => tokens.extend(vocab.tokenize(text.as_bytes(), false, false)),
                Piece::Said(outcome) => match self.remembered.iter().rev().find(|r| r.outcome == *outcome) {
                    Some(known) => tokens.extend(&known.tokens),
                    None => {
                        let text = prompt::said(outcome, &request.tools);
                        tokens.extend(vocab.tokenize(text.as_bytes(), false, false));
                    }
                },
            }
            if at + 1 == rendered.shared {
                shared = tokens.len();
            }
        }
        if !request.tools.is_empty() {
            tokens.extend(self.head().into_iter().map(|(token, _)| token));
        }
        Ok((tokens, shared))
    }

    fn fits(&self, prompt: usize, max_tokens: u32) -> Result<(), Failure> {
        let room = self.context.n_ctx();
        if max_tokens == 0 {
            return Err(Failure::new(FailureKind::Request, "max_tokens is 0"));
        }
        if count(prompt).saturating_add(max_tokens) > room {
            let message = format!(
                "the prompt has {prompt} tokens and max_tokens is {max_tokens}; the context holds {room}. \
                 Shorten the conversation or start the program with a larger --context"
            );
            return Err(Failure::new(FailureKind::Context, message));
        }
        Ok(())
    }

    /// Brings the best beginning into a slot; answers the slot and the tokens it has.
    fn start(&mut self, prompt: &[LlamaToken], shared: usize, max_tokens: u32) -> Result<(usize, usize), Failure> {
        let choice = slots::choose(&self.slots, prompt);
        let slot = choice.slot();
        let needed = prompt.len() + usize::try_from(max_tokens).expect("invariant: checked against the context");
        let cells = usize::try_from(self.context.n_ctx()).expect("invariant: a context fits memory");
        let mut kept = match choice {
            Start::Continue { kept, .. } => {
                self.cut(slot, kept)?;
                kept
            }
            Start::Fork { source, kept, .. } => {
                self.cut(slot, 0)?;
                self.context
                    .kv_cache_seq_cp(seq(source), seq(slot), Some(0), Some(count(kept)))
                    .map_err(Failure::engine)?;
                self.slots[slot].tokens = prompt[..kept].to_vec();
                kept
            }
            Start::Fresh { .. } => {
                self.cut(slot, 0)?;
                0
            }
        };
        for other in slots::evicted(&self.slots, slot, needed, cells) {
            self.cut(other, 0)?;
        }
        if kept < shared && shared < prompt.len() {
            kept = self.read_warm(slot, &prompt[..shared]).unwrap_or(kept);
        }
        self.turn += 1;
        self.slots[slot].used = self.turn;
        Ok((slot, kept))
    }

    fn cut(&mut self, slot: usize, kept: usize) -> Result<(), Failure> {
        self.slots[slot].tokens.truncate(kept);
        self.context.kv_cache_seq_rm(seq(slot), Some(count(kept)), None).map_err(Failure::engine)
    }

    /// Reads the shared beginning back from its file; `None` leaves the slot as it was, or empty.
    fn read_warm(&mut self, slot: usize, beginning: &[LlamaToken]) -> Option<usize> {
        let warm = self.warm.as_ref()?;
        let kept = self.slots[slot].tokens.len();
        let read = warm.read(&mut self.context, seq(slot), beginning)?;
        if read {
            self.slots[slot].tokens = beginning.to_vec();
            return Some(beginning.len());
        }
        tracing::warn!(kept, "the kept state of a beginning was of no use; it is computed again");
        self.cut(slot, 0).ok()?;
        Some(0)
    }

    /// Computes what of `prompt` the slot lacks, and keeps its shared beginning for the next start.
    fn compute(
        &mut self,
        slot: usize,
        prompt: &[LlamaToken],
        shared: usize,
        watch: &impl Watch,
    ) -> Result<(), Failure> {
        let save = self.slots[slot].tokens.len() < shared && shared >= WARM_TOKENS_MIN;
        while self.slots[slot].tokens.len() < prompt.len() {
            if let Some(failure) = watch.stop() {
                return Err(failure);
            }
            let at = self.slots[slot].tokens.len();
            let bound = if save && at < shared { shared } else { prompt.len() };
            let to = bound.min(at + CHUNK_TOKENS);
            self.decode(slot, &prompt[at..to], to == prompt.len())?;
            if save
                && to == shared
                && let Some(warm) = &self.warm
            {
                warm.write(&self.context, seq(slot), &prompt[..shared]);
            }
        }
        Ok(())
    }

    fn decode(&mut self, slot: usize, tokens: &[LlamaToken], last_counts: bool) -> Result<(), Failure> {
        self.batch.clear();
        let from = self.slots[slot].tokens.len();
        for (at, token) in tokens.iter().enumerate() {
            let position = i32::try_from(from + at).expect("invariant: a context fits i32");
            let wanted = last_counts && at + 1 == tokens.len();
            self.batch.add(*token, position, &[seq(slot)], wanted).map_err(Failure::engine)?;
        }
        if let Err(error) = self.context.decode(&mut self.batch) {
            // Part of the chunk may be in memory: nothing of this slot is trusted any more.
            self.cut(slot, 0)?;
            return Err(Failure::engine(error));
        }
        self.slots[slot].tokens.extend_from_slice(tokens);
        Ok(())
    }
}

fn seq(slot: usize) -> i32 {
    i32::try_from(slot).expect("invariant: slots are few")
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The engine begins once in a process, and tests share one.
#[cfg(test)]
pub(crate) fn backend() -> &'static llama_cpp_2::llama_backend::LlamaBackend {
    use std::sync::OnceLock;
    static BACKEND: OnceLock<llama_cpp_2::llama_backend::LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| llama_cpp_2::llama_backend::LlamaBackend::init().expect("invariant: the engine begins"))
}
