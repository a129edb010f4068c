use crate::house::{House, confinement, shell};
use serde_json::json;
use tenure_core::call::Outcome;
use tenure_wire::frame::FromWorker;

#[tokio::test]
async fn python_runs_with_what_it_is_given() {
    let mut house = House::new().await;
    let program = "import os, sys\nprint(sys.stdin.read().upper(), os.environ['WHO'], os.getcwd())\nsys.stderr.write('oh')\nsys.exit(3)\n";
    house.does("filesystem.write", json!({"path": "sub/main.py", "content": program})).await;
    for name in ["python", "python3"] {
        let run = json!({"command": name, "args": ["main.py"], "stdin": "hello", "env": {"WHO": "me"}, "cwd": "sub"});
        let call = house.call("process.run", run);
        let outcome = house.perform(&call).await;
        assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(3) });
        let level = outcome.level.expect("a level");
        assert!(level.contains("seccomp on") && level.chars().count() <= 256, "{level}");
        let expected = json!({
            "exit_code": 3, "signal": null, "stdout": "HELLO me /workspace/sub\n", "stderr": "oh",
            "timed_out": false, "truncated": false,
        });
        assert_eq!(outcome.result, expected);
    }
    let found = house.does("process.run", json!({"command": "python3", "args": ["--version"]})).await;
    assert_eq!(found["stdout"], format!("Python {}\n", house.hello.host.toolchains[0].version));
}

#[tokio::test]
async fn calls_of_one_iteration_run_side_by_side_in_one_jail() {
    let mut house = House::new().await;
    // Each waits for what only the next one does; in order they would wait for ever.
    let waits = |mine: &str, other: &str| {
        shell(&format!("while [ ! -e {other} ]; do sleep 0.02; done; echo > {mine}; readlink /proc/self/ns/pid"))
    };
    let calls = [waits("a", "b"), waits("b", "c")].map(|arguments| house.call("process.run", arguments));
    let last = house.call("filesystem.write", json!({"path": "c", "content": ""}));
    for call in calls.iter().chain([&last]) {
        house.begin(call).await;
    }
    house.outcome(last.lease).await;
    let mut jails = Vec::new();
    for call in &calls {
        let outcome = house.outcome(call.lease).await;
        assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(0) }, "{outcome:?}");
        jails.push(outcome.result["stdout"].clone());
    }
    assert!(jails[0] == jails[1] && jails[0].as_str().unwrap().starts_with("pid:["), "{jails:?}");
}

#[tokio::test]
async fn a_flood_of_output_is_bounded_and_says_what_it_lost() {
    let mut house = House::new().await;
    let flood = house.call("process.run", shell("echo first; yes 0123456789 | head -c 8000000; echo last"));
    let outcome = house.perform(&flood).await;
    assert_eq!(outcome.outcome, Outcome::Done { exit_code: Some(0) });
    let stdout = outcome.result["stdout"].as_str().unwrap();
    assert!(stdout.len() < 65 << 10 && outcome.result["truncated"] == true);
    assert!(stdout.starts_with("first\n0123") && stdout.ends_with("last\n") && stdout.contains("bytes left out …]"));
    let shown = house.aside.iter().filter_map(|frame| match frame {
        FromWorker::Output { text, .. } => Some(text.len()),
        _ => None,
    });
    let shown: Vec<usize> = shown.collect();
    assert!(!shown.is_empty() && shown.iter().all(|bytes| *bytes <= 4096));
    assert!(shown.iter().sum::<usize>() < 4_000_000, "most of the flood is not shown");

    let mut small = house.call("process.run", shell("yes | head -c 100000"));
    small.confinement.output_bytes = 1000;
    house.run = house.another_run();
    (small.holder, small.agent) = (house.run.holder, house.run.agent);
    let outcome = house.perform(&small).await;
    let stdout = outcome.result["stdout"].as_str().unwrap();
    assert!(stdout.len() < 1200 && outcome.result["truncated"] == true, "{} bytes", stdout.len());
}

#[tokio::test]
async fn a_program_ends_with_its_time_and_what_it_said_is_kept() {
    let mut house = House::new().await;
    house.does("filesystem.list", json!({})).await;
    for by_itself in [true, false] {
        let mut said = json!("");
        // A slow host needs more time to get that far.
        for time_ms in [300, 3_000, 30_000] {
            let mut call = house.call("process.run", shell("echo begun; sleep 1000"));
            if by_itself {
                call.arguments["timeout_ms"] = json!(time_ms);
            } else {
                call.deadline_ms = time_ms;
            }
            let outcome = house.perform(&call).await;
            assert_eq!(outcome.outcome, Outcome::TimedOut);
            if outcome.result["stdout"] == "begun\n" {
                assert_eq!((&outcome.result["timed_out"], &outcome.result["limit"]), (&json!(true), &json!("time")));
                said = outcome.result["stdout"].clone();
                break;
            }
        }
        assert_eq!(said, "begun\n");
    }
    let mut late = house.call("filesystem.write", json!({"path": "late", "content": ""}));
    late.deadline_ms = 0;
    assert_eq!(house.perform(&late).await.outcome, Outcome::TimedOut);
    assert_eq!(house.fails("filesystem.stat", json!({"path": "late"})).await.0, "not_found");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_answered_with_a_way_out() {
    let mut house = House::new().await;
    let (code, sentence) = house.fails("process.run", json!({"command": "python3 main.py"})).await;
    assert_eq!(code, "not_found");
    assert!(sentence.contains("`args`"), "{sentence}");
    let (code, sentence) = house.fails("process.run", json!({"command": "cobol"})).await;
    assert_eq!(code, "not_found");
    assert!(sentence.contains("python3"), "{sentence}");
}

#[tokio::test]
async fn a_limit_that_was_hit_is_named() {
    let mut house = House::new().await;
    if !house.hello.level.contains("memory cgroup") || !house.hello.level.contains("pids cgroup") {
        println!("skipped: no control groups for memory and processes");
        return;
    }
    let mut hungry = house.call("process.run", json!({"command": "python3", "args": ["-c", "x = b'x' * (1 << 30)"]}));
    hungry.confinement.memory_bytes = 64 << 20;
    let outcome = house.perform(&hungry).await;
    assert_eq!(
        outcome.outcome,
        Outcome::ResourceExhausted { resource: "memory".to_owned(), limit: Some(64 << 20) },
        "{outcome:?}"
    );
    assert_eq!(outcome.result["limit"], "memory");

    house.run = house.another_run();
    let mut many = house.call("process.run", shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait"));
    many.confinement.pids = 8;
    let outcome = house.perform(&many).await;
    assert_eq!(
        outcome.outcome,
        Outcome::ResourceExhausted { resource: "pids".to_owned(), limit: Some(8) },
        "{outcome:?}"
    );
    // The control: with the usual limits both end well.
    house.run = house.another_run();
    let fine = house.call("process.run", json!({"command": "python3", "args": ["-c", "x = b'x' * (1 << 20)"]}));
    assert_eq!(fine.confinement, confinement());
    assert_eq!(house.perform(&fine).await.outcome, Outcome::Done { exit_code: Some(0) });
}
