//! Other programs that confine one, made to do the same: the same namespaces, mounts and read-only root where they can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tenure_sandbox::Spec;

use crate::Outcome;

const IMAGE: &str = "tenure-bench";

/// Folders that other programs start from.
pub(crate) struct Peers {
    bundles: PathBuf,
    podman: PathBuf,
    has_image: bool,
    srt: Option<PathBuf>,
    settings: PathBuf,
}

impl Peers {
    /// Bundles and an image are made if some are wanted.
    pub(crate) fn make(folder: &Path, bundles_wanted: usize, srt: Option<PathBuf>) -> Outcome<Self> {
        let settings = folder.join("srt.json");
        let nothing = json!({"network": {"allowedDomains": [], "deniedDomains": []},
                             "filesystem": {"denyRead": [], "allowWrite": ["."], "denyWrite": []}});
        fs::write(&settings, nothing.to_string())?;
        let bundles = folder.join("bundles");
        for nth in 0..bundles_wanted {
            make_bundle(&bundles.join(nth.to_string()), &folder.join(format!("work-{nth}")))?;
        }
        let mut peers = Self { bundles, podman: folder.join("podman"), has_image: false, srt, settings };
        peers.has_image = bundles_wanted > 0 && peers.import(folder).unwrap_or(false);
        Ok(peers)
    }

    /// An image with one program, as no registry is asked.
    fn import(&self, folder: &Path) -> Outcome<bool> {
        let (tree, tar) = (folder.join("tree"), folder.join("tree.tar"));
        fs::create_dir_all(tree.join("bin"))?;
        fs::copy("/bin/busybox", tree.join("bin/true"))?;
        let made = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&tree).arg(".").status()?.success();
        let mut import = self.podman_command();
        import.arg("import").arg(&tar).arg(IMAGE).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(made && import.status()?.success())
    }

    fn podman_command(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.podman.join("root")).arg("--runroot").arg(self.podman.join("run"));
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        command
    }

    pub(crate) fn podman(&self) -> Option<Command> {
        let mut command = self.podman_command();
        command.args(["run", "--rm", "--network", "none", "--log-driver", "none"]);
        command.args(["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", IMAGE, "/bin/true"]);
        self.has_image.then_some(command)
    }

    pub(crate) fn runc(&self, nth: usize) -> Option<Command> {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.bundles.join("runc"));
        Some(self.oci(command, nth))
    }

    pub(crate) fn crun(&self, nth: usize) -> Option<Command> {
        let mut command = Command::new("crun");
        command.args(["--cgroup-manager", "disabled", "--root"]).arg(self.bundles.join("crun"));
        Some(self.oci(command, nth))
    }

    fn oci(&self, mut command: Command, nth: usize) -> Command {
        let name = format!("tenure-bench-{}-{nth}", std::process::id());
        command.arg("run").arg("--bundle").arg(self.bundles.join(nth.to_string())).arg(name);
        command
    }

    pub(crate) fn srt(&self, spec: &Spec) -> Option<Command> {
        let mut command = Command::new(self.srt.as_ref()?);
        command.arg("--settings").arg(&self.settings).arg("/bin/true").current_dir(&spec.work_folder);
        Some(command)
    }

    /// Unmounts what podman keeps mounted.
    pub(crate) fn clear(&self) {
        let overlay = self.podman.join("root/overlay");
        if overlay.exists() {
            let _ = Command::new("umount").arg(overlay).stderr(Stdio::null()).status();
        }
    }
}

/// An OCI bundle: an empty root with the host's /usr in it.
fn make_bundle(bundle: &Path, work: &Path) -> Outcome<()> {
    let root = bundle.join("rootfs");
    for folder in ["usr", "proc", "dev", "tmp", "workspace", "etc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let bind = |source: &Path, target: &str, mode: &str| json!({"destination": target, "type": "bind", "source": source, "options": ["rbind", mode, "nosuid", "nodev"]});
    let tmpfs = |target: &str| json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=64m"]});
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]}),
        bind(Path::new("/usr"), "/usr", "ro"),
        tmpfs("/tmp"),
        tmpfs("/dev/shm"),
        bind(work, "/workspace", "rw"),
    ];
    for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
        let host = Path::new("/").join(name);
        if let Ok(target) = fs::read_link(&host) {
            let _ = std::os::unix::fs::symlink(target, root.join(name));
        } else if host.is_dir() {
            fs::create_dir_all(root.join(name))?;
            mounts.push(bind(&host, &format!("/{name}"), "ro"));
        }
    }
    let ids = json!([{"containerID": 0, "hostID": 300_000, "size": 65_536}]);
    let namespaces: Vec<Value> =
        ["user", "mount", "pid", "network", "ipc", "uts"].map(|kind| json!({"type": kind})).to_vec();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 1000, "gid": 1000}, "args": ["/bin/true"], "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/workspace", "noNewPrivileges": true,
            "capabilities": {"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bench",
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "uidMappings": ids, "gidMappings": ids},
    });
    Ok(fs::write(bundle.join("config.json"), config.to_string())?)
}

/// The same namespaces and mounts as a jail's; it has no filter of system calls, no Landlock, no limits.
pub(crate) fn bubblewrap(spec: &Spec) -> Command {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--ro-bind",
        "/usr",
        "/usr",
        "--proc",
        "/proc",
    ]);
    command.args(["--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/dev/shm", "--chdir", "/workspace", "--clearenv"]);
    for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
        if let Ok(target) = fs::read_link(format!("/{name}")) {
            command.arg("--symlink").arg(target).arg(format!("/{name}"));
        }
    }
    for name in [
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "alternatives",
        "timezone",
        "debian_version",
        "mime.types",
        "protocols",
        "services",
        "ssl/certs",
        "ssl/openssl.cnf",
        "terminfo",
        "perl",
    ] {
        command.args(["--ro-bind-try", &format!("/etc/{name}"), &format!("/etc/{name}")]);
    }
    command.arg("--bind").arg(&spec.work_folder).arg("/workspace").args(["--", "/bin/true"]);
    command
}
