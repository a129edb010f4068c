//! The project's own tools: `cargo xtask tidy|test|sim|demo|install|package|bench|fuzz|openapi|schedules|vm`. Depends on none of our crates, so that it builds while
//! they do not. Must never change a source file behind a developer's back: it looks, runs and reports.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

mod tidy;
mod step;
mod install;
mod mcp;
mod sdks;
mod agents;
mod weights;
mod test;
mod demo;
mod ship;
mod bench;
mod fuzz;
mod sim;
mod openapi;
mod schedules;
mod vm;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tenure's own tools", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Check what the compiler cannot: crate edges, sizes, names, the one door, paths, charters, docs.
    Tidy,
    /// Run everything that must hold: format, tidy, clippy, licences, all tests. The last line counts them.
    Test(test::Arguments),
    /// Build, run an example agent with the local model, verify the ledger, say how to go on.
    Demo,
    /// Build the shipped profile and put `tenure` on the PATH.
    Install(ship::Install),
    /// Build a tarball and a Debian package into target/package.
    Package(ship::Built),
    /// Measure, side by side, into bench/RESULTS.md.
    Bench(bench::Arguments),
    /// Feed hostile bytes to what parses them, for a while.
    Fuzz(fuzz::Arguments),
    /// Drive core and the store by seeds: virtual time, faults, and what must hold after each step.
    Sim(sim::Arguments),
    /// Hold a daemon of the build against openapi.json, as `test` does.
    Openapi,
    /// Hold the times of schedules against PyPI's cronsim, as `test` does.
    Schedules,
    /// Run the sandbox's tests in a virtual machine, under cgroup v2 or without control groups.
    Vm(vm::Arguments),
    /// Write anew what is generated and committed: openapi.json, docs/security/escapes.md.
    Codegen,
    /// Fetch the local model's weights without a model hub, and print where they are.
    Weights,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    let root = root()?;
    match verb {
        Verb::Tidy => tidied(&root),
        Verb::Test(arguments) => test::run(&root, &arguments),
        Verb::Demo => demo::run(&root),
        Verb::Install(arguments) => ship::onto_path(&root, &arguments),
        Verb::Package(arguments) => ship::package(&root, &arguments),
        Verb::Bench(arguments) => bench::run(&root, &arguments),
        Verb::Fuzz(arguments) => fuzz::run(&root, &arguments),
        Verb::Sim(arguments) => sim::run(&root, &arguments),
        Verb::Openapi => openapi::run(&root),
        Verb::Schedules => schedules::run(&root),
        Verb::Vm(arguments) => vm::run(&root, &arguments),
        Verb::Codegen => codegen(&root),
        Verb::Weights => {
            println!("{}", weights::ensure_there(&weights::Watch::on_screen())?.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tidied(root: &Path) -> Result<ExitCode> {
    if !tidy::holds(root)? {
        return Ok(ExitCode::FAILURE);
    }
    println!("tidy: every rule holds");
    Ok(ExitCode::SUCCESS)
}

/// The test that compares the description with the handlers writes it when told to.
fn codegen(root: &Path) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--package", "tenure-daemon", "--lib", "description"]).current_dir(root);
    step::shown("openapi.json, docs/api.md", cargo.env("TENURE_CODEGEN", "1"))?;
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--package", "tenure", "--bin", "tenure", "troubleshooting"]).current_dir(root);
    step::shown("docs/troubleshooting.md", cargo.env("TENURE_CODEGEN", "1"))?;
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--package", "tests", "--test", "security", "the_table"]).current_dir(root);
    step::shown("docs/security/escapes.md", cargo.env("TENURE_CODEGEN", "1"))?;
    Ok(ExitCode::SUCCESS)
}

/// The repository's folder; cargo names ours to what it runs.
fn root() -> Result<PathBuf> {
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`, which says where the project is")?;
    PathBuf::from(here).parent().map(PathBuf::from).context("xtask lies in the project's folder")
}
