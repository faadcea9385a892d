//! A server of the 3.4 line, which knows neither create2 nor anything else that came later: it
//! refuses, closes the connection, and keeps the session.

#[macro_use]
mod support;

use std::task::Poll;
use std::time::Duration;

use homing::{Client, Error, ErrorCode, Feature};
use homing_testkit::FakeServer;
use support::{Backend, on_plain_thread, poll_once};

on_each_backend! {
    a_node_is_made_without_a_stat
    what_was_learned_is_not_asked_again
    creates_that_were_submitted
    a_thread_makes_a_node
    a_close_and_a_thread_in_between
    what_is_behind_it_on_the_wire_is_lost
    a_transaction_falls_back
    parents_are_made
    reads_go_one_by_one
    what_has_nothing_older_is_refused
    a_new_server_shows_what_it_knows
    each_server_is_remembered_by_itself
    what_is_switched_off_is_known
}

fn old_server() -> FakeServer {
    let builder = FakeServer::builder().config(|config| {
        config.unknown_operations = (15..=22).chain(103..=107).collect();
    });
    builder.start().unwrap()
}

async fn connect(backend: Backend, server: &FakeServer) -> Client {
    let builder = backend.builder(&server.connect_string());
    builder.connect().await.unwrap()
}

async fn a_node_is_made_without_a_stat(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    let session_id = client.credentials().unwrap().session_id();
    assert_eq!(client.supports(Feature::CreateStat), None);
    client.create("/n", b"data").await.unwrap();
    assert_eq!(client.supports(Feature::CreateStat), Some(false));
    for (made, path, sequence) in [
        (client.create("/n/e", b"").ephemeral(), "/n/e", None),
        (
            client.create("/n/s-", b"").sequential(),
            "/n/s-0000000001",
            Some(1),
        ),
        (
            client.create("/n/", b"").ephemeral().sequential(),
            "/n/0000000002",
            Some(2),
        ),
    ] {
        let made = made.await.unwrap();
        assert_eq!(
            (&*made.path, made.sequence, made.stat),
            (path, sequence, None)
        );
    }
    assert_eq!(client.get("/n").await.unwrap().data, "data");
    let owner = client
        .exists("/n/e")
        .await
        .unwrap()
        .unwrap()
        .ephemeral_owner;
    assert_eq!(owner, session_id);
    // An error is an error, whichever operation it is of.
    let error = client.create("/n", b"").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NodeExists), "{error}");
}

async fn what_was_learned_is_not_asked_again(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    client.create("/a", b"").await.unwrap();
    assert_eq!(server.connections_accepted(), 2, "refusing closes");
    for number in 0..10 {
        client.create(format!("/a/{number}"), b"").await.unwrap();
    }
    assert_eq!(server.connections_accepted(), 2);
    // Nor after the connection was lost for another reason.
    server.cut_connections();
    while client.exists("/").await.is_err() {}
    client.create("/b", b"").await.unwrap();
    assert_eq!(client.supports(Feature::CreateStat), Some(false));
    assert_eq!(server.connections_accepted(), 3);
}

async fn creates_that_were_submitted(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    let mut pending = client.create("/a", b"").submit().unwrap();
    // Nobody has pulled the refusal, so nothing was made yet.
    while client.supports(Feature::CreateStat).is_none() {
        client.exists("/").await.ok();
    }
    assert_eq!(client.exists("/a").await.unwrap(), None);
    let made = match poll_once(&mut pending) {
        Poll::Ready(made) => made.unwrap(),
        Poll::Pending => pending.await.unwrap(),
    };
    assert_eq!((&*made.path, made.stat), ("/a", None));
    let behind = client.create("/b", b"").submit().unwrap();
    assert_eq!(behind.await.unwrap().path, "/b");
}

async fn a_thread_makes_a_node(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    let made = on_plain_thread(|| client.create("/a", b"").wait()).unwrap();
    assert_eq!(made.stat, None);
}

async fn a_close_and_a_thread_in_between(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    let mut pending = client.create("/a", b"").submit().unwrap();
    while client.supports(Feature::CreateStat).is_none() {
        client.exists("/").await.ok();
    }
    // The one half was polled by a task, the other is waited for by a thread.
    let made = match poll_once(&mut pending) {
        Poll::Ready(made) => made,
        Poll::Pending => on_plain_thread(|| pending.wait()),
    };
    assert_eq!(made.unwrap().path, "/a");
    let pending = client.create("/b", b"").deadline(Duration::from_secs(60));
    let pending = pending.submit().unwrap();
    client.close().await.unwrap();
    // It was in line before the close.
    assert_eq!(pending.await.unwrap().path, "/b");
    let error = client.create("/c", b"").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

async fn what_is_behind_it_on_the_wire_is_lost(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    server.pause();
    let create = client.create("/a", b"").submit().unwrap();
    let exists = client.exists("/").submit().unwrap();
    server.resume();
    // Whether the second had left by then is a matter of time, and its error tells.
    match exists.await {
        Ok(stat) => assert!(stat.is_some()),
        Err(error) => assert!(matches!(error, Error::ConnectionLost { .. }), "{error}"),
    }
    create.await.unwrap();
    client.exists("/a").await.unwrap().unwrap();
}

async fn a_transaction_falls_back(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    let make = |path: &'static str| {
        let transaction = client.transaction().create(path, b"");
        transaction
            .set(path, b"x")
            .create(format!("{path}/s-"), b"")
            .sequential()
    };
    let done = make("/a").await.unwrap();
    assert_eq!(done.created(0).map(|made| made.stat), Some(None));
    assert_eq!(done.created(2).unwrap().path, "/a/s-0000000000");
    // Such a refusal closes nothing.
    assert_eq!(server.connections_accepted(), 1);
    let done = make("/b").submit().unwrap().await.unwrap();
    assert_eq!(done.results.len(), 3);
    let error = make("/b").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NodeExists), "{error}");
    // Nothing older makes a container.
    let error = make("/c")
        .create("/c/c", b"")
        .container()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MarshallingError), "{error}");
    assert!(error.to_string().starts_with("transaction: "), "{error}");
    assert_eq!(client.exists("/c").await.unwrap(), None);
    // Once it is known that there is no create2, none is tried.
    client.create("/d", b"").await.unwrap();
    let before = server.requests_received();
    make("/e").await.unwrap();
    assert_eq!(server.requests_received(), before + 1);
}

async fn parents_are_made(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    let made = client.create("/a/b/c", b"").parents().await.unwrap();
    assert_eq!(made.path, "/a/b/c");
    client.exists("/a/b/c").await.unwrap().unwrap();
}

async fn reads_go_one_by_one(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    client.create("/a", b"1").await.unwrap();
    client.create("/a/x", b"").await.unwrap();
    let before = server.connections_accepted();
    for _ in 0..3 {
        let reads = client.read_many().synced().children("/a").get("/no");
        // The first time, many are on their way when the server refuses.
        let reads = (0..3_000).fold(reads, |reads, _| reads.get("/a"));
        let found = reads.await.unwrap();
        assert_eq!(found.len(), 3_002);
        let names = found[0].as_ref().unwrap().names().unwrap();
        assert_eq!(names.sorted(), ["x"]);
        let error = found[1].as_ref().unwrap_err();
        assert_eq!(error.to_string(), "get \"/no\": NoNode (-101)");
        for found in &found[2..] {
            assert_eq!(found.as_ref().unwrap().node().unwrap().data, "1");
        }
    }
    assert_eq!(client.supports(Feature::MultiRead), Some(false));
    assert_eq!(server.connections_accepted(), before + 1);
}

async fn what_has_nothing_older_is_refused(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    let hour = Duration::from_secs(3600);
    let rows = [
        (
            client.create("/c", b"").container().await,
            Feature::Container,
            "create \"/c\": Unimplemented (-6); containers take servers since 3.5.1",
        ),
        (
            client.create("/t", b"").ttl(hour).await,
            Feature::Ttl,
            "create \"/t\": Unimplemented (-6); a time to live takes servers since 3.5.3 with `zookeeper.extendedTypesEnabled=true`",
        ),
    ];
    let other: [(Result<(), Error>, Feature, &str); 4] = [
        (
            client.ephemerals("/").await.map(drop),
            Feature::Ephemerals,
            "ephemerals \"/\": Unimplemented (-6); the server does not know it, or has it switched off",
        ),
        (
            client.descendant_count("/").await.map(drop),
            Feature::DescendantCount,
            "descendant_count \"/\": Unimplemented (-6); the server does not know it, or has it switched off",
        ),
        (
            client.whoami().await.map(drop),
            Feature::WhoAmI,
            "whoami: Unimplemented (-6); the server does not know it, or has it switched off",
        ),
        (
            client.reconfig().leave(1).await.map(drop),
            Feature::Reconfig,
            "reconfig \"/zookeeper/config\": Unimplemented (-6); the server stands alone and has no ensemble, or is older than 3.5.0",
        ),
    ];
    let rows = rows.map(|(result, feature, text)| (result.map(drop), feature, text));
    for (result, feature, text) in rows.into_iter().chain(other) {
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(!error.may_have_been_applied());
        assert_eq!(client.supports(feature), Some(false));
    }
    assert_eq!(client.supports(Feature::CreateStat), None);
}

async fn a_new_server_shows_what_it_knows(backend: Backend) {
    let server = FakeServer::start();
    let client = connect(backend, &server).await;
    let features = [Feature::CreateStat, Feature::Container, Feature::Ttl];
    assert_eq!(features.map(|feature| client.supports(feature)), [None; 3]);
    assert!(client.create("/a", b"").await.unwrap().stat.is_some());
    client.create("/a", b"").container().await.unwrap_err();
    let known = [Some(true), Some(true), None];
    assert_eq!(features.map(|feature| client.supports(feature)), known);
    assert_eq!(server.connections_accepted(), 1);
}

async fn each_server_is_remembered_by_itself(backend: Backend) {
    let server = old_server();
    let client = connect(backend, &server).await;
    client.create("/a", b"").await.unwrap();
    assert_eq!(client.supports(Feature::CreateStat), Some(false));
    let other = FakeServer::start();
    let stranger = connect(backend, &other).await;
    assert_eq!(stranger.supports(Feature::CreateStat), None);
    stranger.create("/a", b"").await.unwrap();
    assert_eq!(stranger.supports(Feature::CreateStat), Some(true));
    assert_eq!(client.supports(Feature::CreateStat), Some(false));
}

/// A time to live that is switched off is refused with the same code, and nothing is closed.
async fn what_is_switched_off_is_known(backend: Backend) {
    let server = FakeServer::start();
    let client = connect(backend, &server).await;
    let short = client.create("/t", b"").ttl(Duration::from_secs(1));
    let error = short.await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unimplemented), "{error}");
    assert_eq!(client.supports(Feature::Ttl), None);
    client.exists("/").await.unwrap();
    assert_eq!(server.connections_accepted(), 1);
}
