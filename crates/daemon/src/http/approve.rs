//! `/approve/{token}`: the card of one approval, for whoever has its signed link: a page without script that shows what is asked, and a
//! form that answers it. A link is of one approval, and dies with it.
//! Must never: answer by a GET, which mail scanners and previews send; show part of what is asked with a button to allow it; let a
//! link do more than answer its own approval.
mod link;
mod page;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::RequestExt;
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::approval::PENDING;
use tenure_wire::problem::Code;

pub(crate) use link::Link;

use super::ApiState;
use super::approvals::card;
use super::auth::Peer;
use super::problem::Failure;
use page::{Card, shown, told};

const FORM_BYTES_MAX: usize = 16 * 1024;
pub(super) const PATH: &str = "/approve/{token}";

pub(super) fn methods() -> MethodRouter<Arc<ApiState>> {
    get(show).post(answer)
}

/// What a person does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Approve,
    Reject,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    answer: Word,
    #[serde(default)]
    note: String,
}

/// Shows it, and nothing more.
async fn show(State(api): State<Arc<ApiState>>, request: Request) -> Response {
    match opened(&api, request).await {
        Ok((link, _)) => page_of(&api, link).await.unwrap_or_else(|failure| refused(&failure)),
        Err(failure) => refused(&failure),
    }
}

async fn answer(State(api): State<Arc<ApiState>>, request: Request) -> Response {
    match answered(&api, request).await {
        Ok(sentence) => told(StatusCode::OK, "Answered", &sentence),
        Err(failure) => refused(&failure),
    }
}

async fn answered(api: &Arc<ApiState>, request: Request) -> Result<String, Failure> {
    let (link, request) = opened(api, request).await?;
    let Answered { answer, note } = form(request).await?;
    let item = api.approval(&link.approval.to_string()).await?;
    let approval = link.approval;
    let text = (!note.trim().is_empty()).then(|| note.trim().to_string());
    let command = match answer {
        Word::Approve => {
            let file = api.records.read(move |txn| card(txn, approval)).await?;
            if !file.as_ref().is_some_and(|file| Card::of(file).is_whole()) {
                let hint = "answer by `tenure approval show`, where all of it is shown";
                return Err(Code::CallArgumentsWrong
                    .problem("this page cannot show all that is asked")
                    .hint(hint)
                    .into());
            }
            agent::Command::Approve(agent::Approve { approval, note: text, edited: None, grant: None })
        }
        Word::Reject => agent::Command::Reject { approval, reason: text },
    };
    let approval = api.answer(Actor::Link(approval), item, command).await?.0;
    Ok(format!("{}: {}", approval.status, approval.capability))
}

/// A form is encoded as a query is.
async fn form(request: Request) -> Result<Answered, Failure> {
    let wrong = || Failure::from(Code::BodyWrong.problem("this is no answer of the page's own form"));
    let bytes = to_bytes(request.into_body(), FORM_BYTES_MAX).await.map_err(|_| wrong())?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| wrong())?;
    let uri: Uri = format!("/?{text}").parse().map_err(|_| wrong())?;
    Query::try_from_uri(&uri).map(|Query(answered)| answered).map_err(|_| wrong())
}

/// The link of a request, if it is one of ours whose time is not over. Forged ones are counted as keys that are none.
async fn opened(api: &ApiState, mut request: Request) -> Result<(Link, Request), Failure> {
    let token = request.extract_parts::<Path<String>>().await.map(|Path(token)| token).unwrap_or_default();
    let from = request.extensions().get::<Peer>().and_then(|peer| peer.address());
    // A link cannot be guessed, so that one that is right never waits for those that are not.
    let Some(link) = Link::read(&token, api.reader().macs()) else {
        if let Some(from) = from {
            api.attempts.admit(from, None, Instant::now()).map_err(limited)?;
        }
        return Err(wrong(api, from));
    };
    if link.expires <= api.app.committer.now().at {
        return Err(Code::ApprovalOver.problem("the link's time is over, and so is the approval's").into());
    }
    Ok((link, request))
}

fn limited(_: Duration) -> Failure {
    Code::AuthenticationLimited.problem("too many links or keys that are none came before it").into()
}

fn wrong(api: &ApiState, from: Option<IpAddr>) -> Failure {
    if let Some(from) = from {
        api.attempts.was_wrong(from, None, Instant::now());
    }
    Code::Unauthenticated
        .problem("this is no link of this daemon")
        .hint("open the newest one that you were sent")
        .into()
}

async fn page_of(api: &ApiState, link: Link) -> Result<Response, Failure> {
    let file = api.records.read(move |txn| card(txn, link.approval)).await?;
    let file = file.ok_or_else(|| Code::ApprovalUnknown.problem("there is no such approval any more"))?;
    if file.approval.status != PENDING {
        let sentence = format!("It is {} already; a link shows no more of it.", file.approval.status);
        return Ok(told(StatusCode::OK, "Answered", &sentence));
    }
    Ok(shown(&file))
}

/// For people: the same problem as a page.
fn refused(failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let sentence = format!("{}. What next: {}.", failure.0.detail, failure.0.hint);
    told(status, &failure.0.title, &sentence).into_response()
}

#[cfg(test)]
mod tests;
