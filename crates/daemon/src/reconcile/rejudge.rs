//! Owed Rejudge: another policy holds, and what waits for people is judged by it, a page at a time. What began to wait since was
//! judged by it already.
use crate::app::App;
use crate::policy;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::approval::{Listed, PENDING};
use tenure_core::call::Holder;
use tenure_core::item::ItemKind;
use tenure_core::owed::Obligation;
use tenure_core::{execution, project, session};
use tenure_store::rows::items::{self, Filter};

const PAGE: u32 = 256;

pub async fn rejudge(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Project(id), Obligation::Rejudge { number }) = (stream, obligation) else { return Ok(()) };
    // Where the policy could not be loaded nothing is said by it.
    let holds = policy::applied(&app).await?;
    if app.policies.policy(holds.map(|applied| applied.digest)).is_none() {
        return Ok(());
    }
    let mut before = None;
    loop {
        let filter = Filter { agent: None, state: Some(PENDING.to_string()), before };
        let read = move |sql: &mut dyn tenure_store::sql::Sql| items::list(sql, ItemKind::Approval, &filter, PAGE);
        let page = app.records.reader().read(read).await?;
        for listed in page.rows.iter().filter_map(|item| item.parse_data::<Listed>().ok()) {
            let call = listed.call;
            let rejudge = match listed.holder {
                Holder::Execution(id) => Command::Execution(id, execution::Command::Rejudge { call }),
                Holder::Session(id) => Command::Session(id, session::Command::Rejudge { call }),
            };
            app.report_written(Actor::Daemon, rejudge).await?;
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    app.report(Actor::Daemon, Command::Project(id, project::Command::FinishRejudging { number })).await;
    Ok(())
}
