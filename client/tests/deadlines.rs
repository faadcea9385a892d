//! What costs one request costs no other: a deadline that passes in the midst of a thousand, a
//! reply over the limit in the midst of a hundred.

#[macro_use]
mod support;

use std::time::Duration;

use homing::{Client, Error, Fate, SessionState, Usage};
use homing_testkit::FakeServer;
use support::victim::{Victim, real_with, run};
use support::{Backend, bytes_of};

const MOMENT: Duration = Duration::from_millis(50);
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// Replies of 10 MiB do not fit into what clients accept; servers have to be told to store them.
const LARGE: usize = 10 << 20;
const REQUEST_LEN_MAX: usize = 16 << 20;

fn fake() -> Option<Box<dyn Victim>> {
    let builder = FakeServer::builder().config(|config| config.request_len_max = REQUEST_LEN_MAX);
    Some(Box::new(builder.start().unwrap()))
}

fn real() -> Option<Box<dyn Victim>> {
    let len_max = REQUEST_LEN_MAX.to_string();
    real_with(|builder| builder.system_property("jute.maxbuffer", &len_max))
}

on_server! { fake:
    one_deadline_among_a_thousand
    a_deadline_of_what_was_not_sent
    one_large_reply_among_a_hundred
}
on_server! { real:
    one_deadline_among_a_thousand
    a_deadline_of_what_was_not_sent
    one_large_reply_among_a_hundred
}

async fn connect(backend: Backend, server: &dyn Victim) -> (Client, i64) {
    let builder = backend.builder(&server.connect_string());
    let builder = builder.session_timeout(SESSION_TIMEOUT).deadline(None);
    let builder = builder.bytes_in_flight(256 << 20);
    let client = builder.request_len_max(REQUEST_LEN_MAX).connect().await;
    let client = client.unwrap();
    let session_id = client.credentials().unwrap().session_id();
    (client, session_id)
}

/// The session and its only connection go on as if nothing had happened.
async fn is_unharmed(client: &Client, session_id: i64) {
    client.sync("/").await.unwrap();
    assert_eq!(client.in_flight(), Usage::default());
    let SessionState::Connected(connection) = client.state() else {
        panic!("{}", client.state());
    };
    assert_eq!(connection.session_id, session_id);
    let stats = client.stats().session;
    assert_eq!((stats.connections, stats.lost()), (1, 0));
}

async fn make(client: &Client, count: usize) -> Vec<String> {
    let paths: Vec<_> = (0..count).map(|n| format!("/{n}")).collect();
    let creates = paths.iter().map(|path| client.create(path, path).submit());
    let creates: Vec<_> = creates.map(Result::unwrap).collect();
    for create in creates {
        create.await.unwrap();
    }
    paths
}

async fn one_deadline_among_a_thousand(backend: Backend, server: &mut dyn Victim) {
    const COUNT: usize = 1_000;
    let (client, session_id) = connect(backend, server).await;
    let paths = make(&client, COUNT).await;
    // In the middle, at the front, at the back.
    for hurried in [COUNT / 2, 0, COUNT - 1] {
        server.pause();
        let gets = paths.iter().enumerate().map(|(n, path)| {
            let deadline = (n == hurried).then_some(MOMENT);
            client.get(path).deadline(deadline).submit().unwrap()
        });
        let mut gets: Vec<_> = gets.collect();
        let error = gets.remove(hurried).await.unwrap_err();
        let Error::Deadline { request, fate } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((request.op, &request.path), ("get", &paths[hurried]));
        assert_eq!(*fate, Fate::MaybeApplied);
        // It keeps its place until its reply comes, and all others wait.
        assert_eq!(client.in_flight().requests, COUNT);
        for get in &mut gets {
            assert!(support::poll_once(get).is_pending());
        }
        server.resume();
        let mut others = paths.clone();
        others.remove(hurried);
        for (get, path) in gets.into_iter().zip(others) {
            assert_eq!(get.await.unwrap().data, path);
        }
        is_unharmed(&client, session_id).await;
    }
}

async fn a_deadline_of_what_was_not_sent(backend: Backend, server: &mut dyn Victim) {
    // Together more than sockets take.
    const COUNT: usize = 80;
    const HURRIED: usize = COUNT - 4;
    let (client, session_id) = connect(backend, server).await;
    let paths = make(&client, COUNT).await;
    let data = bytes_of(300_000, 1);
    server.pause();
    let set = |n: usize| client.set(&paths[n], &data);
    let before: Vec<_> = (0..HURRIED).map(|n| set(n).submit().unwrap()).collect();
    // By and by the driver has as much in hand as it takes, and none of it gets away.
    while is_sent(&client).await {}
    let in_flight = client.in_flight().requests;
    let hurried = set(HURRIED).deadline(MOMENT).submit().unwrap();
    let behind: Vec<_> = (HURRIED + 1..COUNT)
        .map(|n| set(n).submit().unwrap())
        .collect();
    let error = hurried.await.unwrap_err();
    let Error::Deadline { fate, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*fate, Fate::NotSent);
    let left = client.in_flight().requests;
    assert_eq!(left, in_flight + behind.len(), "it gave up its place");
    server.resume();
    for set in before.into_iter().chain(behind) {
        assert_eq!(set.await.unwrap().version, 1);
    }
    // It was said that it was not sent, and so it is.
    for (n, path) in paths.iter().enumerate() {
        let version = i32::from(n != HURRIED);
        assert_eq!(client.exists(path).await.unwrap().unwrap().version, version);
    }
    is_unharmed(&client, session_id).await;
}

/// Whether what is asked now may get away, although nothing is read.
async fn is_sent(client: &Client) -> bool {
    match client.exists("/").deadline(MOMENT).await {
        Err(Error::Deadline { fate, .. }) => fate == Fate::MaybeApplied,
        other => panic!("{other:?}"),
    }
}

async fn one_large_reply_among_a_hundred(backend: Backend, server: &mut dyn Victim) {
    const COUNT: usize = 100;
    let (client, session_id) = connect(backend, server).await;
    let paths = make(&client, COUNT).await;
    let large = bytes_of(LARGE, 1);
    for n in [COUNT / 2, 0, COUNT - 1] {
        client.set(&paths[n], &large).await.unwrap();
        let gets = paths.iter().map(|path| client.get(path).submit().unwrap());
        let gets: Vec<_> = gets.collect();
        for (index, get) in gets.into_iter().enumerate() {
            if index != n {
                assert_eq!(get.await.unwrap().data, paths[index]);
                continue;
            }
            let error = get.await.unwrap_err();
            let Error::ReplyTooLarge {
                request,
                len,
                limit,
            } = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!((request.op, &request.path), ("get", &paths[n]));
            // Header, length, data, stat.
            assert_eq!((*len, *limit), (16 + 4 + LARGE + 68, 4 << 20));
        }
        is_unharmed(&client, session_id).await;
        client.set(&paths[n], &paths[n]).await.unwrap();
    }
    // What fits is not concerned.
    let larger = backend.builder(&server.connect_string());
    let larger = larger
        .reply_len_max(REQUEST_LEN_MAX)
        .request_len_max(REQUEST_LEN_MAX);
    let larger = larger.connect().await.unwrap();
    larger.set("/0", &large).await.unwrap();
    assert_eq!(larger.get("/0").await.unwrap().data, large);
}
