//! The last look before a value leaves for a worker: is it still bound to the agent, for this capability, with the very host of the
//! URL that will be asked? Read from rows whose MACs hold, at the moment of sending. Must never: open anything itself.
use crate::records::{Error, ReadTxn, found};
use serde::Deserialize;
use tenure_core::capability::mcp::Name;
use tenure_core::id::{AgentId, SecretId};
use tenure_core::network::url::Url;
use tenure_core::plan::{McpAt, McpServer, Plan};
use tenure_core::secret::{USED_BY, host_fits, is_private, of_server};
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

/// What a call wants of the vault.
struct Wanted {
    secret: String,
    url: Url,
    /// What it is bound for.
    capability: String,
    placement: Placement,
}

impl Wanted {
    /// None of a call that wants nothing.
    fn of(plan: &Plan, capability: &str, arguments: &serde_json::Value) -> Result<Option<Wanted>, Refused> {
        let read = |url: &str| Url::parse(url).map_err(|why| Refused(format!("the URL cannot be used: {why}")));
        if USED_BY.contains(&capability) {
            let asked: Asked = serde_json::from_value(arguments.clone())
                .map_err(|error| Refused(format!("the arguments do not fit: {error}")))?;
            let (url, capability) = (read(&asked.url)?, capability.to_string());
            return Ok(Some(Wanted { secret: asked.secret, url, capability, placement: asked.placement }));
        }
        let Some(name) = Name::parse(capability) else { return Ok(None) };
        let planned = plan.mcp.iter().find(|planned| planned.name == name.server);
        let Some(McpServer { login: Some(login), at, .. }) = planned else { return Ok(None) };
        let McpAt::Url(url) = at else {
            return Err(Refused("a program in the sandbox is given no secret".to_string()));
        };
        let placement = match &login.user {
            Some(user) => Placement::Basic { basic_user: user.clone() },
            None => Placement::default(),
        };
        let (secret, url, capability) = (login.secret.clone(), read(url)?, of_server(name.server));
        Ok(Some(Wanted { secret, url, capability, placement }))
    }
}

/// None of a call that uses none.
///
/// # Errors
/// The store's.
pub fn sealed_use(
    txn: &mut ReadTxn<'_>,
    (agent, plan): (AgentId, &Plan),
    capability: &str,
    arguments: &serde_json::Value,
) -> Result<Result<Option<SealedUse>, Refused>, Error> {
    let no = |why: String| Ok(Err(Refused(why)));
    let Wanted { secret, url, capability, placement } = match Wanted::of(plan, capability, arguments) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return Ok(Ok(None)),
        Err(refused) => return Ok(Err(refused)),
    };
    if !is_private(&url) {
        return no("a secret goes over TLS alone: write https://".to_string());
    }
    let Match::One(row) = secrets::find(txn.parts().0, &secret)? else {
        return no(format!("no secret `{}` is bound to you", tenure_core::capability::clip(&secret)));
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
    let (id, name, version) = (row.id, row.name, row.version);
    Ok(Ok(Some(SealedUse { id, name, version, sealed, placement })))
}
