//! The model call of a program in a jail, which reached the daemon by the jail's model listener: the one sub-machine of it, for
//! whatever holds calls. It is in the ledger before a model is asked, holds what it may cost until it ends, and ends once. Must never
//! read a text: the request and the answer are bound data.
//!
//! ```text
//! called ──> answered | failed (also withdrawn with its jail) | lost (with a daemon)
//! ```
//! Several are open at a time. A program's own repetition, and each further attempt at the same request, is a call of its own.
use crate::bound::{Bound, Hash, Payload};
use crate::budget::{self, Day};
use crate::capability::clip;
use crate::draft::Draft;
use crate::execution::{Usage, Used};
use crate::id::{AgentId, CallId};
use crate::owed::{Obligation, Owed};
use crate::row::Row;
use crate::time::{Due, Run};
use serde::{Deserialize, Serialize};

/// Calls of one holder that are open at a time.
pub const OPEN_MAX: usize = 8;
/// Calls that one holder may ever make: answers that nobody counts would never come to an end by tokens or money.
pub const CALLS_MAX: u32 = 10_000;
/// The most that one report of a provider adds: what is beyond could not be recorded.
pub(crate) const AMOUNT_MAX: u64 = 1 << 40;
const RETRY_FIRST_MS: u64 = 1_000;
/// The longest pause before a provider is asked again, where it names none itself.
pub const RETRY_LAST_MS: u64 = 60_000;

/// Before a request that failed is tried again; `retries`: how often it was before.
pub fn backoff_ms(retries: u32) -> u64 {
    RETRY_FIRST_MS.saturating_mul(1 << retries.min(16)).min(RETRY_LAST_MS)
}

/// What a holder keeps of its programs' model calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelCalls {
    /// How many were ever made.
    pub made: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Open>,
}

/// One that has no end yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub id: CallId,
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_micro_usd: Option<u64>,
    pub reserved_tokens: u64,
    pub day: Day,
}

/// What the daemon brings when a program asks a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub call: CallId,
    /// From 1, of one request of the program.
    pub attempt: u32,
    /// How the program speaks: `chat`, `responses`, `messages` or `generate`.
    pub wire: String,
    /// The word by which the program named a model.
    pub asked: String,
    /// What that word means.
    pub model: String,
    pub request: Payload,
    /// Of what the model is asked, as that of a turn.
    pub hash: Hash,
    pub deadline: Run,
    pub reserved_micro_usd: Option<u64>,
    /// Estimated input and the longest answer.
    pub reserved_tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub call: CallId,
    pub model: String,
    pub answer: Payload,
    pub usage: Usage,
    /// Replayed from a cassette, not answered by a model.
    pub cassette: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub call: CallId,
    pub kind: String,
    /// Clipped where it is recorded; no secret may stand in it.
    pub sentence: String,
    pub used: Used,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub call: CallId,
    /// Which of its holder's, from 1.
    pub number: u32,
    pub attempt: u32,
    pub wire: String,
    pub asked: String,
    pub model: String,
    pub request: Bound,
    pub hash: Hash,
    pub deadline: Run,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_micro_usd: Option<u64>,
    pub reserved_tokens: u64,
    pub day: Day,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub call: CallId,
    pub model: String,
    pub answer: Bound,
    pub usage: Usage,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cassette: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub call: CallId,
    pub failure: String,
    pub sentence: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_micro_usd: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_tokens: Option<u64>,
    /// What the provider counted of the answer that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub call: CallId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_micro_usd: Option<u64>,
    pub charged_tokens: u64,
}

impl ModelCalls {
    pub fn is_empty(&self) -> bool {
        self.made == 0 && self.open.is_empty()
    }

    pub fn open(&self, id: CallId) -> Option<&Open> {
        self.open.iter().find(|open| open.id == id)
    }

    /// Tokens and money that the open ones hold.
    pub fn held(&self) -> (u64, u64) {
        let tokens = self.open.iter().fold(0u64, |sum, open| sum.saturating_add(open.reserved_tokens));
        let money = self.open.iter().filter_map(|open| open.reserved_micro_usd).fold(0u64, u64::saturating_add);
        (tokens, money)
    }

    /// Begins one; its holder has looked at its limits.
    pub(crate) fn begin(&self, draft: &mut Draft<'_>, begin: Begin) -> Called {
        Called {
            call: begin.call,
            number: self.made.saturating_add(1),
            attempt: begin.attempt,
            wire: clip(&begin.wire),
            asked: clip(&begin.asked),
            model: clip(&begin.model),
            request: draft.bind(begin.request),
            hash: begin.hash,
            deadline: begin.deadline,
            reserved_micro_usd: begin.reserved_micro_usd.map(|cost| cost.min(AMOUNT_MAX)),
            reserved_tokens: begin.reserved_tokens.min(AMOUNT_MAX),
            day: Day::of(draft.wall),
        }
    }

    pub(crate) fn apply_called(&mut self, called: &Called) {
        self.made = called.number;
        self.open.push(Open {
            id: called.call,
            model: called.model.clone(),
            reserved_micro_usd: called.reserved_micro_usd,
            reserved_tokens: called.reserved_tokens,
            day: called.day,
        });
    }

    pub(crate) fn apply_ended(&mut self, call: CallId) {
        self.open.retain(|open| open.id != call);
    }

    /// The end of each is owed: a call that no daemon has in hand is lost.
    pub(crate) fn owed(&self) -> impl Iterator<Item = Owed> {
        self.open.iter().map(|open| Owed { obligation: Obligation::EndModelCall { call: open.id }, due: Due::AT_ONCE })
    }
}

impl Open {
    pub(crate) fn answered(&self, draft: &mut Draft<'_>, answer: Answer) -> Answered {
        Answered {
            call: self.id,
            model: clip(&answer.model),
            answer: draft.bind(answer.answer),
            usage: recordable(answer.usage),
            cassette: answer.cassette,
        }
    }

    pub(crate) fn failed(&self, failure: Failure) -> Failed {
        let Charge { usage, micro_usd, tokens } =
            Charge::of(failure.used, self.reserved_micro_usd, self.reserved_tokens);
        let (failure, sentence) = (clip(&failure.kind), clip(&failure.sentence));
        Failed { call: self.id, failure, sentence, charged_micro_usd: micro_usd, charged_tokens: tokens, usage }
    }

    /// Its jail ends before its answer is whole: what it held is used up.
    pub(crate) fn withdrawn(&self) -> Failed {
        self.failed(Failure {
            call: self.id,
            kind: "withdrawn".to_string(),
            sentence: "the jail of the program that asked has ended".to_string(),
            used: Used::Unknown,
        })
    }

    pub(crate) fn lost(&self) -> Lost {
        Lost { call: self.id, charged_micro_usd: self.reserved_micro_usd, charged_tokens: self.reserved_tokens }
    }

    pub(crate) fn held(&self) -> Held<'_> {
        Held {
            model: &self.model,
            day: Some(self.day),
            tokens: self.reserved_tokens,
            micro_usd: self.reserved_micro_usd,
        }
    }
}

/// What a call that failed is charged: what was counted, or else all that it held.
pub(crate) struct Charge {
    pub(crate) usage: Option<Usage>,
    pub(crate) micro_usd: Option<u64>,
    /// Where nobody counted them.
    pub(crate) tokens: Option<u64>,
}

impl Charge {
    pub(crate) fn of(used: Used, held_micro_usd: Option<u64>, held_tokens: u64) -> Charge {
        match used {
            Used::Nothing => Charge { usage: None, micro_usd: None, tokens: None },
            Used::Unknown => Charge { usage: None, micro_usd: held_micro_usd, tokens: Some(held_tokens) },
            Used::Counted(usage) => {
                let usage = recordable(usage);
                Charge { usage: Some(usage), micro_usd: usage.micro_usd, tokens: None }
            }
        }
    }
}

/// A provider may say anything; a figure that cannot be recorded would stop its holder for ever.
pub(crate) fn recordable(usage: Usage) -> Usage {
    Usage {
        input: usage.input.min(AMOUNT_MAX),
        output: usage.output.min(AMOUNT_MAX),
        cached: usage.cached.min(AMOUNT_MAX),
        micro_usd: usage.micro_usd.map(|cost| cost.min(AMOUNT_MAX)),
        took_ms: usage.took_ms.min(AMOUNT_MAX),
        estimated: usage.estimated,
    }
}

/// One model call that has ended, for the sums of its day, agent and model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    /// On which it was made.
    pub day: Day,
    pub agent: AgentId,
    pub model: String,
    pub failed: bool,
    pub lost: bool,
    /// It cost something, and nobody knows how much.
    pub unpriced: bool,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub micro_usd: u64,
}

/// How a model call ended.
pub(crate) enum End<'e> {
    Answered { model: &'e str },
    Failed,
    Lost,
}

/// What an open call, a turn's or a program's, holds.
pub(crate) struct Held<'f> {
    pub(crate) model: &'f str,
    pub(crate) day: Option<Day>,
    pub(crate) tokens: u64,
    /// None where its price is not known.
    pub(crate) micro_usd: Option<u64>,
}

/// What the end of a call changes: its settled tokens and money, for whoever counts beside its agent, and the rows of that.
pub(crate) struct Settlement {
    /// That a provider counted.
    pub(crate) tokens: i64,
    pub(crate) micro_usd: i64,
    pub(crate) rows: Vec<Row>,
}

/// A call is made.
pub(crate) fn called_rows(agent: AgentId, day: Option<Day>, tokens: u64, micro_usd: Option<u64>) -> Vec<Row> {
    let micro_usd = change(micro_usd.unwrap_or(0), 0);
    day.into_iter().flat_map(|day| budget::used_rows(agent, day, change(tokens, 0), micro_usd)).collect()
}

/// It has ended: with what a provider counted, or with what is charged for it since nobody did.
pub(crate) fn settle(
    agent: AgentId,
    held: &Held<'_>,
    end: End<'_>,
    usage: Option<&Usage>,
    charged_tokens: Option<u64>,
    micro_usd: Option<u64>,
) -> Settlement {
    // What was counted and has no known price costs as much as was held for it.
    let settled = micro_usd.or_else(|| usage.and(held.micro_usd)).unwrap_or(0);
    let money = change(settled, held.micro_usd.unwrap_or(0));
    let mut rows = Vec::new();
    if let Some(day) = held.day {
        // One that was lost or withdrawn cost something too.
        let spent = usage.is_some() || charged_tokens.is_some();
        let tokens = usage.map(counted).or(charged_tokens).unwrap_or(0);
        rows.extend(budget::used_rows(agent, day, change(tokens, held.tokens), money));
        rows.push(Row::Cost(cost(agent, day, held, end, usage, micro_usd.ok_or(spent))));
    }
    Settlement { tokens: change(usage.map_or(0, counted), 0), micro_usd: money, rows }
}

fn counted(usage: &Usage) -> u64 {
    usage.input.saturating_add(usage.output)
}

/// `known`: what it cost, or else whether it cost anything.
fn cost(
    agent: AgentId,
    day: Day,
    held: &Held<'_>,
    end: End<'_>,
    usage: Option<&Usage>,
    known: Result<u64, bool>,
) -> CostRow {
    let (model, failed, lost) = match end {
        End::Answered { model } => (model, false, false),
        End::Failed => (held.model, true, false),
        End::Lost => (held.model, false, true),
    };
    let of = |amount: fn(&Usage) -> u64| usage.map_or(0, amount);
    CostRow {
        day,
        agent,
        model: model.to_string(),
        failed,
        lost,
        unpriced: known == Err(true),
        input_tokens: of(|usage| usage.input),
        output_tokens: of(|usage| usage.output),
        cached_tokens: of(|usage| usage.cached),
        micro_usd: known.unwrap_or(0),
    }
}

/// Both are far below what would be too large.
pub(crate) fn change(to: u64, from: u64) -> i64 {
    let number = |amount| i64::try_from(amount).unwrap_or(i64::MAX);
    number(to).saturating_sub(number(from))
}
