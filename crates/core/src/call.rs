//! One capability call: the sub-machine that executions and sessions (and later instances) hold. It is judged, started and
//! ended here; its holder says which calls there are and what follows when all are over.
//!
//! ```text
//!                       ┌─ in a sandbox ──> leased ──outcome──> ended
//! proposed ──judged────>┤                     │ lost and idempotent, or it met a link
//!   ↕   │               └─ on our own rows    └──────────────> proposed, judged again
//!   │   └──> blocked        └── performed in the same commit ──> ended
//!   waiting ──people allow it──> approved, judged again      (`approval`)
//! ```
//! Only a lease makes a sandbox. Every `call.called` gets exactly one `call.ended`; a proposed call is never in flight, and one
//! that a person allowed is never repeated.
//!
//! Its types in the order of its life: [`Proposal`] is what was asked; [`Proposed`] what is kept of it, in [`Open`] with its
//! [`State`] until it ends; [`Called`] and [`Ended`] its two events, or [`Blocked`] why it never began; [`EndCall`] a worker's
//! report, with its [`Outcome`]; [`CallRow`] what lists show, changed by `row::CallChange`. On the wire it is `frame::LeasedCall`
//! to a worker, `frame::CallOutcome` back, and `api::Call` to people; `local::Call` is what a model's program says.
mod holder;
mod judged;
mod lease;
mod outcome;

pub use holder::{Holder, HolderKind};
pub use judged::{Judged, May, SECRET_UNBOUND, judge, judged_as, secret_unbound};
pub(crate) use lease::{Begun, begin, leased};
pub use outcome::Outcome;

use crate::actor::Actor;
use crate::agent::{self, Agent};
use crate::approval::{Allowed, Approval, Edited, Held, Released};
use crate::bound::{Bound, Hash, Payload};
use crate::capability::{self, Attributes, Effects, Place, Shown};
use crate::draft::Draft;
use crate::facts::Unread;
use crate::id::{AgentId, ApprovalId, CallId, ConnectionId, LeaseId};
use crate::judge::{Judgement, Verdict};
use crate::owed::{Obligation, Owed};
use crate::row::{CallChange, CallEnd, Row};
use crate::time::{Due, Run, Stamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Losses of one call before even an idempotent one is given up as unknown.
pub const LOSSES_MAX: u32 = 50;
/// Links that one call may meet, each judged anew.
pub const REDIRECTS_MAX: u32 = 8;

/// Counts the connections of a worker; a result under an older fence is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// A call that a model, or a validator, asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// As the asker named it; at most 128 bytes.
    pub capability: String,
    pub arguments: Payload,
    /// [`Attributes`] as JSON: what a judge sees.
    pub attributes: Payload,
    /// Why the arguments do not fit the capability's schema; at most 512 bytes.
    pub misfit: Option<String>,
}

/// A call as it was asked for, with what the catalogue said of it then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    pub call: CallId,
    pub capability: String,
    pub arguments: Bound,
    pub attributes: Bound,
    #[serde(flatten)]
    pub shown: Shown,
    pub effects: Effects,
    pub idempotent: bool,
    pub place: Place,
}

/// Other rules hold since it began, by which it never would have: whoever does it is told to end it. What was done until then is
/// not known, so that it is not done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    pub call: CallId,
    pub capability: String,
    pub lease: LeaseId,
    pub judgement: Judgement,
}

/// A call that has no terminal event yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub id: CallId,
    pub capability: String,
    pub arguments: Bound,
    pub attributes: Bound,
    pub idempotent: bool,
    pub effects: Effects,
    pub place: Place,
    pub losses: u32,
    pub redirects: u32,
    /// A person, or a grant of one, allowed it: it is not repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
    /// It is in flight, and rules that hold since forbid it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recalled: bool,
    /// When rules began to count it among the calls of its capability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<Run>,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Proposed,
    /// People must allow it.
    Waiting(Box<Approval>),
    /// They have; it begins once it is judged again.
    Approved(Box<Approval>),
    Leased(Lease),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub lease: LeaseId,
    pub fence: Fence,
}

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub actor: Actor,
    pub agent: AgentId,
    pub revision: u32,
    pub holder: Holder,
}

/// Why a proposed call was never made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Blocked {
    Policy {
        judgement: Judgement,
    },
    Misfit {
        sentence: String,
    },
    /// A person did not allow it.
    Rejected {
        approval: ApprovalId,
        by: Actor,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Nobody allowed it in time.
    Unapproved {
        approval: ApprovalId,
    },
    /// Its iteration or session ended before its turn came.
    Withdrawn,
    /// Its time was over before a worker had room for it.
    Expired,
    /// Whoever asked for it took it back.
    Cancelled,
}

impl Blocked {
    pub fn as_str(&self) -> &'static str {
        match self {
            Blocked::Policy { .. } => "policy",
            Blocked::Misfit { .. } => "misfit",
            Blocked::Rejected { .. } => "rejected",
            Blocked::Unapproved { .. } => "unapproved",
            Blocked::Withdrawn => "withdrawn",
            Blocked::Expired => "expired",
            Blocked::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::Policy { judgement } => {
                write!(f, "blocked by policy ({})", judgement.rules.join(", "))?;
                judgement.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            Blocked::Misfit { sentence } => write!(f, "wrong arguments: {sentence}"),
            Blocked::Rejected { reason: Some(reason), .. } => write!(f, "a person did not allow it: {reason}"),
            Blocked::Rejected { reason: None, .. } => f.write_str("a person did not allow it"),
            Blocked::Unapproved { .. } => f.write_str("nobody allowed it in time"),
            Blocked::Withdrawn => f.write_str("withdrawn: what asked for it ended first"),
            Blocked::Expired => f.write_str("expired: no worker had room for it while its time lasted"),
            Blocked::Cancelled => f.write_str("cancelled before it began"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub call: CallId,
    pub capability: String,
    pub arguments: Hash,
    /// Of what the judge saw.
    pub attributes: Hash,
    #[serde(flatten)]
    pub shown: Shown,
    pub judgement: Judgement,
    /// None for what touches only our own rows.
    #[serde(flatten)]
    pub lease: Option<Lease>,
    /// A rule asks how many such calls there were, so that it is counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted: bool,
    /// For a call that no model turn asked for, what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Box<Proposed>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub call: CallId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Bound>,
    /// What the result is said with, where it is a stored value: its version, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What a judge sees of the call from now on, where it met a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Bound>,
    /// Milliseconds that the call itself took, as the worker measured.
    #[serde(default)]
    pub took_ms: u64,
    /// The confinement that held while it ran, as the sandbox named it; at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

impl Called {
    pub(crate) fn binds(&self, each: &mut dyn FnMut(&Hash)) {
        each(&self.arguments);
        each(&self.attributes);
    }
}

impl Ended {
    /// A stored value was there before; what else it holds comes with it.
    pub(crate) fn binds(&self, each: &mut dyn FnMut(&Hash)) {
        if self.gives_stored() {
            self.result.iter().for_each(|value| each(&value.hash));
        }
    }

    /// Its result is a stored value, which is not the call's own: no other result is said with a detail.
    pub fn gives_stored(&self) -> bool {
        self.detail.is_some()
    }
}

/// The worker's report of a leased call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndCall {
    pub call: CallId,
    pub lease: Lease,
    pub outcome: Outcome,
    pub result: Option<Payload>,
    /// Where it met a link: what a judge sees of it now.
    pub attributes: Option<Payload>,
    pub took_ms: u64,
    pub level: Option<String>,
}

/// A call as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    pub id: CallId,
    pub holder: Holder,
    /// Of an execution; a session's calls have 0 here and as their turn.
    pub iteration: u32,
    /// The turn that asked for it; a validator's calls belong to the turn after the last.
    pub turn: u32,
    /// Its place in the turn, or in the session.
    pub ordinal: u32,
    pub validator: bool,
    pub capability: String,
    pub arguments: Hash,
    pub attributes: Hash,
    pub shown: Shown,
    /// `proposed`, `waiting`, `called`, `ended` or `blocked`.
    pub state: String,
    pub rules: Option<String>,
    pub called_at: Option<crate::time::Time>,
    pub ended_at: Option<crate::time::Time>,
    /// For a blocked call, why: `policy`, `misfit`, `rejected`, `unapproved`, `withdrawn`, `expired` or `cancelled`.
    pub outcome: Option<String>,
    pub exit_code: Option<i32>,
    pub result: Option<Hash>,
    pub detail: Option<String>,
    pub level: Option<String>,
    pub sentence: Option<String>,
}

impl Proposed {
    /// Takes a proposal in, with what the catalogue says of it now; and why it cannot be made.
    pub fn of(call: CallId, proposal: Proposal, draft: &mut Draft<'_>) -> (Proposed, Option<String>) {
        let terms = capability::terms(&proposal.capability);
        let seen: Attributes = serde_json::from_slice(proposal.attributes.bytes()).unwrap_or_default();
        let proposed = Proposed {
            call,
            capability: capability::clip(&proposal.capability),
            arguments: draft.bind(proposal.arguments),
            attributes: draft.bind(proposal.attributes),
            shown: Shown::of(&seen),
            effects: terms.map_or(Effects::Irreversible, |terms| terms.effects),
            idempotent: terms.is_some_and(|terms| terms.idempotent),
            place: terms.map_or(Place::Sandbox, |terms| terms.place),
        };
        (proposed, proposal.misfit.map(|sentence| capability::clip(&sentence)))
    }

    pub fn open(&self) -> Open {
        Open {
            id: self.call,
            capability: self.capability.clone(),
            arguments: self.arguments,
            attributes: self.attributes,
            idempotent: self.idempotent,
            effects: self.effects,
            place: self.place,
            losses: 0,
            redirects: 0,
            allowed: false,
            recalled: false,
            counted_at: None,
            state: State::Proposed,
        }
    }

    pub fn row(&self, holder: Holder, iteration: u32, turn: u32, ordinal: u32, validator: bool) -> Row {
        Row::Call(CallRow {
            id: self.call,
            holder,
            iteration,
            turn,
            ordinal,
            validator,
            capability: self.capability.clone(),
            arguments: self.arguments.hash,
            attributes: self.attributes.hash,
            shown: self.shown.clone(),
            state: "proposed".to_string(),
            rules: None,
            called_at: None,
            ended_at: None,
            outcome: None,
            exit_code: None,
            result: None,
            detail: None,
            level: None,
            sentence: None,
        })
    }
}

impl Open {
    pub fn lease(&self) -> Option<Lease> {
        match self.state {
            State::Proposed | State::Waiting(_) | State::Approved(_) => None,
            State::Leased(lease) => Some(lease),
        }
    }

    /// What people were asked of it; none once it began.
    pub fn approval(&self) -> Option<&Approval> {
        match &self.state {
            State::Waiting(approval) | State::Approved(approval) => Some(approval),
            State::Proposed | State::Leased(_) => None,
        }
    }

    /// What people have not answered yet.
    pub fn waits_for(&self) -> Option<&Approval> {
        match &self.state {
            State::Waiting(approval) => Some(approval),
            State::Proposed | State::Approved(_) | State::Leased(_) => None,
        }
    }

    pub(crate) fn approved(&self) -> Option<&Approval> {
        match &self.state {
            State::Approved(approval) => Some(approval),
            State::Proposed | State::Waiting(_) | State::Leased(_) => None,
        }
    }

    fn is_ready(&self) -> bool {
        match self.state {
            State::Proposed | State::Approved(_) => true,
            State::Waiting(_) | State::Leased(_) => false,
        }
    }

    /// Its first event once it was judged: under a lease, or in our own rows without one. A grant that it needs is used.
    ///
    /// # Errors
    /// `Unread`.
    pub(crate) fn called(
        &self,
        draft: &mut Draft<'_>,
        caller: Caller,
        judged: Judged,
        lease: Option<Lease>,
        check: Option<Proposed>,
    ) -> Result<Called, Unread> {
        let mut judgement = judged.judgement;
        if let May::Begin { grant: Some(grant) } = judged.may {
            judgement.rules.push(format!("grant:{grant}"));
            draft.emit::<Agent>(caller.agent, agent::Event::GrantUsed { grant, call: self.id })?;
        }
        Ok(Called {
            call: self.id,
            capability: self.capability.clone(),
            arguments: self.arguments.hash,
            attributes: self.attributes.hash,
            shown: judged.shown,
            judgement,
            lease,
            counted: judged.counted && self.is_first_try() && caller.actor != Actor::Validator,
            check: check.map(Box::new),
        })
    }

    /// It was asked for and never started, so that it counts when it does.
    pub fn is_first_try(&self) -> bool {
        self.losses == 0 && self.redirects == 0
    }

    pub(crate) fn apply_held(&mut self, held: &Held) {
        self.state = State::Waiting(Box::new(held.approval()));
    }

    pub(crate) fn apply_released(&mut self) {
        self.state = State::Proposed;
    }

    pub(crate) fn apply_allowed(&mut self, allowed: &Allowed) {
        let State::Waiting(approval) = &mut self.state else { return };
        if let Some(edited) = &allowed.edited {
            (self.arguments, self.attributes) = (edited.arguments, edited.attributes);
            approval.by.clear();
        }
        approval.by.push(allowed.by);
        if allowed.complete {
            self.state = State::Approved(approval.clone());
        }
    }

    pub(crate) fn apply_called(&mut self, called: &Called, run: Run) {
        if called.counted {
            self.counted_at = Some(run);
        }
        self.allowed |= called.judgement.verdict == Verdict::ApprovalRequired;
        if let Some(lease) = called.lease {
            self.state = State::Leased(lease);
        }
    }

    /// For an outcome after which it is proposed anew.
    pub(crate) fn apply_again(&mut self, ended: &Ended) {
        self.state = State::Proposed;
        self.recalled = false;
        match (&ended.outcome, ended.attributes) {
            (Outcome::Redirected { .. }, Some(attributes)) => {
                self.attributes = attributes;
                self.redirects += 1;
            }
            // Only `reported` and `lost` make an outcome after which it comes again: a loss, or a link with attributes.
            (Outcome::Redirected { .. }, None)
            | (
                Outcome::Lost { .. }
                | Outcome::Done { .. }
                | Outcome::Failed { .. }
                | Outcome::TimedOut
                | Outcome::ResourceExhausted { .. }
                | Outcome::Killed,
                _,
            ) => self.losses += 1,
        }
    }

    /// What a worker reports, as the ledger may hold it: never trusted to say that a call may come again.
    pub(crate) fn reported(&self, outcome: Outcome, judged_again: bool, closing: bool) -> Outcome {
        const LIMIT_MAX: u64 = 1 << 52;
        match outcome {
            Outcome::Lost { .. } => self.lost(closing),
            Outcome::Redirected { path } => {
                let follows =
                    judged_again && self.redirects < REDIRECTS_MAX && path.len() <= capability::path::PATH_BYTES_MAX;
                if follows {
                    Outcome::Redirected { path }
                } else {
                    Outcome::Failed { code: "too_many_links".to_string() }
                }
            }
            Outcome::Failed { code } => Outcome::Failed { code: capability::clip(&code) },
            Outcome::ResourceExhausted { resource, limit } => Outcome::ResourceExhausted {
                resource: capability::clip(&resource),
                limit: limit.map(|limit| limit.min(LIMIT_MAX)),
            },
            outcome @ (Outcome::Done { .. } | Outcome::TimedOut | Outcome::Killed) => outcome,
        }
    }

    /// How it ends when its sandbox is proven dead: what is idempotent comes again, of the rest the outcome is unknown.
    pub(crate) fn lost(&self, closing: bool) -> Outcome {
        let again = self.idempotent && !self.allowed && !self.recalled && self.losses < LOSSES_MAX && !closing;
        Outcome::Lost { again }
    }
}

/// The calls that may start now: all at once when all are free of side effects, else one after another.
pub fn startable(calls: &[Open]) -> impl Iterator<Item = &Open> {
    let side_by_side = calls.iter().all(|call| call.effects == Effects::None);
    let most = if side_by_side { usize::MAX } else { usize::from(calls.iter().all(Open::is_ready)) };
    calls.iter().filter(|call| call.is_ready()).take(most)
}

/// What the world owes the open calls of a holder that is bound to `connection`, or to none.
pub fn owed(calls: &[Open], connection: Option<ConnectionId>) -> impl Iterator<Item = Owed> {
    let leased = calls.iter().filter_map(move |call| call.dispatch(connection?));
    let recalled = calls.iter().filter_map(move |call| call.recall(connection?));
    let rows = startable(calls).filter(|call| call.place == Place::Rows);
    let performed = rows.map(|call| Owed { obligation: Obligation::Perform { call: call.id }, due: Due::AT_ONCE });
    leased.chain(recalled).chain(performed)
}

/// Canonical, so that the bytes are the same in every build; what a capability makes has small numbers only.
fn written(made: &serde_json::Value) -> String {
    let bytes = serde_json_canonicalizer::to_vec(made).expect("invariant: a value of text keys is JSON");
    String::from_utf8(bytes).expect("invariant: JSON is UTF-8")
}

/// A call on our own rows that has been judged: does it, and gives its end.
///
/// # Errors
/// `Unread`. Arguments that are not those which were bound end the call as failed.
pub(crate) fn perform(
    draft: &mut Draft<'_>,
    caller: Caller,
    call: &Open,
    arguments: &Payload,
    value: Option<Payload>,
) -> Result<Ended, Unread> {
    let performed = match (capability::find(&call.capability), serde_json::from_slice(arguments.bytes())) {
        (Some(known), Ok(read)) if arguments.bound() == call.arguments => known.perform(draft, caller, &read, value)?,
        _ => capability::Performed::failed("arguments_lost", "its arguments are not those that were bound"),
    };
    let (result, detail) = match performed.result {
        capability::Output::Stored { value, detail } => (value, Some(written(&detail))),
        capability::Output::Text(text) => {
            let salt = draft.mint.salt();
            (draft.bind(Payload::new(salt, text.into_bytes())), None)
        }
        capability::Output::Made(value) => {
            let salt = draft.mint.salt();
            (draft.bind(Payload::new(salt, written(&value).into_bytes())), None)
        }
    };
    Ok(Ended {
        call: call.id,
        lease: None,
        outcome: performed.outcome,
        result: Some(result),
        detail,
        attributes: None,
        took_ms: 0,
        level: None,
    })
}

/// What a list row of a call becomes, and what rules count.
pub fn called_rows(agent: AgentId, called: &Called, stamp: Stamp) -> Vec<Row> {
    let rules = called.judgement.rules.join(", ");
    let changed = Row::CallChanged { id: called.call, change: CallChange::Called { rules }, at: stamp.at };
    let counted = called.counted.then(|| judged::counted(agent, &called.capability, stamp));
    std::iter::once(changed).chain(counted.into_iter().flatten()).collect()
}

pub fn held_row(held: &Held, stamp: Stamp) -> Row {
    let rules = held.judgement.rules.join(", ");
    let sentence = format!("a person must allow it: {}", held.approval);
    Row::CallChanged { id: held.call, change: CallChange::Held { rules, sentence }, at: stamp.at }
}

pub fn released_row(released: &Released, stamp: Stamp) -> Row {
    Row::CallChanged { id: released.call, change: CallChange::Again { attributes: None }, at: stamp.at }
}

pub fn allowed_rows(allowed: &Allowed, stamp: Stamp) -> Vec<Row> {
    let changed = |change| Row::CallChanged { id: allowed.call, change, at: stamp.at };
    let edited = allowed.edited.clone().map(|Edited { arguments, attributes, shown }| {
        changed(CallChange::Edited { arguments: arguments.hash, attributes: attributes.hash, shown })
    });
    let begins = allowed.complete.then(|| changed(CallChange::Again { attributes: None }));
    edited.into_iter().chain(begins).collect()
}

pub(crate) fn recalled_row(recalled: &Recalled, stamp: Stamp) -> Row {
    let rules = recalled.judgement.rules.join(", ");
    let sentence = recalled.to_string();
    Row::CallChanged { id: recalled.call, change: CallChange::Recalled { rules, sentence }, at: stamp.at }
}

impl fmt::Display for Recalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.judgement.rules.join(", ");
        write!(f, "blocked while it ran by rules that hold since ({rules}); how far it came is not known")
    }
}

pub fn blocked_row(call: CallId, blocked: &Blocked, stamp: Stamp) -> Row {
    let change = CallChange::Blocked { why: blocked.as_str(), sentence: blocked.to_string() };
    Row::CallChanged { id: call, change, at: stamp.at }
}

pub fn ended_row(ended: &Ended, stamp: Stamp) -> Row {
    let exit_code = if let Outcome::Done { exit_code } = ended.outcome { exit_code } else { None };
    let outcome = ended.outcome.to_word();
    let change = if ended.outcome.is_again() {
        CallChange::Again { attributes: ended.attributes.map(|bound| bound.hash) }
    } else {
        let (detail, level) = (ended.detail.clone(), ended.level.clone());
        CallChange::Ended(CallEnd { outcome, exit_code, result: ended.result.map(|bound| bound.hash), detail, level })
    };
    Row::CallChanged { id: ended.call, change, at: stamp.at }
}

/// What a judge sees of a call, on its way to be bound; why it cannot be judged where it is too large.
///
/// # Errors
/// The sentence that the model is told.
pub fn attributes_json(attributes: &Attributes) -> Result<Vec<u8>, String> {
    let json = serde_json_canonicalizer::to_vec(attributes).expect("invariant: attributes are JSON with text keys");
    if json.len() <= capability::ATTRIBUTES_BYTES_MAX {
        return Ok(json);
    }
    Err(format!(
        "what must be judged has {} bytes, at most {} are taken: put long text into a file and name the file",
        json.len(),
        capability::ATTRIBUTES_BYTES_MAX
    ))
}
