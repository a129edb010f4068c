//! MACs of rows that grant authority, and of snapshots: whoever can write the database and does not hold the ledger's key
//! makes none. One of a row as it once was holds for that row for ever; only the records tell that it has changed since.
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use std::fmt;

/// Makes and checks MACs (HMAC-SHA-256). It is derived from the ledger's key, and never leaves the process.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").finish_non_exhaustive()
    }
}

impl MacKey {
    /// `seed` is the ledger's; the words keep what is derived here apart from whatever else may be.
    pub(super) fn derive(seed: &[u8; 32]) -> MacKey {
        let mut derived = keyed(seed);
        derived.update(b"tenure macs of rows and snapshots");
        MacKey(keyed(&derived.finalize().into_bytes()))
    }

    /// The MAC of these parts in this order; where one ends and the next begins is part of it.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Was this MAC made by this key over these parts?
    pub fn holds(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.over(parts).verify_slice(mac).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut over = self.0.clone();
        for part in parts {
            over.update(&(part.len() as u64).to_be_bytes());
            over.update(part);
        }
        over
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("invariant: HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_holds_for_its_key_and_its_parts_alone() {
        let (key, other) = (MacKey::derive(&[7; 32]), MacKey::derive(&[8; 32]));
        let mac = key.mac(&[b"keys", b"ab", b"c"]);
        assert!(MacKey::derive(&[7; 32]).holds(&[b"keys", b"ab", b"c"], &mac));
        assert!(!other.holds(&[b"keys", b"ab", b"c"], &mac));
        assert!(!key.holds(&[b"keys", b"a", b"bc"], &mac), "parts are told apart");
        assert!(!key.holds(&[b"keys", b"ab"], &mac) && !key.holds(&[b"keys", b"ab", b"c", b""], &mac));
        assert!(!key.holds(&[b"keys", b"ab", b"c"], &mac[..31]) && !key.holds(&[b"keys", b"ab", b"c"], b""));
    }
}
