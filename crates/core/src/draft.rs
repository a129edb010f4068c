//! A decision in the making, and the one way from a command to a change. Pure: time, randomness, judge and facts are
//! arguments.
//!
//! ```text
//! transact: facts ─> decide(&mut Draft, Command) ─> events, rows, folds, what is owed ─> append
//! ```
use crate::actor::Actor;
use crate::agent::Agent;
use crate::aggregate::{self, Command, Event, Fold, Member, Refusal, Refused, Stream};
use crate::bound::{Bound, Hash, Payload};
use crate::budget::Whose;
use crate::capability::Attributes;
use crate::comms::MessageRow;
use crate::facts::{Changed, Counter, Expiring, Facts, Namespace, Unread};
use crate::id::{AgentId, MessageId, Mint, ProjectId};
use crate::item::{Item, ItemKind};
use crate::judge::Judge;
use crate::owed::Owed;
use crate::plan::Plan;
use crate::retention::Retained;
use crate::row::Row;
use crate::secret::BindingRow;
use crate::state::{Acl, Entry, Home};
use crate::time::{Stamp, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a decision ends without events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    Refused(Refusal),
    Unread,
}

impl From<Unread> for Stop {
    fn from(_: Unread) -> Stop {
        Stop::Unread
    }
}

/// The bucket of a moment, where a counter counts by minute of `run`; bucket 0 is for all time.
pub fn minute(stamp: Stamp) -> u64 {
    1 + stamp.run.millis() / 60_000
}

/// A refusal of one aggregate, on its way out of a decision.
pub fn refuse<A: Member>(refusal: A::Refusal) -> Stop {
    Stop::Refused(A::refusal(refusal))
}

/// What a decision is made with beside the facts.
#[derive(Clone, Copy)]
pub struct DecisionContext<'a> {
    pub actor: Actor,
    pub stamp: Stamp,
    /// Fresh randomness.
    pub seed: u128,
    pub judge: &'a dyn Judge,
}

/// A stream that the decision looks at; `after` is its working copy once an event changed it.
struct Touched {
    before: Option<Arc<Fold>>,
    after: Option<Option<Fold>>,
}

impl Touched {
    fn now(&self) -> Option<&Fold> {
        match &self.after {
            Some(after) => after.as_ref(),
            None => self.before.as_deref(),
        }
    }
}

pub struct Draft<'a> {
    pub actor: Actor,
    pub stamp: Stamp,
    /// The raw wall clock, which may be behind the last record's `at`: what falls due by the wall is reckoned from it.
    pub wall: Time,
    /// The project that the ledger belongs to; none before it is founded.
    pub project: Option<ProjectId>,
    pub mint: Mint,
    pub judge: &'a dyn Judge,
    facts: &'a mut dyn Facts,
    touched: BTreeMap<Stream, Touched>,
    events: Vec<(Stream, Event)>,
    rows: Vec<Row>,
    payloads: Vec<Payload>,
}

/// What one command changes: all of it is written in one transaction, or none.
#[derive(Debug, Default)]
pub struct Decision {
    pub events: Vec<(Stream, Event)>,
    pub payloads: Vec<Payload>,
    pub rows: Vec<Row>,
    /// The streams that it wrote, as they are after it.
    pub folds: Vec<(Stream, Option<Arc<Fold>>)>,
    pub owes: Vec<(Stream, Owed)>,
    pub owes_no_more: Vec<(Stream, Owed)>,
}

impl<'a> Draft<'a> {
    fn new<L: Ledger>(ledger: &'a mut L, context: DecisionContext<'a>, wall: Time) -> Draft<'a> {
        let project = ledger.project();
        let facts: &'a mut dyn Facts = ledger;
        Draft {
            actor: context.actor,
            stamp: context.stamp,
            wall,
            project,
            mint: Mint::new(context.stamp.at, context.seed),
            judge: context.judge,
            facts,
            touched: BTreeMap::new(),
            events: Vec::with_capacity(4),
            rows: Vec::with_capacity(4),
            payloads: Vec::with_capacity(2),
        }
    }

    /// The aggregate as it stands, events of this decision applied.
    ///
    /// # Errors
    /// `Unread`, as all that asks for facts.
    pub fn get<A: Member>(&mut self, id: A::Id) -> Result<Option<&A>, Unread> {
        Ok(self.touch(A::stream(id))?.now().and_then(A::of))
    }

    /// As [`Draft::get`], of a stream that the decision has looked at before.
    pub fn seen<A: Member>(&self, id: A::Id) -> Option<&A> {
        self.touched.get(&A::stream(id)).and_then(Touched::now).and_then(A::of)
    }

    /// # Errors
    /// `Unread` where the stream's fold cannot be read.
    pub fn emit<A: Member>(&mut self, id: A::Id, event: A::Event) -> Result<(), Unread> {
        self.push(A::stream(id), A::event(event))
    }

    fn push(&mut self, stream: Stream, event: Event) -> Result<(), Unread> {
        let stamp = self.stamp;
        let touched = self.touch(stream)?;
        let rows = aggregate::event_rows(stream, touched.now(), &event, stamp);
        let before = &touched.before;
        let after = touched.after.get_or_insert_with(|| before.as_deref().cloned());
        aggregate::apply(after, &event, stamp);
        rows.into_iter().for_each(|row| row.join(&mut self.rows));
        self.events.push((stream, event));
        Ok(())
    }

    fn touch(&mut self, stream: Stream) -> Result<&mut Touched, Unread> {
        if !self.touched.contains_key(&stream) {
            let before = self.facts.fold(stream)?;
            self.touched.insert(stream, Touched { before, after: None });
        }
        Ok(self.touched.get_mut(&stream).expect("invariant: touched above"))
    }

    /// Takes bytes along with the event that will hold their hash.
    pub fn bind(&mut self, payload: Payload) -> Bound {
        let bound = payload.bound();
        self.payloads.push(payload);
        bound
    }

    /// # Errors
    /// `Unread`.
    pub fn plan(&mut self, agent: AgentId, revision: u32) -> Result<Option<Arc<Plan>>, Unread> {
        self.facts.plan(agent, revision)
    }

    /// What a judge may see of a call: bound by this decision, or by an earlier one.
    ///
    /// # Errors
    /// `Unread`.
    pub fn attributes(&mut self, bound: &Bound) -> Result<Option<Attributes>, Unread> {
        match self.payloads.iter().find(|payload| payload.bound().hash == bound.hash) {
            Some(payload) => Ok(serde_json::from_slice(payload.bytes()).ok()),
            None => self.facts.attributes(&bound.hash),
        }
    }

    /// # Errors
    /// `Unread`.
    pub fn holder(&mut self, namespace: Namespace, key: &str) -> Result<Option<String>, Unread> {
        let own = self.rows.iter().rev().find_map(|row| {
            let Row::Held { namespace: held, key: name, holder } = row else { return None };
            (*held == namespace && name == key).then(|| holder.clone())
        });
        match own {
            Some(holder) => Ok(holder),
            None => self.facts.holder(namespace, key),
        }
    }

    /// The agent of this name or whole id.
    ///
    /// # Errors
    /// `Unread`.
    pub fn agent_named(&mut self, wanted: &str) -> Result<Option<AgentId>, Unread> {
        let holder = self.holder(Namespace::AgentName, &wanted.to_ascii_lowercase())?;
        let Some(id) = holder.as_deref().unwrap_or(wanted).parse().ok() else { return Ok(None) };
        Ok(self.get::<Agent>(id)?.map(|_| id))
    }

    /// What a counter stands at, for all time.
    ///
    /// # Errors
    /// `Unread`.
    pub fn count(&mut self, counter: Counter, key: &str) -> Result<i64, Unread> {
        self.count_in(counter, key, 0)
    }

    /// What one bucket of a counter stands at.
    ///
    /// # Errors
    /// `Unread`.
    pub(crate) fn count_in(&mut self, counter: Counter, key: &str, bucket: u64) -> Result<i64, Unread> {
        let before = self.facts.count(counter, key, bucket)?;
        let own = self.rows.iter().filter_map(|row| {
            let Row::Counted { counter: which, key: name, bucket: place, by } = row else { return None };
            (*which == counter && name == key && *place == bucket).then_some(*by)
        });
        Ok(before.saturating_add(own.sum::<i64>()))
    }

    /// # Errors
    /// `Unread`.
    pub fn entry(&mut self, namespace: &str, key: &str) -> Result<Option<Entry>, Unread> {
        let own = self.rows.iter().rev().find_map(|row| {
            let Row::Entry { namespace: space, key: name, entry } = row else { return None };
            (space == namespace && name == key).then(|| entry.clone())
        });
        let entry = match own {
            Some(entry) => Some(entry),
            None => self.facts.entry(namespace, key)?,
        };
        Ok(entry.filter(|entry| !self.is_dropped(namespace, key, entry.version)))
    }

    fn is_dropped(&self, namespace: &str, key: &str, version: u64) -> bool {
        self.rows.iter().any(|row| {
            let Row::EntryDropped { namespace: space, key: name, version: gone, .. } = row else { return false };
            *gone == version && name == key && space == namespace
        })
    }

    /// Kept versions of a key from `at_most` down, as committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn versions(&mut self, namespace: &str, key: &str, at_most: u64, limit: u32) -> Result<Vec<Entry>, Unread> {
        self.facts.versions(namespace, key, at_most, limit)
    }

    /// What is history in a namespace, the oldest first: as committed, without what this decision drops.
    ///
    /// # Errors
    /// `Unread`.
    pub fn old_versions(&mut self, namespace: &str, limit: u32) -> Result<Vec<(String, Entry)>, Unread> {
        let mut found = self.facts.old_versions(namespace, limit)?;
        found.retain(|(key, entry)| !self.is_dropped(namespace, key, entry.version));
        Ok(found)
    }

    /// As committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn entries(
        &mut self,
        namespace: &str,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Entry)>, Unread> {
        self.facts.entries(namespace, prefix, after, limit)
    }

    /// As committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn expiring(&mut self, home: Home, limit: u32) -> Result<Vec<Expiring>, Unread> {
        self.facts.expiring(home, limit)
    }

    /// As committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn state_changes(&mut self, home: Home, after: Option<u64>, limit: u32) -> Result<Vec<Changed>, Unread> {
        self.facts.state_changes(home, after, limit)
    }

    /// As committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn acls(&mut self) -> Result<Vec<Acl>, Unread> {
        self.facts.acls()
    }

    /// Keys of a counter that do not stand at 0, as committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn page(&mut self, counter: Counter) -> Result<Vec<(String, i64)>, Unread> {
        self.facts.page(counter)
    }

    /// Messages that wait for an agent, as committed: a decision takes some before it queues any.
    ///
    /// # Errors
    /// `Unread`.
    pub fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.facts.waiting(agent, limit)
    }

    /// # Errors
    /// `Unread`.
    pub fn unanswered(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.facts.unanswered(agent, limit)
    }

    /// # Errors
    /// `Unread`.
    pub fn message(&mut self, agent: AgentId, message: MessageId) -> Result<Option<MessageRow>, Unread> {
        self.facts.message(agent, message)
    }

    /// What a message says; none once it is erased.
    ///
    /// # Errors
    /// `Unread`.
    pub fn body(&mut self, bound: &Hash) -> Result<Option<Vec<u8>>, Unread> {
        self.facts.body(bound)
    }

    /// The newest events of a stream from `since` on, as committed, the newest first.
    ///
    /// # Errors
    /// `Unread`.
    pub fn happened(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Unread> {
        self.facts.happened(stream, since, limit)
    }

    /// Events of a stream after its `n`th, each with its place, as committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn events_after(&mut self, stream: Stream, n: u64, limit: u32) -> Result<Vec<(u64, Event)>, Unread> {
        self.facts.events_after(stream, n, limit)
    }

    /// Ended executions whose payloads are kept, the first that ended first, without those whose parent has not ended, as
    /// committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn kept(&mut self, whose: Whose, limit: u32) -> Result<Vec<Retained>, Unread> {
        self.facts.kept(whose, limit)
    }

    /// One of the things that are listed of an agent, what this decision did to it included.
    ///
    /// # Errors
    /// `Unread`.
    pub fn item(&mut self, kind: ItemKind, agent: AgentId, key: &str) -> Result<Option<Item>, Unread> {
        let mut item = self.facts.item(kind, agent, key)?;
        let is = |of: &ItemKind, whose: &AgentId, name: &str| *of == kind && *whose == agent && name == key;
        for row in &self.rows {
            if let Row::Item(row) = row
                && is(&row.kind, &row.agent, &row.key)
            {
                item = Some(row.as_ref().clone());
            } else if let Row::ItemGone { kind, agent, key } = row
                && is(kind, agent, key)
            {
                item = None;
            } else if let (Row::ItemChanged { kind, agent, key, change, at }, Some(item)) = (row, &mut item)
                && is(kind, agent, key)
            {
                item.change(change, *at);
            }
        }
        Ok(item)
    }

    /// Those of an agent in this state, by their keys, as committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn items(&mut self, kind: ItemKind, agent: AgentId, state: &str, limit: u32) -> Result<Vec<Item>, Unread> {
        self.facts.items(kind, agent, state, limit)
    }

    /// What an agent may use of secrets, as committed.
    ///
    /// # Errors
    /// `Unread`.
    pub fn secret_bindings(&mut self, agent: AgentId) -> Result<Vec<BindingRow>, Unread> {
        self.facts.secret_bindings(agent)
    }

    pub fn project_stream(&mut self) -> Option<Stream> {
        self.facts.project_stream()
    }

    /// The minute of the daemon's life, as counters have it.
    pub fn minute(&self) -> u64 {
        minute(self.stamp)
    }

    /// What a counter stands at in this minute.
    ///
    /// # Errors
    /// `Unread`.
    pub fn count_this_minute(&mut self, counter: Counter, key: &str) -> Result<i64, Unread> {
        self.count_in(counter, key, self.minute())
    }

    /// Counts beside any event, for what is told by a later one.
    pub(crate) fn add_count(&mut self, counter: Counter, key: &str, bucket: u64, by: i64) {
        self.rows.push(Row::Counted { counter, key: key.to_string(), bucket, by });
    }

    /// An event that a refused command leaves in any stream that there is.
    pub(crate) fn emit_refused(&mut self, stream: Stream, refused: Refused) -> Result<(), Unread> {
        self.push(stream, Event::refused(stream, refused))
    }

    /// Tells of refusals that were counted and that no event tells of; at most a page of kinds.
    pub(crate) fn tell_refusals(&mut self) -> Result<(), Unread> {
        for (key, untold) in self.page(Counter::RefusalsUntold)? {
            let parts: Vec<&str> = key.split('|').collect();
            let [stream, actor, verb, code] = parts.as_slice() else { continue };
            let Ok(stream) = stream.parse() else { continue };
            let (verb, code, of) = ((*verb).to_string(), (*code).to_string(), actor.parse().ok());
            self.add_count(Counter::RefusalsUntold, &key, 0, -untold);
            self.emit_refused(stream, Refused { verb, code, repeats: u64::try_from(untold).unwrap_or(0), of })?;
        }
        Ok(())
    }

    fn finish(self) -> Decision {
        let Draft { touched, events, rows, payloads, .. } = self;
        let mut decision = Decision { events, rows, payloads, ..Decision::default() };
        for (stream, Touched { before, after }) in touched {
            let Some(after) = after else { continue };
            if let Some(after) = &after {
                decision.rows.extend(aggregate::state_rows(stream, before.as_deref(), after));
            }
            let mut gone = before.as_deref().map(Fold::owed).unwrap_or_default();
            let mut come = after.as_ref().map(Fold::owed).unwrap_or_default();
            gone.retain(|old| match come.iter().position(|new| new == old) {
                Some(place) => {
                    come.swap_remove(place);
                    false
                }
                None => true,
            });
            decision.owes.extend(come.into_iter().map(|owed| (stream, owed)));
            decision.owes_no_more.extend(gone.into_iter().map(|owed| (stream, owed)));
            decision.folds.push((stream, after.map(Arc::new)));
        }
        decision
    }
}

/// Where decisions are kept: the store's transaction, or the simulation's memory.
pub trait Ledger: Facts + Sized {
    type Error;

    /// The project that the ledger belongs to; none before it is founded.
    fn project(&self) -> Option<ProjectId>;

    /// The moment that an event appended now bears.
    fn clamp(&self, stamp: Stamp) -> Stamp;

    /// Takes all of a decision; gives the index of its last record.
    ///
    /// # Errors
    /// The ledger's own.
    fn append(&mut self, actor: Actor, stamp: Stamp, decision: &Arc<Decision>) -> Result<u64, Self::Error>;

    /// Why the last fact was `Unread`.
    fn unread(&mut self) -> Self::Error;
}

/// What a command did.
#[derive(Debug)]
pub struct Committed {
    /// Index of its last record in the project's ledger.
    pub index: u64,
    pub stamp: Stamp,
    pub decision: Arc<Decision>,
}

/// The one way from a command to a change: read, decide (policy inside), append. A refusal changes nothing, and leaves
/// an event where an authenticated actor outside the daemon was refused.
///
/// # Errors
/// The ledger's own, and then nothing of it stands.
pub fn transact<L: Ledger>(
    ledger: &mut L,
    context: DecisionContext<'_>,
    command: Command,
) -> Result<Result<Committed, Refusal>, L::Error> {
    let (wall, stamp) = (context.stamp.at, ledger.clamp(context.stamp));
    let context = DecisionContext { stamp, ..context };
    let (stream, verb) = (command.stream(), command.verb().name);
    let mut draft = Draft::new(ledger, context, wall);
    match command.decide(&mut draft) {
        Ok(()) => {
            let decision = Arc::new(draft.finish());
            let index = ledger.append(context.actor, stamp, &decision)?;
            Ok(Ok(Committed { index, stamp, decision }))
        }
        Err(Stop::Unread) => Err(ledger.unread()),
        Err(Stop::Refused(refusal)) => {
            if let Some(project) = ledger.project().filter(|_| is_told(context.actor, &refusal)) {
                let mut draft = Draft::new(ledger, context, wall);
                if record_refusal(&mut draft, stream, project, verb, refusal.code()).is_err() {
                    return Err(ledger.unread());
                }
                let decision = Arc::new(draft.finish());
                ledger.append(context.actor, stamp, &decision)?;
            }
            Ok(Err(refusal))
        }
    }
}

/// A reconciler's refusal is a race, no act of anybody.
fn is_told(actor: Actor, refusal: &Refusal) -> bool {
    !matches!(actor, Actor::Daemon | Actor::Validator) && !refusal.is_quiet()
}

/// The first refusal of a kind within a minute is an event; the others are counted, and told by a later one.
fn record_refusal(
    draft: &mut Draft<'_>,
    stream: Stream,
    project: ProjectId,
    verb: &str,
    code: &str,
) -> Result<(), Unread> {
    let stream = if draft.touch(stream)?.now().is_some() { stream } else { Stream::Project(project) };
    let key = format!("{stream}|{}|{verb}|{code}", draft.actor);
    let minute = draft.minute();
    let before = draft.count_in(Counter::Refusals, &key, minute)?;
    draft.add_count(Counter::Refusals, &key, minute, 1);
    if before > 0 {
        draft.add_count(Counter::RefusalsUntold, &key, 0, 1);
        return Ok(());
    }
    let untold = draft.count(Counter::RefusalsUntold, &key)?;
    draft.add_count(Counter::RefusalsUntold, &key, 0, -untold);
    let (verb, code, repeats) = (verb.to_string(), code.to_string(), u64::try_from(untold).unwrap_or(0));
    draft.emit_refused(stream, Refused { verb, code, repeats, of: None })
}
