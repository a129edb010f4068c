//! Owed CancelExecutions and CancelChildren: what an execution started is cancelled with it, and what runs of an agent that was killed, revoked or deleted is cancelled, in pages. The last end of a
//! deleted one archives it.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::owed::Obligation;
use tenure_store::rows::{agents, executions};

/// Executions cancelled at a time, and how many such pages a look goes through.
const PAGE: u32 = 256;
const PAGES_MAX: u32 = 64;

pub async fn cancel(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Agent(agent) = stream else { return Ok(()) };
    let row = app.records.read(move |txn| Ok(agents::get(txn.parts().0, agent)?)).await?;
    let why = match row.as_ref().map(|row| row.standing.state.as_str()) {
        Some("deleting") => "its agent was deleted",
        Some("revoked") => "its agent was revoked",
        Some("quarantined") => "its agent was put into quarantine",
        _ => "its agent was killed",
    };
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = app.records.uncancelled_of(agent, after, PAGE).await?;
        after = page.last().copied();
        for id in &page {
            let cancel = execution::Command::Cancel { why: why.to_string() };
            app.report(Actor::Daemon, Command::Execution(*id, cancel)).await;
        }
        if page.len() < PAGE as usize {
            break;
        }
    }
    Ok(())
}

/// What an execution started that is cancelled itself; what those started follows them.
pub async fn cancel_children(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Execution(parent) = stream else { return Ok(()) };
    let read = move |sql: &mut dyn tenure_store::sql::Sql| executions::uncancelled_children_of(sql, parent, PAGE);
    for id in app.records.reader().read(read).await? {
        let cancel = execution::Command::Cancel { why: "the execution that started it was cancelled".to_string() };
        app.report(Actor::Daemon, Command::Execution(id, cancel)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Driven, app, run};
    use tenure_core::agent;

    #[tokio::test]
    async fn executions_that_are_ending_do_not_stand_in_the_way_of_those_not_asked_yet() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _store) = app(folder.path());
        let mut ending = Driven::start(&app).await;
        ending.begin_iteration().await;
        // Its call made a jail, which is waited for.
        ending.turn("I look", 1, "{}").await;
        let id = ending.id;
        let agent = app.records.read(move |txn| Ok(txn.execution(id)?.agent)).await.unwrap();
        let next = app.committer.mint_execution();
        let input = app.committer.payload(b"{}".to_vec());
        let start = execution::Start {
            agent,
            revision: None,
            input,
            max_iterations: None,
            idempotency: None,
            trigger: execution::Trigger::Manual,
        };
        run(&app, Command::Execution(next, execution::Command::Start(start))).await;
        let uncancelled = || app.records.uncancelled_of(agent, None, PAGE);
        let mut both = vec![id, next];
        both.sort_unstable();
        assert_eq!(uncancelled().await.unwrap(), both);
        let asked = execution::Command::Cancel { why: "test".to_string() };
        run(&app, Command::Execution(id, asked)).await;
        let ended = app.records.read(move |txn| Ok(txn.execution(id)?.ended_at)).await.unwrap();
        assert_eq!(ended, None, "the control: its jail is not gone yet");
        assert_eq!(uncancelled().await.unwrap(), [next]);
        run(&app, Command::Agent(agent, agent::Command::Delete { home_grace_ms: 0 })).await;
        cancel(Arc::clone(&app), Stream::Agent(agent), Obligation::CancelExecutions).await.unwrap();
        assert!(uncancelled().await.unwrap().is_empty());
        let listed = |statuses| {
            let filter = agents::Filter { statuses, ..Default::default() };
            app.records.reader().read(move |sql| Ok(agents::list(sql, &filter, 10)?.rows))
        };
        assert!(listed(None).await.unwrap().is_empty(), "it is deleted though one of its executions still ends");
        let archived = listed(Some(&[agent::Status::Archived])).await.unwrap();
        assert!(archived.iter().any(|row| row.id == agent && row.standing.state == "deleting"), "{archived:?}");
    }
}
