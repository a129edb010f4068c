//! A small office to test in: one agent, one worker, and short words for the commands on one execution.
use tenure_core::actor::Actor;
use tenure_core::bound::{Hash, Payload};
use tenure_core::call::{Open, Outcome, Proposal};
use tenure_core::capability;
use tenure_core::command::{Command, Refusal};
use tenure_core::execution::{
    self, Answer, CallModel, Check, EndCall, Execution, Finding, Limits, ModelFailure, Phase, Remedy, Start, Step,
    Terms, Turn, Usage,
};
use tenure_core::fold::{Event, Fold, Stream};
use tenure_core::id::{AgentId, ExecutionId, SessionId, WorkerId};
use tenure_core::judge::FloorAndTools;
use tenure_core::network::{self, Traffic};
use tenure_core::{agent, fleet};
use tenure_sim::store::World;

pub const OWNER: Actor = Actor::Owner { uid: 1000 };

pub struct Office {
    pub world: World,
    pub agent: AgentId,
    pub worker: WorkerId,
    pub execution: ExecutionId,
}

pub fn terms(validators: u32) -> Terms {
    let limits = Limits {
        max_iterations: 2,
        max_turns: 4,
        tool_calls: 12,
        tokens: 10_000,
        iteration_timeout_ms: 300_000,
        timeout_ms: 1_800_000,
    };
    Terms { limits, tools: vec!["filesystem.*".into(), "process.run".into()], validators, model: "default".into() }
}

impl Office {
    /// An agent, a worker with an open session, and an execution that is not started yet.
    pub fn new(validators: u32) -> Office {
        let mut world = World::new(FloorAndTools);
        let (agent, worker, execution) = (world.agent_id(), world.worker_id(), world.execution_id());
        let mut office = Office { world, agent, worker, execution };
        office.deploy("clerk", validators, "1").expect("a first deploy stands");
        let register = fleet::Command::Register { worker, name: "built-in".into() };
        office.world.commit(Actor::Daemon, Command::Worker(worker, register)).expect("a new worker");
        office.open_session(2);
        office
    }

    pub fn deploy(&mut self, name: &str, validators: u32, text: &str) -> Result<Vec<Event>, Refusal> {
        let deployment = agent::Deployment {
            name: name.into(),
            version: None,
            labels: Vec::new(),
            runtime: "native".into(),
            manifest: self.world.payload(text),
            digest: Hash::of(text.as_bytes()),
            terms: terms(validators),
        };
        self.world.commit(OWNER, Command::Agent(self.agent, agent::Command::Deploy(deployment)))
    }

    pub fn open_session(&mut self, slots: u32) {
        let open = fleet::Command::OpenSession { slots, level: "full".into() };
        self.world.commit(Actor::Worker(self.worker), Command::Worker(self.worker, open)).expect("no session is open");
    }

    /// The worker dies and its successor has reaped; what it held is given back.
    pub fn lapse(&mut self) {
        let Some(session) = self.session() else { return };
        let since = self.world.now;
        let lapse = fleet::Command::LapseSession { session, since, proof: "reaped".into() };
        self.world.commit(Actor::Daemon, Command::Worker(self.worker, lapse)).expect("the session is open");
        let _ = self.apply(execution::Command::Unbind { session, since, why: "lapsed".into() });
        let sweep = fleet::Command::FinishSweep { session };
        self.world.commit(Actor::Daemon, Command::Worker(self.worker, sweep)).expect("it is being swept");
    }

    pub fn session(&self) -> Option<SessionId> {
        let worker = self.world.folds.get(&Stream::Worker(self.worker)).and_then(Fold::worker)?;
        worker.session.as_ref().map(|session| session.id)
    }

    pub fn state(&self) -> Option<&Execution> {
        self.world.folds.get(&Stream::Execution(self.execution)).and_then(Fold::execution)
    }

    pub fn apply(&mut self, command: execution::Command) -> Result<Vec<Event>, Refusal> {
        let actor = match command {
            execution::Command::Start(_) | execution::Command::Cancel { .. } => OWNER,
            _ => Actor::Daemon,
        };
        self.world.commit(actor, Command::Execution(self.execution, command))
    }

    pub fn start(&mut self) -> execution::Command {
        let input = self.world.payload("go");
        execution::Command::Start(Start { agent: self.agent, input, max_iterations: None, idempotency: None })
    }

    pub fn bind(&self) -> execution::Command {
        execution::Command::Bind { worker: self.worker, session: self.session().unwrap_or_else(a_session) }
    }

    /// The turn that is due or open; one that never was where there is none.
    pub fn turn(&self) -> Turn {
        let iteration = self.state().and_then(Execution::iteration);
        let attempt = iteration.map_or(1, |iteration| match iteration.step {
            Step::Thinking { attempt, .. } => attempt,
            _ => 1,
        });
        Turn { iteration: self.number(), turn: iteration.map_or(0, |iteration| iteration.turns), attempt }
    }

    pub fn number(&self) -> u32 {
        self.state().and_then(Execution::iteration).map_or(1, |iteration| iteration.number)
    }

    pub fn call_model(&self) -> execution::Command {
        execution::Command::CallModel(CallModel {
            turn: self.turn(),
            model: "local/x".into(),
            request: Hash::of(b"request"),
            deadline: self.world.now.plus_ms(60_000),
            reserved_micro_usd: Some(10),
        })
    }

    /// An answer that asks for these capabilities; none is a final text.
    pub fn answer(&mut self, capabilities: &[&str]) -> execution::Command {
        let calls: Vec<Proposal> = capabilities.iter().map(|name| self.proposal(name)).collect();
        let delta = self.world.payload("{}");
        let output = calls.is_empty().then(|| self.world.payload("done"));
        let usage = Usage { input: 100, output: 10, cached: 0, micro_usd: Some(3), took_ms: 5 };
        let answer = Answer { model: "local/x".into(), delta, output, calls, usage, cassette: false };
        execution::Command::AnswerModel { turn: self.turn(), answer }
    }

    pub fn proposal(&mut self, name: &str) -> Proposal {
        let (name, misfit) = match name.strip_prefix('!') {
            Some(name) => (name, Some("path: missing".to_string())),
            None => (name, None),
        };
        let arguments: Payload = self.world.payload("{\"path\":\"a\"}");
        let attributes = capability::Attributes { path: Some("a".into()), ..Default::default() };
        Proposal { capability: name.to_string(), arguments, attributes, misfit }
    }

    pub fn fail_model(&self, retryable: bool) -> execution::Command {
        let failure = ModelFailure {
            kind: if retryable { "overloaded" } else { "auth" }.into(),
            sentence: "the provider says no".into(),
            remedy: if retryable { Remedy::Again { after_ms: None } } else { Remedy::None },
        };
        execution::Command::FailModel { turn: self.turn(), failure }
    }

    pub fn run_away(&self) -> execution::Command {
        let failure = ModelFailure {
            kind: "runaway".into(),
            sentence: "it wrote without end".into(),
            remedy: Remedy::NextIteration,
        };
        execution::Command::FailModel { turn: self.turn(), failure }
    }

    pub fn open_calls(&self) -> Vec<Open> {
        match self.state().and_then(Execution::iteration).map(|iteration| &iteration.step) {
            Some(Step::Acting { calls } | Step::Closing { calls, .. }) => calls.clone(),
            Some(Step::Validating { check: Check::Open { call }, .. }) => vec![call.clone()],
            _ => Vec::new(),
        }
    }

    /// The end of the first call under a lease; of one that never was where there is none.
    pub fn end_call(&mut self, outcome: Outcome) -> execution::Command {
        let held = self.open_calls().into_iter().find_map(|call| call.lease().map(|lease| (call.id, lease)));
        let mut mint = self.world.mint();
        let (call, (lease, fence)) = held.unwrap_or_else(|| {
            let id = tenure_core::id::CallId::mint(&mut mint);
            (id, (tenure_core::id::LeaseId::mint(&mut mint), tenure_core::call::Fence(1)))
        });
        let result = Some(self.world.payload("{}"));
        execution::Command::EndCall(EndCall { call, lease, fence, outcome, result, took_ms: 1, level: None })
    }

    pub fn release(&self) -> execution::Command {
        execution::Command::Release {
            session: self.session().unwrap_or_else(a_session),
            iteration: self.number(),
            traffic: Some(Traffic { connections: 2, requests: 1, sent_bytes: 300, received_bytes: 4000, refused: 1 }),
        }
    }

    /// What the worker's proxy refused: `count` places.
    pub fn refuse_network(&self, count: usize) -> execution::Command {
        let refusal = network::Refusal {
            host: "evil.example.com".into(),
            port: 443,
            rule: "blocklist: *.example.com".into(),
            count: 3,
        };
        let session = self.session().unwrap_or_else(a_session);
        execution::Command::RefuseNetwork { session, iteration: self.number(), refusals: vec![refusal; count] }
    }

    pub fn index(&self) -> u32 {
        match self.state().and_then(Execution::iteration).map(|iteration| &iteration.step) {
            Some(Step::Validating { index, .. }) => *index,
            _ => 0,
        }
    }

    pub fn check(&mut self) -> execution::Command {
        let proposal = self.proposal("process.run");
        execution::Command::Check { iteration: self.number(), index: self.index(), proposal }
    }

    pub fn validate(&mut self, pass: bool) -> execution::Command {
        let reasons = self.world.payload("because");
        let finding = Finding { validator: "regex".into(), pass, score_milli: if pass { 1000 } else { 0 }, reasons };
        execution::Command::Validate { iteration: self.number(), index: self.index(), finding }
    }

    pub fn lose_jail(&self) -> execution::Command {
        let leases = self.open_calls().iter().filter_map(|call| call.lease().map(|(lease, _)| lease)).collect();
        self.lose_jail_of(leases)
    }

    pub fn lose_jail_of(&self, leases: Vec<tenure_core::id::LeaseId>) -> execution::Command {
        let session = self.session().unwrap_or_else(a_session);
        execution::Command::LoseJail { session, iteration: self.number(), leases, why: "oom".into(), traffic: None }
    }

    pub fn unbind(&self) -> execution::Command {
        let session = self.session().unwrap_or_else(a_session);
        execution::Command::Unbind { session, since: self.world.now, why: "lapsed".into() }
    }

    pub fn ended(&self) -> bool {
        matches!(self.state().map(|state| &state.phase), Some(Phase::Ended(_)))
    }

    pub fn must(&mut self, command: execution::Command) -> &mut Office {
        let shown = format!("{command:?}");
        if let Err(refusal) = self.apply(command) {
            panic!("{shown} was refused: {refusal:?}");
        }
        self
    }
}

fn a_session() -> SessionId {
    SessionId::mint(&mut tenure_core::id::Mint::new(tenure_core::time::Time::from_millis(1), 1))
}
