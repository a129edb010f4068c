//! Owed Place: queued and unbound executions, and sessions whose calls wait, go to connected workers with free slots, an agent's home first.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::facts::Counter;
use tenure_core::id::{ConnectionId, SessionId};
use tenure_core::owed::Obligation;
use tenure_core::session::{self, Session};

pub(super) fn place<S: Storage>(world: &mut World<S>, page: Vec<(Stream, Obligation)>) -> Checked {
    let open = world.workers.iter().filter_map(|worker| Some((worker.id, worker.connection()?)));
    let mut free = Vec::new();
    for (worker, connection) in open.collect::<Vec<_>>() {
        let bound = world.storage.count(Counter::Bound, &connection.to_string());
        free.push((i64::from(crate::worker::SLOTS) - bound, worker, connection));
    }
    for (stream, _) in page {
        let agent = match stream {
            Stream::Execution(id) => world.storage.execution_row(id).map(|row| row.agent),
            Stream::Session(id) => session_of(world, id).map(|session| session.agent),
            Stream::Project(_)
            | Stream::Agent(_)
            | Stream::Worker(_)
            | Stream::Secret(_)
            | Stream::Package(_)
            | Stream::Instance(_) => None,
        };
        let Some(agent) = agent else { continue };
        let home = world.storage.standing(agent).and_then(|standing| standing.home);
        let chosen = free.iter_mut().filter(|(_, worker, _)| home.is_none_or(|home| home == *worker));
        let Some((slots, worker, connection)) = chosen.max_by_key(|(slots, worker, _)| (*slots, *worker)) else {
            continue;
        };
        let (worker, connection) = (*worker, *connection);
        if *slots < 1 {
            make_room(world, connection)?;
            continue;
        }
        *slots -= 1;
        let bind = match stream {
            Stream::Session(id) => Command::Session(id, session::Command::Bind { worker, connection }),
            Stream::Execution(id) => Command::Execution(id, execution::Command::Bind { worker, connection }),
            Stream::Project(_)
            | Stream::Agent(_)
            | Stream::Worker(_)
            | Stream::Secret(_)
            | Stream::Package(_)
            | Stream::Instance(_) => {
                continue;
            }
        };
        if !world.command(Actor::Daemon, bind)?.is_committed() {
            make_room(world, connection)?;
        }
    }
    Ok(())
}

fn session_of<S: Storage>(world: &mut World<S>, id: SessionId) -> Option<Session> {
    world.storage.fold(Stream::Session(id))?.as_a::<Session>().cloned()
}

/// One of those sessions gives up its jail that stand in the way.
fn make_room<S: Storage>(world: &mut World<S>, connection: ConnectionId) -> Checked {
    let bound: Vec<SessionId> =
        world.storage.bound_to(connection).iter().filter_map(|holder| holder.session()).collect();
    let Some(id) = world.random.pick(&bound).copied() else { return Ok(()) };
    let Some(jail) = session_of(world, id).and_then(|session| session.jail) else { return Ok(()) };
    world.command(Actor::Daemon, Command::Session(id, session::Command::Yield { jail: jail.number })).map(drop)
}
