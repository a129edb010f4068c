//! The life of one jail: opened for its first call, shared by the calls of its iteration or session, ended as a whole. One task each.
//! Must never: say that it ended before its death is proven, or hand on an outcome after it was told to close.
use crate::attend::AttendedStreams;
use crate::backend::Sandbox;
use crate::egress::rules::Rules;
use crate::egress::{EgressHandle, EgressListener};
use crate::error::Error;
use crate::jail_connection::{Disconnect, JailConnection};
use crate::models::{self, ModelListener, Opening, StreamLink, Streams};
use crate::output::Shown;
use crate::perform::host::{AgentHost, Awaited};
use crate::perform::mcp::{Servers, Surroundings};
use crate::perform::{Abort, Audience, CallContext, CallResult, perform};
use crate::runtime::WorkerRuntime;
use crate::workspace::{Allowance, Claim, JailProcesses, Layout, QuotaWatcher};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::call::Holder;
use tenure_core::id::AgentId;
use tenure_core::manifest::{Backend, NetworkMode};
use tenure_core::network::host::Host;
use tenure_core::network::{Refusal, Traffic};
use tenure_sandbox::{Error as SandboxError, GIT_CONFIG, OWN_LOOPBACK, Spec, WORKSPACE};
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{CallOutcome, FromWorker, LeasedCall};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a jail may take to be proven dead.
const KILL_TIMEOUT: Duration = Duration::from_secs(12);
/// How long calls of a dead jail may take to notice.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a jail's opening is tried.
const OPENINGS_MAX: u32 = 3;
/// The private /tmp of a jail, which counts as memory too.
const TMP_BYTES: u64 = 64 << 20;

/// Which jail: of an execution by its iteration, of a session by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) holder: Holder,
    pub(crate) iteration: u32,
}

impl Key {
    pub(crate) fn of(call: &LeasedCall) -> Key {
        Key { holder: call.holder, iteration: call.iteration }
    }
}

/// A call, and the moment at which its time is over.
#[derive(Debug)]
pub(crate) struct QueuedCall {
    pub(crate) call: Box<LeasedCall>,
    pub(crate) deadline: Instant,
    /// Whoever asked for it takes it back.
    pub(crate) cancel: CancellationToken,
    /// Of a program that somebody sits before.
    pub(crate) attendance: Option<AttendedStreams>,
}

/// What a jail's task tells the connection.
#[derive(Debug)]
pub(crate) enum JailEvent {
    Finished(Box<CallOutcome>),
    /// Its network was asked for what no rule permits.
    Refused(Key, Vec<Refusal>),
    /// The last word of a jail's task.
    Ended(Key, End),
    /// Nothing of this agent is kept any more, or why something is.
    HomeRemoved(AgentId, Result<(), String>),
    /// The ephemeral volumes of an ended holder are gone; this is to be told of its last jail.
    Cleared(Key, Option<Traffic>),
    /// A program asks by its model listener.
    StreamOpened(Opening),
    /// It has gone, or its answer is whole.
    StreamClosed(u64),
}

#[derive(Debug)]
pub(crate) enum End {
    /// As it was told to; proven dead.
    Closed(Option<Traffic>),
    /// By itself; proven dead.
    Lost(String, Option<Traffic>),
    /// It never was.
    Refused(String),
    /// The worker cannot go on.
    Fatal(Error),
}

/// Everything that one jail's task needs.
pub(crate) struct JailTask {
    pub(crate) key: Key,
    pub(crate) runtime: Arc<WorkerRuntime>,
    pub(crate) calls: mpsc::Receiver<QueuedCall>,
    pub(crate) close: CancellationToken,
    pub(crate) events: mpsc::Sender<JailEvent>,
    pub(crate) shown: mpsc::Sender<FromWorker>,
    /// None where no daemon is there that could answer.
    pub(crate) models: Option<StreamLink>,
}

impl JailTask {
    /// Opens the jail as `first` wants it, serves until it ends, and says how.
    pub(crate) async fn run(mut self, first: QueuedCall) {
        let end = match Rules::compile(&first.call.confinement.network) {
            Ok(rules) => match self.open(&first.call, &rules).await {
                Ok(opened) => self.serve(opened, rules, first).await,
                Err(error) if is_fatal(&error) => End::Fatal(error),
                Err(error) => End::Refused(error.to_string()),
            },
            Err(error) => End::Refused(error.to_string()),
        };
        let _ = self.events.send(JailEvent::Ended(self.key, end)).await;
    }

    /// A jail that dies or fails while it is made has done nothing, so another one may be tried.
    async fn open(&self, call: &LeasedCall, rules: &Rules) -> Result<OpenJail, Error> {
        let mut tries = 1;
        loop {
            match self.try_open(call, rules).await {
                Err(Error::Sandbox(error @ (SandboxError::JailLost | SandboxError::Layer(_))))
                    if tries < OPENINGS_MAX =>
                {
                    tracing::warn!(%error, tries, "a jail did not open; trying again");
                    tries += 1;
                }
                opened => return opened,
            }
        }
    }

    async fn try_open(&self, call: &LeasedCall, rules: &Rules) -> Result<OpenJail, Error> {
        let (runtime, agent, wanted) = (Arc::clone(&self.runtime), call.agent, call.confinement.clone());
        let service_port = self.models.as_ref().map(|_| models::PORT);
        let (holder, env) = (self.key.holder, environment(&wanted, rules, service_port));
        let opening = tokio::task::spawn_blocking(move || {
            runtime.lock.look();
            let layout = runtime.folders.lay_out(agent, holder, &wanted)?;
            let Layout { identity, base, base_read_only, mounts, file_bytes, allowance, claim } = layout;
            let mut spec = Spec::new(base, identity);
            spec.work_folder_read_only = base_read_only;
            spec.mounts = mounts;
            spec.limits.file_bytes = file_bytes;
            spec.limits.memory_bytes = wanted.memory_bytes;
            spec.limits.cpu_millicores = wanted.cpu_millicores;
            spec.limits.pids = wanted.pids;
            spec.limits.output_bytes = wanted.output_bytes;
            spec.egress = wanted.network.mode != NetworkMode::None;
            spec.service_port = service_port;
            spec.env = env;
            spec.tmp_bytes = if wanted.temp { TMP_BYTES.min(wanted.memory_bytes / 2) } else { 0 };
            Ok::<_, Error>((spec, allowance, claim))
        });
        let (spec, allowance, claim) = opening.await??;
        let jail = Sandbox::open(&self.runtime, &call.confinement.backend, spec).await?;
        if let Some(guard) = jail.lacks(&call.confinement.require, self.runtime.host.quota) {
            let level = jail.describe(allowance.level());
            jail.kill().await?;
            return Err(Error::Lacks { guard: guard.as_str(), level });
        }
        Ok(OpenJail { jail, allowance, claim })
    }

    async fn serve(&mut self, opened: OpenJail, rules: Rules, first: QueuedCall) -> End {
        let OpenJail { mut jail, allowance, claim } = opened;
        let streams = self.models.clone().map(|link| Streams::new(self.key, link, self.events.clone()));
        let models = match listen(&mut jail, streams.clone()) {
            Ok(models) => models,
            Err(error) => {
                tracing::warn!(%error, "a jail's model listener cannot be watched; its programs are refused there");
                None
            }
        };
        let network = &first.call.confinement.network;
        let (end, traffic) = match self.runtime.egress.open(first.call.agent, rules, network, jail.take_listener()) {
            Ok(mut egress) => {
                let handle = egress.handle(first.call.agent, &self.runtime.egress);
                let end = match connect(
                    &mut jail,
                    allowance,
                    &first.call.confinement,
                    (handle, self.shown.clone(), self.key.holder),
                    streams,
                ) {
                    Ok((context, talking)) => self.work(context, tokio::spawn(talking), &mut egress, first).await,
                    Err(error) => Err(error.to_string()),
                };
                (end, self.close_egress(egress).await)
            }
            Err(error) => (Err(format!("its listener cannot be watched: {error}")), None),
        };
        drop(models);
        let end = match end {
            Err(why) => Err(jail.cause(why).await),
            Ok(()) => Ok(()),
        };
        // It gives up by itself; the outer bound holds if the host does not let it.
        match timeout(KILL_TIMEOUT, jail.kill()).await {
            Ok(Ok(())) => {
                // Only the proof frees what the jail showed.
                drop(claim);
                match end {
                    Ok(()) => End::Closed(traffic),
                    Err(why) => End::Lost(why, traffic),
                }
            }
            Ok(Err(error)) => End::Fatal(error),
            Err(_) => {
                let what = format!("the jail of {} iteration {}", self.key.holder, self.key.iteration);
                End::Fatal(Error::Unproven { what, seconds: KILL_TIMEOUT.as_secs() })
            }
        }
    }

    /// Until it is told to close (Ok) or the jail is of no more use (Err: why).
    async fn work(
        &mut self,
        context: CallContext,
        mut talking: JoinHandle<Disconnect>,
        egress: &mut EgressListener,
        first: QueuedCall,
    ) -> Result<(), String> {
        if self.close.is_cancelled() {
            talking.abort();
            return Ok(());
        }
        let mut performing = JoinSet::new();
        let awaited = context.host.awaits(&first.call.capability);
        performing.spawn(answer(first, context.clone(), self.shown.clone(), awaited));
        let mut end = loop {
            tokio::select! {
                biased;
                () = self.close.cancelled() => break Ok(()),
                Some(ended) = performing.join_next() => match ended {
                    Ok(Ok(outcome)) => self.finish(outcome).await,
                    Ok(Err(Abort::Gone | Abort::Ended(_))) => {}
                    Ok(Err(Abort::Broken(why))) => break Err(why.to_owned()),
                    Err(error) => break Err(format!("the worker failed while it performed a call: {error}")),
                },
                disconnect = &mut talking => break Err(describe_disconnect(disconnect)),
                Some(refusals) = egress.refused() => self.refuse(refusals).await,
                queued = self.calls.recv() => match queued {
                    Some(queued) => {
                        let awaited = context.host.awaits(&queued.call.capability);
                        performing.spawn(answer(queued, context.clone(), self.shown.clone(), awaited));
                    }
                    None => break Ok(()),
                },
            }
        };
        talking.abort();
        drop(context);
        if end.is_err() && !self.close.is_cancelled() {
            // What was answered before the jail died still counts; the rest notices that the connection is cut.
            let rest = async {
                while let Some(ended) = performing.join_next().await {
                    if let Ok(Ok(outcome)) = ended {
                        self.finish(outcome).await;
                    }
                }
            };
            let _ = timeout(DRAIN_TIMEOUT, rest).await;
        }
        performing.shutdown().await;
        if self.close.is_cancelled() {
            end = Ok(());
        }
        end
    }

    /// Ends the egress. What was kept from its programs is told before its end is.
    async fn close_egress(&self, egress: EgressListener) -> Option<Traffic> {
        let (refused, traffic) = egress.close().await;
        for refusals in refused {
            self.refuse(refusals).await;
        }
        (traffic != Traffic::default()).then_some(traffic)
    }

    async fn refuse(&self, refusals: Vec<Refusal>) {
        let _ = self.events.send(JailEvent::Refused(self.key, refusals)).await;
    }

    async fn finish(&self, outcome: Box<CallOutcome>) {
        let _ = self.events.send(JailEvent::Finished(outcome)).await;
    }
}

fn listen(jail: &mut Sandbox, streams: Option<Streams>) -> std::io::Result<Option<ModelListener>> {
    let (Some(streams), Some(listener)) = (streams, jail.take_service_listener()) else { return Ok(None) };
    ModelListener::open(listener, streams).map(Some)
}

/// A jail, and what is to be kept while it lives.
struct OpenJail {
    jail: Sandbox,
    allowance: Allowance,
    claim: Option<Claim>,
}

/// What programs find set up for them: who is reached without the proxy, and that git may work in the host's folders, which belong to
/// another user there. Nothing that a repository makes git run gets further than the jail.
fn environment(wanted: &Confinement, rules: &Rules, models: Option<u16>) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = models.into_iter().flat_map(model_variables).collect();
    let outside = |name: &&str| !Host::parse(name).is_ok_and(|host| rules.lists(&host));
    let direct: Vec<&str> = OWN_LOOPBACK.into_iter().filter(outside).collect();
    if wanted.network.mode != NetworkMode::None && direct.len() < OWN_LOOPBACK.len() {
        // The models are this jail's own, also where the manifest names the host's loopback.
        let models = models.filter(|_| !direct.contains(&"127.0.0.1")).map(|port| format!("127.0.0.1:{port}"));
        let direct: Vec<String> = direct.into_iter().map(str::to_owned).chain(models).collect();
        all.extend(["no_proxy", "NO_PROXY"].map(|name| (name.to_owned(), direct.join(","))));
    }
    if wanted.read.iter().chain(&wanted.write).any(|path| !Path::new(path).starts_with(WORKSPACE)) {
        // An image may have a file of its own there; what is said by the other variables does not reach the source of a clone.
        let git: &[(&str, &str)] = match wanted.backend {
            Backend::Native => &[("GIT_CONFIG_SYSTEM", GIT_CONFIG)],
            Backend::Container { .. } => {
                &[("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")]
            }
        };
        all.extend(git.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }
    all
}

/// Where the libraries of providers find a model, and the word that they want as a key.
fn model_variables(port: u16) -> [(String, String); 4] {
    let base = format!("http://127.0.0.1:{port}");
    [
        ("OPENAI_BASE_URL".to_owned(), format!("{base}/v1")),
        ("OPENAI_API_KEY".to_owned(), models::NO_KEY.to_owned()),
        ("ANTHROPIC_BASE_URL".to_owned(), base),
        ("ANTHROPIC_API_KEY".to_owned(), models::NO_KEY.to_owned()),
    ]
}

/// Makes a jail ready to be shared.
fn connect(
    jail: &mut Sandbox,
    allowance: Allowance,
    wanted: &Confinement,
    (egress, frames, holder): (EgressHandle, mpsc::Sender<FromWorker>, Holder),
    streams: Option<Streams>,
) -> std::io::Result<(CallContext, impl Future<Output = Disconnect> + use<>)> {
    let socket = jail.take_socket().ok_or(std::io::ErrorKind::NotConnected)?;
    socket.set_nonblocking(true)?;
    let (asking, talking) = JailConnection::new(UnixStream::from_std(socket)?);
    let cgroups: Arc<[PathBuf]> = jail.cgroups().into();
    let level = jail.describe(allowance.level()).into();
    let processes = JailProcesses { init: jail.pid(), cgroups: Arc::clone(&cgroups) };
    let (quota, looking) = QuotaWatcher::new(allowance, processes.clone());
    tokio::spawn(looking);
    let around = Surroundings {
        jail: asking.clone(),
        quota: quota.clone(),
        egress: egress.clone(),
        backend: wanted.backend.clone(),
        frames,
        holder,
    };
    let mcp = Servers::new(&wanted.mcp, &around);
    let confinement = Arc::new(wanted.clone());
    let host = AgentHost::new(streams, processes);
    Ok((CallContext { jail: asking, cgroups, quota, confinement, egress, mcp, host, level }, talking))
}

/// Performs one call and words its outcome. Err: it has none, since its jail is gone or useless.
async fn answer(
    queued: QueuedCall,
    context: CallContext,
    shown: mpsc::Sender<FromWorker>,
    _awaited: Option<Awaited>,
) -> Result<Box<CallOutcome>, Abort> {
    let QueuedCall { call, deadline, cancel, attendance } = queued;
    let LeasedCall { lease, fence, call, holder, capability, arguments, path, credential, .. } = *call;
    let began = Instant::now();
    let audience = Audience { shown: Shown::new(shown, (lease, call), holder), attendance, cancel };
    let call_result = match perform(&capability, arguments, (path, credential), &context, audience, deadline).await {
        Ok(call_result) | Err(Abort::Ended(call_result)) => call_result,
        Err(stop) => return Err(stop),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let CallResult { outcome, result } = call_result;
    let level = Some(context.level.to_string());
    Ok(Box::new(CallOutcome { lease, fence, call, holder, outcome, result, took_ms, level }))
}

fn describe_disconnect(disconnect: Result<Disconnect, JoinError>) -> String {
    match disconnect {
        Ok(Disconnect::Ended) => "it closed its socket".to_owned(),
        Ok(Disconnect::Broken(error)) => format!("it broke the protocol: {error}"),
        Ok(Disconnect::Dropped) => "nobody speaks to it any more".to_owned(),
        Err(error) => format!("the worker failed while it spoke to it: {error}"),
    }
}

/// Whether the worker must end: its zygote is useless, or something lives that it cannot name dead.
fn is_fatal(error: &Error) -> bool {
    match error {
        Error::Sandbox(sandbox) => match sandbox {
            SandboxError::ZygoteLost(_) | SandboxError::Deadline { .. } | SandboxError::Unproven { .. } => true,
            SandboxError::Layer(_)
            | SandboxError::Spec { .. }
            | SandboxError::JailLost
            | SandboxError::Frame(_)
            | SandboxError::Refused(_)
            | SandboxError::Image { .. }
            | SandboxError::Engine { .. }
            | SandboxError::Io { .. } => false,
        },
        Error::Panicked(_) | Error::Unproven { .. } | Error::Locked { .. } | Error::Protocol(_) | Error::Frame(_) => {
            true
        }
        Error::Deadline { .. }
        | Error::NoEngine { .. }
        | Error::Lacks { .. }
        | Error::SoftOnly { .. }
        | Error::IdsUsedUp { .. }
        | Error::HostIds { .. }
        | Error::Unsafe { .. }
        | Error::Io { .. } => false,
    }
}
