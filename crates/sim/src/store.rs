//! The ledger in memory: streams, folds, rows and payloads. Time and seeds are counted, so that a world made by the same
//! commands is the same to the byte. It must answer as the store does: both are held to one set of invariants.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{self, Command, Event, Fold, Refusal, Stream};
use tenure_core::bound::{Hash, Payload};
use tenure_core::budget::Whose;
use tenure_core::capability::Attributes;
use tenure_core::comms::{MessageRow, State};
use tenure_core::draft::{Committed, Decision, DecisionContext, Ledger, transact};
use tenure_core::execution::Execution;
use tenure_core::facts::{Changed, Counter, Expiring, Facts, Namespace, PAGE_MAX, Unread};
use tenure_core::id::{AgentId, ExecutionId, MessageId, Mint, ProjectId, WorkerId};
use tenure_core::item::{Item, ItemKind};
use tenure_core::judge::Judge;
use tenure_core::ledger::{self, NOTHING_BEFORE, Record};
use tenure_core::owed::Owed;
use tenure_core::plan::Plan;
use tenure_core::retention::Retained;
use tenure_core::row::Row;
use tenure_core::secret::BindingRow;
use tenure_core::state::{Acl, Entry, Home};
use tenure_core::time::{Stamp, Time};

/// What is stored, and nothing else.
#[derive(Debug, Default)]
pub struct Memory {
    pub project: Option<ProjectId>,
    pub streams: BTreeMap<Stream, Vec<(Stamp, Event)>>,
    /// The records as they would be stored, in the chain's order.
    pub chain: Vec<Vec<u8>>,
    pub prev: Option<Hash>,
    pub folds: BTreeMap<Stream, Fold>,
    pub owed: Vec<(Stream, Owed)>,
    pub payloads: BTreeMap<Hash, Payload>,
    pub holders: BTreeMap<(Namespace, String), String>,
    pub counters: BTreeMap<(Counter, String, u64), i64>,
    /// Every kept version of a key; the last is the present one.
    pub entries: BTreeMap<(String, String), BTreeMap<u64, Entry>>,
    pub acls: BTreeMap<String, Acl>,
    pub secret_bindings: Vec<BindingRow>,
    /// What an event says is gone.
    pub erased: BTreeSet<Hash>,
    /// By recipient and id.
    pub messages: BTreeMap<(String, MessageId), MessageRow>,
    pub items: BTreeMap<(ItemKind, AgentId, String), Item>,
    pub plans: BTreeMap<(AgentId, u32), Hash>,
    pub rows: Vec<Row>,
    pub last: Stamp,
    /// Reading and writing fail until it is false again.
    pub broken: bool,
}

impl Facts for Memory {
    fn fold(&mut self, stream: Stream) -> Result<Option<Arc<Fold>>, Unread> {
        self.readable()?;
        Ok(self.folds.get(&stream).cloned().map(Arc::new))
    }

    fn plan(&mut self, agent: AgentId, revision: u32) -> Result<Option<Arc<Plan>>, Unread> {
        self.readable()?;
        let bytes = self.plans.get(&(agent, revision)).and_then(|hash| self.payloads.get(hash));
        Ok(bytes.map(|payload| Arc::new(Plan::read(payload.bytes()).expect("a plan that was compiled is read"))))
    }

    fn attributes(&mut self, bound: &Hash) -> Result<Option<Attributes>, Unread> {
        self.readable()?;
        Ok(self.payloads.get(bound).and_then(|payload| serde_json::from_slice(payload.bytes()).ok()))
    }

    fn holder(&mut self, namespace: Namespace, key: &str) -> Result<Option<String>, Unread> {
        self.readable()?;
        Ok(self.holders.get(&(namespace, key.to_string())).cloned())
    }

    fn count(&mut self, counter: Counter, key: &str, bucket: u64) -> Result<i64, Unread> {
        self.readable()?;
        Ok(self.counters.get(&(counter, key.to_string(), bucket)).copied().unwrap_or(0))
    }

    fn entry(&mut self, namespace: &str, key: &str) -> Result<Option<Entry>, Unread> {
        self.readable()?;
        let versions = self.entries.get(&(namespace.to_string(), key.to_string()));
        Ok(versions.and_then(|versions| versions.values().last()).cloned())
    }

    fn versions(&mut self, namespace: &str, key: &str, at_most: u64, limit: u32) -> Result<Vec<Entry>, Unread> {
        self.readable()?;
        let versions = self.entries.get(&(namespace.to_string(), key.to_string()));
        let kept = versions.into_iter().flat_map(|versions| versions.range(..=at_most).rev());
        Ok(kept.map(|(_, entry)| entry.clone()).take(limit as usize).collect())
    }

    fn old_versions(&mut self, namespace: &str, limit: u32) -> Result<Vec<(String, Entry)>, Unread> {
        self.readable()?;
        let mut found = Vec::new();
        for ((_, key), versions) in self.entries.iter().filter(|((space, _), _)| space == namespace) {
            let last = versions.keys().last();
            let old = versions.iter().filter(|(version, entry)| Some(*version) != last || entry.value.is_none());
            found.extend(old.map(|(_, entry)| (key.clone(), entry.clone())));
        }
        found
            .sort_by(|(key, entry), (other, than)| (entry.at, key, entry.version).cmp(&(than.at, other, than.version)));
        found.truncate(limit as usize);
        Ok(found)
    }

    fn entries(
        &mut self,
        namespace: &str,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Entry)>, Unread> {
        self.readable()?;
        let fits = |space: &str, key: &str| space == namespace && key.starts_with(prefix) && key > after;
        let keys = self.entries.iter().filter(|((space, key), _)| fits(space, key));
        let present = keys.filter_map(|((_, key), versions)| Some((key.clone(), versions.values().last()?.clone())));
        Ok(present.filter(|(_, entry)| entry.value.is_some()).take(limit as usize).collect())
    }

    fn expiring(&mut self, home: Home, limit: u32) -> Result<Vec<Expiring>, Unread> {
        self.readable()?;
        let expiring = self.entries.iter().filter_map(|((namespace, key), versions)| {
            let last = versions.values().last().filter(|entry| entry.home == home)?;
            Some(Expiring { namespace: namespace.clone(), key: key.clone(), at: last.expires? })
        });
        let mut found: Vec<Expiring> = expiring.collect();
        found.sort_by(|one, other| (one.at, &one.namespace, &one.key).cmp(&(other.at, &other.namespace, &other.key)));
        found.truncate(limit as usize);
        Ok(found)
    }

    fn state_changes(&mut self, home: Home, after: Option<u64>, limit: u32) -> Result<Vec<Changed>, Unread> {
        self.readable()?;
        let records = self.chain.iter().map(|record| ledger::read(record).expect("what was written is read"));
        let told = ["state.set", "state.deleted", "state.expired"];
        let mut found: Vec<Changed> = records
            .filter(|(meta, _)| meta.stream == home.into() && told.contains(&meta.kind.as_str()))
            .map(|(meta, event)| Changed { index: meta.index, at: meta.stamp.at, event })
            .collect();
        match after {
            Some(after) => {
                found.retain(|changed| changed.index > after);
                found.truncate(limit as usize);
                Ok(found)
            }
            None => Ok(found.pop().into_iter().collect()),
        }
    }

    fn acls(&mut self) -> Result<Vec<Acl>, Unread> {
        self.readable()?;
        Ok(self.acls.values().cloned().collect())
    }

    fn page(&mut self, counter: Counter) -> Result<Vec<(String, i64)>, Unread> {
        self.readable()?;
        let counted = self
            .counters
            .iter()
            .filter(|((which, _, bucket), count)| *which == counter && *bucket == 0 && **count != 0);
        Ok(counted.map(|((_, key, _), count)| (key.clone(), *count)).take(PAGE_MAX as usize).collect())
    }

    fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.readable()?;
        let mut found = self.messages_of(agent, |row| row.state == State::Waiting);
        found.sort_by_key(|row| (row.priority, row.seq));
        found.truncate(limit as usize);
        Ok(found)
    }

    fn unanswered(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.readable()?;
        let mut found = self.messages_of(agent, MessageRow::awaits_answer);
        found.sort_by_key(|row| (row.deadline, row.id));
        found.truncate(limit as usize);
        Ok(found)
    }

    fn message(&mut self, agent: AgentId, message: MessageId) -> Result<Option<MessageRow>, Unread> {
        self.readable()?;
        Ok(self.messages.get(&(Actor::Agent(agent).to_string(), message)).cloned())
    }

    fn item(&mut self, kind: ItemKind, agent: AgentId, key: &str) -> Result<Option<Item>, Unread> {
        self.readable()?;
        Ok(self.items.get(&(kind, agent, key.to_string())).cloned())
    }

    fn items(&mut self, kind: ItemKind, agent: AgentId, state: &str, limit: u32) -> Result<Vec<Item>, Unread> {
        self.readable()?;
        let of = self.items.values().filter(|item| item.kind == kind && item.agent == agent && item.state == state);
        Ok(of.take(limit as usize).cloned().collect())
    }

    fn events_after(&mut self, stream: Stream, n: u64, limit: u32) -> Result<Vec<(u64, Event)>, Unread> {
        self.readable()?;
        let events = self.streams.get(&stream).into_iter().flatten();
        let placed = (1..).zip(events).filter(|(place, _)| *place > n);
        Ok(placed.map(|(place, (_, event))| (place, event.clone())).take(limit as usize).collect())
    }

    fn kept(&mut self, whose: Whose, limit: u32) -> Result<Vec<Retained>, Unread> {
        self.readable()?;
        let executions = self.folds.iter().filter_map(|(stream, fold)| match (stream, fold) {
            (Stream::Execution(id), Fold::Execution(execution)) => Some(execution.row(*id)),
            _ => None,
        });
        let of = executions.filter(|row| match whose {
            Whose::Agent(agent) => row.agent == agent,
            Whose::Project => true,
        });
        let ended = |id: ExecutionId| {
            let fold = self.folds.get(&Stream::Execution(id)).and_then(Fold::as_a::<Execution>);
            fold.is_some_and(|execution| execution.row(id).ended_at.is_some())
        };
        let of = of.filter(|row| row.parent.is_none_or(ended));
        let kept = of.filter_map(|row| {
            Some(Retained { holder: row.id.into(), ended_at: row.ended_at?, bytes: row.kept_bytes? })
        });
        let mut kept: Vec<Retained> = kept.collect();
        let sessions = self.folds.iter().filter_map(|(stream, fold)| match (stream, fold) {
            (Stream::Session(id), Fold::Session(session)) => Some(session.row(*id)),
            _ => None,
        });
        let of = sessions.filter(|row| match whose {
            Whose::Agent(agent) => row.agent == agent,
            Whose::Project => true,
        });
        kept.extend(of.filter_map(|row| {
            Some(Retained { holder: row.id.into(), ended_at: row.ended_at?, bytes: row.kept_bytes? })
        }));
        kept.sort_by_key(|kept| (kept.ended_at, kept.holder.to_string()));
        kept.truncate(limit as usize);
        Ok(kept)
    }

    fn happened(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Unread> {
        self.readable()?;
        let events = self.streams.get(&stream).into_iter().flatten().rev();
        let wanted = events.take_while(|(stamp, _)| since.is_none_or(|since| stamp.at >= since));
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    fn secret_bindings(&mut self, agent: AgentId) -> Result<Vec<BindingRow>, Unread> {
        self.readable()?;
        Ok(self.secret_bindings.iter().filter(|row| row.agent == agent).cloned().collect())
    }

    fn project_stream(&mut self) -> Option<Stream> {
        self.project.map(Stream::Project)
    }

    fn body(&mut self, bound: &Hash) -> Result<Option<Vec<u8>>, Unread> {
        self.readable()?;
        Ok(self.payloads.get(bound).map(|payload| payload.bytes().to_vec()))
    }
}

/// The commit did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl Ledger for Memory {
    type Error = Broken;

    fn project(&self) -> Option<ProjectId> {
        self.project
    }

    fn clamp(&self, stamp: Stamp) -> Stamp {
        stamp.clamp(self.last)
    }

    fn append(&mut self, actor: Actor, stamp: Stamp, decision: &Arc<Decision>) -> Result<u64, Broken> {
        if self.broken {
            return Err(Broken);
        }
        for (stream, event) in &decision.events {
            if let (Stream::Project(project), None) = (stream, self.project) {
                self.project = Some(*project);
            }
            let events = self.streams.entry(*stream).or_default();
            events.push((stamp, event.clone()));
            let record = Record {
                project: self.project.expect("the project is founded first"),
                index: self.chain.len() as u64,
                stream: *stream,
                n: events.len() as u64,
                stamp,
                actor,
                event,
                prev: self.prev.unwrap_or(NOTHING_BEFORE),
            };
            let encoded = record.encode().expect("every event can be recorded");
            self.prev = Some(encoded.leaf);
            self.chain.push(encoded.bytes);
            self.last = stamp;
        }
        self.payloads.extend(decision.payloads.iter().map(|payload| (payload.bound().hash, payload.clone())));
        decision.rows.iter().for_each(|row| self.write(row));
        for (stream, fold) in &decision.folds {
            self.folds.remove(stream);
            self.folds.extend(fold.as_deref().cloned().map(|fold| (*stream, fold)));
        }
        self.owed.retain(|held| !decision.owes_no_more.contains(held));
        self.owed.extend(decision.owes.iter().cloned());
        Ok((self.chain.len() as u64).saturating_sub(1))
    }

    fn unread(&mut self) -> Broken {
        Broken
    }
}

impl Memory {
    fn readable(&self) -> Result<(), Unread> {
        if self.broken { Err(Unread) } else { Ok(()) }
    }

    fn messages_of(&self, agent: AgentId, wanted: impl Fn(&MessageRow) -> bool) -> Vec<MessageRow> {
        let of = self.messages.values().filter(|row| row.recipient == Actor::Agent(agent));
        of.filter(|row| wanted(row)).cloned().collect()
    }

    pub(crate) fn write(&mut self, row: &Row) {
        match row {
            Row::Held { namespace, key, holder } => {
                let key = (*namespace, key.clone());
                self.holders.remove(&key);
                self.holders.extend(holder.clone().map(|holder| (key, holder)));
            }
            Row::Counted { counter, key, bucket, by } => {
                *self.counters.entry((*counter, key.clone(), *bucket)).or_default() += by;
            }
            Row::Entry { namespace, key, entry } => {
                let versions = self.entries.entry((namespace.clone(), key.clone())).or_default();
                versions.insert(entry.version, entry.clone());
            }
            Row::EntryDropped { namespace, key, version, value } => {
                let place = (namespace.clone(), key.clone());
                if let Some(versions) = self.entries.get_mut(&place) {
                    versions.remove(version);
                    if versions.is_empty() {
                        self.entries.remove(&place);
                    }
                }
                if let Some(hash) = value {
                    self.payloads.remove(hash);
                    self.erased.insert(*hash);
                }
            }
            Row::Erased { hash } => {
                self.payloads.remove(hash);
                self.erased.insert(*hash);
            }
            Row::EntriesExpire { namespace, at } => {
                for (_, versions) in self.entries.iter_mut().filter(|((space, _), _)| space == namespace) {
                    if let Some(entry) = versions.values_mut().last().filter(|entry| entry.value.is_some()) {
                        entry.expires = Some(*at);
                    }
                }
            }
            Row::Acl(row) => {
                let (prefix, read, write) = (row.prefix.clone(), row.read.clone(), row.write.clone());
                self.acls.insert(row.prefix.clone(), Acl { prefix, read, write });
            }
            Row::AclRemoved { prefix } => drop(self.acls.remove(prefix)),
            Row::SecretBound(row) => self.secret_bindings.push(row.clone()),
            Row::SecretUnbound { secret, binding } => self.secret_bindings.retain(|row| {
                (row.secret, row.agent, &row.host) != (*secret, binding.agent, &binding.host)
                    || row.capability != binding.capability
            }),
            Row::Revision(revision) => {
                self.plans.insert((revision.agent, revision.number), revision.plan);
            }
            Row::Item(item) => {
                self.items.insert((item.kind, item.agent, item.key.clone()), item.as_ref().clone());
            }
            Row::ItemChanged { kind, agent, key, change, at } => {
                if let Some(item) = self.items.get_mut(&(*kind, *agent, key.clone())) {
                    item.change(change, *at);
                }
            }
            Row::ItemGone { kind, agent, key } => drop(self.items.remove(&(*kind, *agent, key.clone()))),
            Row::Message(row) => {
                self.messages.insert((row.recipient.to_string(), row.id), row.as_ref().clone());
            }
            Row::MessageChanged { recipient, message, change, at } => {
                if let Some(row) = self.messages.get_mut(&(recipient.to_string(), *message)) {
                    row.change(change, *at);
                }
            }
            other => other.clone().join(&mut self.rows),
        }
    }
}

/// A ledger in memory with a clock, a judge and a source of randomness, all counted.
pub struct World {
    pub memory: Memory,
    pub judge: Box<dyn Judge>,
    pub now: Stamp,
    seed: u128,
}

impl World {
    pub fn new(judge: impl Judge + 'static) -> World {
        let now = Stamp { at: Time::from_millis(1_000_000), ..Stamp::default() };
        World { memory: Memory::default(), judge: Box::new(judge), now, seed: 1 }
    }

    pub fn mint(&mut self) -> Mint {
        self.seed += 1_000_003;
        Mint::new(self.now.at, self.seed)
    }

    pub fn agent_id(&mut self) -> AgentId {
        AgentId::mint(&mut self.mint())
    }

    pub fn execution_id(&mut self) -> ExecutionId {
        ExecutionId::mint(&mut self.mint())
    }

    pub fn worker_id(&mut self) -> WorkerId {
        WorkerId::mint(&mut self.mint())
    }

    pub fn project_id(&mut self) -> ProjectId {
        ProjectId::mint(&mut self.mint())
    }

    pub fn payload(&mut self, text: &str) -> Payload {
        self.seed += 1;
        Payload::new(self.seed.to_le_bytes(), text.as_bytes().to_vec())
    }

    /// Time goes on, on both axes.
    pub fn pass(&mut self, milliseconds: u64) {
        self.now = Stamp { at: self.now.at.plus_ms(milliseconds), run: self.now.run.plus_ms(milliseconds) };
    }

    /// # Errors
    /// The refusal that the real door would answer; nothing but its own event changed.
    ///
    /// # Panics
    /// Where the memory is broken: use [`World::transact`].
    pub fn commit(&mut self, actor: Actor, command: Command) -> Result<Vec<Event>, Refusal> {
        let committed = self.transact(actor, command).expect("the memory is not broken")?;
        Ok(committed.decision.events.iter().map(|(_, event)| event.clone()).collect())
    }

    /// # Errors
    /// `Broken`, and then nothing changed; inside, the refusal.
    pub fn transact(&mut self, actor: Actor, command: Command) -> Result<Result<Committed, Refusal>, Broken> {
        self.seed += 1_000_003;
        let context = DecisionContext { actor, stamp: self.now, seed: self.seed, judge: self.judge.as_ref() };
        transact(&mut self.memory, context, command)
    }

    /// Every stream replayed from its events alone.
    pub fn replayed(&self) -> BTreeMap<Stream, Fold> {
        let fold = |events: &Vec<(Stamp, Event)>| {
            let mut fold = None;
            events.iter().for_each(|(stamp, event)| aggregate::apply(&mut fold, event, *stamp));
            fold
        };
        self.memory.streams.iter().filter_map(|(stream, events)| fold(events).map(|fold| (*stream, fold))).collect()
    }

    pub fn fold<A: aggregate::Member>(&self, id: A::Id) -> Option<&A> {
        self.memory.folds.get(&A::stream(id)).and_then(Fold::as_a)
    }

    pub fn owed(&self, stream: Stream) -> Vec<Owed> {
        self.memory.folds.get(&stream).map(Fold::owed).unwrap_or_default()
    }
}
