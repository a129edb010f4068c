//! A real run with the local model on a real task: its outcome is checked in the work folder, and a validator makes it
//! try again.
use std::process::Command;
use std::time::Duration;
use tests::weights::LocalDaemon;

const TASK: &str = "Write fizz.py, which prints the numbers 1 to 15, but Fizz for multiples of 3, Buzz for multiples of 5 and \
    FizzBuzz for multiples of both. Run it and check its output.";

#[test]
fn the_local_model_writes_a_program_runs_it_and_passes_its_validators() {
    let Some(mut local) = LocalDaemon::start() else { return };
    let daemon = &mut local.daemon;
    let manifest = include_str!("../../examples/demo/agent.yaml");
    let agent = daemon.deploy(manifest);
    let name = agent["name"].as_str().expect("a name").to_string();
    let started = daemon.json(&["execute", "--agent", &name, "--input", TASK]);
    let record = daemon.ended(started["id"].as_str().expect("an id"), Duration::from_secs(900));
    assert_eq!(record["status"], "completed", "{record:#}\n{}", daemon.log());
    assert!(
        record["iterations"].as_array().is_some_and(|all| all.len() >= 2),
        "no validator made it try again: {record:#}"
    );
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    let output = Command::new("python3").arg(work.join("fizz.py")).output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().nth(14), Some("FizzBuzz"), "{text}");
    daemon.ok(&["audit", "verify"]);
    daemon.stop();
}
