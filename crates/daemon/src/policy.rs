//! The policies that calls are judged by: the applied one compiled at the start, candidates compiled when somebody asks, and recorded
//! calls judged anew. Must never judge a call that is made: that is the decision's alone.
mod documents;
mod past;

pub use documents::{bundle_of, documents_of, faults, invalid, validate_alone};
pub use past::{CALLS_MAX, Past, counters, learned, recorded, replay};

use crate::app::App;
use crate::records::{Error, ReadTxn, found};
use std::collections::BTreeSet;
use std::sync::Arc;
use tenure_core::project::Project;
use tenure_core::project::policy::{Applied, PolicyRow};
use tenure_policy::{Bundle, Fault, KnownNames, Policy};
use tenure_store::rows::{agents, policies};

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

/// Agents that names are looked for among; where there are more, nobody says that one is none.
const AGENTS_MAX: u32 = 10_000;

/// The agents that there are, and the MCP servers that their manifests name.
///
/// # Errors
/// The database's.
pub fn known_names(txn: &mut ReadTxn<'_>) -> Result<KnownNames, Error> {
    let page = agents::list(txn.parts().0, &agents::Filter::default(), AGENTS_MAX)?;
    if page.next.is_some() {
        return Ok(KnownNames::default());
    }
    let mut servers = BTreeSet::new();
    for agent in &page.rows {
        if let Some(plan) = found(txn.plan(agent.id, agent.standing.revision))? {
            servers.extend(plan.mcp.iter().map(|server| server.name.clone()));
        }
    }
    let agents = page.rows.into_iter().map(|agent| agent.name).collect();
    Ok(KnownNames { agents: Some(agents), servers: Some(servers) })
}

/// Aside, since it takes its time.
///
/// # Errors
/// What is wrong with it.
pub async fn compile(bundle: Bundle) -> Result<Arc<Policy>, Vec<Fault>> {
    let compiled = tokio::task::spawn_blocking(move || Policy::compile(&bundle).map(Arc::new)).await;
    compiled.expect("invariant: compiling does not panic")
}
