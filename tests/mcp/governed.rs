//! A session's calls of an agent's MCP servers, by REST and by MCP: judged, held, approved, blocked, cut and passed on.
use crate::client::{Holder, manifest, no_network, program, text};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Say, ScriptedDaemon};

fn start() -> ScriptedDaemon {
    ScriptedDaemon::start(Arc::new(|_, _| Say::Text("fine".to_string())))
}

fn deploy(daemon: &Daemon) {
    let tools = json!(["agent.whoami", {"name": "post", "command": program("old")}, {"name": "next", "command": program("new")}]);
    daemon.deploy(&manifest("outside", tools, no_network()));
}

fn apply(daemon: &Daemon, rules: &str) {
    let file = daemon.data.with_extension("cedar");
    std::fs::write(&file, rules).expect("it can be written");
    daemon.ok(&["policy", "apply", file.to_str().expect("a path of ours is UTF-8")]);
}

#[test]
fn a_client_of_one_form_meets_servers_of_both_with_their_tools_resources_and_prompts() {
    let ScriptedDaemon { daemon, .. } = &start();
    deploy(daemon);
    let client = Holder::greeted(daemon, "outside", "/mcp");
    let tools = client.tools();
    for name in ["agent.whoami", "mcp.post.echo", "mcp.next.echo", "tenure.call_result"] {
        assert!(tools.iter().any(|tool| tool == name), "{name} is not in {tools:?}");
    }
    for server in ["post", "next"] {
        let said = client.call(&format!("mcp.{server}.echo"), json!({"text": "hello"}));
        assert!(text(&said) == "hello" && said["isError"] != true, "{said}");
        let sum = client.call(&format!("mcp_{server}_add"), json!({"a": 1, "b": 2}));
        assert_eq!(sum["structuredContent"], json!({"sum": 3}), "structured, and by a name without dots: {sum}");
        let failed = client.call(&format!("mcp.{server}.fail"), json!({}));
        assert_eq!((text(&failed), &failed["isError"]), ("it cannot be done", &json!(true)), "{failed}");
    }
    let wrong = client.call("mcp.post.echo", json!({"words": "x"}));
    assert!(wrong["isError"] == true && text(&wrong).contains("text"), "{wrong}");

    let resources = client.result("resources/list", json!({}));
    let uris: Vec<&str> =
        resources["resources"].as_array().unwrap().iter().filter_map(|entry| entry["uri"].as_str()).collect();
    assert_eq!(uris.len(), 6, "{uris:?}");
    let read = client.result("resources/read", json!({"uri": "tenure://mcp/next/note://1"}));
    assert_eq!(
        read["contents"][0],
        json!({"uri": "tenure://mcp/next/note://1", "mimeType": "text/plain", "text": "the note note://1"})
    );
    let none = client.rpc("resources/read", json!({"uri": "tenure://mcp/none/note://1"}));
    assert!(none.body["error"].is_object(), "{}", none.body);
    let prompt = client.result("prompts/get", json!({"name": "post.greet", "arguments": {"who": "Ada"}}));
    assert_eq!(prompt["messages"][0]["content"]["text"], "Greet Ada");

    let long = client.call("mcp.post.big", json!({}));
    assert!(long["structuredContent"]["bytes"].as_u64() > Some(200_000), "{}", long["structuredContent"]);
    let link = long["content"][1]["uri"].as_str().expect("a link to the whole");
    let whole = client.result("resources/read", json!({"uri": link}));
    let whole: Value = serde_json::from_str(whole["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(whole["content"][0]["text"].as_str().map(str::len), Some(200_000));

    let one = Holder::greeted(daemon, "outside", "/mcp/next");
    assert_eq!(one.tools(), ["echo", "send", "add", "fail", "slow", "big", "die", "where", "tenure.call_result"]);
    assert_eq!(text(&one.call("echo", json!({"text": "by its own name"}))), "by its own name");
    assert_eq!(one.result("resources/read", json!({"uri": "note://1"}))["contents"][0]["uri"], "note://1");
    assert_eq!(one.rpc("tools/list", json!({})).status, 200);
    assert_eq!(Holder::of(daemon, "outside").request("POST", "/mcp/none", "{}").status, 404);
    daemon.ok(&["audit", "verify"]);
}

#[test]
fn rules_that_name_a_tool_and_its_arguments_block_it_hold_it_and_let_it_go() {
    let ScriptedDaemon { daemon, .. } = &start();
    deploy(daemon);
    apply(
        daemon,
        r#"
@id("mail_leaves_with_a_word")
@verdict("approval_required")
@match("{capability = 'mcp.post.send', input = {to = 'a@example.com'}}")
@not_match("{capability = 'mcp.post.echo', input = {text = 'a'}}")
permit(principal, action == Action::"mcp.post.send", resource);

@id("mail_leaves_to_nobody_else")
@reason("mail goes to example.com alone")
forbid(principal, action == Action::"mcp.post.send", resource)
unless { context.input has to && context.input.to like "*@example.com" };

@id("the_next_one_only_reads")
forbid(principal, action in Action::"mcp.next.*", resource)
unless { action == Action::"mcp.next.echo" || action == Action::"mcp.next.tools/list" };
"#,
    );
    let client = Holder::greeted(daemon, "outside", "/mcp");
    assert_eq!(text(&client.call("mcp.post.echo", json!({"text": "free"}))), "free", "the control: what no rule names");
    assert_eq!(text(&client.call("mcp.next.echo", json!({"text": "free"}))), "free");
    let blocked = client.call("mcp.next.add", json!({"a": 1, "b": 1}));
    assert!(blocked["isError"] == true && blocked["structuredContent"]["status"] == "refused", "{blocked}");
    let elsewhere = client.call("mcp.post.send", json!({"to": "a@evil.example"}));
    assert!(text(&elsewhere).contains("mail goes to example.com alone"), "{elsewhere}");

    let held = client.call("mcp.post.send", json!({"to": "a@example.com"}));
    let structured = &held["structuredContent"];
    assert_eq!(structured["status"], "waiting", "{held}");
    let (call, approval) = (structured["call"].as_str().unwrap(), structured["approval"].as_str().unwrap());
    let card = daemon.ok(&["approval", "show", approval]);
    assert!(card.contains("mcp.post.send") || card.contains("MCP server post"), "{card}");
    daemon.ok(&["approval", "approve", approval]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let sent = loop {
        let sent = client.call("tenure.call_result", json!({"call": call, "wait_ms": 5000}));
        if text(&sent) == "sent to a@example.com" || Instant::now() > deadline {
            break sent;
        }
    };
    assert_eq!(text(&sent), "sent to a@example.com");
    let agent = daemon.json(&["agent", "get", "outside"]);
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    assert_eq!(std::fs::read_to_string(work.join("sent.txt")).expect("it was sent"), "a@example.com\n");

    let check = daemon.ok(&[
        "policy",
        "check",
        "--agent",
        "outside",
        "--capability",
        "mcp.post.send",
        "--input",
        r#"{"to": "b@evil.example"}"#,
    ]);
    assert!(check.contains("blocked") && check.contains("mail_leaves_to_nobody_else"), "{check}");
    let file = daemon.data.with_extension("wrong.cedar");
    std::fs::write(&file, r#"forbid(principal, action == Action::"mpc.post.send", resource);"#).unwrap();
    let refused = daemon.run(&["policy", "apply", file.to_str().expect("a path of ours is UTF-8")]);
    assert!(!refused.status.success(), "a misspelt action is refused");
}

#[test]
fn what_waits_or_runs_when_the_daemon_dies_is_done_at_most_once() {
    let mut scripted = start();
    let daemon = &mut scripted.daemon;
    deploy(daemon);
    let client = Holder::greeted(daemon, "outside", "/mcp");
    client.call("mcp.post.send", json!({"to": "first"}));
    let slow = client
        .result("tools/call", json!({"name": "mcp.post.slow", "arguments": {}, "_meta": {"tenure.dev/wait_ms": 500}}));
    let call = slow["structuredContent"]["call"].as_str().expect("it has not ended").to_string();
    daemon.kill();
    daemon.start_again();
    let client = Holder::of(daemon, "outside");
    let deadline = Instant::now() + Duration::from_secs(60);
    let ended = loop {
        let seen = client.request("GET", &format!("/v1/agent/calls/{call}?wait_ms=2000"), "").body;
        if seen["state"] == "ended" || Instant::now() > deadline {
            break seen;
        }
    };
    assert_eq!(ended["outcome"], "lost", "it is not repeated: {ended}");
    let agent = daemon.json(&["agent", "get", "outside"]);
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    assert_eq!(std::fs::read_to_string(work.join("sent.txt")).expect("it was sent"), "first\n");
}
