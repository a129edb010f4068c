//! Random rules and calls that meet often: few names, few words.
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tenure_policy::{Asked, Bundle, Layer, Policy, Situation};

/// One rule, on a line of its own.
#[derive(Debug, Clone)]
pub struct Written {
    pub layer: Layer,
    pub effect: &'static str,
    pub verdict: Option<&'static str>,
    pub principal: &'static str,
    pub action: String,
    pub resource: &'static str,
    pub condition: String,
}

impl Written {
    pub fn text(&self) -> String {
        let Written { effect, principal, action, resource, condition, .. } = self;
        let verdict = self.verdict.map_or(String::new(), |verdict| format!("@verdict(\"{verdict}\") "));
        let when = if condition.is_empty() { String::new() } else { format!(" when {{ {condition} }}") };
        format!("{verdict}{effect}({principal}, {action}, {resource}){when};\n")
    }
}

#[derive(Debug, Clone)]
pub struct Call(pub Value);

impl Call {
    pub fn asked(&self) -> Asked {
        let situation = Situation::parse(&self.0.to_string()).expect("a situation");
        situation.asked().expect("a call")
    }
}

pub fn bundle(rules: &[Written]) -> Bundle {
    let layers: BTreeSet<&Layer> = rules.iter().map(|rule| &rule.layer).collect();
    let system = Bundle::default().with(Layer::System, "base", "// nothing");
    layers.into_iter().fold(system, |bundle, layer| {
        let text: String = rules.iter().filter(|rule| rule.layer == *layer).map(Written::text).collect();
        bundle.with(layer.clone(), "rules", &text)
    })
}

/// The policy without those rules that can never match, and the rules that it has.
pub fn compiled(rules: &[Written]) -> (Policy, Vec<Written>) {
    let faults = match Policy::compile(&bundle(rules)) {
        Ok(policy) => return (policy, rules.to_vec()),
        Err(faults) => faults,
    };
    let mut kept = Vec::new();
    for layer in rules.iter().map(|rule| &rule.layer).collect::<BTreeSet<_>>() {
        for (line, rule) in (1..).zip(rules.iter().filter(|rule| rule.layer == *layer)) {
            let wrong = faults.iter().find(|fault| fault.layer == *layer && fault.line == line);
            match wrong {
                Some(fault) => assert!(fault.what.contains("impossible"), "{fault} of {}", rule.text()),
                None => kept.push(rule.clone()),
            }
        }
    }
    assert!(kept.len() < rules.len(), "{faults:#?}");
    compiled(&kept)
}

pub fn rules() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec(rule(), 0..24)
}

pub fn rule() -> impl Strategy<Value = Written> {
    let layer = prop_oneof![
        3 => Just(Layer::System),
        2 => Just(Layer::Project),
        1 => prop::sample::select(vec!["ann", "bob"]).prop_map(|name| Layer::Agent(name.into())),
        1 => prop::sample::select(vec!["key_1", "key_2"]).prop_map(|opener| Layer::Session(opener.into())),
    ];
    let effect = prop_oneof![
        1 => Just(("forbid", None)),
        4 => prop::sample::select(vec![
            ("permit", None),
            ("permit", Some("autonomous")),
            ("permit", Some("notify")),
            ("permit", Some("approval_required")),
        ]),
    ];
    let principal = prop::sample::select(vec![
        "principal",
        "principal",
        "principal is Agent",
        "principal == Agent::\"ann\"",
        "principal in Agent::\"bob\"",
        "principal in Label::\"team=a\"",
        "principal is Agent in Label::\"team=b\"",
        "principal in Label::\"tier=1\"",
    ]);
    let resource =
        prop::sample::select(vec!["resource", "resource", "resource == Project::\"default\"", "resource is Project"]);
    (layer, effect, principal, action(), resource, condition()).prop_map(
        |(layer, (effect, verdict), principal, action, resource, condition)| Written {
            layer,
            effect,
            verdict,
            principal,
            action,
            resource,
            condition: condition.to_string(),
        },
    )
}

fn action() -> impl Strategy<Value = String> {
    let group = prop::sample::select(vec![
        "*",
        "filesystem.*",
        "state.*",
        "state.shared.*",
        "network.*",
        "effects:none",
        "effects:irreversible",
        "process.run",
        "filesystem.read",
    ]);
    prop_oneof![
        2 => Just("action".to_string()),
        2 => prop::sample::select(CAPABILITIES.to_vec()).prop_map(|name| format!("action == Action::\"{name}\"")),
        2 => group.clone().prop_map(|name| format!("action in Action::\"{name}\"")),
        1 => prop::collection::vec(group, 1..4).prop_map(|names| {
            let names: Vec<String> = names.into_iter().map(|name| format!("Action::\"{name}\"")).collect();
            format!("action in [{}]", names.join(", "))
        }),
    ]
}

const CAPABILITIES: [&str; 7] = [
    "filesystem.read",
    "filesystem.delete",
    "process.run",
    "network.http_request",
    "state.shared.get",
    "comms.send",
    "agent.whoami",
];

fn condition() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "",
        "",
        "true",
        "context has path && context.path like \"/workspace/a*\"",
        "context has program && context.program == \"ls\"",
        "context has argv1 && context.argv1 == \"-l\"",
        "context has words && context.words.contains(\"-l\") && context.argc == 2",
        "context has host && context.host like \"*.example\"",
        "context has key && context.key == \"a\"",
        "context has bytes && context.bytes > 1",
        "context has input.recursive && context.input.recursive",
        "context.hour < 12 && context.weekday != 4",
        "context.calls_hour > 2 || context.spent_day_micro_usd > 2",
        "context.calls_day + 9223372036854775807 > 0",
        "context.caller == \"session\" || context has trigger",
        "principal.name == \"ann\"",
        "principal.revision > 1",
        "principal in Label::\"team=a\"",
        "action in Action::\"effects:none\"",
        "resource == Project::\"default\" && context.actor == \"agent\"",
        "[context, context].contains(context)",
        "context has path && context.path like \"*a*/*b\"",
        "context has key && [\"a\", \"c\"].contains(context.key)",
        "context has words && context.words.containsAny([\"-rf\", \"-x\"])",
        "context has words && context.words.containsAll([\"-rf\", \"/\"])",
        "context has command && !(context.command like \"ls*\")",
        "3 > context.calls_hour && 1 != context.calls_hour",
        "context.minute > 59 || context.hour == 7",
        "if context has input.offset then context.input.offset >= 3 else false",
        "context has input.recursive && context.input.recursive == true",
        "context has level || (context has trigger && context.trigger != \"manual\")",
        "context has host && context has bytes && context.bytes == context.bytes + 0",
        "context has input.url && context.input.url like \"https://a*\"",
        "context has argv0 && context.argv0 == context.program",
    ])
}

pub fn calls() -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(call(), 1..12)
}

pub fn call() -> impl Strategy<Value = Call> {
    let asked = prop::sample::select(vec![
        ("filesystem.read", json!({"path": "a"})),
        ("filesystem.read", json!({"path": "b", "offset": 3})),
        ("filesystem.delete", json!({"path": "a/b", "recursive": true})),
        ("process.run", json!({"command": "ls", "args": ["-l"], "pty": false})),
        ("process.run", json!({"command": "rm", "args": ["-rf", "/"]})),
        ("network.http_request", json!({"url": "https://a.example/x", "body": "xyz"})),
        ("state.shared.get", json!({"key": "a"})),
        ("comms.send", json!({"to": "a", "message": "x"})),
        ("agent.whoami", json!({})),
    ]);
    let agent = prop::sample::select(vec!["ann", "bob", "cy"]);
    let labels = prop::sample::select(vec![
        json!({}),
        json!({"team": "a"}),
        json!({"team": "b", "tier": "1"}),
        json!({"tier": "1"}),
    ]);
    let caller = prop::sample::select(vec![
        json!({"caller": "execution"}),
        json!({"caller": "execution", "trigger": "schedule"}),
        json!({"caller": "session", "opener": "key_1"}),
        json!({"caller": "session", "opener": "key_2", "level": "full"}),
    ]);
    let tools = prop_oneof![4 => Just(json!(["*"])), 1 => Just(json!(["filesystem.*", "process.run"]))];
    let actor = prop_oneof![5 => Just("agent"), 1 => Just("validator")];
    let moment = (0i64..48, 0u64..4, 1u32..3);
    (asked, agent, labels, caller, tools, actor, moment).prop_map(
        |((capability, input), agent, labels, caller, tools, actor, (hour, calls, revision))| {
            let day = 1 + hour / 24;
            let mut call = json!({
                "capability": capability,
                "input": input,
                "agent": agent,
                "labels": labels,
                "tools": tools,
                "actor": actor,
                "revision": revision,
                "at": format!("1970-01-{day:02}T{:02}:00:00Z", hour % 24),
                "calls_hour": calls,
                "calls_day": calls,
                "spent_day_micro_usd": calls,
            });
            for (name, value) in caller.as_object().into_iter().flatten() {
                call[name] = value.clone();
            }
            Call(call)
        },
    )
}
