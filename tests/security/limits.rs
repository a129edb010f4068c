//! Each limit of the manifest is kept, and told when it is hit: to the model, in the result, and in the ledger with how much
//! there was. Beside each stands the same program with room.
use crate::office::Office;
use serde_json::{Value, json};
use std::sync::Arc;
use tests::scripted::{Say, said};

fn manifest(resources: &str) -> String {
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: clerk}}\nspec:\n  task: {{instruction: Do what the input says.}}\n  \
         execution: {{mode: one-shot}}\n  tools: [\"process.run\", \"filesystem.*\"]\n  security:\n    resources: {resources}\n"
    )
}

fn shell(script: &str) -> (&'static str, Value) {
    ("process.run", json!({"command": "sh", "args": ["-c", script]}))
}

fn python(script: &str) -> (&'static str, Value) {
    ("process.run", json!({"command": "python3", "args": ["-c", script]}))
}

struct Case {
    resource: &'static str,
    tight: &'static str,
    roomy: &'static str,
    limit: u64,
    call: (&'static str, Value),
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            resource: "memory",
            tight: "{memory: 64Mi}",
            roomy: "{memory: 512Mi}",
            limit: 64 << 20,
            call: python("x = b'x' * (200 << 20); print(len(x))"),
        },
        Case {
            resource: "pids",
            tight: "{pids: 8}",
            roomy: "{pids: 64}",
            limit: 8,
            call: shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait"),
        },
        Case {
            resource: "disk",
            tight: "{disk: 8Mi}",
            roomy: "{disk: 256Mi}",
            limit: 8 << 20,
            call: shell(
                "rm -f big; i=0; while [ $i -lt 64 ]; do head -c 1048576 /dev/zero >> big || exit 1; sleep 0.05; i=$((i+1)); done",
            ),
        },
        Case {
            resource: "files",
            tight: "{files: 100}",
            roomy: "{files: 5000}",
            limit: 100,
            call: shell(
                "rm -rf many; mkdir many; i=0; while [ $i -lt 600 ]; do : > many/$i || exit 1; [ $((i % 50)) -eq 0 ] && sleep 0.2; i=$((i+1)); done",
            ),
        },
        Case {
            resource: "output",
            tight: "{output: 64Ki}",
            roomy: "{output: 4Mi}",
            limit: 64 << 10,
            call: shell("head -c 1000000 /dev/zero | tr '\\0' x"),
        },
    ]
}

#[test]
fn a_limit_that_is_hit_is_told_to_the_model_in_the_result_and_in_the_ledger_and_with_room_nothing_is() {
    let office = Office::open(Arc::new(|request, answered| {
        let told = said(request);
        let case = cases().into_iter().find(|case| told.contains(&format!("case {}", case.resource)));
        let case = case.expect("the input names a case");
        match answered {
            0 => Say::Calls(vec![case.call]),
            _ => Say::Text(format!(
                "told: {}",
                told.contains(&format!("limit: {}\nlimit_was: {}", case.resource, case.limit))
            )),
        }
    }));
    for case in cases() {
        for (resources, hit) in [(case.tight, true), (case.roomy, false)] {
            let deployed = office.deploy(&manifest(resources));
            assert!(deployed.status.success(), "{}", String::from_utf8_lossy(&deployed.stderr));
            let record = office.execute("clerk", &format!("case {}", case.resource));
            let id = record["id"].as_str().expect("an id");
            let logs = office.daemon.ok(&["execution", "logs", id]);
            assert!(logs.contains(&format!("told: {hit}")), "{}: {logs}", case.resource);
            let tail = office.daemon.ok(&["audit", "tail", "--limit", "30", "-o", "json"]);
            let mark = format!("\"limit\":{}", case.limit);
            let ended = tail.replace(": ", ":").contains(&mark) && tail.contains("resource_exhausted");
            assert!(!hit || ended, "{}: the ledger does not say {mark}:\n{tail}", case.resource);
        }
    }
    office.holds();
}

#[test]
fn a_program_that_the_cpu_limit_slows_ends_well_and_is_told_for_how_long_and_with_room_nothing_is() {
    const BURN: &str = "import time\nwhile time.process_time() < 0.5: pass\nprint('burnt')";
    let office = Office::open(Arc::new(|request, answered| match answered {
        0 => Say::Calls(vec![python(BURN)]),
        _ => {
            let told = said(request);
            let held_back = told.split("cpu_throttled_ms: ").nth(1).and_then(|rest| rest.lines().next());
            Say::Text(format!("burnt: {} held back: {}", told.contains("burnt"), held_back.unwrap_or("not told")))
        }
    }));
    let held_back = |resources: &str| {
        let deployed = office.deploy(&manifest(resources));
        let refusal = String::from_utf8_lossy(&deployed.stderr).into_owned();
        if !deployed.status.success() && refusal.contains("resources.cpu") {
            println!("skipped: no control group slows programs here: {refusal}");
            return None;
        }
        assert!(deployed.status.success(), "{refusal}");
        let record = office.execute("clerk", "x");
        assert_eq!(record["status"], "completed", "{record}");
        let logs = office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id")]);
        let told = logs.split("burnt: true held back: ").nth(1).unwrap_or_else(|| panic!("it did not run: {logs}"));
        Some(told.lines().next().unwrap_or_default().trim().parse::<u64>().ok())
    };
    if let Some(told) = held_back("{cpu: 100}") {
        // Half a second of work at a tenth of a core waits for some four seconds, whatever else the host does.
        assert!(told.is_some_and(|waited_ms| waited_ms >= 1000), "{told:?}");
        assert_eq!(held_back("{cpu: 4000}"), Some(None), "the control");
    }
    office.holds();
}

#[test]
fn a_program_that_ignores_sigterm_ends_at_its_time_and_its_children_with_it() {
    let office = Office::open(Arc::new(|request, answered| match answered {
        0 => {
            let script = "trap '' TERM INT HUP; (trap '' TERM; setsid sleep 4242) & while :; do sleep 1; done";
            let mut call = shell(script);
            call.1["timeout_ms"] = json!(1500);
            Say::Calls(vec![call])
        }
        _ => Say::Text(format!("timed out: {}", said(request).contains("timed_out"))),
    }));
    assert!(office.deploy(&manifest("{pids: 20}")).status.success());
    let record = office.execute("clerk", "x");
    let logs = office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id")]);
    assert!(logs.contains("timed out: true"), "{logs}");
    let left = office.daemon.tree().into_iter().filter(|process| process.command.contains("sleep 4242")).count();
    assert_eq!(left, 0);
    office.holds();
}
