//! The ledger in memory: streams, folds and the few lookups that decisions read. Time and seeds are counted, so that a
//! world made by the same commands is the same to the byte.
use std::collections::BTreeMap;
use tenure_core::actor::Actor;
use tenure_core::bound::Payload;
use tenure_core::command::{self, Command, Read, Refusal, View};
use tenure_core::fold::{Event, Fold, Stream, apply};
use tenure_core::id::{AgentId, ExecutionId, Mint, WorkerId};
use tenure_core::judge::Judge;
use tenure_core::owed::{Owed, owed};
use tenure_core::time::Time;

pub struct World {
    pub streams: BTreeMap<Stream, Vec<(Time, Event)>>,
    pub folds: BTreeMap<Stream, Fold>,
    pub judge: Box<dyn Judge>,
    pub now: Time,
    seed: u128,
}

impl World {
    pub fn new(judge: impl Judge + 'static) -> World {
        World {
            streams: BTreeMap::new(),
            folds: BTreeMap::new(),
            judge: Box::new(judge),
            now: Time::from_millis(1_000_000),
            seed: 1,
        }
    }

    pub fn mint(&mut self) -> Mint {
        self.seed += 1_000_003;
        Mint::new(self.now, self.seed)
    }

    pub fn agent_id(&mut self) -> AgentId {
        AgentId::mint(&mut self.mint())
    }

    pub fn execution_id(&mut self) -> ExecutionId {
        ExecutionId::mint(&mut self.mint())
    }

    pub fn worker_id(&mut self) -> WorkerId {
        WorkerId::mint(&mut self.mint())
    }

    pub fn payload(&mut self, text: &str) -> Payload {
        self.seed += 1;
        Payload::new(self.seed.to_le_bytes(), text.as_bytes().to_vec())
    }

    pub fn pass(&mut self, milliseconds: u64) {
        self.now = self.now.plus_ms(milliseconds);
    }

    /// # Errors
    /// The refusal that the real door would answer; nothing changed.
    pub fn commit(&mut self, actor: Actor, command: Command) -> Result<Vec<Event>, Refusal> {
        let view = self.view(&command);
        self.seed += 1_000_003;
        let decision = command::decide(&view, actor, command, self.judge.as_ref(), self.now, self.seed)?;
        for (stream, event) in &decision.events {
            let mut fold = self.folds.remove(stream);
            apply(&mut fold, event, self.now);
            self.folds.extend(fold.map(|fold| (*stream, fold)));
            self.streams.entry(*stream).or_default().push((self.now, event.clone()));
        }
        Ok(decision.events.into_iter().map(|(_, event)| event).collect())
    }

    fn view(&self, command: &Command) -> View {
        let mut view = View::default();
        let mut take = |stream: Stream| {
            view.folds.extend(self.folds.get(&stream).map(|fold| (stream, fold.clone())));
        };
        take(command.stream());
        let reads = command::reads(command);
        for read in &reads {
            if let Read::Fold(stream) = read {
                take(*stream);
            }
        }
        for read in reads {
            match read {
                Read::Fold(_) => {}
                Read::AgentNamed(name) => view.agent_named = self.agent_named(&name),
                Read::OpenExecutions(agent) => {
                    view.open_executions = self.count(|execution| {
                        execution.agent == agent && !matches!(execution.phase, tenure_core::execution::Phase::Ended(_))
                    })
                }
                Read::BoundTo(session) => {
                    view.bound = self.count(|execution| {
                        let binding = execution.iteration().and_then(|iteration| iteration.binding);
                        binding.is_some_and(|binding| binding.session == session)
                    });
                }
                Read::Twin(agent, key) => view.twin = self.twin(agent, key),
            }
        }
        view
    }

    fn agent_named(&self, name: &str) -> Option<AgentId> {
        self.folds.values().filter_map(Fold::agent).find(|agent| agent.name.eq_ignore_ascii_case(name)).map(|a| a.id)
    }

    fn count(&self, wanted: impl Fn(&tenure_core::execution::Execution) -> bool) -> u64 {
        self.folds.values().filter_map(Fold::execution).filter(|execution| wanted(execution)).count() as u64
    }

    fn twin(&self, agent: AgentId, key: tenure_core::bound::Hash) -> Option<ExecutionId> {
        self.streams.iter().find_map(|(stream, events)| match (stream, events.first()) {
            (Stream::Execution(id), Some((_, Event::Execution(event)))) => match event {
                tenure_core::execution::Event::Started { agent: of, idempotency: Some(held), .. }
                    if *of == agent && *held == key =>
                {
                    Some(*id)
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// Every stream replayed from its events alone.
    pub fn replayed(&self) -> BTreeMap<Stream, Fold> {
        let fold = |events: &Vec<(Time, Event)>| {
            let mut fold = None;
            events.iter().for_each(|(at, event)| apply(&mut fold, event, *at));
            fold
        };
        self.streams.iter().filter_map(|(stream, events)| fold(events).map(|fold| (*stream, fold))).collect()
    }

    pub fn owed(&self, stream: Stream) -> Vec<Owed> {
        self.folds.get(&stream).map(owed).unwrap_or_default()
    }
}
