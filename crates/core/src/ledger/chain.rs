//! The Merkle tree of RFC 6962, section 2.1, kept as its frontier: appending needs no leaf that came before.
use crate::bound::Hash;
use sha2::{Digest, Sha256};

/// The leaf hash of a record's stored bytes.
pub fn leaf(bytes: &[u8]) -> Hash {
    let mut digest = Sha256::new();
    digest.update([0u8]);
    digest.update(bytes);
    Hash(digest.finalize().into())
}

/// The hash of an inner node.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1u8; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash(Sha256::digest(bytes).into())
}

/// The roots of the tree's full subtrees, greatest first: one for each set bit of `size`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("invariant: a peak for each set bit of the size");
            hash = node(&left, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// SHA-256 of nothing while there is no leaf.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Hash::of(&[]) };
        peaks.fold(*last, |right, left| node(left, &right))
    }

    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The peaks, 32 bytes each, as they are stored beside the size.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.peaks.iter().flat_map(|peak| peak.0).collect()
    }

    /// None where the bytes are not one hash for each set bit of `size`.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Frontier> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && hashes.len() == size.count_ones() as usize;
        fits.then(|| Frontier { size, peaks: hashes.iter().map(|hash| Hash(*hash)).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;

    /// The leaves and roots of the reference test vectors of RFC 6962 implementations.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_roots_are_those_of_the_rfc_6962_vectors() {
        let mut frontier = Frontier::default();
        for (size, root) in ROOTS.iter().enumerate() {
            assert_eq!(frontier.root().to_string(), *root, "root of {size} leaves");
            if let Some(text) = LEAVES.get(size) {
                frontier.push(leaf(&bytes(text)));
            }
        }
    }

    #[test]
    fn the_roots_are_those_of_ct_merkle_and_the_frontier_reads_back() {
        let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut frontier = Frontier::default();
        for index in 0u32..600 {
            let record = format!("record {index}").into_bytes();
            frontier.push(leaf(&record));
            tree.push(record);
            assert_eq!(frontier.root().0.as_slice(), tree.root().as_bytes().as_slice());
            let again = Frontier::from_bytes(frontier.size(), &frontier.to_bytes());
            assert_eq!(again.as_ref(), Some(&frontier));
        }
        assert_eq!(Frontier::from_bytes(frontier.size() + 1, &frontier.to_bytes()), None);
    }
}
