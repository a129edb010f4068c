//! Fetches weights into their folder: from a hub, resumed where it broke off, or from a file that a person has.
//!
//! A file stands under its final name only after its checksum held; until then it is `NAME.part`, which the next pull
//! goes on from. One pull at a time holds that part's lock.

use super::catalogue::Weights;
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest silence in the midst of a download.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Times that one source is asked to go on after it broke off.
const RESUMES_MAX: u32 = 5;
const RESUME_WAIT: Duration = Duration::from_millis(500);
const CHUNK_BYTES: usize = 1 << 20;

/// Where the bytes come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    Hub,
    File(&'a Path),
}

/// What a pull is doing, for a progress bar. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Fetching { done: u64, total: u64 },
    Checking { done: u64, total: u64 },
}

/// How a pull ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullOutcome {
    Fetched(PathBuf),
    /// It was there, and its checksum holds.
    AlreadyThere(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no source gave {file}: {}", .tries.join("; "))]
    NoAnswer { file: &'static str, tries: Vec<String> },
    #[error("{path} has the SHA-256 {found}, expected {expected}: it is not kept")]
    Checksum { path: String, found: String, expected: &'static str },
    #[error("{path} has {found} bytes, expected {expected}: it is not these weights")]
    Size { path: String, found: u64, expected: u64 },
    #[error("another pull of {0} is running")]
    Busy(&'static str),
    #[error("{what} {path}: {cause}")]
    Io { what: &'static str, path: String, cause: io::Error },
}

impl Error {
    pub fn hint(&self) -> String {
        match self {
            Error::NoAnswer { file, .. } => {
                format!("check the network and pull again (it resumes), or fetch {file} elsewhere and use --from FILE")
            }
            Error::Checksum { .. } => "pull again; if it repeats, what the source serves was changed".to_owned(),
            Error::Size { .. } => {
                "give the very file that the catalogue names: `tenure model list` shows it".to_owned()
            }
            Error::Busy(_) => "wait for it to end".to_owned(),
            Error::Io { cause, .. } if cause.kind() == io::ErrorKind::StorageFull => {
                "make room on that disk and pull again: it resumes".to_owned()
            }
            Error::Io { .. } => "check the path and its permissions, then pull again".to_owned(),
        }
    }
}

/// Where the weights are once pulled.
pub fn path(weights: &Weights, folder: &Path) -> PathBuf {
    folder.join(weights.file)
}

/// Pulls `weights` into `folder`, which is made if it is missing. `progress` is called often: keep it cheap.
///
/// # Errors
/// Nothing stands under the final name unless it was there before; a broken download can be resumed by another pull.
pub async fn pull(
    weights: &'static Weights,
    folder: &Path,
    source: Source<'_>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<PullOutcome, Error> {
    let whole = path(weights, folder);
    if std::fs::metadata(&whole).is_ok_and(|found| found.is_file() && found.len() == weights.bytes)
        && digest(&whole, weights.bytes, progress).await? == weights.sha256
    {
        return Ok(PullOutcome::AlreadyThere(whole));
    }
    std::fs::create_dir_all(folder).map_err(|cause| io_error("cannot make the folder", folder, cause))?;
    let part = Part::lock(weights, folder)?;
    match source {
        Source::Hub => download(weights, &part, progress).await?,
        Source::File(file) => copy(weights, file, &part, progress).await?,
    }
    let found = digest(&part.path, weights.bytes, progress).await?;
    if found != weights.sha256 {
        let _ = std::fs::remove_file(&part.path);
        let path = match source {
            Source::Hub => weights.file.to_owned(),
            Source::File(file) => file.display().to_string(),
        };
        return Err(Error::Checksum { path, found, expected: weights.sha256 });
    }
    part.finish(&whole)?;
    Ok(PullOutcome::Fetched(whole))
}

/// The file that grows, locked against another pull.
struct Part {
    path: PathBuf,
    lock: File,
}

impl Part {
    fn lock(weights: &Weights, folder: &Path) -> Result<Part, Error> {
        let path = folder.join(format!("{}.part", weights.file));
        let open = File::options().create(true).append(true).read(true).open(&path);
        let lock = open.map_err(|cause| io_error("cannot write", &path, cause))?;
        match lock.try_lock() {
            Ok(()) => Ok(Part { path, lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::Busy(weights.file)),
            Err(std::fs::TryLockError::Error(cause)) => Err(io_error("cannot lock", &path, cause)),
        }
    }

    fn len(&self) -> Result<u64, Error> {
        self.lock.metadata().map(|found| found.len()).map_err(|cause| self.broken(cause))
    }

    fn clear(&self) -> Result<(), Error> {
        self.lock.set_len(0).map_err(|cause| self.broken(cause))
    }

    /// A second handle that writes at the end.
    fn writer(&self) -> Result<tokio::fs::File, Error> {
        self.lock.try_clone().map(tokio::fs::File::from_std).map_err(|cause| self.broken(cause))
    }

    fn finish(self, whole: &Path) -> Result<(), Error> {
        self.lock.sync_all().map_err(|cause| self.broken(cause))?;
        std::fs::rename(&self.path, whole).map_err(|cause| io_error("cannot rename to", whole, cause))?;
        let folder = whole.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|opened| opened.sync_all()).map_err(|cause| io_error("cannot sync", folder, cause))
    }

    fn broken(&self, cause: io::Error) -> Error {
        io_error("cannot write", &self.path, cause)
    }
}

async fn download(
    weights: &'static Weights,
    part: &Part,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), Error> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Err(no_answer(weights, vec![root_cause(&error)])),
    };
    let mut tries = Vec::new();
    for url in weights.sources {
        let mut left = RESUMES_MAX;
        loop {
            let before = part.len()?;
            match fetch(&client, url, weights, part, progress).await {
                Ok(()) => return Ok(()),
                Err(FetchError::Local(error)) => return Err(error),
                Err(FetchError::Source(why)) => {
                    // A source that gave nothing new is not asked again: the way out is named instead.
                    if left == 0 || part.len()? <= before {
                        tries.push(format!("{url}: {why}"));
                        break;
                    }
                    left -= 1;
                    tokio::time::sleep(RESUME_WAIT).await;
                }
            }
        }
    }
    Err(no_answer(weights, tries))
}

enum FetchError {
    Local(Error),
    Source(String),
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        FetchError::Local(error)
    }
}

async fn fetch(
    client: &reqwest::Client,
    url: &str,
    weights: &Weights,
    part: &Part,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), FetchError> {
    let mut done = part.len()?;
    if done > weights.bytes {
        part.clear()?;
        done = 0;
    }
    if done == weights.bytes {
        return Ok(());
    }
    let asked = client.get(url);
    let asked = if done > 0 { asked.header("range", format!("bytes={done}-")) } else { asked };
    let answer = asked.send().await.map_err(|error| FetchError::Source(root_cause(&error)))?;
    match answer.status().as_u16() {
        200 => {
            part.clear()?;
            done = 0;
        }
        206 if starts_at(answer.headers(), done) => {}
        status => {
            if done > 0 {
                part.clear()?;
            }
            return Err(FetchError::Source(format!("answered {status}")));
        }
    }
    let mut writer = part.writer()?;
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                writer.flush().await.map_err(|cause| part.broken(cause))?;
                return Err(FetchError::Source(format!("broke off at {done} bytes: {}", root_cause(&error))));
            }
        };
        done += u64::try_from(chunk.len()).expect("invariant: a chunk's length fits u64");
        if done > weights.bytes {
            part.clear()?;
            return Err(FetchError::Source("serves more bytes than these weights have".to_owned()));
        }
        writer.write_all(&chunk).await.map_err(|cause| part.broken(cause))?;
        progress(Progress::Fetching { done, total: weights.bytes });
    }
    writer.flush().await.map_err(|cause| part.broken(cause))?;
    match done == weights.bytes {
        true => Ok(()),
        false => Err(FetchError::Source(format!("ended at {done} of {} bytes", weights.bytes))),
    }
}

fn starts_at(headers: &reqwest::header::HeaderMap, place: u64) -> bool {
    let range = headers.get("content-range").and_then(|value| value.to_str().ok()).unwrap_or_default();
    range
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(start, _)| start.trim().parse::<u64>() == Ok(place))
}

async fn copy(
    weights: &Weights,
    file: &Path,
    part: &Part,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), Error> {
    let mut reader = tokio::fs::File::open(file).await.map_err(|cause| io_error("cannot read", file, cause))?;
    let found = reader.metadata().await.map_err(|cause| io_error("cannot read", file, cause))?;
    if !found.is_file() || found.len() != weights.bytes {
        return Err(Error::Size { path: file.display().to_string(), found: found.len(), expected: weights.bytes });
    }
    part.clear()?;
    let mut writer = part.writer()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let count = reader.read(&mut chunk).await.map_err(|cause| io_error("cannot read", file, cause))?;
        if count == 0 || done >= weights.bytes {
            break;
        }
        writer.write_all(&chunk[..count]).await.map_err(|cause| part.broken(cause))?;
        done += u64::try_from(count).expect("invariant: a chunk's length fits u64");
        progress(Progress::Fetching { done, total: weights.bytes });
    }
    writer.flush().await.map_err(|cause| part.broken(cause))
}

/// SHA-256 of a file, in hex, computed beside the async threads.
async fn digest(path: &Path, total: u64, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<String, Error> {
    let (sender, mut steps) = tokio::sync::mpsc::channel(4);
    let owned = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || -> io::Result<String> {
        let mut file = File::open(owned)?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut done = 0;
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok(HEXLOWER.encode(&hash.finalize()));
            }
            hash.update(&chunk[..count]);
            done += u64::try_from(count).expect("invariant: a chunk's length fits u64");
            if sender.blocking_send(done).is_err() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody waits for the checksum any more"));
            }
        }
    });
    while let Some(done) = steps.recv().await {
        progress(Progress::Checking { done, total });
    }
    let outcome = hashing.await.unwrap_or_else(|gone| Err(io::Error::other(gone)));
    outcome.map_err(|cause| io_error("cannot check", path, cause))
}

fn no_answer(weights: &Weights, tries: Vec<String>) -> Error {
    Error::NoAnswer { file: weights.file, tries }
}

fn io_error(what: &'static str, path: &Path, cause: io::Error) -> Error {
    Error::Io { what, path: path.display().to_string(), cause }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
