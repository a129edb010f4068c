//! The loop of the daemon's reconcilers, one obligation at a time: it looks at the owed index alone, keeps what is in
//! flight, leaves alone for a while what moved nothing, and lets go of what is no longer owed.
mod comms;
mod delete;
mod dispatch;
mod expire;
mod perform;
mod place;
mod program;
mod release;
mod sweep;
mod think;
mod validate;
mod wake;

use crate::audit::{Checked, Violation};
use crate::mutation::Mutation;
use crate::storage::Storage;
use crate::world::{Name, World};
use strum::IntoEnumIterator;
use tenure_core::aggregate::Stream;
use tenure_core::owed::{Kind, Obligation};
use tenure_core::time::{Due, Run};

pub use dispatch::send;

pub const BACKOFF_MS: u64 = 1_000;
/// A worker that has not destroyed a jail by then is ended itself.
const RELEASE_TIMEOUT_MS: u64 = 20_000;

/// What names an obligation while it is in flight: due and open are two states of one model call.
pub fn name(stream: Stream, obligation: &Obligation) -> Name {
    let key = match obligation {
        Obligation::Think { iteration, turn, attempt, open: _ } => format!("think {iteration}:{turn}:{attempt}"),
        _ => obligation.to_key(),
    };
    (stream, key)
}

/// Does one thing that is owed. False: nothing is due that is not in flight or left alone.
///
/// # Errors
/// What does not hold.
pub fn one<S: Storage>(world: &mut World<S>) -> Result<bool, Violation> {
    let now = world.now;
    world.daemon.backing_off.retain(|_, until| *until > now.run);
    end_late_releases(world);
    let mut kinds: Vec<Kind> = Kind::iter().collect();
    while !kinds.is_empty() {
        let kind = kinds.swap_remove(world.random.index(kinds.len()));
        if kind == Kind::Release && world.mutation == Some(Mutation::ForgetRelease) {
            continue;
        }
        let due = world.storage.due(kind, now).into_iter().map(|(stream, owed)| (stream, owed.obligation));
        let known = |world: &World<S>, name: &Name| {
            world.daemon.in_flight.contains_key(name) || world.daemon.backing_off.contains_key(name)
        };
        let fresh: Vec<(Stream, Obligation)> =
            due.filter(|(stream, obligation)| !known(world, &name(*stream, obligation))).collect();
        if let Some((stream, obligation)) = world.random.pick(&fresh).cloned() {
            perform(world, stream, obligation, fresh)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn perform<S: Storage>(
    world: &mut World<S>,
    stream: Stream,
    obligation: Obligation,
    page: Vec<(Stream, Obligation)>,
) -> Checked {
    let name = name(stream, &obligation);
    world.daemon.in_flight.insert(name.clone(), world.now.run);
    let in_flight = match (stream, obligation) {
        (_, Obligation::Place { .. }) => place::place(world, page).map(|()| false),
        (Stream::Execution(id), Obligation::Think { iteration, turn, attempt, open }) => {
            let turn = tenure_core::execution::Turn { iteration, turn, attempt };
            think::think(world, id, turn, open, &name)
        }
        (Stream::Execution(id), Obligation::Dispatch { call, lease, connection }) => {
            Ok(dispatch::dispatch(world, id, call, lease, connection))
        }
        (Stream::Execution(id), Obligation::Perform { call }) => perform::perform(world, id, call).map(|()| false),
        (Stream::Execution(id), Obligation::Program { iteration, call }) => {
            program::program(world, id, iteration, call).map(|()| false)
        }
        (Stream::Execution(id), Obligation::Validate { iteration, index, check }) => {
            validate::validate(world, id, iteration, index, check).map(|()| false)
        }
        (Stream::Execution(id), Obligation::Release { iteration, connection, .. }) => {
            Ok(release::release(world, id.into(), iteration, connection))
        }
        (Stream::Session(id), Obligation::Release { iteration, connection, .. }) => {
            Ok(release::release(world, id.into(), iteration, connection))
        }
        (Stream::Session(id), Obligation::Dispatch { call, lease, connection }) => {
            Ok(dispatch::dispatch_of_session(world, id, call, lease, connection))
        }
        (_, Obligation::Cancel { lease, connection, .. }) => {
            dispatch::cancel(world, lease, connection);
            Ok(false)
        }
        (Stream::Session(id), Obligation::ExpireCalls) => expire::expire_calls(world, id).map(|()| false),
        (_, Obligation::ExpireApprovals) => expire::expire_approvals(world, stream).map(|()| false),
        (Stream::Execution(id), Obligation::Expire) => expire::expire(world, id).map(|()| false),
        (Stream::Session(id), Obligation::Expire) => expire::expire_session(world, id).map(|()| false),
        (Stream::Agent(agent), Obligation::EndKey) => expire::end_key(world, agent).map(|()| false),
        (Stream::Agent(agent), Obligation::EndPause) => expire::end_pause(world, agent).map(|()| false),
        (Stream::Agent(agent), Obligation::SweepState) => expire::sweep_state(world, agent).map(|()| false),
        (Stream::Project(project), Obligation::SweepState) => expire::sweep_shared(world, project).map(|()| false),
        (_, Obligation::Retain { .. } | Obligation::Erase { .. }) => expire::retain(world, stream).map(|()| false),
        (Stream::Worker(worker), Obligation::Sweep { connection, since }) => {
            sweep::sweep(world, worker, connection, since).map(|()| false)
        }
        (Stream::Agent(agent), Obligation::CancelExecutions) => delete::delete(world, agent).map(|()| false),
        (Stream::Execution(id), Obligation::CancelChildren { .. }) => delete::children(world, id).map(|()| false),
        (Stream::Agent(agent), Obligation::Wake { waking }) => wake::wake(world, agent, waking).map(|()| false),
        (Stream::Agent(agent), Obligation::FanOut { message, after, .. }) => {
            comms::fan_out(world, agent, message, after).map(|()| false)
        }
        (Stream::Agent(agent), Obligation::ExpireMessages) => comms::expire(world, agent).map(|()| false),
        (Stream::Agent(agent), Obligation::DeadLetterMessages { .. }) => {
            comms::dead_letter(world, agent).map(|()| false)
        }
        (Stream::Agent(agent), Obligation::RemoveHome { worker }) => Ok(delete::remove_home(world, agent, worker)),
        _ => Ok(false),
    }?;
    if !in_flight {
        world.end_work(&name);
    }
    Ok(())
}

/// A release that is not answered in time ends its worker.
fn end_late_releases<S: Storage>(world: &mut World<S>) {
    let now = world.now.run;
    let late = |(stream, key): &Name, since: Run| {
        let kind = Obligation::from_key(key).map(|obligation| obligation.kind());
        matches!(stream, Stream::Execution(_) | Stream::Session(_))
            && kind == Ok(Kind::Release)
            && now.since_ms(since) >= RELEASE_TIMEOUT_MS
    };
    let names: Vec<Name> = world
        .daemon
        .in_flight
        .iter()
        .filter(|(name, since)| late(name, **since))
        .map(|(name, _)| name.clone())
        .collect();
    for name in names {
        let of = |connection: &tenure_core::id::ConnectionId| name.1.contains(&connection.to_string());
        let place = world.workers.iter().position(|worker| worker.connection().as_ref().is_some_and(of));
        world.end_work(&name);
        if let Some(place) = place {
            crate::worker::end_process(world, place);
        }
    }
}

/// Milliseconds until something can happen by itself; none where only the wall clock is waited for, or nothing.
pub(crate) fn next_ms<S: Storage>(world: &mut World<S>) -> Option<u64> {
    let now = world.now.run;
    let owed = world.storage.owed();
    let due = owed.iter().filter_map(|(stream, owed)| match owed.due {
        Due::Wall(_) => None,
        Due::Run(run) => {
            let name = name(*stream, &owed.obligation);
            let until = world.daemon.backing_off.get(&name).copied().unwrap_or(run).max(run);
            let release = owed.obligation.kind() == Kind::Release;
            match world.daemon.in_flight.get(&name) {
                Some(since) => release.then(|| since.plus_ms(RELEASE_TIMEOUT_MS)),
                None => (until > now).then_some(until),
            }
        }
    });
    due.map(|run| run.since_ms(now)).min()
}
