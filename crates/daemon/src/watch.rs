//! Sends watchers committed events as they are committed, and plain pieces (model text, process output) while they are
//! made. It never makes anyone wait: a reader that is slow misses broadcasts, learns that it did, and reads the store by
//! cursor instead. Nothing here is the truth, and nothing here may be asked for it.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tenure_core::aggregate::{Event, Stream};
use tenure_core::execution::Turn;
use tenure_core::id::{AgentId, CallId, ExecutionId, KeyId, SessionId};
use tenure_core::time::{Stamp, Time};
use tenure_core::{agent, project, session};
use tenure_wire::api::event::{ExecutionEvent, Piece};
use tokio::sync::{broadcast, watch};

/// Committed events that a watcher may lag behind before it reads the store instead.
const EVENTS_MAX: usize = 1024;
/// Revocations that a watcher may lag behind; it looks at its key itself then.
const REVOKED_MAX: usize = 64;
/// Ended calls that whoever waits for one may lag behind; then it looks itself.
const CALLS_MAX: usize = 256;
/// Pieces that a watcher may lag behind before it misses some.
pub const PIECES_MAX: usize = 128;
/// The same for what programs of sessions print, all of them together.
const PRINTED_MAX: usize = 1024;
/// Text of an open turn that is kept for those who join late, in bytes; later text is only sent on.
const SO_FAR_BYTES_MAX: usize = 256 * 1024;
/// What clients of the gateway may lag behind; then they are told to look anew.
const GATEWAY_MAX: usize = 256;
/// Announcements of MCP servers that are kept; a list whose announcement is forgotten is asked for again a minute later.
const ANNOUNCED_MAX: usize = 1024;
/// Executions with an open turn or a present watcher; beyond, a watcher gets events alone.
const OPEN_MAX: usize = 1024;

#[derive(Clone)]
pub struct Watch(Arc<Sources>);

struct Sources {
    events: broadcast::Sender<Arc<ExecutionEvent>>,
    revoked: broadcast::Sender<KeyId>,
    calls: broadcast::Sender<CallId>,
    printed: broadcast::Sender<Arc<Printed>>,
    gateway: broadcast::Sender<GatewayEvent>,
    /// When an MCP server of a session last said that it has other tools. Held for microseconds, never across an await.
    announced: Mutex<HashMap<(SessionId, String), Time>>,
    /// Records on the chain, as far as published.
    records: AtomicU64,
    /// The same, for who waits for more.
    moved: watch::Sender<u64>,
    /// Held for microseconds, never across an await.
    open: Mutex<HashMap<ExecutionId, OpenExecution>>,
    /// Sends nothing; what watchers beyond `OPEN_MAX` hold.
    no_pieces: broadcast::Sender<Piece>,
}

/// What clients of the MCP gateway are told of, or end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayEvent {
    PolicyApplied,
    /// The agent has another revision, which may name other tools.
    Revised(AgentId),
    /// An MCP server in the session's sandbox says that it has other tools.
    Announced(SessionId),
    Ended(SessionId),
}

impl GatewayEvent {
    fn of(stream: Stream, event: &Event) -> Option<GatewayEvent> {
        match (stream, event) {
            (_, Event::Project(project::Event::PolicyApplied { .. })) => Some(GatewayEvent::PolicyApplied),
            (Stream::Agent(id), Event::Agent(agent::Event::Revised(_))) => Some(GatewayEvent::Revised(id)),
            (Stream::Session(id), Event::Session(session::Event::Ended { .. })) => Some(GatewayEvent::Ended(id)),
            _ => None,
        }
    }
}

/// The turn of one execution that is being made, and its watchers. Removed once there is neither.
struct OpenExecution {
    pieces: broadcast::Sender<Piece>,
    watchers: usize,
    turn: Option<Turn>,
    so_far: String,
    /// More came than is kept.
    cut: bool,
}

/// What a program that a session called has printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Printed {
    pub call: CallId,
    pub stderr: bool,
    pub text: String,
    /// Records on the chain when it came: it belongs after those and before all others.
    pub records: u64,
}

/// What one watcher holds. Subscribe before reading history, so that nothing falls between.
pub struct Subscription {
    pub events: broadcast::Receiver<Arc<ExecutionEvent>>,
    pub pieces: broadcast::Receiver<Piece>,
    /// The text of the open turn up to now; pieces go on from there.
    pub so_far: Option<SoFar>,
    counted: Option<(Watch, ExecutionId)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoFar {
    pub text: String,
    /// Text is missing between this and the next piece.
    pub cut: bool,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some((watch, execution)) = self.counted.take() {
            watch.leave(execution);
        }
    }
}

impl Default for Watch {
    fn default() -> Watch {
        Watch::new()
    }
}

impl Watch {
    pub fn new() -> Watch {
        Watch(Arc::new(Sources {
            events: broadcast::Sender::new(EVENTS_MAX),
            revoked: broadcast::Sender::new(REVOKED_MAX),
            calls: broadcast::Sender::new(CALLS_MAX),
            printed: broadcast::Sender::new(PRINTED_MAX),
            gateway: broadcast::Sender::new(GATEWAY_MAX),
            announced: Mutex::default(),
            records: AtomicU64::new(0),
            moved: watch::Sender::new(0),
            open: Mutex::default(),
            no_pieces: broadcast::Sender::new(1),
        }))
    }

    /// Sends watchers one committed event; called after COMMIT, in the ledger's order. It does not block.
    pub fn publish(&self, index: u64, stamp: Stamp, stream: Stream, event: &Event) {
        self.0.records.fetch_max(index + 1, Ordering::Relaxed);
        self.0.moved.send_replace(index + 1);
        // Nobody listening any more is no failure.
        if let (Stream::Execution(id), Event::Execution(event)) = (stream, event)
            && self.0.events.receiver_count() > 0
        {
            let _ = self.0.events.send(Arc::new(ExecutionEvent::of(index, stamp, id, event)));
        }
        if let Some(told) = GatewayEvent::of(stream, event) {
            if let GatewayEvent::Ended(session) = told {
                self.announced().retain(|(of, _), _| *of != session);
            }
            let _ = self.0.gateway.send(told);
        }
        if let Some(call) = ended_call(event) {
            let _ = self.0.calls.send(call);
        }
        if let Event::Project(project::Event::KeyRevoked { key, .. }) = event {
            let _ = self.0.revoked.send(*key);
        }
        if let Event::Agent(agent::Event::KeyRevoked { key }) = event {
            let _ = self.0.revoked.send(*key);
        }
    }

    /// How long the chain is; 0 before the first commit of this life.
    pub fn records(&self) -> u64 {
        self.0.records.load(Ordering::Relaxed)
    }

    /// Changes with each commit.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.0.moved.subscribe()
    }

    /// Keys as they are revoked, so that what they hold open ends at once.
    pub fn revocations(&self) -> broadcast::Receiver<KeyId> {
        self.0.revoked.subscribe()
    }

    /// What may change the tools of clients of the gateway.
    pub fn gateway(&self) -> broadcast::Receiver<GatewayEvent> {
        self.0.gateway.subscribe()
    }

    fn announced(&self) -> MutexGuard<'_, HashMap<(SessionId, String), Time>> {
        self.0.announced.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// An MCP server in a session's sandbox says that it has other tools now.
    pub fn tools_announced(&self, session: SessionId, server: String, at: Time) {
        let mut announced = self.announced();
        if announced.len() >= ANNOUNCED_MAX {
            announced.clear();
        }
        announced.insert((session, server), at);
        drop(announced);
        let _ = self.0.gateway.send(GatewayEvent::Announced(session));
    }

    /// Has it said so since then?
    pub fn is_outdated(&self, session: SessionId, server: &str, asked: Time) -> bool {
        self.announced().get(&(session, server.to_string())).is_some_and(|at| *at >= asked)
    }

    /// Calls of sessions as they end, for whoever waits for one.
    pub fn ended_calls(&self) -> broadcast::Receiver<CallId> {
        self.0.calls.subscribe()
    }

    pub fn subscribe(&self, execution: ExecutionId) -> Subscription {
        let events = self.0.events.subscribe();
        let mut open = self.open();
        if !open.contains_key(&execution) && open.len() >= OPEN_MAX {
            return Subscription { events, pieces: self.0.no_pieces.subscribe(), so_far: None, counted: None };
        }
        let entry = open.entry(execution).or_insert_with(OpenExecution::new);
        entry.watchers += 1;
        let so_far = (!entry.so_far.is_empty()).then(|| SoFar { text: entry.so_far.clone(), cut: entry.cut });
        Subscription { events, pieces: entry.pieces.subscribe(), so_far, counted: Some((self.clone(), execution)) }
    }

    fn leave(&self, execution: ExecutionId) {
        let mut open = self.open();
        if let Some(entry) = open.get_mut(&execution) {
            entry.watchers -= 1;
            if entry.is_unused() {
                open.remove(&execution);
            }
        }
    }

    /// Model text as it comes. A new turn or attempt begins a new text.
    pub fn text(&self, execution: ExecutionId, turn: Turn, text: String) {
        let mut open = self.open();
        if !open.contains_key(&execution) && open.len() >= OPEN_MAX {
            return;
        }
        let entry = open.entry(execution).or_insert_with(OpenExecution::new);
        if entry.turn != Some(turn) {
            entry.begin(Some(turn));
        }
        if entry.so_far.len() + text.len() <= SO_FAR_BYTES_MAX && !entry.cut {
            entry.so_far.push_str(&text);
        } else {
            entry.cut = true;
        }
        // Nobody listening is no failure.
        let _ = entry.pieces.send(Piece::Text { text, so_far: false });
    }

    /// The open turn of this execution is over; its text is in the ledger's reach now.
    pub fn end_text(&self, execution: ExecutionId) {
        let mut open = self.open();
        if let Some(entry) = open.get_mut(&execution) {
            entry.begin(None);
            if entry.is_unused() {
                open.remove(&execution);
            }
        }
    }

    /// What programs of sessions print, for whoever follows what happens to agents.
    pub fn printed(&self) -> broadcast::Receiver<Arc<Printed>> {
        self.0.printed.subscribe()
    }

    pub fn session_output(&self, call: CallId, stderr: bool, text: String) {
        if self.0.printed.receiver_count() > 0 {
            let _ = self.0.printed.send(Arc::new(Printed { call, stderr, text, records: self.records() }));
        }
    }

    pub fn output(&self, execution: ExecutionId, stderr: bool, text: String) {
        if let Some(entry) = self.open().get(&execution) {
            let _ = entry.pieces.send(Piece::Output { stderr, text, of: None });
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ExecutionId, OpenExecution>> {
        self.0.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn ended_call(event: &Event) -> Option<CallId> {
    match event {
        Event::Session(session::Event::CallEnded(ended)) if !ended.outcome.is_again() => Some(ended.call),
        Event::Session(session::Event::CallBlocked { call, .. }) => Some(*call),
        _ => None,
    }
}

impl OpenExecution {
    fn new() -> OpenExecution {
        let pieces = broadcast::Sender::new(PIECES_MAX);
        OpenExecution { pieces, watchers: 0, turn: None, so_far: String::new(), cut: false }
    }

    fn begin(&mut self, turn: Option<Turn>) {
        (self.turn, self.so_far, self.cut) = (turn, String::new(), false);
    }

    fn is_unused(&self) -> bool {
        self.watchers == 0 && self.turn.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::id::Mint;

    fn execution(seed: u128) -> ExecutionId {
        ExecutionId::mint(&mut Mint::new(Time::from_millis(1), seed))
    }

    const TURN: Turn = Turn { iteration: 1, turn: 0, attempt: 1 };

    #[test]
    fn who_joins_late_gets_the_text_so_far_once_and_then_only_what_is_new() {
        let (watch, id) = (Watch::new(), execution(1));
        watch.text(id, TURN, "Hel".into());
        watch.text(id, TURN, "lo".into());
        let mut subscription = watch.subscribe(id);
        assert_eq!(subscription.so_far, Some(SoFar { text: "Hello".into(), cut: false }));
        watch.text(execution(2), TURN, "of another".into());
        watch.text(id, TURN, "!".into());
        assert_eq!(subscription.pieces.try_recv().unwrap(), Piece::Text { text: "!".into(), so_far: false });
        assert!(subscription.pieces.try_recv().is_err());
        watch.end_text(id);
        assert_eq!(watch.subscribe(id).so_far, None);
    }

    #[test]
    fn a_slow_watcher_misses_pieces_and_holds_nobody_up() {
        let (watch, id) = (Watch::new(), execution(1));
        let mut subscription = watch.subscribe(id);
        for _ in 0..PIECES_MAX * 2 {
            watch.text(id, TURN, "x".into());
        }
        assert!(matches!(subscription.pieces.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    }

    #[test]
    fn an_entry_goes_with_its_last_watcher_unless_a_turn_is_open() {
        let watch = Watch::new();
        for seed in 1..100 {
            drop(watch.subscribe(execution(seed)));
        }
        assert_eq!(watch.open().len(), 0, "an idle daemon keeps nothing of who came and went");
        let (first, second) = (watch.subscribe(execution(1)), watch.subscribe(execution(1)));
        drop(first);
        watch.text(execution(1), TURN, "x".into());
        drop(second);
        assert_eq!(watch.subscribe(execution(1)).so_far.as_ref().unwrap().text, "x", "the turn goes on");
        watch.end_text(execution(1));
        assert_eq!(watch.open().len(), 0);
    }

    #[test]
    fn neither_watchers_nor_long_texts_grow_beyond_their_bounds() {
        let watch = Watch::new();
        let mut held: Vec<Subscription> = (0..OPEN_MAX as u128).map(|seed| watch.subscribe(execution(seed))).collect();
        let mut beyond = watch.subscribe(execution(OPEN_MAX as u128));
        assert_eq!(watch.open().len(), OPEN_MAX);
        watch.text(execution(OPEN_MAX as u128), TURN, "x".into());
        assert!(matches!(beyond.pieces.try_recv(), Err(broadcast::error::TryRecvError::Empty)), "it is still open");
        held.truncate(1);
        for _ in 0..3 {
            watch.text(execution(0), TURN, "x".repeat(SO_FAR_BYTES_MAX / 2));
        }
        let so_far = watch.subscribe(execution(0)).so_far.clone().unwrap();
        assert_eq!((so_far.text.len(), so_far.cut), (SO_FAR_BYTES_MAX, true));
    }
}
