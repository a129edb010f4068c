//! What was said, for watchers that asked for text: read back from rows and bound data when an event is sent. Text that was
//! erased is absent. Must never hold a page of history in memory for it: one event at a time.
use serde_json::Value;
use tenure_core::id::ExecutionId;
use tenure_store::rows::{calls, iterations, turns};
use tenure_wire::api::event::{ExecutionEvent, What};

use crate::http::ApiState;
use crate::http::logs::readable;
use crate::reconcile::think::Delta;
use crate::records::{Error, ReadTxn};

const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Of each stream that a program has, of a sentence, and of a validator's reasons.
const PRINTED_BYTES_MAX: usize = 16 * 1024;

/// Puts into the event what was said.
///
/// # Errors
/// The store's.
pub(super) async fn tell(api: &ApiState, mut event: ExecutionEvent) -> Result<ExecutionEvent, Error> {
    let (id, number) = (event.execution, event.iteration.unwrap_or(0));
    match &mut event.what {
        What::ModelAnswered { turn, text, .. } => {
            // Shown turns count from 1, stored ones from 0.
            let turn = turn.saturating_sub(1);
            *text = api.records.read(move |txn| said(txn, id, number, turn)).await?;
        }
        What::CallEnded { call, stdout, stderr, error, .. } => {
            let call = *call;
            let read = api.records.read(move |txn| match calls::get(txn.parts().0, call)? {
                Some(row) => match row.result {
                    Some(result) => readable(txn, result),
                    None => Ok(None),
                },
                None => Ok(None),
            });
            let result: Option<Value> = read.await?.and_then(|result| serde_json::from_str(&result).ok());
            let word = |name: &str| result.as_ref().and_then(|result| result[name].as_str());
            let printed =
                |name: &str| word(name).filter(|text| !text.is_empty()).map(|text| cut(text, PRINTED_BYTES_MAX));
            (*stdout, *stderr, *error) = (printed("stdout"), printed("stderr"), printed("error"));
        }
        What::Validated { place, reasons, .. } => {
            let place = place.saturating_sub(1);
            *reasons = api.records.read(move |txn| why(txn, id, number, place)).await?;
        }
        _ => {}
    }
    Ok(event)
}

fn said(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32, turn: u32) -> Result<Option<String>, Error> {
    let row = turns::page(txn.parts().0, id, iteration, turn, 1)?.into_iter().find(|row| row.turn == turn);
    let Some(row) = row else { return Ok(None) };
    let Some(delta) = readable(txn, row.delta)? else { return Ok(None) };
    let text = serde_json::from_str::<Delta>(&delta).map_err(Error::Payload)?.text;
    Ok(Some(text).filter(|text| !text.is_empty()).map(|text| cut(&text, TEXT_BYTES_MAX)))
}

fn why(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32, place: u32) -> Result<Option<String>, Error> {
    let (sql, blobs) = txn.parts();
    let found = iterations::validations_with_reasons(sql, blobs, id, (iteration, iteration), TEXT_BYTES_MAX)?;
    let own = found.into_iter().find(|entry| entry.row.index == place);
    let reasons = own.and_then(|entry| entry.reasons).filter(|reasons| !reasons.is_empty());
    Ok(reasons.map(|reasons| cut(&reasons, PRINTED_BYTES_MAX)))
}

/// At most `max` bytes and a mark for the rest.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_string();
    }
    format!("{}…", &text[..text.floor_char_boundary(max)])
}
