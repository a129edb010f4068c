//! The one door to the ledger: every change of the whole daemon is decided and appended here, on the database's one writer
//! thread, by core's `transact`; nothing else may append.
//!
//! Nobody is answered before COMMIT, so an answer is a promise. A refusal is a value: it changes nothing, and leaves
//! an event when an authenticated actor outside the daemon was refused.
use crate::clock::Clock;
use crate::platform::{Blocking, Entropy, Platform};
use crate::space::Space;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Refusal, Verb};
use tenure_core::bound::Payload;
use tenure_core::draft::{Committed, DecisionContext, transact};
use tenure_core::id::{
    AgentId, CallId, ExecutionId, InstanceId, Mint, PackageId, ProjectId, SecretId, SessionId, WorkerId,
};
use tenure_core::judge::Judge;
use tenure_core::time::{Run, Stamp};
use tenure_store as store;
use tenure_store::{Blobs, Class, INLINE_BYTES_MAX, Store};
use tenure_wire::scrub::Scrubber;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command does not fit the state; nothing changed.
    #[error("refused: {}", .0.code())]
    Refused(Refusal),
    #[error(transparent)]
    Store(#[from] store::Error),
}

#[derive(Clone)]
pub struct Committer {
    writer: store::Writer,
    blobs: Blobs,
    judge: Arc<dyn Judge>,
    space: Space,
    clock: Clock,
    entropy: Arc<dyn Entropy>,
    blocking: Blocking,
    project: ProjectId,
    scrubber: Scrubber,
}

impl Committer {
    /// `lived`: how long the daemon had lived before this start. `project`: the one that the ledger belongs to, or is to be
    /// founded as.
    pub fn new(
        store: &Arc<Store>,
        judge: Arc<dyn Judge>,
        platform: Platform,
        lived: Run,
        project: Option<ProjectId>,
        scrubber: Scrubber,
    ) -> Committer {
        let Platform { wall, entropy, blocking } = platform;
        let (space, clock) = (Space::new(Arc::clone(store), blocking), Clock::new(wall, lived));
        let project = project.unwrap_or_else(|| ProjectId::mint(&mut Mint::new(clock.now().at, entropy.seed())));
        let (writer, blobs) = (store.writer().clone(), store.blobs().clone());
        Committer { writer, blobs, judge, space, clock, entropy, blocking, project, scrubber }
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// This moment; the wall clock is raw.
    pub fn now(&self) -> Stamp {
        self.clock.now()
    }

    /// # Errors
    /// `Refused`: the state does not allow it. `Store`: it is not known to be written, and was not decided.
    pub async fn commit(&self, actor: Actor, command: Command) -> Result<Committed, Error> {
        let Verb { name, ends, urgent } = command.verb();
        if self.space.is_full() && !ends {
            return Err(Error::Store(store::Error::Full { doing: format!("the command {name}") }));
        }
        // What ends is small, and may be written from the ballast at a second try.
        let again = ends.then(|| command.clone());
        let class = class(actor, urgent);
        match (self.write(actor, command, class).await, again) {
            (Err(Error::Store(store::Error::Full { .. })), Some(command)) => {
                self.space.fill();
                self.write(actor, command, class).await
            }
            (Err(error @ Error::Store(store::Error::Full { .. })), None) => {
                self.space.fill();
                Err(error)
            }
            (result, _) => result,
        }
    }

    async fn write(&self, actor: Actor, command: Command, class: Class) -> Result<Committed, Error> {
        self.keep_large(&command).await?;
        let (judge, stamp, seed) = (Arc::clone(&self.judge), self.clock.now(), self.entropy.seed());
        let job = move |txn: &mut store::Txn<'_>| {
            transact(txn, DecisionContext { actor, stamp, seed, judge: judge.as_ref() }, command)
        };
        self.writer.write(class, job).await?.map_err(Error::Refused)
    }

    /// Large payloads are written and synced here, not on the writer's thread, where everyone would wait for them.
    async fn keep_large(&self, command: &Command) -> Result<(), Error> {
        let large: Vec<Payload> = command
            .payloads()
            .into_iter()
            .filter(|payload| payload.bytes().len() > INLINE_BYTES_MAX)
            .cloned()
            .collect();
        if large.is_empty() {
            return Ok(());
        }
        let blobs = self.blobs.clone();
        let kept = self.blocking.spawn(move || large.iter().try_for_each(|payload| blobs.keep(payload)));
        Ok(kept.await.unwrap_or(Err(store::Error::Stopped))?)
    }

    fn mint(&self) -> Mint {
        Mint::new(self.clock.now().at, self.entropy.seed())
    }

    pub fn mint_agent(&self) -> AgentId {
        AgentId::mint(&mut self.mint())
    }

    pub fn mint_execution(&self) -> ExecutionId {
        ExecutionId::mint(&mut self.mint())
    }

    pub fn mint_call(&self) -> CallId {
        CallId::mint(&mut self.mint())
    }

    pub fn mint_session(&self) -> SessionId {
        SessionId::mint(&mut self.mint())
    }

    pub fn mint_instance(&self) -> InstanceId {
        InstanceId::mint(&mut self.mint())
    }

    pub fn mint_secret(&self) -> SecretId {
        SecretId::mint(&mut self.mint())
    }

    pub fn mint_package(&self) -> PackageId {
        PackageId::mint(&mut self.mint())
    }

    pub fn mint_worker(&self) -> WorkerId {
        WorkerId::mint(&mut self.mint())
    }

    /// Bytes on their way to be bound, with a fresh salt and without the value of any secret.
    pub fn payload(&self, bytes: Vec<u8>) -> Payload {
        self.sealed_payload(self.scrubber.payload(bytes))
    }

    /// The same of what the vault sealed.
    pub fn sealed_payload(&self, bytes: Vec<u8>) -> Payload {
        Payload::new(self.entropy.seed().to_le_bytes(), bytes)
    }

    pub fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }
}

/// What a person waits for, and what ends something, goes before the daemon's own wakes.
fn class(actor: Actor, urgent: bool) -> Class {
    match actor {
        Actor::Owner { .. } | Actor::Key(_) | Actor::Link(_) | Actor::Agent(_) => Class::Interactive,
        Actor::Worker(_) | Actor::Daemon | Actor::Validator if urgent => Class::Interactive,
        Actor::Worker(_) | Actor::Daemon | Actor::Validator => Class::Wake,
    }
}
