//! How much of the disk lies in the data directory, and as what: found by looking, outside the writer, within bounds of names,
//! depth and time. Must never: follow a link, leave the file system, or count what it did not look at as nothing.
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use strum::{EnumCount, IntoEnumIterator};
use tenure_wire::api::status::DiskUse;

/// Names that one look counts.
const NAMES_MAX: u64 = 200_000;
/// Folders in each other that it goes into.
const DEPTH_MAX: usize = 64;
const TIME_MAX: Duration = Duration::from_millis(750);
/// A look is good for so long: whoever asks more often gets the last one.
const FRESH: Duration = Duration::from_secs(60);
/// As bytes of a block are counted by `stat`.
const BLOCK: u64 = 512;

/// What a file or folder of the data directory is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumCount, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Sort {
    /// Records, rows and small payloads.
    Database,
    /// Large payloads.
    Blobs,
    WorkFolders,
    Volumes,
    Logs,
    Models,
    /// Keys, heads, room for a full disk, what workers need while they run.
    Other,
}

/// The last look.
#[derive(Debug, Default)]
pub struct Disk(Mutex<Option<(Instant, Vec<DiskUse>)>>);

impl Disk {
    /// What lies there, by sort. Blocks for less than a second.
    pub fn look(&self, data_dir: &Path) -> Vec<DiskUse> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, known)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return known.clone();
        }
        let found = look(data_dir, Bounds { names: NAMES_MAX, deadline: Instant::now() + TIME_MAX });
        *last = Some((Instant::now(), found.clone()));
        found
    }
}

struct Bounds {
    names: u64,
    deadline: Instant,
}

struct Count {
    bounds: Bounds,
    /// Of files with several names, those that were counted.
    seen: HashSet<(u64, u64)>,
    device: u64,
    sums: [Sum; Sort::COUNT],
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    bytes: u64,
    /// Some of it could not be looked at.
    beyond: bool,
}

fn look(data_dir: &Path, bounds: Bounds) -> Vec<DiskUse> {
    let mut count = Count { bounds, seen: HashSet::new(), device: 0, sums: [Sum::default(); Sort::COUNT] };
    match rustix::fs::open(data_dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(top) => {
            count.device = rustix::fs::fstat(&top).map_or(0, |stat| stat.st_dev);
            count.folder(&top, None, 0);
        }
        Err(_) => count.sums.iter_mut().for_each(|sum| sum.beyond = true),
    }
    let use_of = |sort: Sort| {
        let Sum { bytes, beyond } = count.sums[sort as usize];
        DiskUse { what: <&str>::from(sort).to_string(), bytes, beyond }
    };
    Sort::iter().map(use_of).collect()
}

/// Of a name in the data directory itself; `agents` is told apart by what lies in each agent's folder.
fn sort_of(name: &CStr) -> Sort {
    match name.to_bytes() {
        b"tenure.db" | b"tenure.db-wal" | b"tenure.db-shm" => Sort::Database,
        b"blobs" => Sort::Blobs,
        b"models" => Sort::Models,
        name if name.starts_with(b"daemon.log") => Sort::Logs,
        _ => Sort::Other,
    }
}

impl Count {
    fn at(&mut self, sort: Sort) -> &mut Sum {
        &mut self.sums[sort as usize]
    }

    /// `sort`: what all of it is; none in the data directory itself and, at depth 1 and 2, in `agents`.
    fn folder(&mut self, folder: &OwnedFd, sort: Option<Sort>, depth: usize) {
        let shown = sort.unwrap_or(if depth == 0 { Sort::Other } else { Sort::WorkFolders });
        let Ok(entries) = Dir::read_from(folder) else {
            self.at(shown).beyond = true;
            return;
        };
        for entry in entries {
            let Ok(entry) = entry else {
                self.at(shown).beyond = true;
                return;
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.bounds.names == 0 || Instant::now() >= self.bounds.deadline {
                // What was not come to may be of any sort.
                self.sums.iter_mut().for_each(|sum| sum.beyond = true);
                return;
            }
            self.bounds.names -= 1;
            let within = match (sort, depth) {
                (Some(sort), _) => Some(sort),
                (None, 0) if name == c"agents" => None,
                (None, 0) => Some(sort_of(name)),
                // An agent's folder, then what lies in it.
                (None, 1) => None,
                (None, _) if name == c"volumes" || name == c"ephemeral" => Some(Sort::Volumes),
                (None, _) => Some(Sort::WorkFolders),
            };
            self.entry(folder, name, within, depth);
        }
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CStr, sort: Option<Sort>, depth: usize) {
        let shown = sort.unwrap_or(Sort::WorkFolders);
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_dev == self.device => stat,
            // Gone just now, or of another file system.
            Ok(_) | Err(Errno::NOENT) => return,
            Err(_) => {
                self.at(shown).beyond = true;
                return;
            }
        };
        self.add(&stat, shown);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(folder, name, flags, Mode::empty()) {
            Ok(inner) if depth < DEPTH_MAX => self.folder(&inner, sort, depth + 1),
            // Somebody put something else there just now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Ok(_) | Err(_) => self.at(shown).beyond = true,
        }
    }

    fn add(&mut self, stat: &Stat, sort: Sort) {
        if stat.st_nlink > 1
            && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
            && !self.seen.insert((stat.st_dev, stat.st_ino))
        {
            return;
        }
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
        let sum = self.at(sort);
        sum.bytes = sum.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn bytes(found: &[DiskUse], what: &str) -> u64 {
        found.iter().find(|sum| sum.what == what).map_or(0, |sum| sum.bytes)
    }

    fn wide() -> Bounds {
        Bounds { names: 10_000, deadline: Instant::now() + Duration::from_secs(60) }
    }

    #[test]
    fn what_lies_there_is_counted_by_what_it_is_for_and_no_link_is_followed() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("data");
        let large = vec![b'x'; 256 * 1024];
        let (one, other) = (root.join("agents").join("agt_1"), root.join("agents").join("agt_2"));
        let work = one.join("work");
        for path in [root.join("blobs/ab/cd"), work.join("a"), one.join("volumes/v/b"), other.join("ephemeral/e/v/c")] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &large).unwrap();
        }
        fs::write(root.join("tenure.db"), &large).unwrap();
        fs::write(root.join("daemon.log"), &large).unwrap();
        fs::write(outer.path().join("elsewhere"), vec![b'x'; 4 << 20]).unwrap();
        std::os::unix::fs::symlink(outer.path(), work.join("out")).unwrap();
        fs::hard_link(work.join("a"), work.join("again")).unwrap();
        let found = look(&root, wide());
        for (what, files) in [("database", 1), ("blobs", 1), ("work_folders", 1), ("volumes", 2), ("logs", 1)] {
            let (least, most) = (files * 256 * 1024, files * 256 * 1024 + 128 * 1024);
            assert!((least..most).contains(&bytes(&found, what)), "{what}: {found:?}");
        }
        assert!(found.iter().all(|sum| !sum.beyond), "{found:?}");
    }

    #[test]
    fn a_look_that_comes_to_its_bounds_says_that_there_is_more() {
        let root = tempfile::tempdir().unwrap();
        (0..20).for_each(|number| fs::write(root.path().join(format!("f{number}")), "x").unwrap());
        let few = look(root.path(), Bounds { names: 5, ..wide() });
        assert!(few.iter().all(|sum| sum.beyond), "{few:?}");
        let late = look(root.path(), Bounds { deadline: Instant::now(), ..wide() });
        assert!(late.iter().all(|sum| sum.beyond && sum.bytes == 0), "{late:?}");
        let mut deep = root.path().to_path_buf();
        (0..DEPTH_MAX + 3).for_each(|_| deep.push("d"));
        fs::create_dir_all(&deep).unwrap();
        assert!(look(root.path(), wide()).iter().any(|sum| sum.beyond), "what lies too deep is not counted as nothing");
    }
}
