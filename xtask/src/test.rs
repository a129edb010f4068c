//! `cargo xtask test`: everything that must hold, in one command. Installs what it needs, checks, builds, runs all suites
//! and ends with one line that counts them. Must never report a test that did not run as passed, or skip in silence.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{agents, fuzz, install, mcp, openapi, schedules, sdks, sim, step, tidy, weights};

/// Random calls that the index of policies judges as plain Cedar does.
const POLICY_CALLS_IN_CI: &str = "100000";
const NEXTEST: &str = "cargo-nextest@0.9.151";
const DENY: &str = "cargo-deny@0.20.2";
/// Names the real weights to the tests that want them.
const WEIGHTS_VARIABLE: &str = "TENURE_TEST_MODEL";

/// The seed of proptest's own.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// Of each fuzz target.
const FUZZ_SECONDS: u32 = 10;

/// What reads the switches of a jail that can lack a layer.
const SWITCH: &[u8] = b"struct Bypass with 3 elements";

/// How a test begins the line that says why it could not run.
const SKIPPED: &str = "skipped: ";
/// Where nextest leaves what tests said, wherever cargo builds.
const REPORT: &str = "target/nextest/default/junit.xml";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Ask the API all that its description allows, up to 5,000 cases, instead of a part; and let property tests choose
    /// cases of their own.
    #[arg(long)]
    full: bool,
    /// Run coding agents of others in jails instead, against a scripted model. Fetches 1.3 GB of them from npm's registry at first.
    #[arg(long, conflicts_with = "full")]
    agents: bool,
}

/// What the closing line says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    pub(crate) fn line(self) -> String {
        let Count { passed, failed, skipped } = self;
        let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        format!("{passed} passed, {failed} failed{skipped}")
    }
}

/// One run over the project. In CI nothing may be skipped: what would be is a failure.
struct Run<'r> {
    root: &'r Path,
    extent: openapi::Extent,
    ci: bool,
    count: Count,
    /// What others have made for MCP, where it could be had.
    mcp: Option<PathBuf>,
    /// The official libraries of model providers, for Python and for Node.
    sdks: Option<(PathBuf, PathBuf)>,
    /// Coding agents of others, where they are what is tested.
    agents: Option<PathBuf>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let extent = if arguments.full { openapi::Extent::Full } else { openapi::Extent::Bounded };
    let mut run = Run { root, extent, ci, count: Count::default(), mcp: None, sdks: None, agents: None };
    let done = if arguments.agents { run.coding_agents() } else { run.everything() };
    if let Err(error) = done {
        eprintln!("xtask: {error:#}");
        run.count.failed += 1;
    }
    println!("{}", run.count.line());
    Ok(if run.count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Run<'_> {
    fn everything(&mut self) -> Result<()> {
        println!("prepare");
        install::packages(&install::BUILD)?;
        self.test_packages()?;
        install::component("fmt", "rustfmt")?;
        install::component("clippy", "clippy")?;
        let nextest = self.nextest()?;
        println!("check");
        self.check("format", &["fmt", "--all", "--check"]);
        self.tidy()?;
        self.check("clippy", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]);
        self.licences()?;
        println!("build");
        self.build()?;
        self.shipped_switches()?;
        let model = self.weights()?;
        self.mcp = self.mcp_tools()?;
        self.sdks = self.provider_sdks()?;
        println!("test");
        if nextest {
            // The suites of the whole product come last and one at a time: they kill, count processes and want the cores.
            self.suite(&model, &["nextest", "run", "--workspace", "-E", "not package(tests)"])?;
            let whole_product = "package(tests) and not binary(agents)";
            self.suite(&model, &["nextest", "run", "--workspace", "-E", whole_product, "--test-threads", "1"])?;
        } else {
            self.suite(
                &model,
                &["test", "--workspace", "--bins", "--tests", "--lib", "--no-fail-fast", "--", "--show-output"],
            )?;
        }
        self.doc_tests(&model)?;
        self.openapi();
        self.schedules();
        self.sim();
        self.fuzz()
    }

    /// What they need is fetched, the suite is run, and nothing else. What is asked for by name is not skipped.
    fn coding_agents(&mut self) -> Result<()> {
        println!("prepare");
        install::packages(&install::BUILD)?;
        self.test_packages()?;
        self.agents = Some(agents::tools(self.root)?);
        println!("build");
        step::shown("programs and tests", &mut self.cargo(&["build", "--bins", "--package", "tenure"]))?;
        println!("test");
        let suite = ["test", "--package", "tests", "--test", "agents", "--", "--show-output", "--test-threads", "1"];
        self.suite(&None, &suite)
    }

    /// A build machine that is short of memory or room loses a compiler now and then: once more, one at a time, and that is said.
    fn build(&self) -> Result<()> {
        let mut everything = vec!["build", "--workspace", "--bins", "--tests"];
        if self.ci {
            // Of a build that fails only the reason is wanted.
            everything.push("--quiet");
        }
        let Err(error) = step::shown("programs and tests", &mut self.cargo(&everything)) else { return Ok(()) };
        eprintln!("xtask: {error:#}; once more with one compiler at a time");
        if let Some(room) = step::answer(Command::new("df").args(["-h", "."]).current_dir(self.root)) {
            eprintln!("{room}");
        }
        everything.extend(["--jobs", "1"]);
        step::shown("programs and tests", &mut self.cargo(&everything))
    }

    /// Each tool counts as one test. Without an index of Python packages there are none, and that is said.
    fn openapi(&mut self) {
        println!("openapi");
        match openapi::figures(self.root, self.extent) {
            Ok(figures) => {
                figures.iter().for_each(|figure| println!("  {figure}"));
                self.count.passed += figures.len() as u64;
            }
            Err(openapi::Failure::NoTools(why)) if !self.ci => {
                println!("  skipped: the tools that hold the API against its description: {why:#}");
                self.count.skipped += 2;
            }
            Err(openapi::Failure::NoTools(error) | openapi::Failure::Found(error)) => {
                eprintln!("xtask: {error:#}");
                self.count.failed += 1;
            }
        }
    }

    /// Without an index of Python packages there is nothing to hold them against, and that is said.
    fn schedules(&mut self) {
        println!("schedules");
        match schedules::figures(self.root) {
            Ok(()) => self.count.passed += 1,
            Err(schedules::Failure::NoTools(why)) if !self.ci => {
                println!("  skipped: what schedules are held against: {why:#}");
                self.count.skipped += 1;
            }
            Err(schedules::Failure::NoTools(error) | schedules::Failure::Found(error)) => {
                eprintln!("xtask: {error:#}");
                self.count.failed += 1;
            }
        }
    }

    /// Each ledger counts as one test. What it finds does not keep the rest from running.
    fn sim(&mut self) {
        println!("sim");
        match sim::figures(self.root, &sim::Arguments::usual()) {
            Ok(figures) => self.count.passed += figures.len() as u64,
            Err(error) => {
                eprintln!("xtask: {error:#}");
                self.count.failed += 1;
            }
        }
    }

    /// Tests that find their programs missing say so; in CI none is.
    fn test_packages(&self) -> Result<()> {
        if self.ci {
            install::packages(&install::TEST)?;
            return install::packages_at_rest(&install::ENGINES);
        }
        if let Err(error) = install::packages(&install::TEST) {
            println!("  some tests will be skipped: {error:#}");
        }
        Ok(())
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(self.root);
        command
    }

    /// A check that fails counts as one failure and does not keep the tests from running.
    fn check(&mut self, what: &str, arguments: &[&str]) {
        if let Err(error) = step::shown(what, &mut self.cargo(arguments)) {
            eprintln!("xtask: {error:#}");
            self.count.failed += 1;
        }
    }

    fn tidy(&mut self) -> Result<()> {
        let begun = Instant::now();
        if tidy::holds(self.root)? {
            step::done("tidy", begun);
        } else {
            self.count.failed += 1;
        }
        Ok(())
    }

    /// The advisory database is a download of its own and changes by itself: it is not part of this command.
    fn licences(&mut self) -> Result<()> {
        let there = |run: &Run<'_>| step::answer(&mut run.cargo(&["deny", "--version"])).is_some();
        if self.ci && !there(self) {
            let mut install = self.cargo(&["install", "--locked", "--debug", "--quiet", "--no-default-features"]);
            install.arg(DENY).env("CARGO_PROFILE_DEV_DEBUG", "0");
            step::shown("cargo install cargo-deny", &mut install)?;
        }
        if !there(self) {
            println!(
                "  skipped: licences, bans and sources (cargo-deny is not installed), advisories (not part of this)"
            );
            return Ok(());
        }
        self.check(
            "licences, bans, sources",
            &["deny", "--log-level", "error", "check", "licenses", "bans", "sources"],
        );
        println!(
            "  skipped: advisories (not part of this; run `cargo deny check advisories` where its database is reachable)"
        );
        Ok(())
    }

    /// The switches that take a layer off a test's jail are in a package of their own, which nothing that is shipped may use. The
    /// programs of the workspace build show that none is in it.
    fn shipped_switches(&mut self) -> Result<()> {
        let mut tree = self.cargo(&["tree", "--package", "tenure", "--edges", "normal", "--prefix", "none"]);
        let tree = step::answer(&mut tree).context("cargo tree tells what the shipped program is made of")?;
        ensure!(tree.contains("tenure-sandbox v"), "cargo tree did not name the sandbox");
        if let Some(line) = tree.lines().find(|line| line.contains("-controls v")) {
            eprintln!("xtask: the shipped program is made with {line}");
            self.count.failed += 1;
        }
        let holds = |program: &str| -> Result<bool> {
            let path = self.root.join("target/debug").join(program);
            let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Ok(bytes.windows(SWITCH.len()).any(|found| found == SWITCH))
        };
        ensure!(
            holds("tenure-jail-controls")?,
            "the tests' own jail program holds no switch, so its absence elsewhere says nothing"
        );
        if holds("tenure")? {
            eprintln!("xtask: the program of the workspace build holds a switch that takes a layer off a jail");
            self.count.failed += 1;
        }
        Ok(())
    }

    /// Whether tests run by nextest: each in a process of its own, with a time limit.
    fn nextest(&self) -> Result<bool> {
        let there = |run: &Run<'_>| step::answer(&mut run.cargo(&["nextest", "--version"])).is_some();
        if there(self) {
            return Ok(true);
        }
        let mut install = self.cargo(&["install", "--locked", "--debug", "--quiet", "--no-default-features"]);
        install.args(["--features", "default-no-update", NEXTEST]).env("CARGO_PROFILE_DEV_DEBUG", "0");
        match step::shown("cargo install cargo-nextest", &mut install) {
            Ok(()) => Ok(there(self)),
            Err(error) if self.ci => Err(error.context("cargo-nextest is needed in CI")),
            Err(error) => {
                println!("  cargo test runs the tests instead of cargo-nextest: {error:#}");
                Ok(false)
            }
        }
    }

    fn weights(&mut self) -> Result<Option<PathBuf>> {
        match weights::ensure_there(&weights::Watch::on_screen()) {
            Ok(path) => Ok(Some(path)),
            Err(error) if self.ci => Err(error.context("the real model is needed in CI")),
            Err(error) => {
                println!("  no real model: {error:#}");
                Ok(None)
            }
        }
    }

    fn mcp_tools(&self) -> Result<Option<PathBuf>> {
        match mcp::tools(self.root) {
            Ok(path) => Ok(Some(path)),
            Err(error) if self.ci => Err(error.context("the suite and SDKs of MCP are needed in CI")),
            Err(error) => {
                println!("  nothing of others for MCP: {error:#}");
                Ok(None)
            }
        }
    }

    fn provider_sdks(&self) -> Result<Option<(PathBuf, PathBuf)>> {
        match sdks::python(self.root).and_then(|python| Ok((python, sdks::node(self.root)?))) {
            Ok(paths) => Ok(Some(paths)),
            Err(error) if self.ci => Err(error.context("the libraries of model providers are needed in CI")),
            Err(error) => {
                println!("  no libraries of model providers: {error:#}");
                Ok(None)
            }
        }
    }

    fn suite(&mut self, model: &Option<PathBuf>, arguments: &[&str]) -> Result<()> {
        let mut command = self.cargo(arguments);
        command.env("CARGO_TERM_COLOR", "never").env("INSTA_UPDATE", "no");
        // Property tests run the same cases each time; `--full` looks for new ones.
        if self.extent == openapi::Extent::Bounded && std::env::var_os(PROPERTY_SEED).is_none() {
            command.env(PROPERTY_SEED, "1");
        }
        if let Some(path) = model {
            command.env(WEIGHTS_VARIABLE, path);
        }
        if self.ci {
            command.env(fuzz::POLICY_CALLS, POLICY_CALLS_IN_CI);
        }
        if let Some(path) = &self.mcp {
            command.env(mcp::VARIABLE, path);
        }
        if let Some((python, node)) = &self.sdks {
            command.env(sdks::VARIABLE, python).env(sdks::NODE_VARIABLE, node);
        }
        if let Some(path) = &self.agents {
            command.env(agents::VARIABLE, path);
        }
        let report = self.root.join(REPORT);
        if report.exists() {
            std::fs::remove_file(&report)?;
        }
        let (succeeded, said) = step::overheard(&mut command)?;
        let mut count =
            counted(&said).with_context(|| format!("cargo {} did not count its tests", arguments.join(" ")))?;
        if !succeeded && count.failed == 0 {
            count.failed = 1;
        }
        self.count.add(count);
        let report = if arguments.first() == Some(&"nextest") {
            std::fs::read_to_string(&report).with_context(|| format!("nextest left no {}", report.display()))?
        } else {
            said
        };
        for why in skipped(&report) {
            println!("  {why}");
            self.count.passed = self.count.passed.saturating_sub(1);
            self.count.skipped += 1;
        }
        Ok(())
    }

    /// A short while a target: it finds what broke since the last long run, `cargo xtask fuzz`.
    fn fuzz(&mut self) -> Result<()> {
        println!("fuzz");
        for figures in fuzz::figures(self.root, &fuzz::Arguments::bounded(FUZZ_SECONDS))? {
            println!("  {figures}");
            self.count.passed += 1;
        }
        Ok(())
    }

    fn doc_tests(&mut self, model: &Option<PathBuf>) -> Result<()> {
        if tidy::has_doc_tests(self.root)? {
            return self.suite(model, &["test", "--workspace", "--doc", "--no-fail-fast", "--quiet"]);
        }
        Ok(())
    }
}

/// What tests said that found their host without what they need. They end well, but did not run.
pub(crate) fn skipped(report: &str) -> Vec<&str> {
    let said = |line| {
        let at = str::find(line, SKIPPED)?;
        let opens = at == 0 || line[..at].ends_with('>');
        opens.then(|| line[at..].split("</").next().unwrap_or_default())
    };
    report.lines().filter_map(said).collect()
}

/// Sums what nextest's summary or the lines of `cargo test` say. `None` where there is neither.
pub(crate) fn counted(said: &str) -> Option<Count> {
    let mut sum = None;
    for line in said.lines() {
        let Some(counts) = summary(line).or_else(|| result(line)) else { continue };
        sum.get_or_insert_with(Count::default).add(counts);
    }
    sum
}

/// `Summary [ 1.2s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 4 skipped`. Skipped there means filtered out.
fn summary(line: &str) -> Option<Count> {
    let (head, counts) = line.split_once(" run: ")?;
    if !head.trim_start().starts_with("Summary [") {
        return None;
    }
    let mut count = Count::default();
    for (number, word) in numbers(counts) {
        match word {
            "passed" => count.passed += number,
            "skipped" => {}
            _ => count.failed += number,
        }
    }
    Some(count)
}

/// `test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.04s`.
fn result(line: &str) -> Option<Count> {
    let counts = line.strip_prefix("test result: ")?;
    let mut count = Count::default();
    for (number, word) in numbers(counts) {
        match word {
            "passed" => count.passed += number,
            "failed" => count.failed += number,
            "ignored" => count.skipped += number,
            _ => {}
        }
    }
    Some(count)
}

/// Each number with the word behind it, without what stands in parentheses.
fn numbers(counts: &str) -> Vec<(u64, &str)> {
    let outside = counts.split('(').flat_map(|part| part.rsplit(')').next());
    let words = outside.flat_map(|part| part.split([',', ';', '.', ' '])).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    words.windows(2).filter_map(|pair| Some((pair[0].parse().ok()?, pair[1]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_has_the_sums_of_what_ran() {
        let nextest = "     Summary [   9.1s] 7 tests run: 5 passed (1 slow, 2 leaky), 1 failed, 1 timed out, 40 skipped\n\
                       test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.04s\n\
                       test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s\n";
        let count = counted(nextest).unwrap();
        assert_eq!(count, Count { passed: 9, failed: 4, skipped: 2 });
        assert_eq!(count.line(), "9 passed, 4 failed, 2 skipped");
        assert_eq!(Count { passed: 1, ..Count::default() }.line(), "1 passed, 0 failed");
    }

    #[test]
    fn a_test_that_says_why_it_could_not_run_is_not_counted_as_passed() {
        let report = "<testcase name=\"a\"><system-err>skipped: no weights</system-err>\nskipped: no root\n\
                      <system-out>it skipped: nothing</system-out>\n";
        assert_eq!(skipped(report), ["skipped: no weights", "skipped: no root"]);
    }

    #[test]
    fn a_run_that_says_no_sum_is_not_taken_for_one_that_passed() {
        assert_eq!(counted("error: could not compile `tenure-core`"), None);
        assert_eq!(counted("I think 5 tests run: 5 passed"), None);
    }
}
