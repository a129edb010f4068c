//! A small office to test in: one agent, one worker, and short words for the commands on one execution.
use tenure_core::actor::Actor;
use tenure_core::agent::Agent;
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::budget::{Line, Measure, Period};
use tenure_core::call::{self, EndCall, Fence, Lease, Open, Outcome, Proposal};
use tenure_core::capability::{self, Place};
use tenure_core::comms::Priority;
use tenure_core::execution::{
    self, Answer, CallModel, Check, Execution, Finding, ModelFailure, Phase, Remedy, Start, Step, Trigger, Turn, Usage,
    Used,
};
use tenure_core::fleet::{self, Worker};
use tenure_core::id::{AgentId, CallId, ConnectionId, ExecutionId, LeaseId, Mint, ProjectId, WorkerId};
use tenure_core::judge::{FloorAndTools, Judge};
use tenure_core::ledger::Signer;
use tenure_core::ledger::canonical;
use tenure_core::ledger::export::{Rotation, Seal};
use tenure_core::manifest::{Manifest, Missed, Overlap, Validator};
use tenure_core::network::{self, Traffic};
use tenure_core::plan::{Limits, Plan, Schedule};
use tenure_core::time::Time;
use tenure_core::{agent, project, state};
use tenure_sim::store::World;

pub const OWNER: Actor = Actor::Owner { uid: 1000 };

pub struct Office {
    pub world: World,
    pub project: ProjectId,
    pub agent: AgentId,
    pub worker: WorkerId,
    pub execution: ExecutionId,
}

/// The plan of an office's agent.
pub fn plan(validators: u32) -> Plan {
    let text = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: clerk}\nspec: {task: {instruction: x}}\n";
    let mut plan = Plan::compile(&Manifest::parse(text).expect("a manifest"));
    plan.limits = Limits {
        max_iterations: 2,
        max_turns: 4,
        tool_calls: 12,
        tokens: 10_000,
        iteration_timeout_ms: 300_000,
        timeout_ms: 1_800_000,
        micro_usd: None,
    };
    plan.tools = ["filesystem.*", "process.run", "state.*", "agent.*"].map(str::to_string).to_vec();
    plan.validators = vec![Validator::ExitCode { expected: None }; validators as usize];
    plan
}

impl Office {
    /// A founded project, an agent, a worker with an open connection, and an execution that is not started yet.
    pub fn new(validators: u32) -> Office {
        Office::judged(validators, FloorAndTools)
    }

    pub fn judged(validators: u32, judge: impl Judge + 'static) -> Office {
        let mut world = World::new(judge);
        let project = world.project_id();
        let (agent, worker, execution) = (world.agent_id(), world.worker_id(), world.execution_id());
        let mut office = Office { world, project, agent, worker, execution };
        office.command_project(OWNER, project::Command::Found { name: "default".into() }).expect("a new project");
        office.deploy("clerk", validators, "1").expect("a first deploy stands");
        let register = fleet::Command::Register { name: "built-in".into() };
        office.world.commit(Actor::Daemon, Command::Worker(worker, register)).expect("a new worker");
        office.connect(2);
        office
    }

    /// As the store makes one.
    pub fn rotation(&self) -> Rotation {
        let [old, new] = [1, 2].map(|seed| Signer::new(&[seed; 32]));
        let rotation = Rotation::sign((&old, &new), self.project, (9, Hash::of(b"root")), "yearly".into());
        rotation.expect("a small number")
    }

    /// One that the execution brought, and the record that did; of none where it was not started.
    pub fn payload_of_its_own(&self) -> (Hash, u64) {
        let stream = Stream::Execution(self.execution);
        crate::retention::first_bound(self, stream).unwrap_or((Hash::of(b"none"), 1))
    }

    pub fn seal(&self) -> Seal {
        let [file, root] = [b"file", b"root"].map(|bytes| Hash::of(bytes));
        Seal { before: Time::from_millis(1_700_000_000_000), file, records: 3, first: 2, through: 7, size: 9, root }
    }

    pub fn command_project(&mut self, actor: Actor, command: project::Command) -> Result<Vec<Event>, Refusal> {
        self.world.commit(actor, Command::Project(self.project, command))
    }

    pub fn deploy(&mut self, name: &str, validators: u32, text: &str) -> Result<Vec<Event>, Refusal> {
        self.deploy_plan(name, &plan(validators), text)
    }

    pub fn deploy_plan(&mut self, name: &str, plan: &Plan, text: &str) -> Result<Vec<Event>, Refusal> {
        self.deploy_expecting(name, plan, text, agent::Expectation::Any)
    }

    pub fn deploy_expecting(
        &mut self,
        name: &str,
        plan: &Plan,
        text: &str,
        expect: agent::Expectation,
    ) -> Result<Vec<Event>, Refusal> {
        let deployment = agent::Deployment { expect, ..self.deployment(name, plan, text) };
        self.supervise(agent::Command::Deploy(deployment))
    }

    /// To what was deployed as "1".
    pub fn roll_back(&mut self, to: u32) -> Result<Vec<Event>, Refusal> {
        let deployment = agent::Deployment { repeats: Some(to), ..self.deployment("clerk", &plan(0), "1") };
        self.supervise(agent::Command::Deploy(deployment))
    }

    fn deployment(&mut self, name: &str, plan: &Plan, text: &str) -> agent::Deployment {
        let (schedule, triggers, retention) = (plan.schedule.clone(), plan.triggers.clone(), plan.retention);
        let plan = String::from_utf8(plan.to_bytes()).expect("a plan is text");
        agent::Deployment {
            name: name.into(),
            listed: agent::Listed {
                version: None,
                labels: Vec::new(),
                provides: Vec::new(),
                runtime: "native".into(),
                model: "default".into(),
            },
            manifest: self.world.payload(text),
            plan: self.world.payload(&plan),
            digest: Hash::of(text.as_bytes()),
            schedule,
            triggers,
            retention,
            key: None,
            expect: agent::Expectation::Any,
            repeats: None,
        }
    }

    pub fn delete(&mut self) -> Result<Vec<Event>, Refusal> {
        let delete = agent::Command::Delete { home_grace_ms: 60_000 };
        self.world.commit(OWNER, Command::Agent(self.agent, delete))
    }

    pub fn supervise(&mut self, command: agent::Command) -> Result<Vec<Event>, Refusal> {
        self.world.commit(OWNER, Command::Agent(self.agent, command))
    }

    pub fn pause(&mut self) -> Result<Vec<Event>, Refusal> {
        self.supervise(agent::Command::Pause { note: Some("it spends too much".into()), until: None })
    }

    pub fn pause_for(&mut self, ms: u64) -> Result<Vec<Event>, Refusal> {
        let until = Some(self.world.now.at.plus_ms(ms));
        self.supervise(agent::Command::Pause { note: None, until })
    }

    pub fn end_pause(&mut self) -> Result<Vec<Event>, Refusal> {
        self.world.commit(Actor::Daemon, Command::Agent(self.agent, agent::Command::EndPause {}))
    }

    /// A revision with this schedule, in UTC.
    pub fn schedule(&mut self, cron: &str, overlap: Overlap, missed: Missed) -> Result<Vec<Event>, Refusal> {
        let (cron, timezone) = (cron.to_string(), "UTC".to_string());
        let schedule = Some(Schedule { cron, timezone, jitter_ms: 0, overlap, missed });
        let text = format!("{} {overlap:?} {missed:?}", schedule.as_ref().map_or("", |schedule| &schedule.cron));
        self.deploy_plan("clerk", &Plan { schedule, ..plan(0) }, &text)
    }

    /// Does what is owed to its schedule next, whether or not it is due.
    pub fn wake(&mut self) -> Result<Vec<Event>, Refusal> {
        let next = self.world.fold::<Agent>(self.agent).and_then(|agent| agent.next);
        let scheduled = next.map_or(self.world.now.at, |next| next.scheduled);
        let (waking, input) = (agent::Waking::Schedule { scheduled }, self.world.payload("null"));
        self.world.commit(Actor::Daemon, Command::Agent(self.agent, agent::Command::Wake { waking, input }))
    }

    pub fn kill(&mut self) -> Result<Vec<Event>, Refusal> {
        self.supervise(agent::Command::Kill { note: None })
    }

    pub fn quarantine(&mut self, severity: agent::Severity) -> Result<Vec<Event>, Refusal> {
        let (cause, description) = (agent::Cause::Manual, "it looks elsewhere".to_string());
        self.supervise(agent::Command::Quarantine { cause, severity, description })
    }

    pub fn recover(&mut self) -> Result<Vec<Event>, Refusal> {
        self.supervise(agent::Command::Recover { note: Some("looked at".into()) })
    }

    pub fn revoke(&mut self) -> Result<Vec<Event>, Refusal> {
        self.supervise(agent::Command::Revoke { note: Some("gone rogue".into()) })
    }

    pub fn put_file(&mut self) -> Result<Vec<Event>, Refusal> {
        let (path, content) = ("/workspace/in.csv".to_string(), Hash::of(b"a,b"));
        let put = agent::PutFile { path, size: 3, content, worker: self.worker };
        self.world.commit(OWNER, Command::Agent(self.agent, agent::Command::PutFile(put)))
    }

    pub fn record_put(&mut self, failed: Option<String>) -> Result<Vec<Event>, Refusal> {
        let (path, content) = ("/workspace/in.csv".to_string(), Hash::of(b"a,b"));
        let ended = agent::Command::RecordPut { path, content, failed };
        self.world.commit(Actor::Daemon, Command::Agent(self.agent, ended))
    }

    /// Limits of what it may spend in a day.
    pub fn limit(&mut self, limits: &[Option<u64>]) -> Result<Vec<Event>, Refusal> {
        self.supervise(agent::Command::SetBudget { lines: money(limits) })
    }

    /// A person writes to the agent.
    pub fn post(&mut self) -> Result<Vec<Event>, Refusal> {
        let (body, priority) = (self.world.payload("\"hello\""), Priority::Normal);
        self.supervise(agent::Command::Post(agent::Post {
            body,
            priority,
            correlation: None,
            deadline: None,
            idempotency: None,
        }))
    }

    /// Does what is owed to messages that wait.
    pub fn wake_by_messages(&mut self) -> Result<Vec<Event>, Refusal> {
        let wake = agent::Command::Wake { waking: agent::Waking::Messages, input: self.world.payload("null") };
        self.world.commit(Actor::Daemon, Command::Agent(self.agent, wake))
    }

    pub fn write(&mut self, key: &str, text: &str) -> state::Write {
        state::Write { key: key.into(), value: self.world.payload(text), expected: None, ttl_ms: None }
    }

    /// Every kind of change of an agent's values, and of those that agents share.
    pub fn keep_values(&mut self) {
        let write = |office: &mut Office, text: &str, ttl_ms| state::Write { ttl_ms, ..office.write("a", text) };
        let writes = [write(self, "1", None), write(self, "2", Some(1000))];
        let shared = [write(self, "3", None), write(self, "4", Some(1000))];
        for value in writes {
            self.supervise(agent::Command::SetState(value)).expect("it fits");
        }
        for value in shared {
            self.command_project(OWNER, project::Command::SetShared(value)).expect("it fits");
        }
        self.world.pass(1000);
        self.sweep_state();
        let restored = vec![self.write("b", "5"), self.write("c", "6")];
        self.supervise(agent::Command::RestoreState { values: restored }).expect("it fits");
        self.supervise(agent::Command::DeleteState { key: "b".into(), expected: Some(1) }).expect("it is there");
        self.supervise(agent::Command::SetStateQuota { quota: 2 }).expect("a quota");
        let shared = self.write("d", "7");
        self.command_project(OWNER, project::Command::SetShared(shared)).expect("it fits");
        let acl = state::Acl { prefix: "d".into(), read: state::Access::Everyone, write: state::Access::Everyone };
        for command in [
            project::Command::DeleteShared { key: "d".into(), expected: Some(1) },
            project::Command::SetSharedQuota { quota: 1 },
            project::Command::SetAcl(acl),
            project::Command::RemoveAcl { prefix: "d".into() },
        ] {
            self.command_project(OWNER, command).expect("it stands");
        }
        self.sweep_state();
    }

    pub fn sweep_state(&mut self) {
        let sweep = Command::Agent(self.agent, agent::Command::SweepState {});
        let _ = self.world.commit(Actor::Daemon, sweep);
        let _ = self.command_project(Actor::Daemon, project::Command::SweepShared {});
    }

    pub fn remove_home(&mut self) -> Result<Vec<Event>, Refusal> {
        let removed = agent::Command::RecordHomeRemoved { worker: self.worker };
        self.world.commit(Actor::Daemon, Command::Agent(self.agent, removed))
    }

    pub fn connect(&mut self, slots: u32) {
        let host = self.world.payload("{}");
        let connect = fleet::Command::Connect { slots, level: "full".into(), host };
        self.world.commit(Actor::Worker(self.worker), Command::Worker(self.worker, connect)).expect("none is open");
    }

    /// The worker dies and its successor has reaped; what it held is given back.
    pub fn lapse(&mut self) {
        let Some(connection) = self.connection() else { return };
        let since = self.world.now.run;
        let lapse = fleet::Command::Lapse { connection, since, proof: "reaped".into() };
        self.world.commit(Actor::Daemon, Command::Worker(self.worker, lapse)).expect("the connection is open");
        let _ = self.apply(execution::Command::Unbind { connection, since, why: "lapsed".into() });
        let sweep = fleet::Command::FinishSweep { connection };
        self.world.commit(Actor::Daemon, Command::Worker(self.worker, sweep)).expect("it is being swept");
    }

    pub fn connection(&self) -> Option<ConnectionId> {
        self.world.fold::<Worker>(self.worker)?.connection.as_ref().map(|open| open.id)
    }

    pub fn state(&self) -> Option<&Execution> {
        self.world.fold::<Execution>(self.execution)
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
        execution::Command::Start(Start {
            agent: self.agent,
            revision: None,
            input,
            max_iterations: None,
            idempotency: None,
            trigger: Trigger::Manual,
        })
    }

    /// A turn of this conversation, or the first of a new one.
    pub fn say(&mut self, conversation: Option<ExecutionId>) -> execution::Command {
        let input = self.world.payload("\"hello\"");
        let (agent, trigger) = (self.agent, Trigger::Manual);
        let start = Start { agent, revision: None, input, max_iterations: None, idempotency: None, trigger };
        execution::Command::Converse { start, conversation }
    }

    pub fn bind(&self) -> execution::Command {
        execution::Command::Bind { worker: self.worker, connection: self.connection().unwrap_or_else(none) }
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
            deadline: self.world.now.run.plus_ms(60_000),
            reserved_micro_usd: Some(10),
            reserved_tokens: 200,
        })
    }

    /// An answer that asks for these capabilities; none is a final text.
    pub fn answer(&mut self, capabilities: &[&str]) -> execution::Command {
        let calls: Vec<Proposal> = capabilities.iter().map(|name| self.proposal(name)).collect();
        let delta = self.world.payload("{}");
        let output = calls.is_empty().then(|| self.world.payload("done"));
        let usage = Usage { input: 100, output: 10, cached: 0, micro_usd: Some(3), took_ms: 5, ..Usage::default() };
        let answer = Answer { model: "local/x".into(), delta, output, calls, usage, cassette: false };
        execution::Command::AnswerModel { turn: self.turn(), answer }
    }

    /// An answer that was cut before it asked for anything or came to an end.
    pub fn answer_half(&mut self) -> execution::Command {
        match self.answer(&[]) {
            execution::Command::AnswerModel { turn, answer } => {
                execution::Command::AnswerModel { turn, answer: Answer { output: None, ..answer } }
            }
            other => other,
        }
    }

    pub fn proposal(&mut self, name: &str) -> Proposal {
        let (name, misfit) = match name.strip_prefix('!') {
            Some(name) => (name, Some("path: missing".to_string())),
            None => (name, None),
        };
        let arguments = serde_json::json!({"path": "a", "command": "a", "key": "a", "value": 1, "name": name});
        let known = capability::find(name);
        let attributes = known.map(|known| known.attributes(&arguments)).unwrap_or_default();
        let attributes = call::attributes_json(&attributes).expect("they are small");
        Proposal {
            capability: name.to_string(),
            arguments: self
                .world
                .payload(&String::from_utf8(canonical(&arguments).expect("small numbers")).expect("JSON")),
            attributes: self.world.payload(&String::from_utf8(attributes).expect("JSON")),
            misfit,
        }
    }

    /// The first call on our own rows that may start, with its arguments; one that never was where there is none.
    pub fn perform(&mut self) -> execution::Command {
        let calls = self.open_calls();
        let next = call::startable(&calls).find(|call| call.place == Place::Rows);
        match next {
            Some(call) => {
                let arguments = self.world.memory.payloads[&call.arguments.hash].clone();
                execution::Command::Perform { call: call.id, arguments, value: None }
            }
            None => {
                let arguments = self.world.payload("{}");
                execution::Command::Perform { call: CallId::mint(&mut self.world.mint()), arguments, value: None }
            }
        }
    }

    pub fn fail_model(&self, retryable: bool) -> execution::Command {
        let failure = ModelFailure {
            kind: if retryable { "overloaded" } else { "auth" }.into(),
            sentence: "the provider says no".into(),
            remedy: if retryable { Remedy::Again { after_ms: None } } else { Remedy::None },
            used: Used::Nothing,
        };
        execution::Command::FailModel { turn: self.turn(), failure }
    }

    pub fn run_away(&self) -> execution::Command {
        let failure = ModelFailure {
            kind: "runaway".into(),
            sentence: "it wrote without end".into(),
            remedy: Remedy::NextIteration,
            used: Used::Nothing,
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
        let (call, lease) = held
            .unwrap_or_else(|| (CallId::mint(&mut mint), Lease { lease: LeaseId::mint(&mut mint), fence: Fence(1) }));
        let attributes = matches!(outcome, Outcome::Redirected { .. })
            .then(|| self.world.payload("{\"path\":\"/workspace/behind\"}"));
        let result = Some(self.world.payload("{}"));
        execution::Command::EndCall(EndCall { call, lease, outcome, result, attributes, took_ms: 1, level: None })
    }

    pub fn release(&self) -> execution::Command {
        execution::Command::Release {
            connection: self.connection().unwrap_or_else(none),
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
        let connection = self.connection().unwrap_or_else(none);
        execution::Command::RefuseNetwork { connection, iteration: self.number(), refusals: vec![refusal; count] }
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
        let leases = self.open_calls().iter().filter_map(|call| Some(call.lease()?.lease)).collect();
        self.lose_jail_of(leases)
    }

    pub fn lose_jail_of(&self, leases: Vec<LeaseId>) -> execution::Command {
        let connection = self.connection().unwrap_or_else(none);
        execution::Command::LoseJail { connection, iteration: self.number(), leases, why: "oom".into(), traffic: None }
    }

    pub fn unbind(&self) -> execution::Command {
        let connection = self.connection().unwrap_or_else(none);
        execution::Command::Unbind { connection, since: self.world.now.run, why: "lapsed".into() }
    }

    pub fn ended(&self) -> bool {
        matches!(self.state().map(|state| &state.phase), Some(Phase::Ended { .. }))
    }

    pub fn must(&mut self, command: execution::Command) -> &mut Office {
        let shown = format!("{command:?}");
        if let Err(refusal) = self.apply(command) {
            panic!("{shown} was refused: {refusal:?}");
        }
        self
    }
}

pub fn money(limits: &[Option<u64>]) -> Vec<Line> {
    limits.iter().map(|limit| Line { measure: Measure::Money, period: Period::Day, limit: *limit }).collect()
}

fn none() -> ConnectionId {
    ConnectionId::mint(&mut Mint::new(Time::from_millis(1), 1))
}
