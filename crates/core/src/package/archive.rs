//! The form of a package: a tar of plain files, packed by gzip. First the index (every file with its size, mode and SHA-256),
//! then its Ed25519 signature, then the files in the order of their paths. There is one form of the same contents: what is
//! read is written again and compared, so that nothing hides in a head or behind the end. Nothing here touches a disk.
mod tar;

use crate::bound::Hash;
use crate::manifest::Manifest;
use data_encoding::HEXLOWER;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

use super::Contents;

/// A publisher's private key.
pub use ed25519_dalek::SigningKey as Key;

pub const ARCHIVE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of all files, and of what the archive unpacks to.
pub const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;
pub const FILES_MAX: usize = 2048;
pub const PATH_BYTES_MAX: usize = 200;
const FORMAT: &str = "tenure.package/1";
/// Before the index in what is signed, so that a signature stands for nothing else.
const DOMAIN: &[u8] = b"tenure.package/1 index\n";
const INDEX: &str = ".tenure/index.json";
const SIGNATURE: &str = ".tenure/signature.json";
const OURS: &str = ".tenure";

/// Names by which the manifest of a package is looked for, in this order; else the only `*.manifest.json` there is.
pub const MANIFESTS: [&str; 5] = ["agent.yaml", "agent.yml", "agent.json", "tenure.yaml", "manifest.json"];

/// A plain file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Within the package, as in `src/main.py`.
    pub path: String,
    pub executable: bool,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    pub format: String,
    pub name: String,
    pub version: semver::Version,
    /// The path of the agent's manifest.
    pub manifest: String,
    pub files: Vec<Listed>,
    /// Over all of the list.
    pub sha256: Hash,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub path: String,
    pub size: u64,
    pub sha256: Hash,
    pub executable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// Ed25519, 64 hexadecimal digits.
    key: Hash,
    signature: String,
}

/// Why an archive is none, or is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("it is no gzip archive: {why}")]
    NotGzip { why: String },
    #[error("it is no tar: {why}")]
    NotTar { why: &'static str },
    #[error("it has more than {max} bytes")]
    TooLarge { max: usize },
    #[error("it has more than {FILES_MAX} files")]
    TooManyFiles,
    #[error("the path `{path}` {why}")]
    Path { path: String, why: &'static str },
    #[error("`{path}` is {kind}; a package has plain files alone")]
    NotAFile { path: String, kind: &'static str },
    #[error("its index is wrong: {why}")]
    Index { why: String },
    #[error("its manifest is wrong: {why}")]
    Manifest { why: String },
    #[error("`{path}` is not in the index")]
    Unlisted { path: String },
    #[error("`{path}` is in the index and not in the archive")]
    Missing { path: String },
    #[error("the checksum of `{path}` does not hold")]
    Checksum { path: String },
    #[error("nobody signed it")]
    Unsigned,
    #[error("its signature does not hold")]
    Signature,
    #[error("it is not written as packages are: something in it has another form")]
    Form,
}

impl Wrong {
    /// What it says of the archive's integrity rather than of its form.
    pub fn is_integrity(&self) -> bool {
        match self {
            Wrong::Unlisted { .. }
            | Wrong::Missing { .. }
            | Wrong::Checksum { .. }
            | Wrong::Unsigned
            | Wrong::Signature
            | Wrong::Form => true,
            Wrong::NotGzip { .. }
            | Wrong::NotTar { .. }
            | Wrong::TooLarge { .. }
            | Wrong::TooManyFiles
            | Wrong::Path { .. }
            | Wrong::NotAFile { .. }
            | Wrong::Index { .. }
            | Wrong::Manifest { .. } => false,
        }
    }
}

/// An archive whose form, checksums and signature hold. Whether its publisher is trusted is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub contents: Contents,
    pub index: Index,
    pub manifest: Manifest,
    pub files: Vec<File>,
}

/// Reads an Ed25519 key from PKCS #8 in PEM.
///
/// # Errors
/// Text that is none.
pub fn signing_key(pem: &str) -> Result<SigningKey, String> {
    SigningKey::from_pkcs8_pem(pem).map_err(|error| format!("this is no Ed25519 key in PKCS #8 PEM: {error}"))
}

/// Reads a public key: 64 hexadecimal digits, or PEM.
///
/// # Errors
/// Text that is none; a private key is none either.
pub fn public_key(text: &str) -> Result<Hash, String> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let key = VerifyingKey::from_public_key_pem(text);
    let key =
        key.map_err(|error| format!("this is no Ed25519 public key in PEM, nor 64 hexadecimal digits: {error}"))?;
    Ok(Hash(key.to_bytes()))
}

/// The public half of a key, as publishers are named by.
pub fn publisher_of(key: &SigningKey) -> Hash {
    Hash(key.verifying_key().to_bytes())
}

/// Whether these bytes are a public key at all.
pub fn is_key(publisher: Hash) -> bool {
    VerifyingKey::from_bytes(&publisher.0).is_ok_and(|key| !key.is_weak())
}

/// Packs files; without a key nobody signs it, and no store takes it.
///
/// # Errors
/// What of them cannot be in a package.
pub fn build(mut files: Vec<File>, key: Option<&SigningKey>) -> Result<Vec<u8>, Wrong> {
    files.sort_by(|one, other| one.path.cmp(&other.path));
    check_files(&files)?;
    let (manifest, read) = manifest_of(&files)?;
    let version = version_of(&read)?;
    let files_listed: Vec<Listed> = files.iter().map(Listed::of).collect();
    let index = Index {
        format: FORMAT.to_owned(),
        name: read.name().to_owned(),
        version,
        manifest,
        sha256: sum(&files_listed),
        files: files_listed,
    };
    let index = canonical(&index);
    let signature = key.map(|key| {
        let signature = key.sign(&signed_bytes(&index));
        canonical(&Signed { key: publisher_of(key), signature: HEXLOWER.encode(&signature.to_bytes()) })
    });
    packed(&ours(index, signature), &files)
}

/// Opens an archive and checks all that can be checked of it without knowing whom to trust. Called when a package is
/// pushed, and again each time that one is loaded.
///
/// # Errors
/// The first thing that is wrong.
pub fn open(archive: &[u8]) -> Result<Opened, Wrong> {
    if archive.len() > ARCHIVE_BYTES_MAX {
        return Err(Wrong::TooLarge { max: ARCHIVE_BYTES_MAX });
    }
    let unpacked = unpacked(archive)?;
    let mut files = tar::read(&unpacked)?;
    let first = files.first().map(|file| file.path.as_str());
    if first != Some(INDEX) {
        return Err(Wrong::Index { why: format!("the first file is not {INDEX}") });
    }
    let index_bytes = files.remove(0).bytes;
    let index: Index = serde_json::from_slice(&index_bytes).map_err(|error| Wrong::Index { why: error.to_string() })?;
    if index.format != FORMAT {
        return Err(Wrong::Index { why: format!("its format is {:?}, and {FORMAT} is read", index.format) });
    }
    if canonical(&index) != index_bytes {
        return Err(Wrong::Form);
    }
    let signature = match files.first() {
        Some(file) if file.path == SIGNATURE => files.remove(0).bytes,
        Some(_) | None => return Err(Wrong::Unsigned),
    };
    let publisher = verified(&index_bytes, &signature)?;
    check_files(&files)?;
    check_sums(&index, &files)?;
    if tar::written(&ours(index_bytes.clone(), Some(signature)), &files)? != unpacked {
        return Err(Wrong::Form);
    }
    let (path, manifest) = manifest_of(&files)?;
    let wrong = |why: &str| Wrong::Manifest { why: why.to_owned() };
    if path != index.manifest || manifest.name() != index.name {
        return Err(wrong("the index names another"));
    }
    if version_of(&manifest)? != index.version {
        return Err(wrong("its version is not the index's"));
    }
    let contents = Contents {
        name: index.name.clone(),
        version: index.version.clone(),
        digest: Hash::of(&index_bytes),
        publisher,
        files: u32::try_from(files.len()).unwrap_or(u32::MAX),
        bytes: files.iter().map(|file| file.bytes.len() as u64).sum(),
    };
    Ok(Opened { contents, index, manifest, files })
}

/// Opens an archive that was pushed before, for loading it: it must be what was pushed, by a publisher who is trusted now.
///
/// # Errors
/// As [`open`]; what it was pushed as is something else, or its publisher is trusted no more.
pub fn load(archive: &[u8], pushed: &Contents, is_trusted: impl FnOnce(Hash) -> bool) -> Result<Opened, Wrong> {
    let opened = open(archive)?;
    if opened.contents != *pushed {
        return Err(Wrong::Form);
    }
    if is_trusted(opened.contents.publisher) { Ok(opened) } else { Err(Wrong::Signature) }
}

impl Listed {
    fn of(file: &File) -> Listed {
        let (path, size) = (file.path.clone(), file.bytes.len() as u64);
        Listed { path, size, sha256: Hash::of(&file.bytes), executable: file.executable }
    }
}

fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("invariant: an index has text keys and whole numbers only")
}

fn sum(files: &[Listed]) -> Hash {
    Hash::of(&canonical(&files))
}

fn signed_bytes(index: &[u8]) -> Vec<u8> {
    [DOMAIN, index].concat()
}

fn ours(index: Vec<u8>, signature: Option<Vec<u8>>) -> Vec<File> {
    let file = |path: &str, bytes| File { path: path.to_owned(), executable: false, bytes };
    std::iter::once(file(INDEX, index)).chain(signature.map(|signature| file(SIGNATURE, signature))).collect()
}

fn verified(index: &[u8], signature: &[u8]) -> Result<Hash, Wrong> {
    let signed: Signed = serde_json::from_slice(signature).map_err(|_| Wrong::Signature)?;
    let bytes = HEXLOWER.decode(signed.signature.as_bytes()).map_err(|_| Wrong::Signature)?;
    let signature = Signature::from_slice(&bytes).map_err(|_| Wrong::Signature)?;
    let key = VerifyingKey::from_bytes(&signed.key.0).map_err(|_| Wrong::Signature)?;
    key.verify_strict(&signed_bytes(index), &signature).map_err(|_| Wrong::Signature)?;
    Ok(signed.key)
}

fn packed(ours: &[File], files: &[File]) -> Result<Vec<u8>, Wrong> {
    let tar = tar::written(ours, files)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
    let packed = gzip.write_all(&tar).and_then(|()| gzip.finish());
    let packed = packed.map_err(|error| Wrong::NotGzip { why: error.to_string() })?;
    if packed.len() > ARCHIVE_BYTES_MAX { Err(Wrong::TooLarge { max: ARCHIVE_BYTES_MAX }) } else { Ok(packed) }
}

/// Never more than the bound, whatever the archive says of itself.
fn unpacked(archive: &[u8]) -> Result<Vec<u8>, Wrong> {
    let bad = |why: String| Wrong::NotGzip { why };
    let most = tar::bytes_max();
    let mut gzip = GzDecoder::new(archive);
    let mut tar = Vec::new();
    gzip.by_ref().take(most as u64 + 1).read_to_end(&mut tar).map_err(|error| bad(error.to_string()))?;
    if tar.len() > most {
        return Err(Wrong::TooLarge { max: UNPACKED_BYTES_MAX });
    }
    if gzip.into_inner().is_empty() { Ok(tar) } else { Err(bad("something comes after its end".to_owned())) }
}

/// Paths in order, each once and within the package; and how much there may be.
fn check_files(files: &[File]) -> Result<(), Wrong> {
    if files.len() > FILES_MAX {
        return Err(Wrong::TooManyFiles);
    }
    let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
    if bytes > UNPACKED_BYTES_MAX {
        return Err(Wrong::TooLarge { max: UNPACKED_BYTES_MAX });
    }
    for (place, file) in files.iter().enumerate() {
        check_path(&file.path)?;
        let Some(before) = place.checked_sub(1).map(|before| &files[before].path) else { continue };
        let wrong = |why| Err(Wrong::Path { path: file.path.clone(), why });
        if *before == file.path {
            return wrong("stands there twice");
        }
        if *before > file.path {
            return wrong("is not in order");
        }
        if files[..place]
            .iter()
            .any(|other| file.path.strip_prefix(&other.path).is_some_and(|rest| rest.starts_with('/')))
        {
            return wrong("lies in something that is a file");
        }
    }
    Ok(())
}

/// # Errors
/// A path that would leave the package, or that not every host can have.
pub fn check_path(path: &str) -> Result<(), Wrong> {
    let wrong = |why| Err(Wrong::Path { path: path.chars().take(PATH_BYTES_MAX).collect(), why });
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return wrong("is empty or too long");
    }
    if path.starts_with('/') {
        return wrong("is absolute");
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return wrong("has a control character or a backslash");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return wrong("has an empty part, `.` or `..`");
    }
    if path == OURS || path.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('/')) {
        return wrong("is kept for the package's own index");
    }
    Ok(())
}

fn check_sums(index: &Index, files: &[File]) -> Result<(), Wrong> {
    if sum(&index.files) != index.sha256 {
        return Err(Wrong::Checksum { path: INDEX.to_owned() });
    }
    let listed = |path: &str| index.files.iter().find(|listed| listed.path == path);
    for file in files {
        let Some(listed) = listed(&file.path) else { return Err(Wrong::Unlisted { path: file.path.clone() }) };
        if *listed != Listed::of(file) {
            return Err(Wrong::Checksum { path: file.path.clone() });
        }
    }
    let there = |path: &str| files.iter().any(|file| file.path == path);
    match index.files.iter().find(|listed| !there(&listed.path)) {
        Some(listed) => Err(Wrong::Missing { path: listed.path.clone() }),
        None if index.files.len() == files.len() => Ok(()),
        None => Err(Wrong::Form),
    }
}

/// The agent's manifest among the files, and where it lies.
fn manifest_of(files: &[File]) -> Result<(String, Manifest), Wrong> {
    let wrong = |why: String| Wrong::Manifest { why };
    let named = MANIFESTS.iter().find_map(|name| files.iter().find(|file| file.path == *name));
    let mut others = files.iter().filter(|file| file.path.ends_with(".manifest.json") && !file.path.contains('/'));
    let found = match (named, others.next(), others.next()) {
        (Some(file), ..) | (None, Some(file), None) => file,
        (None, Some(_), Some(_)) => return Err(wrong("several files end in .manifest.json".to_owned())),
        (None, None, _) => return Err(wrong(format!("none of {} is there", MANIFESTS.join(", ")))),
    };
    let read = Manifest::parse_bytes(&found.bytes).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        wrong(format!("{}: {first}", found.path))
    })?;
    Ok((found.path.clone(), read))
}

fn version_of(manifest: &Manifest) -> Result<semver::Version, Wrong> {
    let missing = || Wrong::Manifest { why: "metadata.version is not stated, and a package has one".to_owned() };
    manifest.metadata.version.clone().ok_or_else(missing)
}
