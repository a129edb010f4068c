//! What a staff of agents costs while it sleeps and when it wakes: making, listing and opening with many registered, values set
//! against the same written bare, and all of them due at once. Nothing here asks a model or makes a sandbox.
//!
//! `cargo run --release -p tenure-store --example staff_rate -- [--json] [--only PART] [--agents N,N] [--due N] [--rounds N] [--dir DIR]`
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stood")]
#[path = "staff_rate/registered.rs"]
mod registered;
#[path = "staff_rate/values.rs"]
mod values;
#[path = "staff_rate/wakes.rs"]
mod wakes;
#[path = "../tests/store/world.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod world;

use serde_json::Value;
use std::path::PathBuf;
use tenure_core::aggregate::Command;
use tenure_core::id::AgentId;
use tenure_core::plan::Plan;
use tenure_store::{Class, Store, Txn, Writer};
use tokio::runtime::Runtime;
use world::{OWNER, World, commit};

/// Commands under way at a time, as of so many callers.
const AT_ONCE: usize = 64;

struct Wanted {
    json: bool,
    only: Option<String>,
    agents: Vec<u64>,
    due: u64,
    rounds: usize,
    dir: PathBuf,
}

fn wanted() -> Wanted {
    let mut wanted = Wanted {
        json: false,
        only: None,
        agents: vec![0, 100_000, 1_000_000],
        due: 100_000,
        rounds: 9,
        dir: std::env::temp_dir(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value must follow");
        match word.as_str() {
            "--json" => wanted.json = true,
            "--only" => wanted.only = Some(next()),
            "--agents" => {
                wanted.agents = next().split(',').map(|count| count.parse().expect("--agents wants numbers")).collect();
            }
            "--due" => wanted.due = next().parse().expect("--due wants a number"),
            "--rounds" => wanted.rounds = next().parse().expect("--rounds wants a number"),
            "--dir" => wanted.dir = next().into(),
            other => panic!("unknown option {other}"),
        }
    }
    wanted
}

/// The middle one, or the one that so many of a thousand are not above.
fn quantile(values: &mut [f64], of_1000: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * of_1000 / 1000).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

async fn run(writer: &Writer, class: Class, world: &mut World, command: Command) {
    let (now, seed) = world.tick();
    let job = move |txn: &mut Txn<'_>| commit(txn, OWNER, command, now, seed);
    writer.write(class, job).await.expect("the commit stands").expect("the command fits");
}

/// Makes agents number `from` to `to`, by as many callers as there may be; each has its own clock, which ends at the same time.
fn deploy(runtime: &Runtime, store: &Store, plan: &Plan, from: u64, to: u64) -> Vec<AgentId> {
    runtime.block_on(async {
        let makers: Vec<_> = (0..AT_ONCE as u64)
            .map(|place| {
                let (writer, plan) = (store.writer().clone(), plan.clone());
                tokio::spawn(async move {
                    let mut world = World::new(u128::from(from) * 1_000 + 10 + u128::from(place));
                    let mut made = Vec::new();
                    for number in (from + place..to).step_by(AT_ONCE) {
                        // A deploy over and over at one moment: what is due later is due for all at once.
                        let began = world.now;
                        let (id, command) = world.deploy_command(&format!("agent-{number:08}"), &plan);
                        run(&writer, Class::Interactive, &mut world, command).await;
                        world.now = began;
                        made.push(id);
                    }
                    made
                })
            })
            .collect();
        let mut all = Vec::new();
        for maker in makers {
            all.extend(maker.await.expect("the task ends"));
        }
        all
    })
}

fn main() {
    let wanted = wanted();
    // What another process of this program measures, on a folder that was filled for it.
    if wanted.only.as_deref() == Some("opened") {
        println!("{}", registered::opened(&wanted.dir, wanted.rounds));
        return;
    }
    let folder = tempfile::tempdir_in(&wanted.dir).expect("a folder for the ledger");
    let is_wanted = |part: &str| wanted.only.as_deref().is_none_or(|only| only == part);
    let mut all = serde_json::Map::new();
    if is_wanted("registered") {
        let measured = registered::measure(&folder.path().join("registered"), &wanted.agents, wanted.rounds);
        all.insert("registered".into(), measured);
    }
    if is_wanted("values") {
        all.insert("values".into(), values::measure(&folder.path().join("values"), wanted.rounds));
    }
    if is_wanted("wakes") {
        all.insert("wakes".into(), wakes::measure(&folder.path().join("wakes"), wanted.due));
    }
    let all = Value::from(all);
    if wanted.json {
        println!("{all}");
    } else {
        println!("{all:#}");
    }
}
