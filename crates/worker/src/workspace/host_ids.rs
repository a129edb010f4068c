//! Host ids for agents, counted for the whole host: what an agent left in a folder of the host's, or in a copy of its home, stays
//! its own for good. Must never: give an id a second time, whichever worker of this host asks, or whatever has been removed
//! since.
//!
//! ```text
//! claim: the counter is locked → the greatest of (counter, what this data directory knows) → counter and data directory have
//!        the next one, synced → the id is given
//! ```
use crate::error::Error;
use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock, fstat, fsync, mkdirat, open, openat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where ids of agents may lie, with how many: the first that this (perhaps nested) user namespace maps whole is taken.
const RANGES: [(u32, u32); 4] = [(2_000_000, 1_000_000), (2_000_000, 30_000), (200_000, 30_000), (30_000, 30_000)];
/// Where the host's own counter lies, one for each range. A data directory has one of the same name, which a backup takes along.
const HOST_PARENT: &str = "/var/lib";
const HOST_FOLDER: &str = "tenure-host";
/// How long another worker may hold the counter; it does so for some syncs of one line.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const DIGITS: usize = 10;

#[derive(Debug)]
pub(super) struct HostIds {
    first: u32,
    count: u32,
    /// The least that nobody is known to have had here.
    next: AtomicU32,
    host_parent: PathBuf,
    local: PathBuf,
}

impl HostIds {
    pub(super) fn open(data_dir: &Path) -> Result<HostIds, Error> {
        HostIds::open_at(data_dir, Path::new(HOST_PARENT))
    }

    fn open_at(data_dir: &Path, host_parent: &Path) -> Result<HostIds, Error> {
        let (least, most) = RANGES[RANGES.len() - 1];
        let (first, count) = range().ok_or(Error::IdsUsedUp { from: least, to: least + most })?;
        let local = data_dir.join(file_name(first));
        // The range's first is the trial jail's.
        let ids = HostIds { first, count, next: AtomicU32::new(first + 1), host_parent: host_parent.to_owned(), local };
        match File::open(&ids.local) {
            Ok(file) => {
                if let Some(next) = read(&file, &ids.local)? {
                    ids.next.fetch_max(next, Ordering::Relaxed);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(format!("open {}", ids.local.display()))(error)),
        }
        Ok(ids)
    }

    /// Of the jail that is tried at a worker's start; it leaves no files.
    pub(super) fn trial(&self) -> u32 {
        self.first
    }

    pub(super) fn holds(&self, id: u32) -> bool {
        (self.first + 1..self.first + self.count).contains(&id)
    }

    /// An id that somebody has had.
    pub(super) fn seen(&self, id: u32) {
        if self.holds(id) {
            self.next.fetch_max(id + 1, Ordering::Relaxed);
        }
    }

    /// Tells the host what was seen here, so that no other worker gives it. Blocks.
    pub(super) fn register(&self) -> Result<(), Error> {
        let (counter, path) = self.lock()?;
        let next = read(&counter, &path)?.unwrap_or(0).max(self.next.load(Ordering::Relaxed));
        write(&counter, &path, next)
    }

    /// One that nobody has had. Blocks.
    pub(super) fn claim(&self) -> Result<u32, Error> {
        let (counter, path) = self.lock()?;
        // It only grows: a worker with a longer range may have gone beyond this one's end.
        let id = read(&counter, &path)?.unwrap_or(0).max(self.next.load(Ordering::Relaxed));
        if !self.holds(id) {
            return Err(Error::IdsUsedUp { from: self.first, to: self.first + self.count });
        }
        write(&counter, &path, id + 1)?;
        self.seen(id);
        let made =
            open(&self.local, OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::from(0o600));
        let local = made.map_err(Error::errno(format!("open {}", self.local.display())))?;
        write(&File::from(local), &self.local, id + 1)?;
        Ok(id)
    }

    /// The host's counter, held until it is dropped.
    fn lock(&self) -> Result<(File, PathBuf), Error> {
        let folder = self.host_parent.join(HOST_FOLDER);
        let path = folder.join(file_name(self.first));
        let refuse = |errno: Errno| Error::HostIds { path: path.display().to_string(), why: errno.to_string() };
        let top = host_folder(&self.host_parent).map_err(refuse)?;
        let found = fstat(&top).map_err(refuse)?;
        if found.st_uid != rustix::process::geteuid().as_raw() || found.st_mode & 0o022 != 0 {
            let why = "it must belong to root, and nobody else may write there";
            return Err(Error::Unsafe { path: folder.display().to_string(), why });
        }
        let name = path.file_name().unwrap_or_default();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let counter = openat(&top, name, flags, Mode::from(0o600)).map_err(refuse)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match flock(&counter, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok((counter.into(), path)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(errno) => return Err(refuse(errno)),
            }
        }
    }
}

fn file_name(first: u32) -> String {
    format!("host-ids-{first}")
}

fn host_folder(parent: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let parent = open(parent, flags, Mode::empty())?;
    match mkdirat(&parent, HOST_FOLDER, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    openat(&parent, HOST_FOLDER, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// None of an empty file, as one that is new.
fn read(file: &File, path: &Path) -> Result<Option<u32>, Error> {
    let mut bytes = [0; DIGITS];
    let count = file.read_at(&mut bytes, 0).map_err(Error::io(format!("read {}", path.display())))?;
    if count == 0 {
        return Ok(None);
    }
    let number = std::str::from_utf8(&bytes[..count]).ok().and_then(|text| text.trim().parse().ok());
    let why = "it holds no number: write there the first host id that no agent of this host has had";
    number.map(Some).ok_or(Error::Unsafe { path: path.display().to_string(), why })
}

/// In one write of one length, so that a crash leaves the former number or this one.
fn write(file: &File, path: &Path, next: u32) -> Result<(), Error> {
    let failed = || Error::io(format!("write {}", path.display()));
    file.write_all_at(format!("{next:0DIGITS$}\n").as_bytes(), 0).map_err(failed())?;
    fchmod(file, Mode::from(0o600)).map_err(|errno| failed()(errno.into()))?;
    fsync(file).map_err(|errno| failed()(errno.into()))
}

/// The first range that `/proc/self/{uid,gid}_map` holds whole.
fn range() -> Option<(u32, u32)> {
    let maps =
        ["/proc/self/uid_map", "/proc/self/gid_map"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    RANGES.into_iter().find(|(first, count)| maps.iter().all(|map| maps_whole(map, *first, *count)))
}

fn maps_whole(map: &str, first: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (inside, _, mapped) = (numbers.next(), numbers.next(), numbers.next());
        let (Some(inside), Some(mapped)) = (inside, mapped) else { return false };
        inside <= u64::from(first) && u64::from(first) + u64::from(count) <= inside + mapped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Arc;

    /// A host, and data directories on it.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Host {
            let folder = tempfile::tempdir().unwrap();
            ["lib", "a", "b"].iter().for_each(|name| std::fs::create_dir(folder.path().join(name)).unwrap());
            Host(folder)
        }

        fn ids(&self, data_dir: &str) -> HostIds {
            HostIds::open_at(&self.0.path().join(data_dir), &self.0.path().join("lib")).unwrap()
        }

        fn counter(&self) -> PathBuf {
            let folder = self.0.path().join("lib/tenure-host");
            std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
        }
    }

    #[test]
    fn no_id_is_given_twice_by_two_workers_of_one_host_nor_after_everything_was_removed() {
        let host = Host::new();
        let (first, second) = (host.ids("a"), host.ids("b"));
        let mut given: Vec<u32> = (0..3).flat_map(|_| [first.claim().unwrap(), second.claim().unwrap()]).collect();
        given.push(host.ids("a").claim().unwrap());
        // The host's counter is lost: what each data directory knows still holds for it.
        std::fs::remove_file(host.counter()).unwrap();
        let after = host.ids("a").claim().unwrap();
        assert!(!given.contains(&after) && after > first.trial(), "{after} of {given:?}");
        // The data directory is lost: the host still knows.
        std::fs::remove_file(&first.local).unwrap();
        given.extend([after, host.ids("a").claim().unwrap()]);
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), given.len(), "{given:?}");
    }

    #[test]
    fn what_was_given_before_there_was_a_counter_is_registered_for_the_others() {
        let host = Host::new();
        let old = host.ids("a");
        old.seen(old.trial() + 40);
        old.seen(0);
        let control = host.ids("b").claim().unwrap();
        assert_eq!(control, old.trial() + 1, "the control: unregistered, nobody knows of it");
        old.register().unwrap();
        assert_eq!(host.ids("b").claim().unwrap(), old.trial() + 41);
    }

    #[test]
    fn many_that_claim_at_once_get_different_ids() {
        let host = Arc::new(Host::new());
        let claiming = |name: &'static str| {
            let host = Arc::clone(&host);
            std::thread::spawn(move || {
                let ids = host.ids(name);
                (0..25).map(|_| ids.claim().unwrap()).collect::<Vec<_>>()
            })
        };
        let threads = [claiming("a"), claiming("b"), claiming("a"), claiming("b")];
        let given: Vec<u32> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn a_counter_that_cannot_be_trusted_gives_nothing() {
        let host = Host::new();
        let ids = host.ids("a");
        ids.claim().unwrap();
        std::fs::write(host.counter(), "x").unwrap();
        assert!(ids.claim().unwrap_err().to_string().contains("holds no number"));
        std::fs::remove_file(host.counter()).unwrap();
        ids.claim().unwrap();
        let last = format!("{:010}\n", ids.first + ids.count);
        std::fs::write(host.counter(), last).unwrap();
        assert!(matches!(ids.claim(), Err(Error::IdsUsedUp { .. })), "at the range's end none is left");
        let beyond = format!("{:010}\n", ids.first + ids.count + 77);
        std::fs::write(host.counter(), &beyond).unwrap();
        ids.register().unwrap();
        assert!(
            matches!(host.ids("b").claim(), Err(Error::IdsUsedUp { .. })),
            "nor beyond it, and nothing begins anew"
        );
        assert_eq!(std::fs::read_to_string(host.counter()).unwrap(), beyond);
        let folder = host.0.path().join("lib/tenure-host");
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(ids.claim().unwrap_err().to_string().contains("must belong to root"));
    }

    #[test]
    fn a_range_is_taken_only_where_it_is_mapped_whole() {
        assert!(maps_whole("0 0 4294967295", 2_000_000, 1_000_000));
        assert!(maps_whole("0 100000 65536", 30_000, 30_000) && !maps_whole("0 100000 65536", 200_000, 30_000));
        assert!(!maps_whole("0 0 2000001\n2000001 5 9", 2_000_000, 30_000));
    }
}
