//! The same rows in the same tables by the same statements and settings, with nobody deciding, folding, chaining or
//! signing: what SQLite alone takes for them.
use rusqlite::{Connection, Statement};
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) struct Bare {
    db: Connection,
    index: i64,
}

/// What a governed call's two commits write, byte for byte as long.
struct Rows<'a> {
    ledger: Statement<'a>,
    called: Statement<'a>,
    ended: Statement<'a>,
    payload: Statement<'a>,
    owe: Statement<'a>,
    settle: Statement<'a>,
    validation: Statement<'a>,
}

const PROJECT: &str = "prj_01hzzzzzzzzzzzzzzzzzzzzzzz";
/// The key of a check that waits for its first call.
const NEXT: &str = "next";
const CALLED: usize = 900;
const ENDED: usize = 560;

impl Bare {
    pub(crate) fn open(dir: &Path) -> Bare {
        drop(tenure_store::Store::open(tenure_store::Options::new(dir)).expect("the tables are made"));
        let db = Connection::open(dir.join("tenure.db")).expect("the database opens");
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 2000; \
             PRAGMA cache_size = -4096; PRAGMA foreign_keys = OFF",
        )
        .expect("the settings hold");
        db.set_prepared_statement_cache_capacity(96);
        Bare { db, index: 0 }
    }

    fn rows(&self) -> Rows<'_> {
        let prepare = |text: &str| self.db.prepare(text).expect("the statement is right");
        Rows {
            ledger: prepare(
                "INSERT INTO ledger (project, idx, stream, n, kind, at, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            ),
            called: prepare(
                "INSERT INTO calls (id, holder, iteration, turn, ordinal, validator, capability, arguments, \
                 attributes, shown, state, rules, called_at) VALUES (?, ?, 1, 1, 1, 0, 'filesystem.read', ?, ?, \
                 '{\"path\":\"src/main.rs\"}', 'called', ?, ?)",
            ),
            ended: prepare(
                "UPDATE calls SET state = 'ended', ended_at = ?, outcome = 'done', result = ?, level = ? WHERE id = ?",
            ),
            payload: prepare("INSERT INTO payloads (hash, salt, size, bytes) VALUES (?, ?, ?, ?)"),
            owe: prepare("INSERT INTO owed (kind, axis, due, stream, key) VALUES (?, 'run', 0, ?, ?)"),
            settle: prepare("DELETE FROM owed WHERE kind = ? AND axis = 'run' AND due = 0 AND stream = ? AND key = ?"),
            validation: prepare(
                "INSERT INTO validations (execution, iteration, place, validator, pass, score_milli, reasons, at) \
                 VALUES (?, 1, ?, 'command', 1, 1000, ?, 5)",
            ),
        }
    }

    /// Microseconds for each call, two commits each. The validation after it is written too, and not counted.
    pub(crate) fn calls_alone(&mut self, count: i64) -> f64 {
        self.run(count, 1).as_secs_f64() * 1e6 / count as f64
    }

    /// Calls a second, `batch` of them in two commits.
    pub(crate) fn calls_batched(&mut self, batch: i64, rounds: i64) -> f64 {
        (batch * rounds) as f64 / self.run(rounds, batch).as_secs_f64()
    }

    fn run(&mut self, rounds: i64, batch: i64) -> Duration {
        let first = self.index;
        let mut index = first;
        let mut took = Duration::ZERO;
        let mut rows = self.rows();
        for round in 0..rounds {
            let names: Vec<(String, String)> = (0..batch)
                .map(|place| {
                    let call = first + round * batch + place;
                    (format!("call_01hzzzzzzzzz{call:017}"), format!("exe_01hzzzzzzzzzzzzzzzzz{place:09}"))
                })
                .collect();
            let begin = Instant::now();
            self.commit(&mut index, &names, &mut |index, call, execution| rows.called(index, call, execution));
            self.commit(&mut index, &names, &mut |index, call, execution| rows.ended(index, call, execution));
            took += begin.elapsed();
            self.commit(&mut index, &names, &mut |index, call, execution| rows.validated(index, call, execution));
        }
        drop(rows);
        self.index = index;
        took
    }

    fn commit(&self, index: &mut i64, names: &[(String, String)], write: &mut dyn FnMut(i64, &str, &str)) {
        self.db.execute_batch("BEGIN IMMEDIATE").expect("begins");
        for (call, execution) in names {
            write(*index, call, execution);
            *index += 1;
        }
        let text = "INSERT INTO heads (project, size, frontier, signed) VALUES (?, ?, ?, ?) ON CONFLICT (project) DO \
            UPDATE SET size = excluded.size, frontier = excluded.frontier, signed = excluded.signed";
        let mut head = self.db.prepare_cached(text).expect("the statement is right");
        head.execute((PROJECT, *index, &[7u8; 320][..], "s".repeat(420))).expect("a head");
        drop(head);
        self.db.execute_batch("COMMIT").expect("commits");
    }
}

impl Rows<'_> {
    fn record(&mut self, index: i64, execution: &str, kind: &str, bytes: usize) -> [u8; 32] {
        let body = vec![b'x'; bytes];
        let insert = (PROJECT, index, execution, index, kind, 1_700_000_000_000i64, &body[..]);
        self.ledger.execute(insert).expect("a record");
        self.payload(&index.to_be_bytes(), &body[..22])
    }

    fn payload(&mut self, name: &[u8], bytes: &[u8]) -> [u8; 32] {
        let hash = tenure_core::bound::Hash::of(name).0;
        self.payload.execute((&hash[..], &hash[..16], bytes.len() as i64, bytes)).expect("a payload");
        hash
    }

    fn called(&mut self, index: i64, call: &str, execution: &str) {
        let hash = self.record(index, execution, "call.called", CALLED);
        let attributes = self.payload(call.as_bytes(), br#"{"path":"/workspace/src/main.rs"}"#);
        let row = (call, execution, &hash[..], &attributes[..], "manifest:tools[0] filesystem.*", 5);
        self.called.execute(row).expect("a call");
        self.moved((execution, "validate", NEXT), ("dispatch", call));
    }

    fn ended(&mut self, index: i64, call: &str, execution: &str) {
        let hash = self.record(index, execution, "call.ended", ENDED);
        self.ended.execute((5, &hash[..], "namespaces, landlock", call)).expect("an end");
        self.moved((execution, "dispatch", call), ("validate", call));
    }

    /// What an execution owed, and what it owes instead.
    fn moved(&mut self, (execution, was, of): (&str, &str, &str), (is, to): (&str, &str)) {
        self.settle.execute((was, execution, of)).expect("what was owed");
        self.owe.execute((is, execution, to)).expect("what is owed");
    }

    fn validated(&mut self, index: i64, call: &str, execution: &str) {
        let hash = self.record(index, execution, "iteration.validated", ENDED);
        self.validation.execute((execution, index, &hash[..])).expect("a finding");
        self.moved((execution, "validate", call), ("validate", NEXT));
    }
}
