//! Faults of the older servers of this protocol, and the tests that would have caught
//! each. Numbers are those of the list the project was given.
//!
//! A test is named by its function, or by its scenario file under `tests/wire`; that it
//! exists is what is checked here, and that what was found on PostgreSQL is looked for on
//! PostgreSQL.

#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Number, what happened, and what would have caught it.
const FAULTS: &[(u8, &str, &[&str])] = &[
    (
        1,
        "deep nesting overflowed the stack",
        &["a_megabyte_of_nesting_is_refused_wherever_it_is"],
    ),
    (
        2,
        "heartbeats of one parent's children raced",
        &["heartbeats_of_new_children_of_one_parent_on_eight_connections_all_count"],
    ),
    (
        3,
        "specs were read while one was set",
        &["specs_are_set_and_deleted_while_others_read_and_work_on_them"],
    ),
    (
        4,
        "a failed accept ended the process",
        &[
            "connections_that_find_no_file_descriptor_are_served_when_there_is_one",
            "without_file_descriptors_clients_wait_and_the_log_says_so_once",
            "beyond_the_limit_a_connection_waits_until_another_leaves",
        ],
    ),
    (
        5,
        "frames had no limit and half of one held memory",
        &[
            "a_length_that_is_only_announced_takes_no_memory",
            "half_a_request_and_a_hang_up_leave_nothing_behind",
            "frames_of_60_mib_are_received_within_the_budget_and_all_are_answered",
        ],
    ),
    (
        6,
        "a busy port was ignored, and nothing was logged",
        &[
            "an_address_that_is_taken_ends_the_daemon_with_a_line_that_says_so",
            "start_and_stop_are_in_the_log_by_default",
        ],
    ),
    (
        7,
        "a bad envelope closed the connection in silence",
        &[
            "envelope_errors.hex",
            "an_envelope_that_makes_no_sense_is_answered_and_the_connection_goes_on",
        ],
    ),
    (
        8,
        "archive answered neither result nor error",
        &["archive.hex"],
    ),
    (
        9,
        "tags, dates, key types and map order were lost",
        &["data_is_kept.hex"],
    ),
    (
        10,
        "options were cut to integers, names matched in any case",
        &[
            "get_work_options.hex",
            "one_job_and_many_jobs_have_their_own_shapes",
            "a_delay_ends_at_its_instant",
        ],
    ),
    (
        11,
        "pages of work specs lost specs",
        &[
            "specs_are_listed_by_name_in_pages_that_miss_none",
            "list_work_specs.hex",
        ],
    ),
    (12, "worker listings were no pairs", &["worker_lists.hex"]),
    (
        13,
        "one unknown key failed a whole listing of statuses",
        &[
            "units_are_listed_in_the_order_asked",
            "get_work_unit_status.hex",
        ],
    ),
    (
        14,
        "units came in no order, so pages lost some",
        &["pages_by_key_and_state_miss_none"],
    ),
    (
        15,
        "max_running was ignored, bad control values taken",
        &[
            "control_changes_all_it_names_or_nothing",
            "max_jobs_and_max_getwork_and_max_running_bound_a_claim",
        ],
    ),
    (
        16,
        "a definition that was refused left an empty spec",
        &["a_failed_set_leaves_no_trace"],
    ),
    (
        17,
        "specs with a runtime could not be claimed",
        &["only_asked_runtimes_and_specs_are_handed_out"],
    ),
    (
        18,
        "get_work ignored the lease asked for",
        &["leases_are_as_long_as_asked_within_bounds"],
    ),
    (
        19,
        "a late worker finished its successor's attempt",
        &[
            "an_old_client_is_fenced_by_its_connection",
            "who_names_another_worker_is_fenced_unless_it_is_the_parent",
            "fencing.hex",
        ],
    ),
    (
        20,
        "a unit moved without a claim stayed queued",
        &["a_unit_moved_without_a_claim_is_not_handed_out"],
    ),
    (
        21,
        "another priority did not move an available unit",
        &["adding_an_available_unit_again_moves_it"],
    ),
    (
        22,
        "output onto an existing key was handed out twice",
        &["output_onto_an_existing_key_replaces_it"],
    ),
    (
        23,
        "finishing without the next spec was an error",
        &["a_missing_then_spec_is_no_error"],
    ),
    (
        24,
        "a crash between a finish and its chained units lost them",
        &[
            "a_daemon_that_dies_has_finished_a_unit_and_chained_its_output_or_neither",
            "a_finish_and_the_units_it_leads_to_are_one_transaction",
        ],
    ),
    (
        25,
        "deleting without options deleted everything",
        &["deletes_take_what_they_name_and_no_more"],
    ),
    (
        26,
        "the empty key could not be listed or deleted",
        &["an_empty_key_is_a_key_like_any_other"],
    ),
    (
        27,
        "delayed units had a status of no number",
        &["delayed_units_count_as_available_and_are_not_handed_out"],
    ),
    (
        28,
        "a bad status made an attempt before it was an error",
        &["a_unit_without_an_attempt_follows_the_table"],
    ),
    (
        29,
        "re-added pending units differed, bad names got through",
        &[
            "adding_a_pending_unit_again_keeps_its_attempt",
            "strings.hex",
            "names_are_kept_whatever_is_in_them_and_bad_ones_refused_in_our_own_words",
        ],
    ),
    (
        30,
        "priorities could be NaN or infinite",
        &["a_bad_item_adds_none", "add_work_units_errors.hex"],
    ),
    (
        31,
        "max_running was exceeded by many at once",
        &[
            "max_running_and_continuous_hold_over_several_servers",
            "max_running_is_never_exceeded_whichever_way_a_unit_becomes_pending",
        ],
    ),
    (
        32,
        "two units were made for one interval",
        &[
            "a_continuous_spec_makes_one_unit_at_a_time_and_not_before_its_interval",
            "max_running_and_continuous_hold_over_several_servers",
            "daemons_make_one_continuous_unit_for_an_interval",
        ],
    ),
    (
        33,
        "a null parent was a worker, and so was an unknown one asked about",
        &[
            "nil_and_empty_parents_are_none",
            "asking_about_an_unknown_worker_does_not_make_it",
        ],
    ),
    (
        34,
        "workers never went away",
        &[
            "a_worker_is_gone_when_it_is_unregistered_or_past_its_expiration",
            "worker_info_is_what_was_sent_with_an_age",
        ],
    ),
    (
        35,
        "locks overlapped, and negative timeouts were granted",
        &[
            "text_and_byte_labels_are_one_lock_and_tuples_are_lists",
            "a_lock_takes_all_or_none_also_against_itself",
            "timeouts_have_a_default_and_a_cap_and_no_negatives",
            "no_two_owners_ever_hold_what_overlaps",
        ],
    ),
    (
        37,
        "a transaction for each added unit, and nine for a claim and a finish",
        &["n_units_are_added_in_one_transaction_and_a_cycle_takes_two"],
    ),
    (
        38,
        "serialization failures without number, retried without end",
        &[
            "claims_and_finishes_of_many_clients_are_never_in_each_others_way",
            "who_adds_and_chains_the_same_keys_as_others_is_seldom_sent_back_and_never_refused",
            "what_is_in_the_way_for_good_is_tried_again_a_bounded_number_of_times",
        ],
    ),
    (
        39,
        "each claim looked for what has ended everywhere, and read the units",
        &[
            "what_a_claim_looks_at_does_not_grow_with_units_and_ended_leases",
            "get_work_is_one_round_trip_when_the_board_is_warm",
        ],
    ),
    (
        40,
        "clients used the database's connections up, and saw its error",
        &[
            "four_hundred_clients_share_four_connections",
            "clients_for_whom_no_connection_is_free_in_time_are_told_to_come_back",
            "clients_of_a_server_without_free_connections_are_told_to_come_back",
        ],
    ),
    (
        41,
        "a deleted spec's units stayed in memory",
        &[
            "the_memory_of_a_deleted_spec_is_used_again",
            "every_key_is_found_until_it_is_removed_and_then_its_memory_is_given_back",
        ],
    ),
    (
        42,
        "replies were written from maps that were changing",
        &["specs_are_set_and_deleted_while_others_read_and_work_on_them"],
    ),
    (
        43,
        "a slow look-up stalled all others, and retries had no end",
        &[
            "a_spec_made_again_is_found_through_a_stale_cache",
            "a_stale_attempt_finishes_nobody_elses_work",
            "the_board_answers_while_another_spec_is_locked",
        ],
    ),
    (
        44,
        "one request at a time for everybody",
        &["a_message_of_very_many_requests_lets_others_have_their_turn"],
    ),
];

/// Speed is measured at any number of units: a test of it would be a timed one.
const MEASURED: &[(u8, &str)] = &[(36, "tests/bench/memory.rs")];

/// Faults that were found on PostgreSQL alone.
const ON_POSTGRES: &[u8] = &[24, 29, 31, 32, 37, 38, 39, 40];

/// Where tests are that run on PostgreSQL.
const POSTGRES_TESTS: &[&str] = &[
    "tests/conformance",
    "tests/daemons",
    "tests/postgres",
    "src/backend/postgres",
];

/// All functions and scenario files, and where they are.
fn tests(folder: &Path, found: &mut BTreeMap<String, Vec<PathBuf>>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            tests(&path, found);
        } else if name.ends_with(".hex") {
            found.entry(name).or_default().push(path);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let functions = text.lines().filter_map(|line| line.split_once("fn "));
            for (_, rest) in functions {
                let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
                let name: String = rest.chars().take_while(is_name).collect();
                found.entry(name).or_default().push(path.clone());
            }
        }
    }
}

#[test]
fn every_known_fault_has_a_test_that_would_have_caught_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    tests(&root.join("tests"), &mut found);
    tests(&root.join("src"), &mut found);
    let is_on_postgres = |path: &PathBuf| {
        let mut folders = POSTGRES_TESTS.iter();
        folders.any(|folder| path.starts_with(root.join(folder)))
    };
    for (number, story, caught_by) in FAULTS {
        assert!(
            !caught_by.is_empty(),
            "nothing would have caught {number}: {story}"
        );
        let mut places = Vec::new();
        for test in *caught_by {
            let there = found.get(*test);
            let there = there.unwrap_or_else(|| panic!("{number} ({story}): no test {test}"));
            places.extend(there);
        }
        assert!(
            !ON_POSTGRES.contains(number) || places.into_iter().any(is_on_postgres),
            "{number} ({story}): none of its tests runs on PostgreSQL"
        );
    }
    let mut numbers: Vec<u8> = FAULTS.iter().map(|fault| fault.0).collect();
    for (number, bench) in MEASURED {
        assert!(root.join(bench).exists(), "{number}: there is no {bench}");
        numbers.push(*number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=44).collect::<Vec<u8>>(), "each fault once");
}
