//! The programs of code agents.
use http::Method;

use super::{Client, Error, path};
use crate::api::instance::{Inspection, Instance};

impl Client {
    pub async fn instance(&self, agent: &str) -> Result<Instance, Error> {
        self.get(&path(&["agents", agent, "instance"], &[])).await
    }

    pub async fn start_instance(&self, agent: &str) -> Result<Instance, Error> {
        self.json(Method::PUT, &path(&["agents", agent, "instance"], &[]), None, None).await
    }

    pub async fn stop_instance(&self, agent: &str) -> Result<Instance, Error> {
        self.json(Method::DELETE, &path(&["agents", agent, "instance"], &[]), None, None).await
    }

    pub async fn check_instance(&self, agent: &str) -> Result<Instance, Error> {
        self.json(Method::POST, &path(&["agents", agent, "instance", "check"], &[]), None, None).await
    }

    pub async fn inspect_instance(&self, agent: &str) -> Result<Inspection, Error> {
        self.get(&path(&["agents", agent, "instance", "inspection"], &[])).await
    }
}
