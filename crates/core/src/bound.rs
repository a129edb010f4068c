//! Bound data: bytes that lie outside the ledger, held to it by a salted hash in an event.
//! No fold may read a payload; erasing the salt with the bytes leaves the event provable and the content gone.
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
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (place, byte) in self.0.iter().enumerate() {
            text[2 * place] = DIGITS[usize::from(byte >> 4)];
            text[2 * place + 1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("hexadecimal is ASCII"))
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
        let wrong = || "a hash is 64 hexadecimal digits".to_string();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0u8; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Hash(bytes))
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
