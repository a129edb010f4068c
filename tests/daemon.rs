//! A daemon of the built program on a data directory of its own, and the command line against it.
use crate::processes::{self, Process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The programs that `cargo xtask test` built, beside this test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.ancestors().find(|folder| folder.join(name).is_file());
    let folder = folder.unwrap_or_else(|| panic!("{name} is not built: run `cargo build -p tenure`"));
    folder.join(name)
}

/// What of the outer environment may reach the programs under test.
fn clean(command: &mut Command) {
    command.env_clear();
    for name in ["PATH", "HOME", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

pub struct Daemon {
    pub data: PathBuf,
    environment: Vec<(String, String)>,
    umask: u32,
    child: Option<Child>,
}

const READY_DEADLINE: Duration = Duration::from_secs(60);

impl Daemon {
    /// Starts it and waits until it is ready.
    pub fn start(data: &Path, environment: &[(&str, &str)]) -> Daemon {
        Daemon::start_under(0o022, data, environment)
    }

    /// The same from a shell with this umask.
    pub fn start_under(umask: u32, data: &Path, environment: &[(&str, &str)]) -> Daemon {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut daemon = Daemon { data: data.to_path_buf(), environment, umask, child: None };
        daemon.start_again();
        daemon
    }

    pub fn spawn(&self) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.data.with_extension("log"));
        let log = log.expect("the log can be written");
        let mut command = Command::new("sh");
        clean(&mut command);
        command.arg("-c").arg(format!("umask {:04o}; exec \"$0\" \"$@\"", self.umask)).arg(program("tenure"));
        command.args(["--data-dir".as_ref(), self.data.as_os_str()]).args(["up", "--listen", "127.0.0.1:0"]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let error = log.try_clone().expect("a file has two handles");
        command.stdin(Stdio::null()).stdout(log).stderr(error).spawn().expect("the daemon starts")
    }

    pub fn start_again(&mut self) {
        self.child = Some(self.spawn());
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            let output = self.run(&["status", "-o", "json"]);
            if output.status.success() {
                return;
            }
            let child = self.child.as_mut().expect("it was just started");
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the daemon is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("the daemon runs");
        i32::try_from(child.id()).expect("a process id fits")
    }

    /// SIGKILL, and nothing of it left but what it started.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As Ctrl-C does.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("the daemon did not stop within 30 s:\n{}", self.log());
    }

    pub fn tree(&self) -> Vec<Process> {
        processes::below(self.pid())
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &[])
    }

    /// With variables that a user may have set beside the daemon's.
    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(program("tenure"));
        clean(&mut command);
        // Both have the same home, so that they find the same configuration.
        command.envs(self.environment.iter().filter(|(name, _)| name == "HOME").map(|(name, value)| (name, value)));
        command.envs(environment.iter().copied());
        command.args(["--data-dir".as_ref(), self.data.as_os_str()]).args(arguments).stdin(Stdio::null());
        command.output().expect("the command runs")
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?} failed ({}):\n{out}{err}\n{}", output.status, self.log());
        out.into_owned()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        let text = self.ok(&arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} gave no JSON ({error}):\n{text}"))
    }

    /// Polls until the execution has ended, and gives its record.
    pub fn ended(&self, execution: &str, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            let record = self.json(&["execution", "get", execution]);
            let status = record["status"].as_str().unwrap_or_default();
            if ["completed", "failed", "cancelled"].contains(&status) {
                return record;
            }
            assert!(Instant::now() < deadline, "{execution} is still {status}:\n{record:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes a manifest beside the data directory and deploys it.
    pub fn deploy(&self, manifest: &str) -> Value {
        let file = self.data.with_extension("agent.yaml");
        std::fs::write(&file, manifest).expect("the manifest can be written");
        self.json(&["agent", "deploy", file.to_str().expect("a path of ours is UTF-8")])
    }

    /// The work folder of an agent, on the host.
    pub fn work_folder(&self, agent: &str) -> PathBuf {
        self.data.join("agents").join(agent).join("work")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
