//! What keeps a session alive, and what tells that a server is gone.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use homing_session::{SessionState, WhyLost};
use homing_testkit::sim::Event;

/// The times at which something was sent after the handshake.
fn sent(world: &World) -> Vec<Duration> {
    let sent = world
        .sim
        .trace()
        .iter()
        .filter(|(_, event)| matches!(event, Event::Sent(_)));
    sent.map(|(at, _)| *at).skip(1).collect()
}

#[test]
fn an_idle_session_pings_every_third_of_its_timeout() {
    let mut world = connected();
    // A millisecond each way.
    let handshake_at = world.sim.elapsed() - Duration::from_millis(2);
    world.sim.run_for(10 * T);
    assert!(world.is_connected());
    let pings = sent(&world);
    assert_eq!(pings.len(), 30);
    let mut last = handshake_at;
    for at in pings {
        assert_eq!(at - last, T / 3);
        last = at;
    }
    assert_eq!(
        world.sim.dials().len(),
        1,
        "one connection for all that time"
    );
}

#[test]
fn the_first_ping_counts_from_when_the_handshake_was_sent() {
    let mut world = world();
    let latency = Duration::from_millis(500);
    world.sim.set_latency(latency);
    let start = world.sim.elapsed();
    world.connect();
    world.sim.run_for(T / 3);
    assert_eq!(sent(&world), [start + latency + T / 3]);
}

#[test]
fn requests_that_nobody_polls_keep_it_alive_no_less() {
    let mut world = connected();
    let tickets: Vec<_> = (0..10_000).map(|_| world.get("/")).collect();
    world.sim.run_for(10 * T);
    assert!(world.is_connected());
    assert_eq!(world.sim.dials().len(), 1);
    assert!(tickets.into_iter().all(|ticket| reply(ticket).err == 0));
}

#[test]
fn a_busy_session_needs_no_pings() {
    let mut world = connected();
    for _ in 0..100 {
        drop(world.get("/"));
        world.sim.run_for(T / 4);
    }
    assert_eq!(sent(&world).len(), 100, "requests, and nothing else");
}

#[test]
fn a_server_that_says_nothing_is_given_up_after_two_thirds() {
    let mut world = connected();
    let since = world.sim.elapsed();
    world.sim.set_tamper(|_| Vec::new());
    let shared = Arc::clone(&world.shared);
    assert!(world.sim.run_until(T, |_| !is_connected(&shared)));
    assert_eq!(world.sim.elapsed() - since, T * 2 / 3);
    let SessionState::Suspended { why, .. } = world.state() else {
        panic!()
    };
    assert_eq!(
        why.why,
        WhyLost::Silent {
            for_at_least: T * 2 / 3
        }
    );
}

#[test]
fn events_alone_are_no_sign_of_life() {
    let mut world = connected();
    let since = world.sim.elapsed();
    world.sim.set_tamper(|_| Vec::new());
    let shared = Arc::clone(&world.shared);
    let event = b"\0\0\0\x1e\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\0\0\x03\0\0\0\x02/b";
    while is_connected(&shared) {
        world.sim.inject(event);
        world.sim.run_for(SECOND);
    }
    assert!(world.sim.elapsed() - since <= T * 2 / 3 + SECOND);
}

#[test]
fn an_event_that_takes_long_to_arrive_is_no_sign_of_life() {
    let mut world = connected();
    let since = world.sim.elapsed();
    world.sim.set_tamper(|_| Vec::new());
    let shared = Arc::clone(&world.shared);
    // An event of 1,000 bytes, one byte in a second.
    world.sim.inject(b"\0\0\x03\xe8\xff\xff\xff\xff");
    while is_connected(&shared) {
        world.sim.run_for(SECOND);
        world.sim.inject(b"\0");
    }
    assert!(world.sim.elapsed() - since <= T * 2 / 3 + SECOND);
}

#[test]
fn a_reply_that_takes_long_to_arrive_is_a_sign_of_life() {
    let mut world = connected();
    world.sim.set_tamper(|_| Vec::new());
    let _ticket = world.get("/");
    world.settle();
    // A reply of 1,000 bytes, one byte in five seconds.
    world.sim.inject(b"\0\0\x03\xe8\0\0\0\x01");
    for _ in 0..20 {
        world.sim.run_for(5 * SECOND);
        world.sim.inject(b"\0");
    }
    world.settle();
    assert!(world.is_connected());
}

#[test]
fn a_ping_that_nobody_sent_changes_nothing() {
    let mut world = connected();
    world
        .sim
        .inject(b"\0\0\0\x10\xff\xff\xff\xfe\0\0\0\0\0\0\0\x01\0\0\0\0");
    world.settle();
    assert!(world.is_connected());
}

#[test]
fn a_ping_that_nobody_sent_is_no_sign_of_life() {
    let mut world = connected();
    let since = world.sim.elapsed();
    world.sim.set_tamper(|_| Vec::new());
    world.sim.run_for(T / 4);
    world
        .sim
        .inject(b"\0\0\0\x10\xff\xff\xff\xfe\0\0\0\0\0\0\0\x01\0\0\0\0");
    let shared = Arc::clone(&world.shared);
    assert!(world.sim.run_until(T, |_| !is_connected(&shared)));
    assert_eq!(world.sim.elapsed() - since, T * 2 / 3);
}

#[test]
fn a_socket_that_takes_nothing_is_given_up_in_time() {
    let mut world = connected();
    let since = world.sim.elapsed();
    world.sim.set_window(0);
    let shared = Arc::clone(&world.shared);
    assert!(world.sim.run_until(T, |_| !is_connected(&shared)));
    assert_eq!(world.sim.elapsed() - since, T * 2 / 3);
}
