//! One suite for every store: each case runs on the model in memory and on SQLite. A new database is a new line in `suite!`
//! and a new kind of bed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests: what goes wrong here fails the test"
)]

mod access;
mod bed;
mod bulk;
mod changes;
mod compaction;
mod faults;
mod filters;
mod joins;
mod leases;
mod make;
mod model;
mod records;
mod sqlite;
mod transactions;

macro_rules! suite {
    ($($area:ident: [$($case:ident),+ $(,)?]),+ $(,)?) => {
        mod on_memory {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$area::$case(crate::bed::Bed::memory()).await;
                }
            )+)+
        }

        mod on_sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$area::$case(crate::bed::Bed::sqlite().await).await;
                }
            )+)+
        }
    };
}

suite! {
    records: [
        applications_come_back_whole,
        specs_are_kept_once,
        slots_come_back_whole,
        assignments_come_back_whole,
        children_come_back_whole,
        facts_come_back_but_some_are_the_stores_own,
        tombstones_and_answers_come_back,
        events_come_newest_first,
        removing_what_is_not_there_does_nothing,
        names_are_unique_at_the_end_of_the_commit,
    ],
    transactions: [
        staged_writes_are_not_seen_before_the_commit,
        a_dropped_transaction_changes_nothing,
        each_commit_has_the_next_revision_and_an_empty_one_has_none,
        a_reader_keeps_its_state,
        the_last_of_several_writes_stays,
        orders_have_the_revision_of_their_last_change,
        a_commit_wakes_those_who_watch,
        no_update_of_many_writers_is_lost,
        readers_are_not_kept_waiting_by_a_writer,
        callers_that_go_away_leave_nothing_behind,
        everything_is_there_after_opening_again,
    ],
    filters: [
        applications_are_filtered_ordered_and_paged,
        slots_are_filtered_ordered_and_paged,
        a_page_goes_on_from_a_slot_that_is_gone,
        assignments_are_filtered_and_ordered,
        long_lists_of_ids_are_found,
    ],
    changes: [
        changes_name_what_was_touched_once_a_commit,
        changes_name_what_is_gone,
        changes_are_limited_by_commits,
    ],
    compaction: [
        old_events_answers_tombstones_and_changes_go,
        tombstones_wait_for_a_child_that_is_not_heard,
        specs_go_when_nothing_uses_them,
        older_revisions_are_refused_after_compaction,
        a_clock_that_jumps_leaves_no_hole,
    ],
    leases: [
        leases_come_back_and_go_and_take_no_revision,
        a_commit_is_made_only_by_who_holds_the_lease,
        a_fence_is_compared_when_the_commit_is_made,
        of_many_that_take_a_lease_each_epoch_has_one,
        an_expired_lease_is_taken_and_its_holder_is_refused,
        the_number_rises_also_for_the_holder_itself,
        leases_are_there_after_opening_again,
    ],
    access: [
        users_and_tokens_come_back_and_wake_nobody,
        namespaces_come_back_and_the_default_one_is_there,
        the_audit_is_one_chain_and_wakes_nobody,
        the_audit_is_there_if_and_only_if_its_change_is,
    ],
    joins: [
        tokens_and_bridges_come_back_and_wake_nobody,
        a_child_is_found_by_its_key,
        a_use_is_taken_with_the_rest_or_not_at_all,
        a_token_that_is_not_good_has_no_use,
        of_many_at_once_as_many_join_as_the_token_allows,
        old_tokens_go,
    ],
    bulk: [ten_thousand_slots_and_assignments_are_one_commit],
}
