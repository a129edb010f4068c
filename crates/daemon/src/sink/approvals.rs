//! What people are asked to allow, told to a webhook: the card, and a signed link that opens it. It follows the ledger as any sink does,
//! so that each is told at least once, in order, under its own id. Must never: hold up the call, or tell what is decided already.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tenure_core::aggregate::Event;
use tenure_core::id::ApprovalId;
use tenure_core::{execution, session};
use tenure_store::events_from;
use tenure_wire::api::approval::ApprovalFile;

use super::Sink;
use super::deliver::{APPROVAL, Delivery, Parcel};
use crate::app::App;
use crate::http::{Link, card};

const PAGE: u32 = 256;
/// One that is refused so often keeps the others no longer; it is on the list of approvals all the same.
const TRIES_MAX: u64 = 10;
/// Longer arguments are looked at elsewhere.
const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

/// The body of one delivery.
#[derive(Debug, Serialize)]
struct Asked {
    kind: &'static str,
    approval: ApprovalFile,
    /// They are too long to be sent.
    arguments_left_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// Delivers what is asked in one page of records. True where there may be more.
pub(super) async fn page(app: &App, sink: &Arc<Sink>, folder: &Path, delivery: &mut Delivery) -> Result<bool, String> {
    let next = sink.next.load(Ordering::Relaxed);
    let reader = app.records.reader().background();
    let records = reader.read(move |sql| events_from(sql, next, PAGE)).await.map_err(|error| error.to_string())?;
    let Some(last) = records.last().map(|record| record.meta.index) else { return Ok(false) };
    for record in &records {
        let Some(approval) = held(&record.event) else { continue };
        let Some(bytes) = body(app, sink, approval).await? else { continue };
        let parcel = Parcel { bytes, media_type: "application/json", name: (APPROVAL, approval.to_string()) };
        if let Err(why) = delivery.deliver(parcel).await {
            let tries = sink.tries.fetch_add(1, Ordering::Relaxed) + 1;
            if tries < TRIES_MAX {
                // What came before it is delivered.
                sink.next.store(record.meta.index, Ordering::Relaxed);
                return Err(why);
            }
            tracing::error!(%approval, why, "the webhook does not take an approval; it is told no more");
        }
        sink.moved(folder, record.meta.index + 1).await?;
    }
    sink.moved(folder, last + 1).await?;
    Ok(records.len() == PAGE as usize)
}

fn held(event: &Event) -> Option<ApprovalId> {
    match event {
        Event::Execution(execution::Event::CallHeld(held)) | Event::Session(session::Event::CallHeld(held)) => {
            Some(held.approval)
        }
        _ => None,
    }
}

/// None where nobody is asked any more.
async fn body(app: &App, sink: &Sink, approval: ApprovalId) -> Result<Option<Vec<u8>>, String> {
    let found = app.records.read(move |txn| card(txn, approval)).await.map_err(|error| error.to_string())?;
    let Some(mut file) = found else { return Ok(None) };
    let Some(expires) = file.approval.expires_at.filter(|expires| expires.0 > app.committer.now().at) else {
        return Ok(None);
    };
    let link = sink.link_base.as_ref().map(|base| {
        let link = Link { approval, expires: expires.0 };
        format!("{base}{}", link.path(app.records.reader().macs()))
    });
    let too_long = file.arguments.as_ref().is_some_and(|arguments| arguments.get().len() > ARGUMENTS_BYTES_MAX);
    if too_long {
        file.arguments = None;
    }
    let asked = Asked { kind: "approval.asked", approval: file, arguments_left_out: too_long, link };
    serde_json::to_vec(&asked).map(Some).map_err(|error| error.to_string())
}
