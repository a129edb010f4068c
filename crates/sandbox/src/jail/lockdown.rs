//! Gives up what set-up needed: capabilities, new privileges, files and calls that are not for confined programs.
//! Must never: run before the old root is detached, or report a layer as reached that is not.

use std::io;

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::filter::{self, Filters};
use crate::bypass::{self, Bypass};
use crate::error::{Failure, Layer};
use crate::level::Level;
use crate::spec::{Spec, WORKSPACE};
use crate::sys;

const WRITABLE: &[&str] = &["/tmp", "/dev/shm"];
/// Holds devices only, on a mount where nothing can be made.
const DEVICES: &str = "/dev";

/// What can be given up before the claim: set-up needs none of it.
/// `confined` says that the zygote's filter is on already.
pub(super) fn prepare(bypass: &Bypass, filters: &Filters, confined: bool) -> Result<(), Failure> {
    if bypass.keeps(Layer::Rlimits) {
        // 1, not 0: where the host hands core dumps to a program of its own, which runs as root, only this one value stops it.
        sys::limit(libc::RLIMIT_CORE, 1).map_err(failed(Layer::Rlimits, "forbid core dumps"))?;
    }
    if bypass.keeps(Layer::Privileges) {
        sys::drop_bounding_set().map_err(failed(Layer::Privileges, "drop the capability bounding set"))?;
    }
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| failed(Layer::Privileges, "set no_new_privs")(error.into()))?;
    if bypass.keeps(Layer::Seccomp) {
        let refused = |_| failed(Layer::Seccomp, "apply the filter")(io::Error::last_os_error());
        if !confined {
            filter::confine_zygote().map_err(refused)?;
        }
        filters.hide().map_err(refused)?;
    }
    Ok(())
}

/// Locks this process in and fills in what was reached.
pub(super) fn lock(spec: &Spec, filters: &Filters, level: &mut Level) -> Result<(), Failure> {
    if spec.keeps(Layer::Landlock) {
        level.landlock = restrict(spec)?;
    }
    bypass::drop_capabilities(spec).map_err(failed(Layer::Privileges, "drop all capabilities"))?;
    if spec.keeps(Layer::Seccomp) {
        let refused = |_| failed(Layer::Seccomp, "apply the filter")(io::Error::last_os_error());
        filters.give_up().map_err(refused)?;
        level.seccomp = true;
    }
    Ok(())
}

fn failed(layer: Layer, step: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(layer, step, error)
}

/// Landlock at the best ABI that kernel and library share; returns it, 0 where there is none.
fn restrict(spec: &Spec) -> Result<u8, Failure> {
    let available = sys::landlock_abi();
    if available == 0 {
        return Ok(0);
    }
    let abi = [ABI::V1, ABI::V2, ABI::V3, ABI::V4, ABI::V5, ABI::V6, ABI::V7];
    let reached = usize::from(available).min(abi.len());
    apply_rules(spec, abi[reached - 1])
        .map_err(|_| Failure::new(Layer::Landlock, "apply the rules", io::Error::last_os_error()))?;
    Ok(reached as u8)
}

fn apply_rules(spec: &Spec, abi: ABI) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
    if !Scope::from_all(abi).is_empty() {
        rules = rules.scope(Scope::from_all(abi))?;
    }
    let mut rules = rules.create()?;
    let writable_mounts = spec.mounts.iter().filter(|mount| !mount.read_only).map(|mount| mount.target.as_path());
    let workspace = (!spec.work_folder_read_only).then_some(std::path::Path::new(WORKSPACE));
    let writable = WRITABLE.iter().map(std::path::Path::new).chain(workspace).chain(writable_mounts);
    let all = AccessFs::from_all(abi) & !AccessFs::MakeBlock & !AccessFs::MakeChar;
    if let Ok(root) = PathFd::new("/") {
        rules = rules.add_rule(PathBeneath::new(root, AccessFs::from_read(abi)))?;
    }
    // What cannot be opened gets no rule, and so no access.
    for path in writable {
        if let Ok(path_fd) = PathFd::new(path) {
            let access = if path.is_dir() { all } else { all & AccessFs::from_file(abi) };
            rules = rules.add_rule(PathBeneath::new(path_fd, access))?;
        }
    }
    if let Ok(devices) = PathFd::new(DEVICES) {
        rules = rules.add_rule(PathBeneath::new(devices, AccessFs::from_file(abi) & !AccessFs::Execute))?;
    }
    rules.restrict_self().map(drop)
}
