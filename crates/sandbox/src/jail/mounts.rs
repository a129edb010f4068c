//! Notices mounts and unmounts on the host that a half-made jail does not see. Those on a shared mount reach its copy of the
//! host's root by themselves; where that root is private, as in most containers, none does. None reaches the trees that the
//! jail took already.
//! Must never: miss a change that was made before an order was sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

pub(super) struct Mounts {
    table: File,
    known: BTreeMap<u32, Mount>,
    /// What jails take when they are half-made.
    taken: Vec<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    /// What happens to it happens to its copies too.
    shared: bool,
}

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

    /// Whether something changed since the last look that waiting jails do not see.
    pub(super) fn changed_unseen(&mut self) -> io::Result<bool> {
        let now = self.read()?;
        let new = now.iter().filter(|(number, _)| !self.known.contains_key(number));
        let gone = self.known.iter().filter(|(number, _)| !now.contains_key(number));
        // A mount on a shared one is shared too.
        let taken = |place: &PathBuf| self.taken.iter().any(|tree| place.starts_with(tree) || tree.starts_with(place));
        let unseen = new.chain(gone).any(|(_, mount)| !mount.shared || taken(&mount.place));
        self.known = now;
        Ok(unseen)
    }

    fn read(&mut self) -> io::Result<BTreeMap<u32, Mount>> {
        let mut text = String::new();
        self.table.rewind()?;
        self.table.read_to_string(&mut text)?;
        Ok(parse(&text))
    }
}

fn parse(text: &str) -> BTreeMap<u32, Mount> {
    let parse_line = |line: &str| {
        let (mount, _) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        // After six fields come the optional ones.
        let shared = fields.get(6..)?.iter().any(|field| field.starts_with("shared:"));
        Some((fields.first()?.parse().ok()?, Mount { place: PathBuf::from(fields.get(4)?), shared }))
    };
    text.lines().filter_map(parse_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mounts_are_told_from_private_ones() {
        let text = "22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n\
                    27 1 254:0 / / rw master:3 - ext4 /dev/vda rw\n\
                    31 27 0:30 / /shared:1 rw - tmpfs none rw\nnonsense\n";
        let mount = |place: &str, shared| Mount { place: place.into(), shared };
        let expected = [(22, mount("/proc", true)), (27, mount("/", false)), (31, mount("/shared:1", false))];
        assert_eq!(parse(text), BTreeMap::from(expected));
    }
}
