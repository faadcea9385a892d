//! The facade, from one source, four times: against the fake server and a real ZooKeeper, on nio
//! and on tokio.
//!
//! A test is an `async fn(&Env)`. On nio it runs on a plain thread, in a process without any
//! runtime; on tokio in a runtime with several threads. Each works below a chroot of its own.
//! Where no real ZooKeeper is installed, its half is left out, and says so.

mod acl;
mod certain;
mod changed;
mod children;
mod chroot;
mod config;
mod create_modes;
mod env;
mod errors;
mod life;
mod limits;
mod many;
#[macro_use]
mod matrix;
mod nodes;
mod order;
mod parents;
mod parity;
mod persistent;
mod pool;
mod servers;
mod session;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tokio")]
mod tokio_only;
mod transactions;
mod watchers;
mod watches;
mod who_and_what;

/// One `#[test]` for each body.
macro_rules! tests {
    ($server:ident $backend:ident; $($file:ident: $($body:ident)*;)*) => {
        $($(
            #[test]
            fn $body() {
                let server = crate::env::Kind::$server;
                crate::env::run(server, crate::support::Backend::$backend, crate::$file::$body);
            }
        )*)*
    };
}

/// What both servers must answer alike.
macro_rules! everywhere {
    ($server:ident $backend:ident) => {
        tests! { $server $backend;
            nodes:
                create_and_get
                create_in_all_four_modes
                a_trailing_slash_names_a_node_by_its_number
                data_of_every_size
                data_up_to_the_limit
                every_byte_survives
                set_with_and_without_version
                delete_with_and_without_version
                exists_tells_none_and_some
                a_stat_tells_what_was_done;
            create_modes:
                containers_and_nodes_with_a_time_to_live
                refusals_are_those_of_any_create
                settings_that_exclude_each_other
                an_ephemeral_of_a_former_session;
            parents:
                missing_parents_are_made
                the_node_has_its_own_settings
                a_thread_makes_parents
                an_error_names_the_node_that_it_is_about
                parents_that_are_there_are_not_made
                others_make_the_same_parents;
            pool:
                a_pool_reads_what_a_client_reads
                errors_are_those_of_a_client
                whoever_wrote_sees_it
                a_thread_reads_through_a_pool
                many_reads_at_once
                a_pool_is_closed;
            acl:
                a_new_node_is_open
                lists_come_back_as_they_were_set
                a_list_is_set_at_its_own_version
                whoever_is_named_may_do_it
                every_operation_has_its_permission
                children_inherit_nothing
                lists_that_no_server_accepts
                a_client_has_a_default_list
                no_password_is_kept;
            certain:
                protected_nodes_are_made_once
                nodes_of_former_sessions_are_not_adopted
                a_create_that_is_dropped_is_undone
                a_marker_may_be_refused
                fates_of_writes_are_found_out
                guaranteed_deletions_are_done
                retries_where_they_were_asked_for
                protected_below_parents_that_are_missing;
            children:
                children_of_nobody_and_somebody
                a_thousand_children
                names_of_any_alphabet
                sync_then_read_sees_what_others_wrote;
            chroot:
                a_chroot_in_the_connect_string
                a_chroot_of_a_handle
                the_root_of_a_chroot
                a_missing_chroot_is_named_in_the_error
                a_bad_chroot_is_refused;
            errors:
                refusals_have_code_operation_and_path
                bad_paths_are_refused_here
                requests_over_the_limit_are_refused_here
                a_server_hangs_up_on_what_is_too_large_for_it;
            order:
                three_ways_to_run_a_request
                waiting_is_refused_where_it_would_deadlock
                pipelined_requests_are_applied_in_order
                answers_can_be_awaited_in_any_order
                dropped_futures_disturb_nobody
                handles_on_many_threads_share_the_line
                xids_wrap;
            session:
                connected_and_closed
                closing_ends_ephemeral_nodes
                closing_twice_is_no_error
                a_close_waits_for_what_was_submitted
                dropping_the_last_handle_closes
                pending_requests_keep_no_session_alive
                an_ephemeral_node_names_its_session
                states_in_their_order
                the_session_timeout_is_negotiated
                another_client_resumes_the_session
                a_closed_session_cannot_be_resumed;
            transactions:
                all_of_it_is_done
                every_mode_of_create
                later_operations_see_earlier_ones
                nothing_is_done_if_one_is_refused
                the_error_is_that_of_the_operation
                a_transaction_of_nothing
                it_knows_its_chroot
                three_ways_to_run_a_transaction
                what_is_wrong_here_is_not_sent
                a_large_transaction;
            servers:
                a_client_is_given_other_servers
                a_client_reconnects
                what_is_no_list_of_servers_is_refused
                a_client_returns_to_a_preferred_server;
            many:
                each_read_has_an_outcome_of_its_own
                thousands_of_reads
                answers_that_are_too_large_are_asked_for_in_pieces
                set_where_it_is_and_create_where_it_is_not
                everybody_writes_and_deletes_at_once
                a_tree_is_deleted
                a_tree_at_a_version
                what_may_not_be_deleted_is_named
                children_that_appear_meanwhile_are_deleted_too
                two_delete_the_same_tree
                zxids_grow_with_what_is_seen;
            who_and_what:
                ephemerals_of_this_session
                ephemerals_below_a_chroot
                descendants_are_counted
                who_this_is;
            config:
                a_server_that_stands_alone_has_no_members
                no_server_here_can_be_reconfigured
                a_configuration_is_watched;
            parity:
                a_client_shows_itself
                nothing_to_delete_is_a_code
                a_namespace_is_made_once
                a_path_of_containers
                all_watches_of_a_path_are_removed
                a_thread_waits_until_it_is_connected
                identities_are_given_to_the_builder
                it_is_known_how_long_a_session_lives
                servers_are_found_by_a_resolver
                a_move_is_a_gap_to_watches_that_stay;
            watches:
                each_watch_tells_of_its_changes_and_no_others
                a_watch_tells_once
                paths_of_events_are_the_handles
                what_fails_watches_nothing
                an_event_comes_before_any_answer_that_shows_it
                a_change_right_behind_the_question_is_told
                everybody_who_watches_a_node_is_told
                a_dropped_watcher_leaves_no_trace
                a_thread_waits_for_a_change
                synced_reads_see_what_others_wrote
                a_close_is_told_to_watchers;
        }
    };
}

/// What is told to watchers of whatever kind.
macro_rules! on_watches {
    ($server:ident $backend:ident) => {
        cells!(matrix $server $backend);
        tests! { $server $backend;
            persistent:
                a_persistent_watch_goes_on
                a_recursive_watch_sees_everything_below
                a_watch_is_run_in_three_ways
                a_one_shot_watcher_is_a_stream_too
                reads_are_watched_and_synced_in_any_order
                one_shots_do_not_spoil_what_stays
                persistent_and_recursive_share_a_node
                what_is_dropped_takes_nobody_along
                any_kinds_in_any_order
                the_list_of_watches_is_in_the_terms_of_the_handle
                events_are_in_the_terms_of_the_handle
                what_is_too_much_is_counted
                the_end_is_told_once;
            changed:
                nothing_changed_tells_nothing
                what_has_changed_is_told_and_nothing_else
                a_comparison_disturbs_no_watcher
                a_comparison_is_told_from_what_happens_beside_it
                thousands_of_nodes_are_compared_in_a_few_frames;
        }
    };
}

/// The same with faults, that only the fake server has.
macro_rules! on_watches_of_the_fake {
    ($server:ident $backend:ident) => {
        tests! { $server $backend;
            persistent:
                a_gap_is_told_after_each_reconnect
                a_server_without_persistent_watches
                dropped_at_any_moment;
            changed:
                a_comparison_whose_connection_is_lost;
        }
    };
}

/// What needs faults that only the fake server has.
macro_rules! on_the_fake {
    ($backend:ident) => {
        tests! { Fake $backend;
            certain:
                an_expired_session_is_asked_no_more
                each_session_has_its_own_tokens
                guaranteed_deletions_are_bounded;
            limits:
                a_deadline_ends_one_request_alone
                a_deadline_without_a_connection
                too_many_requests_are_refused
                too_many_bytes_are_refused
                one_large_request_always_fits
                waiting_for_room_is_fair
                waiting_for_room_has_a_deadline
                whoever_gives_up_waiting_makes_room
                a_blocked_thread_waits_for_room
                replies_over_the_limit_cost_one_request;
            errors:
                bad_paths_are_not_sent;
            parents:
                as_few_requests_as_it_takes;
            many:
                a_good_guess_is_few_requests
                reads_that_nobody_answers
                a_tree_takes_few_requests
                a_delete_that_is_cut_off;
            transactions:
                a_lost_transaction_may_have_been_applied;
            life:
                an_expired_session_is_followed_by_another
                whoever_asks_first_is_told
                a_pinned_handle_keeps_to_its_session
                requests_that_were_not_sent_end_with_their_session
                identities_carry_over
                an_idle_session_rests
                nobody_waits_for_servers_that_are_away
                nobody_waits_for_a_first_session_either
                a_read_only_server_serves_those_who_allow_it
                it_moves_to_a_server_that_takes_writes;
            session:
                a_lost_connection_suspends_the_session
                an_expired_session_ends_for_everybody
                requests_wait_for_the_first_connection
                what_is_dropped_without_a_connection_is_not_sent
                a_close_that_nobody_confirms
                a_wrong_password_resumes_nothing;
            watches:
                a_dropped_watcher_is_removed_at_the_server
                a_synced_read_is_two_requests
                an_expiry_is_told_to_watchers
                watches_outlive_connections;
        }
    };
}

mod fake {
    #[cfg(feature = "nio")]
    mod nio {
        everywhere!(Fake Nio);
        on_watches!(Fake Nio);
        on_watches_of_the_fake!(Fake Nio);
        on_the_fake!(Nio);
    }
    #[cfg(feature = "tokio")]
    mod tokio {
        everywhere!(Fake Tokio);
        on_watches!(Fake Tokio);
        on_watches_of_the_fake!(Fake Tokio);
        on_the_fake!(Tokio);
        tests! { Fake Tokio;
            tokio_only:
                the_default_transport_is_tokio
                a_runtime_that_is_dropped_completes_every_slot
                a_session_on_a_given_runtime
                a_session_on_a_private_thread;
        }
    }
}

/// What servers have changed since 3.8.
mod newer {
    #[cfg(feature = "nio")]
    mod nio {
        on_watches!(Newer Nio);
        on_watches_of_the_fake!(Newer Nio);
    }
    #[cfg(feature = "tokio")]
    mod tokio {
        on_watches!(Newer Tokio);
        on_watches_of_the_fake!(Newer Tokio);
    }
}

mod real {
    #[cfg(feature = "nio")]
    mod nio {
        everywhere!(Real Nio);
        on_watches!(Real Nio);
    }
    #[cfg(feature = "tokio")]
    mod tokio {
        everywhere!(Real Tokio);
        on_watches!(Real Tokio);
    }
}
