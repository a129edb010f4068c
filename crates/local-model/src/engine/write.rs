//! Writing an answer: token by token under the grammar, with what is known beforehand put in whole.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use tenure_wire::local::{FailureKind, Generate, Outcome, Usage};

use super::{Engine, Failure, REMEMBERED_MAX, Remembered, Watch, count};
use crate::draft::Draft;
use crate::repair::{self, Repair};
use crate::{grammar, reply, sample};

impl Engine<'_> {
    pub(super) fn answer(
        &mut self,
        slot: usize,
        grammar: Option<LlamaSampler>,
        request: &Generate,
        watch: &mut impl Watch,
        usage: &mut Usage,
    ) -> Result<Outcome, Failure> {
        let mut draft = Draft::new(if grammar.is_some() { self.head() } else { Vec::new() });
        let written = self.write(slot, &mut draft, grammar, request, watch);
        usage.completion_tokens = count(draft.tokens().len());
        let outcome = written.and_then(|()| draft.outcome().map_err(|e| Failure::new(FailureKind::Engine, e)));
        let outcome = outcome.map_err(|f| Failure { partial: draft.raw().to_owned(), usage: *usage, ..f })?;
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back(Remembered { outcome: outcome.clone(), tokens: draft.tokens().to_vec() });
        Ok(outcome)
    }

    /// Writes until the answer is whole, or says why it is not.
    fn write(
        &mut self,
        slot: usize,
        draft: &mut Draft,
        mut grammar: Option<LlamaSampler>,
        request: &Generate,
        watch: &mut impl Watch,
    ) -> Result<(), Failure> {
        if let Some(grammar) = &mut grammar {
            accept(grammar, draft.tokens())?;
        }
        loop {
            if let Some(failure) = watch.stop() {
                return Err(failure);
            }
            let next = match &mut grammar {
                None => vec![sample::likeliest(self.logits()).ok_or_else(nothing)?],
                Some(grammar) => match grammar::forced(draft.raw(), &request.tools) {
                    Some(text) => self.accepted(grammar, &text)?,
                    None => self.constrained(slot, draft, grammar)?,
                },
            };
            if next.iter().any(|token| self.model.vocab().is_eog(*token)) {
                return Ok(());
            }
            for token in &next {
                draft.push(*token, &self.piece(*token), watch);
            }
            if draft.is_whole(request.calls_max) {
                return Ok(());
            }
            if count(draft.tokens().len()) >= request.max_tokens {
                let message =
                    format!("the answer was cut at max_tokens {}; allow more or ask for less", request.max_tokens);
                return Err(Failure::new(FailureKind::Length, message));
            }
            if reply::circles(draft.tokens()) {
                return Err(Failure::new(FailureKind::Repetition, "the model repeats itself; ask in other words"));
            }
            self.decode(slot, &next, true)?;
        }
    }

    fn logits(&self) -> &[f32] {
        self.context.get_logits_ith(self.batch.n_tokens() - 1)
    }

    fn piece(&self, token: LlamaToken) -> Vec<u8> {
        self.model.vocab().token_to_piece(token, false, None)
    }

    fn accepted(&self, grammar: &mut LlamaSampler, text: &str) -> Result<Vec<LlamaToken>, Failure> {
        let tokens = self.model.vocab().tokenize(text.as_bytes(), false, false);
        accept(grammar, &tokens)?;
        Ok(tokens)
    }

    /// The next token under the grammar, or the several that mend a forgotten escape.
    fn constrained(
        &mut self,
        slot: usize,
        draft: &mut Draft,
        grammar: &mut LlamaSampler,
    ) -> Result<Vec<LlamaToken>, Failure> {
        let wanted = sample::likeliest(self.logits()).ok_or_else(nothing)?;
        let token = sample::next(self.logits(), Some(grammar)).ok_or_else(nothing)?;
        let last = draft.tokens().last().map(|last| self.piece(*last)).unwrap_or_default();
        let repair = match (str::from_utf8(&last), str::from_utf8(&self.piece(wanted))) {
            (Ok(last), Ok(text)) if token != wanted => repair::of(draft.raw(), last, text),
            _ => None,
        };
        let Some(repair) = repair else { return Ok(vec![token]) };
        let (text, lost) = match &repair {
            Repair::Instead(text) => (text, 0),
            Repair::Undo(text) => (text, 1),
        };
        // The grammar has gone on with `token`: it begins again.
        let kept = draft.tokens().len() - lost;
        grammar.reset();
        accept(grammar, &draft.tokens()[..kept])?;
        match self.accepted(grammar, text) {
            Ok(next) => {
                tracing::info!(text, "a forgotten escape is mended");
                if lost > 0 {
                    draft.pop(str::from_utf8(&last).expect("invariant: seen above"));
                    let held = self.slots[slot].tokens.len() - lost;
                    self.cut(slot, held)?;
                }
                Ok(next)
            }
            // The string is full, or may not hold this: then its end was meant by the grammar.
            Err(_) => {
                grammar.reset();
                accept(grammar, draft.tokens())?;
                accept(grammar, &[token])?;
                Ok(vec![token])
            }
        }
    }

    /// How every constrained answer begins, computed along with the prompt.
    pub(super) fn head(&self) -> Vec<(LlamaToken, Vec<u8>)> {
        let vocab = self.model.vocab();
        let tokens = vocab.tokenize(grammar::HEAD.as_bytes(), false, false);
        tokens.into_iter().map(|token| (token, vocab.token_to_piece(token, false, None))).collect()
    }
}

fn nothing() -> Failure {
    Failure::new(FailureKind::Engine, "the grammar allows no further token")
}

fn accept(grammar: &mut LlamaSampler, tokens: &[LlamaToken]) -> Result<(), Failure> {
    let taken = tokens.iter().all(|token| sample::accept(grammar, *token));
    taken.then_some(()).ok_or_else(|| Failure::new(FailureKind::Engine, "the grammar does not allow what it must"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::PathBuf;

    use serde_json::json;
    use tenure_wire::local::{Message, Part, Tool};

    use super::*;
    use crate::engine::CHUNK_TOKENS;
    use crate::load;

    struct Never;

    impl Watch for Never {
        fn stop(&self) -> Option<Failure> {
            None
        }

        fn piece(&mut self, _: Part, _: &str) {}
    }

    fn request() -> Generate {
        let properties = json!({"path": {"type": "string", "maxLength": 100}, "content": {"type": "string"}});
        let schema = json!({"type": "object", "properties": properties, "required": ["path", "content"]});
        let tools = vec![Tool { name: "write".into(), description: "Create a file.".into(), schema }];
        let messages = vec![Message::User { content: "Write total.py, which prints a total.".into() }];
        Generate { id: 1, messages, tools, calls_max: 1, max_tokens: 100, deadline_ms: None }
    }

    #[test]
    fn real_weights_that_forget_an_escape_are_mended_and_go_on() {
        let Some(weights) = std::env::var_os("TENURE_TEST_MODEL").filter(|path| !path.is_empty()).map(PathBuf::from)
        else {
            eprintln!("skipped: TENURE_TEST_MODEL names no GGUF file");
            return;
        };
        let backend = crate::engine::backend();
        let model = load::model(backend, &weights).unwrap();
        let template = model.chat_template(None).unwrap();
        let context = load::context(backend, &model, NonZeroU32::new(1024).unwrap(), 1).unwrap();
        let mut engine = Engine::new(&model, template, context, None);

        let request = request();
        let mut grammar = engine.sampler(&request).unwrap().unwrap();
        let (prompt, _) = engine.prompt(&request).unwrap();
        engine.compute(0, &prompt[..prompt.len() - engine.head().len()], 0, &Never).unwrap();
        let written = r#"{"name": "write", "arguments": {"path": "total.py", "content": "total = 3 + 4\nprint(f""#;
        let tokens = model.vocab().tokenize(written.as_bytes(), false, false);
        accept(&mut grammar, &tokens).unwrap();
        for chunk in tokens.chunks(CHUNK_TOKENS) {
            engine.decode(0, chunk, true).unwrap();
        }
        let mut draft = Draft::new(tokens.iter().map(|token| (*token, engine.piece(*token))).collect());
        let held = engine.slots[0].tokens.len();

        let next = engine.constrained(0, &mut draft, &mut grammar).unwrap();
        let mended: Vec<u8> = next.iter().flat_map(|token| engine.piece(*token)).collect();
        assert_eq!(format!("{}{}", draft.raw(), str::from_utf8(&mended).unwrap()), written.replace("(f\"", "(f\\\""));
        assert_eq!(engine.slots[0].tokens.len(), held - 1);

        for token in &next {
            draft.push(*token, &engine.piece(*token), &mut Never);
        }
        engine.decode(0, &next, true).unwrap();
        while !draft.is_whole(1) && draft.tokens().len() < 100 {
            let next = engine.constrained(0, &mut draft, &mut grammar).unwrap();
            for token in &next {
                draft.push(*token, &engine.piece(*token), &mut Never);
            }
            engine.decode(0, &next, true).unwrap();
        }
        let Ok(Outcome::Calls { calls }) = draft.outcome() else { panic!("not whole: {}", draft.raw()) };
        let content = calls[0].arguments["content"].as_str().unwrap();
        assert!(content.contains("print(f\"") && content.trim_end().ends_with("\")"), "{content}");
    }
}
