//! A client at an ensemble whose members lag, fall and part as the test wants it.

#[macro_use]
mod support;

use std::thread;
use std::time::{Duration, Instant};

use homing::{Client, Error, ErrorCode, SessionEnd, SessionState};
use homing_testkit::{FakeEnsemble, Fate};
use support::states::{connection, next_connection, patiently};
use support::{Backend, TEST_MAX};

on_each_backend! {
    a_session_and_its_watches_outlive_the_leader
    a_client_waits_for_a_server_that_knows_what_it_has_seen
    a_sync_makes_a_server_catch_up
    a_client_leaves_a_minority_that_only_reads
    a_client_is_not_told_what_became_of_a_write
    a_client_learns_that_its_session_has_expired_elsewhere
}

/// The member that a client is connected to.
fn home(ensemble: &FakeEnsemble, client: &Client) -> usize {
    let server = connection(client).server;
    ensemble.position(server).expect("it is one of them")
}

async fn a_session_and_its_watches_outlive_the_leader(backend: Backend) {
    let ensemble = FakeEnsemble::start(3);
    let client = backend.builder(&ensemble.connect_string());
    let client = client.connect().await.unwrap();
    client.create("/e", b"").ephemeral().await.unwrap();
    let (before, mut states) = (connection(&client), client.state_changes());
    let (_, changed) = client.get("/e").watch().await.unwrap();
    ensemble.stop_leader();
    let after = next_connection(&mut states, |_| true).await;
    assert_eq!(after.session_id, before.session_id);
    assert!(ensemble.wait_for_leader(TEST_MAX).is_some());
    let node = patiently(async || client.get("/e").await).await;
    assert_eq!(node.stat.ephemeral_owner, before.session_id);
    patiently(async || client.set("/e", b"x").await).await;
    changed.await.unwrap();
    client.close().await.unwrap();
}

async fn a_client_waits_for_a_server_that_knows_what_it_has_seen(backend: Backend) {
    let ensemble = FakeEnsemble::start(3);
    // The leader is the third, and not in the list.
    let [first, second] = [0, 1].map(|member| ensemble.member(member).connect_string());
    let client = backend.builder(&format!("{first},{second}"));
    let client = client.connect().await.unwrap();
    client.create("/a", b"old").await.unwrap();
    client.sync("/a").await.unwrap();
    let here = home(&ensemble, &client);
    let behind = 1 - here;
    ensemble.set_lag(behind, Duration::MAX);
    let seen = client.set("/a", b"new").await.unwrap();
    let mut states = client.state_changes();
    let accepted = ensemble.member(behind).connections_accepted();
    ensemble.member(here).stop();
    // It is turned away once, and comes again.
    let deadline = Instant::now() + TEST_MAX;
    while ensemble.member(behind).connections_accepted() < accepted + 2 {
        assert!(Instant::now() < deadline, "it does not come again");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!matches!(client.state(), SessionState::Connected(_)));
    ensemble.set_lag(behind, Duration::ZERO);
    next_connection(&mut states, |_| true).await;
    let node = client.get("/a").await.unwrap();
    assert_eq!((&node.data[..], node.stat.mzxid), (&b"new"[..], seen.mzxid));
    client.close().await.unwrap();
}

async fn a_sync_makes_a_server_catch_up(backend: Backend) {
    let ensemble = FakeEnsemble::start(3);
    let connect = async |member: usize| {
        let builder = backend.builder(&ensemble.member(member).connect_string());
        builder.connect().await.unwrap()
    };
    let (writer, reader) = (connect(0).await, connect(1).await);
    writer.create("/a", b"old").await.unwrap();
    reader.sync("/a").await.unwrap();
    ensemble.set_lag(1, Duration::from_millis(50));
    writer.set("/a", b"new").await.unwrap();
    assert_eq!(reader.get("/a").synced().await.unwrap().data, "new");
    ensemble.set_lag(1, Duration::MAX);
    writer.set("/a", b"newer").await.unwrap();
    assert_eq!(reader.get("/a").await.unwrap().data, "new");
    ensemble.set_lag(1, Duration::ZERO);
    reader.close().await.unwrap();
    writer.close().await.unwrap();
}

async fn a_client_leaves_a_minority_that_only_reads(backend: Backend) {
    let ensemble = FakeEnsemble::builder()
        .config(|config| config.read_only_enabled = true)
        .start()
        .unwrap();
    let writer = backend.builder(&ensemble.connect_string());
    let writer = writer.connect().await.unwrap();
    writer.create("/a", b"1").await.unwrap();
    writer.close().await.unwrap();
    for member in [1, 2] {
        ensemble.member(member).stop();
    }
    let client = backend.builder(&ensemble.connect_string()).read_only(true);
    let client = client.connect().await.unwrap();
    assert!(connection(&client).read_only);
    assert_eq!(client.get("/a").await.unwrap().data, "1");
    let error = client.set("/a", b"2").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotReadOnly));
    // The others come back, and this one does not hear of it.
    ensemble.isolate(0);
    let mut states = client.state_changes();
    for member in [1, 2] {
        ensemble.member(member).restart().unwrap();
    }
    let moved = next_connection(&mut states, |now| !now.read_only).await;
    assert_ne!(ensemble.position(moved.server), Some(0));
    patiently(async || client.set("/a", b"2").await).await;
    client.close().await.unwrap();
}

async fn a_client_is_not_told_what_became_of_a_write(backend: Backend) {
    for (fate, is_there) in [(Fate::Lost, false), (Fate::Applied, true)] {
        let ensemble = FakeEnsemble::builder()
            .sync_limit(Duration::MAX)
            .fate(fate)
            .start()
            .unwrap();
        // At the leader, and nowhere else.
        let client = backend.builder(&ensemble.member(2).connect_string());
        let client = client.connect().await.unwrap();
        ensemble.isolate(2);
        let create = client.create("/a", b"").submit().unwrap();
        assert!(ensemble.wait_until(TEST_MAX, |ensemble| ensemble.uncommitted() == 1));
        assert!(ensemble.elect(0));
        let error = create.await.unwrap_err();
        assert!(error.may_have_been_applied(), "{error}");
        assert_eq!(ensemble.wait_for_leader(TEST_MAX), Some(0));
        ensemble.heal(2);
        let node = patiently(async || client.exists("/a").synced().await).await;
        assert_eq!(node.is_some(), is_there);
        client.close().await.unwrap();
    }
}

async fn a_client_learns_that_its_session_has_expired_elsewhere(backend: Backend) {
    let ensemble = FakeEnsemble::start(3);
    let client = backend.builder(&ensemble.connect_string());
    let client = client.connect().await.unwrap();
    let session_id = connection(&client).session_id;
    ensemble.isolate(home(&ensemble, &client));
    // If that was the leader, the others elect. The client is somewhere else already, or not yet.
    assert!(ensemble.wait_for_leader(TEST_MAX).is_some());
    assert!(ensemble.expire_session(session_id));
    let error = loop {
        match client.exists("/").await {
            Err(Error::ConnectionLost { .. }) | Ok(_) => {}
            Err(error) => break error,
        }
    };
    let end = SessionEnd::Expired { session_id };
    assert!(matches!(error, Error::SessionEnded { end: is, .. } if is == end));
}
