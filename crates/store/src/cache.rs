//! Folds of committed state, the least lately used leaving first. Nothing uncommitted may enter.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tenure_core::fold::{Fold, Stream};

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
