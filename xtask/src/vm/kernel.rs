//! The guest's kernel, from Debian's package for clouds, which has disk and file system built in. Must never: install it here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{install, step};

/// Depends on the newest.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// The image, kept in `folder` for the next time.
pub(super) fn fetched(folder: &Path) -> Result<PathBuf> {
    if let Some(image) = image(folder) {
        return Ok(image);
    }
    if !install::on_path("apt-get") || !install::on_path("dpkg") {
        bail!("no kernel: name one with NVMe and ext4 built in by --kernel (Debian's {PACKAGE} has them)");
    }
    let depends = step::answer(Command::new("apt-cache").args(["depends", "--important", PACKAGE])).unwrap_or_default();
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.with_context(|| format!("apt-cache knows no {PACKAGE}: sudo apt-get update"))?;
    let fetched = folder.join("fetched");
    // What an earlier run left half-done is of no use.
    let _ = fs::remove_dir_all(&fetched);
    fs::create_dir_all(&fetched)?;
    let mut download = Command::new("apt-get");
    step::quiet(&format!("download {package}"), download.args(["download", package]).current_dir(&fetched))?;
    let file = fs::read_dir(&fetched)?.find_map(|entry| Some(entry.ok()?.path())).context("apt-get left no file")?;
    step::quiet("unpack it", Command::new("dpkg").arg("-x").arg(&file).arg(fetched.join("root")))?;
    let unpacked = image(&fetched.join("root/boot")).with_context(|| format!("{package} holds no image"))?;
    let kept = folder.join(unpacked.file_name().context("it has a name")?);
    fs::rename(unpacked, &kept)?;
    fs::remove_dir_all(&fetched)?;
    Ok(kept)
}

fn image(folder: &Path) -> Option<PathBuf> {
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"));
    fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(named).max()
}
