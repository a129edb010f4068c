//! What systems of this kind have shipped and had to mend, and what their users ask for again and again: for each, the tests that keep it
//! from happening here, or why it cannot. A test that is named must be there. `TENURE_CODEGEN=1` writes docs/security/regressions.md.
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/security/regressions.md";

enum Answer {
    /// Names of tests.
    Tests(&'static [&'static str]),
    /// Why it is of nothing that is here.
    Not(&'static str),
}

use Answer::{Not, Tests};

const SHIPPED: [(&str, Answer); 22] = [
    (
        "programs of an agent read the secrets' store by a file capability",
        Tests(&[
            "no_file_of_the_host_or_of_another_agent_is_seen",
            "no_other_user_reaches_a_data_directory_whatever_the_umask_and_one_found_open_is_closed_with_a_word",
        ]),
    ),
    (
        "state was not each agent's own by every path",
        Tests(&[
            "an_agent_uses_shared_keys_as_the_rule_of_the_longest_prefix_says",
            "an_agent_reaches_no_session_of_another_by_its_id",
            "agents_have_folders_and_host_ids_of_their_own",
        ]),
    ),
    (
        "times of one agent were another's",
        Tests(&[
            "whatever_is_killed_each_time_of_a_schedule_starts_one_execution_or_says_why_not",
            "agents_and_cron_survive_a_restart",
        ]),
    ),
    (
        "what the clock started ran by other rules than its creator",
        Tests(&[
            "by_every_entry_each_verdict_holds_a_call_that_would_do_harm",
            "what_it_plans_is_bounded_named_and_can_be_read_and_ended_by_itself_and_by_people",
        ]),
    ),
    (
        "a client's request was dropped while another, or an approval, was under way",
        Tests(&[
            "more_calls_than_may_be_in_flight_are_refused_until_one_has_ended",
            "a_long_call_is_answered_early_and_its_result_fetched_and_a_call_taken_back_ends",
            "a_session_waits_for_its_answer_without_a_jail_and_its_call_is_then_done",
        ]),
    ),
    (
        "a search followed links out of the folder",
        Tests(&[
            "a_work_folder_full_of_links_and_endless_trees_leads_nowhere",
            "links_and_volumes_do_not_lead_through_the_hosts_folders",
        ]),
    ),
    ("the id of an alert was a path", Tests(&["no_id_or_name_of_the_api_is_a_path"])),
    (
        "a huge body took all memory",
        Tests(&[
            "a_huge_a_torn_and_a_foreign_body_each_get_their_code",
            "huge_and_deep_inputs_are_refused_and_a_usual_one_runs",
        ]),
    ),
    (
        "a host's list was widened by `*.` or a trailing dot",
        Tests(&["hostile_spellings_of_hosts", "connect_is_refused_by_name_by_address_and_by_spelling"]),
    ),
    (
        "a secret without a scope was everybody's",
        Tests(&["a_secret_is_of_no_use_to_another_agent_at_another_host_or_once_it_was_taken_back"]),
    ),
    (
        "a credential came back in an error",
        Tests(&[
            "a_key_that_a_provider_echoes_reaches_neither_the_failure_nor_a_log",
            "a_value_is_sent_where_it_is_bound_and_is_found_nowhere_in_any_spelling",
        ]),
    ),
    (
        "texts of a server acted on the terminal",
        Tests(&[
            "nothing_that_a_terminal_acts_on_comes_through_raw_from_anywhere",
            "what_an_agent_writes_is_text_on_the_page_and_turns_nothing_around",
        ]),
    ),
    (
        "what a session kept was never given back",
        Tests(&["what_a_session_keeps_ends_with_its_execution_and_leaves_no_bytes"]),
    ),
    (
        "an empty filter matched nothing",
        Tests(&["agents_are_found_by_label_and_status_and_lists_go_on_where_they_ended"]),
    ),
    ("an update failed for good on one passing error", Not("nothing updates itself")),
    ("a backup held nothing", Tests(&["a_backup_is_put_back_whole_and_nothing_of_it_where_one_value_does_not_fit"])),
    (
        "health contradicted itself",
        Tests(&[
            "the_status_says_what_is_not_usable_yet_and_what_to_do",
            "what_does_not_hold_is_said_loudly_with_what_to_do_and_the_exit_code_is_one",
        ]),
    ),
    (
        "one wrong line kept all of a firewall's rules from loading",
        Not("no packet filter is loaded: a jail has no route, and its way out is a listener that is handed to it"),
    ),
    ("a passphrase was echoed", Not("no passphrase is asked for")),
    (
        "a first start without a screen left an account without a password",
        Tests(&[
            "tcp_wants_a_live_key_of_a_sufficient_role_from_no_foreign_origin",
            "another_user_of_this_host_is_no_owner_even_where_the_socket_lets_it_in",
        ]),
    ),
    (
        "old turns were shortened for one provider alone",
        Tests(&["a_turn_of_a_conversation_is_asked_with_what_was_said_before_it_and_no_more_than_fits"]),
    ),
    (
        "a result that was too large ended the conversation",
        Tests(&[
            "a_long_result_is_cut_between_letters_and_its_pieces_are_the_whole",
            "a_long_body_shows_its_head_and_tail_and_what_is_no_text_is_base64",
        ]),
    ),
];

const ASKED: [(&str, Answer); 10] = [
    ("agents and their times survive a restart", Tests(&["agents_and_cron_survive_a_restart"])),
    ("one policy for missed runs, and no stampede", Tests(&["one_policy_for_missed_runs_without_a_stampede"])),
    ("one stuck job blocks nobody", Tests(&["one_stuck_job_blocks_nobody"])),
    (
        "a kill ends the tree of processes, and is shown at once",
        Tests(&["kill_kills_the_process_tree_and_the_shown_state_is_right"]),
    ),
    (
        "nothing is shown as running that is not",
        Tests(&["there_is_no_phantom_running_also_after_kill_9_of_everything"]),
    ),
    (
        "the clock, a person, a message and a session pass the same gate",
        Tests(&["by_every_entry_each_verdict_holds_a_call_that_would_do_harm"]),
    ),
    (
        "what waits for a person is kept, ends by rule, and hangs nothing",
        Tests(&[
            "a_call_waits_for_a_person_without_a_worker_and_is_done_with_what_was_allowed_also_after_a_kill",
            "an_approval_is_answered_in_every_state_as_the_table_says",
        ]),
    ),
    (
        "budgets of money and tokens stop",
        Tests(&[
            "a_budget_is_set_listed_used_up_refuses_what_begins_and_is_raised",
            "no_family_passes_the_money_of_any_of_its_own_whatever_is_lost",
        ]),
    ),
    (
        "without its sandbox nothing runs, and a doctor says why",
        Tests(&[
            "the_check_tells_each_layer_and_ends_by_whether_agents_can_run",
            "the_doctor_tries_what_would_hold_an_agent_s_next_call_and_ends_by_whether_all_of_it_does",
        ]),
    ),
    (
        "roles, who did what, and no door open by default",
        Tests(&[
            "every_operation_lets_in_whom_the_committed_list_names_and_nobody_else",
            "tcp_wants_a_live_key_of_a_sufficient_role_from_no_foreign_origin",
        ]),
    ),
];

fn page() -> String {
    let mut page = "# What others had to mend
Generated from `tests/security/regressions.rs`, which fails where a test that it names is gone. What systems of this kind have shipped and
mended later, then what their users ask for again and again.
"
    .to_string();
    for (title, rows) in [("What was shipped", SHIPPED.as_slice()), ("What is asked for", ASKED.as_slice())] {
        page.push_str(&format!("\n## {title}\n| | here |\n|---|---|\n"));
        for (what, answer) in rows {
            let here = match answer {
                Tests(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
                Not(why) => format!("cannot happen: {why}"),
            };
            page.push_str(&format!("| {what} | {here} |\n"));
        }
    }
    page
}

fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).expect("it can be listed").map(|entry| entry.expect("an entry")) {
        let (path, name): (PathBuf, _) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push_str(&std::fs::read_to_string(&path).expect("source is text"));
        }
    }
}

#[test]
fn every_test_that_the_list_names_is_there_and_the_page_is_the_lists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut text = String::new();
    for folder in ["crates", "tests"] {
        sources(&root.join(folder), &mut text);
    }
    let is_there = |name: &str| text.contains(&format!("fn {name}("));
    assert!(!is_there("a_test_that_nobody_has_written"), "the control");
    for (what, answer) in SHIPPED.iter().chain(&ASKED) {
        if let Tests(names) = answer {
            let gone: Vec<&&str> = names.iter().filter(|name| !is_there(name)).collect();
            assert!(gone.is_empty(), "{what}: no such test: {gone:?}");
        }
    }
    let file = root.join(PAGE);
    if std::env::var_os("TENURE_CODEGEN").is_some() {
        std::fs::write(&file, page()).expect("it can be written");
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == page(),
        "{PAGE} is old: run it with TENURE_CODEGEN=1"
    );
}

/// Names from outside are looked up in rows, and none is ever a place in a file system.
#[test]
fn no_id_or_name_of_the_api_is_a_path() {
    let office =
        crate::office::Office::open(std::sync::Arc::new(|_, _| tests::scripted::Say::Text("fine".to_string())));
    let address = crate::doors::address(&office);
    let key = office.daemon.json(&["key", "create", "--name", "all", "--role", "owner"]);
    let bearer = format!("Bearer {}", key["secret"].as_str().expect("shown once"));
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(crate::doors::ask(&address, "GET", "/v1/agents", &headers, "").0, 200, "the control: the key opens it");
    for path in
        ["..%2F..%2Fledger.key", "..%2f..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "alr_..%2F..%2Fledger.key", "a%00b"]
    {
        for (method, place) in [
            ("POST", format!("/v1/alerts/{path}/acknowledge")),
            ("GET", format!("/v1/agents/{path}")),
            ("GET", format!("/v1/executions/{path}")),
            ("GET", format!("/v1/approvals/{path}")),
            ("DELETE", format!("/v1/keys/{path}")),
        ] {
            let (status, body) = crate::doors::ask(&address, method, &place, &headers, "");
            assert!([400, 404, 405, 422].contains(&status), "{method} {place}: {status} {body}");
            assert!(!body.contains("root:") && !body.contains("PRIVATE"), "{body}");
        }
    }
    office.holds();
}
