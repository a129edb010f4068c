//! Quotas that the file system keeps, on one of the test's own. Where the kernel or the user can have none, a skip says so.

use crate::house::{House, is_root, shell};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tenure_core::call::Outcome;
use tenure_core::manifest::{Guard, Quota};
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::CallOutcome;

/// A folder whose `data` is a file system of its own, unmounted at the end.
struct Disk {
    folder: Option<tempfile::TempDir>,
    data: PathBuf,
}

impl Disk {
    fn make(options: &str) -> Result<Disk, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, data) = (folder.path().join("image"), folder.path().join("data"));
        std::fs::create_dir(&data).map_err(|error| error.to_string())?;
        std::fs::File::create(&image).and_then(|file| file.set_len(96 << 20)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-m", "0", "-O", "quota", "-E", "quotatype=usrquota", &image.display().to_string()])?;
        run("mount", &["-o", options, &image.display().to_string(), &data.display().to_string()])?;
        Ok(Disk { folder: Some(folder), data })
    }

    fn lend(&mut self) -> tempfile::TempDir {
        self.folder.take().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", &self.data.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

fn used_up(outcome: &CallOutcome, resource: &str, limit: u64) {
    let expected = Outcome::ResourceExhausted { resource: resource.to_owned(), limit: Some(limit) };
    assert_eq!(outcome.outcome, expected, "{outcome:?}");
    assert!(outcome.result["error"].as_str().unwrap().contains(&format!("{limit} are allowed")), "{outcome:?}");
}

#[tokio::test]
async fn a_file_system_with_user_quotas_keeps_each_agent_to_its_limits_by_itself() {
    const LIMIT: u64 = 4 << 20;
    let disk = if is_root() { Disk::make("loop,usrquota") } else { Err("only root can give users quotas".to_owned()) };
    let mut disk = match disk {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped: no file system with user quotas here: {why}"),
    };
    let mut house = House::with_process(disk.lend()).await;
    assert_eq!(house.hello.host.quota, Quota::Hard, "{}", house.hello.level);
    assert!(house.hello.host.guards.contains(&Guard::HardQuota) && house.hello.level.ends_with("disk hard"));
    let small = |wanted: &mut Confinement| wanted.disk_bytes = LIMIT;
    let script = "echo x > kept; sleep 1000 & exec 3>hidden; rm hidden; dd if=/dev/zero bs=100k count=30 >&3; \
                  dd if=/dev/zero of=more bs=100k count=30; echo ended $?; exit 1";
    let filled = house.under(small, "process.run", shell(script)).await;
    assert!(filled.result["stderr"].as_str().unwrap().contains("quota"), "the kernel refused: {filled:?}");
    assert_eq!(filled.result["stdout"], "ended 1\n", "nobody killed it: {filled:?}");
    assert!(filled.level.as_deref().unwrap().ends_with("disk hard"));
    let write = |bytes: usize| json!({"path": "large", "content": "x".repeat(bytes)});
    let fits = house.under(small, "filesystem.write", write(900_000)).await;
    assert!(matches!(fits.outcome, Outcome::Done { .. }), "what was held is free again: {fits:?}");
    let half = shell("head -c 300000 /dev/zero > more; exit 3");
    let failed = house.under(small, "process.run", half).await;
    assert_eq!(
        failed.outcome,
        Outcome::Done { exit_code: Some(3) },
        "with room left a failure is no limit: {failed:?}"
    );
    let pad = shell("head -c 2400000 /dev/zero > pad");
    house.under(small, "process.run", pad).await;
    let other = json!({"path": "other", "content": "x".repeat(900_000)});
    used_up(&house.under(small, "filesystem.write", other).await, "disk", LIMIT);
    let fill = "while head -c 10000 /dev/zero >> full; do :; done; exit 3";
    let full = house.under(small, "process.run", shell(fill)).await;
    used_up(&full, "disk", LIMIT);
    used_up(&house.under(small, "filesystem.write", write(900_000)).await, "disk", LIMIT);
    // Another agent has its own.
    let first = house.run;
    house.run = house.another_run();
    let other = house.under(small, "filesystem.write", write(900_000)).await;
    assert!(matches!(other.outcome, Outcome::Done { .. }), "{other:?}");
    let own = |path: &Path| std::fs::metadata(path).unwrap().uid();
    let second = own(&house.work_folder());
    house.run = first;
    assert_ne!(own(&house.work_folder()), second);
    let emptied = shell("rm -rf full more large pad && cat kept");
    assert_eq!(house.under(small, "process.run", emptied).await.result["stdout"], "x\n");
    // The number of files; the newest opening's limits hold.
    house.run.iteration = 2;
    let few = |wanted: &mut Confinement| wanted.files = 200;
    let many = "i=0; while : > f$i; do i=$((i+1)); done 2>/dev/null; exit 3";
    let many = house.under(few, "process.run", shell(many)).await;
    used_up(&many, "files", 200);
    used_up(&house.under(few, "filesystem.write", json!({"path": "one", "content": "x"})).await, "files", 200);
    house.hang_up().await;
}

#[tokio::test]
async fn a_file_system_that_counts_and_refuses_nobody_gives_no_hard_quota() {
    let disk = if is_root() { Disk::make("loop") } else { Err("only root can mount one".to_owned()) };
    let mut disk = match disk {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped: no file system that counts for each user here: {why}"),
    };
    let house = House::with_process(disk.lend()).await;
    assert_eq!(house.hello.host.quota, Quota::Soft);
    assert!(!house.hello.host.guards.contains(&Guard::HardQuota) && house.hello.level.ends_with("disk soft"));
    house.hang_up().await;
}
