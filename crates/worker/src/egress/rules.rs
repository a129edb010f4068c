//! What one jail may reach, judged by name and by address. Pure. Must never: let a name stand for an address that is closed,
//! or let the allowlist outdo the blocklist.
use super::closed::{ClosedRange, closed, embedded, own};
use std::fmt;
use std::net::IpAddr;
use tenure_core::manifest::NetworkMode;
use tenure_core::network::entry::{Entry, Unusable};
use tenure_core::network::host::{Host, Misspelt};
use tenure_wire::confinement::Network;

/// In this order: the blocklist, then closed addresses, then the allowlist.
#[derive(Debug, Clone)]
pub struct Rules {
    mode: NetworkMode,
    allow: Vec<Entry>,
    block: Vec<Entry>,
}

/// Why a place is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    ModeNone,
    /// The entry.
    Blocklist(String),
    ClosedRange(ClosedRange, IpAddr),
    Unlisted,
    Misspelt(Misspelt),
    /// How many there may be at once.
    Connections(u32),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::ModeNone => f.write_str("mode none"),
            Rule::Blocklist(entry) => write!(f, "blocklist: {entry}"),
            Rule::ClosedRange(closed, address) => write!(f, "{} address {address}", closed.kind),
            Rule::Unlisted => f.write_str("not on the allowlist"),
            Rule::Misspelt(invalid_host) => write!(f, "no host: {invalid_host}"),
            Rule::Connections(max) => write!(f, "connections: {max}"),
        }
    }
}

impl Rule {
    /// What the agent's owner can do, or the program.
    pub fn way_out(&self) -> &'static str {
        match self {
            Rule::ModeNone => "this agent's manifest gives it no network (security.network.mode)",
            Rule::Blocklist(_) => "this agent's manifest forbids it (security.network.blocklist)",
            Rule::ClosedRange(..) => {
                "such an address is reached only where security.network.allowlist names the address itself"
            }
            Rule::Unlisted => "its owner can add the host to security.network.allowlist",
            Rule::Misspelt(_) => "write a host name, or an address in its plain form",
            Rule::Connections(_) => {
                "close some connections first, or let its owner raise security.network.max_connections"
            }
        }
    }
}

/// An entry that no rule can be made of.
#[derive(Debug, thiserror::Error)]
#[error("the network rule `{entry}` cannot be read: {why}")]
pub struct RuleError {
    entry: String,
    why: Unusable,
}

impl Rules {
    /// # Errors
    /// An entry that is none; manifests are checked before, so it comes from another version.
    pub fn compile(network: &Network) -> Result<Rules, RuleError> {
        let read = |list: &[String]| {
            let entry = |text: &String| Entry::parse(text).map_err(|why| RuleError { entry: text.clone(), why });
            list.iter().map(entry).collect::<Result<Vec<Entry>, RuleError>>()
        };
        Ok(Rules { mode: network.mode, allow: read(&network.allow)?, block: read(&network.block)? })
    }

    /// Before anything is looked up. Without a port (a lookup alone) the entries for any port allow, those for all forbid.
    ///
    /// # Errors
    /// The rule that is against it.
    pub fn judge(&self, host: &Host, port: Option<u16>) -> Result<(), Rule> {
        if self.mode == NetworkMode::None {
            return Err(Rule::ModeNone);
        }
        let name = match host {
            Host::Name(name) => name,
            Host::Address(address) => return self.judge_address(*address, port, false),
        };
        if let Some(entry) = self.blocked(port).find(|entry| entry.names(name)) {
            return Err(Rule::Blocklist(entry.text().to_owned()));
        }
        match self.mode {
            NetworkMode::Allow if !self.allowed(port).any(|entry| entry.names(name)) => Err(Rule::Unlisted),
            NetworkMode::None | NetworkMode::Allow | NetworkMode::Deny => Ok(()),
        }
    }

    /// `named`: a name that was judged led there.
    ///
    /// # Errors
    /// The rule that is against it.
    pub fn judge_address(&self, address: IpAddr, port: Option<u16>, named: bool) -> Result<(), Rule> {
        self.judge_place(address, port, named, false)
    }

    /// The same, of an address that is known to be the worker's own host's, or not to be.
    ///
    /// # Errors
    /// The rule that is against it.
    pub fn judge_place(&self, address: IpAddr, port: Option<u16>, named: bool, is_own: bool) -> Result<(), Rule> {
        if self.mode == NetworkMode::None {
            return Err(Rule::ModeNone);
        }
        let address = address.to_canonical();
        let inner = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
        };
        let holds = |entry: &&Entry| {
            let mut ranges = entry.ranges();
            ranges.any(|range| range.holds(address) || inner.is_some_and(|inner| range.holds(inner)))
        };
        if let Some(entry) = self.blocked(port).find(holds) {
            return Err(Rule::Blocklist(entry.text().to_owned()));
        }
        let mut named_ranges = self.allowed(port).flat_map(|entry| entry.ranges()).filter(|range| range.holds(address));
        match if is_own { Some(own(address)) } else { closed(address) } {
            Some(closed) if named_ranges.any(|range| range.lies_in(closed.range)) => Ok(()),
            Some(closed) => Err(Rule::ClosedRange(closed, address)),
            None if named || self.mode == NetworkMode::Deny || named_ranges.next().is_some() => Ok(()),
            None => Err(Rule::Unlisted),
        }
    }

    /// Whether the allowlist names this host, at some port: then it means the one outside.
    pub fn lists(&self, host: &Host) -> bool {
        self.allow.iter().any(|entry| match host {
            Host::Name(name) => entry.names(name),
            Host::Address(address) => entry.ranges().any(|range| range.holds(*address)),
        })
    }

    fn allowed(&self, port: Option<u16>) -> impl Iterator<Item = &Entry> {
        self.allow.iter().filter(move |entry| entry.has_port(port))
    }

    fn blocked(&self, port: Option<u16>) -> impl Iterator<Item = &Entry> {
        self.block.iter().filter(move |entry| match port {
            Some(_) => entry.has_port(port),
            None => entry.has_any_port(),
        })
    }
}
