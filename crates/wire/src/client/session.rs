//! Sessions and conversations: agents that are connected from outside, and people who talk with one, over the wire.
use http::Method;
use serde_json::Value;
use tenure_core::briefing::Briefing;
use tenure_core::id::CallId;

use super::{Body, Client, Error, EventStream, Query, path};
use crate::api::List;
use crate::api::conversation::{Conversation, ConversationFile, Said, Say};
use crate::api::session::{Answered, Invoke, OpenedSession, Session, SessionCall, Whoami};
use crate::api::watch::WatchEvent;

impl Client {
    pub async fn sessions(&self, query: Query<'_>, limit: usize) -> Result<Vec<Session>, Error> {
        self.pages("sessions", query, limit).await
    }

    pub async fn close_session(&self, id: &str) -> Result<Session, Error> {
        self.json(Method::DELETE, &path(&["sessions", id], &[]), None, None).await
    }

    /// Begins a conversation with an agent.
    pub async fn begin_conversation(&self, agent: &str, say: &Say) -> Result<Said, Error> {
        self.json(Method::POST, &path(&["agents", agent, "conversations"], &[]), Some(Body::json(say)), None).await
    }

    pub async fn say(&self, conversation: &str, say: &Say) -> Result<Said, Error> {
        self.json(Method::POST, &path(&["conversations", conversation], &[]), Some(Body::json(say)), None).await
    }

    /// The newest of an agent's conversations, at most `limit`, of a page's length at most.
    pub async fn conversations(&self, agent: &str, limit: u32) -> Result<List<Conversation>, Error> {
        self.get(&path(&["agents", agent, "conversations"], &[("limit", Some(limit.to_string()))])).await
    }

    pub async fn conversation(&self, id: &str) -> Result<ConversationFile, Error> {
        self.get(&path(&["conversations", id], &[])).await
    }

    /// With an agent's key, as all that follows up to `own_events`: the agent is connected from now on.
    pub async fn open_session(&self) -> Result<OpenedSession, Error> {
        self.json(Method::POST, &path(&["agent", "session"], &[]), None, None).await
    }

    pub async fn end_session(&self) -> Result<Session, Error> {
        self.json(Method::DELETE, &path(&["agent", "session"], &[]), None, None).await
    }

    /// What its holder missed.
    pub async fn own_briefing(&self) -> Result<Briefing, Error> {
        self.get(&path(&["agent", "briefing"], &[])).await
    }

    pub async fn whoami(&self) -> Result<Whoami, Error> {
        self.get(&path(&["agent", "whoami"], &[])).await
    }

    /// What may be called now, with its schemas.
    pub async fn offered(&self) -> Result<List<Value>, Error> {
        self.get(&path(&["agent", "capabilities"], &[])).await
    }

    /// What came of a call, or where it stands once it was waited for.
    pub async fn invoke(&self, invoke: &Invoke) -> Result<Answered, Error> {
        self.json(Method::POST, &path(&["agent", "invoke"], &[]), Some(Body::json(invoke)), None).await
    }

    /// Where a call stands, waiting for its end.
    pub async fn session_call(&self, call: CallId, wait_ms: u64) -> Result<SessionCall, Error> {
        let query = [("wait_ms", Some(wait_ms.to_string()))];
        self.get(&path(&["agent", "calls", &call.to_string()], &query)).await
    }

    /// Takes a call back.
    pub async fn cancel_call(&self, call: CallId) -> Result<SessionCall, Error> {
        self.json(Method::DELETE, &path(&["agent", "calls", &call.to_string()], &[]), None, None).await
    }

    /// What happens to the agent from now on, or after `after`, until its session ends.
    pub fn own_events(&self, after: Option<u64>) -> EventStream<WatchEvent> {
        EventStream::new(self.clone(), path(&["agent", "events"], &[]), after)
    }
}
