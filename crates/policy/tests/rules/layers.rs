//! What each layer may say: the strictest holds, lower layers never loosen, and what cannot be evaluated tightens.
use std::sync::Arc;
use tenure_core::judge::{Judge, Judgement, Verdict};
use tenure_policy::{Bundle, ChangeKind, Layer, Policies, Policy, Situation, Template, diff, run_tests};

/// What errs for every call: a sum that is out of range.
const ERRS: &str = "context.hour + 9223372036854775807 > 0 || context.minute + 9223372036854775807 > 0";

fn situation(text: &str) -> Situation {
    Situation::parse(text).expect("a situation")
}

fn policy(bundle: &Bundle) -> Policy {
    Policy::compile(bundle).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn judge(bundle: &Bundle, of: &str) -> Judgement {
    let (policy, asked) = (policy(bundle), situation(of).asked().expect("a call"));
    let judgement = policy.judge(&asked.ask(None));
    assert_eq!(policy.explain(&asked.ask(None)).judgement, judgement, "explained as judged: {of}");
    judgement
}

fn permissive(layer: Layer, text: &str) -> Bundle {
    Template::Permissive.bundle().with(layer, "own.cedar", text)
}

const READ: &str = "{capability = 'filesystem.read', input = {path = 'a'}, agent = 'ann', labels = {team = 'finance'}}";

#[test]
fn a_lower_layer_tightens_and_never_loosens() {
    let permit = "permit(principal, action, resource);";
    let told = "@verdict(\"notify\") permit(principal, action, resource);";
    let asks = "@id(\"asks\") @verdict(\"approval_required\") @approvers(\"2\") @reason(\"ask\") permit(principal, action, resource);";
    let no = "forbid(principal in Label::\"team=finance\", action in Action::\"filesystem.*\", resource);";
    for layer in [Layer::Project, Layer::Agent("ann".into())] {
        for (text, expected) in [
            (permit, Verdict::Autonomous),
            (told, Verdict::Notify),
            (asks, Verdict::ApprovalRequired),
            (no, Verdict::Blocked),
            ("", Verdict::Autonomous),
        ] {
            assert_eq!(judge(&permissive(layer.clone(), text), READ).verdict, expected, "{layer} {text}");
        }
    }
    let asked = judge(&permissive(Layer::Project, asks), READ);
    assert_eq!(asked.rules, ["project:own.cedar:1 asks"]);
    assert_eq!((asked.reason.as_deref(), asked.approvers), (Some("ask"), Some(2)));
    let blocked = Template::Restrictive.bundle().with(Layer::Project, "a", permit);
    assert_eq!(
        judge(&blocked, "{capability = 'process.run', input = {command = 'ls'}}").verdict,
        Verdict::ApprovalRequired
    );
}

#[test]
fn layers_of_others_say_nothing() {
    let no = "forbid(principal, action, resource);";
    assert_eq!(judge(&permissive(Layer::Agent("bob".into()), no), READ).verdict, Verdict::Autonomous);
    let session = permissive(Layer::Session("key_1".into()), no);
    assert_eq!(judge(&session, READ).verdict, Verdict::Autonomous);
    for (opener, expected) in [("key_1", Verdict::Blocked), ("key_2", Verdict::Autonomous)] {
        let of = format!("{{capability = 'agent.whoami', caller = 'session', opener = '{opener}'}}");
        assert_eq!(judge(&session, &of).verdict, expected);
    }
}

#[test]
fn floor_and_system_deny_what_nothing_permits_and_the_manifest_lists_what_may_be_called() {
    let only_reads =
        Bundle::default().with(Layer::System, "s", "permit(principal, action in Action::\"effects:none\", resource);");
    assert_eq!(
        judge(&only_reads, READ).rules,
        ["manifest:tools[0] *", "floor:floor.cedar:5 all_else_is_for_the_layers_above", "system:s:1"]
    );
    let write = judge(&only_reads, "{capability = 'filesystem.write', input = {path = 'a', content = ''}}");
    assert_eq!((write.verdict, write.rules), (Verdict::Blocked, vec!["system:default_deny".to_string()]));
    let unlisted = judge(&only_reads, "{capability = 'filesystem.read', input = {path = 'a'}, tools = ['state.*']}");
    assert_eq!((unlisted.verdict, unlisted.rules), (Verdict::Blocked, vec!["floor:default_deny".to_string()]));
}

#[test]
fn a_check_of_the_manifests_own_needs_no_permit_and_is_stopped_by_a_forbid() {
    let check = "{capability = 'process.run', input = {command = 'cargo'}, actor = 'validator', tools = []}";
    let judgement = judge(&Template::Restrictive.bundle(), check);
    assert_eq!((judgement.verdict, judgement.rules), (Verdict::Autonomous, vec!["manifest:validation".to_string()]));
    // No rule permits it: its agent may not make it, and the manifest's own check may.
    let nothing =
        Bundle::default().with(Layer::System, "s", "permit(principal, action == Action::\"agent.whoami\", resource);");
    let of_agent = check.replace("actor = 'validator', tools = []", "actor = 'agent'");
    assert_eq!(judge(&nothing, &of_agent).rules, ["system:default_deny"]);
    assert_eq!(judge(&nothing, check).verdict, Verdict::Autonomous);
    let asks = "@verdict(\"approval_required\") permit(principal, action == Action::\"process.run\", resource);";
    assert_eq!(judge(&permissive(Layer::Project, asks), check).verdict, Verdict::Autonomous);
    assert_eq!(judge(&permissive(Layer::Project, asks), &of_agent).verdict, Verdict::ApprovalRequired);
    let no = permissive(
        Layer::Project,
        "forbid(principal, action == Action::\"process.run\", resource) when { context.program == \"cargo\" };",
    );
    assert_eq!(judge(&no, check).verdict, Verdict::Blocked);
}

#[test]
fn a_rule_that_errs_tightens() {
    let late = READ.replace("agent =", "at = '2026-03-02T05:07:00Z', agent =");
    for (layer, rule, expected) in [
        (Layer::Project, "forbid(principal, action, resource)", Verdict::Blocked),
        (
            Layer::Project,
            "@verdict(\"approval_required\") permit(principal, action, resource)",
            Verdict::ApprovalRequired,
        ),
        (Layer::Project, "permit(principal, action, resource)", Verdict::Autonomous),
        (Layer::System, "@verdict(\"notify\") permit(principal, action, resource)", Verdict::Notify),
        (Layer::System, "forbid(principal, action, resource)", Verdict::Blocked),
    ] {
        let judgement = judge(&permissive(layer, &format!("{rule} when {{ {ERRS} }};")), &late);
        assert_eq!(judgement.verdict, expected, "{rule}");
        assert!(expected == Verdict::Autonomous || judgement.rules[0].ends_with("(error)"), "{:?}", judgement.rules);
    }
    let alone = format!("permit(principal, action, resource) when {{ {ERRS} }};");
    let alone = judge(&Bundle::default().with(Layer::System, "s", &alone), &late);
    assert_eq!(alone.rules, ["system:default_deny"], "a permit that errs permits nothing");
}

#[test]
fn what_a_rule_sees_of_a_call_is_what_the_call_does() {
    let of = |condition: &str, of: &str| {
        let rule = format!(
            "forbid(principal, action == Action::\"{}\", resource) when {{ {condition} }};",
            situation(of).capability
        );
        judge(&permissive(Layer::Project, &rule), of).verdict == Verdict::Blocked
    };
    let run = "{capability = 'process.run', input = {command = '/bin/git', args = ['push', '--force'], timeout_ms = 5000, cwd = 'b/../c'}, at = '2026-03-02T22:07:00Z', calls_hour = 7, trigger = 'schedule', level = 'native:full', revision = 3, spent_day_micro_usd = 9}";
    for (condition, expected) in [
        ("context.program == \"/bin/git\" && context.argc == 3", true),
        ("context.command == \"/bin/git push --force\"", true),
        ("context.words.contains(\"--force\") && context has argv2 && context.argv2 == \"--force\"", true),
        ("context has argv3", false),
        ("context has path && context.path == \"/workspace/c\"", true),
        ("context.input has timeout_ms && context.input.timeout_ms == 5000", true),
        ("context.hour == 22 && context.minute == 7 && context.weekday == 1", true),
        ("context.calls_hour == 7 && context.calls_day == 0 && context.spent_day_micro_usd == 9", true),
        ("context has trigger && context.trigger == \"schedule\" && context.caller == \"execution\"", true),
        ("context has level && context.level like \"native:*\" && context.actor == \"agent\"", true),
        ("principal.name == \"example\" && principal.revision == 3", true),
    ] {
        assert_eq!(of(condition, run), expected, "{condition}");
    }
    let request = "{capability = 'network.http_request', input = {url = 'https://API.a.example:8443/b', method = 'PUT', body = 'xyz'}}";
    for condition in [
        "context has host && context.host == \"api.a.example\" && context has port && context.port == 8443",
        "context.input has method && context.input.method == \"PUT\" && context has bytes && context.bytes == 3",
        "context.input.url like \"https://*\"",
    ] {
        assert!(of(condition, request), "{condition}");
    }
}

#[test]
fn counters_and_money_are_wanted_only_where_a_rule_asks_for_them() {
    let text = "forbid(principal == Agent::\"ann\", action in Action::\"network.*\", resource) when { context.calls_hour > 9 };
        forbid(principal, action == Action::\"process.run\", resource) when { context.spent_month_micro_usd > 9 };";
    let policy = policy(&permissive(Layer::Project, text));
    let wants = |agent, capability| {
        let wants = policy.wants(agent, capability);
        (wants.counters, wants.money)
    };
    assert_eq!(wants("ann", "network.download"), (true, false));
    assert_eq!(wants("bob", "network.download"), (false, false));
    assert_eq!(wants("bob", "process.run"), (false, true));
    assert_eq!(wants("ann", "filesystem.read"), (false, false));
}

#[test]
fn a_call_is_judged_by_the_policy_that_it_names_and_by_no_other() {
    let policies = Policies::new();
    let asked = situation(READ).asked().expect("a call");
    assert_eq!(policies.judge(&asked.ask(None)).verdict, Verdict::Autonomous);
    let strict = policy(&permissive(Layer::Project, "forbid(principal, action, resource);"));
    let digest = Some(strict.digest());
    let unknown = policies.judge(&asked.ask(digest));
    assert_eq!((unknown.rules, unknown.policy), (vec!["floor:policy_not_loaded".to_string()], digest));
    policies.insert(Arc::new(strict));
    assert_eq!(policies.judge(&asked.ask(digest)).rules, ["project:own.cedar:1"]);
    assert_eq!(policies.judge(&asked.ask(None)).verdict, Verdict::Autonomous);
    for number in 0..16 {
        policies.insert(Arc::new(policy(&permissive(Layer::Project, &format!("// {number}")))));
    }
    assert_eq!(
        policies.judge(&asked.ask(digest)).rules,
        ["floor:policy_not_loaded"],
        "those that came first are dropped"
    );
}

#[test]
fn cases_beside_the_rules_are_run_and_what_came_instead_is_told() {
    let policy = policy(&Template::Moderate.bundle());
    let document = r#"
[[case]]
name = "removals are told"
capability = "filesystem.delete"
input = {path = "a"}
verdict = "notify"
rule = "removals_and_starts_are_told"

[[case]]
name = "wrong verdict"
capability = "filesystem.read"
input = {path = "a"}
verdict = "blocked"

[[case]]
name = "wrong rule"
capability = "filesystem.read"
input = {path = "a"}
verdict = "autonomous"
rule = "network_is_told"

[[case]]
name = "misspelt"
capability = "filesystem.read"
inputs = {path = "a"}
verdict = "autonomous"
"#;
    let outcomes = run_tests(&policy, document).expect("a document");
    let passed: Vec<bool> = outcomes.iter().map(|outcome| outcome.passed).collect();
    assert_eq!(passed, [true, false, false, false]);
    let told: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.told.as_deref()).collect();
    assert!(told[0].starts_with("autonomous instead of blocked, by "), "{told:?}");
    assert!(told[1].ends_with("not by network_is_told") && told[2].contains("inputs"), "{told:?}");
    assert!(run_tests(&policy, "[[cas]]").is_err() && run_tests(&policy, "a =").is_err());
}

#[test]
fn bundles_differ_by_rules_and_not_by_comments() {
    let one = permissive(
        Layer::Project,
        "@id(\"a\")\nforbid(principal, action, resource);\nforbid(principal == Agent::\"b\", action, resource);",
    );
    let other = permissive(
        Layer::Project,
        "// new\nforbid(principal==Agent::\"b\",action,resource);\n@id(\"a\")\nforbid(principal == Agent::\"x\", action, resource);\n@id(\"c\") forbid(principal, action, resource);",
    );
    let changes = diff(&one, &other).expect("both are read");
    let told: Vec<(ChangeKind, Option<&str>)> =
        changes.iter().map(|change| (change.kind, change.id.as_deref())).collect();
    assert_eq!(told, [(ChangeKind::Changed, Some("a")), (ChangeKind::Added, Some("c"))]);
    assert_eq!(changes[0].after.as_ref().map(|after| after.0.as_str()), Some("own.cedar:3"));
    assert_eq!(diff(&one, &one), Ok(Vec::new()));
}
