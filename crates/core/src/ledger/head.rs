//! Heads: what a chain was at a moment, under a signature. A cut tail shows only against a head kept elsewhere.
use super::mac::MacKey;
use super::record::{Unrecordable, canonical};
use crate::bound::Hash;
use crate::id::ProjectId;
use crate::time::{Run, Time};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub project: ProjectId,
    /// Records in the chain.
    pub size: u64,
    /// Root of the Merkle tree over them.
    pub root: Hash,
    /// Leaf hash of the last one.
    pub last: Hash,
    pub at: Time,
    pub run: Run,
}

/// A head with the Ed25519 signature over its canonical bytes, and the public key, both in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    pub head: Head,
    pub key: String,
    pub signature: String,
}

#[derive(Serialize)]
struct Statement<'a> {
    head: &'a Head,
    says: &'static str,
}

impl Head {
    /// What is signed. The words keep a signature over a head from meaning anything else.
    ///
    /// # Errors
    /// A size or time beyond ±(2^53−1).
    pub fn to_bytes(&self) -> Result<Vec<u8>, Unrecordable> {
        canonical(&Statement { head: self, says: "tenure ledger head" })
    }
}

/// Signs heads. Its seed never leaves it.
pub struct Signer {
    key: SigningKey,
    public: String,
    macs: MacKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Signer {
    pub fn new(seed: &[u8; 32]) -> Signer {
        let key = SigningKey::from_bytes(seed);
        let public = HEXLOWER.encode(key.verifying_key().as_bytes());
        Signer { key, public, macs: MacKey::derive(seed) }
    }

    /// Of the same seed.
    pub fn macs(&self) -> &MacKey {
        &self.macs
    }

    pub fn verifier(&self) -> Verifier {
        Verifier { key: self.key.verifying_key() }
    }

    /// # Errors
    /// A size or time beyond ±(2^53−1).
    pub fn sign(&self, head: Head) -> Result<Signed, Unrecordable> {
        let signature = self.sign_bytes(&head.to_bytes()?);
        Ok(Signed { head, key: self.public.clone(), signature })
    }

    /// Of a statement that says in its own words what it is.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> String {
        HEXLOWER.encode(&self.key.sign(bytes).to_bytes())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verifier {
    key: VerifyingKey,
}

impl Verifier {
    /// # Errors
    /// Text that is no public key in 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Verifier, String> {
        let bytes = unhex::<32>(text).ok_or("a public key is 64 hexadecimal digits")?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|error| format!("this is no Ed25519 key: {error}"))?;
        Ok(Verifier { key })
    }

    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(self.key.as_bytes())
    }

    /// Was this head signed with this key?
    pub fn holds(&self, signed: &Signed) -> bool {
        let Ok(bytes) = signed.head.to_bytes() else { return false };
        signed.key == self.to_hex() && self.holds_bytes(&bytes, &signed.signature)
    }

    pub(super) fn holds_bytes(&self, bytes: &[u8], signature: &str) -> bool {
        // One signature is written in one way: nothing of a signed file may change and hold.
        let signature = HEXLOWER.decode(signature.as_bytes()).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let Some(signature) = signature else { return false };
        self.key.verify_strict(bytes, &Signature::from_bytes(&signature)).is_ok()
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Mint;

    #[test]
    fn a_signed_head_holds_and_no_changed_one_does() {
        let project = ProjectId::mint(&mut Mint::new(Time::from_millis(1), 1));
        let head = Head {
            project,
            size: 9,
            root: Hash::of(b"r"),
            last: Hash::of(b"l"),
            at: Time::from_millis(3),
            run: Run::from_millis(2),
        };
        let signer = Signer::new(&[7; 32]);
        let signed = signer.sign(head).unwrap();
        let verifier = Verifier::from_hex(&signer.verifier().to_hex()).unwrap();
        assert!(verifier.holds(&signed));
        assert!(!Signer::new(&[8; 32]).verifier().holds(&signed));
        assert!(!verifier.holds(&Signed { head: Head { size: 8, ..head }, ..signed.clone() }));
        assert!(!verifier.holds(&Signed { signature: signed.signature.replace('a', "b"), ..signed.clone() }));
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<Signed>(&text).unwrap(), signed);
    }
}
