//! Ten thousand requests on their way at once: each answer finds its own request, and they leave
//! in few writes.

mod support;

use homing::Client;
use homing_testkit::FakeServer;
use homing_testkit::real;
use support::tap::Tap;
use support::{Backend, with_watchdog};

const NODES: usize = 10_000;

enum Server {
    Fake(FakeServer),
    Real(&'static real::ZooKeeper),
}

fn run(server: Server, backend: Backend) {
    with_watchdog(move || {
        let servers = match &server {
            Server::Fake(server) => server.connect_string(),
            Server::Real(server) => server.connect_string(),
        };
        backend.block_on(ten_thousand(backend, &servers));
    });
}

fn on_fake(backend: Backend) {
    run(Server::Fake(FakeServer::start()), backend);
}

fn on_real(backend: Backend) {
    match real::shared() {
        Some(server) => run(Server::Real(server), backend),
        None => eprintln!("LEFT OUT: there is no real ZooKeeper here"),
    }
}

#[cfg(feature = "nio")]
mod nio {
    use super::*;

    #[test]
    fn ten_thousand_gets_on_fake() {
        on_fake(Backend::Nio);
    }

    #[test]
    fn ten_thousand_gets_on_real() {
        on_real(Backend::Nio);
    }
}

#[cfg(feature = "tokio")]
mod tokio {
    use super::*;

    #[test]
    fn ten_thousand_gets_on_fake() {
        on_fake(Backend::Tokio);
    }

    #[test]
    fn ten_thousand_gets_on_real() {
        on_real(Backend::Tokio);
    }
}

async fn ten_thousand(backend: Backend, servers: &str) {
    let tap = Tap::new();
    let client = tap.builder(backend, servers).connect().await.unwrap();
    let root = client.create("/n-", b"").sequential().await.unwrap().path;
    let client = client.chroot(&root).unwrap();
    let paths: Vec<_> = (0..NODES).map(|n| format!("/{n}")).collect();
    let contents: Vec<_> = (0..NODES).map(|n| format!("what {n} holds")).collect();
    make(&client, &paths, &contents).await;

    // The transport is busy with a write while the caller submits: all that is submitted
    // meanwhile leaves together.
    tap.hold();
    let writes = read(&tap, &client, &paths, &contents).await;
    let per_write = NODES / writes;
    eprintln!("{backend:?}: {NODES} gets left in {writes} writes, {per_write} in each");
    assert!(writes * 20 < NODES, "{writes} writes for {NODES} requests");

    // As it comes: how many leave together depends on who is faster, the caller or the system.
    let writes = read(&tap, &client, &paths, &contents).await;
    let per_write = NODES / writes;
    eprintln!("{backend:?}: at full speed in {writes} writes, {per_write} in each");
}

/// Reads all nodes, the last one first, and gives up every third. Tells how many writes it took.
async fn read(tap: &Tap, client: &Client, paths: &[String], contents: &[String]) -> usize {
    let before = tap.writes();
    let mut gets = Vec::with_capacity(NODES);
    for (n, path) in paths.iter().enumerate() {
        let get = client.get(path).submit().unwrap();
        if n % 3 != 2 {
            gets.push((n, get));
        }
    }
    tap.release();
    let mut answered = 0;
    for (n, get) in gets.into_iter().rev() {
        assert_eq!(get.await.unwrap().data, contents[n]);
        answered += 1;
    }
    assert_eq!(answered, NODES - NODES / 3);
    let writes = tap.writes() - before;
    // Nothing is on its way any more behind this.
    client.sync("/").await.unwrap();
    assert_eq!(client.in_flight(), homing::Usage::default());
    writes
}

async fn make(client: &Client, paths: &[String], contents: &[String]) {
    let creates: Vec<_> = paths
        .iter()
        .zip(contents)
        .map(|(path, content)| client.create(path, content).submit().unwrap())
        .collect();
    for create in creates {
        create.await.unwrap();
    }
}
