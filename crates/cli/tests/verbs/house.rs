//! A data directory, a daemon on it, and the program as it is called from a shell.
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use super::steady::steady;

const TENURE: &str = env!("CARGO_BIN_EXE_tenure");
/// Nothing here takes as long; a test that hangs must end all the same.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What one run of the program printed, with what differs from run to run made the same.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) raw: String,
}

impl Answer {
    pub(crate) fn ok(self) -> Answer {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.raw).unwrap_or_else(|error| panic!("{error}: {}", self.raw))
    }
}

pub(crate) struct House {
    folder: TempDir,
    daemon: Option<Child>,
    /// What `tenure up` printed until it was ready.
    pub(crate) greeting: String,
    pub(crate) url: String,
}

impl House {
    pub(crate) fn new() -> House {
        let folder = tempfile::Builder::new().prefix("tnr").tempdir().unwrap();
        House { folder, daemon: None, greeting: String::new(), url: String::new() }
    }

    /// With a daemon whose model is the cassette.
    pub(crate) fn up(cassette: &str) -> House {
        Self::up_with(cassette, &[])
    }

    pub(crate) fn up_with(cassette: &str, more: &[&str]) -> House {
        let mut house = House::new();
        house.start(cassette, more);
        house
    }

    /// Starts a daemon on this directory.
    pub(crate) fn start(&mut self, cassette: &str, more: &[&str]) {
        let house = self;
        house.greeting.clear();
        let tape = house.write("cassette.jsonl", cassette);
        let mut command = house.command(&["up", "--listen", "127.0.0.1:0"]);
        command.args(more);
        let log = std::fs::File::create(house.path("daemon.log")).unwrap();
        command.env("TENURE_CASSETTE", format!("replay:{tape}")).stdout(Stdio::piped()).stderr(log);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !house.greeting.contains("ready") {
            match lines.next() {
                Some(line) => house.greeting.push_str(&(line.unwrap() + "\n")),
                None => panic!("the daemon ended: {}", std::fs::read_to_string(house.path("daemon.log")).unwrap()),
            }
        }
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        house.daemon = Some(child);
        let url = Regex::new(r"https?://127\.0\.0\.1:\d+").unwrap();
        house.url = url.find(&house.greeting).unwrap().as_str().to_string();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(TENURE);
        command.args(words).current_dir(self.folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("HOME", self.folder.path()).env("TENURE_DATA_DIR", self.path("data"));
        command
    }

    pub(crate) fn tenure(&self, words: &[&str]) -> Answer {
        self.run(self.command(words))
    }

    pub(crate) fn run(&self, mut command: Command) -> Answer {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let raw = String::from_utf8(output.stdout).unwrap();
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: self.steady(&raw),
            stderr: self.steady(&String::from_utf8(output.stderr).unwrap()),
            raw,
        }
    }

    /// What it prints on a terminal of so many columns.
    pub(crate) fn on_terminal(&self, columns: u16, words: &[&str]) -> String {
        use std::os::unix::fs::OpenOptionsExt;
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let no_control = OFlags::NOCTTY.bits().cast_signed();
        let other_side = || {
            let mut options = std::fs::File::options();
            options.read(true).write(true).custom_flags(no_control).open(name.to_str().unwrap()).unwrap()
        };
        let mut command = self.command(words);
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(other_side()).stderr(other_side());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut text = Vec::new();
        // Once nobody has the other side any more, reading ends with an error.
        let _ = std::fs::File::from(terminal).read_to_end(&mut text);
        child.wait().unwrap();
        String::from_utf8(text).unwrap().replace("\r\n", "\n")
    }

    pub(crate) fn steady(&self, text: &str) -> String {
        steady(self.folder.path(), text)
    }

    /// Asks until the execution has ended.
    pub(crate) fn wait(&self, id: &str) -> serde_json::Value {
        let ended = |answer: &Answer| {
            ["completed", "failed", "cancelled"].contains(&answer.json()["status"].as_str().unwrap_or_default())
        };
        self.until(&["execution", "get", id, "-o", "json"], ended).json()
    }

    /// Asks until the answer is the wanted one.
    pub(crate) fn until(&self, words: &[&str], wanted: impl Fn(&Answer) -> bool) -> Answer {
        let mut found = None;
        eventually(&format!("{words:?}"), || {
            found = Some(self.tenure(words)).filter(&wanted);
            found.is_some()
        });
        found.unwrap()
    }

    /// Ends the daemon as Ctrl-C would; gives what its log says.
    pub(crate) fn down(&mut self) -> String {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = daemon.id().to_string();
            Command::new("kill").args(["-INT", &pid]).status().unwrap();
            assert!(daemon.wait().unwrap().success(), "{}", self.log());
        }
        self.log()
    }

    /// Ends the daemon as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    fn log(&self) -> String {
        let mut text = String::new();
        let _ = std::fs::File::open(self.path("daemon.log")).and_then(|mut file| file.read_to_string(&mut text));
        text
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
    }
}

/// Waits for what must come true, but not for ever.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A file of the repository's examples.
pub(crate) fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// An agent without validators: its first output completes an execution.
pub(crate) const AGENT: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata:
  name: coder
  version: 1.0.0
  labels:
    type: developer
spec:
  task:
    instruction: Do the task.
  execution:
    max_iterations: 3
    validation:
      - type: exit_code
        expected: 0
  tools: [filesystem.write, process.run]
";

/// Writes a file, runs it, says so; for `count` executions.
pub(crate) fn cassette(count: u32) -> String {
    let mut lines = String::from("{\"cassette\":1}\n");
    for execution in 1..=count {
        let write =
            r#"{"id":"c1","name":"filesystem.write","arguments":{"path":"solution.py","content":"print(6 * 7)\n"}}"#;
        let run =
            r#"{"id":"c2","name":"process.run","arguments":{"command":"python3","args":["/workspace/solution.py"]}}"#;
        let usage = r#""usage":{"input":10,"output":3,"cached":null},"model":"local/qwen","cost_micro_usd":null"#;
        lines.push_str(&format!(
            "{{\"execution\":{execution},\"iteration\":1,\"turn\":1,\"attempt\":1,\"answer\":{{\"text\":\"I write it.\",\"calls\":[{write},{run}],\"stop\":\"calls\",{usage}}}}}\n\
             {{\"execution\":{execution},\"iteration\":1,\"turn\":2,\"attempt\":1,\"answer\":{{\"text\":\"The answer is 42.\",\"calls\":[],\"stop\":\"end\",{usage}}}}}\n"
        ));
    }
    lines
}
