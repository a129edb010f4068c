//! A daemon with a code agent whose program does what its messages say.
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Say, ScriptedDaemon, said};

pub const WITHIN: Duration = Duration::from_secs(90);
pub const PROGRAM: &str = include_str!("program.py");

pub struct CodeAgent {
    pub house: ScriptedDaemon,
    pub id: String,
}

pub fn manifest(more: &Value) -> String {
    let mut spec = json!({
        "runtime": {"kind": "hooks", "command": ["python3", "/workspace/program.py"]},
        "provides": ["hearing"],
        "tools": ["filesystem.*", "state.*", "network.*"],
        "execution": {"max_iterations": 1},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key.as_str()] = value.clone();
    }
    json!({"apiVersion": "tenure.dev/v1", "kind": "Agent", "metadata": {"name": "coded", "version": "1.0.0"}, "spec": spec})
        .to_string()
}

impl CodeAgent {
    /// Deployed, with its program in its work folder; not started.
    pub fn deployed(more: &Value, program: &str) -> CodeAgent {
        let house = ScriptedDaemon::start(Arc::new(|request, _| Say::Text(format!("a model hears {}", said(request)))));
        let deployed = house.daemon.deploy(&manifest(more));
        let id = deployed["id"].as_str().expect("an id").to_string();
        let agent = CodeAgent { house, id };
        agent.put("program.py", program);
        agent
    }

    pub fn daemon(&self) -> &Daemon {
        &self.house.daemon
    }

    pub fn put(&self, name: &str, text: &str) {
        let file = self.house.folder().join("put");
        std::fs::write(&file, text).expect("a temporary folder");
        self.daemon().ok(&["agent", "files", "put", "coded", file.to_str().expect("UTF-8"), name]);
    }

    pub fn start(&self) {
        self.daemon().ok(&["agent", "start", "coded"]);
        self.is("ready");
    }

    pub fn instance(&self) -> Value {
        self.daemon().json(&["agent", "status", "coded"])
    }

    /// Waits until its program is so.
    pub fn is(&self, state: &str) -> Value {
        let until = Instant::now() + WITHIN;
        loop {
            let instance = self.instance();
            if instance["state"] == state {
                return instance;
            }
            assert!(Instant::now() < until, "never {state}: {instance:#}\n{}", self.daemon().log());
            sleep(Duration::from_millis(50));
        }
    }

    /// What it answers; where it does not, how its execution ended.
    pub fn told(&self, message: &str) -> Result<String, Value> {
        let started = self.daemon().json(&["execute", "coded", message]);
        let ended = self.daemon().ended(started["id"].as_str().expect("an id"), WITHIN);
        match ended["status"].as_str() {
            Some("completed") => Ok(ended["output"].as_str().expect("an output").to_string()),
            _ => Err(ended),
        }
    }

    pub fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.daemon().work_folder(&self.id).join(name)).ok()
    }

    /// How often its program was asked this.
    pub fn asked(&self, hook: &str) -> usize {
        self.read("hooks.txt").unwrap_or_default().lines().filter(|line| *line == hook).count()
    }

    pub fn records(&self, kind: &str) -> Vec<Value> {
        let found = self.daemon().json(&["audit", "query", "--limit", "1000", "--kind", kind]);
        found.as_array().cloned().unwrap_or_default()
    }
}
