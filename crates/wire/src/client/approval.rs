//! Approvals and grants, over the wire.
use http::Method;

use super::{Body, Client, Error, Query, path};
use crate::api::approval::{Approval, ApprovalFile, Approve, Grant, Reject};

impl Client {
    pub async fn approvals(&self, query: Query<'_>, limit: usize) -> Result<Vec<Approval>, Error> {
        self.pages("approvals", query, limit).await
    }

    pub async fn approval(&self, id: &str) -> Result<ApprovalFile, Error> {
        self.json(Method::GET, &path(&["approvals", id], &[]), None, None).await
    }

    pub async fn approve(&self, id: &str, body: &Approve) -> Result<Approval, Error> {
        self.json(Method::POST, &path(&["approvals", id, "approve"], &[]), Some(Body::json(body)), None).await
    }

    pub async fn reject(&self, id: &str, body: &Reject) -> Result<Approval, Error> {
        self.json(Method::POST, &path(&["approvals", id, "reject"], &[]), Some(Body::json(body)), None).await
    }

    pub async fn grants(&self, query: Query<'_>, limit: usize) -> Result<Vec<Grant>, Error> {
        self.pages("grants", query, limit).await
    }

    pub async fn revoke_grant(&self, id: &str) -> Result<Grant, Error> {
        self.json(Method::DELETE, &path(&["grants", id], &[]), None, None).await
    }
}
