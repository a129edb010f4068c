//! Packages and their publishers, over the wire.
use http::Method;

use super::{Body, Client, Error, path};
use crate::api::package::{KeptPackage, NewPublisher, PackagePublisher, PushedPackage, VerifiedPackage};

impl Client {
    pub async fn push_package(&self, archive: Vec<u8>) -> Result<PushedPackage, Error> {
        let body = Body { bytes: archive, media: "application/octet-stream" };
        self.json(Method::POST, &path(&["packages"], &[]), Some(body), None).await
    }

    pub async fn packages(&self, limit: usize) -> Result<Vec<KeptPackage>, Error> {
        self.pages_of(&["packages"], &[], limit).await
    }

    pub async fn package(&self, package: &str) -> Result<KeptPackage, Error> {
        self.json(Method::GET, &path(&["packages", package], &[]), None, None).await
    }

    /// Has the daemon read the archive again and check all of it.
    pub async fn verify_package(&self, package: &str) -> Result<VerifiedPackage, Error> {
        self.json(Method::GET, &path(&["packages", package, "verification"], &[]), None, None).await
    }

    pub async fn publishers(&self) -> Result<Vec<PackagePublisher>, Error> {
        self.json(Method::GET, &path(&["publishers"], &[]), None, None).await
    }

    pub async fn trust_publisher(&self, new: &NewPublisher) -> Result<PackagePublisher, Error> {
        self.json(Method::POST, &path(&["publishers"], &[]), Some(Body::json(new)), None).await
    }

    /// `publisher`: its name or key.
    pub async fn remove_publisher(&self, publisher: &str) -> Result<PackagePublisher, Error> {
        self.json(Method::DELETE, &path(&["publishers", publisher], &[]), None, None).await
    }
}
