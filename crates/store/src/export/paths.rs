//! The nodes of the tree over a ledger's leaves, in a temporary file: inclusion paths of any of them without a tree in memory.
//! It takes 64 bytes of disk a record.
use crate::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use tenure_core::bound::Hash;
use tenure_core::ledger::{Frontier, node};

const DOING: &str = "keeping the tree in a temporary file";
/// Bytes of one level that are written at a time.
const BUFFER: usize = 8 * 1024;

/// The nodes of one level, in order.
struct Level {
    /// Where its first node would be in the file.
    offset: u64,
    /// Position of the first node in the buffer.
    from: u64,
    buffer: Vec<u8>,
}

/// Takes the leaves, one after another.
pub(crate) struct Builder {
    file: File,
    size: u64,
    levels: Vec<Level>,
    peaks: Vec<Hash>,
    next: u64,
}

impl Builder {
    /// Of a tree of `size` leaves, of which those of `frontier` came before the first that is given.
    pub(crate) fn new(size: u64, frontier: &Frontier) -> Result<Builder, Error> {
        let next = frontier.size();
        let mut offset = 0;
        let mut levels = Vec::new();
        for level in 0..u64::BITS - size.leading_zeros() {
            levels.push(Level { offset, from: next >> level, buffer: Vec::new() });
            offset += (size >> level) * 32;
        }
        let file = tempfile::tempfile_in(folder()).map_err(failed)?;
        let peaks = frontier.peaks().to_vec();
        let bits = (0..u64::BITS).rev().filter(|level| next >> level & 1 == 1);
        for (level, peak) in bits.zip(&peaks) {
            let place = levels[level as usize].offset + ((next >> level) - 1) * 32;
            file.write_all_at(&peak.0, place).map_err(failed)?;
        }
        Ok(Builder { file, size, levels, peaks, next })
    }

    pub(crate) fn push(&mut self, leaf: Hash) -> Result<(), Error> {
        let (mut hash, mut level) = (leaf, 0);
        self.put(level, hash)?;
        for _ in 0..self.next.trailing_ones() {
            let left = self.peaks.pop().expect("invariant: a peak for each set bit of the size");
            hash = node(&left, &hash);
            level += 1;
            self.put(level, hash)?;
        }
        self.peaks.push(hash);
        self.next += 1;
        Ok(())
    }

    fn put(&mut self, level: usize, hash: Hash) -> Result<(), Error> {
        let Some(kept) = self.levels.get_mut(level) else {
            return Err(Error::invariant("more leaves than the tree has"));
        };
        kept.buffer.extend_from_slice(&hash.0);
        if kept.buffer.len() >= BUFFER { kept.flush(&self.file) } else { Ok(()) }
    }

    /// The tree, once all leaves came.
    pub(crate) fn finish(mut self) -> Result<Paths, Error> {
        if self.next != self.size {
            return Err(Error::corrupt(format!("the ledger has {} records, and its head {}", self.next, self.size)));
        }
        for level in &mut self.levels {
            level.flush(&self.file)?;
        }
        let offsets = self.levels.iter().map(|level| level.offset).collect();
        Ok(Paths { file: self.file, size: self.size, offsets, met: Vec::new() })
    }
}

impl Level {
    fn flush(&mut self, file: &File) -> Result<(), Error> {
        file.write_all_at(&self.buffer, self.offset + self.from * 32).map_err(failed)?;
        self.from += (self.buffer.len() / 32) as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Gives the paths, quickest in order.
pub(crate) struct Paths {
    file: File,
    size: u64,
    offsets: Vec<u64>,
    /// The sibling of each depth that was asked for last: neighbours share most of theirs.
    met: Vec<((u64, u64), Hash)>,
}

impl Paths {
    pub(crate) fn root(&self) -> Result<Hash, Error> {
        self.root_of(0, self.size)
    }

    /// From the leaf to the root.
    pub(crate) fn path(&mut self, index: u64) -> Result<Vec<Hash>, Error> {
        let (mut start, mut end) = (0, self.size);
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            let sibling = if index < middle { (middle, end) } else { (start, middle) };
            (start, end) = if index < middle { (start, middle) } else { (middle, end) };
            path.push(self.sibling(path.len(), sibling)?);
        }
        path.reverse();
        Ok(path)
    }

    fn sibling(&mut self, depth: usize, (start, end): (u64, u64)) -> Result<Hash, Error> {
        if let Some((range, hash)) = self.met.get(depth)
            && *range == (start, end)
        {
            return Ok(*hash);
        }
        let hash = self.root_of(start, end)?;
        self.met.truncate(depth);
        self.met.push(((start, end), hash));
        Ok(hash)
    }

    fn root_of(&self, start: u64, end: u64) -> Result<Hash, Error> {
        let count = end - start;
        if count.is_power_of_two() {
            let level = count.trailing_zeros();
            let offset = self.offsets.get(level as usize).copied().unwrap_or_default();
            let mut hash = Hash([0; 32]);
            self.file.read_exact_at(&mut hash.0, offset + (start >> level) * 32).map_err(failed)?;
            return Ok(hash);
        }
        let middle = start + split(count);
        Ok(node(&self.root_of(start, middle)?, &self.root_of(middle, end)?))
    }
}

/// The greatest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// Where the database's own temporary files lie.
fn folder() -> PathBuf {
    let named = ["SQLITE_TMPDIR", "TMPDIR"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain([PathBuf::from("/var/tmp")]).find(|folder| folder.is_dir()).unwrap_or_else(|| PathBuf::from("/tmp"))
}

fn failed(error: std::io::Error) -> Error {
    Error::file(DOING, &error).of_temporary(DOING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::ledger::leaf;

    fn root(leaves: &[Hash]) -> Hash {
        if let [one] = leaves {
            return *one;
        }
        let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
        node(&root(left), &root(right))
    }

    fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let middle = split(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(middle);
        let (mut inner, sibling) =
            if index < middle { (path(index, left), root(right)) } else { (path(index - middle, right), root(left)) };
        inner.push(sibling);
        inner
    }

    #[test]
    fn the_paths_are_those_of_rfc_6962_also_where_the_first_leaves_are_known_by_their_frontier_alone() {
        for size in (1..=70).chain([255, 256, 257, 1000]) {
            let leaves: Vec<Hash> = (0..size).map(|index: u64| leaf(&index.to_be_bytes())).collect();
            for begin in [0, size / 3, size / 2, size - 1] {
                let mut frontier = Frontier::default();
                leaves[..begin as usize].iter().for_each(|leaf| frontier.push(*leaf));
                let mut builder = Builder::new(size, &frontier).unwrap();
                leaves[begin as usize..].iter().for_each(|leaf| builder.push(*leaf).unwrap());
                let mut paths = builder.finish().unwrap();
                assert_eq!(paths.root().unwrap(), root(&leaves), "{size} from {begin}");
                for index in (begin..size).chain([begin]) {
                    assert_eq!(paths.path(index).unwrap(), path(index as usize, &leaves), "{index} of {size}");
                }
            }
        }
    }
}
