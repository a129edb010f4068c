//! Owed Expire: a clock has run out. The decision looks at the clocks itself. A session of which something was heard that is
//! no event says so now, and lives on.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::call::Holder;
use tenure_core::owed::Obligation;
use tenure_core::{execution, session};

pub async fn expire(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    match Holder::of(stream) {
        Some(Holder::Execution(id)) => {
            app.report(Actor::Daemon, Command::Execution(id, execution::Command::Expire {})).await;
        }
        Some(Holder::Session(id)) => {
            let now = app.committer.now().run;
            let heard = app.presence.last(id, now).filter(|heard| now.since_ms(*heard) < session::IDLE_MS);
            let command = match heard {
                Some(heard) => session::Command::Touch { heard },
                None => session::Command::Expire {},
            };
            app.report(Actor::Daemon, Command::Session(id, command)).await;
            if heard.is_none() {
                app.presence.forget(id);
            }
        }
        None => {}
    }
    Ok(())
}

/// The time of a call is over, or a jail is idle; the decision looks at the clocks itself.
pub async fn expire_calls(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    if let Stream::Session(id) = stream {
        app.report(Actor::Daemon, Command::Session(id, session::Command::ExpireCalls {})).await;
    }
    Ok(())
}

/// A call has waited too long for a person; the decision looks at the clock itself.
pub async fn expire_approvals(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let command = match Holder::of(stream) {
        Some(Holder::Execution(id)) => Command::Execution(id, execution::Command::ExpireApprovals {}),
        Some(Holder::Session(id)) => Command::Session(id, session::Command::ExpireApprovals {}),
        None => return Ok(()),
    };
    app.report(Actor::Daemon, command).await;
    Ok(())
}
