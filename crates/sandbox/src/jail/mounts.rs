//! Notices mounts and unmounts on the host that a prewarmed jail does not see. Those on a shared mount reach its copy of the
//! host's root by themselves; where that root is private, as in most containers, none does. None reaches the trees that the
//! jail took already.
//! Must never: miss a change that was made before an order was sent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Most mounts that one jail may not see before it is of no more use.
const UNSEEN_MAX: usize = 64;

pub(super) struct Mounts {
    table: File,
    known: BTreeMap<u32, Mount>,
    /// What jails take when they are prewarmed.
    taken: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    /// What happens to it happens to its copies too.
    shared: bool,
}

/// What happened on the host out of sight of the jails that wait.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Mounts by their numbers, with their places.
    new: Vec<(u32, PathBuf)>,
    gone: Vec<u32>,
    /// Some of it lies where jails take their view from.
    in_view: bool,
}

/// What the host mounted since one jail was prewarmed, as far as that jail does not see it.
#[derive(Debug, Default)]
pub(super) struct Unseen(BTreeMap<u32, PathBuf>);

impl Mounts {
    pub(super) fn look(taken: Vec<PathBuf>) -> io::Result<Self> {
        let mut mounts = Self { table: File::open("/proc/self/mountinfo")?, known: BTreeMap::new(), taken };
        mounts.known = mounts.read()?;
        Ok(mounts)
    }

    /// Has an exceptional condition once after each change.
    pub(super) fn changes(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }

    /// What changed unseen since the last look.
    pub(super) fn look_again(&mut self) -> io::Result<Changes> {
        let now = self.read()?;
        let mut changes = Changes::default();
        let before = std::mem::replace(&mut self.known, now);
        let new = self.known.iter().filter(|(number, _)| !before.contains_key(number));
        let gone = before.iter().filter(|(number, _)| !self.known.contains_key(number));
        for ((number, mount), is_new) in new.map(|new| (new, true)).chain(gone.map(|gone| (gone, false))) {
            changes.in_view |= self.taken.iter().any(|tree| touch(tree, &mount.place));
            // A mount on a shared one is shared too.
            match (mount.shared, is_new) {
                (true, _) => {}
                (false, true) => changes.new.push((*number, mount.place.clone())),
                (false, false) => changes.gone.push(*number),
            }
        }
        Ok(changes)
    }

    fn read(&mut self) -> io::Result<BTreeMap<u32, Mount>> {
        let mut text = Vec::new();
        self.table.rewind()?;
        self.table.read_to_end(&mut text)?;
        Ok(parse(&text))
    }
}

impl Unseen {
    /// Whether the jail is still of use: it may not keep alive what the host unmounted.
    pub(super) fn take_note(&mut self, changes: &Changes) -> bool {
        let mut holds_gone = false;
        for number in &changes.gone {
            holds_gone |= self.0.remove(number).is_none();
        }
        self.0.extend(changes.new.iter().cloned());
        !holds_gone && !changes.in_view && self.0.len() <= UNSEEN_MAX
    }

    /// Whether what lies at `path` may be something else for the host than for the jail.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        let plain = !path.components().any(|part| part == std::path::Component::ParentDir);
        !self.0.is_empty() && (!plain || self.0.values().any(|place| touch(place, path)))
    }
}

/// Whether one lies in the other.
fn touch(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn parse(text: &[u8]) -> BTreeMap<u32, Mount> {
    let parse_line = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        // After six fields come the optional ones, up to a dash.
        let optional = fields.get(6..)?.iter().take_while(|field| **field != b"-");
        let shared = optional.into_iter().any(|field| field.starts_with(b"shared:"));
        let number = std::str::from_utf8(fields.first()?).ok()?.parse().ok()?;
        Some((number, Mount { place: unescape(fields.get(4)?), shared }))
    };
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// Spaces, tabs, newlines and backslashes stand there as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, others)) = rest.split_first() {
        let digits =
            others.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mounts_are_told_from_private_ones() {
        let text = b"22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n\
                     27 1 254:0 / / rw master:3 - ext4 /dev/vda rw\n\
                     31 27 0:30 / /shared:1 rw - tmpfs shared:2 rw\n\
                     32 27 0:31 / /a\\040b\\134 rw - tmpfs none rw\nnonsense\n";
        let mount = |place: &str, shared| Mount { place: place.into(), shared };
        let expected = [
            (22, mount("/proc", true)),
            (27, mount("/", false)),
            (31, mount("/shared:1", false)),
            (32, mount("/a b\\", false)),
        ];
        assert_eq!(parse(text), BTreeMap::from(expected));
    }

    #[test]
    fn a_waiting_jail_is_of_use_where_nothing_changed_and_holds_nothing_that_is_gone() {
        let new = |number, place: &str| Changes { new: vec![(number, place.into())], ..Changes::default() };
        let gone = |number| Changes { gone: vec![number], ..Changes::default() };
        let mut unseen = Unseen::default();
        assert!(!unseen.concerns(Path::new("/any/../where")), "nothing changed");
        assert!(unseen.take_note(&new(40, "/srv/one")));
        for (path, concerned) in [("/srv/one", true), ("/srv/one/deep", true), ("/srv", true), ("/srv/other", false)] {
            assert_eq!(unseen.concerns(Path::new(path)), concerned, "{path}");
        }
        assert!(unseen.concerns(Path::new("/srv/other/../one")), "such a path is not looked through");
        assert!(unseen.take_note(&gone(40)), "it never had that one");
        assert!(!unseen.concerns(Path::new("/srv/one")));
        assert!(!unseen.take_note(&gone(7)), "a mount that was there when it was made is in its copy");
        assert!(!Unseen::default().take_note(&Changes { in_view: true, ..Changes::default() }));
        let mut unseen = Unseen::default();
        let useful = (0..100).filter(|number| unseen.take_note(&new(*number, "/x"))).count();
        assert_eq!(useful, UNSEEN_MAX);
    }
}
