//! All agents of one schedule due at once: until the execution of each is queued by a commit, a page of them at a time, as the
//! daemon's reconciler does it; and what somebody who asks meanwhile waits for an answer.
use crate::world::{self, OWNER, World, commit};
use crate::{deploy, quantile, runtime};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tenure_core::agent;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::bound::Payload;
use tenure_core::manifest::{Missed, Overlap};
use tenure_core::owed::{Kind, Obligation, Owed};
use tenure_core::plan::{Plan, Schedule};
use tenure_core::state::Write;
use tenure_core::time::Stamp;
use tenure_store::rows::agents::{self, Filter};
use tenure_store::{Class, Options, Store, Txn, Writer, owed_now};

/// Wakes of one page.
const PAGE: u32 = 256;
/// Between two questions of whoever asks meanwhile.
const ASKING: Duration = Duration::from_millis(5);

fn scheduled() -> Plan {
    let schedule = Schedule {
        cron: "* * * * *".into(),
        timezone: "UTC".into(),
        jitter_ms: 0,
        overlap: Overlap::Skip,
        missed: Missed::RunOnce,
    };
    Plan { schedule: Some(schedule), ..world::plan() }
}

pub(crate) fn measure(dir: &Path, due: u64) -> Value {
    let store = Arc::new(Store::open(Options::new(dir)).expect("the store opens"));
    let (runtime, mut world) = (runtime(), World::new(4));
    world.found(&store);
    let asked_for = deploy(&runtime, &store, &world::plan(), due, due + 1)[0];
    deploy(&runtime, &store, &scheduled(), 0, due);
    world.pass(60_000);
    let over = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        let mut world = World::new(5);
        move || {
            let (mut writes, mut reads) = (Vec::new(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let value = Write { key: "mood".into(), value: world.payload("1"), expected: None, ttl_ms: None };
                let begin = Instant::now();
                world.run(&store, Command::Agent(asked_for, agent::Command::SetState(value))).expect("it fits");
                writes.push(begin.elapsed().as_secs_f64() * 1e3);
                let begin = Instant::now();
                let list = store.reader().read_blocking(|sql| agents::list(sql, &Filter::default(), 50));
                list.expect("a page");
                reads.push(begin.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(ASKING);
            }
            (writes, reads)
        }
    });
    let begin = Instant::now();
    let queued = runtime.block_on(wake_all(&store, &mut world));
    let took = begin.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let (mut writes, mut reads) = asking.join().expect("the thread ends");
    assert_eq!(queued, due, "each is woken once");
    json!({
        "due": due, "all_queued_s": took, "wakes_per_s": due as f64 / took,
        "write_meanwhile_p50_ms": quantile(&mut writes, 500), "write_meanwhile_p99_ms": quantile(&mut writes, 990),
        "list_meanwhile_p50_ms": quantile(&mut reads, 500), "list_meanwhile_p99_ms": quantile(&mut reads, 990),
    })
}

async fn wake_all(store: &Store, world: &mut World) -> u64 {
    let mut queued = 0;
    loop {
        let (now, _) = world.tick();
        let page = store.reader().read_blocking(|sql| owed_now(sql, Kind::Wake, now, 0, PAGE)).expect("a page");
        if page.is_empty() {
            return queued;
        }
        let waking: Vec<_> = page
            .into_iter()
            .map(|(stream, owed)| {
                let (now, seed) = world.tick();
                let input = world.payload("null");
                tokio::spawn(wake(store.writer().clone(), stream, owed, input, now, seed))
            })
            .collect();
        for task in waking {
            task.await.expect("the task ends");
            queued += 1;
        }
    }
}

async fn wake(writer: Writer, stream: Stream, owed: Owed, input: Payload, now: Stamp, seed: u128) {
    let (Stream::Agent(id), Obligation::Wake { waking }) = (stream, owed.obligation) else { return };
    let command = Command::Agent(id, agent::Command::Wake { waking, input });
    let job = move |txn: &mut Txn<'_>| commit(txn, OWNER, command, now, seed);
    writer.write(Class::Wake, job).await.expect("the commit stands").expect("it is due");
}
