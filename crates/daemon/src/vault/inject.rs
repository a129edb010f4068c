//! The last look before a value leaves for a worker: is it still bound to the agent, for this capability, with the very host of the
//! URL that will be asked? Read from rows whose MACs hold, at the moment of sending. Must never: open anything itself.
use crate::records::{Error, ReadTxn, found};
use serde::Deserialize;
use tenure_core::id::{AgentId, SecretId};
use tenure_core::network::host::Host;
use tenure_core::network::url::Url;
use tenure_core::secret::{USED_BY, host_fits};
use tenure_store::rows::{Match, secrets};
use tenure_wire::frame::Placement;

/// A secret that a call is to use, still sealed.
#[derive(Debug)]
pub struct SealedUse {
    pub id: SecretId,
    pub name: String,
    pub version: u32,
    pub sealed: Vec<u8>,
    pub placement: Placement,
}

/// Why a call gets none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

#[derive(Deserialize)]
struct Asked {
    url: String,
    secret: String,
    #[serde(default)]
    placement: Placement,
}

/// None of a capability that uses none.
///
/// # Errors
/// The store's.
pub fn sealed_use(
    txn: &mut ReadTxn<'_>,
    agent: AgentId,
    capability: &str,
    arguments: &serde_json::Value,
) -> Result<Result<Option<SealedUse>, Refused>, Error> {
    if !USED_BY.contains(&capability) {
        return Ok(Ok(None));
    }
    let no = |why: String| Ok(Err(Refused(why)));
    let asked: Asked = match serde_json::from_value(arguments.clone()) {
        Ok(asked) => asked,
        Err(error) => return no(format!("the arguments do not fit: {error}")),
    };
    let url = match Url::parse(&asked.url) {
        Ok(url) => url,
        Err(why) => return no(format!("the URL cannot be used: {why}")),
    };
    if !url.secure && !is_loopback(&url.host) {
        return no("a secret goes over TLS alone: write https://".to_string());
    }
    let Match::One(row) = secrets::find(txn.parts().0, &asked.secret)? else {
        return no(format!("no secret `{}` is bound to you", tenure_core::capability::clip(&asked.secret)));
    };
    let bindings = txn.secret_bindings(agent)?;
    let host = url.host.to_string();
    let bound = bindings.iter().any(|binding| {
        binding.secret == row.id && binding.capability == capability && host_fits(&binding.host, &host, Some(url.port))
    });
    let Some(hash) = row.sealed.filter(|_| bound) else {
        return no(format!("the secret `{}` is not bound to you for {host}, or not any more", row.name));
    };
    let Some(sealed) = found(txn.bytes(hash))? else {
        return no(format!("the value of `{}` is gone", row.name));
    };
    let (id, name, version, placement) = (row.id, row.name, row.version, asked.placement);
    Ok(Ok(Some(SealedUse { id, name, version, sealed, placement })))
}

/// This host's own, by name or address: nothing of it leaves the host.
fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => address.is_loopback(),
    }
}
