//! Bound data: bytes that lie outside the ledger, held to it by a salted hash in an event.
//! No fold may read a payload; erasing the salt with the bytes leaves the event provable and the content gone.
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 64];
        HEXLOWER.encode_mut(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).expect("invariant: hexadecimal is ASCII"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Hash, String> {
        let mut bytes = [0u8; 32];
        match HEXLOWER_PERMISSIVE.decode_len(text.len()) {
            Ok(32) if HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes).is_ok() => Ok(Hash(bytes)),
            Ok(_) | Err(_) => Err("a hash is 64 hexadecimal digits".to_string()),
        }
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// What an event keeps of a payload: SHA-256 over salt and bytes, and the bytes' count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub hash: Hash,
    pub size: u64,
}

/// Bytes on their way into the store together with the event that binds them; hashed once, cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    salt: [u8; 16],
    bytes: Arc<Vec<u8>>,
    bound: Bound,
}

impl Payload {
    /// `salt` must be fresh randomness: it keeps short contents from being guessed from their hash.
    pub fn new(salt: [u8; 16], bytes: Vec<u8>) -> Payload {
        let bound = Bound { hash: salted(&salt, &bytes), size: bytes.len() as u64 };
        Payload { salt, bytes: Arc::new(bytes), bound }
    }

    pub fn bound(&self) -> Bound {
        self.bound
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn salt(&self) -> &[u8; 16] {
        &self.salt
    }
}

/// The hash that an event must hold for these bytes.
pub fn salted(salt: &[u8; 16], bytes: &[u8]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(salt);
    digest.update(bytes);
    Hash(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_from_its_digits_and_from_nothing_else() {
        let hash = Hash::of(b"x");
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        let signed = format!("+0{}", &text[2..]);
        for wrong in [&text[2..], &format!("{text}00"), &format!("{}é", &text[2..]), &signed] {
            assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
        }
    }
}
