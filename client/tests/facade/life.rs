//! What follows a session: another one, rest, or errors at once; and servers without a quorum.

use std::time::Duration;

use homing::{
    Client, Error, ErrorCode, Fate, OnExpiry, Renewal, SessionEnd, SessionState, StateChanges,
};

use crate::env::{Env, connection, until};

async fn renewing(env: &Env) -> Client {
    let builder = env.builder().on_expiry(OnExpiry::Renew);
    builder.connect().await.unwrap()
}

/// Expires the session, and waits until another one has followed.
async fn renew(env: &Env, client: &Client, states: &mut StateChanges) -> Renewal {
    let old = connection(client).session_id;
    assert!(env.fake().expire_session(old));
    loop {
        let change = states.next().await.expect("another state");
        if let Some(renewal) = change.renewed {
            assert_eq!(renewal.old, old);
            assert_eq!(renewal.new, connection(client).session_id);
            return renewal;
        }
    }
}

#[track_caller]
fn is_expired(error: &Error, session_id: i64, expected: Fate) {
    match error {
        Error::SessionEnded { fate, end, .. } => {
            assert_eq!(*end, SessionEnd::Expired { session_id }, "{error}");
            assert_eq!(*fate, expected, "{error}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn an_expired_session_is_followed_by_another(env: &Env) {
    let client = renewing(env).await;
    client.create("/e", b"").ephemeral().await.unwrap();
    let (_, changed) = client.get("/").watch().await.unwrap();
    let mut states = client.state_changes();
    let old = renew(env, &client, &mut states).await.old;

    // The watcher learns of it, and its owner's client goes on.
    is_expired(&changed.await.unwrap_err(), old, Fate::NotSent);
    assert_eq!(client.exists("/e").await.unwrap(), None);
    let report = client.expiry_report().unwrap();
    assert_eq!(report.end, SessionEnd::Expired { session_id: old });
    client.create("/e", b"").ephemeral().await.unwrap();
    client.close().await.unwrap();
    let mut last = None;
    while let Some(change) = states.next().await {
        assert_eq!(change.renewed, None);
        last = Some(change.state);
    }
    assert_eq!(last, Some(SessionState::Ended(SessionEnd::Closed)));
}

pub(crate) async fn whoever_asks_first_is_told(env: &Env) {
    let client = renewing(env).await;
    let below = client.chroot("/below").unwrap();
    let mut states = client.state_changes();
    for _ in 0..3 {
        let old = renew(env, &client, &mut states).await.old;
        // Once, whatever the handle, and whichever way it is asked.
        let error = below.create("/e", b"").ephemeral().await.unwrap_err();
        is_expired(&error, old, Fate::NotSent);
        assert!(!error.may_have_been_applied());
        let text = error.to_string();
        assert!(text.contains("see `on_expiry`"), "{text}");
        client.get("/").await.unwrap();
        below.chroot("/").unwrap();
        assert_eq!(below.exists("/").await.unwrap(), None);
    }
    let old = renew(env, &client, &mut states).await.old;
    is_expired(&client.get("/").submit().unwrap_err(), old, Fate::NotSent);
    client.get("/").submit().unwrap().await.unwrap();
    // Two expiries that nobody has noticed are told as one.
    let first = renew(env, &client, &mut states).await.old;
    renew(env, &client, &mut states).await;
    is_expired(&client.get("/").await.unwrap_err(), first, Fate::NotSent);
    client.get("/").await.unwrap();
}

pub(crate) async fn a_pinned_handle_keeps_to_its_session(env: &Env) {
    let client = renewing(env).await;
    let pinned = client.pinned();
    pinned.create("/e", b"").ephemeral().await.unwrap();
    let (_, changed) = pinned.get("/").watch().await.unwrap();
    let mut states = client.state_changes();
    let old = renew(env, &client, &mut states).await.old;
    is_expired(&changed.await.unwrap_err(), old, Fate::NotSent);
    let others = [
        pinned.clone(),
        pinned.chroot("/a").unwrap(),
        pinned.pinned(),
    ];
    for handle in others.iter().chain([&pinned, &pinned]) {
        is_expired(&handle.get("/").await.unwrap_err(), old, Fate::NotSent);
    }
    // It tells of its session, and has no hold on the next one.
    assert_eq!(pinned.valid_until(), None);
    assert_eq!(pinned.credentials(), None);
    let told = SessionState::Ended(SessionEnd::Expired { session_id: old });
    assert_eq!(pinned.state(), told);
    pinned.close().await.unwrap();
    is_expired(&pinned.detach().await.unwrap_err(), old, Fate::NotSent);
    assert!(client.valid_until().is_some());
    // What a pinned handle was told is not what others were told.
    is_expired(&client.get("/").await.unwrap_err(), old, Fate::NotSent);
    client.get("/").await.unwrap();
    renew(env, &client, &mut states).await;
    is_expired(&pinned.get("/").await.unwrap_err(), old, Fate::NotSent);

    let next = client.pinned();
    next.create("/e", b"").ephemeral().await.unwrap();
    client.close().await.unwrap();
    let error = next.get("/").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
}

pub(crate) async fn requests_that_were_not_sent_end_with_their_session(env: &Env) {
    let client = renewing(env).await;
    let mut states = client.state_changes();
    let old = connection(&client).session_id;
    env.fake().stop();
    loop {
        let change = states.next().await.expect("another state");
        if matches!(change.state, SessionState::Suspended { .. }) {
            break;
        }
    }
    let waiting = client.create("/never", b"").submit().unwrap();
    assert!(env.fake().expire_session(old));
    env.fake().restart().unwrap();
    is_expired(&waiting.await.unwrap_err(), old, Fate::NotSent);
    // It was told by that.
    assert_eq!(client.exists("/never").await.unwrap(), None);
    while states.next().await.unwrap().renewed.is_none() {}
}

pub(crate) async fn identities_carry_over(env: &Env) {
    let client = renewing(env).await;
    client.add_auth("digest", b"bob:secret").await.unwrap();
    let mine = client.create("/mine", b"1").acl(homing::Acl::creator_all());
    mine.await.unwrap();
    let mut states = client.state_changes();
    renew(env, &client, &mut states).await;
    client.get("/mine").await.unwrap_err();
    assert_eq!(client.get("/mine").await.unwrap().data, "1");
}

pub(crate) async fn an_idle_session_rests(env: &Env) {
    let idle = Duration::from_millis(20);
    let builder = env.builder().close_idle_after(idle);
    let client = builder.connect().await.unwrap();
    let first = connection(&client).session_id;
    let mut states = client.state_changes();
    while states.next().await.unwrap().state != SessionState::Dormant {}
    assert_eq!(client.credentials(), None);
    assert!(!has_session(env, first));

    // The next request opens another one, and a node that must not go away keeps it.
    client.create("/e", b"").ephemeral().await.unwrap();
    let second = connection(&client).session_id;
    assert_ne!(second, first);
    assert_eq!(client.get("/e").await.unwrap().stat.ephemeral_owner, second);
    let in_transaction = env
        .builder()
        .close_idle_after(idle)
        .connect()
        .await
        .unwrap();
    let made = in_transaction.transaction().create("/t", b"").ephemeral();
    made.await.unwrap();
    let pinned = env
        .builder()
        .close_idle_after(idle)
        .connect()
        .await
        .unwrap();
    let pinned = (pinned.pinned(), pinned);
    // It may have been closed before that.
    pinned.0.connected().await.unwrap();
    // None of them, while another one comes and goes.
    let other = env
        .builder()
        .close_idle_after(idle)
        .connect()
        .await
        .unwrap();
    let mut states = other.state_changes();
    while states.next().await.unwrap().state != SessionState::Dormant {}
    for client in [&client, &in_transaction, &pinned.0] {
        let is_connected = matches!(client.state(), SessionState::Connected(_));
        assert!(is_connected, "{}", client.state());
    }
    assert!(other.connected().await.is_ok(), "that is a use too");
    drop(pinned);
}

fn has_session(env: &Env, id: i64) -> bool {
    env.fake()
        .with_server(|server| server.sessions().iter().any(|session| session.id == id))
}

pub(crate) async fn nobody_waits_for_servers_that_are_away(env: &Env) {
    let builder = env.builder().fail_fast_after(1).deadline(None);
    let client = builder.connect().await.unwrap();
    client.get("/").await.unwrap();
    env.fake().stop();
    let error = loop {
        match client.get("/").await.unwrap_err() {
            Error::ConnectionLost { .. } => {}
            other => break other,
        }
    };
    let Error::Unavailable { unavailable, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(unavailable.attempts.len(), 1);
    assert!(!error.may_have_been_applied());
    let text = error.to_string();
    for part in ["get \"/\": no server", &env.servers(), "it was not sent"] {
        assert!(text.contains(part), "{text}");
    }
    let error = client.get("/").submit().unwrap().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    env.fake().restart().unwrap();
    client.connected().await.unwrap();
    client.get("/").await.unwrap();
}

pub(crate) async fn nobody_waits_for_a_first_session_either(env: &Env) {
    env.fake().stop();
    let builder = env.builder().fail_fast_after(1).deadline(None);
    let client = builder.start().unwrap();
    let create = || client.create("/a", b"");
    // The first of them waits until all servers were tried; the others are told at once.
    for error in [
        create().protected().await.unwrap_err(),
        create().sequential().protected().await.unwrap_err(),
        client.set("/a", b"").resolved().await.unwrap_err(),
        create().await.unwrap_err(),
    ] {
        let Error::Unavailable { unavailable, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(unavailable.attempts.len(), 1);
        let text = error.to_string();
        for part in [" \"/a\": no server", &env.servers(), "it was not sent"] {
            assert!(text.contains(part), "{text}");
        }
    }
    env.fake().restart().unwrap();
    client.connected().await.unwrap();
    create().protected().await.unwrap();
}

pub(crate) async fn a_read_only_server_serves_those_who_allow_it(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"1").await.unwrap();
    client.close().await.unwrap();
    env.fake().set_read_only(true);

    let strict = env.builder().start().unwrap();
    let builder = env.builder().read_only(true);
    let client = builder.connect().await.unwrap();
    assert!(connection(&client).read_only);
    assert!(client.state().to_string().ends_with("which is read-only"));
    let (node, changed) = client.get("/a").watch().await.unwrap();
    assert_eq!(node.data, "1");
    let error = client.set("/a", b"2").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotReadOnly));
    assert!(error.to_string().contains("cut off from its ensemble"));
    // No other server knows the session; what needs its id is refused all the same.
    for refused in [
        client.create("/b", b"").protected().await.map(drop),
        client
            .create("/b", b"")
            .sequential()
            .protected()
            .await
            .map(drop),
        client.set("/a", b"2").resolved().await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NotReadOnly), "{error}");
        assert!(matches!(error, Error::Server { .. }), "{error:?}");
    }
    assert!(!matches!(strict.state(), SessionState::Connected(_)));

    // It finds its quorum again: the watch is still there, in a session that is a real one.
    let mut states = client.state_changes();
    env.fake().set_read_only(false);
    loop {
        let change = states.next().await.unwrap();
        assert_eq!(change.renewed, None, "nothing was lost");
        if matches!(change.state, SessionState::Connected(now) if !now.read_only) {
            break;
        }
    }
    client.set("/a", b"2").await.unwrap();
    assert_eq!(changed.await.unwrap().path, "/a");
    strict.connected().await.unwrap();
    until("both have a session", || {
        env.fake()
            .with_server(|server| server.sessions().len() == 2)
    });
}

pub(crate) async fn it_moves_to_a_server_that_takes_writes(env: &Env) {
    // Two servers, one of which has a quorum; all that they share here is the client.
    let other = homing_testkit::FakeServer::builder();
    let other = other.config(|config| config.read_only_enabled = true);
    let other = other.start().unwrap();
    other.set_read_only(true);
    env.fake().set_read_only(true);
    let servers = format!("{},{}", env.servers(), other.connect_string());
    let builder = env.backend.builder(&servers).read_only(true);
    let client = builder.connect().await.unwrap();
    let here = connection(&client).server;
    assert!(connection(&client).read_only);
    let mut states = client.state_changes();
    match here == env.fake().addr() {
        true => other.set_read_only(false),
        false => env.fake().set_read_only(false),
    }
    loop {
        match states.next().await.unwrap().state {
            SessionState::Connected(now) if !now.read_only => break assert_ne!(now.server, here),
            _ => {}
        }
    }
    client.create("/here", b"").await.unwrap();
    client.close().await.unwrap();
}
