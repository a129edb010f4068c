//! Where a provider is, and what a person sets to say so.

use crate::model::failure::{Failure, Kind};
use crate::model::name::Provider;

/// The protocols that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Anthropic,
    OpenAi,
    /// It speaks as OpenAI does, wants no key, and is on this host where nobody says otherwise.
    Ollama,
}

impl Protocol {
    pub fn provider(self) -> Provider {
        match self {
            Protocol::Anthropic => Provider::Anthropic,
            Protocol::OpenAi => Provider::OpenAi,
            Protocol::Ollama => Provider::Ollama,
        }
    }

    pub(super) fn key_variable(self) -> &'static str {
        match self {
            Protocol::Anthropic => "ANTHROPIC_API_KEY",
            Protocol::OpenAi => "OPENAI_API_KEY",
            Protocol::Ollama => "OLLAMA_API_KEY",
        }
    }

    pub(super) fn url_variable(self) -> &'static str {
        match self {
            Protocol::Anthropic => "ANTHROPIC_BASE_URL",
            Protocol::OpenAi => "OPENAI_BASE_URL",
            Protocol::Ollama => "OLLAMA_HOST",
        }
    }

    pub(super) fn official_url(self) -> &'static str {
        match self {
            Protocol::Anthropic => "https://api.anthropic.com/v1/",
            Protocol::OpenAi => "https://api.openai.com/v1/",
            Protocol::Ollama => "http://127.0.0.1:11434/v1/",
        }
    }
}

/// Keys travel to this address: it must be one, carry no credentials of its own, and end where paths can be joined.
pub(super) fn normal_url(protocol: Protocol, text: &str) -> Result<String, Failure> {
    let refuse = |why: &str| {
        let sentence = format!("{} is no usable base URL: {why}", protocol.url_variable());
        Failure::new(Kind::NotReady, sentence, format!("write it like {}", protocol.official_url()))
    };
    let mut url = reqwest::Url::parse(text.trim()).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("it must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("credentials do not belong in it; use the key's variable"));
    }
    if protocol == Protocol::Anthropic && url.query().is_some() {
        return Err(refuse("it must have no query"));
    }
    let mut path = url.path().trim_end_matches('/').to_owned();
    if protocol == Protocol::Anthropic && !path.ends_with("/v1") {
        path.push_str("/v1");
    }
    url.set_path(&format!("{path}/"));
    url.set_fragment(None);
    Ok(url.to_string())
}

/// The base URL that `OLLAMA_HOST` means, in all the forms that Ollama itself takes: a scheme, a host, a port, or parts of
/// them.
pub fn ollama_url(host: &str) -> String {
    let (scheme, rest, port_default) = match host.trim().split_once("://") {
        Some((scheme @ "http", rest)) => (scheme, rest, 80),
        Some((scheme @ "https", rest)) => (scheme, rest, 443),
        Some((scheme, rest)) => (scheme, rest, 11434),
        None => ("http", host.trim(), 11434),
    };
    let (place, path) = rest.split_once('/').map_or((rest, ""), |(place, path)| (place, path.trim_end_matches('/')));
    let is_bare_v6 = place.parse::<std::net::Ipv6Addr>().is_ok();
    let (name, port) = match place.rsplit_once(':').filter(|_| !is_bare_v6 && !place.ends_with(']')) {
        Some((name, port)) => (name, port.parse::<u16>().unwrap_or(port_default)),
        None => (place, port_default),
    };
    // What a server listens on everywhere is asked here.
    let name = match name.trim_matches(['[', ']']) {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        bare if bare.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{bare}]"),
        bare => bare.to_owned(),
    };
    let path = if path.is_empty() { "v1".to_owned() } else { format!("{path}/v1") };
    format!("{scheme}://{name}:{port}/{path}")
}

/// Whether this address is on this host alone.
pub(super) fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    match url.host_str().map(|host| host.trim_matches(['[', ']'])) {
        Some(host) => match host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback() || address.is_unspecified(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollamas_host_is_read_as_ollama_reads_it() {
        for (host, url) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
            ("box", "http://box:11434/v1"),
            (":9", "http://127.0.0.1:9/v1"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1"),
            ("[::1]:7", "http://[::1]:7/v1"),
            ("::1", "http://[::1]:11434/v1"),
            ("http://box", "http://box:80/v1"),
            ("https://box/sub/", "https://box:443/sub/v1"),
            ("box:no", "http://box:11434/v1"),
        ] {
            assert_eq!(ollama_url(host), url, "{host}");
        }
    }

    #[test]
    fn an_address_on_this_host_is_told_from_all_others() {
        let is_here = |host: &str| is_loopback(&format!("http://{host}/v1/"));
        for here in ["127.0.0.1:1", "127.9.9.9", "[::1]:8080", "localhost:1", "0.0.0.0"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["api.openai.com", "localhost.example.com", "10.0.0.1", "127.0.0.1.example.com"] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
        assert!(!is_loopback("nonsense"));
    }
}
