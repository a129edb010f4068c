//! The escape suite: every class of probes, once as the user that runs the tests and, where that is root, once more as an
//! ordinary one.
use super::trial::hold;
use super::{
    calls, devices, files, folders, kernel, limits, mounts, namespaces, network, oddities, proc, processes, programs,
    writes,
};

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

#[test]
fn no_program_reaches_a_network_or_a_socket_of_the_host() {
    hold(&network::CLASS);
}

#[test]
fn a_program_is_started_with_nothing_and_becomes_nothing_that_it_may_not_be() {
    hold(&programs::CLASS);
}

#[test]
fn what_is_only_shown_cannot_be_written() {
    hold(&writes::CLASS);
}

#[test]
fn no_process_reaches_another_or_outlives_its_call() {
    hold(&processes::CLASS);
}

#[test]
fn bombs_go_off_in_their_jail_alone() {
    hold(&limits::CLASS);
}

#[test]
fn file_capabilities_never_leave_the_work_folder() {
    hold(&folders::CLASS);
}

#[test]
fn odd_things_in_a_work_folder_neither_block_nor_mislead() {
    hold(&oddities::CLASS);
}
