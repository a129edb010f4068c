//! Ways onto a network: the host's loopback, sockets of other kinds, packets, and the kernel's own families.
use super::probe::Stage::Program;
use super::probe::{Class, Control, Layer, Needs, Probe, Why, probe};
use tenure_sandbox::{Check, Spec};

/// Refused for want of a capability in the jail's own net namespace.
const fn capability(id: &'static str, tries: &'static str, script: &'static str, bare: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Privileges, "EPERM|EACCES"), Control::Without(&[Layer::Privileges], bare))
}

/// No route leads there. Nothing may be sent anywhere, so with a route it leads to the jail itself, where nobody listens and
/// nothing is broadcast.
const fn unreachable(id: &'static str, tries: &'static str, script: &'static str, routed: &'static str) -> Probe {
    let control = Control::Looser(routes, routed);
    probe(id, tries, Program(script), (Layer::Network, "ENETUNREACH|EADDRNOTAVAIL|ENODEV"), control)
}

fn routes(spec: &mut Spec) {
    spec.bypass.layers.push(tenure_sandbox::Layer::Seccomp);
    spec.bypass.checks.push(Check::Routes);
}

pub const CLASS: Class = Class {
    name: "networks",
    probes: &[
        probe(
            "network/tcp-host",
            "connects to a service on the host's loopback",
            Program(
                r"
                import socket
                say(attempt(socket.socket().connect, ('127.0.0.1', int(E['HOST_TCP']))))
                ",
            ),
            (Layer::Network, "ECONNREFUSED"),
            Control::Without(&[Layer::Network], "ok"),
        )
        .source("CDK service-probe; OpenClaw CVE-2026-25253"),
        probe(
            "network/tcp-mapped",
            "the same by an IPv4 address in IPv6 clothes",
            Program(
                r"
                import socket
                say(attempt(socket.socket(socket.AF_INET6).connect, ('::ffff:127.0.0.1', int(E['HOST_TCP']))))
                ",
            ),
            (Layer::Network, "ECONNREFUSED|ENETUNREACH|EAFNOSUPPORT"),
            Control::Without(&[Layer::Network], "ok"),
        ),
        probe(
            "network/tcp-any",
            "the same by the address 0.0.0.0",
            Program(
                r"
                import socket
                say(attempt(socket.socket().connect, ('0.0.0.0', int(E['HOST_TCP']))))
                ",
            ),
            (Layer::Network, "ECONNREFUSED"),
            Control::Without(&[Layer::Network], "ok"),
        ),
        probe(
            "network/fast-open",
            "connects by sending data at once, which older Landlock did not see",
            Program(
                r"
                import socket
                say(attempt(socket.socket().sendto, b'x', 0x20000000, ('127.0.0.1', int(E['HOST_TCP']))))
                ",
            ),
            (Layer::Network, "ECONNREFUSED|EOPNOTSUPP"),
            Control::Without(&[Layer::Network], "ok"),
        )
        .source("Landlock issue of connect by MSG_FASTOPEN"),
        probe(
            "network/udp-host",
            "sends datagrams to a service on the host's loopback",
            Program(
                r"
                import socket, time
                socket = socket.socket(2, 2)
                socket.connect(('127.0.0.1', int(E['HOST_UDP'])))
                socket.send(b'x')
                time.sleep(.05)
                say(attempt(socket.send, b'x'))
                ",
            ),
            (Layer::Network, "ECONNREFUSED"),
            Control::Without(&[Layer::Network], "ok"),
        ),
        probe(
            "network/abstract",
            "connects to a Unix socket of the host's that has no file",
            Program(
                r"
                import socket
                say(attempt(socket.socket(1).connect, '\0' + E['HOST_ABSTRACT']))
                ",
            ),
            (Layer::Network, "ECONNREFUSED"),
            Control::Without(&[Layer::Network, Layer::Landlock], "ok"),
        )
        .source("CVE-2020-15257; CDK shim-pwn"),
        probe(
            "network/abstract-scope",
            "connects to one from the host's own net namespace",
            Program(
                r"
                import socket
                say(attempt(socket.socket(1).connect, '\0' + E['HOST_ABSTRACT']))
                ",
            ),
            (Layer::Network, "ECONNREFUSED"),
            Control::Without(&[Layer::Network], "EPERM"),
        )
        .needs(Needs::Landlock(6)),
        probe(
            "network/smuggle-descriptor",
            "passes a descriptor of its work folder to a process of the host",
            Program(
                r"
                import socket
                door = socket.socket(1)
                result = attempt(door.connect, '\0' + E['HOST_ABSTRACT'])
                attempt(socket.send_fds, door, [b'x'], [os.open('/workspace', os.O_PATH)])
                say(result)
                ",
            ),
            (Layer::Network, "ECONNREFUSED"),
            Control::Without(&[Layer::Network, Layer::Landlock], "ok"),
        ),
        probe(
            "network/bind-host",
            "takes the port of a service of the host's, for those who ask it",
            Program(
                r"
                import socket
                listener = socket.socket()
                listener.setsockopt(1, 2, 1)
                taken = attempt(listener.bind, ('127.0.0.1', int(E['HOST_TCP'])))
                say('its own alone' if taken == 'ok' else taken)
                ",
            ),
            (Layer::Network, "its own alone"),
            Control::Without(&[Layer::Network], "EADDRINUSE"),
        ),
        probe(
            "network/bind-low",
            "serves on a port that is root's",
            Program(
                r"
                import socket
                say(attempt(socket.socket().bind, ('127.0.0.1', 80)))
                ",
            ),
            (Layer::Privileges, "EACCES"),
            Control::Without(&[Layer::Privileges], "ok"),
        ),
        unreachable(
            "network/out",
            "leaves for another network",
            r"
                import socket
                say(attempt(socket.socket().connect, ('192.0.2.1', 80)))
                ",
            "ECONNREFUSED",
        ),
        unreachable(
            "network/out-6",
            "leaves by IPv6",
            r"
                import socket
                say(attempt(socket.socket(socket.AF_INET6).connect, ('2001:db8::1', 80)))
                ",
            "ECONNREFUSED",
        ),
        unreachable(
            "network/metadata",
            "asks the cloud's metadata service for credentials",
            r"
                import socket
                say(attempt(socket.socket().connect, ('169.254.169.254', 80)))
                ",
            "ECONNREFUSED",
        )
        .source("SandboxBench: discovery; CDK cloud metadata"),
        unreachable(
            "network/dns",
            "asks a name server directly",
            r"
                import socket
                say(attempt(socket.socket(2, 2).connect, ('192.0.2.53', 53)))
                ",
            "ok",
        )
        .source("SandboxBench: exfiltration"),
        unreachable(
            "network/broadcast",
            "calls out to its neighbours",
            r"
                import socket
                s = socket.socket(2, 2)
                s.setsockopt(1, 6, 1)
                say(attempt(s.connect, ('255.255.255.255', 9)))
                ",
            "EINVAL",
        ),
        unreachable(
            "network/multicast",
            "joins a group of its neighbours",
            r"
                import socket
                say(attempt(socket.socket(2, 2).setsockopt, 0, 35, socket.inet_aton('224.0.0.251') + bytes(4)))
                ",
            "ok",
        ),
        probe(
            "network/names",
            "resolves a name, which carries data out",
            Program(
                r"
                import socket
                try: socket.getaddrinfo('secret.example.com', 80); say('resolved')
                except socket.gaierror: say('unresolved')
                ",
            ),
            (Layer::Network, "unresolved"),
            Control::Beside(
                Why::Harm,
                "its own name",
                Program(
                    r"
                import socket
                socket.getaddrinfo('localhost', 80)
                say('resolved')
                ",
                ),
                "resolved",
            ),
        )
        .source("SandboxBench: exfiltration by DNS"),
        probe(
            "network/interfaces",
            "looks for the host's interfaces",
            Program(
                r"
                names = [line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]]
                say('own' if names == ['lo'] else 'shown')
                ",
            ),
            (Layer::Network, "own"),
            Control::Without(&[Layer::Network], "shown"),
        ),
        probe(
            "network/connections",
            "reads who the host speaks with",
            Program("say('shown' if f\"{int(E['HOST_TCP']):04X}\" in open('/proc/net/tcp').read() else 'hidden')"),
            (Layer::Network, "hidden"),
            Control::Without(&[Layer::Network], "shown"),
        ),
        probe(
            "network/unix-sockets",
            "reads where the host's services listen",
            Program("say('shown' if E['HOST_ABSTRACT'] in open('/proc/net/unix').read() else 'hidden')"),
            (Layer::Network, "hidden"),
            Control::Without(&[Layer::Network, Layer::Processes], "shown"),
        ),
        capability(
            "network/iptables",
            "hands the kernel a table of its packet filter",
            r"
                import socket
                say(attempt(socket.socket().setsockopt, 0, 64, bytes(200)))
                ",
            "EINVAL|ENOPROTOOPT|ENOENT|ENOMEM",
        )
        .source("CVE-2021-22555, CVE-2016-4997"),
        capability(
            "network/mark",
            "marks its packets for another route",
            r"
                import socket
                say(attempt(socket.socket().setsockopt, 1, 36, 7))
                ",
            "ok",
        ),
        capability(
            "network/transparent",
            "takes addresses that are not its own",
            r"
                import socket
                say(attempt(socket.socket().setsockopt, 0, 19, 1))
                ",
            "ok",
        ),
        capability(
            "network/interface-address",
            "gives its interface an address",
            r"
                import fcntl, socket, struct
                request = struct.pack('16sH2s4s8s', b'lo', 2, bytes(2), bytes([10, 0, 0, 1]), bytes(8))
                say(attempt(fcntl.ioctl, socket.socket(), 0x8916, request))
                ",
            "ok",
        ),
        capability(
            "network/bridge",
            "makes a bridge",
            r"
                import fcntl, socket
                say(attempt(fcntl.ioctl, socket.socket(), 0x89a0, b'probe0\0' + bytes(32)))
                ",
            "ok|ENOPKG|ENOTTY|EINVAL",
        ),
    ],
};
