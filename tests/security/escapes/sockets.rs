//! Sockets of other kinds than programs use: the kernel's own families, raw packets, and transports that it would load a module
//! for.
use super::probe::Stage::Program;
use super::probe::{Class, Control, Layer, Probe, probe};

/// A socket of a family that the filter does not let through.
const fn family(id: &'static str, tries: &'static str, script: &'static str, kernel: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), Control::Without(&[Layer::Seccomp], kernel))
}

/// A socket that wants a capability too.
const fn raw(id: &'static str, tries: &'static str, script: &'static str, bare: &'static str) -> Probe {
    let control = Control::Without(&[Layer::Seccomp, Layer::Privileges], bare);
    probe(id, tries, Program(script), (Layer::Seccomp, "EPERM"), control)
}

pub const CLASS: Class = Class {
    name: "kinds of sockets",
    probes: &[
        family("sockets/ping", "sends echo requests", "say(call('socket', 2, 2, 1))", "ok|EACCES"),
        raw("sockets/raw-icmp", "makes raw packets", "say(call('socket', 2, 3, 1))", "ok"),
        raw("sockets/raw-any", "makes raw packets of any protocol", "say(call('socket', 2, 3, 255))", "ok"),
        raw("sockets/raw-6", "makes raw IPv6 packets", "say(call('socket', 10, 3, 255))", "ok|EAFNOSUPPORT"),
        raw("sockets/packet", "sees and makes all packets", "say(call('socket', 17, 3, 0x0300))", "ok|EAFNOSUPPORT")
            .source("SandboxEscapeBench: packet socket; CVE-2020-14386, CVE-2017-7308"),
        raw(
            "sockets/xdp",
            "takes packets before the stack sees them",
            "say(call('socket', 44, 3, 0))",
            "ok|EAFNOSUPPORT",
        ),
        family("sockets/netlink-route", "speaks to the kernel's routing", "say(call('socket', 16, 3, 0))", "ok"),
        family(
            "sockets/netlink-audit",
            "speaks to the host's audit",
            "say(call('socket', 16, 3, 9))",
            "ok|EPROTONOSUPPORT",
        ),
        family(
            "sockets/netlink-filter",
            "speaks to the packet filter",
            "say(call('socket', 16, 3, 12))",
            "ok|EPROTONOSUPPORT",
        )
        .source("CVE-2023-32233, CVE-2024-1086"),
        family(
            "sockets/netlink-diag",
            "lists the kernel's sockets",
            "say(call('socket', 16, 3, 4))",
            "ok|EPROTONOSUPPORT",
        )
        .source("CVE-2013-1763"),
        family(
            "sockets/netlink-generic",
            "speaks to any driver",
            "say(call('socket', 16, 3, 16))",
            "ok|EPROTONOSUPPORT",
        ),
        family(
            "sockets/netlink-uevent",
            "hears of the host's devices",
            "say(call('socket', 16, 3, 15))",
            "ok|EPROTONOSUPPORT",
        ),
        family(
            "sockets/netlink-xfrm",
            "speaks to the kernel's IPsec",
            "say(call('socket', 16, 3, 6))",
            "ok|EPROTONOSUPPORT",
        )
        .source("CVE-2017-16939"),
        family(
            "sockets/netlink-high-bits",
            "names the family with bits that the kernel ignores",
            "say(call('socket', 16 | 1 << 32, 3, 0))",
            "ok",
        )
        .source("the way of CVE-2019-10063"),
        family("sockets/vsock", "speaks to the hypervisor", "say(call('socket', 40, 1, 0))", "ok|EAFNOSUPPORT")
            .source("CVE-2021-26708, CVE-2024-50264"),
        family("sockets/alg", "uses the kernel's ciphers", "say(call('socket', 38, 5, 0))", "ok|EAFNOSUPPORT")
            .source("CVE-2026-31431 (Copy Fail)"),
        family("sockets/key", "uses the kernel's key sockets", "say(call('socket', 15, 3, 2))", "ok|EAFNOSUPPORT"),
        family("sockets/tipc", "opens a cluster socket", "say(call('socket', 30, 5, 0))", "ok|EAFNOSUPPORT")
            .source("CVE-2021-43267"),
        family(
            "sockets/rds",
            "opens a datagram socket of InfiniBand",
            "say(call('socket', 21, 5, 0))",
            "ok|EAFNOSUPPORT",
        )
        .source("CVE-2010-3904"),
        family(
            "sockets/can",
            "opens a bus of cars",
            "say(call('socket', 29, 3, 1))",
            "ok|EAFNOSUPPORT|EPROTONOSUPPORT",
        )
        .source("CVE-2021-32606"),
        family(
            "sockets/bluetooth",
            "opens a Bluetooth socket",
            "say(call('socket', 31, 3, 1))",
            "ok|EAFNOSUPPORT|EPROTONOSUPPORT",
        ),
        family("sockets/smc", "opens a socket of shared memory", "say(call('socket', 43, 1, 0))", "ok|EAFNOSUPPORT"),
        family(
            "sockets/all-families",
            "tries all families that there are",
            r"
                answers = {call('socket', family, kind, 0) for family in range(3, 64) if family != 10 for kind in (1, 2, 3, 5)}
                say(answers.pop() if len(answers) == 1 else 'mixed')
                ",
            "mixed|EAFNOSUPPORT",
        ),
        family(
            "sockets/socketpair-family",
            "makes a pair of sockets of another family",
            "say(call(53 if _machine == 0 else 199, 30, 5, 0, (ctypes.c_int * 2)()))",
            "ok|EAFNOSUPPORT",
        ),
        family(
            "sockets/sctp",
            "opens a transport that the kernel loads a module for",
            "say(call('socket', 2, 1, 132))",
            "ok|EPROTONOSUPPORT",
        )
        .source("CVE-2021-23133"),
        family(
            "sockets/dccp",
            "opens another of those",
            "say(call('socket', 2, 6, 33))",
            "ok|ESOCKTNOSUPPORT|EPROTONOSUPPORT",
        )
        .source("CVE-2017-6074"),
        family("sockets/mptcp", "opens a TCP of many paths", "say(call('socket', 2, 1, 262))", "ok|EPROTONOSUPPORT"),
        family(
            "sockets/udplite",
            "opens a UDP of partial checks",
            "say(call('socket', 2, 2, 136))",
            "ok|EPROTONOSUPPORT",
        ),
    ],
};
