//! Two workers with slots, whose processes are killed and come back under a new connection, whose jails die, whose frames
//! are lost, doubled or late. What a process really does is told to the audit the moment it does it.
//!
//! ```text
//! daemon ── to ──> [ a process: jails, leases in hand, leases ended ] ── from ──> daemon ──> commits
//! ```
//! A process performs a lease once, also where it is sent it again, and answers an ended one from memory.
mod process;

pub use process::{FromWorker, LeasedCall, Process, ToWorker};

use crate::audit::{Checked, Violation};
use crate::mutation::Mutation;
use crate::random::Random;
use crate::storage::Storage;
use crate::world::{Name, Reply, World};
use std::collections::VecDeque;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::call::{EndCall, Holder, Lease, Outcome};
use tenure_core::fleet;
use tenure_core::id::{ConnectionId, WorkerId};
use tenure_core::owed::Obligation;
use tenure_core::time::Run;
use tenure_core::{agent, execution, network, session};

pub const SLOTS: u32 = 3;
/// What one frame in so many meets, in thousandths.
const LOST: u64 = 40;
const DOUBLED: u64 = 40;
/// Larger results are files of the store.
const LARGE_BYTES: usize = 70_000;

#[derive(Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub process: Option<Process>,
    registered: bool,
    /// A connection that is still to be lapsed, and when it was last known to live.
    stale: Option<(ConnectionId, Run)>,
    /// What ended processes had said and nobody had read.
    late: VecDeque<(ConnectionId, FromWorker)>,
    /// Processes that a mutation let live beyond their connection.
    ghosts: Vec<Process>,
}

impl Worker {
    pub fn new(id: WorkerId) -> Worker {
        Worker { id, process: None, registered: false, stale: None, late: VecDeque::new(), ghosts: Vec::new() }
    }

    pub fn jails(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.jails.len())
    }

    pub fn connection(&self) -> Option<ConnectionId> {
        self.process.as_ref().map(|process| process.connection)
    }
}

/// One thing of one worker happens. False: there is nothing.
///
/// # Errors
/// What does not hold.
pub fn one<S: Storage>(world: &mut World<S>) -> Result<bool, Violation> {
    let first = world.random.index(world.workers.len());
    let order = world.random.index(5);
    for place in (first..world.workers.len()).chain(0..first) {
        if world.workers[place].process.is_none() && (world.faulty || !world.workers[place].registered) {
            return connect(world, place);
        }
        for turn in 0..5 {
            let moved = match (order + turn) % 5 {
                0 => take(world, place),
                1 => work(world, place)?,
                2 | 3 => report(world, place)?,
                _ => report_late(world, place)?,
            };
            if moved {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The next process of each worker that has none reaps what was left, and connects.
///
/// # Errors
/// What does not hold of the records.
pub fn connect_all<S: Storage>(world: &mut World<S>) -> Result<bool, Violation> {
    let mut moved = false;
    for place in 0..world.workers.len() {
        if world.workers[place].process.is_none() {
            moved |= connect(world, place)?;
        }
    }
    Ok(moved)
}

fn connect<S: Storage>(world: &mut World<S>, place: usize) -> Result<bool, Violation> {
    let worker = world.workers[place].id;
    if !world.workers[place].registered {
        let register = fleet::Command::Register { name: format!("worker-{place}") };
        let reply = world.command(Actor::Daemon, Command::Worker(worker, register))?;
        let there = matches!(reply, Reply::Refused(Refusal::Worker(fleet::Refusal::Registered {})));
        world.workers[place].registered = reply.is_committed() || there;
        return Ok(true);
    }
    if let Some((connection, since)) = world.workers[place].stale {
        let lapse = fleet::Command::Lapse { connection, since, proof: "reaped".into() };
        let reply = world.command(Actor::Daemon, Command::Worker(worker, lapse))?;
        if reply.is_committed() {
            world.workers[place].stale = None;
        }
        return Ok(reply.is_committed());
    }
    let host = world.payload("{}");
    let connect = fleet::Command::Connect { slots: SLOTS, level: "full".into(), host };
    let Reply::Committed(committed) = world.command(Actor::Worker(worker), Command::Worker(worker, connect))? else {
        return Ok(false);
    };
    let opened = committed.decision.events.iter().find_map(|(_, event)| match event {
        Event::Worker(fleet::Event::Connected { connection, fence, .. }) => Some(Process::new(*connection, *fence)),
        _ => None,
    });
    world.workers[place].process = opened;
    Ok(true)
}

/// After a daemon's start: the connections that an earlier life left open.
pub(crate) fn find_stale<S: Storage>(world: &mut World<S>) {
    for place in 0..world.workers.len() {
        let row = world.storage.worker_row(world.workers[place].id);
        world.workers[place].registered = row.is_some();
        world.workers[place].stale = row.and_then(|row| row.connection).map(|connection| (connection, world.now.run));
    }
}

/// A worker's process is killed, and all its jails with it.
///
/// # Errors
/// None; it has the shape of the other faults.
pub(crate) fn kill<S: Storage>(world: &mut World<S>) -> Checked {
    let place = world.random.index(world.workers.len());
    end_process(world, place);
    Ok(())
}

pub(crate) fn end_process<S: Storage>(world: &mut World<S>, place: usize) {
    let worker = &mut world.workers[place];
    let Some(mut process) = worker.process.take() else { return };
    let connection = process.connection;
    worker.stale = Some((connection, world.now.run));
    worker.late.extend(process.from.drain(..).map(|frame| (connection, frame)));
    if world.mutation == Some(Mutation::LapseEarly) {
        worker.ghosts.push(process);
    }
    let of = |name: &Name| name.1.contains(&connection.to_string());
    let names: Vec<Name> = world.daemon.in_flight.keys().filter(|name| of(name)).cloned().collect();
    names.iter().for_each(|name| world.end_work(name));
    world.note(|_| format!("the process of {connection} is killed"));
}

/// A jail dies by itself, with what was in flight in it: some of it had been done.
///
/// # Errors
/// What is done without an event.
pub(crate) fn lose_jail<S: Storage>(world: &mut World<S>) -> Checked {
    let place = world.random.index(world.workers.len());
    let Some(process) = &mut world.workers[place].process else { return Ok(()) };
    let jails: Vec<_> = process.jails.iter().map(|(holder, iteration)| (*holder, *iteration)).collect();
    let Some((holder, iteration)) = world.random.pick(&jails).copied() else { return Ok(()) };
    process.jails.remove(&holder);
    let leases = process.forget(holder, iteration);
    for lease in &leases {
        if world.random.chance(500) {
            world.audit.perform(*lease)?;
        }
    }
    if let Some(process) = &mut world.workers[place].process {
        process.from.push_back(FromWorker::JailLost { holder, iteration, leases });
    }
    Ok(())
}

/// A process takes its next frame.
fn take<S: Storage>(world: &mut World<S>, place: usize) -> bool {
    let (lost, doubled) = (world.faulty && world.random.chance(LOST), world.faulty && world.random.chance(DOUBLED));
    let again = world.mutation == Some(Mutation::PerformAgain);
    let Some(process) = &mut world.workers[place].process else { return false };
    let Some(frame) = process.to.pop_front() else { return false };
    if lost && !matches!(frame, ToWorker::RemoveHome { .. }) {
        world.figures.lost_frames += 1;
        world.note(|_| format!("lost on its way to a worker: {frame:?}"));
        return true;
    }
    if doubled {
        process.to.push_back(frame.clone());
    }
    process.take(frame, again);
    true
}

/// A process does something that it has in hand.
fn work<S: Storage>(world: &mut World<S>, place: usize) -> Result<bool, Violation> {
    let ghost = !world.workers[place].ghosts.is_empty() && world.random.chance(500);
    let worker = &mut world.workers[place];
    let process = if ghost { worker.ghosts.last_mut() } else { worker.process.as_mut() };
    let Some(process) = process else { return Ok(false) };
    let in_hand: Vec<LeasedCall> = process.in_hand.values().cloned().collect();
    let Some(call) = world.random.pick(&in_hand).cloned() else { return Ok(false) };
    if !process.open_jail(&call, SLOTS) {
        process.end(&call, Outcome::ResourceExhausted { resource: "slots".into(), limit: None });
        return Ok(true);
    }
    match world.random.below(40) {
        0 => {
            let LeasedCall { holder, iteration, .. } = call;
            process.from.push_back(FromWorker::NetworkRefused { holder, iteration });
        }
        1 => process.from.push_back(FromWorker::Surveyed),
        _ => {}
    }
    let outcome = outcome(&mut world.random, &call);
    process.end(&call, outcome.clone());
    if !matches!(outcome, Outcome::Redirected { .. }) {
        world.audit.perform(call.lease)?;
    }
    Ok(true)
}

/// How a call ends that its worker does.
pub(crate) fn outcome(random: &mut Random, call: &LeasedCall) -> Outcome {
    match random.below(20) {
        0..=7 => Outcome::Done { exit_code: None },
        8..=12 => Outcome::Done { exit_code: Some(0) },
        13 => Outcome::Done { exit_code: Some(1) },
        14 => Outcome::Failed { code: "not_found".into() },
        15 => Outcome::TimedOut,
        16 => Outcome::ResourceExhausted { resource: "memory".into(), limit: Some(512 << 20) },
        // Where it met a link, nothing was done.
        _ if call.has_path => Outcome::Redirected { path: "/workspace/behind".into() },
        _ => Outcome::Done { exit_code: None },
    }
}

/// The daemon reads the next frame of a worker.
fn report<S: Storage>(world: &mut World<S>, place: usize) -> Result<bool, Violation> {
    let (lost, doubled) = (world.faulty && world.random.chance(LOST), world.faulty && world.random.chance(DOUBLED));
    let Some(process) = &mut world.workers[place].process else { return Ok(false) };
    let connection = process.connection;
    let Some(frame) = process.from.pop_front() else { return Ok(false) };
    let twice = matches!(frame, FromWorker::Outcome { .. } | FromWorker::Released { .. });
    if lost && !matches!(frame, FromWorker::HomeRemoved { .. }) {
        world.figures.lost_frames += 1;
        world.note(|_| format!("lost on its way from a worker: {frame:?}"));
        return Ok(true);
    }
    if doubled && twice {
        process.from.push_back(frame.clone());
    }
    receive(world, place, connection, frame)?;
    Ok(true)
}

/// A frame of a process that is dead arrives all the same.
fn report_late<S: Storage>(world: &mut World<S>, place: usize) -> Result<bool, Violation> {
    let Some((connection, frame)) = world.workers[place].late.pop_front() else { return Ok(false) };
    if world.random.chance(600) {
        receive(world, place, connection, frame)?;
    }
    Ok(true)
}

pub(crate) fn stream(holder: Holder) -> Stream {
    match holder {
        Holder::Execution(id) => Stream::Execution(id),
        Holder::Session(id) => Stream::Session(id),
    }
}

/// What a lease was for has come to its end.
fn end<S: Storage>(
    world: &mut World<S>,
    actor: Actor,
    connection: ConnectionId,
    call: LeasedCall,
    outcome: Outcome,
) -> Checked {
    let LeasedCall { lease, fence, call, holder, .. } = call;
    let bytes = if world.random.chance(10) { vec![b'x'; LARGE_BYTES] } else { b"{}".to_vec() };
    let attributes =
        matches!(outcome, Outcome::Redirected { .. }).then(|| world.payload("{\"path\":\"/workspace/behind\"}"));
    let (lease, result) = (Lease { lease, fence }, Some(world.payload(bytes)));
    let end = EndCall { call, lease, outcome, result, attributes, took_ms: 1, level: Some("full".into()) };
    let ended = match holder {
        Holder::Execution(id) => Command::Execution(id, execution::Command::EndCall(end)),
        Holder::Session(id) => Command::Session(id, session::Command::EndCall(end)),
    };
    world.command(actor, ended)?;
    let dispatched = Obligation::Dispatch { call, lease: lease.lease, connection };
    world.end_work(&(stream(holder), dispatched.to_key()));
    Ok(())
}

fn receive<S: Storage>(world: &mut World<S>, place: usize, connection: ConnectionId, frame: FromWorker) -> Checked {
    let worker = world.workers[place].id;
    let actor = Actor::Worker(worker);
    match frame {
        FromWorker::Outcome { call, outcome } => end(world, actor, connection, call, outcome)?,
        FromWorker::Released { holder, iteration } => {
            let traffic = None;
            let released = match holder {
                Holder::Execution(id) => {
                    Command::Execution(id, execution::Command::Release { connection, iteration, traffic })
                }
                Holder::Session(id) => {
                    Command::Session(id, session::Command::Release { connection, jail: iteration, traffic })
                }
            };
            world.command(actor, released)?;
            for last in [false, true] {
                let released = Obligation::Release { iteration, connection, last };
                world.end_work(&(stream(holder), released.to_key()));
            }
        }
        FromWorker::JailLost { holder, iteration, leases } => {
            let (why, traffic) = ("oom".to_string(), None);
            let lost = match holder {
                Holder::Execution(id) => {
                    let lose = execution::Command::LoseJail { connection, iteration, leases, why, traffic };
                    Command::Execution(id, lose)
                }
                Holder::Session(id) => {
                    let lose = session::Command::LoseJail { connection, jail: iteration, leases, why, traffic };
                    Command::Session(id, lose)
                }
            };
            world.command(actor, lost)?;
        }
        FromWorker::NetworkRefused { holder, iteration } => {
            let (host, rule) = ("evil.example.com".to_string(), "blocklist: *.example.com".to_string());
            let refusals = vec![network::Refusal { host, port: 443, rule, count: 3 }];
            let refused = match holder {
                Holder::Execution(id) => {
                    Command::Execution(id, execution::Command::RefuseNetwork { connection, iteration, refusals })
                }
                Holder::Session(id) => {
                    Command::Session(id, session::Command::RefuseNetwork { connection, jail: iteration, refusals })
                }
            };
            world.command(actor, refused)?;
        }
        FromWorker::Surveyed => {
            let host = world.payload("{\"cores\":2}");
            let survey = fleet::Command::Survey { connection, host };
            world.command(actor, Command::Worker(worker, survey))?;
        }
        FromWorker::HomeRemoved { agent } => {
            let removed = agent::Command::RecordHomeRemoved { worker };
            world.command(actor, Command::Agent(agent, removed))?;
            world.end_work(&(Stream::Agent(agent), Obligation::RemoveHome { worker }.to_key()));
        }
    }
    Ok(())
}
