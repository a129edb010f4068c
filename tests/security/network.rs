//! An agent's programs reach what its manifest lets them reach, by the worker's proxy alone; each refusal is in the ledger.
use crate::office::Office;
use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tests::scripted::{Say, said};

const GREETING: &str = "HELLO-FROM-OUTSIDE";

/// A server on loopback that greets, and that sends to where cloud hosts keep their keys.
struct Outside {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Outside {
    fn serve() -> Outside {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free loopback port");
        let address = listener.local_addr().expect("it is bound");
        let away = || async { Redirect::temporary("http://169.254.169.254/latest/meta-data/") };
        let router = Router::new().route("/", get(|| async { GREETING })).route("/away", get(away));
        runtime.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Outside { address, _runtime: runtime }
    }
}

fn manifest(network: &str) -> String {
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: clerk}}\nspec:\n  task: {{instruction: Do what the input says.}}\n  \
         execution: {{mode: one-shot}}\n  tools: [\"process.run\", \"network.*\"]\n  security:\n    network: {network}\n"
    )
}

fn curl(url: &str) -> (&'static str, Value) {
    ("process.run", json!({"command": "curl", "args": ["-sS", "--max-time", "20", url]}))
}

fn events(office: &Office, kind: &str) -> Vec<Value> {
    let tail = office.daemon.json(&["audit", "tail", "--limit", "200"]);
    let all = tail.as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|record| record["event"]["kind"] == kind || record["kind"] == kind).collect()
}

#[test]
fn programs_and_calls_reach_what_the_allowlist_names_and_every_refusal_is_in_the_ledger_with_its_rule() {
    let (named, other) = (Outside::serve(), Outside::serve());
    let (there, elsewhere) = (format!("http://{}/", named.address), format!("http://{}/", other.address));
    let (plain, away) = (there.clone(), format!("{there}away"));
    let office = Office::open(Arc::new(move |request, answered| match answered {
        0 => Say::Calls(vec![
            curl(&plain),
            ("network.http_request", json!({"url": plain})),
            ("network.port_check", json!({"host": "127.0.0.1", "port": named.address.port()})),
        ]),
        1 => {
            let reached = said(request).matches(GREETING).count();
            assert_eq!(reached, 2, "{}", said(request));
            Say::Calls(vec![
                curl(&elsewhere),
                curl("http://169.254.169.254/"),
                ("network.http_request", json!({"url": elsewhere})),
                ("network.http_request", json!({"url": away})),
            ])
        }
        _ => Say::Text(format!("reached {} times", said(request).matches(GREETING).count())),
    }));
    let list = format!("{{mode: allow, allowlist: [\"{}\"]}}", named.address);
    let deployed = office.deploy(&manifest(&list));
    assert!(deployed.status.success(), "{}", String::from_utf8_lossy(&deployed.stderr));
    let record = office.execute("clerk", "x");
    let id = record["id"].as_str().expect("an id");
    let logs = office.daemon.ok(&["execution", "logs", id]);
    assert!(logs.contains("reached 2 times"), "{logs}");
    let refused = events(&office, "network.refused");
    let told = serde_json::to_string(&refused).expect("JSON");
    assert!(told.contains(&other.address.port().to_string()), "{told}");
    assert!(told.contains("169.254.169.254"), "{told}");
    let released = serde_json::to_string(&events(&office, "iteration.released")).expect("JSON");
    assert!(released.contains("received_bytes"), "{released}");
    office.holds();
}

#[test]
fn without_a_network_in_its_manifest_nothing_is_reached_and_the_same_program_with_one_reaches_it() {
    let outside = Outside::serve();
    let url = format!("http://{}/", outside.address);
    let (first, second) = (url.clone(), url);
    let office = Office::open(Arc::new(move |request, answered| match answered {
        0 => Say::Calls(vec![curl(&first), ("network.http_request", json!({"url": second}))]),
        _ => Say::Text(format!("reached: {}", said(request).contains(GREETING))),
    }));
    for (network, reached) in [
        ("{mode: none}".to_string(), "reached: false"),
        ("{mode: deny}".to_string(), "reached: false"),
        (format!("{{mode: deny, allowlist: [\"{}\"]}}", outside.address), "reached: true"),
        (format!("{{mode: allow, allowlist: [\"{0}\"], blocklist: [\"{0}\"]}}", outside.address), "reached: false"),
    ] {
        let deployed = office.deploy(&manifest(&network));
        assert!(deployed.status.success(), "{}", String::from_utf8_lossy(&deployed.stderr));
        let record = office.execute("clerk", "x");
        let logs = office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id")]);
        assert!(logs.contains(reached), "{network}: {logs}");
    }
    office.holds();
}
