//! A signed link: which approval, until when, with which role, and a MAC over these under a key that is derived from the ledger's. It
//! names no person: whoever has it may answer that one approval, as an approver.
use data_encoding::HEXLOWER;
use tenure_core::access::Role;
use tenure_core::id::ApprovalId;
use tenure_core::ledger::MacKey;
use tenure_core::time::Time;

/// Keeps these MACs apart from those of rows.
const WHAT: &[u8] = b"link to an approval's card";
const ROLE: Role = Role::Approver;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) approval: ApprovalId,
    /// The approval's own.
    pub(crate) expires: Time,
}

impl Link {
    pub(crate) fn path(self, macs: &MacKey) -> String {
        let signed = self.signed();
        let mac = HEXLOWER.encode(&macs.mac(&[WHAT, signed.as_bytes()]));
        format!("/approve/{signed}.{mac}")
    }

    /// None for what this ledger's key has not signed.
    pub(super) fn read(token: &str, macs: &MacKey) -> Option<Link> {
        let (signed, mac) = token.rsplit_once('.')?;
        let mac = HEXLOWER.decode(mac.as_bytes()).ok()?;
        if !macs.holds(&[WHAT, signed.as_bytes()], &mac) {
            return None;
        }
        let mut parts = signed.split('.');
        let (approval, expires, role) = (parts.next()?, parts.next()?, parts.next()?);
        let link = Link { approval: approval.parse().ok()?, expires: Time::from_millis(expires.parse().ok()?) };
        (parts.next().is_none() && role == ROLE.as_str()).then_some(link)
    }

    fn signed(self) -> String {
        format!("{}.{}.{ROLE}", self.approval, self.expires.millis())
    }
}
