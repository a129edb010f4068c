//! Rules alone: hostile spellings of hosts, and every closed range.
use crate::world::network;
use std::net::IpAddr;
use tenure_core::manifest::NetworkMode;
use tenure_core::network::host::Host;
use tenure_wire::confinement::Network;
use tenure_worker::egress::rules::Rules;

/// What becomes of a host as a program writes it. Names are judged before any lookup.
fn verdict(network: &Network, text: &str) -> String {
    let (host, port) = match Host::parse_with_port(text) {
        Ok((host, port)) => (host, port.unwrap_or(443)),
        Err(why) => return format!("no host: {why}"),
    };
    match Rules::compile(network).unwrap().judge(&host, Some(port)) {
        Ok(()) => "permitted".to_owned(),
        Err(rule) => rule.to_string(),
    }
}

const NUMBER: &str = "no host: it ends in a number and is no plain IPv4 address (four decimal numbers)";
const CHARACTER: &str = "no host: it has a character that no host name has";
const PART: &str = "no host: a part between dots is empty, too long, or begins or ends with a hyphen";
const ASCII: &str = "no host: it has letters outside ASCII; write it in punycode (xn--…)";
const PORT: &str = "no host: its port is no number from 1 to 65535";
const UNLISTED: &str = "not on the allowlist";
const OK: &str = "permitted";

/// As a program writes it, and what becomes of it.
const SPELLINGS: &[(&str, &str)] = &[
    // Names.
    ("api.example.com", OK),
    ("API.EXAMPLE.COM", OK),
    ("api.example.com.", OK),
    ("api.example.com..", PART),
    (".api.example.com", PART),
    ("api..example.com", PART),
    ("evilapi.example.com", UNLISTED),
    ("api.example.com.evil.test", UNLISTED),
    ("xapi.example.com", UNLISTED),
    ("example.com", UNLISTED),
    ("com", UNLISTED),
    ("a.cdn.example.com", OK),
    ("a.b.cdn.example.com", OK),
    ("A.CDN.EXAMPLE.COM.", OK),
    ("cdn.example.com", UNLISTED),
    ("evilcdn.example.com", UNLISTED),
    ("evil.cdn.example.com", "blocklist: evil.cdn.example.com"),
    ("EVIL.cdn.example.com.", "blocklist: evil.cdn.example.com"),
    ("a.bad.cdn.example.com", "blocklist: *.bad.cdn.example.com"),
    ("bad.cdn.example.com", OK),
    ("xn--bcher-kva.example", OK),
    ("XN--BCHER-KVA.example", OK),
    ("bücher.example", ASCII),
    ("api。example。com", ASCII),
    ("аpi.example.com", ASCII),
    ("１２７.0.0.1", ASCII),
    ("api.example.com\0.evil.test", CHARACTER),
    ("api.example.com\0", CHARACTER),
    ("api.example.com%00.evil.test", CHARACTER),
    ("api%2eexample.com", CHARACTER),
    ("evil.test#.cdn.example.com", CHARACTER),
    ("evil.test/.cdn.example.com", CHARACTER),
    ("evil.test?.cdn.example.com", CHARACTER),
    ("evil.test\\.cdn.example.com", CHARACTER),
    ("user@api.example.com", CHARACTER),
    ("api.example.com ", CHARACTER),
    (" api.example.com", CHARACTER),
    ("api.example.com\r\nX: y", CHARACTER),
    ("api.example.com\t", CHARACTER),
    ("*.cdn.example.com", CHARACTER),
    ("-a.cdn.example.com", PART),
    ("a-.cdn.example.com", PART),
    ("", "no host: it is empty"),
    (".", "no host: it is empty"),
    ("localhost", UNLISTED),
    ("LocalHost.", UNLISTED),
    ("metadata.google.internal", UNLISTED),
    // Numbers that a resolver takes for addresses.
    ("2130706433", NUMBER),
    ("0x7f000001", NUMBER),
    ("0x7f.1", NUMBER),
    ("0X7F.0.0.1", NUMBER),
    ("0177.1", NUMBER),
    ("0177.0.0.1", NUMBER),
    ("127.1", NUMBER),
    ("127.0.1", NUMBER),
    ("127.0.0.01", NUMBER),
    ("127.0.0.0x1", NUMBER),
    ("1.2.3.4.5", NUMBER),
    ("127.0.0.256", NUMBER),
    ("a.cdn.example.1", NUMBER),
    ("a.cdn.example.0x", NUMBER),
    ("8.8.8.8", OK),
    ("8.8.8.8.", OK),
    ("8.8.8.8:53", "blocklist: 8.8.8.8:53"),
    ("8.8.4.4", UNLISTED),
    // Closed addresses.
    ("127.0.0.1", "loopback address 127.0.0.1"),
    ("127.0.0.1.", "loopback address 127.0.0.1"),
    ("0.0.0.0", "unspecified address 0.0.0.0"),
    ("10.1.2.3", "private address 10.1.2.3"),
    ("10.1.2.3:8443", OK),
    ("10.1.2.4:8443", "private address 10.1.2.4"),
    ("169.254.169.254", "metadata address 169.254.169.254"),
    ("100.100.100.200:80", "metadata address 100.100.100.200"),
    ("168.63.129.16:80", "metadata address 168.63.129.16"),
    ("[::1]", "loopback address ::1"),
    ("[::]", "unspecified address ::"),
    ("[::ffff:127.0.0.1]", "loopback address 127.0.0.1"),
    ("[::ffff:7f00:1]", "loopback address 127.0.0.1"),
    ("[::ffff:10.1.2.3]:8443", OK),
    ("[::ffff:8.8.8.8]:53", "blocklist: 8.8.8.8:53"),
    ("[::127.0.0.1]", "loopback address ::7f00:1"),
    ("[::ffff:0:169.254.169.254]", "metadata address ::ffff:0:a9fe:a9fe"),
    ("[64:ff9b::169.254.169.254]", "metadata address 64:ff9b::a9fe:a9fe"),
    ("[64:ff9b:1::a9fe:a9fe]", "reserved address 64:ff9b:1::a9fe:a9fe"),
    ("[2002:7f00:1::]", "loopback address 2002:7f00:1::"),
    ("[fd00:ec2::254]", "metadata address fd00:ec2::254"),
    ("[fe80::1%25eth0]", CHARACTER),
    ("[fe80::1%eth0]", CHARACTER),
    ("[fe80::1]", "link-local address fe80::1"),
    ("[2606:4700::1]:443", OK),
    ("[2606:4700:0:0::0:1]", OK),
    ("[2606:4700::1]:80", UNLISTED),
    ("2606:4700::1", NUMBER),
    ("[::1", CHARACTER),
    ("[api.example.com]", CHARACTER),
    // Ports.
    ("api.example.com:0", PORT),
    ("api.example.com:65536", PORT),
    ("api.example.com:+443", PORT),
    ("api.example.com:443:443", PORT),
    ("api.example.com:", PORT),
];

#[test]
fn hostile_spellings_of_hosts() {
    let listed = [
        "api.example.com",
        "*.cdn.example.com",
        "xn--bcher-kva.example",
        "10.1.2.3:8443",
        "8.8.8.8",
        "[2606:4700::1]:443",
    ];
    let rules = network(NetworkMode::Allow, &listed, &["evil.cdn.example.com", "*.bad.cdn.example.com", "8.8.8.8:53"]);
    assert!(SPELLINGS.len() >= 60);
    for (text, wanted) in SPELLINGS {
        assert_eq!(verdict(&rules, text), *wanted, "{text:?}");
    }
    let long = format!("{}.example", "a".repeat(64));
    assert_eq!(verdict(&rules, &long), PART);
    assert_eq!(verdict(&rules, &vec!["a"; 128].join(".")), "no host: it is longer than 253 bytes");
}

#[test]
fn every_closed_range_is_closed_from_its_first_to_its_last_address_and_its_neighbours_are_not() {
    let rules = network(NetworkMode::Deny, &[], &[]);
    let closed = |address: &str| {
        Rules::compile(&rules).unwrap().judge_address(address.parse().unwrap(), Some(80), true).is_err()
    };
    let ranges = [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "255.255.255.255"),
        ("::", "1fff:ffff::"),
        ("2001::", "2001:1ff:ffff::"),
        ("2001:db8::", "2001:db8:ffff::"),
        ("2002:a00::", "2002:aff:ffff::"),
        ("4000::", "ffff:ffff::"),
        ("3fff::", "3fff:fff::"),
    ];
    for (first, last) in ranges {
        assert!(closed(first) && closed(last), "{first} to {last}");
    }
    let open = [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::",
        "2606:4700::1",
        "2002:808:808::1",
        "64:ff9b::8.8.8.8",
        "2a00::1",
        "3ffe:ffff::",
    ];
    for address in open {
        assert!(!closed(address), "{address}");
    }
}

#[test]
fn a_range_opens_what_is_closed_only_if_it_lies_in_it() {
    let judge = |list: &[&str], address: &str| {
        let rules = Rules::compile(&network(NetworkMode::Allow, list, &[])).unwrap();
        let address: IpAddr = address.parse().unwrap();
        rules.judge_address(address, Some(80), false).map_err(|rule| rule.to_string())
    };
    let wide = ["0.0.0.0/0", "::/0"];
    assert_eq!(judge(&wide, "8.8.8.8"), Ok(()));
    assert_eq!(judge(&wide, "10.0.0.5"), Err("private address 10.0.0.5".to_owned()));
    assert_eq!(judge(&wide, "::1"), Err("loopback address ::1".to_owned()));
    assert_eq!(judge(&["10.0.0.0/8"], "10.0.0.5"), Ok(()));
    assert_eq!(judge(&["169.254.0.0/16"], "169.254.1.1"), Ok(()));
    assert_eq!(judge(&["169.254.0.0/16"], "169.254.169.254"), Err("metadata address 169.254.169.254".to_owned()));
    assert_eq!(judge(&["169.254.169.254"], "169.254.169.254"), Ok(()));
    assert_eq!(judge(&["64:ff9b::/96"], "64:ff9b::a00:5"), Err("private address 64:ff9b::a00:5".to_owned()));
    assert_eq!(judge(&["localhost:80"], "127.0.0.1"), Ok(()));
    assert_eq!(judge(&["localhost:81"], "127.0.0.1"), Err("loopback address 127.0.0.1".to_owned()));
    assert_eq!(judge(&["localhost"], "127.0.0.2"), Err("loopback address 127.0.0.2".to_owned()));
}

#[test]
fn the_blocklist_beats_the_allowlist_by_name_and_by_address_in_every_mode() {
    let judge = |mode, allow: &[&str], block: &[&str], address: &str| {
        let rules = Rules::compile(&network(mode, allow, block)).unwrap();
        rules.judge_address(address.parse().unwrap(), Some(80), true).map_err(|rule| rule.to_string())
    };
    let blocked = |entry: &str| Err(format!("blocklist: {entry}"));
    assert_eq!(judge(NetworkMode::Allow, &["8.8.8.8"], &["8.8.8.0/24"], "8.8.8.8"), blocked("8.8.8.0/24"));
    assert_eq!(judge(NetworkMode::Deny, &[], &["8.8.8.0/24"], "8.8.9.8"), Ok(()));
    assert_eq!(judge(NetworkMode::Deny, &[], &["8.8.8.0/24"], "64:ff9b::8.8.8.8"), blocked("8.8.8.0/24"));
    assert_eq!(judge(NetworkMode::Deny, &[], &["8.8.8.0/24"], "2002:808:808::"), blocked("8.8.8.0/24"));
    assert_eq!(judge(NetworkMode::Deny, &["10.0.0.5"], &["10.0.0.0/8"], "10.0.0.5"), blocked("10.0.0.0/8"));
    assert_eq!(judge(NetworkMode::Deny, &["10.0.0.5"], &[], "10.0.0.5"), Ok(()));
    assert_eq!(judge(NetworkMode::None, &["8.8.8.8"], &[], "8.8.8.8"), Err("mode none".to_owned()));
}
