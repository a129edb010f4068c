//! The one way out of a jail, the worker's proxy: what it refuses, however it is asked. Behind it is a simulated network in which
//! every address answers, so that a refusal is never a lack of something to reach.
use super::elsewhere::Lists;
use super::probe::Stage::{Program, Proxy};
use super::probe::{Class, Control, Layer, Probe, Why, probe};
use tenure_worker::egress::bypass::Check;

const SPELLING: &[Check] = &[Check::Spelling, Check::Request];
const REQUEST: &[Check] = &[Check::Request];
const SHAPE: &[Check] = &[Check::Shape, Check::Request];

/// A place that no manifest opens without naming it; where one names it, the same bytes reach it.
const fn closed(id: &'static str, tries: &'static str, script: &'static str, held: &'static str) -> Probe {
    rule(id, tries, script, (held, "reached"), Lists::Named)
}

/// A host that the manifest blocks.
const fn blocked(id: &'static str, tries: &'static str, script: &'static str, held: &'static str) -> Probe {
    rule(id, tries, script, (held, "reached"), Lists::Unblocked)
}

/// Held by a rule alone: by these lists the same bytes get this answer.
const fn rule(
    id: &'static str,
    tries: &'static str,
    script: &'static str,
    answers: (&'static str, &'static str),
    lists: Lists,
) -> Probe {
    let control = Control::Proxied(lists, &[], answers.1);
    probe(id, tries, Proxy(script, Lists::Strict), (Layer::Egress, answers.0), control)
}

/// What the HTTP library beneath the proxy takes for no URL; a plain request is answered.
const fn unread(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    let plain = Proxy("say(url('http://allowed.example/'))", Lists::Strict);
    let control = Control::Beside(Why::Beneath, "a plain request to a listed host", plain, "reached");
    probe(id, tries, Proxy(script, Lists::Strict), (Layer::Egress, "400 bare"), control)
}

/// Held by a check that comes before the rules: without it, and without rules that would be next, the same bytes get this answer.
const fn checked(
    id: &'static str,
    tries: &'static str,
    script: &'static str,
    answers: (&'static str, &'static str),
    check: &'static [Check],
) -> Probe {
    let control = Control::Proxied(Lists::Open, check, answers.1);
    probe(id, tries, Proxy(script, Lists::Strict), (Layer::Egress, answers.0), control)
}

const TAKE: &str = r"
            import socket
            listener = socket.socket()
            listener.setsockopt(1, 2, 1)
            listener.setsockopt(1, 15, 1)
            say(attempt(listener.bind, ('127.0.0.1', 3128)))
            ";

pub const CLASS: Class = Class {
    name: "the way out",
    probes: &[
        closed("egress/unlisted", "asks for a host that is not listed", "say(url('http://evil.example/'))", "403")
            .source("SandboxBench: exfiltration"),
        closed("egress/loopback", "asks for the host's own loopback", "say(url('http://127.0.0.1:7800/v1/agents'))", "403")
            .source("CVE-2026-25253"),
        closed("egress/localhost", "asks for it by name", "say(url('http://localhost:7800/'))", "403"),
        closed("egress/loopback-other", "asks for another address of the loopback", "say(url('http://127.8.8.8/'))", "403"),
        closed("egress/loopback-6", "asks for it by IPv6", "say(url('http://[::1]/'))", "403"),
        closed("egress/mapped", "asks for an IPv4 address in IPv6 clothes", "say(url('http://[::ffff:127.0.0.1]/'))", "403"),
        closed("egress/mapped-hex", "writes that address in hexadecimal", "say(url('http://[::ffff:7f00:1]/'))", "403"),
        closed("egress/unspecified", "asks for 0.0.0.0, which systems take for themselves", "say(url('http://0.0.0.0/'))", "403"),
        closed("egress/private", "asks for a neighbour", "say(url('http://10.0.0.5/'))", "403"),
        closed("egress/private-router", "asks for the router", "say(url('http://192.168.1.1/'))", "403"),
        closed("egress/shared", "asks for what lies between provider and customer", "say(url('http://100.64.0.1/'))", "403"),
        closed("egress/metadata", "asks for the credentials of the cloud's machine", "say(url('http://169.254.169.254/latest/meta-data/'))", "403")
            .source("SandboxBench: discovery"),
        closed("egress/metadata-name", "asks for them by a listed name that leads there", "say(url('http://metadata.example/'))", "403"),
        closed("egress/rebinding", "uses a listed name that leads to the loopback", "say(url('http://rebound.example/'))", "403")
            .source("DNS rebinding; Claude Code v2.0.24 to 2.1.89"),
        closed(
            "egress/rebinding-later",
            "uses a listed name that leads to the loopback once it was judged",
            "first, second = url('http://turning.example/'), url('http://turning.example/')\nsay(second if first == 'reached' else 'first ' + first)",
            "403",
        )
        .source("DNS rebinding"),
        closed("egress/rebinding-mixed", "uses a name with a mapped, a private and a link-local address", "say(url('http://mixed.example/'))", "403"),
        closed("egress/connect-address", "tunnels to a bare address", "say(tunnel('127.0.0.1:22'))", "403"),
        closed("egress/connect-public", "tunnels to a bare public address", "say(tunnel('93.184.216.99:443'))", "403"),
        closed("egress/connect-unlisted", "tunnels to a host that is not listed", "say(tunnel('evil.example:443'))", "403"),
        closed("egress/connect-rebinding", "tunnels to a name that leads inside", "say(tunnel('rebound.example:443'))", "403"),
        blocked("egress/blocked", "asks for a blocked host below a listed one", "say(url('http://bad.allowed.example/'))", "403"),
        blocked("egress/blocked-case", "writes it in capitals", "say(url('http://BAD.Allowed.EXAMPLE/'))", "403"),
        blocked("egress/blocked-dot", "ends it with a dot", "say(url('http://bad.allowed.example./'))", "403"),
        blocked("egress/blocked-connect", "tunnels to it", "say(tunnel('bad.allowed.example:443'))", "403"),
        closed("egress/suffix", "asks for a host whose name only ends like a listed one", "say(url('http://evilallowed.example/'))", "403"),
        closed("egress/prefix", "asks for a host whose name begins like a listed one", "say(url('http://allowed.example.evil.example/'))", "403"),
        checked("egress/decimal", "writes the loopback as one number", "say(url('http://2130706433/'))", ("403|400", "reached"), SPELLING),
        checked("egress/octal", "writes it in octal", "say(url('http://0177.0.0.1/'))", ("403|400", "reached"), SPELLING),
        checked("egress/hexadecimal", "writes it in hexadecimal", "say(url('http://0x7f000001/'))", ("403|400", "reached"), SPELLING),
        checked("egress/short", "writes it short", "say(url('http://127.1/'))", ("403|400", "reached"), SPELLING),
        checked("egress/zone", "gives an address a zone", "say(url('http://[fe80::1%25eth0]/'))", ("403|400", "reached"), SPELLING),
        closed("egress/nat64", "asks for the loopback through a translator's prefix", "say(url('http://[64:ff9b::7f00:1]/'))", "403"),
        closed("egress/6to4", "asks for it through a tunnel's prefix", "say(url('http://[2002:7f00:1::]/'))", "403"),
        closed("egress/compatible", "asks for it by an old form of IPv6", "say(url('http://[::127.0.0.1]/'))", "403"),
        checked("egress/zero-byte", "ends a name early with a zero byte", "say(ask(b'GET http://evil.example\\0.allowed.example/ HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n'))", ("400", "400 bare"), SHAPE)
            .source("Claude Code v2.0.24 to 2.1.89"),
        unread("egress/look-alike", "writes a name in letters that look like others", "say(ask('GET http://\\u0430llowed.example/ HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n'))"),
        unread("egress/percent", "hides letters of a name", "say(url('http://%65vil.example/'))"),
        checked("egress/user", "names a listed host as the user of another", "say(url('http://allowed.example@evil.example/', 'evil.example'))", ("400|403", "reached"), SPELLING),
        closed("egress/fragment", "names a listed host behind a number sign", "say(url('http://evil.example#@allowed.example/', 'evil.example'))", "403"),
        unread("egress/backslash", "divides a URL by a backslash", "say(ask('GET http://evil.example\\\\@allowed.example/ HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n'))"),
        checked("egress/host-differs", "names one host in the request and another in its header", "say(url('http://allowed.example/', 'evil.example'))", ("400", "reached"), REQUEST),
        checked("egress/two-hosts", "sends two host headers", "say(url('http://allowed.example/', 'allowed.example\\r\\nHost: evil.example'))", ("400", "reached"), SHAPE),
        checked("egress/origin", "asks the proxy itself for a path", "say(ask('GET / HTTP/1.1\\r\\nHost: 127.0.0.1:7800\\r\\n\\r\\n'))", ("400", "reached"), REQUEST),
        checked("egress/scheme", "asks for another protocol", "say(url('ftp://allowed.example/'))", ("400", "reached"), REQUEST),
        rule(
            "egress/second-request",
            "asks for a listed host, and on the same line for the metadata service",
            "get = 'GET http://{}/ HTTP/1.1\\r\\nHost: {}\\r\\nConnection: {}\\r\\n\\r\\n'\nsaid = speak((get.format('allowed.example', 'allowed.example', 'keep-alive') + get.format('169.254.169.254', '169.254.169.254', 'close')).encode(), whole=True)\nsay(f\"{said.count(b'CANARY')} reached, {said.count(b'HTTP/1.1 403')} refused\")",
            ("1 reached, 1 refused", "2 reached, 0 refused"), Lists::Named),
        checked(
            "egress/smuggled-length",
            "hides a request in a body of two lengths",
            "say(ask('POST http://allowed.example/ HTTP/1.1\\r\\nHost: allowed.example\\r\\nContent-Length: 4\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET http://127.0.0.1/ HTTP/1.1\\r\\n\\r\\n'))",
            ("400", "reached"), SHAPE)
        .source("HTTP request smuggling"),
        checked("egress/smuggled-fold", "hides a header in a folded line", "say(ask('GET http://allowed.example/ HTTP/1.1\\r\\nHost: allowed.example\\r\\nX: a\\r\\n Transfer-Encoding: chunked\\r\\n\\r\\n'))", ("400", "400 bare"), SHAPE),
        checked("egress/smuggled-line", "ends lines in its own way", "say(ask('GET http://allowed.example/ HTTP/1.1\\nHost: allowed.example\\n\\n'))", ("400", "reached"), SHAPE),
        checked("egress/large-head", "sends a header without end", "say(url('http://allowed.example/', 'allowed.example\\r\\nX: ' + 'y' * 70000))", ("431", "431 bare"), SHAPE),
        checked("egress/many-headers", "sends headers without end", "say(url('http://allowed.example/', 'allowed.example' + '\\r\\nX: y' * 100))", ("431", "431 bare"), SHAPE),
        checked("egress/http2", "speaks another version", "say(ask(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'))", ("505", "closed"), SHAPE),
        closed("egress/socks-address", "asks SOCKS for a bare address", "say(socks([127, 0, 0, 1]))", "socks 2"),
        closed("egress/socks-mapped", "asks it for one in IPv6 clothes", "say(socks([0] * 10 + [255, 255, 127, 0, 0, 1]))", "socks 2"),
        closed("egress/socks-name", "asks it for a host that is not listed", "say(socks('evil.example'))", "socks 2"),
        closed("egress/socks-address-name", "gives it an address as a name", "say(socks('127.0.0.1', 7800))", "socks 2"),
        checked("egress/socks-zero-byte", "ends a name early with a zero byte", "say(socks(b'evil.example\\0.allowed.example'))", ("socks 2", "reached"), SPELLING)
            .source("Claude Code v2.0.24 to 2.1.89"),
        checked("egress/socks-number", "gives it a number as a name", "say(socks('017700000001'))", ("socks 2", "reached"), SPELLING),
        checked("egress/socks-udp", "asks it for datagrams", "say(socks('allowed.example', 53, 3))", ("socks 7", "reached"), REQUEST),
        checked("egress/socks-bind", "asks it to listen for others", "say(socks('allowed.example', 80, 2))", ("socks 7", "reached"), REQUEST),
        checked("egress/socks-4", "speaks its older version", "say(ask(b'\\x04\\x01\\0\\x50\\x7f\\0\\0\\x01\\r\\n\\r\\n\\0'))", ("400", "400 bare"), SHAPE),
        probe(
            "egress/take-listener",
            "takes the proxy's place for the other programs of its jail",
            Program(TAKE),
            (Layer::Jail, "EADDRINUSE"),
            Control::Looser(|spec| spec.egress = false, "ok"),
        )
        .spec(|spec| spec.egress = true),
    ],
};
