//! Whose an agent's files are on the host, and what becomes of those of a deleted one.
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, Scripted};

const WITHIN: Duration = Duration::from_secs(60);

const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: leaver, version: "1.0.0"}
spec:
  task: {instruction: Write the file.}
  tools: ["filesystem.*"]
"#;

/// A daemon whose agents write a file; deleted agents' files go after `grace`.
fn house(data: &Path, grace: &str) -> (Daemon, Scripted, tokio::runtime::Runtime) {
    let script: Script = Arc::new(|_, answered| match answered {
        0 => Say::Calls(vec![("filesystem.write", json!({"path": "note.txt", "content": "here"}))]),
        _ => Say::Text("Written.".to_string()),
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let model = runtime.block_on(Scripted::serve(script));
    let url = model.base_url();
    let environment = [
        ("OPENAI_BASE_URL", url.as_str()),
        ("OPENAI_API_KEY", "sk-test"),
        ("TENURE_DEFAULT_MODEL", "openai/scripted"),
        ("TENURE_HOME_GRACE", grace),
    ];
    (Daemon::start(data, &environment), model, runtime)
}

/// Has an agent of this name write its file, and gives its work folder.
fn write_note(daemon: &Daemon, name: &str) -> PathBuf {
    let agent = daemon.deploy(&MANIFEST.replace("leaver", name))["id"].as_str().expect("an id").to_string();
    let started = daemon.json(&["execute", "--agent", name, "--input", "go"]);
    let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}");
    let work = daemon.work_folder(&agent);
    assert_eq!(std::fs::read_to_string(work.join("note.txt")).expect("the file is there"), "here");
    work
}

/// Lets an agent write a file, deletes it, and gives its folder once it is archived.
fn leave(data: &Path, grace: &str) -> (Daemon, PathBuf) {
    let (daemon, _model, _runtime) = house(data, grace);
    let work = write_note(&daemon, "leaver");
    daemon.ok(&["agent", "delete", "leaver", "--yes"]);
    until("it is archived", || kinds(&daemon).iter().any(|kind| kind == "agent.archived"));
    let home = work.parent().expect("a work folder lies in a home").to_path_buf();
    (daemon, home)
}

fn kinds(daemon: &Daemon) -> Vec<String> {
    let records = daemon.json(&["audit", "tail", "--limit", "500"]);
    let kinds = records.as_array().expect("records").iter().filter_map(|record| record["kind"].as_str());
    kinds.map(str::to_string).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn without_a_grace_a_deleted_agents_files_go_and_the_ledger_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (daemon, home) = leave(&folder.path().join("data"), "0s");
    until("its removal is recorded", || kinds(&daemon).iter().any(|kind| kind == "agent.home_removed"));
    assert!(!home.exists(), "{} is still there", home.display());
    daemon.ok(&["audit", "verify"]);
}

#[test]
fn within_its_grace_a_deleted_agents_files_stay_also_over_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut daemon, home) = leave(&folder.path().join("data"), "1h");
    daemon.stop();
    daemon.start_again();
    assert!(home.join("work/note.txt").is_file(), "{} is gone", home.display());
    assert!(!kinds(&daemon).iter().any(|kind| kind == "agent.home_removed"));
}

#[test]
fn agents_of_two_daemons_of_one_host_never_have_one_uid_not_even_one_that_a_removed_folder_had() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only as root have agents uids of their own");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut left, _model, _runtime) = house(&folder.path().join("left"), "1h");
    let (right, _other_model, _other_runtime) = house(&folder.path().join("right"), "1h");
    let mut had: BTreeMap<u32, &str> = BTreeMap::new();
    let mut owns = |daemon: &Daemon, name: &'static str| {
        let work = write_note(daemon, name);
        let uid = std::fs::metadata(&work).expect("it is there").uid();
        assert_eq!(std::fs::metadata(work.join("note.txt")).expect("it is there").uid(), uid, "its files are its own");
        assert_ne!(uid, 0, "`{name}` is no root of this host");
        if let Some(other) = had.insert(uid, name) {
            panic!("`{name}` has the uid of `{other}`: {uid}");
        }
        work
    };
    // By turns, so that two that count for themselves would meet.
    let first = owns(&left, "left-a");
    owns(&right, "right-a");
    owns(&left, "left-b");
    owns(&right, "right-b");
    left.stop();
    let home = first.parent().expect("a work folder lies in a home");
    std::fs::remove_dir_all(home).expect("an operator removes it");
    left.start_again();
    owns(&left, "left-c");
    owns(&right, "right-c");
}
