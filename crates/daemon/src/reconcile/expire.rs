//! Owed Expire: a clock has run out. The decision looks at the clocks itself.
use super::Reconciler;
use crate::house::House;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::fold::Stream;
use tenure_core::owed::{Deed, Kind};

pub struct Expire(pub Arc<House>);

impl Reconciler for Expire {
    fn kind(&self) -> Kind {
        Kind::Expire
    }

    fn perform(&self, stream: Stream, _deed: Deed) -> BoxFuture<'static, ()> {
        let house = Arc::clone(&self.0);
        Box::pin(async move {
            let Stream::Execution(id) = stream else { return };
            house.report(Actor::Daemon, Command::Execution(id, execution::Command::Expire)).await;
        })
    }
}
