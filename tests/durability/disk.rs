//! A full disk under the ledger: nothing new is done, and cancel still kills; with room again, work goes on.
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, Scripted};

const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: sleeper, version: "1.0.0"}
spec:
  task: {instruction: Sleep.}
  tools: ["process.run"]
"#;

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_nothing_new_is_done_and_cancel_still_kills() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a small file system can only be mounted by root");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("it can be made");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&disk).status();
    assert!(mounted.expect("mount runs").success());
    let _mounted = Mounted(disk.clone());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let script: Script = Arc::new(|_, _| {
        Say::Calls(vec![("process.run", json!({"command": "python3", "args": ["-c", "import time; time.sleep(700)"]}))])
    });
    let model = runtime.block_on(Scripted::serve(script));
    let url = model.base_url();
    let environment = [
        ("OPENAI_BASE_URL", url.as_str()),
        ("OPENAI_API_KEY", "sk-test-0"),
        ("TENURE_DEFAULT_MODEL", "openai/scripted"),
    ];
    let mut daemon = Daemon::start(&disk.join("data"), &environment);
    daemon.deploy(MANIFEST);
    let id = daemon.json(&["execute", "--agent", "sleeper", "--input", "x"])["id"].as_str().expect("an id").to_string();
    let sleeping =
        |daemon: &Daemon| daemon.tree().iter().filter(|process| process.command.contains("time.sleep(700)")).count();
    let deadline = Instant::now() + Duration::from_secs(60);
    while sleeping(&daemon) == 0 {
        assert!(Instant::now() < deadline, "the program never ran:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    fill(&disk);
    let mut refused = None;
    for _ in 0..2000 {
        let output = daemon.run(&["execute", "--agent", "sleeper", "--input", "more"]);
        if !output.status.success() {
            refused = Some(String::from_utf8_lossy(&output.stderr).into_owned());
            break;
        }
    }
    let refused = refused.expect("a full disk refuses what is new");
    assert!(refused.contains("full"), "{refused}");
    daemon.ok(&["execution", "cancel", &id, "--yes"]);
    let record = daemon.ended(&id, Duration::from_secs(60));
    assert_eq!(record["status"], "cancelled", "{record:#}");
    assert_eq!(sleeping(&daemon), 0, "the cancelled program still runs");
    std::fs::remove_file(disk.join("filler")).expect("the filler is there");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !daemon.run(&["execute", "--agent", "sleeper", "--input", "again"]).status.success() {
        assert!(Instant::now() < deadline, "with room again, work does not go on:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    daemon.stop();
    daemon.ok(&["audit", "verify"]);
}

fn fill(disk: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(disk.join("filler")).expect("it can be made");
    let mut block = vec![0u8; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}
