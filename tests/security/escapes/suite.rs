//! The escape suite: every class of probes, once as the user that runs the tests and, where that is root, once more as an
//! ordinary one.
use super::trial::hold;
use super::{calls, devices, files, kernel, mounts, namespaces, proc};

#[test]
fn system_calls_that_no_program_needs_are_refused() {
    hold(&calls::CLASS);
}

#[test]
fn calls_that_change_the_host_are_refused_and_the_filter_cannot_be_gone_around() {
    hold(&kernel::CLASS);
}

#[test]
fn no_program_makes_or_enters_a_namespace() {
    hold(&namespaces::CLASS);
}

#[test]
fn no_program_mounts_or_leaves_its_root() {
    hold(&mounts::CLASS);
}

#[test]
fn no_file_of_the_host_or_of_another_agent_is_seen() {
    hold(&files::CLASS);
}

#[test]
fn proc_shows_and_switches_nothing_that_is_not_the_jails_own() {
    hold(&proc::CLASS);
}

#[test]
fn no_device_is_made_or_opened() {
    hold(&devices::CLASS);
}
