//! One line of an allowlist or a blocklist. Must never: name more than it says: `*.name` is what lies below the name, not the
//! name, and a name is not the addresses that it resolves to.
use super::host::{Host, Misspelt, parse_port};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A name, `*.name`, an address or a range of addresses, each with an optional port; without one it holds for all ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pattern: Pattern,
    port: Option<u16>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(String),
    /// The dot and the name that it lies below.
    Below(String),
    Range(Range),
}

/// Addresses that begin with the same `length` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    length: u8,
}

/// Why a text is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    Host(Misspelt),
    /// `*` somewhere else than as the whole first part.
    Star,
    /// A length that is no number, or too large for its kind of address.
    Length,
    /// Bits are set behind the length; the range that was meant.
    Tail(Range),
    /// IPv4 addresses written as IPv6.
    Mapped,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Host(misspelt) => misspelt.fmt(f),
            Unusable::Star => f.write_str("a `*` stands for all names below one, as in *.github.com"),
            Unusable::Length => f.write_str("a range ends in its length, as in 10.0.0.0/8 or fd00::/8"),
            Unusable::Tail(range) => write!(f, "the range begins elsewhere; write {range}"),
            Unusable::Mapped => f.write_str("write a range of IPv4 addresses as such"),
        }
    }
}

impl From<Misspelt> for Unusable {
    fn from(misspelt: Misspelt) -> Unusable {
        Unusable::Host(misspelt)
    }
}

impl Entry {
    /// # Errors
    /// What is no entry, with what it might have meant.
    pub fn parse(text: &str) -> Result<Entry, Unusable> {
        let (pattern, port) = if text.contains('/') {
            range_with_port(text)?
        } else if let Some(below) = text.strip_prefix("*.") {
            match Host::parse_with_port(below)? {
                (Host::Name(name), port) => (Pattern::Below(format!(".{name}")), port),
                (Host::Address(_), _) => return Err(Unusable::Star),
            }
        } else if text.contains('*') {
            return Err(Unusable::Star);
        } else if let Ok(address) = text.parse::<IpAddr>() {
            (Pattern::Range(Range::of(address.to_canonical())), None)
        } else {
            match Host::parse_with_port(text)? {
                (Host::Name(name), port) => (Pattern::Name(name), port),
                (Host::Address(address), port) => (Pattern::Range(Range::of(address)), port),
            }
        };
        Ok(Entry { pattern, port, text: text.to_owned() })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds for `port`; for every one if that is None.
    pub fn has_port(&self, port: Option<u16>) -> bool {
        port.is_none() || self.port.is_none() || self.port == port
    }

    pub fn has_any_port(&self) -> bool {
        self.port.is_none()
    }

    pub fn names(&self, name: &str) -> bool {
        match &self.pattern {
            Pattern::Name(own) => own == name,
            Pattern::Below(end) => name.len() > end.len() && name.ends_with(end.as_str()),
            Pattern::Range(_) => false,
        }
    }

    /// The addresses that it names. Of names only `localhost` has some by itself.
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        let localhost = [Range::of(Ipv4Addr::LOCALHOST.into()), Range::of(Ipv6Addr::LOCALHOST.into())];
        let (own, localhost) = match &self.pattern {
            Pattern::Range(range) => (Some(*range), None),
            Pattern::Name(name) if name == "localhost" => (None, Some(localhost)),
            Pattern::Name(_) | Pattern::Below(_) => (None, None),
        };
        own.into_iter().chain(localhost.into_iter().flatten())
    }
}

/// `first/length`, with a port as in `10.0.0.0/8:443` or `[fd00::/8]:443`.
fn range_with_port(text: &str) -> Result<(Pattern, Option<u16>), Unusable> {
    let (range, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (range, port) = rest.split_once(']').ok_or(Misspelt::Character)?;
            match port.strip_prefix(':') {
                Some(port) => (range, Some(port)),
                None if port.is_empty() => (range, None),
                None => return Err(Misspelt::Character.into()),
            }
        }
        None => {
            let slash = text.find('/').unwrap_or(text.len());
            match text[slash..].split_once(':') {
                Some((length, port)) => (&text[..slash + length.len()], Some(port)),
                None => (text, None),
            }
        }
    };
    Ok((Pattern::Range(Range::parse(range)?), port.map(parse_port).transpose()?))
}

impl Range {
    pub const fn new(first: IpAddr, length: u8) -> Range {
        Range { first, length }
    }

    fn of(address: IpAddr) -> Range {
        Range { first: address, length: bits(address).1 }
    }

    fn parse(text: &str) -> Result<Range, Unusable> {
        let (first, length) = text.split_once('/').ok_or(Unusable::Length)?;
        let first = first.parse::<IpAddr>().map_err(|_| Misspelt::Character)?;
        if first != first.to_canonical() {
            return Err(Unusable::Mapped);
        }
        let plain = (1..=3).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit());
        let length =
            length.parse::<u8>().ok().filter(|length| plain && *length <= bits(first).1).ok_or(Unusable::Length)?;
        let range = Range { first: masked(first, length), length };
        if range.first == first { Ok(range) } else { Err(Unusable::Tail(range)) }
    }

    pub fn holds(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.length) == masked(self.first, self.length)
    }

    /// Whether all of it lies in `other`.
    pub fn lies_in(self, other: Range) -> bool {
        self.length >= other.length && other.holds(self.first)
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    let (number, width) = bits(address);
    let tail = u32::from(width.saturating_sub(length));
    let kept = if tail >= 128 { 0 } else { number >> tail << tail };
    match address {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(kept).unwrap_or_default()).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(kept).into(),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn a_manifest_names_hosts_ranges_and_ports_and_is_told_what_it_meant() {
        let manifest = |entry: &str| {
            let network = format!("{{mode: allow, allowlist: [{entry:?}]}}");
            let head = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: a}\nspec: {task: {instruction: x}, security: {network: ";
            Manifest::parse(&format!("{head}{network}}}}}\n")).map(drop).map_err(|problems| format!("{problems:?}"))
        };
        let taken = [
            "api.github.com",
            "API.github.com:443",
            "*.github.com",
            "*.github.com:8443",
            "10.1.2.3",
            "10.1.2.3:80",
            "::1",
            "[::1]:8080",
            "10.0.0.0/8",
            "10.0.0.0/8:443",
            "fd00::/8",
            "[fd00::/8]:443",
            "0.0.0.0/0",
            "localhost:8080",
            "xn--bcher-kva.example",
            "_dmarc.example.com",
        ];
        for entry in taken {
            assert_eq!(manifest(entry), Ok(()), "{entry}");
        }
        let refused = [
            ("10.1.2.3/8", "write 10.0.0.0/8"),
            ("10.0.0.0/33", "ends in its length"),
            ("10.0.0.0/+8", "ends in its length"),
            ("::ffff:10.0.0.0/104", "IPv4 addresses as such"),
            ("*", "names below one"),
            ("a.*.org", "names below one"),
            ("*.10.0.0.1", "names below one"),
            ("127.1", "ends in a number"),
            ("0x7f.0.0.1", "ends in a number"),
            ("bücher.example", "punycode"),
            ("a..b", "part between dots"),
            ("a.org:0", "port"),
            ("a.org:+80", "port"),
            ("a.org:99999", "port"),
            ("-a.org", "part between dots"),
            ("a b", "name a host as in"),
        ];
        for (entry, hint) in refused {
            let told = manifest(entry).unwrap_err();
            assert!(told.contains(hint), "{entry}: {told}");
        }
    }

    #[test]
    fn an_entry_names_no_more_than_it_says() {
        let entry = |text| Entry::parse(text).unwrap();
        assert!(entry("*.example.com").names("a.b.example.com"));
        assert!(!entry("*.example.com").names("example.com") && !entry("*.example.com").names("evilexample.com"));
        assert!(entry("Example.com.").names("example.com") && !entry("example.com").names("a.example.com"));
        let holds = |text, address: &str| entry(text).ranges().any(|range| range.holds(address.parse().unwrap()));
        assert!(
            holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1") && !holds("10.0.0.0/8", "a00::1")
        );
        assert!(
            holds("fd00::/8", "fdff::1")
                && !holds("fd00::/8", "fe00::1")
                && holds("::/0", "1::")
                && !holds("::/0", "1.1.1.1")
        );
        assert!(holds("localhost", "::1") && holds("localhost:80", "127.0.0.1") && !holds("localhost", "127.0.0.2"));
        assert!(
            entry("a.org:443").has_port(Some(443))
                && !entry("a.org:443").has_port(Some(80))
                && entry("a.org:443").has_port(None)
        );
    }
}
