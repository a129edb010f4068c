//! A proxy that lacks a check, so that a test can show what the check is worth. Only in builds with the feature `controls`. Must
//! never: be reached by a gate that makes all of its checks.
use super::checks::{Check, Checks};
use super::resolver::AgentResolver;
use super::sieve::Sieve;
use super::{Doorway, Outside, Rules};
use std::io;
use std::sync::Arc;
use tenure_core::network::host::{Host, Misspelt};
use tenure_wire::confinement::Network;

impl Doorway {
    /// As `open`, less some checks.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_without(
        without: &[Check],
        rules: Rules,
        network: &Network,
        outside: Arc<dyn Outside>,
        listener: Option<std::net::TcpListener>,
    ) -> io::Result<Doorway> {
        Doorway::open_with(Checks::all_but(without), rules, network, AgentResolver::alone(outside), listener)
    }
}

impl<S> Sieve<S> {
    /// Hands on everything as it comes, if the shape of a request is not checked.
    pub(super) fn unless(self, checks: &Checks) -> Sieve<S> {
        if checks.make(Check::Shape) { self } else { self.opened() }
    }
}

/// A host as a careless reader takes it: behind a login, up to a zero byte, with `%` undone; whatever that is, a resolver is asked.
pub(super) fn reread(checks: &Checks, raw: &[u8], misspelt: Misspelt) -> Result<Host, Misspelt> {
    if checks.make(Check::Spelling) {
        return Err(misspelt);
    }
    let text = String::from_utf8_lossy(raw);
    let text = text.rsplit('@').next().unwrap_or_default().split('\0').next().unwrap_or_default();
    let mut parts = text.split('%');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or(misspelt)?;
        name.push(u8::from_str_radix(code, 16).map_err(|_| misspelt)?.into());
        name.push_str(rest);
    }
    Ok(Host::parse(&name).unwrap_or(Host::Name(name)))
}
