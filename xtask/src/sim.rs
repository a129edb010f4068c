//! `cargo xtask sim`: the simulation, many seeds in memory and some on disk: first of a world whose reconcilers are fakes, then of
//! the daemon itself under virtual time. A seed that finds something is printed with its history, and finds it again. Must never draw a seed by chance: what failed once must be found once more.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::step;

/// One seed on disk for so many in memory.
const MEMORY_PER_DISK: u64 = 20;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Seeds in memory; on disk run a twentieth of them, at least one; and the daemon itself is driven by as many of both.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of each seed, before faults end and everything must come to rest.
    #[arg(long, default_value_t = 200)]
    steps: u64,
}

impl Arguments {
    pub(crate) fn usual() -> Arguments {
        Arguments { seeds: 1000, seed: 0, steps: 200 }
    }
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    figures(root, arguments)?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each world and ledger: what its seeds did.
pub(crate) fn figures(root: &Path, arguments: &Arguments) -> Result<Vec<String>> {
    let Arguments { seeds, seed, steps } = *arguments;
    let on_disk = (seeds / MEMORY_PER_DISK).max(1);
    let runs = [("memory", seeds), ("disk", on_disk), ("daemon-memory", seeds), ("daemon-disk", on_disk)];
    runs.into_iter()
        .map(|(ledger, seeds)| simulate(root, [ledger, &seed.to_string(), &seeds.to_string(), &steps.to_string()]))
        .collect()
}

fn simulate(root: &Path, arguments: [&str; 4]) -> Result<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package", "tenure-sim", "--example", "simulate", "--"]).args(arguments);
    let (holds, said) = step::overheard(cargo.current_dir(root))?;
    ensure!(holds, "the simulation in {} found something", arguments[0]);
    said.lines().last().map(str::to_owned).context("the simulation said nothing")
}
