//! Starts side by side in one run: a plain spawn, bubblewrap with the same namespaces and mounts, and our jails, made cold and
//! from the pool, each running `/bin/true`. Prints p50 and p99 of wall time and CPU-ms a start.
//!
//! `--rounds N` (default 200) · `--only TEXT` measures the ways whose names hold it · `--at-once 1,8,64` (default 1) · `--peers` adds runc, crun and podman where they are installed ·
//! `--srt PATH` adds that sandbox-runtime program · `--idle N` opens N jails and tells what each costs while it does nothing ·
//! `--half-made N` the same of jails that wait for a claim · `--json` prints a line of JSON for each row.

//!
//! crun refuses a host that mixes cgroup v1 and v2: there, run it in a mount namespace of its own without the v2 one.

mod measure;
mod peers;
mod ways;

use std::path::PathBuf;

use measure::{Cpu, Row};
use ways::{Ground, WAYS, Way};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Rounds of each way before the next one has its turn, so that a slow moment of the machine meets all of them.
const TURN: usize = 20;

struct Arguments {
    rounds: usize,
    only: String,
    at_once: Vec<usize>,
    peers: bool,
    srt: Option<PathBuf>,
    idle: Option<usize>,
    half_made: Option<usize>,
    json: bool,
}

impl Arguments {
    fn parse(given: &[String]) -> Outcome<Self> {
        let value = |flag: &str| given.iter().skip_while(|argument| *argument != flag).nth(1);
        let number = |flag: &str| value(flag).map(|number| number.parse::<usize>()).transpose();
        let has = |flag: &str| given.iter().any(|argument| argument == flag);
        let at_once =
            value("--at-once").map_or("1", String::as_str).split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            only: value("--only").cloned().unwrap_or_default(),
            rounds: number("--rounds")?.unwrap_or(200),
            at_once,
            peers: has("--peers"),
            srt: value("--srt").map(PathBuf::from),
            idle: number("--idle")?,
            half_made: number("--half-made")?,
            json: has("--json"),
        })
    }
}

fn main() -> Outcome<()> {
    if std::env::args_os().next().is_some_and(|name| name.to_string_lossy().ends_with(tenure_sandbox::JAIL_NAME)) {
        tenure_sandbox::jail_main();
    }
    let given: Vec<String> = std::env::args().skip(1).collect();
    let arguments = Arguments::parse(&given)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    if arguments.idle.is_some() || arguments.half_made.is_some() {
        let ground = Ground::make(false, None, 1024)?;
        let idle = arguments.idle.map(|count| measure::idle(&ground, count)).transpose()?;
        let half_made = arguments.half_made.map(|count| measure::half_made(&ground, count)).transpose()?;
        for cost in idle.into_iter().chain(half_made) {
            println!("{}", if arguments.json { cost.json() } else { cost.text() });
        }
        return ground.clear();
    }
    for at_once in &arguments.at_once {
        let ground = Ground::make(arguments.peers, arguments.srt.clone(), *at_once)?;
        let mut cpu = Cpu::new(&ground)?;
        let rows = side_by_side(&arguments, *at_once, &ground, &cpu)?;
        for row in rows {
            println!("{}", if arguments.json { row.json() } else { row.text() });
        }
        cpu.clear();
        ground.clear()?;
    }
    Ok(())
}

fn side_by_side(arguments: &Arguments, at_once: usize, ground: &Ground, cpu: &Cpu) -> Outcome<Vec<Row>> {
    let wanted = |way: &Way| match way {
        Way::Runc | Way::Crun | Way::Podman => arguments.peers && (at_once == 1 || *way != Way::Podman),
        Way::Srt => arguments.srt.is_some() && at_once == 1,
        Way::Plain | Way::Bubblewrap | Way::Cold | Way::Pool | Way::ColdRun | Way::PoolRun | Way::Run => true,
    };
    let mut rows: Vec<Row> = WAYS
        .into_iter()
        .filter(|(way, name)| wanted(way) && name.contains(&arguments.only))
        .map(|(way, name)| Row::new(way, name, at_once))
        .collect();
    let batches = arguments.rounds.div_ceil(at_once);
    let mut done = 0;
    while done < batches {
        let turn = TURN.div_ceil(at_once).min(batches - done);
        for row in &mut rows {
            // The slow ones get a tenth of the rounds.
            let turn = if row.way.is_slow() { turn.div_ceil(10) } else { turn };
            // What the turn before left, and a first round to warm up.
            ground.settle(row.way);
            if row.is_out || ground.batch(row.way, at_once)?.is_empty() {
                if !row.is_out {
                    eprintln!("{} is not here or does not work here", row.name);
                }
                row.is_out = true;
                continue;
            }
            ground.settle(row.way);
            let before = cpu.now_ms();
            for _ in 0..turn {
                row.walls.extend(ground.batch(row.way, at_once)?);
                ground.settle(row.way);
            }
            row.cpu_ms += cpu.now_ms() - before;
        }
        done += turn;
    }
    Ok(rows.into_iter().filter(|row| !row.walls.is_empty()).collect())
}
