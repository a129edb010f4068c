//! Two agents that talk, and what of their records a test looks at.
use crate::office::{OWNER, Office, plan};
use serde_json::{Value, json};
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Agent, Event as Happened, Post};
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::call::{self, Outcome, Proposal};
use tenure_core::capability;
use tenure_core::comms::{MessageRow, Priority};
use tenure_core::execution;
use tenure_core::id::{AgentId, ExecutionId, MessageId};
use tenure_core::manifest::Trigger;
use tenure_core::owed::Obligation;
use tenure_core::plan::Limits;

/// Two agents that talk, in an office.
pub struct Talk {
    pub office: Office,
    pub one: AgentId,
    pub other: AgentId,
    digest: u64,
    /// What is deployed from now on is woken by messages.
    pub wakes: bool,
    /// Of what is deployed from now on.
    pub limits: Limits,
}

impl Talk {
    pub fn new() -> Talk {
        Talk::of(Office::new(0))
    }

    /// Its agent is another one now.
    pub fn of(office: Office) -> Talk {
        Talk::named(office, ["front", "bookkeeper"])
    }

    /// The same, by names that nobody has.
    pub fn named(office: Office, names: [&str; 2]) -> Talk {
        let one = office.agent;
        let limits = Limits { max_turns: 5_000, tool_calls: 5_000, tokens: 1 << 40, ..plan(0).limits };
        let mut talk = Talk { office, one, other: one, digest: 0, wakes: false, limits };
        talk.one = talk.agent(names[0], &[]);
        talk.other = talk.agent(names[1], &[("team", "books")]);
        talk
    }

    pub fn agent(&mut self, name: &str, labels: &[(&str, &str)]) -> AgentId {
        self.office.agent = self.office.world.agent_id();
        self.deploy(name, labels);
        self.office.agent
    }

    pub fn deploy(&mut self, name: &str, labels: &[(&str, &str)]) {
        let mut plan = plan(0);
        plan.limits = self.limits;
        plan.tools = ["comms.*", "agent.*", "scheduler.*", "alerts.*", "system.*"].map(str::to_string).to_vec();
        plan.comms.messages_per_minute = 20;
        plan.comms.hop_limit = 4;
        self.digest += 1;
        let (plan, text) =
            (String::from_utf8(plan.to_bytes()).expect("a plan is text"), format!("{name} {}", self.digest));
        let labels = labels.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect();
        let deployment = agent::Deployment {
            listed: agent::Listed {
                version: None,
                labels,
                provides: Vec::new(),
                runtime: "native".into(),
                model: "default".into(),
            },
            name: name.into(),
            manifest: self.office.world.payload(&text),
            plan: self.office.world.payload(&plan),
            digest: Hash::of(text.as_bytes()),
            expect: agent::Expectation::Any,
            key: None,
            repeats: None,
            schedule: None,
            triggers: if self.wakes { vec![Trigger::Comms, Trigger::Manual] } else { vec![Trigger::Manual] },
            retention: tenure_core::retention::Retention::default(),
        };
        self.tell(OWNER, self.office.agent, agent::Command::Deploy(deployment)).expect("it is deployed");
    }

    pub fn tell(&mut self, actor: Actor, agent: AgentId, command: agent::Command) -> Result<Vec<Event>, Refusal> {
        self.office.world.commit(actor, Command::Agent(agent, command))
    }

    /// An execution of this agent, with its worker, before its first turn.
    pub fn begin(&mut self, agent: AgentId) -> ExecutionId {
        (self.office.agent, self.office.execution) = (agent, self.office.world.execution_id());
        let start = self.office.start();
        self.office.must(start);
        let bind = self.office.bind();
        self.office.must(bind);
        self.office.execution
    }

    pub fn end(&mut self, execution: ExecutionId) {
        self.office.execution = execution;
        self.office.must(execution::Command::Cancel { why: "it is over".into() });
    }

    /// One call of its model's, performed: how it ended, what it gave, and all that happened in that commit.
    pub fn call(&mut self, execution: ExecutionId, name: &str, arguments: &Value) -> (Outcome, Value, Vec<Event>) {
        self.office.execution = execution;
        let call = self.office.call_model();
        self.office.must(call);
        self.answer_with(execution, name, arguments);
        let perform = self.office.perform();
        let events = self.office.apply(perform).expect("it is performed");
        let ended = events.iter().find_map(|event| match event {
            Event::Execution(execution::Event::CallEnded(ended)) => Some(ended.clone()),
            _ => None,
        });
        let ended = ended.expect("the call ended");
        let bytes = self.office.world.memory.payloads[&ended.result.expect("a result").hash].bytes().to_vec();
        (ended.outcome, serde_json::from_slice(&bytes).expect("JSON"), events)
    }

    /// Its open model call is answered: it asks for this one.
    pub fn answer_with(&mut self, execution: ExecutionId, name: &str, arguments: &Value) {
        self.office.execution = execution;
        let known = capability::find(name).expect("it is in the catalogue");
        let attributes = call::attributes_json(&known.attributes(arguments)).expect("they are small");
        let proposal = Proposal {
            capability: name.into(),
            arguments: self.office.world.payload(&arguments.to_string()),
            attributes: self.office.world.payload(&String::from_utf8(attributes).expect("JSON")),
            misfit: None,
        };
        let execution::Command::AnswerModel { turn, mut answer } = self.office.answer(&["agent.whoami"]) else {
            panic!("an answer")
        };
        answer.calls = vec![proposal];
        self.office.must(execution::Command::AnswerModel { turn, answer });
    }

    /// A call that must be done.
    pub fn done(&mut self, execution: ExecutionId, name: &str, arguments: &Value) -> Value {
        let (outcome, result, _) = self.call(execution, name, arguments);
        assert_eq!(outcome, Outcome::Done { exit_code: None }, "{result}");
        result
    }

    /// A call that must fail: its code.
    pub fn fails(&mut self, execution: ExecutionId, name: &str, arguments: &Value) -> String {
        match self.call(execution, name, arguments) {
            (Outcome::Failed { code }, ..) => code,
            (other, result, _) => panic!("{other:?}: {result}"),
        }
    }

    pub fn post(&mut self, to: AgentId, text: &str, priority: Priority) -> Result<MessageId, Refusal> {
        let body = self.office.world.payload(&json!(text).to_string());
        let post = Post { body, priority, correlation: None, deadline: None, idempotency: None };
        let events = self.tell(OWNER, to, agent::Command::Post(post))?;
        let queued = events.iter().find_map(|event| match event {
            Event::Agent(Happened::MessageQueued { envelope, .. }) => Some(envelope.message),
            _ => None,
        });
        Ok(queued.expect("it was queued"))
    }

    pub fn row(&self, agent: AgentId, message: MessageId) -> MessageRow {
        self.office.world.memory.messages[&(Actor::Agent(agent).to_string(), message)].clone()
    }

    pub fn waiting(&self, agent: AgentId) -> u32 {
        self.office.world.fold::<Agent>(agent).expect("it is deployed").mailbox.waiting
    }

    /// What an agent's stream holds of this kind.
    pub fn events(&self, agent: AgentId, wanted: impl Fn(&Happened) -> bool) -> usize {
        let stream = self.office.world.memory.streams.get(&Stream::Agent(agent));
        let events = stream.into_iter().flatten();
        events.filter(|(_, event)| matches!(event, Event::Agent(event) if wanted(event))).count()
    }

    pub fn owes(&self, agent: AgentId, wanted: impl Fn(&Obligation) -> bool) -> usize {
        let owed = self.office.world.owed(Stream::Agent(agent));
        owed.iter().filter(|owed| wanted(&owed.obligation)).count()
    }

    pub fn runs(&mut self, execution: ExecutionId) -> bool {
        self.office.execution = execution;
        self.office.state().is_some_and(|state| state.iteration().is_some())
    }
}
