//! The crate `zookeeper-async`, unchanged.

use std::sync::Arc;
use std::time::Duration;

use homing_compat::{LONG, Server, Servers, on_the_fake};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;
use zookeeper_async::recipes::cache::{PathChildrenCache, PathChildrenCacheEvent};
use zookeeper_async::recipes::distributed_queue::DistributedQueue;
use zookeeper_async::recipes::leader_latch::LeaderLatch;
use zookeeper_async::recipes::shared_lock;
use zookeeper_async::{
    Acl, CreateMode, Stat, WatchedEvent, ZkResult, ZkState, ZooKeeper, ZooKeeperExt,
};

async fn connect(server: &Server) -> Arc<ZooKeeper> {
    Arc::new(connect_to(&server.connect_string()).await)
}

async fn connect_to(servers: &str) -> ZooKeeper {
    let client = ZooKeeper::connect(servers, LONG, |_| {}).await.unwrap();
    // It returns before there is a session: what comes next would be numbered now so, now so.
    client.exists("/", false).await.unwrap();
    client
}

async fn create(client: &ZooKeeper, path: &str, mode: CreateMode) -> ZkResult<(String, Stat)> {
    let open = Acl::open_unsafe().clone();
    let made = client.create2(path, b"data".to_vec(), open, mode).await;
    made.map(|(path, stat)| (path, plain(stat)))
}

async fn make(client: &ZooKeeper, path: &str) {
    create(client, path, CreateMode::Persistent).await.unwrap();
}

homing_compat::plain!(Stat);

/// A watcher, and what it is told.
fn watcher() -> (impl FnOnce(WatchedEvent) + Send, UnboundedReceiver<String>) {
    let (sender, receiver) = unbounded_channel();
    let tell = move |event: WatchedEvent| {
        // Nobody listens any more when the test is over.
        let _ = sender.send(format!("{:?} {:?}", event.event_type, event.path));
    };
    (tell, receiver)
}

/// Waits for what nobody tells.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn nodes_of_all_kinds() {
    Servers::alike().agree(async |server, notes| {
        let client = connect(server).await;
        let kinds = [
            ("/plain", CreateMode::Persistent),
            ("/plain/s-", CreateMode::PersistentSequential),
            ("/plain/e", CreateMode::Ephemeral),
            ("/plain/es-", CreateMode::EphemeralSequential),
            ("/plain", CreateMode::Persistent),
            ("/nope/child", CreateMode::Persistent),
            ("/plain/e/child", CreateMode::Persistent),
        ];
        for (path, kind) in kinds {
            notes.note(path, create(&client, path, kind).await);
        }
        let lives = [
            CreateMode::PersistentWithTTL,
            CreateMode::PersistentSequentialWithTTL,
        ];
        for kind in lives {
            let open = Acl::open_unsafe().clone();
            let made = client.create2_ttl("/lives", vec![], open, kind, LONG).await;
            notes.note("lives", made.map(|(path, stat)| (path, plain(stat))));
        }
        let get = async |path| {
            let got = client.get_data(path, false).await;
            got.map(|(data, stat)| (data, plain(stat)))
        };
        let set = async |data: &[u8], version| {
            let set = client.set_data("/plain", data.to_vec(), version).await;
            set.map(plain)
        };
        notes.note("get", get("/plain").await);
        notes.note("set", set(b"new", Some(0)).await);
        notes.note("wrong version", set(b"", Some(7)).await);
        notes.note("set", set(b"", None).await);
        notes.note("get", get("/plain").await);
        notes.note("get", get("/nope").await);
        notes.note("not empty", client.delete("/plain", None).await);
        notes.note("delete", client.delete("/plain/e", Some(0)).await);
        notes.note("delete", client.delete("/plain/e", None).await);
        client.ensure_path("/deep/deeper").await.unwrap();
        let deep = client.get_children_recursive("/deep").await;
        notes.note("tree", deep);
        notes.note("gone", client.delete_recursive("/deep").await);
    });
}

#[test]
fn watches_of_all_kinds() {
    Servers::alike().agree(async |server, notes| {
        let (client, other) = (connect(server).await, connect(server).await);
        make(&client, "/a").await;
        let (tell, mut data) = watcher();
        client.get_data_w("/a", tell).await.unwrap();
        let (tell, mut children) = watcher();
        client.get_children_w("/a", tell).await.unwrap();
        let (tell, mut created) = watcher();
        notes.note(
            "absent",
            client.exists_w("/b", tell).await.map(|s| s.is_none()),
        );
        other.set_data("/a", vec![], None).await.unwrap();
        notes.note("data", data.recv().await);
        make(&other, "/a/child").await;
        notes.note("children", children.recv().await);
        make(&other, "/b").await;
        notes.note("created", created.recv().await);
        let (tell, mut gone) = watcher();
        client.exists_w("/b", tell).await.unwrap();
        other.delete("/b", None).await.unwrap();
        notes.note("gone", gone.recv().await);
    });
}

#[test]
fn who_may_do_what() {
    Servers::alike().agree(async |server, notes| {
        let (bob, stranger) = (connect(server).await, connect(server).await);
        let who = b"bob:secret".to_vec();
        notes.note("bob", bob.add_auth("digest", who).await);
        let mine = Acl::creator_all().clone();
        let made = bob.create("/mine", vec![1], mine.clone(), CreateMode::Persistent);
        notes.note("mine", made.await);
        let acl = bob.get_acl("/mine").await;
        notes.note("acl", acl.map(|(acl, stat)| (acl, plain(stat))));
        let get = async |client: &ZooKeeper| {
            let got = client.get_data("/mine", false).await;
            got.map(|(data, _)| data)
        };
        notes.note("stranger", get(&stranger).await);
        let made = stranger.create("/nobody", vec![], mine, CreateMode::Persistent);
        notes.note("nobody's", made.await);
        let shown = Acl::read_unsafe().clone();
        let stat = bob.set_acl("/mine", shown, Some(0)).await;
        notes.note("shown", stat.map(plain));
        notes.note("stranger", get(&stranger).await);
    });
}

#[test]
fn a_session_outlives_its_server_and_ends_with_its_client() {
    Servers::alike().agree(async |server, notes| {
        let chroot = format!("{}/app", server.connect_string());
        let other = connect(server).await;
        make(&other, "/app").await;
        let client = connect_to(&chroot).await;
        create(&client, "/mine", CreateMode::Ephemeral)
            .await
            .unwrap();
        let (sender, mut states) = unbounded_channel();
        client.add_listener(move |state| {
            let _ = sender.send(state);
        });
        server.stop();
        while states.recv().await != Some(ZkState::Connecting) {}
        server.restart();
        while states.recv().await != Some(ZkState::Connected) {}
        let mine = client.exists("/mine", false).await.unwrap();
        notes.note("mine", mine.map(plain));

        let late = connect(server).await;
        let (tell, mut gone) = watcher();
        late.exists_w("/app/mine", tell).await.unwrap();
        notes.note("closed", client.close().await);
        notes.note("gone", gone.recv().await);
    });
}

#[test]
fn recipes() {
    Servers::alike().agree(async |server, notes| {
        let (one, two) = (connect(server).await, connect(server).await);
        one.ensure_path("/latch").await.unwrap();
        let latch = |client: &Arc<ZooKeeper>, id: &str| {
            LeaderLatch::new(Arc::clone(client), id.into(), "/latch".into())
        };
        let (first, second) = (latch(&one, "first"), latch(&two, "second"));
        first.start().await.unwrap();
        until(|| first.has_leadership()).await;
        second.start().await.unwrap();
        notes.note("leaders", (first.has_leadership(), second.has_leadership()));
        first.stop().await.unwrap();
        until(|| second.has_leadership()).await;

        make(&one, "/queue").await;
        let queue = |client: &Arc<_>| DistributedQueue::new("/queue".into(), Arc::clone(client));
        let (put, take) = (queue(&one), queue(&two));
        for item in [b"1", b"2"] {
            notes.note("put", put.put(item.to_vec()).await);
        }
        notes.note("head", take.peek().await);
        for _ in 0..3 {
            notes.note("taken", take.try_take().await);
        }

        // One after the other: who waits behind somebody else may not find himself in version 5.0.
        for client in [&one, &two] {
            let held = shared_lock::lock(Arc::clone(client), "/lock".into()).await;
            let line = one.get_children("/lock", false).await.unwrap();
            notes.note("in line", line.len());
            drop(held.unwrap());
            while !one.get_children("/lock", false).await.unwrap().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

#[test]
fn a_cache_follows_its_children() {
    use PathChildrenCacheEvent::{ChildAdded, ChildRemoved, ChildUpdated, Initialized};
    Servers::alike().agree(async |server, notes| {
        let (one, two) = (connect(server).await, connect(server).await);
        let mut cache = PathChildrenCache::new(Arc::clone(&one), "/cache")
            .await
            .unwrap();
        let (sender, mut events) = unbounded_channel();
        cache.add_listener(move |event| {
            let told = match event {
                Initialized(all) => format!("{:?}", all.keys()),
                ChildAdded(path, child) => format!("added {path} {:?}", child.0),
                ChildUpdated(path, child) => format!("updated {path} {:?}", child.0),
                ChildRemoved(path) => format!("removed {path}"),
                other => format!("{other:?}"),
            };
            let _ = sender.send(told);
        });
        cache.start().unwrap();
        notes.note("cache", events.recv().await);
        make(&two, "/cache/a").await;
        notes.note("cache", events.recv().await);
        two.set_data("/cache/a", vec![1], None).await.unwrap();
        notes.note("cache", events.recv().await);
        two.delete("/cache/a", None).await.unwrap();
        notes.note("cache", events.recv().await);
    });
}

#[test]
fn a_session_that_the_server_ends_takes_its_nodes_along() {
    on_the_fake(async |server| {
        let client = connect_to(&server.connect_string()).await;
        let made = create(&client, "/mine", CreateMode::Ephemeral).await;
        made.unwrap();
        let session = client.exists("/mine", false).await.unwrap().unwrap();
        assert!(server.expire_session(session.ephemeral_owner));
        assert!(server.with_server(|server| !server.node_exists("/mine")));
    });
}
