//! The guest's kernel, from Debian's package for clouds, which has disk and file system built in. Must never: install it here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{install, step};

/// Depends on the newest.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// What of it the worker's tests need, in the order in which it is loaded: disks in files, and quotas on them.
const MODULES: [&str; 3] = ["drivers/block/loop.ko", "fs/quota/quota_tree.ko", "fs/quota/quota_v2.ko"];

pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// In the order in which they are loaded.
    pub(super) modules: Vec<PathBuf>,
}

/// Kept in `folder` for the next time.
pub(super) fn fetched(folder: &Path) -> Result<Kernel> {
    let kept = folder.join("kernel");
    if let Some(kernel) = kernel(&kept) {
        return Ok(kernel);
    }
    if !install::on_path("apt-get") || !install::on_path("dpkg") {
        bail!("no kernel: name one with NVMe and ext4 built in by --kernel (Debian's {PACKAGE} has them)");
    }
    let depends = step::answer(Command::new("apt-cache").args(["depends", "--important", PACKAGE])).unwrap_or_default();
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.with_context(|| format!("apt-cache knows no {PACKAGE}: sudo apt-get update"))?;
    let fetched = folder.join("fetched");
    // What an earlier run left half-done is of no use.
    for abandoned in [&fetched, &kept] {
        let _ = fs::remove_dir_all(abandoned);
    }
    fs::create_dir_all(&fetched)?;
    let mut download = Command::new("apt-get");
    step::quiet(&format!("download {package}"), download.args(["download", package]).current_dir(&fetched))?;
    let file = fs::read_dir(&fetched)?.find_map(|entry| Some(entry.ok()?.path())).context("apt-get left no file")?;
    let root = fetched.join("root");
    step::quiet("unpack it", Command::new("dpkg").arg("-x").arg(&file).arg(&root))?;
    let image = image(&root.join("boot")).with_context(|| format!("{package} holds no image"))?;
    let chosen = fetched.join("chosen");
    fs::create_dir(&chosen)?;
    let name = image.file_name().context("it has a name")?.to_string_lossy().into_owned();
    let own = root.join("lib/modules").join(name.trim_start_matches(IMAGE)).join("kernel");
    for module in MODULES {
        let from = own.join(module);
        fs::rename(&from, chosen.join(base(module))).with_context(|| format!("{package} lacks {module}"))?;
    }
    fs::rename(&image, chosen.join(name))?;
    fs::rename(&chosen, &kept)?;
    fs::remove_dir_all(&fetched)?;
    kernel(&kept).context("what was kept is there")
}

const IMAGE: &str = "vmlinuz-";

fn kernel(folder: &Path) -> Option<Kernel> {
    let modules = MODULES.map(|module| folder.join(base(module))).to_vec();
    Some(Kernel { image: image(folder)?, modules })
}

fn base(module: &str) -> &str {
    module.rsplit('/').next().unwrap_or(module)
}

fn image(folder: &Path) -> Option<PathBuf> {
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(IMAGE));
    fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(named)
}
