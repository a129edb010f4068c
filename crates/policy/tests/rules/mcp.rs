//! Rules about tools of MCP servers, which no catalogue lists: named one by one or by their server, and by their arguments.
use tenure_core::judge::Verdict;
use tenure_policy::{Bundle, Layer, Policy, Situation, Template};

fn asked(capability: &str, input: serde_json::Value) -> tenure_policy::Asked {
    let text = serde_json::json!({"capability": capability, "input": input}).to_string();
    Situation::parse(&text).and_then(|situation| situation.asked()).expect("a call")
}

fn with(rules: &str) -> Result<Policy, Vec<tenure_policy::Fault>> {
    let bundle: Bundle = Template::Moderate.bundle().with(Layer::Project, "own.cedar", rules);
    Policy::compile(&bundle)
}

/// By the index, and by every rule alone.
fn verdict(policy: &Policy, capability: &str, input: serde_json::Value) -> Verdict {
    let asked = asked(capability, input);
    let verdict = policy.judge(&asked.ask(None)).verdict;
    assert_eq!(policy.explain(&asked.ask(None)).judgement.verdict, verdict, "{capability}");
    verdict
}

#[test]
fn a_rule_about_a_server_or_a_tool_is_about_nothing_else() {
    let policy = with(
        r#"forbid(principal, action in Action::"mcp.post.*", resource);
           @verdict("approval_required") permit(principal, action == Action::"mcp.mail.send", resource);"#,
    )
    .unwrap_or_else(|faults| panic!("{faults:#?}"));
    for (capability, expected) in [
        ("mcp.post.send", Verdict::Blocked),
        ("mcp.post.tools/list", Verdict::Blocked),
        ("mcp.mail.send", Verdict::ApprovalRequired),
        ("mcp.mail.sender", Verdict::Notify),
        ("mcp.posts.send", Verdict::Notify),
        ("filesystem.write", Verdict::Autonomous),
    ] {
        assert_eq!(verdict(&policy, capability, serde_json::json!({})), expected, "{capability}");
    }
}

#[test]
fn arguments_are_judged_as_texts_and_an_odd_spelling_is_no_way_around() {
    let policy = with(
        r#"forbid(principal, action == Action::"mcp.mail.send", resource)
           unless { context.input has to && context.input.to like "*@example.com" && !(context.input has cc) };"#,
    )
    .unwrap_or_else(|faults| panic!("{faults:#?}"));
    for (input, expected) in [
        (serde_json::json!({"to": "a@example.com"}), Verdict::Notify),
        (serde_json::json!({"to": "a@example.org"}), Verdict::Blocked),
        (serde_json::json!({"to": ["a@example.com"]}), Verdict::Blocked),
        (serde_json::json!({"to": {"a": "a@example.com"}}), Verdict::Blocked),
        (serde_json::json!({"to": "a@example.com", "cc": null}), Verdict::Blocked),
        (serde_json::json!({}), Verdict::Blocked),
    ] {
        assert_eq!(verdict(&policy, "mcp.mail.send", input.clone()), expected, "{input}");
    }
}

#[test]
fn a_rule_that_could_never_be_about_a_tool_is_refused() {
    assert!(with(r#"forbid(principal, action == Action::"mcp.mail.send", resource);"#).is_ok(), "the control");
    for wrong in [
        r#"forbid(principal, action == Action::"mcp.Mail.send", resource);"#,
        r#"forbid(principal, action == Action::"mpc.mail.send", resource);"#,
        r#"forbid(principal, action == Action::"mcp.mail", resource);"#,
        r#"forbid(principal, action == Action::"mcp.mail.send", resource) when { context has path };"#,
        r#"forbid(principal, action == Action::"mcp.mail.send", resource) when { context.input.to == 1 };"#,
    ] {
        assert!(with(wrong).is_err(), "{wrong}");
    }
}
