//! The file tree inside: the host's programs read-only, a listed part of /etc, private /proc, /dev, /tmp, and the work folder.
//! Must never: show anything that is not listed here, or leave the old root reachable.
//!
//! Two phases around the change of ids: `Sources::open` still has the worker's ids, so that it can pass folders that only the
//! worker may enter; `build` has the jail's ids, so that what it makes belongs to them.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};

use crate::error::{Failure, Layer};
use crate::native::python::host_python;
use crate::spec::{INNER_ID, Spec, WORKSPACE};
use crate::sys;

/// Program folders of the root: links stay links, folders are shown.
const PROGRAMS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What programs need of /etc and what holds no secret. A missing one is left out.
const ETC: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "timezone",
    "os-release",
    "debian_version",
    "mime.types",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "pki/ca-trust/extracted",
    "crypto-policies/back-ends",
    "terminfo",
    "perl",
];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
const ROOT_BYTES: &str = "1m";

/// Detached copies of host trees, each with the place where it will appear.
pub(super) struct Sources {
    trees: Vec<Tree>,
    links: Vec<(String, PathBuf)>,
    python: Option<PathBuf>,
}

struct Tree {
    mount: OwnedFd,
    target: PathBuf,
    directory: bool,
}

fn failed(step: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Failure {
    let step = step.into();
    move |error| Failure::new(Layer::View, step, io::Error::from(error))
}

impl Sources {
    pub(super) fn open(spec: &Spec) -> Result<Self, Failure> {
        // Slave, not private: until the claim, a jail that waits must see the host's new mounts.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(failed("make mounts private"))?;
        let read_only = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        let mut sources = Self { trees: Vec::new(), links: Vec::new(), python: host_python() };
        sources.show(Path::new("/usr"), "usr", read_only)?;
        for name in PROGRAMS {
            sources.link_or_show(&Path::new("/").join(name), name, read_only)?;
        }
        for name in ETC {
            sources.link_or_show(&Path::new("/etc").join(name), &format!("etc/{name}"), read_only)?;
        }
        for name in DEVICES {
            sources.show(&Path::new("/dev").join(name), format!("dev/{name}"), libc::MOUNT_ATTR_NOSUID)?;
        }
        let own = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        let work_folder = if spec.work_folder_read_only { read_only } else { own };
        sources.show_unlinked(&spec.work_folder, &WORKSPACE[1..], work_folder)?;
        for mount in &spec.mounts {
            let attributes = if mount.read_only { read_only } else { own };
            let target = mount.target.strip_prefix("/").unwrap_or(&mount.target);
            sources.show_unlinked(&mount.source, target, attributes)?;
        }
        Ok(sources)
    }

    fn link_or_show(&mut self, host: &Path, target: &str, attributes: u64) -> Result<(), Failure> {
        if let Ok(link) = std::fs::read_link(host) {
            self.links.push((target.to_owned(), link));
        } else if host.exists() {
            self.show(host, target, attributes)?;
        }
        Ok(())
    }

    fn show(&mut self, host: &Path, target: impl AsRef<Path>, attributes: u64) -> Result<(), Failure> {
        self.take(host, target, attributes, ResolveFlags::empty())
    }

    /// An agent may have written near `host`: a link there would show what it may not see.
    fn show_unlinked(&mut self, host: &Path, target: impl AsRef<Path>, attributes: u64) -> Result<(), Failure> {
        self.take(host, target, attributes, ResolveFlags::NO_SYMLINKS)
    }

    fn take(
        &mut self,
        host: &Path,
        target: impl AsRef<Path>,
        attributes: u64,
        resolve: ResolveFlags,
    ) -> Result<(), Failure> {
        let step = || failed(format!("take a view of {}", host.display()));
        let found = openat2(CWD, host, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(step())?;
        let directory = fstat(&found).map_err(step())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let mount = open_tree(&found, "", flags | OpenTreeFlags::AT_EMPTY_PATH).map_err(step())?;
        sys::mount_setattr(mount.as_fd(), true, attributes)
            .map_err(|error| Failure::new(Layer::View, format!("protect {}", host.display()), error))?;
        self.trees.push(Tree { mount, target: target.as_ref().to_owned(), directory });
        Ok(())
    }
}

/// Builds the root, makes it this process's, and detaches the host's.
pub(super) fn build(sources: Sources, spec: &Spec) -> Result<(), Failure> {
    let plain = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = new_mount("tmpfs", &[("size", ROOT_BYTES), ("mode", "0755")], plain)?;
    // It must hang somewhere before others can hang in it; /usr is there on every host and hidden only for this process.
    attach(&root, CWD, Path::new("/usr"))?;
    for folder in [
        "usr",
        "etc",
        "proc",
        "dev",
        "dev/shm",
        "tmp",
        "workspace",
        "opt",
        "opt/tenure",
        "opt/tenure/bin",
        "var",
        "run",
    ] {
        mkdirat(&root, folder, Mode::from(0o755)).map_err(failed(format!("make /{folder}")))?;
    }
    let tmp_bytes = spec.tmp_bytes.max(64 << 10).to_string();
    let mut late = Vec::new();
    for tree in &sources.trees {
        if tree.target.starts_with("tmp") {
            late.push(tree);
        } else {
            place(&root, tree)?;
        }
    }
    for (folder, mode) in [("tmp", "1777"), ("dev/shm", "1777")] {
        let tmpfs = new_mount("tmpfs", &[("size", &tmp_bytes), ("mode", mode), ("nr_inodes", "65536")], plain)?;
        attach(&tmpfs, root.as_fd(), Path::new(folder))?;
    }
    for tree in late {
        place(&root, tree)?;
    }
    let proc = new_mount("proc", &[], plain | MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    attach(&proc, root.as_fd(), Path::new("proc"))?;
    link_all(&root, sources.links, sources.python)?;
    write_etc(&root, &spec.hostname).map_err(|error| Failure::new(Layer::View, "write /etc", error))?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::mount_setattr(root.as_fd(), false, attributes)
        .map_err(|error| Failure::new(Layer::View, "protect /", error))?;
    enter(&root)
}

fn new_mount(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Failure> {
    let step = || failed(format!("mount a new {kind}"));
    let filesystem = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(step())?;
    for (key, value) in options {
        fsconfig_set_string(filesystem.as_fd(), *key, *value).map_err(step())?;
    }
    fsconfig_create(filesystem.as_fd()).map_err(step())?;
    fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(step())
}

fn attach(mount: &OwnedFd, folder: BorrowedFd<'_>, target: &Path) -> Result<(), Failure> {
    move_mount(mount, "", folder, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed(format!("mount {}", target.display())))
}

/// Makes the place if it is not there and hangs the tree in. No link of an agent's folder is followed on the way.
fn place(root: &OwnedFd, tree: &Tree) -> Result<(), Failure> {
    let step = || failed(format!("make /{}", tree.target.display()));
    let mut folder =
        root.as_fd().try_clone_to_owned().map_err(|e| Failure::new(Layer::View, "copy a descriptor", e))?;
    let mut names: Vec<&OsStr> = tree.target.iter().collect();
    let last = names.pop().unwrap_or_default();
    for name in names {
        folder = open_or_make(&folder, name).map_err(step())?;
    }
    if tree.directory {
        open_or_make(&folder, last).map_err(step())?;
    } else {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&folder, last, flags, Mode::from(0o644)).map(drop).map_err(step())?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tree.mount, "", &folder, last, flags).map_err(failed(format!("mount /{}", tree.target.display())))
}

fn open_or_make(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match mkdirat(folder, name, Mode::from(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(folder, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn link_all(root: &OwnedFd, links: Vec<(String, PathBuf)>, python: Option<PathBuf>) -> Result<(), Failure> {
    let fixed = [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("/tmp", "var/tmp"),
        ("/run", "var/run"),
    ];
    for (target, link) in fixed {
        symlinkat(target, root, link).map_err(failed(format!("link /{link}")))?;
    }
    for (link, target) in links {
        if let Some(parent) = Path::new(&link).parent() {
            make_parents(root, parent)?;
        }
        symlinkat(&target, root, &link).map_err(failed(format!("link /{link}")))?;
    }
    if let Some(python) = python {
        symlinkat(&python, root, "opt/tenure/bin/python").map_err(failed("link python"))?;
    }
    Ok(())
}

fn make_parents(root: &OwnedFd, path: &Path) -> Result<(), Failure> {
    let mut made = PathBuf::new();
    for name in path.iter() {
        made.push(name);
        match mkdirat(root, &made, Mode::from(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(format!("make /{}", made.display()))(error)),
        }
    }
    Ok(())
}

fn write_etc(root: &OwnedFd, hostname: &str) -> io::Result<()> {
    let files = [
        ("passwd", format!("agent:x:{INNER_ID}:{INNER_ID}:agent:{WORKSPACE}:/bin/sh\n")),
        ("group", format!("agent:x:{INNER_ID}:\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        ("hosts", format!("127.0.0.1 localhost {hostname}\n::1 localhost\n")),
        ("hostname", format!("{hostname}\n")),
    ];
    for (name, content) in files {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(root, format!("etc/{name}"), flags, Mode::from(0o644))?;
        std::fs::File::from(file).write_all(content.as_bytes())?;
    }
    Ok(())
}

/// pivot_root onto the same place: the old root then lies on top of the new one and is detached from there.
fn enter(root: &OwnedFd) -> Result<(), Failure> {
    rustix::process::fchdir(root).map_err(failed("enter the new root"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("pivot_root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("detach the old root"))?;
    rustix::process::chdir(WORKSPACE).map_err(failed("enter /workspace"))
}
