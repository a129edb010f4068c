//! The escape suite: every class of probes, once as the user that runs the tests and, where that is root, once more as an
//! ordinary one.
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::document;
use super::ground::{JAIL_EXE, is_root, jail_exe};
use super::probe::{Class, Control, Layer};
use super::trial::hold;
use super::{
    calls, devices, egress, files, folders, kernel, limits, mounts, namespaces, network, oddities, proc, processes,
    product, programs, sockets, trees, writes,
};

const CLASSES: [&Class; 18] = [
    &files::CLASS,
    &folders::CLASS,
    &oddities::CLASS,
    &trees::CLASS,
    &writes::CLASS,
    &proc::CLASS,
    &processes::CLASS,
    &programs::CLASS,
    &limits::CLASS,
    &namespaces::CLASS,
    &mounts::CLASS,
    &devices::CLASS,
    &network::CLASS,
    &sockets::CLASS,
    &egress::CLASS,
    &calls::CLASS,
    &kernel::CLASS,
    &product::CLASS,
];
/// Fewer than this, and somebody has taken attempts away.
const ATTEMPTS_MIN: usize = 400;
const NOBODY: &str = "65534";

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

#[test]
fn the_product_runs_shows_and_tells_nothing_that_it_should_not() {
    hold(&product::CLASS);
}

#[test]
fn a_work_folder_full_of_links_and_endless_trees_leads_nowhere() {
    hold(&trees::CLASS);
}

#[test]
fn no_program_opens_a_socket_of_another_kind() {
    hold(&sockets::CLASS);
}

#[test]
fn the_one_way_out_leads_only_to_what_is_named() {
    hold(&egress::CLASS);
}

#[test]
fn everything_holds_for_an_ordinary_user_too() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(std::env::current_exe().expect("a running program has a path"), at("suite")).expect("a copy");
    std::fs::copy(jail_exe(), at("tenure-jail")).expect("a copy");
    std::fs::create_dir(at("tmp")).expect("a folder");
    for path in [folder.path().to_owned(), at("suite"), at("tenure-jail"), at("tmp")] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("a mode");
    }
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--inh-caps=-all"]);
    command.arg("--").arg(at("suite")).args([
        "escapes::suite::",
        "--test-threads=2",
        "--show-output",
        "--skip",
        "the_table",
    ]);
    command.env(JAIL_EXE, at("tenure-jail")).env("TMPDIR", at("tmp")).env("HOME", at("tmp")).current_dir(at("tmp"));
    let output = command.output().expect("setpriv runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("{} passed", CLASSES.len() + 1)), "every class ran: {said}");
    if std::env::var_os("TENURE_ESCAPES_SHOW").is_some() {
        println!("{said}");
    }
}

#[test]
fn the_table_is_large_its_ids_are_unique_and_the_document_is_its_own() {
    let probes: Vec<_> = CLASSES.iter().flat_map(|class| class.probes).collect();
    assert!(probes.len() >= ATTEMPTS_MIN, "{} attempts", probes.len());
    let ids: BTreeSet<&str> = probes.iter().map(|probe| probe.id).collect();
    assert_eq!(ids.len(), probes.len(), "two have one id");
    for kind in Control::KINDS {
        assert!(probes.iter().any(|probe| probe.control.kind() == kind), "no control is {kind}");
    }
    for layer in Layer::ALL {
        assert!(probes.iter().any(|probe| probe.layer == layer), "nothing is stopped by {}", layer.name());
    }
    let page = document::page(&CLASSES);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security/escapes.md");
    if std::env::var_os("TENURE_CODEGEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &page).expect("the document can be written");
    }
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|now| now == page),
        "docs/security/escapes.md is old: run TENURE_CODEGEN=1 cargo nextest run -p tests -E 'test(the_table)'"
    );
}
