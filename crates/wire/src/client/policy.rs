//! Policies, over the wire.
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::{Body, Client, Error, path};
use crate::api::List;
use crate::api::policy::{
    AppliedPolicy, ApplyPolicy, CheckPolicy, ExplainPolicy, ImportPolicy, LearnPolicy, PolicyApplied, PolicyCase,
    PolicyExplanation, PolicyFile, PolicyImported, PolicyLearned, PolicyReplay, PolicyTemplate, ReplayPolicy,
    RollbackPolicy, TestPolicy,
};

/// A million calls may have to be judged.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(120);

impl Client {
    /// The one that holds; of a number, that one.
    pub async fn policy(&self, number: Option<u32>) -> Result<PolicyFile, Error> {
        match number {
            None => self.get(&path(&["policy"], &[])).await,
            Some(number) => self.get(&path(&["policy", "history", &number.to_string()], &[])).await,
        }
    }

    pub async fn policy_history(&self, limit: usize) -> Result<Vec<AppliedPolicy>, Error> {
        self.pages_of(&["policy", "history"], &[], limit).await
    }

    pub async fn policy_templates(&self) -> Result<Vec<PolicyTemplate>, Error> {
        let list: List<PolicyTemplate> = self.get(&path(&["policy", "templates"], &[])).await?;
        Ok(list.items)
    }

    /// The Cedar schema that rules are held against.
    pub async fn policy_schema(&self) -> Result<Value, Error> {
        self.get(&path(&["policy", "schema"], &[])).await
    }

    pub async fn apply_policy(&self, apply: &ApplyPolicy) -> Result<PolicyApplied, Error> {
        self.json(Method::PUT, &path(&["policy"], &[]), Some(Body::json(apply)), None).await
    }

    pub async fn roll_back_policy(&self, rollback: &RollbackPolicy) -> Result<PolicyApplied, Error> {
        self.json(Method::POST, &path(&["policy", "rollback"], &[]), Some(Body::json(rollback)), None).await
    }

    pub async fn check_policy(&self, check: &CheckPolicy) -> Result<PolicyExplanation, Error> {
        self.json(Method::POST, &path(&["policy", "check"], &[]), Some(Body::json(check)), None).await
    }

    /// Of a recorded call.
    pub async fn explain_policy(&self, explain: &ExplainPolicy) -> Result<PolicyExplanation, Error> {
        let path = path(&["policy", "explain"], &[]);
        let request = self.request(Method::POST, &path, Some(Body::json(explain)), None)?;
        self.decode(self.exchange(request, REPLAY_TIMEOUT).await?)
    }

    pub async fn test_policy(&self, test: &TestPolicy) -> Result<Vec<PolicyCase>, Error> {
        let path = path(&["policy", "test"], &[]);
        let list: List<PolicyCase> = self.json(Method::POST, &path, Some(Body::json(test)), None).await?;
        Ok(list.items)
    }

    pub async fn replay_policy(&self, replay: &ReplayPolicy) -> Result<PolicyReplay, Error> {
        let path = path(&["policy", "replay"], &[]);
        let request = self.request(Method::POST, &path, Some(Body::json(replay)), None)?;
        self.decode(self.exchange(request, REPLAY_TIMEOUT).await?)
    }

    /// Rules that recorded calls ask for. Nothing is applied.
    pub async fn learn_policy(&self, learn: &LearnPolicy) -> Result<PolicyLearned, Error> {
        let path = path(&["policy", "learn"], &[]);
        let request = self.request(Method::POST, &path, Some(Body::json(learn)), None)?;
        self.decode(self.exchange(request, REPLAY_TIMEOUT).await?)
    }

    /// The settings of another tool as rules. Nothing is applied.
    pub async fn import_policy(&self, import: &ImportPolicy) -> Result<PolicyImported, Error> {
        self.json(Method::POST, &path(&["policy", "import"], &[]), Some(Body::json(import)), None).await
    }
}
