//! Where the master key comes from: a file of the operator's, what systemd hands over, a passphrase, or a file that the daemon makes
//! in its data directory. A file that others may read is no key.
use super::Locked;
use argon2::Argon2;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::KeyInit;
use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tenure_core::id::ProjectId;
use zeroize::Zeroizing;

const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: u64 = 4096;
const PASSPHRASE_BYTES_MIN: usize = 12;

#[derive(Debug, Clone, Default)]
pub enum KeySource {
    /// `vault.key` in the data directory, made with the first secret.
    #[default]
    Made,
    File(PathBuf),
    /// The file `tenure-vault-key` of `CREDENTIALS_DIRECTORY`, which systemd shows of `LoadCredential=tenure-vault-key:…`.
    Credential(PathBuf),
    Passphrase(SecretString),
    PassphraseFile(PathBuf),
}

type Master = Zeroizing<Vec<u8>>;

impl KeySource {
    /// The key and what people know it by; none where it is still to be made in `made`.
    pub(super) fn read(self, made: &Path, project: ProjectId) -> Result<Option<(Master, String)>, Locked> {
        match self {
            KeySource::Made if made.symlink_metadata().is_err() => Ok(None),
            KeySource::Made => own(made).and_then(key).map(|master| Some((master, made.display().to_string()))),
            KeySource::File(path) => own(&path).and_then(key).map(|master| Some((master, path.display().to_string()))),
            KeySource::Credential(path) => {
                // Its folder is the service's own; systemd sets its modes.
                open(&path)
                    .and_then(|file| read(file, &path))
                    .and_then(key)
                    .map(|master| Some((master, "the systemd credential".to_string())))
            }
            KeySource::Passphrase(passphrase) => {
                let stretched = stretch(passphrase.expose_secret().as_bytes(), project)?;
                Ok(Some((stretched, "a passphrase".to_string())))
            }
            KeySource::PassphraseFile(path) => {
                let passphrase = own(&path)?;
                Ok(Some((stretch(&passphrase, project)?, format!("the passphrase in {}", path.display()))))
            }
        }
    }
}

fn locked(why: String, next: &str) -> Locked {
    Locked { why, next: next.to_string() }
}

fn open(path: &Path) -> Result<File, Locked> {
    File::open(path).map_err(|error| {
        locked(
            format!("the master key's file {} cannot be read: {error}", path.display()),
            "put it there, readable for the daemon's user alone",
        )
    })
}

/// A file of this user's, or root's, that nobody else may read.
fn own(path: &Path) -> Result<Master, Locked> {
    let file = open(path)?;
    let found = file.metadata().map_err(|error| locked(format!("{}: {error}", path.display()), "look at it"))?;
    let user = rustix::process::geteuid().as_raw();
    if found.mode() & 0o077 != 0 || (found.uid() != user && found.uid() != 0) {
        let why =
            format!("the master key's file {} may be read by others (mode {:o})", path.display(), found.mode() & 0o777);
        return Err(locked(
            why,
            "chmod 600 it, and give it to the daemon's user; if others had it, set the secrets anew",
        ));
    }
    read(file, path)
}

fn read(file: File, path: &Path) -> Result<Master, Locked> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    let failed = |why: String| {
        locked(format!("the master key's file {} {why}", path.display()), "docs/secrets.md says how to make one")
    };
    file.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > KEY_BYTES_MAX {
        return Err(failed(format!("has more than {KEY_BYTES_MAX} bytes")));
    }
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    Ok(bytes)
}

fn key(master: Master) -> Result<Master, Locked> {
    if master.len() < KEY_BYTES_MIN {
        let why = format!("the master key has {} bytes; at least {KEY_BYTES_MIN} are wanted", master.len());
        return Err(locked(why, "make one: `head -c 32 /dev/urandom | base64`"));
    }
    Ok(master)
}

/// Argon2id; the project's id, which is unique, is the salt.
fn stretch(passphrase: &[u8], project: ProjectId) -> Result<Master, Locked> {
    if passphrase.len() < PASSPHRASE_BYTES_MIN {
        let why = format!("the passphrase has {} bytes; at least {PASSPHRASE_BYTES_MIN} are wanted", passphrase.len());
        return Err(locked(why, "take several words"));
    }
    let mut master = Zeroizing::new(vec![0; KEY_BYTES_MIN]);
    let stretched = Argon2::default().hash_password_into(passphrase, project.to_string().as_bytes(), &mut master);
    stretched.map_err(|error| locked(format!("the passphrase cannot be used: {error}"), "take another"))?;
    Ok(master)
}

/// A fresh key in a file that is this user's alone, synced before anything is sealed by it.
pub(super) fn make(path: &Path) -> Result<Master, Locked> {
    let mut random = Zeroizing::new([0u8; KEY_BYTES_MIN]);
    getrandom::fill(random.as_mut()).expect("invariant: the kernel gives randomness");
    let text = Zeroizing::new(data_encoding::BASE64.encode(random.as_ref()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    let failed = |error: std::io::Error| {
        locked(format!("{} cannot be made: {error}", path.display()), "make room, or name a key_file")
    };
    write().map_err(failed)?;
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The cipher of one project.
pub(super) fn data_key(master: &Master, project: ProjectId) -> XChaCha20Poly1305 {
    let mut key = Zeroizing::new([0u8; 32]);
    let expanded =
        Hkdf::<Sha256>::new(Some(b"tenure vault"), master).expand(project.to_string().as_bytes(), key.as_mut());
    expanded.expect("invariant: HKDF gives 32 bytes");
    XChaCha20Poly1305::new(&(*key).into())
}
