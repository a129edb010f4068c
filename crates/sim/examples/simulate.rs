//! `cargo xtask sim`: runs seeds of the simulation, in memory or on disk, and prints what the first one found that found
//! anything.
use std::process::ExitCode;
use std::time::Instant;
use tenure_sim::disk::DiskStorage;
use tenure_sim::memory::MemoryStorage;
use tenure_sim::run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [storage, first, seeds, steps] = arguments.as_slice() else { return usage() };
    let (Ok(first), Ok(seeds), Ok(steps)) = (first.parse(), seeds.parse(), steps.parse()) else { return usage() };
    let begun = Instant::now();
    let result = match storage.as_str() {
        "memory" => run::many(|| MemoryStorage::new(None), first, seeds, steps),
        "disk" => run::many(DiskStorage::new, first, seeds, steps),
        _ => return usage(),
    };
    match result {
        Ok(figures) => {
            let took = begun.elapsed().as_secs_f64();
            println!("{storage}: {seeds} seeds of {steps} steps hold ({took:.1} s): {figures}");
            ExitCode::SUCCESS
        }
        Err(found) => {
            eprintln!("{found}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: simulate memory|disk FIRST_SEED SEEDS STEPS");
    ExitCode::FAILURE
}
