//! `cargo xtask sim`: runs seeds of a simulation, in memory or on disk, and prints what the first one found that found anything.
use std::process::ExitCode;
use std::time::Instant;
use tenure_sim::daemon::{Medium, Settings};
use tenure_sim::disk::DiskStorage;
use tenure_sim::memory::MemoryStorage;
use tenure_sim::run;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [world, first, seeds, steps] = arguments.as_slice() else { return usage() };
    let (Ok(first), Ok(seeds), Ok(steps)) = (first.parse(), seeds.parse(), steps.parse()) else { return usage() };
    let begun = Instant::now();
    let daemons = |medium| {
        let settings = Settings { runtime: paused, medium, steps, without: None };
        run::many_daemons(settings, first, seeds)
    };
    let result = match world.as_str() {
        "memory" => run::many(|| MemoryStorage::new(None), first, seeds, steps),
        "disk" => run::many(DiskStorage::new, first, seeds, steps),
        "daemon-memory" => daemons(Medium::Memory),
        "daemon-disk" => daemons(Medium::Disk),
        _ => return usage(),
    };
    match result {
        Ok(figures) => {
            let took = begun.elapsed().as_secs_f64();
            println!("{world}: {seeds} seeds of {steps} steps hold ({took:.1} s): {figures}");
            ExitCode::SUCCESS
        }
        Err(found) => {
            eprintln!("{world}: {found}");
            ExitCode::FAILURE
        }
    }
}

/// Its time goes on when there is nothing else to do.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without IO starts")
}

fn usage() -> ExitCode {
    eprintln!("usage: simulate memory|disk|daemon-memory|daemon-disk FIRST_SEED SEEDS STEPS");
    ExitCode::FAILURE
}
