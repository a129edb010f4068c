//! What must always hold, checked after each step against the stored records alone: it replays them beside the ledger and
//! holds folds, rows, sums and what is owed against them. What fakes really did is told to it as it happens.
//!
//! It must never look at a decision: only what a reader of the ledger could see counts.
mod budgets;
mod calls;
mod messages;
mod sessions;
mod values;
mod wakes;

use crate::people::CONCURRENCY;
use crate::storage::View;
use budgets::Budgets;
use calls::Calls;
use messages::Messages;
use sessions::Sessions;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tenure_core::agent::{self, Agent};
use tenure_core::aggregate::{self, Event, FOLD_BYTES_MAX, Fold, Stream};
use tenure_core::bound::{Hash, salted};
use tenure_core::execution::{self, Execution, Phase, Step, Turn};
use tenure_core::facts::Counter;
use tenure_core::fleet::Worker;
use tenure_core::id::{AgentId, ApprovalId, ConnectionId, ExecutionId, LeaseId};
use tenure_core::ledger::{self, Meta, NOTHING_BEFORE};
use tenure_core::owed::{Obligation, Owed};
use tenure_core::plan::Limits;
use tenure_core::session::{self, CALLS_MAX, Session};
use tenure_core::time::{Due, Run, Stamp};
use values::Values;
use wakes::Wakes;

/// What a simulation can find broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Invariant 1: nothing is done that no event says.
    NoEventNoAction,
    /// A call that is not idempotent is done at most once, and a lease too.
    AtMostOnce,
    /// Invariant 3: folds replay byte for byte.
    Replay,
    /// Invariant 3: what is bound is there, and is what was bound.
    Bound,
    /// Invariant 3: rows and sums say what the folds say.
    Rows,
    /// Invariant 4: one end for each call and model call.
    OneEnd,
    /// Invariant 8: everything is bounded.
    Bounded,
    /// The index of what is owed is what the folds owe.
    Owed,
    /// A commit that failed left something.
    Atomic,
    /// A model call was made that could pass what its agent, or all, may use up.
    Budget,
    /// Records do not follow each other.
    Chain,
    /// One key started two executions.
    Idempotency,
    /// Time passes, nothing fails any more, and something never ends.
    Standstill,
    /// The ledger failed where nothing had been broken.
    Fault,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

pub type Checked = Result<(), Violation>;

pub(crate) fn broken(rule: Rule, what: impl Into<String>) -> Checked {
    Err(Violation { rule, what: what.into() })
}

pub struct Audit {
    /// Which stream bound a payload first.
    bound_by: BTreeMap<Hash, Stream>,
    /// What the world's plans allow at most.
    limits: Limits,
    size: u64,
    last: Stamp,
    prev: Hash,
    counts: BTreeMap<Stream, u64>,
    folds: BTreeMap<Stream, Fold>,
    budgets: Budgets,
    calls: Calls,
    sessions: Sessions,
    wakes: Wakes,
    messages: Messages,
    values: Values,
    /// Whose first start each key was.
    keys: BTreeMap<(AgentId, Hash), ExecutionId>,
    /// What each fold owes.
    owing: BTreeMap<Stream, Vec<Owed>>,
    /// Kinds of events that there were.
    kinds: BTreeSet<&'static str>,
    /// Streams that were written, or meant to be, since the last check.
    touched: BTreeSet<Stream>,
}

impl Audit {
    pub fn new(limits: Limits) -> Audit {
        Audit {
            bound_by: BTreeMap::new(),
            limits,
            size: 0,
            last: Stamp::default(),
            prev: NOTHING_BEFORE,
            counts: BTreeMap::new(),
            folds: BTreeMap::new(),
            budgets: Budgets::default(),
            calls: Calls::default(),
            sessions: Sessions::default(),
            wakes: Wakes::default(),
            messages: Messages::default(),
            values: Values::default(),
            keys: BTreeMap::new(),
            owing: BTreeMap::new(),
            kinds: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Records so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The daemon's life at the last record.
    pub fn last_run(&self) -> Run {
        self.last.run
    }

    pub fn kinds(&self) -> &BTreeSet<&'static str> {
        &self.kinds
    }

    /// Calls that were proposed.
    pub fn calls(&self) -> u64 {
        self.calls.count()
    }

    pub fn fold<A: aggregate::Member>(&self, id: A::Id) -> Option<&A> {
        self.folds.get(&A::stream(id)).and_then(Fold::as_a)
    }

    pub fn executions(&self) -> impl Iterator<Item = (ExecutionId, &Execution)> {
        self.folds.iter().filter_map(|(stream, fold)| match stream {
            Stream::Execution(id) => fold.as_a().map(|execution| (*id, execution)),
            Stream::Project(_)
            | Stream::Agent(_)
            | Stream::Worker(_)
            | Stream::Session(_)
            | Stream::Secret(_)
            | Stream::Package(_)
            | Stream::Instance(_) => None,
        })
    }

    pub fn started_by(&self, agent: AgentId, key: Hash) -> Option<ExecutionId> {
        self.keys.get(&(agent, key)).copied()
    }

    /// A model is asked, now.
    ///
    /// # Errors
    /// Where no event says so, or it was asked before.
    pub fn ask(&mut self, id: ExecutionId, turn: Turn) -> Checked {
        self.calls.ask(id, turn, self.last.run)
    }

    /// What a lease stands for is done, now.
    ///
    /// # Errors
    /// Where no event says so, it is over, or was done before.
    pub fn perform(&mut self, lease: LeaseId) -> Checked {
        self.calls.perform(lease)
    }

    /// Takes in what was stored since; `stream`: what was commanded. `committed`: whether anything may have been.
    ///
    /// # Errors
    /// What does not hold of a single record.
    pub fn absorb(&mut self, storage: &mut impl View, stream: Stream, committed: bool) -> Checked {
        self.touched.insert(stream);
        let before = self.size;
        self.take_in(storage)?;
        if !committed && self.size > before {
            return broken(Rule::Atomic, format!("{} records of a commit that failed", self.size - before));
        }
        Ok(())
    }

    /// Takes in what was stored since.
    ///
    /// # Errors
    /// What does not hold of a single record.
    pub fn take_in(&mut self, storage: &mut impl View) -> Checked {
        for bytes in storage.records(self.size) {
            let read = ledger::read(&bytes);
            let (meta, event) = read.map_err(|what| Violation { rule: Rule::Chain, what })?;
            self.follows(&meta)?;
            self.prev = ledger::leaf(&bytes);
            self.record(storage, &meta, &event)?;
        }
        Ok(())
    }

    fn follows(&mut self, meta: &Meta) -> Checked {
        let n = self.counts.entry(meta.stream).or_default();
        *n += 1;
        if meta.index != self.size || meta.n != *n || meta.prev != self.prev {
            return broken(Rule::Chain, format!("record {} does not follow", meta.index));
        }
        if meta.stamp.at < self.last.at || meta.stamp.run < self.last.run {
            return broken(Rule::Chain, format!("record {} is before its predecessor", meta.index));
        }
        (self.size, self.last) = (self.size + 1, meta.stamp);
        Ok(())
    }

    fn record(&mut self, storage: &mut impl View, meta: &Meta, event: &Event) -> Checked {
        self.touched.insert(meta.stream);
        self.kinds.insert(event.kind());
        let mut fold = self.folds.remove(&meta.stream);
        if let (Stream::Agent(id), Event::Agent(event)) = (meta.stream, event) {
            self.wakes.record(storage, id, fold.as_ref().and_then(Fold::as_a), event)?;
            self.messages.record(id, event)?;
        }
        self.values.record(event)?;
        aggregate::apply(&mut fold, event, meta.stamp);
        if let Some(fold) = fold {
            self.owing.insert(meta.stream, fold.owed());
            self.folds.insert(meta.stream, fold);
        }
        let mut hashes = Vec::new();
        event.binds(&mut |hash| hashes.push(*hash));
        self.own_alone_is_erased(meta.stream, event)?;
        for hash in hashes {
            self.bound_by.entry(hash).or_insert(meta.stream);
            let payload = storage.payload(&hash);
            if payload.is_none() && storage.is_erased(&hash) {
                continue;
            }
            if payload.is_none_or(|payload| salted(payload.salt(), payload.bytes()) != hash) {
                return broken(Rule::Bound, format!("{} of {} is not what was bound", event.kind(), meta.stream));
            }
        }
        if let (Stream::Execution(id), Event::Execution(event)) = (meta.stream, event) {
            self.started(id, event)?;
            self.wakes.started(id, event)?;
            self.calls.record(id, event, self.last.run)?;
        }
        self.budgets.record(meta.stream, event)?;
        match (meta.stream, event) {
            (Stream::Session(id), Event::Session(event)) => {
                self.sessions.record(id, event)?;
                self.calls.record_session(id, event)?;
            }
            (Stream::Agent(id), Event::Agent(event)) => self.sessions.record_agent(id, event),
            _ => {}
        }
        Ok(())
    }

    /// What an execution or session erases came with it, and it has ended.
    fn own_alone_is_erased(&self, stream: Stream, event: &Event) -> Checked {
        let payloads = match event {
            Event::Execution(execution::Event::Erased { payloads, .. })
            | Event::Session(session::Event::Erased { payloads, .. }) => payloads.as_slice(),
            Event::Execution(execution::Event::PayloadErased { payload, .. })
            | Event::Session(session::Event::PayloadErased { payload, .. }) => std::slice::from_ref(payload),
            _ => return Ok(()),
        };
        let open = match self.folds.get(&stream) {
            Some(Fold::Execution(execution)) => is_open(execution),
            Some(Fold::Session(session)) => session.ended.is_none() || !session.calls.is_empty(),
            Some(_) | None => false,
        };
        if open {
            return broken(Rule::Bound, format!("{stream} is erased and has not ended"));
        }
        match payloads.iter().find(|hash| self.bound_by.get(hash) != Some(&stream)) {
            Some(other) => broken(Rule::Bound, format!("{stream} erases {other}, which is not its own")),
            None => Ok(()),
        }
    }

    fn started(&mut self, id: ExecutionId, event: &execution::Event) -> Checked {
        let execution::Event::Started { agent, idempotency: Some(key), .. } = event else { return Ok(()) };
        match self.keys.insert((*agent, *key), id) {
            Some(first) => broken(Rule::Idempotency, format!("{first} and {id} were started by one key")),
            None => Ok(()),
        }
    }

    /// What must hold after each step, of the streams that it touched.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&mut self, storage: &mut impl View) -> Checked {
        let touched = std::mem::take(&mut self.touched);
        if touched.is_empty() {
            return Ok(());
        }
        self.wakes.check()?;
        self.messages.check()?;
        self.owed(storage)?;
        self.sessions.check()?;
        for stream in &touched {
            let stored = storage.fold(*stream);
            if stored.as_deref() != self.folds.get(stream) {
                return broken(Rule::Replay, format!("the fold of {stream} is not what its records add up to"));
            }
            let Some(fold) = self.folds.get(stream) else { continue };
            let bytes = ledger::canonical(fold).map_err(|error| error.to_string());
            match bytes {
                Ok(bytes) if bytes.len() <= FOLD_BYTES_MAX => {}
                Ok(bytes) => return broken(Rule::Bounded, format!("the fold of {stream} has {} bytes", bytes.len())),
                Err(why) => return broken(Rule::Replay, format!("the fold of {stream}: {why}")),
            }
            self.shown(storage, *stream, fold)?;
        }
        self.counted(storage, &touched)
    }

    /// The list row says what the fold says, but for the figures that calls alone move.
    fn shown(&self, storage: &mut impl View, stream: Stream, fold: &Fold) -> Checked {
        let same = match (stream, fold) {
            (Stream::Execution(id), Fold::Execution(execution)) => {
                self.within_limits(id, execution)?;
                let row = execution.row(id);
                let shown = storage.execution_row(id);
                shown.is_some_and(|shown| execution::ExecutionRow { tool_calls: row.tool_calls, ..shown } == row)
            }
            (Stream::Agent(id), Fold::Agent(agent)) => {
                let open = self.executions().filter(|(_, one)| one.agent == id && is_open(one)).count();
                agent.open as usize == open
                    && storage.standing(id).is_some_and(|shown| {
                        let state = shown.state == agent.state.as_str();
                        state && (shown.revision, shown.home, shown.open) == (agent.revision, agent.home, agent.open)
                    })
            }
            (Stream::Worker(id), Fold::Worker(worker)) => storage.worker_row(id).is_some_and(|shown| {
                let connection = worker.connection.as_ref().map(|open| open.id);
                (shown.connection, shown.fence, shown.host) == (connection, worker.fence.0, worker.host)
            }),
            _ => true,
        };
        if same { Ok(()) } else { broken(Rule::Rows, format!("what is shown of {stream} is not what is")) }
    }

    fn within_limits(&self, id: ExecutionId, execution: &Execution) -> Checked {
        let (limits, spent) = (self.limits, execution.spent);
        let mut over = Vec::new();
        let mut most = |name: &str, is: u64, most: u64| {
            if is > most {
                over.push(format!("{name}: {is} of {most}"));
            }
        };
        most("iterations", execution.iterations.into(), limits.max_iterations.into());
        most("tool calls", spent.tool_calls.into(), limits.tool_calls.into());
        most("lost model calls", spent.model_losses.into(), u64::from(execution::MODEL_LOSSES_MAX) + 1);
        if let Some(iteration) = execution.iteration() {
            most("turns", iteration.turns.into(), limits.max_turns.into());
            let calls = self.calls.open_of(id.into());
            most("open calls", calls as u64, execution::TURN_CALLS_MAX as u64);
        }
        let owed = self.owing.get(&Stream::Execution(id)).map_or(0, Vec::len);
        most("what it owes", owed as u64, execution::TURN_CALLS_MAX as u64 + 2);
        if over.is_empty() {
            Ok(())
        } else {
            broken(Rule::Bounded, format!("{id} is beyond its limits: {}", over.join(", ")))
        }
    }

    /// The index of what is owed, as a whole.
    fn owed(&self, storage: &mut impl View) -> Checked {
        let mut owing: BTreeMap<Stream, Vec<&Owed>> =
            self.owing.iter().map(|(stream, owed)| (*stream, owed.iter().collect())).collect();
        for (stream, stored) in storage.owed() {
            let owed = owing.entry(stream).or_default();
            let Some(place) = owed.iter().position(|owed| **owed == stored) else {
                return broken(Rule::Owed, format!("{stream} does not owe {stored:?}, which is in the index"));
            };
            owed.swap_remove(place);
        }
        match owing.iter().find(|(_, owed)| !owed.is_empty()) {
            Some((stream, owed)) => broken(Rule::Owed, format!("{stream} owes {owed:?}, which is not in the index")),
            None => Ok(()),
        }
    }

    /// Slots in use, by connection, and executions at work, by agent.
    fn counted(&self, storage: &mut impl View, touched: &BTreeSet<Stream>) -> Checked {
        let counts = |stream: &Stream| matches!(stream, Stream::Execution(_) | Stream::Session(_) | Stream::Worker(_));
        if !touched.iter().any(counts) {
            return Ok(());
        }
        let mut bound: BTreeMap<ConnectionId, u32> = BTreeMap::new();
        for (_, execution) in self.executions() {
            if let Some(binding) = execution.binding() {
                *bound.entry(binding.connection).or_default() += 1;
            }
        }
        let mut running: BTreeMap<AgentId, u32> = BTreeMap::new();
        for (_, execution) in self.executions() {
            *running.entry(execution.agent).or_default() += u32::from(execution.has_begun());
        }
        for session in self.folds.values().filter_map(Fold::as_a::<Session>) {
            if let Some(jail) = session.jail {
                *bound.entry(jail.binding.connection).or_default() += 1;
                *running.entry(session.agent).or_default() += 1;
            }
            if session.calls.len() > CALLS_MAX {
                return broken(Rule::Bounded, format!("{} calls of a session are in flight", session.calls.len()));
            }
        }
        for (agent, running) in running {
            if storage.count(Counter::Running, &agent.to_string()) != i64::from(running) {
                return broken(Rule::Rows, format!("running executions of {agent} are counted wrong"));
            }
            if running > CONCURRENCY {
                return broken(Rule::Bounded, format!("{running} executions and sessions of {agent} run at a time"));
            }
        }
        let workers = self.folds.values().filter_map(Fold::as_a::<Worker>);
        for open in workers.filter_map(|worker| worker.connection.as_ref()) {
            let bound = bound.get(&open.id).copied().unwrap_or(0);
            if storage.count(Counter::Bound, &open.id.to_string()) != i64::from(bound) {
                return broken(Rule::Rows, format!("slots of {} are counted wrong", open.id));
            }
            if bound > open.slots {
                return broken(Rule::Bounded, format!("{bound} executions and sessions in {} slots", open.slots));
            }
        }
        Ok(())
    }

    /// What must hold at rest: all is over, and all of it can be made again from the records.
    ///
    /// # Errors
    /// What does not.
    pub fn finish(&mut self, storage: &mut impl View) -> Checked {
        self.touched = self.folds.keys().copied().collect();
        self.check(storage)?;
        self.calls.finish()?;
        self.sessions.finish()?;
        let busy = |session: &Session| session.jail.is_some() || !session.calls.is_empty();
        if let Some(session) = self.folds.values().filter_map(Fold::as_a::<Session>).find(|session| busy(session)) {
            return broken(Rule::Standstill, format!("a session has not come to rest: {session:?}"));
        }
        if let Some((id, _)) = self.executions().find(|(_, execution)| is_open(execution)) {
            return broken(Rule::Standstill, format!("{id} has not ended"));
        }
        match storage.verify().first() {
            Some(what) => broken(Rule::Replay, what.clone()),
            None => Ok(()),
        }
    }

    /// Something that is still to be done by the daemon's own clock, if there is.
    pub fn waits(&self) -> Option<String> {
        let mut owing = self.owing.iter().flat_map(|(stream, owed)| owed.iter().map(move |owed| (stream, owed)));
        owing.find(|(_, owed)| matches!(owed.due, Due::Run(_))).map(|(stream, owed)| format!("{stream} owes {owed:?}"))
    }

    /// Times of schedules that started something.
    pub fn fired(&self) -> u64 {
        self.wakes.fired()
    }

    /// What the daemon can do alone and is due.
    pub fn due_alone(&self, now: Stamp) -> BTreeSet<(Stream, String)> {
        let alone = |obligation: &Obligation| match obligation {
            Obligation::Think { open, .. } => !open,
            Obligation::Perform { .. }
            | Obligation::Program { .. }
            | Obligation::StartProgram
            | Obligation::CheckHealth { .. }
            | Obligation::Validate { .. }
            | Obligation::Expire
            | Obligation::ExpireCalls
            | Obligation::ExpireApprovals
            | Obligation::Rejudge { .. }
            | Obligation::Sweep { .. }
            | Obligation::CancelExecutions
            | Obligation::CancelChildren { .. }
            | Obligation::EndPause
            | Obligation::FanOut { .. }
            | Obligation::ExpireMessages
            | Obligation::DeadLetterMessages { .. }
            | Obligation::Wake { .. }
            | Obligation::EndKey
            | Obligation::SweepState
            | Obligation::Retain { .. }
            | Obligation::Erase { .. } => true,
            // Workers are waited for.
            Obligation::EndModelCall { .. }
            | Obligation::Place { .. }
            | Obligation::Dispatch { .. }
            | Obligation::Release { .. }
            | Obligation::Cancel { .. }
            | Obligation::RemoveHome { .. } => false,
        };
        // Once all are asked, their ends are waited for.
        let asked = |stream: &Stream| {
            let mut own = self.executions().filter(|(_, execution)| Stream::Agent(execution.agent) == *stream);
            own.all(|(_, execution)| execution.cancel_requested || !is_open(execution))
        };
        let all_asked = |stream: &Stream| {
            let mut children = self.executions().filter(|(_, child)| {
                child.parent.as_ref().map(|parent| Stream::Execution(parent.execution)) == Some(*stream)
            });
            children.all(|(_, child)| child.cancel_requested || !is_open(child))
        };
        let waits = |stream: &Stream, owed: &Owed| match owed.obligation {
            Obligation::CancelExecutions => asked(stream),
            Obligation::CancelChildren { .. } => all_asked(stream),
            _ => false,
        };
        let owing = self.owing.iter().flat_map(|(stream, owed)| owed.iter().map(move |owed| (stream, owed)));
        let due = |owed: &Owed| {
            alone(&owed.obligation)
                && match owed.due {
                    Due::Run(run) => run <= now.run,
                    Due::Wall(at) => at <= now.at,
                }
        };
        owing
            .filter(|(stream, owed)| due(owed) && !waits(stream, owed))
            .map(|(stream, owed)| (*stream, owed.obligation.to_key()))
            .collect()
    }

    /// What people are asked to allow.
    pub fn asked(&self) -> Vec<(AgentId, ApprovalId)> {
        let mut asked = Vec::new();
        for fold in self.folds.values() {
            if let Some(execution) = fold.as_a::<Execution>() {
                let calls = execution.iteration().map(|iteration| match &iteration.step {
                    Step::Acting { calls } => calls.as_slice(),
                    Step::Thinking { .. }
                    | Step::Program { .. }
                    | Step::Told { .. }
                    | Step::Validating { .. }
                    | Step::Closing { .. } => &[],
                });
                let waits = calls.into_iter().flatten().filter_map(|call| call.waits_for());
                asked.extend(waits.map(|approval| (execution.agent, approval.id)));
            }
            if let Some(session) = fold.as_a::<Session>().filter(|session| session.ended.is_none()) {
                let waits = session.calls.iter().filter_map(|held| held.call.waits_for());
                asked.extend(waits.map(|approval| (session.agent, approval.id)));
            }
        }
        asked
    }

    pub fn deployed(&self) -> Vec<AgentId> {
        let agents = self.folds.iter().filter_map(|(stream, fold)| match stream {
            Stream::Agent(id) => Some((*id, fold.as_a::<Agent>()?)),
            Stream::Project(_)
            | Stream::Execution(_)
            | Stream::Worker(_)
            | Stream::Session(_)
            | Stream::Secret(_)
            | Stream::Package(_)
            | Stream::Instance(_) => None,
        });
        agents.filter(|(_, agent)| agent.state == agent::State::Deployed).map(|(id, _)| id).collect()
    }
}

fn is_open(execution: &Execution) -> bool {
    !matches!(execution.phase, Phase::Ended { .. })
}
