//! Watches: told once, with the right kind and path, before anything that shows the change.

use std::future::IntoFuture;
use std::task::Poll;
use std::time::Duration;

use homing::{Client, Error, ErrorCode, EventType, SessionEnd, Usage, WatchEvent, Watcher};

use crate::env::{Env, SOON, connection, until};
use crate::support::{on_plain_thread, poll_once};

/// The event, which must be there already.
fn ready(watcher: &mut Watcher) -> WatchEvent {
    match poll_once(watcher) {
        Poll::Ready(event) => event.unwrap(),
        Poll::Pending => panic!("nothing was told of {:?}", watcher.path()),
    }
}

/// Whether nothing has been told. What there was to tell came before an answer that is here.
async fn is_quiet(client: &Client, watcher: &mut Watcher) -> bool {
    client.sync("/").await.unwrap();
    poll_once(watcher).is_pending()
}

fn is_event(event: &WatchEvent, kind: EventType, path: &str) {
    assert_eq!((event.kind, event.path.as_str()), (kind, path));
}

pub(crate) async fn each_watch_tells_of_its_changes_and_no_others(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let (node, mut data) = client.get("/a").watch().await.unwrap();
    let (stat, mut exists) = client.exists("/a").watch().await.unwrap();
    let (names, mut children) = client.children("/a").watch().await.unwrap();
    let (missing, mut created) = client.exists("/b").watch().await.unwrap();
    assert_eq!((node.stat, names.len()), (stat.unwrap(), 0));
    assert_eq!(missing, None);
    assert_eq!(client.stats().watches, 4);
    assert_eq!(data.path(), "/a");

    // A change of the data is nothing to who watches the children, and the other way round.
    client.set("/a", b"1").await.unwrap();
    is_event(&ready(&mut data), EventType::NodeDataChanged, "/a");
    is_event(&ready(&mut exists), EventType::NodeDataChanged, "/a");
    assert!(is_quiet(&client, &mut children).await);
    let (_, mut data) = client.get("/a").watch().await.unwrap();
    client.create("/a/x", b"").await.unwrap();
    is_event(&ready(&mut children), EventType::NodeChildrenChanged, "/a");
    assert!(is_quiet(&client, &mut data).await);
    // Nor is a change of a child's data.
    let (_, mut children) = client.children("/a").watch().await.unwrap();
    client.set("/a/x", b"1").await.unwrap();
    assert!(is_quiet(&client, &mut children).await);
    client.delete("/a/x").await.unwrap();
    is_event(&ready(&mut children), EventType::NodeChildrenChanged, "/a");

    assert!(is_quiet(&client, &mut created).await);
    client.create("/b", b"").await.unwrap();
    is_event(&ready(&mut created), EventType::NodeCreated, "/b");

    // A deletion is told to all of them.
    let (_, mut exists) = client.exists("/a").watch().await.unwrap();
    let (_, mut children) = client.children("/a").watch().await.unwrap();
    client.delete("/a").await.unwrap();
    for watcher in [&mut data, &mut exists, &mut children] {
        is_event(&ready(watcher), EventType::NodeDeleted, "/a");
    }
    assert_eq!(client.stats().watches, 0);
}

pub(crate) async fn a_watch_tells_once(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    // Of the first of two changes, and then it is over: somebody who comes later waits for the
    // next one.
    for round in 0..20 {
        let (node, first) = client.get("/a").watch().await.unwrap();
        assert_eq!(node.stat.version, 2 * round);
        client.set("/a", b"").await.unwrap();
        let (_, mut second) = client.get("/a").watch().await.unwrap();
        is_event(&first.await.unwrap(), EventType::NodeDataChanged, "/a");
        assert_eq!(client.stats().watches, 1);
        assert!(is_quiet(&client, &mut second).await);
        client.set("/a", b"").await.unwrap();
        is_event(&ready(&mut second), EventType::NodeDataChanged, "/a");
        assert_eq!(client.stats().watches, 0);
    }
}

pub(crate) async fn paths_of_events_are_the_handles(env: &Env) {
    let client = env.connect().await;
    let root = env.connect_to_root().await;
    client.create("/app", b"").await.unwrap();
    let app = client.chroot("/app").unwrap();
    app.create("/n", b"").await.unwrap();
    let full = format!("{}/app/n", env.chroot());

    let (_, mut by_app) = app.get("/n").watch().await.unwrap();
    let (_, mut by_client) = client.get("/app/n").watch().await.unwrap();
    let (_, mut of_root) = app.children("/").watch().await.unwrap();
    let (_, by_root) = root.get(&full).watch().await.unwrap();
    assert_eq!((by_app.path(), of_root.path()), ("/n".into(), "/".into()));
    app.delete("/n").await.unwrap();
    is_event(&ready(&mut by_app), EventType::NodeDeleted, "/n");
    is_event(&ready(&mut by_client), EventType::NodeDeleted, "/app/n");
    is_event(&ready(&mut of_root), EventType::NodeChildrenChanged, "/");
    is_event(&by_root.await.unwrap(), EventType::NodeDeleted, &full);
}

pub(crate) async fn what_fails_watches_nothing(env: &Env) {
    let client = env.connect().await;
    let error = client.get("/a").watch().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    let error = client.children("/a").watch().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
    let error = client.exists("a").watch().await.unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error}");
    assert_eq!(client.stats().watches, 0);
    // That there is no node is an answer of `exists`, and no failure.
    let (none, created) = client.exists("/a").watch().await.unwrap();
    assert_eq!((none, client.stats().watches), (None, 1));
    client.create("/a", b"").await.unwrap();
    is_event(&created.await.unwrap(), EventType::NodeCreated, "/a");
    assert_eq!(client.stats().watches, 0);
}

pub(crate) async fn an_event_comes_before_any_answer_that_shows_it(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    client.create("/a", b"").await.unwrap();
    for round in 0..30 {
        let (node, mut changed) = client.get("/a").watch().await.unwrap();
        let version = node.stat.version;
        let set = match round % 2 {
            // By oneself: the answer to the change itself shows it.
            0 => return_version(client.set("/a", b"").await),
            // By somebody else, while this client asks and asks.
            _ => {
                let setting = other.set("/a", b"").submit().unwrap();
                let mut seen = version;
                while seen == version {
                    seen = client.get("/a").await.unwrap().stat.version;
                    assert!(seen == version || poll_is_ready(&mut changed));
                }
                assert_eq!(return_version(setting.await), seen);
                continue;
            }
        };
        assert_eq!(set, version + 1);
        is_event(&ready(&mut changed), EventType::NodeDataChanged, "/a");
    }
}

fn return_version(set: Result<homing::Stat, Error>) -> i32 {
    set.unwrap().version
}

fn poll_is_ready(watcher: &mut Watcher) -> bool {
    poll_once(watcher).is_ready()
}

pub(crate) async fn a_change_right_behind_the_question_is_told(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    // Watch and change leave together; so may the answer and the event.
    for round in 0..30 {
        let get = client.get("/a").watch().submit().unwrap();
        let set = client.set("/a", b"").submit().unwrap();
        let (node, mut changed) = get.await.unwrap();
        assert_eq!(node.stat.version, round);
        set.await.unwrap();
        is_event(&ready(&mut changed), EventType::NodeDataChanged, "/a");
    }
}

pub(crate) async fn everybody_who_watches_a_node_is_told(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let mut watchers = Vec::new();
    for _ in 0..5 {
        watchers.push(client.clone().get("/a").watch().await.unwrap().1);
        watchers.push(client.exists("/a").watch().await.unwrap().1);
    }
    let (_, mut children) = client.children("/a").watch().await.unwrap();
    // One of them leaves; the others stay.
    drop(watchers.swap_remove(3));
    assert_eq!(client.stats().watches, 10);
    client.set("/a", b"1").await.unwrap();
    for watcher in &mut watchers {
        is_event(&ready(watcher), EventType::NodeDataChanged, "/a");
    }
    assert_eq!(client.stats().watches, 1);
    assert!(is_quiet(&client, &mut children).await);
}

pub(crate) async fn a_dropped_watcher_leaves_no_trace(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let (_, data) = client.get("/a").watch().await.unwrap();
    let (_, mut children) = client.children("/a").watch().await.unwrap();
    drop(data);
    assert_eq!(client.stats().watches, 1);
    // The other kind on the same path is still there at the server.
    client.set("/a", b"1").await.unwrap();
    assert!(is_quiet(&client, &mut children).await);
    client.create("/a/x", b"").await.unwrap();
    is_event(&ready(&mut children), EventType::NodeChildrenChanged, "/a");

    // Dropped and watched again at once, over and over: the last one counts.
    for round in 0..20 {
        let (_, watcher) = client.get("/a").watch().await.unwrap();
        drop(watcher);
        let dropped_early = client.get("/a").watch().submit().unwrap();
        drop(dropped_early);
        let (node, mut changed) = client.get("/a").watch().await.unwrap();
        assert_eq!(node.stat.version, 1 + round);
        client.set("/a", b"").await.unwrap();
        is_event(&ready(&mut changed), EventType::NodeDataChanged, "/a");
    }
    client.sync("/").await.unwrap();
    assert_eq!(client.stats().watches, 0);
    until("all is answered", || client.in_flight() == Usage::default());
}

pub(crate) async fn a_dropped_watcher_is_removed_at_the_server(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let armed = || env.fake().with_server(|server| server.watch_count());
    let (_, data) = client.get("/a").watch().await.unwrap();
    let (_, exists) = client.exists("/a").watch().await.unwrap();
    let (_, children) = client.children("/a").watch().await.unwrap();
    let all = armed();
    assert!(all >= 2, "{all}");
    drop((exists, data));
    client.sync("/").await.unwrap();
    assert_eq!(armed(), all, "somebody is left on that path");
    drop(children);
    until("none is left", || armed() == 0);
    // So is one whose request was given up.
    env.fake().pause();
    let given_up = client.get("/a").watch().submit().unwrap();
    drop(given_up);
    env.fake().resume();
    client.sync("/").await.unwrap();
    until("none is left", || {
        armed() == 0 && client.in_flight() == Usage::default()
    });
}

pub(crate) async fn a_thread_waits_for_a_change(env: &Env) {
    let client = env.connect().await;
    let (_, mut created) = client.exists("/a").watch().await.unwrap();
    if !env.backend.may_wait_here() {
        let error = created.wait(SOON).unwrap_err();
        assert!(matches!(error, Error::Misuse { .. }), "{error}");
    }
    let client = &client;
    on_plain_thread(|| {
        // It goes on after a time-out.
        for _ in 0..3 {
            let event = created.wait(Duration::from_millis(2)).unwrap();
            assert_eq!(event, None);
        }
        assert_eq!(client.stats().watches, 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || created.wait(SOON).unwrap().unwrap());
            client.create("/a", b"").wait().unwrap();
            let event = waiting.join().unwrap();
            is_event(&event, EventType::NodeCreated, "/a");
        });
        // What is there already is not waited for.
        let (_, mut changed) = client.get("/a").watch().wait().unwrap();
        client.set("/a", b"").wait().unwrap();
        let event = changed.wait(Duration::ZERO).unwrap().unwrap();
        is_event(&event, EventType::NodeDataChanged, "/a");
    });
    assert_eq!(client.stats().watches, 0);
}

pub(crate) async fn synced_reads_see_what_others_wrote(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    other.create("/a", b"0").await.unwrap();
    for round in 1..20 {
        let data = round.to_string();
        other.set("/a", &data).await.unwrap();
        assert_eq!(client.get("/a").synced().await.unwrap().data, data);
        let stat = client.exists("/a").synced().submit().unwrap();
        assert_eq!(stat.await.unwrap().unwrap().version, round);
    }
    let children = on_plain_thread(|| client.children("/").synced().wait());
    assert_eq!(children.unwrap().sorted(), ["a"]);
    let (_, changed) = client.get("/a").synced().watch().await.unwrap();
    other.set("/a", b"last").await.unwrap();
    is_event(&changed.await.unwrap(), EventType::NodeDataChanged, "/a");
    let error = client.get("/b").synced().watch().await.unwrap_err();
    assert_eq!(error.request().unwrap().to_string(), "get \"/b\"");
    assert_eq!(client.in_flight(), Usage::default());
    assert_eq!(client.stats().watches, 0);
}

pub(crate) async fn a_synced_read_is_two_requests(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"1").await.unwrap();
    env.fake().pause();
    let get = client.get("/a").synced().submit().unwrap();
    assert_eq!(client.in_flight().requests, 2);
    let mut awaited = client.get("/a").synced().into_future();
    assert!(poll_once(&mut awaited).is_pending());
    assert_eq!(client.in_flight().requests, 4);
    env.fake().resume();
    assert_eq!(get.await.unwrap().data, "1");
    assert_eq!(awaited.await.unwrap().data, "1");
    // With room for one request only, they go one after the other.
    let narrow = env.builder().requests_in_flight(1).connect().await.unwrap();
    assert_eq!(narrow.get("/a").synced().await.unwrap().data, "1");
    assert_eq!(narrow.in_flight(), Usage::default());
}

pub(crate) async fn a_close_is_told_to_watchers(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let (_, mut data) = client.get("/a").watch().await.unwrap();
    let (_, waiting) = client.exists("/b").watch().await.unwrap();
    let waiting = std::thread::spawn(move || {
        let mut waiting = waiting;
        waiting.wait(SOON)
    });
    client.close().await.unwrap();
    let Poll::Ready(Err(error)) = poll_once(&mut data) else {
        panic!("the session is closed and a watcher hangs");
    };
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "watch \"/a\": the client was closed; it was not sent"
    );
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    assert_eq!(client.stats().watches, 0);
}

pub(crate) async fn an_expiry_is_told_to_watchers(env: &Env) {
    let client = env.connect().await;
    let session_id = connection(&client).session_id;
    let (_, mut created) = client.exists("/a").watch().await.unwrap();
    assert!(env.fake().expire_session(session_id));
    let error = (&mut created).await;
    let error = error.unwrap_err();
    let Error::SessionEnded { end, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*end, SessionEnd::Expired { session_id });
    assert_eq!(client.stats().watches, 0);
    let error = client.exists("/a").watch().await.unwrap_err();
    assert!(matches!(error, Error::SessionEnded { .. }), "{error:?}");
}

pub(crate) async fn watches_outlive_connections(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    client.create("/a", b"").await.unwrap();
    let mut states = client.state_changes();
    for round in 0..5 {
        let (_, mut changed) = client.get("/a").watch().await.unwrap();
        let (_, mut quiet) = client.children("/a").watch().await.unwrap();
        env.fake().cut_connections();
        // It was lost, and is restored before anybody is told so.
        loop {
            let change = states.next().await.unwrap();
            if let homing::SessionState::Suspended { .. } = change.state {
                break;
            }
        }
        client.connected().await.unwrap();
        assert!(is_quiet(&client, &mut changed).await);
        assert_eq!(client.stats().watches, 2);
        other.set("/a", b"").await.unwrap();
        is_event(&changed.await.unwrap(), EventType::NodeDataChanged, "/a");
        assert!(is_quiet(&client, &mut quiet).await, "round {round}");
        drop(quiet);
    }
    assert_eq!(client.stats().session.connections, 6);
    assert_eq!(client.stats().watches, 0);
}
