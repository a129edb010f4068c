//! Volumes: folders of an agent's own besides its work folder, kept with the agent, or with one execution or session.
//! Must never: let two agents share one, remove one that an open jail shows, or keep an ephemeral one past its time.
//!
//! ```text
//! agents/AGENT/volumes/NAME                        persistent
//! agents/AGENT/ephemeral/HOLDER/NAME               ephemeral; beside it an empty file `.until.MILLISECONDS.NAME`
//! ```
//! Who shows an execution's volumes holds its folder's lock, shared; who removes one needs it alone.

use super::Home;
use super::beneath::{BENEATH, FOLDER, at, open_beneath, own, private};
use super::remove::{Effort, discard, reach};
use crate::error::Error;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat2, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tenure_core::call::Holder;
use tenure_sandbox::Identity;
use tenure_wire::confinement::{Life, Volume};

pub(super) const PERSISTENT: &str = "volumes";
pub(super) const EPHEMERAL: &str = "ephemeral";
const UNTIL: &str = ".until.";
/// How long an opening waits for one that removes what is past its time.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// One that is there and can be mounted.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) folder: OwnedFd,
}

/// The right to an execution's volumes, as long as it is kept.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: OwnedFd,
    path: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing is not enough: a program that this process is just starting has a copy of the descriptor until its exec.
        let _ = flock(&self.folder, FlockOperation::Unlock);
    }
}

/// What a manifest may call a volume: names that are plain names of folders.
fn check_name(name: &str) -> Result<(), Error> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let well = name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner);
    let why = "a volume's name has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and is short";
    if well { Ok(()) } else { Err(Error::Unsafe { path: name.to_owned(), why }) }
}

/// Finds or makes a persistent volume.
fn persistent(home: &Home, identity: Identity, name: &str) -> Result<Found, Error> {
    let path = home.path.join(PERSISTENT);
    let volumes = private(home.folder.as_fd(), PERSISTENT, &path)?;
    make(identity, &volumes, name, path.join(name))
}

/// The claim to an execution's volumes; what of them is past its time is gone with it.
fn claim(home: &Home, holder: Holder) -> Result<Claim, Error> {
    let path = home.path.join(EPHEMERAL);
    let all = private(home.folder.as_fd(), EPHEMERAL, &path)?;
    let (name, path) = (holder.to_string(), path.join(holder.to_string()));
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match locked(home, &all, &name) {
            Ok(Some(folder)) => return Ok(Claim { folder, path }),
            // Somebody removes what is past its time, or has just removed an empty folder.
            Ok(None) => {}
            Err(errno) => return Err(at("claim", &path)(errno)),
        }
        if Instant::now() > deadline {
            return Err(Error::Deadline { what: "volumes that are being removed", seconds: LOCK_TIMEOUT.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The folder of an execution, shared; None if another try is to be made.
fn locked(home: &Home, all: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    match mkdirat(all, name, Mode::from(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let folder = match openat2(all, name, FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH) {
        Err(Errno::NOENT) => return Ok(None),
        folder => folder?,
    };
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
        expire(home, &folder, now_ms())?;
    }
    match flock(&folder, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(is_still(all, name, &folder).then_some(folder)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Finds or makes an ephemeral volume of an execution that is claimed.
fn ephemeral(identity: Identity, folder: &OwnedFd, path: &Path, name: &str, ttl_hours: u32) -> Result<Found, Error> {
    let is_there = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if !is_there {
        // Before the folder: nothing is ever there without its end.
        let until = now_ms().saturating_add(u64::from(ttl_hours) * 3_600_000);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mark = format!("{UNTIL}{until}.{name}");
        openat2(folder, &mark, flags, Mode::from(0o600), BENEATH).map_err(at("make", path))?;
    }
    make(identity, folder, name, path.join(name))
}

/// Finds or makes a volume; an ephemeral one makes or uses the claim of its execution.
pub(super) fn find(
    home: &Home,
    identity: Identity,
    holder: Holder,
    claimed: &mut Option<Claim>,
    wanted: &Volume,
) -> Result<Found, Error> {
    check_name(&wanted.name)?;
    match wanted.life {
        Life::Persistent => persistent(home, identity, &wanted.name),
        Life::Ephemeral { ttl_hours } => {
            let claim = match claimed {
                Some(claim) => claim,
                None => claimed.insert(claim(home, holder)?),
            };
            ephemeral(identity, &claim.folder, &claim.path, &wanted.name, ttl_hours)
        }
    }
}

fn make(identity: Identity, parent: &OwnedFd, name: &str, path: PathBuf) -> Result<Found, Error> {
    match mkdirat(parent, name, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(at("make", &path)(errno)),
    }
    // One that was made and not given away, because the worker was killed in between, is given away now.
    own(parent, name, identity, &path)?;
    let folder = open_beneath(parent.as_fd(), name).map_err(at("open", &path))?;
    Ok(Found { path, folder })
}

/// Removes what an execution's volumes hold that nobody shows, and of which the time is over. Returns whether nothing is left.
fn expire(home: &Home, folder: &OwnedFd, now_ms: u64) -> Result<bool, Errno> {
    let names: Vec<CString> = Dir::read_from(folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    let lasting: Vec<&[u8]> =
        names.iter().filter_map(|mark| until(mark)).filter(|(end, _)| *end > now_ms).map(|(_, name)| name).collect();
    let mut empty = true;
    for name in &names {
        let kept = match until(name) {
            Some((end, _)) => end > now_ms,
            None => lasting.contains(&name.as_bytes()),
        };
        if matches!(name.as_bytes(), b"." | b"..") {
            continue;
        }
        if kept {
            empty = false;
        } else {
            discard(folder.as_fd(), name, home.folder.as_fd())?;
        }
    }
    Ok(empty)
}

/// The end that a mark tells, and the volume that it is for.
fn until(mark: &CStr) -> Option<(u64, &[u8])> {
    let rest = mark.to_bytes().strip_prefix(UNTIL.as_bytes())?;
    let dot = rest.iter().position(|byte| *byte == b'.')?;
    Some((std::str::from_utf8(&rest[..dot]).ok()?.parse().ok()?, &rest[dot + 1..]))
}

/// Of one agent, the ephemeral volumes past their time, unless a jail shows them.
pub(super) fn sweep(home: &Home, effort: &mut Effort) -> Result<(), Errno> {
    let all = match open_beneath(home.folder.as_fd(), EPHEMERAL) {
        Err(Errno::NOENT) => return Ok(()),
        all => reach_self(&all?)?,
    };
    for entry in Dir::read_from(&all)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        if !effort.spend() {
            return Ok(());
        }
        let folder = reach(all.as_fd(), name)?;
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() && expire(home, &folder, now_ms())? {
            // Whoever waits for the lock looks whether the folder is still there.
            let _ = unlinkat(&all, name, AtFlags::REMOVEDIR);
        }
    }
    Ok(())
}

/// What became of an execution's volumes.
pub(super) enum Removal {
    None,
    Discarded,
    /// A jail still shows them.
    Shown,
}

/// Takes all volumes of an execution away.
pub(super) fn end(home: &Home, holder: Holder) -> Result<Removal, Errno> {
    let name = CString::new(holder.to_string()).map_err(|_| Errno::INVAL)?;
    let all = match open_beneath(home.folder.as_fd(), EPHEMERAL) {
        Err(Errno::NOENT) => return Ok(Removal::None),
        all => all?,
    };
    let folder = match reach(all.as_fd(), &name) {
        Err(Errno::NOENT) => return Ok(Removal::None),
        folder => folder?,
    };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => discard(all.as_fd(), &name, home.folder.as_fd()).map(|()| Removal::Discarded),
        Err(Errno::WOULDBLOCK) => Ok(Removal::Shown),
        Err(errno) => Err(errno),
    }
}

fn reach_self(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    openat2(folder, ".", FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH)
}

fn is_still(parent: &OwnedFd, name: &str, folder: &OwnedFd) -> bool {
    let (Ok(named), Ok(opened)) = (statat(parent, name, AtFlags::SYMLINK_NOFOLLOW), fstat(folder)) else {
        return false;
    };
    (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
}

pub(super) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
