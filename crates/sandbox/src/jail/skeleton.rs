//! The root folder of all jails of one zygote: empty places to mount on, links, and the small files of /etc, made once as plain
//! files in the run folder, shown read-only to each jail. Must never: hold anything that one jail may not know of another, or a
//! file of the host's that is not listed here.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::native::record;
use crate::native::toolchain::host_python;
use crate::spec::{GIT_CONFIG, INNER_ID, WORKSPACE};

/// Program folders of the root: links stay links, folders are mounted.
const PROGRAMS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Small files of /etc that programs need and that hold no secret; copied. A missing one is left out.
const ETC_FILES: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "timezone",
    "os-release",
    "debian_version",
    "mime.types",
    "protocols",
    "services",
    "ssl/openssl.cnf",
    "pki/tls/openssl.cnf",
];
/// Folders of /etc of the same kind; mounted.
const ETC_FOLDERS: &[&str] =
    &["alternatives", "ssl/certs", "pki/tls/certs", "pki/ca-trust/extracted", "crypto-policies/back-ends"];
/// `tty` is whatever terminal its opener has.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
const FOLDERS: &[&str] = &[
    "usr",
    "etc",
    "proc",
    "dev",
    "dev/shm",
    "dev/pts",
    "tmp",
    "workspace",
    "var",
    "run/tenure/bin",
    "data",
    "mnt",
    "opt",
    "srv",
];
/// What of a jail's own /proc would tell of the host user's keys: covered by an empty file.
pub(super) const COVERED: &[&str] = &["proc/keys", "proc/key-users"];
/// The empty file, in the root.
const NOTHING: &str = "run/tenure/nothing";
const LINKS: &[(&str, &str)] = &[
    ("pts/ptmx", "dev/ptmx"),
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("/tmp", "var/tmp"),
    ("/run", "var/run"),
];
/// Largest file of /etc that is copied, in bytes.
const COPY_BYTES_MAX: u64 = 1 << 20;

/// Where the root lies and what each jail mounts into it.
#[derive(Debug, Clone)]
pub(super) struct Skeleton {
    pub(super) root: PathBuf,
    /// Host path and place in the root, read-only.
    pub(super) shown: Vec<(PathBuf, String)>,
    pub(super) devices: Vec<(PathBuf, String)>,
    pub(super) nothing: PathBuf,
}

impl Skeleton {
    /// Makes it anew in `run_dir`.
    pub(super) fn make(run_dir: &Path) -> io::Result<Self> {
        let root = run_dir.join(record::SKELETON);
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder))?;
        }
        for (target, link) in LINKS {
            symlink(target, root.join(link))?;
        }
        let mut shown = vec![(PathBuf::from("/usr"), "usr".to_owned())];
        for name in PROGRAMS {
            let host = Path::new("/").join(name);
            if let Ok(target) = fs::read_link(&host) {
                symlink(target, root.join(name))?;
            } else if host.is_dir() {
                fs::create_dir(root.join(name))?;
                shown.push((host, (*name).to_owned()));
            }
        }
        if let Some(python) = host_python() {
            symlink(python, root.join("run/tenure/bin/python"))?;
        }
        fill_etc(&root, &mut shown)?;
        let mut devices = Vec::new();
        for name in DEVICES {
            fs::write(root.join("dev").join(name), "")?;
            devices.push((Path::new("/dev").join(name), format!("dev/{name}")));
        }
        fs::write(root.join(&GIT_CONFIG[1..]), "[safe]\n\tdirectory = *\n")?;
        let nothing = root.join(NOTHING);
        fs::write(&nothing, "")?;
        Ok(Self { root, shown, devices, nothing })
    }

    /// What cannot be removed now is made anew by the next zygote.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Where Debian keeps what each Java reads first: without them none starts.
fn java_folders() -> Vec<String> {
    let Ok(folder) = fs::read_dir("/etc") else { return Vec::new() };
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("java-") && name.ends_with("-openjdk")).collect()
}

fn fill_etc(root: &Path, shown: &mut Vec<(PathBuf, String)>) -> io::Result<()> {
    for name in ETC_FILES {
        let (host, own) = (Path::new("/etc").join(name), root.join("etc").join(name));
        let Ok(found) = fs::symlink_metadata(&host) else { continue };
        fs::create_dir_all(own.parent().unwrap_or(root))?;
        if found.is_symlink() {
            symlink(fs::read_link(&host)?, &own)?;
        } else if found.is_file() && found.len() <= COPY_BYTES_MAX && found.permissions().mode() & 0o004 != 0 {
            fs::copy(&host, &own)?;
            fs::set_permissions(&own, Permissions::from_mode(0o644))?;
        }
    }
    for name in ETC_FOLDERS.iter().map(|name| (*name).to_owned()).chain(java_folders()) {
        let host = Path::new("/etc").join(&name);
        if host.is_dir() {
            fs::create_dir_all(root.join("etc").join(&name))?;
            shown.push((host, format!("etc/{name}")));
        }
    }
    let own = [
        ("passwd", format!("agent:x:{INNER_ID}:{INNER_ID}:agent:{WORKSPACE}:/bin/sh\n")),
        ("group", format!("agent:x:{INNER_ID}:\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
    ];
    for (name, content) in own {
        fs::write(root.join("etc").join(name), content)?;
    }
    Ok(())
}
