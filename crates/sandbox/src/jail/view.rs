//! The file tree inside: the host's programs read-only, a listed part of /etc, private /proc, /dev, /tmp, and the work folder.
//! Must never: show anything that the skeleton or the spec does not list, or leave the old root reachable.
//!
//! Three phases: `View::begin` knows no spec and has no ids; `Sources::take` still has the worker's ids, so that it can pass
//! folders that only the worker may enter; `View::complete` has the jail's ids, so that what it makes belongs to them.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_change, move_mount, open_tree,
    unmount,
};

use super::skeleton::{COVERED, Skeleton};
use crate::bypass::{self, Bypass, resolution};
use crate::error::{Failure, Layer};
use crate::spec::{MOUNT_ROOTS, Spec, WORKSPACE};
use crate::sys;

/// Terminals of the jail's own, of which the host has a bounded number.
const TERMINALS: &CStr = c"ptmxmode=0666,mode=0600,max=16";
/// Size of the tmpfs that holds only places to mount on.
const PLACES_BYTES: &str = "64k";
const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | OWN;
const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE)
    .union(OpenTreeFlags::AT_NO_AUTOMOUNT);
/// Of a file system that is a jail's own.
pub(crate) const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
const OWN: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A root that is whole but for what a spec names. It hangs over the skeleton's own folder, where nothing of a spec's lies.
pub(super) struct View {
    root: OwnedFd,
}

/// Detached copies of the trees that a spec names.
pub(super) struct Sources {
    work_folder: OwnedFd,
    mounts: Vec<Tree>,
}

struct Tree {
    mount: OwnedFd,
    target: PathBuf,
    directory: bool,
}

pub(crate) fn failed(step: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Failure {
    let step = step.into();
    move |error| Failure::new(Layer::View, step, io::Error::from(error))
}

impl View {
    /// Takes every mount of the host's that is shown, as it is now. The host's root itself stays a slave, so that a claim finds
    /// what was mounted since.
    pub(super) fn begin(skeleton: &Skeleton, bypass: &Bypass) -> Result<Self, Failure> {
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(failed("keep mounts to this jail"))?;
        let root = take(&skeleton.root, READ_ONLY)?;
        move_mount(&root, "", CWD, &skeleton.root, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(failed("mount the new root"))?;
        for (host, target) in &skeleton.shown {
            attach(&take(host, READ_ONLY)?, &root, Path::new(target))?;
        }
        for (host, target) in &skeleton.devices {
            attach(&take(host, 0)?, &root, Path::new(target))?;
        }
        let proc = if bypass.keeps_pid_namespace() { new_proc()? } else { take(Path::new("/proc"), READ_ONLY)? };
        attach(&proc, &root, Path::new("proc"))?;
        for covered in COVERED {
            match attach(&take(&skeleton.nothing, READ_ONLY)?, &root, Path::new(covered)) {
                // A kernel without keys.
                Err(failure) if failure.errno == libc::ENOENT => {}
                other => other?,
            }
        }
        Ok(Self { root })
    }

    /// Adds what the spec names, makes the root this process's, and detaches the host's.
    pub(super) fn complete(self, sources: Sources, spec: &Spec) -> Result<(), Failure> {
        let root = bypass::root(spec, self.root)?;
        rustix::process::fchdir(&root).map_err(failed("enter the new root"))?;
        attach(&sources.work_folder, &root, Path::new(&WORKSPACE[1..]))?;
        let options = format!("size={},mode=1777,nr_inodes=65536", spec.tmp_bytes.max(64 << 10));
        let options = CString::new(options).expect("invariant: numbers hold no NUL");
        for folder in ["tmp", "dev/shm"] {
            if (folder == "tmp" && spec.tmp_bytes == 0) || !spec.keeps(Layer::View) {
                continue;
            }
            // One call where `new_mount` and `attach` take eight: whoever claimed the jail waits.
            mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
                .map_err(|error| failed(format!("mount a new tmpfs on /{folder}"))(error))?;
        }
        if spec.keeps(Layer::View) {
            mount("devpts", "dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, TERMINALS)
                .map_err(|error| failed("mount new terminals on /dev/pts")(error))?;
        }
        attach_further(&root, &sources.mounts)?;
        enter()
    }
}

impl Sources {
    /// The spec's mounts may lie in the agent's own folder: only since its ids are mapped may this process always enter that.
    pub(crate) fn take(spec: &Spec) -> Result<Self, Failure> {
        let attributes = |read_only| bypass::attributes(if read_only { READ_ONLY } else { OWN });
        let work_folder = take_unlinked(&spec.work_folder, attributes(spec.work_folder_read_only))?;
        let mut mounts = Vec::new();
        for mount in &spec.mounts {
            let taken = take_unlinked(&mount.source, attributes(mount.read_only))?;
            let target = mount.target.strip_prefix("/").unwrap_or(&mount.target).to_owned();
            mounts.push(Tree { mount: taken, target, directory: mount.source.is_dir() });
        }
        Ok(Self { work_folder, mounts })
    }
}

/// A copy of a tree that later mounts of the host's do not reach.
pub(crate) fn take(host: &Path, attributes: u64) -> Result<OwnedFd, Failure> {
    protect(open_tree(CWD, host, COPY), host, attributes)
}

/// An agent may have written near `host`: a link there would show what it may not see.
fn take_unlinked(host: &Path, attributes: u64) -> Result<OwnedFd, Failure> {
    let (flags, resolve) = resolution(OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::NO_SYMLINKS);
    let found = openat2(CWD, host, flags, Mode::empty(), resolve);
    let copy = found.and_then(|found| open_tree(&found, "", COPY | OpenTreeFlags::AT_EMPTY_PATH));
    protect(copy, host, attributes)
}

fn protect(copy: rustix::io::Result<OwnedFd>, host: &Path, attributes: u64) -> Result<OwnedFd, Failure> {
    let copy = copy.map_err(|error| failed(format!("take a view of {}", host.display()))(error))?;
    sys::mount_setattr(copy.as_fd(), true, attributes)
        .map_err(|error| Failure::new(Layer::View, format!("protect {}", host.display()), error))?;
    Ok(copy)
}

pub(crate) fn new_proc() -> Result<OwnedFd, Failure> {
    new_mount("proc", &[], PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_RDONLY)
}

pub(crate) fn new_mount(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Failure> {
    let step = |error| failed(format!("mount a new {kind}"))(error);
    let filesystem = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(step)?;
    for (key, value) in options {
        fsconfig_set_string(filesystem.as_fd(), *key, *value).map_err(step)?;
    }
    fsconfig_create(filesystem.as_fd()).map_err(step)?;
    fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(step)
}

pub(crate) fn attach(mount: &OwnedFd, root: &OwnedFd, target: &Path) -> Result<(), Failure> {
    move_mount(mount, "", root, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| failed(format!("mount /{}", target.display()))(error))
}

/// The spec's own mounts. Beneath a folder of the skeleton they hang in a tmpfs of this jail's.
fn attach_further(root: &OwnedFd, trees: &[Tree]) -> Result<(), Failure> {
    let mut covers = Vec::new();
    for folder in MOUNT_ROOTS {
        let onto = trees.iter().any(|tree| tree.target == Path::new(folder));
        if !onto && trees.iter().any(|tree| tree.target.starts_with(folder)) {
            let cover = new_mount("tmpfs", &[("size", PLACES_BYTES), ("mode", "0755")], PLAIN)?;
            attach(&cover, root, Path::new(folder))?;
            covers.push(cover);
        }
    }
    for tree in trees {
        place(root, tree)?;
    }
    for cover in covers {
        sys::mount_setattr(cover.as_fd(), false, READ_ONLY)
            .map_err(|error| Failure::new(Layer::View, "protect the places of mounts", error))?;
    }
    Ok(())
}

/// Makes the place if it is not there and hangs the tree in. No link of an agent's folder is followed on the way.
fn place(root: &OwnedFd, tree: &Tree) -> Result<(), Failure> {
    let step = |error| failed(format!("make /{}", tree.target.display()))(error);
    let mut folder = root.try_clone().map_err(|error| Failure::new(Layer::View, "copy a descriptor", error))?;
    let mut names: Vec<&OsStr> = tree.target.iter().collect();
    let last = names.pop().unwrap_or_default();
    for name in names {
        folder = open_or_make(&folder, name).map_err(step)?;
    }
    if tree.directory {
        open_or_make(&folder, last).map_err(step)?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&folder, last, flags, Mode::from(0o644)) {
            Ok(_) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(step(error)),
        }
    }
    attach(&tree.mount, &folder, Path::new(last))
}

fn open_or_make(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match mkdirat(folder, name, Mode::from(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (flags, resolve) = resolution(flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS);
    openat2(folder, name, flags, Mode::empty(), resolve)
}

/// pivot_root onto the same place, the working folder: the old root then lies on top of the new one and is detached from there.
fn enter() -> Result<(), Failure> {
    rustix::process::pivot_root(".", ".").map_err(failed("pivot_root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("detach the old root"))?;
    rustix::process::chdir(WORKSPACE).map_err(failed("enter /workspace"))
}
