//! A host as a program, a manifest or a model writes it. Must never: repair what was written, or let a text through that a
//! resolver could take for an address by rules of its own (octal, hexadecimal, short or single-number forms of IPv4).
use std::fmt;
use std::net::IpAddr;

/// A name, or an address in its plain form. Two spellings of one host are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower case, without a dot at its end; at most 253 bytes of letters, digits, `-`, `_` and `.`.
    Name(String),
    /// An IPv4 address inside IPv6 (`::ffff:a.b.c.d`) is the IPv4 address.
    Address(IpAddr),
}

/// Why a text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misspelt {
    Empty,
    TooLong,
    /// Punycode (`xn--…`) is the only form of such a name that is taken.
    NotAscii,
    /// NUL, a blank, `%`, `@`, a bracket, or whatever else no name has.
    Character,
    /// A part between dots is empty, longer than 63 bytes, or begins or ends with a hyphen.
    Part,
    /// It ends in a number, and is no IPv4 address of four plain decimal numbers.
    Number,
    /// A port that is no number from 1 to 65535, or none where one is needed.
    Port,
}

impl fmt::Display for Misspelt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Misspelt::Empty => "it is empty",
            Misspelt::TooLong => "it is longer than 253 bytes",
            Misspelt::NotAscii => "it has letters outside ASCII; write it in punycode (xn--…)",
            Misspelt::Character => "it has a character that no host name has",
            Misspelt::Part => "a part between dots is empty, too long, or begins or ends with a hyphen",
            Misspelt::Number => "it ends in a number and is no plain IPv4 address (four decimal numbers)",
            Misspelt::Port => "its port is no number from 1 to 65535",
        })
    }
}

impl Host {
    /// A name or an address alone, without brackets and without a port.
    ///
    /// # Errors
    /// What no rule can be applied to without guessing.
    pub fn parse(text: &str) -> Result<Host, Misspelt> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Host::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(Misspelt::Empty);
        }
        if !name.is_ascii() {
            return Err(Misspelt::NotAscii);
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(Misspelt::Character);
        }
        if name.len() > 253 {
            return Err(Misspelt::TooLong);
        }
        let well_made = |part: &str| (1..=63).contains(&part.len()) && !part.starts_with('-') && !part.ends_with('-');
        if !name.split('.').all(well_made) {
            return Err(Misspelt::Part);
        }
        if ends_in_a_number(name) {
            // Only `1.2.3.4.`: everything else that is an address was taken above.
            return name.parse().map(Host::Address).map_err(|_| Misspelt::Number);
        }
        Ok(Host::Name(name.to_ascii_lowercase()))
    }

    /// As it crosses a wire that promises no text.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Host, Misspelt> {
        Host::parse(std::str::from_utf8(bytes).map_err(|_| Misspelt::NotAscii)?)
    }

    /// `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// As `parse`, and `Port`.
    pub fn parse_with_port(text: &str) -> Result<(Host, Option<u16>), Misspelt> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(Misspelt::Character)?;
                let address = address.parse().map_err(|_| Misspelt::Character)?;
                (Host::Address(IpAddr::V6(address).to_canonical()), port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::parse(host)?, port)
            }
        };
        match port.strip_prefix(':') {
            Some(number) => Ok((host, Some(parse_port(number)?))),
            None if port.is_empty() => Ok((host, None)),
            None => Err(Misspelt::Character),
        }
    }
}

/// 1 to 65535, in plain digits.
pub(super) fn parse_port(text: &str) -> Result<u16, Misspelt> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0).ok_or(Misspelt::Port)
}

/// What the C library's resolver, or a browser, would read as an IPv4 address.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let digits = last.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last
        .strip_prefix("0x")
        .or(last.strip_prefix("0X"))
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    digits || hexadecimal
}

impl fmt::Display for Host {
    /// As it stands before a port: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}
