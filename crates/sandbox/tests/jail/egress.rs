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
    if jail.level().landlock >= 4 {
        assert_eq!(text(&run(&mut client, &["python3", "-c", &talk(EGRESS_PORT + 1)]).stdout), "13");
        let bind = "import socket; s = socket.socket()\ntry: s.bind(('127.0.0.1', 3128)); print('bound')\nexcept OSError as e: print(e.errno)";
        assert_eq!(text(&run(&mut client, &["python3", "-c", bind]).stdout), "13");
    }
    let (mut closed, mut control) = house.open_as(&house.spec("other", 2));
    assert!(closed.take_listener().is_none());
    assert!(["13", "111"].contains(&text(&run(&mut control, &["python3", "-c", &talk(EGRESS_PORT)]).stdout).as_str()));
}

#[test]
fn programs_are_told_of_the_proxy_and_the_specs_own_word_wins() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    (spec.egress, spec.loopback_tcp) = (true, true);
    spec.env.insert("ALL_PROXY".into(), "".into());
    let (_jail, mut client) = house.open_as(&spec);
    let told = "env | grep -i _proxy= | sort | tr '\\n' ' '";
    let http = "http://127.0.0.1:3128";
    let expected = |all: &str, direct: &str| {
        format!(
            "ALL_PROXY={all} HTTPS_PROXY={http} HTTP_PROXY={http} NO_PROXY={direct} all_proxy=socks5h://127.0.0.1:3128 \
             http_proxy={http} https_proxy={http} no_proxy={direct}"
        )
    };
    assert_eq!(inside(&mut client, &format!("export LC_ALL=C; {told}")), expected("", "localhost,127.0.0.1,::1"));
    spec.loopback_tcp = false;
    spec.env.clear();
    let (_jail, mut closed) = house.open_as(&spec);
    assert_eq!(inside(&mut closed, &format!("export LC_ALL=C; {told}")), expected("socks5h://127.0.0.1:3128", ""));
    let (_jail, mut control) = house.open_as(&house.spec("other", 2));
    assert_eq!(inside(&mut control, told), "");
}
