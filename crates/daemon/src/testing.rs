//! What unit tests stand on: a daemon's parts over a store in a folder, and executions driven by hand.
use crate::app::App;
use crate::commit::{Committed, Committer};
use crate::model::environment::{Access, Environment};
use crate::model::router::Router;
use crate::reconcile::Wakeups;
use crate::reconcile::think::Delta;
use crate::records::Records;
use crate::space::Space;
use crate::watch::Watch;
use std::path::Path;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::bound::Hash;
use tenure_core::call::{self, Outcome, Proposal};
use tenure_core::capability::Attributes;
use tenure_core::command::Command;
use tenure_core::execution::{
    self, Answer, CallModel, EndCall, Event as Happened, Finding, Limits, Start, Terms, Turn, Usage,
};
use tenure_core::fold::Event;
use tenure_core::id::{AgentId, ExecutionId, SessionId, WorkerId};
use tenure_core::judge::FloorAndTools;
use tenure_core::{agent, fleet, project};
use tenure_store::{Options, Store};

const OWNER: Actor = Actor::Owner { uid: 1000 };

/// The daemon's parts, and the store that they hold on to.
pub(crate) fn app(folder: &Path) -> (Arc<App>, Arc<Store>) {
    let store = Arc::new(Store::open(Options::new(folder)).unwrap());
    let environment = Environment {
        default_model: None,
        cassette: None,
        anthropic: Access::default(),
        openai: Access::default(),
        local_program: "none".into(),
        models_folder: folder.to_owned(),
    };
    let app = App {
        committer: Committer::new(&store, Arc::new(FloorAndTools), Space::new(Arc::clone(&store))),
        records: Records::new(store.reader().background(), store.blobs().clone()),
        models: Arc::new(Router::new(&environment).unwrap()),
        watch: Watch::new(),
        wakeups: Wakeups::default(),
        fleet: crate::fleet::Fleet::default(),
        closing: tokio_util::sync::CancellationToken::new(),
    };
    (Arc::new(app), store)
}

pub(crate) async fn found(app: &App) {
    run(app, Command::Project(project::Command::Found { name: "test".into() })).await;
}

pub(crate) async fn register(app: &App, name: &str) -> WorkerId {
    let worker = app.committer.mint_worker();
    let register = fleet::Command::Register { worker, name: name.into() };
    run(app, Command::Worker(worker, register)).await;
    worker
}

async fn run(app: &App, command: Command) -> Committed {
    app.committer.commit(OWNER, command).await.unwrap()
}

/// One execution, moved on by hand.
pub(crate) struct Driven<'a> {
    app: &'a App,
    pub(crate) id: ExecutionId,
    worker: WorkerId,
    session: SessionId,
    iteration: u32,
    turn: u32,
}

impl<'a> Driven<'a> {
    /// A project with an agent, a worker and a started execution, whose one validator is told what to find.
    pub(crate) async fn start(app: &'a App) -> Driven<'a> {
        found(app).await;
        let worker = register(app, "built-in").await;
        let open = fleet::Command::OpenSession { slots: 4, level: "test".into() };
        let opened = run(app, Command::Worker(worker, open)).await;
        let session = opened.events.iter().find_map(|(_, event)| match event {
            Event::Worker(fleet::Event::SessionOpened { session, .. }) => Some(*session),
            _ => None,
        });
        let agent = app.committer.mint_agent();
        run(app, Command::Agent(agent, agent::Command::Deploy(deployment(app)))).await;
        let id = app.committer.mint_execution();
        let start = start_of(app, agent);
        run(app, Command::Execution(id, execution::Command::Start(start))).await;
        Driven { app, id, worker, session: session.unwrap(), iteration: 0, turn: 0 }
    }

    async fn run(&self, command: execution::Command) -> Committed {
        run(self.app, Command::Execution(self.id, command)).await
    }

    /// The first is given to the worker, which keeps the others.
    pub(crate) async fn begin_iteration(&mut self) {
        (self.iteration, self.turn) = (self.iteration + 1, 0);
        if self.iteration == 1 {
            self.run(execution::Command::Bind { worker: self.worker, session: self.session }).await;
        }
    }

    /// A model's turn with its calls, each done with the result `result`.
    pub(crate) async fn turn(&mut self, text: &str, calls: usize, result: &str) {
        let turn = Turn { iteration: self.iteration, turn: self.turn, attempt: 1 };
        self.turn += 1;
        let deadline = crate::commit::now().plus_ms(60_000);
        let call =
            CallModel { turn, model: "local".into(), request: Hash::of(b"r"), deadline, reserved_micro_usd: Some(0) };
        self.run(execution::Command::CallModel(call)).await;
        let payload = |bytes: &[u8]| self.app.committer.payload(bytes.to_vec());
        let delta = Delta { text: text.into(), calls: Vec::new(), dropped: 0 };
        let answer = Answer {
            model: "local".into(),
            delta: payload(&serde_json::to_vec(&delta).unwrap()),
            output: (calls == 0).then(|| payload(text.as_bytes())),
            calls: (0..calls).map(|_| proposal(self.app)).collect(),
            usage: Usage { input: 100, output: 20, cached: 5, micro_usd: Some(7), took_ms: 12 },
            cassette: false,
        };
        let mut called = started(&self.run(execution::Command::AnswerModel { turn, answer }).await);
        while let Some(next) = called.pop() {
            let end = EndCall {
                call: next.call,
                lease: next.lease,
                fence: next.fence,
                outcome: Outcome::Done { exit_code: Some(0) },
                result: Some(payload(result.as_bytes())),
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
        let (session, iteration) = (self.session, self.iteration);
        self.run(execution::Command::Release { session, iteration, traffic: None }).await;
    }
}

fn started(committed: &Committed) -> Vec<call::Called> {
    let called = committed.events.iter().filter_map(|(_, event)| match event {
        Event::Execution(Happened::CallCalled(called)) => Some(called.clone()),
        _ => None,
    });
    called.collect()
}

fn proposal(app: &App) -> Proposal {
    Proposal {
        capability: "filesystem.read".into(),
        arguments: app.committer.payload(br#"{"path":"a"}"#.to_vec()),
        attributes: Attributes { path: Some("a".into()), ..Attributes::default() },
        misfit: None,
    }
}

fn deployment(app: &App) -> agent::Deployment {
    let limits = Limits {
        max_iterations: 1000,
        max_turns: 1000,
        tool_calls: 1_000_000,
        tokens: 1_000_000_000,
        iteration_timeout_ms: 600_000,
        timeout_ms: 3_600_000,
    };
    agent::Deployment {
        name: "a".into(),
        version: None,
        labels: Vec::new(),
        runtime: "native".into(),
        manifest: app.committer.payload(b"a manifest".to_vec()),
        digest: Hash::of(b"a manifest"),
        terms: Terms { limits, tools: vec!["filesystem.*".into()], validators: 1, model: "default".into() },
    }
}

fn start_of(app: &App, agent: AgentId) -> Start {
    Start { agent, input: app.committer.payload(b"\"do it\"".to_vec()), max_iterations: None, idempotency: None }
}
