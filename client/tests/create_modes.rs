//! Nodes that their server removes, and a server that has none of them: what takes a server with
//! settings of its own.

#[macro_use]
mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use homing::{Client, ErrorCode};
use homing_testkit::FakeServer;
use homing_testkit::real::{ZooKeeper, requirement};
use support::{Backend, with_watchdog};

const SOON: Duration = Duration::from_secs(30);
/// How often the servers look for what they can remove.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Where a server is, as long as this lives.
enum Server {
    Fake(FakeServer),
    Real(&'static ZooKeeper),
}

impl Server {
    fn connect_string(&self) -> String {
        match self {
            Self::Fake(server) => server.connect_string(),
            Self::Real(server) => server.connect_string(),
        }
    }
}

fn fake() -> Option<Server> {
    let builder = FakeServer::builder().config(|config| {
        config.extended_types_enabled = true;
        config.container_check_interval = CHECK_INTERVAL;
    });
    Some(Server::Fake(builder.start().unwrap()))
}

fn real() -> Option<Server> {
    static SERVER: OnceLock<Option<ZooKeeper>> = OnceLock::new();
    let start = || {
        requirement()?;
        let interval = CHECK_INTERVAL.as_millis().to_string();
        let builder = ZooKeeper::builder()
            .system_property("znode.container.checkIntervalMs", &interval)
            // By default it removes no more than one in 6 ms.
            .system_property("znode.container.maxPerMinute", "60000");
        Some(builder.start().unwrap())
    };
    SERVER.get_or_init(start).as_ref().map(Server::Real)
}

fn run(
    start: fn() -> Option<Server>,
    backend: Backend,
    body: impl AsyncFnOnce(Backend, &Client) + Send + 'static,
) {
    let Some(server) = start() else {
        return eprintln!("LEFT OUT: there is no real ZooKeeper here");
    };
    with_watchdog(move || {
        backend.block_on(async {
            let connect_string = server.connect_string();
            let root = backend.builder(&connect_string).connect().await.unwrap();
            let made = root.create("/test-", b"").sequential().await.unwrap();
            body(backend, &root.chroot(&made.path).unwrap()).await;
        });
    });
}

on_server! { fake:
    containers_go_after_their_last_child
    a_time_to_live_passes
    parents_that_vanish_are_made_again
}
on_server! { real:
    containers_go_after_their_last_child
    a_time_to_live_passes
    parents_that_vanish_are_made_again
}

/// Asks until the node is gone, or it has taken too long.
async fn gone(client: &Client, path: &str) {
    let deadline = Instant::now() + SOON;
    while client.exists(path).await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "{path} is still there");
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn containers_go_after_their_last_child(_: Backend, client: &Client) {
    client.create("/plain", b"").await.unwrap();
    client.create("/unused", b"").container().await.unwrap();
    client.create("/used", b"").container().await.unwrap();
    for parent in ["/plain", "/used"] {
        let child = format!("{parent}/x");
        client.create(&child, b"").await.unwrap();
        client.create(format!("{parent}/y"), b"").await.unwrap();
        client.delete(&child).await.unwrap();
    }
    std::thread::sleep(3 * CHECK_INTERVAL);
    assert!(client.exists("/used").await.unwrap().is_some());
    for parent in ["/plain", "/used"] {
        client.delete(format!("{parent}/y")).await.unwrap();
    }
    gone(client, "/used").await;
    // Others stay: plain ones, and containers that never had a child.
    for path in ["/plain", "/unused"] {
        assert!(client.exists(path).await.unwrap().is_some(), "{path}");
    }
}

async fn a_time_to_live_passes(_: Backend, client: &Client) {
    let (short, hour) = (Duration::from_millis(50), Duration::from_secs(3600));
    let began = Instant::now();
    client.create("/short", b"").ttl(short).await.unwrap();
    let row = client.create("/row-", b"").sequential().ttl(short);
    let row = row.await.unwrap().path;
    client.create("/long", b"").ttl(hour).await.unwrap();
    // In one go, or it may be gone before it has a child.
    let parent = client.create("/parent", b"").ttl(short).submit().unwrap();
    let child = client.create("/parent/x", b"").submit().unwrap();
    parent.await.unwrap();
    child.await.unwrap();
    gone(client, "/short").await;
    gone(client, &row).await;
    assert!(began.elapsed() >= short, "{:?}", began.elapsed());
    // A child holds it.
    assert!(client.exists("/parent").await.unwrap().is_some());
    client.delete("/parent/x").await.unwrap();
    gone(client, "/parent").await;
    assert!(client.exists("/long").await.unwrap().is_some());
}

/// Again and again a container loses its only child, and is removed while somebody makes the
/// next.
async fn parents_that_vanish_are_made_again(_: Backend, client: &Client) {
    let mut remade = 0;
    let mut last = None;
    for round in 0..300_u32 {
        let child = client.create("/a/b/c-", b"").sequential();
        let made = child.container_parents().await.unwrap();
        // A container that is made again counts from zero.
        remade += u32::from(made.sequence <= last);
        last = made.sequence;
        client.delete(&made.path).await.unwrap();
        std::thread::sleep(Duration::from_micros(u64::from(round % 50) * 400));
    }
    assert!(remade > 0, "no container was ever removed");
}

fn plain() -> Option<Server> {
    Some(Server::Fake(FakeServer::start()))
}

on_server! { plain: a_server_without_extended_types_says_so }

async fn a_server_without_extended_types_says_so(_: Backend, client: &Client) {
    let hour = Duration::from_secs(3600);
    let error = client.create("/t", b"").ttl(hour).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unimplemented));
    assert_eq!(
        error.to_string(),
        "create \"/t\": Unimplemented (-6); a time to live takes servers since 3.5.3 with `zookeeper.extendedTypesEnabled=true`"
    );
    // It goes on with what it has.
    client.create("/c", b"").container().await.unwrap();
}
