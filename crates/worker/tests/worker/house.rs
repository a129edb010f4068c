//! A data directory, a worker on it, and the daemon's end of its socket.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tenure_core::call::{Fence, Holder, Outcome};
use tenure_core::capability;
use tenure_core::id::{AgentId, CallId, ConnectionId, ExecutionId, LeaseId, Mint};
use tenure_core::manifest::{Backend, HostMount};
use tenure_core::time::Time;
use tenure_wire::confinement::{Confinement, Network};
use tenure_wire::frame::{self, CallOutcome, FrameError, FromWorker, Hello, LeasedCall, ToWorker, VERSION};
use tenure_worker::{Error, Options, WorkerRuntime, serve};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// Set in the environment of the second run, as an ordinary user: the program that this user may execute.
pub(crate) const EXE: &str = "TENURE_TEST_WORKER_EXE";
/// Nothing here is expected to take so long; it only ends a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const FENCE: Fence = Fence(7);
const SLOTS: u32 = 3;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn exe() -> PathBuf {
    std::env::var_os(EXE).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_worker-for-tests")), PathBuf::from)
}

/// One execution of one agent, as calls name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) agent: AgentId,
    pub(crate) holder: Holder,
    pub(crate) iteration: u32,
}

pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) hello: Hello,
    pub(crate) run: Run,
    mint: Mint,
    socket: UnixStream,
    /// Frames that came while another was waited for.
    pub(crate) aside: VecDeque<FromWorker>,
    worker: Worker,
}

enum Worker {
    Task(JoinHandle<Result<(), Error>>),
    Process(Child),
}

pub(crate) fn confinement() -> Confinement {
    Confinement {
        memory_bytes: 256 << 20,
        cpu_millicores: 2000,
        pids: 64,
        output_bytes: 16 << 20,
        read: vec!["/workspace".to_owned()],
        write: vec!["/workspace".to_owned()],
        temp: true,
        disk_bytes: 1 << 30,
        files: 10_000,
        volumes: Vec::new(),
        network: Network::none(),
        backend: Backend::Native,
        require: Vec::new(),
        mcp: Vec::new(),
    }
}

impl House {
    /// A worker in this process.
    pub(crate) async fn new() -> House {
        House::with_mounts(Vec::new()).await
    }

    /// A worker in this process, to which the operator allowed these folders.
    pub(crate) async fn with_mounts(mounts: Vec<HostMount>) -> House {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (data_dir, name) = (folder.path().join("data"), "tests".to_owned());
        let options = Options { data_dir, exe: exe(), name, slots: SLOTS, mounts };
        let runtime = tokio::task::spawn_blocking(move || WorkerRuntime::prepare(&options)).await.unwrap();
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let task = tokio::spawn(serve(runtime.unwrap_or_else(|error| panic!("{error}")), theirs));
        House::greet(folder, ours, Worker::Task(task)).await
    }

    /// A worker as a process of its own.
    pub(crate) async fn with_process(folder: tempfile::TempDir) -> House {
        House::with_engine(folder, None).await
    }

    /// The same, to which a container engine is named.
    pub(crate) async fn with_engine(folder: tempfile::TempDir, host: Option<&str>) -> House {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        let mut command = Command::new(exe());
        command.envs(host.map(|host| ("DOCKER_HOST", host)));
        command.arg(folder.path().join("data")).arg(SLOTS.to_string()).stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = command.spawn().expect("a worker");
        drop(command);
        ours.set_nonblocking(true).unwrap();
        House::greet(folder, UnixStream::from_std(ours).unwrap(), Worker::Process(child)).await
    }

    async fn greet(folder: tempfile::TempDir, mut socket: UnixStream, worker: Worker) -> House {
        static HOUSES: AtomicU64 = AtomicU64::new(1);
        let seed = u128::from(HOUSES.fetch_add(1, Ordering::Relaxed)) << 32 | u128::from(std::process::id());
        let mut mint = Mint::new(Time::from_millis(1_000), seed);
        let FromWorker::Hello(hello) = receive(&mut socket).await.expect("a greeting") else { panic!("no greeting") };
        let run = Run {
            agent: AgentId::mint(&mut mint),
            holder: Holder::Execution(ExecutionId::mint(&mut mint)),
            iteration: 1,
        };
        let connection = ConnectionId::mint(&mut mint);
        let mut house = House { folder, hello, run, mint, socket, aside: VecDeque::new(), worker };
        house.send(&ToWorker::Welcome { version: VERSION, connection, fence: FENCE }).await;
        house
    }

    pub(crate) async fn send(&mut self, frame: &ToWorker) {
        frame::write(&mut self.socket, frame).await.unwrap();
    }

    /// The next frame, or one that was set aside; None at the end.
    pub(crate) async fn next(&mut self) -> Option<FromWorker> {
        match self.aside.pop_front() {
            Some(frame) => Some(frame),
            None => receive(&mut self.socket).await,
        }
    }

    /// The first frame that `wanted` takes; others are set aside.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&FromWorker) -> Option<T>) -> T {
        let mut passed = VecDeque::new();
        loop {
            let frame = self.next().await.expect("the worker is there");
            if let Some(found) = wanted(&frame) {
                passed.append(&mut self.aside);
                self.aside = passed;
                return found;
            }
            passed.push_back(frame);
        }
    }

    /// A call as the daemon's dispatch makes it: with the path that a judge saw.
    pub(crate) fn call(&mut self, capability: &str, arguments: Value) -> LeasedCall {
        let run = self.run;
        let path = capability::find(capability).and_then(|known| known.attributes(&arguments).path);
        LeasedCall {
            lease: LeaseId::mint(&mut self.mint),
            fence: FENCE,
            call: CallId::mint(&mut self.mint),
            holder: run.holder,
            iteration: run.iteration,
            agent: run.agent,
            capability: capability.to_owned(),
            arguments,
            path,
            confinement: confinement(),
            credential: None,
            deadline_ms: PATIENCE.as_millis() as u64,
        }
    }

    pub(crate) fn another_run(&mut self) -> Run {
        Run {
            agent: AgentId::mint(&mut self.mint),
            holder: Holder::Execution(ExecutionId::mint(&mut self.mint)),
            iteration: 1,
        }
    }

    pub(crate) async fn begin(&mut self, call: &LeasedCall) {
        self.send(&ToWorker::Call(Box::new(call.clone()))).await;
    }

    pub(crate) async fn outcome(&mut self, lease: LeaseId) -> CallOutcome {
        self.until(|frame| match frame {
            FromWorker::Outcome(outcome) if outcome.lease == lease => Some((**outcome).clone()),
            FromWorker::JailLost { why, .. } => panic!("the jail was lost: {why}"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn perform(&mut self, call: &LeasedCall) -> CallOutcome {
        self.begin(call).await;
        self.outcome(call.lease).await
    }

    /// Performs a call, and where it is redirected once more with the path that it leads to, as the daemon does once that is judged.
    pub(crate) async fn led(&mut self, call: &LeasedCall) -> CallOutcome {
        let outcome = self.perform(call).await;
        let Outcome::Redirected { path } = outcome.outcome else { return outcome };
        let lease = LeaseId::mint(&mut self.mint);
        self.perform(&LeasedCall { lease, path: Some(path), ..call.clone() }).await
    }

    /// Performs a call of another confinement.
    pub(crate) async fn under(
        &mut self,
        change: impl FnOnce(&mut Confinement),
        capability: &str,
        arguments: Value,
    ) -> CallOutcome {
        let mut call = self.call(capability, arguments);
        change(&mut call.confinement);
        self.perform(&call).await
    }

    /// Performs a call that must be done; its result.
    pub(crate) async fn does(&mut self, capability: &str, arguments: Value) -> Value {
        let call = self.call(capability, arguments);
        let outcome = self.perform(&call).await;
        assert!(matches!(outcome.outcome, Outcome::Done { .. }), "{capability}: {outcome:?}");
        outcome.result
    }

    /// Performs a call that must fail; its code and sentence.
    pub(crate) async fn fails(&mut self, capability: &str, arguments: Value) -> (String, String) {
        let call = self.call(capability, arguments);
        let outcome = self.perform(&call).await;
        let Outcome::Failed { code } = outcome.outcome else { panic!("{capability}: {outcome:?}") };
        (code, outcome.result["error"].as_str().expect("a sentence").to_owned())
    }

    /// Sends what releases the current iteration's jail, and waits until it is gone.
    pub(crate) async fn release(&mut self) {
        let Run { agent, holder, iteration } = self.run;
        self.send(&ToWorker::Release { agent, holder, iteration, last: true }).await;
        self.until(|frame| match frame {
            FromWorker::Released { holder: e, iteration: i, .. } => (*e == holder && *i == iteration).then_some(()),
            _ => None,
        })
        .await;
    }

    /// Waits until a program has said that it runs.
    pub(crate) async fn printed(&mut self, lease: LeaseId, wanted: &str) {
        let mut so_far = String::new();
        self.until(|frame| match frame {
            FromWorker::Output { lease: l, text, .. } if *l == lease => {
                so_far.push_str(text);
                so_far.contains(wanted).then_some(())
            }
            FromWorker::Outcome(outcome) if outcome.lease == lease => panic!("ended early: {outcome:?}"),
            _ => None,
        })
        .await;
    }

    pub(crate) fn work_folder(&self) -> PathBuf {
        self.folder.path().join("data/agents").join(self.run.agent.to_string()).join("work")
    }

    /// Ends the link as a daemon's death does, and waits for the worker's own end.
    pub(crate) async fn hang_up(self) -> tempfile::TempDir {
        drop(self.socket);
        match self.worker {
            Worker::Task(task) => task.await.unwrap().expect("the end of the link is no error"),
            Worker::Process(mut child) => assert!(child.wait().unwrap().success()),
        }
        self.folder
    }

    /// Kills the worker's process.
    pub(crate) fn kill(self) -> tempfile::TempDir {
        let Worker::Process(mut child) = self.worker else { panic!("not a process") };
        child.kill().unwrap();
        child.wait().unwrap();
        self.folder
    }
}

/// What runs a script.
pub(crate) fn shell(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script]})
}

async fn receive(socket: &mut UnixStream) -> Option<FromWorker> {
    match tokio::time::timeout(PATIENCE, frame::read(socket)).await.expect("a frame in time") {
        Err(FrameError::Ended(_)) => None,
        frame => Some(frame.unwrap()),
    }
}

/// Processes of this host whose command line holds `mark`.
pub(crate) fn processes(mark: &str) -> Vec<i32> {
    let named = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let line = std::fs::read(path.join("cmdline")).ok()?;
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        String::from_utf8_lossy(&line).replace('\0', " ").contains(mark).then_some(pid)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(named).collect()
}

/// The first process of a jail in which one that holds `mark` runs, and its parent, the zygote.
pub(crate) fn jail_of(mark: &str) -> Option<(i32, i32)> {
    processes(mark).into_iter().find_map(jail_above)
}

fn jail_above(mut pid: i32) -> Option<(i32, i32)> {
    for _ in 0..16 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let parent = field("PPid:")?.parse().ok()?;
        if field("NSpid:")?.split_whitespace().nth(1) == Some("1") {
            return Some((pid, parent));
        }
        pid = parent;
    }
    None
}

/// Like `jail_of`, for a program that runs on: a process of its that just ended may hide the others for a moment.
pub(crate) fn await_jail(mark: &str) -> (i32, i32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = jail_of(mark) {
            return found;
        }
        assert!(Instant::now() < deadline, "{mark} runs nowhere");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until no process holds `mark`.
pub(crate) fn await_none(mark: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !processes(mark).is_empty() {
        assert!(Instant::now() < deadline, "{mark} lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}
