//! Owed Rejudge: another policy holds, and what waits for people or is in flight is judged by it. What began, or began to wait,
//! since was judged by it already.
use crate::app::App;
use crate::policy;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::approval::{Listed, PENDING};
use tenure_core::call::Holder;
use tenure_core::id::CallId;
use tenure_core::item::ItemKind;
use tenure_core::owed::{Kind, Obligation};
use tenure_core::{execution, project, session};
use tenure_store::rows::items::{self, Filter};

const PAGE: u32 = 256;
/// Calls that may be in flight at a time, by pages: more than all workers have slots for.
const PAGES_MAX: u32 = 64;

pub async fn rejudge(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Project(id), Obligation::Rejudge { number }) = (stream, obligation) else { return Ok(()) };
    // Where the policy could not be loaded nothing is said by it.
    let holds = policy::applied(&app).await?;
    if app.policies.policy(holds.map(|applied| applied.digest)).is_none() {
        return Ok(());
    }
    for (holder, call) in in_flight(&app).await? {
        app.report_written(Actor::Daemon, again(holder, call)).await?;
    }
    let mut before = None;
    loop {
        let filter = Filter { agent: None, state: Some(PENDING.to_string()), before, due_after: None };
        let read = move |sql: &mut dyn tenure_store::sql::Sql| items::list(sql, ItemKind::Approval, &filter, PAGE);
        let page = app.records.reader().read(read).await?;
        for listed in page.rows.iter().filter_map(|item| item.parse_data::<Listed>().ok()) {
            app.report_written(Actor::Daemon, again(listed.holder, listed.call)).await?;
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    app.report(Actor::Daemon, Command::Project(id, project::Command::FinishRejudging { number })).await;
    Ok(())
}

fn again(holder: Holder, call: CallId) -> Command {
    match holder {
        Holder::Execution(id) => Command::Execution(id, execution::Command::Rejudge { call }),
        Holder::Session(id) => Command::Session(id, session::Command::Rejudge { call }),
    }
}

/// Those that a worker is to do, or does, at this moment.
async fn in_flight(app: &App) -> Result<Vec<(Holder, CallId)>, Error> {
    let now = app.committer.now();
    let read = move |sql: &mut dyn tenure_store::sql::Sql| {
        let mut calls = Vec::new();
        for page in 0..PAGES_MAX {
            let owed = tenure_store::owed_now(sql, Kind::Dispatch, now, page * PAGE, PAGE)?;
            let last = owed.len() < PAGE as usize;
            calls.extend(owed.into_iter().filter_map(|(stream, owed)| match owed.obligation {
                Obligation::Dispatch { call, .. } => Holder::of(stream).map(|holder| (holder, call)),
                _ => None,
            }));
            if last {
                break;
            }
        }
        Ok(calls)
    };
    Ok(app.records.reader().read(read).await?)
}
