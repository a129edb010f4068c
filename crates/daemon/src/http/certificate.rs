//! The certificate that the API shows: the operator's, read anew when its files change, or one of the daemon's own making.
//! Connections that are open keep what they were begun with. Must never: show a certificate whose key does not fit it, or
//! use a key that others can read.
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::file_stamp::FileStamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tenure_wire::fingerprint::Fingerprint;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const FILE_BYTES_MAX: u64 = 1024 * 1024;
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// In the data directory.
const FOLDER: &str = "tls";
/// A certificate that is known by its fingerprint says nothing by its dates.
const FROM_YEAR: i32 = 2020;
const UNTIL_YEAR: i32 = 9999;

/// Where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM: the certificate with its chain, and its key.
    Files { cert: PathBuf, key: PathBuf },
    /// Made at the first start, kept in the data directory.
    SelfSigned,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path} cannot be read: {why}")]
    Unread { path: PathBuf, why: String },
    #[error("{0} can be read or written by others: chmod 600 it, and where others had it, have a new one made")]
    Open(PathBuf),
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(PathBuf),
    #[error("{path} holds no private key in PEM that can be used: {why}")]
    NoKey { path: PathBuf, why: String },
    #[error("the key in {key} does not fit the certificate in {cert}")]
    Unfit { cert: PathBuf, key: PathBuf },
    #[error("a certificate cannot be made in {path}: {why}")]
    Unmade { path: PathBuf, why: String },
}

/// The one that is shown now.
pub(super) struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    /// Held for microseconds, never across an await.
    current: RwLock<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    /// Of the files as they were looked at last, whatever came of it.
    stamp: [FileStamp; 2],
    /// Why the newest files are not used.
    failure: Option<String>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("cert", &self.cert).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Those of `source`; one of our own is made in `data_dir` where there is none, with `names` in it.
    ///
    /// # Errors
    /// What cannot be used or made.
    pub(super) fn open(
        source: &CertificateSource,
        data_dir: &Path,
        names: Vec<String>,
    ) -> Result<Certificates, CertificateError> {
        let (cert, key) = match source {
            CertificateSource::Files { cert, key } => (cert.clone(), key.clone()),
            CertificateSource::SelfSigned => {
                let folder = data_dir.join(FOLDER);
                if folder.symlink_metadata().is_err() {
                    make(&folder, names).map_err(|why| CertificateError::Unmade { path: folder.clone(), why })?;
                }
                (folder.join("cert.pem"), folder.join("key.pem"))
            }
        };
        let installed = CryptoProvider::get_default().cloned();
        let provider = installed.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let stamp = [&cert, &key].map(|path| FileStamp::of(path));
        let (certified, fingerprint) = load(&cert, &key, &provider)?;
        let current = Current { certified: Arc::new(certified), fingerprint, stamp, failure: None };
        Ok(Certificates { cert, key, provider, current: RwLock::new(current) })
    }

    /// What a listener speaks with. Each handshake is whole: no ticket brings an older certificate back.
    pub(super) fn server(self: &Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut server = builder.with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(server)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.read().fingerprint
    }

    /// Why the newest files are not used, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.read().failure.clone()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the files, and takes what they hold now if that is whole. A certificate that was put before its key is taken
    /// once the key is there.
    pub(super) fn look(&self) {
        let now = [&self.cert, &self.key].map(|path| FileStamp::of(path));
        if now == self.read().stamp {
            return;
        }
        let loaded = load(&self.cert, &self.key, &self.provider);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.stamp = now;
        match loaded {
            Ok((certified, fingerprint)) => {
                tracing::info!(%fingerprint, "new handshakes get the certificate that was put in place");
                (current.certified, current.fingerprint, current.failure) = (Arc::new(certified), fingerprint, None);
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate's files have changed and cannot be used; the one before is shown");
                current.failure = Some(error.to_string());
            }
        }
    }

    /// Looks again and again until `closing`.
    pub(super) async fn follow(self: Arc<Certificates>, closing: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = closing.cancelled() => return,
            }
            let looking = Arc::clone(&self);
            // It fails with the runtime alone.
            let _ = tokio::task::spawn_blocking(move || looking.look()).await;
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.read().certified))
    }
}

fn load(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<(CertifiedKey, Fingerprint), CertificateError> {
    let (chain, _) = bytes_of(cert)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain).filter_map(Result::ok).collect();
    let fingerprint = chain.first().map(|leaf| Fingerprint::of(leaf));
    let fingerprint = fingerprint.ok_or_else(|| CertificateError::NoCertificate(cert.to_path_buf()))?;
    let (secret, mode) = bytes_of(key)?;
    // A group of its own may read it, as with Debian's ssl-cert.
    if mode & 0o037 != 0 {
        return Err(CertificateError::Open(key.to_path_buf()));
    }
    let unusable = |why: String| CertificateError::NoKey { path: key.to_path_buf(), why };
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|error| unusable(error.to_string()))?;
    let signing = provider.key_provider.load_private_key(secret).map_err(|error| unusable(error.to_string()))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((certified, fingerprint)),
        Err(_) => Err(CertificateError::Unfit { cert: cert.to_path_buf(), key: key.to_path_buf() }),
    }
}

fn bytes_of(path: &Path) -> Result<(Vec<u8>, u32), CertificateError> {
    let unread = |why: String| CertificateError::Unread { path: path.to_path_buf(), why };
    // Else a pipe that nobody writes to would be waited for.
    if !std::fs::metadata(path).map_err(|error| unread(error.to_string()))?.is_file() {
        return Err(unread("it is no file".to_string()));
    }
    let file = File::open(path).map_err(|error| unread(error.to_string()))?;
    let mode = file.metadata().map_err(|error| unread(error.to_string()))?.mode();
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unread(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unread(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok((bytes, mode))
}

/// A key and its certificate in a new folder, there as a whole or not at all.
fn make(folder: &Path, names: Vec<String>) -> Result<(), String> {
    let text = |error: rcgen::Error| error.to_string();
    let pair = KeyPair::generate().map_err(text)?;
    let mut params = CertificateParams::new(names).map_err(text)?;
    params.not_before = rcgen::date_time_ymd(FROM_YEAR, 1, 1);
    params.not_after = rcgen::date_time_ymd(UNTIL_YEAR, 12, 31);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "tenure");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&pair).map_err(text)?;
    let io = |error: std::io::Error| error.to_string();
    let partial = folder.with_extension("new");
    match std::fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().mode(0o700).create(&partial).map_err(io)?;
    for (name, text) in [("key.pem", pair.serialize_pem()), ("cert.pem", certificate.pem())] {
        let file = File::options().write(true).create_new(true).mode(0o600).open(partial.join(name));
        file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(io)?;
    }
    std::fs::rename(&partial, folder).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names() -> Vec<String> {
        vec!["localhost".to_string()]
    }

    fn own(folder: &Path) -> Certificates {
        Certificates::open(&CertificateSource::SelfSigned, folder, names()).unwrap()
    }

    /// Puts one file of `from` in the place of that of `to`, as renewing programs do.
    fn put(from: &Path, to: &Path, name: &str) {
        let partial = to.join("partial");
        std::fs::copy(from.join(FOLDER).join(name), &partial).unwrap();
        std::fs::rename(partial, to.join(FOLDER).join(name)).unwrap();
    }

    #[test]
    fn one_of_our_own_is_made_once_for_the_daemons_user_alone_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = own(folder.path()).fingerprint();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let made = folder.path().join(FOLDER);
        assert_eq!((mode(made.clone()), mode(made.join("key.pem"))), (0o700, 0o600));
        assert_eq!(own(folder.path()).fingerprint(), first);
        std::fs::remove_dir_all(&made).unwrap();
        assert_ne!(own(folder.path()).fingerprint(), first, "the control: without it another is made");
    }

    #[test]
    fn a_key_that_others_can_read_and_one_that_does_not_fit_are_refused() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for made in [&folder, &other] {
            own(made.path());
        }
        let key = folder.path().join(FOLDER).join("key.pem");
        let cert = folder.path().join(FOLDER).join("cert.pem");
        let open = |cert: &Path, key: &Path| {
            let source = CertificateSource::Files { cert: cert.to_path_buf(), key: key.to_path_buf() };
            Certificates::open(&source, folder.path(), names()).map(|_| ())
        };
        for (mode, taken) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o602, false)]
        {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let opened = open(&cert, &key);
            assert!(matches!((&opened, taken), (Ok(()), true) | (Err(CertificateError::Open(_)), false)), "{mode:o}");
        }
        let foreign = other.path().join(FOLDER).join("key.pem");
        assert!(matches!(open(&cert, &foreign), Err(CertificateError::Unfit { .. })));
        assert!(matches!(open(&foreign, &foreign), Err(CertificateError::NoCertificate(_))));
        assert!(matches!(open(&cert, &cert), Err(CertificateError::NoKey { .. } | CertificateError::Open(_))));
        assert!(matches!(open(&cert, folder.path()), Err(CertificateError::Unread { .. })));
    }

    #[test]
    fn a_new_certificate_is_taken_once_its_key_is_there_and_until_then_the_one_before_is_shown() {
        let (folder, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (shown, next) = (own(folder.path()), own(new.path()).fingerprint());
        let first = shown.fingerprint();
        put(new.path(), folder.path(), "cert.pem");
        shown.look();
        assert_eq!(shown.fingerprint(), first);
        assert!(shown.failure().unwrap().contains("does not fit"));
        put(new.path(), folder.path(), "key.pem");
        shown.look();
        assert_eq!((shown.fingerprint(), shown.failure()), (next, None));
        let key = folder.path().join(FOLDER).join("key.pem");
        let seen = |mode| {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            shown.look();
            shown.failure().is_none()
        };
        assert_eq!((seen(0o644), seen(0o600)), (false, true), "what the refusal asks for is seen to have been done");
        std::fs::remove_file(folder.path().join(FOLDER).join("cert.pem")).unwrap();
        shown.look();
        assert_eq!(shown.fingerprint(), next, "a file that is gone takes nothing away");
    }
}
