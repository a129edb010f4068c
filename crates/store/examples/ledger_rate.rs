//! How fast the ledger is, against the same rows written bare, side by side in one run.
//!
//! `cargo run --release -p tenure-store --example ledger_rate -- [--json] [--rounds N] [--events N] [--dir DIR]`
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stood")]
#[path = "ledger_rate/bare.rs"]
mod bare;
#[path = "ledger_rate/steps.rs"]
mod steps;
#[path = "../tests/store/world.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod world;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;
use tenure_store::export::{Wanted as Everything, export};
use tenure_store::verify::{Depth, verify};
use tenure_store::{Options, Store};

struct Wanted {
    json: bool,
    only: Option<String>,
    rounds: usize,
    events: u64,
    dir: PathBuf,
}

fn wanted() -> Wanted {
    let mut wanted = Wanted { json: false, only: None, rounds: 9, events: 1_000_000, dir: std::env::temp_dir() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value must follow");
        match word.as_str() {
            "--json" => wanted.json = true,
            "--only" => wanted.only = Some(next()),
            "--rounds" => wanted.rounds = next().parse().expect("--rounds wants a number"),
            "--events" => wanted.events = next().parse().expect("--events wants a number"),
            "--dir" => wanted.dir = next().into(),
            other => panic!("unknown option {other}"),
        }
    }
    wanted
}

/// Processor time of the whole process, in microseconds: what a loaded machine does not change.
fn cpu_us() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let wanted = wanted();
    // Leaves a ledger for another program to start on.
    if wanted.only.as_deref() == Some("fill") {
        println!("{}", json!({ "events": steps::fill(&wanted.dir, wanted.events) }));
        return;
    }
    let folder = tempfile::tempdir_in(&wanted.dir).expect("a folder for the ledger");
    let is_wanted = |part: &str| wanted.only.as_deref().is_none_or(|only| only == part);
    let mut all = serde_json::Map::new();
    if is_wanted("calls") {
        all.insert("calls".into(), calls(&wanted, &folder.path().join("calls")));
    }
    if is_wanted("steps") {
        all.insert("steps".into(), steps::measure(&wanted.dir, wanted.rounds.min(3)));
    }
    if is_wanted("start") {
        all.insert("start".into(), start(&wanted, &folder.path().join("start")));
    }
    let all = Value::from(all);
    if wanted.json {
        println!("{all}");
    } else {
        println!("{all:#}");
    }
}

/// Governed calls against the same rows written bare, one after another and 64 at once, interleaved.
fn calls(wanted: &Wanted, dir: &std::path::Path) -> Value {
    let mut ours = steps::Crowd::open(&dir.join("ours"), 64);
    let mut bare = bare::Bare::open(&dir.join("bare"));
    let mut alone = (Vec::new(), Vec::new());
    let mut crowd = (Vec::new(), Vec::new());
    let mut cpu = [0.0; 4];
    let timed = |cpu: &mut f64, run: &mut dyn FnMut() -> f64| {
        let before = cpu_us();
        let figure = run();
        *cpu += cpu_us() - before;
        figure
    };
    for round in 0..wanted.rounds + 1 {
        let our_alone = timed(&mut cpu[0], &mut || ours.calls_alone(100));
        let bare_alone = timed(&mut cpu[1], &mut || bare.calls_alone(100));
        let our_crowd = timed(&mut cpu[2], &mut || ours.calls_at_once(50));
        let bare_crowd = timed(&mut cpu[3], &mut || bare.calls_batched(64, 50));
        if round > 0 {
            alone.0.push(our_alone);
            alone.1.push(bare_alone);
            crowd.0.push(our_crowd);
            crowd.1.push(bare_crowd);
        }
    }
    let past = ours.past();
    let ratios = |(ours, bare): &(Vec<f64>, Vec<f64>)| median(ours.iter().zip(bare).map(|(a, b)| a / b).collect());
    let (alone_ratio, crowd_ratio) = (ratios(&alone), ratios(&crowd));
    let each = |cpu: f64, calls: f64| cpu / (wanted.rounds as f64 + 1.0) / calls;
    json!({
        "cpu_us_a_call": {
            "alone_with_its_validation": each(cpu[0], 100.0), "bare_alone": each(cpu[1], 100.0),
            "at_once_with_its_validation": each(cpu[2], 3200.0), "bare_batched": each(cpu[3], 3200.0),
        },
        "alone_us": median(alone.0), "bare_alone_us": median(alone.1), "alone_ratio": alone_ratio,
        "at_once_calls_per_s": median(crowd.0), "bare_batched_calls_per_s": median(crowd.1), "at_once_ratio": crowd_ratio,
        "past_calls": past.0, "past_calls_per_s": past.1,
        "aims": "alone_ratio <= 1.3, at_once_ratio >= 0.4",
    })
}

fn start(wanted: &Wanted, dir: &std::path::Path) -> Value {
    let timed = |dir: &std::path::Path| {
        let begin = Instant::now();
        let store = Store::open(Options::new(dir)).expect("the store opens");
        let took = begin.elapsed().as_secs_f64() * 1e3;
        drop(store);
        took
    };
    let (empty, full) = (dir.join("empty"), dir.join("full"));
    let first = timed(&empty);
    let again = median((0..5).map(|_| timed(&empty)).collect());
    let begin = Instant::now();
    let filled = steps::fill(&full, wanted.events);
    let append = filled as f64 / begin.elapsed().as_secs_f64();
    let events = median((0..5).map(|_| timed(&full)).collect());
    let begin = Instant::now();
    let report = verify(&full, Depth::Whole).expect("verify runs");
    let took = begin.elapsed().as_secs_f64();
    assert!(report.holds(), "{:?}", report.findings.kept());
    let begin = Instant::now();
    let exported = export(&full, &Everything::default(), &mut std::io::sink(), &mut |_| Ok(())).expect("it holds");
    let export = exported.records as f64 / begin.elapsed().as_secs_f64();
    json!({
        "append_records_per_s": append, "export_records_per_s": export,
        "first_ms": first, "empty_ms": again, "events": filled, "with_events_ms": events,
        "verify_folds_records_per_s": report.records as f64 / took,
    })
}
