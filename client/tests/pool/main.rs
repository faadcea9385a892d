//! A pool over servers that know more or less, come and go: no user sees time go backwards, and
//! sessions are started, replaced and closed as they should be.

mod sessions;
#[macro_use]
#[path = "../support/mod.rs"]
mod support;
mod time;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use homing::{Client, Pool};
use homing_testkit::FakeServer;
use sessions::*;
use support::{Backend, until};
use time::*;

on_each_backend! {
    a_stale_reply_is_read_again_behind_a_sync
    a_stale_error_is_no_answer
    a_session_that_is_up_to_date_is_asked_instead
    a_server_that_tells_no_zxid_is_asked_behind_a_sync
    a_server_that_stays_behind_is_left_alone
    a_user_who_has_seen_nothing_takes_any_answer
    nobody_sees_time_go_backwards
    an_ensemble_shows_what_was_written
    nothing_is_started_before_it_is_needed
    busy_sessions_get_company_up_to_the_capacity
    the_least_busy_session_is_asked
    sessions_that_cannot_be_started_are_tried_again_after_a_pause
    a_session_that_ends_is_replaced
    a_pool_whose_sessions_end_at_once
    sessions_that_renew_themselves_are_waited_for
    sessions_that_were_idle_are_woken
    whoever_is_not_to_wait_is_told
    what_is_lost_with_its_connection_is_asked_again
    reads_wait_for_a_connection_until_their_deadline
    a_full_session_refuses_what_is_submitted
    dropped_reads_leave_nothing_behind
    a_close_ends_reads_that_wait
    a_close_answers_what_was_in_line
    a_close_that_nobody_confirms
    the_last_handle_closes
    settings_that_make_no_sense
}

/// How long something may take that should happen soon.
const SOON: Duration = Duration::from_secs(60);

fn pool_of(backend: Backend, servers: &str, capacity: usize) -> Pool {
    let builder = backend.builder(servers).pool();
    // Each read starts a session, so that tests have as many as they want.
    builder.capacity(capacity).grow_at(0).start().unwrap()
}

fn connect_string(servers: &[FakeServer]) -> String {
    let each = servers.iter().map(FakeServer::connect_string);
    each.collect::<Vec<_>>().join(",")
}

/// Starts another session of the pool, at this one of the servers.
async fn add_session(pool: &Pool, servers: &[FakeServer], at: usize) {
    for (index, server) in servers.iter().enumerate() {
        server.refuse_connections(index != at);
    }
    let before = pool.stats();
    pool.user().exists("/").await.unwrap();
    until("another session is connected", || {
        pool.stats().connected > before.connected
    });
    assert_eq!(pool.stats().started, before.started + 1);
    for server in servers {
        server.refuse_connections(false);
    }
}

/// Makes `/v` with this data, in a transaction with this zxid.
async fn write(backend: Backend, server: &FakeServer, zxid: i64, data: &str) -> Client {
    let builder = backend.builder(&server.connect_string());
    let client = builder.connect().await.unwrap();
    server.with_server(|server| server.set_last_zxid(zxid - 1));
    client.create("/v", data).await.unwrap();
    assert_eq!(client.last_zxid(), zxid);
    client
}

fn polled_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
