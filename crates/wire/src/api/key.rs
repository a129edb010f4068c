//! API keys: `tnr_`, 160 random bits in base62, and a checksum, so that scanners find them and a slip of the hand shows
//! before anything is asked. A key's text is shown once; what is kept is its SHA-256.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tenure_core::access::Role;
use tenure_core::bound::Hash;
use tenure_core::id::KeyId;

use super::moment::Moment;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Key {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: KeyId,
    pub name: String,
    pub status: KeyStatus,
    #[cfg_attr(feature = "openapi", schema(value_type = RoleWord))]
    pub role: Role,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub revoked_at: Option<Moment>,
    /// Its row was put in or changed by another hand than this ledger's: it is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forged: bool,
}

/// The words of core's roles, for the description of the API.
#[cfg(feature = "openapi")]
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleWord {
    Viewer,
    Approver,
    Operator,
    Owner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    Live,
    Revoked,
}

impl KeyStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Live => "live",
            KeyStatus::Revoked => "revoked",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// 1 to 63 printable characters, unique among live keys.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 63))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = RoleWord))]
    pub role: Role,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedKey {
    #[serde(flatten)]
    pub key: Key,
    /// Shown this once.
    pub secret: String,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The text of a key in an answer that shows it once. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

const PREFIX: &str = "tnr_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^27 is the first power above 2^160.
const BODY: usize = 27;
/// 62^6 is the first power above 2^32.
const CHECK: usize = 6;

/// The text of a key. It never appears in a log: its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

/// Why a text is no key. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    #[error("an API key begins with `tnr_` and has {} characters", PREFIX.len() + BODY + CHECK)]
    Form,
    #[error("the API key's checksum is wrong: a character is missing or mistyped")]
    Checksum,
}

impl KeyText {
    /// `random` must be fresh randomness.
    pub fn new(random: [u8; 20]) -> KeyText {
        let body = base62(&random, BODY);
        let check = base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECK);
        KeyText(format!("{PREFIX}{body}{check}"))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the ledger keeps.
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(tnr_…)")
    }
}

impl FromStr for KeyText {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<KeyText, KeyTextError> {
        let rest = text.strip_prefix(PREFIX).ok_or(KeyTextError::Form)?;
        if rest.len() != BODY + CHECK || !rest.bytes().all(|letter| ALPHABET.contains(&letter)) {
            return Err(KeyTextError::Form);
        }
        let (body, check) = rest.split_at(BODY);
        if base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECK) != check {
            return Err(KeyTextError::Checksum);
        }
        Ok(KeyText(text.to_string()))
    }
}

/// Long division by 62, most significant digit first, padded to `digits`.
fn base62(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut letters = vec![b'0'; digits];
    for letter in letters.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("invariant: the rest is below 62");
            rest = value % 62;
        }
        *letter = ALPHABET[rest as usize];
    }
    String::from_utf8(letters).expect("invariant: the alphabet is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_a_slip_of_the_hand_shows() {
        let key = KeyText::new([0xff; 20]);
        assert_eq!(key.reveal().len(), 37);
        assert_eq!(key.reveal().parse::<KeyText>(), Ok(key.clone()));
        let slipped = key.reveal().replacen(&key.reveal()[5..6], "x", 1);
        assert_eq!(slipped.parse::<KeyText>(), Err(KeyTextError::Checksum));
        assert_eq!("sk-123".parse::<KeyText>(), Err(KeyTextError::Form));
        assert!(!format!("{key:?}").contains(&key.reveal()[4..10]));
    }

    #[test]
    fn base62_is_the_number_itself() {
        assert_eq!(base62(&[0, 0, 0, 61], CHECK), "00000z");
        assert_eq!(base62(&[0, 0, 0, 62], CHECK), "000010");
        assert_eq!(base62(&[255, 255, 255, 255], CHECK), "4gfFC3");
    }
}
