//! What the floor and the templates allow of each capability of the catalogue.
use tenure_core::capability::catalogue;
use tenure_core::capability::permission::ASK;
use tenure_core::judge::Verdict;
use tenure_policy::{Policy, Situation, Template};

fn verdict(policy: &Policy, capability: &str, input: serde_json::Value) -> Verdict {
    let text = serde_json::json!({"capability": capability, "input": input}).to_string();
    let asked = Situation::parse(&text).and_then(|situation| situation.asked()).expect("a call");
    policy.judge(&asked.ask(None)).verdict
}

#[test]
fn every_template_compiles_and_decides_every_capability() {
    for template in Template::ALL {
        let policy = Policy::compile(&template.bundle()).unwrap_or_else(|faults| panic!("{faults:#?}"));
        for capability in catalogue() {
            let verdict = verdict(&policy, capability.name, serde_json::json!({}));
            assert!(verdict < Verdict::Blocked, "{}: {}", template.as_str(), capability.name);
            // What a program asks its supervisor, no rule answers but the permissive one.
            let asks = capability.name == ASK && template == Template::Moderate;
            if template != Template::Restrictive && !asks {
                assert!(
                    verdict < Verdict::ApprovalRequired,
                    "{} lets an agent work unasked: {}",
                    template.as_str(),
                    capability.name
                );
            }
        }
    }
}

#[test]
fn the_restrictive_template_has_a_person_decide_on_what_reaches_out() {
    let policy = Policy::compile(&Template::Restrictive.bundle()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    for (capability, expected) in [
        ("filesystem.read", Verdict::Autonomous),
        ("filesystem.write", Verdict::Notify),
        ("filesystem.delete", Verdict::ApprovalRequired),
        ("process.run", Verdict::ApprovalRequired),
        ("network.dns_lookup", Verdict::ApprovalRequired),
        ("agent.execute", Verdict::ApprovalRequired),
        ("mcp.mail.send", Verdict::ApprovalRequired),
        ("state.persistent.set", Verdict::Notify),
        ("comms.receive", Verdict::Autonomous),
    ] {
        assert_eq!(verdict(&policy, capability, serde_json::json!({})), expected, "{capability}");
    }
}

#[test]
fn the_floor_holds_under_the_most_permissive_policy() {
    let policy = Policy::compile(&Template::Permissive.bundle()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let run = |words: &str| {
        let mut words = words.split(' ');
        let command = words.next().unwrap_or_default();
        verdict(&policy, "process.run", serde_json::json!({"command": command, "args": words.collect::<Vec<_>>()}))
    };
    for command in ["rm -rf /", "rm -r -f /etc", "sh -c rm -rf /*", "mkfs.ext4 /dev/sda", "dd if=a of=/dev/sda"] {
        assert_eq!(run(command), Verdict::Blocked, "{command}");
    }
    for command in ["rm -rf target", "rm -rf /workspace/target/", "dd if=a of=b", "ls /dev", "grep -rf / a"] {
        assert!(run(command) < Verdict::Blocked, "{command}");
    }
}
