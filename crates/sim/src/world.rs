//! One simulated world: a ledger, a daemon that can be killed, workers, a model, people, and the clock that rules them all.
//! What happens next is drawn from one seed. It must never read a real clock, the kernel's randomness or a thread's timing.
use crate::audit::{Audit, Checked, Rule, Violation, broken};
use crate::model::Thought;
use crate::mutation::Mutation;
use crate::people::{AskContext, People};
use crate::random::Random;
use crate::storage::{Failed, Fault, Request, Storage};
use crate::worker::Worker;
use crate::{model, people, reconcile, worker};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Refusal, Stream};
use tenure_core::bound::Payload;
use tenure_core::draft::Committed;
use tenure_core::id::{Mint, ProjectId, WorkerId};
use tenure_core::plan::Limits;
use tenure_core::project;
use tenure_core::time::{Run, Stamp, Time};

/// Lines of the history that a failure shows.
const HISTORY_MAX: usize = 60;
/// How often the file is written that says how long the daemon has lived.
const ALIVE_EVERY_MS: u64 = 1_000;
const TELL_EVERY_MS: u64 = 60_000;
pub const WORKERS: usize = 2;

/// What every plan of the world allows at most.
pub const LIMITS: Limits = Limits {
    max_iterations: 3,
    max_turns: 4,
    tool_calls: 12,
    tokens: 20_000,
    iteration_timeout_ms: 60_000,
    timeout_ms: 150_000,
    micro_usd: None,
};

/// How a command came out.
#[derive(Debug)]
pub enum Reply {
    Committed(Box<Committed>),
    Refused(Refusal),
    Failed,
}

impl Reply {
    pub fn is_committed(&self) -> bool {
        matches!(self, Reply::Committed(_))
    }
}

/// What one obligation is called while it is in flight.
pub type Name = (Stream, String);

/// What a daemon's life holds, and a kill takes.
#[derive(Debug, Default)]
pub struct Daemon {
    /// What is being done, since when.
    pub in_flight: BTreeMap<Name, Run>,
    /// Until when each is left alone.
    pub backing_off: BTreeMap<Name, Run>,
    pub thoughts: Vec<Thought>,
    told_at: Run,
}

/// What was done and met, so that a run can say how wide it went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub commits: u64,
    pub refused: u64,
    pub failed: u64,
    pub kills: u64,
    pub lost_frames: u64,
    pub executions: u64,
    pub calls: u64,
}

impl Figures {
    pub fn add(&mut self, other: Figures) {
        self.commits += other.commits;
        self.refused += other.refused;
        self.failed += other.failed;
        self.kills += other.kills;
        self.lost_frames += other.lost_frames;
        self.executions += other.executions;
        self.calls += other.calls;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { commits, refused, failed, kills, lost_frames, executions, calls } = self;
        write!(f, "{executions} executions, {calls} calls, {commits} commits, {refused} refused, {failed} failed, ")?;
        write!(f, "{kills} daemons killed, {lost_frames} frames lost")
    }
}

pub struct World<S> {
    pub storage: S,
    pub audit: Audit,
    pub random: Random,
    pub now: Stamp,
    pub daemon: Daemon,
    pub workers: Vec<Worker>,
    pub people: People,
    pub project: ProjectId,
    pub mutation: Option<Mutation>,
    /// Faults happen.
    pub faulty: bool,
    pub figures: Figures,
    alive: Run,
    /// Commits that fail from now on, one after another: a disk that is full for a while.
    full_for: u32,
    history: VecDeque<String>,
    steps: u64,
}

impl<S: Storage> World<S> {
    /// # Errors
    /// What did not hold of the first commits.
    pub fn new(storage: S, seed: u64, mutation: Option<Mutation>) -> Result<World<S>, Violation> {
        let mut random = Random::new(seed);
        let now = Stamp { at: Time::from_millis(1_700_000_000_000), run: Run::ZERO };
        let project = ProjectId::mint(&mut Mint::new(now.at, random.seed()));
        let workers = (0..WORKERS).map(|_| WorkerId::mint(&mut Mint::new(now.at, random.seed())));
        let workers = workers.map(Worker::new).collect();
        let (daemon, people, figures) = (Daemon::default(), People::default(), Figures::default());
        let (faulty, alive, full_for, history, steps) = (false, Run::ZERO, 0, VecDeque::new(), 0);
        let audit = Audit::new(LIMITS);
        let mut world = World {
            storage,
            audit,
            random,
            now,
            daemon,
            workers,
            people,
            project,
            mutation,
            faulty,
            figures,
            alive,
            full_for,
            history,
            steps,
        };
        world.command(Actor::Daemon, Command::Project(project, project::Command::Found { name: "default".into() }))?;
        world.start_daemon()?;
        people::deploy(&mut world)?;
        world.faulty = true;
        Ok(world)
    }

    /// One thing happens, and all is checked.
    ///
    /// # Errors
    /// What does not hold.
    pub fn step(&mut self) -> Checked {
        self.steps += 1;
        self.note(|world| format!("step {} at run {} ms", world.steps, world.now.run.millis()));
        let (moment, short, long) = (1 + self.random.below(20), self.random.below(3_000), self.random.below(90_000));
        self.pass(moment);
        match self.random.below(100) {
            0..=74 => self.work()?,
            75..=86 => people::one(self)?,
            87..=91 => self.pass(short),
            92 => self.pass(long),
            _ => self.fault()?,
        }
        self.tick()?;
        self.audit.check(&mut self.storage)
    }

    /// Whoever is drawn first and has something to do does it.
    fn work(&mut self) -> Checked {
        let moved = match self.random.below(80) {
            0..=37 => reconcile::one(self)?,
            38..=66 => worker::one(self)?,
            _ => model::one(self)?,
        };
        if !moved && !worker::one(self)? && !reconcile::one(self)? {
            model::one(self)?;
        }
        Ok(())
    }

    fn fault(&mut self) -> Checked {
        match self.random.below(12) {
            0..=3 => worker::kill(self),
            4..=6 => worker::lose_jail(self),
            7 | 8 => self.kill(),
            9 => {
                self.full_for = 1 + u32::try_from(self.random.below(6)).unwrap_or(0);
                Ok(())
            }
            10 => self.forget_in_flight(),
            _ => self.set_clock(),
        }
    }

    /// Something in flight is given up without a word, as a task is that panics.
    fn forget_in_flight(&mut self) -> Checked {
        let names: Vec<Name> = self.daemon.in_flight.keys().cloned().collect();
        if let Some(name) = self.random.pick(&names).cloned() {
            self.daemon.thoughts.retain(|thought| thought.name != name);
            self.end_work(&name);
        }
        Ok(())
    }

    /// The wall clock is set.
    fn set_clock(&mut self) -> Checked {
        let by = i64::try_from(self.random.below(2 * 86_400_000)).unwrap_or(0) - 86_400_000;
        self.now.at = Time::from_millis(self.now.at.millis() + by);
        let step = project::Command::RecordStep { by_ms: by };
        self.command(Actor::Daemon, Command::Project(self.project, step)).map(drop)
    }

    /// The daemon's process ends at once, and the next one starts.
    fn kill(&mut self) -> Checked {
        self.note(|_| "the daemon is killed".to_string());
        self.figures.kills += 1;
        self.daemon = Daemon { told_at: self.now.run, ..Daemon::default() };
        for place in 0..self.workers.len() {
            worker::end_process(self, place);
        }
        self.storage.kill();
        // It goes on from what the ledger and the file `alive` say, which is not all that it had lived.
        self.now.run = self.alive.max(self.audit.last_run());
        worker::find_stale(self);
        self.start_daemon()
    }

    fn start_daemon(&mut self) -> Checked {
        let start = project::Command::RecordStart { version: "0".into() };
        self.command(Actor::Daemon, Command::Project(self.project, start)).map(drop)
    }

    pub fn pass(&mut self, milliseconds: u64) {
        self.now = Stamp { at: self.now.at.plus_ms(milliseconds), run: self.now.run.plus_ms(milliseconds) };
        let whole = self.now.run.millis() / ALIVE_EVERY_MS * ALIVE_EVERY_MS;
        self.alive = self.alive.max(Run::from_millis(whole));
    }

    fn tick(&mut self) -> Checked {
        if self.now.run.since_ms(self.daemon.told_at) < TELL_EVERY_MS {
            return Ok(());
        }
        self.daemon.told_at = self.now.run;
        self.command(Actor::Daemon, Command::Project(self.project, project::Command::TellRefusals {})).map(drop)
    }

    /// The one door of the simulation: commits, and takes in what was stored.
    ///
    /// # Errors
    /// What does not hold of the records.
    pub fn command(&mut self, actor: Actor, command: Command) -> Result<Reply, Violation> {
        let (stream, verb, fault) = (command.stream(), command.verb().name, self.commit_fault());
        let request = Request { actor, stamp: self.now, seed: self.random.seed(), command, fault };
        let result = self.storage.commit(request);
        self.audit.absorb(&mut self.storage, stream, result.is_ok())?;
        let reply = match result {
            Ok(Ok(committed)) => Reply::Committed(Box::new(committed)),
            Ok(Err(refusal)) => Reply::Refused(refusal),
            Err(Failed { fault: None }) => Reply::Failed,
            Err(Failed { fault: Some(what) }) => {
                broken(Rule::Fault, format!("{verb} of {stream}: {what}"))?;
                Reply::Failed
            }
        };
        self.note(|_| match &reply {
            Reply::Committed(committed) => {
                let kinds = committed.decision.events.iter().map(|(_, event)| event.kind());
                format!("  {verb} {stream}: {}", kinds.collect::<Vec<_>>().join(", "))
            }
            Reply::Refused(refusal) => format!("  {verb} {stream}: refused, {}", refusal.code()),
            Reply::Failed => format!("  {verb} {stream}: not written"),
        });
        match &reply {
            Reply::Committed(_) => self.figures.commits += 1,
            Reply::Refused(_) => self.figures.refused += 1,
            Reply::Failed => self.figures.failed += 1,
        }
        Ok(reply)
    }

    fn commit_fault(&mut self) -> Option<Fault> {
        if !self.faulty {
            return None;
        }
        if self.full_for > 0 {
            self.full_for -= 1;
            return Some(Fault::Append);
        }
        if !self.random.chance(40) {
            return None;
        }
        Some(match self.random.below(3) {
            0 => Fault::Fact(u32::try_from(self.random.below(8)).unwrap_or(0)),
            1 => Fault::Append,
            _ => Fault::Commit,
        })
    }

    /// Work of the daemon ended; where it moved nothing it is left alone for a while.
    pub fn end_work(&mut self, name: &Name) {
        self.daemon.in_flight.remove(name);
        self.daemon.backing_off.insert(name.clone(), self.now.run.plus_ms(reconcile::BACKOFF_MS));
    }

    pub(crate) fn ask_context(&mut self) -> AskContext {
        let asked = self.audit.asked();
        let asked = if asked.is_empty() { None } else { self.random.pick(&asked).copied() };
        let unlimited = self.mutation == Some(Mutation::NoLimits);
        AskContext { project: self.project, asked, at: self.now.at, unlimited }
    }

    /// Nobody is left waiting for an answer.
    fn answer(&mut self) -> Result<bool, Violation> {
        let context = self.ask_context();
        let Some((agent, approval)) = context.asked else { return Ok(false) };
        let command = people::answer(&mut self.random, agent, approval, context);
        self.command(people::OWNER, command).map(|_| true)
    }

    pub fn mint(&mut self) -> Mint {
        Mint::new(self.now.at, self.random.seed())
    }

    pub fn payload(&mut self, bytes: impl Into<Vec<u8>>) -> Payload {
        Payload::new(self.random.seed().to_le_bytes(), bytes.into())
    }

    pub fn note(&mut self, line: impl FnOnce(&World<S>) -> String) {
        let line = line(self);
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(line);
    }

    pub fn history(&self) -> String {
        self.history.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Faults end and time passes until there is nothing to do: then all must be over.
    ///
    /// # Errors
    /// What does not hold, or never ends.
    pub fn rest(&mut self) -> Checked {
        const MOVES_MAX: u32 = 50_000;
        (self.faulty, self.full_for) = (false, 0);
        self.note(|_| "faults are over".to_string());
        for command in self.people.resumes() {
            self.command(people::OWNER, command)?;
        }
        for _ in 0..MOVES_MAX {
            self.pass(1);
            let moved = worker::connect_all(self)?
                | self.answer()?
                | reconcile::one(self)?
                | worker::one(self)?
                | model::one(self)?;
            self.audit.check(&mut self.storage)?;
            if moved {
                continue;
            }
            match reconcile::next_ms(self) {
                Some(milliseconds) => self.pass(milliseconds.max(1)),
                None => return self.at_rest(),
            }
        }
        broken(Rule::Standstill, format!("it still moves after {MOVES_MAX} moves"))
    }

    fn at_rest(&mut self) -> Checked {
        self.figures.executions = self.audit.executions().count() as u64;
        self.figures.calls = self.audit.calls();
        for worker in &self.workers {
            if worker.jails() > 0 {
                return broken(Rule::Standstill, format!("{} holds {} jails at rest", worker.id, worker.jails()));
            }
        }
        self.audit.finish(&mut self.storage)
    }
}
