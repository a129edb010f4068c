use std::io::{Read, Write};
use std::time::Duration;

use tenure_sandbox::EGRESS_PORT;

use crate::house::{House, inside, run, text};

/// Sends a line to the port and prints what comes back, or the errno.
fn talk(port: u16) -> String {
    format!(
        "import socket\ns = socket.socket(); s.settimeout(20)\ntry:\n  s.connect(('127.0.0.1', {port})); s.sendall(b'hi'); print(s.recv(20).decode())\nexcept OSError as e: print(e.errno)"
    )
}

#[test]
fn a_program_talks_to_whoever_accepts_outside_and_to_nobody_else() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.egress = true;
    let (mut jail, mut client) = house.open_as(&spec);
    let listener = jail.take_listener().expect("a listener");
    assert!(jail.take_listener().is_none());
    assert_eq!(listener.local_addr().unwrap().port(), EGRESS_PORT);
    let outside = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut got = [0; 2];
        stream.read_exact(&mut got).unwrap();
        stream.write_all(b"from outside").unwrap();
        got
    });
    assert_eq!(text(&run(&mut client, &["python3", "-c", &talk(EGRESS_PORT)]).stdout), "from outside");
    assert_eq!(&outside.join().unwrap(), b"hi");
    // The listener is gone with its only holder.
    assert_eq!(text(&run(&mut client, &["python3", "-c", &talk(EGRESS_PORT)]).stdout), "111");
    // Nobody takes the proxy's place for the other programs.
    let (mut served, mut client) = house.open_as(&spec);
    let _listener = served.take_listener().expect("a listener");
    let bind = "import socket; s = socket.socket(); s.setsockopt(1, 2, 1); s.setsockopt(1, 15, 1)\ntry: s.bind(('0.0.0.0', 3128)); print('bound')\nexcept OSError as e: print(e.errno)";
    assert_eq!(text(&run(&mut client, &["python3", "-c", bind]).stdout), "98");
    let (mut closed, mut control) = house.open_as(&house.spec("other", 2));
    assert!(closed.take_listener().is_none());
    assert_eq!(text(&run(&mut control, &["python3", "-c", &talk(EGRESS_PORT)]).stdout), "111");
    assert_eq!(text(&run(&mut control, &["python3", "-c", bind]).stdout), "bound", "control: where no proxy is");
}

#[test]
fn programs_are_told_of_the_proxy_and_the_specs_own_word_wins() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.egress = true;
    spec.env.extend([("ALL_PROXY".into(), "".into()), ("no_proxy".into(), "::1".into())]);
    let (_jail, mut client) = house.open_as(&spec);
    let told = "export LC_ALL=C; env | grep -i _proxy= | sort | tr '\\n' ' '";
    let http = "http://127.0.0.1:3128";
    let expected = |all: &str, direct: &str| {
        format!(
            "ALL_PROXY={all} HTTPS_PROXY={http} HTTP_PROXY={http} NODE_USE_ENV_PROXY=1 \
             NO_PROXY=localhost,127.0.0.1,::1 all_proxy={http} http_proxy={http} https_proxy={http} no_proxy={direct}"
        )
    };
    assert_eq!(inside(&mut client, told), expected("", "::1"));
    spec.env.clear();
    let (_jail, mut plain) = house.open_as(&spec);
    assert_eq!(inside(&mut plain, told), expected(http, "localhost,127.0.0.1,::1"));
    let (_jail, mut control) = house.open_as(&house.spec("other", 2));
    assert_eq!(inside(&mut control, told), "");
}

#[test]
fn a_second_listener_is_handed_out_whatever_the_network_is_and_each_jail_has_its_own() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    spec.service_port = Some(7899);
    let (mut jail, mut client) = house.open_as(&spec);
    assert!(jail.take_listener().is_none(), "it has no egress");
    let listener = jail.take_service_listener().expect("a listener");
    assert!(jail.take_service_listener().is_none());
    assert_eq!(listener.local_addr().unwrap().port(), 7899);
    let outside = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        stream.write_all(b"from outside").unwrap();
    });
    let mut other_spec = house.spec("other", 2);
    let (_other, mut other) = house.open_as(&other_spec);
    assert_eq!(
        text(&run(&mut other, &["python3", "-c", &talk(7899)]).stdout),
        "111",
        "control: another jail's is not its"
    );
    assert_eq!(text(&run(&mut client, &["python3", "-c", &talk(7899)]).stdout), "from outside");
    outside.join().unwrap();

    other_spec.egress = true;
    other_spec.service_port = Some(7899);
    let (mut both, _) = house.open_as(&other_spec);
    let ports = [both.take_listener(), both.take_service_listener()]
        .map(|listener| listener.unwrap().local_addr().unwrap().port());
    assert_eq!(ports, [EGRESS_PORT, 7899]);
}
