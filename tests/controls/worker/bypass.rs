//! A proxy that lacks a check, so that a test can show what the check is worth. It stands in the place of the worker's own module in a
//! build for tests alone. Must never: be reached by a gate that makes all of its checks.
use super::filter::{At, RequestFilter};
use super::resolver::AgentResolver;
use super::{EgressListener, HostNetwork, Rules};
use http::HeaderValue;
use std::io;
use std::sync::Arc;
use tenure_core::network::host::{Host, Misspelt};
use tenure_wire::confinement::Network;

/// What one gate leaves out.
#[derive(Debug, Clone, Default)]
pub struct Bypass {
    checks: Vec<Check>,
}

/// What the proxy checks of a request before its rules are asked. What one without such a check would let pass, some server or
/// resolver reads in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Heads and bodies have one reading only, and an end.
    Shape,
    /// A host is written plainly.
    Spelling,
    /// It asks for one server, by a protocol that is sent on.
    Request,
}

impl EgressListener {
    /// As `open`, less some checks.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_without(
        checks: &[Check],
        rules: Rules,
        network: &Network,
        outside: Arc<dyn HostNetwork>,
        listener: Option<std::net::TcpListener>,
    ) -> io::Result<EgressListener> {
        let bypass = Bypass { checks: checks.to_vec() };
        EgressListener::open_with(bypass, rules, network, AgentResolver::alone(outside), listener, usize::MAX)
    }
}

impl Bypass {
    pub(super) fn enforces(&self, check: Check) -> bool {
        !self.checks.contains(&check)
    }

    /// Hands on everything as it comes, if the shape of a request is not checked.
    pub(super) fn filtered<S>(&self, mut filter: RequestFilter<S>) -> RequestFilter<S> {
        if !self.enforces(Check::Shape) {
            filter.at = At::Tunnel;
        }
        filter
    }

    /// That of its head, as a server would take it.
    pub(super) fn authority<'a>(&self, stated: Option<&'a str>, host: Option<&'a HeaderValue>) -> Option<&'a str> {
        stated.or_else(|| host?.to_str().ok())
    }

    /// A host as a careless reader takes it: behind a login, up to a zero byte, with `%` undone; whatever that is, a resolver is asked.
    pub(super) fn reread(&self, raw: &[u8], misspelt: Misspelt) -> Result<Host, Misspelt> {
        if self.enforces(Check::Spelling) {
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
}
