//! The same rows in the same tables by the same statements and settings, with nobody deciding, folding, chaining or
//! signing: what SQLite alone takes for them.
use rusqlite::{Connection, Statement};
use std::path::Path;
use std::time::Instant;

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
    head: Statement<'a>,
}

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
                "INSERT INTO calls (id, execution, iteration, turn, ordinal, validator, capability, arguments, path, \
                 state, rules, called_at) VALUES (?, ?, 1, 1, 1, 0, 'filesystem.read', ?, 'src/main.rs', 'called', ?, ?)",
            ),
            ended: prepare(
                "UPDATE calls SET state = 'ended', ended_at = ?, outcome = 'done', result = ?, level = ? WHERE id = ?",
            ),
            payload: prepare("INSERT INTO payloads (hash, salt, size, bytes) VALUES (?, ?, ?, ?)"),
            owe: prepare("INSERT INTO owed (kind, at, stream, key) VALUES ('dispatch', 0, ?, ?)"),
            settle: prepare("DELETE FROM owed WHERE kind = 'dispatch' AND at = 0 AND stream = ? AND key = ?"),
            head: prepare(
                "INSERT INTO heads (project, size, frontier, signed) VALUES (?, ?, ?, ?) ON CONFLICT (project) DO \
                 UPDATE SET size = excluded.size, frontier = excluded.frontier, signed = excluded.signed",
            ),
        }
    }

    /// Microseconds for each call, two commits each.
    pub(crate) fn calls_alone(&mut self, count: i64) -> f64 {
        let begin = Instant::now();
        self.run(count, 1);
        begin.elapsed().as_secs_f64() * 1e6 / count as f64
    }

    /// Calls a second, `batch` of them in two commits.
    pub(crate) fn calls_batched(&mut self, batch: i64, rounds: i64) -> f64 {
        let begin = Instant::now();
        self.run(rounds, batch);
        (batch * rounds) as f64 / begin.elapsed().as_secs_f64()
    }

    fn run(&mut self, rounds: i64, batch: i64) {
        let (first, mut index) = (self.index, self.index);
        let project = "prj_01hzzzzzzzzzzzzzzzzzzzzzzz";
        let mut rows = self.rows();
        let body = vec![b'x'; CALLED];
        let signed = "s".repeat(420);
        for round in 0..rounds {
            let names: Vec<(String, String)> = (0..batch)
                .map(|place| {
                    let call = first + round * batch + place;
                    (format!("call_01hzzzzzzzzz{call:017}"), format!("exe_01hzzzzzzzzzzzzzzzzz{:09}", call % 256))
                })
                .collect();
            self.db.execute_batch("BEGIN IMMEDIATE").expect("begins");
            for (call, execution) in &names {
                let stream = format!("{execution}{index}");
                let insert = (project, index, &stream, 1, "call.called", 1_700_000_000_000i64, &body[..]);
                rows.ledger.execute(insert).expect("a record");
                let hash = hash(index);
                rows.called.execute((call, execution, &hash[..], "manifest:tools[0] filesystem.*", 5)).expect("a call");
                rows.payload.execute((&hash[..], &hash[..16], 22, &body[..22])).expect("a payload");
                rows.owe.execute((execution, call)).expect("a deed");
                index += 1;
            }
            rows.head.execute((project, index, &body[..320], &signed)).expect("a head");
            self.db.execute_batch("COMMIT").expect("commits");
            self.db.execute_batch("BEGIN IMMEDIATE").expect("begins");
            for (call, execution) in &names {
                let stream = format!("{execution}{index}");
                let insert = (project, index, &stream, 1, "call.ended", 1_700_000_000_000i64, &body[..ENDED]);
                rows.ledger.execute(insert).expect("a record");
                let hash = hash(index);
                rows.ended.execute((5, &hash[..], "namespaces, landlock", call)).expect("an end");
                rows.payload.execute((&hash[..], &hash[..16], 22, &body[..22])).expect("a payload");
                rows.settle.execute((execution, call)).expect("a deed");
                index += 1;
            }
            rows.head.execute((project, index, &body[..320], &signed)).expect("a head");
            self.db.execute_batch("COMMIT").expect("commits");
        }
        drop(rows);
        self.index = index;
    }
}

fn hash(index: i64) -> [u8; 32] {
    tenure_core::bound::Hash::of(&index.to_be_bytes()).0
}
