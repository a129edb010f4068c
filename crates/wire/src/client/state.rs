//! What agents keep, over the wire: one set of calls for an agent's own values and for those that agents share.
use http::Method;
use serde_json::value::RawValue;

use super::{Body, Client, Error, path};
use crate::api::List;
use crate::api::state::{
    PutAcl, SetQuota, SharedAcl, StateBackup, StateChanges, StateEntry, StateQuota, StateRestored, StateValue,
    StateVersion, StateWritten,
};

/// A value on its way under a key.
#[derive(Debug, Clone, Copy)]
pub struct SetState<'a> {
    pub key: &'a str,
    pub value: &'a RawValue,
    /// The version that it must have now, 0 for none; shared values want one.
    pub expected_version: Option<u64>,
    pub ttl_seconds: Option<u64>,
}

/// Of an agent's values, or of those that agents share.
fn state_path<'a>(agent: Option<&'a str>, rest: &[&'a str]) -> Vec<&'a str> {
    let mut segments = match agent {
        Some(agent) => vec!["agents", agent, "state"],
        None => vec!["state", "shared"],
    };
    segments.extend(rest);
    segments
}

impl Client {
    /// The keys that an agent keeps, or that agents share where `agent` is none.
    pub async fn state(
        &self,
        agent: Option<&str>,
        prefix: Option<String>,
        limit: usize,
    ) -> Result<Vec<StateEntry>, Error> {
        self.pages_of(&state_path(agent, &[]), &[("prefix", prefix)], limit).await
    }

    pub async fn state_value(&self, agent: Option<&str>, key: &str, version: Option<u64>) -> Result<StateValue, Error> {
        let query = [("key", Some(key.to_string())), ("version", version.map(|version| version.to_string()))];
        self.get(&path(&state_path(agent, &["value"]), &query)).await
    }

    pub async fn set_state(&self, agent: Option<&str>, set: SetState<'_>) -> Result<StateWritten, Error> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let query = [
            ("key", Some(set.key.to_string())),
            ("expected_version", number(set.expected_version)),
            ("ttl_seconds", number(set.ttl_seconds)),
        ];
        let body = Body { bytes: set.value.get().as_bytes().to_vec(), media: "application/json" };
        self.json(Method::PUT, &path(&state_path(agent, &["value"]), &query), Some(body), None).await
    }

    pub async fn delete_state(
        &self,
        agent: Option<&str>,
        key: &str,
        expected_version: Option<u64>,
    ) -> Result<StateWritten, Error> {
        let expected = expected_version.map(|version| version.to_string());
        let query = [("key", Some(key.to_string())), ("expected_version", expected)];
        self.json(Method::DELETE, &path(&state_path(agent, &["value"]), &query), None, None).await
    }

    pub async fn state_history(&self, agent: Option<&str>, key: &str) -> Result<List<StateVersion>, Error> {
        self.get(&path(&state_path(agent, &["history"]), &[("key", Some(key.to_string()))])).await
    }

    /// What changed after a cursor; without one only where it stands now.
    pub async fn state_changes(
        &self,
        agent: Option<&str>,
        after: Option<u64>,
        prefix: Option<String>,
    ) -> Result<StateChanges, Error> {
        let query = [("after", after.map(|after| after.to_string())), ("prefix", prefix)];
        self.get(&path(&state_path(agent, &["changes"]), &query)).await
    }

    pub async fn state_quota(&self, agent: Option<&str>) -> Result<StateQuota, Error> {
        self.get(&path(&state_path(agent, &["quota"]), &[])).await
    }

    pub async fn set_state_quota(&self, agent: Option<&str>, quota: &SetQuota) -> Result<StateQuota, Error> {
        self.json(Method::PUT, &path(&state_path(agent, &["quota"]), &[]), Some(Body::json(quota)), None).await
    }

    pub async fn state_backup(&self, agent: &str, prefix: Option<String>) -> Result<StateBackup, Error> {
        self.get(&path(&["agents", agent, "state", "backup"], &[("prefix", prefix)])).await
    }

    /// `backup`: what [`Client::state_backup`] gave, as JSON.
    pub async fn restore_state(&self, agent: &str, backup: Vec<u8>) -> Result<StateRestored, Error> {
        let body = Body { bytes: backup, media: "application/json" };
        self.json(Method::POST, &path(&["agents", agent, "state", "restore"], &[]), Some(body), None).await
    }

    pub async fn acls(&self) -> Result<List<SharedAcl>, Error> {
        self.get(&path(&["state", "shared", "acl"], &[])).await
    }

    pub async fn set_acl(&self, acl: &PutAcl) -> Result<SharedAcl, Error> {
        self.json(Method::PUT, &path(&["state", "shared", "acl"], &[]), Some(Body::json(acl)), None).await
    }

    pub async fn remove_acl(&self, prefix: &str) -> Result<List<SharedAcl>, Error> {
        let query = [("prefix", Some(prefix.to_string()))];
        self.json(Method::DELETE, &path(&["state", "shared", "acl"], &query), None, None).await
    }
}
