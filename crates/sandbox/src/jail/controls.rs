//! Jails that lack one layer, so that a test can show what the layer is worth. Only in builds with the feature `controls`.
//! Must never: be reached by a spec that takes nothing away.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

use super::view::{PLAIN, attach, failed, new_mount, new_proc, take};
use crate::error::{Failure, Layer};
use crate::spec::{Spec, WORKSPACE};

/// Devices must work, so these trees are not `nodev`.
const SHOWN: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;

fn host_root() -> Result<Vec<(PathBuf, fs::FileType)>, Failure> {
    let read = || -> io::Result<Vec<_>> {
        fs::read_dir("/")?.map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))).collect()
    };
    read().map_err(|error| Failure::new(Layer::View, "read the host's root", error))
}

/// The host's own root, read-only, with a place for the work folder.
pub(super) fn root_of_host(spec: &Spec) -> Result<OwnedFd, Failure> {
    let entries = host_root()?;
    let shown = entries.iter().filter(|(_, kind)| !kind.is_symlink());
    let trees: Vec<OwnedFd> = shown.clone().map(|(host, _)| take(host, SHOWN)).collect::<Result<_, _>>()?;
    let root = new_mount("tmpfs", &[("size", "64k"), ("mode", "0755")], PLAIN)?;
    // From here on this hides the host's own.
    move_mount(&root, "", CWD, "/usr", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("mount the new root"))?;
    let name = |host: &Path| host.strip_prefix("/").unwrap_or(host).to_owned();
    for (host, _) in entries.iter().filter(|(_, kind)| kind.is_symlink()) {
        let step = || failed(format!("make a link for {}", host.display()));
        let target = rustix::fs::readlink(host, Vec::new()).map_err(step())?;
        symlinkat(target, &root, name(host)).map_err(step())?;
    }
    for ((host, kind), tree) in shown.zip(trees) {
        let step = || failed(format!("make a place for {}", host.display()));
        if kind.is_dir() {
            make_folder(&root, &name(host)).map_err(step())?;
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&root, name(host), flags, Mode::from(0o644)).map_err(step())?;
        }
        attach(&tree, &root, &name(host))?;
    }
    make_folder(&root, Path::new(&WORKSPACE[1..])).map_err(failed("make a place for the work folder"))?;
    if spec.has_own_pids() {
        attach(&new_proc()?, &root, Path::new("proc"))?;
    }
    Ok(root)
}

fn make_folder(root: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    match mkdirat(root, name, Mode::from(0o755)) {
        Err(error) if error != rustix::io::Errno::EXIST => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Programs get every capability of the jail's own user namespace.
pub(super) fn pass_on_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    set_capabilities(None, sets)?;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if sets.permitted.contains(capability) {
            configure_capability_in_ambient_set(capability, true)?;
        }
    }
    Ok(())
}
