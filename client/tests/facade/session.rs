//! A session's life: states, ends, and being taken over.

use std::time::{Duration, Instant};

use homing::{Client, Credentials, Error, SessionEnd, SessionState};

use crate::env::{Env, SOON, connection, gone, stat, until};
use crate::support::poll_once;
use crate::support::tap::Tap;

pub(crate) async fn connected_and_closed(env: &Env) {
    let client = env.connect().await;
    let now = connection(&client);
    assert_eq!(now.server.to_string(), env.servers());
    assert_eq!(client.connected().await.unwrap(), now);
    assert_eq!(client.credentials().unwrap().session_id(), now.session_id);
    assert_eq!(client.failures(), []);
    let text = client.state().to_string();
    assert_eq!(text, format!("connected to {}", env.servers()));

    client.close().await.unwrap();
    assert_eq!(client.state(), SessionState::Ended(SessionEnd::Closed));
    assert_eq!(client.state().to_string(), "ended: the session was closed");
    // Everything fails at once: nothing here has to be waited for.
    let is_closed = |error: Error| {
        assert!(matches!(error, Error::Closed { .. }), "{error:?}");
        assert!(!error.may_have_been_applied());
        error.to_string()
    };
    let text = is_closed(client.get("/").submit().unwrap_err());
    assert_eq!(text, "get \"/\": the client was closed; it was not sent");
    for error in [
        client.create("/a", b"").await.map(|_| ()).unwrap_err(),
        client.get("/").await.map(|_| ()).unwrap_err(),
        client.set("/", b"").await.map(|_| ()).unwrap_err(),
        client.delete("/a").await.unwrap_err(),
        client.exists("/").await.map(|_| ()).unwrap_err(),
        client.children("/").await.map(|_| ()).unwrap_err(),
        client.sync("/").await.unwrap_err(),
        client.connected().await.map(|_| ()).unwrap_err(),
    ] {
        is_closed(error);
    }
    assert_eq!(client.in_flight(), homing::Usage::default());
}

pub(crate) async fn closing_ends_ephemeral_nodes(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    client.create("/keep", b"").await.unwrap();
    for _ in 0..10 {
        let node = client.create("/keep/e-", b"").ephemeral().sequential();
        node.await.unwrap();
    }
    assert_eq!(other.children("/keep").await.unwrap().len(), 10);
    client.close().await.unwrap();
    // The same server has confirmed it: no time has to pass.
    assert_eq!(other.children("/keep").await.unwrap().len(), 0);
}

pub(crate) async fn closing_twice_is_no_error(env: &Env) {
    let client = env.connect().await;
    client.create("/e", b"").ephemeral().await.unwrap();
    // However long the first one may take.
    let first = client.close().within(Duration::MAX).submit();
    let second = client.clone().close().submit();
    second.await.unwrap();
    // Whoever waits for the other one's close waits as long.
    assert_eq!(client.state(), SessionState::Ended(SessionEnd::Closed));
    first.await.unwrap();
    client.close().await.unwrap();
    let last = client.clone();
    drop(client);
    last.close().within(Duration::ZERO).await.unwrap();
    let next = env.connect().await;
    assert_eq!(next.exists("/e").await.unwrap(), None);
}

pub(crate) async fn a_close_waits_for_what_was_submitted(env: &Env) {
    let client = env.connect().await;
    client.create("/n", b"").await.unwrap();
    let creates: Vec<_> = (0..100)
        .map(|n| client.create(format!("/n/{n}"), b"").submit().unwrap())
        .collect();
    let closing = client.close().submit();
    let late = client.create("/n/late", b"").submit().unwrap_err();
    assert!(matches!(late, Error::Closed { .. }), "{late}");
    closing.await.unwrap();
    for mut create in creates {
        // Answered before the close was: nothing is left to wait for.
        let std::task::Poll::Ready(made) = poll_once(&mut create) else {
            panic!("the session is closed and a request hangs");
        };
        made.unwrap();
    }
    let next = env.connect().await;
    assert_eq!(next.children("/n").await.unwrap().len(), 100);
}

pub(crate) async fn dropping_the_last_handle_closes(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    client.create("/e", b"").ephemeral().await.unwrap();
    let clone = client.clone();
    drop(client);
    clone.get("/e").await.unwrap();
    drop(clone);
    gone(&other, "/e").await;
}

pub(crate) async fn pending_requests_keep_no_session_alive(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    let created = client.create("/e", b"").ephemeral().submit().unwrap();
    let mut states = client.state_changes();
    drop(client);
    // What was asked before is answered before.
    created.await.unwrap();
    gone(&other, "/e").await;
    loop {
        let change = states.next().await.expect("the end is told");
        if let SessionState::Ended(end) = change.state {
            assert_eq!(end, SessionEnd::Closed);
            break;
        }
    }
    assert_eq!(states.next().await, None);
}

pub(crate) async fn an_ephemeral_node_names_its_session(env: &Env) {
    let (a, b) = (env.connect().await, env.connect().await);
    let (id_of_a, id_of_b) = (connection(&a).session_id, connection(&b).session_id);
    assert_ne!(id_of_a, id_of_b);
    a.create("/a", b"").ephemeral().await.unwrap();
    b.create("/b", b"").ephemeral().await.unwrap();
    assert_eq!(stat(&b, "/a").await.ephemeral_owner, id_of_a);
    assert_eq!(stat(&a, "/b").await.ephemeral_owner, id_of_b);
    assert!(stat(&a, "/b").await.is_ephemeral());
}

pub(crate) async fn states_in_their_order(env: &Env) {
    let client = env.builder().start().unwrap();
    let mut states = client.state_changes();
    let first = states.next().await.unwrap();
    let connected = match first.state {
        // It began to listen before there was a connection.
        SessionState::Connecting => states.next().await.unwrap(),
        _ => first,
    };
    let now = SessionState::Connected(client.connected().await.unwrap());
    assert_eq!((connected.state, connected.missed), (now.clone(), 0));
    // Whoever comes later begins with the state at hand.
    assert_eq!(client.state_changes().next().await.unwrap().state, now);

    client.close().await.unwrap();
    let ended = SessionState::Ended(SessionEnd::Closed);
    assert_eq!(states.next().await.unwrap().state, ended);
    assert_eq!(states.next().await, None);
    let mut late = client.state_changes();
    assert_eq!(late.next().await.unwrap().state, ended);
    assert_eq!(late.next().await, None);
}

pub(crate) async fn the_session_timeout_is_negotiated(env: &Env) {
    let ask = async |seconds| {
        let builder = env.builder().session_timeout(Duration::from_secs(seconds));
        let client = builder.connect().await.unwrap();
        let granted = connection(&client).session_timeout;
        client.close().await.unwrap();
        granted
    };
    // No server here grants less than a second, nor an hour.
    assert_eq!(ask(5).await, Duration::from_secs(5));
    let longest = ask(3_600).await;
    assert!(longest < Duration::from_secs(3_600), "{longest:?}");
    assert_eq!(ask(longest.as_secs() + 1).await, longest);
    for nonsense in [Duration::ZERO, Duration::from_secs(3_000_000)] {
        let builder = env.builder().session_timeout(nonsense);
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error}");
    }
}

pub(crate) async fn another_client_resumes_the_session(env: &Env) {
    let tap = Tap::new();
    let builder = tap.builder(env.backend, &env.connect_string());
    let first = builder.connect().await.unwrap();
    first.create("/mine", b"").ephemeral().await.unwrap();
    let given = first.credentials().unwrap();
    // As it would be kept in a file.
    let credentials = Credentials::new(given.session_id(), given.password()).unwrap();
    assert_eq!(credentials, given);
    // The first one dies without a word.
    tap.cut();

    let second = env.builder().resume(credentials).connect().await.unwrap();
    assert_eq!(connection(&second).session_id, credentials.session_id());
    assert_eq!(second.credentials(), Some(credentials));
    let owner = stat(&second, "/mine").await.ephemeral_owner;
    assert_eq!(owner, credentials.session_id());
    drop(first);
    second.create("/mine-too", b"").ephemeral().await.unwrap();

    second.close().await.unwrap();
    let next = env.connect().await;
    assert_eq!(next.children("/").await.unwrap().len(), 0);
}

pub(crate) async fn a_closed_session_cannot_be_resumed(env: &Env) {
    let client = env.connect().await;
    let credentials = client.credentials().unwrap();
    client.close().await.unwrap();
    let error = env.builder().resume(credentials).connect().await;
    is_expired(&error.unwrap_err(), credentials.session_id());
}

pub(crate) async fn a_wrong_password_resumes_nothing(env: &Env) {
    let client = env.connect().await;
    let session_id = connection(&client).session_id;
    let wrong = Credentials::new(session_id, b"not its password").unwrap();
    let error = env.builder().resume(wrong).connect().await.unwrap_err();
    is_expired(&error, session_id);
    // The one whose session it is goes on.
    client.create("/e", b"").ephemeral().await.unwrap();
    assert_eq!(connection(&client).session_id, session_id);
    assert!(Credentials::new(1, &[0; 65]).is_err());
}

fn is_expired(error: &Error, session_id: i64) {
    let Error::SessionEnded { end, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*end, SessionEnd::Expired { session_id });
    let text = format!("session {session_id:#x} has expired; its ephemeral nodes are gone");
    assert!(error.to_string().contains(&text), "{error}");
    assert!(!error.may_have_been_applied());
}

pub(crate) async fn a_lost_connection_suspends_the_session(env: &Env) {
    let client = env.connect().await;
    client.create("/e", b"").ephemeral().await.unwrap();
    let before = connection(&client);
    let mut states = client.state_changes();
    assert_eq!(
        next(&mut states).await,
        SessionState::Connected(before.clone())
    );
    for _ in 0..3 {
        env.fake().cut_connections();
        let SessionState::Suspended {
            session_id,
            why,
            presumed_expired_at,
        } = next(&mut states).await
        else {
            panic!("it is not suspended");
        };
        assert_eq!(session_id, before.session_id);
        assert_eq!(why.server, before.server);
        assert!(presumed_expired_at.unwrap() > Instant::now());
        assert_eq!(
            next(&mut states).await,
            SessionState::Connected(before.clone())
        );
        let owner = stat(&client, "/e").await.ephemeral_owner;
        assert_eq!(owner, before.session_id);
    }
}

async fn next(states: &mut homing::StateChanges) -> SessionState {
    let change = states.next().await.expect("another state");
    assert_eq!(change.missed, 0);
    change.state
}

pub(crate) async fn an_expired_session_ends_for_everybody(env: &Env) {
    let client = env.connect().await;
    let session_id = connection(&client).session_id;
    client.create("/e", b"").ephemeral().await.unwrap();
    let mut states = client.state_changes();
    assert!(env.fake().expire_session(session_id));
    let end = loop {
        if let SessionState::Ended(end) = states.next().await.unwrap().state {
            break end;
        }
    };
    assert_eq!(end, SessionEnd::Expired { session_id });
    is_expired(&client.get("/").await.unwrap_err(), session_id);
    is_expired(&client.get("/").submit().unwrap_err(), session_id);
    is_expired(&client.connected().await.unwrap_err(), session_id);
    // It is as closed as it can be.
    client.close().await.unwrap();
    let next = env.connect().await;
    assert_eq!(next.exists("/e").await.unwrap(), None);
}

pub(crate) async fn requests_wait_for_the_first_connection(env: &Env) {
    env.fake().stop();
    let client = env.builder().start().unwrap();
    assert_eq!(client.state(), SessionState::Connecting);
    assert_eq!(client.credentials(), None);
    let create = client.create("/a", b"early").submit().unwrap();
    let get = client.get("/a").submit().unwrap();
    until("an attempt has failed", || !client.failures().is_empty());
    let text = client.failures()[0].to_string();
    let refused = format!("{}: it could not be connected to: ", env.servers());
    assert!(text.starts_with(&refused), "{text}");
    env.fake().restart().unwrap();
    create.await.unwrap();
    assert_eq!(get.await.unwrap().data, "early");
    assert!(client.connected().await.is_ok());
}

pub(crate) async fn what_is_dropped_without_a_connection_is_not_sent(env: &Env) {
    let client = env.connect().await;
    env.fake().stop();
    until("the loss was noticed", || {
        matches!(client.state(), SessionState::Suspended { .. })
    });
    let before = client.create("/before", b"").submit().unwrap();
    let dropped = client.create("/dropped", b"").submit().unwrap();
    let behind = client.create("/behind", b"").submit().unwrap();
    drop(dropped);
    env.fake().restart().unwrap();
    before.await.unwrap();
    behind.await.unwrap();
    let names = client.children("/").await.unwrap();
    assert_eq!(names.sorted(), ["before", "behind"]);
    assert_eq!(client.in_flight().requests, 0);
}

pub(crate) async fn a_close_that_nobody_confirms(env: &Env) {
    let client = env.connect().await;
    let asked = client.create("/e", b"").ephemeral().submit().unwrap();
    asked.await.unwrap();
    env.fake().pause();
    let stuck = client.get("/e").submit().unwrap();
    let error = client.close().within(Duration::from_millis(50)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert_eq!(error.request().unwrap().op, "close");
    let stuck = stuck.await.unwrap_err();
    assert!(matches!(stuck, Error::SessionEnded { .. }), "{stuck:?}");
    assert!(stuck.may_have_been_applied());
    assert_eq!(client.state(), SessionState::Ended(SessionEnd::Closed));
    // The first close counts; later ones find it over.
    client.close().await.unwrap();
    // Before it has begun there is nothing to confirm.
    let never: Client = env.builder().start().unwrap();
    never.close().within(SOON).await.unwrap();
    env.fake().resume();
}
