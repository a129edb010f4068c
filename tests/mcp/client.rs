//! What the tests ask by: an agent's key over HTTP, as a client in any language does, and manifests that name the fixture.
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::daemon::Daemon;

const FIXTURE: &str = include_str!("fixture/server.py");

/// How the fixture runs as a program of the sandbox.
pub fn program(era: &str) -> Value {
    json!(["python3", "-c", FIXTURE, "--era", era])
}

/// A manifest in JSON, which is YAML.
pub fn manifest(name: &str, tools: Value, network: Value) -> String {
    json!({
        "apiVersion": "tenure.dev/v1",
        "kind": "Agent",
        "metadata": {"name": name, "version": "1.0.0"},
        "spec": {
            "task": {"instruction": "Do what the input says."},
            "tools": tools,
            "security": {"network": network},
        },
    })
    .to_string()
}

pub fn no_network() -> Value {
    json!({"mode": "none"})
}

/// The fixture as a server on loopback; it ends with this value.
pub struct Remote {
    child: Child,
    pub port: u16,
}

impl Remote {
    pub fn start(era: &str) -> Remote {
        Remote::with(era, &[])
    }

    /// With what the conformance suite asks for.
    pub fn of_suite(era: &str) -> Remote {
        Remote::with(era, &["--suite"])
    }

    fn with(era: &str, more: &[&str]) -> Remote {
        let mut command = Command::new("python3");
        command.args(["-c", FIXTURE, "--http", "0", "--era", era]).args(more).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let mut out = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).expect("it says its port");
        Remote { child, port: line.trim().parse().expect("a port") }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Holder {
    pub address: String,
    pub key: String,
    session: Option<String>,
    path: String,
}

pub struct Answered {
    pub status: u16,
    pub body: Value,
    session: Option<String>,
}

impl Holder {
    pub fn of(daemon: &Daemon, agent: &str) -> Holder {
        let status = daemon.json(&["status"]).to_string();
        let place = status.find("127.0.0.1:").expect("the status names the address");
        let address: String =
            status[place..].chars().take_while(|letter| letter.is_ascii_digit() || ".:".contains(*letter)).collect();
        let key = daemon.json(&["agent", "rotate", agent]);
        let key = key["secret"].as_str().expect("the key is shown once").to_string();
        Holder { address, key, session: None, path: "/mcp".to_string() }
    }

    /// An MCP client that has greeted, at this path.
    pub fn greeted(daemon: &Daemon, agent: &str, path: &str) -> Holder {
        let mut holder = Holder { path: path.to_string(), ..Holder::of(daemon, agent) };
        let greeting =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let answer = holder.rpc("initialize", greeting);
        holder.session = answer.session;
        assert!(holder.session.is_some(), "{}", answer.body);
        holder
    }

    pub fn request(&self, method: &str, path: &str, body: &str) -> Answered {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
        let session = self.session.as_ref().map(|id| format!("mcp-session-id: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n{session}\
             content-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n",
            self.address,
            self.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("it reads");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let session = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_string())
        });
        let start = rest.find('{').unwrap_or(0);
        let end = rest.rfind('}').map_or(rest.len(), |end| end + 1);
        Answered { status, body: serde_json::from_str(&rest[start..end]).unwrap_or(Value::Null), session }
    }

    pub fn rpc(&self, method: &str, params: Value) -> Answered {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.request("POST", &self.path, &message.to_string())
    }

    pub fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.rpc(method, params);
        assert!(answer.body["result"].is_object(), "{method}: {} {}", answer.status, answer.body);
        answer.body["result"].clone()
    }

    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// All pages.
    pub fn tools(&self) -> Vec<String> {
        let list = self.result("tools/list", json!({}));
        let tools = list["tools"].as_array().expect("tools").iter();
        tools.filter_map(|tool| tool["name"].as_str().map(str::to_string)).collect()
    }
}

pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}
