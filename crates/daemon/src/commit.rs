//! The one door to the ledger: read, decide (policy inside), append, bind, answer after COMMIT. Every change of the
//! whole daemon passes here, on the database's one writer thread; nothing else may append.
//!
//! Nobody is answered before COMMIT, so an answer is a promise. A refusal is a value: it changes nothing, and leaves
//! an event when an authenticated actor outside the daemon was refused.
use crate::space::{self, Space};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tenure_core::actor::Actor;
use tenure_core::bound::Payload;
use tenure_core::command::{self, Command, Read, Refusal, Refused, View};
use tenure_core::fold::{Event, Stream};
use tenure_core::id::{AgentId, ExecutionId, Mint, WorkerId};
use tenure_core::judge::Judge;
use tenure_core::time::Time;
use tenure_core::{agent, execution, fleet, project};
use tenure_store as store;
use tenure_store::{Blobs, Class, INLINE_BYTES_MAX, Store, Txn};

/// Kinds of refusals whose repeats are counted; the oldest is forgotten beyond.
const REFUSALS_MAX: usize = 1024;
const REFUSAL_WINDOW_MS: u64 = 60_000;

/// What a commit did.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Index of its last record in the project's ledger.
    pub index: u64,
    pub events: Vec<(Stream, Event)>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command does not fit the state; nothing changed.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// The state has moved on, so that a reconciler's command has nothing left to do.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Refused(_) => true,
            Error::Store(_) => false,
        }
    }
}

#[derive(Clone)]
pub struct Door {
    writer: store::Writer,
    blobs: Blobs,
    judge: Arc<dyn Judge>,
    space: Space,
}

impl Door {
    pub fn new(store: &Store, judge: Arc<dyn Judge>, space: Space) -> Door {
        Door { writer: store.writer().clone(), blobs: store.blobs().clone(), judge, space }
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    /// # Errors
    /// `Refused`: the state does not allow it. `Store`: it is not known to be written, and was not decided.
    pub async fn commit(&self, actor: Actor, command: Command) -> Result<Committed, Error> {
        let only_ends = space::only_ends(&command);
        if self.space.is_full() && !only_ends {
            let doing = format!("the command {}", command.verb());
            return Err(Error::Store(store::Error::Full { doing }));
        }
        match self.write(actor, command.clone()).await {
            Err(Error::Store(store::Error::Full { .. })) if only_ends => {
                self.space.fill();
                self.write(actor, command).await
            }
            Err(error @ Error::Store(store::Error::Full { .. })) => {
                self.space.fill();
                Err(error)
            }
            result => result,
        }
    }

    async fn write(&self, actor: Actor, command: Command) -> Result<Committed, Error> {
        self.keep_large(&command).await?;
        let judge = Arc::clone(&self.judge);
        let class = class(actor, &command);
        let (now, seed) = (now(), seed());
        let decided =
            self.writer.write(class, move |txn| transact(txn, actor, command, judge.as_ref(), now, seed)).await?;
        decided.map_err(Error::Refused)
    }

    /// Large payloads are written and synced here, not on the writer's thread, where everyone would wait for them.
    async fn keep_large(&self, command: &Command) -> Result<(), Error> {
        let large: Vec<Payload> =
            command.payloads().into_iter().filter(|payload| payload.bytes.len() > INLINE_BYTES_MAX).cloned().collect();
        if large.is_empty() {
            return Ok(());
        }
        let blobs = self.blobs.clone();
        let kept = tokio::task::spawn_blocking(move || large.iter().try_for_each(|payload| blobs.keep(payload))).await;
        Ok(kept.unwrap_or(Err(store::Error::Stopped))?)
    }

    pub fn mint_agent(&self) -> AgentId {
        AgentId::mint(&mut Mint::new(now(), seed()))
    }

    pub fn mint_execution(&self) -> ExecutionId {
        ExecutionId::mint(&mut Mint::new(now(), seed()))
    }

    pub fn mint_worker(&self) -> WorkerId {
        WorkerId::mint(&mut Mint::new(now(), seed()))
    }

    /// Bytes on their way to be bound, with a fresh salt.
    pub fn payload(&self, bytes: Vec<u8>) -> Payload {
        Payload::new(seed().to_le_bytes(), bytes)
    }
}

/// The one place where the daemon reads the wall clock for a decision.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Time::from_millis(i64::try_from(since).unwrap_or(i64::MAX))
}

fn seed() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("invariant: the kernel gives randomness");
    u128::from_le_bytes(bytes)
}

/// What a person waits for, and what ends something, goes before the daemon's own wakes.
fn class(actor: Actor, command: &Command) -> Class {
    let ends =
        matches!(command, Command::Execution(_, execution::Command::EndCall(_) | execution::Command::Release { .. }));
    match actor {
        Actor::Owner { .. } | Actor::Key(_) | Actor::Agent(_) => Class::Interactive,
        Actor::Worker(_) | Actor::Daemon | Actor::Validator if ends => Class::Interactive,
        Actor::Worker(_) | Actor::Daemon | Actor::Validator => Class::Wake,
    }
}

fn transact(
    txn: &mut Txn<'_>,
    actor: Actor,
    command: Command,
    judge: &dyn Judge,
    now: Time,
    seed: u128,
) -> Result<Result<Committed, Refusal>, store::Error> {
    let stream = command.stream();
    let verb = command.verb();
    let view = view(txn, &command)?;
    let now = txn.clamp(now);
    match command::decide(&view, actor, command, judge, now, seed) {
        Ok(decision) => {
            for payload in decision.payloads {
                txn.payload(payload)?;
            }
            let mut index = 0;
            for (stream, event) in &decision.events {
                index = txn.append(*stream, actor, event.clone(), now)?;
            }
            Ok(Ok(Committed { index, events: decision.events }))
        }
        Err(refusal) => {
            record_refusal(txn, stream, actor, verb, &refusal, now)?;
            Ok(Err(refusal))
        }
    }
}

fn view(txn: &mut Txn<'_>, command: &Command) -> Result<View, store::Error> {
    let mut view = View::default();
    let own = command.stream();
    take(txn, &mut view, own)?;
    for read in command::reads(command) {
        match read {
            Read::Fold(stream) => take(txn, &mut view, stream)?,
            Read::AgentNamed(name) => view.agent_named = txn.agent_named(&name)?,
            Read::OpenExecutions(agent) => view.open_executions = txn.open_executions(agent)?,
            Read::BoundTo(session) => view.bound = txn.bound_to(session)?,
            Read::Twin(agent, key) => view.twin = txn.twin(agent, key)?,
        }
    }
    Ok(view)
}

fn take(txn: &mut Txn<'_>, view: &mut View, stream: Stream) -> Result<(), store::Error> {
    if let Some(fold) = txn.fold(stream)? {
        view.folds.insert(stream, fold.clone());
    }
    Ok(())
}

/// The first refusal of a kind within a minute is an event; the others are counted into the next one.
fn record_refusal(
    txn: &mut Txn<'_>,
    stream: Stream,
    actor: Actor,
    verb: &str,
    refusal: &Refusal,
    now: Time,
) -> Result<(), store::Error> {
    let quiet = matches!(actor, Actor::Daemon | Actor::Validator);
    let no_change =
        matches!(refusal, Refusal::Agent(agent::Misstep::Unchanged) | Refusal::Execution(execution::Misstep::Twin(_)));
    if quiet || no_change {
        return Ok(());
    }
    let stream = if txn.fold(stream)?.is_some() { stream } else { Stream::Project };
    if txn.fold(stream)?.is_none() {
        return Ok(());
    }
    let code = code(refusal);
    let Some(repeats) = count(&(stream, actor, verb.to_string(), code.clone()), now) else { return Ok(()) };
    let refused = Refused { verb: verb.to_string(), code, repeats };
    let event = match stream {
        Stream::Project => Event::Project(project::Event::Refused(refused)),
        Stream::Agent(_) => Event::Agent(agent::Event::Refused(refused)),
        Stream::Execution(_) => Event::Execution(execution::Event::Refused(refused)),
        Stream::Worker(_) => Event::Worker(fleet::Event::Refused(refused)),
    };
    txn.append(stream, actor, event, now)?;
    Ok(())
}

/// The stable word of a refusal, as `noun.misstep`.
pub fn code(refusal: &Refusal) -> String {
    let (noun, misstep) = match refusal {
        Refusal::Project(misstep) => ("project", format!("{misstep:?}")),
        Refusal::Agent(misstep) => ("agent", format!("{misstep:?}")),
        Refusal::Execution(misstep) => ("execution", format!("{misstep:?}")),
        Refusal::Worker(misstep) => ("worker", format!("{misstep:?}")),
    };
    let word = misstep.split(['(', ' ']).next().unwrap_or_default();
    let mut snake = String::with_capacity(word.len() + 4);
    for letter in word.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    format!("{noun}.{snake}")
}

type Kind = (Stream, Actor, String, String);

struct Seen {
    since: Time,
    repeats: u64,
}

thread_local! {
    /// Only the writer's thread decides, so only it counts; a crash forgets counts, never events.
    static REFUSALS: std::cell::RefCell<HashMap<Kind, Seen>> = std::cell::RefCell::new(HashMap::new());
}

/// `Some(repeats before)` when this refusal is to be an event.
fn count(kind: &Kind, now: Time) -> Option<u64> {
    REFUSALS.with_borrow_mut(|refusals| {
        if let Some(seen) = refusals.get_mut(kind) {
            if now.since_ms(seen.since) < REFUSAL_WINDOW_MS {
                seen.repeats += 1;
                return None;
            }
            let repeats = std::mem::replace(seen, Seen { since: now, repeats: 0 }).repeats;
            return Some(repeats);
        }
        if refusals.len() >= REFUSALS_MAX {
            let oldest = refusals.iter().min_by_key(|(_, seen)| seen.since).map(|(kind, _)| kind.clone());
            oldest.and_then(|oldest| refusals.remove(&oldest));
        }
        refusals.insert(kind.clone(), Seen { since: now, repeats: 0 });
        Some(0)
    })
}
