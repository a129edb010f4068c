//! Owed Bind: a queued or unbound execution is given to a worker with an open session and a free slot.
use crate::house::House;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::fold::Stream;
use tenure_core::owed::Deed;

pub async fn bind(house: Arc<House>, stream: Stream, _: Deed) -> Result<(), Error> {
    let Stream::Execution(id) = stream else { return Ok(()) };
    for connection in house.fleet.connections() {
        if house.records.count_bound(connection.session).await? < u64::from(connection.slots) {
            let bind = execution::Command::Bind { worker: connection.worker, session: connection.session };
            house.report(Actor::Daemon, Command::Execution(id, bind)).await;
            break;
        }
    }
    Ok(())
}
