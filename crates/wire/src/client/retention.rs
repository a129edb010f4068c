//! What is kept of ended executions, over the wire.
use http::Method;

use super::{Body, Client, Error, path};
use crate::api::execution::{Erase, ErasedPayload, Execution};
use crate::api::retention::{Retention, SetRetention};
use crate::api::session::Session;

impl Client {
    pub async fn retention(&self) -> Result<Retention, Error> {
        self.json(Method::GET, &path(&["retention"], &[]), None, None).await
    }

    pub async fn set_retention(&self, set: &SetRetention) -> Result<Retention, Error> {
        self.json(Method::PUT, &path(&["retention"], &[]), Some(Body::json(set)), None).await
    }

    /// Erases what an ended execution was told and said.
    pub async fn erase_execution(&self, execution: &str, erase: &Erase) -> Result<Execution, Error> {
        let path = path(&["executions", execution, "erase"], &[]);
        self.json(Method::POST, &path, Some(Body::json(erase)), None).await
    }

    /// Erases one payload that an ended execution or session brought.
    pub async fn erase_payload(&self, payload: &str, erase: &Erase) -> Result<ErasedPayload, Error> {
        let path = path(&["payloads", payload, "erase"], &[]);
        self.json(Method::POST, &path, Some(Body::json(erase)), None).await
    }

    pub async fn session(&self, session: &str) -> Result<Session, Error> {
        self.get(&path(&["sessions", session], &[])).await
    }

    /// Erases what the calls of an ended session were asked and answered.
    pub async fn erase_session(&self, session: &str, erase: &Erase) -> Result<Session, Error> {
        let path = path(&["sessions", session, "erase"], &[]);
        self.json(Method::POST, &path, Some(Body::json(erase)), None).await
    }
}
