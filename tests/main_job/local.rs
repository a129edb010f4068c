//! A real run with the local model on a real task: its outcome is checked in the work folder, and a validator makes it
//! try again. Runs where weights are (`TENURE_TEST_MODELS` names the folder); `cargo xtask test` fetches them.
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tests::daemon::{Daemon, program};

fn models_folder() -> Option<PathBuf> {
    std::env::var_os("TENURE_TEST_MODELS").map(PathBuf::from)
}

#[test]
fn the_local_model_writes_a_program_runs_it_and_passes_its_validators() {
    let Some(models) = models_folder() else {
        assert!(std::env::var_os("CI").is_none(), "CI must bring the weights: TENURE_TEST_MODELS is not set");
        eprintln!("skipped: TENURE_TEST_MODELS names no folder of weights");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = program("tenure-local-model");
    let environment = [
        ("TENURE_LOCAL_MODEL_BIN", local.to_str().expect("UTF-8")),
        ("TENURE_MODELS_DIR", models.to_str().expect("UTF-8")),
    ];
    let mut daemon = Daemon::start(&folder.path().join("data"), &environment);
    let manifest = include_str!("../../examples/demo/agent.yaml");
    let agent = daemon.deploy(manifest);
    let name = agent["name"].as_str().expect("a name").to_string();
    let started = daemon.json(&["execute", "--agent", &name, "--input", "FizzBuzz from 1 to 15"]);
    let record = daemon.ended(started["id"].as_str().expect("an id"), Duration::from_secs(900));
    assert_eq!(record["status"], "completed", "{record:#}\n{}", daemon.log());
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    let output = Command::new("python3").arg(work.join("fizz.py")).output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().nth(14), Some("FizzBuzz"), "{text}");
    daemon.ok(&["audit", "verify"]);
    daemon.stop();
}
