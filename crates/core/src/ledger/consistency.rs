//! That a ledger only grew: between two signed heads, the consistency proof of RFC 6962, section 2.1.2. Whoever kept an old head is
//! shown that all records under it lie under a newer one, unchanged and at their places, without seeing any of them.
//!
//! ```text
//! {"consistency":{…}}    both heads, the hand-overs between the ledger's keys, the proof: one canonical JSON object, one line
//! ```
//! The prover sees each leaf once, in order, and holds as many hashes as the tree is high. No IO.
use super::chain::Frontier;
use super::export::Rotation;
use super::head::{Signed, Verifier};
use super::keys::Keys;
use super::record::{Unrecordable, canonical};
use crate::bound::Hash;
use crate::id::ProjectId;
use ct_merkle::{ConsistencyProof, RootHash};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::ops::Range;

pub const FORMAT: &str = "tenure ledger consistency";
pub const FORMAT_VERSION: u32 = 1;
/// The most records that a chain can have.
const SIZE_MAX: u64 = 1 << 53;

/// Makes the proof from the leaf hashes, each given once.
#[derive(Debug)]
pub struct Prover {
    /// Runs of leaves whose roots are the proof, each with its place in it; in the order of the leaves.
    runs: Vec<(Range<u64>, usize)>,
    path: Vec<Hash>,
    /// Runs that are done.
    done: usize,
    frontier: Frontier,
}

impl Prover {
    /// From a tree of `from` leaves to one of `to`. None where there is no such proof: of nothing, or to a smaller tree.
    pub fn new(from: u64, to: u64) -> Option<Prover> {
        if from == 0 || from > to || to > SIZE_MAX {
            return None;
        }
        let mut runs = Vec::new();
        subproof(from, 0..to, true, &mut runs);
        let path = vec![Hash::of(&[]); runs.len()];
        let mut runs: Vec<(Range<u64>, usize)> = runs.into_iter().zip(0..).collect();
        runs.sort_by_key(|(run, _)| run.start);
        Some(Prover { runs, path, done: 0, frontier: Frontier::default() })
    }

    /// The index of the leaf that is wanted next; none once the proof is whole.
    pub fn next(&self) -> Option<u64> {
        self.runs.get(self.done).map(|(run, _)| run.start + self.frontier.size())
    }

    /// The leaf that is wanted next.
    pub fn push(&mut self, leaf: Hash) {
        let Some((run, place)) = self.runs.get(self.done) else { return };
        self.frontier.push(leaf);
        if run.start + self.frontier.size() == run.end {
            self.path[*place] = self.frontier.root();
            self.frontier = Frontier::default();
            self.done += 1;
        }
    }

    /// None while leaves are missing.
    pub fn finish(self) -> Option<Vec<Hash>> {
        (self.done == self.runs.len()).then_some(self.path)
    }
}

/// SUBPROOF(m, D[leaves], whole): the runs of leaves whose roots it names, in its order.
fn subproof(m: u64, leaves: Range<u64>, whole: bool, runs: &mut Vec<Range<u64>>) {
    let n = leaves.end - leaves.start;
    if m == n {
        if !whole {
            runs.push(leaves);
        }
        return;
    }
    // The greatest power of two below n, which is at least 2.
    let middle = leaves.start + (1 << (63 - (n - 1).leading_zeros()));
    if m <= middle - leaves.start {
        subproof(m, leaves.start..middle, whole, runs);
        runs.push(middle..leaves.end);
    } else {
        subproof(m - (middle - leaves.start), middle..leaves.end, false, runs);
        runs.push(leaves.start..middle);
    }
}

/// Is the tree with this root and size the beginning of the other?
pub fn is_prefix((from, old): (u64, Hash), (to, new): (u64, Hash), path: &[Hash]) -> bool {
    if from == 0 || from > to || to > SIZE_MAX {
        return false;
    }
    if from == to {
        return old == new && path.is_empty();
    }
    let bytes = path.iter().flat_map(|hash| hash.0).collect();
    let (old, new) = (RootHash::<Sha256>::new(old.0.into(), from), RootHash::<Sha256>::new(new.0.into(), to));
    ConsistencyProof::<Sha256>::try_from_bytes(bytes).and_then(|proof| new.verify_consistency(&old, &proof)).is_ok()
}

/// One key of the ledger hands over to the next: what a record `ledger.key_rotated` says under both signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    pub old: String,
    pub new: String,
    /// Of the chain before that record.
    pub size: u64,
    pub root: Hash,
    pub signed_by_old: String,
    pub signed_by_new: String,
}

impl From<Rotation> for HandOver {
    fn from(rotation: Rotation) -> HandOver {
        let Rotation { old, new, size, root, why: _, signed_by_old, signed_by_new } = rotation;
        HandOver { old, new, size, root, signed_by_old, signed_by_new }
    }
}

impl HandOver {
    fn rotation(&self) -> (u64, Rotation) {
        let HandOver { old, new, size, root, signed_by_old, signed_by_new } = self.clone();
        (size, Rotation { old, new, size, root, why: String::new(), signed_by_old, signed_by_new })
    }
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    pub format: String,
    pub version: u32,
    pub project: ProjectId,
    pub from: Signed,
    pub to: Signed,
    /// All of the ledger's, oldest first.
    pub keys: Vec<HandOver>,
    pub path: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<T> {
    consistency: T,
}

impl Consistency {
    pub fn new(from: Signed, to: Signed, keys: Vec<HandOver>, path: Vec<Hash>) -> Consistency {
        let project = to.head.project;
        Consistency { format: FORMAT.to_string(), version: FORMAT_VERSION, project, from, to, keys, path }
    }

    /// The line with its end.
    ///
    /// # Errors
    /// A number that canonical JSON would round.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Unrecordable> {
        let mut bytes = canonical(&Line { consistency: self })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Whether a file that begins so is one of these.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(br#"{"consistency":"#)
    }

    /// # Errors
    /// Why these bytes are no such file.
    pub fn read(bytes: &[u8]) -> Result<Consistency, String> {
        let line: Line<Consistency> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let read = line.consistency;
        let same = read.to_bytes().is_ok_and(|again| again == bytes);
        if same { Ok(read) } else { Err("it is not written as such proofs are".to_string()) }
    }

    /// What does not hold of it; `trusted`: the ledger's key as the asker knows it. Without one the file vouches for itself.
    pub fn findings(&self, trusted: Option<Verifier>) -> Vec<String> {
        let mut found = Vec::new();
        let (from, to) = (&self.from.head, &self.to.head);
        if self.format != FORMAT || self.version != FORMAT_VERSION {
            let what = format!("is `{}` version {}, and this program reads `{FORMAT}` 1", self.format, self.version);
            found.push(what);
        }
        if from.project != self.project || to.project != self.project {
            found.push("one of the heads is another project's".to_string());
        }
        let rotations: Vec<(u64, Rotation)> = self.keys.iter().map(HandOver::rotation).collect();
        let known = trusted.map_or_else(|| Verifier::from_hex(&self.to.key), Ok);
        match known.and_then(|known| Keys::follow(known, self.project, &rotations)) {
            Err(why) => found.push(format!("the keys are no history of a ledger's keys: {why}")),
            Ok(keys) => {
                for (name, head) in [("old", &self.from), ("new", &self.to)] {
                    if !keys.holds(head) {
                        found.push(format!("the {name} head is not signed by the key that the ledger had then"));
                    }
                }
            }
        }
        if !is_prefix((from.size, from.root), (to.size, to.root), &self.path) {
            found.push(format!(
                "the ledger of {} records is not the beginning of the one of {}: it was cut or written anew, or the proof was changed",
                from.size, to.size
            ));
        } else if from.size == to.size && from.last != to.last {
            found.push("both heads are over as many records, and name another last one".to_string());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Mint;
    use crate::ledger::{Head, Signer, leaf};
    use crate::time::{Run, Time};
    use ct_merkle::mem_backed_tree::MemoryBackedTree;

    /// The leaves of the reference test vectors of RFC 6962 implementations, and their proofs.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const PROOFS: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    fn proven(from: u64, to: u64, leaves: &[Hash]) -> Vec<Hash> {
        let mut prover = Prover::new(from, to).unwrap();
        while let Some(next) = prover.next() {
            prover.push(leaves[usize::try_from(next).unwrap()]);
        }
        prover.finish().unwrap()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        frontier.root()
    }

    #[test]
    fn the_proofs_are_those_of_the_rfc_6962_vectors() {
        let leaves = LEAVES.map(|text| leaf(&data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()));
        for (from, to, wanted) in PROOFS {
            let path: Vec<String> = proven(from, to, &leaves).iter().map(Hash::to_string).collect();
            assert_eq!(path, wanted, "{from} to {to}");
        }
        assert!(Prover::new(0, 8).is_none() && Prover::new(9, 8).is_none());
    }

    #[test]
    fn each_proof_is_that_of_ct_merkle_and_holds_between_its_two_sizes_alone() {
        let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut leaves = Vec::new();
        for size in 1u64..=40 {
            let record = format!("record {size}").into_bytes();
            leaves.push(leaf(&record));
            tree.push(record);
            for from in 1..size {
                let path = proven(from, size, &leaves);
                let theirs = tree.prove_consistency(usize::try_from(size - from).unwrap());
                assert_eq!(path.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>(), theirs.as_bytes());
                let (old, new) = (root(&leaves[..usize::try_from(from).unwrap()]), root(&leaves));
                assert!(is_prefix((from, old), (size, new), &path));
                assert!(!is_prefix((from, new), (size, new), &path) && !is_prefix((from, old), (size, old), &path));
                assert!(!is_prefix((from, old), (size, new), &path[1..]), "{from} to {size}: a hash is dropped");
            }
        }
    }

    fn head(signer: &Signer, leaves: &[Hash]) -> Signed {
        let project = ProjectId::mint(&mut Mint::new(Time::from_millis(1), 1));
        let (at, run) = (Time::from_millis(3), Run::from_millis(2));
        let head =
            Head { project, size: leaves.len() as u64, root: root(leaves), last: *leaves.last().unwrap(), at, run };
        signer.sign(head).unwrap()
    }

    /// A ledger whose key changed between the two heads.
    fn rotated() -> (Signer, Consistency) {
        let leaves: Vec<Hash> = (0..11u8).map(|index| leaf(&[index])).collect();
        let (old, new) = (Signer::new(&[1; 32]), Signer::new(&[2; 32]));
        let (from, to) = (head(&old, &leaves[..5]), head(&new, &leaves));
        let rotation =
            Rotation::sign((&old, &new), from.head.project, (7, root(&leaves[..7])), "yearly".into()).unwrap();
        (old, Consistency::new(from, to, vec![rotation.into()], proven(5, 11, &leaves)))
    }

    #[test]
    fn whoever_trusts_the_old_key_is_led_to_the_new_head_and_a_ledger_written_anew_is_told() {
        let (old, proof) = rotated();
        let bytes = proof.to_bytes().unwrap();
        assert!(Consistency::begins(&bytes));
        let read = Consistency::read(&bytes).unwrap();
        assert_eq!(read, proof);
        for trusted in [None, Some(old.verifier()), Some(Signer::new(&[2; 32]).verifier())] {
            assert_eq!(read.findings(trusted), Vec::<String>::new());
        }
        let stranger = read.findings(Some(Signer::new(&[3; 32]).verifier()));
        assert!(stranger[0].contains("none that this ledger has had"), "{stranger:?}");
        // The same keys, and another record in the place of one under the old head.
        let mut leaves: Vec<Hash> = (0..11u8).map(|index| leaf(&[index])).collect();
        leaves[2] = leaf(b"forged");
        let to = head(&Signer::new(&[2; 32]), &leaves);
        let forged = Consistency { to, path: proven(5, 11, &leaves), ..proof.clone() };
        assert!(forged.findings(None)[0].contains("is not the beginning"), "{:?}", forged.findings(None));
        let cut = Consistency { from: proof.to.clone(), to: proof.from.clone(), path: Vec::new(), ..proof.clone() };
        assert!(!cut.findings(None).is_empty());
        // The old key's word is taken for nothing after its rotation.
        let late = Consistency { to: head(&old, &(0..11u8).map(|index| leaf(&[index])).collect::<Vec<_>>()), ..proof };
        assert!(late.findings(None)[0].contains("the new head is not signed"), "{:?}", late.findings(None));
    }

    #[test]
    fn each_byte_of_a_proof_that_is_changed_is_found() {
        let (old, proof) = rotated();
        let bytes = proof.to_bytes().unwrap();
        for place in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[place] ^= flip;
                let holds =
                    Consistency::read(&changed).is_ok_and(|read| read.findings(Some(old.verifier())).is_empty());
                assert!(!holds, "byte {place}: {}", String::from_utf8_lossy(&changed));
            }
        }
        for cut in 0..bytes.len() {
            assert!(Consistency::read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
