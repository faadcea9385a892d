//! Watches that stay, alone and together with others.

use std::time::Duration;

use EventType::{
    NodeChildrenChanged as Children, NodeCreated as Created, NodeDataChanged as Data,
    NodeDeleted as Deleted,
};
use homing::{
    Client, Error, ErrorCode, EventType, PersistentWatcher, SessionState, Usage, WatchItem,
};
use homing_testkit::FakeServer;

use crate::env::{Env, SOON, until};
use crate::support::{on_plain_thread, poll_once};
use crate::watchers::{Any, Told, items};

pub(crate) fn events<const N: usize>(list: [(EventType, &str); N]) -> Vec<Told> {
    list.map(|(kind, path)| (kind, path.to_owned())).to_vec()
}

/// The server's watches, where it can be asked.
pub(crate) fn none_is_left(env: &Env, client: &Client) {
    until("all is answered", || client.in_flight() == Usage::default());
    assert_eq!(client.stats().watches, 0);
    assert_eq!(client.watches(), []);
    if env.is_fake() {
        until("the server has none either", || {
            env.fake().with_server(|server| server.watch_count()) == 0
        });
    }
}

pub(crate) async fn a_persistent_watch_goes_on(env: &Env) {
    let client = env.connect().await;
    let mut watcher = Any::persistent(&client, "/a").await.unwrap();
    client.create("/a", b"").await.unwrap();
    client.set("/a", b"1").await.unwrap();
    client.create("/a/b", b"").await.unwrap();
    client.set("/a/b", b"1").await.unwrap();
    client.delete("/a/b").await.unwrap();
    client.delete("/a").await.unwrap();
    client.create("/a", b"").await.unwrap();
    let expected = [
        (Created, "/a"),
        (Data, "/a"),
        (Children, "/a"),
        (Children, "/a"),
        (Deleted, "/a"),
        (Created, "/a"),
    ];
    assert_eq!(watcher.told(&client).await, events(expected));
    drop(watcher);
    none_is_left(env, &client);
}

pub(crate) async fn a_recursive_watch_sees_everything_below(env: &Env) {
    let client = env.connect().await;
    client.create("/ab", b"").await.unwrap();
    let mut watcher = Any::recursive(&client, "/a").await.unwrap();
    let mut of_all = Any::recursive(&client, "/").await.unwrap();
    client.create("/a/b/c", b"").parents().await.unwrap();
    client.set("/a/b/c", b"1").await.unwrap();
    // The name begins alike, and is another node's.
    client.set("/ab", b"1").await.unwrap();
    client.delete("/a/b/c").await.unwrap();
    let mut expected = events([
        (Created, "/a"),
        (Created, "/a/b"),
        (Created, "/a/b/c"),
        (Data, "/a/b/c"),
        (Deleted, "/a/b/c"),
    ]);
    assert_eq!(watcher.told(&client).await, expected);
    expected.insert(4, (Data, "/ab".into()));
    assert_eq!(of_all.told(&client).await, expected);
    drop((watcher, of_all));
    none_is_left(env, &client);
}

pub(crate) async fn a_watch_is_run_in_three_ways(env: &Env) {
    let client = env.connect().await;
    // Submitted: what is behind it in line is told already.
    let pending = client.watch("/a").submit().unwrap();
    let create = client.create("/a", b"").submit().unwrap();
    let mut watcher = pending.await.unwrap();
    create.await.unwrap();
    assert_eq!(
        (watcher.path().as_str(), watcher.is_recursive()),
        ("/a", false)
    );
    let client = &client;
    on_plain_thread(|| {
        assert_eq!(wait(&mut watcher), (Created, "/a".into()));
        let mut below = client.watch("/a").recursive().wait().unwrap();
        assert!(below.is_recursive());
        for _ in 0..3 {
            assert_eq!(below.wait(Duration::from_millis(2)).unwrap(), None);
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&mut below));
            client.create("/a/b", b"").wait().unwrap();
            assert_eq!(waiting.join().unwrap(), (Created, "/a/b".into()));
        });
        assert_eq!(wait(&mut watcher), (Children, "/a".into()));
    });
    let error = client.watch("a").await.unwrap_err();
    assert!(matches!(error, Error::BadPath { .. }), "{error}");
    drop(watcher);
    none_is_left(env, client);
}

fn wait(watcher: &mut PersistentWatcher) -> Told {
    match watcher.wait(SOON).unwrap() {
        Some(WatchItem::Event(event)) => (event.kind, event.path),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_one_shot_watcher_is_a_stream_too(env: &Env) {
    let client = env.connect().await;
    let (_, mut watcher) = client.exists("/a").watch().await.unwrap();
    assert!(poll_once(&mut Box::pin(watcher.next())).is_pending());
    client.create("/a", b"").await.unwrap();
    let event = watcher.next().await.unwrap().unwrap();
    assert_eq!((event.kind, event.path.as_str()), (Created, "/a"));
    assert_eq!(event.zxid.is_some(), env.tells_zxid());
    assert!(watcher.next().await.is_none());
    drop(watcher);
    none_is_left(env, &client);
}

pub(crate) async fn reads_are_watched_and_synced_in_any_order(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let (_, one) = client.get("/a").watch().synced().await.unwrap();
    let (_, two) = client.get("/a").synced().watch().await.unwrap();
    let three = client.children("/a").watch().synced().submit().unwrap();
    let (_, three) = three.await.unwrap();
    let (_, four) = client.exists("/a").watch().synced().await.unwrap();
    client.delete("/a").await.unwrap();
    for watcher in [one, two, three, four] {
        assert_eq!(watcher.await.unwrap().kind, Deleted);
    }
}

pub(crate) async fn one_shots_do_not_spoil_what_stays(env: &Env) {
    for recursive in [false, true] {
        let client = env.connect().await;
        client.create("/a", b"").await.unwrap();
        let mut stays = match recursive {
            false => Any::persistent(&client, "/a").await.unwrap(),
            true => Any::recursive(&client, "/a").await.unwrap(),
        };
        for round in 0..3 {
            let mut data = Any::data(&client, "/a").await.unwrap();
            let mut exist = Any::exist(&client, "/a").await.unwrap();
            let mut child = Any::child(&client, "/a").await.unwrap();
            client.set("/a", b"1").await.unwrap();
            let set = events([(Data, "/a")]);
            for watcher in [&mut data, &mut exist, &mut stays] {
                assert_eq!(watcher.told(&client).await, set, "{round} {recursive}");
            }
            client.set("/a", b"2").await.unwrap();
            assert_eq!(stays.told(&client).await, set, "{round} {recursive}");
            assert_eq!(child.told(&client).await, []);
            client.create("/a/x", b"").await.unwrap();
            assert_eq!(child.told(&client).await, events([(Children, "/a")]));
            client.delete("/a/x").await.unwrap();
            let expected = match recursive {
                false => events([(Children, "/a"), (Children, "/a")]),
                true => events([(Created, "/a/x"), (Deleted, "/a/x")]),
            };
            assert_eq!(stays.told(&client).await, expected);
            assert_eq!(
                (data.ready(), exist.ready(), child.ready()),
                (vec![], vec![], vec![])
            );
        }
        client.delete("/a").await.unwrap();
        drop(stays);
        none_is_left(env, &client);
    }
}

pub(crate) async fn persistent_and_recursive_share_a_node(env: &Env) {
    for recursive_first in [false, true] {
        let client = env.connect().await;
        client.create("/a", b"").await.unwrap();
        let (mut list, mut tree);
        if recursive_first {
            tree = Any::recursive(&client, "/a").await.unwrap();
            list = Any::persistent(&client, "/a").await.unwrap();
        } else {
            list = Any::persistent(&client, "/a").await.unwrap();
            tree = Any::recursive(&client, "/a").await.unwrap();
        }
        let mut child = Any::child(&client, "/a").await.unwrap();
        client.create("/a/b", b"").await.unwrap();
        client.create("/a/b/c", b"").await.unwrap();
        client.set("/a", b"1").await.unwrap();
        client.set("/a/b", b"1").await.unwrap();
        client.delete("/a/b/c").await.unwrap();
        client.delete("/a/b").await.unwrap();
        let of_tree = [
            (Created, "/a/b"),
            (Created, "/a/b/c"),
            (Data, "/a"),
            (Data, "/a/b"),
            (Deleted, "/a/b/c"),
            (Deleted, "/a/b"),
        ];
        let of_list = [(Children, "/a"), (Data, "/a"), (Children, "/a")];
        assert_eq!(tree.told(&client).await, events(of_tree));
        assert_eq!(list.told(&client).await, events(of_list));
        assert_eq!(child.told(&client).await, events([(Children, "/a")]));
        // The wider one goes, the other stays.
        drop(tree);
        client.create("/a/b", b"").await.unwrap();
        client.set("/a/b", b"1").await.unwrap();
        client.delete("/a/b").await.unwrap();
        client.delete("/a").await.unwrap();
        let of_list = [(Children, "/a"), (Children, "/a"), (Deleted, "/a")];
        assert_eq!(list.told(&client).await, events(of_list));
        drop((list, child));
        none_is_left(env, &client);
    }
}

pub(crate) async fn what_is_dropped_takes_nobody_along(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    for _ in 0..10 {
        // A one-shot that is served by a watch whose owner goes away.
        let stays = client.watch("/a").await.unwrap();
        let mut data = Any::data(&client, "/a").await.unwrap();
        drop(stays);
        client.set("/a", b"1").await.unwrap();
        assert_eq!(data.told(&client).await, events([(Data, "/a")]));
        // One that goes away while others are on their way.
        let gone = client.watch("/a").submit().unwrap();
        let data = client.get("/a").watch().submit().unwrap();
        drop(gone);
        let again = client.watch("/a").recursive().submit().unwrap();
        let (_, data) = data.await.unwrap();
        let mut again = Any::Stays(again.await.unwrap());
        client.set("/a", b"2").await.unwrap();
        assert_eq!(again.told(&client).await, events([(Data, "/a")]));
        assert_eq!(Any::Once(data).ready(), events([(Data, "/a")]));
        drop(again);
    }
    client.delete("/a").await.unwrap();
    none_is_left(env, &client);
}

/// A watcher, and what it is to tell.
struct Watched {
    watcher: Any,
    kind: u32,
    path: &'static str,
    due: Vec<Told>,
    is_done: bool,
}

impl Watched {
    /// A change, as the table of changes and watches has it.
    fn note(&mut self, kind: EventType, path: &str) {
        if self.is_done {
            return;
        }
        let here = self.path == path;
        let is_list = kind == Children;
        let told = match self.kind {
            0 => here && !is_list,
            1 => here && matches!(kind, Children | Deleted),
            2 => here,
            _ => !is_list && (here || path.starts_with(&format!("{}/", self.path))),
        };
        if told {
            self.due.push((kind, path.into()));
            self.is_done = self.kind < 2;
        }
    }
}

/// Many watchers of all kinds come and go on a few nodes that change. Each must be told what the
/// table says, whoever else is there.
pub(crate) async fn any_kinds_in_any_order(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    const PATHS: [&str; 4] = ["/a", "/a/b", "/a/b/c", "/a/d"];
    for path in PATHS {
        client.create(path, b"").await.unwrap();
    }
    let mut state = 1_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut watched: Vec<Watched> = Vec::new();
    let mut there = [true; 4];
    for step in 0..300 {
        match next(8) {
            0..=3 => {
                let (kind, at) = (next(4), next(4));
                let path = PATHS[at];
                let watcher = match kind {
                    0 => Any::exist(&client, path).await,
                    1 => Any::child(&client, path).await,
                    2 => Any::persistent(&client, path).await,
                    _ => Any::recursive(&client, path).await,
                };
                match watcher {
                    Ok(watcher) => watched.push(Watched {
                        watcher,
                        kind: u32::try_from(kind).unwrap(),
                        path,
                        due: Vec::new(),
                        is_done: false,
                    }),
                    Err(error) => {
                        assert_eq!(error.code(), Some(ErrorCode::NoNode));
                        assert!(!there[at]);
                    }
                }
            }
            4 if !watched.is_empty() => {
                let which = next(watched.len());
                drop(watched.swap_remove(which));
            }
            _ => {
                let at = next(4);
                let path = PATHS[at];
                let parent = path.rsplit_once('/').unwrap().0;
                let has_parent = at == 0 || there[PATHS.iter().position(|p| *p == parent).unwrap()];
                let has_children =
                    (0..4).any(|n| there[n] && PATHS[n].starts_with(&format!("{path}/")));
                let change = match (there[at], next(2)) {
                    (true, 0) if !has_children => {
                        other.delete(path).await.unwrap();
                        there[at] = false;
                        Deleted
                    }
                    (true, _) => {
                        other.set(path, b"").await.unwrap();
                        Data
                    }
                    (false, _) if has_parent => {
                        other.create(path, b"").await.unwrap();
                        there[at] = true;
                        Created
                    }
                    (false, _) => continue,
                };
                for one in &mut watched {
                    one.note(change, path);
                    if change != Data {
                        one.note(Children, parent);
                    }
                }
            }
        }
        client.sync("/").await.unwrap();
        for one in &mut watched {
            let due = std::mem::take(&mut one.due);
            assert_eq!(
                one.watcher.ready(),
                due,
                "step {step}: {} on {}",
                one.kind,
                one.path
            );
        }
        watched.retain(|one| !one.is_done);
        assert_eq!(client.stats().watches, watched.len(), "step {step}");
        let counted: usize = client
            .watches()
            .iter()
            .map(|at| at.data + at.exist + at.child + at.persistent + at.recursive)
            .sum();
        assert_eq!(counted, watched.len());
    }
    drop(watched);
    none_is_left(env, &client);
}

pub(crate) async fn the_list_of_watches_is_in_the_terms_of_the_handle(env: &Env) {
    let client = env.connect().await;
    client.create("/app", b"").await.unwrap();
    let app = client.chroot("/app").unwrap();
    let one = client.watch("/app").recursive().await.unwrap();
    let two = app.exists("/x").watch().await.unwrap().1;
    let three = app.exists("/x").watch().await.unwrap().1;
    let four = client.get("/").watch().await.unwrap().1;
    let five = app.children("/").watch().await.unwrap().1;
    let all = client.watches();
    let paths: Vec<_> = all.iter().map(|at| at.path.as_str()).collect();
    assert_eq!(paths, ["/", "/app", "/app/x"]);
    assert_eq!(
        (all[1].recursive, all[1].child, all[1].persistent),
        (1, 1, 0)
    );
    let of_app = app.watches();
    let paths: Vec<_> = of_app.iter().map(|at| at.path.as_str()).collect();
    assert_eq!(paths, ["/", "/x"]);
    assert_eq!((of_app[1].exist, of_app[1].data), (2, 0));
    drop((one, two, three, four, five));
    assert_eq!(app.watches(), []);
    none_is_left(env, &client);
}

pub(crate) async fn events_are_in_the_terms_of_the_handle(env: &Env) {
    let (client, root) = (env.connect().await, env.connect_to_root().await);
    client.create("/app", b"").await.unwrap();
    let app = client.chroot("/app").unwrap();
    let mut by_app = Any::recursive(&app, "/").await.unwrap();
    let mut by_client = Any::recursive(&client, "/app").await.unwrap();
    let mut by_root = Any::recursive(&root, env.chroot()).await.unwrap();
    app.create("/n", b"").await.unwrap();
    assert_eq!(by_app.told(&client).await, events([(Created, "/n")]));
    assert_eq!(by_client.ready(), events([(Created, "/app/n")]));
    let full = format!("{}/app/n", env.chroot());
    assert_eq!(by_root.told(&root).await, events([(Created, &full)]));
}

pub(crate) async fn what_is_too_much_is_counted(env: &Env) {
    let client = env.builder().watch_backlog(3).connect().await.unwrap();
    client.create("/a", b"").await.unwrap();
    let mut slow = client.watch("/a").await.unwrap();
    let mut other = Any::persistent(&client, "/a").await.unwrap();
    for round in 0..3 {
        for _ in 0..10 {
            client.set("/a", b"").await.unwrap();
            // Nobody else is slowed down, or misses anything.
            assert_eq!(other.ready(), events([(Data, "/a")]));
        }
        let told: Vec<_> = items(&mut slow).iter().map(ToString::to_string).collect();
        let event = "NodeDataChanged \"/a\"";
        assert_eq!(told, [event, event, event, "7 events missed"], "{round}");
    }
    let error = env.builder().watch_backlog(0).start().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
}

pub(crate) async fn the_end_is_told_once(env: &Env) {
    let client = env.connect().await;
    let mut one = client.watch("/a").await.unwrap();
    let mut two = client.watch("/a").recursive().await.unwrap();
    client.create("/a", b"").await.unwrap();
    client.close().await.unwrap();
    for watcher in [&mut one, &mut two] {
        assert!(matches!(
            watcher.next().await,
            Some(Ok(WatchItem::Event(_)))
        ));
        let end = watcher.next().await.unwrap().unwrap_err();
        assert!(matches!(end, Error::Closed { .. }), "{end}");
        assert!(watcher.next().await.is_none());
        let end = on_plain_thread(|| watcher.wait(None)).unwrap_err();
        assert!(matches!(end, Error::Closed { .. }), "{end}");
    }
    assert_eq!(client.stats().watches, 0);
    let error = client.watch("/a").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

pub(crate) async fn a_gap_is_told_after_each_reconnect(env: &Env) {
    let (client, other) = (env.connect().await, env.connect().await);
    let zxid = client.create("/a", b"").await.unwrap().stat.unwrap().czxid;
    let mut stays = client.watch("/a").recursive().await.unwrap();
    let mut list = client.watch("/a").await.unwrap();
    let mut data = Any::data(&client, "/a").await.unwrap();
    let mut states = client.state_changes();
    for round in 0..3 {
        let before = std::time::Instant::now();
        env.fake().cut_connections();
        loop {
            let change = states.next().await.unwrap();
            if let SessionState::Suspended { .. } = change.state {
                break;
            }
        }
        client.connected().await.unwrap();
        other.create(format!("/a/{round}"), b"").await.unwrap();
        client.sync("/").await.unwrap();
        let child = format!("NodeCreated \"/a/{round}\"");
        for (watcher, event) in [
            (&mut stays, child.as_str()),
            (&mut list, "NodeChildrenChanged \"/a\""),
        ] {
            let told = items(watcher);
            let WatchItem::Gap(gap) = &told[0] else {
                panic!("{told:?}");
            };
            assert!(gap.last_zxid >= zxid, "{gap:?}");
            assert!(gap.lost_at >= before, "{gap:?}");
            assert_eq!((told.len(), told[1].to_string().as_str()), (2, event));
        }
        assert_eq!(data.ready(), []);
    }
    other.set("/a", b"").await.unwrap();
    assert_eq!(data.told(&client).await, events([(Data, "/a")]));
    drop((stays, list));
    none_is_left(env, &client);
}

/// Servers before 3.6, of which one has known persistent watches.
pub(crate) async fn a_server_without_persistent_watches(env: &Env) {
    use homing_protocol::op;
    let builder = FakeServer::builder();
    let old = builder.config(|config| {
        config.unknown_operations = vec![op::ADD_WATCH, op::SET_WATCHES2];
    });
    let old = old.start().unwrap();
    let client = env.backend.builder(&old.connect_string());
    let client = client.connect().await.unwrap();
    let error = client.watch("/a").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unimplemented));
    assert_eq!(
        error.to_string(),
        "watch \"/a\": Unimplemented (-6); servers before 3.6 have no persistent watches: watch reads (`.watch()`)"
    );
    // It hangs up on what it does not know. That is all.
    until("it is connected again", || {
        client.stats().session.connections == 2
    });
    let (_, created) = client.exists("/a").watch().await.unwrap();
    client.create("/a", b"").await.unwrap();
    assert_eq!(created.await.unwrap().kind, Created);
    assert_eq!(client.stats().session.connections, 2);
    client.close().await.unwrap();

    // It moves to one that does not take it over.
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let mut stays = client.watch("/a").await.unwrap();
    let mut data = Any::data(&client, "/a").await.unwrap();
    let mut child = Any::child(&client, "/a").await.unwrap();
    env.fake()
        .with_server(|server| server.forget_operation(op::SET_WATCHES2));
    env.fake().cut_connections();
    let end = stays.next().await.unwrap().unwrap_err();
    assert!(matches!(end, Error::WatchEnded { .. }), "{end:?}");
    assert!(end.to_string().contains("older than 3.6"), "{end}");
    assert!(stays.next().await.is_none());
    // One-shot watches live on, those included that it had served.
    client.connected().await.unwrap();
    client.set("/a", b"").await.unwrap();
    assert_eq!(data.told(&client).await, events([(Data, "/a")]));
    client.create("/a/x", b"").await.unwrap();
    assert_eq!(child.told(&client).await, events([(Children, "/a")]));
    assert!(client.stats().session.connections <= 4);
    assert_eq!(client.stats().watches, 0);
}

pub(crate) async fn dropped_at_any_moment(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    for round in 0..60 {
        let mut pending = Vec::new();
        for n in 0..4 {
            match (round + n) % 4 {
                0 => pending.push(Kept::Stays(client.watch("/a").submit().unwrap())),
                1 => pending.push(Kept::Stays(
                    client.watch("/a").recursive().submit().unwrap(),
                )),
                2 => pending.push(Kept::Data(client.get("/a").watch().submit().unwrap())),
                _ => pending.push(Kept::Child(client.children("/a").watch().submit().unwrap())),
            }
        }
        if round % 3 == 0 {
            client.set("/a", b"").await.unwrap();
        }
        if round % 10 == 9 {
            env.fake().cut_connections();
        }
        // Some before their answers, some after, some as watchers.
        let mut watchers = Vec::new();
        for (n, kept) in pending.into_iter().enumerate() {
            if (round + n) % 2 == 0 {
                continue;
            }
            watchers.extend(kept.answer().await);
        }
        if round % 4 == 1 {
            client.set("/a", b"").await.ok();
        }
    }
    client.connected().await.unwrap();
    none_is_left(env, &client);
}

enum Kept<'a> {
    Stays(homing::Pending<homing::ops::AddWatch<'a>>),
    Data(homing::Pending<homing::ops::Watched<homing::ops::Get<'a>>>),
    Child(homing::Pending<homing::ops::Watched<homing::ops::GetChildren<'a>>>),
}

impl Kept<'_> {
    /// `None` if the connection was lost.
    async fn answer(self) -> Option<Any> {
        match self {
            Self::Stays(pending) => pending.await.ok().map(Any::Stays),
            Self::Data(pending) => pending.await.ok().map(|(_, watcher)| Any::Once(watcher)),
            Self::Child(pending) => pending.await.ok().map(|(_, watcher)| Any::Once(watcher)),
        }
    }
}
