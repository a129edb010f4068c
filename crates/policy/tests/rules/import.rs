//! The settings of other tools: each line is a rule that means the same, or is listed with its reason.
use Verdict::{ApprovalRequired as Asked, Autonomous as Done, Blocked, Notify as Told};
use tenure_core::judge::Verdict;
use tenure_policy::{Foreign, Imported, Layer, Policy, Situation, Template, import};

fn imported(from: Foreign, text: &str) -> (Imported, Policy) {
    let imported = import(from, text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let bundle = Template::Moderate.bundle().with(Layer::Project, "imported.cedar", &imported.text);
    let policy = Policy::compile(&bundle).unwrap_or_else(|faults| panic!("{faults:#?}\n{}", imported.text));
    (imported, policy)
}

/// A command, `read PATH`, `write PATH`, an address, or a tool of an MCP server.
fn verdict(policy: &Policy, call: &str) -> Verdict {
    let situation = if call.starts_with("mcp.") {
        serde_json::json!({"capability": call, "input": {}})
    } else if let Some(path) = call.strip_prefix("read ") {
        serde_json::json!({"capability": "filesystem.read", "input": {"path": path}})
    } else if let Some(path) = call.strip_prefix("write ") {
        serde_json::json!({"capability": "filesystem.write", "input": {"path": path, "content": ""}})
    } else if call.starts_with("https://") {
        serde_json::json!({"capability": "network.http_request", "input": {"url": call}})
    } else {
        let words: Vec<&str> = match call.strip_prefix("sh -c ") {
            Some(line) => vec!["sh", "-c", line],
            None => call.split(' ').collect(),
        };
        serde_json::json!({"capability": "process.run", "input": {"command": words[0], "args": words[1..]}})
    };
    let asked = Situation::parse(&situation.to_string()).and_then(|situation| situation.asked()).expect("a call");
    policy.judge(&asked.ask(Some(policy.digest()))).verdict
}

fn settings(lists: &str) -> String {
    format!("{{\n  \"permissions\": {{\n{lists}\n  }}\n}}")
}

#[test]
fn each_rule_of_claude_code_means_here_what_it_means_there() {
    let table: &[(&str, &[(&str, Verdict)])] = &[
        ("\"allow\": []", &[("ls", Asked), ("write a", Asked), ("read a", Done), ("https://a.example/", Asked)]),
        ("\"allow\": [\"Bash\"]", &[("ls", Done), ("write a", Asked)]),
        (
            "\"allow\": [\"Bash(npm run test:*)\"]",
            &[("npm run test", Done), ("npm run test --watch", Done), ("npm run tests", Asked), ("npm run", Asked)],
        ),
        ("\"allow\": [\"Bash(git status)\"]", &[("git status", Done), ("git status -s", Asked)]),
        (
            "\"deny\": [\"Bash(rm *)\"], \"allow\": [\"Bash\"]",
            &[("rm -r a", Blocked), ("rmdir a", Done), ("sh -c rm -r a", Blocked)],
        ),
        (
            "\"deny\": [\"Bash(git * main)\"], \"allow\": [\"Bash(git:*)\"]",
            &[("git push origin main", Blocked), ("git push origin topic", Done)],
        ),
        ("\"ask\": [\"Bash(git push:*)\"], \"allow\": [\"Bash(git:*)\"]", &[("git push", Asked), ("git log", Done)]),
        ("\"deny\": [\"Read(./.env)\"]", &[("read .env", Blocked), ("read .env/a", Blocked), ("read a/.env", Done)]),
        ("\"deny\": [\"Read(.env)\"]", &[("read .env", Blocked), ("read a/b/.env", Blocked), ("read a.env", Done)]),
        ("\"deny\": [\"Read(./secrets/**)\"]", &[("read secrets/a/b", Blocked), ("read secrets2/a", Done)]),
        ("\"deny\": [\"Read(**/*.pem)\"]", &[("read a/b.pem", Blocked), ("read k.pem", Blocked), ("read k.pet", Done)]),
        ("\"deny\": [\"Edit(//etc/**)\"]", &[("write /etc/a", Blocked), ("write etc/a", Asked)]),
        ("\"allow\": [\"Edit(/docs/**)\"]", &[("write docs/a/b.md", Done), ("write src/a", Asked)]),
        (
            "\"allow\": [\"WebFetch(domain:A.example)\"]",
            &[("https://a.example/x", Told), ("https://b.example/", Asked), ("https://x.a.example/", Asked)],
        ),
        (
            "\"deny\": [\"WebFetch(domain:*.a.example)\"], \"allow\": [\"WebFetch\"]",
            &[("https://x.a.example/", Blocked), ("https://a.example/", Told)],
        ),
        ("\"defaultMode\": \"acceptEdits\"", &[("write a", Done), ("ls", Asked)]),
        ("\"defaultMode\": \"plan\"", &[("write a", Blocked), ("ls", Blocked), ("read a", Done)]),
        ("\"defaultMode\": \"bypassPermissions\", \"deny\": [\"Bash(rm:*)\"]", &[("ls", Done), ("rm a", Blocked)]),
    ];
    for (lists, calls) in table {
        let (imported, policy) = imported(Foreign::ClaudeCode, &settings(lists));
        assert_eq!(imported.left_out, [], "{lists}");
        for (call, expected) in *calls {
            assert_eq!(verdict(&policy, call), *expected, "{lists}: {call}\n{}", imported.text);
        }
    }
}

#[test]
fn what_cannot_be_said_is_listed_with_its_line_and_never_allows_more() {
    let text = r#"{
  "model": "opus",
  "permissions": {
    "allow": [
      "Bash(echo $HOME)",
      "Bash(* install)",
      "Edit(src/*.ts)",
      "Write(docs/**)",
      "mcp__github__create_issue",
      "WebSearch",
      "Bash(ls"
    ],
    "deny": [
      "Read(~/.ssh/**)",
      "Task(Explore)"
    ],
    "additionalDirectories": ["../docs/"],
    "defaultMode": "auto"
  },
  "hooks": {}
}"#;
    let (imported, policy) = imported(Foreign::ClaudeCode, text);
    let lines: Vec<(u32, &str)> = imported.left_out.iter().map(|one| (one.line, one.what.as_str())).collect();
    assert_eq!(
        lines,
        [
            (2, "model"),
            (5, "allow: Bash(echo $HOME)"),
            (6, "allow: Bash(* install)"),
            (7, "allow: Edit(src/*.ts)"),
            (8, "allow: Write(docs/**)"),
            (9, "allow: mcp__github__create_issue"),
            (10, "allow: WebSearch"),
            (11, "allow: Bash(ls"),
            (14, "deny: Read(~/.ssh/**)"),
            (15, "deny: Task(Explore)"),
            (17, "permissions.additionalDirectories"),
            (18, "permissions.defaultMode: auto"),
            (20, "hooks"),
        ]
    );
    assert!(imported.left_out.iter().all(|one| !one.why.is_empty()));
    for call in ["npm install", "write src/a.ts", "write docs/a", "ls", "https://a.example/"] {
        assert_eq!(verdict(&policy, call), Asked, "{call}");
    }
    for wrong in ["[]", "{\"permissions\": []}", "{\"permissions\": {\"allow\": [1]}}", "allow: x"] {
        assert!(import(Foreign::ClaudeCode, wrong).is_err(), "{wrong}");
    }
}

/// A file, what it says of calls, and what is left out of it.
type Row<'t> = (&'t str, &'t [(&'t str, Verdict)], &'t [(u32, &'t str)]);

#[test]
fn the_modes_of_codex_become_rules_on_writes_programs_and_the_network() {
    let table: &[Row<'_>] = &[
        (
            "approval_policy = \"untrusted\"\nsandbox_mode = \"workspace-write\"\n",
            &[
                ("ls -l", Done),
                ("cargo test", Asked),
                ("write a", Done),
                ("write /tmp/a", Done),
                ("write /etc/a", Asked),
                ("https://a.example/", Asked),
            ],
            &[],
        ),
        (
            "approval_policy = \"never\"\nsandbox_mode = \"read-only\"\n",
            &[("cargo test", Done), ("write a", Blocked), ("https://a.example/", Blocked), ("read a", Done)],
            &[],
        ),
        (
            "approval_policy = \"never\"\nsandbox_mode = \"workspace-write\"\n\n[sandbox_workspace_write]\nnetwork_access = true\nexclude_slash_tmp = true\nwritable_roots = [\"/srv/data\", \"~/x\"]\n",
            &[
                ("https://a.example/", Told),
                ("write /tmp/a", Blocked),
                ("write /srv/data/a", Done),
                ("write /srv/database", Blocked),
            ],
            &[(7, "writable_roots: \"~/x\""), (7, "writable_roots: /srv/data")],
        ),
        (
            "model = \"gpt-5\"\napproval_policy = \"on-request\"\nsandbox_mode = \"danger-full-access\"\n[mcp_servers.docs]\ncommand = \"x\"\n",
            &[("cargo test", Done), ("write /etc/a", Done)],
            &[
                (1, "model = \"gpt-5\""),
                (2, "approval_policy = \"on-request\""),
                (3, "sandbox_mode = \"danger-full-access\""),
                (4, "mcp_servers.docs"),
            ],
        ),
    ];
    for (text, calls, left_out) in table {
        let (imported, policy) = imported(Foreign::Codex, text);
        for (call, expected) in *calls {
            assert_eq!(verdict(&policy, call), *expected, "{text}: {call}\n{}", imported.text);
        }
        let lines: Vec<(u32, &str)> = imported.left_out.iter().map(|one| (one.line, one.what.as_str())).collect();
        assert_eq!(lines, *left_out, "{text}");
    }
}

#[test]
fn prefix_rules_of_codex_keep_their_alternatives_reasons_and_examples() {
    let text = r#"
# Look first.
prefix_rule(
    pattern = ["git", ["push", "fetch"]],
    decision = "prompt",
    justification = "ask before the remote is touched",
    match = [["git", "push", "origin"], "git fetch"],
    not_match = ["git status"],
)
prefix_rule(pattern = ["rm", "-rf"], decision = 'forbidden')
prefix_rule(pattern = ["ls"])
host_executable(name = "git", paths = ["/usr/bin/git"])
prefix_rule(pattern = [], decision = "forbidden")
"#;
    let (imported, policy) = imported(Foreign::Codex, text);
    for (call, expected) in
        [("git push", Asked), ("git fetch x", Asked), ("git log", Done), ("rm -rf a", Blocked), ("rm a", Done)]
    {
        assert_eq!(verdict(&policy, call), expected, "{call}\n{}", imported.text);
    }
    assert!(imported.text.contains("@reason(\"ask before the remote is touched\")"), "{}", imported.text);
    assert!(
        imported
            .text
            .contains("@not_match(\"{capability = 'process.run', input = {command = 'git', args = ['status']}}\")")
    );
    let lines: Vec<u32> = imported.left_out.iter().map(|one| one.line).collect();
    assert_eq!(lines, [11, 12, 13]);
    let not = "prefix_rule(pattern = [\"ls\"], match = [\"rm\"], decision = \"prompt\")";
    assert!(import(Foreign::Codex, not).is_err(), "an example that its rule does not match is told");
    for wrong in ["prefix_rule(", "prefix_rule(pattern = [\"a\")", "prefix_rule(1)", "def prefix_rule(): pass"] {
        assert!(import(Foreign::Codex, wrong).unwrap_err().contains("line 1") || wrong.ends_with('('), "{wrong}");
    }
}

#[test]
fn tools_of_mcp_servers_are_forbidden_and_asked_for_as_the_settings_say_and_no_others() {
    let text = r#"{"permissions": {
      "deny": ["mcp__github__delete_repo", "mcp__Files__read", "WebFetch(domain:evil.example)"],
      "ask": ["mcp__mail"],
      "defaultMode": "bypassPermissions"
    }}"#;
    let (imported, policy) = imported(Foreign::ClaudeCode, text);
    for (call, expected) in [
        ("mcp.github.delete_repo", Blocked),
        ("mcp.github.create_issue", Told),
        ("mcp.mail.send", Asked),
        ("mcp.mailer.send", Told),
    ] {
        assert_eq!(verdict(&policy, call), expected, "{call}\n{}", imported.text);
    }
    let with_a_secret = serde_json::json!({
        "capability": "network.credentialed_request",
        "input": {"url": "https://evil.example/", "secret": "token"}
    });
    let asked = Situation::parse(&with_a_secret.to_string()).and_then(|situation| situation.asked()).expect("a call");
    assert_eq!(policy.judge(&asked.ask(None)).verdict, Blocked, "a secret is no way around");
    let left_out: Vec<&str> = imported.left_out.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(left_out, ["deny: mcp__Files__read"], "no server is called so here");
}

#[test]
fn what_is_forbidden_is_met_by_its_name_wherever_it_lies_and_behind_common_launchers() {
    let claude = settings(
        "\"deny\": [\"Bash(curl:*)\", \"Bash(git push:*)\", \"Bash(reboot)\"], \"defaultMode\": \"bypassPermissions\"",
    );
    let codex = "prefix_rule(pattern = [\"curl\"], decision = \"forbidden\")\n\
        prefix_rule(pattern = [\"git\", [\"push\", \"send-pack\"]], decision = \"forbidden\")\n\
        prefix_rule(pattern = [\"reboot\"], decision = \"forbidden\")\n";
    for (from, text) in [(Foreign::ClaudeCode, claude.as_str()), (Foreign::Codex, codex)] {
        let (imported, policy) = imported(from, text);
        for call in [
            "curl",
            "curl https://a.example",
            "/usr/bin/curl x",
            "env curl x",
            "/usr/bin/env A=1 /usr/bin/curl x",
            "timeout 5 curl",
            "nohup /opt/curl",
            "sudo -u bob curl x",
            "xargs -n1 curl",
            "sh -c cd /x && curl -s x",
            "sh -c cd x;curl x",
            "sh -c (curl x)",
            "sh -c true\ncurl x",
            "bash -lc curl x",
            "busybox sh -c curl x",
            "git push origin",
            "/usr/bin/git push",
            "env git push",
            "sh -c git push origin",
            "env reboot",
        ] {
            assert_eq!(verdict(&policy, call), Blocked, "{call}\n{}", imported.text);
        }
        for call in ["ls curl", "grep -r curl .", "curlx", "env curlx", "git log", "env git log", "env ls", "sh -c ls"]
        {
            assert_eq!(verdict(&policy, call), Done, "{call}\n{}", imported.text);
        }
        let [note] = imported.notes.as_slice() else { panic!("{:?}", imported.notes) };
        assert!(note.contains("The wall is the jail"), "{note}");
        assert!(imported.text.starts_with("// Rules on programs read the words"), "{}", imported.text);
    }
    let (_, open) = imported(Foreign::ClaudeCode, &settings("\"allow\": [\"Bash(ls:*)\"]"));
    for (call, expected) in [("ls", Done), ("/tmp/ls", Asked), ("env ls", Asked)] {
        assert_eq!(verdict(&open, call), expected, "an exception stays as it was said: {call}");
    }
    let many: Vec<String> = (0..17).map(|number| format!("\"w{number}\"")).collect();
    let many = format!("prefix_rule(pattern = [\"git\", [{}]], decision = \"forbidden\")", many.join(", "));
    let (imported, policy) = imported(Foreign::Codex, &many);
    assert_eq!((verdict(&policy, "/bin/git w16"), verdict(&policy, "env git w16")), (Blocked, Done));
    assert!(imported.left_out[0].why.contains("there it is not held"), "{:?}", imported.left_out);
}

#[test]
fn a_misspelt_key_and_a_file_of_which_nothing_is_translated_are_errors() {
    for (from, text, words) in [
        (Foreign::ClaudeCode, "{\n\"permisions\": {\"deny\": [\"Bash(rm:*)\"]}}", "line 2: `permisions`"),
        (Foreign::ClaudeCode, "{\"permisions\": {}}", "did you mean `permissions`?"),
        (Foreign::ClaudeCode, "{\"permissions\": {\"dney\": []}}", "did you mean `deny`?"),
        (Foreign::ClaudeCode, "{\"model\": \"opus\"}", "it has no `permissions`"),
        (Foreign::ClaudeCode, "{\"deny\": []}", "outside of `permissions`"),
        (Foreign::Codex, "approval_polcy = \"never\"", "line 1: `approval_polcy`"),
        (Foreign::Codex, "sandbox_mode = \"read-only\"\naproval_policy = \"never\"", "did you mean `approval_policy`?"),
        (Foreign::Codex, "model = \"x\"", "it has none of approval_policy"),
    ] {
        let why = import(from, text).expect_err(text);
        assert!(why.contains(words), "{text}: {why}");
    }
}
