//! Owed Expire: a clock has run out. The decision looks at the clocks itself.
use crate::house::House;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::fold::Stream;
use tenure_core::owed::Deed;

pub async fn expire(house: Arc<House>, stream: Stream, _: Deed) -> Result<(), Error> {
    let Stream::Execution(id) = stream else { return Ok(()) };
    house.report(Actor::Daemon, Command::Execution(id, execution::Command::Expire)).await;
    Ok(())
}
