//! Who may do what: every operation of the router, tried as every kind of caller, against the committed list. What is not on it must be
//! denied, and by itself the list only shrinks: `TENURE_CODEGEN=1` writes it anew where nobody may do more than before; a line that
//! lets somebody do more, or of a new operation, is put in by hand.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tenure_core::access::Role;
use tenure_wire::api::key::NewKey;
use tenure_wire::api::session::RotateKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{OPENAPI_PATH, description, openapi, undescribed};
use crate::clock::SystemClock;
use crate::fleet::fake::FakeWorker;
use crate::testing::{Running, TEST_TIMEOUT, manifest, register};

const PAGE: &str = "docs/security/roles.md";
const CALLERS: [&str; 6] = ["no key", "agent", "viewer", "approver", "operator", "owner"];
const HEAD: &str = "# Who may do what
Every operation of the API, tried as every kind of caller by `crates/daemon/src/http/roles.rs`, which also writes this page. What is not
listed is denied; the list can only shrink by itself, and a line that lets somebody do more is put in by hand. A revoked key is refused
everywhere; on the Unix socket the daemon's own user and root are the owner. [people](../people.md) says what the roles are for.

| operation | no key | agent | viewer | approver | operator | owner |
|---|---|---|---|---|---|---|
";

/// Who may, of each operation.
type Allowed = BTreeMap<String, BTreeSet<&'static str>>;

fn page(allowed: &Allowed) -> String {
    let rows: String = allowed.iter().map(|(operation, who)| row(operation, who)).collect();
    format!("{HEAD}{rows}")
}

fn row(operation: &str, who: &BTreeSet<&'static str>) -> String {
    let cells = CALLERS.map(|caller| if who.contains(caller) { "yes" } else { "–" });
    format!("| `{operation}` | {} |\n", cells.join(" | "))
}

fn read(page: &str) -> Allowed {
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let operation = cells.next()?.trim_end_matches('`').to_string();
        let may = CALLERS.into_iter().zip(cells).filter(|(_, cell)| cell.trim_end_matches(" |") == "yes");
        Some((operation, may.map(|(caller, _)| caller).collect()))
    });
    rows.collect()
}

/// The lines by which somebody may do more than the list says.
fn widened(listed: &Allowed, found: &Allowed) -> String {
    let nobody = BTreeSet::new();
    let more = found.iter().filter(|(operation, who)| !who.is_subset(listed.get(*operation).unwrap_or(&nobody)));
    more.map(|(operation, who)| row(operation, who)).collect()
}

/// Every operation, with the path that a request has in which each parameter is `x`.
fn operations() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    let beside = undescribed();
    let beside =
        beside.iter().flat_map(|(path, methods, _)| methods.iter().map(|one| (one.to_string(), path.to_string())));
    let all = described.chain(beside).map(|(method, path)| {
        let asked: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        (format!("{method} {path}"), method, asked.join("/"))
    });
    all.collect()
}

/// Whether it was let in: every other answer than the two by which a caller is turned away.
async fn lets_in(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, key: Option<&str>) -> bool {
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let request =
        format!("{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{key}content-length: 4\r\n\r\nnull");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let mut piece = [0u8; 4096];
        let count = timeout(Duration::from_secs(60), stream.read(&mut piece)).await.unwrap().unwrap();
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).map(str::to_string).unwrap_or_default();
        // A stream of events goes on after its head.
        let is_known = text.contains("\r\n\r\n") && !["401", "403"].contains(&status.as_str());
        if count == 0 || is_known {
            assert!(status.len() == 3, "{head}: no answer: {text}");
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
            let problem: Value = serde_json::from_str(body).unwrap_or_default();
            return status != "401" && problem["code"] != "forbidden";
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_lets_in_whom_the_committed_list_names_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[]).await;
    let key =
        async |name: &str, role| daemon.client.create_key(&NewKey { name: name.to_string(), role }).await.unwrap();
    let worker = register(&daemon.app, "fake").await;
    let _worker = FakeWorker::connect(&daemon.app, worker, "fake");
    timeout(TEST_TIMEOUT, daemon.app.fleet.any_of(Some(worker))).await.unwrap();
    daemon.client.deploy(manifest("clerk", "").into_bytes(), false).await.unwrap();
    let agent = daemon.client.rotate_agent("clerk", &RotateKey::default()).await.unwrap();
    let revoked = key("revoked", Role::Owner).await;
    daemon.client.revoke_key(&revoked.key.id.to_string()).await.unwrap();
    let mut keys = vec![("agent", agent.secret.clone())];
    for role in [Role::Viewer, Role::Approver, Role::Operator, Role::Owner] {
        keys.push((role.as_str(), key(role.as_str(), role).await.secret));
    }
    let socket = async || UnixStream::connect(&daemon.socket).await.unwrap();
    let mut found = Allowed::new();
    for (operation, method, path) in operations() {
        let head = format!("{method} {path}");
        let mut who = BTreeSet::new();
        if lets_in(TcpStream::connect(daemon.address).await.unwrap(), &head, None).await {
            who.insert("no key");
        }
        for (caller, key) in &keys {
            if lets_in(socket().await, &head, Some(key)).await {
                who.insert(*caller);
            }
        }
        assert!(!lets_in(socket().await, &head, Some(&revoked.secret)).await, "{operation}: a revoked key is let in");
        let by_socket = lets_in(socket().await, &head, None).await;
        assert_eq!(by_socket, who.contains("owner"), "{operation}: the socket is the owner");
        let people =
            [Role::Viewer, Role::Approver, Role::Operator, Role::Owner].map(|role| who.contains(role.as_str()));
        assert!(people.is_sorted(), "{operation}: a higher role may do less: {who:?}");
        let open = description::OPEN.contains(&path.as_str()) || path == OPENAPI_PATH;
        assert_eq!(who.contains("no key"), open, "{operation}: what wants no key");
        let agents = path.starts_with("/v1/agent/") || path.starts_with(super::mcp::PATH);
        assert_eq!(who.contains("agent"), open || agents, "{operation}: what an agent's key opens");
        found.insert(operation, who);
    }
    daemon.stop().await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    let listed = read(&std::fs::read_to_string(&file).unwrap());
    let more = widened(&listed, &found);
    assert!(more.is_empty(), "more is allowed than {PAGE} says; put these lines in by hand where it is meant:\n{more}");
    if std::env::var_os("TENURE_CODEGEN").is_some() {
        std::fs::write(&file, page(&found)).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == page(&found), "{PAGE} is old: run TENURE_CODEGEN=1 cargo test -p tenure-daemon --lib roles");
}

#[test]
fn the_list_shrinks_by_itself_and_grows_by_hand_alone() {
    let row = |operation: &str, who: &[&'static str]| (operation.to_string(), BTreeSet::from_iter(who.iter().copied()));
    let listed = Allowed::from([row("GET /a", &["operator", "owner"])]);
    assert_eq!(read(&page(&listed)), listed);
    assert_eq!(widened(&listed, &Allowed::from([row("GET /a", &["owner"])])), "");
    let more = widened(&listed, &Allowed::from([row("GET /a", &["viewer", "operator", "owner"])]));
    assert_eq!(more, "| `GET /a` | – | – | yes | – | yes | yes |\n");
    assert!(!widened(&listed, &Allowed::from([row("GET /b", &["owner"])])).is_empty(), "a new one is listed nowhere");
}
