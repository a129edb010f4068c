//! An MCP client on the other side of a pipe.
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::house::{House, cassette};

const OUTSIDE: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: outside}
spec:
  task: {instruction: It is told by its own program.}
  tools: [state.*, agent.*]
";

fn house() -> (House, String) {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", OUTSIDE);
    house.tenure(&["agent", "deploy", &file]).ok();
    let key = rotated(&house);
    (house, key)
}

fn rotated(house: &House) -> String {
    let key = house.tenure(&["agent", "rotate", "outside", "-o", "json"]).ok().json();
    key["secret"].as_str().unwrap().to_string()
}

/// The bridge, as a client starts it.
struct Bridge {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Bridge {
    fn start(house: &House, words: &[&str], key: &str) -> Bridge {
        let mut command = house.command(&[&["mcp"], words].concat());
        command.env("TENURE_API_KEY", key).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Bridge { child, input, output }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn heard(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, id: u32, method: &str, params: &Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        let answer = self.heard();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn initialize(&mut self) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        let answer = self.ask(1, "initialize", &params);
        self.say(r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#);
        answer
    }

    fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn sessions(house: &House) -> Value {
    house.tenure(&["session", "list", "-o", "json"]).ok().json()
}

#[test]
fn a_client_on_a_pipe_initializes_lists_and_calls_and_its_session_ends_with_it() {
    let (house, key) = house();
    for words in [&[][..], &["--base-url", &house.url]] {
        let mut bridge = Bridge::start(&house, words, &key);
        assert_eq!(bridge.initialize()["result"]["serverInfo"]["name"], "tenure");
        let listed = bridge.ask(2, "tools/list", &json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap();
        assert!(tools.iter().any(|tool| tool["name"] == "state.persistent.set"), "{listed}");
        assert!(!tools.iter().any(|tool| tool["name"] == "process.run"), "{listed}");
        let set = json!({"name": "state.persistent.set", "arguments": {"key": "total", "value": 3}});
        let done = bridge.ask(3, "tools/call", &set);
        assert_eq!(done["result"]["structuredContent"]["status"], "done", "{done}");
        assert_eq!(sessions(&house)[0]["status"], "live");
        bridge.end();
        assert_eq!(sessions(&house)[0]["ending"], "closed", "{}", sessions(&house));
    }
    assert_eq!(house.tenure(&["state", "get", "outside", "total"]).ok().raw.trim(), "3");
}

#[test]
fn what_is_no_message_is_said_in_the_protocol_and_a_session_that_was_closed_is_opened_again() {
    let (house, key) = house();
    let mut bridge = Bridge::start(&house, &[], &key);
    bridge.initialize();
    bridge.say("no json");
    assert_eq!(bridge.heard()["error"]["code"], -32700);
    bridge.say(&format!("{{\"jsonrpc\": \"2.0\", \"id\": 9, \"x\": \"{}\"}}", "x".repeat(2 << 20)));
    let long = bridge.heard();
    assert!(long["error"]["message"].as_str().unwrap().contains("1 MiB"), "{long}");
    let id = sessions(&house)[0]["id"].as_str().unwrap().to_string();
    house.tenure(&["session", "close", &id]).ok();
    let whoami = bridge.ask(2, "tools/call", &json!({"name": "agent.whoami", "arguments": {}}));
    assert_eq!(whoami["result"]["structuredContent"]["result"]["name"], "outside", "{whoami}");
    rotated(&house);
    let refused = bridge.ask(3, "tools/list", &json!({}));
    assert!(refused["error"]["message"].as_str().unwrap().contains("revoked"), "{refused}");
    bridge.end();
}

#[test]
fn without_the_key_of_an_agent_it_says_which_is_wanted_before_it_reads_anything() {
    let (house, _) = house();
    let none = house.tenure(&["mcp"]);
    assert_eq!((none.code, none.stdout.as_str()), (2, ""), "{}", none.stderr);
    assert!(none.stderr.contains("tenure agent rotate NAME"), "{}", none.stderr);
    let person = house.tenure(&["key", "create", "--name", "o", "--role", "owner", "-o", "json"]).ok().json();
    let person = house.tenure(&["mcp", "--api-key", person["secret"].as_str().unwrap()]);
    assert_eq!((person.code, person.stdout.as_str()), (7, ""), "{}", person.stderr);
}

#[test]
fn a_page_of_another_site_reaches_no_tools() {
    let (house, key) = house();
    let asked = |more: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &format!("Authorization: Bearer {key}")]);
        curl.args(["-H", "Accept: application/json, text/event-stream", "-H", "Content-Type: application/json"]);
        curl.args(["-d", r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}"#]).args(more);
        curl.arg(format!("{}/mcp", house.url));
        house.run(curl).raw
    };
    assert_eq!(asked(&[]), "200", "the control");
    assert_eq!(asked(&["-H", "Origin: http://evil.example"]), "403");
    assert_eq!(asked(&["-H", "Host: evil.example"]), "403");
}

#[test]
fn each_client_is_told_what_its_settings_want_and_never_the_key() {
    let (house, key) = house();
    let of = |client: &str| {
        let mut command = house.command(&["mcp", "config", "--client", client, "--agent", "outside"]);
        house.run({
            command.env("TENURE_API_KEY", &key);
            command
        })
    };
    for client in ["claude-code", "generic"] {
        let answer = of(client).ok();
        let server = &answer.json()["mcpServers"]["tenure-outside"];
        assert_eq!((&server["args"][0], &server["args"][1]), (&json!("mcp"), &json!("--base-url")), "{server}");
        assert!(server["args"][2].as_str().unwrap().starts_with("unix:/"), "{server}");
        assert!(server["env"]["TENURE_API_KEY"].is_string() && !answer.raw.contains(&key), "{server}");
    }
    let codex = of("codex").ok();
    assert!(codex.raw.starts_with("[mcp_servers.tenure-outside]\ncommand = \""), "{}", codex.raw);
    assert!(codex.raw.contains("env_vars = [\"TENURE_API_KEY\"]"), "{}", codex.raw);
    assert!(codex.stderr.contains("tenure agent rotate outside"), "{}", codex.stderr);
}
