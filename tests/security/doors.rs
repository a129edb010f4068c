//! The doors of the daemon: the TCP side wants a key, roles bound what it may do, a revoked key is dead, and a data
//! directory has one daemon.
use crate::office::{MANIFEST, Office, refused};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tests::scripted::Say;

fn office() -> Office {
    Office::open(Arc::new(|_, _| Say::Text("fine".to_string())))
}

fn address(office: &Office) -> String {
    let status = office.daemon.json(&["status"]);
    let text = status.to_string();
    let place = text.find("127.0.0.1:").expect("the status names the address");
    text[place..].chars().take_while(|letter| letter.is_ascii_digit() || ".:".contains(*letter)).collect()
}

/// The status line and body of one plain request.
fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str(&format!("host: {address}\r\n"));
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("it reads");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, text)
}

#[test]
fn tcp_wants_a_live_key_of_a_sufficient_role_from_no_foreign_origin() {
    let office = office();
    let address = address(&office);
    let viewer = office.daemon.json(&["key", "create", "--name", "eye", "--role", "viewer"]);
    let operator = office.daemon.json(&["key", "create", "--name", "hand", "--role", "operator"]);
    let token = |key: &serde_json::Value| {
        let text = key.to_string();
        let place = text.find("tnr_").expect("the key is shown once");
        let token: String =
            text[place..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        format!("Bearer {token}")
    };
    let (viewer_token, operator_token) = (token(&viewer), token(&operator));
    let get = |headers: &[(&str, &str)]| ask(&address, "GET", "/v1/agents", headers, "").0;
    assert_eq!(get(&[]), 401);
    assert_eq!(get(&[("authorization", "Bearer tnr_forged")]), 401);
    assert_eq!(get(&[("authorization", &viewer_token)]), 200, "the control: a right key reads");
    assert_eq!(get(&[("authorization", &viewer_token), ("origin", "https://evil.example")]), 403);
    assert_eq!(get(&[("authorization", &viewer_token), ("host", "evil.example")]), 403);
    let deploy = |token: &str| ask(&address, "POST", "/v1/agents", &[("authorization", token)], MANIFEST).0;
    assert_eq!(deploy(&viewer_token), 403);
    assert!([200, 201].contains(&deploy(&operator_token)), "the control: an operator deploys");
    office.daemon.ok(&["key", "revoke", viewer["id"].as_str().expect("an id"), "--yes"]);
    assert_eq!(get(&[("authorization", &viewer_token)]), 401, "a revoked key is dead at once");
    let listed = office.daemon.ok(&["key", "list", "-o", "json"]);
    assert!(!listed.contains(operator_token.trim_start_matches("Bearer ")), "a key is shown twice");
    office.holds();
}

#[test]
fn a_data_directory_that_another_daemon_holds_is_refused_and_the_first_goes_on() {
    let office = office();
    let mut second = office.daemon.spawn();
    let status = second.wait().expect("it ends by itself");
    assert!(!status.success());
    assert!(office.daemon.log().contains("held by another daemon"), "{}", office.daemon.log());
    assert!(office.deploy(MANIFEST).status.success(), "the first daemon must go on");
    refused(&office.daemon.run(&["agent", "get", "nobody"]), &["nobody"]);
}
