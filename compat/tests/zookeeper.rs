//! The crate `zookeeper`, unchanged: callbacks and threads.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use homing_compat::{LONG, Notes, Server, Servers};
use zookeeper::recipes::cache::{PathChildrenCache, PathChildrenCacheEvent};
use zookeeper::recipes::leader::LeaderLatch;
use zookeeper::recipes::queue::ZkQueue;
use zookeeper::{
    Acl, AddWatchMode, CreateMode, Permission, Stat, WatchedEvent, WatcherType, ZkResult, ZkState,
    ZooKeeper, ZooKeeperExt,
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(server: &Server) -> ZooKeeper {
    connect_to(&server.connect_string())
}

fn connect_to(servers: &str) -> ZooKeeper {
    let client = ZooKeeper::connect(servers, LONG, |_| {}).unwrap();
    // It returns before there is a session: what comes next would be numbered now so, now so.
    client.exists("/", false).unwrap();
    client
}

fn create(client: &ZooKeeper, path: &str, mode: CreateMode) -> ZkResult<String> {
    client.create(path, b"data".to_vec(), Acl::open_unsafe().clone(), mode)
}

fn make(client: &ZooKeeper, path: &str) {
    create(client, path, CreateMode::Persistent).unwrap();
}

homing_compat::plain!(Stat);

fn sorted(names: ZkResult<Vec<String>>) -> ZkResult<Vec<String>> {
    names.map(|mut names| {
        names.sort_unstable();
        names
    })
}

/// A watcher, and what it is told.
fn watcher() -> (impl Fn(WatchedEvent) + Send, Receiver<String>) {
    let (sender, receiver) = mpsc::channel();
    let tell = move |event: WatchedEvent| {
        // Nobody listens any more when the test is over.
        let _ = sender.send(format!("{:?} {:?}", event.event_type, event.path));
    };
    (tell, receiver)
}

fn next<T>(events: &Receiver<T>) -> T {
    events.recv_timeout(PATIENCE).unwrap()
}

/// Waits for what nobody tells.
fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nodes_of_all_kinds() {
    Servers::alike().agree_on_threads(|server, notes| {
        let client = connect(server);
        let kinds = [
            ("/plain", CreateMode::Persistent),
            ("/plain/s-", CreateMode::PersistentSequential),
            ("/plain/e", CreateMode::Ephemeral),
            ("/plain/es-", CreateMode::EphemeralSequential),
            ("/box", CreateMode::Container),
        ];
        for (path, kind) in kinds {
            let path = create(&client, path, kind).unwrap();
            let stat = client.exists(&path, false).unwrap().map(plain);
            notes.note(&path, stat);
        }
        notes.note("again", create(&client, "/plain", CreateMode::Persistent));
        let orphan = create(&client, "/nope/child", CreateMode::Persistent);
        notes.note("without a parent", orphan);
        let child = create(&client, "/plain/e/child", CreateMode::Persistent);
        notes.note("under an ephemeral", child);
        reads_and_writes(&client, notes);
        let done = client.ensure_path("/deep/deeper/deepest");
        notes.note("all of them", done);
        let tree = client.get_children_recursive("/deep");
        notes.note("tree", sorted(tree));
        notes.note("all gone", client.delete_recursive("/deep"));
        notes.note("root", sorted(client.get_children("/", false)));
    });
}

fn reads_and_writes(client: &ZooKeeper, notes: &mut Notes) {
    let get = |path| client.get_data(path, false).map(|(d, s)| (d, plain(s)));
    let set = |data: &[u8], version| {
        let stat = client.set_data("/plain", data.to_vec(), version);
        stat.map(plain)
    };
    notes.note("get", get("/plain"));
    notes.note("nothing to get", get("/nope"));
    notes.note("set", set(b"new", Some(0)));
    notes.note("set to nothing", set(b"", None));
    notes.note("wrong version", set(b"", Some(7)));
    notes.note("children", sorted(client.get_children("/plain", false)));
    notes.note("no children", client.get_children("/nope", false));
    notes.note("not empty", client.delete("/plain", None));
    notes.note("wrong version", client.delete("/plain/e", Some(7)));
    notes.note("delete", client.delete("/plain/e", Some(0)));
    notes.note("not there", client.delete("/plain/e", None));
}

#[test]
fn watches_of_all_kinds() {
    Servers::alike().agree_on_threads(|server, notes| {
        let (client, other) = (connect(server), connect(server));
        make(&client, "/a");
        let (tell, data) = watcher();
        client.get_data_w("/a", tell).unwrap();
        let (tell, children) = watcher();
        client.get_children_w("/a", tell).unwrap();
        let (tell, created) = watcher();
        notes.note("not there", client.exists_w("/b", tell).unwrap().map(plain));
        other.set_data("/a", b"new".to_vec(), None).unwrap();
        notes.note("data", next(&data));
        make(&other, "/a/child");
        notes.note("children", next(&children));
        make(&other, "/b");
        notes.note("created", next(&created));

        let (tell, persistent) = watcher();
        client
            .add_watch("/p", AddWatchMode::Persistent, tell)
            .unwrap();
        let (tell, recursive) = watcher();
        client
            .add_watch("/r", AddWatchMode::PersistentRecursive, tell)
            .unwrap();
        for path in ["/p", "/p/b", "/r", "/r/b", "/r/b/c"] {
            make(&other, path);
            other.set_data(path, b"new".to_vec(), None).unwrap();
        }
        for path in ["/p/b", "/p", "/r/b/c", "/r/b", "/r"] {
            other.delete(path, None).unwrap();
        }
        for _ in 0..5 {
            notes.note("persistent", next(&persistent));
        }
        for _ in 0..9 {
            notes.note("recursive", next(&recursive));
        }
        let removed = client.remove_watches("/r", WatcherType::Any);
        notes.note("removed", removed);
        let removed = client.remove_watches("/nothing", WatcherType::Any);
        notes.note("nothing to remove", removed);
    });
}

#[test]
fn who_may_do_what() {
    Servers::alike().agree_on_threads(|server, notes| {
        let (bob, stranger) = (connect(server), connect(server));
        notes.note("bob", bob.add_auth("digest", b"bob:secret".to_vec()));
        let mine = Acl::creator_all().clone();
        let made = bob.create("/mine", vec![1], mine.clone(), CreateMode::Persistent);
        notes.note("mine", made);
        let acl = bob.get_acl("/mine").map(|(acl, stat)| (acl, plain(stat)));
        notes.note("acl", acl);
        let get = |client: &ZooKeeper| client.get_data("/mine", false).map(|(data, _)| data);
        notes.note("stranger", get(&stranger));
        let nobodys = stranger.create("/nobody", vec![], mine, CreateMode::Persistent);
        notes.note("nobody's", nobodys);
        let shown = vec![Acl::new(Permission::READ, "world", "anyone")];
        let stat = bob.set_acl("/mine", shown.clone(), Some(0)).map(plain);
        notes.note("shown", stat);
        notes.note("stranger", get(&stranger));
        notes.note("no more", bob.set_acl("/mine", shown, None).map(plain));
    });
}

#[test]
fn a_root_of_its_own() {
    Servers::alike().agree_on_threads(|server, notes| {
        let whole = connect(server);
        whole.ensure_path("/app/one").unwrap();
        let one = connect_to(&format!("{}/app/one", server.connect_string()));
        make(&one, "/node");
        notes.note("root", one.get_children("/", false));
        let (tell, events) = watcher();
        one.get_data_w("/node", tell).unwrap();
        whole.set_data("/app/one/node", vec![], None).unwrap();
        notes.note("event", next(&events));
    });
}

#[test]
fn a_session_outlives_its_server_and_ends_with_its_client() {
    Servers::alike().agree_on_threads(|server, notes| {
        let (client, other) = (connect(server), connect(server));
        create(&client, "/mine", CreateMode::Ephemeral).unwrap();
        let (sender, states) = mpsc::channel();
        client.add_listener(move |state| {
            let _ = sender.send(state);
        });
        server.stop();
        while next(&states) != ZkState::Connecting {}
        server.restart();
        while next(&states) != ZkState::Connected {}
        notes.note("mine", client.exists("/mine", false).unwrap().map(plain));

        // The other one may still be on its way back, and says so.
        let (tell, events) = watcher();
        let tell = Arc::new(tell);
        until(|| {
            let tell = Arc::clone(&tell);
            other.exists_w("/mine", move |event| tell(event)).is_ok()
        });
        notes.note("closed", client.close());
        notes.note("gone", next(&events));
    });
}

#[test]
fn recipes() {
    Servers::alike().agree_on_threads(|server, notes| {
        let clients = [connect(server), connect(server)].map(Arc::new);
        let [one, two] = &clients;
        one.ensure_path("/latch").unwrap();
        let latch = |client: &Arc<ZooKeeper>, id: &str| {
            LeaderLatch::new(Arc::clone(client), id.into(), "/latch".into())
        };
        let (first, second) = (latch(one, "first"), latch(two, "second"));
        first.start().unwrap();
        until(|| first.has_leadership());
        second.start().unwrap();
        notes.note("leaders", (first.has_leadership(), second.has_leadership()));
        first.stop().unwrap();
        until(|| second.has_leadership());
        let left = one.get_children("/latch", false).unwrap();
        notes.note("left", left.len());

        let queue = |client| ZkQueue::new(Arc::clone(client), "/queue".into()).unwrap();
        let (put, take) = (queue(one), queue(two));
        let taker = thread::spawn(move || {
            [
                take.take(),
                take.take(),
                take.poll().map(Option::unwrap_or_default),
            ]
        });
        for item in [b"1", b"2"] {
            notes.note("put", put.offer(item.to_vec()));
        }
        notes.note("taken", taker.join().unwrap());
        notes.note("empty", put.peek());
        cache(one, two, notes);
    });
}

fn cache(one: &Arc<ZooKeeper>, two: &ZooKeeper, notes: &mut Notes) {
    use PathChildrenCacheEvent::{ChildAdded, ChildRemoved, ChildUpdated, Initialized};
    let mut cache = PathChildrenCache::new(Arc::clone(one), "/cache").unwrap();
    make(two, "/cache/before");
    let (sender, events) = mpsc::channel();
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
    notes.note("cache", next(&events));
    notes.note("cache", next(&events));
    make(two, "/cache/a");
    notes.note("cache", next(&events));
    two.set_data("/cache/a", b"new".to_vec(), None).unwrap();
    notes.note("cache", next(&events));
    two.delete("/cache/a", None).unwrap();
    notes.note("cache", next(&events));
    notes.note("known", cache.get_current_data().keys());
}
