//! Files that have no name any more and still take room, because a program of the jail holds them open or mapped.
//! Must never: follow a descriptor to anywhere, or take another jail's processes for this one's.
//!
//! What cannot be seen from outside is a descriptor on its way in a socket: it counts again once somebody has taken it out.

use super::usage::allotted;
use rustix::fs::{AtFlags, CWD, FileType, Stat, major, minor, readlinkat, statat};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Descriptors and mappings that one look takes in.
const LOOKED_AT_MAX: usize = 200_000;
/// Bytes of all processes' lists of mappings that one look reads.
const MAPS_BYTES_MAX: u64 = 64 << 20;
const MAPS_BUFFER_BYTES: usize = 64 << 10;

/// Who is in a jail.
#[derive(Debug, Clone)]
pub(crate) struct JailProcesses {
    /// The host's process id of its first process.
    pub(crate) init: i32,
    /// The control groups that hold it; without any, its processes are found by their parents.
    pub(crate) cgroups: Arc<[PathBuf]>,
}

/// One file without a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnlinkedFile {
    /// Where it had its name, as the jail sees it; the kernel adds ` (deleted)`.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct UnlinkedFiles {
    pub(super) files: Vec<UnlinkedFile>,
    /// There is more than can be looked at.
    pub(super) unseen: bool,
}

/// The files of `device` that these processes hold, each once, but for those that are `counted` already.
pub(super) fn unlinked_files(
    processes: &JailProcesses,
    device: u64,
    counted: &mut HashSet<(u64, u64)>,
) -> UnlinkedFiles {
    let left = Left { looks: LOOKED_AT_MAX, maps_bytes: MAPS_BYTES_MAX };
    let mut found = Found { device, counted, unlinked: UnlinkedFiles::default(), left };
    for number in processes.processes() {
        let process = Path::new("/proc").join(number.to_string());
        // A thread may have descriptors of its own, but seldom has. What has just ended holds nothing.
        for thread in entries(&process.join("task")) {
            let id: Option<i32> = thread.file_name().and_then(|name| name.to_str()?.parse().ok());
            if id.is_none_or(|id| id == number || tenure_sandbox::share_descriptors(number, id) != Some(true)) {
                for descriptor in entries(&thread.join("fd")) {
                    found.look(&descriptor);
                }
            }
        }
        found.mapped(&process);
    }
    found.unlinked
}

struct Found<'a> {
    device: u64,
    counted: &'a mut HashSet<(u64, u64)>,
    unlinked: UnlinkedFiles,
    left: Left,
}

/// What this look may still do.
struct Left {
    looks: usize,
    maps_bytes: u64,
}

impl Found<'_> {
    fn look(&mut self, link: &Path) {
        let Some(left) = self.left.looks.checked_sub(1) else {
            self.unlinked.unseen = true;
            return;
        };
        self.left.looks = left;
        // The stat goes through the link to the open file; nothing is opened.
        if let Ok(found) = statat(CWD, link, AtFlags::empty())
            && self.is_new(&found)
        {
            let path = readlinkat(CWD, link, Vec::new()).map(|path| path.to_string_lossy().into_owned());
            self.unlinked.files.push(UnlinkedFile { path: path.unwrap_or_default().into(), bytes: allotted(&found) });
        }
    }

    fn is_new(&mut self, found: &Stat) -> bool {
        let file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let unlinked = file && found.st_nlink == 0 && found.st_dev == self.device;
        unlinked && self.counted.insert((found.st_dev, found.st_ino))
    }

    /// Mappings keep a file too. Who may not stat through them (root may) counts what is mapped.
    fn mapped(&mut self, process: &Path) {
        let Ok(maps) = File::open(process.join("maps")) else { return };
        let device = format!("{:02x}:{:02x}", major(self.device), minor(self.device));
        let mut maps = BufReader::with_capacity(MAPS_BUFFER_BYTES, maps.take(self.left.maps_bytes));
        let mut line = Vec::new();
        loop {
            line.clear();
            let Ok(count) = maps.read_until(b'\n', &mut line) else { return };
            self.left.maps_bytes -= count as u64;
            if !line.ends_with(b"\n") {
                // The end of the list, or of what may be read of it.
                self.unlinked.unseen |= self.left.maps_bytes == 0;
                return;
            }
            if line.ends_with(b" (deleted)\n") {
                self.mapping(process, &device, &String::from_utf8_lossy(&line[..line.len() - 1]));
            }
        }
    }

    fn mapping(&mut self, process: &Path, device: &str, line: &str) {
        let Some(mapping) = Mapping::parse(line).filter(|mapping| mapping.device == device) else { return };
        let file = (self.device, mapping.inode);
        if self.counted.contains(&file) {
            return;
        }
        let before = self.unlinked.files.len();
        self.look(&process.join("map_files").join(&mapping.range));
        if self.unlinked.files.len() == before && self.counted.insert(file) {
            self.unlinked.files.push(UnlinkedFile { path: mapping.path.into(), bytes: mapping.end });
        }
    }
}

/// A line of /proc/PID/maps.
struct Mapping<'a> {
    /// As `map_files` names it, without leading zeros.
    range: String,
    device: &'a str,
    inode: u64,
    path: &'a str,
    /// How far into the file it reaches.
    end: u64,
}

impl Mapping<'_> {
    fn parse(line: &str) -> Option<Mapping<'_>> {
        let mut fields = line.splitn(6, ' ');
        let (range, _, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let (device, inode) = (fields.next()?, fields.next()?.parse().ok()?);
        let path = fields.next()?.trim_start();
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        let range = format!("{start:x}-{end:x}");
        let end = number(offset)?.checked_add(end.checked_sub(start)?)?;
        Some(Mapping { range, device, inode, path, end })
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

impl JailProcesses {
    pub(crate) fn processes(&self) -> HashSet<i32> {
        let lists = self.cgroups.iter().filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
        let grouped: HashSet<i32> =
            lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        if grouped.is_empty() { below(self.init) } else { grouped }
    }
}

/// A process and its descendants: in a pid namespace of its own nobody gets another parent outside.
fn below(init: i32) -> HashSet<i32> {
    let parents: Vec<(i32, i32)> = entries(Path::new("/proc")).filter_map(|process| parent(&process)).collect();
    let mut family = HashSet::from([init]);
    loop {
        let before = family.len();
        for (pid, parent) in &parents {
            if family.contains(parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

fn parent(process: &Path) -> Option<(i32, i32)> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name in parentheses may hold anything; after it come the state and the parent.
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((pid, parent))
}

/// The file system that holds `folder`.
pub(super) fn device(folder: &OwnedFd) -> Result<u64, rustix::io::Errno> {
    Ok(rustix::fs::fstat(folder)?.st_dev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn an_open_file_without_a_name_is_found_once_and_one_with_a_name_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = tempfile::tempfile_in(folder.path()).unwrap();
        file.write_all(&[1; 300_000]).unwrap();
        let _again = file.try_clone().unwrap();
        let mut named = File::create(folder.path().join("named")).unwrap();
        named.write_all(&[1; 300_000]).unwrap();
        let own = JailProcesses { init: std::process::id() as i32, cgroups: Vec::new().into() };
        let mine = rustix::fs::fstat(&file).unwrap();
        let all = unlinked_files(&own, mine.st_dev, &mut HashSet::new());
        // Other tests of this process may hold files of their own.
        let ours: Vec<&UnlinkedFile> = all.files.iter().filter(|file| file.path.starts_with(folder.path())).collect();
        assert_eq!((ours.len(), all.unseen), (1, false), "{all:?}");
        assert!(ours[0].bytes >= 300_000);
        assert_eq!(unlinked_files(&own, mine.st_dev + 12345, &mut HashSet::new()).files, []);
        let mut counted = HashSet::from([(mine.st_dev, mine.st_ino)]);
        let rest = unlinked_files(&own, mine.st_dev, &mut counted).files;
        assert!(!rest.iter().any(|file| file.path.starts_with(folder.path())), "what is counted is not counted again");
    }

    #[test]
    fn a_line_of_mappings_says_how_far_into_the_file_it_reaches() {
        let line = "00007f10-00008f10 rw-s 00002000 fe:01 4711                       /workspace/a b (deleted)";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!((mapping.range.as_str(), mapping.device, mapping.inode), ("7f10-8f10", "fe:01", 4711));
        assert_eq!((mapping.path, mapping.end), ("/workspace/a b (deleted)", 0x1000 + 0x2000));
    }
}
