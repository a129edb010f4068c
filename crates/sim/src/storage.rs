//! What a simulation needs of a ledger beside core's own `Ledger`: commits that can fail, and what reconcilers and the
//! audit read. Memory and the store on disk are held to one behaviour: the same seed gives the same records in both.
use crate::judge::Careful;
use crate::mutation::Mutation;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::agent::Standing;
use tenure_core::aggregate::{Command, Event, Fold, Refusal, Stream};
use tenure_core::bound::{Hash, Payload};
use tenure_core::budget::Whose;
use tenure_core::call::Holder;
use tenure_core::capability::Attributes;
use tenure_core::comms::MessageRow;
use tenure_core::draft::{Committed, Decision, DecisionContext, Ledger, transact};
use tenure_core::execution::ExecutionRow;
use tenure_core::facts::{Changed, Counter, Expiring, Facts, Namespace, Unread};
use tenure_core::fleet::WorkerRow;
use tenure_core::id::{AgentId, ConnectionId, ExecutionId, MessageId, ProjectId, WorkerId};
use tenure_core::item::{Item, ItemKind};
use tenure_core::owed::{Kind, Owed};
use tenure_core::plan::Plan;
use tenure_core::retention::Retained;
use tenure_core::secret::BindingRow;
use tenure_core::state::{Acl, Entry, Home};
use tenure_core::time::{Stamp, Time};

/// Where a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// So many facts are read, and the next one is not.
    Fact(u32),
    Append,
    /// All is written, and the transaction does not come to its COMMIT.
    Commit,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub actor: Actor,
    pub stamp: Stamp,
    pub seed: u128,
    pub command: Command,
    pub fault: Option<Fault>,
}

/// Nothing of a commit stands. `fault`: what failed that no simulation had asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub fault: Option<String>,
}

/// What the audit reads of a ledger.
pub trait View {
    /// The bytes of the records with an index of at least `from`.
    fn records(&mut self, from: u64) -> Vec<Vec<u8>>;

    fn fold(&mut self, stream: Stream) -> Option<Arc<Fold>>;

    /// The whole index.
    fn owed(&mut self) -> Vec<(Stream, Owed)>;

    fn payload(&mut self, hash: &Hash) -> Option<Payload>;

    /// Whether an event says that its bytes are gone.
    fn is_erased(&mut self, hash: &Hash) -> bool;

    fn execution_row(&mut self, id: ExecutionId) -> Option<ExecutionRow>;

    fn worker_row(&mut self, id: WorkerId) -> Option<WorkerRow>;

    fn standing(&mut self, id: AgentId) -> Option<Standing>;

    fn count(&mut self, counter: Counter, key: &str) -> i64;

    /// The proof that what is stored holds, from the first record on; what does not.
    fn verify(&mut self) -> Vec<String>;
}

pub trait Storage: View {
    /// # Errors
    /// `Failed`; inside, the refusal.
    fn commit(&mut self, request: Request) -> Result<Result<Committed, Refusal>, Failed>;

    /// What is due of a kind, in the order of streams and keys.
    fn due(&mut self, kind: Kind, now: Stamp) -> Vec<(Stream, Owed)>;

    /// What is bound to a connection, and open executions of an agent; by their ids.
    fn bound_to(&mut self, connection: ConnectionId) -> Vec<Holder>;

    fn open_of(&mut self, agent: AgentId) -> Vec<ExecutionId>;

    /// The daemon is killed and started again: nothing but what is stored stays.
    fn kill(&mut self);
}

/// A ledger that fails where it is told to, or stores what a mutation makes of a decision.
pub struct Failing<'l, L> {
    ledger: &'l mut L,
    facts_left: Option<u32>,
    append: bool,
    mutation: Option<Mutation>,
}

/// Why a failing ledger failed.
pub enum Injected<E> {
    Asked,
    Own(E),
}

/// The one way of simulated commands into a ledger.
///
/// # Errors
/// As `transact`.
pub fn decide<L: Ledger>(
    ledger: &mut L,
    request: Request,
    mutation: Option<Mutation>,
) -> Result<Result<Committed, Refusal>, Injected<L::Error>> {
    let Request { actor, stamp, seed, command, fault } = request;
    let (facts_left, append) = match fault {
        Some(Fault::Fact(facts)) => (Some(facts), false),
        Some(Fault::Append) => (None, true),
        Some(Fault::Commit) | None => (None, false),
    };
    let mut failing = Failing { ledger, facts_left, append, mutation };
    transact(&mut failing, DecisionContext { actor, stamp, seed, judge: &Careful }, command)
}

impl<L: Ledger> Failing<'_, L> {
    fn read(&mut self) -> Result<&mut L, Unread> {
        match &mut self.facts_left {
            Some(0) => return Err(Unread),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(self.ledger)
    }
}

impl<L: Ledger> Facts for Failing<'_, L> {
    fn fold(&mut self, stream: Stream) -> Result<Option<Arc<Fold>>, Unread> {
        self.read()?.fold(stream)
    }

    fn plan(&mut self, agent: AgentId, revision: u32) -> Result<Option<Arc<Plan>>, Unread> {
        self.read()?.plan(agent, revision)
    }

    fn attributes(&mut self, bound: &Hash) -> Result<Option<Attributes>, Unread> {
        self.read()?.attributes(bound)
    }

    fn holder(&mut self, namespace: Namespace, key: &str) -> Result<Option<String>, Unread> {
        self.read()?.holder(namespace, key)
    }

    fn count(&mut self, counter: Counter, key: &str, bucket: u64) -> Result<i64, Unread> {
        self.read()?.count(counter, key, bucket)
    }

    fn entry(&mut self, namespace: &str, key: &str) -> Result<Option<Entry>, Unread> {
        self.read()?.entry(namespace, key)
    }

    fn versions(&mut self, namespace: &str, key: &str, at_most: u64, limit: u32) -> Result<Vec<Entry>, Unread> {
        self.read()?.versions(namespace, key, at_most, limit)
    }

    fn old_versions(&mut self, namespace: &str, limit: u32) -> Result<Vec<(String, Entry)>, Unread> {
        self.read()?.old_versions(namespace, limit)
    }

    fn entries(
        &mut self,
        namespace: &str,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Entry)>, Unread> {
        self.read()?.entries(namespace, prefix, after, limit)
    }

    fn expiring(&mut self, home: Home, limit: u32) -> Result<Vec<Expiring>, Unread> {
        self.read()?.expiring(home, limit)
    }

    fn state_changes(&mut self, home: Home, after: Option<u64>, limit: u32) -> Result<Vec<Changed>, Unread> {
        self.read()?.state_changes(home, after, limit)
    }

    fn acls(&mut self) -> Result<Vec<Acl>, Unread> {
        self.read()?.acls()
    }

    fn page(&mut self, counter: Counter) -> Result<Vec<(String, i64)>, Unread> {
        self.read()?.page(counter)
    }

    fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.read()?.waiting(agent, limit)
    }

    fn unanswered(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.read()?.unanswered(agent, limit)
    }

    fn message(&mut self, agent: AgentId, message: MessageId) -> Result<Option<MessageRow>, Unread> {
        self.read()?.message(agent, message)
    }

    fn item(&mut self, kind: ItemKind, agent: AgentId, key: &str) -> Result<Option<Item>, Unread> {
        self.read()?.item(kind, agent, key)
    }

    fn items(&mut self, kind: ItemKind, agent: AgentId, state: &str, limit: u32) -> Result<Vec<Item>, Unread> {
        self.read()?.items(kind, agent, state, limit)
    }

    fn events_after(&mut self, stream: Stream, n: u64, limit: u32) -> Result<Vec<(u64, Event)>, Unread> {
        self.read()?.events_after(stream, n, limit)
    }

    fn kept(&mut self, whose: Whose, limit: u32) -> Result<Vec<Retained>, Unread> {
        self.read()?.kept(whose, limit)
    }

    fn happened(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Unread> {
        self.read()?.happened(stream, since, limit)
    }

    fn secret_bindings(&mut self, agent: AgentId) -> Result<Vec<BindingRow>, Unread> {
        self.read()?.secret_bindings(agent)
    }

    fn project_stream(&mut self) -> Option<Stream> {
        self.ledger.project_stream()
    }

    fn body(&mut self, bound: &Hash) -> Result<Option<Vec<u8>>, Unread> {
        self.read()?.body(bound)
    }
}

impl<L: Ledger> Ledger for Failing<'_, L> {
    type Error = Injected<L::Error>;

    fn project(&self) -> Option<ProjectId> {
        self.ledger.project()
    }

    fn clamp(&self, stamp: Stamp) -> Stamp {
        self.ledger.clamp(stamp)
    }

    fn append(&mut self, actor: Actor, stamp: Stamp, decision: &Arc<Decision>) -> Result<u64, Self::Error> {
        if self.append {
            return Err(Injected::Asked);
        }
        let changed = self.mutation.and_then(|mutation| mutation.of(decision));
        self.ledger.append(actor, stamp, changed.as_ref().unwrap_or(decision)).map_err(Injected::Own)
    }

    fn unread(&mut self) -> Self::Error {
        if self.facts_left == Some(0) { Injected::Asked } else { Injected::Own(self.ledger.unread()) }
    }
}
