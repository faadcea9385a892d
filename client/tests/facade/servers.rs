//! Which server a client is at, of several ways to the same one.

use std::time::Duration;

use homing::{Builder, Client, Error, Server, SessionState, StateChanges};

use crate::env::{Env, SOON, connection, stat, until};
use crate::support::proxy::Proxy;

/// Ways to the server of this test that can be told apart.
fn ways<const N: usize>(env: &Env) -> [Proxy; N] {
    let server = env.servers().parse().unwrap();
    std::array::from_fn(|_| Proxy::start(server))
}

/// A connect string of these servers, with the chroot of this test.
fn list(env: &Env, ways: &[&Proxy]) -> String {
    servers(ways) + env.chroot()
}

fn servers(ways: &[&Proxy]) -> String {
    let ways: Vec<_> = ways.iter().map(|way| way.connect_string()).collect();
    ways.join(",")
}

/// A server that is busy with other tests may take a while to answer, for which a move waits a
/// third of the session time-out, and a caller until the deadline.
fn patient(env: &Env, ways: &[&Proxy]) -> Builder {
    let builder = env.backend.builder(&list(env, ways));
    builder.session_timeout(SOON * 10).deadline(None)
}

fn is_at(client: &Client, way: &Proxy) -> bool {
    connection(client).server.to_string() == way.connect_string()
}

/// Waits until the session is connected by this way.
async fn arrival(states: &mut StateChanges, way: &Proxy) {
    loop {
        let change = states.next().await.expect("it lives");
        if let SessionState::Connected(connection) = change.state
            && connection.server.to_string() == way.connect_string()
        {
            return;
        }
    }
}

pub(crate) async fn a_client_is_given_other_servers(env: &Env) {
    let [first, second] = ways(env);
    let client = patient(env, &[&first]).connect().await.unwrap();
    let id = connection(&client).session_id;
    client.create("/e", b"").ephemeral().await.unwrap();
    let (_, changed) = client.get("/e").watch().await.unwrap();
    let mut states = client.state_changes();

    // A move while requests are on their way costs none of them.
    let early: Vec<_> = (0..100)
        .map(|n| client.create(format!("/e{n}"), b"").submit().unwrap())
        .collect();
    client.set_servers(&servers(&[&second])).unwrap();
    let late: Vec<_> = (0..100)
        .map(|n| client.create(format!("/l{n}"), b"").submit().unwrap())
        .collect();
    arrival(&mut states, &second).await;
    for create in early.into_iter().chain(late) {
        create.await.unwrap();
    }
    let known: Vec<_> = client.servers().iter().map(ToString::to_string).collect();
    assert_eq!(known, [second.connect_string()]);

    // The session is the same, and all that belongs to it.
    assert_eq!(stat(&client, "/e").await.ephemeral_owner, id);
    let other = env.connect().await;
    other.set("/e", b"2").await.unwrap();
    assert_eq!(changed.await.unwrap().path, "/e");
    let stats = client.stats().session;
    assert_eq!((stats.moved, stats.lost(), stats.connections), (1, 0, 2));

    // It stays where it is when that is still listed.
    client.set_servers(&servers(&[&second])).unwrap();
    client.set("/e", b"3").await.unwrap();
    assert!(is_at(&client, &second));
    // The old way is not taken any more, whatever happens.
    second.cut();
    until("it has tried", || !client.failures().is_empty());
    second.mend();
    arrival(&mut states, &second).await;
}

pub(crate) async fn a_client_reconnects(env: &Env) {
    let [first, second] = ways(env);
    let client = patient(env, &[&first, &second]).connect().await.unwrap();
    let before = connection(&client);
    client.create("/n", b"").await.unwrap();
    let requests = |count: usize| -> Vec<_> {
        let get = |_| client.get("/n").submit().unwrap();
        (0..count).map(get).collect()
    };
    let early = requests(50);
    let after = client.reconnect().await.unwrap();
    assert_ne!(after.server, before.server);
    assert_eq!(after.session_id, before.session_id);
    assert_eq!(connection(&client), after);

    // And back again, on a plain thread.
    let more = requests(50);
    let mover = client.clone();
    let thread = std::thread::spawn(move || mover.reconnect().wait().unwrap());
    assert_eq!(thread.join().unwrap().server, before.server);
    for get in early.into_iter().chain(more) {
        get.await.unwrap();
    }
    assert_eq!(client.stats().session.lost(), 0);
    assert_eq!(client.failures(), []);

    // With one server it is a connection to that one again.
    client.set_servers(&before.server.to_string()).unwrap();
    let again = client.reconnect().await.unwrap();
    assert_eq!(again.server, before.server);
    let stats = client.stats().session;
    assert_eq!((stats.moved, stats.connections), (3, 4));
}

pub(crate) async fn what_is_no_list_of_servers_is_refused(env: &Env) {
    let client = env.connect().await;
    let check = |servers: &str, text: &str| {
        let error = client.set_servers(servers).unwrap_err().to_string();
        assert_eq!(error, text);
    };
    check("", "connect string \"\": server 1, \"\": there is no host");
    check(
        "zk1/app",
        "set_servers: \"zk1/app\" has a chroot (/app), and takes servers alone",
    );
    check(
        "dns-srv://zk.example.org",
        "set_servers: \"dns-srv://zk.example.org\" names a list in DNS, and takes servers alone",
    );
    let prefers = |servers: &str, millis| {
        let after = Duration::from_millis(millis);
        let start = env.builder().prefer(servers, after).start();
        start.map(drop).unwrap_err().to_string()
    };
    let text = "prefer: \"zk1/app\" has a chroot (/app), and takes servers alone";
    assert_eq!(prefers("zk1/app", 1_000), text);
    let text = "the time to return to preferred servers is less than 100 ms";
    assert_eq!(prefers("zk1", 99), text);

    client.close().await.unwrap();
    let error = client.set_servers("zk1").unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    let error = client.reconnect().await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

pub(crate) async fn a_client_returns_to_a_preferred_server(env: &Env) {
    let [near, far] = ways(env);
    let all = list(env, &[&near, &far]);
    let soon = Duration::from_millis(200);
    let by_name = |builder: Builder| builder.prefer(&near.connect_string(), soon);
    let name = near.connect_string();
    let by_rule = |builder: Builder| {
        builder.prefer_if(move |server: &Server| server.to_string() == name, soon)
    };
    for client in [
        by_name(env.backend.builder(&all)),
        by_rule(env.backend.builder(&all)),
    ] {
        let client = client.connect().await.unwrap();
        assert!(is_at(&client, &near));
        let id = connection(&client).session_id;
        let mut states = client.state_changes();
        near.cut();
        arrival(&mut states, &far).await;
        near.mend();
        arrival(&mut states, &near).await;
        assert_eq!(connection(&client).session_id, id);
        client.close().await.unwrap();
    }
}
