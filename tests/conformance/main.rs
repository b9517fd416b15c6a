//! One suite, every backend, cache on and off: semantics.md, case by case, through
//! the whole job server, from request bytes to reply bytes.
//!
//! A case never looks at a backend's insides, so a new backend is one more column.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::large_futures,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod verbs;

/// Lists the cases once. A case that is missing here is dead code, which `-D
/// warnings` refuses.
macro_rules! conformance {
    ($($group:ident: $($case:ident)*;)*) => {
        mod memory_uncached {
            use crate::{cases, support::World};
            $(mod $group { use super::*; $(
                #[tokio::test] async fn $case() { cases::$group::$case(World::memory(0).await).await; }
            )* })*
        }
        mod memory_cached {
            use crate::{cases, support::World};
            $(mod $group { use super::*; $(
                #[tokio::test] async fn $case() { cases::$group::$case(World::memory(1024).await).await; }
            )* })*
        }
        mod postgres_uncached {
            use crate::{cases, support::World};
            $(mod $group { use super::*; $(
                #[tokio::test] async fn $case() { cases::$group::$case(World::postgres(0).await).await; }
            )* })*
        }
        mod postgres_pooled {
            use crate::{cases, support::World};
            $(mod $group { use super::*; $(
                #[tokio::test] async fn $case() { cases::$group::$case(World::pooled(1024).await).await; }
            )* })*
        }
        mod postgres_cached {
            use crate::{cases, support::World};
            $(mod $group { use super::*; $(
                #[tokio::test] async fn $case() { cases::$group::$case(World::postgres(1024).await).await; }
            )* })*
        }
    };
}

conformance! {
    specs:
        a_spec_is_what_it_was_last_set_to
        setting_a_spec_again_resets_what_control_changed
        control_changes_all_it_names_or_nothing
        continuous_is_switched_on_only_where_the_definition_allows_it
        specs_are_listed_by_name_in_pages_that_miss_none
        a_deleted_spec_is_gone_with_its_units
        a_spec_made_again_is_found_through_a_stale_cache
        clear_deletes_every_spec_of_its_namespace_only
        a_failed_set_leaves_no_trace;
    units:
        text_and_byte_keys_of_the_same_bytes_are_one_unit
        an_empty_key_is_a_key_like_any_other
        the_last_entry_for_a_key_wins
        a_bad_item_adds_none
        adding_an_available_unit_again_moves_it
        adding_a_pending_unit_again_keeps_its_attempt
        adding_a_finished_or_failed_unit_again_makes_it_available
        delayed_units_count_as_available_and_are_not_handed_out
        a_delay_ends_at_its_instant
        pages_by_key_and_state_miss_none
        units_are_listed_in_the_order_asked
        statuses_show_what_semantics_says
        priorities_are_set_and_adjusted
        deletes_take_what_they_name_and_no_more
        counts_are_kept_through_every_change;
    work:
        units_come_by_priority_then_key
        a_lease_holds_at_its_deadline_and_is_over_after_it
        leases_are_as_long_as_asked_within_bounds
        one_job_and_many_jobs_have_their_own_shapes
        max_jobs_and_max_getwork_and_max_running_bound_a_claim
        max_running_counts_a_lease_that_ran_out_no_more
        nothing_comes_from_a_paused_spec
        a_higher_priority_spec_goes_first
        running_work_follows_the_weights
        only_asked_runtimes_and_specs_are_handed_out
        memory_counts_only_where_the_daemon_enforces_it
        a_unit_with_too_many_attempts_fails_and_the_batch_goes_on
        when_retries_empty_a_batch_the_scheduler_goes_on
        a_continuous_spec_makes_one_unit_at_a_time_and_not_before_its_interval
        the_attempt_is_told_to_who_asks;
    updates:
        a_unit_without_an_attempt_follows_the_table
        a_pending_unit_follows_the_table
        a_unit_whose_lease_ran_out_follows_the_table
        a_finished_unit_follows_the_table
        a_failed_unit_follows_the_table
        a_late_renewal_beyond_max_running_is_refused
        a_retry_brings_the_original_data_back
        a_release_with_a_delay_holds_the_unit_back
        a_unit_moved_without_a_claim_is_not_handed_out
        who_names_another_worker_is_fenced_unless_it_is_the_parent
        who_names_an_older_attempt_is_fenced
        an_old_client_is_fenced_by_its_connection
        a_connection_that_never_claimed_is_not_fenced
        a_batch_answers_each_update_as_if_it_came_alone;
    chaining:
        output_of_every_form_becomes_units
        a_repeated_finish_chains_once
        a_refused_finish_chains_nothing
        a_missing_then_spec_is_no_error
        output_of_an_earlier_update_is_chained_by_a_bare_finish
        output_onto_an_existing_key_replaces_it
        a_spec_may_chain_to_itself
        a_failed_unit_that_finishes_after_all_chains;
    workers:
        a_worker_is_gone_when_it_is_unregistered_or_past_its_expiration
        lifetimes_out_of_bounds_are_replaced_and_said_so
        nil_and_empty_parents_are_none
        parent_cycles_are_refused
        worker_info_is_what_was_sent_with_an_age
        children_are_listed_with_what_they_hold
        a_runaway_child_is_listed_until_its_attempt_ends
        asking_about_an_unknown_worker_does_not_make_it;
    locks:
        a_path_excludes_its_ancestors_and_descendants
        a_lock_takes_all_or_none_also_against_itself
        locksome_takes_what_it_can_in_order
        text_and_byte_labels_are_one_lock_and_tuples_are_lists
        only_the_owner_renews_and_unlocks_all_or_none
        a_lock_ends_after_its_deadline
        timeouts_have_a_default_and_a_cap_and_no_negatives
        deleting_a_namespace_drops_the_locks_below_its_label;
    caches:
        a_stale_attempt_finishes_nobody_elses_work
        an_update_decided_on_a_stale_attempt_is_decided_again
        an_answer_without_a_change_is_never_a_stale_one
        a_unit_deleted_and_added_elsewhere_is_found_anew
        a_spec_deleted_and_made_elsewhere_is_found_anew
        max_running_and_continuous_hold_over_several_servers;
    namespaces:
        namespaces_share_nothing
        hello_moves_only_its_own_connection;
    waiting:
        a_waiting_request_is_answered_by_an_add
        a_waiting_request_is_answered_by_a_release_a_resume_and_a_chain
        a_waiting_request_is_answered_when_a_lease_or_a_delay_ends
        a_waiting_request_is_answered_when_a_continuous_unit_is_due
        a_waiting_request_ends_empty_at_its_deadline
        a_waiting_request_ends_when_its_client_leaves
        one_unit_wakes_one_of_many_and_each_unit_finds_a_worker;
}
