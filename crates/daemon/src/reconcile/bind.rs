//! Owed Bind: a queued or unbound execution is given to a worker with an open session and a free slot.
use super::Reconciler;
use crate::house::House;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::fold::Stream;
use tenure_core::owed::{Deed, Kind};

pub struct Bind(pub Arc<House>);

impl Reconciler for Bind {
    fn kind(&self) -> Kind {
        Kind::Bind
    }

    fn perform(&self, stream: Stream, _deed: Deed) -> BoxFuture<'static, ()> {
        let house = Arc::clone(&self.0);
        Box::pin(async move {
            let Stream::Execution(id) = stream else { return };
            let Some(link) = house.link() else { return };
            match house.records.count_bound(link.session).await {
                Ok(bound) if bound < u64::from(link.slots) => {}
                Ok(_) => return,
                Err(error) => return tracing::error!(%error, "the free slots cannot be counted"),
            }
            let bind = execution::Command::Bind { worker: link.worker, session: link.session };
            house.report(Actor::Daemon, Command::Execution(id, bind)).await;
        })
    }
}
