//! Agents that sleep: how fast they are made, and what a process that opens a store with so many of them takes for it.
use crate::world::{self, World};
use crate::{deploy, quantile, runtime};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tenure_core::agent::Status;
use tenure_store::rows::agents::{self, Filter};
use tenure_store::{Options, Store};

/// Agents of one page of a list.
const PAGE: u32 = 50;
/// How long each list is read.
const READING: Duration = Duration::from_secs(1);

/// For each number of agents, in rising order, in one store that grows.
pub(crate) fn measure(dir: &Path, sizes: &[u64], rounds: usize) -> Value {
    let (mut figures, mut there, mut empty_kib) = (Vec::new(), 0, None);
    let runtime = runtime();
    for &size in sizes {
        let store = Store::open(Options::new(dir)).expect("the store opens");
        if figures.is_empty() {
            World::new(1).found(&store);
        }
        let begin = Instant::now();
        let made = deploy(&runtime, &store, &world::plan(), there, size).len();
        let took = begin.elapsed().as_secs_f64();
        there = size;
        drop(store);
        let mut figure = in_another_process(dir, rounds);
        let kib = figure["resident_kib"].as_f64().expect("a number");
        let empty = *empty_kib.get_or_insert(kib);
        figure["agents"] = json!(size);
        if made > 0 {
            figure["made_per_s"] = json!(made as f64 / took);
            figure["resident_bytes_an_agent"] = json!((kib - empty).max(0.0) * 1024.0 / size as f64);
        }
        figures.push(figure);
    }
    figures.into()
}

/// A process that made agents holds what it freed: another one, fresh, is asked.
fn in_another_process(dir: &Path, rounds: usize) -> Value {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
    command.args(["--only", "opened", "--rounds", &rounds.to_string(), "--dir"]).arg(dir);
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints an object")
}

/// What opening takes, what is resident then, and pages a second of three lists, each read from its beginning to its end.
pub(crate) fn opened(dir: &Path, rounds: usize) -> Value {
    let open = || {
        let begin = Instant::now();
        let store = Store::open(Options::new(dir)).expect("the store opens");
        (store, begin.elapsed().as_secs_f64() * 1e3)
    };
    let (store, first) = open();
    let resident_kib = resident_kib();
    drop(store);
    let mut again: Vec<f64> = (0..rounds.max(1)).map(|_| open().1).collect();
    let (store, _) = open();
    let paused = Filter { statuses: Some(&[Status::Paused]), ..Filter::default() };
    let labelled = Filter { labels: vec![("team".into(), Some("a".into()))], ..Filter::default() };
    json!({
        "first_open_ms": first,
        "open_ms": quantile(&mut again, 500),
        "resident_kib": resident_kib,
        "pages_per_s": pages(&store, &Filter::default()),
        "labelled_pages_per_s": pages(&store, &labelled),
        "none_is_paused_lists_per_s": pages(&store, &paused),
        "resident_after_lists_kib": self::resident_kib(),
    })
}

fn pages(store: &Store, filter: &Filter) -> f64 {
    let (mut read, mut after) = (0u64, None);
    let begin = Instant::now();
    while begin.elapsed() < READING {
        let wanted = Filter { after: after.take(), statuses: filter.statuses, labels: filter.labels.clone() };
        let page = store.reader().read_blocking(|sql| agents::list(sql, &wanted, PAGE)).expect("a page");
        after = page.next;
        read += 1;
    }
    read as f64 / begin.elapsed().as_secs_f64()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
