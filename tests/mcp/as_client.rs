//! Tenure's own side of the protocol as a client, held against the conformance suite's scenarios for clients. Each starts a server of the
//! suite's and a program, which has an agent with that server deployed and asks for all that it has through the gateway.
use crate::client::{Holder, manifest, no_network};
use crate::others::{node, start, tools};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use tests::daemon::program;
use tests::scripted::ScriptedDaemon;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mcp/conformance/client.py");

/// What is asked of it.
const PASSED: [&str; 4] = ["initialize", "tools_call", "http-standard-headers", "json-schema-ref-no-deref"];

/// What is not, by the beginning of its name, and why.
const NOT_ASKED: [(&str, &str); 9] = [
    (
        "request-metadata",
        "a server that refuses the newest version once is greeted in the older form, not asked again in the newest",
    ),
    ("http-invalid-tool-headers", "headers that a schema asks for are not sent, so what it says of them is not read"),
    ("auth/", "Tenure logs in by a secret of its vault, and speaks no OAuth"),
    ("elicitation-", "no person sits before an agent's server: what it asks of its client is refused"),
    ("sep-2322-", "the same: a result that wants more of its client ends the call"),
    (
        "sse-retry",
        "a stream that broke off is not resumed: the call is told as lost, for a tool may not be called twice",
    ),
    ("http-custom-headers", "arguments are not repeated in headers, where everything on the way would write them down"),
    (
        "json-schema-2020-12-preservation",
        "the agent's model passes no schema on; tools/list through the gateway is held by the server's suite",
    ),
    ("sep-2640-", "an extension: skills are not fetched"),
];

fn suite(folder: &Path, words: &[&str], data: &Path) -> String {
    let mut command = Command::new(node(folder));
    command.arg(folder.join("node_modules/@modelcontextprotocol/conformance/dist/index.js")).args(words);
    command.env("TENURE_DATA_DIR", data).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    let output = command.output().expect("node runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// All that the suite has for clients.
fn scenarios(folder: &Path, data: &Path) -> BTreeSet<String> {
    let listed = suite(folder, &["list"], data);
    let own = listed.split("Client scenarios").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    own.lines().filter_map(|line| Some(line.trim().strip_prefix("- ")?.split(' ').next()?.to_string())).collect()
}

#[test]
fn the_suites_scenarios_for_clients_are_passed_but_those_that_are_not_of_this_client() {
    let Some(folder) = tools() else { return };
    let ScriptedDaemon { daemon, .. } = &start();
    let known = scenarios(&folder, &daemon.data);
    let asked = |name: &String| PASSED.contains(&name.as_str());
    let not_asked = |name: &String| NOT_ASKED.iter().any(|(begin, _)| name.starts_with(begin));
    let new: Vec<&String> = known.iter().filter(|name| !asked(name) && !not_asked(name)).collect();
    assert!(new.is_empty() && known.len() > 40, "scenarios that nobody has decided about: {new:?} of {known:?}");
    daemon.deploy(&manifest("any", json!(["agent.whoami"]), no_network()));
    let address = Holder::of(daemon, "any").address;
    let client = format!("python3 {CLIENT} {} {address}", program("tenure").display());
    for scenario in PASSED {
        let said = suite(&folder, &["client", "--command", &client, "--scenario", scenario], &daemon.data);
        assert!(
            said.contains("OVERALL: PASSED") && !said.contains("Passed: 0/0"),
            "{scenario}: {said}\n{}",
            daemon.log()
        );
    }
    let control = suite(&folder, &["client", "--command", "true", "--scenario", "tools_call"], &daemon.data);
    assert!(!control.contains("OVERALL: PASSED"), "the control: a client that asks nothing passes nothing: {control}");
}
