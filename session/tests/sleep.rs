//! A machine that is suspended: its clock stands still, and the servers' go on.

mod common;

use std::time::Duration;

use common::*;
use homing_session::{SessionEnd, SessionState};

#[test]
fn a_nap_costs_nothing() {
    let mut world = connected();
    let session = world.session_id();
    let valid_until = world.shared.status.valid_until().unwrap();
    world.sim.sleep(T / 2);
    world.settle();
    assert!(world.is_connected());
    assert_eq!(world.session_id(), session);
    assert!(world.shared.status.valid_until().unwrap() > valid_until);
    let stats = world.shared.status.stats();
    assert_eq!(stats.slept, T / 2);
    assert_eq!(stats.driver_lag_max, Duration::ZERO, "asleep is not late");
}

#[test]
fn after_a_longer_sleep_a_server_is_asked() {
    // The server has seen nothing for longer than the session's time-out.
    let mut world = connected();
    let valid_until = world.shared.status.valid_until().unwrap();
    world.sim.sleep(T + 5 * SECOND);
    assert!(
        world.sim.now() > valid_until,
        "nobody may take the session for alive"
    );
    assert!(!matches!(world.state(), SessionState::Connected(_)));
    let end = world.run_until_ended(10 * SECOND);
    assert!(matches!(end, SessionEnd::Expired { .. }), "{end}");
}

#[test]
fn after_a_night_it_is_over_and_the_report_says_why() {
    let mut world = connected();
    let mut read = world.get("/");
    let hours = 3600 * SECOND * 8;
    world.sim.sleep(hours);
    let end = world.run_until_ended(10 * SECOND);
    assert!(matches!(end, SessionEnd::PresumedExpired { .. }), "{end}");
    // What had not been sent was not sent to anybody.
    assert!(read.try_pull().is_some());
    let report = world.shared.status.report().unwrap().to_string();
    assert!(
        report.contains("likely cause       this machine slept for 8 h 0 min"),
        "{report}"
    );
    assert!(
        report.contains("this process       was late by 0 µs at most"),
        "{report}"
    );
}
