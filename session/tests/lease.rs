//! How long the session is certain to live, and what is said when it did not.

mod common;

use std::time::Duration;

use common::*;
use homing_session::{SessionEnd, SessionState};
use homing_testkit::sim::Behaviour;

#[test]
fn the_lease_counts_from_when_the_newest_answered_frame_was_sent() {
    let mut world = connected();
    world.sim.set_latency(Duration::from_millis(500));
    world.sim.run_for(5 * SECOND);
    let sent_at = world.sim.now();
    let read = world.get("/");
    world.sim.run_for(2 * SECOND);
    assert_eq!(reply(read).err, 0);
    assert_eq!(world.shared.status.valid_until(), Some(sent_at + T));
    // A ping extends it, by the time at which it was sent.
    world.sim.run_for(T / 3);
    assert_eq!(world.shared.status.valid_until(), Some(sent_at + T / 3 + T));
}

#[test]
fn a_connection_extends_it_from_when_its_handshake_was_sent() {
    let mut world = world();
    let latency = Duration::from_millis(500);
    world.sim.set_latency(latency);
    let start = world.sim.now();
    world.connect();
    // A way to dial, and two for the handshake.
    assert_eq!(world.sim.now(), start + 3 * latency);
    assert_eq!(world.shared.status.valid_until(), Some(start + latency + T));

    // So does every later one, if it comes to be.
    world.sim.run_for(SECOND);
    world.sim.cut();
    let cut_at = world.sim.now();
    let before = world.shared.status.valid_until();
    world.sim.run_for(2 * latency);
    assert_eq!(world.shared.status.valid_until(), before);
    world.connect();
    let dialled_at = world.sim.now() - 3 * latency;
    assert!(dialled_at >= cut_at);
    let valid_until = world.shared.status.valid_until();
    assert_eq!(valid_until, Some(dialled_at + latency + T));
}

#[test]
fn what_is_sent_and_not_answered_extends_nothing() {
    let mut world = connected();
    let valid_until = world.shared.status.valid_until();
    world.sim.set_tamper(|_| Vec::new());
    world.sim.run_for(SECOND);
    drop(world.get("/"));
    world.sim.run_for(SECOND);
    assert_eq!(world.shared.status.valid_until(), valid_until);
}

#[test]
fn a_presumed_expiry_is_reported_with_all_there_is_to_know() {
    let mut world = connected();
    world.sim.run_for(T / 2);
    world.servers(Behaviour::Refuse);
    world.sim.cut();
    let SessionState::Suspended {
        presumed_expired_at: Some(at),
        ..
    } = world.state()
    else {
        panic!()
    };
    let end = world.run_until_ended(2 * T);
    assert!(matches!(end, SessionEnd::PresumedExpired { .. }));
    assert_eq!(world.sim.now(), at);
    let report = world.shared.status.report().unwrap();
    assert_eq!(report.attempts.len(), 3);
    assert_eq!(report.stats.lost_io, 1);
    assert!(report.stats.failed_attempts > 10);
    let text = report.to_string();
    for part in [
        "is presumed to have expired",
        "session time-out   30.0 s",
        "before the end",
        "10.0.0.2:2181: it could not be connected to: connection refused",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn a_detached_session_is_left_to_its_timeout() {
    let mut world = connected();
    let id = world.session_id();
    let waiting = world.get("/");
    world.shared.detach();
    assert_eq!(world.run_until_ended(SECOND), SessionEnd::Detached);
    let mut waiting = waiting;
    assert!(waiting.try_pull().is_some_and(|answer| answer.is_err()));
    world.settle();
    assert!(world.sim.is_stopped());
    assert!(world.is_known(id));
    assert!(world.shared.status.report().is_none());
}
