//! Lets a jail die that somebody has frozen by its control group. Must never: let it do one more thing before it is dead.

use std::fs;
use std::path::PathBuf;

use crate::sys;

pub(crate) const V1_STATE: &str = "freezer.state";

/// Lets a jail die whose init was sent SIGKILL: in v1, and only there, what is frozen does not even take that.
pub(crate) fn release(cgroups: &[PathBuf]) {
    for group in cgroups {
        let state = group.join(V1_STATE);
        if fs::read_to_string(&state).is_ok_and(|now| now.trim() != "THAWED") {
            // Killed before they are let go, none of them does one more thing. While they are frozen, their ids are their own.
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
                let _ = sys::kill(pid, libc::SIGKILL);
            }
            // A group that is gone holds nothing.
            let _ = fs::write(state, "THAWED");
        }
    }
}
