//! What clients are told unasked, in both forms of the protocol: that their tools are other ones now, by a policy or by what a server in
//! the sandbox says, and how far a call is.
use crate::client::{Holder, manifest, no_network, program};
use crate::others::{start, tools};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use tests::scripted::ScriptedDaemon;

#[test]
fn sdks_of_both_forms_are_told_of_other_tools_and_of_how_far_a_call_is() {
    let Some(folder) = tools() else { return };
    for (python, script, protocol) in
        [("py-old", "notices_old.py", "2025-11-25"), ("py-new", "notices_new.py", "2026-07-28")]
    {
        let ScriptedDaemon { daemon, .. } = &start();
        let mut server = program("old");
        server.as_array_mut().expect("words").push(json!("--grow"));
        daemon.deploy(&manifest("outside", json!([{"name": "post", "command": server}]), no_network()));
        let holder = Holder::of(daemon, "outside");
        let mut client = Command::new(folder.join(python).join("bin/python"));
        client.arg(format!("{}/mcp/sdk/{script}", env!("CARGO_MANIFEST_DIR")));
        client.args([format!("http://{}/mcp", holder.address), holder.key.clone()]);
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client runs");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut ready = String::new();
        out.read_line(&mut ready).expect("it speaks");
        assert_eq!(ready.trim(), "ready", "{}", daemon.log());
        let file = daemon.data.with_extension("cedar");
        std::fs::write(&file, "forbid(principal, action == Action::\"mcp.post.fail\", resource);\n")
            .expect("it can be written");
        daemon.ok(&["policy", "apply", file.to_str().expect("a path of ours is UTF-8")]);
        child.stdin.take().expect("it is piped").write_all(b"go on\n").expect("it reads");
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("it ends");
        assert!(child.wait().is_ok_and(|status| status.success()), "{script}: {rest}\n{}", daemon.log());
        let seen: Value = serde_json::from_str(rest.lines().last().unwrap_or_default()).expect("its last line is JSON");
        assert_eq!(seen["protocol"], protocol);
        for (name, expected) in
            [("announced", true), ("by_policy", true), ("by_server", true), ("before", false), ("after", true)]
        {
            assert_eq!(seen[name], expected, "{script}: {name}: {seen}");
        }
        assert_eq!(seen["slow"], "in_flight", "{seen}");
        let progress = seen["progress"].as_array().expect("a list");
        assert!(progress.len() >= 2 && progress.contains(&json!([1.0, 60.0, "sleeping"])), "{script}: {seen}");
    }
}
