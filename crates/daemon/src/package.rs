//! Loading a package: all of it is read and checked each time. Must never believe what was checked before.
use crate::records::{self, Records};
use tenure_core::package::PackageRow;
use tenure_core::package::archive::{self, Opened, Wrong};
use tenure_store::rows::packages;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Records(#[from] records::Error),
    #[error("`{signed_by}`, who signed it, is trusted no more")]
    Untrusted { signed_by: String },
    #[error(transparent)]
    Wrong(Wrong),
    #[error("{why}")]
    Broken { why: String },
}

/// The files of a package whose form, checksums and signature hold, which is what was pushed, and whose publisher is trusted
/// now. Whatever starts a program of a package calls this each time.
///
/// # Errors
/// What does not hold.
pub async fn load(records: &Records, row: &PackageRow) -> Result<Opened, Error> {
    let (archive, key) = (row.archive, row.publisher);
    let read = records.read(move |txn| {
        let publisher = packages::publisher(txn.parts().0, &key)?;
        Ok((txn.bytes(archive)?, publisher))
    });
    let (bytes, publisher) = read.await?;
    let trusted = publisher.and_then(|publisher| publisher.verified(records.reader().macs()).ok());
    let Some(trusted) = trusted else { return Err(Error::Untrusted { signed_by: row.signed_by.clone() }) };
    let pushed = row.contents().map_err(|why| Error::Broken { why })?;
    let load = move |bytes: &[u8]| archive::load(bytes, &pushed, |key| key.to_string() == trusted.key);
    Ok(open(bytes, load).await?.0)
}

/// Opens an archive where it keeps nobody waiting.
pub async fn open(
    bytes: Vec<u8>,
    open: impl FnOnce(&[u8]) -> Result<Opened, Wrong> + Send + 'static,
) -> Result<(Opened, Vec<u8>), Error> {
    let opening = tokio::task::spawn_blocking(move || open(&bytes).map(|opened| (opened, bytes)));
    opening.await.map_err(|error| Error::Broken { why: error.to_string() })?.map_err(Error::Wrong)
}
