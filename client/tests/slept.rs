//! A machine that wakes up: nobody is told that a session is certain to live which is not.
//!
//! The sleep is pretended, for the whole process, so this is one test.

mod support;

use std::time::{Duration, Instant};

use homing::{SessionEnd, SessionState};
use homing_testkit::FakeServer;
use homing_transport::clock;
use support::{Backend, run};

#[test]
fn a_lease_runs_while_the_machine_sleeps() {
    for &backend in Backend::ALL {
        run(backend, wakes_up);
    }
}

async fn wakes_up(backend: Backend) {
    let server = FakeServer::start();
    let builder = backend.builder(&server.connect_string());
    let client = builder
        .session_timeout(Duration::from_secs(30))
        .connect()
        .await
        .unwrap();
    assert!(client.valid_until().unwrap() > Instant::now());

    clock::pretend_to_sleep(Duration::from_secs(20));
    let mut changes = client.state_changes();
    client.sync("/").await.unwrap();
    assert!(client.valid_until().unwrap() > Instant::now() + Duration::from_secs(20));
    assert_eq!(client.stats().session.slept, Duration::from_secs(20));

    // At once, before anything else has noticed.
    clock::pretend_to_sleep(Duration::from_secs(3_600));
    assert!(client.valid_until().unwrap() < Instant::now());
    let error = loop {
        // The driver wakes up with the next thing that it is asked.
        if let Err(error) = client.sync("/").await {
            break error;
        }
    };
    let mut end = None;
    while let Some(change) = changes.next().await {
        if let SessionState::Ended(why) = change.state {
            end = Some(why);
        }
    }
    assert!(
        matches!(end, Some(SessionEnd::PresumedExpired { .. })),
        "{end:?}: {error}"
    );
    let report = client.expiry_report().unwrap().to_string();
    assert!(report.contains("this machine slept for"), "{report}");
    let late = client.stats().session.driver_lag_max;
    assert!(
        late < Duration::from_secs(60),
        "asleep is not late: {late:?}"
    );
}
