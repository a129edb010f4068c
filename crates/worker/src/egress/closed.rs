//! Addresses that nobody reaches whom the manifest does not let by naming them: the host itself, its neighbours, and what no
//! public host has. Must never: take an address for public because it is not in a list; of IPv6 only what is known to be
//! public is.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tenure_core::network::entry::Range;

/// What kind of closed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Where clouds hand out credentials.
    Metadata,
    /// Of an interface of the host that the worker runs on: what listens there would be reached past its firewall.
    Own,
    Loopback,
    Private,
    LinkLocal,
    /// Between a provider and its customers (100.64.0.0/10).
    Shared,
    UniqueLocal,
    Multicast,
    Broadcast,
    Unspecified,
    Documentation,
    Benchmarking,
    Reserved,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Metadata => "metadata",
            Kind::Own => "this host's own",
            Kind::Loopback => "loopback",
            Kind::Private => "private",
            Kind::LinkLocal => "link-local",
            Kind::Shared => "shared",
            Kind::UniqueLocal => "unique local",
            Kind::Multicast => "multicast",
            Kind::Broadcast => "broadcast",
            Kind::Unspecified => "unspecified",
            Kind::Documentation => "documentation",
            Kind::Benchmarking => "benchmarking",
            Kind::Reserved => "reserved",
        })
    }
}

/// Why an address is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedRange {
    pub kind: Kind,
    /// An entry opens the address only if it lies in this range: `0.0.0.0/0` means the public ones.
    pub range: Range,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Range {
    Range::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length)
}

const fn v6(parts: [u16; 8], length: u8) -> Range {
    let [a, b, c, d, e, f, g, h] = parts;
    Range::new(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), length)
}

/// The first that holds an address says what it is.
const CLOSED: [(Kind, Range); 34] = [
    (Kind::Metadata, v4(169, 254, 169, 254, 32)),
    (Kind::Metadata, v4(169, 254, 170, 2, 32)),
    (Kind::Metadata, v4(100, 100, 100, 200, 32)),
    // Public by its number, and the host agent of one cloud's machines all the same.
    (Kind::Metadata, v4(168, 63, 129, 16, 32)),
    (Kind::Loopback, v4(127, 0, 0, 0, 8)),
    (Kind::Private, v4(10, 0, 0, 0, 8)),
    (Kind::Private, v4(172, 16, 0, 0, 12)),
    (Kind::Private, v4(192, 168, 0, 0, 16)),
    (Kind::LinkLocal, v4(169, 254, 0, 0, 16)),
    (Kind::Shared, v4(100, 64, 0, 0, 10)),
    (Kind::Unspecified, v4(0, 0, 0, 0, 8)),
    (Kind::Documentation, v4(192, 0, 2, 0, 24)),
    (Kind::Documentation, v4(198, 51, 100, 0, 24)),
    (Kind::Documentation, v4(203, 0, 113, 0, 24)),
    (Kind::Benchmarking, v4(198, 18, 0, 0, 15)),
    (Kind::Reserved, v4(192, 0, 0, 0, 24)),
    (Kind::Reserved, v4(192, 88, 99, 0, 24)),
    (Kind::Multicast, v4(224, 0, 0, 0, 4)),
    (Kind::Broadcast, v4(255, 255, 255, 255, 32)),
    (Kind::Reserved, v4(240, 0, 0, 0, 4)),
    (Kind::Metadata, v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128)),
    (Kind::Metadata, v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128)),
    (Kind::Loopback, v6([0, 0, 0, 0, 0, 0, 0, 1], 128)),
    (Kind::Unspecified, v6([0, 0, 0, 0, 0, 0, 0, 0], 128)),
    (Kind::UniqueLocal, v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7)),
    (Kind::LinkLocal, v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10)),
    (Kind::Private, v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10)),
    (Kind::Multicast, v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8)),
    (Kind::Documentation, v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32)),
    (Kind::Documentation, v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20)),
    (Kind::Benchmarking, v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48)),
    // Teredo, ORCHID and the other protocols' own.
    (Kind::Reserved, v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23)),
    // Translation by a prefix of a site's own choice.
    (Kind::Reserved, v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48)),
    (Kind::Reserved, v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16)),
];

const NAT64: Range = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const SIX_TO_FOUR: Range = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
/// `::a.b.c.d`, and `::ffff:0:a.b.c.d` of stateless translation.
const COMPATIBLE: Range = v6([0; 8], 96);
const TRANSLATED: Range = v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96);
/// All that is public, but for what `CLOSED` takes out and for `NAT64`.
const GLOBAL: Range = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Why nobody reaches `address` unasked; None if it is public. IPv4 inside IPv6 must have been unmapped before.
pub fn closed(address: IpAddr) -> Option<ClosedRange> {
    if let Some((kind, range)) = CLOSED.iter().find(|(_, range)| range.holds(address)) {
        return Some(ClosedRange { kind: *kind, range: *range });
    }
    let IpAddr::V6(own) = address else { return None };
    // An address by which an IPv4 host is reached is what that host is; only its own full name opens it.
    let range = Range::new(address, 128);
    match embedded(own) {
        Some(inner) => {
            closed(IpAddr::V4(inner)).map(|ClosedRange { kind, .. }| ClosedRange { kind, range }).or_else(|| {
                let carried = NAT64.holds(address) || SIX_TO_FOUR.holds(address);
                (!carried).then_some(ClosedRange { kind: Kind::Reserved, range })
            })
        }
        None if GLOBAL.holds(address) => None,
        None => Some(ClosedRange { kind: Kind::Reserved, range }),
    }
}

/// Why an address of the worker's own host is closed: only its full name opens it. What is closed by its range says so.
pub fn own(address: IpAddr) -> ClosedRange {
    let length = if address.is_ipv4() { 32 } else { 128 };
    closed(address).unwrap_or(ClosedRange { kind: Kind::Own, range: Range::new(address, length) })
}

/// The IPv4 host that an IPv6 address leads to.
pub fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, second, third, .., seventh, eighth] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let whole = IpAddr::V6(address);
    if SIX_TO_FOUR.holds(whole) {
        Some(of(second, third))
    } else if [NAT64, COMPATIBLE, TRANSLATED].iter().any(|range| range.holds(whole)) {
        Some(of(seventh, eighth))
    } else {
        None
    }
}
