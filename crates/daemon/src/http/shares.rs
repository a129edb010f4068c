//! What one caller may have in hand at once: so many requests, and so many event streams. What only ends something counts
//! as neither. Must never: keep a caller from ending something because it, or another, has much in hand.
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame, SizeHint};
use tenure_core::actor::Actor;
use tenure_core::id::{AgentId, KeyId};
use tenure_wire::problem::Code;

use super::ApiState;
use super::auth::{AgentCaller, Caller, Peer};
use super::problem::Failure;

/// Requests of one caller that are being answered.
const REQUESTS_MAX: usize = 32;
/// Event streams of one caller, and of one listener: half of its places at most, so that there are always others.
const STREAMS_MAX: usize = 64;
const UNIX_STREAMS_MAX: usize = 64;
const TCP_STREAMS_MAX: usize = 192;

/// The connection has a place of the reserve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserved;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    User(u32),
    Key(KeyId),
    Agent(AgentId),
}

#[derive(Debug)]
pub(super) struct Shares {
    requests: Tally,
    unix_streams: Tally,
    tcp_streams: Tally,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares {
            requests: Tally::new(REQUESTS_MAX, usize::MAX),
            unix_streams: Tally::new(STREAMS_MAX, UNIX_STREAMS_MAX),
            tcp_streams: Tally::new(STREAMS_MAX, TCP_STREAMS_MAX),
        }
    }
}

/// Counts by caller, and in all.
#[derive(Debug, Clone)]
struct Tally {
    each: usize,
    all: usize,
    /// Held for microseconds, never across an await.
    counts: Arc<Mutex<HashMap<Who, usize>>>,
}

/// One that counts until it is dropped.
struct Share {
    who: Who,
    counts: Arc<Mutex<HashMap<Who, usize>>>,
}

impl Tally {
    fn new(each: usize, all: usize) -> Tally {
        Tally { each, all, counts: Arc::default() }
    }

    fn take(&self, who: Who) -> Option<Share> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.get(&who).copied().unwrap_or(0);
        if own >= self.each || counts.values().sum::<usize>() >= self.all {
            return None;
        }
        counts.insert(who, own + 1);
        Some(Share { who, counts: Arc::clone(&self.counts) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.who);
            }
        }
    }
}

/// What a request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It only ends something.
    Ends,
    Stream,
    Other,
}

fn class(method: &Method, path: &str) -> Class {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (method, parts.as_slice()) {
        (&Method::POST, ["v1", "agents", _, "pause" | "kill" | "revoke"])
        | (&Method::POST, ["v1", "executions", _, "cancel"])
        | (
            &Method::DELETE,
            ["v1", "keys" | "agents" | "sessions", _]
            | ["v1", "agent", "session"]
            | ["v1", "agent", "calls", _]
            | ["mcp"],
        ) => Class::Ends,
        (
            &Method::GET,
            ["v1", "executions", _, "events"] | ["v1", "events"] | ["v1", "agent", "events"] | ["mcp", ..],
        ) => Class::Stream,
        _ => Class::Other,
    }
}

/// Lets a request on if its caller has not too much in hand. What nobody was authenticated for is answered at once, and
/// counts by its connection alone.
pub(super) async fn in_turn(State(api): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let class = class(request.method(), request.uri().path());
    if class != Class::Ends && request.extensions().get::<Reserved>().is_some() {
        let detail = "every connection is in use; this one is kept for requests that cancel, revoke or delete";
        let mut response = Failure::from(Code::Overloaded.problem(detail)).into_response();
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    let person = request.extensions().get::<Caller>().and_then(who);
    let who = person.or_else(|| request.extensions().get::<AgentCaller>().map(|caller| Who::Agent(caller.agent)));
    let peer = request.extensions().get::<Peer>().copied();
    let shares = &api.shares;
    let (tally, what) = match (class, peer) {
        (Class::Ends, _) => return next.run(request).await,
        (Class::Stream, Some(Peer::Tcp { .. } | Peer::Tls { .. })) => (&shares.tcp_streams, "event streams"),
        (Class::Stream, Some(Peer::Unix { .. }) | None) => (&shares.unix_streams, "event streams"),
        (Class::Other, _) => (&shares.requests, "requests"),
    };
    let Some(who) = who else { return next.run(request).await };
    let Some(share) = tally.take(who) else {
        let detail = format!(
            "too many {what} are open: {} of one caller at a time, and as many as there are places",
            tally.each
        );
        return Failure::from(Code::Overloaded.problem(detail)).into_response();
    };
    next.run(request).await.map(|body| Body::new(Held { body, _held: share }))
}

fn who(caller: &Caller) -> Option<Who> {
    match caller.actor {
        Actor::Owner { uid } => Some(Who::User(uid)),
        Actor::Key(key) => Some(Who::Key(key)),
        Actor::Link(_) | Actor::Agent(_) | Actor::Worker(_) | Actor::Daemon | Actor::Validator => None,
    }
}

/// A body that holds something until it was sent or given up.
pub(super) struct Held<T> {
    pub(super) body: Body,
    pub(super) _held: T,
}

impl<T: Unpin> hyper::body::Body for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::id::Mint;
    use tenure_core::time::Time;

    #[test]
    fn a_caller_that_has_much_in_hand_leaves_the_others_theirs_and_its_own_comes_back() {
        let tally = Tally::new(3, 5);
        let mut mint = Mint::new(Time::from_millis(1), 1);
        let (one, other) = (Who::Key(KeyId::mint(&mut mint)), Who::User(0));
        let held: Vec<Share> = (0..3).map(|_| tally.take(one).unwrap()).collect();
        assert!(tally.take(one).is_none());
        let others = [tally.take(other).unwrap(), tally.take(other).unwrap()];
        assert!(tally.take(other).is_none(), "in all there are five");
        drop((held, others));
        assert!(tally.take(one).is_some());
        assert_eq!(tally.counts.lock().unwrap().len(), 0, "nothing is kept of who has nothing in hand");
    }

    #[test]
    fn what_ends_something_is_told_by_its_method_and_path() {
        for (method, path) in [
            (Method::POST, "/v1/executions/exe_1/cancel"),
            (Method::DELETE, "/v1/keys/key_1"),
            (Method::DELETE, "/v1/agents/clerk"),
            (Method::POST, "/v1/agents/clerk/kill"),
        ] {
            assert_eq!(class(&method, path), Class::Ends, "{method} {path}");
        }
        for (method, path) in [
            (Method::GET, "/v1/keys/key_1"),
            (Method::POST, "/v1/executions"),
            (Method::POST, "/v1/executions/exe_1/cancel/x"),
            (Method::DELETE, "/v1/keys"),
            (Method::POST, "/v1/agents/clerk/resume"),
        ] {
            assert_eq!(class(&method, path), Class::Other, "{method} {path}");
        }
        assert_eq!(class(&Method::GET, "/v1/executions/exe_1/events"), Class::Stream);
    }
}
