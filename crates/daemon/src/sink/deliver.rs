//! How records leave: appended to a file and synced, or sent to a URL with a signature that only who knows the secret makes. Must
//! never: send records in clear over a network, or a secret at all.
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const SECRET_BYTES_MAX: u64 = 4096;
const SECRET_BYTES_MIN: usize = 16;
/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a dot and the body.
const SIGNATURE: &str = "tenure-signature";
/// The first and the last index.
pub(super) const RECORDS: &str = "tenure-records";

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    File(PathBuf),
    Webhook {
        url: String,
        /// A file that holds what both sides know.
        secret: PathBuf,
    },
    /// What people are asked to allow, instead of records.
    Approvals {
        url: String,
        secret: PathBuf,
        /// What the links begin with; without it, where the API listens.
        link_base: Option<String>,
    },
}

/// Why a target cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the webhook's address is no http or https URL")]
    Url,
    #[error("the webhook is not on this host, and its address is not https: records would go in clear")]
    InClear,
    #[error("the HTTPS client does not start: {0}")]
    Client(String),
}

impl Target {
    pub fn kind(&self) -> &'static str {
        match self {
            Target::File(_) => "file",
            Target::Webhook { .. } => "webhook",
            Target::Approvals { .. } => "approvals",
        }
    }

    /// Without what a URL may hold beside its place.
    pub fn shown(&self) -> String {
        match self {
            Target::File(path) => path.display().to_string(),
            Target::Webhook { url, .. } | Target::Approvals { url, .. } => match reqwest::Url::parse(url) {
                Ok(url) => format!("{}{}", url.origin().ascii_serialization(), url.path()),
                Err(_) => "no URL".to_string(),
            },
        }
    }

    /// # Errors
    /// Why it cannot be used.
    pub fn check(&self) -> Result<(), Refused> {
        let (url, link_base) = match self {
            Target::File(_) => return Ok(()),
            Target::Webhook { url, .. } => (url, None),
            Target::Approvals { url, link_base, .. } => (url, link_base.as_ref()),
        };
        link_base.map_or(Ok(()), |base| check_url(base))?;
        check_url(url)
    }
}

/// Whoever is on the way must not read what goes there.
fn check_url(url: &str) -> Result<(), Refused> {
    let url = reqwest::Url::parse(url).map_err(|_| Refused::Url)?;
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) | ("http", Some("127.0.0.1" | "localhost" | "[::1]")) => Ok(()),
        ("http", Some(_)) => Err(Refused::InClear),
        (_, _) => Err(Refused::Url),
    }
}

/// The approval, by which whoever takes it twice knows it again.
pub(super) const APPROVAL: &str = "tenure-approval";

/// What goes in one delivery.
pub(super) struct Parcel {
    pub(super) bytes: Vec<u8>,
    pub(super) media_type: &'static str,
    /// A header that names it.
    pub(super) name: (&'static str, String),
}

pub(super) enum Delivery {
    File(PathBuf),
    Webhook { url: String, secret: PathBuf, client: reqwest::Client },
}

impl Delivery {
    pub(super) fn new(target: Target) -> Result<Delivery, Refused> {
        target.check()?;
        Ok(match target {
            Target::File(path) => Delivery::File(path),
            Target::Webhook { url, secret } | Target::Approvals { url, secret, .. } => {
                let builder = reqwest::Client::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .timeout(TIMEOUT)
                    .redirect(reqwest::redirect::Policy::none())
                    .retry(reqwest::retry::never())
                    .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")));
                let client = builder.build().map_err(|error| Refused::Client(error.to_string()))?;
                Delivery::Webhook { url, secret, client }
            }
        })
    }

    /// Resolves once they are kept there.
    pub(super) async fn deliver(&mut self, parcel: Parcel) -> Result<(), String> {
        let Parcel { bytes: lines, media_type, name: (header, name) } = parcel;
        match self {
            Delivery::File(path) => {
                let path = path.clone();
                let written = tokio::task::spawn_blocking(move || append(&path, &lines)).await;
                written.map_err(|error| error.to_string())?.map_err(|error| format!("it cannot be written: {error}"))
            }
            Delivery::Webhook { url, secret, client } => {
                let secret = read_secret(secret)?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let signature = sign(secret.expose_secret(), now, &lines);
                let request = client
                    .post(url.as_str())
                    .header("content-type", media_type)
                    .header(SIGNATURE, format!("t={now},v1={signature}"))
                    .header(header, name)
                    .body(lines);
                // The error's own text may repeat the address with what it holds.
                let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
                match answer.status() {
                    status if status.is_success() => Ok(()),
                    status => Err(format!("it answers {status}")),
                }
            }
        }
    }
}

fn sign(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("invariant: HMAC takes a key of any length");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// What is appended is whole lines: one that a crash cut is ended first.
fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(lines)?;
    file.sync_data()
}

/// Read each time, so that it may change; for its owner alone.
fn read_secret(path: &Path) -> Result<SecretSlice<u8>, String> {
    let failed = |error: std::io::Error| format!("its secret {} cannot be read: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(format!("its secret {} is open to others: chmod 600 it", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let secret = bytes.trim_ascii();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("its secret {} has fewer than {SECRET_BYTES_MIN} bytes", path.display()));
    }
    Ok(SecretSlice::from(secret.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "c9fb4393062fc8a8b6c904604b44d36ad9c40320e4bde938922da1c8cf5f7758";

    fn webhook(url: &str) -> Target {
        Target::Webhook { url: url.to_string(), secret: PathBuf::new() }
    }

    #[test]
    fn records_go_in_clear_to_this_host_alone_and_an_address_is_shown_without_what_it_holds() {
        assert_eq!(webhook("https://siem.example/in?token=x").check(), Ok(()));
        assert_eq!(webhook("http://127.0.0.1:9/in").check(), Ok(()));
        assert_eq!(webhook("http://siem.example/in").check(), Err(Refused::InClear));
        assert_eq!(webhook("ftp://siem.example").check(), Err(Refused::Url));
        assert_eq!(webhook("https://me:secret@siem.example/in?token=x").shown(), "https://siem.example/in");
    }

    #[test]
    fn the_signature_is_hmac_sha256_over_time_and_body() {
        // As `printf '7.body' | openssl dgst -sha256 -hmac secret` has it.
        assert_eq!(sign(b"secret", 7, b"body"), SIGNED);
        assert_ne!(sign(b"secret", 8, b"body"), SIGNED);
    }

    #[test]
    fn a_line_that_a_crash_cut_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sink.jsonl");
        std::fs::write(&path, "{\"whole\":1}\n{\"cut").unwrap();
        append(&path, b"{\"next\":1}\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"whole\":1}\n{\"cut\n{\"next\":1}\n");
    }
}
