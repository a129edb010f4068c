//! Values that are set, alone and by 64 at a time, each its own decision and record; beside them the same key, version and value
//! written bare, one commit each, or 64 a commit.
use crate::world::{self, World};
use crate::{AT_ONCE, deploy, quantile, run, runtime};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;
use tenure_core::agent;
use tenure_core::aggregate::Command;
use tenure_core::id::AgentId;
use tenure_core::state::Write;
use tenure_store::{Class, Options, Store};

/// Keys of an agent that are set in turn, and the bytes of a value.
const KEYS: u64 = 64;
const VALUE_BYTES: usize = 200;
/// Sets of one round.
const ALONE: u64 = 200;
const EACH: u64 = 50;

fn value(number: u64) -> String {
    format!("\"{number:0>width$}\"", width = VALUE_BYTES - 2)
}

fn set(world: &mut World, agent: AgentId, number: u64) -> Command {
    let key = format!("key-{}", number % KEYS);
    let write = Write { key, value: world.payload(value(number)), expected: None, ttl_ms: None };
    Command::Agent(agent, agent::Command::SetState(write))
}

pub(crate) fn measure(dir: &Path, rounds: usize) -> Value {
    let store = Store::open(Options::new(dir.join("ours"))).expect("the store opens");
    let (runtime, mut world) = (runtime(), World::new(3));
    world.found(&store);
    let agents = deploy(&runtime, &store, &world::plan(), 0, AT_ONCE as u64);
    let mut bare = Bare::open(&dir.join("bare"));
    let mut rates: [Vec<f64>; 4] = Default::default();
    // The first round warms up and counts for nothing.
    for round in 0..=rounds.max(1) as u64 {
        let figures = [
            runtime.block_on(alone(&store, &mut world, agents[0], round)),
            bare.set(ALONE, 1),
            runtime.block_on(at_once(&store, &agents, round)),
            bare.set(EACH, AT_ONCE as u64),
        ];
        if round > 0 {
            rates.iter_mut().zip(figures).for_each(|(rates, figure)| rates.push(figure));
        }
    }
    let [alone, bare_alone, at_once, bare_batched] = rates.map(|mut rates| quantile(&mut rates, 500));
    json!({
        "sets_per_s_alone": alone, "bare_per_s_alone": bare_alone, "alone_ratio": alone / bare_alone,
        "sets_per_s_64": at_once, "bare_per_s_64": bare_batched, "at_once_ratio": at_once / bare_batched,
    })
}

/// Sets a second, one after another.
async fn alone(store: &Store, world: &mut World, agent: AgentId, round: u64) -> f64 {
    let begin = Instant::now();
    for number in 0..ALONE {
        let command = set(world, agent, round * ALONE + number);
        run(store.writer(), Class::Interactive, world, command).await;
    }
    ALONE as f64 / begin.elapsed().as_secs_f64()
}

/// Sets a second, each agent making one after another.
async fn at_once(store: &Store, agents: &[AgentId], round: u64) -> f64 {
    let begin = Instant::now();
    let setting = agents.iter().zip(0u64..).map(|(&agent, place)| {
        let writer = store.writer().clone();
        tokio::spawn(async move {
            let mut world = World::new(1_000_000 + u128::from(round * 1_000 + place));
            for number in 0..EACH {
                let command = set(&mut world, agent, number);
                run(&writer, Class::Interactive, &mut world, command).await;
            }
        })
    });
    for task in setting.collect::<Vec<_>>() {
        task.await.expect("the task ends");
    }
    (agents.len() as u64 * EACH) as f64 / begin.elapsed().as_secs_f64()
}

struct Bare {
    db: Connection,
    version: i64,
}

impl Bare {
    fn open(dir: &Path) -> Bare {
        std::fs::create_dir_all(dir).expect("a folder");
        let db = Connection::open(dir.join("bare.db")).expect("the database opens");
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 2000; \
             PRAGMA cache_size = -4096; \
             CREATE TABLE entries (agent BIGINT, key TEXT, version BIGINT, value BYTEA, PRIMARY KEY (agent, key)) WITHOUT ROWID",
        )
        .expect("the settings hold");
        Bare { db, version: 0 }
    }

    /// Sets a second: so many commits, each of so many agents' values.
    fn set(&mut self, commits: u64, agents: u64) -> f64 {
        let text = "INSERT INTO entries (agent, key, version, value) VALUES (?, ?, ?, ?) ON CONFLICT (agent, key) DO \
            UPDATE SET version = excluded.version, value = excluded.value";
        let mut statement = self.db.prepare(text).expect("the statement is right");
        let begin = Instant::now();
        for number in 0..commits {
            self.db.execute_batch("BEGIN IMMEDIATE").expect("begins");
            for agent in 0..agents {
                self.version += 1;
                let key = format!("key-{}", number % KEYS);
                statement.execute((agent as i64, key, self.version, value(number).as_bytes())).expect("a value");
            }
            self.db.execute_batch("COMMIT").expect("commits");
        }
        (commits * agents) as f64 / begin.elapsed().as_secs_f64()
    }
}
