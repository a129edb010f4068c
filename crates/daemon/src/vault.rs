//! The vault: the one place that sees the values of secrets. It seals what people set, opens what a call may use, and tells the
//! scrubber what to look for. Must never: write a value, return one to a face, or go on with a master key that opens nothing.
//!
//! ```text
//! master key ─ HKDF, project ─> data key ─ XChaCha20-Poly1305, (project, secret, version) ─> the sealed bytes that an event binds
//! ```
mod key;
mod inject;

pub use inject::{Refused, SealedUse, sealed_use};
pub use key::KeySource;

use crate::app::App;
use crate::records;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tenure_core::id::{ProjectId, SecretId};
use tenure_core::secret::SecretRow;
use tenure_store::rows::secrets;
use tenure_wire::scrub::Scrubber;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
/// Bytes of all values together: each is looked for in many spellings, all of which are kept in memory.
const VALUES_BYTES_MAX: usize = 128 * 1024;
/// Versions of one secret that are scrubbed.
const VERSIONS_MAX: usize = 3;

/// A value on its way.
pub type Value = Zeroizing<Vec<u8>>;

/// Why no value can be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Locked {
    pub why: String,
    pub next: String,
}

pub struct Vault {
    scrubber: Scrubber,
    /// Held while what is scrubbed is made anew, never across an await.
    inner: Mutex<Inner>,
    keeping: tokio::sync::Mutex<()>,
}

struct Inner {
    door: Door,
    /// What is scrubbed: of each secret its values by version.
    known: BTreeMap<SecretId, Known>,
    /// Secrets whose present value is gone from the store: nothing can use them.
    gone: BTreeSet<SecretId>,
}

struct Known {
    name: String,
    values: BTreeMap<u32, Value>,
}

enum Door {
    /// No key was ever made: the first value makes one, in this file.
    Unmade {
        project: ProjectId,
        path: PathBuf,
    },
    Open {
        project: ProjectId,
        cipher: XChaCha20Poly1305,
        from: String,
    },
    Locked(Locked),
}

impl Vault {
    /// One that opens nothing until it is unlocked.
    pub fn new(scrubber: Scrubber) -> Vault {
        let (why, next) = ("the vault was not unlocked".to_string(), "start the daemon".to_string());
        let inner = Inner { door: Door::Locked(Locked { why, next }), known: BTreeMap::new(), gone: BTreeSet::new() };
        Vault { scrubber, inner: Mutex::new(inner), keeping: tokio::sync::Mutex::new(()) }
    }

    pub fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a value is kept: of two of the same version the second would take the first out of what is scrubbed.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.keeping.lock().await
    }

    /// Where its key comes from; or why it opens nothing.
    pub fn state(&self) -> Result<String, Locked> {
        match &self.inner().door {
            Door::Unmade { path, .. } => Ok(format!("{}, made with the first secret", path.display())),
            Door::Open { from, .. } => Ok(from.clone()),
            Door::Locked(locked) => Err(locked.clone()),
        }
    }

    /// # Errors
    /// `Locked`; the value is too much to be looked for.
    pub fn seal(&self, id: SecretId, version: u32, value: &[u8]) -> Result<Vec<u8>, Locked> {
        let mut inner = self.inner();
        let held: usize = inner.known.values().flat_map(|known| known.values.values()).map(|value| value.len()).sum();
        if held + value.len() > VALUES_BYTES_MAX {
            let why =
                format!("all values together have at most {VALUES_BYTES_MAX} bytes, as each is looked for everywhere");
            return Err(Locked {
                why,
                next: "revoke a secret that is not needed, then start the daemon anew".to_string(),
            });
        }
        if let Door::Unmade { project, path } = &inner.door {
            let (project, from) = (*project, path.display().to_string());
            let master = key::make(path)?;
            inner.door = Door::Open { project, cipher: key::data_key(&master, project), from };
        }
        let (project, cipher) = inner.open()?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("invariant: the kernel gives randomness");
        let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: value, aad: &aad(project, id, version) });
        let sealed = sealed.expect("invariant: a value is far below what the cipher takes");
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// # Errors
    /// `Locked`: also where these bytes were sealed by another key, or for another secret or version.
    pub fn open(&self, id: SecretId, version: u32, sealed: &[u8]) -> Result<Value, Locked> {
        let inner = self.inner();
        let (project, cipher) = inner.open()?;
        unseal(project, cipher, id, version, sealed).ok_or_else(|| wrong_key(id))
    }

    /// From now on it is scrubbed: before anything can use it. Two of them are not made at a time: see `turn`.
    pub async fn remember(&self, id: SecretId, name: &str, version: u32, value: Value) {
        let told = {
            let mut inner = self.inner();
            let known =
                inner.known.entry(id).or_insert_with(|| Known { name: name.to_string(), values: BTreeMap::new() });
            known.values.insert(version, value);
            while known.values.len() > VERSIONS_MAX {
                known.values.pop_first();
            }
            inner.gone.remove(&id);
            told(&inner.known)
        };
        self.tell(told).await;
    }

    /// It was never set.
    pub async fn forget(&self, id: SecretId, version: u32) {
        let told = {
            let mut inner = self.inner();
            if let Some(known) = inner.known.get_mut(&id) {
                known.values.remove(&version);
            }
            inner.known.retain(|_, known| !known.values.is_empty());
            told(&inner.known)
        };
        self.tell(told).await;
    }

    /// Many spellings of each value are made and joined, which takes long: on no thread of the runtime, and under no lock.
    async fn tell(&self, values: Told) {
        let scrubber = self.scrubber.clone();
        let telling = tokio::task::spawn_blocking(move || set(&scrubber, &values));
        telling.await.expect("invariant: what is scrubbed is made without a panic");
    }

    /// Is the present value of this secret gone from the store?
    pub fn is_gone(&self, id: SecretId) -> bool {
        self.inner().gone.contains(&id)
    }

    /// How many there are of them.
    pub fn gone(&self) -> usize {
        self.inner().gone.len()
    }
}

/// Values with their secrets' names.
type Told = Vec<(String, Value)>;

fn told(known: &BTreeMap<SecretId, Known>) -> Told {
    let values =
        known.values().flat_map(|known| known.values.values().map(|value| (known.name.clone(), value.clone())));
    values.collect()
}

fn set(scrubber: &Scrubber, values: &Told) {
    scrubber.set(values.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
}

impl Inner {
    fn open(&self) -> Result<(ProjectId, &XChaCha20Poly1305), Locked> {
        match &self.door {
            Door::Open { project, cipher, .. } => Ok((*project, cipher)),
            Door::Locked(locked) => Err(locked.clone()),
            Door::Unmade { path, .. } => Err(Locked {
                why: format!("there is no key yet: {} is made with the first secret", path.display()),
                next: "`tenure secret set NAME`".to_string(),
            }),
        }
    }
}

fn aad(project: ProjectId, id: SecretId, version: u32) -> Vec<u8> {
    format!("tenure secret\n{project}\n{id}\n{version}").into_bytes()
}

fn unseal(project: ProjectId, cipher: &XChaCha20Poly1305, id: SecretId, version: u32, sealed: &[u8]) -> Option<Value> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let aad = aad(project, id, version);
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad }).ok().map(Zeroizing::new)
}

fn wrong_key(id: SecretId) -> Locked {
    Locked {
        why: format!("the master key does not open {id}: it is another one than the secret was sealed by"),
        next:
            "start the daemon with the key, file or passphrase that it had then; docs/secrets.md says where it may be"
                .to_string(),
    }
}

/// Reads the key, and opens all that is kept with it: what does not open leaves the vault locked, said in the log and in the status.
///
/// # Errors
/// The store's.
pub async fn unlock(app: &App, source: KeySource, data_dir: &Path) -> Result<(), records::Error> {
    let kept = app.records.read(|txn| {
        let rows = secrets::list(txn.parts().0, true, None, u32::MAX - 1)?.rows;
        let mut kept = Vec::new();
        for row in rows {
            let versions = [(Some(row.version), row.sealed), (row.version.checked_sub(1), row.previous)];
            for (version, sealed) in versions {
                let (Some(version), Some(hash)) = (version, sealed) else { continue };
                kept.push((row.clone(), version, records::found(txn.bytes(hash))?));
            }
        }
        Ok(kept)
    });
    let (kept, project) = (kept.await?, app.committer.project());
    let path = data_dir.join("vault.key");
    // A passphrase is stretched on purpose.
    let read = tokio::task::spawn_blocking(move || source.read(&path, project));
    let door = match read.await {
        Ok(Ok(Some((master, from)))) => {
            let door = Door::Open { project, cipher: key::data_key(&master, project), from };
            opened(&app.vault, kept, door).await
        }
        Ok(Ok(None)) if kept.is_empty() => Door::Unmade { project, path: data_dir.join("vault.key") },
        Ok(Ok(None)) => Door::Locked(Locked {
            why: format!("{} is gone, and {} values were sealed by it", data_dir.join("vault.key").display(), kept.len()),
            next: "put the file back from a backup; without it the values are lost, and each secret is to be revoked and set anew".to_string(),
        }),
        Ok(Err(locked)) => Door::Locked(locked),
        Err(error) => Door::Locked(Locked { why: format!("the master key was not read: {error}"), next: String::new() }),
    };
    if let Door::Locked(Locked { why, next }) = &door {
        tracing::error!(why, next, "the vault is locked: no secret is used or set");
    }
    app.vault.inner().door = door;
    Ok(())
}

/// A value and what it is one of.
type Kept = (SecretRow, u32, Option<Vec<u8>>);

/// Opens all that is kept. A value that is gone from the store is missing alone; one that is there and does not open says that the
/// key is another.
async fn opened(vault: &Vault, kept: Vec<Kept>, door: Door) -> Door {
    let scrubber = vault.scrubber.clone();
    let opening = tokio::task::spawn_blocking(move || {
        let Door::Open { project, cipher, .. } = &door else { return (door, BTreeMap::new(), BTreeSet::new()) };
        let (mut known, mut gone) = (BTreeMap::new(), BTreeSet::new());
        for (row, version, sealed) in &kept {
            let Some(sealed) = sealed else {
                if *version == row.version {
                    let (secret, name) = (row.id.to_string(), &row.name);
                    tracing::error!(secret, name, "the value of a secret is gone from the store: nothing can use it");
                    gone.insert(row.id);
                }
                continue;
            };
            let Some(value) = unseal(*project, cipher, row.id, *version, sealed) else {
                return (Door::Locked(wrong_key(row.id)), BTreeMap::new(), BTreeSet::new());
            };
            let entry =
                known.entry(row.id).or_insert_with(|| Known { name: row.name.clone(), values: BTreeMap::new() });
            entry.values.insert(*version, value);
        }
        set(&scrubber, &told(&known));
        (door, known, gone)
    });
    let (door, known, gone) = opening.await.expect("invariant: opening values does not panic");
    let mut inner = vault.inner();
    (inner.known, inner.gone) = (known, gone);
    drop(inner);
    door
}

#[cfg(test)]
mod tests;
