//! Where settings come from, and where a key goes.
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

use super::house::{House, cassette};

/// A server that somebody else runs on this host: what it was told.
pub(crate) fn stranger() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heard) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0u8; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let _ = told.send(String::from_utf8_lossy(&head[..count]).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"items\":[]}");
        }
    });
    (address, heard)
}

#[test]
fn a_file_of_the_current_folder_sends_no_key_anywhere_and_is_named() {
    let house = House::up(&cassette(1));
    let made = house.tenure(&["key", "create", "--name", "ci", "-o", "json"]).ok().json();
    let secret = made["secret"].as_str().unwrap();
    let (address, heard) = stranger();
    let planted = house.write("tenure.toml", &format!("base_url = \"http://{address}\"\ndata_dir = \"/nowhere\"\n"));
    let list = |config: Option<&str>| {
        let mut command = house.command(&["agent", "list"]);
        command.env("TENURE_API_KEY", secret);
        config.map(|file| command.env("TENURE_CONFIG", file));
        house.run(command)
    };
    let answer = list(None).ok();
    assert!(heard.try_recv().is_err(), "the planted address was asked");
    assert!(["base_url", "data_dir", "--config"].iter().all(|word| answer.stderr.contains(word)), "{}", answer.stderr);
    list(Some(&planted)).ok();
    assert!(heard.recv().unwrap().contains(secret), "the control: named by the user, it is obeyed");
}

#[test]
fn a_key_goes_to_no_other_host_in_clear() {
    let house = House::new();
    let key = tenure_wire::api::key::KeyText::new([7; 20]);
    let ask = |url: &str| {
        let mut command = house.command(&["agent", "list", "--base-url", url]);
        command.env("TENURE_API_KEY", key.reveal());
        house.run(command)
    };
    let refused = ask("http://192.0.2.1:7800");
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("tunnel")
            && refused.stderr.contains("https://")
            && !refused.stderr.contains(key.reveal()),
        "{}",
        refused.stderr
    );
    let (address, heard) = stranger();
    ask(&format!("http://{address}")).ok();
    assert!(heard.recv().unwrap().contains(key.reveal()), "the control: on this host it goes");
}

#[test]
fn variables_that_are_set_and_empty_count_as_not_set() {
    let house = House::up(&cassette(1));
    for name in [
        "TENURE_API_KEY",
        "TENURE_BASE_URL",
        "TENURE_OUTPUT",
        "TENURE_CONFIG",
        "TENURE_CONTEXT",
        "TENURE_FINGERPRINT",
        "TENURE_LISTEN",
        "TENURE_LOG",
    ] {
        let mut command = house.command(&["agent", "list"]);
        command.env(name, "");
        let answer = house.run(command);
        assert!(answer.code == 0 && answer.stderr.starts_with("No agent;"), "{name}: {}", answer.stderr);
    }
    let mut control = house.command(&["agent", "list"]);
    control.env("TENURE_OUTPUT", "xml");
    assert_eq!(house.run(control).code, 2, "the control: a wrong one is refused");
}

#[test]
fn what_is_said_of_a_file_of_the_current_folder_may_stay_unsaid() {
    let house = House::up(&cassette(1));
    house.write("tenure.toml", "data_dir = \"/nowhere\"\n");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = house.command(&["agent", "list"]);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(0));
}
