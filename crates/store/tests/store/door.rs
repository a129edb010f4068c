//! What the daemon's door does, for tests and figures: read, decide, append, bind.
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::bound::{Bound, Hash, Payload};
use tenure_core::call::{Open, Outcome, Proposal};
use tenure_core::capability::Attributes;
use tenure_core::command::{Command, Read, Refusal, View, decide, reads};
use tenure_core::execution::{self, Answer, CallModel, EndCall, Execution, Limits, Start, Step, Terms, Turn, Usage};
use tenure_core::fleet;
use tenure_core::fold::{Fold, Stream};
use tenure_core::id::{AgentId, ExecutionId, Mint, SessionId, WorkerId};
use tenure_core::judge::FloorAndTools;
use tenure_core::project;
use tenure_core::time::Time;
use tenure_store::{Class, Error, Store, Txn};

pub(crate) const OWNER: Actor = Actor::Owner { uid: 1000 };

/// Runs one command inside a job.
pub(crate) fn commit(
    txn: &mut Txn<'_>,
    actor: Actor,
    command: Command,
    now: Time,
    seed: u128,
) -> Result<Result<Vec<u64>, Refusal>, Error> {
    let now = txn.clamp(now);
    let mut view = View::default();
    let own = command.stream();
    for read in std::iter::once(Read::Fold(own)).chain(reads(&command)) {
        match read {
            Read::Fold(stream) => {
                if let Some(fold) = txn.fold(stream)? {
                    view.folds.insert(stream, fold.clone());
                }
            }
            Read::AgentNamed(name) => view.agent_named = txn.agent_named(&name)?,
            Read::OpenExecutions(agent) => view.open_executions = txn.open_executions(agent)?,
            Read::BoundTo(session) => view.bound = txn.bound_to(session)?,
            Read::Twin(agent, key) => view.twin = txn.twin(agent, key)?,
        }
    }
    let decision = match decide(&view, actor, command, &FloorAndTools, now, seed) {
        Ok(decision) => decision,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for payload in decision.payloads {
        txn.payload(payload)?;
    }
    let append = |(stream, event)| txn.append(stream, actor, event, now);
    decision.events.into_iter().map(append).collect::<Result<Vec<u64>, Error>>().map(Ok)
}

/// A world with a clock and seeds of its own.
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) seed: u128,
    /// Validations that passed, for those who count them.
    pub(crate) passed: u64,
}

impl World {
    pub(crate) fn new(seed: u128) -> World {
        World { now: 1_700_000_000_000, seed: seed << 64, passed: 0 }
    }

    pub(crate) fn tick(&mut self) -> (Time, u128) {
        self.now += 7;
        self.seed += 1000;
        (Time::from_millis(self.now), self.seed)
    }

    pub(crate) fn mint(&mut self) -> Mint {
        let (now, seed) = self.tick();
        Mint::new(now, seed)
    }

    pub(crate) fn payload(&mut self, bytes: impl Into<Vec<u8>>) -> Payload {
        let (_, seed) = self.tick();
        Payload::new(Hash::of(&seed.to_be_bytes()).0[..16].try_into().unwrap(), bytes.into())
    }

    pub(crate) fn run(&mut self, store: &Store, command: Command) -> Result<Vec<u64>, Refusal> {
        let (now, seed) = self.tick();
        let job = move |txn: &mut Txn<'_>| commit(txn, OWNER, command, now, seed);
        store.writer().write_blocking(Class::Interactive, job).unwrap()
    }

    pub(crate) fn found(&mut self, store: &Store) {
        self.run(store, Command::Project(project::Command::Found { name: "test".into() })).unwrap();
    }

    pub(crate) fn deploy(&mut self, store: &Store, name: &str) -> AgentId {
        self.deploy_under(store, name, terms())
    }

    pub(crate) fn deploy_under(&mut self, store: &Store, name: &str, terms: Terms) -> AgentId {
        let id = AgentId::mint(&mut self.mint());
        let deployment = agent::Deployment {
            name: name.into(),
            version: Some("1.0.0".into()),
            labels: vec![("team".into(), "a".into())],
            runtime: "python".into(),
            manifest: self.payload(format!("manifest of {name} {}", self.seed)),
            digest: Hash::of(&self.seed.to_be_bytes()),
            terms,
        };
        self.run(store, Command::Agent(id, agent::Command::Deploy(deployment))).unwrap();
        id
    }

    pub(crate) fn worker(&mut self, store: &Store, slots: u32) -> (WorkerId, SessionId) {
        let worker = WorkerId::mint(&mut self.mint());
        let register = fleet::Command::Register { worker, name: "built-in".into() };
        self.run(store, Command::Worker(worker, register)).unwrap();
        let open = fleet::Command::OpenSession { slots, level: "test".into() };
        self.run(store, Command::Worker(worker, open)).unwrap();
        let session = fold(store, Stream::Worker(worker)).unwrap().worker().unwrap().session.clone().unwrap().id;
        (worker, session)
    }

    pub(crate) fn start(&mut self, store: &Store, agent: AgentId, key: Option<Hash>) -> ExecutionId {
        let id = ExecutionId::mint(&mut self.mint());
        let input = self.payload("do the thing");
        let start = Start { agent, input, max_iterations: None, idempotency: key };
        self.run(store, Command::Execution(id, execution::Command::Start(start))).unwrap();
        id
    }

    pub(crate) fn bind(&mut self, store: &Store, id: ExecutionId, (worker, session): (WorkerId, SessionId)) {
        self.run(store, Command::Execution(id, execution::Command::Bind { worker, session })).unwrap();
    }

    /// One model turn: with `calls` of a capability, or the final text.
    pub(crate) fn turn(&mut self, store: &Store, id: ExecutionId, calls: usize) {
        let (call, answer) = self.turn_commands(&execution(store, id), calls);
        self.run(store, Command::Execution(id, call)).unwrap();
        self.run(store, Command::Execution(id, answer)).unwrap();
    }

    pub(crate) fn turn_commands(&mut self, fold: &Execution, calls: usize) -> (execution::Command, execution::Command) {
        let iteration = fold.iteration().unwrap();
        let Step::Thinking { attempt, .. } = iteration.step else { panic!("not thinking: {iteration:?}") };
        let turn = Turn { iteration: iteration.number, turn: iteration.turns, attempt };
        let (now, _) = self.tick();
        let call = execution::Command::CallModel(CallModel {
            turn,
            model: "local".into(),
            request: Hash::of(b"request"),
            deadline: now.plus_ms(60_000),
            reserved_micro_usd: Some(0),
        });
        let answer = Answer {
            model: "local".into(),
            delta: self.payload("the turn's delta"),
            output: (calls == 0).then(|| self.payload("the answer")),
            calls: (0..calls).map(|_| self.proposal()).collect(),
            usage: Usage { input: 100, output: 20, cached: 0, micro_usd: Some(0), took_ms: 12 },
            cassette: false,
        };
        (call, execution::Command::AnswerModel { turn, answer })
    }

    pub(crate) fn proposal(&mut self) -> Proposal {
        Proposal {
            capability: "filesystem.read".into(),
            arguments: self.payload(r#"{"path":"src/main.rs"}"#),
            attributes: Attributes { path: Some("src/main.rs".into()), ..Attributes::default() },
            misfit: None,
        }
    }

    /// Ends the first open call.
    pub(crate) fn end_call(&mut self, store: &Store, id: ExecutionId) {
        let end = self.end_command(&execution(store, id));
        self.run(store, Command::Execution(id, end)).unwrap();
    }

    pub(crate) fn end_command(&mut self, fold: &Execution) -> execution::Command {
        let Step::Acting { calls } = &fold.iteration().unwrap().step else { panic!("no calls: {fold:?}") };
        self.end_of(calls.iter().find(|call| call.lease().is_some()).unwrap())
    }

    pub(crate) fn end_of(&mut self, call: &Open) -> execution::Command {
        let (lease, fence) = call.lease().unwrap();
        execution::Command::EndCall(EndCall {
            call: call.id,
            lease,
            fence,
            outcome: Outcome::Done { exit_code: None },
            result: Some(self.payload("what the file held")),
            took_ms: 3,
            level: Some("namespaces, landlock".into()),
        })
    }

    pub(crate) fn release(&mut self, store: &Store, id: ExecutionId, session: SessionId) {
        let iteration = execution(store, id).iteration().unwrap().number;
        self.run(store, Command::Execution(id, execution::Command::Release { session, iteration, traffic: None }))
            .unwrap();
    }

    /// An execution from start to its end, with one turn of `calls` calls.
    pub(crate) fn whole(
        &mut self,
        store: &Store,
        agent: AgentId,
        bound: (WorkerId, SessionId),
        calls: usize,
    ) -> ExecutionId {
        let id = self.start(store, agent, None);
        self.bind(store, id, bound);
        self.turn(store, id, calls);
        for _ in 0..calls {
            self.end_call(store, id);
        }
        self.turn(store, id, 0);
        if execution(store, id).iteration().is_some() {
            self.release(store, id, bound.1);
        }
        id
    }
}

pub(crate) fn terms() -> Terms {
    let limits = Limits {
        max_iterations: 5,
        max_turns: 1000,
        tool_calls: 1_000_000,
        tokens: 1_000_000_000,
        iteration_timeout_ms: 600_000,
        timeout_ms: 3_600_000,
    };
    Terms { limits, tools: vec!["filesystem.*".into(), "process.run".into()], validators: 0, model: "default".into() }
}

pub(crate) fn fold(store: &Store, stream: Stream) -> Option<Fold> {
    store.writer().write_blocking(Class::Interactive, move |txn| Ok(txn.fold(stream)?.cloned())).unwrap()
}

pub(crate) fn execution(store: &Store, id: ExecutionId) -> Execution {
    fold(store, Stream::Execution(id)).unwrap().execution().unwrap().clone()
}

pub(crate) fn bound(bytes: &[u8]) -> Bound {
    Payload::new([0; 16], bytes.to_vec()).bound()
}

pub(crate) fn size(store: &Store) -> u64 {
    store.writer().write_blocking(Class::Interactive, |txn| Ok(txn.size())).unwrap()
}

/// An execution from start to end inside one job, one call a turn.
pub(crate) fn whole_in(
    txn: &mut Txn<'_>,
    world: &mut World,
    agent: AgentId,
    (worker, session): (WorkerId, SessionId),
    turns: usize,
) -> Result<(), Error> {
    let id = ExecutionId::mint(&mut world.mint());
    let mut run = |world: &mut World, command: execution::Command| -> Result<Execution, Error> {
        let (now, seed) = world.tick();
        commit(txn, OWNER, Command::Execution(id, command), now, seed)?.unwrap();
        Ok(txn.fold(Stream::Execution(id))?.and_then(Fold::execution).unwrap().clone())
    };
    let start = Start { agent, input: world.payload("do the thing"), max_iterations: None, idempotency: None };
    run(world, execution::Command::Start(start))?;
    let mut fold = run(world, execution::Command::Bind { worker, session })?;
    for left in (0..=turns).rev() {
        let (ask, answer) = world.turn_commands(&fold, usize::from(left > 0));
        run(world, ask)?;
        fold = run(world, answer)?;
        if left > 0 {
            let end = world.end_command(&fold);
            fold = run(world, end)?;
        }
    }
    if let Some(iteration) = fold.iteration() {
        let iteration = iteration.number;
        run(world, execution::Command::Release { session, iteration, traffic: None })?;
    }
    Ok(())
}
