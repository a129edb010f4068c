use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::house::{JAIL_EXE, is_root, jail_exe, text};

const NOBODY: &str = "65534";

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    let (test, jail, scratch) =
        (folder.path().join("suite"), folder.path().join("tenure-jail"), folder.path().join("tmp"));
    std::fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    std::fs::copy(jail_exe(), &jail).unwrap();
    std::fs::create_dir(&scratch).unwrap();
    for path in [folder.path(), &test, &jail, &scratch] {
        open(path);
    }
    let output = Command::new("setpriv")
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--inh-caps=-all", "--"])
        .arg(&test)
        .args(["--test-threads=2", "--skip", "ordinary::", "--skip", "pool::everything"])
        .env(JAIL_EXE, &jail)
        .env("TMPDIR", &scratch)
        .env("HOME", &scratch)
        .current_dir(&scratch)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
