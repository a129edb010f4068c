//! Who may use a secret, by which capability and with which host. What is not bound is not usable: nothing here may answer for a
//! host by what it resolves to.
use super::{Secret, name_key};
use crate::actor::Actor;
use crate::capability::{Argument, Attributes, mcp};
use crate::draft::Draft;
use crate::facts::{Namespace, Unread};
use crate::id::{AgentId, SecretId};
use crate::network::entry::Entry;
use crate::network::host::Host;
use crate::network::url::Url;
use crate::plan::{McpAt, Plan};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The built-in capabilities that use secrets; beside them the MCP servers of a manifest do.
pub const USED_BY: [&str; 1] = ["network.credentialed_request"];

/// All that is asked of an MCP server, as what uses a secret.
pub fn of_server(server: &str) -> String {
    format!("{}{server}.*", mcp::PREFIX)
}

fn is_of_server(capability: &str) -> bool {
    capability.strip_prefix(mcp::PREFIX).and_then(|rest| rest.strip_suffix(".*")).is_some_and(mcp::is_server)
}

/// Is a value safe on its way there? Over TLS it is, and where it never leaves this host.
pub fn is_private(url: &Url) -> bool {
    let own = match &url.host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => address.is_loopback(),
    };
    url.secure || own
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub agent: AgentId,
    pub capability: String,
    /// A name, `*.name` or an address, with an optional port.
    pub host: String,
}

/// A binding as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingRow {
    pub secret: SecretId,
    pub name: String,
    pub agent: AgentId,
    pub capability: String,
    pub host: String,
    pub by: Actor,
    pub at: Time,
}

impl Binding {
    /// In the form that is kept.
    ///
    /// # Errors
    /// A sentence: what it names cannot be bound.
    pub(super) fn checked(self) -> Result<Binding, String> {
        if !USED_BY.contains(&self.capability.as_str()) && !is_of_server(&self.capability) {
            let (asked, uses) = (crate::capability::clip(&self.capability), USED_BY.join(", "));
            return Err(format!(
                "`{asked}` uses no secret; what does is {uses}, and an MCP server as a whole, written mcp.NAME.*"
            ));
        }
        let host = self.host.to_ascii_lowercase();
        if host.contains('/') {
            return Err("a range of addresses is no host: name one host, *.name or one address".to_string());
        }
        if let Some(below) = host.strip_prefix("*.")
            && !below.trim_end_matches('.').contains('.')
        {
            return Err(format!(
                "`*.{}` is every host of a whole top-level domain, whoever owns it; a `*` needs at least two names behind it, as in *.example.com",
                crate::capability::clip(below)
            ));
        }
        match Entry::parse(&host) {
            Ok(_) => Ok(Binding { host, ..self }),
            Err(why) => Err(format!("the host cannot be used: {why}")),
        }
    }

    pub(super) fn row(&self, secret: SecretId, name: String, by: Actor, at: Time) -> BindingRow {
        let (agent, capability, host) = (self.agent, self.capability.clone(), self.host.clone());
        BindingRow { secret, name, agent, capability, host, by, at }
    }
}

/// The login of the MCP server that a call asks, with what must be bound for it; none where it has none.
fn login<'a>(plan: &'a Plan, capability: &str) -> Option<(&'a str, String, Url)> {
    let server = mcp::Name::parse(capability)?.server;
    let planned = plan.mcp.iter().find(|planned| planned.name == server)?;
    let (login, McpAt::Url(url)) = (planned.login.as_ref()?, &planned.at) else { return None };
    Some((login.secret.as_str(), of_server(server), Url::parse(url).ok()?))
}

/// Is something wanted of the vault for this call?
pub fn is_wanted(plan: &Plan, capability: &str) -> bool {
    USED_BY.contains(&capability) || login(plan, capability).is_some()
}

/// Does the pattern of a binding name this host, as a call has it?
pub fn host_fits(pattern: &str, host: &str, port: Option<u16>) -> bool {
    let Ok(entry) = Entry::parse(pattern) else { return false };
    let named = match host.parse::<IpAddr>() {
        // `localhost` names no address here: what it resolves to is not what was written.
        Ok(address) => !entry.names("localhost") && entry.ranges().any(|range| range.holds(address.to_canonical())),
        Err(_) => entry.names(host),
    };
    named && entry.has_port(port)
}

/// May this agent use the secret that the call names, by this capability, with the host that it names?
///
/// # Errors
/// `Unread`.
pub(crate) fn may_use(
    draft: &mut Draft<'_>,
    agent: AgentId,
    plan: &Plan,
    capability: &str,
    attributes: &Attributes,
) -> Result<bool, Unread> {
    if let Some((name, wanted, url)) = login(plan, capability) {
        let bindings = bound_to(draft, agent, name)?;
        let fits = |bound: &Binding| {
            bound.capability == wanted && host_fits(&bound.host, &url.host.to_string(), Some(url.port))
        };
        return Ok(bindings.iter().any(fits));
    }
    let Some(used) = Used::by(capability, attributes) else { return Ok(false) };
    let Some(bindings) = bindings_of(draft, used.name)? else { return Ok(false) };
    Ok(bindings.iter().any(|bound| bound.agent == agent && used.fits(&bound.capability, &bound.host)))
}

/// May a call use the secret that it names? By what is bound to its agent.
pub fn covers(bound: &[BindingRow], plan: &Plan, capability: &str, attributes: &Attributes) -> bool {
    if let Some((name, wanted, url)) = login(plan, capability) {
        let host = url.host.to_string();
        let fits = |row: &BindingRow| row.capability == wanted && host_fits(&row.host, &host, Some(url.port));
        return bound.iter().any(|row| name_key(&row.name) == name_key(name) && fits(row));
    }
    Used::by(capability, attributes).is_some_and(|used| {
        let names_it = |row: &BindingRow| name_key(&row.name) == name_key(used.name);
        bound.iter().any(|row| names_it(row) && used.fits(&row.capability, &row.host))
    })
}

/// What a call names that would use a secret.
struct Used<'a> {
    name: &'a str,
    capability: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Used<'a> {
    fn by(capability: &'a str, attributes: &'a Attributes) -> Option<Used<'a>> {
        let Some(Argument::Text(name)) = attributes.input.get("secret") else { return None };
        Some(Used { name, capability, host: attributes.host.as_deref()?, port: attributes.port })
    }

    /// Is it this capability and host that something is bound to?
    fn fits(&self, capability: &str, host: &str) -> bool {
        self.capability == capability && host_fits(host, self.host, self.port)
    }
}

fn bindings_of(draft: &mut Draft<'_>, name: &str) -> Result<Option<Vec<Binding>>, Unread> {
    let holder = draft.holder(Namespace::SecretName, &name_key(name))?;
    let Some(id) = holder.and_then(|id| id.parse::<SecretId>().ok()) else { return Ok(None) };
    // The row only finds it: which name it has is the ledger's to say.
    let named = draft.get::<Secret>(id)?.filter(|secret| name_key(&secret.name) == name_key(name));
    Ok(named.map(|secret| secret.bindings().to_vec()))
}

/// What a secret of this name lets an agent do; nothing tells one that is not bound to it from one that is not there.
///
/// # Errors
/// `Unread`.
pub(crate) fn bound_to(draft: &mut Draft<'_>, agent: AgentId, name: &str) -> Result<Vec<Binding>, Unread> {
    let mut bindings = bindings_of(draft, name)?.unwrap_or_default();
    bindings.retain(|binding| binding.agent == agent);
    Ok(bindings)
}

#[cfg(test)]
mod tests {
    use super::host_fits;

    #[test]
    fn a_host_fits_the_pattern_that_names_it_and_no_other() {
        for (pattern, host, port) in [
            ("api.example.com", "api.example.com", 443),
            ("api.example.com:8443", "api.example.com", 8443),
            ("*.example.com", "a.b.example.com", 443),
            ("127.0.0.1", "127.0.0.1", 8080),
            ("127.0.0.1:8080", "127.0.0.1", 8080),
            ("[::1]:8080", "::1", 8080),
            ("localhost", "localhost", 80),
        ] {
            assert!(host_fits(pattern, host, Some(port)), "{pattern} is to fit {host}:{port}");
        }
        for (pattern, host, port) in [
            ("api.example.com", "example.com", 443),
            ("api.example.com", "api.example.com.evil.example", 443),
            ("api.example.com:8443", "api.example.com", 443),
            ("*.example.com", "example.com", 443),
            ("*.example.com", "evilexample.com", 443),
            ("localhost", "127.0.0.1", 80),
            ("127.0.0.1:8080", "127.0.0.1", 8081),
            ("no pattern", "no pattern", 443),
        ] {
            assert!(!host_fits(pattern, host, Some(port)), "{pattern} is not to fit {host}:{port}");
        }
    }
}
