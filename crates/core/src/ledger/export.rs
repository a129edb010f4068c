//! An export of records: a file that anybody checks without the ledger that it is of. Each line is one canonical JSON object.
//!
//! ```text
//! {"export":{…}}     the format, what was selected, the history of the ledger's keys, one signed head
//! {"record":{…}}     the stored bytes of a record, and its path in the tree under that head; in the order of the chain
//! {"payload":{…}}    of the record before it: bytes that it binds, with their salt
//! {"erased":{…}}     of the record before it: what it binds is gone, and which record says so
//! {"end":{…}}        SHA-256 over all lines before it, signed: nothing that was selected is missing
//! ```
//! No IO: whoever writes one brings the paths, and [`Check`] is given line by line.
mod check;
mod rotation;
mod seal;

pub use check::{Check, Checked, Found};
pub use rotation::{KEY_ROTATED, Rotation};
pub use seal::{SEALED, Seal};

use super::head::{Signed, Signer, Verifier};
use super::record::{Unrecordable, canonical};
use crate::bound::Hash;
use crate::id::ProjectId;
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

pub const FORMAT: &str = "tenure ledger export";
pub const FORMAT_VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Export(Header),
    Record(RecordLine),
    Payload(PayloadLine),
    Erased(ErasedLine),
    End(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: String,
    pub version: u32,
    pub project: ProjectId,
    /// What was asked for, in words of the command line. Only the end's signature tells that this is all of it.
    pub selection: Vec<String>,
    /// Bound payloads are in it.
    pub payloads: bool,
    /// Oldest first; the last signed the head and the end.
    pub keys: Vec<KeyFrom>,
    pub head: Signed,
}

/// A key of the ledger, and the record that named it; 0 for the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFrom {
    pub key: String,
    pub from: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLine {
    /// As stored: what is hashed.
    pub bytes: String,
    /// Siblings from the leaf to the root, as PATH of RFC 6962, section 2.1.1.
    pub path: Vec<Hash>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadLine {
    pub base64: String,
    pub hash: Hash,
    /// 32 hexadecimal digits. The hash is SHA-256 over salt and bytes.
    pub salt: String,
}

impl PayloadLine {
    pub fn new(hash: Hash, salt: &[u8; 16], bytes: &[u8]) -> PayloadLine {
        PayloadLine { base64: BASE64.encode(bytes), hash, salt: HEXLOWER.encode(salt) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedLine {
    /// The record that says so; none where a stored value was only superseded.
    pub by: Option<u64>,
    pub hash: Hash,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub checksum: Hash,
    pub records: u64,
    pub signature: String,
}

#[derive(Serialize)]
struct Statement {
    checksum: Hash,
    project: ProjectId,
    records: u64,
    says: &'static str,
}

impl Statement {
    fn to_bytes(&self) -> Result<Vec<u8>, Unrecordable> {
        canonical(self)
    }
}

impl End {
    /// # Errors
    /// More records than canonical JSON counts.
    pub fn sign(signer: &Signer, project: ProjectId, checksum: Hash, records: u64) -> Result<End, Unrecordable> {
        let statement = Statement { checksum, project, records, says: FORMAT };
        Ok(End { checksum, records, signature: signer.sign_bytes(&statement.to_bytes()?) })
    }

    fn holds(&self, verifier: &Verifier, project: ProjectId) -> bool {
        let statement = Statement { checksum: self.checksum, project, records: self.records, says: FORMAT };
        statement.to_bytes().is_ok_and(|bytes| verifier.holds_bytes(&bytes, &self.signature))
    }
}

impl Line {
    /// The line with its end.
    ///
    /// # Errors
    /// A number that canonical JSON would round.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Unrecordable> {
        let mut bytes = canonical(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
