//! Owed Dispatch: a leased call becomes a frame to the worker that holds its lease. Its outcome comes back as a frame.
use crate::storage::Storage;
use crate::worker::{LeasedCall, ToWorker};
use crate::world::World;
use tenure_core::aggregate::Stream;
use tenure_core::call::{Holder, Open};
use tenure_core::execution::{Check, Execution, Step};
use tenure_core::id::{CallId, ConnectionId, ExecutionId, LeaseId, SessionId};
use tenure_core::session::Session;

/// True while the worker has it.
pub(super) fn dispatch<S: Storage>(
    world: &mut World<S>,
    id: ExecutionId,
    call: CallId,
    lease: LeaseId,
    connection: ConnectionId,
) -> bool {
    let fold = world.storage.fold(Stream::Execution(id));
    let Some(iteration) = fold.as_ref().and_then(|fold| fold.as_a::<Execution>()?.iteration()) else { return false };
    let calls: &[Open] = match &iteration.step {
        Step::Acting { calls } | Step::Closing { calls, .. } => calls,
        Step::Validating { check: Check::Open { call }, .. } => std::slice::from_ref(call),
        Step::Thinking { .. } | Step::Program { .. } | Step::Told { .. } | Step::Validating { .. } => &[],
    };
    let held = calls.iter().find(|open| open.id == call && open.lease().is_some_and(|held| held.lease == lease));
    held.is_some_and(|open| send(world, connection, id.into(), iteration.number, open))
}

/// The same of a session's.
pub(super) fn dispatch_of_session<S: Storage>(
    world: &mut World<S>,
    id: SessionId,
    call: CallId,
    lease: LeaseId,
    connection: ConnectionId,
) -> bool {
    let fold = world.storage.fold(Stream::Session(id));
    let Some(session) = fold.as_ref().and_then(|fold| fold.as_a::<Session>()) else { return false };
    let held = session.calls.iter().map(|held| &held.call).find(|open| open.id == call);
    let held = held.filter(|open| open.lease().is_some_and(|held| held.lease == lease));
    let Some((open, jail)) = held.zip(session.jail) else { return false };
    send(world, connection, id.into(), jail.number, open)
}

/// Asks for the end of a leased call. What is owed is over with the call.
pub(super) fn cancel<S: Storage>(world: &mut World<S>, lease: LeaseId, connection: ConnectionId) {
    let worker = world.workers.iter_mut().find(|worker| worker.connection() == Some(connection));
    if let Some(process) = worker.and_then(|worker| worker.process.as_mut()) {
        process.to.push_back(ToWorker::Cancel { lease });
    }
}

/// Sends a call that has a lease; false where its connection is gone.
pub fn send<S: Storage>(
    world: &mut World<S>,
    connection: ConnectionId,
    holder: Holder,
    iteration: u32,
    call: &Open,
) -> bool {
    let (id, has_path) = (call.id, call.capability.starts_with("filesystem."));
    let Some(lease) = call.lease() else { return false };
    let worker = world.workers.iter_mut().find(|worker| worker.connection() == Some(connection));
    let Some(process) = worker.and_then(|worker| worker.process.as_mut()) else { return false };
    let frame = LeasedCall { lease: lease.lease, fence: lease.fence, call: id, holder, iteration, has_path };
    process.to.push_back(ToWorker::Call(frame));
    true
}
