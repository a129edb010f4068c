//! The ledger in memory as a simulation's storage, with its own proof. Where a mutation is on, it breaks what is stored.
use crate::mutation::Mutation;
use crate::storage::{Failed, Fault, Injected, Request, Storage, View, decide};
use crate::store::Memory;
use std::collections::BTreeMap;
use std::sync::Arc;
use tenure_core::agent::Standing;
use tenure_core::aggregate::{self, Fold, Refusal, Stream};
use tenure_core::bound::{Hash, Payload};
use tenure_core::call::Holder;
use tenure_core::draft::Committed;
use tenure_core::execution::ExecutionRow;
use tenure_core::facts::Counter;
use tenure_core::fleet::WorkerRow;
use tenure_core::id::{AgentId, ConnectionId, ExecutionId, SessionId, WorkerId};
use tenure_core::ledger::{self, NOTHING_BEFORE};
use tenure_core::owed::{Kind, Owed};
use tenure_core::row::Row;
use tenure_core::time::{Due, Stamp};

#[derive(Debug, Default)]
pub struct MemoryStorage {
    memory: Memory,
    mutation: Option<Mutation>,
}

impl MemoryStorage {
    pub fn new(mutation: Option<Mutation>) -> MemoryStorage {
        MemoryStorage { memory: Memory::default(), mutation }
    }

    fn executions(&self) -> BTreeMap<ExecutionId, &ExecutionRow> {
        let rows =
            self.memory.rows.iter().filter_map(|row| if let Row::Execution(row) = row { Some(row) } else { None });
        rows.map(|row| (row.id, row.as_ref())).collect()
    }
}

/// Is it due by its own clock?
fn is_due(due: Due, now: Stamp) -> bool {
    match due {
        Due::Run(run) => run <= now.run,
        Due::Wall(at) => at <= now.at,
    }
}

impl Storage for MemoryStorage {
    fn commit(&mut self, request: Request) -> Result<Result<Committed, Refusal>, Failed> {
        let mut request = request;
        let uncommitted = request.fault == Some(Fault::Commit);
        if uncommitted {
            // Memory knows no transaction that could be taken back; to the asker both are one.
            request.fault = Some(Fault::Append);
        }
        let half = request.fault == Some(Fault::Append) && self.mutation == Some(Mutation::HalfCommit);
        if half {
            request.fault = None;
        }
        let before = (self.memory.chain.len(), self.memory.prev);
        let result = decide(&mut self.memory, request, self.mutation);
        if half {
            (self.memory.prev, _) = (before.1, self.memory.chain.truncate(before.0));
            return Err(Failed { fault: None });
        }
        match result {
            Ok(_) if uncommitted => Err(Failed { fault: None }),
            Ok(decided) => {
                let stored = decided.iter().flat_map(|committed| &committed.decision.payloads);
                for payload in stored {
                    self.memory.payloads.insert(payload.bound().hash, Mutation::stored(self.mutation, payload));
                }
                Ok(decided)
            }
            Err(Injected::Asked) => Err(Failed { fault: None }),
            Err(Injected::Own(error)) => Err(Failed { fault: Some(format!("{error:?}")) }),
        }
    }

    fn due(&mut self, kind: Kind, now: Stamp) -> Vec<(Stream, Owed)> {
        let owed = self.memory.owed.iter();
        let mut due: Vec<(Stream, Owed)> =
            owed.filter(|(_, owed)| owed.obligation.kind() == kind && is_due(owed.due, now)).cloned().collect();
        due.sort_by_cached_key(|(stream, owed)| (*stream, owed.obligation.to_key()));
        due
    }

    fn bound_to(&mut self, connection: ConnectionId) -> Vec<Holder> {
        let executions = self.executions();
        let executions = executions.values().filter(|row| row.connection == Some(connection)).map(|row| row.id.into());
        let rows = self.memory.rows.iter().filter_map(|row| if let Row::Session(row) = row { Some(row) } else { None });
        let sessions: BTreeMap<SessionId, Option<ConnectionId>> = rows.map(|row| (row.id, row.connection)).collect();
        let sessions = sessions.into_iter().filter(|(_, bound)| *bound == Some(connection)).map(|(id, _)| id.into());
        executions.chain(sessions).collect()
    }

    fn open_of(&mut self, agent: AgentId) -> Vec<ExecutionId> {
        let executions = self.executions();
        executions.values().filter(|row| row.agent == agent && row.ended_at.is_none()).map(|row| row.id).collect()
    }

    fn kill(&mut self) {}
}

impl View for MemoryStorage {
    fn records(&mut self, from: u64) -> Vec<Vec<u8>> {
        self.memory.chain.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).cloned().collect()
    }

    fn fold(&mut self, stream: Stream) -> Option<Arc<Fold>> {
        self.memory.folds.get(&stream).cloned().map(Arc::new)
    }

    fn owed(&mut self) -> Vec<(Stream, Owed)> {
        self.memory.owed.clone()
    }

    fn payload(&mut self, hash: &Hash) -> Option<Payload> {
        self.memory.payloads.get(hash).cloned()
    }

    fn is_erased(&mut self, hash: &Hash) -> bool {
        self.memory.erased.contains(hash)
    }

    fn execution_row(&mut self, id: ExecutionId) -> Option<ExecutionRow> {
        self.memory.rows.iter().rev().find_map(|row| match row {
            Row::Execution(row) if row.id == id => Some(row.as_ref().clone()),
            _ => None,
        })
    }

    fn worker_row(&mut self, id: WorkerId) -> Option<WorkerRow> {
        self.memory.rows.iter().rev().find_map(|row| match row {
            Row::Worker(row) if row.id == id => Some(row.clone()),
            _ => None,
        })
    }

    fn standing(&mut self, id: AgentId) -> Option<Standing> {
        self.memory.rows.iter().rev().find_map(|row| match row {
            Row::Standing { agent, standing } if *agent == id => Some(standing.clone()),
            _ => None,
        })
    }

    fn count(&mut self, counter: Counter, key: &str) -> i64 {
        self.memory.counters.get(&(counter, key.to_string(), 0)).copied().unwrap_or(0)
    }

    fn verify(&mut self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut replay = Replay::default();
        for (index, bytes) in self.memory.chain.iter().enumerate() {
            if let Err(what) = replay.record(index as u64, bytes) {
                findings.push(what);
                return findings;
            }
        }
        replay.count_states();
        let bytes = |folds: &BTreeMap<Stream, Fold>| -> BTreeMap<Stream, Vec<u8>> {
            folds.iter().map(|(stream, fold)| (*stream, ledger::canonical(fold).unwrap_or_default())).collect()
        };
        if bytes(&replay.folds) != bytes(&self.memory.folds) {
            findings.push("the folds of a whole replay are others, byte for byte".to_string());
        }
        let of_events =
            |row: &&Row| !matches!(row, Row::Execution(_) | Row::Standing { .. } | Row::Worker(_) | Row::Session(_));
        if !self.memory.rows.iter().filter(of_events).eq(replay.rows.rows.iter().filter(of_events)) {
            findings.push("rows made again from the events are others".to_string());
        }
        // Sums of refusals are counted beside any event.
        let counted = |counters: &BTreeMap<(Counter, String, u64), i64>| -> Vec<((Counter, String, u64), i64)> {
            let beside = |counter| matches!(counter, Counter::Refusals | Counter::RefusalsUntold);
            let counters = counters.iter().filter(|((counter, ..), by)| !beside(*counter) && **by != 0);
            counters.map(|(key, by)| (key.clone(), *by)).collect()
        };
        if counted(&self.memory.counters) != counted(&replay.rows.counters)
            || self.memory.holders != replay.rows.holders
            || self.memory.entries != replay.rows.entries
            || self.memory.messages != replay.rows.messages
            || self.memory.items != replay.rows.items
            || self.memory.plans != replay.rows.plans
        {
            findings.push("facts made again from the events are others".to_string());
        }
        findings
    }
}

/// All that follows from the records, from the first one on.
#[derive(Default)]
struct Replay {
    folds: BTreeMap<Stream, Fold>,
    rows: Memory,
    prev: Option<Hash>,
}

impl Replay {
    fn record(&mut self, index: u64, bytes: &[u8]) -> Result<(), String> {
        let (meta, event) = ledger::read(bytes)?;
        if meta.index != index || meta.prev != self.prev.unwrap_or(NOTHING_BEFORE) {
            return Err(format!("record {index} does not follow the one before it"));
        }
        self.prev = Some(ledger::leaf(bytes));
        let rows = aggregate::event_rows(meta.stream, self.folds.get(&meta.stream), &event, meta.stamp);
        rows.iter().for_each(|row| self.rows.write(row));
        let mut fold = self.folds.remove(&meta.stream);
        aggregate::apply(&mut fold, &event, meta.stamp);
        self.folds.extend(fold.map(|fold| (meta.stream, fold)));
        Ok(())
    }

    /// What is counted of states: as they are now, it is the sum of what each change counted.
    fn count_states(&mut self) {
        let Replay { folds, rows, .. } = self;
        for (stream, fold) in folds.iter() {
            let states = aggregate::state_rows(*stream, None, fold);
            states.iter().filter(|row| matches!(row, Row::Counted { .. })).for_each(|row| rows.write(row));
        }
    }
}
