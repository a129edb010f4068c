//! MCP servers as programs of a jail: both forms of the protocol, and servers that lie, die, flood and never answer.
use crate::house::{House, PATIENCE, processes};
use serde_json::{Value, json};
use std::time::Instant;
use tenure_core::call::Outcome;
use tenure_core::plan::{McpAt, McpServer};
use tenure_wire::frame::{CallOutcome, FromWorker, LeasedCall, ToWorker};

const SERVER: &str = include_str!("../../../../tests/mcp/fixture/server.py");

/// A jail whose agent has these programs as its servers `s0`, `s1` and so on.
struct Served {
    house: House,
    servers: Vec<McpServer>,
}

impl Served {
    async fn by(commands: &[&[&str]]) -> Served {
        let server = |(number, command): (usize, &&[&str])| McpServer {
            name: format!("s{number}"),
            at: McpAt::Command(command.iter().map(|word| (*word).to_owned()).collect()),
            login: None,
        };
        let servers = commands.iter().enumerate().map(server).collect();
        let mut served = Served { house: House::new().await, servers };
        served.ask("filesystem.write", json!({"path": "server.py", "content": SERVER})).await;
        served
    }

    fn call(&mut self, capability: &str, arguments: Value) -> LeasedCall {
        let mut call = self.house.call(capability, arguments);
        call.confinement.mcp = self.servers.clone();
        call
    }

    async fn ask(&mut self, capability: &str, arguments: Value) -> CallOutcome {
        let call = self.call(capability, arguments);
        self.house.perform(&call).await
    }

    async fn done(&mut self, capability: &str, arguments: Value) -> Value {
        let outcome = self.ask(capability, arguments).await;
        assert!(matches!(outcome.outcome, Outcome::Done { .. }), "{capability}: {outcome:?}");
        outcome.result
    }

    async fn failed(&mut self, capability: &str) -> (String, String) {
        let outcome = self.ask(capability, json!({})).await;
        let Outcome::Failed { code } = outcome.outcome else { panic!("{capability}: {outcome:?}") };
        (code, outcome.result["error"].as_str().unwrap_or_default().to_owned())
    }
}

const OLD: &[&str] = &["python3", "server.py"];
const NEW: &[&str] = &["python3", "server.py", "--era", "new"];

#[tokio::test]
async fn servers_of_both_forms_are_listed_called_read_and_prompted_inside_the_jail() {
    let mut served = Served::by(&[OLD, NEW]).await;
    for (name, protocol) in [("s0", "2025-11-25"), ("s1", "2026-07-28")] {
        let of = |word: &str| format!("mcp.{name}.{word}");
        let list = served.done(&of("tools/list"), json!({})).await;
        assert_eq!(list["server"], json!({"name": "fixture", "version": "1", "protocol": protocol}));
        let names: Vec<&str> =
            list["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, ["echo", "send", "add", "fail", "slow", "big", "die", "where"], "all pages, in order");
        let left_out: Vec<&str> =
            list["left_out"].as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
        assert_eq!(left_out, ["bad name", "tools/list"]);
        let said = served.done(&of("echo"), json!({"text": "grüezi\n"})).await;
        assert_eq!(said, json!({"content": [{"type": "text", "text": "grüezi\n"}]}));
        assert_eq!(served.done(&of("add"), json!({"a": 1, "b": 2})).await["structuredContent"], json!({"sum": 3}));
        let resources = served.done(&of("resources/list"), json!({})).await;
        assert_eq!(resources["resources"].as_array().map(Vec::len), Some(3));
        let read = served.done(&of("resources/read"), json!({"uri": "note://2"})).await;
        assert_eq!(read["contents"][0]["text"], "the note note://2");
        let prompt = served.done(&of("prompts/get"), json!({"name": "greet", "arguments": {"who": "Ada"}})).await;
        assert_eq!(prompt["messages"][0]["content"]["text"], "Greet Ada");
        let (code, told) = served.failed(&of("fail")).await;
        assert_eq!((code.as_str(), told.as_str()), ("tool_error", "it cannot be done"));
        let found: Value =
            serde_json::from_str(served.done(&of("where"), json!({})).await["content"][0]["text"].as_str().unwrap())
                .unwrap();
        assert_eq!((&found["cwd"], &found["host"]), (&json!("/workspace"), &json!(false)), "it runs in the jail");
    }
    served.house.release().await;
    // Tests beside this one have such servers too, for a while.
    for _ in 0..300 {
        if processes("server.py").is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("servers end with their jail");
}

#[tokio::test]
async fn a_server_that_ends_is_said_to_and_started_anew_by_the_next_call() {
    let mut served = Served::by(&[OLD]).await;
    let (code, told) = served.failed("mcp.s0.die").await;
    assert_eq!(code, "server_lost");
    for words in ["exit code 3", "no more", "not known"] {
        assert!(told.contains(words), "{told}");
    }
    served.done("mcp.s0.echo", json!({"text": "again"})).await;
}

#[tokio::test]
async fn a_call_that_is_taken_back_ends_shows_how_far_it_came_and_leaves_its_server_alive() {
    let mut served = Served::by(&[OLD]).await;
    served.done("mcp.s0.echo", json!({"text": "a"})).await;
    let slow = served.call("mcp.s0.slow", json!({}));
    served.house.begin(&slow).await;
    served.house.printed(slow.lease, "0/60 sleeping").await;
    let begun = Instant::now();
    served.house.send(&ToWorker::Cancel { lease: slow.lease }).await;
    let outcome = served.house.outcome(slow.lease).await;
    assert_eq!(outcome.outcome, Outcome::Killed, "{outcome:?}");
    assert!(begun.elapsed() < PATIENCE);
    let short = LeasedCall { deadline_ms: 500, ..served.call("mcp.s0.slow", json!({})) };
    let outcome = served.house.perform(&short).await;
    assert_eq!(outcome.outcome, Outcome::TimedOut, "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_lies_floods_or_is_none_fails_its_call_and_harms_no_other() {
    let flood = "import sys\nwhile True: sys.stdout.write('a' * 65536)";
    let lies = "import json,sys\nfor line in sys.stdin:\n m=json.loads(line)\n print(json.dumps({'jsonrpc':'2.0','id':m.get('id',0)+1,'result':{}}))\n print('{\"id\":'*999)\n print(json.dumps({'jsonrpc':'2.0','id':m.get('id',0),'result':{'protocolVersion':'1999-01-01'}}), flush=True)";
    let mut served = Served::by(&[
        &["python3", "-c", flood],
        &["python3", "-c", lies],
        &["no-such-program"],
        &["python3", "-c", "import sys; sys.exit('no config')"],
        OLD,
    ])
    .await;
    for (server, code, words) in [
        ("s0", "server_lost", "4194304 bytes"),
        ("s1", "protocol", "1999-01-01"),
        ("s2", "not_found", "no-such-program"),
        ("s3", "server_lost", "no config"),
        ("s9", "unknown_server", "s9"),
    ] {
        let (found, told) = served.failed(&format!("mcp.{server}.tools/list")).await;
        assert!(found == code && told.contains(words), "{server}: {found}: {told}");
    }
    served.done("mcp.s4.echo", json!({"text": "the control: an honest one is served"})).await;
}

#[tokio::test]
async fn a_long_answer_comes_whole_and_calls_of_one_server_run_side_by_side() {
    let mut served = Served::by(&[OLD]).await;
    let big = served.done("mcp.s0.big", json!({})).await;
    assert_eq!(big["content"][0]["text"].as_str().map(str::len), Some(200_000));
    let stray = served.house.until(|frame| matches!(frame, FromWorker::Outcome(_)).then_some(()));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), stray).await.is_err(), "one call, one outcome");
}
