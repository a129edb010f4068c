//! An address of the web as a capability takes it. Judge and worker read it by this one reader, so that none is led to another
//! host than the other saw. Must never: take a user or password, a backslash or a blank, or normalise what it does not know.
use super::host::{Host, Misspelt};
use std::fmt;

/// Longest text, in bytes.
pub const URL_BYTES_MAX: usize = 8192;

/// `http` or `https`. The fragment is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub secure: bool,
    pub host: Host,
    pub port: u16,
    /// Path and query, from its `/` on; visible ASCII.
    pub target: String,
}

/// Why a text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    TooLong,
    Scheme,
    /// A name or password before the host.
    Login,
    Host(Misspelt),
    /// A blank, a backslash, a control character or one outside ASCII.
    Character,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::TooLong => write!(f, "the URL is longer than {URL_BYTES_MAX} bytes"),
            Unreadable::Scheme => f.write_str("the URL does not begin with http:// or https://"),
            Unreadable::Login => f.write_str("the URL holds a login; send it in a header"),
            Unreadable::Host(misspelt) => write!(f, "the URL's host cannot be used: {misspelt}"),
            Unreadable::Character => f.write_str("the URL has a character that must be percent-encoded"),
        }
    }
}

impl Url {
    /// # Errors
    /// What cannot be read in one way only.
    pub fn parse(text: &str) -> Result<Url, Unreadable> {
        if text.len() > URL_BYTES_MAX {
            return Err(Unreadable::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Unreadable::Scheme)?;
        let secure = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return Err(Unreadable::Scheme);
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(Unreadable::Login);
        }
        let (host, port) = Host::parse_with_port(authority).map_err(Unreadable::Host)?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        Ok(Url { secure, host, port, target: target(tail)? })
    }

    /// What a `Location` header at this address means.
    ///
    /// # Errors
    /// As `parse`.
    pub fn join(&self, location: &str) -> Result<Url, Unreadable> {
        let scheme = if self.secure { "https" } else { "http" };
        let absolute = location.find(':').is_some_and(|colon| {
            let before = &location[..colon];
            before.starts_with(|c: char| c.is_ascii_alphabetic()) && !before.contains(['/', '?', '#'])
        });
        if absolute {
            return Url::parse(location);
        }
        if location.starts_with("//") {
            return Url::parse(&format!("{scheme}:{location}"));
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let joined = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with(['?', '#']) || location.is_empty() {
            format!("{path}{location}")
        } else {
            format!("{}{location}", &path[..=path.rfind('/').unwrap_or(0)])
        };
        if joined.len() > URL_BYTES_MAX {
            return Err(Unreadable::TooLong);
        }
        Ok(Url { target: without_dots(&target(&joined)?), ..self.clone() })
    }

    /// Host, and port where it is not the scheme's own: what a `Host` header says.
    pub fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "https" } else { "http" }, self.authority(), self.target)
    }
}

fn target(tail: &str) -> Result<String, Unreadable> {
    let tail = tail.split('#').next().unwrap_or("");
    if !tail.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>')) {
        return Err(Unreadable::Character);
    }
    Ok(if tail.starts_with('/') { tail.to_owned() } else { format!("/{tail}") })
}

/// The target without `.` and `..` in its path.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut parts: Vec<&str> = Vec::new();
    let last = path.rsplit('/').next().unwrap_or("");
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if matches!(last, "." | "..") {
        parts.push("");
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, Unreadable> {
        Url::parse(text).map(|url| url.to_string())
    }

    #[test]
    fn only_what_can_be_read_in_one_way_is_an_address() {
        assert_eq!(at("HTTP://Example.com:80?q#part"), Ok("http://example.com/?q".into()));
        let over_tls = |authority: &str| format!("https://{authority}/a");
        assert_eq!(at(&over_tls("[::ffff:10.0.0.5]:8443")), Ok(over_tls("10.0.0.5:8443")));
        for login in ["http://good.example@evil.example/", "http://a:b@evil.example", "http://evil.example%40@x/"] {
            assert_eq!(at(login), Err(Unreadable::Login), "{login}");
        }
        assert_eq!(at("ftp://example.com/"), Err(Unreadable::Scheme));
        assert_eq!(at("example.com/a"), Err(Unreadable::Scheme));
        for host in ["/a", "good.example\\.evil.example/", "a b/", "0x7f.1/", "a:0/", "[::1/"] {
            assert!(matches!(at(&format!("http://{host}")), Err(Unreadable::Host(_))), "{host}");
        }
        for odd in ["http://a.example/ b", "http://a.example/\\b", "http://a.example/é", "http://a.example/\r\nX: y"] {
            assert_eq!(at(odd), Err(Unreadable::Character), "{odd}");
        }
    }

    #[test]
    fn a_location_is_read_from_where_it_was_found() {
        let here = Url::parse("https://a.example:8443/x/y/z?q=1").unwrap();
        let to = |location: &str| here.join(location).map(|url| url.to_string());
        assert_eq!(to("http://b.example/n"), Ok("http://b.example/n".into()));
        assert_eq!(to("//b.example/n"), Ok("https://b.example/n".into()));
        assert_eq!(to("/n?a:b"), Ok("https://a.example:8443/n?a:b".into()));
        assert_eq!(to("n"), Ok("https://a.example:8443/x/y/n".into()));
        assert_eq!(to("../../../n/./m/.."), Ok("https://a.example:8443/n/".into()));
        assert_eq!(to("?r"), Ok("https://a.example:8443/x/y/z?r".into()));
        assert_eq!(to("gopher://b.example/"), Err(Unreadable::Scheme));
        assert_eq!(to("javascript:alert(1)"), Err(Unreadable::Scheme));
    }
}
