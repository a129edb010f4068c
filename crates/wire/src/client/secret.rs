//! Secrets, over the wire.
use http::Method;

use super::{Body, Client, Error, path};
use crate::api::secret::{BindSecret, KeptSecret, NewSecret, RotateSecret};

impl Client {
    pub async fn set_secret(&self, new: &NewSecret) -> Result<KeptSecret, Error> {
        self.json(Method::POST, &path(&["secrets"], &[]), Some(Body::json(new)), None).await
    }

    /// `all`: revoked ones too.
    pub async fn secrets(&self, all: bool, limit: usize) -> Result<Vec<KeptSecret>, Error> {
        self.pages_of(&["secrets"], &[("all", all.then(|| "true".to_string()))], limit).await
    }

    pub async fn secret(&self, secret: &str) -> Result<KeptSecret, Error> {
        self.json(Method::GET, &path(&["secrets", secret], &[]), None, None).await
    }

    pub async fn rotate_secret(&self, secret: &str, rotate: &RotateSecret) -> Result<KeptSecret, Error> {
        self.json(Method::PUT, &path(&["secrets", secret, "value"], &[]), Some(Body::json(rotate)), None).await
    }

    pub async fn revoke_secret(&self, secret: &str) -> Result<KeptSecret, Error> {
        self.json(Method::DELETE, &path(&["secrets", secret], &[]), None, None).await
    }

    pub async fn bind_secret(&self, secret: &str, bind: &BindSecret) -> Result<KeptSecret, Error> {
        self.json(Method::POST, &path(&["secrets", secret, "bindings"], &[]), Some(Body::json(bind)), None).await
    }

    /// `host`: of one binding; none: all of the agent's.
    pub async fn unbind_secret(&self, secret: &str, agent: &str, host: Option<&str>) -> Result<KeptSecret, Error> {
        let query = [("agent", Some(agent.to_string())), ("host", host.map(str::to_string))];
        self.json(Method::DELETE, &path(&["secrets", secret, "bindings"], &query), None, None).await
    }
}
