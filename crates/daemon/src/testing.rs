//! What unit tests stand on: a daemon's parts over a store in a folder, executions driven by hand, and whole daemons whose
//! model is a cassette.
use crate::app::App;
use crate::clock::WallClock;
use crate::fleet::BuiltIn;
use crate::model::Models;
use crate::model::environment::{Access, Environment, ProxyVariables};
use crate::model::router::Router;
use crate::platform::Platform;
use crate::reconcile::think::Delta;
use crate::start::{self, CommitListeners};
use crate::vault::{KeySource, Vault};
use crate::{Daemon, Error, Options};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event};
use tenure_core::bound::Hash;
use tenure_core::call::{self, EndCall, Outcome, Proposal, attributes_json};
use tenure_core::capability::Attributes;
use tenure_core::draft::Committed;
use tenure_core::execution::{self, Answer, CallModel, Event as Happened, Finding, Start, Trigger, Turn, Usage};
use tenure_core::id::{AgentId, ConnectionId, ExecutionId, WorkerId};
use tenure_core::manifest::{Host, Manifest};
use tenure_core::plan::{Limits, Plan};
use tenure_core::time::Run;
use tenure_core::{agent, fleet, project};
use tenure_store as store;
use tenure_store::Store;
use tenure_wire::api::execution::ExecutionFile;
use tenure_wire::client::{Client, Endpoint};
use tenure_wire::scrub::Scrubber;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const OWNER: Actor = Actor::Owner { uid: 1000 };
/// Nothing here takes as long; a test that hangs must end all the same.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) fn environment(folder: &Path, cassette: Option<String>) -> Environment {
    Environment {
        default_model: None,
        cassette,
        anthropic: Access::default(),
        openai: Access::default(),
        ollama_host: None,
        settings: None,
        proxies: ProxyVariables::default(),
        local_program: "none".into(),
        models_folder: folder.to_owned(),
    }
}

/// The daemon's parts, and the store that they hold on to.
pub(crate) fn app(folder: &Path) -> (Arc<App>, Arc<Store>) {
    app_with(folder, Arc::new(Router::new(&environment(folder, None)).unwrap()))
}

/// The same with models of the test's own.
pub(crate) fn app_with(folder: &Path, models: Arc<dyn Models>) -> (Arc<App>, Arc<Store>) {
    let store = Arc::new(Store::open(store::Options::new(folder)).unwrap());
    let app = start::assemble(
        &store,
        CommitListeners::new(),
        Platform::host(),
        Run::ZERO,
        models,
        Vault::new(Scrubber::default()),
    );
    (Arc::new(app), store)
}

/// A whole daemon that serves its socket; its built-in worker cannot be started, so that all workers are the test's.
pub(crate) struct Running {
    pub(crate) app: Arc<App>,
    pub(crate) client: Client,
    pub(crate) socket: PathBuf,
    /// For holders of keys.
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// `answers`: what the model says in the turns of each execution, in the order in which they ask first.
    pub(crate) async fn start(folder: &Path, wall: Arc<dyn WallClock>, answers: &[&[Value]]) -> Running {
        let tape = folder.join("cassette.jsonl");
        std::fs::write(&tape, cassette(answers)).unwrap();
        let socket = folder.join("socket");
        let alive = folder.join("alive");
        let options = Options {
            data_dir: folder.join("data"),
            socket: socket.clone(),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            tls: None,
            environment: environment(folder, Some(format!("replay:{}", tape.display()))),
            built_in: BuiltIn { program: folder.join("no-program"), arguments: Vec::new(), alive },
            version: "test".to_string(),
            home_grace: Duration::ZERO,
            accept_restore: None,
            sinks: Vec::new(),
            vault_key: KeySource::default(),
            scrubber: Scrubber::default(),
        };
        let daemon = Daemon::start_on(options, Platform { wall, ..Platform::host() }).await.unwrap();
        let app = Arc::clone(&daemon.app);
        let address = daemon.listening.unwrap().address;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(daemon.run(async move {
            // A test that failed has dropped the sender.
            let _ = stopped.await;
        }));
        Running { app, client: Client::new(Endpoint::Unix(socket.clone()), None), socket, address, stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    pub(crate) async fn start_execution(&self, agent: &str) -> String {
        let input = serde_json::value::RawValue::from_string("\"do it\"".to_string()).unwrap();
        let start = tenure_wire::api::execution::Start {
            agent: agent.to_string(),
            revision: None,
            input,
            max_iterations: None,
        };
        self.client.start(&start, None).await.unwrap().execution.id.to_string()
    }

    /// Asks until the execution is as wanted.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&ExecutionFile) -> bool) -> ExecutionFile {
        let asking = async {
            loop {
                let file = self.client.execution(id).await.unwrap();
                if wanted(&file) {
                    return file;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(TEST_TIMEOUT, asking).await {
            Ok(file) => file,
            Err(_) => panic!("it never came to be so: {:#?}", self.client.execution(id).await),
        }
    }

    pub(crate) async fn ended(&self, id: &str) -> ExecutionFile {
        self.until(id, |file| file.execution.status.ended()).await
    }

    /// The kinds and data of all events, as stored.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let records = self.app.records.reader().read(|sql| store::events_from(sql, 0, 10_000)).await.unwrap();
        records.iter().map(|record| serde_json::from_slice(&record.bytes).unwrap()).collect()
    }
}

/// A turn of a cassette that asks for one call.
pub(crate) fn calls(capability: &str, arguments: Value) -> Value {
    json!({"text": "", "calls": [{"id": "c1", "name": capability, "arguments": arguments}], "stop": "calls"})
}

/// The last turn of a cassette.
pub(crate) fn says(text: &str) -> Value {
    json!({"text": text, "calls": [], "stop": "end"})
}

fn cassette(answers: &[&[Value]]) -> String {
    let mut lines = "{\"cassette\":1}\n".to_string();
    for (execution, turns) in answers.iter().enumerate() {
        for (turn, answer) in turns.iter().enumerate() {
            let mut answer = answer.clone();
            answer["usage"] = json!({"input": 10, "output": 3, "cached": null});
            answer["model"] = "local/qwen".into();
            answer["cost_micro_usd"] = Value::Null;
            let entry = json!({
                "execution": execution + 1, "iteration": 1, "turn": turn + 1, "attempt": 1, "answer": answer,
            });
            lines.push_str(&format!("{entry}\n"));
        }
    }
    lines
}

/// A manifest with this name; `more` stands in its spec.
pub(crate) fn manifest(name: &str, more: &str) -> String {
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  task: {{instruction: Do it.}}\n  \
         tools: [\"filesystem.*\"]\n{more}"
    )
}

pub(crate) async fn found(app: &App) {
    run(app, Command::Project(app.committer.project(), project::Command::Found { name: "test".into() })).await;
}

pub(crate) async fn register(app: &App, name: &str) -> WorkerId {
    let worker = app.committer.mint_worker();
    run(app, Command::Worker(worker, fleet::Command::Register { name: name.into() })).await;
    worker
}

pub(crate) async fn run(app: &App, command: Command) -> Committed {
    app.committer.commit(OWNER, command).await.unwrap()
}

/// One execution, moved on by hand.
pub(crate) struct Driven<'a> {
    app: &'a App,
    pub(crate) id: ExecutionId,
    worker: WorkerId,
    connection: ConnectionId,
    iteration: u32,
    turn: u32,
}

impl<'a> Driven<'a> {
    /// A project with an agent, a worker and a started execution, whose one validator is told what to find.
    pub(crate) async fn start(app: &'a App) -> Driven<'a> {
        found(app).await;
        let worker = register(app, "built-in").await;
        let host = app.committer.payload(serde_json::to_vec(&Host::default()).unwrap());
        let connect = fleet::Command::Connect { slots: 4, level: "test".into(), host };
        let connected = run(app, Command::Worker(worker, connect)).await;
        let connection = connected.decision.events.iter().find_map(|(_, event)| match event {
            Event::Worker(fleet::Event::Connected { connection, .. }) => Some(*connection),
            _ => None,
        });
        let agent = app.committer.mint_agent();
        run(app, Command::Agent(agent, agent::Command::Deploy(deployment(app)))).await;
        let id = app.committer.mint_execution();
        let start = start_of(app, agent);
        run(app, Command::Execution(id, execution::Command::Start(start))).await;
        Driven { app, id, worker, connection: connection.unwrap(), iteration: 0, turn: 0 }
    }

    /// Another execution from now on: a turn of this conversation, or the first of a new one.
    pub(crate) async fn converse(&mut self, message: &str, conversation: Option<ExecutionId>) {
        let before = self.id;
        let agent = self.app.records.read(move |txn| Ok(txn.execution(before)?.agent)).await.unwrap();
        (self.id, self.iteration) = (self.app.committer.mint_execution(), 0);
        let input = self.app.committer.payload(serde_json::to_vec(message).unwrap());
        let trigger = Trigger::Manual;
        let start = Start { agent, revision: None, input, max_iterations: None, idempotency: None, trigger };
        self.run(execution::Command::Converse { start, conversation }).await;
    }

    async fn run(&self, command: execution::Command) -> Committed {
        run(self.app, Command::Execution(self.id, command)).await
    }

    /// The first is given to the worker, which keeps the others.
    pub(crate) async fn begin_iteration(&mut self) {
        (self.iteration, self.turn) = (self.iteration + 1, 0);
        if self.iteration == 1 {
            self.run(execution::Command::Bind { worker: self.worker, connection: self.connection }).await;
        }
    }

    /// A model's turn with its calls, each done with the result `result`.
    pub(crate) async fn turn(&mut self, text: &str, calls: usize, result: &str) {
        let turn = Turn { iteration: self.iteration, turn: self.turn, attempt: 1 };
        self.turn += 1;
        let deadline = self.app.committer.now().run.plus_ms(60_000);
        let call = CallModel {
            turn,
            model: "local".into(),
            request: Hash::of(b"r"),
            deadline,
            reserved_micro_usd: Some(0),
            reserved_tokens: 0,
        };
        self.run(execution::Command::CallModel(call)).await;
        let payload = |bytes: &[u8]| self.app.committer.payload(bytes.to_vec());
        let delta = Delta { text: text.into(), ..Delta::default() };
        let answer = Answer {
            model: "local".into(),
            delta: payload(&serde_json::to_vec(&delta).unwrap()),
            output: (calls == 0).then(|| payload(text.as_bytes())),
            calls: (0..calls).map(|_| proposal(self.app)).collect(),
            usage: Usage { input: 100, output: 20, cached: 5, micro_usd: Some(7), took_ms: 12, ..Usage::default() },
            cassette: false,
        };
        let mut called = started(&self.run(execution::Command::AnswerModel { turn, answer }).await);
        while let Some(next) = called.pop() {
            let end = EndCall {
                call: next.call,
                lease: next.lease.unwrap(),
                outcome: Outcome::Done { exit_code: Some(0) },
                result: Some(payload(result.as_bytes())),
                attributes: None,
                took_ms: 3,
                level: None,
            };
            called.extend(started(&self.run(execution::Command::EndCall(end)).await));
        }
    }

    /// Ends the iteration by what its validator finds.
    pub(crate) async fn end_iteration(&mut self, pass: bool, reasons: &str) {
        let reasons = self.app.committer.payload(reasons.as_bytes().to_vec());
        let score_milli = if pass { 1000 } else { 0 };
        let finding = Finding { validator: "command".into(), pass, score_milli, reasons };
        self.run(execution::Command::Validate { iteration: self.iteration, index: 0, finding }).await;
        let (connection, iteration) = (self.connection, self.iteration);
        self.run(execution::Command::Release { connection, iteration, traffic: None }).await;
    }
}

fn started(committed: &Committed) -> Vec<call::Called> {
    let called = committed.decision.events.iter().filter_map(|(_, event)| match event {
        Event::Execution(Happened::CallCalled(called)) => Some(called.clone()),
        _ => None,
    });
    called.collect()
}

fn proposal(app: &App) -> Proposal {
    let seen = Attributes { path: Some("/workspace/a".into()), ..Attributes::default() };
    Proposal {
        capability: "filesystem.read".into(),
        arguments: app.committer.payload(br#"{"path":"a"}"#.to_vec()),
        attributes: app.committer.payload(attributes_json(&seen).unwrap()),
        misfit: None,
    }
}

fn deployment(app: &App) -> agent::Deployment {
    let manifest = Manifest::parse(&manifest("a", "  execution: {validation: [{type: exit_code}]}\n")).unwrap();
    let limits = Limits {
        max_iterations: 1000,
        max_turns: 1000,
        tool_calls: 1_000_000,
        tokens: 1_000_000_000,
        iteration_timeout_ms: 600_000,
        timeout_ms: 3_600_000,
        micro_usd: None,
    };
    compiled(app, "a", manifest.canonical_json(), &Plan { limits, ..Plan::compile(&manifest) })
}

/// A deployment of these very bytes and this plan, whether or not one follows from the other.
pub(crate) fn compiled(app: &App, name: &str, manifest: Vec<u8>, plan: &Plan) -> agent::Deployment {
    let model = plan.model.clone();
    agent::Deployment {
        name: name.into(),
        listed: agent::Listed {
            version: None,
            labels: Vec::new(),
            provides: Vec::new(),
            runtime: "native".into(),
            model,
        },
        digest: Hash::of(&manifest),
        key: None,
        manifest: app.committer.payload(manifest),
        plan: app.committer.payload(plan.to_bytes()),
        schedule: plan.schedule.clone(),
        triggers: plan.triggers.clone(),
        retention: plan.retention,
        expect: agent::Expectation::Any,
        repeats: None,
    }
}

fn start_of(app: &App, agent: AgentId) -> Start {
    Start {
        agent,
        revision: None,
        input: app.committer.payload(b"\"do it\"".to_vec()),
        max_iterations: None,
        idempotency: None,
        trigger: Trigger::Manual,
    }
}
