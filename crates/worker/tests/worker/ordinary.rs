use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::house::{EXE, exe, is_root};

const NOBODY: &str = "65534";

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    let (test, program, scratch) =
        (folder.path().join("suite"), folder.path().join("program"), folder.path().join("tmp"));
    std::fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    std::fs::copy(exe(), &program).unwrap();
    std::fs::create_dir(&scratch).unwrap();
    for path in [folder.path(), &test, &program, &scratch] {
        open(path);
    }
    let srv = tempfile::tempdir_in("/srv").unwrap();
    open(srv.path());
    let output = Command::new("setpriv")
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--inh-caps=-all", "--"])
        .arg(&test)
        .args(["--test-threads=2", "--skip", "ordinary::"])
        // Not held there (docs/security/threat-model.md): such a worker does not count what mappings alone hold.
        .args(["--skip", "disk::files_without_a_name"])
        // Its user may not start so many threads, so that the attempt cannot be made.
        .args(["--skip", "disk::many_threads_with_many_descriptors"])
        .env(EXE, &program)
        .env("TMPDIR", &scratch)
        .env(crate::mounts::SRV, srv.path())
        .env("HOME", &scratch)
        .current_dir(&scratch)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
