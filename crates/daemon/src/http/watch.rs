//! `/v1/events`: all that happens, or happened after an index, as server-sent events; `/v1/agent/events` is the same of one
//! agent alone. It reads the ledger by cursor and is woken by commits, so that a slow reader slows nobody and misses no event.
//! Between them comes what programs of sessions print, while they print it: plain data, of which a slow reader misses some.
use std::collections::{HashMap, VecDeque};
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
use tenure_core::aggregate::Stream as Aggregate;
use tenure_core::call::Holder;
use tenure_core::id::{AgentId, CallId, KeyId, SessionId};
use tenure_store as store;
use tenure_store::events_from;
use tenure_store::rows::{agents, calls, executions, instances, sessions};
use tenure_store::sql::Sql;
use tenure_wire::api::event::{Piece, Printer, SSE_EVENT, SSE_PIECE};
use tenure_wire::api::watch::WatchEvent;
use tenure_wire::problem::Problem;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Viewer;
use super::body::Params;
use super::number::Number;
use super::problem::Failure;
use crate::presence::Listening;
use crate::watch::Printed;

const PAGE: u32 = 256;
/// Calls of which it is kept whose they are.
const PRINTERS_MAX: usize = 64;
/// Sent in silence, so that both sides notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(watch_all))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WatchParams {
    /// Name, id or short id: what happens to this agent alone.
    agent: Option<String>,
    /// Calls of these capabilities alone; `*` stands for any letters, as in `state.*`.
    capability: Option<String>,
    /// What came after this ledger index too; the Last-Event-ID header goes before it. Without either: from now on.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    after: Option<Number>,
}

/// Follow all that happens to agents: SSE `event` (a `WatchEvent`, id = ledger index), and `piece` (a `Piece`) for what programs of
/// sessions print. It does not end.
#[utoipa::path(
    get, path = "/v1/events", tag = "watch", params(
        WatchParams,
        ("Last-Event-ID" = Option<u64>, Header, minimum = 0, maximum = 9_007_199_254_740_991_i64, description = "Resume after this ledger index")
    ),
    responses((status = 200, body = WatchEvent, content_type = "text/event-stream"), (status = "4XX", body = Problem))
)]
async fn watch_all(
    State(api): State<Arc<ApiState>>,
    Viewer(caller): Viewer,
    Params(params): Params<WatchParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Failure> {
    let after = api.resumed(&headers, params.after.as_ref()).await?;
    let agent = match &params.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let watcher = Watcher { agent, capability: params.capability, key: caller.key(), session: None };
    Ok(follow(api, watcher, after))
}

/// Who watches, and what of all is shown.
pub(super) struct Watcher {
    pub(super) agent: Option<AgentId>,
    pub(super) capability: Option<String>,
    /// What it was let in by; the stream ends with it.
    pub(super) key: Option<KeyId>,
    /// A session that the stream is of, and ends with; it is present meanwhile.
    pub(super) session: Option<(SessionId, Listening)>,
}

pub(super) fn follow(
    api: Arc<ApiState>,
    watcher: Watcher,
    after: Option<u64>,
) -> Sse<impl Stream<Item = Result<Message, Infallible>> + use<>> {
    let (moved, revocations) = (api.app.watch.moved(), api.app.watch.revocations());
    let from = after.map_or_else(|| api.app.watch.records(), |index| index.saturating_add(1));
    let (printed, backlog) = (api.app.watch.printed(), VecDeque::new());
    let printers = HashMap::new();
    let stream = Follow {
        api,
        watcher,
        from,
        backlog,
        moved,
        revocations,
        printed,
        next: None,
        printers,
        gap: false,
        over: false,
    };
    let stream = unfold(stream, async |mut stream| Some((Ok(stream.next().await?), stream)));
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Follow {
    api: Arc<ApiState>,
    watcher: Watcher,
    /// The least index that was not looked at yet.
    from: u64,
    backlog: VecDeque<WatchEvent>,
    moved: watch::Receiver<u64>,
    revocations: Receiver<KeyId>,
    printed: Receiver<Arc<Printed>>,
    /// What was printed and waits for the events that come before it.
    next: Option<Arc<Printed>>,
    /// Whose calls those are that print; none for what is not wanted.
    printers: HashMap<CallId, Option<Printer>>,
    /// Some of what was printed was missed.
    gap: bool,
    over: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if self.next.is_none() {
                match self.printed.try_recv() {
                    Ok(printed) => self.next = Some(printed),
                    Err(TryRecvError::Lagged(_)) => self.gap = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => {}
                }
            }
            if std::mem::take(&mut self.gap) {
                return Some(piece(&Piece::Gap {}));
            }
            let reached = self.backlog.front().map_or(self.from, |event| event.index);
            if let Some(printed) = self.next.take_if(|printed| printed.records <= reached) {
                // A program that prints without a pause must not keep a stream alive whose key is dead.
                if !self.may_go_on() {
                    return None;
                }
                match self.told(&printed).await? {
                    Some(message) => return Some(message),
                    None => continue,
                }
            }
            if let Some(event) = self.backlog.pop_front() {
                let of_own = self.watcher.session.as_ref().is_some_and(|(id, _)| event.session == Some(*id));
                if of_own && event.kind == "session.ended" {
                    self.over = true;
                    self.backlog.clear();
                }
                return Some(message(&event));
            }
            if self.over {
                return None;
            }
            self.moved.mark_unchanged();
            if !self.read().await? {
                self.wait().await?;
            }
        }
    }

    fn may_go_on(&mut self) -> bool {
        loop {
            match self.revocations.try_recv() {
                Ok(key) if self.watcher.key == Some(key) => return false,
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) if self.watcher.key.is_some() => return false,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return !self.api.app.is_closing(),
            }
        }
    }

    /// A page of the ledger; false where there was nothing new.
    async fn read(&mut self) -> Option<bool> {
        let (from, agent, capability) = (self.from, self.watcher.agent, self.watcher.capability.clone());
        let page = self.api.reader().read(move |sql| page(sql, from, agent, capability.as_deref()));
        match page.await {
            Ok((next, events)) => {
                self.backlog.extend(events);
                Some(std::mem::replace(&mut self.from, next) != next)
            }
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be read; the watcher is let go");
                None
            }
        }
    }

    /// A piece of what was printed; the inner None where it is not wanted.
    async fn told(&mut self, printed: &Printed) -> Option<Option<Message>> {
        let call = printed.call;
        if !self.printers.contains_key(&call) {
            let (agent, capability) = (self.watcher.agent, self.watcher.capability.clone());
            let read = self.api.reader().read(move |sql| printer(sql, call, agent, capability.as_deref())).await;
            let read =
                read.inspect_err(|error| tracing::error!(%error, "the ledger cannot be read; the watcher is let go"));
            if self.printers.len() >= PRINTERS_MAX {
                self.printers.clear();
            }
            self.printers.insert(call, read.ok()?);
        }
        let of = self.printers.get(&call).cloned().flatten();
        Some(of.map(|of| piece(&Piece::Output { stderr: printed.stderr, text: printed.text.clone(), of: Some(of) })))
    }

    /// Until there may be more. None ends the stream.
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            () = self.api.app.closing.cancelled() => None,
            revoked = self.revocations.recv() => match revoked {
                Ok(key) if self.watcher.key == Some(key) => None,
                Ok(_) => Some(()),
                // Too many at once to know: a holder of a key joins again, and is asked for it again.
                Err(_) => self.watcher.key.is_none().then_some(()),
            },
            moved = self.moved.changed() => moved.ok(),
            printed = self.printed.recv(), if self.next.is_none() => match printed {
                Ok(printed) => {
                    self.next = Some(printed);
                    Some(())
                }
                Err(RecvError::Lagged(_)) => {
                    self.gap = true;
                    Some(())
                }
                Err(RecvError::Closed) => None,
            },
        }
    }
}

/// What is wanted of a page of records, and the index after it.
fn page(
    sql: &mut dyn Sql,
    from: u64,
    agent: Option<AgentId>,
    capability: Option<&str>,
) -> Result<(u64, Vec<WatchEvent>), store::Error> {
    let records = events_from(sql, from, PAGE)?;
    let next = records.last().map_or(from, |record| record.meta.index + 1);
    let (mut owners, mut events) = (HashMap::new(), Vec::new());
    for record in records {
        let told = WatchEvent::of(record.meta.index, record.meta.stamp, record.meta.stream, &record.event);
        let Some(mut event) = told else { continue };
        let owner = match owners.get(&record.meta.stream) {
            Some(known) => Option::clone(known),
            None => {
                let read = owner(sql, record.meta.stream)?;
                owners.insert(record.meta.stream, read.clone());
                read
            }
        };
        if let Some((id, name)) = owner {
            (event.agent, event.agent_name) = (Some(id), Some(name));
        }
        if agent.is_some() && event.agent != agent {
            continue;
        }
        if let (Some(call), None) = (event.call, &event.capability)
            && let Some(row) = calls::get(sql, call)?
        {
            event.capability = Some(row.capability);
            event.target = row.shown.into();
        }
        let named = event.capability.as_deref();
        if capability.is_none_or(|glob| named.is_some_and(|named| is_like(glob, named))) {
            events.push(event);
        }
    }
    Ok((next, events))
}

/// Whose call it is that prints; none where that is not followed.
fn printer(
    sql: &mut dyn Sql,
    call: CallId,
    agent: Option<AgentId>,
    capability: Option<&str>,
) -> Result<Option<Printer>, store::Error> {
    let Some(row) = calls::get(sql, call)? else { return Ok(None) };
    let Holder::Session(session) = row.holder else { return Ok(None) };
    let Some((owner, agent_name)) = owner(sql, Aggregate::Session(session))? else { return Ok(None) };
    let is_wanted =
        agent.is_none_or(|agent| agent == owner) && capability.is_none_or(|glob| is_like(glob, &row.capability));
    Ok(is_wanted.then_some(Printer { agent: owner, agent_name, session, call }))
}

fn owner(sql: &mut dyn Sql, stream: Aggregate) -> Result<Option<(AgentId, String)>, store::Error> {
    Ok(match stream {
        Aggregate::Agent(id) => agents::get(sql, id)?.map(|row| (id, row.name)),
        Aggregate::Execution(id) => executions::get(sql, id)?.map(|row| (row.agent, row.agent_name)),
        Aggregate::Session(id) => sessions::get(sql, id)?.map(|row| (row.agent, row.agent_name)),
        Aggregate::Instance(id) => instances::get(sql, id)?.map(|row| (row.agent, row.agent_name)),
        Aggregate::Project(_) | Aggregate::Worker(_) | Aggregate::Secret(_) | Aggregate::Package(_) => None,
    })
}

/// `*` stands for any letters, none included.
fn is_like(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

fn message(event: &WatchEvent) -> Message {
    let data = serde_json::to_string(event).expect("invariant: an event is JSON");
    Message::default().event(SSE_EVENT).id(event.index.to_string()).data(data)
}

fn piece(piece: &Piece) -> Message {
    let data = serde_json::to_string(piece).expect("invariant: a piece is JSON");
    Message::default().event(SSE_PIECE).data(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_names_what_it_looks_like() {
        for (glob, name, fits) in [
            ("state.*", "state.persistent.get", true),
            ("*.get", "state.persistent.get", true),
            ("state.*.get", "state.persistent.get", true),
            ("*", "agent.whoami", true),
            ("agent.whoami", "agent.whoami", true),
            ("agent.who", "agent.whoami", false),
            ("state.*.set", "state.persistent.get", false),
            ("a*a", "a", false),
            ("", "agent.whoami", false),
        ] {
            assert_eq!(is_like(glob, name), fits, "{glob} {name}");
        }
    }
}
