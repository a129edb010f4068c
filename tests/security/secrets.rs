//! No agent, program, model or reader of records ever gets the value of a secret, though a server gives it back in every spelling.
use crate::office::Office;
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get};
use data_encoding::{BASE64, BASE64URL, HEXLOWER};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path as File;
use std::sync::{Arc, Mutex};
use tests::scripted::{Say, said};

const VALUE: &str = "tok/en+\"7d1f & more\" of it";
/// What a server says that is no secret: where it is found, the other would be too.
const CONTROL: &str = "A-WORD-THAT-IS-NO-SECRET";
const SPELLINGS: [&str; 7] = ["plain", "base64", "base64url", "shifted", "percent", "json", "hex"];

fn spelled(how: &str, value: &str) -> String {
    match how {
        "base64" => BASE64.encode(value.as_bytes()),
        "base64url" => BASE64URL.encode(value.as_bytes()),
        "shifted" => BASE64.encode(format!("u:{value}:x").as_bytes()),
        "percent" => value
            .bytes()
            .map(
                |byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") },
            )
            .collect(),
        "json" => serde_json::to_string(&json!({ "echo": value })).expect("JSON"),
        "hex" => HEXLOWER.encode(value.as_bytes()),
        _ => value.to_string(),
    }
}

/// A server on loopback that gives back what it is sent, and the value itself to whoever asks, in two chunks.
struct Outside {
    address: SocketAddr,
    /// The authorizations that it was sent.
    sent: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Outside {
    fn serve() -> Outside {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free loopback port");
        let address = listener.local_addr().expect("it is bound");
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&sent);
        let echo = move |Path(how): Path<String>, headers: HeaderMap| {
            let text =
                |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
            let authorization = text("authorization");
            heard.lock().expect("nobody panicked").push(authorization.clone());
            let body = format!("{CONTROL} {}", spelled(&how, authorization.trim_start_matches("Bearer ")));
            async move { ([("x-echo", authorization)], body) }
        };
        let leak = |Path(how): Path<String>| async move {
            let text = format!("{CONTROL} {}\n", spelled(&how, VALUE));
            let (one, two) = text.split_at(CONTROL.len() + 6);
            let chunks = [one.to_string(), two.to_string()].map(Ok::<_, std::io::Error>);
            Body::from_stream(futures_util::stream::iter(chunks))
        };
        // To where nobody can follow, with so much before the value that only its beginning is shown of what is cut.
        let away = |headers: HeaderMap| async move {
            let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let value = authorization.trim_start_matches("Bearer ");
            (StatusCode::FOUND, [("location", format!("ftp://outside/{}{value}", "a".repeat(225)))])
        };
        let router =
            Router::new().route("/echo/{how}", any(echo)).route("/leak/{how}", get(leak)).route("/away", get(away));
        runtime.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Outside { address, sent, _runtime: runtime }
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().expect("nobody panicked").clone()
    }
}

fn manifest(name: &str, address: SocketAddr) -> String {
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  task: {{instruction: Do what the input says.}}\n  \
         execution: {{mode: one-shot}}\n  tools: [\"process.run\", \"network.*\", \"secrets.*\"]\n  security:\n    \
         network: {{mode: allow, allowlist: [\"{address}\"]}}\n"
    )
}

/// Every file below a folder in which these bytes stand.
fn files_with(folder: &File, wanted: &[String], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // What a jail is shown links to the host's terminals, which would be waited for.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files_with(&path, wanted, found);
        }
        if !kind.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        for word in wanted.iter().filter(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes())) {
            found.push(format!("{}: {word}", path.display()));
        }
    }
}

/// All that would tell the value: the spellings, without what stands around it.
fn telling() -> Vec<String> {
    let inner = serde_json::to_string(VALUE).expect("JSON");
    let mut all: Vec<String> = SPELLINGS.iter().filter(|how| **how != "json").map(|how| spelled(how, VALUE)).collect();
    all.push(inner.trim_matches('"').to_string());
    all
}

fn keep(office: &Office, words: &[&str], value: &str) {
    let file = office.folder.path().join("value");
    std::fs::write(&file, value).expect("it can be written");
    let from = file.to_str().expect("UTF-8").to_string();
    let all: Vec<&str> = words.iter().copied().chain(["--from-file", &from]).collect();
    office.daemon.ok(&all);
    std::fs::remove_file(file).expect("it was there");
}

#[test]
fn a_value_is_sent_where_it_is_bound_and_is_found_nowhere_in_any_spelling() {
    let outside = Outside::serve();
    let url = |path: &str| format!("http://{}/{path}", outside.address);
    let heard: Arc<Mutex<String>> = Arc::default();
    let (all, urls) =
        (Arc::clone(&heard), SPELLINGS.map(|how| (url(&format!("echo/{how}")), url(&format!("leak/{how}")))));
    let office = Office::open(Arc::new(move |request, answered| {
        *all.lock().expect("nobody panicked") = said(request);
        match urls.get(answered) {
            Some((echo, leak)) => Say::Calls(vec![
                ("network.credentialed_request", json!({"url": echo, "secret": "github"})),
                ("network.http_request", json!({"url": leak})),
                ("process.run", json!({"command": "curl", "args": ["-sS", "--max-time", "20", leak]})),
                ("secrets.list", json!({})),
            ]),
            None => Say::Text(format!("The token is {VALUE}.")),
        }
    }));
    assert!(office.deploy(&manifest("clerk", outside.address)).status.success());
    keep(&office, &["secret", "set", "github"], VALUE);
    office.daemon.ok(&["secret", "bind", "github", "--agent", "clerk", "--host", &outside.address.to_string()]);
    let record = office.execute("clerk", "do it");
    let id = record["id"].as_str().expect("an id").to_string();
    // The control: the server got it, and what it said arrived.
    assert_eq!(outside.sent(), vec![format!("Bearer {VALUE}"); SPELLINGS.len()]);
    let model = heard.lock().expect("nobody panicked").clone();
    assert!(model.matches(CONTROL).count() >= SPELLINGS.len() * 3, "{model}");
    assert!(model.contains("[secret github]"), "{model}");
    let export = office.folder.path().join("export.jsonl");
    let mut shown = vec![
        ("the model".to_string(), model),
        ("logs".to_string(), office.daemon.ok(&["execution", "logs", &id])),
        ("execution".to_string(), office.daemon.ok(&["execution", "get", &id, "-o", "json"])),
        ("tail".to_string(), office.daemon.ok(&["audit", "tail", "--limit", "500", "-o", "json"])),
        ("secret".to_string(), office.daemon.ok(&["secret", "show", "github", "-o", "json"])),
        ("log".to_string(), office.daemon.log()),
    ];
    office.daemon.ok(&["audit", "export", "--payloads", "--out", export.to_str().expect("UTF-8")]);
    shown.push(("export".to_string(), std::fs::read_to_string(&export).unwrap_or_default()));
    for (what, text) in &shown {
        for word in telling() {
            assert!(!text.contains(&word), "{what} holds {word}:\n{text}");
        }
    }
    let mut found = Vec::new();
    files_with(&office.daemon.data, &[CONTROL.to_string()], &mut found);
    assert!(!found.is_empty(), "the control: what the server said is in the data directory");
    found.clear();
    files_with(&office.daemon.data, &telling(), &mut found);
    assert!(found.is_empty(), "{found:?}");
    office.holds();
}

#[test]
fn a_secret_is_of_no_use_to_another_agent_at_another_host_or_once_it_was_taken_back() {
    let (outside, other) = (Outside::serve(), Outside::serve());
    let ask = |address: SocketAddr| {
        ("network.credentialed_request", json!({"url": format!("http://{address}/echo/plain"), "secret": "github"}))
    };
    let (here, there) = (ask(outside.address), ask(other.address));
    let office = Office::open(Arc::new(move |request, answered| match answered {
        0 => Say::Calls(vec![
            if said(request).contains("elsewhere") { there.clone() } else { here.clone() },
            ("secrets.list", json!({})),
        ]),
        _ => Say::Text(format!("heard: {}", said(request))),
    }));
    for name in ["clerk", "thief"] {
        let both =
            manifest(name, outside.address).replace("allowlist: [", &format!("allowlist: [\"{}\", ", other.address));
        assert!(office.deploy(&both).status.success());
    }
    keep(&office, &["secret", "set", "github"], VALUE);
    office.daemon.ok(&["secret", "bind", "github", "--agent", "clerk", "--host", &outside.address.to_string()]);
    let run = |agent: &str, input: &str| -> String {
        let record: Value = office.execute(agent, input);
        office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id")])
    };
    let stolen = run("thief", "here");
    assert!(stolen.contains("secret_unbound") || stolen.contains("blocked"), "{stolen}");
    assert!(!stolen.contains("github\",\"capability"), "another agent does not see it in its list: {stolen}");
    let elsewhere = run("clerk", "elsewhere");
    assert!(elsewhere.contains("secret_unbound") || elsewhere.contains("blocked"), "{elsewhere}");
    assert!(outside.sent().is_empty() && other.sent().is_empty(), "nothing was sent by either");
    run("clerk", "here");
    assert_eq!(outside.sent().len(), 1, "the control: bound, it is sent");
    office.daemon.ok(&["secret", "unbind", "github", "--agent", "clerk"]);
    run("clerk", "here");
    assert_eq!(outside.sent().len(), 1, "taken back, it is not");
    office.holds();
}

#[test]
fn a_redirect_that_is_cut_shows_no_part_of_a_value() {
    let outside = Outside::serve();
    let url = format!("http://{}/away", outside.address);
    let office = Office::open(Arc::new(move |_, answered| match answered {
        0 => Say::Calls(vec![("network.credentialed_request", json!({"url": url, "secret": "github"}))]),
        _ => Say::Text("done".to_string()),
    }));
    assert!(office.deploy(&manifest("clerk", outside.address)).status.success());
    keep(&office, &["secret", "set", "github"], VALUE);
    office.daemon.ok(&["secret", "bind", "github", "--agent", "clerk", "--host", &outside.address.to_string()]);
    let record = office.execute("clerk", "do it");
    let logs = office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id"), "-o", "json"]);
    assert!(logs.contains("which cannot be followed"), "the control: it was redirected: {logs}");
    assert!(!logs.contains(&VALUE[..6]), "{logs}");
}
