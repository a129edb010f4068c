//! A model behind the daemon's own trait: it answers, asks for calls, good ones and bad ones, fails for a while or for good,
//! runs away, talks on beyond its deadline, or panics. It is quick or slow by virtual time.
use super::book::Book;
use super::fate::Fate;
use crate::model::CAPABILITIES;
use crate::random::Random;
use futures_util::future::BoxFuture;
use serde_json::json;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::execution::Turn;
use tenure_daemon::model::answer::{Answer, StopReason, Usage};
use tenure_daemon::model::failure::{Failure, Kind};
use tenure_daemon::model::name::{ModelName, Provider};
use tenure_daemon::model::piece::PieceSink;
use tenure_daemon::model::request::{Request, Tag, ToolCall};
use tenure_daemon::model::{Model, Models};
use tokio::time::{Instant, sleep};

#[derive(Clone)]
pub(super) struct Speaker {
    name: ModelName,
    fate: Fate,
    book: Book,
}

impl Speaker {
    pub(super) fn new(fate: Fate, book: Book) -> Speaker {
        Speaker { name: ModelName::new(Provider::Local, "simulated"), fate, book }
    }

    fn asked(&self, tag: &Tag) {
        let id = tag.execution.parse().expect("invariant: the daemon names the execution that asks");
        // A tag counts turns from 1.
        let turn = Turn { iteration: tag.iteration, turn: tag.turn - 1, attempt: tag.attempt };
        self.fate.note(format!("  a model is asked: {id} {turn:?}"));
        self.book.asked(id, turn);
    }
}

impl Models for Speaker {
    fn words(&self) -> Vec<String> {
        Vec::new()
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Model>, Failure>> {
        Box::pin(async {
            if self.fate.mishap(10) {
                return Err(Failure::new(Kind::NotReady, "its weights are gone", "pull them"));
            }
            let speaker: Arc<dyn Model> = Arc::new(self.clone());
            Ok(speaker)
        })
    }
}

impl Model for Speaker {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn reserve_micro_usd(&self, _: &Request) -> Option<u64> {
        self.fate.draw(|random| random.chance(900).then_some(10))
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        pieces: &'a PieceSink,
        _: Instant,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            self.asked(&request.tag);
            let wait = self.fate.draw(|random| match random.below(20) {
                0..=12 => random.below(200),
                13..=18 => random.below(5_000),
                // Beyond every deadline, so that others must end it.
                _ => random.below(2_000_000),
            });
            sleep(Duration::from_millis(wait)).await;
            if self.fate.mishap(5) {
                // As a panic, but without a word on the terminal.
                resume_unwind(Box::new("a model's panic"));
            }
            let answer = self.fate.draw(|random| answer(&self.name, random));
            if let Ok(answer) = &answer {
                pieces.push(&answer.text);
            }
            answer
        })
    }
}

fn answer(name: &ModelName, random: &mut Random) -> Result<Answer, Failure> {
    let fails = |kind| Err(Failure::new(kind, "it fails", "ask again"));
    match random.below(60) {
        0..=2 => fails(Kind::ServerError),
        3 | 4 => {
            let retry_after_ms = random.chance(500).then(|| random.below(20_000));
            fails(Kind::RateLimited { retry_after_ms })
        }
        5 => fails(Kind::Truncated),
        6 => fails(Kind::Auth),
        7 | 8 => fails(Kind::Runaway),
        9 => fails(Kind::ContextTooLong),
        10..=27 => {
            let text = if random.chance(700) { "done" } else { "{}" };
            Ok(said(name, random, text, Vec::new()))
        }
        _ => {
            let most = if random.chance(50) { 20 } else { 4 };
            let calls = (0..=random.below(most)).map(|index| call(random, index)).collect();
            Ok(said(name, random, "I look", calls))
        }
    }
}

fn said(name: &ModelName, random: &mut Random, text: &str, calls: Vec<ToolCall>) -> Answer {
    let input = match random.below(200) {
        0 => Some(u64::MAX),
        1..=10 => None,
        _ => Some(random.below(3_000)),
    };
    let usage = Usage { input, output: Some(random.below(500)), cached: None, cache_written: None, estimated: false };
    Answer {
        text: text.to_string(),
        stop: if calls.is_empty() { StopReason::End } else { StopReason::Calls },
        calls,
        dropped: 0,
        reasoning: None,
        usage,
        model: name.clone(),
        cost_micro_usd: random.chance(800).then(|| random.below(500)),
        warning: None,
    }
}

fn call(random: &mut Random, index: u64) -> ToolCall {
    let name = random.pick(&CAPABILITIES).copied().unwrap_or("email.send");
    let number = random.below(4);
    let (path, key) = (format!("notes/{number}"), format!("k{number}"));
    let arguments = match name {
        _ if random.chance(30) => json!({"nonsense": true}),
        "filesystem.write" | "filesystem.append" => json!({"path": path, "content": "x"}),
        "filesystem.read" | "filesystem.list" => json!({"path": path}),
        "process.run" => json!({"command": "true"}),
        "state.persistent.set" => json!({"key": key, "value": number, "expected_version": random.below(3)}),
        "state.shared.set" => {
            json!({"key": key, "value": number, "expected_version": random.below(3), "ttl_seconds": 1 + random.below(60)})
        }
        "state.session.set" => json!({"key": key, "value": number}),
        "state.persistent.get" | "state.persistent.delete" | "state.shared.get" => json!({"key": key}),
        "state.shared.watch" => json!({"cursor": random.below(50)}),
        "network.dns_lookup" => json!({"host": "example.com"}),
        _ => json!({}),
    };
    ToolCall { id: format!("c{index}"), name: name.to_string(), arguments, misfit: None }
}
