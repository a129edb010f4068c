//! The manifest of a revision, read back from its bound bytes.
use std::sync::Arc;
use tenure_core::id::AgentId;
use tenure_core::manifest::Manifest;
use tenure_store::Readers;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] tenure_store::Error),
    #[error("the {0} is not in the store")]
    Gone(&'static str),
    #[error("stored bytes are no JSON: {0}")]
    Payload(serde_json::Error),
    #[error("a stored manifest cannot be read: {0}")]
    Manifest(String),
}

/// # Errors
/// The revision is not there, or its bytes are not what its event bound.
pub async fn of(readers: &Readers, agent: AgentId, revision: u32) -> Result<Arc<Manifest>, Error> {
    let row = readers.revision(agent, revision).await?.ok_or(Error::Gone("revision"))?;
    let bytes = readers.payload(row.manifest).await?;
    let manifest = Manifest::parse_bytes(&bytes).map_err(|problems| {
        Error::Manifest(problems.first().map(ToString::to_string).unwrap_or_default())
    })?;
    Ok(Arc::new(manifest))
}
