//! `network.download`: into a file without a name beside the jails, checked there, and only then through the jail's own write
//! into the work folder. Must never: hold the file in memory, or leave less free than the ledger needs.
use super::{failed, headers, late, unread, until};
use crate::egress::EgressHandle;
use crate::egress::fetch::{FetchError, FetchRequest, FetchResponse};
use crate::perform::{Abort, CallContext, CallResult, FileOps, PerformResult, invalid, no_space, refused};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::Method;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use rustix::fs::{Mode, OFlags, fstatvfs, open, unlink};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::path::Path;
use std::time::Duration;
use tenure_sandbox::protocol::{Answer, Operation, Refusal, WriteMode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);
const DOWNLOAD_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Largest file, in bytes, where neither the call nor the agent's disk has a lower bound.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// What stays free on the worker's disk, and after how many bytes that is looked at again.
const SPARE_BYTES: u64 = 256 << 20;
const LOOK_EVERY: u64 = 16 << 20;
/// Sent to the jail at once.
const PIECE_BYTES: u64 = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::perform) struct Download {
    url: String,
    path: String,
    sha256: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    timeout_ms: Option<u64>,
    max_bytes: Option<u64>,
}

/// A whole file, checked, that nobody else can open.
struct Spool {
    file: File,
    size: u64,
    sha256: String,
}

pub(in crate::perform) async fn download(context: &CallContext, wanted: Download, deadline: Instant) -> PerformResult {
    let expected = wanted.sha256.as_deref().map(str::to_ascii_lowercase);
    if expected.as_ref().is_some_and(|hash| hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(invalid("`sha256` is 64 hexadecimal digits"));
    }
    let url = context.egress.read(&wanted.url).map_err(unread)?;
    let ask = FetchRequest { method: Method::GET, url, headers: headers(&wanted.headers)?, body: Bytes::new() };
    let max = wanted.max_bytes.unwrap_or(FILE_BYTES_MAX).min(FILE_BYTES_MAX).min(context.confinement.disk_bytes);
    let until = until(wanted.timeout_ms, DOWNLOAD_TIMEOUT, DOWNLOAD_TIMEOUT_MAX, deadline);
    let ops = FileOps { jail: &context.jail, quota: &context.quota, deadline: until };
    // Before anything is asked of a server.
    ops.check(&wanted.path).await?;
    let fetching = async {
        let place = context.egress.spools().take().await.map_err(|error| broken(&error))?;
        let answered = context.egress.fetch(ask).await.map_err(failed)?;
        let (status, url, redirects) = (answered.response.status(), answered.url.to_string(), answered.redirects);
        if let Some(unfollowed) = &answered.unfollowed {
            let sentence = format!("{url} {unfollowed}; nothing was written");
            return Err(Abort::Ended(CallResult::failed("redirect_refused", sentence)));
        }
        if !status.is_success() {
            let sentence = format!("{url} answered {status}; nothing was written");
            return Err(Abort::Ended(CallResult::failed("http_status", sentence)));
        }
        let spool = spool(&context.egress, answered, max).await?;
        if let Some(expected) = expected.filter(|expected| *expected != spool.sha256) {
            let sentence = format!("the file's SHA-256 is {}, not {expected}; nothing was written", spool.sha256);
            return Err(Abort::Ended(CallResult::failed("checksum", sentence)));
        }
        Ok((place, spool, status, url, redirects))
    };
    let (_place, spool, status, url, redirects) = match timeout_at(until, fetching).await {
        Ok(fetched) => fetched?,
        Err(_) => return Ok(late()),
    };
    let (size, sha256) = (spool.size, spool.sha256.clone());
    ops.ensure_room(&wanted.path, size).await?;
    match timeout_at(until, hand_over(context, spool, wanted.path)).await {
        Ok(written) => written?,
        Err(_) => {
            return Ok(CallResult::timed_out("the sandbox did not take the file in time; look before you repeat"));
        }
    }
    let status = status.as_u16();
    Ok(CallResult::done(
        json!({ "status": status, "url": url, "redirects": redirects, "size": size, "sha256": sha256 }),
    ))
}

async fn spool(egress: &EgressHandle, answered: FetchResponse, max: u64) -> Result<Spool, Abort> {
    let too_large = || {
        let sentence = format!("the file is larger than the {max} bytes that are possible here; nothing was written");
        Abort::Ended(CallResult::exhausted("file_bytes", Some(max), sentence))
    };
    let FetchResponse { response, connection, .. } = answered;
    let stated = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|stated| stated > max) {
        return Err(too_large());
    }
    let mut file = File::from_std(unlinked_file(egress.spool_dir()).map_err(|error| broken(&error))?);
    disk_room(&file, stated.unwrap_or(0))?;
    let (mut hash, mut size, mut looked) = (Sha256::new(), 0u64, 0u64);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(FetchError::Broken(error.to_string())))?;
        let Ok(bytes) = frame.into_data() else { continue };
        size += bytes.len() as u64;
        if size > max {
            return Err(too_large());
        }
        if size - looked >= LOOK_EVERY {
            looked = size;
            disk_room(&file, 0)?;
        }
        hash.update(&bytes);
        file.write_all(&bytes).await.map_err(|error| broken(&error))?;
    }
    drop(connection);
    file.flush().await.map_err(|error| broken(&error))?;
    file.seek(SeekFrom::Start(0)).await.map_err(|error| broken(&error))?;
    Ok(Spool { file, size, sha256: HEXLOWER.encode(hash.finalize().as_slice()) })
}

/// Writes the file inside, piece by piece; it is there whole or not at all.
async fn hand_over(context: &CallContext, mut spool: Spool, path: String) -> Result<(), Abort> {
    let asked = (!path.starts_with("/tmp/")).then_some(spool.size);
    let write = Operation::Write { path, size: spool.size, mode: WriteMode::Overwrite };
    let mut left = spool.size;
    let piece = piece(&mut spool.file, &mut left).await?;
    let upload = context.jail.upload(write, piece).await;
    while left > 0 {
        // An answer before the end is a refusal.
        if upload.answered() {
            break;
        }
        let piece = self::piece(&mut spool.file, &mut left).await?;
        upload.more(piece).await;
    }
    match upload.answer().await {
        Some((Answer::Written { .. }, _)) => Ok(()),
        Some((Answer::Refused(Refusal::NoSpace), _)) => Err(Abort::Ended(no_space(&context.quota, asked))),
        Some((Answer::Refused(refusal), _)) => Err(Abort::Ended(refused(&refusal))),
        Some(_) => Err(Abort::Broken("it answered a file request with something else")),
        None => Err(Abort::Gone),
    }
}

async fn piece(file: &mut File, left: &mut u64) -> Result<Vec<u8>, Abort> {
    let mut bytes = vec![0; usize::try_from((*left).min(PIECE_BYTES)).unwrap_or(0)];
    file.read_exact(&mut bytes).await.map_err(|error| broken(&error))?;
    *left -= bytes.len() as u64;
    Ok(bytes)
}

/// A file that has no name, or none any more.
fn unlinked_file(folder: &Path) -> io::Result<std::fs::File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::from(0o600);
    match open(folder, flags | OFlags::TMPFILE, mode) {
        // File systems without unnamed files (NFS, some FUSE) give one of these.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let mut random = [0u8; 16];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let path = folder.join(format!("spool-{}", HEXLOWER.encode(&random)));
            let file = open(&path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
            unlink(&path)?;
            Ok(file.into())
        }
        opened => Ok(opened?.into()),
    }
}

/// Whether `wanted` bytes more leave the worker's disk enough.
fn disk_room(file: &File, wanted: u64) -> Result<(), Abort> {
    let found = fstatvfs(file).map_err(|errno| broken(&errno.into()))?;
    if found.f_bavail.saturating_mul(found.f_frsize) < wanted.saturating_add(SPARE_BYTES) {
        let sentence = "the worker's disk is nearly full; nothing was written";
        return Err(Abort::Ended(CallResult::exhausted("disk", None, sentence)));
    }
    Ok(())
}

fn broken(error: &io::Error) -> Abort {
    Abort::Ended(CallResult::failed("io", format!("the worker could not keep the file: {error}; nothing was written")))
}
