//! The HTTP door as strangers meet it: raw requests over TCP.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::house::{AGENT, House, PATIENCE, cassette};

/// Paths that tell an unauthenticated caller something; the list may only shrink.
const OPEN: [&str; 2] = ["/health", "/health/ready"];

struct Reply {
    status: u16,
    head: String,
    body: String,
}

fn ask(house: &House, head: &str, body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(house.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // An answer may come before all of a huge body is taken.
    let _ = stream.write_all(body);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_string() }
}

fn with_key(house: &House, line: &str, key: &str, body: &[u8]) -> Reply {
    ask(house, &format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}"), body)
}

fn code(reply: &Reply) -> String {
    assert!(reply.head.contains("content-type: application/problem+json"), "{}\n{}", reply.head, reply.body);
    let problem: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(problem["status"], reply.status);
    for word in ["title", "detail", "hint", "recovery", "type"] {
        assert!(problem[word].as_str().is_some_and(|text| !text.is_empty()), "{word}: {problem}");
    }
    problem["code"].as_str().unwrap().to_string()
}

fn key(house: &House, role: &str) -> (String, String) {
    let made = house.tenure(&["key", "create", "--name", role, "--role", role, "-o", "json"]).ok().json();
    (made["id"].as_str().unwrap().to_string(), made["secret"].as_str().unwrap().to_string())
}

#[test]
fn no_route_answers_a_stranger() {
    let house = House::up(&cassette(1));
    let (_, viewer) = key(&house, "viewer");
    let described = with_key(&house, "GET /v1/openapi.json", &viewer, b"");
    let document: Value = serde_json::from_str(&described.body).unwrap();
    assert_eq!((&document["info"]["title"], &document["openapi"]), (&"Tenure".into(), &"3.1.0".into()));
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let filled = path.replace("{agent}", "a").replace("{execution}", "e").replace("{key}", "k");
            let line = format!("{} {filled} HTTP/1.1\r\nHost: localhost", method.to_uppercase());
            let reply = ask(&house, &line, b"");
            if OPEN.contains(&path.as_str()) {
                assert!(matches!(reply.status, 200 | 503), "{path}: {}", reply.status);
                continue;
            }
            asked += 1;
            assert_eq!((reply.status, code(&reply).as_str()), (401, "unauthenticated"), "{method} {path}");
            assert!(reply.head.contains("www-authenticate: bearer"), "{path}");
        }
    }
    assert!(asked > 15, "{asked} routes");
}

#[test]
fn a_role_does_what_it_may_and_a_revoked_key_does_nothing() {
    let house = House::up(&cassette(1));
    let ((id, viewer), (_, operator)) = (key(&house, "viewer"), key(&house, "operator"));
    let status = |line: &str, key: &str, body: &[u8]| with_key(&house, line, key, body).status;
    assert_eq!(status("GET /v1/agents", &viewer, b""), 200);
    assert_eq!(status("POST /v1/agents", &viewer, AGENT.as_bytes()), 403);
    assert_eq!(status("POST /v1/agents", &operator, AGENT.as_bytes()), 200);
    assert_eq!(status("GET /v1/keys", &operator, b""), 403);
    let last = if viewer.ends_with('x') { 'y' } else { 'x' };
    let forged = format!("{}{last}", &viewer[..viewer.len() - 1]);
    assert_eq!(status("GET /v1/agents", &forged, b""), 401);
    house.tenure(&["key", "revoke", &id, "--yes"]).ok();
    assert_eq!(status("GET /v1/agents", &viewer, b""), 401);
    assert_eq!(status("GET /v1/agents", &operator, b""), 200);
    let records = house.tenure(&["audit", "tail", "--limit", "100", "-o", "json"]).ok().raw;
    assert!(!records.contains(&viewer) && !records.contains(&operator), "the ledger holds a key's text");
}

#[test]
fn a_page_of_another_site_is_turned_away_before_its_key_is_looked_at() {
    let house = House::up(&cassette(1));
    let (_, key) = key(&house, "owner");
    let port = house.url.rsplit_once(':').unwrap().1;
    let from = |host: &str, more: &str| {
        ask(&house, &format!("GET /v1/agents HTTP/1.1\r\nHost: {host}{more}\r\nAuthorization: Bearer {key}"), b"")
    };
    assert_eq!(from("localhost", "").status, 200, "the control");
    assert_eq!(from("localhost", &format!("\r\nOrigin: http://localhost:{port}")).status, 200, "the control");
    assert_eq!(code(&from("evil.example", "")), "host_refused");
    assert_eq!(code(&from("localhost", "\r\nOrigin: http://evil.example")), "origin_refused");
    let absolute = |host: &str| {
        let line = format!("GET http://{host}/v1/agents HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}");
        ask(&house, &line, b"")
    };
    assert_eq!(absolute("localhost").status, 200, "the control");
    assert_eq!(code(&absolute("evil.example")), "host_refused");
    assert_eq!(from("localhost", "\r\nHost: localhost").status, 403);
    assert_eq!(from("localhost", "\r\nHost: evil.example").status, 403);
}

#[test]
fn numbers_beyond_their_ranges_are_told_so_and_nothing_panics() {
    let mut house = House::up(&cassette(1));
    let (_, key) = key(&house, "viewer");
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "--agent", "coder", "--input", "1", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.wait(id);
    let get = |path: &str| with_key(&house, &format!("GET {path}"), &key, b"");
    for path in ["/v1/audit/records?from=0&limit=500", "/v1/audit/records?from=9007199254740991", "/v1/agents?limit=1"]
    {
        assert_eq!(get(path).status, 200, "the control: {path}");
    }
    for path in [
        "/v1/audit/records?from=9007199254740992",
        "/v1/audit/records?from=9223372036854775808",
        "/v1/audit/records?from=18446744073709551616",
        "/v1/audit/records?last=18446744073709551615",
        "/v1/audit/records?from=-1",
        "/v1/audit/records?limit=0",
        "/v1/agents?limit=501",
        "/v1/executions?limit=4294967296",
        &format!("/v1/executions/{id}/events?after=18446744073709551615"),
        &format!("/v1/executions/{id}/events?after=1000000"),
        &format!("/v1/executions/{id}/logs?iteration=4294967296"),
        &format!("/v1/executions/{id}/logs?limit=0"),
    ] {
        let reply = get(path);
        assert_eq!((reply.status, code(&reply).as_str()), (422, "parameter_out_of_range"), "{path}");
    }
    assert_eq!(code(&get("/v1/agents?limit=many")), "parameter_wrong");
    assert!(!house.down().contains("panicked"));
}

#[test]
fn an_idempotency_key_names_one_start_and_another_one_under_it_is_a_conflict() {
    let house = House::up(&cassette(2));
    let (_, key) = key(&house, "operator");
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let start = |body: &str| {
        let line = format!(
            "POST /v1/executions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: k"
        );
        ask(&house, &line, body.as_bytes())
    };
    let body = "{\"agent\":\"coder\",\"input\":{\"a\":1}}";
    assert_eq!((start(body).status, start(body).status), (201, 200), "the control: the same start twice is one");
    assert_eq!(
        start("{\"agent\":\"coder\",\"input\":{\"a\":1},\"max_iterations\":3}").status,
        200,
        "as its manifest says"
    );
    for other in
        ["{\"agent\":\"coder\",\"input\":{\"a\":2}}", "{\"agent\":\"coder\",\"input\":{\"a\":1},\"max_iterations\":2}"]
    {
        let reply = start(other);
        assert_eq!((reply.status, code(&reply).as_str()), (409, "idempotency_key_reused"), "{other}");
    }
    let listed = house.tenure(&["execution", "list", "-o", "json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn an_execution_that_did_not_complete_has_no_output_and_says_how_it_ended() {
    let house = House::up(&cassette(1));
    let (_, key) = key(&house, "viewer");
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let output = |input: &str| {
        let words = ["execute", "--agent", "coder", "--input", input, "-o", "json"];
        let id = house.tenure(&words).ok().json()["id"].as_str().unwrap().to_owned();
        let ended = house.wait(&id);
        (ended["status"].clone(), with_key(&house, &format!("GET /v1/executions/{id}/output"), &key, b""))
    };
    let (status, reply) = output("first");
    assert_eq!((status.as_str(), reply.status), (Some("completed"), 200), "the control");
    // The cassette has no answer for a second one.
    let (status, reply) = output("second");
    assert_eq!((status.as_str(), code(&reply).as_str()), (Some("failed"), "no_output"));
    assert!(reply.body.contains("failed (model_error)"), "{}", reply.body);
}

#[test]
fn bad_input_gets_its_code_and_changes_nothing() {
    let house = House::up(&cassette(1));
    let (_, key) = key(&house, "operator");
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let deep = format!("{{\"agent\":\"coder\",\"input\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let post = |path: &str, body: &[u8]| with_key(&house, &format!("POST {path}"), &key, body);
    for (path, body, wanted) in [
        ("/v1/executions", b"{\"agent\":".to_vec(), "body_not_json"),
        ("/v1/executions", b"{\"agent\":\"\xff\"}".to_vec(), "body_not_utf8"),
        ("/v1/executions", vec![b' '; 2 << 20], "body_too_large"),
        ("/v1/executions", deep.into_bytes(), "body_too_deep"),
        ("/v1/executions", b"{\"agent\":\"coder\",\"inptu\":1}".to_vec(), "body_wrong"),
        ("/v1/executions", b"[\"coder\",1,null]".to_vec(), "body_wrong"),
        ("/v1/executions", b"{\"agent\":\"codr\",\"input\":1}".to_vec(), "agent_unknown"),
        ("/v1/executions", b"{\"agent\":\"coder\",\"input\":1,\"max_iterations\":0}".to_vec(), "max_iterations_wrong"),
        ("/v1/agents", b"a: [".to_vec(), "manifest_invalid"),
        ("/v1/agents", AGENT.replace("spec:", "spec:\n  runtime:\n    model: gtp-4").into_bytes(), "model_unknown"),
        ("/v1/nothing", Vec::new(), "route_unknown"),
        ("/v1/status", Vec::new(), "method_wrong"),
    ] {
        assert_eq!(code(&post(path, &body)), wanted, "{path}");
    }
    let form = "POST /v1/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded";
    let form = ask(&house, &format!("{form}\r\nAuthorization: Bearer {key}"), b"{\"agent\":\"coder\",\"input\":1}");
    assert_eq!((form.status, code(&form).as_str()), (415, "media_type_wrong"));
    for (path, wanted) in [
        ("/v1/agents?stauts=idle", "parameter_wrong"),
        ("/v1/executions?since=yesterday", "parameter_wrong"),
        ("/v1/executions/exe_nothing", "execution_unknown"),
    ] {
        assert_eq!(code(&with_key(&house, &format!("GET {path}"), &key, b"")), wanted, "{path}");
    }
    assert_eq!(house.tenure(&["execution", "list", "-o", "json"]).ok().json(), serde_json::json!([]));
    assert_eq!(house.tenure(&["agent", "list", "-o", "json"]).ok().json().as_array().unwrap().len(), 1);
}

#[test]
fn an_event_stream_is_resumed_after_the_last_event_id_without_gap_or_repetition() {
    let house = House::up(&cassette(1));
    let (_, key) = key(&house, "viewer");
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "--agent", "coder", "--input", "1", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.wait(id);
    let ids = |after: Option<u64>| -> Vec<u64> {
        let more = after.map(|index| format!("\r\nLast-Event-ID: {index}")).unwrap_or_default();
        let head =
            format!("GET /v1/executions/{id}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}{more}");
        let reply = ask(&house, &head, b"");
        assert!(reply.head.contains("text/event-stream"), "{}", reply.head);
        reply.body.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.trim().parse().unwrap()).collect()
    };
    let all = ids(None);
    assert!(all.len() > 10 && all.is_sorted_by(|one, next| one < next), "{all:?}");
    let (seen, rest) = all.split_at(4);
    assert_eq!(ids(seen.last().copied()), rest);
    assert_eq!(ids(all.last().copied()), Vec::<u64>::new());
}

#[test]
fn a_slow_head_is_cut_and_others_are_served_meanwhile() {
    let house = House::up(&cassette(1));
    let mut slow = TcpStream::connect(house.url.trim_start_matches("http://")).unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: loc").unwrap();
    assert_eq!(ask(&house, "GET /health HTTP/1.1\r\nHost: localhost", b"").status, 200);
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[test]
fn another_user_of_this_host_is_no_owner_even_where_the_socket_lets_it_in() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::up(&cassette(1));
    house.tenure(&["status"]).ok();
    let program = house.path("tenure");
    std::fs::copy(env!("CARGO_BIN_EXE_tenure"), &program).unwrap();
    for (name, mode) in [("", 0o755), ("data", 0o755), ("data/tenure.sock", 0o666), ("tenure", 0o755)] {
        std::fs::set_permissions(house.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut other = std::process::Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg("status");
    other.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/").env("TENURE_DATA_DIR", house.path("data"));
    let answer = house.run(other);
    if answer.stderr.contains("setpriv:") {
        eprintln!("skipped: only root can become another user: {}", answer.stderr);
        return;
    }
    assert_eq!(answer.code, 7, "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stderr.contains("not uid 65534"), "{}", answer.stderr);
}
