//! Commands as the daemon would give them, run through the store's own writer, for tests and figures.
use serde_json::json;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Fold, Member, Refusal, Stream};
use tenure_core::bound::{Hash, Payload};
use tenure_core::call::{self, EndCall, Open, Outcome, Proposal};
use tenure_core::capability::{self, Place};
use tenure_core::draft::{Committed, DecisionContext, transact};
use tenure_core::execution::{self, Answer, CallModel, Execution, Start, Step, Trigger, Turn, Usage};
use tenure_core::facts::Facts;
use tenure_core::fleet::{self, Worker};
use tenure_core::id::{AgentId, ConnectionId, ExecutionId, Mint, ProjectId, WorkerId};
use tenure_core::judge::FloorAndTools;
use tenure_core::manifest::{Manifest, Validator};
use tenure_core::plan::{Limits, Plan};
use tenure_core::project;
use tenure_core::time::{Run, Stamp, Time};
use tenure_store::{Class, Error, Store, Txn, bound_payload};

pub(crate) const OWNER: Actor = Actor::Owner { uid: 1000 };

/// A worker and its connection.
pub(crate) type Connected = (WorkerId, ConnectionId);

/// Runs one command inside a job.
pub(crate) fn commit(
    txn: &mut Txn<'_>,
    actor: Actor,
    command: Command,
    stamp: Stamp,
    seed: u128,
) -> Result<Result<Committed, Refusal>, Error> {
    transact(txn, DecisionContext { actor, stamp, seed, judge: &FloorAndTools }, command)
}

/// A clock and seeds of its own.
pub(crate) struct World {
    pub(crate) now: Stamp,
    pub(crate) seed: u128,
    /// Validations that passed, for those who count them.
    pub(crate) passed: u64,
}

impl World {
    pub(crate) fn new(seed: u128) -> World {
        let now = Stamp { at: Time::from_millis(1_700_000_000_000), run: Run::ZERO };
        World { now, seed: seed << 64, passed: 0 }
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now = Stamp { at: self.now.at.plus_ms(milliseconds), run: self.now.run.plus_ms(milliseconds) };
    }

    pub(crate) fn tick(&mut self) -> (Stamp, u128) {
        self.pass(7);
        self.seed += 1000;
        (self.now, self.seed)
    }

    pub(crate) fn mint(&mut self) -> Mint {
        let (now, seed) = self.tick();
        Mint::new(now.at, seed)
    }

    pub(crate) fn payload(&mut self, bytes: impl Into<Vec<u8>>) -> Payload {
        let (_, seed) = self.tick();
        Payload::new(Hash::of(&seed.to_be_bytes()).0[..16].try_into().unwrap(), bytes.into())
    }

    pub(crate) fn run(&mut self, store: &Store, command: Command) -> Result<Committed, Refusal> {
        let (now, seed) = self.tick();
        let job = move |txn: &mut Txn<'_>| commit(txn, OWNER, command, now, seed);
        store.writer().write_blocking(Class::Interactive, job).unwrap()
    }

    pub(crate) fn run_execution(&mut self, store: &Store, id: ExecutionId, command: execution::Command) -> Committed {
        self.run(store, Command::Execution(id, command)).unwrap()
    }

    pub(crate) fn found(&mut self, store: &Store) -> ProjectId {
        let id = ProjectId::mint(&mut self.mint());
        self.run(store, Command::Project(id, project::Command::Found { name: "test".into() })).unwrap();
        id
    }

    pub(crate) fn deploy(&mut self, store: &Store, name: &str) -> AgentId {
        self.deploy_under(store, name, &plan())
    }

    pub(crate) fn deploy_under(&mut self, store: &Store, name: &str, plan: &Plan) -> AgentId {
        let (id, deploy) = self.deploy_command(name, plan);
        self.run(store, deploy).unwrap();
        id
    }

    pub(crate) fn deploy_command(&mut self, name: &str, plan: &Plan) -> (AgentId, Command) {
        let id = AgentId::mint(&mut self.mint());
        let deployment = agent::Deployment {
            name: name.into(),
            listed: agent::Listed {
                version: Some("1.0.0".into()),
                labels: vec![("team".into(), "a".into())],
                provides: Vec::new(),
                runtime: "python".into(),
                model: "default".into(),
            },
            manifest: self.payload(format!("manifest of {name} {}", self.seed)),
            plan: self.payload(plan.to_bytes()),
            digest: Hash::of(&self.seed.to_be_bytes()),
            schedule: plan.schedule.clone(),
            triggers: plan.triggers.clone(),
            retention: plan.retention,
            key: None,
            expect: agent::Expectation::Any,
            repeats: None,
        };
        (id, Command::Agent(id, agent::Command::Deploy(deployment)))
    }

    pub(crate) fn worker(&mut self, store: &Store, slots: u32) -> Connected {
        let worker = WorkerId::mint(&mut self.mint());
        let register = fleet::Command::Register { name: "built-in".into() };
        self.run(store, Command::Worker(worker, register)).unwrap();
        let connect = fleet::Command::Connect { slots, level: "test".into(), host: self.payload("{}") };
        self.run(store, Command::Worker(worker, connect)).unwrap();
        (worker, get::<Worker>(store, worker).connection.unwrap().id)
    }

    pub(crate) fn start(&mut self, store: &Store, agent: AgentId, idempotency: Option<Hash>) -> ExecutionId {
        let id = ExecutionId::mint(&mut self.mint());
        let start = Start {
            agent,
            revision: None,
            input: self.payload("do the thing"),
            max_iterations: None,
            idempotency,
            trigger: Trigger::Manual,
        };
        self.run_execution(store, id, execution::Command::Start(start));
        id
    }

    pub(crate) fn bind(&mut self, store: &Store, id: ExecutionId, (worker, connection): Connected) {
        self.run_execution(store, id, execution::Command::Bind { worker, connection });
    }

    /// One model turn: with `calls` of a capability, or the final text.
    pub(crate) fn turn(&mut self, store: &Store, id: ExecutionId, calls: usize) {
        let proposals = (0..calls).map(|_| self.proposal()).collect();
        self.turn_asking(store, id, proposals);
    }

    pub(crate) fn turn_asking(&mut self, store: &Store, id: ExecutionId, proposals: Vec<Proposal>) {
        let (call, answer) = self.turn_commands(&get(store, id), proposals);
        self.run_execution(store, id, call);
        self.run_execution(store, id, answer);
    }

    pub(crate) fn turn_commands(
        &mut self,
        fold: &Execution,
        calls: Vec<Proposal>,
    ) -> (execution::Command, execution::Command) {
        let iteration = fold.iteration().unwrap();
        let Step::Thinking { attempt, .. } = iteration.step else { panic!("not thinking: {iteration:?}") };
        let turn = Turn { iteration: iteration.number, turn: iteration.turns, attempt };
        let (now, _) = self.tick();
        let call = execution::Command::CallModel(CallModel {
            turn,
            model: "local".into(),
            request: Hash::of(b"request"),
            deadline: now.run.plus_ms(60_000),
            reserved_micro_usd: Some(0),
            reserved_tokens: 300,
        });
        let answer = Answer {
            model: "local".into(),
            delta: self.payload("the turn's delta"),
            output: calls.is_empty().then(|| self.payload("the answer")),
            calls,
            usage: Usage { input: 100, output: 20, cached: 0, micro_usd: Some(0), took_ms: 12, ..Usage::default() },
            cassette: false,
        };
        (call, execution::Command::AnswerModel { turn, answer })
    }

    pub(crate) fn proposal(&mut self) -> Proposal {
        self.proposal_of("filesystem.read", &json!({ "path": "src/main.rs" }))
    }

    pub(crate) fn proposal_of(&mut self, capability: &str, arguments: &serde_json::Value) -> Proposal {
        let known = capability::find(capability).unwrap();
        let attributes = call::attributes_json(&known.attributes(arguments)).unwrap();
        Proposal {
            capability: capability.into(),
            arguments: self.payload(arguments.to_string()),
            attributes: self.payload(attributes),
            misfit: None,
        }
    }

    /// Ends the first open call.
    pub(crate) fn end_call(&mut self, store: &Store, id: ExecutionId) {
        let end = self.end_command(&get(store, id));
        self.run_execution(store, id, end);
    }

    pub(crate) fn end_command(&mut self, fold: &Execution) -> execution::Command {
        execution::Command::EndCall(self.end_of(acting(fold).iter().find(|call| call.lease().is_some()).unwrap()))
    }

    pub(crate) fn end_of(&mut self, call: &Open) -> EndCall {
        EndCall {
            call: call.id,
            lease: call.lease().unwrap(),
            outcome: Outcome::Done { exit_code: None },
            result: Some(self.payload("what the file held")),
            attributes: None,
            took_ms: 3,
            level: Some("namespaces, landlock".into()),
        }
    }

    /// Does the next call on our own rows, with the arguments that were bound.
    pub(crate) fn perform(&mut self, store: &Store, id: ExecutionId) -> Committed {
        let command = perform_command(store, &get(store, id)).unwrap();
        self.run_execution(store, id, command)
    }

    pub(crate) fn release(&mut self, store: &Store, id: ExecutionId, connection: ConnectionId) {
        let iteration = get::<Execution>(store, id).iteration().unwrap().number;
        self.run_execution(store, id, execution::Command::Release { connection, iteration, traffic: None });
    }

    /// An execution from start to its end, with one turn of `calls` calls.
    pub(crate) fn whole(&mut self, store: &Store, agent: AgentId, bound: Connected, calls: usize) -> ExecutionId {
        let id = self.start(store, agent, None);
        self.bind(store, id, bound);
        self.turn(store, id, calls);
        for _ in 0..calls {
            self.end_call(store, id);
        }
        self.turn(store, id, 0);
        if get::<Execution>(store, id).iteration().is_some() {
            self.release(store, id, bound.1);
        }
        id
    }
}

/// Of an agent that may do what the tests do, as often as they like.
pub(crate) fn plan() -> Plan {
    let text = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: tested}\nspec: {task: {instruction: x}}\n";
    let mut plan = Plan::compile(&Manifest::parse(text).unwrap());
    // Histories here have several executions of an agent at work.
    plan.concurrency = 64;
    plan.limits = Limits {
        max_iterations: 5,
        max_turns: 1000,
        tool_calls: 1_000_000,
        tokens: 1_000_000_000,
        iteration_timeout_ms: 600_000,
        timeout_ms: 3_600_000,
        micro_usd: None,
    };
    plan.tools = ["filesystem.*", "process.run", "state.*", "alerts.*", "scheduler.*"].map(str::to_string).to_vec();
    plan
}

pub(crate) fn validated_plan(validators: usize) -> Plan {
    Plan { validators: vec![Validator::ExitCode { expected: None }; validators], ..plan() }
}

/// Calls that a turn asked for and that have not ended.
pub(crate) fn acting(fold: &Execution) -> &[Open] {
    let Step::Acting { calls } = &fold.iteration().unwrap().step else { panic!("no calls: {fold:?}") };
    calls
}

/// The command that does the next call on our own rows; none where none may start.
pub(crate) fn perform_command(store: &Store, fold: &Execution) -> Option<execution::Command> {
    let call = call::startable(acting(fold)).find(|call| call.place == Place::Rows)?;
    let hash = call.arguments.hash;
    let arguments = store.reader().read_blocking(|sql| bound_payload(sql, store.blobs(), &hash)).unwrap().unwrap();
    Some(execution::Command::Perform { call: call.id, arguments, value: None })
}

pub(crate) fn fold(store: &Store, stream: Stream) -> Option<Arc<Fold>> {
    store.writer().write_blocking(Class::Interactive, move |txn| Ok(txn.fold(stream).unwrap())).unwrap()
}

/// An aggregate that is there.
pub(crate) fn get<A: Member>(store: &Store, id: A::Id) -> A {
    fold(store, A::stream(id)).unwrap().as_a::<A>().unwrap().clone()
}

/// An aggregate as a decision that wrote it left it.
pub(crate) fn after<A: Member>(committed: &Committed, id: A::Id) -> Arc<Fold> {
    let stream = A::stream(id);
    let folds = &committed.decision.folds;
    folds.iter().find_map(|(written, fold)| fold.clone().filter(|_| *written == stream)).unwrap()
}

pub(crate) fn size(store: &Store) -> u64 {
    store.writer().write_blocking(Class::Interactive, |txn| Ok(txn.size())).unwrap()
}

/// An execution from start to end inside one job, one call a turn.
pub(crate) fn whole_in(
    txn: &mut Txn<'_>,
    world: &mut World,
    agent: AgentId,
    (worker, connection): Connected,
    turns: usize,
) -> Result<(), Error> {
    let id = ExecutionId::mint(&mut world.mint());
    let mut run = |world: &mut World, command: execution::Command| -> Result<Arc<Fold>, Error> {
        let (now, seed) = world.tick();
        let committed = commit(txn, OWNER, Command::Execution(id, command), now, seed)?.unwrap();
        Ok(after::<Execution>(&committed, id))
    };
    let start = Start {
        agent,
        revision: None,
        input: world.payload("do the thing"),
        max_iterations: None,
        idempotency: None,
        trigger: Trigger::Manual,
    };
    run(world, execution::Command::Start(start))?;
    let mut fold = run(world, execution::Command::Bind { worker, connection })?;
    for left in (0..=turns).rev() {
        let calls = if left > 0 { vec![world.proposal()] } else { Vec::new() };
        let (ask, answer) = world.turn_commands(fold.as_a().unwrap(), calls);
        run(world, ask)?;
        fold = run(world, answer)?;
        if left > 0 {
            let end = world.end_command(fold.as_a().unwrap());
            fold = run(world, end)?;
        }
    }
    if let Some(iteration) = fold.as_a::<Execution>().unwrap().iteration() {
        let iteration = iteration.number;
        run(world, execution::Command::Release { connection, iteration, traffic: None })?;
    }
    Ok(())
}
