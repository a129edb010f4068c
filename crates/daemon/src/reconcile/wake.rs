//! Owed Wake: agents whose schedule has come to a time are woken, a page at a time, side by side, so that one commit takes
//! many. What a wake starts waits for a slot like any other execution; nothing else spreads a backlog, and none is lost.
use crate::app::App;
use crate::records::Error;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::owed::Obligation;

/// The input of an execution that the clock starts.
const NOTHING: &[u8] = b"null";

pub async fn wake(app: Arc<App>, page: Vec<(Stream, Obligation)>) -> Result<(), Error> {
    let woken: FuturesUnordered<_> = page
        .into_iter()
        .filter_map(|(stream, obligation)| match (stream, obligation) {
            (Stream::Agent(agent), Obligation::Wake { waking }) => Some((agent, waking)),
            _ => None,
        })
        .map(|(agent, waking)| {
            let input = app.committer.payload(NOTHING.to_vec());
            app.report(Actor::Daemon, Command::Agent(agent, agent::Command::Wake { waking, input }))
        })
        .collect();
    woken.for_each(|_| async {}).await;
    Ok(())
}
