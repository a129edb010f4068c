//! The policies that calls are judged by: the applied one compiled at the start, candidates compiled when somebody asks, and recorded
//! calls judged anew. Must never judge a call that is made: that is the decision's alone.
mod past;

pub use past::{CALLS_MAX, Past, counters, learned, recorded, replay};

use crate::app::App;
use crate::records::{Error, ReadTxn, found};
use std::sync::Arc;
use tenure_core::project::Project;
use tenure_core::project::policy::{Applied, PolicyRow};
use tenure_policy::{Bundle, Fault, Policy};
use tenure_store::rows::policies;

/// The one that holds; none where none was applied.
///
/// # Errors
/// The database's.
pub async fn applied(app: &App) -> Result<Option<Applied>, tenure_store::Error> {
    let (project, macs) = (app.committer.project(), app.records.reader().macs().clone());
    let read = move |sql: &mut dyn tenure_store::sql::Sql| tenure_store::fold::<Project>(sql, &macs, project);
    Ok(app.records.reader().read(read).await?.and_then(|project| project.policy))
}

/// Compiles the one that holds. Where that cannot be done no call may be made, and the log says why.
pub async fn load(app: &App) {
    match compiled(app).await {
        Ok(Some(policy)) => app.policies.insert(policy),
        Ok(None) => {}
        Err(why) => {
            tracing::error!(
                why,
                "the policy that holds cannot be used: every call is blocked until another is applied"
            );
        }
    }
}

async fn compiled(app: &App) -> Result<Option<Arc<Policy>>, String> {
    let Some(Applied { number, digest, .. }) = applied(app).await.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let read = app.records.read(move |txn| bundle(txn, number)).await.map_err(|error| error.to_string())?;
    let (_, bundle) = read.ok_or("its documents are gone")?;
    if bundle.digest() != digest {
        return Err("its documents are not those that were applied".to_string());
    }
    let policy = compile(bundle).await.map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        faults.join(" · ")
    })?;
    Ok(Some(policy))
}

/// One that was applied, with its documents; none where there is no such number.
pub fn bundle(txn: &mut ReadTxn<'_>, number: u32) -> Result<Option<(PolicyRow, Bundle)>, Error> {
    let Some(row) = policies::get(txn.parts().0, number)? else { return Ok(None) };
    let bytes = found(txn.bytes(row.bundle))?;
    let bundle = bytes.and_then(|bytes| Bundle::parse(&bytes).ok());
    Ok(bundle.filter(|bundle| bundle.digest().0 == row.digest).map(|bundle| (row, bundle)))
}

/// Aside, since it takes its time.
///
/// # Errors
/// What is wrong with it.
pub async fn compile(bundle: Bundle) -> Result<Arc<Policy>, Vec<Fault>> {
    let compiled = tokio::task::spawn_blocking(move || Policy::compile(&bundle).map(Arc::new)).await;
    compiled.expect("invariant: compiling does not panic")
}
