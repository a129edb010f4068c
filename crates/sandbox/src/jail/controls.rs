//! Jails that lack one layer, so that a test can show what the layer is worth. Only in builds with the feature `controls`.
//! Must never: be reached by a spec that takes nothing away.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::mount::MountAttrFlags;
use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

use super::view::{failed, new_mount, take};
use crate::error::{Failure, Layer};
use crate::spec::{Spec, WORKSPACE};

/// Devices must work, so these trees are not `nodev`.
const SHOWN: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;

/// What `spec` shows of the host instead of what every jail has.
pub(super) fn take_of_host(spec: &Spec, fixed: &mut Vec<(OwnedFd, PathBuf)>) -> Result<(), Failure> {
    if !spec.keeps(Layer::View) {
        for (host, kind) in host_root()? {
            if !kind.is_symlink() {
                let target = host.strip_prefix("/").unwrap_or(&host).to_owned();
                fixed.push((take(&host, Some(SHOWN))?, target));
            }
        }
    }
    if !spec.has_own_pids() {
        fixed.push((take(Path::new("/proc"), Some(SHOWN))?, "proc".into()));
    }
    Ok(())
}

fn host_root() -> Result<Vec<(PathBuf, fs::FileType)>, Failure> {
    let read = || -> io::Result<Vec<_>> {
        fs::read_dir("/")?.map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))).collect()
    };
    read().map_err(|error| Failure::new(Layer::View, "read the host's root", error))
}

/// A root with a place for each entry of the host's, and for the work folder.
pub(super) fn root_of_host() -> Result<OwnedFd, Failure> {
    let plain = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = new_mount("tmpfs", &[("size", "64k"), ("mode", "0755")], plain)?;
    let folder = |name: &Path| match mkdirat(root.as_fd(), name, Mode::from(0o755)) {
        Err(error) if error != rustix::io::Errno::EXIST => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    for (host, kind) in host_root()? {
        let step = || failed(format!("make a place for {}", host.display()));
        let name = host.strip_prefix("/").unwrap_or(&host);
        if kind.is_symlink() {
            let target = rustix::fs::readlink(&host, Vec::new()).map_err(step())?;
            symlinkat(target, root.as_fd(), name).map_err(step())?;
        } else if kind.is_dir() {
            folder(name).map_err(step())?;
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(root.as_fd(), name, flags, Mode::from(0o644)).map_err(step())?;
        }
    }
    folder(Path::new(&WORKSPACE[1..])).map_err(failed("make a place for the work folder"))?;
    Ok(root)
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
