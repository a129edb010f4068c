//! Notices mounts and unmounts on the host that a half-made jail cannot see. Those on a shared mount reach its copy by
//! themselves; where the host's root is private, as in most containers, none does.
//! Must never: miss a change that was made before an order was sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};

pub(super) struct Mounts {
    table: File,
    /// Each mount's number, and whether what happens to it is seen by its copies too.
    known: BTreeMap<u32, bool>,
}

impl Mounts {
    pub(super) fn look() -> io::Result<Self> {
        let mut mounts = Self { table: File::open("/proc/self/mountinfo")?, known: BTreeMap::new() };
        mounts.known = mounts.read()?;
        Ok(mounts)
    }

    /// Has an exceptional condition once after each change.
    pub(super) fn changes(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }

    /// Whether something changed since the last look that copies do not see.
    pub(super) fn changed_unseen(&mut self) -> io::Result<bool> {
        let now = self.read()?;
        let new = now.iter().filter(|(number, _)| !self.known.contains_key(number));
        let gone = self.known.iter().filter(|(number, _)| !now.contains_key(number));
        // A mount on a shared one is shared too.
        let unseen = new.chain(gone).any(|(_, shared)| !shared);
        self.known = now;
        Ok(unseen)
    }

    fn read(&mut self) -> io::Result<BTreeMap<u32, bool>> {
        let mut text = String::new();
        self.table.rewind()?;
        self.table.read_to_string(&mut text)?;
        Ok(parse(&text))
    }
}

fn parse(text: &str) -> BTreeMap<u32, bool> {
    let parse_line = |line: &str| {
        let (mount, _) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let number = fields.next()?.parse().ok()?;
        // After six fields come the optional ones.
        Some((number, fields.skip(5).any(|field| field.starts_with("shared:"))))
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
        assert_eq!(parse(text), BTreeMap::from([(22, true), (27, false), (31, false)]));
    }
}
