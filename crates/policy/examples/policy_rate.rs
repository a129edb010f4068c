//! How long a decision takes as rules grow, beside plain Cedar over the whole set, and how fast recorded calls are judged anew.
//! `cargo run --release -p tenure-policy --example policy_rate`
use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request, Schema};
use serde_json::json;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tenure_core::id::{CallId, Mint};
use tenure_core::judge::Verdict;
use tenure_core::time::Time;
use tenure_policy::{Against, Asked, Fate, Layer, Policy, RecordedCall, Situation, Template, compare, schema_json};

const DECISIONS: usize = 20_000;
const REPLAYED: usize = 1_000_000;
const AGENTS: usize = 100;

fn main() {
    let is_json = std::env::args().any(|word| word == "--json");
    let mut decided = Vec::new();
    // With those of the template, 10,000 are what a bundle may hold.
    for rules in [10, 100, 1_000, 9_995] {
        let text = written(rules);
        let start = Instant::now();
        let policy = compiled(&text);
        let took = start.elapsed();
        let (p50, p99) = decisions(&policy, DECISIONS);
        let (plain50, plain99) = plain(&text, if rules > 1_000 { 200 } else { 2_000 });
        if !is_json {
            println!(
                "{rules:>6} rules compiled in {took:.1?}; a decision {p50:.1?} (p99 {p99:.1?}); plain Cedar {plain50:.1?} (p99 {plain99:.1?})"
            );
        }
        let us = |took: Duration| took.as_secs_f64() * 1e6;
        decided.push(json!({
            "rules": rules, "compiled_ms": took.as_secs_f64() * 1e3, "p50_us": us(p50), "p99_us": us(p99),
            "plain_p50_us": us(plain50), "plain_p99_us": us(plain99),
        }));
    }
    let holds = compiled("");
    let mut replays = Vec::new();
    for (name, late, differ) in [
        ("all different", "", true),
        ("all different, and a rule looks at the minute", LATE, true),
        ("of 1,000 kinds", "", false),
        ("of 1,000 kinds, and a rule looks at the minute", LATE, false),
    ] {
        let policy = compiled(&(written(1_000) + late));
        let start = Instant::now();
        let summary = compare(Against::Policy(&holds), &policy, recorded(differ));
        let (took, judged, changed) = (start.elapsed(), summary.judged, summary.changed);
        let rate = judged as f64 / took.as_secs_f64();
        if !is_json {
            println!("replay of {judged} calls, {name}: {took:.1?}, {rate:.0} a second, {changed} changed");
        }
        replays.push(json!({"name": name, "calls": judged, "s": took.as_secs_f64(), "changed": changed}));
    }
    if is_json {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        println!("{}", json!({"decisions": decided, "replays": replays, "threads": threads}));
    }
}

const LATE: &str = "forbid(principal, action, resource) when { context.minute > 59 };\n";

/// As a project of many agents has them: most of one agent or label, some of all. Short: 10,000 of them fit into one bundle.
fn written(rules: usize) -> String {
    let rule = |number: usize| {
        let agent = number % AGENTS;
        match number % 10 {
            0 => format!(
                "forbid(principal,action==Action::\"filesystem.write\",resource)when{{context has path&&context.path like \"/x{number}*\"}};\n"
            ),
            1..=3 => format!("permit(principal in Label::\"t={agent}\",action in Action::\"network.*\",resource);\n"),
            4 => format!("permit(principal==Agent::\"a{agent}\",action,resource);\n"),
            5 | 6 => format!(
                "forbid(principal==Agent::\"a{agent}\",action==Action::\"process.run\",resource)when{{context.program==\"x{number}\"}};\n"
            ),
            _ => format!(
                "forbid(principal==Agent::\"a{agent}\",action in Action::\"state.*\",resource)when{{context has key&&context.key==\"x{number}\"}};\n"
            ),
        }
    };
    (0..rules).map(rule).collect()
}

fn compiled(text: &str) -> Policy {
    let bundle = Template::Moderate.bundle().with(Layer::Project, "rules.cedar", text);
    Policy::compile(&bundle).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn situations() -> Vec<Asked> {
    let asked = |number: usize| {
        let agent = number % AGENTS;
        let (capability, input) = match number % 4 {
            0 => ("filesystem.write", json!({"path": format!("src/f{number}.rs"), "content": "x"})),
            1 => ("process.run", json!({"command": "cargo", "args": ["test", format!("t{number}")]})),
            2 => ("network.http_request", json!({"url": format!("https://h{number}.example/a")})),
            _ => ("state.persistent.get", json!({"key": format!("k{number}")})),
        };
        let text = json!({
            "capability": capability, "input": input, "agent": format!("a{agent}"),
            "labels": {"t": agent.to_string(), "tier": "1"}, "at": "2026-03-02T10:00:00Z",
        });
        Situation::parse(&text.to_string()).and_then(|situation| situation.asked()).expect("a call")
    };
    (0..1_000).map(asked).collect()
}

fn decisions(policy: &Policy, count: usize) -> (Duration, Duration) {
    let asked = situations();
    let took = asked.iter().cycle().take(count).map(|one| {
        let start = Instant::now();
        black_box(policy.judge(&one.ask(None)));
        start.elapsed()
    });
    quantiles(took.collect())
}

fn plain(text: &str, count: usize) -> (Duration, Duration) {
    let text = format!("{}{}{text}", tenure_policy::floor().text, Template::Moderate.text());
    let set: PolicySet = text.parse().expect("rules");
    let schema = Schema::from_json_value(schema_json()).expect("a schema");
    let entities = Entities::from_entities(schema.action_entities().expect("actions"), None).expect("entities");
    let uid = |text: &str| text.parse::<EntityUid>().expect("an entity");
    let context = Context::from_json_value(json!({"path": "/workspace/src/a.rs", "bytes": 1, "hour": 10}), None);
    let request = Request::new(
        uid("Agent::\"a1\""),
        uid("Action::\"filesystem.write\""),
        uid("Project::\"default\""),
        context.expect("a context"),
        None,
    );
    let (request, authorizer) = (request.expect("a request"), Authorizer::new());
    let took = (0..count).map(|_| {
        let start = Instant::now();
        black_box(authorizer.is_authorized(&request, &set, &entities));
        start.elapsed()
    });
    quantiles(took.collect())
}

fn quantiles(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

/// `differ`: no two of them have the same arguments.
fn recorded(differ: bool) -> impl Iterator<Item = RecordedCall> {
    let (asked, mut mint) = (situations(), Mint::new(Time::from_millis(0), 1));
    let recorded: Vec<RecordedCall> = asked
        .into_iter()
        .map(|asked| RecordedCall {
            call: CallId::mint(&mut mint),
            agent: asked.agent,
            revision: asked.revision,
            actor: asked.actor,
            capability: asked.capability,
            tools: asked.tools.into(),
            context: asked.context,
            attributes: Some(asked.attributes),
            verdict: Verdict::Autonomous,
            fate: Fate::Made,
            unbound: false,
        })
        .collect();
    (0..REPLAYED).map(move |number| {
        let mut call = recorded[number % recorded.len()].clone();
        call.context.at = Time::from_millis(number as i64 * 1_000);
        if let Some(attributes) = call.attributes.as_mut().filter(|_| differ) {
            attributes.path = attributes.path.as_ref().map(|path| format!("{path}{number}"));
            attributes.host = attributes.host.as_ref().map(|host| format!("h{number}.{host}"));
            attributes.key = attributes.key.as_ref().map(|key| format!("{key}{number}"));
            attributes.argv.iter_mut().for_each(|argv| argv.push(format!("t{number}")));
        }
        call
    })
}
