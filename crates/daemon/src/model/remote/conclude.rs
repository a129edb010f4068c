//! What an answer is worth: finished, to be gone on with, or a failure. A model's one bad call never spoils the rest of
//! its answer: it stands there as a misfit, which the model is told.

use crate::model::answer::{Answer, StopReason};
use crate::model::failure::{Failure, Kind};
use crate::model::name::ModelName;
use crate::model::request::{Request, Tag, ToolCall};
use crate::model::spelling::Spelling;
use crate::model::wire::finish::{End, Finish};
use crate::model::wire::{Reply, WireCall};
use crate::model::{ANSWER_BYTES_MAX, CALLS_MAX};
use serde_json::{Map, Value};

/// Bytes of a call's id as a provider gave it; a longer one is replaced.
const ID_BYTES_MAX: usize = 128;
/// Letters of a model's refusal that are told.
const REFUSAL_CHARS_MAX: usize = 200;

/// # Errors
/// Why this is no answer. What it cost is not known yet.
pub(super) fn conclude(model: &ModelName, request: &Request, reply: Reply) -> Result<Answer, Failure> {
    let Some(end) = &reply.end else { return Err(cut(model)) };
    match end.finish {
        Finish::Done | Finish::Calls | Finish::Length | Finish::Pause | Finish::CallsLost => {}
        Finish::Context | Finish::Filtered | Finish::Broken | Finish::Unknown => return Err(failed(model, end)),
    }
    let finish = end.finish;
    let silent = reply.text.trim().is_empty();
    let stop = match finish {
        _ if !reply.calls.is_empty() => StopReason::Calls,
        Finish::Length => StopReason::Length,
        Finish::Pause => StopReason::Pause,
        Finish::Calls | Finish::CallsLost => StopReason::CallsLost,
        Finish::Done if !silent => StopReason::End,
        Finish::Done if !reply.refusal.trim().is_empty() => return Err(refused(model, &reply.refusal)),
        Finish::Done if reply.reasoning.is_some() => StopReason::Silent,
        Finish::Done | Finish::Context | Finish::Filtered | Finish::Broken | Finish::Unknown => {
            return Err(empty(model));
        }
    };
    let calls = calls(reply.calls, finish, &request.tag, &Spelling::of(&request.tools));
    Ok(Answer {
        text: reply.text,
        calls,
        dropped: reply.dropped,
        reasoning: reply.reasoning,
        stop,
        usage: reply.usage,
        model: model.clone(),
        cost_micro_usd: None,
        warning: None,
    })
}

fn calls(asked: Vec<WireCall>, finish: Finish, tag: &Tag, spelling: &Spelling) -> Vec<ToolCall> {
    let last = asked.len().saturating_sub(1);
    let mut calls: Vec<ToolCall> = Vec::with_capacity(asked.len().min(CALLS_MAX));
    for (place, call) in asked.into_iter().enumerate() {
        let cut = finish == Finish::Length && place == last && (call.blank || call.arguments.is_err());
        let (arguments, why) = match call.arguments {
            Ok(arguments) if !cut => (arguments, None),
            Ok(_) => (Value::Object(Map::new()), Some(CUT.to_owned())),
            Err(why) => (Value::Object(Map::new()), Some(if cut { CUT.to_owned() } else { why })),
        };
        let named = !call.name.trim().is_empty();
        let misfit = if named { why } else { Some(NAMELESS.to_owned()) };
        let name = if named { spelling.read(call.name.trim()) } else { "unnamed".to_owned() };
        calls.push(ToolCall { id: id(&call.id, place, tag, &calls), name, arguments, misfit });
    }
    calls
}

const CUT: &str = "the token limit cut its arguments; write less in one call, or in several calls";
const NAMELESS: &str = "it names no tool; ask again with the name of one";

/// One that no other call of this answer has.
fn id(given: &str, place: usize, tag: &Tag, others: &[ToolCall]) -> String {
    let free = |id: &str| others.iter().all(|other| other.id != id);
    let is_usable = (1..=ID_BYTES_MAX).contains(&given.len()) && given.chars().all(|letter| letter.is_ascii_graphic());
    if is_usable && free(given) {
        return given.to_owned();
    }
    let own = format!("call_{}_{}_{}", tag.iteration, tag.turn, place + 1);
    if free(&own) { own } else { format!("{own}_{}", others.len()) }
}

fn failed(model: &ModelName, end: &End) -> Failure {
    match end.finish {
        Finish::Context => Failure::new(
            Kind::ContextTooLong,
            format!("{model} reached the end of its context ({end})"),
            "shorten the input, or choose a model with a longer context",
        ),
        Finish::Filtered => Failure::new(
            Kind::Refused,
            format!("{model} withheld its answer ({end})"),
            "change the instruction or choose another model",
        ),
        Finish::Broken => Failure::new(
            Kind::ServerError,
            format!("{model} broke its answer off ({end})"),
            "it is asked again; what came is not used",
        ),
        Finish::Unknown | Finish::Done | Finish::Calls | Finish::Length | Finish::Pause | Finish::CallsLost => {
            Failure::new(
                Kind::Malformed,
                format!("{model} ended its answer for a reason that is not known: {end}"),
                "it is asked again; choose another model if this repeats",
            )
        }
    }
}

fn refused(model: &ModelName, words: &str) -> Failure {
    let words = words.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let told: String = words.take(REFUSAL_CHARS_MAX).collect();
    let sentence = format!("{model} refuses: {told}");
    Failure::new(Kind::Refused, sentence, "change the instruction or choose another model")
}

fn empty(model: &ModelName) -> Failure {
    Failure::new(
        Kind::Empty,
        format!("{model} ended its answer without text or calls"),
        "it is asked again; if it stays empty, raise the token limit or choose another model",
    )
}

pub(super) fn cut(model: &ModelName) -> Failure {
    Failure::new(
        Kind::Truncated,
        format!("the answer of {model} broke off in the middle"),
        "it is asked again; the half that came is not used",
    )
}

pub(super) fn too_large(server: &str) -> Failure {
    Failure::new(
        Kind::Malformed,
        format!("{server} sent more than {ANSWER_BYTES_MAX} bytes in one answer"),
        "it is asked again; choose another model if this repeats",
    )
}

pub(super) fn nothing(server: &str, url_variable: &str) -> Failure {
    Failure::new(
        Kind::Empty,
        format!("{server} closed its answer without a single event"),
        format!("it is asked again; check that {url_variable} serves streaming chats"),
    )
}
