//! `/v1/executions/{id}/events`: an execution's history, then its present, as server-sent events. A committed event's
//! id is its ledger index, and a stream is resumed after it; plain pieces bear none.
mod told;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event as Message, KeepAlive};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use tenure_core::aggregate::{Member, Stream as Aggregate};
use tenure_core::execution::Execution;
use tenure_core::id::{ExecutionId, KeyId};
use tenure_store::rows::executions;
use tenure_store::{events_from, events_of};
use tenure_wire::api::event::{ExecutionEvent, Piece, SSE_EVENT, SSE_PIECE};
use tenure_wire::problem::{Code, Problem};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Viewer;
use super::body::{Params, Segment};
use super::number::{INDEX_MAX, Number};
use super::problem::Failure;
use crate::watch::{PIECES_MAX, Subscription};

const PAGE: u32 = 256;
/// Sent in silence, so that both sides notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventParams {
    /// Only what came after this ledger index; the Last-Event-ID header goes before it.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    after: Option<Number>,
    /// `true`: events bring what models said, what programs printed and why validators were not content.
    text: Option<bool>,
}

/// Follow an execution until it ends: SSE `event` (an `ExecutionEvent`, id = ledger index) and `piece` (a `Piece`).
#[utoipa::path(
    get, path = "/v1/executions/{execution}/events", tag = "executions",
    params(
        ("execution" = String, Path, description = "Id or short id"), EventParams,
        ("Last-Event-ID" = Option<u64>, Header, minimum = 0, maximum = 9_007_199_254_740_991_i64, description = "Resume after this ledger index")
    ),
    responses((status = 200, body = ExecutionEvent, content_type = "text/event-stream"), (status = "4XX", body = Problem))
)]
async fn events(
    State(api): State<Arc<ApiState>>,
    Viewer(caller): Viewer,
    Segment(wanted): Segment,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Failure> {
    let after = api.resumed(&headers, params.after.as_ref()).await?;
    let id = api.execution(&wanted).await?.id;
    let text = params.text.unwrap_or(false);
    let stream = EventStream::new(api, id, after, text, caller.key());
    let stream = unfold(stream, async |mut stream| Some((Ok(stream.next().await?), stream)));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl ApiState {
    /// Where a stream goes on, by its header or else its parameter.
    pub(super) async fn resumed(&self, headers: &HeaderMap, after: Option<&Number>) -> Result<Option<u64>, Failure> {
        Ok(match (headers.get(LAST_EVENT_ID), after) {
            (Some(value), after) => {
                if let Some(after) = after {
                    after.within("after", 0..=INDEX_MAX)?;
                }
                let text =
                    value.to_str().map_err(|_| Code::ParameterWrong.problem("the Last-Event-ID header is no text"))?;
                Some(self.read_up_to("Last-Event-ID", &Number::new(text)).await?)
            }
            (None, Some(after)) => Some(self.read_up_to("after", after).await?),
            (None, None) => None,
        })
    }

    /// The index after which a reader goes on. Where no record has it yet, nothing can have been read up to there.
    async fn read_up_to(&self, name: &str, stated: &Number) -> Result<u64, Failure> {
        let index = stated.within(name, 0..=INDEX_MAX)?;
        if self.reader().read(move |sql| events_from(sql, index, 1)).await?.is_empty() {
            let detail = format!("`{name}` is {index}, and the ledger has no record of that index yet");
            return Err(Code::ParameterOutOfRange.problem(detail).into());
        }
        Ok(index)
    }
}

/// How far one watcher is: first the history from the store, then what is published.
struct EventStream {
    api: Arc<ApiState>,
    execution: ExecutionId,
    /// The least index that was not sent yet.
    from: u64,
    /// Events bring what was said.
    text: bool,
    backlog: VecDeque<ExecutionEvent>,
    source: Source,
    subscription: Subscription,
    /// Pieces sent since an event was looked for first.
    pieces_in_a_row: usize,
    /// Text is missing after the text so far.
    gap: bool,
    key: Option<KeyId>,
    revocations: Receiver<KeyId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Store,
    Live,
    /// Nothing comes after what is in the backlog.
    Over,
}

impl EventStream {
    fn new(
        api: Arc<ApiState>,
        execution: ExecutionId,
        after: Option<u64>,
        text: bool,
        key: Option<KeyId>,
    ) -> EventStream {
        let subscription = api.app.watch.subscribe(execution);
        let revocations = api.app.watch.revocations();
        let from = after.map_or(0, |index| index.saturating_add(1));
        let backlog = VecDeque::new();
        EventStream {
            api,
            execution,
            from,
            text,
            backlog,
            source: Source::Store,
            subscription,
            pieces_in_a_row: 0,
            gap: false,
            key,
            revocations,
        }
    }

    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(event) = self.backlog.pop_front() {
                self.from = event.index + 1;
                if event.ends() {
                    self.source = Source::Over;
                    self.backlog.clear();
                }
                return self.told(event).await.as_ref().map(message);
            }
            match self.source {
                Source::Over => return None,
                Source::Store => self.read().await?,
                Source::Live => {
                    if let Some(so_far) = self.subscription.so_far.take() {
                        self.gap = so_far.cut;
                        return Some(piece(&Piece::Text { text: so_far.text, so_far: true }));
                    }
                    if std::mem::take(&mut self.gap) {
                        return Some(piece(&Piece::Gap {}));
                    }
                    if let Some(message) = self.live().await? {
                        return Some(message);
                    }
                }
            }
        }
    }

    /// A page of history. The end of the execution is seen in the same moment of the database, so that none is missed.
    async fn read(&mut self) -> Option<()> {
        let (id, from) = (self.execution, self.from);
        let page = self.api.reader().read(move |sql| {
            let ended = executions::get(sql, id)?.is_none_or(|entry| entry.ended_at.is_some());
            Ok((events_of(sql, Aggregate::Execution(id), from, PAGE)?, ended))
        });
        let (records, ended) = match page.await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, execution = %id, "its history cannot be read; the watcher is let go");
                return None;
            }
        };
        if records.len() < PAGE as usize {
            self.source = if ended { Source::Over } else { Source::Live };
        }
        self.backlog.extend(records.iter().filter_map(|record| {
            let event = Execution::read(&record.event)?;
            Some(ExecutionEvent::of(record.meta.index, record.meta.stamp, id, event))
        }));
        Some(())
    }

    /// The event with what was said, where that is wanted; nothing where it cannot be read.
    async fn told(&self, event: ExecutionEvent) -> Option<ExecutionEvent> {
        if !self.text {
            return Some(event);
        }
        let id = self.execution;
        let told = told::tell(&self.api, event).await;
        told.map_err(
            |error| tracing::error!(%error, execution = %id, "what was said cannot be read; the watcher is let go"),
        )
        .ok()
    }

    /// What was said before an event comes before it; so much of it at a time that events are not kept back.
    async fn live(&mut self) -> Option<Option<Message>> {
        if self.pieces_in_a_row < PIECES_MAX {
            match self.subscription.pieces.try_recv() {
                Ok(made) => {
                    self.pieces_in_a_row += 1;
                    return Some(Some(piece(&made)));
                }
                Err(TryRecvError::Lagged(_)) => return Some(Some(piece(&Piece::Gap {}))),
                Err(TryRecvError::Empty | TryRecvError::Closed) => {}
            }
        }
        self.pieces_in_a_row = 0;
        self.wait().await
    }

    /// Waits for what comes. The outer `None` ends the stream, the inner one says that the backlog or source changed.
    async fn wait(&mut self) -> Option<Option<Message>> {
        tokio::select! {
            biased;
            () = self.api.app.closing.cancelled() => None,
            revoked = self.revocations.recv() => match revoked {
                Ok(key) if self.key == Some(key) => None,
                Ok(_) => Some(None),
                // Too many at once to know: a holder of a key joins again, and is asked for it again.
                Err(_) if self.key.is_some() => None,
                Err(_) => Some(None),
            },
            event = self.subscription.events.recv() => match event {
                Ok(event) => {
                    if event.execution == self.execution && event.index >= self.from {
                        self.backlog.push_back(event.as_ref().clone());
                    }
                    Some(None)
                }
                Err(RecvError::Lagged(_)) => {
                    self.source = Source::Store;
                    Some(None)
                }
                Err(RecvError::Closed) => None,
            },
            made = self.subscription.pieces.recv() => match made {
                Ok(made) => Some(Some(piece(&made))),
                Err(RecvError::Lagged(_)) => Some(Some(piece(&Piece::Gap {}))),
                Err(RecvError::Closed) => None,
            },
        }
    }
}

fn message(event: &ExecutionEvent) -> Message {
    let data = serde_json::to_string(event).expect("invariant: an event is JSON");
    Message::default().event(SSE_EVENT).id(event.index.to_string()).data(data)
}

fn piece(piece: &Piece) -> Message {
    let data = serde_json::to_string(piece).expect("invariant: a piece is JSON");
    Message::default().event(SSE_PIECE).data(data)
}
