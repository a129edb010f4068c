//! Rules that recorded calls ask for: they load, they open no more than was seen, and what they change is what they say.
use super::replay::recorded;
use tenure_core::id::Mint;
use tenure_core::judge::Verdict;
use tenure_core::time::Time;
use tenure_policy::{
    Against, Bundle, Fate, Ground, Layer, Learned, Policy, RecordedCall, Situation, Template, compare, learn,
};

fn calls(many: &[(&str, Fate, usize)]) -> Vec<RecordedCall> {
    let mut mint = Mint::new(Time::from_millis(0), 1);
    let mut calls = Vec::new();
    for (situation, fate, count) in many {
        let situation = situation.replacen('{', "{agent = 'coder', ", 1);
        for _ in 0..*count {
            calls.push(RecordedCall { fate: *fate, ..recorded(&mut mint, &situation, Verdict::Autonomous) });
        }
    }
    calls
}

fn compiled(bundle: &Bundle) -> Policy {
    Policy::compile(bundle).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn learned(bundle: &Bundle, calls: &[RecordedCall]) -> (Learned, Policy, Policy) {
    let holds = compiled(bundle);
    let learned = learn(&holds, bundle, calls.iter().cloned());
    let candidate = compiled(&learned.candidate);
    (learned, holds, candidate)
}

fn verdict(policy: &Policy, situation: &str) -> Verdict {
    let asked = Situation::parse(situation).and_then(|situation| situation.asked()).expect("a call");
    policy.judge(&asked.ask(Some(policy.digest()))).verdict
}

const NARROW: &str = "permit(principal, action in [Action::\"filesystem.*\", Action::\"system.*\"], resource);\n";

#[test]
fn what_no_rule_permits_would_ask_a_person_and_no_other_host_path_or_command_is_opened() {
    let bundle = Bundle::default().with(Layer::System, "own.cedar", NARROW);
    let calls = calls(&[
        (
            "{capability = 'network.http_request', input = {url = 'https://a.example/x', method = 'GET'}}",
            Fate::Blocked,
            3,
        ),
        ("{capability = 'process.run', input = {command = 'cargo', args = ['test', \"it's\"]}}", Fate::Blocked, 2),
        ("{capability = 'state.shared.set', input = {key = 'a', value = 1}}", Fate::Blocked, 1),
        ("{capability = 'filesystem.read', input = {path = 'src/a.rs'}}", Fate::Blocked, 1),
    ]);
    let (learned, holds, candidate) = learned(&bundle, &calls);
    let grounds: Vec<(Ground, u64)> = learned.proposals.iter().map(|one| (one.ground, one.count)).collect();
    assert_eq!(grounds, [(Ground::Denied, 3), (Ground::Denied, 2), (Ground::Denied, 1)], "{learned:#?}");
    let before = |situation: &str| verdict(&holds, situation);
    let after = |situation: &str| verdict(&candidate, situation);
    for (seen, other) in [
        (
            "{agent = 'coder', capability = 'network.http_request', input = {url = 'https://a.example/y', method = 'GET'}}",
            "{agent = 'coder', capability = 'network.http_request', input = {url = 'https://b.example/x', method = 'GET'}}",
        ),
        (
            "{agent = 'coder', capability = 'process.run', input = {command = 'cargo', args = ['test', 'other']}}",
            "{agent = 'coder', capability = 'process.run', input = {command = 'cargo', args = ['publish']}}",
        ),
        (
            "{agent = 'coder', capability = 'state.shared.set', input = {key = 'a', value = 2}}",
            "{agent = 'other', capability = 'state.shared.set', input = {key = 'a', value = 2}}",
        ),
    ] {
        assert_eq!((before(seen), after(seen)), (Verdict::Blocked, Verdict::ApprovalRequired), "{seen}");
        assert_eq!((before(other), after(other)), (Verdict::Blocked, Verdict::Blocked), "{other}");
    }
    let note = "1 call: filesystem.read of coder was blocked then and would not be now";
    assert_eq!(learned.notes, [note]);
    assert!(learned.diff.starts_with("--- /dev/null\n+++ b/system/learned.cedar\n@@"), "{}", learned.diff);
    for told in ["+// 3 calls, as in call_", "+@match(", "+@not_match("] {
        assert!(learned.diff.contains(told), "{told}: {}", learned.diff);
    }
}

#[test]
fn what_people_always_allowed_is_told_them_from_then_on_and_what_they_refused_once_is_asked_as_before() {
    let asks = "// Programs.\n@id(\"asks\")\n@verdict(\"approval_required\")\npermit(principal, action == Action::\"process.run\", resource);\n\nforbid(principal, action == Action::\"filesystem.delete\", resource);\n";
    let bundle = Template::Moderate.bundle().with(Layer::Project, "asks.cedar", asks);
    let calls = calls(&[
        ("{capability = 'process.run', input = {command = 'make', args = ['test']}}", Fate::Made, 3),
        ("{capability = 'process.run', input = {command = 'git', args = ['push']}}", Fate::Made, 4),
        ("{capability = 'process.run', input = {command = 'git', args = ['push']}}", Fate::Rejected, 1),
        ("{capability = 'process.run', input = {command = 'ls'}}", Fate::Made, 2),
        ("{capability = 'filesystem.delete', input = {path = 'a'}}", Fate::Blocked, 2),
    ]);
    let (learned, holds, candidate) = learned(&bundle, &calls);
    assert_eq!(learned.proposals.len(), 1, "{learned:#?}");
    let made = "{agent = 'coder', capability = 'process.run', input = {command = 'make', args = ['test', 'x']}}";
    assert_eq!(verdict(&holds, made), Verdict::ApprovalRequired);
    assert_eq!(verdict(&candidate, made), Verdict::Notify);
    for asked in ["['push']", "['status']"] {
        let git =
            format!("{{agent = 'coder', capability = 'process.run', input = {{command = 'git', args = {asked}}}}}");
        assert_eq!(verdict(&candidate, &git), Verdict::ApprovalRequired);
    }
    let summary = compare(Against::Policy(&holds), &candidate, calls.into_iter());
    assert_eq!((summary.judged, summary.changed), (12, 3));
    assert_eq!(learned.notes.len(), 2, "{:#?}", learned.notes);
    assert!(learned.notes.iter().any(|note| note.contains("also refused")), "{:#?}", learned.notes);
    assert!(
        learned.notes.iter().any(|note| note.contains("is forbidden by project:asks.cedar:6")),
        "{:#?}",
        learned.notes
    );
    let kept = " permit(principal, action == Action::\"process.run\", resource)";
    assert!(learned.diff.contains("-permit(") && learned.diff.contains("+unless {"), "{}", learned.diff);
    assert!(!learned.diff.contains("-forbid") && !learned.diff.contains(kept), "{}", learned.diff);
}

#[test]
fn what_an_agent_always_does_goes_on_and_what_is_new_asks_a_person() {
    let bundle = Template::Moderate.bundle();
    let calls = calls(&[
        ("{capability = 'filesystem.write', input = {path = 'out/a.txt', content = 'x'}}", Fate::Made, 4),
        ("{capability = 'filesystem.write', input = {path = 'log/b', content = 'x'}}", Fate::Made, 3),
        ("{capability = 'network.http_request', input = {url = 'https://a.example/x', method = 'GET'}}", Fate::Made, 6),
        ("{capability = 'agent.whoami'}", Fate::Made, 1),
    ]);
    let (learned, holds, candidate) = learned(&bundle, &calls);
    let ids: Vec<&str> = learned.proposals.iter().map(|one| one.id.as_str()).collect();
    let expected = ["learned_made_filesystem_write", "learned_made_network_http_request", "learned_made_only"];
    assert_eq!(ids, expected, "{learned:#?}");
    assert!(learned.proposals.iter().all(|one| one.layer == Layer::Agent("coder".to_string())));
    assert_eq!(compare(Against::Policy(&holds), &candidate, calls.into_iter()).changed, 0, "what was done goes on");
    for (situation, expected) in [
        (
            "{agent = 'coder', capability = 'filesystem.write', input = {path = 'out/z', content = ''}}",
            Verdict::Autonomous,
        ),
        (
            "{agent = 'coder', capability = 'filesystem.write', input = {path = 'src/z', content = ''}}",
            Verdict::ApprovalRequired,
        ),
        (
            "{agent = 'coder', capability = 'network.http_request', input = {url = 'https://a.example/', method = 'POST'}}",
            Verdict::ApprovalRequired,
        ),
        ("{agent = 'coder', capability = 'process.run', input = {command = 'ls'}}", Verdict::ApprovalRequired),
        ("{agent = 'other', capability = 'process.run', input = {command = 'ls'}}", Verdict::Autonomous),
    ] {
        assert_eq!(verdict(&candidate, situation), expected, "{situation}");
    }
    // The same calls teach nothing new once the rules hold.
    let again = learn(&candidate, &learned.candidate, std::iter::empty());
    assert_eq!((again.proposals.len(), again.diff.as_str()), (0, ""));
}

#[test]
fn an_exception_that_a_rules_own_example_forbids_is_not_proposed_and_said() {
    let asks = "@verdict(\"approval_required\")\n@match(\"{agent = 'coder', capability = 'process.run', input = {command = 'make'}}\")\npermit(principal, action == Action::\"process.run\", resource);\n";
    let bundle = Template::Moderate.bundle().with(Layer::Project, "asks.cedar", asks);
    let calls = calls(&[
        ("{capability = 'process.run', input = {command = 'make'}}", Fate::Made, 3),
        ("{capability = 'process.run', input = {command = 'ls'}}", Fate::Made, 3),
    ]);
    let (learned, _, candidate) = learned(&bundle, &calls);
    assert_eq!(learned.proposals.len(), 1, "{learned:#?}");
    assert!(learned.notes.iter().any(|note| note.contains("does not stand beside what holds")), "{:#?}", learned.notes);
    let make = "{agent = 'coder', capability = 'process.run', input = {command = 'make'}}";
    assert_eq!(verdict(&candidate, make), Verdict::ApprovalRequired);
}

#[test]
fn a_secret_that_nobody_bound_is_no_want_of_a_rule_and_no_candidate_opens_it() {
    let bundle = Bundle::default().with(Layer::System, "own.cedar", NARROW);
    let of = "{capability = 'network.credentialed_request', input = {url = 'https://a.example/', method = 'GET', secret = 'token'}}";
    let of_rules = calls(&[(of, Fate::Blocked, 4)]);
    let unbound: Vec<RecordedCall> =
        of_rules.iter().cloned().map(|call| RecordedCall { unbound: true, ..call }).collect();
    let (control, ..) = learned(&bundle, &of_rules);
    assert_eq!(control.proposals.len(), 1, "the control: {control:#?}");
    let (learned, holds, _) = learned(&bundle, &unbound);
    assert_eq!(learned.proposals, []);
    assert!(
        learned.notes[0].starts_with("4 calls: network.credentialed_request of coder names a secret"),
        "{:?}",
        learned.notes
    );

    let open = compiled(&Template::Permissive.bundle());
    let summary = compare(Against::Policy(&holds), &open, of_rules.into_iter());
    assert_eq!((summary.changed, summary.unbound), (4, 0), "the control");
    let summary = compare(Against::Policy(&holds), &open, unbound.iter().cloned());
    assert_eq!((summary.changed, summary.unchanged, summary.unbound), (0, 4, 4));
    let summary = compare(Against::Policy(&open), &holds, unbound.into_iter());
    assert_eq!((summary.changed, summary.unbound), (0, 0), "rules block it too");
}
