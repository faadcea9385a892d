//! Where a session runs on tokio: here, on a runtime that is given, on a thread of its own.

use homing::{Client, Error, SessionEnd, SessionState, Tokio};

use crate::env::{Env, SOON};
use crate::support::on_plain_thread;

pub(crate) async fn the_default_transport_is_tokio(env: &Env) {
    // With nio compiled in or not.
    let client = Client::connect(&env.connect_string()).await.unwrap();
    let error = client.get("/").wait().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    client.get("/").await.unwrap();
    let servers = env.connect_string();
    let error = on_plain_thread(|| Client::connect(&servers).wait().unwrap_err());
    assert!(matches!(error, Error::Start(_)), "{error}");
}

pub(crate) async fn a_runtime_that_is_dropped_completes_every_slot(env: &Env) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let connecting = env.builder().transport(Tokio::on(runtime.handle().clone()));
    let client = connecting.deadline(SOON).connect().await.unwrap();
    env.fake().pause();
    let sent = client.get("/").submit().unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || client.get("/").wait())
        })
        .collect();
    let mut states = client.state_changes();
    crate::env::until("all are in line", || client.in_flight().requests == 4);
    runtime.shutdown_background();
    let is_gone = |error: Error| {
        let Error::SessionEnded { end, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*end, SessionEnd::DriverGone);
    };
    is_gone(sent.await.unwrap_err());
    for thread in threads {
        is_gone(thread.join().unwrap().unwrap_err());
    }
    is_gone(client.get("/").await.unwrap_err());
    is_gone(client.get("/").submit().unwrap_err());
    is_gone(client.connected().await.unwrap_err());
    let end = loop {
        if let SessionState::Ended(end) = states.next().await.unwrap().state {
            break end;
        }
    };
    assert_eq!(end, SessionEnd::DriverGone);
    client.close().await.unwrap();
}

pub(crate) async fn a_session_on_a_given_runtime(env: &Env) {
    let runtime = tokio::runtime::Handle::current();
    let builder = env.builder().transport(Tokio::on(runtime));
    on_plain_thread(move || {
        let client = builder.connect().wait().unwrap();
        client.create("/a", b"").wait().unwrap();
        client.close().wait().unwrap();
    });
    assert!(env.connect().await.exists("/a").await.unwrap().is_some());
}

pub(crate) async fn a_session_on_a_private_thread(env: &Env) {
    let builder = env.builder().transport(Tokio::private_thread());
    // This thread may be blocked, for it is not the one that drives.
    let client = builder.connect().wait().unwrap();
    client.create("/a", b"").wait().unwrap();
    assert!(client.exists("/a").await.unwrap().is_some());
    client.close().wait().unwrap();
}
