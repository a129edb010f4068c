//! The change of a ledger's key: a record whose data both keys signed, over the last head of the old one.
use crate::bound::Hash;
use crate::id::ProjectId;
use crate::ledger::head::{Signer, Verifier};
use crate::ledger::record::{Unrecordable, canonical};
use serde::{Deserialize, Serialize};

/// The kind of the record that names a new key.
pub const KEY_ROTATED: &str = "ledger.key_rotated";

/// What that record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Public keys in hexadecimal digits.
    pub old: String,
    pub new: String,
    /// Of the chain before it: the last that the old key signs.
    pub size: u64,
    pub root: Hash,
    pub why: String,
    pub signed_by_old: String,
    /// So that nobody names a key that is not theirs.
    pub signed_by_new: String,
}

#[derive(Serialize)]
struct Statement<'a> {
    new: &'a str,
    old: &'a str,
    project: ProjectId,
    root: Hash,
    says: &'static str,
    size: u64,
}

fn statement(project: ProjectId, (old, new): (&str, &str), (size, root): (u64, Hash)) -> Result<Vec<u8>, Unrecordable> {
    canonical(&Statement { new, old, project, root, says: "tenure ledger key rotation", size })
}

impl Rotation {
    /// # Errors
    /// A size beyond 2^53−1.
    pub fn sign(
        (old, new): (&Signer, &Signer),
        project: ProjectId,
        (size, root): (u64, Hash),
        why: String,
    ) -> Result<Rotation, Unrecordable> {
        let keys = (old.verifier().to_hex(), new.verifier().to_hex());
        let bytes = statement(project, (&keys.0, &keys.1), (size, root))?;
        let (signed_by_old, signed_by_new) = (old.sign_bytes(&bytes), new.sign_bytes(&bytes));
        Ok(Rotation { old: keys.0, new: keys.1, size, root, why, signed_by_old, signed_by_new })
    }

    /// Did both keys sign it, whichever they are?
    pub fn is_signed(&self, project: ProjectId) -> bool {
        Verifier::from_hex(&self.old).is_ok_and(|old| self.verified(&old, project).is_some())
    }

    /// Did both keys sign it, the old one being `verifier`'s? Gives the new one.
    pub fn verified(&self, verifier: &Verifier, project: ProjectId) -> Option<Verifier> {
        let bytes = statement(project, (&self.old, &self.new), (self.size, self.root)).ok()?;
        let new = Verifier::from_hex(&self.new).ok()?;
        let signed = verifier.holds_bytes(&bytes, &self.signed_by_old) && new.holds_bytes(&bytes, &self.signed_by_new);
        (signed && self.old == verifier.to_hex()).then_some(new)
    }
}
