//! What may be used up in a day and a month, over the wire.
use http::Method;

use super::{Body, Client, Error, path};
use crate::api::List;
use crate::api::budget::{Budget, SetBudget};

impl Client {
    /// The limits of an agent, or all that there are: the agents', then the project's.
    pub async fn budgets(&self, agent: Option<String>, limit: usize) -> Result<Vec<Budget>, Error> {
        self.pages_of(&["budgets"], &[("agent", agent)], limit).await
    }

    /// Of an agent, or of the project where that is none. Gives the limits that it has now.
    pub async fn set_budget(&self, agent: Option<&str>, set: &SetBudget) -> Result<List<Budget>, Error> {
        let segments = match agent {
            Some(agent) => vec!["agents", agent, "budget"],
            None => vec!["budgets", "project"],
        };
        self.json(Method::PUT, &path(&segments, &[]), Some(Body::json(set)), None).await
    }
}
