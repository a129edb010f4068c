//! `cargo xtask fuzz`: libFuzzer on what parses hostile bytes, for a bounded time a target. Must never: write into the tracked
//! seeds, or call a target held that did not run.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::step;

/// What counts edges in stable rustc's code; the same that cargo-fuzz asks for.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Ccodegen-units=1 -Cdebug-assertions";
/// Longest input, in bytes.
const INPUT_BYTES_MAX: u32 = 64 << 10;

/// How many random calls the property test of the policy crate judges.
pub(crate) const POLICY_CALLS: &str = "TENURE_POLICY_CALLS";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these; all without it.
    targets: Vec<String>,
    /// For how long each runs.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    seconds: u32,
    /// Judge so many random calls by the index of policies and by plain Cedar, before the targets run.
    #[arg(long)]
    policy_calls: Option<u32>,
    /// Build fast programs, which takes minutes.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    optimized: bool,
}

impl Arguments {
    /// All targets, for so long each, built as quickly as can be.
    pub(crate) fn bounded(seconds: u32) -> Self {
        Self { targets: Vec::new(), seconds, policy_calls: None, optimized: false }
    }
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    if let Some(calls) = arguments.policy_calls {
        policies(root, calls)?;
    }
    for figures in figures(root, arguments)? {
        println!("  {figures}");
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a target.
///
/// # Errors
/// A target found an input that breaks what it checks; the error names the file that holds it.
pub(crate) fn figures(root: &Path, arguments: &Arguments) -> Result<Vec<String>> {
    let known = targets(root)?;
    if let Some(stranger) = arguments.targets.iter().find(|name| !known.contains(name)) {
        bail!("there is no fuzz target `{stranger}`; there are {}", known.join(", "));
    }
    let folder = root.join("target/fuzz");
    let triple = host()?;
    let mut build = Command::new("cargo");
    let profile = if arguments.optimized { "release" } else { "dev" };
    build.args(["build", "--profile", profile, "--package", "tenure-fuzz", "--bins", "--target-dir"]).arg(&folder);
    // With a target named, build scripts and macros are built without the flags.
    build.args(["--target", &triple]);
    build.args(["--config", "profile.release.debug=0", "--config", "profile.dev.debug=0"]);
    step::shown("fuzz targets", build.env("RUSTFLAGS", COVERAGE).current_dir(root))?;
    let chosen = known.iter().filter(|name| arguments.targets.is_empty() || arguments.targets.contains(name));
    let programs = folder.join(triple).join(if arguments.optimized { "release" } else { "debug" });
    chosen.map(|name| one(root, &folder, &programs.join(name), arguments.seconds)).collect()
}

/// Random policies and calls; another seed each time.
fn policies(root: &Path, calls: u32) -> Result<()> {
    let mut test = Command::new("cargo");
    test.args(["test", "--release", "--package", "tenure-policy", "--test", "properties"]);
    test.env(POLICY_CALLS, calls.to_string()).current_dir(root);
    step::shown(&format!("{calls} calls by the index and by plain Cedar"), &mut test)
}

fn one(root: &Path, folder: &Path, program: &Path, seconds: u32) -> Result<String> {
    let name = program.file_name().context("a program has a name")?.to_string_lossy();
    let corpus = folder.join("corpus").join(&*name);
    let findings = folder.join("findings");
    for made in [&corpus, &findings] {
        std::fs::create_dir_all(made).with_context(|| format!("make {}", made.display()))?;
    }
    let mut fuzzer = Command::new(program);
    fuzzer.arg(&corpus).arg(root.join("fuzz/seeds").join(&*name)).args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-artifact_prefix={}/{name}-", findings.display()),
        "-timeout=10".to_owned(),
        "-rss_limit_mb=2048".to_owned(),
        "-print_final_stats=1".to_owned(),
        "-verbosity=1".to_owned(),
    ]);
    let output = fuzzer.output().with_context(|| format!("run the fuzz target {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let lines: Vec<&str> = said.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        bail!("the fuzz target {name} found something; the input lies in {}", findings.display());
    }
    let runs = stat(&said, "number_of_executed_units").with_context(|| format!("{name} did not say what it ran"))?;
    let (edges, inputs) = (last(&said, "cov: "), last(&said, "corp: "));
    Ok(format!("{name}: {runs} inputs in {seconds} s, {edges} edges, a corpus of {inputs}"))
}

/// The triple that this compiler builds for.
fn host() -> Result<String> {
    let said = step::answer(Command::new("rustc").arg("-vV")).context("rustc says what it is")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names its host")?;
    Ok(host.to_owned())
}

fn stat<'s>(said: &'s str, name: &str) -> Option<&'s str> {
    said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.split_whitespace().last())
}

/// The word behind the last `mark`.
fn last<'s>(said: &'s str, mark: &str) -> &'s str {
    said.rsplit_once(mark).and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("unknown")
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let folder: PathBuf = root.join("fuzz/targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
