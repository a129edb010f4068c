//! The doors of the daemon: the TCP side wants a key, roles bound what it may do, a revoked key is dead, a data directory
//! has one daemon and is its user's alone, and whoever fills the doors keeps nobody from stopping anything.
use crate::office::{MANIFEST, Office, WITHIN, refused};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tests::scripted::Say;

fn office() -> Office {
    Office::open(Arc::new(|_, _| Say::Text("fine".to_string())))
}

pub fn address(office: &Office) -> String {
    let status = office.daemon.json(&["status"]);
    let text = status.to_string();
    let place = text.find("127.0.0.1:").expect("the status names the address");
    text[place..].chars().take_while(|letter| letter.is_ascii_digit() || ".:".contains(*letter)).collect()
}

/// The status line and body of one plain request.
pub fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
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
fn whoever_tries_keys_has_to_wait_and_locks_out_neither_a_key_that_works_nor_the_socket() {
    let office = office();
    let address = address(&office);
    let bearer = |name: &str| {
        let key = office.daemon.json(&["key", "create", "--name", name, "--role", "viewer"]);
        format!("Bearer {}", key["secret"].as_str().expect("shown once"))
    };
    let (used, fresh) = (bearer("used"), bearer("fresh"));
    let get = |key: &str| ask(&address, "GET", "/v1/agents", &[("authorization", key)], "");
    assert_eq!(get(&used).0, 200);
    let tried: Vec<u16> = (0..40).map(|_| get("Bearer tnr_forged").0).collect();
    assert_eq!(tried[0], 401, "the control: it is looked at first");
    let (status, answer) = get("Bearer tnr_forged");
    assert!(status == 429 && answer.to_lowercase().contains("retry-after: "), "{tried:?} {answer}");
    assert_eq!(get(&fresh).0, 429, "nothing is looked up for this address now");
    assert_eq!(get(&used).0, 200, "its holder goes on");
    office.daemon.ok(&["key", "list"]);
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

/// As many as a hostile program of this host can hold, each kept alive by a request now and then.
struct Flood {
    streams: Vec<TcpStream>,
}

impl Flood {
    fn of(address: &str, count: usize, first: &str) -> Flood {
        let streams = (0..count).map(|_| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            // One that is turned away at once is a part of the flood all the same.
            let _ = stream.write_all(first.as_bytes());
            stream
        });
        Flood { streams: streams.collect() }
    }

    fn open(&self) -> usize {
        let alive = |stream: &&TcpStream| {
            stream.set_nonblocking(true).expect("it can be set");
            let mut byte = [0u8; 4096];
            loop {
                match (&mut &**stream).read(&mut byte) {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
        };
        self.streams.iter().filter(alive).count()
    }
}

#[test]
fn whoever_fills_every_place_of_the_tcp_side_keeps_nobody_from_stopping_anything() {
    let office = Office::open(Arc::new(|_, _| Say::Calls(vec![("process.run", sleep())])));
    assert!(office.deploy(MANIFEST).status.success());
    let address = address(&office);
    let start = || {
        let started = office.daemon.json(&["execute", "--agent", "clerk", "--input", "x"]);
        started["id"].as_str().expect("an id").to_owned()
    };
    let viewer = office.daemon.json(&["key", "create", "--name", "eye", "--role", "viewer"]);
    let operator = office.daemon.json(&["key", "create", "--name", "hand", "--role", "operator"]);
    let bearer = |key: &serde_json::Value| format!("Bearer {}", key["secret"].as_str().expect("shown once"));
    let (by_socket, by_key, watched) = (start(), start(), start());

    // Without any key: heads that never end, and connections that say nothing.
    let flood = Flood::of(&address, 600, "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    assert!(flood.open() > 200, "the control: they do hold places");
    office.daemon.ok(&["execution", "cancel", &by_socket, "--yes"]);
    let path = format!("/v1/executions/{by_key}/cancel");
    let (status, _) = ask(&address, "POST", &path, &[("authorization", &bearer(&operator))], "");
    assert_eq!(status, 200, "an idle connection gives up its place for it");
    drop(flood);

    // With a viewer's key: event streams.
    let follow = format!(
        "GET /v1/executions/{watched}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\r\n",
        bearer(&viewer)
    );
    let flood = Flood::of(&address, 600, &follow);
    office.daemon.ok(&["status"]);
    office.daemon.ok(&["key", "revoke", viewer["id"].as_str().expect("an id"), "--yes"]);
    let path = format!("/v1/executions/{watched}/cancel");
    let (status, _) = ask(&address, "POST", &path, &[("authorization", &bearer(&operator))], "");
    assert_eq!(status, 200);
    drop(flood);
    for id in [by_socket, by_key, watched] {
        assert_eq!(office.daemon.ended(&id, WITHIN)["status"], "cancelled");
    }
    office.holds();
}

fn sleep() -> serde_json::Value {
    serde_json::json!({"command": "sleep", "args": ["100"], "timeout_ms": 200_000})
}

/// Every entry below a folder, with its mode.
fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it can be listed").map(|entry| entry.expect("an entry")) {
        let Ok(kind) = std::fs::symlink_metadata(entry.path()) else { continue };
        found.push((entry.path(), kind.permissions().mode() & 0o777));
        // Below `agents` files are the agents', and nobody else passes through it.
        if kind.is_dir() && entry.file_name() != "agents" {
            found.extend(modes(&entry.path()));
        }
    }
    found
}

#[test]
fn no_other_user_reaches_a_data_directory_whatever_the_umask_and_one_found_open_is_closed_with_a_word() {
    let mut office = Office::open_under(0o000, Arc::new(|_, _| Say::Text("fine".to_string())));
    assert!(office.deploy(MANIFEST).status.success());
    office.execute("clerk", "\"the amber heron\"");
    let data = office.daemon.data.clone();
    let others = |data: &Path| {
        let own = std::fs::metadata(data).expect("it is there").permissions().mode() & 0o777;
        let all = std::iter::once((data.to_path_buf(), own)).chain(modes(data));
        // What jails see of `/etc` is read by agents' users; it holds no secret, and lies in a closed folder.
        let view = data.join("run/worker/view");
        all.filter(|(path, mode)| mode & 0o077 != 0 && !path.starts_with(&view)).collect::<Vec<_>>()
    };
    assert_eq!(others(&data), Vec::new());
    if rustix::process::geteuid().is_root() {
        let reading = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
            .arg(data.join("tenure.db-wal"))
            .output()
            .expect("setpriv runs");
        assert!(!reading.status.success() && reading.stdout.is_empty());
    }
    office.daemon.stop();
    for (path, mode) in [("tenure.db", 0o666), ("blobs", 0o755), ("", 0o777)] {
        std::fs::set_permissions(data.join(path), std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    assert!(!others(&data).is_empty(), "the control: it is open now");
    office.daemon.start_again();
    assert_eq!(others(&data), Vec::new());
    let log = office.daemon.log();
    assert!(log.contains("other users could write") && log.contains("it is closed now"), "{log}");
    office.holds();
}
