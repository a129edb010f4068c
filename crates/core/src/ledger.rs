//! The ledger's formats: records chained by hash, the frontier of the Merkle tree over them, and signed heads.
//!
//! ```text
//! record n   {… prev: leaf(record n-1)}        leaf = SHA-256(0x00 ‖ bytes), the leaf hash of RFC 6962
//! frontier   one hash for each set bit of the size; its root is the tree's
//! head       size, root and last leaf, signed
//! MAC        what of the database is believed without its records: rows that grant authority, snapshots
//! export     records with their paths under one head, for whoever does not have the ledger
//! consistency  that one head's tree is the beginning of another's, for whoever kept the first
//! ```
//! What is stored is what is hashed and verified: nothing here may re-serialise a record to check it. No IO.
mod chain;
pub mod consistency;
pub mod export;
mod head;
mod keys;
pub mod lifecycle;
mod mac;
mod record;

pub use chain::{Frontier, leaf, node};
pub use head::{Head, Signed, Signer, Verifier};
pub use keys::Keys;
pub use mac::MacKey;
pub use record::{Encoded, Meta, Record, Unrecordable, canonical, read, read_meta};

use crate::bound::Hash;

/// What the first record of a project's chain names as its predecessor.
pub const NOTHING_BEFORE: Hash = Hash([0; 32]);
