//! The API against its own description: openapi.json is validated, and a daemon of the build is asked what the description says
//! can be asked, and what it says cannot. Both tools come from PyPI into a folder of the build's. Must never leave the daemon
//! running, or reach another address than the loopback one that it started.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{demo, install, step};

const PACKAGES: [&str; 2] = ["openapi-spec-validator==0.9.0", "schemathesis==4.32.5"];
const SETTINGS: &str = "xtask/schemathesis.toml";
const HOOKS: &str = "xtask/schemathesis_hooks.py";
const DESCRIPTION: &str = "openapi.json";
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// The same cases in each run of the same build and description.
const SEED: &str = "8";

/// How much is asked: generated cases of each operation, beside those that the description's bounds give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// About two minutes.
    Bounded,
    /// Up to 5,000 cases.
    Full,
}

impl Extent {
    fn examples(self) -> &'static str {
        match self {
            Extent::Bounded => "15",
            Extent::Full => "120",
        }
    }
}

pub(crate) enum Failure {
    /// They could not be had, so nothing was asked.
    NoTools(anyhow::Error),
    Found(anyhow::Error),
}

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    match figures(root, Extent::Bounded) {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::NoTools(error) | Failure::Found(error)) => Err(error),
    }
}

/// A line for each tool that found nothing.
///
/// # Errors
/// A tool found something, or could not be had.
pub(crate) fn figures(root: &Path, extent: Extent) -> Result<Vec<String>, Failure> {
    let tools = Tools::installed(root).map_err(Failure::NoTools)?;
    held(root, &tools, extent).map_err(Failure::Found)
}

fn held(root: &Path, tools: &Tools, extent: Extent) -> Result<Vec<String>> {
    let begun = Instant::now();
    step::quiet(
        "openapi.json is valid",
        Command::new(tools.program("openapi-spec-validator")).arg(DESCRIPTION).current_dir(root),
    )?;
    let daemon = Daemon::up(root)?;
    let summary = daemon.asked(root, tools, extent)?;
    ensure!(daemon.answers_key()?, "the key of the run was revoked by it, so what came after asked nothing");
    let seconds = begun.elapsed().as_secs();
    Ok(vec![
        "openapi.json: valid".to_owned(),
        format!("openapi.json: the daemon answers as it says ({summary}, {seconds} s)"),
    ])
}

/// The folder of their programs.
struct Tools(PathBuf);

impl Tools {
    fn installed(root: &Path) -> Result<Tools> {
        install::python_packages(&demo::target(root)?.join("openapi-tools"), &PACKAGES).map(Tools)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// A daemon on fresh data whose model is an empty cassette, so that executions end soon and nothing is asked elsewhere.
struct Daemon {
    child: Child,
    tenure: PathBuf,
    folder: PathBuf,
    url: String,
    key: String,
}

impl Daemon {
    fn up(root: &Path) -> Result<Daemon> {
        let target = demo::target(root)?;
        let folder = target.join("openapi");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let tenure = target.join("debug/tenure");
        let cassette = folder.join("cassette.jsonl");
        fs::write(&cassette, "{\"cassette\":1}\n")?;
        let log = File::create(folder.join("daemon.log"))?;
        let mut up = command(&tenure, &folder);
        up.args(["up", "--listen", "127.0.0.1:0"]).env("TENURE_CASSETTE", format!("replay:{}", cassette.display()));
        let child = up.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("tenure up")?;
        let mut daemon = Daemon { child, tenure, folder, url: String::new(), key: String::new() };
        daemon.url = daemon.listening()?;
        daemon.key = daemon.furnish(root)?;
        Ok(daemon)
    }

    fn tenure(&self, words: &[&str]) -> Option<Value> {
        let answer = step::answer(command(&self.tenure, &self.folder).args(words).args(["-o", "json"]))?;
        serde_json::from_str(&answer).ok()
    }

    /// Its TCP address, once its worker is there too.
    fn listening(&self) -> Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < READY_DEADLINE {
            let status = self.tenure(&["status"]).filter(|status| status["status"] == "ok");
            let found = status.as_ref().and_then(|status| status["listening"].as_array()?.iter().find_map(http));
            if let Some(url) = found {
                return Ok(url);
            }
            sleep(Duration::from_millis(100));
        }
        anyhow::bail!("the daemon was not ready in time: see {}", self.folder.join("daemon.log").display())
    }

    /// An agent, an execution of it, and an owner's key: what can be asked about.
    fn furnish(&self, root: &Path) -> Result<String> {
        let manifest = root.join("examples/aegis/python-coder.yaml").display().to_string();
        let deployed = self.tenure(&["agent", "deploy", &manifest]).context("the example was not deployed")?;
        let name = deployed["name"].as_str().context("a deployed agent has a name")?.to_owned();
        self.tenure(&["execute", "--agent", &name, "--input", "x"]).context("the example did not start")?;
        let key = self.tenure(&["key", "create", "--name", "openapi", "--role", "owner"]).context("no key was made")?;
        key["secret"].as_str().map(str::to_owned).context("a new key has its text")
    }

    fn asked(&self, root: &Path, tools: &Tools, extent: Extent) -> Result<String> {
        let mut asking = Command::new(tools.program("schemathesis"));
        asking.arg("--config-file").arg(root.join(SETTINGS)).arg("run").arg(root.join(DESCRIPTION));
        asking.args(["--url", &self.url, "--seed", SEED, "--max-examples", extent.examples(), "--no-color"]);
        asking.current_dir(&self.folder).env("TENURE_TEST_KEY", &self.key).env("NO_PROXY", "127.0.0.1");
        asking.env("SCHEMATHESIS_HOOKS", root.join(HOOKS));
        let (holds, said) = step::overheard(&mut asking)?;
        ensure!(holds, "the daemon does not answer as openapi.json says");
        let cases = said.lines().map(str::trim).find(|line| line.contains(" generated,"));
        cases.map(|line| line.trim_end_matches('.').to_owned()).context("schemathesis did not count its cases")
    }

    fn answers_key(&self) -> Result<bool> {
        let mut listed = command(&self.tenure, &self.folder);
        listed.args(["--base-url", &self.url, "agent", "list"]).env("TENURE_API_KEY", &self.key);
        Ok(step::answer(&mut listed).is_some())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        step::stop(&mut self.child);
    }
}

fn http(address: &Value) -> Option<String> {
    address.as_str().filter(|address| address.starts_with("http://")).map(str::to_owned)
}

/// The program on the run's own data, whatever the developer's environment says.
fn command(tenure: &Path, folder: &Path) -> Command {
    let mut command = Command::new(tenure);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TENURE_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", folder).env("TENURE_DATA_DIR", folder.join("data")).current_dir(folder);
    command
}
