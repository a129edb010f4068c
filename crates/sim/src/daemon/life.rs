//! One life of the daemon: it is started on what lies on the disk, and until it is killed people ask things of it, time passes,
//! and faults happen. Once the steps are over faults end, and all must come to rest.
use super::World;
use super::model::Speaker;
use crate::audit::{Rule, Violation, broken};
use crate::people::{AskContext, key_of};
use crate::world::Reply;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use strum::IntoEnumIterator;
use tenure_core::aggregate::Command;
use tenure_core::owed::Kind;
use tenure_core::time::Run;
use tenure_daemon::app::App;
use tenure_daemon::commit;
use tenure_daemon::fleet::Supervisor;
use tenure_daemon::platform::{Blocking, Platform};
use tenure_daemon::start::{self, CommitListeners};
use tenure_daemon::vault::Vault;
use tenure_store::{Commit, Options, Store};
use tenure_wire::scrub::Scrubber;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often the file `alive` is written.
const ALIVE_EVERY_MS: u64 = 1_000;
/// How long all may take to come to rest, and how often it is looked at: longer than several model calls that each last to
/// their deadline, for a schedule may start an execution while the rest is waited for.
const LOOKS_MAX: u32 = 1_000;
/// Looks after which nothing that waits for nobody may be due from one to the next.
const LOOKS_FIRST: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_secs(5);
const DAY_MS: u64 = 86_400_000;

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Killed,
    Rested,
}

/// A daemon that runs.
struct Life {
    app: Arc<App>,
    store: Arc<Store>,
    tasks: JoinSet<()>,
}

/// # Errors
/// What does not hold.
pub(super) async fn live(world: &mut World) -> Result<End, Violation> {
    world.fate.begin_life();
    let mut life = start(world).await?;
    let end = drive(world, &mut life).await;
    if matches!(end, Ok(End::Killed)) {
        // The workers' processes end with the daemon's.
        world.workers.iter().for_each(super::Worker::kill);
        let lived = life.app.committer.now().run.millis() / ALIVE_EVERY_MS * ALIVE_EVERY_MS;
        world.alive = world.alive.max(Run::from_millis(lived));
        world.book.check()?;
    }
    world.fate.end_life();
    end
}

async fn start(world: &mut World) -> Result<Life, Violation> {
    let fault = |what: String| Violation { rule: Rule::Fault, what };
    let listeners = CommitListeners::new();
    let (mut tell, fate) = (listeners.hook(), world.fate.clone());
    let hook = move |commit: &Commit| {
        fate.committed(commit);
        tell(commit);
    };
    let options = Options { hook: Some(Box::new(hook)), ..world.lives.options() };
    let store = Store::open_inline(options, Arc::new(world.fate.clone()));
    let store = Arc::new(store.map_err(|error| fault(format!("the store does not open: {error}")))?);
    world.book.open(&store, world.lives.dir());
    let lived = world.alive.max(world.book.last_run());
    let fate = Arc::new(world.fate.clone());
    let platform = Platform { wall: fate.clone(), entropy: fate, blocking: Blocking::Tasks };
    let speaker = Arc::new(Speaker::new(world.fate.clone(), world.book.clone()));
    let app = Arc::new(start::assemble(&store, listeners, platform, lived, speaker, Vault::new(Scrubber::default())));
    let greeted = start::greet(&app, &store, "0", None).await;
    greeted.map_err(|error| fault(format!("the daemon does not start: {error}")))?;
    let mut tasks = JoinSet::new();
    for worker in &world.workers {
        let known = start::worker(&app, &store, worker.name, lived).await;
        let (id, stale) = known.map_err(|error| fault(format!("{} is not known: {error}", worker.name)))?;
        let (greeting, _) = watch::channel(None);
        tasks.spawn(Supervisor::new(Arc::clone(&app), worker.clone(), id, stale, greeting).run());
    }
    start::spawn(&app, Kind::iter().filter(|kind| Some(*kind) != world.settings.without), &mut tasks);
    let mut life = Life { app, store, tasks };
    if world.people.agents.is_empty() {
        let context = life.ask_context();
        let deploy = world.fate.draw(|random| world.people.deploy(random, context));
        life.command(world, deploy).await?;
    }
    Ok(life)
}

impl Life {
    fn ask_context(&self) -> AskContext {
        AskContext {
            project: self.app.committer.project(),
            asked: None,
            at: self.app.committer.now().at,
            unlimited: false,
        }
    }

    /// Somebody asks, and is answered.
    /// False: it could not be stored.
    async fn command(&mut self, world: &mut World, command: Command) -> Result<bool, Violation> {
        let key = key_of(&command);
        let actor = world.people.actor(&command);
        let reply = match self.app.committer.commit(actor, command).await {
            Ok(committed) => Reply::Committed(Box::new(committed)),
            Err(commit::Error::Refused(refusal)) => {
                world.fate.with(|fate| fate.figures.refused += 1);
                Reply::Refused(refusal)
            }
            Err(commit::Error::Store(_)) => Reply::Failed,
        };
        let people = &mut world.people;
        world.book.hear(|audit| people.hear(key, &reply, audit));
        world.book.verdict()?;
        Ok(!matches!(reply, Reply::Failed))
    }

    /// Time passes. False: the ledger's writer has given up, and the daemon ends with it.
    async fn pass(&mut self, time: Duration) -> Result<bool, Violation> {
        let writer = self.store.writer().clone();
        tokio::select! {
            biased;
            () = writer.stopped() => Ok(false),
            Some(_) = self.tasks.join_next() => {
                broken(Rule::Fault, "a part of the daemon has ended by itself").map(|()| true)
            }
            () = sleep(time) => Ok(true),
        }
    }
}

async fn drive(world: &mut World, life: &mut Life) -> Result<End, Violation> {
    world.fate.with(|fate| fate.faulty = true);
    while world.steps < world.settings.steps {
        world.steps += 1;
        let pause = world.fate.draw(|random| match random.below(100) {
            0..=69 => random.below(150),
            70..=94 => random.below(3_000),
            95..=98 => random.below(20_000),
            _ => random.below(90_000),
        });
        world.fate.note(format!("step {} at {} ms", world.steps, life.app.committer.now().run.millis()));
        if !life.pass(Duration::from_millis(pause)).await? || !happen(world, life).await? {
            return Ok(End::Killed);
        }
        world.book.check()?;
    }
    world.fate.with(|fate| (fate.faulty, fate.full_for, fate.failing) = (false, 0, false));
    world.fate.note("faults are over");
    let (mut before, mut resumes) = (BTreeSet::new(), world.people.resumes());
    for look in 0..LOOKS_MAX {
        if !life.pass(LOOK_EVERY).await? {
            return Ok(End::Killed);
        }
        // A ledger that was full takes nothing until it has looked again.
        while let Some(command) = resumes.pop() {
            if !life.command(world, command.clone()).await? {
                resumes.push(command);
                break;
            }
        }
        world.book.check()?;
        // The last faults may hold it up a little.
        let due = world.book.due_alone(life.app.committer.now());
        if let Some((stream, key)) = before.intersection(&due).next().filter(|_| look >= LOOKS_FIRST) {
            broken(Rule::Standstill, format!("it is not done: {stream} owes {key}"))?;
        }
        before = due;
        // What waits for the wall alone is no unrest until it is due.
        if world.book.waits().is_none() && before.is_empty() {
            return rest(world);
        }
    }
    let waits = world.book.waits().unwrap_or_default();
    broken(Rule::Standstill, format!("it does not come to rest: {waits}")).map(|()| End::Rested)
}

fn rest(world: &World) -> Result<End, Violation> {
    for worker in &world.workers {
        if worker.jails() > 0 {
            broken(Rule::Standstill, format!("{} holds {} jails at rest", worker.name, worker.jails()))?;
        }
    }
    world.book.finish()?;
    Ok(End::Rested)
}

/// One thing happens. False: the daemon is killed.
async fn happen(world: &mut World, life: &mut Life) -> Result<bool, Violation> {
    let (what, fault) = world.fate.draw(|random| (random.below(100), random.below(100)));
    if what < 50 {
        return Ok(true);
    }
    if what < 86 {
        let context = life.ask_context();
        if let Some(command) = world.fate.draw(|random| world.people.ask(random, context)) {
            life.command(world, command).await?;
        }
        return Ok(true);
    }
    let place = world.fate.draw(|random| random.index(world.workers.len()));
    let worker = &world.workers[place];
    match fault {
        0..=24 => worker.kill(),
        25..=49 => worker.lose_jail(),
        50..=59 => worker.hang(world.fate.draw(|random| random.below(200_000))),
        60..=69 => world.fate.with(|fate| fate.full_for = 1 + u32::try_from(fate.random.below(4)).unwrap_or(0)),
        70..=73 => world.fate.with(|fate| fate.failing = true),
        74..=84 => {
            let by = world.fate.draw(|random| random.below(2 * DAY_MS));
            world.fate.set_wall(i64::try_from(by).unwrap_or(0) - i64::try_from(DAY_MS).unwrap_or(0));
        }
        _ => {
            world.fate.note("the daemon is killed");
            return Ok(false);
        }
    }
    Ok(true)
}
