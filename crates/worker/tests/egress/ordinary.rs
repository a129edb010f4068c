//! What needs a jail once more, as a user without any privilege.
use crate::house::{DATA, EXE, data, exe};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const NOBODY: &str = "65534";

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("tmp")).unwrap();
    std::fs::create_dir(at("data")).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), at("suite")).unwrap();
    std::fs::copy(exe(), at("program")).unwrap();
    for file in ["authority.pem", "server.pem", "server.key"] {
        std::fs::copy(data(file), at("data").join(file)).unwrap();
        std::fs::set_permissions(at("data").join(file), PermissionsExt::from_mode(0o644)).unwrap();
    }
    for path in [folder.path().to_owned(), at("suite"), at("program"), at("tmp"), at("data")] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let output = Command::new("setpriv")
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--inh-caps=-all", "--"])
        .arg(at("suite"))
        .args(["--test-threads=2", "--nocapture", "calls::", "programs::"])
        .env(EXE, at("program"))
        .env(DATA, at("data"))
        .env("TMPDIR", at("tmp"))
        .env("HOME", at("tmp"))
        .current_dir(at("tmp"))
        .output()
        .unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    // What could not run there must not count as held here.
    said.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| eprintln!("{line}"));
}
