//! Who asks: the peer's user on the Unix socket, the holder of an API key elsewhere. An unauthenticated request is
//! answered, logged and counted, and never becomes an actor. Roles are asked for by the handlers' own signatures.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tenure_core::access::Role;
use tenure_core::actor::Actor;
use tenure_core::id::{AgentId, InstanceId, KeyId, SessionId};
use tenure_core::session::Opener;
use tenure_core::time::Time;
use tenure_store::rows::macs::Forged;
use tenure_store::rows::{agent_keys, keys};
use tenure_wire::api::key::KeyText;
use tenure_wire::problem::Code;

use super::ApiState;
use super::places::Activity;
use super::problem::Failure;

/// Where a connection comes from, as the listener saw it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peer {
    Unix {
        uid: u32,
    },
    Tcp {
        local: SocketAddr,
        from: IpAddr,
    },
    /// With TLS.
    Tls {
        from: IpAddr,
    },
}

impl Peer {
    /// None on the Unix socket, where nobody is kept waiting.
    pub(super) fn address(self) -> Option<IpAddr> {
        match self {
            Peer::Unix { .. } => None,
            Peer::Tcp { from, .. } | Peer::Tls { from } => Some(from),
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) role: Role,
}

impl Caller {
    /// For what only some requests of an operation want.
    pub(super) fn must_be(&self, role: Role) -> Result<(), Failure> {
        if self.role < role {
            let detail = format!("this wants the role {role}; the key has {}", self.role);
            return Err(Code::Forbidden.problem(detail).into());
        }
        Ok(())
    }

    pub(super) fn key(&self) -> Option<KeyId> {
        match self.actor {
            Actor::Key(key) => Some(key),
            Actor::Owner { .. }
            | Actor::Link(_)
            | Actor::Agent(_)
            | Actor::Worker(_)
            | Actor::Daemon
            | Actor::Validator => None,
        }
    }
}

/// The holder of an agent's key. It is no person: it has no role, and reaches `/v1/agent` and `/mcp` alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgentCaller {
    pub(super) agent: AgentId,
    /// Its key; or the instance by the listener of whose jail it came.
    pub(super) opener: Opener,
    /// The one session of a program in a jail.
    pub(super) session: Option<SessionId>,
    /// When the key dies by itself.
    pub(super) dies_at: Option<Time>,
}

impl AgentCaller {
    pub(super) fn key(self) -> Option<KeyId> {
        match self.opener {
            Opener::Key(key) => Some(key),
            Opener::Instance(_) => None,
        }
    }
}

/// A request of the program of an instance, as told by the listener of its jail.
pub(crate) fn of_program(request: &mut Request, agent: AgentId, instance: InstanceId, session: SessionId) {
    let opener = Opener::Instance(instance);
    request.extensions_mut().insert(AgentCaller { agent, opener, session: Some(session), dies_at: None });
}

/// Whom a request was authenticated as.
#[derive(Debug, Clone, Copy)]
enum Known {
    Person(Caller),
    Agent(AgentCaller),
}

/// A caller that may read.
pub(super) struct Viewer(pub(super) Caller);
/// A caller that may allow what agents want to do.
pub(super) struct Approver(pub(super) Caller);
/// A caller that may change things.
pub(super) struct Operator(pub(super) Caller);
/// A caller that may manage keys.
pub(super) struct Owner(pub(super) Caller);

/// Refuses what a page of another web site could have sent: names that are not this host's, foreign origins.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    let checked = match request.extensions().get::<Peer>() {
        Some(Peer::Tcp { local, .. }) => check_site(request.headers(), request.uri(), Here::Address(*local)),
        Some(Peer::Tls { .. }) => check_site(request.headers(), request.uri(), Here::Vouched),
        Some(Peer::Unix { .. }) | None => Ok(()),
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// What a request may name as its host.
#[derive(Debug, Clone, Copy)]
enum Here {
    /// This host, in its own words, and the address.
    Address(SocketAddr),
    /// Any name: whoever came with TLS has checked by the certificate that it is ours.
    Vouched,
}

impl Here {
    fn scheme(self) -> &'static str {
        match self {
            Here::Address(_) => "http",
            Here::Vouched => "https",
        }
    }

    /// `named`: what the Host header says.
    fn is(self, host: &str, named: &str) -> bool {
        match self {
            Here::Address(local) => is_here(host, local),
            Here::Vouched => host.eq_ignore_ascii_case(named),
        }
    }

    fn is_origin(self, origin: &str, named: &str) -> bool {
        let Some(site) = origin.strip_prefix(self.scheme()).and_then(|rest| rest.strip_prefix("://")) else {
            return false;
        };
        let port_fits =
            |local: SocketAddr| site.rsplit_once(':').is_some_and(|(_, port)| port == local.port().to_string());
        self.is(site, named)
            && match self {
                Here::Address(local) => port_fits(local),
                Here::Vouched => true,
            }
    }
}

/// Every place in which a request can name its host is looked at: what stands between might read another one than we do.
fn check_site(headers: &HeaderMap, uri: &Uri, here: Here) -> Result<(), Failure> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or("something that is no text"),
        (None, _) => return Err(Code::HostRefused.problem("there is no Host header").into()),
        (Some(_), Some(_)) => return Err(Code::HostRefused.problem("there are several Host headers").into()),
    };
    let refuse = |what: &str, named: &str| {
        let shown: String = named.chars().take(100).collect();
        Err(Code::HostRefused.problem(format!("{what} says `{shown}`")).into())
    };
    if !here.is(host, host) {
        return refuse("the Host header", host);
    }
    if let Some(authority) = uri.authority()
        && (!here.is(authority.as_str(), host) || uri.scheme_str().is_some_and(|scheme| scheme != here.scheme()))
    {
        return refuse("the request's URI", &uri.to_string());
    }
    if headers.get_all(ORIGIN).iter().count() > 1 {
        return Err(Code::OriginRefused.problem("there are several Origin headers").into());
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let same = origin.to_str().is_ok_and(|origin| here.is_origin(origin, host));
    if same { Ok(()) } else { Err(Code::OriginRefused.problem("the Origin header names another site").into()) }
}

fn is_here(host: &str, local: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !port.is_empty() => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare == "127.0.0.1" || bare == "::1" || bare == local.ip().to_string()
}

/// Finds the caller and puts it beside the request, or leaves the request without one.
pub(super) async fn identify(State(api): State<Arc<ApiState>>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).cloned();
    let peer = request.extensions().get::<Peer>().copied();
    match caller(&api, header, peer).await {
        Ok(Some(known)) => {
            if let Some(activity) = request.extensions().get::<Activity>() {
                activity.known();
            }
            match known {
                Known::Person(caller) => drop(request.extensions_mut().insert(caller)),
                Known::Agent(caller) => drop(request.extensions_mut().insert(caller)),
            }
        }
        Ok(None) => {}
        Err(failure) => return failure.into_response(),
    }
    next.run(request).await
}

async fn caller(api: &ApiState, header: Option<HeaderValue>, peer: Option<Peer>) -> Result<Option<Known>, Failure> {
    if let Some(header) = header {
        return of_header(api, &header, peer.and_then(Peer::address)).await.map(Some);
    }
    Ok(match peer {
        Some(Peer::Unix { uid }) if uid == api.installation.owner || uid == 0 => {
            Some(Known::Person(Caller { actor: Actor::Owner { uid }, role: Role::Owner }))
        }
        Some(Peer::Unix { .. } | Peer::Tcp { .. } | Peer::Tls { .. }) | None => None,
    })
}

/// `from`: whose failures are counted.
async fn of_header(api: &ApiState, header: &HeaderValue, from: Option<IpAddr>) -> Result<Known, Failure> {
    let text = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
    let key = text.map(str::parse::<KeyText>);
    let hash = key.as_ref().and_then(|key| key.as_ref().ok()).map(KeyText::hash);
    if let Some(from) = from {
        api.attempts.admit(from, hash.as_ref(), Instant::now()).map_err(limited)?;
    }
    let known = match key {
        None => Err(unauthenticated("the Authorization header is no `Bearer tnr_…`")),
        Some(Err(error)) => Err(unauthenticated(&format!("{error}"))),
        Some(Ok(key)) => of_key(api, &key).await,
    };
    match (&known, from, hash) {
        (Ok(_), Some(_), Some(hash)) => api.attempts.was_right(hash, Instant::now()),
        (Err(failure), Some(from), hash) if failure.0.code == Code::Unauthenticated => {
            api.attempts.was_wrong(from, hash.as_ref(), Instant::now());
        }
        (_, _, _) => {}
    }
    known
}

/// Nothing was looked up.
fn limited(wait: Duration) -> Failure {
    tracing::debug!(?wait, "an API key was not looked at: too many before it were none");
    let mut problem = Code::AuthenticationLimited.problem("too many API keys that are none came before it");
    problem.retry_after = Some(u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX));
    problem.into()
}

async fn of_key(api: &ApiState, text: &KeyText) -> Result<Known, Failure> {
    // Found by the SHA-256 of 160 random bits: what a caller can choose tells nothing by the time that it takes.
    let hash = text.hash();
    let unknown = || unauthenticated("the API key is unknown or revoked");
    let read = api.reader().read(move |sql| match keys::by_hash(sql, &hash)? {
        Some(row) => Ok((Some(row), None)),
        None => Ok((None, agent_keys::by_hash(sql, &hash)?)),
    });
    let (person, agent) = read.await?;
    let forged = |forged: Forged| {
        tracing::error!(%forged, "a forged API key was refused; run `tenure audit verify`");
        unknown()
    };
    if let Some(row) = person {
        let row = row.verified(api.reader().macs()).map_err(forged)?;
        if row.revoked_at.is_some() {
            return Err(unknown());
        }
        return Ok(Known::Person(Caller { actor: Actor::Key(row.id), role: row.role }));
    }
    let row = agent.ok_or_else(unknown)?.verified(api.reader().macs()).map_err(forged)?;
    if !row.is_live(api.app.committer.now().at) {
        return Err(unknown());
    }
    Ok(Known::Agent(AgentCaller { agent: row.agent, opener: Opener::Key(row.id), session: None, dies_at: row.dies_at }))
}

fn unauthenticated(detail: &str) -> Failure {
    tracing::info!(detail, "an unauthenticated request");
    Code::Unauthenticated.problem(detail).into()
}

fn at_least(parts: &Parts, role: Role) -> Result<Caller, Failure> {
    let Some(caller) = parts.extensions.get::<Caller>() else {
        if parts.extensions.get::<AgentCaller>().is_some() {
            let detail = "this is the key of an agent, which opens /mcp and what is below /v1/agent alone";
            return Err(Code::Forbidden.problem(detail).into());
        }
        return Err(match parts.extensions.get::<Peer>() {
            Some(Peer::Unix { uid }) => {
                unauthenticated(&format!("the Unix socket trusts the daemon's own user and root, not uid {uid}"))
            }
            Some(Peer::Tcp { .. } | Peer::Tls { .. }) | None => unauthenticated("there is no Authorization header"),
        });
    };
    caller.must_be(role)?;
    Ok(*caller)
}

impl<S: Send + Sync> FromRequestParts<S> for AgentCaller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<AgentCaller, Failure> {
        if let Some(caller) = parts.extensions.get::<AgentCaller>() {
            return Ok(*caller);
        }
        let person = at_least(parts, Role::Viewer)?;
        let detail = format!("this wants the key of an agent, and you are {}", person.actor);
        Err(Code::Forbidden.problem(detail).hint("`tenure agent rotate NAME` gives an agent a key").into())
    }
}

macro_rules! roles {
    ($($name:ident)*) => {$(
        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Failure;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<$name, Failure> {
                at_least(parts, Role::$name).map($name)
            }
        }
    )*};
}

roles!(Viewer Approver Operator Owner);

#[cfg(test)]
mod tests {
    use super::*;

    fn named(hosts: &[&str], origins: &[&str], uri: &'static str) -> Result<(), Code> {
        let here = Here::Address(SocketAddr::from(([127, 0, 0, 1], 7800)));
        asked(here, hosts, origins, uri)
    }

    fn asked(here: Here, hosts: &[&str], origins: &[&str], uri: &'static str) -> Result<(), Code> {
        let mut headers = HeaderMap::new();
        for (name, values) in [(HOST, hosts), (ORIGIN, origins)] {
            for value in values {
                headers.append(&name, HeaderValue::from_str(value).unwrap());
            }
        }
        check_site(&headers, &Uri::from_static(uri), here).map_err(|failure| failure.0.code)
    }

    fn site(host: Option<&str>, origin: Option<&str>) -> Result<(), Code> {
        named(host.as_slice(), origin.as_slice(), "/v1/agents")
    }

    #[test]
    fn over_tls_any_name_is_ours_and_an_origin_must_be_the_same_site() {
        const NAME: &str = "box.example:7800";
        let asked = |hosts: &[&str], origins: &[&str], uri| asked(Here::Vouched, hosts, origins, uri);
        assert_eq!(asked(&[NAME], &[], "/v1/agents"), Ok(()));
        assert_eq!(asked(&[NAME], &["https://box.example:7800"], "https://box.example:7800/v1/agents"), Ok(()));
        for origin in ["http://box.example:7800", "https://evil.example", "https://box.example", "null"] {
            assert_eq!(asked(&[NAME], &[origin], "/v1/agents"), Err(Code::OriginRefused), "{origin}");
        }
        for uri in ["https://evil.example/v1/agents", "http://box.example:7800/v1/agents"] {
            assert_eq!(asked(&[NAME], &[], uri), Err(Code::HostRefused), "{uri}");
        }
        assert_eq!(asked(&[NAME, NAME], &[], "/v1/agents"), Err(Code::HostRefused));
        assert_eq!(asked(&[], &[], "/v1/agents"), Err(Code::HostRefused));
    }

    #[test]
    fn a_request_names_its_host_once_and_in_every_place_this_one() {
        const HERE: &str = "localhost:7800";
        assert_eq!(
            named(&[HERE], &[], "http://127.0.0.1:7800/v1/agents"),
            Ok(()),
            "the control: an absolute URI of ours"
        );
        for uri in
            ["http://evil.example/v1/agents", "http://localhost@evil.example/v1/agents", "https://localhost:7800/"]
        {
            assert_eq!(named(&[HERE], &[], uri), Err(Code::HostRefused), "{uri}");
        }
        assert_eq!(named(&["evil.example"], &[], "http://localhost:7800/v1/agents"), Err(Code::HostRefused));
        assert_eq!(named(&[], &[], "http://localhost:7800/v1/agents"), Err(Code::HostRefused));
        for hosts in [[HERE, HERE], [HERE, "evil.example"], ["evil.example", HERE]] {
            assert_eq!(named(&hosts, &[], "/v1/agents"), Err(Code::HostRefused), "{hosts:?}");
        }
        let origins = ["http://localhost:7800", "http://evil.example"];
        assert_eq!(named(&[HERE], &origins, "/v1/agents"), Err(Code::OriginRefused));
    }

    #[test]
    fn a_page_of_another_site_reaches_nothing_and_this_host_does() {
        for host in ["127.0.0.1:7800", "localhost:7800", "LOCALHOST", "[::1]:7800"] {
            assert_eq!(site(Some(host), None), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:7800", "127.0.0.1.evil.example:7800", "localhost.evil.example", ""] {
            assert_eq!(site(Some(host), None), Err(Code::HostRefused), "{host}");
        }
        assert_eq!(site(None, None), Err(Code::HostRefused));
        assert_eq!(site(Some("localhost:7800"), Some("http://localhost:7800")), Ok(()));
        for origin in
            ["http://evil.example", "null", "https://localhost:7800", "http://localhost:9999", "http://localhost"]
        {
            assert_eq!(site(Some("localhost:7800"), Some(origin)), Err(Code::OriginRefused), "{origin}");
        }
    }
}
