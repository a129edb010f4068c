//! The guest's disk: the programs of this host that the tests use, the suite itself, and the first program. Must never: copy
//! anything of this host's users or settings.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use crate::step;

/// Debian packages whose files the guest gets, beside Python's.
const PACKAGES: [&str; 14] = [
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "e2fsprogs",
    "findutils",
    "git",
    "grep",
    "hostname",
    "libc-bin",
    "mount",
    "python3-minimal",
    "sed",
    "util-linux",
];
/// Of those, what no test reads.
const UNREAD: [&str; 6] =
    ["/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/usr/share/lintian", "/etc/"];
/// Folders of a Debian host that are links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
const EMPTY: [&str; 13] =
    ["boot", "dev", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr/bin", "var/lib"];
const FILES: [(&str, &str, u32); 7] = [
    ("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n", 0o644),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644),
    ("etc/shadow", "root:*:19000:0:99999:7:::\n", 0o600),
    ("etc/hosts", "127.0.0.1 localhost\n", 0o644),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", 0o644),
    ("etc/ld.so.conf", "/usr/lib/x86_64-linux-gnu\n", 0o644),
    ("init", include_str!("init.sh"), 0o755),
];
/// Room for what the tests write, in the form that mkfs takes.
const SIZE: &str = "1500M";
/// Nested runs of the whole suite: here each of them is a place of its own.
const SKIPPED: [&str; 4] = ["--skip", "ordinary::", "--skip", "pool::everything"];

/// What the guest runs, and cargo's own folder.
pub(super) struct Suite {
    test: PathBuf,
    program: PathBuf,
    /// The program's; it shows in its jails.
    name: &'static str,
    pub(super) target: PathBuf,
}

/// Builds the tests, and the program that they start.
pub(super) fn build(root: &Path, worker: bool) -> Result<Suite> {
    let (package, test, program) = match worker {
        true => ("tenure-worker", "worker", "worker-for-tests"),
        false => ("tenure-sandbox", "jail", "tenure-jail"),
    };
    let build =
        ["test", "--package", package, "--test", test, "--no-run", "--message-format", "json-render-diagnostics"];
    let mut cargo = Command::new("cargo");
    let output = cargo.args(build).current_dir(root).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("cargo {}: {}", build.join(" "), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let (mut found, mut made) = (None, None);
    for message in messages.filter(|message| message["executable"].is_string()) {
        let path = message["executable"].as_str().map(PathBuf::from);
        match (message["target"]["name"].as_str(), message["target"]["kind"][0].as_str()) {
            (Some(name), Some("test")) if name == test => found = path,
            (Some(name), Some("bin")) if name == program => made = path,
            _ => {}
        }
    }
    let test = found.context("cargo told of no test program")?;
    let made = made.context("cargo told of no program for the tests")?;
    let target = made.parent().and_then(Path::parent).context("programs lie in a profile's folder")?.to_owned();
    Ok(Suite { test, program: made, name: program, target })
}

/// A folder with the disk's image. Dropping it removes both.
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn make(folder: &Path, suite: &Suite, kernel: &Kernel, arguments: &[String]) -> Result<Self> {
        remove_abandoned(folder);
        let disk = Self(folder.join(format!("run-{}", std::process::id())));
        let tree = disk.0.join("tree");
        fs::create_dir_all(&tree)?;
        for name in MERGED {
            symlink(format!("usr/{name}"), tree.join(name))?;
        }
        for path in wanted(suite)? {
            copy(&path, &tree)?;
        }
        for name in EMPTY {
            fs::create_dir_all(tree.join(name))?;
        }
        fs::create_dir_all(tree.join("etc"))?;
        for (name, content, mode) in FILES {
            fs::write(tree.join(name), content)?;
            fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode))?;
        }
        for (name, mode) in [("tmp", 0o1777), ("root", 0o700)] {
            fs::set_permissions(tree.join(name), PermissionsExt::from_mode(mode))?;
        }
        suite.put(&tree.join("suite"), arguments)?;
        for (order, module) in kernel.modules.iter().enumerate() {
            let to = tree.join(format!("suite/{order}.ko"));
            fs::copy(module, to).with_context(|| format!("copy {}", module.display()))?;
        }
        disk.format(&tree)?;
        Ok(disk)
    }

    pub(super) fn image(&self) -> PathBuf {
        self.0.join("image")
    }

    /// An image of the tree, in which everything belongs to root, whoever runs this.
    fn format(&self, tree: &Path) -> Result<()> {
        let is_root = step::answer(Command::new("id").arg("-u")).is_some_and(|uid| uid == "0");
        let mut command = Command::new(if is_root { "env" } else { "unshare" });
        if !is_root {
            command.args(["--user", "--map-root-user"]);
        }
        let paths = std::env::var("PATH").unwrap_or_default();
        command.args(["mkfs.ext4", "-q", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"]).arg(tree);
        command.arg(self.image()).arg(SIZE).env("PATH", format!("{paths}:/usr/sbin:/sbin"));
        step::quiet("mkfs.ext4", &mut command)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("xtask: {} stays: {error}", self.0.display());
        }
    }
}

impl Suite {
    fn put(&self, folder: &Path, arguments: &[String]) -> Result<()> {
        fs::create_dir_all(folder)?;
        for (from, name) in [(&self.test, "test"), (&self.program, self.name)] {
            fs::copy(from, folder.join(name)).with_context(|| format!("copy {}", from.display()))?;
            fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755))?;
        }
        let ours = ["--show-output"].into_iter().chain(SKIPPED);
        // Emulation is slow, and tests have time limits.
        let threads = arguments.iter().all(|argument| !argument.starts_with("--test-threads"));
        let ours = ours.chain(threads.then_some("--test-threads=2"));
        let lines: String = ours.chain(arguments.iter().map(String::as_str)).map(|line| format!("{line}\n")).collect();
        Ok(fs::write(folder.join("arguments"), lines)?)
    }
}

/// Disks of runs that were killed.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let run = name.to_string_lossy().strip_prefix("run-").map(|pid| Path::new("/proc").join(pid));
        if run.is_some_and(|process| !process.exists()) {
            // One that cannot go is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Every file of this host that the guest needs, where it lies here, with what the programs among them load.
fn wanted(suite: &Suite) -> Result<BTreeSet<PathBuf>> {
    let python = fs::read_link("/usr/bin/python3").context("look for this host's python3")?.display().to_string();
    let of_python = ["", "-minimal"].map(|part| format!("{python}{part}"));
    let libraries = ["-minimal", "-stdlib"].map(|part| format!("lib{python}{part}"));
    let mut list = Command::new("dpkg-query");
    list.arg("--listfiles").args(PACKAGES).args(of_python).args(libraries);
    let list = step::answer(&mut list).with_context(|| {
        format!("dpkg-query does not list the guest's programs; the host needs Debian's {}", PACKAGES.join(" "))
    })?;
    let read = |path: &&str| path.starts_with('/') && !UNREAD.iter().any(|folder| path.starts_with(folder));
    let files = list.lines().filter(read).map(PathBuf::from).filter(|path| path.is_symlink() || path.is_file());
    let mut files: BTreeSet<PathBuf> = files.collect();
    let is_program = |path: &&PathBuf| {
        let path = path.to_string_lossy();
        path.contains("bin/") || path.contains(".so") || path.contains("/git-core/")
    };
    let mut loads = Command::new("ldd");
    loads.args([&suite.test, &suite.program]).args(files.iter().filter(is_program));
    // Scripts make it fail.
    let output = loads.output().context("ask ldd what programs load")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_ascii_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    for path in words.map(PathBuf::from) {
        files.insert(fs::canonicalize(&path).with_context(|| format!("look for {}", path.display()))?);
        files.insert(path);
    }
    Ok(files)
}

/// Copies a file or a link to its place beneath `tree`.
fn copy(path: &Path, tree: &Path) -> Result<()> {
    let relative = path.strip_prefix("/")?;
    let merged = relative.components().next().is_some_and(|first| MERGED.iter().any(|name| first.as_os_str() == *name));
    let to = if merged { tree.join("usr").join(relative) } else { tree.join(relative) };
    if merged && MERGED.iter().any(|name| relative == Path::new(name)) || to.symlink_metadata().is_ok() {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
    if path.is_symlink() {
        symlink(fs::read_link(path)?, &to)?;
    } else {
        fs::copy(path, &to).with_context(|| format!("copy {}", path.display()))?;
    }
    Ok(())
}
