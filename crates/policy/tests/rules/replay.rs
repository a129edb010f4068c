//! What a candidate policy would change of recorded calls.
use tenure_core::id::{CallId, Mint};
use tenure_core::judge::Verdict;
use tenure_core::time::Time;
use tenure_policy::{Against, Fate, Layer, Policy, RecordedCall, Situation, Template, compare};

pub(crate) fn recorded(mint: &mut Mint, situation: &str, verdict: Verdict) -> RecordedCall {
    let asked = Situation::parse(situation).and_then(|situation| situation.asked()).expect("a call");
    RecordedCall {
        call: CallId::mint(mint),
        agent: asked.agent,
        revision: asked.revision,
        actor: asked.actor,
        capability: asked.capability,
        tools: asked.tools.into(),
        context: asked.context,
        attributes: Some(asked.attributes),
        verdict,
        fate: Fate::Made,
        unbound: false,
    }
}

#[test]
fn changes_are_grouped_with_examples_and_what_is_erased_is_said_to_be_unjudgeable() {
    let text = "@id(\"late\") forbid(principal, action == Action::\"process.run\", resource) when { context.hour >= 22 };
        @id(\"notes\") forbid(principal, action in Action::\"filesystem.*\", resource) when { context has path && context.path like \"*/notes\" };";
    let new = Policy::compile(&Template::Moderate.bundle().with(Layer::Project, "p", text))
        .unwrap_or_else(|faults| panic!("{faults:#?}"));
    let old = Policy::compile(&Template::Moderate.bundle()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let mut mint = Mint::new(Time::from_millis(0), 1);
    let mut calls = Vec::new();
    for hour in 0..24 {
        let run =
            format!("{{capability = 'process.run', input = {{command = 'ls'}}, at = '2026-03-02T{hour:02}:00:00Z'}}");
        calls.push(recorded(&mut mint, &run, Verdict::Autonomous));
    }
    for path in ["notes", "b", "c/notes", "notes", "notes"] {
        let read = format!("{{capability = 'filesystem.read', input = {{path = '{path}'}}}}");
        calls.push(recorded(&mut mint, &read, Verdict::Autonomous));
    }
    calls.push(RecordedCall {
        attributes: None,
        ..recorded(&mut mint, "{capability = 'agent.whoami'}", Verdict::Notify)
    });
    for against in [Against::Records, Against::Policy(&old)] {
        let summary = compare(against, &new, calls.iter().cloned());
        assert_eq!((summary.judged, summary.changed, summary.unchanged, summary.unjudgeable), (29, 6, 23, 1));
        let groups: Vec<(&str, u64, usize)> =
            summary.differences.iter().map(|one| (one.rule.as_str(), one.count, one.examples.len())).collect();
        assert_eq!(groups, [("project:p:2 notes", 4, 3), ("project:p:1 late", 2, 2)]);
        assert_eq!(summary.differences[0].examples[0], calls[24].call);
        assert_eq!(
            (summary.differences[0].before, summary.differences[0].after),
            (Verdict::Autonomous, Verdict::Blocked)
        );
    }
    assert_eq!(compare(Against::Policy(&new), &new, calls.into_iter()).changed, 0);
}

#[test]
fn calls_that_differ_in_what_a_rule_looks_at_are_judged_apart() {
    for (condition, field, values) in [
        ("context.minute == 7", "at", ["'2026-03-02T05:07:30Z'", "'2026-03-02T05:08:30Z'"]),
        ("context.weekday == 1", "at", ["'2026-03-02T05:07:30Z'", "'2026-03-03T05:07:30Z'"]),
        ("context.calls_day > 1", "calls_day", ["2", "1"]),
        ("context.spent_month_micro_usd > 1", "spent_month_micro_usd", ["2", "1"]),
        ("context has level && context.level == \"a\"", "level", ["'a'", "'b'"]),
    ] {
        let rule = format!("forbid(principal, action, resource) when {{ {condition} }};");
        let bundle = Template::Moderate.bundle().with(Layer::Project, "p", &rule);
        let new = Policy::compile(&bundle).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let mut mint = Mint::new(Time::from_millis(0), 1);
        let calls: Vec<RecordedCall> = values
            .into_iter()
            .cycle()
            .take(10)
            .map(|value| format!("{{capability = 'agent.whoami', {field} = {value}}}"))
            .map(|situation| recorded(&mut mint, &situation, Verdict::Autonomous))
            .collect();
        let summary = compare(Against::Records, &new, calls.into_iter());
        assert_eq!((summary.changed, summary.unchanged), (5, 5), "{condition}");
    }
}
