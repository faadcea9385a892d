//! What is true of the driver on mio alone.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use homing_transport::Action;
use homing_transport_nio::{Driver, TcpDial};

use crate::OnMio;
use crate::every_driver::engine::{Event, Remote, Why};
use crate::every_driver::plan::{Plan, Step};
use crate::every_driver::{Server, exchange, expect_end};

/// A driver that is turned by hand, with a session.
fn driver() -> (Driver<TcpDial>, Remote) {
    let mut driver = Driver::new(TcpDial).unwrap();
    let remote = add(&mut driver);
    (driver, remote)
}

fn add(driver: &mut Driver<TcpDial>) -> Remote {
    let (remote, engine) = Remote::new();
    driver.add(engine);
    remote.attach(driver.handle());
    remote
}

fn try_next(remote: &Remote) -> Option<Event> {
    remote.wait_for("nothing", |state| Some(state.next()))
}

/// Takes turns until something happens to a session.
fn turn_until_next(driver: &mut Driver<TcpDial>, remote: &Remote) -> Event {
    for _ in 0..1_000 {
        if let Some(event) = try_next(remote) {
            return event;
        }
        driver.turn(Some(Duration::from_millis(20))).unwrap();
    }
    panic!("nothing happens");
}

#[test]
fn calls_that_were_interrupted_are_made_again() {
    let every_other = |call: usize| match call % 2 {
        0 => Step::Fail(ErrorKind::Interrupted),
        _ => Step::AtMost(3),
    };
    let plan = Plan::new().reads(every_other).writes(every_other);
    exchange(&OnMio, &plan, "interrupted at every other call");
}

/// A read that leaves room has emptied the socket: a second one would only say so.
#[test]
fn what_comes_at_once_costs_one_read() {
    let reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reads);
    let plan = Plan::new().reads(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Step::Pass
    });
    let (remote, server) = (Remote::start(&OnMio, &plan), Server::new());
    remote.dial(server.address());
    remote.expect_connected();
    let mut peer = server.accept();
    remote.settle();
    let before = reads.load(Ordering::Relaxed);
    for _ in 0..10 {
        peer.write_all(b"some").unwrap();
        remote.expect_bytes(b"some");
    }
    remote.settle();
    assert_eq!(reads.load(Ordering::Relaxed) - before, 10);
}

#[test]
fn a_driver_without_sessions_has_nothing_to_do() {
    let mut driver = Driver::new(TcpDial).unwrap();
    assert!(!driver.turn(None).unwrap());
    let remote = add(&mut driver);
    assert!(driver.turn(None).unwrap());
    remote.act(Action::Stop);
    assert!(driver.turn(None).unwrap());
    remote.expect_dropped();
    assert!(!driver.turn(None).unwrap());
}

#[test]
fn a_turn_waits_no_longer_than_it_is_told() {
    let (mut driver, remote) = driver();
    remote.want_turn_in(Duration::from_secs(30));
    let started = Instant::now();
    for max_wait in [Duration::ZERO, Duration::from_millis(1)] {
        for _ in 0..3 {
            assert!(driver.turn(Some(max_wait)).unwrap());
        }
    }
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn sessions_share_a_driver() {
    let (mut driver, first) = driver();
    let second = add(&mut driver);
    let server = Server::new();
    let mut peers = [&first, &second].map(|remote| {
        remote.dial(server.address());
        assert_eq!(turn_until_next(&mut driver, remote), Event::Connected);
        server.accept()
    });
    peers[1].write_all(b"second").unwrap();
    let expected = Event::Bytes(b"second".into());
    assert_eq!(turn_until_next(&mut driver, &second), expected);
    peers[0].write_all(b"first").unwrap();
    let expected = Event::Bytes(b"first".into());
    assert_eq!(turn_until_next(&mut driver, &first), expected);

    // One of them ends, and another takes its place.
    first.act(Action::Stop);
    assert_eq!(turn_until_next(&mut driver, &first), Event::Dropped);
    expect_end(&mut peers[0]);
    let third = add(&mut driver);
    third.dial(server.address());
    assert_eq!(turn_until_next(&mut driver, &third), Event::Connected);
    peers[1].write_all(b"still there").unwrap();
    let expected = Event::Bytes(b"still there".into());
    assert_eq!(turn_until_next(&mut driver, &second), expected);
    assert_eq!(try_next(&third), None);
}

/// Whether the answer comes in time to do harm is up to the system, so this tries it often.
#[test]
fn an_answer_does_not_reach_the_next_session_in_the_same_place() {
    let mut driver = Driver::new(TcpDial).unwrap();
    for _ in 0..200 {
        let first = add(&mut driver);
        first.resolve("localhost", 1);
        first.act(Action::Stop);
        assert_eq!(turn_until_next(&mut driver, &first), Event::Dropped);
        let second = add(&mut driver);
        second.resolve("127.0.0.1", 2);
        match turn_until_next(&mut driver, &second) {
            Event::Resolved(Ok(addresses)) => assert_eq!(addresses[0].port(), 2),
            other => panic!("{other:?}"),
        }
        second.act(Action::Stop);
        assert_eq!(turn_until_next(&mut driver, &second), Event::Dropped);
    }
}

#[test]
fn a_driver_that_is_dropped_drops_its_engines() {
    let (mut driver, remote) = driver();
    let server = Server::new();
    remote.dial(server.address());
    assert_eq!(turn_until_next(&mut driver, &remote), Event::Connected);
    let mut peer = server.accept();
    drop(driver);
    remote.expect_dropped();
    expect_end(&mut peer);
}

/// The poll tells of the connection and of its end in one event, and of neither again.
#[test]
fn an_end_in_the_first_event_is_not_missed() {
    let (mut driver, remote) = driver();
    let server = Server::new();
    remote.dial(server.address());
    driver.turn(Some(Duration::ZERO)).unwrap();
    server.accept().write_all(b"bye").unwrap();
    assert_eq!(turn_until_next(&mut driver, &remote), Event::Connected);
    let expected = Event::Bytes(b"bye".into());
    assert_eq!(turn_until_next(&mut driver, &remote), expected);
    match turn_until_next(&mut driver, &remote) {
        Event::Disconnected { why, .. } => assert_eq!(why, Why::Closed),
        other => panic!("{other:?}"),
    }
}
