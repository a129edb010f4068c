//! A daemon beside an engine of its own, a scripted model, and the few words that these tests share.
use crate::engines::{Kind, Started, processes_with};
use serde_json::{Value, json};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Script, Scripted};

pub const WITHIN: Duration = Duration::from_secs(90);
/// A busybox, and a file that says where it is.
pub const IMAGE: &str = "story";

pub struct House {
    pub daemon: Daemon,
    pub engine: Started,
    _model: Scripted,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

pub fn manifest(image: &str) -> String {
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: clerk}}\nspec:\n  \
         runtime: {{isolation: docker, image: \"{image}\"}}\n  task: {{instruction: Do what the input says.}}\n  \
         execution: {{mode: one-shot}}\n  tools: [\"filesystem.*\", \"process.run\"]"
    )
}

pub fn shell(script: &str) -> (&'static str, Value) {
    ("process.run", json!({"command": "sh", "args": ["-c", script]}))
}

fn root(engine: &Started) -> PathBuf {
    engine.folder.path().join("busybox")
}

impl House {
    /// None where the engine cannot be started; it says why.
    pub fn open(kind: Kind, script: Script) -> Option<House> {
        let engine = Started::start(kind)?;
        std::fs::write(root(&engine).join("mark"), "of the image\n").expect("a mark");
        engine.import(IMAGE, &root(&engine));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let model = runtime.block_on(Scripted::serve(script));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (url, host) = (model.base_url(), engine.host());
        let environment = [
            ("OPENAI_BASE_URL", url.as_str()),
            ("OPENAI_API_KEY", "sk-test-0123456789"),
            ("TENURE_DEFAULT_MODEL", "openai/scripted"),
            ("DOCKER_HOST", host.as_str()),
        ];
        let daemon = Daemon::start(&folder.path().join("data"), &environment);
        Some(House { daemon, engine, _model: model, _runtime: runtime, _folder: folder })
    }

    pub fn import(&mut self) {
        self.engine.import(IMAGE, &root(&self.engine));
    }

    pub fn start(&self, input: &str) -> String {
        let started = self.daemon.json(&["execute", "--agent", "clerk", "--input", input]);
        started["id"].as_str().expect("an id").to_string()
    }

    /// The calls of the one execution that there was, which completed.
    pub fn only_execution(&self) -> Vec<Value> {
        let list = self.daemon.json(&["execution", "list", "--agent", "clerk"]);
        assert_eq!(
            (list.as_array().map(Vec::len), list[0]["status"].as_str()),
            (Some(1), Some("completed")),
            "{list:#}"
        );
        calls(&self.daemon, list[0]["id"].as_str().expect("an id"))
    }

    pub fn completes(&self, execution: &str) -> Vec<Value> {
        let record = self.daemon.ended(execution, WITHIN);
        assert_eq!(record["status"], "completed", "{record:#}\n{}", self.daemon.log());
        calls(&self.daemon, execution)
    }

    /// Of the newest 500 records.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let tail = self.daemon.json(&["audit", "tail", "--limit", "500"]);
        let all = tail.as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|record| record["kind"] == kind).collect()
    }

    /// What `agent deploy` says of a manifest that it does not take.
    pub fn refused(&self, manifest: &str) -> String {
        let file = self.daemon.data.with_extension("refused.yaml");
        std::fs::write(&file, manifest).expect("it can be written");
        let output = self.daemon.run(&["agent", "deploy", file.to_str().expect("UTF-8")]);
        assert!(!output.status.success(), "it was accepted: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// All calls of an execution, in order.
pub fn calls(daemon: &Daemon, execution: &str) -> Vec<Value> {
    let logs = daemon.json(&["execution", "logs", execution]);
    let turns =
        logs.as_array().into_iter().flatten().flat_map(|iteration| iteration["log"].as_array().into_iter().flatten());
    turns.flat_map(|turn| turn["calls"].as_array().cloned().unwrap_or_default()).collect()
}

pub fn result(call: &Value) -> Value {
    let text = call["result"].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no result in JSON ({error}): {call:#}"))
}

pub fn stdout(call: &Value) -> String {
    result(call)["stdout"].as_str().unwrap_or_default().to_string()
}

pub fn owner(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.gid())
}

/// Waits for what must come true, but not for ever.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until a program inside has made this file.
pub fn shown_file(path: &Path, daemon: &Daemon) {
    let deadline = Instant::now() + WITHIN;
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} was not made:\n{}", path.display(), daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The control groups that hold the processes with `mark` in their command line.
pub fn groups_of(mark: &str) -> Vec<PathBuf> {
    let tables =
        processes_with(mark).into_iter().filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok());
    let paths: Vec<String> = tables
        .flat_map(|table| {
            table.lines().filter_map(|line| line.splitn(3, ':').nth(2).map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    let root = Path::new("/sys/fs/cgroup");
    let mounts =
        std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).chain([root.to_path_buf()]);
    let mounts: Vec<PathBuf> = mounts.collect();
    let own = |path: &&String| path.len() > 1 && (path.contains("docker") || path.contains("libpod"));
    let mut found: Vec<PathBuf> = paths
        .iter()
        .filter(own)
        .flat_map(|path| mounts.iter().map(move |mount| mount.join(path.trim_start_matches('/'))))
        .filter(|group| group.is_dir())
        .collect();
    found.sort();
    found.dedup();
    found
}
