//! A daemon that speaks TLS, and who is let in.
use std::io::{Read, Write};
use std::net::TcpStream;

use super::house::{House, cassette, eventually};

/// A daemon with a certificate of its own making, a key to it, and the fingerprint that it printed.
fn house() -> (House, String, String) {
    let house = House::up_with(&cassette(1), &["--tls", "self-signed"]);
    let made = house.tenure(&["key", "create", "--name", "ci", "-o", "json"]).ok().json();
    let start = house.greeting.find("sha256:").unwrap();
    let fingerprint = house.greeting[start..].split_whitespace().next().unwrap().to_string();
    (house, made["secret"].as_str().unwrap().to_string(), fingerprint)
}

#[test]
fn a_pinned_certificate_is_taken_and_any_other_refused_before_a_key_is_sent() {
    let (house, key, fingerprint) = house();
    assert!(house.url.starts_with("https://127.0.0.1:"), "{}", house.url);
    assert_eq!(house.tenure(&["status", "-o", "json"]).ok().json()["fingerprint"], fingerprint.as_str());
    let ask = |pin: Option<&str>| {
        let mut words = vec!["--base-url", &house.url, "--api-key", &key, "agent", "list"];
        words.extend(pin.iter().flat_map(|pin| ["--fingerprint", pin]));
        house.tenure(&words)
    };
    ask(Some(&fingerprint)).ok();
    let other = format!("sha256:{}", "0".repeat(64));
    let refused = ask(Some(&other));
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("another certificate") && refused.stderr.contains("nothing was sent"),
        "{}",
        refused.stderr
    );
    let untrusted = ask(None);
    assert!(untrusted.code == 7 && untrusted.stderr.contains("is not trusted"), "{}", untrusted.stderr);
    assert!(untrusted.stderr.contains("--fingerprint"), "{}", untrusted.stderr);
    house
        .tenure(&["config", "add", "own", "--base-url", &house.url, "--fingerprint", &fingerprint, "--api-key", &key])
        .ok();
    house.tenure(&["--context", "own", "agent", "list"]).ok();
}

#[test]
fn who_speaks_in_clear_to_tls_or_tls_to_clear_is_told_so() {
    let (house, key, _) = house();
    let clear = house.url.replace("https://", "http://");
    let told = house.tenure(&["--base-url", &clear, "--api-key", &key, "agent", "list"]);
    assert!(
        told.code == 3 && told.stderr.contains("speaks TLS") && told.stderr.contains("https://"),
        "{}",
        told.stderr
    );
    let plain = House::up(&cassette(1));
    let tls = plain.url.replace("http://", "https://");
    let told = plain.tenure(&["--base-url", &tls, "agent", "list"]);
    assert!(told.code == 6 && told.stderr.contains("does not speak TLS"), "{}", told.stderr);
}

#[test]
fn without_tls_no_other_host_can_be_let_in_and_with_it_one_can() {
    let refusing = House::new();
    let refused = refusing.tenure(&["up", "--listen", "0.0.0.0:0"]);
    assert!(refused.code == 1 && refused.stderr.contains("--tls self-signed"), "{}", refused.stderr);
    assert!(!refusing.path("data").exists(), "a start that is refused leaves nothing");
    let cert = refusing.tenure(&["up", "--listen", "0.0.0.0:0", "--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"]);
    assert!(cert.code == 1 && cert.stderr.contains("/nowhere/c cannot be read"), "{}", cert.stderr);
    assert!(!refusing.path("data").exists());
    let half = refusing.tenure(&["up", "--tls-cert", "/nowhere/c"]);
    assert_eq!(half.code, 2, "{}", half.stderr);
}

/// Connections that never say anything have their own places: whoever has a key is served beside any number of them.
#[test]
fn handshakes_that_never_end_keep_nobody_out() {
    let (house, key, fingerprint) = house();
    let address = house.url.trim_start_matches("https://").to_string();
    let silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut begun: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for stream in &mut begun {
        // The head of a record that never comes; where it was turned away already, writing may fail.
        let _ = stream.write_all(&[22, 3, 1]);
    }
    let ask = |words: &[&str]| {
        house.tenure(&[&["--base-url", &house.url, "--fingerprint", &fingerprint, "--api-key", &key], words].concat())
    };
    for _ in 0..3 {
        ask(&["agent", "list"]).ok();
        assert_eq!(ask(&["execution", "cancel", "exe_00000000"]).code, 4, "it is answered: there is none");
    }
    let mut oldest = &silent[0];
    oldest.set_read_timeout(Some(super::house::PATIENCE)).unwrap();
    let closed = oldest.read(&mut [0; 1]);
    assert!(matches!(closed, Ok(0) | Err(_)), "the control: there were more than have places, and the oldest went");
    drop((silent, begun));
    eventually("a new connection", || ask(&["agent", "list"]).code == 0);
}

#[test]
fn a_certificate_that_is_put_in_its_place_is_shown_without_a_restart() {
    let (house, _, first) = house();
    let mut elsewhere = House::up_with(&cassette(1), &["--tls", "self-signed"]);
    elsewhere.down();
    let new = elsewhere.path("data/tls");
    for name in ["cert.pem", "key.pem"] {
        let (from, to) = (new.join(name), house.path("data/tls").join(name));
        let partial = to.with_extension("new");
        std::fs::copy(from, &partial).unwrap();
        std::fs::rename(partial, to).unwrap();
    }
    let now = |house: &House| {
        house.tenure(&["status", "-o", "json"]).ok().json()["fingerprint"].as_str().unwrap().to_string()
    };
    eventually("the new certificate", || now(&house) != first);
}
