//! The three ways to run a request, and the line that they share.

use std::future::IntoFuture;
use std::task::Poll;
use std::thread;

use homing::{Client, Error};

use crate::env::{Env, SOON, gone};
use crate::support::tap::Tap;
use crate::support::{on_plain_thread, poll_once};

pub(crate) async fn three_ways_to_run_a_request(env: &Env) {
    let client = env.connect().await;
    client.create("/node", b"data").await.unwrap();

    let awaited = client.get("/node").await.unwrap();
    let submitted = client.get("/node").submit().unwrap().await.unwrap();
    let (waited, submitted_and_waited) = on_plain_thread(|| {
        let waited = client.get("/node").wait().unwrap();
        (
            waited,
            client.get("/node").submit().unwrap().wait().unwrap(),
        )
    });
    assert_eq!(awaited.data, "data");
    for node in [submitted, waited, submitted_and_waited] {
        assert_eq!(node, awaited);
    }

    // So do errors.
    let awaited = client.delete("/no").await.unwrap_err().to_string();
    let submitted = client.delete("/no").submit().unwrap().await;
    assert_eq!(submitted.unwrap_err().to_string(), awaited);
    let waited = on_plain_thread(|| client.delete("/no").wait());
    assert_eq!(waited.unwrap_err().to_string(), awaited);

    // All operations have the three.
    on_plain_thread(|| {
        let made = client.create("/w-", b"").ephemeral().sequential().wait();
        let path = made.unwrap().path;
        client.set(&path, b"x").wait().unwrap();
        assert!(client.exists(&path).wait().unwrap().is_some());
        client.sync(&path).wait().unwrap();
        client.delete(&path).wait().unwrap();
        let names = client.children("/").wait().unwrap();
        assert_eq!(names.sorted(), ["node"]);
    });
    // A client can be made and closed by a plain thread as well, where there is nothing that
    // the transport would need of it.
    if env.backend.may_wait_here() {
        let builder = env.builder();
        on_plain_thread(move || {
            let client = builder.connect().wait().unwrap();
            client.get("/node").wait().unwrap();
            client.close().wait().unwrap();
            let closed = client.get("/node").wait().unwrap_err();
            assert!(matches!(closed, Error::Closed { .. }), "{closed}");
        });
    } else {
        let error = on_plain_thread(|| env.builder().connect().wait().unwrap_err());
        let text = error.to_string();
        assert!(matches!(error, Error::Start(_)), "{text}");
        assert!(
            text.contains("outside a tokio runtime") && text.contains("nio"),
            "{text}"
        );
    }
}

pub(crate) async fn waiting_is_refused_where_it_would_deadlock(env: &Env) {
    let client = env.connect().await;
    if env.backend.may_wait_here() {
        let mut states = client.state_changes();
        let state = states.wait_next().unwrap().unwrap().state;
        assert_eq!(state, client.state());
        client.create("/a", b"").wait().unwrap();
        return client.close().wait().unwrap();
    }
    let refused = |error: Error| {
        let text = error.to_string();
        assert!(matches!(error, Error::Misuse { .. }), "{text}");
        assert!(
            text.contains("this thread belongs to a tokio runtime"),
            "{text}"
        );
        assert!(text.contains(".await") && text.contains("nio"), "{text}");
        assert!(!error.may_have_been_applied());
    };
    // Nothing is sent …
    refused(client.create("/a", b"").wait().unwrap_err());
    assert_eq!(client.exists("/a").await.unwrap(), None);
    // … unless it was submitted before.
    let pending = client.create("/b", b"").submit().unwrap();
    refused(pending.wait().unwrap_err());
    assert!(client.exists("/b").await.unwrap().is_some());
    refused(client.state_changes().wait_next().unwrap_err());
    refused(env.builder().connect().wait().unwrap_err());
    refused(client.close().wait().unwrap_err());
    // The session is as it was.
    client.get("/b").await.unwrap();
}

pub(crate) async fn pipelined_requests_are_applied_in_order(env: &Env) {
    let client = env.connect().await;
    let create = client.create("/log", b"0").submit().unwrap();
    let data: Vec<_> = (1..=200).map(|round| round.to_string()).collect();
    let mut rounds = Vec::new();
    for (data, version) in data.iter().zip(0..) {
        let set = client.set("/log", data).version(version).submit();
        let get = client.get("/log").submit();
        let child = client.create("/log/n-", data).sequential().submit();
        rounds.push((data, set.unwrap(), get.unwrap(), child.unwrap()));
    }
    let delete = client.delete("/log").submit().unwrap();
    create.await.unwrap();
    for ((round, (data, set, get, child)), version) in (0..).zip(rounds).zip(1..) {
        assert_eq!(set.await.unwrap().version, version);
        assert_eq!(get.await.unwrap().data, *data);
        assert_eq!(child.await.unwrap().sequence, Some(round));
    }
    let error = delete.await.unwrap_err();
    assert_eq!(error.code(), Some(homing::ErrorCode::NotEmpty));
}

pub(crate) async fn answers_can_be_awaited_in_any_order(env: &Env) {
    let client = env.connect().await;
    let paths: Vec<_> = (0..100).map(|n| format!("/n-{n}")).collect();
    let creates: Vec<_> = paths
        .iter()
        .map(|path| client.create(path, path).submit().unwrap())
        .collect();
    for (create, path) in creates.into_iter().zip(&paths).rev() {
        assert_eq!(create.await.unwrap().path, *path);
    }
    // From the middle outwards, some of them polled before they are awaited.
    let mut gets: Vec<_> = paths
        .iter()
        .map(|path| (path, client.get(path).submit().unwrap()))
        .collect();
    while !gets.is_empty() {
        let (path, mut get) = gets.remove(gets.len() / 2);
        let node = match poll_once(&mut get) {
            Poll::Ready(node) => node,
            Poll::Pending => get.await,
        };
        assert_eq!(node.unwrap().data, *path);
    }
    // On another thread than the one that polled first: the newest waker counts.
    let mut get = client.get(&paths[7]).submit().unwrap();
    let early = poll_once(&mut get);
    let data = match early {
        Poll::Ready(node) => node.unwrap().data,
        Poll::Pending => {
            on_plain_thread(move || pollster::block_on(get))
                .unwrap()
                .data
        }
    };
    assert_eq!(data, paths[7]);
}

pub(crate) async fn dropped_futures_disturb_nobody(env: &Env) {
    let client = env.connect().await;
    client.create("/n", b"").await.unwrap();
    let paths: Vec<_> = (0..300).map(|n| format!("/n/{n}")).collect();
    let mut kept = Vec::new();
    thread::scope(|scope| {
        for (index, path) in paths.iter().enumerate() {
            let write = client.create(path, path).submit().unwrap();
            let mut read = client.get(path).into_future();
            if index % 5 == 0 {
                // Never polled: it was never in line.
                drop((write, read));
                continue;
            }
            let answer = poll_once(&mut read);
            match index % 5 {
                1 => drop((read, write)),
                // At some time, by another thread.
                2 => drop(scope.spawn(move || drop((write, read)))),
                _ => kept.push((path, write, read, answer)),
            }
        }
    });
    for (path, write, read, answer) in kept {
        let node = match answer {
            Poll::Ready(node) => node,
            Poll::Pending => read.await,
        };
        assert_eq!(node.unwrap().data, *path);
        assert_eq!(write.await.unwrap().path, *path);
    }
    // What was submitted was done, whether anybody waited or not.
    let children = client.children("/n").await.unwrap();
    assert_eq!(children.len(), paths.len());
    assert_eq!(client.in_flight(), homing::Usage::default());
}

pub(crate) async fn handles_on_many_threads_share_the_line(env: &Env) {
    let client = env.connect().await;
    client.create("/t", b"").await.unwrap();
    let ask = |thread: i32, client: Client| {
        let path = format!("/t/{thread}");
        let create = client.create(&path, b"").submit().unwrap();
        let sets: Vec<_> = (0..100)
            .map(|version| client.set(&path, &path).version(version).submit().unwrap())
            .collect();
        create.wait().unwrap();
        // Each thread's own requests stay in order, whatever the others do.
        for (set, version) in sets.into_iter().zip(1..) {
            assert_eq!(set.wait().unwrap().version, version);
        }
    };
    thread::scope(|scope| {
        for number in 0..8 {
            let client = client.clone();
            scope.spawn(move || ask(number, client));
        }
    });
    assert_eq!(client.children("/t").await.unwrap().len(), 8);
}

pub(crate) async fn xids_wrap(env: &Env) {
    let tap = Tap::new();
    let builder = tap.builder(env.backend, &env.connect_string());
    let builder = builder.first_xid(i32::MAX - 2).deadline(SOON);
    let client = builder.connect().await.unwrap();
    let creates: Vec<_> = (0..10)
        .map(|n| client.create(format!("/x-{n}"), b"").submit().unwrap())
        .collect();
    for (n, create) in creates.into_iter().enumerate() {
        assert_eq!(create.await.unwrap().path, format!("/x-{n}"));
    }
    client.create("/short", b"").ephemeral().await.unwrap();
    let xids: Vec<_> = (i32::MAX - 2..=i32::MAX).chain(1..=8).collect();
    assert_eq!(tap.handed_over(), [xids]);
    client.close().await.unwrap();
    let next = env.connect().await;
    gone(&next, "/short").await;
    assert_eq!(next.children("/").await.unwrap().len(), 10);
}
