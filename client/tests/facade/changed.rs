//! What has changed since: asked of the server, and told from what happens meanwhile.

use std::task::Poll;

use EventType::{NodeChildrenChanged as Children, NodeCreated as Created, NodeDataChanged as Data};
use homing::{Client, Error, EventType, PersistentWatcher};

use crate::env::{Env, until};
use crate::persistent::{events, none_is_left};
use crate::support::{on_plain_thread, poll_once};
use crate::watchers::{Any, items};

/// Whether it has nothing to tell and goes on.
fn is_quiet(watcher: &mut PersistentWatcher) -> bool {
    matches!(poll_once(&mut Box::pin(watcher.next())), Poll::Pending)
}

pub(crate) async fn nothing_changed_tells_nothing(env: &Env) {
    let client = env.connect().await;
    let zxid = zxid_of(&client).await;
    client.create("/a/b", b"").parents().await.unwrap();
    let since = zxid_of(&client).await;
    assert!(since > zxid);
    let changes = client.changed_since(["/a", "/a/b"], since).await.unwrap();
    assert_eq!((changes.nodes, changes.zxid >= since), (vec![], true));
    none_is_left(env, &client);
    let none = client.changed_since::<&str>([], since).await.unwrap();
    assert_eq!((none.nodes, none.zxid), (vec![], since));
    let error = client.changed_since(["/a", "b"], since).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "changed_since \"b\": not a path: it does not begin with a slash"
    );
}

/// The newest transaction.
async fn zxid_of(client: &Client) -> i64 {
    let stat = client.set("/", b"").await.unwrap();
    stat.mzxid
}

/// The answer, in short: path, missing, data, children.
fn short(changes: &homing::Changes) -> Vec<(&str, bool, bool, bool)> {
    let nodes = changes.nodes.iter();
    let short = nodes.map(|node| {
        (
            node.path.as_str(),
            node.is_missing,
            node.data,
            node.children,
        )
    });
    short.collect()
}

pub(crate) async fn what_has_changed_is_told_and_nothing_else(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    let paths = [
        "/data", "/list", "/both", "/gone", "/never", "/made", "/same", "/back",
    ];
    for path in ["/data", "/list", "/both", "/gone", "/same", "/back"] {
        other.create(path, b"").await.unwrap();
    }
    let since = zxid_of(&other).await;
    other.set("/data", b"1").await.unwrap();
    other.create("/list/x", b"").await.unwrap();
    other.create("/both/x", b"").await.unwrap();
    other.set("/both", b"1").await.unwrap();
    other.delete("/gone").await.unwrap();
    other.create("/made", b"").await.unwrap();
    other.delete("/back").await.unwrap();
    other.create("/back", b"").await.unwrap();
    client.sync("/").await.unwrap();
    let changes = client.changed_since(paths, since).await.unwrap();
    let expected = [
        ("/back", false, true, true),
        ("/both", false, true, true),
        ("/data", false, true, false),
        ("/gone", true, false, false),
        ("/list", false, false, true),
        ("/made", false, true, true),
        ("/never", true, false, false),
    ];
    assert_eq!(short(&changes), expected);
    let data = client.changed_since(paths, since).data_only();
    let data = data.submit().unwrap().await.unwrap();
    let paths_of = |changes: &homing::Changes| -> Vec<_> {
        changes.nodes.iter().map(|node| node.path.clone()).collect()
    };
    assert_eq!(
        paths_of(&data),
        ["/back", "/both", "/data", "/gone", "/made", "/never"]
    );
    let lists = client.changed_since(paths, since).children_only();
    let lists = on_plain_thread(|| lists.wait()).unwrap();
    assert_eq!(
        paths_of(&lists),
        ["/back", "/both", "/gone", "/list", "/made", "/never"]
    );
    let since = changes.zxid;
    let now = client
        .changed_since(["/data", "/list"], since)
        .await
        .unwrap();
    assert_eq!(now.nodes, []);
    none_is_left(env, &client);
}

pub(crate) async fn a_comparison_disturbs_no_watcher(env: &Env) {
    let client = env.connect().await;
    for path in ["/a", "/a/b", "/c"] {
        client.create(path, b"").await.unwrap();
    }
    let since = zxid_of(&client).await;
    // All that the comparison finds has been seen by whoever watches.
    client.set("/a", b"1").await.unwrap();
    client.create("/a/x", b"").await.unwrap();
    let mut stays = Any::persistent(&client, "/a").await.unwrap();
    let mut below = Any::recursive(&client, "/a/b").await.unwrap();
    let mut of_all = Any::recursive(&client, "/").await.unwrap();
    let mut data = Any::data(&client, "/a").await.unwrap();
    let mut child = Any::child(&client, "/a").await.unwrap();
    let mut other = Any::child(&client, "/c").await.unwrap();
    for _ in 0..3 {
        // Some of these come before the comparison, and are told.
        let set = client.set("/a/b", b"").submit().unwrap();
        let asked = client
            .changed_since(["/a", "/a/b", "/c"], since)
            .submit()
            .unwrap();
        let set_behind = client.set("/c", b"").submit().unwrap();
        let changes = asked.await.unwrap();
        assert_eq!(
            short(&changes)[..2],
            [("/a", false, true, true), ("/a/b", false, true, false)]
        );
        set.await.unwrap();
        set_behind.await.unwrap();
        assert_eq!(below.told(&client).await, events([(Data, "/a/b")]));
        assert_eq!(of_all.ready(), events([(Data, "/a/b"), (Data, "/c")]));
        for watcher in [&mut stays, &mut data, &mut child, &mut other] {
            assert_eq!(watcher.ready(), []);
        }
    }
    // Everybody is still watching, at the server too: of what has changed, and of what has not.
    client.set("/a", b"2").await.unwrap();
    assert_eq!(stays.told(&client).await, events([(Data, "/a")]));
    assert_eq!(data.ready(), events([(Data, "/a")]));
    client.set("/a", b"3").await.unwrap();
    client.delete("/a/x").await.unwrap();
    let expected = events([(Data, "/a"), (Children, "/a")]);
    assert_eq!(stays.told(&client).await, expected);
    assert_eq!(child.ready(), events([(Children, "/a")]));
    client.create("/a/b/deep", b"").await.unwrap();
    assert_eq!(below.told(&client).await, events([(Created, "/a/b/deep")]));
    client.create("/c/x", b"").await.unwrap();
    assert_eq!(other.told(&client).await, events([(Children, "/c")]));
    drop((stays, below, of_all, data, child, other));
    none_is_left(env, &client);
}

/// A change, its notification and the comparison's answer, all at once and over and over.
pub(crate) async fn a_comparison_is_told_from_what_happens_beside_it(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    client.create("/a", b"").await.unwrap();
    let mut stays = Any::persistent(&client, "/a").await.unwrap();
    for round in 0..50 {
        let since = client.get("/a").await.unwrap().stat.mzxid;
        let (_, mut data) = client.get("/a").watch().await.unwrap();
        let set = match round % 2 {
            0 => client.set("/a", b"").submit().unwrap(),
            _ => other.set("/a", b"").submit().unwrap(),
        };
        let asked = client.changed_since(["/a"], since).submit().unwrap();
        let changes = asked.await.unwrap();
        // If it was seen, it has been told as well; and it was told once.
        if !changes.nodes.is_empty() {
            assert_eq!(short(&changes), [("/a", false, true, false)]);
            assert!(poll_once(&mut Box::pin(data.next())).is_ready());
        } else {
            assert_eq!(round % 2, 1, "its own change came before the question");
        }
        set.await.unwrap();
        assert_eq!(stays.told(&client).await, events([(Data, "/a")]), "{round}");
    }
    drop(stays);
    client.delete("/a").await.unwrap();
    none_is_left(env, &client);
}

pub(crate) async fn thousands_of_nodes_are_compared_in_a_few_frames(env: &Env) {
    let client = env.connect().await;
    let name = "n".repeat(100);
    let paths: Vec<_> = (0..3_000).map(|n| format!("/{name}{n:05}")).collect();
    let creates = paths.iter().map(|path| client.create(path, b"").submit());
    let creates: Vec<_> = creates.map(Result::unwrap).collect();
    for create in creates {
        create.await.unwrap();
    }
    let since = zxid_of(&client).await;
    let mut changed: Vec<_> = paths.iter().step_by(100).collect();
    for path in &changed {
        client.set(*path, b"1").await.unwrap();
    }
    let before = env.is_fake().then(|| env.fake().requests_received());
    let asked = client
        .changed_since(paths.iter().rev(), since)
        .keep_watches();
    let changes = asked.await.unwrap();
    changed.sort();
    let told: Vec<_> = changes.nodes.iter().map(|node| &node.path).collect();
    assert_eq!(told, changed);
    if let Some(before) = before {
        // Two times 3,000 paths of more than 110 bytes, with room for a third time: 1 MiB, in
        // less than 128 KiB each.
        let frames = env.fake().requests_received() - before;
        assert!((8..=10).contains(&frames), "{frames}");
    }
    // What is left at the server is removed as soon as it is asked without leaving it.
    let changes = client.changed_since(&paths, changes.zxid).data_only();
    assert_eq!(changes.await.unwrap().nodes, []);
    none_is_left(env, &client);
}

pub(crate) async fn a_comparison_whose_connection_is_lost(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let mut stays = client.watch("/a").await.unwrap();
    let since = zxid_of(&client).await;
    env.fake().pause();
    let before = client.stats().session.sent_at;
    let lost = client.changed_since(["/a"], since).submit().unwrap();
    let dropped = client.changed_since(["/a"], since).submit().unwrap();
    drop(dropped);
    until("it is on its way", || {
        client.stats().session.sent_at > before
    });
    env.fake().cut_connections();
    env.fake().resume();
    match lost.await {
        Ok(changes) => assert_eq!(changes.nodes, []),
        Err(error) => assert!(matches!(error, Error::ConnectionLost { .. }), "{error}"),
    }
    client.connected().await.unwrap();
    client.sync("/").await.unwrap();
    items(&mut stays);
    assert!(is_quiet(&mut stays));
    client.set("/a", b"").await.unwrap();
    assert_eq!(items(&mut stays).len(), 1);
    drop(stays);
    none_is_left(env, &client);
}
