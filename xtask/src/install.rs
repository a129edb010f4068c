//! What the build and the tests need of the host. Installs Debian packages as root or through sudo, and says so first;
//! where it cannot, it names what is missing and the command that brings it. Must never remove or configure
//! anything, or let a service start that it installs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::step;

/// A compiler for SQLite's C and llama.cpp's C++, and what generates the binding to it.
pub(crate) const BUILD: [&str; 6] = ["gcc", "g++", "make", "cmake", "libclang-dev", "git"];

/// What programs in a jail use in the tests: a client of each kind, file systems, another user; and what scripts read JSON by.
pub(crate) const TEST: [&str; 8] =
    ["curl", "git", "jq", "python3", "python3-pip", "ca-certificates", "e2fsprogs", "util-linux"];

/// Container engines, which the tests start on data of their own; only for machines that are there to test.
pub(crate) const ENGINES: [&str; 4] = ["docker.io", "podman", "runc", "busybox-static"];

/// Asked by Debian's maintainer scripts whether a service may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// As [`packages`], and no service that they bring is started: while they are installed, the host's policy says no. A policy
/// that is there already stays as it is.
pub(crate) fn packages_at_rest(packages: &[&str]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if missing(packages).is_empty() || Path::new(POLICY).exists() {
        return self::packages(packages);
    }
    let written = fs::write(POLICY, "#!/bin/sh\nexit 101\n")
        .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)));
    if let Err(error) = written {
        bail!("{POLICY} cannot be written ({error}), so installing {} would start services", packages.join(" "));
    }
    let installed = self::packages(packages);
    fs::remove_file(POLICY)?;
    installed
}

/// Sees to it that Debian `packages` are there.
///
/// # Errors
/// They are missing and cannot be installed.
pub(crate) fn packages(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let Some(become_root) = root() else {
        bail!("these Debian packages are missing: {list}. Install them: sudo apt-get install {list}");
    };
    println!("  installing Debian packages: {list}");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(become_root.first().unwrap_or(&"apt-get"));
        command.args(become_root.get(1..).unwrap_or_default()).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    // A fresh image has no package lists, an old one those of packages that are gone.
    let begun = Instant::now();
    if step::answer(&mut apt(&install)).is_some() {
        step::done("apt-get install", begun);
        return Ok(());
    }
    step::quiet("apt-get update", &mut apt(&["update"]))?;
    step::quiet("apt-get install", &mut apt(&install))
}

/// The command that may run apt-get, in words; `None` where nobody may.
fn root() -> Option<Vec<&'static str>> {
    if step::answer(Command::new("id").arg("-u"))? == "0" {
        return Some(vec!["apt-get"]);
    }
    let asks_nothing = step::answer(Command::new("sudo").args(["--non-interactive", "true"])).is_some();
    asks_nothing.then(|| vec!["sudo", "--non-interactive", "--preserve-env=DEBIAN_FRONTEND", "apt-get"])
}

/// Of `packages`, those that dpkg does not have; of a host that is no Debian, those whose program is not on the path.
fn missing<'p>(packages: &[&'p str]) -> Vec<&'p str> {
    let there = |package: &str| {
        let status = step::answer(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]));
        match status {
            Some(status) => status == "install ok installed",
            None if Path::new("/var/lib/dpkg/status").exists() => false,
            None => program(package).is_none_or(on_path),
        }
    };
    packages.iter().filter(|package| !there(package)).copied().collect()
}

/// The program by which a package shows; a library has none.
fn program(package: &str) -> Option<&str> {
    match package {
        "libclang-dev" => None,
        "bubblewrap" => Some("bwrap"),
        other => Some(other),
    }
}

pub(crate) fn on_path(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// A Python that can fetch packages.
///
/// # Errors
/// There is none and it cannot be installed.
pub(crate) fn python() -> Result<()> {
    if !on_path("python3") {
        packages(&["python3"])?;
    }
    if step::answer(Command::new("python3").args(["-m", "pip", "--version"])).is_none() {
        packages(&["python3-pip"])?;
    }
    Ok(())
}

/// Python packages in a folder of their own; nothing of the host's Python is changed. Gives the folder of their programs.
///
/// # Errors
/// There is no Python, or no index of packages to have them from.
pub(crate) fn python_packages(folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    python()?;
    let wanted = packages.join(" ");
    let (done, programs) = (folder.join("installed"), folder.join("bin"));
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let mut venv = Command::new("python3");
    step::quiet("python3 -m venv", venv.args(["-m", "venv", "--without-pip"]).arg(folder))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--python"]).arg(programs.join("python"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]).args(packages);
    step::quiet(&format!("pip install {wanted}"), &mut pip)?;
    fs::write(done, wanted)?;
    Ok(programs)
}

/// Node packages in a folder of their own, by the package.json in `stated` and the lock beside it; without a lock only such as depend on
/// nothing. No script of theirs is run, and nothing of the host's Node is changed.
///
/// # Errors
/// There is no npm, or no registry to have them from.
pub(crate) fn node_packages(what: &str, folder: &Path, stated: &Path, omitted: &[&str]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let package = fs::read(stated.join("package.json"))?;
    let lock = fs::read(stated.join("package-lock.json")).ok();
    let wanted = lock.as_ref().unwrap_or(&package);
    let done = folder.join("installed");
    if fs::read(&done).is_ok_and(|installed| installed == *wanted) {
        return Ok(());
    }
    if !on_path("npm") {
        packages(&["npm"])?;
    }
    fs::write(folder.join("package.json"), &package)?;
    let mut npm = Command::new("npm");
    match &lock {
        Some(lock) => {
            fs::write(folder.join("package-lock.json"), lock)?;
            npm.arg("ci")
        }
        None => npm.args(["install", "--no-package-lock"]),
    };
    npm.args(["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).args(omitted).current_dir(folder);
    step::quiet(&format!("npm ({what})"), &mut npm)?;
    fs::write(done, wanted)?;
    Ok(())
}

/// Sees to it that cargo has the subcommand `verb`, from the toolchain's own components.
///
/// # Errors
/// It is missing and rustup cannot bring it.
pub(crate) fn component(verb: &str, component: &str) -> Result<()> {
    if step::answer(Command::new("cargo").args([verb, "--version"])).is_some() {
        return Ok(());
    }
    step::quiet(
        &format!("rustup component add {component}"),
        Command::new("rustup").args(["component", "add", component]),
    )
}
