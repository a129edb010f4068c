//! The built-in loop with an MCP server of its agent's.
use crate::client::{Remote, manifest, no_network, program};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::daemon::Daemon;
use tests::scripted::{self as model, Say, Script, ScriptedDaemon};

const WITHIN: Duration = Duration::from_secs(60);

/// What the model was offered and told, each time that it was asked.
type Heard = Arc<Mutex<Vec<(Value, String)>>>;

/// A model that makes these calls one after another.
fn calling(heard: &Heard, calls: Vec<(&'static str, Value)>) -> Script {
    let heard = Arc::clone(heard);
    Arc::new(move |request, answered| {
        let told = model::heard(request);
        heard.lock().expect("no test thread panicked with it").push((request["tools"].clone(), told));
        match calls.get(answered) {
            Some(call) => Say::Calls(vec![call.clone()]),
            None => Say::Text("Done.".to_string()),
        }
    })
}

fn execute(daemon: &Daemon, agent: &str) -> (String, Value) {
    let started = daemon.json(&["execute", "--agent", agent, "--input", "go"]);
    let id = started["id"].as_str().expect("an id").to_string();
    let record = daemon.ended(&id, WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}\n{}", daemon.log());
    (id, record)
}

#[test]
fn the_model_is_offered_a_servers_tools_calls_them_and_is_told_what_they_say() {
    for (era, protocol) in [("old", "2025-11-25"), ("new", "2026-07-28")] {
        let heard = Heard::default();
        let calls = vec![
            ("mcp.post.echo", json!({"text": "hello there"})),
            ("mcp.post.send", json!({"body": "x"})),
            ("mcp.post.sent", json!({})),
            ("mcp.post.send", json!({"to": "ada"})),
            ("mcp.post.fail", json!({})),
            ("mcp.gone.echo", json!({})),
        ];
        let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(calling(&heard, calls));
        let tools = json!([
            "filesystem.read",
            {"name": "post", "command": program(era), "tools": ["echo", "send", "fail"]},
            {"name": "gone", "command": ["no-such-program"]},
        ]);
        let agent = daemon.deploy(&manifest("poster", tools, no_network()));
        let (id, _) = execute(daemon, "poster");
        let heard = heard.lock().expect("no test thread panicked with it");
        let offered = heard[0].0.to_string();
        for name in ["mcp_post_echo", "mcp_post_send", "mcp_post_fail"] {
            assert!(offered.contains(name), "{name} is not offered: {offered}");
        }
        assert!(!offered.contains("mcp_post_add"), "what the manifest leaves out is not offered");
        for (turn, words) in [
            (0, &["the MCP server gone cannot be used", "no-such-program"][..]),
            (1, &["hello there"]),
            (2, &["\"to\" is a required property"]),
            (3, &["there is no tool `sent`", "mcp.post.send"]),
            (4, &["sent to ada"]),
            (5, &["failed:tool_error", "it cannot be done"]),
            (6, &["what tools `gone` has is not known"]),
        ] {
            for word in words {
                assert!(
                    heard[turn].1.contains(word) || heard[turn].0.to_string().contains(word),
                    "turn {turn}: `{word}`: {}",
                    heard[turn].1
                );
            }
        }
        let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
        assert_eq!(
            std::fs::read_to_string(work.join("sent.txt")).expect("it was sent"),
            "ada\n",
            "once, and only what fits"
        );
        let logs = daemon.json(&["execution", "logs", &id]).to_string();
        assert!(logs.contains("mcp.post.tools/list") && logs.contains(protocol), "{logs}");
        let records = daemon.json(&["audit", "tail", "--limit", "500"]).to_string();
        for word in ["iteration.tools_asked", "manifest:validation", "mcp_servers_are_told"] {
            assert!(records.contains(word), "the ledger lacks {word}");
        }
        daemon.ok(&["audit", "verify"]);
    }
}

#[test]
fn a_server_behind_the_egress_is_reached_where_its_host_is_listed_and_nowhere_else() {
    for era in ["old", "new"] {
        let remote = Remote::start(era);
        let heard = Heard::default();
        let calls = vec![("mcp.far.echo", json!({"text": "from afar"})), ("mcp.far.add", json!({"a": 2, "b": 3}))];
        let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(calling(&heard, calls));
        let server = json!([{"name": "far", "url": format!("http://127.0.0.1:{}/mcp", remote.port)}]);
        let listed = |port: u16| json!({"mode": "allow", "allowlist": [format!("127.0.0.1:{port}")]});
        daemon.deploy(&manifest("near", server.clone(), listed(remote.port)));
        daemon.deploy(&manifest("shut", server, listed(1)));
        execute(daemon, "near");
        let told: Vec<String> =
            heard.lock().expect("no test thread panicked with it").drain(..).map(|heard| heard.1).collect();
        assert!(told[1].contains("from afar") && told[2].contains('5'), "{era}: {told:#?}");
        execute(daemon, "shut");
        let (offered, told) = heard.lock().expect("no test thread panicked with it")[0].clone();
        assert!(!offered.to_string().contains("mcp_far"), "{offered}");
        assert!(told.contains("far cannot be used") || told.contains("go"), "{told}");
        let events = daemon.json(&["audit", "tail", "--limit", "500"]).to_string();
        assert!(events.contains("network.refused"), "what the egress kept from it is recorded");
    }
}
