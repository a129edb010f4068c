//! What is in force.
use super::{Client, Error, path};
use crate::api::doctor::Diagnosis;

impl Client {
    pub async fn doctor(&self) -> Result<Diagnosis, Error> {
        self.get(&path(&["doctor"], &[])).await
    }

    /// `input`: JSON.
    pub async fn agent_doctor(
        &self,
        name: &str,
        capability: Option<&str>,
        input: Option<&str>,
    ) -> Result<Diagnosis, Error> {
        let query = [("capability", capability.map(str::to_owned)), ("input", input.map(str::to_owned))];
        self.get(&path(&["agents", name, "doctor"], &query)).await
    }
}
