//! Packages and their publishers, over the wire.
use serde::{Deserialize, Serialize};
use tenure_core::id::PackageId;

use super::moment::Moment;

/// The most bytes of an archive.
pub use tenure_core::package::archive::ARCHIVE_BYTES_MAX;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptPackage {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: PackageId,
    pub name: String,
    pub version: String,
    /// SHA-256 of its index, and so of every file.
    pub digest: String,
    /// The public key that signed it: Ed25519, 64 hexadecimal digits.
    pub publisher: String,
    /// The publisher's name when it was pushed.
    pub signed_by: String,
    pub files: u32,
    /// Of the files together.
    pub bytes: u64,
    /// The highest version of the name, where it was higher when this one was pushed: a downgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<String>,
    pub by: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PushedPackage {
    #[serde(flatten)]
    pub package: KeptPackage,
    /// False: the same contents were pushed before.
    pub changed: bool,
}

/// A package whose archive was read again, with all that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerifiedPackage {
    #[serde(flatten)]
    pub package: KeptPackage,
    pub verified: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewPublisher {
    /// 1 to 64 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub name: String,
    /// An Ed25519 public key, 64 hexadecimal digits.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{64}$"))]
    pub key: String,
}

/// Whose packages are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackagePublisher {
    pub name: String,
    pub key: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    /// Its row was put in or changed by another hand than this ledger's: nothing of it is taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forged: bool,
}
