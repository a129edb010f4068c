//! A worker with real jails, as the daemon drives it; over the simulated network, or as a process over the host's own.
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tenure_core::call::{Fence, Holder, Outcome};
use tenure_core::capability;
use tenure_core::id::{AgentId, CallId, ConnectionId, ExecutionId, LeaseId, Mint};
use tenure_core::manifest::Backend;
use tenure_core::network::{Refusal, Traffic};
use tenure_core::time::Time;
use tenure_wire::confinement::{Confinement, Network};
use tenure_wire::frame::{self, CallOutcome, FromWorker, LeasedCall, ToWorker, VERSION};
use tenure_worker::egress::network::HostNetwork;
use tenure_worker::{Options, WorkerRuntime, serve};
use tokio::net::UnixStream;

/// Nothing here is expected to take so long; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const FENCE: Fence = Fence(7);

/// Set in the environment of the second run, as an ordinary user: what this user may execute and read.
pub(crate) const EXE: &str = "TENURE_TEST_WORKER_EXE";
pub(crate) const DATA: &str = "TENURE_TEST_EGRESS_DATA";

pub(crate) fn exe() -> PathBuf {
    std::env::var_os(EXE).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_worker-for-tests")), PathBuf::from)
}

/// A file of the tests' own.
pub(crate) fn data(file: &str) -> PathBuf {
    let folder = std::env::var_os(DATA).map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/egress/data")).join(file)
}

pub(crate) struct House {
    folder: tempfile::TempDir,
    mint: Mint,
    agent: AgentId,
    holder: Holder,
    pub(crate) iteration: u32,
    socket: UnixStream,
    network: Network,
    /// What was reported so far of this iteration.
    pub(crate) refusals: Vec<Refusal>,
    process: Option<Child>,
}

impl House {
    /// A worker in this process whose network is simulated.
    pub(crate) async fn over(outside: Arc<dyn HostNetwork>, network: Network) -> House {
        let folder = tempfile::tempdir().unwrap();
        let (data_dir, name) = (folder.path().join("data"), "tests".to_owned());
        let options = Options { data_dir, exe: exe(), name, slots: 2, mounts: Vec::new() };
        let runtime = tokio::task::spawn_blocking(move || WorkerRuntime::prepare(&options)).await.unwrap();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}")).through(outside);
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(serve(runtime, theirs));
        House::greet(folder, ours, network, None).await
    }

    /// A worker as a process of its own, over the host's network; it trusts no authority but the tests' own.
    pub(crate) async fn process(network: Network, authority: &Path) -> House {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut command = Command::new(exe());
        command.arg(folder.path().join("data")).arg("2").stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = command.env("SSL_CERT_FILE", authority).env_remove("SSL_CERT_DIR").spawn().unwrap();
        drop(command);
        ours.set_nonblocking(true).unwrap();
        House::greet(folder, UnixStream::from_std(ours).unwrap(), network, Some(child)).await
    }

    async fn greet(folder: tempfile::TempDir, socket: UnixStream, network: Network, process: Option<Child>) -> House {
        static HOUSES: AtomicU64 = AtomicU64::new(1);
        let seed = u128::from(HOUSES.fetch_add(1, Ordering::Relaxed)) << 32 | u128::from(std::process::id());
        let mut mint = Mint::new(Time::from_millis(1_000), seed);
        let (agent, holder) = (AgentId::mint(&mut mint), Holder::Execution(ExecutionId::mint(&mut mint)));
        let connection = ConnectionId::mint(&mut mint);
        let mut house =
            House { folder, mint, agent, holder, iteration: 1, socket, network, refusals: Vec::new(), process };
        let FromWorker::Hello(_) = house.next().await else { panic!("no greeting") };
        house.send(&ToWorker::Welcome { version: VERSION, connection, fence: FENCE }).await;
        house
    }

    async fn send(&mut self, frame: &ToWorker) {
        frame::write(&mut self.socket, frame).await.unwrap();
    }

    async fn next(&mut self) -> FromWorker {
        let reading = tokio::time::timeout(PATIENCE, frame::read(&mut self.socket));
        reading.await.expect("a frame in time").unwrap()
    }

    pub(crate) async fn begin(&mut self, capability: &str, arguments: Value) -> LeaseId {
        let lease = LeaseId::mint(&mut self.mint);
        let path = capability::find(capability).and_then(|known| known.attributes(&arguments).path);
        let call = LeasedCall {
            lease,
            fence: FENCE,
            call: CallId::mint(&mut self.mint),
            holder: self.holder,
            iteration: self.iteration,
            agent: self.agent,
            capability: capability.to_owned(),
            arguments,
            path,
            confinement: confinement(self.network.clone()),
            deadline_ms: PATIENCE.as_millis() as u64,
            credential: None,
        };
        self.send(&ToWorker::Call(Box::new(call))).await;
        lease
    }

    /// What a running program printed, once a line with this word is among it.
    pub(crate) async fn printed(&mut self, lease: LeaseId, word: &str) -> String {
        let mut said = String::new();
        while !(said.contains(word) && said.ends_with('\n')) {
            match self.next().await {
                FromWorker::Output { lease: from, text, .. } if from == lease => said.push_str(&text),
                FromWorker::Outcome(outcome) => panic!("it ended: {outcome:?}"),
                FromWorker::NetworkRefused { refusals, .. } => self.refusals.extend(refusals),
                _ => {}
            }
        }
        said
    }

    pub(crate) async fn perform(&mut self, capability: &str, arguments: Value) -> CallOutcome {
        let lease = self.begin(capability, arguments).await;
        loop {
            match self.next().await {
                FromWorker::Outcome(outcome) if outcome.lease == lease => return *outcome,
                FromWorker::NetworkRefused { refusals, .. } => self.refusals.extend(refusals),
                FromWorker::JailLost { why, .. } => panic!("the jail was lost: {why}"),
                _ => {}
            }
        }
    }

    /// Performs a call that must be done; its result.
    pub(crate) async fn does(&mut self, capability: &str, arguments: Value) -> Value {
        let outcome = self.perform(capability, arguments).await;
        assert!(matches!(outcome.outcome, Outcome::Done { .. }), "{capability}: {outcome:?}");
        outcome.result
    }

    /// Performs a call that must fail; its code and sentence.
    pub(crate) async fn fails(&mut self, capability: &str, arguments: Value) -> (String, String) {
        let outcome = self.perform(capability, arguments).await;
        let Outcome::Failed { code } = outcome.outcome else { panic!("{capability}: {outcome:?}") };
        (code, outcome.result["error"].as_str().expect("a sentence").to_owned())
    }

    /// Runs a program; exit code and all that it said.
    pub(crate) async fn run(&mut self, command: &str, args: &[&str]) -> (Value, String) {
        let outcome = self.perform("process.run", serde_json::json!({ "command": command, "args": args })).await;
        let said = |stream: &str| outcome.result[stream].as_str().unwrap_or_default().to_owned();
        (outcome.result["exit_code"].clone(), format!("{}{}{}", said("stdout"), said("stderr"), said("error")))
    }

    /// Ends the iteration; what went through its door.
    pub(crate) async fn release(&mut self) -> Option<Traffic> {
        let (agent, holder, iteration) = (self.agent, self.holder, self.iteration);
        self.send(&ToWorker::Release { agent, holder, iteration, last: true }).await;
        loop {
            match self.next().await {
                FromWorker::Released { traffic, .. } => {
                    self.iteration += 1;
                    return traffic;
                }
                FromWorker::NetworkRefused { refusals, .. } => self.refusals.extend(refusals),
                _ => {}
            }
        }
    }

    /// What was reported, as (host, port, rule).
    pub(crate) fn refused(&self) -> Vec<(String, u16, String)> {
        self.refusals.iter().map(|refusal| (refusal.host.clone(), refusal.port, refusal.rule.clone())).collect()
    }

    pub(crate) fn work_folder(&self) -> PathBuf {
        self.folder.path().join("data/agents").join(self.agent.to_string()).join("work")
    }

    pub(crate) fn run_folder(&self) -> PathBuf {
        self.folder.path().join("data/run/worker")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn confinement(network: Network) -> Confinement {
    Confinement {
        memory_bytes: 256 << 20,
        cpu_millicores: 2000,
        pids: 64,
        output_bytes: 16 << 20,
        disk_bytes: 32 << 20,
        files: 10_000,
        read: vec!["/workspace".to_owned()],
        write: vec!["/workspace".to_owned()],
        temp: true,
        volumes: Vec::new(),
        network,
        backend: Backend::Native,
        require: Vec::new(),
        mcp: Vec::new(),
    }
}
