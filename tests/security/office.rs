//! A daemon with a scripted model, and the few words that these tests share.
use serde_json::Value;
use std::process::Output;
use std::time::Duration;
use tests::daemon::Daemon;
use tests::scripted::{Script, Scripted};

pub const WITHIN: Duration = Duration::from_secs(60);

pub const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: clerk, version: "1.0.0"}
spec:
  task: {instruction: Do what the input says.}
  tools: ["filesystem.*", "process.run"]
"#;

pub struct Office {
    pub daemon: Daemon,
    pub folder: tempfile::TempDir,
    _model: Scripted,
    _runtime: tokio::runtime::Runtime,
}

impl Office {
    pub fn open(script: Script) -> Office {
        Office::begin(0o022, script, &[])
    }

    /// With these variables too; a later one counts instead of an earlier one.
    pub fn open_with(script: Script, more: &[(&str, &str)]) -> Office {
        Office::begin(0o022, script, more)
    }

    /// With a daemon that was started under this umask.
    pub fn open_under(umask: u32, script: Script) -> Office {
        Office::begin(umask, script, &[])
    }

    fn begin(umask: u32, script: Script, more: &[(&str, &str)]) -> Office {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let model = runtime.block_on(Scripted::serve(script));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = model.base_url();
        let usual =
            [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", KEY), ("TENURE_DEFAULT_MODEL", "openai/scripted")];
        let environment: Vec<(&str, &str)> = usual.iter().chain(more).copied().collect();
        let daemon = Daemon::start_under(umask, &folder.path().join("data"), &environment);
        Office { daemon, folder, _model: model, _runtime: runtime }
    }

    /// Runs one execution of the agent to its end.
    pub fn execute(&self, agent: &str, input: &str) -> Value {
        let started = self.daemon.json(&["execute", "--agent", agent, "--input", input]);
        self.daemon.ended(started["id"].as_str().expect("an id"), WITHIN)
    }

    /// What `agent deploy` says of this manifest.
    pub fn deploy(&self, manifest: &str) -> Output {
        let file = self.folder.path().join("agent.yaml");
        std::fs::write(&file, manifest).expect("it can be written");
        self.daemon.run(&["agent", "deploy", file.to_str().expect("UTF-8")])
    }

    pub fn agents(&self) -> usize {
        self.daemon.json(&["agent", "list"]).as_array().map_or(0, Vec::len)
    }

    /// The ledger still holds, whatever was tried.
    pub fn holds(&self) {
        self.daemon.ok(&["audit", "verify"]);
    }
}

pub const KEY: &str = "sk-secret-0123456789abcdef";

/// A refusal: not a success, and its words name these things.
pub fn refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it was accepted: {}", String::from_utf8_lossy(&output.stdout));
    for word in words {
        assert!(text.contains(word), "the refusal lacks `{word}`:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}
