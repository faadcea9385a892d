//! A session's life at a real ensemble of three servers that are killed and come back. All tests
//! share the ensemble, one after the other.
#![allow(
    clippy::await_holding_lock,
    reason = "each test has a thread of its own, and is to wait for the others"
)]

mod support;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use homing::{Builder, Client, Error, ErrorCode, OnExpiry, SessionEnd, SessionState};
use homing_testkit::real::{self, Ensemble};

use support::states::{connection, next_connection, patiently};
use support::{Backend, bytes_of};

/// One `#[test]` for each function and each backend that is compiled in. Its time counts from
/// when it is its turn.
macro_rules! in_turn_on_each_backend {
    ($($body:ident)*) => {
        #[cfg(feature = "nio")]
        mod nio {
            $(#[test] fn $body() { crate::in_turn(crate::Backend::Nio, crate::$body); })*
        }
        #[cfg(feature = "tokio")]
        mod tokio {
            $(#[test] fn $body() { crate::in_turn(crate::Backend::Tokio, crate::$body); })*
        }
    };
}

in_turn_on_each_backend! {
    a_session_outlives_its_server
    a_session_that_others_have_closed_is_followed_by_another
    another_client_resumes_at_another_server
    a_server_without_a_quorum_serves_reads
}

fn in_turn(backend: Backend, body: impl AsyncFnOnce(Backend) + Send + 'static) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    support::run(backend, body);
}

/// The ensemble, healed; `None`, which was said, where there is none.
fn ensemble() -> Option<MutexGuard<'static, Ensemble>> {
    static SHARED: OnceLock<Option<Mutex<Ensemble>>> = OnceLock::new();
    let start = || {
        real::requirement()?;
        let ensemble = Ensemble::builder().read_only().start();
        Some(Mutex::new(ensemble.unwrap()))
    };
    let shared = SHARED.get_or_init(start).as_ref()?;
    let mut ensemble = shared.lock().unwrap_or_else(PoisonError::into_inner);
    ensemble.heal().unwrap();
    Some(ensemble)
}

fn builder(backend: Backend, ensemble: &Ensemble) -> Builder {
    let builder = backend.builder(&ensemble.connect_string());
    builder.connect_timeout(support::TEST_MAX)
}

/// A path that nobody else has.
fn path() -> String {
    static COUNT: Mutex<u32> = Mutex::new(0);
    let mut count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    *count += 1;
    format!("/test-{count}-{}", bytes_of(1, std::process::id())[0])
}

/// Kills the server to which the client is connected.
fn kill_server_of(ensemble: &mut Ensemble, client: &Client) {
    let server = connection(client).server;
    let index = ensemble.position(server).expect("it is one of the three");
    ensemble.member_mut(index).kill();
}

async fn a_session_outlives_its_server(backend: Backend) {
    let Some(mut ensemble) = ensemble() else {
        return;
    };
    let client = builder(backend, &ensemble).connect().await.unwrap();
    let path = path();
    client.create(path.as_str(), b"").ephemeral().await.unwrap();
    let (before, mut states) = (connection(&client), client.state_changes());
    let (_, changed) = client.get(path.as_str()).watch().await.unwrap();
    kill_server_of(&mut ensemble, &client);
    let after = next_connection(&mut states, |now| now.server != before.server).await;
    assert_eq!(after.session_id, before.session_id);
    let node = patiently(async || client.get(path.as_str()).await).await;
    assert_eq!(node.stat.ephemeral_owner, before.session_id);
    // The watch has come along.
    patiently(async || client.set(path.as_str(), b"x").await).await;
    changed.await.unwrap();
    client.close().await.unwrap();
}

async fn a_session_that_others_have_closed_is_followed_by_another(backend: Backend) {
    let Some(ensemble) = ensemble() else { return };
    let builder = builder(backend, &ensemble);
    let client = builder.clone().on_expiry(OnExpiry::Renew).connect();
    let client = client.await.unwrap();
    let path = path();
    let pinned = client.pinned();
    pinned.create(path.as_str(), b"").ephemeral().await.unwrap();
    let (_, mut gone) = client.get("/").watch().await.unwrap();
    let mut states = client.state_changes();
    let old = connection(&client).session_id;

    // They evict each other until the session is closed.
    let credentials = client.credentials().unwrap();
    loop {
        match builder.clone().resume(credentials).connect().await {
            Ok(other) if other.close().await.is_ok() => break,
            Ok(_) => {}
            Err(Error::SessionEnded { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let renewal = loop {
        let change = states.next().await.expect("it has not ended");
        if let Some(renewal) = change.renewed {
            break renewal;
        }
    };
    assert_eq!(renewal.old, old);
    let end = SessionEnd::Expired { session_id: old };
    assert_eq!(client.expiry_report().unwrap().end, end);
    let error = pinned.exists(path.as_str()).await.unwrap_err();
    assert!(matches!(error, Error::SessionEnded { end: is, .. } if is == end));
    assert!(support::poll_once(&mut gone).is_ready());
    // One of the two has been told by an error, or is now.
    let _ = client.get("/").await;
    assert_eq!(client.exists(path.as_str()).synced().await.unwrap(), None);
    client.close().await.unwrap();
}

async fn another_client_resumes_at_another_server(backend: Backend) {
    let Some(mut ensemble) = ensemble() else {
        return;
    };
    let builder = builder(backend, &ensemble);
    let first = builder.clone().connect().await.unwrap();
    let path = path();
    first.create(path.as_str(), b"").ephemeral().await.unwrap();
    let before = connection(&first);
    kill_server_of(&mut ensemble, &first);
    let credentials = first.detach().await.unwrap();
    let heir = builder.resume(credentials).connect().await.unwrap();
    let after = heir.connected().await.unwrap();
    assert_eq!(after.session_id, before.session_id);
    assert_ne!(after.server, before.server);
    let node = patiently(async || heir.get(path.as_str()).await).await;
    assert_eq!(node.stat.ephemeral_owner, before.session_id);
    heir.close().await.unwrap();
}

async fn a_server_without_a_quorum_serves_reads(backend: Backend) {
    let Some(mut ensemble) = ensemble() else {
        return;
    };
    let path = path();
    let writer = builder(backend, &ensemble).connect().await.unwrap();
    writer.create(path.as_str(), b"1").await.unwrap();
    writer.sync("/").await.unwrap();
    // The one that the writer sees has it; the others go.
    let kept = ensemble.position(connection(&writer).server).unwrap();
    for member in (0..3).filter(|member| *member != kept) {
        ensemble.member_mut(member).kill();
    }
    let deadline = Instant::now() + support::TEST_MAX;
    while ensemble.members()[kept].ask("isro").unwrap_or_default() != "ro" {
        assert!(Instant::now() < deadline, "it does not notice");
        thread::sleep(Duration::from_millis(20));
    }
    let client = builder(backend, &ensemble).read_only(true);
    let client = client.connect().await.unwrap();
    assert!(connection(&client).read_only);
    assert_eq!(client.get(path.as_str()).await.unwrap().data, "1");
    let error = client.set(path.as_str(), b"2").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotReadOnly));
    let (_, changed) = client.get(path.as_str()).watch().await.unwrap();
    let strict = writer.state();
    let is_connected = matches!(strict, SessionState::Connected(_));
    assert!(!is_connected, "it does not allow it: {strict}");

    let mut states = client.state_changes();
    ensemble.heal().unwrap();
    next_connection(&mut states, |now| !now.read_only).await;
    patiently(async || client.set(path.as_str(), b"2").await).await;
    changed.await.unwrap();
    client.close().await.unwrap();
    drop(writer);
}
