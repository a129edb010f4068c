//! Folds of committed state, the least lately used leaving first, and plans. Nothing uncommitted may enter.
use crate::Error;
use crate::payload::{Blobs, payload};
use crate::rows::agents;
use crate::sql::Sql;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tenure_core::aggregate::{Fold, Stream};
use tenure_core::bound::Hash;
use tenure_core::id::AgentId;
use tenure_core::ledger::MacKey;
use tenure_core::plan::Plan;

/// What the writer knows of a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// None where no event has made a fold, as after nothing but refusals.
    pub fold: Option<Arc<Fold>>,
    /// Events in the stream.
    pub n: u64,
    /// Events that the stored snapshot holds.
    pub snapped: u64,
}

#[derive(Debug)]
pub(crate) struct Cache {
    entries: HashMap<Stream, (Entry, u64)>,
    order: BTreeMap<u64, Stream>,
    turn: u64,
    limit: usize,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Cache {
        Cache { entries: HashMap::new(), order: BTreeMap::new(), turn: 0, limit: limit.max(1) }
    }

    pub(crate) fn get(&mut self, stream: Stream) -> Option<&Entry> {
        let (entry, turn) = self.entries.get_mut(&stream)?;
        self.turn += 1;
        self.order.remove(turn);
        *turn = self.turn;
        self.order.insert(self.turn, stream);
        Some(entry)
    }

    pub(crate) fn put(&mut self, stream: Stream, entry: Entry) {
        self.turn += 1;
        if let Some((_, turn)) = self.entries.insert(stream, (entry, self.turn)) {
            self.order.remove(&turn);
        }
        self.order.insert(self.turn, stream);
    }

    pub(crate) fn remove(&mut self, stream: Stream) {
        if let Some((_, turn)) = self.entries.remove(&stream) {
            self.order.remove(&turn);
        }
    }

    /// Those that must leave before `more` may come, oldest first.
    pub(crate) fn leaving(&self, more: usize) -> Vec<(Stream, Entry)> {
        let excess = (self.entries.len() + more).saturating_sub(self.limit);
        let oldest = self.order.values().take(excess);
        oldest.filter_map(|stream| self.entries.get(stream).map(|(entry, _)| (*stream, entry.clone()))).collect()
    }
}

/// Plans that are kept read; beyond, all are forgotten.
const PLANS_MAX: usize = 256;

/// Plans by the hash of their bytes, so that none can be another's, and which hash a revision's plan has.
#[derive(Debug, Default)]
pub struct Plans {
    plans: HashMap<Hash, Arc<Plan>>,
    revisions: HashMap<(AgentId, u32), Hash>,
}

impl Plans {
    /// The plan of a revision, which never changes once it is committed.
    ///
    /// # Errors
    /// As [`Plans::get`], and `Corrupt` where this ledger did not write the revision so.
    pub fn of(
        &mut self,
        sql: &mut dyn Sql,
        (blobs, macs): (&Blobs, &MacKey),
        agent: AgentId,
        revision: u32,
    ) -> Result<Option<Arc<Plan>>, Error> {
        if let Some(hash) = self.revisions.get(&(agent, revision)).copied() {
            return self.get(sql, blobs, hash);
        }
        let Some(row) = agents::revision(sql, agent, revision)? else { return Ok(None) };
        let row = row.verified(macs)?;
        if self.revisions.len() >= PLANS_MAX {
            self.revisions.clear();
        }
        self.revisions.insert((agent, revision), row.plan);
        self.get(sql, blobs, row.plan)
    }

    /// A transaction was undone, and with it perhaps a revision.
    pub(crate) fn forget_revisions(&mut self) {
        self.revisions.clear();
    }

    /// # Errors
    /// The database's; `Corrupt` where the bytes are no plan.
    fn get(&mut self, sql: &mut dyn Sql, blobs: &Blobs, hash: Hash) -> Result<Option<Arc<Plan>>, Error> {
        if let Some(plan) = self.plans.get(&hash) {
            return Ok(Some(Arc::clone(plan)));
        }
        let Some(bytes) = payload(sql, blobs, &hash)? else { return Ok(None) };
        let plan = Arc::new(Plan::read(&bytes).map_err(Error::corrupt)?);
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        self.plans.insert(hash, Arc::clone(&plan));
        Ok(Some(plan))
    }
}
